"""Dual activations E[σσ], E[σ'σ']: published values, closed forms against two independent
quadratures, limits, bad input.
"""

import math

import numpy as np
import pytest
from scipy import integrate

import meanfield as mf
from meanfield.formulas import activations
from ntk.gaussian import duals, polar, quadrature, wide

# TRUTHS.md, section 1, at (q1, q2, c) = (1, .64, .3), 12 digits
PUBLISHED = {
    "relu": (0.211386058848, 0.311178646770),
    "leaky_relu(0.2)": (0.195287077663, 0.399154333933),
    "erf": (0.147363066759, 0.500175731198),
    "sin": (0.134120376674, 0.460400171297),
    "square": (0.82, 1.2),
    "gelu": (0.140856111488, 0.314532879187),
}
EXP = mf.Activation("exp", lambda z: math.exp(z), lambda z: math.exp(z))
COS = mf.Activation("cos", lambda z: math.cos(z), lambda z: -math.sin(z))
ACTIVATIONS = [*activations.TABLE.values(), activations.leaky_relu(0.2), EXP, COS]
CLOSED = [sigma for sigma in ACTIVATIONS if duals.closed_form(sigma)]


def names(activation):
    return activation.name


def covariances():
    """q1 (5, 1), q2 (1, 4), c (5, 4) with ρ from -1 to 1, ends and neighbours of the ends included;
    and ρ.
    """
    q1, q2 = np.array([[0.3], [1.0], [2.0], [0.64], [4.0]]), np.array([[1.0, 0.64, 0.05, 3.0]])
    rho = np.array(
        [
            [0.3, -0.9, 0.999, 0.0],
            [1, 1 - 1e-6, -1, 0.5],
            [-1 + 1e-6, 0.7, -0.2, 1],
            [0.1, -1, 0.9, -0.6],
            [0.99, 0, 1, -1],
        ]
    )
    return q1, q2, rho * np.sqrt(q1) * np.sqrt(q2), rho


def sizes(sigma, q1, q2):
    """√(E[f(u)²] E[f(v)²]) for f = σ and σ': what accuracy is relative to."""
    return [
        np.sqrt(a) * np.sqrt(b)
        for a, b in zip(
            duals.unchecked(sigma, q1, q1, q1), duals.unchecked(sigma, q2, q2, q2), strict=True
        )
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_to_twelve_digits(name):
    np.testing.assert_allclose(duals.pair(name, 1.0, 0.64, 0.3), PUBLISHED[name], atol=1e-12)


def test_exp_has_its_published_value():
    """TRUTHS.md, section 1: e^{(q1 + q2)/2 + c}."""
    assert float(duals.value(EXP, 1.0, 0.64, 0.3)) == pytest.approx(3.064854203293, abs=1e-12)


@pytest.mark.parametrize("sigma", CLOSED, ids=names)
def test_closed_forms_agree_with_quadrature(sigma):
    """1e-10 of √(Eσ²Eσ'²) as promised; 1e-8 for slopes of kinked σ where ρ rounds to ±1: arccos
    keeps half the digits there.
    """
    q1, q2, c, rho = covariances()
    found = quadrature.gaussian(sigma, q1, q2, c)
    for k, (exact, size) in enumerate(
        zip(duals.unchecked(sigma, q1, q2, c), sizes(sigma, q1, q2), strict=True)
    ):
        error = np.abs(found[k] - exact) / size
        assert error[np.abs(rho) < 1].max() < 1e-10
        assert error.max() < (1e-8 if k and not sigma.smooth else 1e-10)


@pytest.mark.parametrize("sigma", [s for s in ACTIVATIONS if s.smooth], ids=names)
def test_the_series_agrees_with_polar_coordinates(sigma):
    """Two methods that share nothing but σ; and the stated errors are no understatement."""
    q1, q2, c, rho = covariances()
    series = quadrature.gaussian(sigma, q1, q2, c)
    p1, p2 = (np.broadcast_to(np.sqrt(q), c.shape).ravel() for q in (q1, q2))
    result, error = polar.integrate(sigma, p1, p2, np.arccos(rho).ravel(), polar.GAUSSIAN)
    for k in (0, 1):
        difference = np.abs(series[k].ravel() - result[k])
        # arccos(ρ) of the comparison itself is off by 1e-16/√(1 - ρ²) <= 1e-13 away from |ρ| = 1,
        # and harmless there
        assert (difference <= series[k + 2].ravel() + error[k] + 1e-12 * np.abs(result).max()).all()


@pytest.mark.parametrize("q", [30.0, 1e4, 1e6])
@pytest.mark.parametrize("rho", [0.5, 1 - 1e-6, 1.0, -1.0])
def test_wide_arguments_are_integrated_too(q, rho):
    """erf(1000 z) is all but a step: the closed form to 1e-10, and tanh, which has none, finds its
    way as well.
    """
    q_, c = np.array([q]), np.array([rho * q])
    found = quadrature.gaussian(activations.get("erf"), q_, q_, c)
    np.testing.assert_allclose(np.squeeze(found[:2]), duals.pair("erf", q, q, rho * q), atol=1e-10)
    value, slope = duals.pair("tanh", q, q, rho * q)
    assert abs(value) < 1 and 0 < slope < 1


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus"])
def test_without_closed_form_the_value_is_that_of_nested_adaptive_quadrature(name):
    """QUADPACK, 1e-11 relative, over u and the part of v independent of u."""
    sigma, (q1, q2, c) = activations.get(name), (1.0, 0.64, 0.3)
    rest = math.sqrt(q2 - c * c / q1)
    for k, f in enumerate((sigma.value, sigma.slope)):

        def integrand(y, z, f=f):
            return f(z) * f(c * z + rest * y) * math.exp(-0.5 * (y * y + z * z)) / (2 * math.pi)

        exact = integrate.dblquad(integrand, -9, 9, -9, 9, epsabs=1e-11, epsrel=1e-11)[0]
        assert float(duals.pair(name, q1, q2, c)[k]) == pytest.approx(exact, abs=2e-10)


def test_an_own_activation_with_a_kink_at_zero_is_cut_there():
    """σ = |z| + z³ for instance: E = relu-like part in closed form, E[u³v³] = 9 q1 q2 c + 6 c³,
    E[|u|v³] = 0 by symmetry.

    E|u||v| = (2/π) √(q1q2) (sin ψ + (π/2 - ψ) cos ψ)."""
    own = mf.Activation(
        "own",
        lambda z: abs(z) + z * z * z,
        lambda z: (-1.0 if z < 0.0 else 1.0) + 3.0 * z * z,
        smooth=False,
    )
    q1, q2, c, _ = covariances()
    scale = np.sqrt(q1 * q2)
    psi = np.arccos(np.clip(c / scale, -1, 1))
    exact = (
        2 / np.pi * scale * (np.sin(psi) + (np.pi / 2 - psi) * np.cos(psi))
        + 9 * q1 * q2 * c
        + 6 * c**3
    )
    np.testing.assert_allclose(duals.value(own, q1, q2, c), exact, atol=1e-10 * np.abs(exact).max())


def test_a_kink_that_quadrature_cannot_see_is_refused_not_guessed():
    clipped = mf.Activation(
        "clipped", lambda z: min(max(z, -0.3), 0.3), lambda z: 1.0 if abs(z) < 0.3 else 0.0
    )
    with pytest.raises(
        ValueError,
        match="the dual of clipped is not found by quadrature for 1 pairs.*Kinks must lie at 0",
    ):
        duals.pair(clipped, 1.0, 1.0, 0.5)


@pytest.mark.parametrize("sigma", ACTIVATIONS, ids=names)
def test_an_input_of_no_length_gives_sigma_of_zero(sigma):
    """u = 0: E[σ(0)σ(v)] = σ(0) E σ(v), so the value at (0, 0) is σ(0)², and between them it is the
    geometric mean; σ' alike.
    """
    q = 1.7
    for f, dual in ((sigma.value, duals.value), (sigma.slope, duals.slope)):
        assert float(dual(sigma, 0.0, 0.0, 0.0)) == pytest.approx(f(0.0) ** 2, abs=1e-15)
        mean_squared = float(dual(sigma, q, q, 0.0))  # (E f(v))²
        mixed = float(dual(sigma, 0.0, q, 0.0))
        assert mixed**2 == pytest.approx(f(0.0) ** 2 * mean_squared, abs=1e-12)


@pytest.mark.parametrize("sigma", ACTIVATIONS, ids=names)
def test_at_correlation_one_the_slope_and_value_are_second_moments(sigma):
    """ρ = ±1: E[f(u)²], E[f(u)f(-u)], by the trapezoidal rule on half-lines: 1e-9 (f may jump at 0:
    the half-lines end there).
    """
    q = 1.3
    nodes, weights = polar.legendre(200)
    z, weights = 10 * nodes, 10 * weights * np.exp(-50 * nodes**2) / math.sqrt(2 * math.pi)
    for f, dual in ((sigma.value, duals.value), (sigma.slope, duals.slope)):
        right = np.array([f(math.sqrt(q) * t) for t in z])
        left = np.array([f(-math.sqrt(q) * t) for t in z])
        assert float(dual(sigma, q, q, q)) == pytest.approx(
            weights @ (right**2 + left**2), rel=1e-9
        )
        assert float(dual(sigma, q, q, -q)) == pytest.approx(
            2 * weights @ (right * left), rel=1e-9, abs=1e-9
        )


def test_near_parallel_relu_slopes_hold_seven_digits():
    """TRUTHS.md, section 1: 1e-7 within 1e-8 of |ρ| = 1. Exactly: (π - ψ)/2π with 1 - cos ψ = δ."""
    for delta in (1e-8, 1e-10, 1e-14, 0.0):
        exact = 0.5 - 2 * math.asin(math.sqrt(delta / 2)) / (2 * math.pi)
        assert float(duals.slope("relu", 1.0, 1.0, 1.0 - delta)) == pytest.approx(exact, abs=1e-7)


def test_a_correlation_beyond_one_is_clamped_by_rounding_and_refused_otherwise():
    eps = np.finfo(float).eps
    assert float(duals.slope("relu", 1.0, 1.0, 1 + 4 * eps)) == 0.5
    assert float(duals.slope("relu", 2.0, 2.0, -2 * (1 + 4 * eps))) == 0.0
    with pytest.raises(ValueError, match=r"\|c\| must not exceed √\(q1 q2\)"):
        duals.pair("relu", 1.0, 1.0, 1 + 1e-12)
    with pytest.raises(ValueError, match="is no covariance"):
        duals.pair("tanh", 0.0, 1.0, 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.nan, 1.0, 0.0), "q1 has NaN"),
        ((1.0, np.inf, 0.0), "q2 has NaN or infinite"),
        ((1.0, 1.0, np.nan), "c has NaN"),
        ((-1.0, 1.0, 0.0), "variances must be >= 0; got -1"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        duals.pair("erf", *arguments)


def test_an_overflowing_activation_says_so():
    steep = mf.Activation("steep", lambda z: math.exp(z * z), lambda z: 2.0 * z * math.exp(z * z))
    with pytest.raises(ValueError, match="steep"):
        duals.pair(steep, 1.0, 1.0, 0.5)


def test_a_name_does_not_make_a_closed_form():
    """An own activation called "relu" is integrated as what it is; one under a new name may bring
    its closed form.
    """
    impostor = mf.Activation("relu", lambda z: 2.0 * z, lambda z: 2.0)
    assert float(duals.value(impostor, 1.0, 0.64, 0.3)) == pytest.approx(4 * 0.3, abs=1e-12)
    assert duals.closed_form(activations.get("leaky_relu(0.3)")) is not None


def test_a_new_activation_may_bring_its_closed_form(monkeypatch):
    own = mf.Activation("twice", lambda z: 2.0 * z, lambda z: 2.0)
    monkeypatch.setitem(duals.TABLE, "twice", lambda q1, q2, c: (4 * c, 4 + 0 * c))
    assert duals.pair(own, 1.0, 0.64, 0.3) == (1.2, 4.0)


def test_shapes_broadcast_and_single_precision_stays(rng):
    q1, q2 = rng.uniform(1, 2, (4, 1)), rng.uniform(1, 2, (1, 3))
    c = rng.uniform(-1, 1, (4, 3))
    for name in ("relu", "tanh"):
        whole = duals.pair(name, q1, q2, c)
        assert whole.value.shape == whole.slope.shape == (4, 3)
        single = duals.pair(name, *(array.astype(np.float32) for array in (q1, q2, c)))
        assert single.value.dtype == single.slope.dtype == np.float32
        np.testing.assert_allclose(single.value, whole.value, atol=1e-6)
        entry = duals.pair(name, q1[2, 0], q2[0, 1], c[2, 1])
        assert float(entry.value) == pytest.approx(whole.value[2, 1], rel=1e-12)


def test_pairs_with_variances_of_their_own_are_taken_in_pieces(rng, monkeypatch):
    q1, q2 = rng.uniform(1, 2, (2, 20))
    c = rng.uniform(-1, 1, 20)
    whole = duals.pair("tanh", q1, q2, c)
    monkeypatch.setattr(quadrature, "ENTRYWISE", 7)
    # the series may end at another term
    np.testing.assert_allclose(duals.pair("tanh", q1, q2, c), whole, atol=1e-11)


def limits(sigma, q, rho):
    """E[σσ], E[σ'σ'] for q → ∞ at fixed |ρ| < 1, relative error O(1/√q): a step of height 2h (and
    mean g) has g² + h²(2/π) asin ρ; σ' is 2h δ(z), so E[σ'σ'] → (2h)²/(2π q √(1 - ρ²)). A ramp is a
    ReLU.
    """
    relu = duals.pair("relu", 1.0, 1.0, rho)
    if sigma.name in ("softplus", "gelu"):
        return float(relu.value) * q, float(relu.slope)
    g, h = (0.5, 0.5) if sigma.name == "sigmoid" else (0.0, 1.0)
    return g * g + h * h * 2 / math.pi * math.asin(rho), (2 * h) ** 2 / (
        2 * math.pi * q * math.sqrt(1 - rho * rho)
    )


@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid", "softplus", "gelu"])
@pytest.mark.parametrize("scale", [1e4, 1e8, 1e16, 1e77, 1e100, 1e153])
def test_wide_arguments_have_the_values_of_a_step_or_a_ramp(name, scale):
    """E[σσ] → (2/π) asin ρ for tanh and erf, q E[σ'σ'] → 2/(π √(1 - ρ²)): off by less than
    10/scale, the width of the bend.
    """
    sigma, q = activations.get(name), scale**2
    for rho in (0.5, -0.3, 0.95):
        if q > 1e300 and name == "softplus":
            continue  # E σ(u)² itself ends near there
        np.testing.assert_allclose(
            np.array(duals.pair(sigma, q, q, rho * q)),
            limits(sigma, q, rho),
            rtol=10 / scale + 1e-12,
        )


def test_where_two_methods_reach_they_agree():
    """erf at deviations 300 … 1e5: the panels of ntk/gaussian/wide.py against the closed form to
    1e-12, near ρ = ±1 too.
    """
    erf = activations.get("erf")
    cosines = [0.5, -0.9, 0.0, 0.999, 1 - 1e-6, 1.0, -1.0]
    p1, p2, rho = (a.ravel() for a in np.meshgrid([300.0, 2e3, 1e5], [1e-3, 1.0, 3e4], cosines))
    found, error = wide.gaussian(erf, wide.tails(erf), p1, p2, rho)
    a, b = 1 / (1 + 2 * p1**2), 1 / (1 + 2 * p2**2)  # and 1 - sine² as a sum of positive terms
    over_a, over_b = 2 * p1**2 * a, 2 * p2**2 * b
    rest = a * b + a * over_b + over_a * b + over_a * over_b * (1 - rho) * (1 + rho)
    value = 2 / np.pi * np.arctan2(rho * np.sqrt(over_a * over_b), np.sqrt(rest))
    np.testing.assert_allclose(found[0], value, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        found[1], 4 / np.pi * np.sqrt(a) * np.sqrt(b) / np.sqrt(rest), rtol=1e-12
    )
    assert (np.abs(found[0] - value) <= error[0] + 1e-300).all()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus"])
def test_the_wide_method_takes_over_without_a_jump(name):
    """At deviations (900, 700), where the series and polar coordinates still reach: the same to
    1e-10 of √(Eσ²Eσ²).
    """
    sigma = activations.get(name)
    p1, p2 = np.array([900.0, 900.0]), np.array([700.0, 700.0])
    rho = np.array([0.4, -0.8])
    found, error = wide.gaussian(sigma, wide.tails(sigma), p1, p2, rho)
    other = quadrature.gaussian(sigma, p1**2, p2**2, rho * p1 * p2)
    for k in (0, 1):
        assert (np.abs(found[k] - other[k]) <= 1e-10 * error[k] / wide.ERROR).all()


def test_an_own_step_is_found_as_well_and_what_decays_slowly_is_refused_not_guessed():
    """z/(1 + |z|) has no tail that is a line to rounding: from a deviation of 1e8 on it is refused;
    an own tanh is not.
    """
    own = mf.Activation(
        "own_tanh", lambda z: math.tanh(z), lambda z: 1.0 - math.tanh(z) * math.tanh(z)
    )
    np.testing.assert_allclose(
        duals.pair(own, 1e16, 1e16, 0.5e16), duals.pair("tanh", 1e16, 1e16, 0.5e16), rtol=1e-9
    )
    slow = mf.Activation("slow", lambda z: z / (1.0 + abs(z)), lambda z: 1.0 / (1.0 + abs(z)) ** 2)
    for q in (1e16, 1e32, 1e200):
        with pytest.raises(ValueError, match="dual of slow is not found"):
            duals.pair(slow, q, q, 0.5 * q)


@pytest.mark.parametrize("name", ["gelu", "softplus", "square", "relu", "linear"])
def test_an_expectation_that_overflows_is_refused(name):
    q = 1.7e308
    if name in ("relu", "linear", "gelu", "softplus"):
        assert np.isfinite(duals.pair(name, 1e300, 1e300, 0.5e300)).all()
    else:
        with pytest.raises(ValueError, match="overflows for variances up to 1.7e"):
            duals.pair(name, q, q, q)


def test_sin_at_wide_arguments_is_right_or_refused():
    """½ for u = v, 0 for u and v far apart; between, q1 + q2 - 2c has no digits left and nothing is
    guessed.
    """
    assert (
        float(duals.value("sin", 1e20, 1e20, 1e20)) == 0.5
        and float(duals.value("sin", 1e20, 1e20, 0.5e20)) == 0.0
    )
    with pytest.raises(ValueError, match="nearly parallel"):
        duals.pair("sin", 1e20, 1e20, np.nextafter(1e20, 0.0))
