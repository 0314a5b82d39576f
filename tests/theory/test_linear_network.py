"""The linear network, exact for every γ and finite m. TRUTHS.md, 3.1.

σ = id, no bias, x whitened, particles whitened so that (1/m) Σ θθᵀ = s0 I: β(t) = b(t) β*/|β*| with
b' = 2√(s0² + ε²b²)(b* - b), ε = 1/s; RMS displacement √(s0[(e^R - 1)² + (e^{-R} - 1)²]), R = ½
asinh(εb/s0), which is W2(μ_0, μ_t) too.
"""

import naive
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import meanfield as mf

S0, B_STAR, D, M = 0.7, 1.5, 3, 64
TIMES = (0.3, 0.6, 1.2)
# ε: (scaling with 1/s = ε at m = 64, b at TIMES as TRUTHS.md prints it)
CASES = {
    "0": (mf.Scaling(gamma=0.5, alpha=1e6), (0.51443, 0.85243, 1.22044)),
    "1/8": (mf.Scaling(gamma=0.5), (0.51507458, 0.85499089, 1.22575175)),
    "64^(-1/4)": (mf.Scaling(gamma=0.75), (0.51958658, 0.87265650, 1.25995006)),
    "1": (mf.Scaling(gamma=1.0), (0.55555074, 0.99955925, 1.41072992)),
}


def whitened(rng, m, columns, second_moment):
    """(m, columns) with (1/m) Σ rows rowsᵀ = second_moment · I exactly, up to rounding."""
    q, _ = np.linalg.qr(rng.normal(size=(m, columns)))
    return q * np.sqrt(m * second_moment)


def problem(scaling):
    """(flow, start, unit vector β*/|β*|): 12 whitened samples stand for the population; b is zero
    and stays so.
    """
    rng = np.random.default_rng(11)
    direction = rng.normal(size=D)
    direction /= np.linalg.norm(direction)
    x = whitened(rng, 12, D, 1.0)
    theta = np.column_stack([whitened(rng, M, 1 + D, S0), np.zeros(M)])
    network = mf.Network("linear", scaling=scaling, trainable=("a", "w"))
    return (
        mf.GradientFlow(mf.EmpiricalRisk(network, x, B_STAR * x @ direction)),
        mf.State(theta),
        direction,
    )


def exact(epsilon, times):
    """b(t) by quadrature of the scalar equation at rounding level."""
    return solve_ivp(
        lambda t, b: 2 * np.sqrt(S0**2 + (epsilon * b) ** 2) * (B_STAR - b),
        (0, times[-1]), [0.0], "DOP853", t_eval=times, rtol=1e-13, atol=1e-13,
    ).y[0]  # fmt: skip


def effective(state, scaling):
    """β of the linear map f(x) = ⟨β, x⟩: s (1/m) Σ a w."""
    return scaling.output_scale(state.m) * (state.a * state.w).mean(axis=0)


@pytest.mark.parametrize("case", CASES)
def test_the_trajectory_of_the_linear_network_is_that_of_one_scalar(case):
    """RK4, dt = 0.02: local error (dt·2s0)^5/120 ~ 1e-10, 60 steps: below the 1e-6 of TRUTHS.md."""
    scaling, printed = CASES[case]
    flow, start, direction = problem(scaling)
    epsilon = 1 / scaling.output_scale(M)
    b_exact = exact(epsilon, TIMES)
    digits = 5e-6 if case == "0" else 5e-9
    # half a unit of the last digit printed
    np.testing.assert_allclose(b_exact, printed, rtol=0, atol=1.01 * digits)
    state = start
    for t, b in zip(TIMES, b_exact, strict=True):
        state = mf.simulate(flow, state, mf.RK4, dt=0.02, t_end=t, progress=False)
        np.testing.assert_allclose(effective(state, scaling), b * direction, rtol=0, atol=1e-6)

        R = 0.5 * np.arcsinh(epsilon * b / S0)
        length = np.sqrt(S0 * (np.expm1(R) ** 2 + np.expm1(-R) ** 2))
        displacement = mf.displacement(start, state)
        assert displacement == pytest.approx(length, rel=1e-6)
        # Each method's step is a positive definite linear map, hence the optimal one: equality up
        # to rounding. At ε = 1e-6 the displacement is 1e-6 and θ is known to 1e-16 only.
        assert mf.w2(start, state) == pytest.approx(displacement, rel=1e-9)
    if case == "1":
        assert displacement == pytest.approx(0.99020527, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_euler_follows_it_to_a_thousandth(case):
    """dt = 1e-3: the global error of Euler is (t/2) dt max|b''| e^{...} < dt here, |b''| <= (2 s0)²
    b* = 3.
    """
    scaling, printed = CASES[case]
    flow, state, direction = problem(scaling)
    for t, b in zip(TIMES, printed, strict=True):
        state = mf.simulate(flow, state, mf.EULER, dt=1e-3, t_end=t, progress=False)
        assert effective(state, scaling) @ direction == pytest.approx(b, abs=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_drifts_along_the_target_by_the_closed_form(case):
    """H_t(β̂, β̂)/H_0(β̂, β̂) - 1 = √(1 + (εb/s0)²) - 1, β̂ = β*/|β*|. H is quadratic in θ, which
    is known to 1e-6: twice that.
    """
    scaling, _ = CASES[case]
    flow, start, direction = problem(scaling)
    epsilon = 1 / scaling.output_scale(M)
    end = mf.simulate(flow, start, mf.RK4, dt=0.02, t_end=1.2, progress=False)
    before, after = (
        naive.tangent_kernel(flow.network, state, direction[None])[0, 0] for state in (start, end)
    )
    assert before == pytest.approx(2 * S0, rel=1e-13)
    assert after / before - 1 == pytest.approx(
        np.sqrt(1 + (epsilon * exact(epsilon, (1.2,))[0] / S0) ** 2) - 1, abs=2e-6
    )


@pytest.mark.parametrize("m", [16, 256])
def test_only_epsilon_matters_and_not_the_width(m):
    """Two widths and exponents with the same s make the same b(t): the particles enter through
    their second moment alone.
    """
    rng = np.random.default_rng(3)
    flow, _, direction = problem(mf.MEAN_FIELD)
    x, y = flow.functional.x, flow.functional.y
    scaling = mf.Scaling(gamma=0.6, alpha=8.0 / m**0.4)  # s = 8, ε = 1/8
    start = mf.State(np.column_stack([whitened(rng, m, 1 + D, S0), np.zeros(m)]))
    network = mf.Network("linear", scaling=scaling, trainable=("a", "w"))
    end = mf.simulate(
        mf.GradientFlow(mf.EmpiricalRisk(network, x, y)),
        start,
        mf.RK4,
        dt=0.02,
        t_end=1.2,
        progress=False,
    )
    assert effective(end, scaling) @ direction == pytest.approx(CASES["1/8"][1][2], abs=1e-6)
