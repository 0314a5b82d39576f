"""The recursion of deep networks: published values, neural-tangents' output, symmetry, depth, bad
settings.
"""

import math

import numpy as np
import pytest

import meanfield as mf
import ntk


def unit_pair(rho):
    """Two unit vectors of R² at cosine ρ."""
    return np.array([[1.0, 0.0], [rho, math.sqrt(1 - rho * rho)]])


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
    """TRUTHS.md, section 0: two hidden layers, ρ = .3: the part of the last hidden weights is Σ¹ ·
    2E[σ'σ'] under Σ¹, .3188.

    The index one lower, slopes under Σ⁰, gives .2882. Θ² = Σ² + (Σ¹ + Σ⁰ Σ̇¹) Σ̇², Σ̇ = 1 -
    arccos(Σ)/π.
    """
    x = unit_pair(0.3)
    (s1, _), (s2, t2) = (ntk.deep(x, depth=depth) for depth in (1, 2))
    slope1, slope2 = (1 - math.acos(c) / math.pi for c in (0.3, s1[0, 1]))
    last = t2[0, 1] - s2[0, 1] - 0.3 * slope1 * slope2
    assert last == pytest.approx(s1[0, 1] * slope2, abs=1e-12)
    assert last == pytest.approx(0.3188, abs=5e-5)
    assert s1[0, 1] * slope1 == pytest.approx(0.2882, abs=5e-5)


def test_one_hidden_layer_is_the_two_layer_kernel(rng):
    """deep(depth=1) trains readout and hidden weights: a_std = readout_w_std; with biases on the
    hidden layer, b too.
    """
    x1, x2 = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    for activation in ("relu", "tanh"):
        law = mf.InitialLaw(dim=3, a_std=1.1, w_std=0.8, b_std=0.4)
        parts = ntk.kernel(mf.Network(activation), law, x1, x2, parts=True)
        # in the recursion w is w_std times a standard normal and the gradient is for that: w_std²
        # and b_std² appear
        expected = 1.1**2 * parts["a"] + 0.8**2 * parts["w"] + 0.4**2 * parts["b"]
        nngp, found = ntk.deep(
            x1,
            x2,
            depth=1,
            activation=activation,
            w_std=0.8,
            b_std=0.4,
            readout_w_std=1.1,
            normalise=False,
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        np.testing.assert_allclose(nngp, ntk.nngp(mf.Network(activation), law, x1, x2), rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "tanh"])
def test_the_deep_kernel_is_symmetric_and_the_rectangular_one_agrees(activation, rng):
    """One of them skips half of the entries. n = 150 is above the size from which fused passes run;
    copies of rows: 1e-8.
    """
    x = rng.normal(size=(150, 4)) / 2
    x[7], x[8] = x[2], -x[2]
    arguments = {
        "depth": 3,
        "activation": activation,
        "w_std": 1.2,
        "b_std": 0.1,
        "normalise": False,
    }
    for square, rectangle in zip(
        ntk.deep(x, **arguments), ntk.deep(x, x.copy(), **arguments), strict=True
    ):
        np.testing.assert_array_equal(square, square.T)
        np.testing.assert_allclose(square, rectangle, atol=1e-7 * np.abs(square).max())
        off = ~np.eye(150, dtype=bool) & ~np.isin(np.arange(150), (2, 7, 8))
        np.testing.assert_allclose(square[off], rectangle[off], rtol=1e-11)


def test_a_hundred_layers_and_single_precision(rng):
    """Σ(x, x) = |x|² under normalised ReLU at any depth, Θ(x, x) = (L + 1)|x|²; float32 within 100
    roundings of float64.
    """
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
