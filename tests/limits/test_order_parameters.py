"""What closes in a few numbers: the Riccati flow of quadratic neurons, TRUTHS.md 3.2, and the
overlaps of teacher and student; and how a run lies over its limit.
"""

import time

import numpy as np
import pytest
import scipy.linalg
from scipy.integrate import solve_ivp
from scipy.special import erf
from sweeps import sweep

import meanfield as mf
import ntk
from meanfield.limits import OrderParameters, Quadratic, overlay
from meanfield.limits.order_parameters import _erf_noise, solved


def moments(rng, m, d):
    """wᵀw/m of m normal neurons: of rank m where m < d."""
    w = rng.normal(size=(m, d))
    return w.T @ w / m


@pytest.mark.parametrize("m", [2, 9])
def test_the_riccati_flow_is_the_closed_form_below_and_above_full_rank(rng, m):
    """3.2: M(t) as printed, by expm and sqrtm, and M' = 4(M*M + MM*) - 8M² by DOP853, for m = 2 < d
    = 4 neurons too, whose M stays of rank 2.
    """
    M0, target = moments(rng, m, 4), 0.5 * moments(rng, 6, 4)
    times = np.array([0.0, 0.05, 0.4, 2.0])
    found = Quadratic(M0, target).at(times)

    def slope(_, flat):
        M = flat.reshape(4, 4)
        return (4 * (target @ M + M @ target) - 8 * M @ M).ravel()

    settings = {"t_eval": times, "rtol": 1e-12, "atol": 1e-14}
    made = solve_ivp(slope, (0, 2.0), M0.ravel(), "DOP853", **settings)
    np.testing.assert_allclose(found, made.y.T.reshape(-1, 4, 4), rtol=0, atol=1e-10)
    t, root = 0.4, scipy.linalg.sqrtm(M0 + 0j).real
    integral = (scipy.linalg.expm(8 * target * t) - np.eye(4)) @ np.linalg.inv(8 * target)
    grown = scipy.linalg.expm(4 * target * t) @ root
    printed = grown @ np.linalg.inv(np.eye(4) + 8 * root @ integral @ root) @ grown.T
    np.testing.assert_allclose(found[2], printed, rtol=0, atol=1e-7)  # of a root of a singular M0
    for M in found:
        assert np.linalg.matrix_rank(M, tol=1e-10) == min(m, 4)
    assert np.all(np.diff(Quadratic(M0, target).risk(np.linspace(0, 2, 30))) < 0)


def test_one_mode_is_logistic_for_ever():
    """3.2, scalar: λ*/(1 + (λ*/s0 - 1) e^(-8λ*t)); and no overflow at t = 1000."""
    t = np.array([0.1, 1.0, 1000.0])
    found = Quadratic([[0.3]], [[2.0]]).at(t)[:, 0, 0]
    np.testing.assert_allclose(found, 2 / (1 + (2 / 0.3 - 1) * np.exp(-16 * t)), rtol=1e-12)
    assert Quadratic([[0.3]], [[0.0]]).at(1.0)[0, 0] == pytest.approx(0.3 / (1 + 8 * 0.3))


def test_small_second_moments_grow_as_any_other():
    """3.2, scalar, for M(0) and M* diagonal: s0 = 1e-13 reaches λ* = ½ by t = 20, and 1e-80 follows
    s0 e^(8λ*t) = 1e-80 e^80 until then; in a basis turned by .3 too, where rounding leaves 1e-16 of
    what is 0.
    """
    found = Quadratic(np.diag([1.0, 1e-13, 1e-80]), np.diag([1.0, 0.5, 0.5])).at(20.0)
    np.testing.assert_allclose(np.diag(found), [1.0, 0.5, 1e-80 * np.exp(80.0)], rtol=1e-12)
    w = np.diag([1.0, 3e-7])
    assert Quadratic(w.T @ w / 2, np.eye(2)).risk(20.0) < 1e-25
    w = np.array([[np.cos(0.3), np.sin(0.3)]])
    assert np.linalg.eigvalsh(Quadratic(w.T @ w, np.eye(2)).at(20.0))[0] < 1e-14


def test_long_times_are_some_parts():
    """3.2, scalar, t = 1e4: λ* where λ* > 0, and s0/(1 + 8 s0 t) where λ* = 0; eigenvalues up to 3
    make e^(240000), in fewer than a thousand parts of e^400.
    """
    begin = time.process_time()
    found = Quadratic(0.3 * np.eye(3), np.diag([3.0, 0.5, 0.0])).at(1e4)
    assert time.process_time() - begin < 1
    np.testing.assert_allclose(found, np.diag([3.0, 0.5, 0.3 / (1 + 8 * 0.3 * 1e4)]), rtol=1e-11)


def test_an_equation_that_is_not_solved_to_the_end_says_so():
    """y' = y², y(0) = 1 is 1/(1 - t), up to t = 1."""
    with pytest.raises(RuntimeError, match="could not be solved to t = 2: .*step size"):
        solved(np.square, np.ones(1), np.array([3.0, 0.5, 2.0]), 1e-8, 1e-8)


def state(w):
    return mf.State(np.column_stack([np.ones(len(w)), w, np.zeros(len(w))]))


@pytest.mark.parametrize("m", [2, 12])
def test_neurons_without_the_constant_follow_its_limit_at_every_width(rng, m, h5_path):
    """3.2, mf.PopulationRisk("square"): RK4 at dt = 0.002 with rates up to 30 leaves 1e-6. The run
    and the limit lie over each other by one call.
    """
    w, taught = 0.6 * rng.normal(size=(m, 3)), rng.normal(size=(4, 3)) * [1.0, 0.5, 0.2]
    network = mf.Network("square", trainable=("w",))
    flow = mf.GradientFlow(mf.PopulationRisk(network, state(taught)))
    start = mf.State(state(w).theta, t=1.0)
    recorder = mf.Recorder(h5_path, mf.every(20))
    end = mf.simulate(
        flow, start, mf.RK4, dt=0.002, t_end=1.3, observers=[recorder], progress=False
    )
    limit = Quadratic(w.T @ w / m, taught.T @ taught / 4, constant=False)
    np.testing.assert_allclose(end.w.T @ end.w / m, limit.at(0.3), rtol=0, atol=1e-6)
    both = overlay(h5_path, limit)
    assert both.times[0] == 1.0 and both.gap < 1e-6 * both.run[0]
    np.testing.assert_array_equal(both.limit, limit.risk(both.times - 1.0))


@pytest.mark.parametrize("activation", sweep(["erf", "relu", "gelu", "sin", "linear"], "erf", "relu"))  # fmt: skip
@pytest.mark.parametrize("scaling", [mf.MEAN_FIELD, mf.NTK])
def test_the_overlaps_of_a_run_are_those_of_the_equations(activation, scaling):
    """The gradient flow of the population risk closes in Q and R at every width, dimension and
    scaling. RK4, dt = 0.02, rates of a few: 1e-7.
    """
    law = mf.InitialLaw(dim=7, w_std=0.6)
    start, teacher = law.sample(3, seed=1), law.sample(2, seed=2)
    risk = mf.PopulationRisk(mf.Network(activation, scaling, ("a", "w")), teacher, ridge=0.05)
    found = OrderParameters(risk, start).at([0.0, 1.0])
    flow = mf.GradientFlow(risk)
    end = mf.simulate(flow, start, mf.RK4, dt=0.02, t_end=1.0, progress=False)
    np.testing.assert_allclose(found.a[1], end.a[:, 0], rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.Q[1], end.w @ end.w.T, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.R[1], end.w @ teacher.w.T, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.risk, [flow.risk(start), flow.risk(end)], rtol=0, atol=1e-7)


def test_the_noise_of_one_pass_steps_is_in_closed_form(rng):
    """Saad and Solla's integral of four Gaussians, for erf(z): 4·10⁵ draws, six standard errors."""
    A, c = rng.normal(size=(5, 5)), rng.normal(size=5)
    C = A @ A.T / 5
    z = rng.multivariate_normal(np.zeros(5), C, size=400000)
    slopes = 2 / np.sqrt(np.pi) * np.exp(-(z[:, :3] ** 2))
    found = _erf_noise(c, C, 3)
    for k in range(3):
        for j in range(3):
            drawn = (erf(z) @ c) ** 2 * slopes[:, k] * slopes[:, j]
            error = drawn.std() / np.sqrt(len(z))
            assert found[k, j] == pytest.approx(drawn.mean(), abs=6 * error)


@pytest.mark.slow
def test_one_pass_over_fresh_samples_follows_the_equations_with_noise():
    """SGD with batch 1 and dt = η/d in d = 400: the overlaps scatter by d^(-½) = .05 of their size,
    the equations without noise are off by several times as much.
    """
    d, eta, t = 400, 3.0, 2.0
    law = mf.InitialLaw(dim=d, w_std=0.5 / np.sqrt(d))
    start = law.sample(2, seed=1)
    teacher = mf.InitialLaw(dim=d, w="sphere").sample(1, seed=2)
    network = mf.Network("erf", trainable=("w",))
    online = mf.OnlineRisk(network, teacher, batch=1, seed=3)
    flow = mf.GradientFlow(online)
    end = mf.simulate(flow, start, mf.EULER, dt=eta / d, t_end=t, progress=False)
    risk = mf.PopulationRisk(network, teacher)
    noisy, plain = (OrderParameters(risk, start, rate).at(t) for rate in (eta, 0.0))
    size = np.linalg.norm(noisy.Q)
    assert np.linalg.norm(end.w @ end.w.T - noisy.Q) < 0.15 * size
    assert np.linalg.norm(end.w @ teacher.w.T - noisy.R) < 0.15 * np.sqrt(size)
    assert np.linalg.norm(plain.Q - noisy.Q) > 0.3 * size


def test_a_run_lies_over_the_run_of_its_density_and_over_the_kernel_flow(tmp_path):
    """overlay interpolates a run by finite volumes linearly: dt²/8 |d²R/dt²|. A linear network of
    which w trains, a = 1, has the constant kernel 1.
    """
    network = mf.Network("linear", trainable=("w",))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, [[1.0]], [1.0]))
    start = mf.State([[1.0, -0.5, 0.0], [1.0, 0.5, 0.0]])
    paths = tmp_path / "particles.h5", tmp_path / "density.h5"
    cells = mf.limits.line(-2, 3, 40, lambda x: abs(x) < 0.5, a=1.0)
    for path, begin, method, dt in (
        (paths[0], start, mf.RK4, 0.1),
        (paths[1], cells, mf.limits.FINITE_VOLUMES, 0.05),
    ):
        mf.simulate(flow, begin, method, dt=dt, t_end=1.0, progress=False,
                    observers=[mf.Recorder(path, mf.every(1))])  # fmt: skip
    for limit in (paths[1], mf.Trajectory(paths[1])):
        assert overlay(paths[0], limit).gap < 1e-3
    kernel = ntk.KernelFlow(np.eye(1), np.array([1.0]))
    assert overlay(paths[0], kernel).gap < 1e-6
    assert overlay(paths[0], paths[1], "energy").run.shape == (11,)
    assert mf.compare(*paths).floor is None  # cells are no sample
    mf.resume(paths[0], t_end=2.0, progress=False)
    with pytest.raises(ValueError, match="covers t = 0 … 1, .*t_end=2.* extends it"):
        overlay(*paths)
    with pytest.raises(TypeError, match=r"have a method displacement\(times\); got KernelFlow"):
        overlay(paths[0], kernel, "displacement")


TEACHER = mf.InitialLaw(dim=3, w="sphere").sample(2)
ERF = mf.PopulationRisk(mf.Network("erf", trainable=("w",)), TEACHER)
RELU = mf.PopulationRisk(mf.Network("relu", trainable=("w",)), TEACHER)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Quadratic([[1.0, 2.0]], np.eye(2)), ValueError, r"start must be a finite matrix"),
        (lambda: Quadratic(np.eye(2), np.eye(3)), ValueError, "of one size"),
        (lambda: Quadratic(-np.eye(2), np.eye(2)), ValueError, "semi-definite, .* eigenvalue is -1"),
        (lambda: Quadratic([[1, 2], [0, 1]], np.eye(2)), ValueError, "start must be symmetric"),
        (lambda: Quadratic(np.eye(2), np.eye(2)).at(-1.0), ValueError, "t must be finite times >= 0"),
        (lambda: OrderParameters(TEACHER, TEACHER), TypeError, "takes the mf.PopulationRisk"),
        (lambda: OrderParameters(RELU, TEACHER, 0.1), ValueError, "for erf alone; .* 'relu'"),
        (lambda: OrderParameters(ERF, TEACHER, -0.1), ValueError, "rate must be a finite number"),
        (lambda: OrderParameters(ERF, mf.InitialLaw(dim=3).sample(64)), ValueError, "64 at most .* got 66"),
        (lambda: OrderParameters(ERF, mf.InitialLaw(dim=2).sample(2)), ValueError, "d = 2"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()
