"""Moments that compiled steps pass over and observers look at afterwards: the file of such a run is
that of a run whose steps are made one by one, to the last bit.

The twin is the run itself with stretches switched off, whose march is where its observers look.
"""

from math import exp

import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield.backends.cpu import stretch
from meanfield.files.recording import Recording
from meanfield.stepping import stretches

METHODS = {
    "rk4": (mf.RK4, {"dt": 0.03, "t_end": 4.0}),
    "euler": (mf.EULER, {"dt": 0.02, "n_steps": 333}),
    "auto": (mf.RK4, {"dt": "auto", "t_end": 30.0}),
    "adaptive": (mf.Adaptive(1e-5, 1e-8), {"t_end": 20.0}),
}
TIMES = mf.at_times((0.5, 0.7, 1.1, 3.0))
WATCHES = {
    "evenly": (mf.evenly(37), {}),
    "every third": (mf.every(3), {"speed2": mf.evenly(20), "risk": mf.log_spaced(9)}),
    "times and each step": (TIMES, {"theta_max": mf.every(1), "energy": mf.every(1)}),
    "log, and gaps": (mf.log_spaced(25), {"energy": mf.every(5)}),
    "steps": (mf.at_steps((3, 4, 5, 77)), {"energy_defect": mf.evenly(11)}),
}


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """Stretches whatever they save, which no busy machine cuts short."""
    monkeypatch.setattr(stretch, "COMPILING", -1.0)
    monkeypatch.setattr(stretch, "SECONDS", 60.0)


def risk(activation="relu", dtype="float64", m=150, masses=False, **settings):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 2))
    state = mf.InitialLaw(2, b_std=0.5).sample(m, seed=1)
    if masses:
        mass = rng.uniform(0.5, 1.5, m)
        state = mf.State(state.theta, outputs=1, mass=mass / mass.sum())
    functional = mf.EmpiricalRisk(mf.Network(activation), x, np.sin(3 * x[:, 0]), **settings)
    return mf.GradientFlow(functional, dtype=dtype), state


def population():
    student, teacher = (mf.InitialLaw(3).sample(m, seed=m) for m in (150, 70))
    network = mf.Network("relu", trainable=("a", "w"))
    return mf.GradientFlow(mf.PopulationRisk(network, teacher, ridge=0.1)), student


def well(x):
    return 0.5 * (x[0] ** 2 + x[1] ** 2)


def grad_well(x, out):
    out[:] = x


def bump(x, y):
    return exp(-0.5 * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2))


def grad_bump(x, y, out):
    for j in range(2):
        out[j] = -(x[j] - y[j]) * bump(x, y)


def pairs():
    state = mf.State(np.random.default_rng(5).normal(size=(150, 2)), outputs=0)
    return mf.GradientFlow(mf.PairwiseEnergy((well, grad_well), (bump, grad_bump))), state


PROBLEMS = {
    "relu": risk,
    "relu float32, ridge, masses": lambda: risk(dtype="float32", ridge=0.1, masses=True),
    "tanh": lambda: risk("tanh"),
    "huber, ridge": lambda: risk(loss="huber", ridge=0.01),
    "population": population,
    "pairs": pairs,
}


def recorded(path, flow, state, method, watch, **times):
    """All that the file of a run says."""
    schedule, series = watch
    path.unlink(missing_ok=True)
    observers = [mf.Series(name, when) for name, when in series.items()]
    observers.append(mf.Recorder(path, schedule))
    mf.simulate(flow, state, method, observers=observers, progress=False, **times)
    with mf.Trajectory(path) as run:
        values = {name: run.series(name) for name in run.series_names}
        rows = {
            name: [np.array(column).tobytes() for column in each] for name, each in values.items()
        }
        frames = [(frame.step, frame.t, frame.theta.tobytes()) for frame in run]
        return {"frames": frames, "summary": repr(run.summary), **rows}


@pytest.fixture
def the_same(tmp_path, monkeypatch):
    """same(flow, state, method, watch, **times): that both ways of marching leave the same file;
    returns how many moments were looked at afterwards.
    """

    def same(*run, **times):
        seen, found = [], stretches.Stretches._seen
        noted = lambda self, *given: seen.append(found(self, *given)) or seen[-1]
        with monkeypatch.context() as patched:
            patched.setattr(stretches.Stretches, "_seen", noted)
            together = recorded(tmp_path / "run.h5", *run, **times)
            patched.setattr(stretches, "FEW", np.inf)
            assert recorded(tmp_path / "run.h5", *run, **times) == together
        return sum(map(len, seen))

    return same


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("method", METHODS)
def test_frames_and_series_that_are_passed_over_have_the_bits_of_those_stopped_at(
    the_same, method, watch
):
    method, times = METHODS[method]
    seen = the_same(*risk(), method, WATCHES[watch], **times)
    assert (seen == 0) == (watch == "log, and gaps")


@pytest.mark.parametrize("name", sweep(PROBLEMS))
@pytest.mark.parametrize("method", ["rk4", "adaptive"])
def test_so_they_have_for_every_kind_of_problem(the_same, name, method):
    method, times = METHODS[method]
    watch = mf.every(3), {"speed2": mf.evenly(20)}
    assert the_same(*PROBLEMS[name](), method, watch, **times) > 0


def test_all_but_the_ends_of_calls_are_looked_at_afterwards(the_same):
    """The first two steps are made alone; then one call comes to the end, which is the last frame."""
    flow, state = risk()
    assert the_same(flow, state, mf.RK4, (mf.every(1), {}), dt=0.01, n_steps=100) == 97


@pytest.mark.parametrize("most", [1, 3])
def test_a_call_whose_memory_of_moments_is_full_ends_at_the_next_one(the_same, monkeypatch, most):
    """Of steps 3 … 99 every (most + 1)-th is where a call ends."""
    monkeypatch.setattr(stretch, "LOOKS", most)
    flow, state = risk()
    seen = the_same(flow, state, mf.RK4, (mf.every(1), {}), dt=0.01, n_steps=100)
    assert seen == 97 - 97 // (most + 1)


@pytest.mark.parametrize("method", ["rk4", "adaptive"])
def test_more_moments_than_a_call_takes_may_lie_within_one_step(the_same, method):
    """5000 times in 133 steps of RK4: each is a frame."""
    method, times = METHODS[method]
    assert the_same(*risk(), method, (mf.evenly(5000), {"speed2": mf.every(3)}), **times) > 0


@pytest.mark.parametrize("k", [2**62, 2**63 - 1, 10**30])
def test_a_period_longer_than_any_run_is_its_start_and_end(the_same, k):
    flow, state = risk()
    watch = mf.every(k), {"speed2": mf.evenly(20)}
    assert the_same(flow, state, mf.RK4, watch, dt=0.01, n_steps=100) > 0


@pytest.mark.parametrize("workers", [2, 3])
def test_several_threads_pass_over_moments_with_the_same_bits(the_same, monkeypatch, workers):
    monkeypatch.setattr(stretch, "SHARED", -1)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: workers)
    for method, times in METHODS.values():
        assert the_same(*risk(m=700), method, (mf.evenly(37), {}), **times) > 0


def test_who_is_not_known_to_look_back_stops_the_march(tmp_path):
    """An observer of a user's, a function, and a Recorder of another class see the march where it is."""
    where = []

    class Seen(mf.Observer):
        name, series = "seen", ()

        def observe(self, moment):
            where.append((moment.march.particles.step, moment.march.step, moment.step))

    class Twice(mf.Recorder):
        def observe(self, moment):
            where.append((moment.march.particles.step, moment.march.step, moment.step))
            return super().observe(moment)

    def risk_again(flow, state):
        where.append((state.step,) * 3)
        return 0.0

    flow, state = risk()
    for kind in (mf.Recorder, Twice):
        others = [Seen(mf.every(10)), mf.Series("again", mf.every(15), risk_again)]
        recorder = kind(tmp_path / f"{kind.__name__}.h5", mf.evenly(50))
        mf.simulate(
            flow, state, mf.RK4, dt=0.01, n_steps=100, observers=[*others, recorder], progress=False
        )
        assert {10, 15, 30, 90} <= {step for step, *_ in where}
        assert all(len(set(row)) == 1 for row in where)
        where.clear()
    with (
        mf.Trajectory(tmp_path / "Recorder.h5") as one,
        mf.Trajectory(tmp_path / "Twice.h5") as two,
    ):
        assert [s.theta.tobytes() for s in one] == [s.theta.tobytes() for s in two]


@pytest.fixture
def kept(monkeypatch):
    """The States that a file is given as frames."""
    states, frame = [], Recording.frame
    monkeypatch.setattr(
        Recording, "frame", lambda self, state: (states.append(state), frame(self, state))[1]
    )
    return states


def test_frames_that_were_passed_over_are_nobodys_to_write_to(tmp_path, kept):
    """They are views of one array: none may change with what the run does next."""
    flow, state = risk()
    path = tmp_path / "run.h5"
    recorder = mf.Recorder(path, mf.every(2))
    mf.simulate(flow, state, mf.RK4, dt=0.01, n_steps=60, observers=[recorder], progress=False)
    with mf.Trajectory(path) as run:
        for held, stored in zip(kept, run, strict=True):
            assert not held.theta.flags.writeable
            assert held.theta.tobytes() == stored.theta.tobytes()


def test_frames_that_wait_for_their_file_hold_twice_their_memory_at_most(tmp_path, kept):
    """Calls that end after a few of the moments there was room for, as long steps have them."""
    flow, state = risk()
    stops = mf.Series("mean", mf.every(10), lambda flow, state: state.theta.mean())
    observers = [mf.Recorder(tmp_path / "run.h5", mf.every(3)), stops]
    mf.simulate(flow, state, mf.RK4, dt=0.01, n_steps=300, observers=observers, progress=False)
    held = {}
    for frame in kept:
        theta = frame.theta
        while theta.base is not None:
            theta = theta.base
        held[id(theta)] = theta.nbytes
    assert sum(held.values()) <= 2 * sum(frame.theta.nbytes for frame in kept)
