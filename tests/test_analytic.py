"""Infinite-width kernels: published values, neural-tangents' output, Monte Carlo for every activation, law and trainable set."""

import dataclasses
import itertools
import math

import h5py
import numpy as np
import pytest

import meanfield as mf
import ntk
from meanfield import activations
from meanfield.backends.elementwise import values_and_slopes
from ntk import analytic

SUBSETS = [subset for k in (1, 2, 3) for subset in itertools.combinations("awb", k)]
LAWS = {
    "normal": mf.InitialLaw(dim=3, a="normal", a_std=0.8, w_std=0.9),
    "normal and bias": mf.InitialLaw(dim=3, a_std=1.3, w_std=0.9, b_std=0.5),
    "sphere": mf.InitialLaw(dim=3, w="sphere", w_std=1.4),
    "sphere and bias": mf.InitialLaw(dim=3, w="sphere", w_std=1.4, b_std=0.5, symmetric=True),
}


def unit_pair(rho):
    """Two unit vectors of R² at cosine ρ."""
    return np.array([[1.0, 0.0], [rho, math.sqrt(1 - rho * rho)]])


# TRUTHS.md, section 1: two-layer ReLU, unit inputs, w ~ N(0, I), E a² = 1, no bias: (a fixed, a trained too)
TWO_LAYERS = {
    -1.0: (0.0, 0.0),
    -0.5: (-1 / 12, -0.0288344428),
    0.0: (0.0, 0.1591549431),
    0.5: (1 / 6, 0.4711655572),
    0.8: (0.3180668941, 0.7316267541),
    1.0: (0.5, 1.0),
}
# TRUTHS.md, section 1: (ρ, L) -> (Σ, Θ), c_σ = 2
DEEP = {
    (0.5, 1): (0.6089977810, 0.9423311144),
    (0.5, 2): (0.6839056509, 1.3514795611),
    (0.5, 3): (0.7381281923, 1.7378446792),
    (0.5, 5): (0.8104542010, 2.4628931325),
    (0.0, 3): (0.6048257201, 1.0603881068),
}
# TRUTHS.md, section 1: neural-tangents 0.6.5, (activation, hidden layers) -> (nngp, ntk), row-major
X1 = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
X2 = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.7071]])
PEER = {
    ("relu", 1): (
        [0.2469582430, 0.3610028934, 0.4445987929, 0.4152178024],
        [0.2709959030, 0.5206690878, 0.7229525668, 0.6493732494],
    ),
    ("erf", 1): (
        [0.1327902570, 0.3156099980, 0.4343607439, 0.3935532219],
        [0.1756450702, 0.5511646965, 0.8167665842, 0.7224157046],
    ),
    ("gelu", 1): (
        [0.1743675063, 0.2899184988, 0.3744130696, 0.3448822689],
        [0.1985385666, 0.4521868806, 0.6526806472, 0.5812623375],
    ),
    ("relu", 3): (None, [0.8993237735, 1.2863160329, 1.7148612954, 1.5424673484]),
    ("erf", 3): (None, [0.3936287606, 1.0869243615, 1.7817690203, 1.5016055247]),
}


@pytest.mark.parametrize("rho", TWO_LAYERS)
def test_two_layer_relu_kernels_have_their_published_values(rho):
    law, x = mf.InitialLaw(dim=2), unit_pair(rho)
    for trainable, expected in zip((("w",), ("a", "w")), TWO_LAYERS[rho], strict=True):
        H = ntk.kernel(mf.Network("relu", trainable=trainable), law, x)
        assert H[0, 1] == pytest.approx(expected, abs=1e-10)
        np.testing.assert_allclose(np.diag(H), TWO_LAYERS[1.0][trainable[0] == "a"], rtol=1e-15)


@pytest.mark.parametrize(("rho", "depth"), DEEP)
def test_deep_relu_kernels_have_their_published_values(rho, depth):
    """TRUTHS.md, section 1; on the diagonal Σ = 1 and Θ = L + 1 exactly."""
    nngp, tangent = ntk.deep(unit_pair(rho), depth=depth)
    assert (nngp[0, 1], tangent[0, 1]) == pytest.approx(DEEP[rho, depth], abs=1e-10)
    np.testing.assert_allclose(np.diag(nngp), 1.0, rtol=1e-15 * depth)
    np.testing.assert_allclose(np.diag(tangent), depth + 1, rtol=1e-15 * depth)


@pytest.mark.parametrize(("activation", "depth"), PEER)
def test_neural_tangents_returns_the_same_numbers(activation, depth):
    """It divides ⟨x, x'⟩ by the fan-in d = 3; THEORY.md does not: x/√3 here. Ten digits are given."""
    x1, x2 = X1 / math.sqrt(3), X2 / math.sqrt(3)
    scales = {"w_std": 1.5, "b_std": 0.3, "readout_w_std": 1.0, "readout_b_std": 0.3}
    found = ntk.deep(x1, x2, depth=depth, activation=activation, normalise=False, **scales)
    for result, expected in zip(found, PEER[activation, depth], strict=True):
        if expected is not None:
            np.testing.assert_allclose(result.ravel(), expected, atol=2e-10)


def test_the_slopes_of_a_layer_use_the_covariance_that_enters_it():
    """TRUTHS.md, section 0: two hidden layers, ρ = .3: the part of the last hidden weights is Σ¹ · 2E[σ'σ'] under Σ¹, .3188.

    The index one lower, slopes under Σ⁰, gives .2882. Θ² = Σ² + (Σ¹ + Σ⁰ Σ̇¹) Σ̇², Σ̇ = 1 - arccos(Σ)/π.
    """
    x = unit_pair(0.3)
    (s1, _), (s2, t2) = (ntk.deep(x, depth=depth) for depth in (1, 2))
    slope1, slope2 = (1 - math.acos(c) / math.pi for c in (0.3, s1[0, 1]))
    last = t2[0, 1] - s2[0, 1] - 0.3 * slope1 * slope2
    assert last == pytest.approx(s1[0, 1] * slope2, abs=1e-12)
    assert last == pytest.approx(0.3188, abs=5e-5)
    assert s1[0, 1] * slope1 == pytest.approx(0.2882, abs=5e-5)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (3, [1 / 3, 7 / 12, 7 / 12]),
        (4, [0.5, 0.5, 0.5, 0.5]),
        (5, [0.3, 0.3, 0.523607, 0.688197, 0.688197]),
    ],
)
def test_points_on_the_circle_have_the_eigenvalues_of_their_circulant(n, expected):
    """TRUTHS.md, section 1: six digits."""
    angle = 2 * np.pi * np.arange(n) / n
    H = ntk.kernel(mf.Network("relu", trainable=("w",)), mf.InitialLaw(dim=2), np.column_stack([np.cos(angle), np.sin(angle)]))
    np.testing.assert_allclose(np.linalg.eigvalsh(H), expected, atol=5e-7)


@pytest.fixture(scope="module")
def points():
    """Four and three inputs in R³; one short, one antipodal to another, one of no length."""
    rng = np.random.default_rng(5)
    x1 = rng.normal(size=(4, 3))
    x1[3] = 0.0
    return x1, np.stack([-x1[0], 0.1 * rng.normal(size=3), rng.normal(size=3)])


M = 40_000


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("activation", [*activations.TABLE, "leaky_relu(0.2)"])
def test_the_limit_is_the_mean_over_neurons_drawn_from_the_law(activation, law, points):
    """Within four standard errors for m = 40 000, for every part of every trainable subset, and the output's covariance.

    One neuron contributes σσ' to the part of a, a²σ̇σ̇' to b, ⟨x, x'⟩ times that to w; standard errors from the sample itself.
    """
    x1, x2 = points
    state = dataclasses.replace(law, symmetric=False).sample(M, seed=11)
    sigma = activations.get(activation)
    (v1, s1), (v2, s2) = (values_and_slopes(sigma, state.w @ x.T + state.b[:, None]) for x in (x1, x2))
    values, power = v1[:, :, None] * v2[:, None, :], (state.a**2)[:, :, None]
    slopes = power * s1[:, :, None] * s2[:, None, :]
    draws = {"a": values, "w": slopes * (x1 @ x2.T), "b": slopes}
    whole = ntk.kernel(mf.Network(activation), law, x1, x2, parts=True)
    for trainable in SUBSETS:
        network = mf.Network(activation, trainable=trainable)
        sample = sum(draws[name] for name in trainable)
        within_four_errors(sample, sum(whole[name] for name in trainable))
        if law.w == "normal":  # every subset is the sum of its parts
            H = ntk.kernel(network, law, x1, x2)
            np.testing.assert_allclose(H, sum(whole[name] for name in trainable), atol=1e-13 * np.abs(H).max())
    iid = dataclasses.replace(law, symmetric=False)
    within_four_errors(power * values, ntk.nngp(mf.Network(activation), iid, x1, x2))


def within_four_errors(sample, expected):
    error = sample.std(axis=0) / math.sqrt(len(sample))
    # where every draw is the same (no length, no bias) the mean is exact up to rounding
    assert (np.abs(sample.mean(axis=0) - expected) <= 4 * error + 1e-9).all()


@pytest.mark.parametrize("activation", ["relu", "square", "linear", "leaky_relu(0.2)"])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_homogeneous_activation_on_the_sphere_is_a_gaussian_one_by_a_factor(activation, dim, rng):
    """The radial factor against the two-dimensional quadrature: σ with its homogeneity forgotten. |g| leaves: 1e-10."""
    law = mf.InitialLaw(dim=dim, w="sphere", w_std=1.2)
    sigma = activations.get(activation)
    forgetful = mf.Activation("own", sigma.value, sigma.slope, smooth=sigma.smooth)
    x = rng.normal(size=(4, dim))
    for name in ("a", "w"):
        H, by_quadrature = (ntk.kernel(mf.Network(s, trainable=(name,)), law, x) for s in (sigma, forgetful))
        np.testing.assert_allclose(H, by_quadrature, atol=1e-8 if dim == 1 else 1e-10 * np.abs(H).max())


def test_in_one_dimension_the_sphere_is_two_points():
    """w = ±w_std: H = ½ Σ_± (σσ' + xx' σ̇σ̇')."""
    law, x = mf.InitialLaw(dim=1, w="sphere", w_std=0.7), np.array([[0.5], [-2.0], [0.0]])
    H = ntk.kernel(mf.Network("tanh", trainable=("a", "w")), law, x)
    expected = 0.0
    for w in (-0.7, 0.7):
        t = np.tanh(w * x)
        expected = expected + 0.5 * (t @ t.T + (x @ x.T) * ((1 - t**2) @ (1 - t**2).T))
    np.testing.assert_allclose(H, expected, atol=1e-14)


def test_a_sphere_in_many_dimensions_is_nearly_a_gaussian():
    """w_std = √d: |w|² = d as for N(0, I_d); the relative difference is O(1/d) = 1e-3."""
    x = np.zeros((2, 2000))
    x[0, 0], x[1, :2] = 1.0, (0.6, 0.8)
    network = mf.Network("tanh")
    gaussian = ntk.kernel(network, mf.InitialLaw(dim=2000), x)
    np.testing.assert_allclose(
        ntk.kernel(network, mf.InitialLaw(dim=2000, w="sphere", w_std=math.sqrt(2000)), x), gaussian, rtol=1e-3
    )


def test_one_hidden_layer_is_the_two_layer_kernel(rng):
    """deep(depth=1) trains readout and hidden weights: a_std = readout_w_std; with biases on the hidden layer, b too."""
    x1, x2 = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    for activation in ("relu", "tanh"):
        law = mf.InitialLaw(dim=3, a_std=1.1, w_std=0.8, b_std=0.4)
        parts = ntk.kernel(mf.Network(activation), law, x1, x2, parts=True)
        # in the recursion w is w_std times a standard normal and the gradient is for that: w_std² and b_std² appear
        expected = 1.1**2 * parts["a"] + 0.8**2 * parts["w"] + 0.4**2 * parts["b"]
        nngp, found = ntk.deep(x1, x2, depth=1, activation=activation, w_std=0.8, b_std=0.4, readout_w_std=1.1, normalise=False)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(nngp, ntk.nngp(mf.Network(activation), law, x1, x2), rtol=1e-12)


def test_several_outputs_share_one_kernel_if_readouts_scale_with_the_hidden_units():
    """TRUTHS.md, section 0: E[J Jᵀ] over the hidden weights is ν² I_K ⊗ Σ(X) for Var V = ν²/k, k hidden units, not classes.

    J of f = V σ(W x) in W, k = 200 units, K = 3 classes, 1000 networks: four standard errors.
    """
    rng = np.random.default_rng(8)
    x, nu, k, K, networks = unit_pair(0.4), 1.3, 200, 3, 1000
    H = ntk.kernel(mf.Network("relu", trainable=("w",)), mf.InitialLaw(dim=2, outputs=K, a_std=nu), x)
    products = np.empty((networks, K, K))
    for i in range(networks):
        V, on = rng.normal(size=(K, k)) * nu / math.sqrt(k), rng.normal(size=(k, 2)) @ x.T > 0
        products[i] = (V * (on[:, 0] & on[:, 1])) @ V.T * (x[0] @ x[1])
    error = products.std(axis=0) / math.sqrt(networks)
    assert (np.abs(products.mean(axis=0) - H[0, 1] * np.eye(K)) <= 4 * error).all()
    assert np.abs(k / K * products[:, 0, 0].mean() - H[0, 1]) > 100 * error[0, 0]  # Var V = ν²/K misses by k/K


def test_the_law_of_a_enters_by_its_second_moment():
    x, network = unit_pair(0.3), mf.Network("erf")
    kernels = [ntk.kernel(network, mf.InitialLaw(dim=2, a=a, a_std=1.5), x) for a in ("rademacher", "normal")]
    np.testing.assert_array_equal(*kernels)
    parts = ntk.kernel(network, mf.InitialLaw(dim=2, a="zero"), x, parts=True)
    assert list(parts) == ["a", "w", "b"]
    assert parts["a"].min() > 0 and not parts["w"].any() and not parts["b"].any()


def test_scaling_and_symmetry_leave_the_kernel_and_a_symmetric_start_has_no_covariance():
    x, law = unit_pair(0.3), mf.InitialLaw(dim=2, b_std=0.2)
    twin = dataclasses.replace(law, symmetric=True)
    H = ntk.kernel(mf.Network("relu"), law, x)
    np.testing.assert_array_equal(ntk.kernel(mf.Network("relu", scaling=mf.Scaling(0.5, 3.0)), twin, x), H)
    assert ntk.nngp(mf.Network("relu"), law, x).min() > 0
    assert not ntk.nngp(mf.Network("relu"), twin, x).any()
    assert not ntk.nngp(mf.Network("relu"), dataclasses.replace(law, a="zero"), x).any()


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
@pytest.mark.parametrize("w", ["normal", "sphere"])
def test_blocks_are_the_whole_and_the_whole_is_exactly_symmetric(activation, w, rng, monkeypatch):
    """With duplicated and antipodal rows. Another block size changes the rounding of inner products, at ρ = ±1 1e-8."""
    n = 150 if (activation, w) == ("relu", "normal") else 40
    x = rng.normal(size=(n, 4))
    x[5], x[6] = x[3], -x[3]
    network, law = mf.Network(activation), mf.InitialLaw(dim=4, w=w)
    whole = ntk.kernel(network, law, x)
    monkeypatch.setattr(analytic, "BLOCK", n // 3)
    again = ntk.kernel(network, law, x)
    np.testing.assert_array_equal(again, again.T)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_allclose(again, whole, atol=2e-8 * whole.max())
    np.testing.assert_allclose(ntk.kernel(network, law, x, x[: n // 2]), whole[:, : n // 2], atol=2e-8 * whole.max())
    blocks = list(ntk.kernel_blocks(network, law, x, block=n // 3))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), again)
    assert [rows for rows, _ in blocks] == [slice(i, min(i + n // 3, n)) for i in range(0, n, n // 3)]


def test_a_kernel_goes_to_a_file_block_by_block(h5_path, rng):
    network, law, x1, x2 = mf.Network("relu"), mf.InitialLaw(dim=3), rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    with h5py.File(h5_path, "w") as file:
        dataset = file.create_dataset("H", (50, 40), dtype="f8")
        for rows, H in ntk.kernel_blocks(network, law, x1, x2, block=16):
            dataset[rows] = H
    with h5py.File(h5_path) as file:
        np.testing.assert_allclose(file["H"][:], ntk.kernel(network, law, x1, x2), rtol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "tanh"])
def test_the_deep_kernel_is_symmetric_and_the_rectangular_one_agrees(activation, rng):
    """One of them skips half of the entries. n = 150 is above the size from which fused passes run; copies of rows: 1e-8."""
    x = rng.normal(size=(150, 4)) / 2
    x[7], x[8] = x[2], -x[2]
    arguments = {"depth": 3, "activation": activation, "w_std": 1.2, "b_std": 0.1, "normalise": False}
    for square, rectangle in zip(ntk.deep(x, **arguments), ntk.deep(x, x.copy(), **arguments), strict=True):
        np.testing.assert_array_equal(square, square.T)
        np.testing.assert_allclose(square, rectangle, atol=1e-7 * np.abs(square).max())
        off = ~np.eye(150, dtype=bool) & ~np.isin(np.arange(150), (2, 7, 8))
        np.testing.assert_allclose(square[off], rectangle[off], rtol=1e-11)


def test_a_hundred_layers_and_single_precision(rng):
    """Σ(x, x) = |x|² under normalised ReLU at any depth, Θ(x, x) = (L + 1)|x|²; float32 within 100 roundings of float64."""
    x = rng.normal(size=(6, 8)) / 3
    nngp, tangent = ntk.deep(x, depth=100)
    norms = np.square(x).sum(axis=1)
    np.testing.assert_allclose(np.diag(nngp), norms, rtol=1e-13)
    np.testing.assert_allclose(np.diag(tangent), 101 * norms, rtol=1e-13)
    single = ntk.deep(x.astype(np.float32), depth=3)
    for low, high in zip(single, ntk.deep(x, depth=3), strict=True):
        assert low.dtype == np.float32 and high.dtype == np.float64
        np.testing.assert_allclose(low, high, atol=100 * np.finfo(np.float32).eps)


def test_inputs_of_no_length_give_zero_without_biases():
    x = np.array([[0.0, 0.0], [1.0, 0.5]])
    for H in (ntk.kernel(mf.Network("relu"), mf.InitialLaw(dim=2), x), *ntk.deep(x, depth=3)):
        assert H[0, 0] == H[0, 1] == H[1, 0] == 0.0 and H[1, 1] > 0
    nngp, tangent = ntk.deep(x, depth=3, b_std=0.5)
    assert np.linalg.eigvalsh(tangent)[0] > 0 and nngp[0, 0] > 0


def test_parallel_inputs_do_not_round_beyond_correlation_one(rng):
    """x and cx: ⟨x, cx⟩ may exceed |x||cx| in the last place; relu values are then c/2, slopes ½ up to arccos: 1e-8."""
    x = rng.normal(size=(200, 7))
    parts = ntk.kernel(mf.Network("relu"), mf.InitialLaw(dim=7), x, 3.0 * x, parts=True)
    np.testing.assert_allclose(np.diag(parts["a"]), 1.5 * np.square(x).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(np.diag(parts["b"]), 0.5, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x1": np.array([[1.0, np.nan]])}, ValueError, "NaN or infinite values, first at row 0, column 1"),
        ({"x1": np.ones((2, 3))}, ValueError, r"x must be \(n, 2\)"),
        ({"x2": np.ones((2, 3))}, ValueError, r"x must be \(n, 2\)"),
        ({"x1": np.ones(2)}, ValueError, r"x\[:, None\]"),
        ({"x1": np.full((1, 2), 1e200)}, ValueError, "overflows"),
        ({"network": mf.Network(trainable=())}, ValueError, "nothing to train"),
        ({"network": "relu"}, TypeError, "network must be an mf.Network"),
        ({"law": mf.InitialLaw(dim=2).sample(4)}, TypeError, r"a State has ntk.empirical"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(change, error, message):
    arguments = {"network": mf.Network("relu"), "law": mf.InitialLaw(dim=2), "x1": np.ones((2, 2)), "x2": None}
    with pytest.raises(error, match=message):
        ntk.kernel(**(arguments | change))
    with pytest.raises(error, match=message):
        list(ntk.kernel_blocks(**(arguments | change)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth is the number of hidden layers, an integer >= 1; got 0"),
        ({"depth": 1.5}, "got 1.5"),
        ({"depth": 1, "w_std": -1.0}, "w_std must be a finite number >= 0; got -1.0"),
        ({"depth": 1, "b_std": np.inf}, "b_std must be"),
        ({"depth": 1, "activation": "relux"}, "Did you mean 'relu'"),
        ({"depth": 1, "x2": np.ones((2, 4))}, r"x must be \(n, 3\)"),
        ({"depth": 400, "w_std": 10.0}, "overflows"),
    ],
)
def test_bad_settings_of_the_recursion_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk.deep(np.ones((2, 3)), **arguments)


def test_blocks_need_a_size():
    with pytest.raises(ValueError, match="block, the number of rows at a time, must be an integer >= 1; got 0"):
        ntk.kernel_blocks(mf.Network("relu"), mf.InitialLaw(dim=2), np.ones((2, 2)), block=0)
