"""Two-layer kernels of infinite width: published values, Monte Carlo for every activation, law and
trainable set.
"""

import dataclasses
import itertools
import math
import warnings

import h5py
import numpy as np
import pytest

import meanfield as mf
import ntk
from meanfield.backends.cpu.elementwise import values_and_slopes
from meanfield.formulas import activations
from ntk.gaussian import polar, sphere
from ntk.infinite import analytic

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


# TRUTHS.md, section 1: two-layer ReLU, unit inputs, w ~ N(0, I), E a² = 1, no bias: (a fixed, a
# trained too)
TWO_LAYERS = {
    -1.0: (0.0, 0.0),
    -0.5: (-1 / 12, -0.0288344428),
    0.0: (0.0, 0.1591549431),
    0.5: (1 / 6, 0.4711655572),
    0.8: (0.3180668941, 0.7316267541),
    1.0: (0.5, 1.0),
}


@pytest.mark.parametrize("rho", TWO_LAYERS)
def test_two_layer_relu_kernels_have_their_published_values(rho):
    law, x = mf.InitialLaw(dim=2), unit_pair(rho)
    for trainable, expected in zip((("w",), ("a", "w")), TWO_LAYERS[rho], strict=True):
        H = ntk.kernel(mf.Network("relu", trainable=trainable), law, x)
        assert H[0, 1] == pytest.approx(expected, abs=1e-10)
        np.testing.assert_allclose(np.diag(H), TWO_LAYERS[1.0][trainable[0] == "a"], rtol=1e-15)


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
    H = ntk.kernel(
        mf.Network("relu", trainable=("w",)),
        mf.InitialLaw(dim=2),
        np.column_stack([np.cos(angle), np.sin(angle)]),
    )
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
    """Within four standard errors for m = 40 000, for every part of every trainable subset, and the
    output's covariance.

    One neuron contributes σσ' to the part of a, a²σ̇σ̇' to b, ⟨x, x'⟩ times that to w; standard
    errors from the sample itself.
    """
    x1, x2 = points
    state = dataclasses.replace(law, symmetric=False).sample(M, seed=11)
    sigma = activations.get(activation)
    (v1, s1), (v2, s2) = (
        values_and_slopes(sigma, state.w @ x.T + state.b[:, None]) for x in (x1, x2)
    )
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
            np.testing.assert_allclose(
                H, sum(whole[name] for name in trainable), atol=1e-13 * np.abs(H).max()
            )
    iid = dataclasses.replace(law, symmetric=False)
    within_four_errors(power * values, ntk.nngp(mf.Network(activation), iid, x1, x2))


def within_four_errors(sample, expected):
    error = sample.std(axis=0) / math.sqrt(len(sample))
    # where every draw is the same (no length, no bias) the mean is exact up to rounding
    assert (np.abs(sample.mean(axis=0) - expected) <= 4 * error + 1e-9).all()


@pytest.mark.parametrize("activation", ["relu", "square", "linear", "leaky_relu(0.2)"])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_homogeneous_activation_on_the_sphere_is_a_gaussian_one_by_a_factor(activation, dim, rng):
    """The radial factor against the two-dimensional quadrature: σ with its homogeneity forgotten.
    |g| leaves: 1e-10.
    """
    law = mf.InitialLaw(dim=dim, w="sphere", w_std=1.2)
    sigma = activations.get(activation)
    forgetful = mf.Activation("own", sigma.value, sigma.slope, smooth=sigma.smooth)
    x = rng.normal(size=(4, dim))
    for name in ("a", "w"):
        H, by_quadrature = (
            ntk.kernel(mf.Network(s, trainable=(name,)), law, x) for s in (sigma, forgetful)
        )
        np.testing.assert_allclose(
            H, by_quadrature, atol=1e-8 if dim == 1 else 1e-10 * np.abs(H).max()
        )


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
        ntk.kernel(network, mf.InitialLaw(dim=2000, w="sphere", w_std=math.sqrt(2000)), x),
        gaussian,
        rtol=1e-3,
    )


def test_several_outputs_share_one_kernel_if_readouts_scale_with_the_hidden_units():
    """TRUTHS.md, section 0: E[J Jᵀ] over the hidden weights is ν² I_K ⊗ Σ(X) for Var V = ν²/k, k
    hidden units, not classes.

    J of f = V σ(W x) in W, k = 200 units, K = 3 classes, 1000 networks: four standard errors.
    """
    rng = np.random.default_rng(8)
    x, nu, k, K, networks = unit_pair(0.4), 1.3, 200, 3, 1000
    H = ntk.kernel(
        mf.Network("relu", trainable=("w",)), mf.InitialLaw(dim=2, outputs=K, a_std=nu), x
    )
    products = np.empty((networks, K, K))
    for i in range(networks):
        V, on = rng.normal(size=(K, k)) * nu / math.sqrt(k), rng.normal(size=(k, 2)) @ x.T > 0
        products[i] = (V * (on[:, 0] & on[:, 1])) @ V.T * (x[0] @ x[1])
    error = products.std(axis=0) / math.sqrt(networks)
    assert (np.abs(products.mean(axis=0) - H[0, 1] * np.eye(K)) <= 4 * error).all()
    # Var V = ν²/K misses by k/K
    assert np.abs(k / K * products[:, 0, 0].mean() - H[0, 1]) > 100 * error[0, 0]


def test_the_law_of_a_enters_by_its_second_moment():
    x, network = unit_pair(0.3), mf.Network("erf")
    kernels = [
        ntk.kernel(network, mf.InitialLaw(dim=2, a=a, a_std=1.5), x)
        for a in ("rademacher", "normal")
    ]
    np.testing.assert_array_equal(*kernels)
    parts = ntk.kernel(network, mf.InitialLaw(dim=2, a="zero"), x, parts=True)
    assert list(parts) == ["a", "w", "b"]
    assert parts["a"].min() > 0 and not parts["w"].any() and not parts["b"].any()


def test_scaling_and_symmetry_leave_the_kernel_and_a_symmetric_start_has_no_covariance():
    x, law = unit_pair(0.3), mf.InitialLaw(dim=2, b_std=0.2)
    twin = dataclasses.replace(law, symmetric=True)
    H = ntk.kernel(mf.Network("relu"), law, x)
    np.testing.assert_array_equal(
        ntk.kernel(mf.Network("relu", scaling=mf.Scaling(0.5, 3.0)), twin, x), H
    )
    assert ntk.nngp(mf.Network("relu"), law, x).min() > 0
    assert not ntk.nngp(mf.Network("relu"), twin, x).any()
    assert not ntk.nngp(mf.Network("relu"), dataclasses.replace(law, a="zero"), x).any()


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
@pytest.mark.parametrize("w", ["normal", "sphere"])
def test_blocks_are_the_whole_and_the_whole_is_exactly_symmetric(activation, w, rng, monkeypatch):
    """With duplicated and antipodal rows. Another block size changes the rounding of inner
    products, at ρ = ±1 1e-8.
    """
    n = 150 if (activation, w) == ("relu", "normal") else 18
    x = rng.normal(size=(n, 4))
    x[5], x[6] = x[3], -x[3]
    network, law = mf.Network(activation), mf.InitialLaw(dim=4, w=w)
    whole = ntk.kernel(network, law, x)
    monkeypatch.setattr(analytic, "BLOCK", n // 3)
    again = ntk.kernel(network, law, x)
    np.testing.assert_array_equal(again, again.T)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_allclose(again, whole, atol=2e-8 * whole.max())
    np.testing.assert_allclose(
        ntk.kernel(network, law, x, x[: n // 2]), whole[:, : n // 2], atol=2e-8 * whole.max()
    )
    blocks = list(ntk.kernel_blocks(network, law, x, block=n // 3))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), again)
    assert [rows for rows, _ in blocks] == [
        slice(i, min(i + n // 3, n)) for i in range(0, n, n // 3)
    ]


def test_a_kernel_goes_to_a_file_block_by_block(h5_path, rng):
    network, law, x1, x2 = (
        mf.Network("relu"),
        mf.InitialLaw(dim=3),
        rng.normal(size=(50, 3)),
        rng.normal(size=(40, 3)),
    )
    with h5py.File(h5_path, "w") as file:
        dataset = file.create_dataset("H", (50, 40), dtype="f8")
        for rows, H in ntk.kernel_blocks(network, law, x1, x2, block=16):
            dataset[rows] = H
    with h5py.File(h5_path) as file:
        np.testing.assert_allclose(file["H"][:], ntk.kernel(network, law, x1, x2), rtol=1e-13)


def test_parallel_inputs_do_not_round_beyond_correlation_one(rng):
    """x and cx: ⟨x, cx⟩ may exceed |x||cx| in the last place; relu values are then c/2, slopes ½ up
    to arccos: 1e-8.
    """
    x = rng.normal(size=(200, 7))
    parts = ntk.kernel(mf.Network("relu"), mf.InitialLaw(dim=7), x, 3.0 * x, parts=True)
    np.testing.assert_allclose(np.diag(parts["a"]), 1.5 * np.square(x).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(np.diag(parts["b"]), 0.5, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"x1": np.array([[1.0, np.nan]])},
            ValueError,
            "NaN or infinite values, first at row 0, column 1",
        ),
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
    arguments = {
        "network": mf.Network("relu"),
        "law": mf.InitialLaw(dim=2),
        "x1": np.ones((2, 2)),
        "x2": None,
    }
    with pytest.raises(error, match=message):
        ntk.kernel(**(arguments | change))
    with pytest.raises(error, match=message):
        list(ntk.kernel_blocks(**(arguments | change)))


def test_blocks_need_a_size():
    with pytest.raises(
        ValueError, match="block, the number of rows at a time, must be an integer >= 1; got 0"
    ):
        ntk.kernel_blocks(mf.Network("relu"), mf.InitialLaw(dim=2), np.ones((2, 2)), block=0)


HUGE = [1e4, 1e8, 1e16, 1e77, 1e100, 1e150]


@pytest.mark.parametrize("name", ["tanh", "erf"])
@pytest.mark.parametrize("scale", HUGE)
def test_huge_inputs_have_the_kernel_of_a_sign(name, scale):
    """NNGP (2/π) asin ρ; ⟨x, x'⟩ E[σ̇σ̇'] → (2/π) ρ/√(1 - ρ²), without a bias: independent of the
    scale, to 10/scale.
    """
    x = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
    rho = np.array([0.6, 0.0, 0.8])
    network, law = mf.Network(name, trainable=("a", "w")), mf.InitialLaw(dim=2)
    i, j = [0, 0, 1], [1, 2, 2]
    sign = 2 / np.pi * np.arcsin(rho)
    np.testing.assert_allclose(
        ntk.nngp(network, law, scale * x)[i, j], sign, rtol=0, atol=10 / scale + 1e-14
    )
    expected = sign + 2 / np.pi * rho / np.sqrt(1 - rho**2)
    np.testing.assert_allclose(
        ntk.kernel(network, law, scale * x)[i, j], expected, rtol=0, atol=10 / scale + 1e-13
    )
    deep = ntk.deep(scale * x, depth=1, activation=name, normalise=False)
    np.testing.assert_allclose(deep[1][i, j], expected, rtol=0, atol=10 / scale + 1e-13)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "linear"])
@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-480, 2.0**300, 2.0**500])
def test_homogeneous_kernels_keep_their_angles_at_every_scale(name, scale):
    """Without a bias E[σ̇σ̇'] does not depend on |x|, however small |x|² is; E[σσ'] goes as
    |x||x'|. To rounding.
    """
    x = np.random.default_rng(0).normal(size=(4, 3))
    network, law = mf.Network(name, trainable=("a", "w", "b")), mf.InitialLaw(dim=3)
    one, other = (ntk.kernel(network, law, factor * x, parts=True) for factor in (1.0, scale))
    np.testing.assert_allclose(other["b"], one["b"], rtol=1e-15)
    np.testing.assert_allclose(other["a"], one["a"] * scale * scale, rtol=1e-15)


def test_huge_inputs_that_repeat_are_one_and_the_same():
    """x, x and -x at 1e50: rounding of ⟨x, x'⟩ beside |x|² must not part them."""
    x = 1e50 * np.random.default_rng(1).normal(size=(3, 7))
    x[1], x[2] = x[0], -x[0]
    for name in ("tanh", "erf", "sin", "gelu"):
        H = ntk.kernel(mf.Network(name), mf.InitialLaw(dim=7), x)
        np.testing.assert_allclose(H[0, 1], H[0, 0], rtol=1e-12)
    H = ntk.kernel(mf.Network("tanh"), mf.InitialLaw(dim=7), x, parts=True)
    assert H["a"][0, 2] == pytest.approx(-H["a"][0, 0], rel=1e-12)


@pytest.mark.parametrize("name", ["relu", "tanh", "erf", "gelu", "square", "sin"])
def test_squares_that_overflow_are_refused_with_what_to_do(name):
    x = np.array([[1e155, 0.0], [0.0, 1e300]])
    network, law = mf.Network(name), mf.InitialLaw(dim=2)
    state = law.sample(8, seed=0)
    for work in (
        lambda: ntk.kernel(network, law, x), lambda: ntk.nngp(network, law, x), lambda: ntk.deep(x, depth=2, activation=name),
        lambda: next(ntk.kernel_blocks(network, law, x)),
        lambda: ntk.kernel(network, mf.InitialLaw(dim=2, w_std=1e200), x / 1e150),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="overflow.*scale the inputs down|overflow"):
            work()
    try:
        assert np.isfinite(ntk.empirical(network, state, x)).all()
    except ValueError as error:
        assert "overflows" in str(error) and "standardise" in str(error)


def test_on_a_sphere_widths_that_no_rule_resolves_are_refused():
    with pytest.raises(
        ValueError,
        match=r'the dual of tanh for w on a sphere.*standardise them\), or take w="normal"',
    ):
        ntk.kernel(mf.Network("tanh"), mf.InitialLaw(dim=3, w="sphere"), 1e16 * np.eye(3))


def test_quadrature_that_takes_long_says_so_before_it_starts(monkeypatch):
    """tanh, w on a sphere and a bias: three variables, a second for each pair of inputs for which
    the series is too short.
    """
    monkeypatch.setattr(sphere, "LEVELS", ())
    network, x = mf.Network("tanh"), 0.1 * np.eye(2, 3)
    law = mf.InitialLaw(dim=3, w="sphere", b_std=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ntk.kernel(network, law, x)
    monkeypatch.setattr(polar, "ANNOUNCE", 1e-6)
    with pytest.warns(
        UserWarning,
        match=r"the dual of tanh of w on a sphere with a bias.* will take about .*w=\"normal\"",
    ):
        ntk.kernel(network, law, x)


@pytest.mark.parametrize(
    ("x", "a_std"),
    [(1e100 * np.eye(2, 3), 1.0), (np.array([[1e100, 0.0], [0.0, 1.0]]), 1.0), (np.eye(2), 1e200)],
)
def test_an_entry_that_overflows_is_refused_without_a_warning_of_numpy(x, a_std):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="the kernel of square overflows"):
            ntk.kernel(mf.Network("square"), mf.InitialLaw(dim=x.shape[1], a_std=a_std), x)
