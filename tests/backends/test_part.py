"""Ranks that share the particles of one run have the bits of one process, whatever flow it is.

The ranks are threads here (helpers/ranks_in_memory.py); processes are in tests/processes/test_torchrun.py.
"""

import itertools
import math
import re
import threading
from math import exp

import numpy as np
import pytest
from pair_formulas import grad_well, well
from ranks_in_memory import together

import meanfield as mf
from meanfield.backends.cpu import team
from meanfield.backends.cpu.backend import CPU
from meanfield.backends.cpu.part import blocks, cut
from meanfield.observers import distances
from meanfield.processes import interruption
from meanfield.processes.ranks import Ranks

M = 320  # five shards of 64
rng = np.random.default_rng(0)
X = rng.normal(size=(20, 2))
Y = np.sin(X[:, 0])
LAW = mf.InitialLaw(2, b_std=0.5)
START = LAW.sample(M, seed=1)
TANH = mf.EmpiricalRisk(mf.Network("tanh"), X, Y, ridge=1e-3)
UNIT = mf.State(
    np.hstack([START.a, START.w / np.linalg.norm(START.w, axis=1)[:, None], 0 * START.a])
)
NO_BIAS = mf.Network("relu", trainable=("a", "w"))
TEACHER = mf.InitialLaw(2).sample(160, seed=9)  # as many as a rank of two has
UNEQUAL = rng.uniform(0.5, 1.5, M)


def square(x, y):
    return 0.25 * (x[0] - y[0]) ** 2 + 0.25 * (x[1] - y[1]) ** 2


def grad_square(x, y, out):
    out[0] = 0.5 * (x[0] - y[0])
    out[1] = 0.5 * (x[1] - y[1])


PAIRS = mf.PairwiseEnergy((well, grad_well), (square, grad_square))

# name -> (functional, settings of the flow, start, method, dt)
FLOWS = {
    "euler": (TANH, {}, START, mf.EULER, 0.1),
    "rk4, dt auto": (TANH, {}, START, mf.RK4, "auto"),
    "adaptive": (TANH, {}, START, mf.Adaptive(rtol=1e-5), None),
    "langevin": (TANH, {"temperature": 0.1}, START, mf.EULER_MARUYAMA, 0.1),
    "heavy ball": (TANH, {}, START, mf.HeavyBall(1.0), 0.1),
    "mini-batches": (mf.MiniBatch(TANH, 8), {}, START, mf.EULER, 0.1),
    "reaction": (TANH, {"reaction": 1.0}, START, mf.EULER, 0.1),
    "jumps": (TANH, {"reaction": 9.0, "jumps": True}, START, mf.EULER, 0.1),
    "resampled": (TANH, {"reaction": 9.0, "resample": 0.99, "jitter": 0.1}, START, mf.EULER, 0.1),
    "masses": (TANH, {}, mf.State(START.theta, mass=UNEQUAL / UNEQUAL.sum()), mf.HEUN, 0.1),
}  # fmt: skip
MORE = {
    "pairs": (PAIRS, {}, mf.State(START.theta[:, :2], outputs=0), mf.HEUN, 0.05),
    "float32": (TANH, {"dtype": "float32"}, START, mf.RK4, 0.1),
    "relu": (mf.EmpiricalRisk(mf.Network("relu"), X, Y), {}, START, mf.RK4, 0.1),
    "outputs": (
        mf.EmpiricalRisk(mf.Network("tanh"), X, np.arange(20) % 3, loss="softmax"),
        {}, mf.InitialLaw(2, outputs=3).sample(M, seed=1), mf.HEUN, 0.1),
    "many inputs": (
        mf.EmpiricalRisk(mf.Network("tanh"), rng.normal(size=(20, 13)), Y),
        {}, mf.InitialLaw(13).sample(M, seed=1), mf.HEUN, 0.1),
    "fresh samples": (
        mf.OnlineRisk(mf.Network("tanh"), TEACHER, batch=4), {}, START, mf.EULER, 0.1),
    "centred": (
        mf.EmpiricalRisk(mf.Network("tanh", centred=True), X, Y), {}, START, mf.HEUN, 0.1),
    "sphere": (mf.EmpiricalRisk(NO_BIAS, X, Y), {}, UNIT, mf.Sphere(mf.EULER), 0.1),
    "population": (mf.PopulationRisk(NO_BIAS, TEACHER), {}, UNIT, mf.RK4, "auto"),
    "population, float32": (
        mf.PopulationRisk(NO_BIAS, TEACHER), {"dtype": "float32"}, UNIT, mf.HEUN, 0.1),
    "population, reaction": (
        mf.PopulationRisk(NO_BIAS, TEACHER), {"reaction": 1.0}, UNIT, mf.EULER, 0.1),
    "population, many inputs": (
        mf.PopulationRisk(NO_BIAS, mf.InitialLaw(12, outputs=2).sample(3, seed=9)),
        {}, mf.InitialLaw(12, outputs=2).sample(M, seed=1), mf.HEUN, 0.1),
}  # fmt: skip


def ends(name, size, begin):
    """(end in one process, ends of the ranks) of a flow from begin(its start), observed after each
    step.
    """
    functional, settings, start, method, dt = {**FLOWS, **MORE}[name]
    start = begin(start)
    flow = mf.GradientFlow(functional, seed=5, **settings)

    def march(ranks):
        series = [mf.Series(name, mf.every(2)) for name in ("energy", "speed2")]
        series = series if "energy" in functional.terms else []
        end = mf.simulate(flow, start, method, dt, 1.0, observers=series, progress=False)
        return end, [item.values for item in series]

    return march(None), together(size, march)


def check(name, size, begin=lambda start: start):
    (whole, values), shared = ends(name, size, begin)
    assert not np.array_equal(whole.theta, begin({**FLOWS, **MORE}[name][2]).theta)
    for end, seen in shared:
        assert np.array_equal(end.theta, whole.theta)
        assert np.array_equal(end.mass, whole.mass)
        assert (end.step, end.t, seen) == (whole.step, whole.t, values)


@pytest.mark.parametrize("name", FLOWS)
def test_two_ranks_have_the_bits_of_one_process(name):
    check(name, 2)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_and_so_have_more(size):
    check("rk4, dt auto", size)


@pytest.mark.kernel
@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("size", [2, 3])
def test_of_every_functional(name, size):
    check(name, size)


def odd(start):
    """14 particles more: 334, in six shards of 55, 56, 56, 55, 56, 56."""
    theta = np.vstack([start.theta, 0.9 * start.theta[:14]])
    mass = np.concatenate([start.mass, start.mass[:14]])
    return mf.State(theta, start.outputs, mass / mass.sum())


ODD = ("euler", "rk4, dt auto", "langevin", "reaction", "jumps", "masses", "float32", "relu",
       "outputs", "many inputs", "pairs", "population", "centred", "heavy ball")  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_ranks_share_particles_that_their_shards_cut_unevenly(size):
    """Of 334, shards of 56 and 55 are those of the second of three ranks: two blocks."""
    assert max(len(blocks(334, a, b)) for a, b in itertools.pairwise(cut(334, 3))) == 2
    check("rk4, dt auto", size, odd)


@pytest.mark.kernel
@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("size", [3, 4])
def test_and_of_every_functional(name, size):
    check(name, size, odd)


def gauss(theta, x):
    return theta[0] * exp(-((x[0] - theta[1]) ** 2))


def grad_gauss(theta, x, out):
    out[0] = exp(-((x[0] - theta[1]) ** 2))
    out[1] = 2.0 * (x[0] - theta[1]) * theta[0] * out[0]


@pytest.mark.kernel
@pytest.mark.parametrize("m", [320, 334])
def test_and_of_a_user_s_feature(m):
    feature = mf.Feature(gauss, grad_gauss, columns=("a", "c"))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(feature), X[:, :1], Y))
    start = feature.state(np.random.default_rng(3).normal(size=(m, 2)))

    def march(ranks):
        return mf.simulate(flow, start, mf.HEUN, 0.1, 0.5, progress=False).theta

    whole = march(None)
    for shared in together(3, march):
        assert np.array_equal(shared, whole)


@pytest.mark.parametrize(
    "m, size",
    [(320, 3), (1000, 8), (4096, 7), (96, 2), (334, 4), (1001, 16), (4097, 64), (10**6 + 1, 3)],
)
def test_ranks_take_whole_shards_and_cut_them_as_one_process_does(m, size):
    shards, ends = CPU.shards(m), cut(m, size)
    counts = [b - a for a, b in itertools.pairwise(ends)]
    assert ends[0] == 0 and ends[-1] == shards and min(counts) > 0
    if size > math.gcd(m, shards) or m % 64 == 0:
        assert max(counts) - min(counts) <= 1
    for first, last in itertools.pairwise(ends):
        runs = blocks(m, first, last)
        assert [a for a, b in runs] + [last] == [first] + [b for a, b in runs]
        assert len(runs) == 1 or size > math.gcd(m, shards)
        for a, b in runs:
            start, stop = a * m // shards, b * m // shards
            here = [start + i * (stop - start) // (b - a) for i in range(b - a + 1)]
            assert here == [shard * m // shards for shard in range(a, b + 1)]


def test_what_cannot_be_shared_is_refused():
    flow, few = mf.GradientFlow(TANH), LAW.sample(100, seed=1)

    def march(ranks, state=START, method=mf.EULER, observers=()):
        mf.simulate(flow, state, method, 0.1, 1.0, observers=observers, progress=False)

    with pytest.raises(
        ValueError, match=r"m = 100 particles .* at most 2 processes .* got 3.* 129 or more"
    ):
        together(3, lambda ranks: march(ranks, few))
    with pytest.raises(ValueError, match=r"the observer 'late' has values that come later"):
        together(2, lambda ranks: march(ranks, observers=[Late(mf.every(1))]))
    with pytest.raises(ValueError, match=re.escape("takes the rows of all m = 320 particles")):
        together(2, lambda ranks: march(ranks, method=OfItsOwn()))


@pytest.mark.parametrize(
    "what, of_1",
    [("flow or data set", {"y": Y + 1}), ("flow or data set", {"ridge": 0.5}), ("start", {"seed": 2}),
     ("method, dt or end", {"dt": 0.2}), ("list of observers", {"every": 2}),
     ("name of the run's file", {"file": "run1.h5"})],
)  # fmt: skip
def test_ranks_that_are_not_given_the_same_are_refused(what, of_1, tmp_path):
    """With data of one's own, or another step, each would march elsewhere with sums of all."""

    def march(ranks):
        given = {"y": Y, "ridge": 1e-3, "seed": 1, "dt": 0.1, "every": 1, "file": "run.h5"}
        given |= of_1 if ranks.rank == 1 else {}
        risk = mf.EmpiricalRisk(mf.Network("tanh"), X, given["y"], ridge=given["ridge"])
        series = mf.Series("risk", mf.every(given["every"]))
        recorder = mf.Recorder(tmp_path / given["file"], mf.every(1))
        start = LAW.sample(M, seed=given["seed"])
        mf.simulate(mf.GradientFlow(risk), start, mf.EULER, given["dt"], 1.0,
                    observers=[series, recorder], progress=False)  # fmt: skip

    with pytest.raises(ValueError, match=f"process 1 has another {what} than process 0"):
        together(3, march)
    assert not any(tmp_path.iterdir())


def test_one_rank_alone_may_show_its_progress(capsys):
    """What it says at the end is made by all."""

    def march(ranks):
        asked = ranks is not None and ranks.rank == 0
        mf.simulate(mf.GradientFlow(TANH), START, mf.EULER, 0.1, 0.2, progress=asked)

    together(2, march)
    assert "t = 0.2" in capsys.readouterr().err


@pytest.mark.process
def test_distances_beside_a_run_of_ranks_are_those_of_one_process(tmp_path, monkeypatch):
    """Solved for rank 0, known to all; with three that may wait and five snapshots the ranks wait."""
    monkeypatch.setattr(distances, "WAITING", 3)
    flow, start = mf.GradientFlow(TANH), LAW.sample(128, seed=1)

    def march(ranks):
        w2 = mf.W2(mf.every(1), previous=True)
        name = tmp_path / f"{ranks.size if ranks else 1}.h5"
        watch = [mf.Recorder(name, mf.evenly(2)), w2]
        mf.simulate(flow, start, mf.EULER, 0.1, n_steps=4, observers=watch, progress=False)
        return w2.steps, w2.times, w2.values, w2.step_values

    whole = march(None)
    assert whole[0] == [0, 1, 2, 3, 4] and len(whole[3]) == 4
    assert together(2, march) == [whole] * 2
    with mf.Trajectory(tmp_path / "1.h5") as one, mf.Trajectory(tmp_path / "2.h5") as two:
        assert one.content_hash() == two.content_hash()
        assert two.series("w2").values.tolist() == whole[2]


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:the series 'look' is written differently")
def test_distances_that_wait_are_in_the_checkpoint_of_ranks(tmp_path):
    """Rank 1 is told to end at step 2; all go on, in another number of ranks."""
    flow, start, path = mf.GradientFlow(TANH), LAW.sample(192, seed=1), tmp_path / "run.h5"

    def march(ranks, told=0):
        def look(flow, state):
            if ranks is not None and (ranks.rank, state.step) == (1, told):
                interruption.stop()
            return 0.0

        w2 = mf.W2(mf.every(1), previous=True)
        watch = [mf.Recorder(path, mf.evenly(2), exists="resume"), w2,
                 mf.Series("look", mf.every(1), look)]  # fmt: skip
        try:
            mf.simulate(flow, start, mf.EULER, 0.1, n_steps=5, observers=watch, progress=False)
        except mf.Interrupted as error:
            return error.state.step
        return w2.values

    stopped = together(2, lambda ranks: march(ranks, told=2))
    assert stopped[0] == stopped[1] in (2, 3)
    ends = together(3, march)
    with mf.Trajectory(path) as run:
        found = run.series("w2")
        assert found.steps.tolist() == [0, 1, 2, 3, 4, 5] and ends == [found.values.tolist()] * 3
        assert found.values[-1] == mf.w2(run.start, run[-1])


@pytest.mark.parametrize("go_on", [True, False])
def test_ranks_that_see_different_folders_are_refused(tmp_path, go_on):
    flow, files = mf.GradientFlow(TANH), [tmp_path / f"{rank}" / "run.h5" for rank in range(2)]

    def march(path):
        recorder = mf.Recorder(path, mf.evenly(2), exists="resume")
        return mf.simulate(flow, START, mf.EULER, 0.1, 0.2, observers=[recorder], progress=False)

    def work(ranks):
        path = files[ranks.rank]
        return mf.resume(path, progress=False) if go_on else march(path)

    for path in files:
        path.parent.mkdir()
    march(files[0])
    with pytest.raises(FileNotFoundError, match="process 0 sees .* and process 1 does not") as said:
        together(2, work)
    assert files[0].name in str(said.value) and not any(files[1].parent.iterdir())


class Late(mf.Observer):
    """Its values are not the same on all ranks."""

    name, later = "late", True


class OfItsOwn(mf.Method):
    """It asks θ how many particles there are, and is told how many there are here."""

    name, balances = "of_its_own", False

    def step(self, field, particles, dt):
        zeros = field.backend.upload(np.zeros(particles.theta.shape))
        theta = field.backend.combine(particles.theta, [dt], [zeros])
        return mf.Step(particles._replace(theta=theta), dt)


def test_a_step_sends_one_message_for_each_mean_feature_and_one_for_its_numbers():
    """Euler: F of each stage, then ∫|v|² dμ. 64·n·K numbers at most go to each rank, whatever m is."""
    steps, flow = 10, mf.GradientFlow(TANH)

    def count(ranks, n_steps):
        mf.simulate(flow, START, mf.EULER, 0.1, n_steps=n_steps, progress=False)
        return ranks.count, ranks.bytes

    few, many = (together(2, lambda ranks, n=n: count(ranks, n))[0] for n in (5, 5 + steps))
    assert many[0] - few[0] <= 3 * steps
    samples, shards = 24, 5  # n in whole vectors
    assert many[1] - few[1] <= steps * 3 * 8 * (shards * (samples + 1) + 8)


def test_messages_carry_rows_numbers_and_what_is_asked_for():
    def talk(ranks):
        later = ranks.later(np.full(ranks.rank + 1, 1.5), (1, 2, 3), lambda rows: float(rows.sum()))
        rows = ranks.gather(np.full((ranks.rank, 2), ranks.rank, np.float32), (0, 1, 2))
        asked = [ranks.agree(2, ranks.rank == 1), ranks.meet(), ranks.agree(2, False)]
        return float(later), rows.tolist(), asked, ranks.first(lambda: f"of {ranks.rank}")

    for found in together(3, talk):
        assert found == (9.0, [[1, 1], [2, 2], [2, 2]], [False, None, True], "of 0")

    def fail():
        raise FileExistsError("there is one")

    with pytest.raises(FileExistsError, match="there is one"):
        together(2, lambda ranks: ranks.first(fail))
    assert Ranks().agree(1, True) and Ranks().first(lambda: 3) == 3


class Locked(OSError):
    """An error that no other process can have: it is made of two arguments."""

    def __init__(self, path, lock):
        super().__init__(f"{path} is locked")
        self.lock = lock


def test_what_process_0_cannot_send_raises_in_all_and_keeps_its_kind():
    """A lock has no pickle. The others have the nearest kind that travels, and so the same exit code."""

    def fail():
        raise Locked("run.h5", threading.Lock())

    def told(make):
        def talk(ranks):
            try:
                ranks.first(make)
            except Exception as error:
                return type(error), str(error)

        return together(2, talk)

    assert told(fail) == [(Locked, "run.h5 is locked"), (OSError, "run.h5 is locked")]
    first, other = told(threading.Lock)
    assert first == other and first[0] is TypeError and "a lock" in first[1]


def test_a_thread_that_helps_goes_on_after_an_error(monkeypatch):
    """It is said as Python says an error of a thread."""
    said = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    helper, done = team.helpers(1)[0], threading.Event()
    begun = threading.Event()
    helper.give(lambda: (begun.set(), 1 / 0))
    assert begun.wait(20)
    while not done.wait(0.05):
        helper.give(done.set)
    assert [item.exc_type for item in said] == [ZeroDivisionError]
