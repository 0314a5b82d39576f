"""A stretch of steps in one compiled call is the march made step by step, to the last bit: θ, the
sums along the way, the clock.

The twin is the march itself with stretches switched off. THEORY.md has nothing to say here: the
claim is about bits.
"""

import os
import signal
import threading
import time
import warnings
from math import exp

import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield.backends.cpu import stretch, team
from meanfield.backends.cpu.records import KNOWN, MOST, PULL_BACK
from meanfield.formulas import losses
from meanfield.functionals.population import PopulationField
from meanfield.stepping import stretches
from meanfield.stepping.clocks import Span
from meanfield.stepping.march import March
from meanfield.stepping.stretches import Ahead

RALSTON = mf.RungeKutta("ralston", order=2, a=((), (2 / 3,)), b=(1 / 4, 3 / 4))
LAST_IS_NEW = mf.RungeKutta("last is new", order=1, a=((), (1.0,)), b=(1.0, 0.0))


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """Stretches whatever they save."""
    monkeypatch.setattr(stretch, "COMPILING", -1.0)


def problem(
    activation="relu", dim=2, dtype="float64", loss="squared", outputs=1, m=150, n=40, masses=False,
    weighted=False, scaling=mf.MEAN_FIELD, trainable=("a", "w", "b"), **settings,
):  # fmt: skip
    """(flow, start) of a network on random samples."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, dim)) / dim**0.5
    real = np.sin(3 * x[:, [0] * outputs])
    kind = losses.get(loss).labels
    y = {"class": rng.integers(0, outputs, n), "sign": np.sign(real), "real": real}[kind]
    state = mf.InitialLaw(dim, outputs=outputs, b_std=0.5).sample(m, seed=1)
    if masses:
        mass = rng.uniform(0.5, 1.5, m)
        state = mf.State(state.theta, outputs=outputs, mass=mass / mass.sum())
    if weighted:
        settings["weights"] = rng.uniform(0.5, 1.5, n)

    network = mf.Network(activation, scaling, trainable=trainable)
    risk = mf.EmpiricalRisk(network, x, y, loss=loss, **settings)
    return mf.GradientFlow(risk, dtype=dtype), state


def marched(flow, state, method, dt, t_end, moments=(), stops=None, watches=False):
    """The memory of a march at each of these steps and at its end, and in how many calls it was
    made.
    """
    march = March(flow, state, method, dt, t_end, None, watches)
    steps, found, calls = iter([*moments, 2**40]), [], 0
    wanted = next(steps)
    while not march.done:
        march.advance(stops, Ahead(step=wanted))
        calls += 1
        if march.step >= wanted:
            found.append(march.memory() | {"energy": march.energy, "moved": march.moved})
            wanted = next(steps)
    return [*found, march.memory() | {"energy": march.energy, "moved": march.moved}], calls


def the_same(a, b):
    """Whether two nested dicts hold the same bits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(the_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(the_same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


def compared(monkeypatch, *arguments, **settings):
    """Both ways of marching; returns (calls, steps) of the compiled one, whose calls no busy machine
    cuts short.
    """
    monkeypatch.setattr(stretch, "SECONDS", 60.0)
    together, calls = marched(*arguments, **settings)
    monkeypatch.setattr(stretches, "FEW", np.inf)
    alone, steps = marched(*arguments, **settings)
    assert the_same(together, alone)
    assert steps == alone[-1]["particles"]["step"]
    return calls, steps


PROBLEMS = {
    "relu": {},
    "relu float32": {"dtype": "float32"},
    "leaky_relu, one shard": {"activation": "leaky_relu", "m": 50},
    "tanh": {"activation": "tanh", "dim": 1},
    "tanh float32 in tiles": {"activation": "tanh", "dtype": "float32", "n": 2100},
    "gelu, masses": {"activation": "gelu", "dim": 3, "masses": True},
    "relu, masses, ridge, frozen b": {"masses": True, "ridge": 0.1, "trainable": ("a", "w")},
    "softmax": {"activation": "tanh", "outputs": 3, "loss": "softmax"},
    "softmax, weighted, sum": {"outputs": 3, "loss": "softmax", "weighted": True, "reduction": "sum"},
    "two outputs": {"outputs": 2, "dtype": "float32"},
    "logistic, weighted": {"loss": "logistic", "weighted": True},
    "huber, ridge": {"loss": "huber", "ridge": 0.01, "scaling": mf.NTK},
    "hinge": {"loss": "hinge", "activation": "tanh"},
    "wide": {"activation": "tanh", "dim": 13},
    "wide relu float32": {"dim": 64, "dtype": "float32", "outputs": 2},
}  # fmt: skip
MORE = (
    "relu float32",
    "tanh",
    "wide",
    "two outputs",
    "softmax",
)  # in .ci/run; each compiles for seven seconds


def problems(*here, among=tuple(PROBLEMS)):
    """Names of PROBLEMS: those named run always, MORE in the lane kernel, the others when slow tests do."""
    lanes = {name: pytest.mark.kernel if name in MORE else pytest.mark.slow for name in among}
    return [name if name in here else pytest.param(name, marks=lanes[name]) for name in among]


METHODS = [mf.EULER, mf.HEUN, mf.RK4, RALSTON, LAST_IS_NEW]


@pytest.mark.parametrize("name", problems("relu"))
def test_fixed_steps_have_the_same_bits_in_one_call(name, monkeypatch):
    flow, state = problem(**PROBLEMS[name])
    calls, steps = compared(monkeypatch, flow, state, mf.RK4, 0.03, 3.0)
    assert calls < steps / 3


def test_windows_of_motion_end_within_a_call_until_their_memory_is_full(monkeypatch):
    """100 steps are ten windows: of the two first steps, made alone, and the rest; or two a call."""
    flow, state = problem()
    calls, steps = compared(monkeypatch, flow, state, mf.RK4, 0.03, 3.0)
    assert (calls, steps) == (stretches.ALONE + 1, 100)
    monkeypatch.setattr(stretch, "WINDOWS", 2)
    monkeypatch.setattr(stretches, "FEW", 1)
    calls, _ = compared(monkeypatch, flow, state, mf.RK4, 0.03, 3.0)
    assert calls == stretches.ALONE + 5


def test_single_steps_between_two_looks_are_compiled_too(monkeypatch):
    """Somebody looks after each of 20 steps: all but the first two are compiled calls of one step."""
    flow, state = problem()
    made, run = [], stretch.Stretch.run
    monkeypatch.setattr(stretch.Stretch, "run", lambda *all: (made.append(1), run(*all))[1])
    calls, steps = compared(monkeypatch, flow, state, mf.RK4, 0.03, 0.6, moments=range(1, 20))
    assert calls == steps == 20 and len(made) == 20 - stretches.ALONE


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_tableau_has_the_same_bits_in_one_call(method, monkeypatch):
    flow, state = problem()
    compared(monkeypatch, flow, state, method, 0.05, 5.0, moments=(3, 17, 60), watches=True)


@pytest.mark.parametrize(
    "name", problems("relu", among=("relu", "tanh", "relu float32", "huber, ridge", "wide"))
)
def test_steps_with_the_test_of_descent_have_the_same_bits_in_one_call(name, monkeypatch):
    flow, state = problem(**PROBLEMS[name])
    compared(monkeypatch, flow, state, mf.RK4, "auto", 30.0, moments=(50,))


def test_a_step_that_is_halved_is_halved_at_the_same_place(monkeypatch):
    """H grows while a steep network learns, so the first dt becomes too long on the way."""
    flow, state = problem("tanh", dim=1)
    scale = mf.State(np.asarray(state.theta) * [0.05, 0.05, 0.05], outputs=1)
    memory, _ = marched(flow, scale, mf.EULER, "auto", 400.0)
    assert memory[-1]["clock"]["halvings"]
    compared(monkeypatch, flow, scale, mf.EULER, "auto", 400.0)


@pytest.mark.parametrize(
    "name", problems("relu", among=("relu", "tanh", "softmax", "relu float32", "wide"))
)
def test_steps_of_error_control_have_the_same_bits_in_one_call(name, monkeypatch):
    flow, state = problem(**PROBLEMS[name])
    stops = np.array([0.5, 0.7, 3.1])
    calls, steps = compared(
        monkeypatch, flow, state, mf.Adaptive(1e-5, 1e-8), None, 200.0, moments=(40,), stops=stops
    )
    assert calls < steps / 2


def test_a_march_that_goes_on_from_a_checkpoint_has_the_bits_of_one_that_was_not_stopped():
    flow, state = problem()
    (middle, end), _ = marched(flow, state, mf.RK4, "auto", 30.0, moments=(33,))
    march = March(flow, state, mf.RK4, "auto", 30.0, None)
    march.restore({name: middle[name] for name in middle if name not in ("energy", "moved")})
    while not march.done:
        march.advance(None, Ahead())
    assert the_same(march.memory(), {name: end[name] for name in march.memory()})


def well(x):
    total = 0.0
    for j in range(x.size):
        total += 0.5 * x[j] * x[j] + 0.25 * x[j] ** 4
    return total


def grad_well(x, out):
    for j in range(x.size):
        out[j] = x[j] + x[j] ** 3


def bump(x, y):
    square = 0.0
    for j in range(x.size):
        square += (x[j] - y[j]) ** 2
    return exp(-0.5 * square)


def grad_bump(x, y, out):
    square = 0.0
    for j in range(x.size):
        square += (x[j] - y[j]) ** 2
    for j in range(x.size):
        out[j] = -(x[j] - y[j]) * exp(-0.5 * square)


def points(dim=2, dtype="float64", m=150, masses=False, interaction=(bump, grad_bump), **settings):
    """(flow, start) of points that repel each other in a well."""
    rng = np.random.default_rng(5)
    mass = rng.uniform(0.5, 1.5, m) if masses else np.ones(m)
    state = mf.State(rng.normal(size=(m, dim)), outputs=0, mass=mass / mass.sum())
    energy = mf.PairwiseEnergy((well, grad_well), interaction, **settings)
    return mf.GradientFlow(energy, dtype=dtype), state


POINTS = {
    "in lanes": {},
    "float32, masses": {"dtype": "float32", "masses": True},
    "without itself, one shard": {"m": 50, "self_pairs": False},
    "in rows": {"dim": 26},
    "alone": {"interaction": None},
}


@pytest.mark.parametrize("name", sweep(POINTS))
@pytest.mark.parametrize(
    ("method", "dt"), [(mf.RK4, 0.05), (LAST_IS_NEW, 0.02), (mf.Adaptive(1e-5, 1e-8), None)],
    ids=["rk4", "last is new", "adaptive"],
)  # fmt: skip
def test_steps_of_a_pairwise_energy_have_the_same_bits_in_one_call(name, method, dt, monkeypatch):
    """Formulas of a user, too: they are called by their address."""
    flow, state = points(**POINTS[name])
    calls, steps = compared(
        monkeypatch, flow, state, method, dt, 4.0, moments=(5,), stops=np.array([1.1]), watches=True
    )
    assert calls < steps - 2 or name == "alone"


def population(activation="relu", dim=3, dtype="float64", m=150, masses=False, ridge=0.0):
    """(flow, start) of students of a small network, under N(0, I)."""
    network = mf.Network(activation, trainable=("a", "w"))
    state = mf.InitialLaw(dim).sample(m, seed=1)
    if masses:
        mass = np.random.default_rng(5).uniform(0.5, 1.5, m)
        state = mf.State(state.theta, outputs=1, mass=mass / mass.sum())
    teacher = mf.InitialLaw(dim).sample(70, seed=2)
    return mf.GradientFlow(mf.PopulationRisk(network, teacher, ridge=ridge), dtype=dtype), state


POPULATIONS = {
    "relu": {},
    "erf float32, masses, ridge": {
        "activation": "erf", "dim": 2, "dtype": "float32", "masses": True, "ridge": 0.1,
    },
    "linear, one shard": {"activation": "linear", "m": 40},
    "square": {"activation": "square", "dim": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", sweep(POPULATIONS))
@pytest.mark.parametrize(
    ("method", "dt"), [(mf.RK4, 0.05), (LAST_IS_NEW, 0.02), (mf.Adaptive(1e-5, 1e-8), None)],
    ids=["rk4", "last is new", "adaptive"],
)  # fmt: skip
def test_steps_of_a_population_risk_have_the_same_bits_in_one_call(name, method, dt, monkeypatch):
    flow, state = population(**POPULATIONS[name])
    calls, steps = compared(
        monkeypatch, flow, state, method, dt, 3.0, moments=(5,), stops=np.array([1.1]), watches=True
    )
    assert calls < steps


def test_many_points_whose_steps_several_threads_make_are_stepped_one_by_one():
    flow, state = points(m=800)  # 800 · 1600 operations
    calls, steps = marched(flow, state, mf.EULER, 0.05, 0.5)[1], 10
    assert calls == steps


@pytest.mark.parametrize("method", [mf.RK4, LAST_IS_NEW], ids=lambda method: method.name)
@pytest.mark.parametrize("name", sweep(POPULATIONS))
def test_steps_of_a_population_risk_with_the_test_of_descent_have_the_same_bits_in_one_call(
    name, method, monkeypatch
):
    flow, state = population(**POPULATIONS[name])
    monkeypatch.setattr(PopulationField, "rate", lambda self, particles: 1.0)
    calls, steps = compared(monkeypatch, flow, state, method, "auto", 20.0, moments=(50,))
    assert calls < steps / 3


def test_a_step_of_a_population_risk_is_halved_at_the_same_place(monkeypatch):
    """A rate that is too low makes the first steps too long, and later ones as the teacher is
    approached.
    """
    flow, state = population()
    monkeypatch.setattr(PopulationField, "rate", lambda self, particles: 0.02)
    memory, _ = marched(flow, state, mf.RK4, "auto", 200.0)
    assert memory[-1]["clock"]["halvings"]
    compared(monkeypatch, flow, state, mf.RK4, "auto", 200.0)


@pytest.mark.parametrize(
    ("method", "dt"), [(mf.RK4, 0.05), (mf.Adaptive(1e-5, 1e-8), None)], ids=["rk4", "adaptive"]
)
@pytest.mark.parametrize("name", sweep([*POPULATIONS, *POINTS], "relu", "in lanes"))
def test_energies_of_pairs_at_every_step_are_those_that_a_look_finds(name, method, dt, monkeypatch):
    """And the risks: in fewer calls than steps, with the steps, times and bits of single ones."""
    made, run = [], stretch.Stretch.run
    monkeypatch.setattr(stretch.Stretch, "run", lambda *all: (made.append(1), run(*all))[1])
    monkeypatch.setattr(stretch, "SECONDS", 60.0)
    of_risk = name in POPULATIONS
    flow, state = population(**POPULATIONS[name]) if of_risk else points(**POINTS[name])

    def watched():
        series = [mf.Series("energy", mf.every(1)), mf.Series("path", mf.every(9))]
        series += [mf.Series("risk", mf.every(2))] if of_risk else []
        end = mf.simulate(flow, state, method, dt=dt, t_end=2.0, observers=series, progress=False)
        return [end.theta.tobytes(), *((each.steps, each.times, each.values) for each in series)]

    together, calls = watched(), len(made)
    monkeypatch.setattr(stretches, "FEW", np.inf)
    assert watched() == together and len(made) == calls
    steps = len(together[1][0]) - 1
    assert together[1][0] == list(range(steps + 1)) and 0 < calls <= 2 + steps / 9


@pytest.mark.parametrize("name", problems("relu", among=("relu", "tanh", "wide", "two outputs")))
def test_a_shard_that_a_thread_has_taken_and_does_not_finish_is_done_by_the_leader(
    name, monkeypatch
):
    """Shard 1 is taken for ever, by nobody: the leader waits for the time of a shard, then does it
    itself, at every stage. What the thread has kept, z in wide problems or tanh, is of no use then.
    """
    monkeypatch.setattr(stretch, "SHARED", -1)
    run, done = stretch.Stretch.run, []

    def hindered(self, theta, state, velocity=None):
        if self.work.claims.size > 1:
            self.work.claims[1] = 2**60
        made = run(self, theta, state, velocity)
        done.append(self.work.done % MOST)
        return made

    monkeypatch.setattr(stretch.Stretch, "run", hindered)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: 2)
    flow, state = problem(**PROBLEMS[name])
    compared(monkeypatch, flow, state, mf.RK4, 0.03, 1.5, moments=(17,))
    assert all(workers[1] == 0 for workers in done)


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_mean_features_that_each_worker_adds_up_for_itself_have_the_same_bits(workers, monkeypatch):
    """11 shards: the branches of the tree are as uneven as they can be."""
    monkeypatch.setattr(stretch, "SHARED", -1)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: workers)
    flow, state = problem(m=700)
    compared(monkeypatch, flow, state, mf.RK4, "auto", 30.0, moments=(50,))


def test_a_worker_has_whole_branches_of_the_tree_and_no_more_than_its_share():
    """By the tree itself, in sets of shards: what a node adds up is of one worker."""
    for shards in range(1, 65):
        for workers in range(1, min(shards, 9) + 1):
            count, keepers = stretch.branches_of(shards, workers)
            assert np.bincount(keepers).max() == -(-shards // workers)
            nodes = [{shard} for shard in range(shards)]
            while len(nodes) > count:
                half = (len(nodes) + 1) // 2
                pairs = zip(nodes[: len(nodes) - half], nodes[half:], strict=True)
                nodes = [one | other for one, other in pairs] + nodes[len(nodes) - half : half]
            assert len(nodes) == count >= workers
            for r, node in enumerate(nodes):
                assert {keepers[shard] for shard in node} == {keepers[r]}
    assert stretch.branches_of(64, 2)[0] == stretch.branches_of(16, 2)[0] == 2


def watched_closely(name, workers, monkeypatch):
    """(What a run of 100 steps leaves, of a risk with a look at each, [(known, given) of each call])."""
    begun = []

    def noted(self, theta, state, velocity=None, run=stretch.Stretch.run):
        begun.append((self.features is not None, velocity is not None))
        return run(self, theta, state, velocity)

    monkeypatch.setattr(stretch.Stretch, "run", noted)
    monkeypatch.setattr(stretch, "SHARED", -1 if workers > 1 else 10**9)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: workers)
    makers = {"population": population, "points": points}
    flow, state = makers[name]() if name in makers else problem(**PROBLEMS[name])
    series = [] if name in makers else [mf.Series("risk", mf.every(1))]
    series += [mf.Series("speed2", mf.every(5)), mf.Series("path", mf.every(7))]
    end = mf.simulate(flow, state, mf.RK4, dt=0.01, n_steps=100, observers=series, progress=False)
    return [end.theta.tobytes(), *((each.steps, each.values) for each in series)], begun


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "name",
    [*problems("relu", among=("relu", "tanh", "two outputs", "wide")), "population", "points"],
)
def test_a_call_begins_with_what_the_one_before_or_a_look_has_computed(name, workers, monkeypatch):
    """The same bits, and nothing twice: mean features that the risk at every step has asked for,
    and the velocity that a speed has. Kernels in blocks pull back by more than mean features, and a
    call for points that meet each other makes none.
    """
    together, begun = watched_closely(name, workers, monkeypatch)
    known, given = zip(*begun[1:], strict=True)
    assert sum(given) == 19
    assert all(known) if name in ("relu", "tanh", "two outputs") else not any(known)
    monkeypatch.setattr(stretches, "FEW", np.inf)
    assert watched_closely(name, workers, monkeypatch)[0] == together


@pytest.mark.kernel
def test_a_call_begins_with_the_tanh_that_the_one_before_has_kept(monkeypatch):
    """Of a θ whose mean features are known and whose velocity nobody has asked for: it is read there,
    and not made again.
    """
    flow, state = problem(**PROBLEMS["tanh"])
    march = March(flow, state, mf.RK4, 0.03, 3.0, None)
    march.trace()
    while march.step < 20:
        march.advance(None, Ahead(step=20))
    made = march._stretches._compiled
    assert made.features is not None and "velocity" not in march.field.known(march.particles)
    made.work.kept[:] = np.nan
    march.advance(None, Ahead(step=40))
    assert not np.isfinite(march.state().theta).any()


def test_helpers_that_come_late_or_never_change_no_bit(monkeypatch):
    """What they are given is kept from them, or reaches them when the call is over."""
    monkeypatch.setattr(stretch, "SHARED", -1)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: 3)
    given = []
    monkeypatch.setattr(team.Helper, "give", lambda self, *work: given.append(work))
    flow, state = problem()
    compared(monkeypatch, flow, state, mf.RK4, "auto", 30.0, moments=(50,))
    assert given
    for function, *arguments in given:
        function(*arguments)  # returns at once


def test_a_helper_does_the_job_that_it_has_taken_when_the_leader_is_at_another(monkeypatch):
    """k_0 of a step that was rejected is known, and a helper's rows hold it. The helper takes up the
    step again, late: the leader has put a velocity of another point into work.job meanwhile.
    """
    monkeypatch.setattr(stretch, "SHARED", -1)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: 2)
    run, made = stretch.Stretch.run, []
    monkeypatch.setattr(
        stretch.Stretch, "run", lambda self, *given: (made.append(self), run(self, *given))[1]
    )
    flow, state = problem()
    marched(flow, state, mf.RK4, 0.03, 0.3)
    it = made[0]

    work = it.work
    work.stage_rows[1] = 7.0
    work.owners[:] = 1
    work.job[1:] = work.job[0]
    work.job["stage"] = 0
    work.job["begins"] = KNOWN
    work.job[0]["begins"] = PULL_BACK
    it.shards(it.kernels, it.risk, it.method, work, 0, work.claims.size, 1)
    assert np.all(work.stage_rows[1] == 7.0)


@pytest.mark.kernel  # wide problems keep z
def test_a_worker_reads_no_z_that_another_has_kept(monkeypatch):
    """The leader, who had kept z of all shards, does them again while the helper is at them, and has
    put z of the next point into its place.
    """
    monkeypatch.setattr(stretch, "SHARED", -1)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(team.Helper, "give", lambda self, *work: None)
    run, made = stretch.Stretch.run, []
    monkeypatch.setattr(
        stretch.Stretch, "run", lambda self, *given: (made.append(self), run(self, *given))[1]
    )
    flow, state = problem(**PROBLEMS["wide"])
    marched(flow, state, mf.RK4, 0.03, 0.3)
    it = made[0]

    work = it.work
    work.job["stage"], work.job["begins"], work.job["forward"] = 0, PULL_BACK, False
    found = []
    for z in 1.0, 7.0:
        work.kept[0] = z
        it.shards(it.kernels, it.risk, it.method, work, 0, work.claims.size, 1)
        found.append(work.stage_rows[1, 0].copy())
    assert np.array_equal(*found) and found[0].any()


class Asked(mf.Observer):
    """Counts the steps that it is asked about."""

    name = "asked"

    def begin(self, march, problem, path):
        self.count = 0

    def due(self, march):
        self.count += 1
        return False


def recorded(path, method, dt, *more, **problem_settings):
    """Everything that a run with observers of every schedule leaves, and how many steps it has."""
    flow, state = problem(**problem_settings)
    observers = [
        mf.Recorder(path, mf.evenly(7)),
        mf.Series("risk", mf.every(13)),
        mf.Series("speed2", mf.log_spaced(5)),
        mf.Series("path", mf.at_times([0.33, 1.0, 4.9])),
        mf.Series("theta_max", mf.at_steps([1, 2, 40, 41])),
        mf.StopOnNonFinite(),
        *more,
    ]
    end = mf.simulate(flow, state, method, dt=dt, t_end=5.0, observers=observers, progress=False)
    return mf.Trajectory(path).content_hash(), end.step


@pytest.mark.parametrize(
    ("method", "dt"), [(mf.HEUN, 0.02), (mf.RK4, "auto"), (mf.Adaptive(1e-6, 1e-9), None)],
    ids=["fixed", "auto", "adaptive"],
)  # fmt: skip
def test_a_recorded_run_is_the_same_file(method, dt, tmp_path, monkeypatch):
    """Frames and series of every schedule, and Adaptive's landing on at_times."""
    together = recorded(tmp_path / "together.h5", method, dt)
    monkeypatch.setattr(stretches, "FEW", np.inf)
    assert recorded(tmp_path / "alone.h5", method, dt) == together


def test_an_observer_with_a_due_of_its_own_is_asked_at_every_step(tmp_path):
    asked = Asked(mf.every(1000))
    _, steps = recorded(tmp_path / "run.h5", mf.HEUN, 0.02, asked)
    assert asked.count == steps + 1


def test_a_step_without_numbers_ends_a_stretch(monkeypatch):
    """dt far beyond stability: θ overflows, at the same step, and with the same words."""
    flow, state = problem("linear")

    def said():
        with pytest.raises(mf.Diverged) as raised:
            stop = [mf.StopOnNonFinite()]
            mf.simulate(
                flow, state, mf.EULER, dt=50.0, n_steps=5000, observers=stop, progress=False
            )
        return str(raised.value)

    together = said()
    monkeypatch.setattr(stretches, "FEW", np.inf)
    assert said() == together


def test_a_step_that_moves_nothing_ends_a_stretch():
    """All units are dead: the warning names the first step, although it lies within a stretch."""
    x, y = np.array([[1.0], [2.0]]), np.array([1.0, 1.0])
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, y))
    dead = mf.State(np.full((80, 3), -1.0), outputs=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mf.simulate(flow, dead, mf.EULER, dt=0.1, n_steps=200, progress=False)
    assert any("no particle moves any more (step 1," in str(each.message) for each in caught)


def test_a_signal_is_served_within_a_fifth_of_a_second():
    """A call lasts a twentieth; on a busy machine more of the clock, so a second is allowed here."""
    assert stretch.SECONDS <= 0.1
    flow, state = problem(m=500)
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    mf.simulate(flow, state, mf.RK4, dt=1e-6, n_steps=1000, progress=False)  # compiles
    timer = threading.Timer(0.5, send)
    with pytest.raises(mf.Interrupted):
        timer.start()
        mf.simulate(flow, state, mf.RK4, dt=1e-6, n_steps=10**6, progress=False)
    assert time.monotonic() - sent[0] < 1.0


def test_ahead_is_never_later_than_the_next_moment():
    """For each schedule, from each step: the first step that fires is not before `ahead`, and for
    steps it is at it.
    """
    span, dt = Span(0, 0.0, 10.0, 0.1), 0.1
    for schedule in (
        mf.every(7),
        mf.evenly(9),
        mf.log_spaced(6),
        mf.at_steps([3, 30]),
        mf.at_times([0.33, 7.7]),
    ):
        due = schedule.resolve(span)
        due(0, 0.0, dt)
        last = due.ahead(0)
        for step in range(1, 101):
            t = step * dt
            at_it = step >= last.step or t + 1e-9 * dt >= last.t
            assert due(step, t, dt) == at_it
            last = due.ahead(step)


@pytest.mark.parametrize(
    ("name", "method", "dt"),
    [("relu", mf.RK4, 0.02),
     pytest.param("softmax, weighted, sum", mf.EULER, 0.02, marks=pytest.mark.slow),
     pytest.param("huber, ridge", mf.HEUN, "auto", marks=pytest.mark.slow),
     pytest.param("relu float32", mf.Adaptive(1e-4, 1e-7), None, marks=pytest.mark.kernel)],
)  # fmt: skip
def test_risk_and_energy_of_the_steps_passed_over_are_those_that_a_look_would_find(
    name, method, dt, monkeypatch
):
    """mf.every(k) of a number that the march itself knows does not stop it: the same steps, times
    and bits, in fewer calls than steps.
    """
    made = []
    monkeypatch.setattr(
        stretch.Stretch, "run", lambda *given, run=stretch.Stretch.run: (made.append(0), run(*given))[1]
    )  # fmt: skip

    def watched():
        flow, state = problem(**PROBLEMS[name])
        series = [mf.Series("risk", mf.every(1)), mf.Series("energy", mf.every(3))]
        mf.simulate(flow, state, method, dt=dt, t_end=3.0, observers=series, progress=False)
        return [(each.steps, each.times, each.values) for each in series]

    together, calls = watched(), len(made)
    assert 0 < calls < len(together[0][0]) / 2
    monkeypatch.setattr(stretches, "FEW", np.inf)
    assert watched() == together and len(made) == calls
    assert together[0][0] == list(range(len(together[0][0])))
