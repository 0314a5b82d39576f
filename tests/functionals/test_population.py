"""PopulationRisk: against the slow twin, samples, finite differences; its files; what it refuses."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import naive
import numba
import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield.formulas import activations

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name for name, sigma in activations.TABLE.items() if sigma.pair]


def network(activation="relu", scaling=mf.MEAN_FIELD, trainable=("a", "w")):
    return mf.Network(activation, scaling, trainable)


def particles(rng, m, d, K=1, masses=False):
    """Normal [a | w | 0], |w| of order one."""
    theta = np.column_stack(
        [rng.normal(size=(m, K)), rng.normal(size=(m, d)) / np.sqrt(d), np.zeros(m)]
    )
    mass = rng.uniform(0.5, 1.5, m) if masses else np.ones(m)
    return mf.State(theta, K, mass / mass.sum())


def flow(
    rng, activation="relu", d=3, K=1, scaling=mf.MEAN_FIELD, dtype="float64", teachers=3, **settings
):
    return mf.GradientFlow(
        mf.PopulationRisk(network(activation, scaling), particles(rng, teachers, d, K), **settings),
        dtype=dtype,
    )


@pytest.mark.parametrize(
    ("activation", "K"),
    sweep([*((name, 1) for name in NAMES), ("relu", 2), ("gelu", 2)], ("relu", 1), ("erf", 1)),
)
def test_the_flow_is_the_slow_twin_with_unequal_masses(rng, activation, K):
    """THEORY.md, section 4: R, F_s, δF/δμ and v, with kernels that the twin integrates to 1e-7
    here.
    """
    scaling = mf.Scaling(0.7, alpha=2.0)
    state, teacher = particles(rng, 2, 3, K, masses=True), particles(rng, 2, 3, K, masses=True)
    of = mf.GradientFlow(mf.PopulationRisk(network(activation, scaling), teacher, ridge=0.3))
    R, F, variation, velocity = naive.population(of.network, state, teacher, ridge=0.3)
    assert of.risk(state) == pytest.approx(R, rel=1e-6) and of.energy(state) == pytest.approx(
        F, rel=1e-6
    )
    np.testing.assert_allclose(of.first_variation(state), variation, rtol=0, atol=1e-6)
    np.testing.assert_allclose(of.velocity(state), velocity, rtol=0, atol=1e-6)
    assert not of.velocity(state)[:, -1].any()


@pytest.mark.parametrize(
    ("activation", "d", "K"),
    sweep([("relu", 3, 1), ("relu", 3, 2), ("gelu", 3, 1), ("erf", 17, 1), ("sin", 17, 2)]),
)
def test_the_velocity_is_minus_the_gradient_of_the_energy(rng, activation, d, K):
    """m v_k = -∂F/∂θ_k: central differences of step h = 1e-4 along random directions, error h²/6
    times third derivatives of order one and rounding 1e-16/h: 1e-8. With frozen a or w, those
    columns are 0 and the others the same.
    """
    state, of = particles(rng, 40, d, K), flow(rng, activation, d, K, ridge=0.1)
    v = of.velocity(state)
    for _ in range(3):
        direction = np.column_stack([rng.normal(size=(40, K + d)), np.zeros(40)])
        up, down = (of.energy(mf.State(state.theta + h * direction, K)) for h in (1e-4, -1e-4))
        assert (up - down) / 2e-4 == pytest.approx(-(v * direction).sum() / 40, abs=1e-8)
    for trainable in (("a",), ("w",), ()):
        part = mf.GradientFlow(
            mf.PopulationRisk(
                network(activation, trainable=trainable), of.functional.teacher_state, ridge=0.1
            )
        )
        columns = part.network.trainable_columns(d, K)
        np.testing.assert_array_equal(part.velocity(state), np.where(columns, v, 0.0))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("m", "d"), sweep([(1, 3), (33, 3), (1500, 3), (1100, 17)], (1, 3), (33, 3), (1500, 3))
)
def test_any_number_of_particles_and_tiles_sums_over_all_pairs(rng, m, d, dtype):
    """Dense matrices of the ReLU kernel in float64. Errors: ε Σ|A||v|, 20 roundings a pair, a
    hundredth of it on average.
    """
    state, teacher = particles(rng, m, d), particles(rng, 5, d)
    of = mf.GradientFlow(mf.PopulationRisk(network(), teacher), dtype=dtype)
    w, A = (
        np.vstack([state.w, teacher.w]),
        np.concatenate([state.a[:, 0] / m, -teacher.a[:, 0] / 5]),
    )
    length = np.linalg.norm(w, axis=1)
    cosine = np.clip(w[:m] @ w.T / np.outer(length[:m], length), -1, 1)
    angle, sine = np.arccos(cosine), np.sqrt(1 - cosine**2)
    along = ((np.pi - angle) * A) @ w / (2 * np.pi) + (
        (sine * A * length).sum(axis=1) / (2 * np.pi * length[:m])
    )[:, None] * w[:m]
    expected = np.column_stack([-(w[:m] * along).sum(axis=1), -state.a * along, np.zeros(m)])
    # arccos near 1 loses half the digits of what is only checked here: 1e-8 times a weight 1/m on
    # the diagonal
    tolerance = 20 * float(np.finfo(dtype).eps) * np.abs(A).sum() * 3 + (
        1e-8 / m if dtype == "float64" else 0
    )
    np.testing.assert_allclose(of.velocity(state), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("activation", "K", "scaling"),
    sweep([("relu", 1, mf.MEAN_FIELD), ("gelu", 2, mf.Scaling(0.5, alpha=2.0))]),
)
def test_it_is_the_limit_of_the_empirical_risk_on_many_gaussian_samples(
    rng, activation, K, scaling
):
    """The error on n samples has the standard deviation σ/√n, σ that of one sample's term, told by
    the samples: 5 of these.
    """
    n, batches, state = 80_000, 20, particles(rng, 30, 3, K)
    of = flow(rng, activation, K=K, scaling=scaling)
    x, teacher = rng.normal(size=(n, 3)), of.functional.teacher_state
    target = naive_target(of.network.sigma, teacher, x)
    losses = 0.5 * ((of.predict(state, x) - target) ** 2).sum(axis=1)
    assert abs(losses.mean() - of.risk(state)) < 5 * losses.std() / np.sqrt(n)
    parts = [
        mf.GradientFlow(mf.EmpiricalRisk(of.network, x[i::batches], target[i::batches])).velocity(
            state
        )
        for i in range(batches)
    ]
    gap, deviation = (
        np.mean(parts, axis=0) - of.velocity(state),
        np.std(parts, axis=0) / np.sqrt(batches),
    )
    # of 150 and more numbers, at 20 batches each
    assert (np.abs(gap[:, :-1]) < 6 * deviation[:, :-1]).mean() > 0.99
    assert np.sqrt((gap**2).mean() / (deviation**2).mean()) < 1.5


def naive_target(sigma, teacher, x):
    """f*(x) = Σ_j p*_j a*_j σ(⟨w*_j, x⟩), without a factor s."""
    return sum(
        p * np.outer(np.vectorize(sigma.value)(x @ w), a)
        for p, a, w in zip(teacher.mass, teacher.a, teacher.w, strict=True)
    )


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("activation", sweep(NAMES, "relu", "erf"))
def test_a_student_that_starts_at_the_teacher_stays(rng, activation, dtype):
    """ν = 0: what is left of each sum are the roundings of terms that cancel, here to ε Σ|A| K <=
    30 ε; R = 0 likewise.
    """
    teacher = particles(rng, 40, 3, masses=True)
    of = mf.GradientFlow(mf.PopulationRisk(network(activation), teacher), dtype=dtype)
    start = mf.State(teacher.theta.astype(dtype), mass=teacher.mass)
    of = mf.GradientFlow(mf.PopulationRisk(network(activation), start), dtype=dtype)
    assert np.abs(of.velocity(start)).max() < 30 * np.finfo(dtype).eps
    assert abs(of.risk(start)) < 30 * np.finfo("float64").eps


def test_float32_is_the_same_flow_to_its_rounding_and_its_risk_that_of_float64(rng):
    state, of = particles(rng, 50, 3), flow(rng)
    fast = mf.GradientFlow(of.functional, dtype="float32")
    assert fast.velocity(state).dtype == np.float32
    # tens of roundings of 6e-8
    np.testing.assert_allclose(fast.velocity(state), of.velocity(state), rtol=1e-5, atol=1e-6)
    rounded = mf.State(state.theta.astype(np.float32).astype(np.float64))
    assert fast.risk(state) == pytest.approx(of.risk(rounded), rel=1e-13)


@pytest.mark.parametrize(("activation", "d", "K"), sweep([("relu", 3, 1), ("sin", 17, 2)]))
def test_bits_do_not_depend_on_threads(rng, activation, d, K):
    state, of = particles(rng, 700, d, K), flow(rng, activation, d, K, dtype="float32")
    ends = []
    before = numba.get_num_threads()
    for count in (1, 2):
        numba.set_num_threads(count)
        end = mf.simulate(of, state, mf.HEUN, dt=0.1, n_steps=5, progress=False)
        ends.append((end.theta.tobytes(), of.energy(end)))
    numba.set_num_threads(before)
    assert ends[0] == ends[1]


@pytest.mark.process
def test_a_fresh_kernel_and_one_from_the_cache_have_the_same_bits(tmp_path):
    """Two processes, the second of which compiles nothing: products that are contracted one way or
    the other would show.
    """
    program = """if True:
        import hashlib, numpy as np, test_population as t
        digest = hashlib.sha256()
        for activation, K in (("relu", 1), ("gelu", 1), ("relu", 2)):
            rng = np.random.default_rng(0)
            digest.update(t.flow(rng, activation, K=K, dtype="float32").velocity(t.particles(rng, 300, 3, K)).tobytes())
        print(digest.hexdigest())
    """
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "helpers", Path(__file__).parent)))
    environment = {**os.environ, "PYTHONPATH": path, "MEANFIELD_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", program]
    fresh, cached = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert len(fresh.stdout) == 65 and fresh.stdout == cached.stdout


def test_permuting_the_particles_or_splitting_them_at_fixed_s_changes_nothing(rng):
    """THEORY.md, section 2, to the rounding of sums: see test_backend_bits.py for 1e-13."""
    state, of = particles(rng, 300, 3, masses=True), flow(rng)
    end = mf.simulate(of, state, mf.HEUN, dt=0.1, n_steps=10, progress=False)
    order = rng.permutation(300)
    permuted = mf.simulate(
        of,
        mf.State(state.theta[order], mass=state.mass[order]),
        mf.HEUN,
        dt=0.1,
        n_steps=10,
        progress=False,
    )
    np.testing.assert_allclose(permuted.theta, end.theta[order], rtol=0, atol=1e-13)
    doubled = mf.State(np.repeat(state.theta, 2, axis=0), mass=np.repeat(state.mass, 2) / 2)
    # γ = 1: s = 1 for both
    split = mf.simulate(of, doubled, mf.HEUN, dt=0.1, n_steps=10, progress=False)
    np.testing.assert_allclose(split.theta[::2], end.theta, rtol=0, atol=1e-13)
    assert of.risk(split) == pytest.approx(of.risk(end), rel=1e-12)


def test_the_energy_is_dissipated_at_the_integrators_order(rng, h5_path):
    """F(0) - F(t) = ∫∫|v|² dμ dt. Halving RK4's dt divides the defect by 16: by 10 at least before
    rounding (1e-13) is met.
    """
    state, of, defects = particles(rng, 60, 3), flow(rng, "erf", scaling=mf.Scaling(0.75)), []
    for steps in (5, 10):
        recorder = mf.Recorder(h5_path, mf.evenly(2), "replace")
        mf.simulate(
            of, state, mf.RK4, dt=2.0 / steps, t_end=2.0, observers=[recorder], progress=False
        )
        with mf.Trajectory(h5_path) as run:
            defects.append(run.series("energy_defect").values[-1])
    assert defects[1] < 1e-5 and defects[0] > 10 * defects[1]


def test_dt_auto_and_the_adaptive_method_agree_and_learn(rng):
    """λ_max of the fixed samples is that of 200 times as many within their scatter, O((d/n)^½): 20
    %.
    """
    state, of = particles(rng, 200, 3), flow(rng, "erf")
    field = of.on_device(state)
    x = rng.normal(size=(20_000, 3))
    wide = mf.EmpiricalRisk(of.network, x, np.zeros(len(x))).on(field.backend, state)
    there = mf.Particles.of(state, field.backend)
    assert field.rate(there) == pytest.approx(wide.rate(there), rel=0.2)
    ends = [
        mf.simulate(of, state, how, dt=dt, t_end=5.0, progress=False)
        for how, dt in ((mf.RK4, "auto"), (mf.Adaptive(1e-8), None))
    ]
    assert of.risk(ends[0]) < 0.2 * of.risk(state)
    np.testing.assert_allclose(ends[0].theta, ends[1].theta, atol=1e-3)


# ---- files


def problem():
    """(flow, start) with a teacher of unequal masses: what the child process below makes too."""
    rng = np.random.default_rng(4)
    teacher = particles(rng, 3, 3, masses=True)
    return mf.GradientFlow(mf.PopulationRisk(network("erf"), teacher, ridge=0.01)), particles(
        rng, 30, 3
    )


def simulate(path, guard=None, checkpoint_seconds=30.0):
    of, start = problem()
    recorder = mf.Recorder(path, mf.every(3), checkpoint_seconds=checkpoint_seconds, guard=guard)
    return mf.simulate(of, start, mf.RK4, dt=0.1, t_end=3.0, observers=[recorder], progress=False)


def killed(path):
    """In a process of its own: dies by SIGKILL before its tenth checkpoint."""
    calls = []

    def guard():
        calls.append(1)
        if len(calls) == 10:
            os.kill(os.getpid(), signal.SIGKILL)

    simulate(Path(path), guard, checkpoint_seconds=0.0)


def test_a_killed_run_resumes_from_its_file_alone_to_the_same_content(tmp_path):
    whole, torn = tmp_path / "whole.h5", tmp_path / "torn.h5"
    end = simulate(whole)
    program = f"import test_population; test_population.killed({str(torn)!r})"
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "helpers", Path(__file__).parent)))
    environment = {**os.environ, "PYTHONPATH": path}
    assert (
        subprocess.run(
            [sys.executable, "-c", program], env=environment, check=False, timeout=300
        ).returncode
        == -signal.SIGKILL
    )
    resumed = mf.resume(torn, progress=False)
    np.testing.assert_array_equal(resumed.theta, end.theta)
    with mf.Trajectory(whole) as one, mf.Trajectory(torn) as other:
        assert one.content_hash() == other.content_hash()
        np.testing.assert_array_equal(
            one.arrays["teacher"], problem()[0].functional.teacher_state.theta
        )
        np.testing.assert_array_equal(
            one.arrays["teacher_mass"], problem()[0].functional.teacher_state.mass
        )
        of = mf.GradientFlow.from_dict(one.config["flow"], one.arrays)
        assert (
            of.to_dict() == problem()[0].to_dict()
            and of.energy(one[-1]) == one.series("energy").values[-1]
        )
    assert mf.diagnose(whole, ["risk", "displacement"], progress=False)["risk"].values[
        -1
    ] == of.risk(end)
    longer = mf.resume(whole, t_end=4.0, progress=False)
    assert longer.t == 4.0 and of.risk(longer) < of.risk(end)


def test_another_teacher_is_another_content(tmp_path, rng):
    hashes = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.h5"
        of = flow(np.random.default_rng(seed))
        mf.simulate(of, particles(np.random.default_rng(2), 5, 3), mf.EULER, dt=0.1, n_steps=1,
                    observers=[mf.Recorder(path, mf.every(1))], progress=False)  # fmt: skip
        with mf.Trajectory(path) as run:
            hashes.append(run.content_hash())
    assert hashes[0] != hashes[1]


# ---- the door


TEACHER = mf.State(np.array([[1.0, 1.0, 0.0, 0.0]]))
BIASED = mf.State(np.array([[1.0, 1.0, 0.0, 0.5]]))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: mf.PopulationRisk("relu", TEACHER), TypeError, "network must be an mf.Network; got str"),
        (lambda: mf.PopulationRisk(network("tanh"), TEACHER), ValueError, "'tanh' does not have here. Use one of relu, l"),
        (lambda: mf.PopulationRisk(network("sigmoid"), TEACHER), ValueError, "minimise mf.EmpiricalRisk"),
        (lambda: mf.PopulationRisk(mf.Network("relu"), TEACHER), ValueError, r"make it with trainable=\('a', 'w'\)"),
        (lambda: mf.PopulationRisk(network(), lambda x: x), TypeError, "must be an mf.State.* got function.*draw samples"),
        (lambda: mf.PopulationRisk(network(), BIASED), ValueError, "the teacher's neuron 0 has b = 0.5"),
        (lambda: mf.PopulationRisk(network(), mf.State(np.ones((2, 2)), outputs=0)), ValueError, "teacher has outputs = 0"),
        (lambda: mf.PopulationRisk(network(), TEACHER, ridge=-1.0), ValueError, "ridge must be a finite number >= 0; got -1.0"),
        (lambda: velocity(BIASED), ValueError, "the state's neuron 0 has b = 0.5"),
        (lambda: velocity(mf.State(np.zeros((2, 5)))), ValueError, "d = 3 inputs and K = 1 .* the teacher has d = 2 and K = 1"),
        (lambda: mf.GradientFlow(mf.PopulationRisk(network(), TEACHER)).predict(TEACHER), ValueError, "no training inputs"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_reason(make, error, words):
    with pytest.raises(error, match=words):
        make()


def velocity(state):
    return mf.GradientFlow(mf.PopulationRisk(network(), TEACHER)).velocity(state)
