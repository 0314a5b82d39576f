"""Integrators: the orders they declare, the tolerance Adaptive promises, and the step that
dt="auto" derives.
"""

from itertools import pairwise

import naive
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sweeps import sweep

import meanfield as mf
from meanfield.stepping import methods
from meanfield.stepping.runge_kutta import DORMAND_PRINCE, RungeKutta

T_END = 4.0
# What is registered; a tableau that is added to the registry is tested by itself.
TABLEAUS = [method for method in methods.known().values() if isinstance(method, RungeKutta)]
KUTTA = RungeKutta(
    "kutta", 3, a=((), (1 / 2,), (-1.0, 2.0)), b=(1 / 6, 2 / 3, 1 / 6), stability=2.51
)
COARSEST = {1: 64, 2: 128, 3: 32, 4: 16}  # steps to T_END, by order


def every(methods):
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.name)


@pytest.fixture(scope="module")
def smooth():
    """A flow on a smooth activation, its start, and where it is at T_END by SciPy's DOP853 at
    rounding level.
    """
    rng = np.random.default_rng(0)
    state = mf.InitialLaw(dim=3, b_std=1.0).sample(20, seed=1)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("tanh"), rng.normal(size=(10, 3)), rng.normal(size=10))
    )
    return flow, state, mf.State(dop853(flow, state, T_END))


def dop853(flow, state, t_end, tolerance=1e-13):
    def velocity(t, theta):
        return flow.velocity(mf.State(theta.reshape(state.theta.shape))).ravel()

    return (
        solve_ivp(
            velocity, (0, t_end), state.theta.ravel(), "DOP853", rtol=tolerance, atol=tolerance
        )
        .y[:, -1]
        .reshape(state.theta.shape)
    )


def march(flow, state, method, dt, t_end=T_END, observe="energy_defect"):
    """(last state, last value of a series)."""
    series = mf.Series(observe, mf.evenly(1))
    end = mf.simulate(flow, state, method, dt=dt, t_end=t_end, observers=[series], progress=False)
    return end, series.values[-1]


@every([*TABLEAUS, KUTTA])  # Dormand-Prince's errors of order 6 outweigh those of order 5
def test_the_error_and_the_energy_defect_fall_with_the_order_of_the_method(smooth, method):
    """Slopes of log error against log dt within 0.15 of the order: the next term of the error is a
    factor (1 + c dt), c ~ 1 here, which bends the slope by about c dt <= 0.1. THEORY.md, section 2:
    q takes the method's own weights, so the energy defect has the order of the method too. Errors
    stay above 1e-12, a hundred times the rounding of F and of 256 steps.
    """
    flow, state, exact = smooth
    counts = [COARSEST[method.order] * factor for factor in (1, 2, 4)]
    found = [march(flow, state, method, T_END / count) for count in counts]
    errors = [mf.displacement(end, exact) for end, _ in found]
    for values in (errors, [defect for _, defect in found]):
        assert min(values) > 1e-12
        slope = np.polyfit(np.log([T_END / count for count in counts]), np.log(values), 1)[0]
        assert slope == pytest.approx(method.order, abs=0.15)


@every([*TABLEAUS, KUTTA, DORMAND_PRINCE])
def test_a_step_is_its_twin(smooth, method):
    """The same sums in another order: a few units of rounding of numbers below 10."""
    flow, state, _ = smooth
    velocity = lambda theta: flow.velocity(mf.State(theta))
    end = mf.simulate(flow, state, method, dt=0.3, n_steps=1, progress=False)
    expected = naive.runge_kutta_step(velocity, state.theta, 0.3, method.a, method.b)
    np.testing.assert_allclose(end.theta, expected, rtol=0, atol=1e-14)
    if by_hand := getattr(naive, f"{method.name}_step", None):
        np.testing.assert_allclose(end.theta, by_hand(velocity, state.theta, 0.3), atol=1e-14)


def test_a_tableau_that_misses_its_order_is_refused():
    with pytest.raises(ValueError, match="midpoint: the weights .* miss the conditions of order 3"):
        RungeKutta("midpoint", order=3, a=((), (0.5,)), b=(0.0, 1.0))
    with pytest.raises(ValueError, match="order 1 by 1.0e-01"):
        RungeKutta("leaky", order=1, a=((),), b=(0.9,))
    with pytest.raises(ValueError, match="strictly lower triangular with 2 rows of lengths 0 … 1"):
        RungeKutta("implicit", order=2, a=((0.5,), (0.5, 0.5)), b=(0.5, 0.5))
    # one entry of the embedded weights off by 1e-6
    with pytest.raises(ValueError, match="order 4 by"):
        wrong = (DORMAND_PRINCE.b_embedded[0] + 1e-6, *DORMAND_PRINCE.b_embedded[1:])
        RungeKutta("pair", order=5, a=DORMAND_PRINCE.a, b=DORMAND_PRINCE.b, b_embedded=wrong)


def test_a_tableau_of_ones_own_is_a_method(smooth):
    """Ralston's second-order method: another tableau, the same order."""
    flow, state, exact = smooth
    ralston = RungeKutta("ralston", order=2, a=((), (2 / 3,)), b=(1 / 4, 3 / 4))
    errors = [
        mf.displacement(march(flow, state, ralston, T_END / count)[0], exact)
        for count in (128, 512)
    ]
    assert np.log(errors[0] / errors[1]) / np.log(4) == pytest.approx(2, abs=0.15)
    assert methods.from_dict(methods.to_dict(ralston)) == ralston
    assert methods.from_dict(methods.to_dict(mf.RK4)) == mf.RK4


@every([*TABLEAUS, KUTTA, DORMAND_PRINCE])
def test_the_stability_bound_is_where_the_stability_polynomial_reaches_one(method):
    """|P(-c)| <= 1 up to the declared c, and > 1 a hundredth beyond; P(z) = 1 + z bᵀ(1 + zA + z²A²
    + …)1.
    """

    def growth(z):
        k = []
        for row in method.a:
            k.append(1.0 + z * sum(c * u for c, u in zip(row, k, strict=True)))
        return abs(1.0 + z * sum(c * u for c, u in zip(method.b, k, strict=True)))

    assert max(growth(-c) for c in np.linspace(0.0, method.stability, 500)) <= 1.0 + 1e-12
    assert growth(-1.01 * method.stability) > 1.0


@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-7, 1e-9])
def test_adaptive_meets_its_tolerance_against_dop853(smooth, rtol):
    """Each accepted step errs by at most atol + rtol·‖θ‖ (the estimate is that of the lower order,
    so it errs above); a gradient flow settling into a minimum does not spread errors, so N steps
    err by at most N times that. No more is promised.
    """
    flow, state, exact = smooth
    end = mf.simulate(
        flow, state, mf.Adaptive(rtol=rtol, atol=rtol / 100), t_end=T_END, progress=False
    )
    size = max(np.sqrt((s.theta**2).sum(axis=1).mean()) for s in (state, end))
    assert mf.displacement(end, exact) <= end.step * (rtol / 100 + rtol * size)
    assert end.t == T_END
    # Order 5: a tolerance 1e2 smaller costs 10^(2/5) = 2.5 times the steps, 25 at 1e-9. Euler would
    # need 1e8.
    assert end.step <= 60


def test_adaptive_records_a_finer_path_than_its_tolerance(smooth):
    """Its energy defect is a quadrature of order 5 on the same steps: local errors of relative size
    rtol, N of them.
    """
    flow, state, _ = smooth
    end, defect = march(flow, state, mf.Adaptive(rtol=1e-8, atol=1e-10), None)
    assert defect <= end.step * 1e-8 * 10  # ∇F is at most of order 10 where F falls by order 1


def test_adaptive_refuses_tolerances_no_step_could_meet():
    with pytest.raises(ValueError, match="rtol and atol are both 0"):
        mf.Adaptive(0.0, 0.0)
    with pytest.raises(ValueError, match=r"rtol must be a number in \[0, 1\); got -1"):
        mf.Adaptive(rtol=-1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("method", "loss", "K"),
    [
        *((method, "squared", 1) for method in TABLEAUS),
        *((mf.RK4, loss, K) for loss, K in (("logistic", 1), ("squared", 3), ("softmax", 3))),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_automatic_step_is_a_tenth_of_the_stability_bound(rng, method, loss, K, reduction):
    """dt = 0.1·c/(L·λ_max), λ_max that of the dense H_0/n or H_0, which iteration gives from below,
    to rtol = 1e-3.
    """
    x = rng.normal(size=(6, 3))
    y = {
        "squared": rng.normal(size=(6, K)),
        "logistic": rng.choice([-1.0, 1.0], 6),
        "softmax": np.arange(6) % 3,
    }[loss]
    network = mf.Network("tanh", scaling=mf.Scaling(gamma=0.6))
    state = mf.InitialLaw(dim=3, outputs=K, b_std=1.0).sample(12, seed=3)
    H = naive.tangent_kernel(network, state, x)
    H = H if K == 1 else H.transpose(0, 2, 1, 3).reshape(6 * K, 6 * K)
    top = np.linalg.eigvalsh(H)[-1]
    curvature = {"squared": 1.0, "logistic": 0.25, "softmax": 0.5}[loss]
    bound = 0.1 * method.stability / (curvature * top / (6 if reduction == "mean" else 1))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, y, loss=loss, reduction=reduction))
    dt = mf.simulate(flow, state, method, dt="auto", n_steps=1, progress=False).t
    assert bound * (1 - 1e-12) <= dt <= bound / (1 - 1e-3)


def test_the_product_with_the_tangent_kernel_is_that_of_the_dense_one(rng):
    """H·v by one pull-back and one push-forward, frozen blocks left out (THEORY.md, section 3):
    sums of 12·6 terms.
    """
    for K, trainable in ((1, ("a", "w", "b")), (3, ("w", "b")), (1, ("a",))):
        network = mf.Network("tanh", scaling=mf.NTK, trainable=trainable)
        state = mf.InitialLaw(dim=3, outputs=K, a="normal", b_std=1.0).sample(12, seed=3)
        x, v = rng.normal(size=(6, 3)), rng.normal(size=(6, K))
        field = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.zeros((6, K)))).on_device(state)
        H = naive.tangent_kernel(network, state, x).reshape(6, 6, K, K)
        found = field.tangent_product(mf.Particles.of(state, field.backend), v)
        np.testing.assert_allclose(
            found, np.einsum("ijcd,jd->ic", H, v), rtol=0, atol=1e-13 * np.abs(H).sum()
        )


@every(sweep(TABLEAUS, mf.EULER, mf.RK4))
@pytest.mark.parametrize("size", [5.0, 20.0])
def test_a_kink_that_makes_the_kernel_grow_is_learnt_and_not_killed(h5_path, size, method):
    """y = 5|x| and 20|x| at γ = 1: the step derived from H_0 becomes too long as |a| and |w| grow
    (|θ|² must reach order `size`); steps that raise F are redone at half dt, and each halving is in
    the file. The risk falls more than 100-fold.
    """
    x = np.linspace(-1, 1, 64)[:, None]
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, size * np.abs(x[:, 0])))
    state = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(1000, seed=0)
    end = mf.simulate(
        flow,
        state,
        method,
        dt="auto",
        t_end=20.0,
        observers=[mf.Recorder(h5_path, mf.every(1))],
        progress=False,
    )
    assert flow.risk(end) < flow.risk(state) / 100
    # Most of the neurons that the exact flow keeps alive somewhere on [-1, 1] stay so.
    exact = mf.simulate(flow, state, mf.Adaptive(rtol=1e-6, atol=1e-8), t_end=20.0, progress=False)
    alive, kept = (
        (s.theta[:, 1:2] @ x.T + s.theta[:, 2:] > 0).any(axis=1).mean() for s in (exact, end)
    )
    assert kept > 0.5 * alive
    run = mf.Trajectory(h5_path)
    _, times, energy = run.series("energy")
    assert np.all(np.diff(energy) <= 1e-12 * energy[0])  # F never rises beyond rounding
    halvings = run.summary["halvings"]
    assert (len(halvings) > 0) == (size == 20.0)
    sizes = [item["dt"] for item in halvings] + [times[-1] - times[-2]]
    # A new leg divides what is left of the time evenly: dt is halved, or a little less than that by
    # the ceiling.
    for before, after in pairwise(sizes):
        assert 0.5 - before / 20.0 <= after / before <= 0.5 * (1 + 1e-9)


def test_the_automatic_step_asks_for_a_loss_with_curvature(rng):
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("tanh"), rng.normal(size=(4, 3)), np.ones(4), loss="hinge")
    )
    state = mf.InitialLaw(dim=3).sample(8)
    with pytest.raises(
        ValueError,
        match="dt=\"auto\" needs a loss with curvature; 'hinge' has ℓ'' = 0. Give dt a number",
    ):
        mf.simulate(flow, state, mf.EULER, dt="auto", t_end=1.0, progress=False)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("rk4", r"Did you mean mf.RK4\?"),
        (mf.Adaptive, "pass an instance: mf.Adaptive"),
        (None, "integrator must be mf.EULER"),
    ],
)
def test_what_is_not_an_integrator_is_answered_with_those_there_are(smooth, method, message):
    flow, state, _ = smooth
    with pytest.raises(TypeError, match=message):
        mf.simulate(flow, state, method, dt=0.1, n_steps=1, progress=False)
