"""Mean-field Langevin, dθ = v dt + √(2T) dB, against exact laws of the continuous and of the
discrete process.
"""

import math

import numpy as np
import pytest

import meanfield as mf
from meanfield import backends
from meanfield.stepping import methods

METHODS = {"em": mf.EULER_MARUYAMA, "heun": mf.STOCHASTIC_HEUN, "lm": mf.LEIMKUHLER_MATTHEWS}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
RATE = 2.0  # λ of V = λ|x|²/2
ERRORS = 4.5  # standard errors: one test in 10⁵ fails by chance, and seeds are fixed


def potential(x):
    total = 0.0
    for j in range(x.size):
        total += x[j] * x[j]
    return 0.5 * RATE * total


def gradient(x, out):
    for j in range(x.size):
        out[j] = RATE * x[j]


WELL = mf.PairwiseEnergy(potential=(potential, gradient))


def cloud(m, p=2, centre=0.0):
    return mf.State(np.full((m, p), centre), outputs=0)


def march(flow, start, method, dt, n_steps, **more):
    return mf.simulate(flow, start, method, dt=dt, n_steps=n_steps, progress=False, **more)


def small_risk(trainable=("a", "w", "b"), activation="tanh", **settings):
    x = np.random.default_rng(1).normal(size=(7, 2))
    network = mf.Network(activation, trainable=trainable)
    return mf.EmpiricalRisk(network, x, np.sin(x[:, 0]), **settings)


FLOWS = {
    "empirical": lambda **s: mf.GradientFlow(small_risk(("a", "w"), ridge=0.1), **s),
    "population": lambda **s: mf.GradientFlow(
        mf.PopulationRisk(
            mf.Network("erf", trainable=("a", "w")), mf.InitialLaw(dim=2, w="sphere").sample(3, 1)
        ),
        **s,
    ),
    "pairs": lambda **s: mf.GradientFlow(WELL, **s),
}


def start_of(name, m=9):
    if name == "pairs":
        return mf.State(np.random.default_rng(4).normal(size=(m, 3)), outputs=0)
    return mf.InitialLaw(dim=2).sample(m, seed=2)


# ---- the noise


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m, p", [(1, 1), (255, 2), (257, 3), (600, 4), (70, 9)])
def test_the_kernel_draws_the_normals_of_noise(m, p, dtype):
    """θ + dt v + c ξ. The angle is at most π and rounded four times, so it is known to 4π units of
    2⁻²⁴ (2⁻⁵³), and the normal to that times the radius, at most 6.8; ln 2³² adds two units of 22
    to a logarithm, over the radius less than as much.
    """
    backend = backends.make("cpu", None, p, 0, dtype)
    rng = np.random.default_rng(0)
    theta, v = (rng.normal(size=(m, p)).astype(dtype) for _ in range(2))
    step = 3 * 2**32 + 5
    moved = backend.diffuse(theta, 0.1, v, 0.7, 11, step)
    xi = mf.noise.normals(11, mf.noise.DIFFUSION, m, p, step)
    expected = theta.astype(float) + np.float64(np.dtype(dtype).type(0.1)) * v + 0.7 * xi
    unit = np.finfo(dtype).eps / 2
    assert np.abs(moved - expected).max() < (2 * 6.8 * 4 * math.pi + 10) * unit


def test_frozen_columns_feel_no_noise():
    flow = mf.GradientFlow(small_risk(("w",)), temperature=1.0)
    start = mf.InitialLaw(dim=2, b_std=1.0).sample(50, 0)
    end = march(flow, start, mf.EULER_MARUYAMA, 0.1, 5)
    assert np.array_equal(end.a, start.a) and np.array_equal(end.b, start.b)
    assert np.abs(end.w - start.w).min() > 0


@each_method
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_narrower_run_is_a_prefix_of_a_wider_one(method, dtype, threads):
    """Particles that do not meet, to the bit; with one thread and with two."""
    flow = mf.GradientFlow(WELL, temperature=0.5, dtype=dtype, seed=3)
    wide = march(flow, cloud(3000), method, 0.05, 4)
    for m in (1, 17, 256, 300):
        assert np.array_equal(march(flow, cloud(m), method, 0.05, 4).theta, wide.theta[:m])
    assert len(np.unique(wide.theta)) == wide.theta.size


@each_method
def test_bits_do_not_depend_on_the_threads(method):
    import numba

    flow = mf.GradientFlow(small_risk(), temperature=0.5, dtype="float32", seed=3)
    start = mf.InitialLaw(dim=2).sample(5000, 0)
    ends = []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        ends.append(march(flow, start, method, 0.05, 5).theta)
    assert np.array_equal(*ends)


# ---- the steps


@pytest.mark.parametrize("name", FLOWS)
@each_method
def test_a_step_is_the_formula_of_its_method(method, name):
    """Three steps by hand from the public velocity; each operation is rounded, a few units of the
    size of θ a step.
    """
    T, dt = 0.3, 0.05
    flow, start = FLOWS[name](temperature=T, seed=8), start_of(name)
    end = march(flow, start, method, dt, 3).theta
    theta, c = start.theta, math.sqrt(2 * T * dt)
    columns = np.ones(theta.shape[1])
    if name != "pairs":
        columns[-1] = 0.0  # b is frozen

    def v(theta):
        return flow.velocity(mf.State(theta, start.outputs))

    def xi(n):
        return c * columns * mf.noise.normals(8, mf.noise.DIFFUSION, *theta.shape, n)

    for n in range(3):
        if method is mf.EULER_MARUYAMA:
            theta = theta + dt * v(theta) + xi(n)
        elif method is mf.STOCHASTIC_HEUN:
            there = theta + dt * v(theta) + xi(n)
            theta = theta + dt / 2 * (v(theta) + v(there)) + xi(n)
        else:
            theta = theta + dt * v(theta) + (xi(n) + xi(n + 1)) / 2
    np.testing.assert_allclose(end, theta, rtol=0, atol=1e-13 * np.abs(theta).max())


def test_without_temperature_they_are_euler_and_heun_to_the_bit():
    start = mf.InitialLaw(dim=2, b_std=1.0).sample(300, 0)
    flow = mf.GradientFlow(small_risk())
    euler, heun = (march(flow, start, method, 0.1, 20).theta for method in (mf.EULER, mf.HEUN))
    for method, expected in ((0, euler), (1, heun), (2, euler)):
        assert np.array_equal(
            march(flow, start, [*METHODS.values()][method], 0.1, 20).theta, expected
        )


# ---- Ornstein and Uhlenbeck: V = λ|x|²/2, mean e^(-λt), covariance (T/λ)(1 - e^(-2λt))


def stationary(method, T, z):
    """The variance of the stationary law of the discrete process; z = λ dt. TRUTHS.md, section 6."""
    if method is mf.EULER_MARUYAMA:
        return T / RATE / (1 - z / 2)
    if method is mf.STOCHASTIC_HEUN:
        return 2 * T * z / RATE * (1 - z / 2) ** 2 / (1 - (1 - z + z**2 / 2) ** 2)
    return T / RATE


@each_method
@pytest.mark.parametrize("z", [0.1, 0.75])
def test_the_stationary_variance_is_that_of_the_method(method, z):
    """N independent normal components: the sample variance has the relative standard error √(2/N).
    After 100 (20) steps what is left of the start is below e^(-20) (2⁻⁴⁰).
    """
    T, m, p = 0.7, 40_000, 4
    flow = mf.GradientFlow(WELL, temperature=T, seed=1)
    x = march(flow, cloud(m, p), method, z / RATE, 100 if z < 0.5 else 20).theta
    expected = stationary(method, T, z)
    assert abs(np.mean(x**2) / expected - 1) < ERRORS * math.sqrt(2 / (m * p))
    assert abs(np.mean(x)) < ERRORS * math.sqrt(expected / (m * p))
    correlations = np.corrcoef(x.T)[np.triu_indices(p, 1)]
    assert np.abs(correlations).max() < ERRORS / math.sqrt(m)


def test_mean_and_covariance_are_ornstein_and_uhlenbecks():
    """At t = .5 from one point and a cloud of covariance Σ0, by stochastic Heun at dt = 1/64, where
    z³/6 a step leaves a bias of λt z²/6 = 1.6e-4 in the mean and 2 λt (z²/6 + …) ≈ 1e-3 (T/λ) at
    most in the covariance.
    """
    T, t, m = 0.7, 0.5, 100_000
    rng = np.random.default_rng(0)
    sigma0 = np.array([[1.0, 0.6], [0.6, 0.5]])
    first = rng.multivariate_normal([2.0, -1.0], sigma0, m)
    flow = mf.GradientFlow(WELL, temperature=T, seed=2)
    x = march(flow, mf.State(first, outputs=0), mf.STOCHASTIC_HEUN, 1 / 64, 32).theta
    e = math.exp(-RATE * t)
    mean = e * first.mean(axis=0)
    covariance = e**2 * np.cov(first.T) + T / RATE * (1 - e**2) * np.eye(2)
    sizes = np.sqrt(np.diag(covariance))
    noise = math.sqrt(T / RATE * (1 - e**2))
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=ERRORS * noise / math.sqrt(m) + 4e-4)
    error = np.outer(sizes, sizes) * math.sqrt(2 / m)
    assert (np.abs(np.cov(x.T) - covariance) < ERRORS * error + 1e-3).all()


def test_the_distance_of_two_translates_contracts_by_e_to_the_minus_rate_t():
    """One noise for both: the difference obeys x' = -λx, here by steps of stochastic Heun, (1 - z +
    z²/2) each, to rounding.
    """
    flow = mf.GradientFlow(WELL, temperature=0.7, seed=2)
    first = np.random.default_rng(0).normal(size=(400, 2))
    z, n = RATE / 64, 32
    ends = [
        march(flow, mf.State(first + move, outputs=0), mf.STOCHASTIC_HEUN, 1 / 64, n)
        for move in (0.0, np.array([3.0, 4.0]))
    ]
    expected = 5.0 * (1 - z + z**2 / 2) ** n
    assert mf.w2(*ends) == pytest.approx(expected, rel=1e-12)
    assert mf.w2(*ends) == pytest.approx(
        5.0 * math.exp(-RATE * 0.5), rel=RATE * 0.5 * z**2 / 6 * 1.1
    )


# ---- a network: linear features, F = ½ mean (f - y)² + ½ λ E|θ|² + T Ent


def linear_problem():
    x = np.random.default_rng(3).normal(size=(10, 2))
    y = x @ [1.0, -2.0] + 0.3
    network = mf.Network("linear", trainable=("w",))
    return mf.EmpiricalRisk(network, x, y, ridge=0.5), x.T @ x / 10, x.T @ y / 10


def linear_start(m):
    return mf.State(np.column_stack([np.ones(m), np.zeros((m, 3))]))  # a = 1, w = 0, b = 0


def test_linear_features_have_the_stationary_law_of_the_theory():
    """Mean (H + λ)⁻¹ Xᵀy/n, covariance (T/λ) I. TRUTHS.md 3.6. The mean of m particles has the
    covariance (T/m)(H + λ)⁻¹.
    """
    risk, H, c = linear_problem()
    T, m, ridge = 0.4, 20_000, risk.ridge
    flow = mf.GradientFlow(risk, temperature=T, seed=4)
    w = march(flow, linear_start(m), mf.LEIMKUHLER_MATTHEWS, 0.2, 150).w  # e^(-2 λ t) = e^(-30)
    A = np.linalg.inv(H + ridge * np.eye(2))
    error = np.sqrt(np.diag(T / m * A))
    assert (np.abs(w.mean(axis=0) - A @ c) < ERRORS * error).all()
    covariance = np.cov(w.T)
    assert (
        np.abs(covariance - T / ridge * np.eye(2)) < ERRORS * T / ridge * math.sqrt(2 / m)
    ).all()


def test_the_stationary_risk_of_m_neurons_is_above_the_limits_by_a_constant_over_m():
    """E R_m - R_∞ = (T/2m) tr H(H + λ)⁻¹. One run of m·N neurons would be one mean field: here are
    N runs of m, by seeds. A normal deviation M of covariance C has ½MᵀHM of mean ½ tr HC and
    variance ½ tr (HC)².
    """
    risk, H, c = linear_problem()
    T, m, seeds = 0.4, 32, 400
    A = np.linalg.inv(H + risk.ridge * np.eye(2))
    C = T / m * A
    excess = []
    for seed in range(seeds):
        flow = mf.GradientFlow(risk, temperature=T, seed=seed)
        gap = march(flow, linear_start(m), mf.LEIMKUHLER_MATTHEWS, 0.4, 40).w.mean(axis=0) - A @ c
        excess.append(0.5 * gap @ H @ gap)
    expected, error = 0.5 * np.trace(H @ C), math.sqrt(0.5 * np.trace(H @ C @ H @ C) / seeds)
    assert expected == pytest.approx(T / (2 * m) * np.trace(H @ A))
    assert abs(np.mean(excess) - expected) < ERRORS * error


# ---- schedules


def test_a_schedule_is_read_in_the_middle_of_each_step():
    """From 0 a sum of normals: the variance is Σ 2 T(t_n + dt/2) dt (1 - z)^(2 (N - 1 - n))."""
    points = [(0.0, 1.0), (0.5, 0.2), (2.0, 0.2)]
    m, p, dt, n = 40_000, 2, 0.1, 10
    z = RATE * dt
    T = np.interp(dt * (np.arange(n) + 0.5), *zip(*points, strict=True))
    expected = float((2 * T * dt * (1 - z) ** (2 * np.arange(n)[::-1])).sum())
    found = []
    for given in (points, lambda t: float(np.interp(t, *zip(*points, strict=True)))):
        flow = mf.GradientFlow(WELL, temperature=given, seed=1)
        x = march(flow, cloud(m, p), mf.EULER_MARUYAMA, dt, n).theta
        found.append(x)
        assert abs(np.mean(x**2) / expected - 1) < ERRORS * math.sqrt(2 / (m * p))
    assert np.array_equal(*found)


def test_a_schedule_that_ends_early_raises_before_any_work(h5_path):
    flow = mf.GradientFlow(small_risk(), temperature=[(0.0, 1.0), (1.0, 0.1)])
    start = mf.InitialLaw(dim=2).sample(20, 0)
    recorder = mf.Recorder(h5_path, mf.evenly(3))
    early = r"goes from t = 0 to 1, but the run from t = 0 to 2"
    for settings in ({"t_end": 2.0}, {"n_steps": 20}):
        with pytest.raises(ValueError, match=early):
            mf.simulate(
                flow,
                start,
                mf.EULER_MARUYAMA,
                dt=0.1,
                observers=[recorder],
                progress=False,
                **settings,
            )
    assert not list(h5_path.parent.iterdir())

    march(flow, start, mf.EULER_MARUYAMA, 0.1, 10, observers=[recorder])
    before = h5_path.read_bytes()
    with pytest.raises(ValueError, match=early):
        mf.resume(h5_path, t_end=2.0, progress=False)
    assert h5_path.read_bytes() == before and len(list(h5_path.parent.iterdir())) == 1
    with mf.Trajectory(h5_path) as run:
        assert run.flow().temperature == ((0.0, 1.0), (1.0, 0.1))


def test_a_function_is_handed_in_again_and_another_is_refused(h5_path):
    def made(size):
        return mf.GradientFlow(small_risk(), temperature=lambda t: size / (1.0 + t), seed=3)

    start, recorder = mf.InitialLaw(dim=2).sample(20, 0), mf.Recorder(h5_path, mf.evenly(3))
    march(made(0.5), start, mf.EULER_MARUYAMA, 0.1, 10, observers=[recorder])
    with pytest.raises(
        ValueError, match="the temperature is a function, <lambda>, and no file holds it"
    ):
        mf.resume(h5_path, t_end=2.0, progress=False)
    with pytest.raises(ValueError, match="different here: the temperature"):
        mf.resume(h5_path, t_end=2.0, flow=made(0.6), progress=False)
    end = mf.resume(h5_path, t_end=2.0, flow=made(0.5), progress=False)
    whole = march(made(0.5), start, mf.EULER_MARUYAMA, 0.1, 20)
    assert np.array_equal(end.theta, whole.theta)
    with pytest.raises(ValueError, match=r"temperature\(t\) must be a finite number >= 0; at t = "):
        bad = mf.GradientFlow(small_risk(), temperature=lambda t: 0.5 - t)
        march(bad, start, mf.EULER_MARUYAMA, 0.1, 10)
    with pytest.raises(ValueError, match=r"temperature\(t\) raised ZeroDivisionError at t = 0: "):
        broken = mf.GradientFlow(small_risk(), temperature=lambda t: 1.0 / t)
        march(broken, start, mf.EULER_MARUYAMA, 0.1, 10)


# ---- what is recorded, and what makes no sense


@each_method
def test_extended_a_run_goes_on_as_if_it_had_never_stopped(method, tmp_path):
    flow, start = mf.GradientFlow(small_risk(), temperature=0.2, seed=6), start_of("empirical", 30)
    recorders = [mf.Recorder(tmp_path / name, mf.every(5)) for name in ("parts.h5", "whole.h5")]
    march(flow, start, method, 0.125, 24, observers=recorders[:1])
    end = mf.resume(tmp_path / "parts.h5", t_end=6.0, progress=False)
    assert np.array_equal(
        end.theta, march(flow, start, method, 0.125, 48, observers=recorders[1:]).theta
    )
    with mf.Trajectory(tmp_path / "whole.h5") as run:
        assert run.config["flow"]["temperature"] == 0.2
        assert run.config["integrator"]["name"] == method.name
        assert {"energy", "risk", "speed2", "displacement"} <= set(run.series_names)
        assert not {"path", "energy_defect", "balance_defect"} & set(run.series_names)
        assert run.series("energy").values[-1] == pytest.approx(flow.energy(end), rel=1e-12)
    assert methods.from_dict(methods.to_dict(method)) is method


def test_a_run_says_its_temperature_and_that_the_entropy_is_left_out(capsys):
    flow = mf.GradientFlow(small_risk(), temperature=0.2, seed=6)
    mf.simulate(flow, start_of("empirical"), mf.EULER_MARUYAMA, dt=0.1, n_steps=2)
    said = capsys.readouterr().err
    assert "temperature T = 0.2, euler_maruyama, seed 6; energy is without the entropy" in said


@pytest.mark.parametrize("method", [mf.EULER, mf.HEUN, mf.RK4, mf.Adaptive()], ids=lambda m: m.name)
def test_a_method_without_noise_is_refused_and_one_with_noise_is_named(method):
    flow, start = mf.GradientFlow(small_risk(), temperature=0.2), start_of("empirical")
    with pytest.raises(ValueError, match=r"draws no noise: use mf.EULER_MARUYAMA"):
        mf.simulate(flow, start, method, dt=0.1, t_end=1.0, progress=False)


@each_method
def test_dt_auto_is_refused_and_what_to_do_is_said(method):
    for temperature in (0.0, 0.2):
        flow = mf.GradientFlow(small_risk(), temperature=temperature)
        with pytest.raises(ValueError, match="are noisy: F may rise. Give dt a number"):
            mf.simulate(flow, start_of("empirical"), method, dt="auto", t_end=1.0, progress=False)
