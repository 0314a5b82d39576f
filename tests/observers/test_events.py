"""mf.Events: what it logs is what a plain comparison of the recorded frames finds; known flips,
deaths, revivals and merges.
"""

import multiprocessing
import os
import signal
import time

import naive
import numba
import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield.diagnostics.inspection import report
from meanfield.files.parts import Segment
from meanfield.files.recording import Recording, unfinished
from meanfield.files.schema import EVENT_COLUMNS
from meanfield.observers.events import OFTEN, Watch, mortal

RNG = np.random.default_rng(5)
X = RNG.normal(size=(12, 2))
Y = 3 * np.abs(X[:, 0]) - X[:, 1]
START = mf.InitialLaw(dim=2, b_std=1.0).sample(30, seed=9)


def flow(activation="relu", dtype="float64", x=X, y=Y, trainable=("a", "w", "b"), **settings):
    return mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation, trainable=trainable), x, y, **settings), dtype=dtype
    )


def watched(*observers, of=None, state=START, method=mf.RK4, dt=0.1, t_end=6.0):
    return mf.simulate(
        of or flow(), state, method, dt=dt, t_end=t_end, observers=list(observers), progress=False
    )


def rows(table):
    return [tuple(event) for event in table]


def same_rows(found, expected):
    """Equal but for the angles, whose arcsin is compiled twice: a few units in the last place of at
    most 180 degrees.
    """
    assert [row[:-1] for row in found] == [row[:-1] for row in expected]
    np.testing.assert_allclose(
        [row[-1] for row in found], [row[-1] for row in expected], rtol=0, atol=1e-12
    )


def content(path):
    with mf.Trajectory(path) as run:
        return run.content_hash()


# ---- against the slow twin


@pytest.mark.parametrize(
    ("activation", "dtype", "outputs"),
    sweep(
        [
            ("relu", "float64", 1),
            ("relu", "float32", 1),
            ("leaky_relu(0.1)", "float64", 1),
            ("tanh", "float32", 2),
        ]
    ),
)
def test_the_log_is_what_a_plain_comparison_of_the_frames_finds(
    h5_path, activation, dtype, outputs
):
    """Frames and samplings at every third step, the start and the end. The patterns are equal to
    the last bit in float32 too.
    """
    y = Y if outputs == 1 else np.column_stack([Y, -Y])
    state = mf.InitialLaw(dim=2, outputs=outputs, b_std=1.0).sample(30, seed=9)
    events = mf.Events(schedule=mf.every(3), degrees=15.0, tracked=20)
    watched(
        mf.Recorder(h5_path, mf.every(3)),
        events,
        of=flow(activation, dtype, y=y),
        state=state,
        t_end=5.05,
    )
    run = mf.Trajectory(h5_path)
    table = run.events
    assert run.steps.tolist()[-2:] == [48, 51] and len({*table.kinds}) >= (
        4 if activation == "relu" else 3
    )
    same_rows(rows(table), naive.events(list(run), X, 15.0, 20, activation == "relu"))
    assert rows(events.table) == rows(table)
    for kind in ("flip", "death", "revival", "merge", "split"):
        steps, times, values = table.over_time(kind)
        assert steps.tolist() == run.steps.tolist() and times.tolist() == run.times.tolist()
        assert values.tolist() == [
            np.count_nonzero(table.kind(kind).steps == step) for step in run.steps
        ]
    if activation == "relu":
        dead = [sum(not naive.active_samples(state, k, X) for k in range(state.m)) for state in run]
        assert run.series("dead").values.tolist() == dead
    else:
        assert not {"deaths", "revivals", "dead"} & {*run.series_names}


def test_without_a_recorder_the_events_are_kept_in_the_observer(h5_path):
    alone, recorded = (mf.Events(schedule=mf.every(4)) for _ in range(2))
    watched(alone)
    watched(recorded, mf.Recorder(h5_path, mf.evenly(2)))
    assert rows(alone.table) == rows(recorded.table) and len(alone.table)
    for kind in ("flip", "merge"):
        np.testing.assert_array_equal(alone.table.over_time(kind), recorded.table.over_time(kind))
    watched(alone, t_end=0.1)  # a second run with the same observer starts a new log
    assert alone.table.steps.max(initial=0) <= 1


def test_a_limit_leaves_rows_out_and_no_count(h5_path):
    everything, few = mf.Events(schedule=mf.every(3)), mf.Events(schedule=mf.every(3), limit=2)
    watched(everything)
    watched(few, mf.Recorder(h5_path, mf.evenly(2)))
    kept = []
    for step in np.unique(everything.table.steps):
        for kind in dict.fromkeys(everything.table.kinds):
            kept += [row for row in rows(everything.table.kind(kind)) if row[0] == step][:2]
    assert sorted(rows(few.table)) == sorted(kept)
    assert few.table.unlisted == len(everything.table) - len(kept) > 0 == everything.table.unlisted
    for kind in ("flip", "death", "merge"):
        np.testing.assert_array_equal(few.table.over_time(kind), everything.table.over_time(kind))


def test_the_probe_is_the_first_training_inputs_or_what_was_given():
    x = RNG.normal(size=(70, 2))
    first, default, other = mf.Events(x[:64]), mf.Events(), mf.Events(x[3:5])
    for events in (first, default, other):
        watched(events, of=flow(x=x, y=x[:, 0]))
    assert rows(first.table) == rows(default.table)
    assert {*other.table.kind("flip").others} == {0, 1}


# ---- events at known times


def test_a_bias_that_decays_flips_at_the_step_of_its_zero():
    """m = 1, γ = 1, w = 0 and a = 1 frozen, y = -1: ḃ = -(b + 1), so z = b = 2e^(-t) - 1 crosses 0
    at t = ln 2 = 0.693.
    """
    events = mf.Events(schedule=mf.every(1))
    state = mf.State([[1.0, 0.0, 1.0]])
    watched(
        events,
        of=flow("linear", x=[[0.3], [-2.0]], y=[-1.0, -1.0], trainable=("b",)),
        state=state,
        dt=0.01,
        t_end=1.0,
    )
    assert rows(events.table) == [(70, pytest.approx(0.7), "flip", 0, i, 0.0) for i in (0, 1)]
    later = mf.Events()  # every 20 steps: dated by the sampling that sees it
    watched(
        later,
        of=flow("linear", x=[[0.3], [-2.0]], y=[-1.0, -1.0], trainable=("b",)),
        state=state,
        dt=0.01,
        t_end=1.0,
    )
    assert OFTEN == mf.every(20) and later.table.steps.tolist() == [80, 80]


def test_a_relu_neuron_dies_at_the_step_of_euler_s_zero_and_moves_no_more():
    """Euler: b_k = 2·0.99^k - 1 > 0 for k <= 68 (1.0098 - 1) and < 0 at k = 69 (0.9997 - 1); then
    its gradient is 0.
    """
    events = mf.Events(schedule=mf.every(1))
    relu = flow(x=[[0.3], [-2.0]], y=[-1.0, -1.0], trainable=("b",))
    with pytest.warns(RuntimeWarning, match="no particle moves any more"):
        end = watched(
            events, of=relu, state=mf.State([[1.0, 0.0, 1.0]]), method=mf.EULER, dt=0.01, t_end=2.0
        )
    assert rows(events.table.kind("death")) == [(69, pytest.approx(0.69), "death", 0, -1, 2.0)]
    assert events.table.counts() == {"flip": 2, "death": 1, "revival": 0, "merge": 0, "split": 0}
    assert end.b[0] == pytest.approx(2 * 0.99**69 - 1, rel=1e-10)


def test_a_ridge_on_w_revives_a_neuron_whose_bias_is_frozen():
    """x = 1, b = 1 frozen, ẇ = -w while it is dead: w_k = -2·0.99^k, z = 1 + w_k > 0 from k = 69
    on.
    """
    events = mf.Events(schedule=mf.every(1))
    decaying = flow(x=[[1.0]], y=[0.0], trainable=("w",), ridge=1.0)
    watched(
        events, of=decaying, state=mf.State([[1.0, -2.0, 1.0]]), method=mf.EULER, dt=0.01, t_end=0.8
    )
    assert rows(events.table) == [
        (69, pytest.approx(0.69), "flip", 0, 0, 1.0), (69, pytest.approx(0.69), "revival", 0, -1, 1.0)
    ]  # fmt: skip


def test_two_neurons_of_a_condensing_run_merge_when_their_angle_passes_the_threshold(h5_path):
    """Small weights turn towards one direction (Luo et al. 2021) before they grow: the pair 0, 1
    merges once, for good.
    """
    x = np.array([[1.0, 0.2], [0.8, -0.1], [0.5, 0.6]])
    state = mf.State([[0.01, 0.01, 0.004, 0.0], [0.01, 0.002, 0.009, 0.0]])
    events = mf.Events(schedule=mf.every(1), degrees=5.0)
    watched(
        mf.Recorder(h5_path, mf.every(1)),
        events,
        of=flow(x=x, y=[1.0, 1.0, 1.0]),
        state=state,
        t_end=12.0,
    )
    run = mf.Trajectory(h5_path)
    angles = np.array([naive.angle(frame, 0, 1) for frame in run])
    first = int(np.argmax(angles <= 5.0))
    assert angles[0] > 50 and 0 < first < len(run) - 1 and (angles[first:] <= 5.0).all()
    step, t, kind, k, other, value = rows(run.events.kind("merge", "split"))[0]
    assert (step, t, kind, k, other) == (
        first,
        run.times[first],
        "merge",
        0,
        1,
    ) and value == pytest.approx(angles[first])
    assert len(run.events.kind("merge", "split")) == 1


@pytest.mark.parametrize(
    ("activation", "dies"),
    [
        ("relu", True),
        ("leaky_relu", False),
        ("gelu", False),
        ("softplus", False),
        ("linear", False),
        ("square", False),
    ],
)
def test_only_what_is_zero_on_the_left_can_die(activation, dies):
    assert mortal(mf.Network(activation).sigma) == dies


def test_a_diverged_run_logs_nothing_more():
    """NaN is no pattern: a neuron that left the numbers has not died."""
    events = mf.Events(schedule=mf.every(1))
    with pytest.warns(RuntimeWarning, match="the run diverged"), np.errstate(all="ignore"):
        watched(events, of=flow(), method=mf.EULER, dt=1e3, t_end=1e5)
    assert events.table.over_time("flip").steps.tolist() == list(
        range(len(events.table.over_time("flip").steps))
    )
    assert len(events.table.over_time("flip").steps) < 100 and events.table.steps.max() < 100


# ---- the file protocol


def test_checkpoints_and_threads_leave_the_log_alone(tmp_path):
    """One thread and rare checkpoints, two threads and a checkpoint at every step."""
    before, found = numba.get_num_threads(), []
    for threads, seconds in ((1, 30), (2, 0)):
        path = tmp_path / f"{threads}.h5"
        numba.set_num_threads(threads)
        try:
            watched(
                mf.Recorder(path, mf.evenly(3), checkpoint_seconds=seconds),
                mf.Events(schedule=mf.every(2)),
            )
        finally:
            numba.set_num_threads(before)
        found.append((content(path), rows(mf.Trajectory(path).events)))
    assert found[0] == found[1] and found[0][1]


def stopping(at, raised):
    """A series that sends this process a signal at a step."""

    def look(flow, state):
        if state.step == at:
            os.kill(os.getpid(), raised) if raised == signal.SIGKILL else signal.raise_signal(
                raised
            )
        return 0.0

    return mf.Series("user", mf.every(1), look)


SILENT = {"user": lambda flow, state: 0.0}


@pytest.mark.parametrize("probe", [None, X[2:9] + 0.1], ids=["default probe", "own probe"])
def test_an_interrupted_run_goes_on_from_the_file_alone_to_the_same_log(tmp_path, probe):
    """Stopped between two samplings: the difference at the next one is with that before the stop."""
    for name, stop in (("whole", -1), ("run", 33)):
        observers = (
            mf.Recorder(tmp_path / f"{name}.h5", mf.evenly(3)),
            mf.Events(probe, mf.every(5)),
            stopping(stop, signal.SIGINT),
        )
        if stop < 0:
            watched(*observers)
            continue
        with pytest.raises(mf.Interrupted):
            watched(*observers)
    whole, half = (
        mf.Trajectory(tmp_path / "whole.h5").events,
        mf.Trajectory(tmp_path / "run.h5").events,
    )
    assert half.over_time("flip").steps.tolist() == list(range(0, 31, 5))
    assert rows(half) == [row for row in rows(whole) if row[0] <= 30]
    mf.resume(tmp_path / "run.h5", functions=SILENT, progress=False)
    assert rows(mf.Trajectory(tmp_path / "run.h5").events) == rows(whole)
    assert content(tmp_path / "run.h5") == content(tmp_path / "whole.h5")


def _doomed(path, at):
    """Start the run, or go on with it, and die at a step."""
    numba.set_num_threads(1)
    dying = stopping(at, signal.SIGKILL)
    if unfinished(path):
        mf.resume(path, functions={"user": dying.function}, progress=False, checkpoint_seconds=0)
    else:
        watched(
            mf.Recorder(path, mf.evenly(3), checkpoint_seconds=0),
            mf.Events(schedule=mf.every(5)),
            dying,
        )


@pytest.mark.process
def test_a_killed_run_goes_on_to_the_same_log(tmp_path):
    """SIGKILL between two samplings, and in the resumed run again: right after, and at a sampling."""
    path, whole = tmp_path / "run.h5", tmp_path / "whole.h5"
    watched(
        mf.Recorder(whole, mf.evenly(3)),
        mf.Events(schedule=mf.every(5)),
        stopping(-1, signal.SIGINT),
    )
    for at in (13, 14, 30):
        process = multiprocessing.get_context("spawn").Process(target=_doomed, args=(path, at))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert mf.Trajectory(path).events.over_time("flip").steps[-1] == 5 * ((at - 1) // 5)
    mf.resume(path, functions=SILENT, progress=False)
    assert content(path) == content(whole)
    assert rows(mf.Trajectory(path).events) == rows(mf.Trajectory(whole).events) != []


def test_an_extended_run_compares_with_the_sampling_at_its_old_end(h5_path):
    watched(
        mf.Recorder(h5_path, mf.every(1)),
        mf.Events(schedule=mf.every(7), degrees=15.0, tracked=20),
        t_end=2.0,
    )
    before = rows(mf.Trajectory(h5_path).events)
    mf.resume(h5_path, t_end=4.0, progress=False)
    run = mf.Trajectory(h5_path)
    sampled = run.events.over_time("flip").steps.tolist()
    assert sampled == [0, 7, 14, 20, 21, 28, 35, 40]
    same_rows(rows(run.events), naive.events([run[k] for k in sampled], X, 15.0, 20, True))
    assert rows(run.events)[: len(before)] == before and len(run.events) > len(before)


def test_adaptive_steps_land_on_the_times_of_a_schedule():
    events = mf.Events(schedule=mf.at_times([0.5, 1.25]))
    watched(events, method=mf.Adaptive(), dt=None, t_end=2.0)
    assert events.table.over_time("flip").times.tolist() == [0.0, 0.5, 1.25, 2.0]


@pytest.mark.parametrize(
    "change",
    [
        {"degrees": 3.0},
        {"limit": 5},
        {"tracked": 4},
        {"probe": X[:3]},
        {"schedule": mf.every(6)},
        None,
    ],
)
def test_exists_resume_compares_the_settings(h5_path, change):
    watched(mf.Recorder(h5_path, mf.evenly(2)), mf.Events(schedule=mf.every(5)), t_end=0.5)
    other = [] if change is None else [mf.Events(**{"schedule": mf.every(5)} | change)]
    with pytest.raises(
        ValueError,
        match="different here: "
        f"observers.events{'' if change is None else '.' + next(iter(change))}",
    ):
        watched(mf.Recorder(h5_path, mf.evenly(2), exists="resume"), *other, t_end=0.5)
    same = mf.Events(schedule=mf.every(5))
    watched(mf.Recorder(h5_path, mf.evenly(2), exists="resume"), same, t_end=1.0)
    assert same.table.over_time("flip").times[-1] == 1.0


def test_a_run_without_events_is_written_and_hashed_as_ever(h5_path):
    """The hash is that of the version before the log: literal particles, nothing computed."""
    first = mf.State(np.arange(8.0).reshape(2, 4))
    recording = Recording.create(
        h5_path, "error", config={"gamma": 1}, provenance={}, arrays={"x": np.eye(2)}, start=first
    )
    for step in range(3):
        recording.observe("energy", step, step * 0.5, 1.0 / (1 + step))
        recording.frame(mf.State.trusted(first.theta + step, 1, first.mass, step, step * 0.5))
    recording.finish({}, {})
    run = mf.Trajectory(h5_path)
    assert run.content_hash() == "2cae8dbe904f1567b609bb9c6a699759e7504c62b56cd36abbae4e3d022ff69e"
    assert len(run.events) == 0 and not run.events.watched
    assert (
        repr(run.events)
        == "EventTable(empty: the run was not watched; add mf.Events() to its observers)"
    )
    # of old parts
    assert (
        Segment(
            **{"name": "segment-000001.h5", "sha256": "", "size": 1, "frames": 0, "series": {}}
        ).events
        == 0
    )


def test_the_hash_covers_every_column(tmp_path):
    seen = set()
    first = mf.State(np.arange(8.0).reshape(2, 4))
    columns = {"step": [1], "time": [0.5], "kind": [0], "neuron": [1], "other": [0], "value": [1.0]}
    for change in (None, *columns):
        path = tmp_path / f"{change}.h5"
        recording = Recording.create(
            path, "error", config={}, provenance={}, arrays={}, start=first
        )
        given = {name: np.array(column, EVENT_COLUMNS[name]) for name, column in columns.items()}
        if change:
            given[change] = given[change] + 1
        recording.log(given)
        recording.finish({}, {})
        seen.add(content(path))
    assert len(seen) == 7


# ---- cost and errors


@pytest.mark.slow  # a time: beside other work it says little
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_log_costs_little(dtype):
    """On one thread, Euler at m = 1e4, n = 64, d = 2, the cheapest step there is: measured 3 to 4 %
    of 20 steps.

    The bound of 12 % leaves room for machines whose caches others use. CPU time of this thread,
    best of several.
    """
    x = RNG.normal(size=(64, 2))
    of = flow(dtype=dtype, x=x, y=np.abs(x[:, 0]))
    state = mf.InitialLaw(dim=2, b_std=1.0).sample(10_000, seed=0)
    watch = Watch(mf.Events(), of, state)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        moved = [watched(of=of, state=state, method=mf.EULER, dt=0.02, t_end=t) for t in (0.4, 0.8)]
        steps = best_of(8, lambda: watched(of=of, state=state, method=mf.EULER, dt=0.02, t_end=0.4))
        sampling = best_of(20, lambda: [watch.sample(end) for end in moved]) / 2
    finally:
        numba.set_num_threads(threads)
    assert sampling < 0.12 * steps


def best_of(count, work):
    seconds = []
    for _ in range(count):
        start = time.thread_time()
        work()
        seconds.append(time.thread_time() - start)
    return min(seconds)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"probe": np.zeros((65, 2))},
            ValueError,
            r"probe must hold 1 … 64 samples, one bit each; got 65. Choose some",
        ),
        ({"probe": np.zeros((0, 2))}, ValueError, "probe must hold 1 … 64 samples"),
        ({"probe": [1.0, 2.0]}, ValueError, r"x must be \(n, d\)"),
        ({"probe": [[np.nan, 1.0]]}, ValueError, "1 NaN or infinite values"),
        ({"schedule": 20}, TypeError, r"a schedule is one of mf.every\(…\)"),
        ({"degrees": 0.0}, ValueError, r"degrees must be a number in \(0, 90\]; got 0.0"),
        ({"degrees": "2"}, ValueError, "degrees must be a number"),
        ({"tracked": 0}, ValueError, "tracked must be an integer >= 1; got 0"),
        ({"limit": 1.5}, ValueError, "limit must be an integer >= 1; got 1.5"),
    ],
)
def test_settings_that_make_no_sense_raise(settings, error, message):
    with pytest.raises(error, match=message):
        mf.Events(**settings)


def test_a_run_refuses_a_probe_of_another_dimension_two_logs_and_series_of_their_names(h5_path):
    for observers, message in (
        ([mf.Events([[1.0]])], r"x must be \(n, 2\), one row a sample; got \(1, 1\)"),
        ([mf.Events(), mf.Events()], "one run has one mf.Events"),
        (
            [mf.Events(), mf.Series("dead", mf.every(1), lambda flow, state: 0.0)],
            "mf.Events writes series of these names itself: dead",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            watched(mf.Recorder(h5_path, mf.evenly(2)), *observers)
    assert not list(h5_path.parent.iterdir())


def test_inspection_names_the_schedule(h5_path):
    watched(mf.Recorder(h5_path, mf.evenly(2)), mf.Events(schedule=mf.every(5)), t_end=0.5)
    with mf.Trajectory(h5_path) as run:
        lines = "\n".join(report(run)).splitlines()
    assert any(line.endswith("frames evenly(2); events every(5)") for line in lines)


def test_the_observer_says_what_it_watches():
    assert (
        repr(mf.Events())
        == "Events(the first training inputs, every(k=20), degrees=2, tracked=128, limit=1000)"
    )
    assert repr(mf.Events(X[:3], mf.every(5))).startswith("Events(3 samples, every(k=5), ")
