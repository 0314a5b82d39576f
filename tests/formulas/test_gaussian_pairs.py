"""K_σ(w, v) = E[σ(⟨w,x⟩)σ(⟨v,x⟩)] and its gradient: against quadrature, 50 digits, and the duals of
the kernel theory.
"""

import mpmath
import naive
import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield import backends
from meanfield.formulas import activations
from ntk.gaussian import duals

NAMES = [name for name, sigma in activations.TABLE.items() if sigma.pair]
DTYPES = ["float64", "float32"]


def kernels(name, w, v, dtype="float64"):
    """(K(w_i, v), ∇_w K(w_i, v)) of the rows w (n, d) and one v, by the kernels of the engine."""
    n, d = w.shape
    pairs = backends.make("cpu", mf.Network(name, trainable=("a", "w")), d, 1, dtype).gaussian_pairs
    targets, source = (
        np.column_stack([np.ones(len(rows)), rows, np.zeros(len(rows))]).astype(dtype)
        for rows in (w, v[None])
    )
    source = pairs.cloud(source, np.ones(1))
    value, velocity = pairs.act(pairs.cloud(targets, np.ones(n)), (source,))
    return value[:, 0], -velocity[:, 1:-1]


@pytest.mark.parametrize("name", sweep(NAMES, "relu", "erf"))
def test_every_closed_form_is_its_definition_by_quadrature(rng, name):
    """24 nodes an angle between kinks, 48 in the radius: the rule is exact to 1e-10 of the size of
    K (1 here; erf is steep).
    """
    sigma = activations.get(name)
    w, v = rng.normal(size=(4, 3)), rng.normal(size=3)
    w[3] = -0.7 * v
    K, gradient = kernels(name, w, v)
    for i in range(4):
        expected, slope = naive.pair_kernel(sigma, w[i], v)
        assert K[i] == pytest.approx(expected, abs=1e-10)
        np.testing.assert_allclose(gradient[i], slope, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", sweep(NAMES, "relu", "erf"))
def test_the_duals_of_the_kernel_theory_are_the_same_function(rng, name):
    """ntk.duals writes them for whole matrices: E[σσ] to 1e-10 by its own promise."""
    w, v = rng.normal(size=(50, 3)), rng.normal(size=3)
    expected = duals.value(name, (w**2).sum(axis=1), v @ v, w @ v)
    np.testing.assert_allclose(kernels(name, w, v)[0], expected, rtol=1e-12, atol=1e-13)


def closed_form(name, q, r, c, R):
    """(K, 2 ∂K/∂q, ∂K/∂c) in 50 digits from TRUTHS.md, section 1; q = |w|², r = |v|², R the slope
    of leaky_relu.
    """
    if name == "relu":
        angle = mpmath.acos(max(-1, min(1, c / mpmath.sqrt(q * r)))) if q * r else mpmath.pi / 2
        radial = mpmath.sqrt(r / q) * mpmath.sin(angle) / (2 * mpmath.pi) if q else mpmath.mpf(0)
        plain = (
            mpmath.sqrt(q * r)
            * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle))
            / (2 * mpmath.pi)
        )
        one = (1 - R) ** 2
        return one * plain + R * c, one * radial, one * (mpmath.pi - angle) / (2 * mpmath.pi) + R
    forms = {
        "erf": lambda q, c: (
            2 / mpmath.pi * mpmath.asin(2 * c / mpmath.sqrt((1 + 2 * q) * (1 + 2 * r)))
        ),
        "sin": lambda q, c: mpmath.exp(-(q + r) / 2) * mpmath.sinh(c),
        "square": lambda q, c: q * r + 2 * c**2,
        "linear": lambda q, c: c,
        "gelu": lambda q, c: (
            c / 4
            + (
                c * mpmath.asin(c / mpmath.sqrt((1 + q) * (1 + r)))
                + (c**2 + q * r * ((1 + q) * (1 + r) - c**2))
                / ((1 + q) * (1 + r) * mpmath.sqrt((1 + q) * (1 + r) - c**2))
            )
            / (2 * mpmath.pi)
        ),
    }
    form = forms[name]
    return (
        form(q, c),
        2 * mpmath.diff(lambda q: form(q, c), q),
        mpmath.diff(lambda c: form(q, c), c),
    )


# Largest error of K over |w||v| and of ∇_w K over |v| (with 1 in place of lengths above 1 for erf
# and sin, which are bounded), in units of ε = 2⁻²³ or 2⁻⁵²: the roundings of w', v', ρ (d + 2
# operations), of the formula (some 20) and of the two sums.
UNITS = {
    "relu": 6,
    "leaky_relu(0.2)": 6,
    "erf": 40,
    "gelu": 40,
    "sin": 16,
    "square": 12,
    "linear": 4,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sweep(UNITS))
def test_a_pair_is_accurate_also_where_vectors_are_parallel_opposite_equal_or_tiny(
    rng, name, dtype
):
    """At angles 0, 1e-9 … 0.1 and π minus these; lengths 1e-6 to 4; equal to the bit; against 50
    digits of rounded vectors.
    """
    v = rng.normal(size=3).astype(dtype)
    across = np.cross(v, rng.normal(size=3))
    across *= np.linalg.norm(v) / np.linalg.norm(across)
    angles = [0.0, 1e-9, 1e-7, 1e-5, 1e-3, 0.1]
    w = [
        sign * size * (np.cos(t) * v + np.sin(t) * across)
        for t in angles
        for sign in (1, -1)
        for size in (1e-6, 0.3, 1.0, 4.0)
    ]
    w = np.array([*w, *rng.normal(size=(20, 3)), *(1e-6 * rng.normal(size=(3, 3))), 0 * v]).astype(
        dtype
    )
    K, gradient = kernels(name, w, v, dtype)
    eps, R = float(np.finfo(dtype).eps), mpmath.mpf(0.2 if "(" in name else 0)
    worst = [0.0, 0.0]
    with mpmath.workdps(50):
        exact_v = [mpmath.mpf(float(x)) for x in v]
        for i in range(len(w)):
            exact_w = [mpmath.mpf(float(x)) for x in w[i]]
            q, r, c = (
                mpmath.fdot(*pair)
                for pair in ((exact_w, exact_w), (exact_v, exact_v), (exact_w, exact_v))
            )
            value, radial, along = closed_form("relu" if "relu" in name else name, q, r, c, R)
            if not q and "relu" in name:  # σ'(0) = R where E takes σ' at ⟨0, x⟩ = 0
                along = R * (1 + R) / 2
            lengths = float(mpmath.sqrt(q)), float(mpmath.sqrt(r))
            if name == "square":
                lengths = tuple(length**2 for length in lengths)
            size = (
                max(lengths[0] * lengths[1], 1e-30),
                max(lengths[1], 1e-30) * (max(1, lengths[0]) if name == "square" else 1),
            )
            worst[0] = max(worst[0], abs(K[i] - float(value)) / size[0] / eps)
            for j in range(3):
                expected = radial * exact_w[j] + along * exact_v[j]
                worst[1] = max(
                    worst[1], abs(float(gradient[i, j]) - float(expected)) / size[1] / eps
                )
    assert max(worst) <= UNITS[name], worst


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sweep(NAMES))
def test_vectors_without_length_and_long_ones_give_numbers_and_nan_comes_through(name, dtype):
    w = np.array(
        [[0.0, 0.0, 0.0], [1e-30, 0.0, 0.0], [1e3, 1e3, 0.0], [-1e3, 1e3, 0.0], [np.nan, 1.0, 0.0]]
    )
    for v in (np.zeros(3), np.array([1e3, 1e3, 0.0])):
        K, gradient = kernels(name, w, v, dtype)
        assert np.isfinite(K[:4]).all() and np.isfinite(gradient[:4]).all()
        assert np.isnan(K[4]) and np.isnan(gradient[4]).any()
