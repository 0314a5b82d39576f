"""Exact flows of the population risk, x ~ N(0, I): TRUTHS.md, 3.1, 3.2 and 3.3; THEORY.md, section
4.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sweeps import sweep
from theory.test_linear_network import B_STAR, CASES, S0, TIMES, D, M, effective, exact, whitened

import meanfield as mf


@pytest.mark.parametrize("case", CASES)
def test_the_linear_network_follows_one_scalar_at_every_exponent_and_finite_width(case):
    """3.1 in its own setting: no samples. RK4, dt = 0.02 as there: below 1e-6. W2 is the
    displacement, to rounding.
    """
    scaling, printed = CASES[case]
    rng = np.random.default_rng(11)
    direction = rng.normal(size=D)
    direction /= np.linalg.norm(direction)
    start = mf.State(np.column_stack([whitened(rng, M, 1 + D, S0), np.zeros(M)]))
    teacher = mf.State(np.concatenate([[B_STAR], direction, [0.0]])[None])
    flow = mf.GradientFlow(mf.PopulationRisk(mf.Network("linear", scaling, ("a", "w")), teacher))
    epsilon = 1 / scaling.output_scale(M)
    state = start
    for t, b, shown in zip(TIMES, exact(epsilon, TIMES), printed, strict=True):
        state = mf.simulate(flow, state, mf.RK4, dt=0.02, t_end=t, progress=False)
        np.testing.assert_allclose(effective(state, scaling), b * direction, rtol=0, atol=1e-6)
        assert effective(state, scaling) @ direction == pytest.approx(
            shown, abs=1e-6 if case != "0" else 6e-6
        )
        R = 0.5 * np.arcsinh(epsilon * b / S0)
        displacement = mf.displacement(start, state)
        assert displacement == pytest.approx(
            np.sqrt(S0 * (np.expm1(R) ** 2 + np.expm1(-R) ** 2)), rel=1e-6
        )
        assert mf.w2(start, state) == pytest.approx(displacement, rel=1e-9)
        # R = ½(b - b*)², a difference of terms of order s² Σ|A||A'| K: rounding 1e-16 s²
        assert flow.risk(state) == pytest.approx(
            0.5 * (b - B_STAR) ** 2, abs=2e-6 + 1e-14 / epsilon**2
        )
    if case == "1":
        assert displacement == pytest.approx(0.99020527, abs=1e-6)


def test_the_second_moments_of_a_quadratic_network_obey_their_own_equation():
    """3.2, PopulationRisk("square"), a fixed to 1: M' = -4(DM + MD) - 4 tr(D) M, D = M - M*, M =
    (1/m) Σ w wᵀ; scipy's DOP853.

    RK4 at dt = 0.002: rates up to 4·2·|M| + 4 tr ~ 40 here, so (0.08)⁵/120 a step, 250 steps: 1e-5
    at the start of a transient that decays; 1e-8 measured by halving is what a fourth order leaves,
    1e-6 asked.
    """
    rng, d, m = np.random.default_rng(5), 3, 40
    student, taught = rng.normal(size=(m, d)), rng.normal(size=(4, d)) * [1.0, 0.5, 0.2]
    state, teacher = (
        mf.State(np.column_stack([np.ones(len(w)), w, np.zeros(len(w))])) for w in (student, taught)
    )
    flow = mf.GradientFlow(mf.PopulationRisk(mf.Network("square", trainable=("w",)), teacher))
    target = taught.T @ taught / 4

    def slope(_, flat):
        second = flat.reshape(d, d)
        gap = second - target
        return (-4 * (gap @ second + second @ gap) - 4 * np.trace(gap) * second).ravel()

    times = [0.05, 0.2, 0.5]
    start = (student.T @ student / m).ravel()
    solution = solve_ivp(slope, (0, 0.5), start, "DOP853", t_eval=times, rtol=1e-12, atol=1e-13).y.T
    for t, expected in zip(times, solution, strict=True):
        state = mf.simulate(flow, state, mf.RK4, dt=0.002, t_end=t, progress=False)
        np.testing.assert_allclose(
            state.w.T @ state.w / m, expected.reshape(d, d), rtol=0, atol=1e-6
        )
        gap = state.w.T @ state.w / m - target
        assert flow.risk(state) == pytest.approx(
            0.5 * np.trace(gap) ** 2 + np.trace(gap @ gap), rel=1e-9
        )


@pytest.mark.parametrize("scaling", [mf.MEAN_FIELD, mf.NTK])
@pytest.mark.parametrize(
    ("activation", "p", "K"),
    sweep(
        [("relu", 1, 1), ("relu", 1, 2), ("leaky_relu", 1, 1), ("square", 2, 1)],
        ("relu", 1, 1),
        ("square", 2, 1),
    ),
)
def test_every_neuron_keeps_its_balance(activation, p, K, scaling):
    """3.3: |w|² - p|a|² is conserved. In population no neuron meets a kink but w = 0: RK4 at dt =
    0.02 leaves 1e-7.

    (square is of degree 6 in θ where relu is of 4: rates are some four times as large.) 1e-6 is
    asked.
    """
    law = mf.InitialLaw(dim=3, outputs=K, a="normal", w_std=0.7)
    flow = mf.GradientFlow(
        mf.PopulationRisk(mf.Network(activation, scaling, ("a", "w")), law.sample(3, seed=1))
    )
    start = law.sample(100, seed=0)
    end = mf.simulate(flow, start, mf.RK4, dt=0.02 / p**2, t_end=2.0, progress=False)
    balance = [(state.w**2).sum(axis=1) - p * (state.a**2).sum(axis=1) for state in (start, end)]
    assert mf.displacement(start, end) > 0.02
    assert np.abs(balance[1] - balance[0]).max() < 1e-6


@pytest.mark.parametrize("activation", sweep(["erf", "gelu", "sin"]))
def test_an_activation_that_is_not_homogeneous_breaks_it(activation):
    law = mf.InitialLaw(dim=3, a="normal")
    flow = mf.GradientFlow(
        mf.PopulationRisk(mf.Network(activation, trainable=("a", "w")), law.sample(3, seed=1))
    )
    start = law.sample(100, seed=0)
    end = mf.simulate(flow, start, mf.RK4, dt=0.05, t_end=2.0, progress=False)
    for p in (1, 2):
        balance = [
            (state.w**2).sum(axis=1) - p * (state.a**2).sum(axis=1) for state in (start, end)
        ]
        assert np.abs(balance[1] - balance[0]).max() > 1e-2


def test_the_order_of_the_method_is_seen_along_a_relu_flow():
    """Population smooths ReLU: the flow is analytic off w = 0, and RK4's error falls as dt⁴ (Heun's
    as dt²), within a fifth.
    """
    law = mf.InitialLaw(dim=2, a="normal")
    flow, start = (
        mf.GradientFlow(
            mf.PopulationRisk(mf.Network("relu", trainable=("a", "w")), law.sample(3, seed=1))
        ),
        law.sample(50, 0),
    )
    best = mf.simulate(flow, start, mf.RK4, dt=0.005, t_end=1.0, progress=False)
    for method, order in ((mf.RK4, 4), (mf.HEUN, 2)):
        errors = [
            mf.displacement(
                mf.simulate(flow, start, method, dt=dt, t_end=1.0, progress=False), best
            )
            for dt in (0.2, 0.1)
        ]
        assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2 * order)
