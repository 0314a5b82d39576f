"""mf.PairwiseEnergy: the kernels against their slow twin, what they leave invariant, the run of
one, and what is refused.
"""

import os
import subprocess
import sys
from math import exp

import numpy as np
import pytest
from naive import pair_energy, pair_first_variation, pair_velocity
from pair_formulas import (
    CONTACT,
    COULOMB,
    GAUSSIAN,
    QUADRATIC,
    SPRING,
    WALL,
    WELL,
    coulomb,
    grad_coulomb,
    grad_spring,
    spring,
)
from some_threads import with_threads
from sweeps import sweep

import meanfield as mf
from meanfield.diagnostics import inspection

KINDS = {
    "both": mf.PairwiseEnergy(WELL, GAUSSIAN),
    "no self pairs": mf.PairwiseEnergy(WELL, COULOMB, self_pairs=False),
    "potential alone": mf.PairwiseEnergy(WELL),
    "interaction alone": mf.PairwiseEnergy(interaction=GAUSSIAN),
    "partly assigned": mf.PairwiseEnergy(WALL, CONTACT, self_pairs=False),
    "partly assigned alone": mf.PairwiseEnergy(WALL),
}


def particles(m=70, p=2, seed=3, dtype=np.float64):
    """Unequal masses, more than two groups of 32, none of them full."""
    rng = np.random.default_rng(seed)
    mass = rng.uniform(0.5, 1.5, m)
    return mf.State(rng.normal(size=(m, p)).astype(dtype), outputs=0, mass=mass / mass.sum())


CASES = [(kind, 2, "float64") for kind in KINDS] + [
    ("both", 1, "float64"),
    ("both", 30, "float64"),
    ("no self pairs", 30, "float64"),
    ("partly assigned", 1, "float32"),
    ("partly assigned", 30, "float64"),
]
CASES += [("both", 2, "float32"), ("no self pairs", 2, "float32"), ("both", 30, "float32")]


@pytest.mark.parametrize(
    ("kind", "p", "dtype"), sweep(CASES, ("both", 2, "float64"), ("no self pairs", 2, "float32"))
)
def test_energy_first_variation_and_velocity_are_those_of_the_naive_twin(kind, p, dtype):
    """Sums of m = 70 terms: m ε relative to the largest, ε = 2.2e-16 or 1.2e-7 with fast
    exponentials of 4 ulp; the terms themselves cancel by at most |x|⁴ = 1e4 at p = 30, and 1/|x -
    y| magnifies the rounding of x - y by |x|/|x - y| = 1e3.
    """
    energy, state = KINDS[kind], particles(p=p, dtype=dtype)
    flow = mf.GradientFlow(energy, dtype=dtype)
    host = mf.State(state.theta.astype(np.float64), 0, state.mass)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    for found, expected in (
        (flow.energy(state), pair_energy(energy, host)),
        (flow.first_variation(state), pair_first_variation(energy, host)),
        (flow.velocity(state), pair_velocity(energy, host)),
    ):
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()
        )


@pytest.mark.parametrize("kind", ["both", "no self pairs"])
def test_the_velocity_is_minus_the_gradient_of_the_energy_by_mass(kind):
    """∂F/∂x_k = -p_k v_k: central differences of F at h = 1e-5 are right to h² F''' + ε F/h = 1e-9."""
    flow, state, h = mf.GradientFlow(KINDS[kind]), particles(), 1e-5
    velocity = flow.velocity(state)
    for k in (0, 31, 69):
        for j in range(2):
            ends = []
            for step in (h, -h):
                theta = state.theta.copy()
                theta[k, j] += step
                ends.append(flow.energy(mf.State(theta, 0, state.mass)))
            assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(
                -state.mass[k] * velocity[k, j], abs=1e-8
            )


def test_many_sources_are_summed_in_blocks():
    """m = 2100: two blocks of 1024 and a rest. float32 in blocks: 1024 ε at worst, √1024 ε = 4e-6
    as a rule.
    """
    state = particles(2100)
    exact = mf.GradientFlow(KINDS["both"]).velocity(state)
    rows = np.array([0, 1024, 2099])
    some = mf.State(state.theta[rows], 0)
    expected = pair_velocity(mf.PairwiseEnergy(WELL), some)
    for row, k in enumerate(rows):
        out = np.zeros(2)
        for l in range(state.m):  # noqa: E741
            GAUSSIAN[1](state.theta[k], state.theta[l], out)
            expected[row] -= state.mass[l] * out
    np.testing.assert_allclose(exact[rows], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        mf.GradientFlow(KINDS["both"], dtype="float32").velocity(state), exact, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "p", "dtype"),
    sweep([("both", 2, "float64"), ("both", 2, "float32"), ("both", 30, "float64")]),
)
def test_the_bits_are_the_same_with_one_thread_and_two(kind, p, dtype):
    flow, state = mf.GradientFlow(KINDS[kind], dtype=dtype), particles(2100 if p == 2 else 500, p)
    results = [
        with_threads(
            count,
            lambda: (
                flow.velocity(state).tobytes(),
                flow.first_variation(state).tobytes(),
                flow.energy(state),
            ),
        )
        for count in (1, 2)
    ]
    assert results[0] == results[1]


def test_neither_order_nor_splitting_of_the_particles_matters():
    """Rounding of sums of 140 terms alone."""
    flow, state = mf.GradientFlow(KINDS["both"]), particles()
    order = np.random.default_rng(5).permutation(state.m)
    shuffled = mf.State(state.theta[order], 0, state.mass[order])
    np.testing.assert_allclose(
        flow.velocity(shuffled), flow.velocity(state)[order], rtol=1e-13, atol=1e-13
    )
    twice = mf.State(np.repeat(state.theta, 2, axis=0), 0, np.repeat(state.mass, 2) / 2)
    np.testing.assert_allclose(
        flow.velocity(twice), np.repeat(flow.velocity(state), 2, axis=0), rtol=1e-13, atol=1e-13
    )
    assert flow.energy(twice) == pytest.approx(flow.energy(state), rel=1e-13)


def test_particles_in_one_place_meet_others_and_not_themselves():
    """Two of 20 coincide: their pair alone is infinite, every other velocity stays finite."""
    state = particles(20)
    theta = state.theta.copy()
    theta[7] = theta[3]
    velocity = mf.GradientFlow(KINDS["no self pairs"]).velocity(mf.State(theta, 0, state.mass))
    assert list(np.flatnonzero(~np.isfinite(velocity).all(axis=1))) == [3, 7]


@pytest.mark.process
def test_a_second_process_compiles_nothing_and_has_the_same_bits(tmp_path):
    """Formulas with a constant in a closure, from a script: their cache is keyed by what they
    compute.
    """
    program = """
import numpy as np, meanfield as mf
def spring(k):
    def U(x, y):
        return k * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2) / 2.0
    def grad_U(x, y, out):
        out[0] = k * (x[0] - y[0])
        out[1] = k * (x[1] - y[1])
    return U, grad_U
state = mf.State(np.random.default_rng(0).normal(size=(100, 2)), 0)
flow = mf.GradientFlow(mf.PairwiseEnergy(interaction=spring({k})), dtype="float32")
before = flow.on_device(state).compiled()
print(before, flow.velocity(state).tobytes().hex(), flow.energy(state).hex())
"""
    environment = {
        **os.environ,
        "MEANFIELD_CACHE": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def words(k):
        run = subprocess.run(
            [sys.executable, "-c", program.format(k=k)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.split()

    first, second, other = words(1.5), words(1.5), words(2.5)
    assert (first[0], second[0], other[0]) == ("False", "True", "False")
    assert first[1:] == second[1:] != other[1:]


# A run of one.

ATTRACTED = mf.PairwiseEnergy(QUADRATIC, SPRING)


def test_a_run_dissipates_its_energy_and_its_file_says_what_it_is(h5_path):
    """The defect of RK4 is of order dt⁴: 16 times less for half the dt, to a quarter for the next
    order at rate·dt = 0.2.
    """
    flow, start = mf.GradientFlow(ATTRACTED), particles()
    mf.simulate(
        flow, start, mf.RK4, dt=0.05, t_end=1.0, observers=[mf.Recorder(h5_path, mf.every(4))]
    )
    with mf.Trajectory(h5_path) as run:
        energy, defect = run.series("energy").values, run.series("energy_defect").values
        coarse = mf.Series("energy_defect", mf.at_times([1.0]))
        mf.simulate(flow, start, mf.RK4, dt=0.1, t_end=1.0, observers=[coarse], progress=False)
        assert (
            (np.diff(energy) < 0).all()
            and 12 < coarse.values[-1] / defect[-1] < 20
            and defect.max() < 1e-5
        )
        assert run.series_names == sorted(
            ["energy", "speed2", "path", "displacement", "theta_max", "nonfinite", "energy_defect"]
        )
        text = "\n".join(inspection.report(run))
        assert (
            "PairwiseEnergy: potential = quadratic, interaction = spring, self_pairs = True" in text
        )
        assert run[0].outputs == 0 and run[-1].theta.shape == (70, 2)
    d = mf.diagnose(h5_path, ["energy", "speed2"], flow=flow, progress=False)
    np.testing.assert_array_equal(d["energy"].values, energy)
    with pytest.raises(
        ValueError, match="a flow of PairwiseEnergy is not made from settings alone. Pass flow="
    ):
        mf.diagnose(h5_path, ["energy"])
    with pytest.raises(ValueError, match="the particles are no neurons|has no network"):
        mf.diagnose(h5_path, ["kernel_drift"], flow=flow)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_with_its_flow_to_the_same_content_hash(tmp_path):
    flow, start = mf.GradientFlow(KINDS["both"], dtype="float32"), particles(dtype=np.float32)
    published = []

    def guard():
        published.append(1)
        if len(published) == 4:
            raise Killed

    def run(path, **settings):
        watch = [
            mf.Recorder(path, mf.every(3), checkpoint_seconds=0, **settings),
            mf.Series("theta_max", mf.every(2)),
        ]
        mf.simulate(flow, start, mf.RK4, dt=0.01, n_steps=20, observers=watch, progress=False)

    run(tmp_path / "straight.h5")
    with pytest.raises(Killed):
        run(tmp_path / "killed.h5", guard=guard)
    with pytest.raises(ValueError, match="not made from settings alone. Pass flow="):
        mf.resume(tmp_path / "killed.h5", progress=False)
    mf.resume(tmp_path / "killed.h5", flow=flow, progress=False)
    hashes = [
        mf.Trajectory(tmp_path / name).content_hash() for name in ("straight.h5", "killed.h5")
    ]
    assert hashes[0] == hashes[1]


def test_two_runs_are_compared_and_their_paths_drawn(tmp_path):
    from sims import figures

    for name, t_end in (("short", 0.5), ("long", 2.0)):
        recorder = mf.Recorder(tmp_path / f"{name}.h5", mf.evenly(4))
        mf.simulate(
            mf.GradientFlow(ATTRACTED),
            particles(),
            mf.RK4,
            dt=0.1,
            t_end=t_end,
            observers=[recorder],
            progress=False,
        )
    found = mf.compare(tmp_path / "short.h5", tmp_path / "long.h5")
    assert (
        found.verdict.startswith("short.h5 moved less than long.h5: RMS displacement")
        and found.notes == ()
    )
    ax = figures.paths(tmp_path / "long.h5")
    assert ax.get_xlabel() == "θ₁" and "Particles" in ax.texts[0].get_text() + ax.get_title()
    assert figures.series(tmp_path / "long.h5", "energy").get_ylabel() == "energy"
    assert figures.compare([tmp_path / "short.h5", tmp_path / "long.h5"]).get_ylabel() == "energy F"
    for draw in (figures.kernel_image, figures.phase_portrait, figures.function_evolution):
        with pytest.raises(ValueError):
            draw(tmp_path / "long.h5")


def test_a_run_without_equilibrium_warnings_ends_where_nothing_moves(recwarn):
    """Particles in one place under a spring: a critical point, and no news."""
    mf.simulate(
        mf.GradientFlow(mf.PairwiseEnergy(interaction=SPRING)), mf.State(np.ones((5, 2)), 0), mf.EULER, dt=0.1, n_steps=2,
        progress=False,
    )  # fmt: skip
    assert not recwarn.list


# What is refused, before any work.


def test_steps_that_are_too_long_are_said_though_nothing_overflows():
    """F = ½x² and Euler with dt = 3: x <- -2 x, so F grows fourfold a step and stays finite."""
    flow = mf.GradientFlow(mf.PairwiseEnergy(QUADRATIC))
    with pytest.warns(
        RuntimeWarning,
        match=r"F rose from .* so the steps were too long. Use a smaller dt, or mf.Adaptive",
    ):
        mf.simulate(flow, particles(), mf.EULER, dt=3.0, n_steps=4, progress=False)


def test_a_start_where_particles_meet_a_singular_interaction_is_refused_before_any_file(h5_path):
    state = mf.State(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), outputs=0)
    flow = mf.GradientFlow(mf.PairwiseEnergy(interaction=COULOMB, self_pairs=False))
    with pytest.raises(
        ValueError, match="the start is not finite.*self_pairs=False, and particles that do"
    ):
        mf.simulate(
            flow,
            state,
            mf.RK4,
            dt=0.1,
            n_steps=2,
            observers=[mf.Recorder(h5_path, mf.every(1))],
            progress=False,
        )
    assert not list(h5_path.parent.iterdir())


def test_an_extension_without_its_flow_is_refused_and_leaves_no_trace(h5_path):
    flow = mf.GradientFlow(mf.PairwiseEnergy(QUADRATIC))
    mf.simulate(
        flow,
        particles(),
        mf.RK4,
        dt=0.1,
        n_steps=3,
        observers=[mf.Recorder(h5_path, mf.every(1))],
        progress=False,
    )
    with pytest.raises(ValueError, match="Pass flow="):
        mf.resume(h5_path, t_end=1.0, progress=False)
    assert [path.name for path in h5_path.parent.iterdir()] == [h5_path.name]
    assert mf.resume(h5_path, t_end=1.0, flow=flow, progress=False).t == 1.0


def test_what_it_lacks_is_said():
    flow, state = mf.GradientFlow(ATTRACTED), particles()
    with pytest.raises(
        ValueError,
        match="a PairwiseEnergy has no network, so it predicts nothing. What it minimises is",
    ):
        flow.predict(state)
    with pytest.raises(ValueError, match="has no risk"):
        flow.risk(state)
    with pytest.raises(
        ValueError,
        match=r'dt="auto" knows no rate of a PairwiseEnergy, whose formulas are yours. Give dt '
        r"a number",
    ):
        mf.simulate(flow, state, mf.RK4, dt="auto", t_end=1.0, progress=False)
    with pytest.raises(
        ValueError,
        match=r"acts on whole rows of θ; the state has K = 1 outputs. Write mf.State\(theta, "
        r"outputs=0\)",
    ):
        flow.velocity(mf.State(np.ones((3, 3))))


def wrong_sign(x, y, out):
    for j in range(x.size):
        out[j] = y[j] - x[j]


def one_component(x, y, out):
    out[0] = x[0] - y[0]


def uneven(x, y):
    return x[0] - y[0] * y[0]


def far(x):
    return x[7]


def texts(x):
    return "energy"


def writes(x):
    x[0] = 0.0
    return 0.0


@pytest.mark.parametrize(
    ("potential", "interaction", "message"),
    [
        (
            None,
            (spring, wrong_sign),
            r"wrong_sign is not the gradient of spring: out\[0\] = .* the gradient "
            r"itself, not minus it",
        ),
        (
            None,
            (spring, one_component),
            r"one_component leaves out\[1\] unset, or NaN, at x = .*, y = ",
        ),
        (None, (uneven, grad_spring), "the interaction uneven is not symmetric"),
        ((far, WELL[1]), None, "far fails at x = .*: IndexError"),
        ((texts, WELL[1]), None, "texts must return one real number; got 'energy'"),
        (
            (writes, WELL[1]),
            None,
            "writes fails at x = .*: ValueError: assignment destination is read-only",
        ),
        (None, (coulomb, grad_spring), "grad_spring is not the gradient of coulomb"),
    ],
)
def test_wrong_formulas_are_found_at_the_first_particles(potential, interaction, message, h5_path):
    flow = mf.GradientFlow(mf.PairwiseEnergy(potential, interaction))
    with pytest.raises((ValueError, TypeError), match=message):
        mf.simulate(
            flow,
            particles(),
            mf.RK4,
            dt=0.1,
            t_end=1.0,
            observers=[mf.Recorder(h5_path, mf.every(1))],
            progress=False,
        )
    assert not h5_path.parent.joinpath("run.h5.parts").exists()


def test_a_file_that_is_in_the_way_says_what_it_needs_to_go_on(h5_path):
    flow = mf.GradientFlow(mf.PairwiseEnergy(WELL, SPRING))

    def run():
        recorder = mf.Recorder(h5_path, mf.every(1))
        mf.simulate(
            flow, particles(), mf.RK4, dt=0.1, t_end=1.0, observers=[recorder], progress=False
        )

    run()
    with pytest.raises(FileExistsError, match=r"mf\.resume\(.*run\.h5', t_end=…, flow=…\)"):
        run()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither potential nor interaction"),
        (
            {"potential": WELL[0]},
            r"potential must be \(V, grad_V\): V\(x\) -> float and grad_V\(x, out\); got <function",
        ),
        (
            {"interaction": (spring,)},
            r"interaction must be \(U, grad_U\): U\(x, y\) -> float and grad_U\(x, y, out\)",
        ),
        ({"potential": SPRING}, "spring takes 2 arguments, not 1"),
        ({"interaction": (spring, spring)}, "spring takes 2 arguments, not 3"),
        ({"interaction": (spring, "grad")}, "plain Python functions; got 'grad'"),
        ({"potential": WELL, "self_pairs": 1}, "self_pairs must be True or False"),
    ],
)
def test_wrong_arguments_are_refused_at_the_constructor(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        mf.PairwiseEnergy(**arguments)


def test_a_formula_beyond_the_compiler_says_how_to_write_it():
    def sorted_sum(x):
        return float(sum(sorted({value for value in x.tolist()})))

    def ones(x, out):
        out[:] = 1.0

    with pytest.raises(
        TypeError,
        match="the formulas sorted_sum, ones do not compile for float64: they are plain Python",
    ):
        mf.GradientFlow(mf.PairwiseEnergy((sorted_sum, ones))).energy(particles())


def test_integers_that_widen_float32_numbers_are_explained():
    def half(x):
        return exp(-x[0] / 2)

    def grad_half(x, out):
        out[0] = -0.5 * exp(-x[0] / 2)
        out[1] = 0.0

    energy = mf.PairwiseEnergy((half, grad_half))
    assert np.isfinite(mf.GradientFlow(energy).energy(particles()))
    with pytest.raises(
        TypeError,
        match=r"half, grad_half do not compile for float32.* constants written as floats \(2.0",
    ):
        mf.GradientFlow(energy, dtype="float32").energy(particles())


def test_kinks_where_a_particle_stands_are_let_pass():
    """|x| at 0: differences give 0, either side of the kink ±1 is as good."""

    def cusp(x):
        return abs(x[0])

    def grad_cusp(x, out):
        out[0] = 1.0 if x[0] >= 0.0 else -1.0

    state = mf.State(np.array([[0.0], [1.0], [-2.0]]), 0)
    np.testing.assert_array_equal(
        mf.GradientFlow(mf.PairwiseEnergy((cusp, grad_cusp))).velocity(state)[:, 0],
        [-1.0, -1.0, 1.0],
    )


def test_coulomb_formulas_are_their_own_gradient_away_from_the_diagonal():
    """The pair that the check skips: a particle and itself."""
    mf.PairwiseEnergy(interaction=(coulomb, grad_coulomb), self_pairs=False).check_state(
        particles()
    )
