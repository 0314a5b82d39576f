"""Resume through the public API: after kills, Ctrl-C, extensions the content hash is that of the
uninterrupted run.
"""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dying_run
import numba
import numpy as np
import pytest

import meanfield as mf
from meanfield.files.recording import unfinished

ROOT = Path(__file__).resolve().parents[2]
X = np.linspace(-1, 1, 8)[:, None]
Y = np.abs(X[:, 0])
START = mf.InitialLaw(dim=1, b_std=1.0).sample(20, seed=0)


@pytest.fixture(autouse=True)
def one_thread():
    """The runs are tiny: a second thread only waits. Bits do not depend on it."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def flow(activation="tanh", dtype="float64", **settings):
    return mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), X, Y, **settings), dtype=dtype)


def run(
    path,
    *observers,
    schedule=None,
    dt=0.1,
    t_end=2.0,
    state=START,
    of=None,
    method=mf.RK4,
    **recorder,
):
    """A recorded run of 20 steps."""
    watch = [mf.Recorder(path, schedule or mf.every(3), **recorder), *observers]
    return mf.simulate(
        of or flow(), state, method, dt=dt, t_end=t_end, observers=watch, progress=False
    )


def content(path):
    with mf.Trajectory(path) as stored:
        return stored.content_hash()


def stops_at(count, raised=signal.SIGINT):
    """A function for mf.Series that sends this process a signal when it is called for the
    `count`-th time.
    """
    calls = []

    def one(flow, state):
        calls.append(state.step)
        if len(calls) == count:
            signal.raise_signal(raised)
        return float(state.step)

    return one


# ---- kills


@pytest.mark.parametrize(
    "how",
    [(), pytest.param(("fresh",), marks=pytest.mark.slow)],
    ids=["forked", "fresh interpreters"],
)
def test_twenty_kills_at_random_instants_leave_the_uninterrupted_content_hash(tmp_path, how):
    """Fixed steps, dt="auto" with halvings and Adaptive; every run is extended once it is finished,
    under the same fire.
    """
    expected = {}
    for kind in dying_run.KINDS:
        path = tmp_path / f"whole-{kind}.h5"
        dying_run.simulate(path, kind)
        mf.resume(path, dying_run.LONGER[kind], progress=False)
        expected[kind] = content(path)
    assert mf.Trajectory(tmp_path / "whole-auto.h5").summary["halvings"]
    command = [
        sys.executable,
        str(ROOT / "tests" / "helpers" / "dying_run.py"),
        str(tmp_path),
        "20",
        *how,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    output = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=600
    ).stdout
    *found, kills = [line.split() for line in output.splitlines()]
    assert kills == ["kills", "20"]
    assert {kind for kind, _ in found} == set(dying_run.KINDS)
    assert all(digest == expected[kind] for kind, digest in found)


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises_interrupted_after_the_checkpoint_and_resume_continues_to_the_same_hash(
    tmp_path, number
):
    whole, path = tmp_path / "whole.h5", tmp_path / "run.h5"
    end = run(whole, mf.Series("user", mf.every(1), lambda flow, state: float(state.step)))
    before = signal.getsignal(number)
    with pytest.raises(
        mf.Interrupted,
        match=r"interrupted at step 4, t = 0.4. Continue with mf.resume\('.*run.h5', "
        r"functions={'user': …}\)",
    ):
        run(path, mf.Series("user", mf.every(1), stops_at(5, number)))
    assert signal.getsignal(number) is before
    assert not path.exists() and unfinished(path)
    assert mf.Trajectory(path).series("user").steps[-1] == 4
    last = mf.resume(
        path, functions={"user": lambda flow, state: float(state.step)}, progress=False
    )
    assert content(path) == content(whole)
    assert not unfinished(path)
    np.testing.assert_array_equal(last.theta, end.theta)
    assert (last.step, last.t) == (end.step, end.t)


def test_interrupted_is_a_keyboard_interrupt_whose_state_is_where_the_run_stopped(h5_path):
    assert issubclass(mf.Interrupted, KeyboardInterrupt)
    with pytest.raises(mf.Interrupted) as caught:
        run(h5_path, mf.Series("user", mf.every(1), stops_at(8)))
    assert (caught.value.state.step, caught.value.state.t) == (7, pytest.approx(0.7, rel=1e-15))
    sent = pickle.loads(pickle.dumps(caught.value))  # by a pool of processes
    assert str(sent) == str(caught.value) and sent.state.step == 7
    np.testing.assert_array_equal(sent.state.theta, caught.value.state.theta)


@pytest.mark.parametrize("count", [1, 21])
def test_a_signal_before_the_first_step_or_in_the_last_is_not_lost(tmp_path, count):
    path = tmp_path / "run.h5"
    with pytest.raises(mf.Interrupted):
        run(path, mf.Series("user", mf.every(1), stops_at(count)))
    mf.resume(path, functions={"user": lambda flow, state: float(state.step)}, progress=False)
    run(
        tmp_path / "whole.h5", mf.Series("user", mf.every(1), lambda flow, state: float(state.step))
    )
    assert content(path) == content(tmp_path / "whole.h5")


def test_without_a_recorder_the_state_of_the_exception_goes_on():
    end = mf.simulate(flow(), START, mf.RK4, dt=0.1, t_end=2.0, progress=False)
    stopping = mf.Series("user", mf.every(1), stops_at(11))
    with pytest.raises(
        mf.Interrupted, match="Nothing was recorded; the exception's .state goes on"
    ) as caught:
        mf.simulate(flow(), START, mf.RK4, dt=0.1, t_end=2.0, observers=[stopping], progress=False)
    assert caught.value.state.step == 10
    rest = mf.simulate(flow(), caught.value.state, mf.RK4, dt=0.1, t_end=2.0, progress=False)
    # dt is (2 - 1)/10 after the stop and 2/20 before: the same number up to one rounding, over 10
    # steps of size 0.1
    np.testing.assert_allclose(rest.theta, end.theta, rtol=0, atol=1e-13)
    assert rest.step == 20


def test_a_second_signal_does_not_wait_for_the_step():
    def twice(flow, state):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return 0.0

    with pytest.raises(KeyboardInterrupt) as caught:
        mf.simulate(
            flow(),
            START,
            mf.RK4,
            dt=0.1,
            t_end=2.0,
            observers=[mf.Series("user", mf.every(1), twice)],
            progress=False,
        )
    assert not isinstance(caught.value, mf.Interrupted)


def _endless(path):
    numba.set_num_threads(1)
    try:
        run(path, t_end=1e6, dt=0.01, schedule=mf.every(1000), checkpoint_seconds=0.01)
    except mf.Interrupted as stop:
        print(stop, file=sys.stderr)
        os._exit(75)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_from_outside_leaves_a_run_that_can_be_resumed(h5_path, number):
    process = multiprocessing.get_context("spawn").Process(target=_endless, args=(h5_path,))
    process.start()
    deadline = time.monotonic() + 60
    while not list(h5_path.with_name("run.h5.parts").glob("checkpoint-*")):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == 75
    stopped = mf.Trajectory(h5_path)
    assert stopped.status == "unfinished" and len(stopped) >= 1
    with pytest.raises(ValueError, match="another run.*t_end, which is earlier"):
        run(h5_path, t_end=1.0, dt=0.01, schedule=mf.every(1000), exists="resume")


def test_outside_the_main_thread_no_handler_is_set(h5_path):
    seen = []

    def look(flow, state):
        seen.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))
        return 0.0

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run, args=(h5_path, mf.Series("user", mf.every(10), look)))
    thread.start()
    thread.join()
    assert seen == [before] * 3
    assert mf.Trajectory(h5_path).status == "finished"


# ---- extensions


def test_a_larger_t_end_extends_a_finished_run(h5_path):
    end = run(h5_path, mf.Series("risk", mf.every(1)), schedule=mf.every(4))
    short = mf.Trajectory(h5_path)
    steps, risks = short.steps, short.series("risk").values
    last = mf.resume(h5_path, t_end=3.0, progress=False)
    longer = mf.Trajectory(h5_path)
    assert longer.status == "finished" and longer.config["t_end"] == 3.0 and last.t == 3.0
    # 30 steps of 0.1: the rhythm goes on, and the end is there
    assert longer.steps.tolist() == [
        *steps.tolist(),
        24,
        28,
        30,
    ]
    assert longer.series("risk").steps.tolist() == list(range(31))
    np.testing.assert_array_equal(longer.series("risk").values[:21], risks)
    np.testing.assert_array_equal(longer[len(steps) - 1].theta, end.theta)
    whole = run(h5_path.with_name("whole.h5"), t_end=3.0)
    # dt agrees up to rounding
    np.testing.assert_allclose(last.theta, whole.theta, rtol=0, atol=1e-13)


def test_the_extended_series_of_path_and_defect_continue(h5_path):
    run(h5_path)
    mf.resume(h5_path, t_end=4.0, progress=False)
    whole = h5_path.with_name("whole.h5")
    run(whole, t_end=4.0)
    for name in ("path", "displacement", "energy"):
        ours, theirs = (mf.Trajectory(path).series(name).values[-1] for path in (h5_path, whole))
        assert ours == pytest.approx(theirs, rel=1e-12)
    assert mf.Trajectory(h5_path).summary["energy_defect"] < 1e-6


def test_the_old_file_can_be_read_all_along_an_extension_and_after_its_interruption(h5_path):
    watch = mf.Series("user", mf.every(1), lambda flow, state: float(state.step))
    run(h5_path, watch)
    before = content(h5_path)
    seen = []

    def look(flow, state):
        seen.append(content(h5_path))
        if state.step == 25:
            signal.raise_signal(signal.SIGINT)
        return float(state.step)

    with pytest.raises(mf.Interrupted):
        mf.resume(h5_path, t_end=3.0, functions={"user": look}, progress=False)
    # and at the stored frames, where it is held against what was recorded
    assert set(seen) == {before} and len(seen) >= 5
    assert (
        content(h5_path) == before
        and mf.Trajectory(h5_path).status == "finished"
        and unfinished(h5_path)
    )
    mf.resume(h5_path, functions={"user": lambda flow, state: float(state.step)}, progress=False)
    at_once = h5_path.with_name("at_once.h5")
    run(at_once, watch)
    mf.resume(at_once, t_end=3.0, functions={"user": watch.function}, progress=False)
    assert content(h5_path) == content(at_once) != before


@pytest.mark.parametrize("t_end", [None, 2.0, 1.0])
def test_a_finished_run_has_nothing_to_do(h5_path, t_end):
    end = run(h5_path)
    before = h5_path.read_bytes()
    last = mf.resume(h5_path, t_end, progress=False)
    assert h5_path.read_bytes() == before
    np.testing.assert_array_equal(last.theta, end.theta)


@pytest.mark.parametrize("t_end", ["3", float("nan"), float("inf"), True])
def test_a_t_end_that_is_no_time_raises(h5_path, t_end):
    run(h5_path)
    with pytest.raises(ValueError, match="t_end must be a finite flow time"):
        mf.resume(h5_path, t_end)


# ---- exists


def test_exists_error_leaves_what_is_there(h5_path):
    run(h5_path)
    before = h5_path.read_bytes()
    with pytest.raises(FileExistsError, match=r'mf.resume\(.*exists="replace"'):
        run(h5_path, t_end=3.0)
    assert h5_path.read_bytes() == before and not unfinished(h5_path)


@pytest.mark.parametrize("exists", ["error", "resume", "replace"])
def test_an_unfinished_run(tmp_path, exists):
    path, whole = tmp_path / "run.h5", tmp_path / "whole.h5"
    one = mf.Series("user", mf.every(1), lambda flow, state: float(state.step))
    end = run(whole, one)
    with pytest.raises(mf.Interrupted):
        run(path, mf.Series("user", mf.every(1), stops_at(9)))
    if exists == "error":
        with pytest.raises(FileExistsError, match="unfinished run"):
            run(path, one, exists=exists)
        assert mf.Trajectory(path).series("user").steps[-1] == 8
        return
    last = run(path, one, exists=exists)
    assert content(path) == content(whole)
    np.testing.assert_array_equal(last.theta, end.theta)
    assert (
        one.steps == list(range(21))
        and one.values == [float(k) for k in range(21)]
        and one.times[-1] == 2.0
    )


def test_exists_replace_keeps_the_old_file_until_the_new_one_is_complete(h5_path):
    run(h5_path)
    before = content(h5_path)
    with pytest.raises(mf.Interrupted):
        run(h5_path, mf.Series("user", mf.every(1), stops_at(9)), t_end=1.0, exists="replace")
    assert content(h5_path) == before
    run(h5_path, t_end=1.0, exists="replace")
    assert mf.Trajectory(h5_path).times[-1] == 1.0 and not unfinished(h5_path)


def test_exists_resume_starts_extends_or_returns_the_run(h5_path):
    first = run(h5_path, exists="resume")
    again = run(h5_path, exists="resume")
    np.testing.assert_array_equal(first.theta, again.theta)
    longer = run(h5_path, exists="resume", t_end=3.0)
    assert longer.t == mf.Trajectory(h5_path).times[-1] == 3.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dt": 0.05}, "dt"),
        ({"t_end": 1.0}, "t_end, which is earlier"),
        ({"method": mf.HEUN}, "integrator.name"),
        ({"schedule": mf.every(4)}, "observers.recorder.k"),
        (
            {"state": mf.InitialLaw(dim=1, b_std=1.0).sample(20, seed=1)},
            "seed 1, in the file 0; the initial state",
        ),
        ({"of": flow(ridge=0.1)}, "flow.functional.ridge"),
        ({"of": flow(activation="erf")}, "flow.functional.network.activation"),
        ({"of": flow(dtype="float32")}, "flow.dtype"),
    ],
)
def test_exists_resume_with_another_configuration_names_what_differs(h5_path, change, named):
    run(h5_path)
    before = h5_path.read_bytes()
    with pytest.raises(
        ValueError, match=f"holds another run, so it cannot be resumed; different here: .*{named}"
    ):
        run(h5_path, exists="resume", **change)
    assert h5_path.read_bytes() == before and not unfinished(h5_path)


def test_exists_resume_tells_initial_arrays_apart(h5_path):
    """Particles from an array leave no trace in the configuration."""
    run(h5_path, state=mf.State(START.theta))
    with pytest.raises(ValueError, match="different here: the initial state"):
        run(h5_path, state=mf.State(2 * START.theta), exists="resume")


# ---- what must not matter, and what must be handed in


def test_the_cadence_of_recording_and_of_checkpoints_leaves_the_bits_alone(tmp_path):
    ends = [
        run(tmp_path / f"{k}.h5", schedule=mf.every(k), checkpoint_seconds=wait)
        for k, wait in ((1, 0), (7, 30), (50, 0))
    ]
    bare = mf.simulate(flow(), START, mf.RK4, dt=0.1, t_end=2.0, progress=False)
    for end in ends:
        np.testing.assert_array_equal(end.theta, bare.theta)
    run(tmp_path / "again.h5", schedule=mf.every(1), checkpoint_seconds=30)
    assert content(tmp_path / "again.h5") == content(tmp_path / "1.h5")


def test_a_resumed_run_keeps_the_cadence_of_checkpoints_it_is_given(h5_path):
    """An error at step 15 costs what came after the last checkpoint: here nothing but that step."""

    def fragile(flow, state):
        return float(state.step) if state.step < 15 else 1 / 0

    with pytest.raises(mf.Interrupted):
        run(h5_path, mf.Series("user", mf.every(1), stops_at(5)))
    with pytest.raises(ZeroDivisionError):
        mf.resume(h5_path, functions={"user": fragile}, progress=False, checkpoint_seconds=0)
    assert mf.Trajectory(h5_path).series("user").steps[-1] == 14


def test_a_float32_flow_resumes_from_particles_drawn_in_float64(tmp_path):
    """The balance defect is measured from the start as the flow holds it, before and after a
    resume.
    """
    settings = {"of": flow("relu", "float32"), "schedule": mf.every(1)}
    counted = mf.Series("user", mf.every(1), lambda flow, state: float(state.step))
    end = run(tmp_path / "whole.h5", counted, **settings)
    assert end.theta.dtype == np.float32
    with pytest.raises(mf.Interrupted):
        run(tmp_path / "run.h5", mf.Series("user", mf.every(1), stops_at(5)), **settings)
    mf.resume(tmp_path / "run.h5", functions={"user": counted.function}, progress=False)
    assert "balance_defect" in mf.Trajectory(tmp_path / "run.h5").series_names
    assert content(tmp_path / "run.h5") == content(tmp_path / "whole.h5")


def test_a_user_written_series_must_be_handed_in(h5_path):
    with pytest.raises(mf.Interrupted):
        run(h5_path, mf.Series("user", mf.every(1), stops_at(5)))
    with pytest.raises(ValueError, match="has user-written series: pass functions={'user': …}"):
        mf.resume(h5_path)
    assert unfinished(h5_path)


def swish(z):
    return z / (1.0 + np.exp(-z))


def swish_slope(z):
    e = 1.0 / (1.0 + np.exp(-z))
    return e + z * e * (1.0 - e)


def test_a_user_written_activation_must_be_handed_in_with_flow(tmp_path):
    own = flow(mf.Activation("swish", swish, swish_slope))
    run(tmp_path / "whole.h5", of=own)
    watch = [
        mf.Recorder(tmp_path / "run.h5", mf.every(3)),
        mf.Series("user", mf.at_steps([5]), stops_at(1)),
    ]
    with pytest.raises(mf.Interrupted, match=r"mf.resume\('.*', flow=…, functions={'user': …}\)"):
        mf.simulate(own, START, mf.RK4, dt=0.1, t_end=2.0, observers=watch, progress=False)
    functions = {"user": lambda flow, state: 0.0}
    with pytest.raises(
        ValueError, match="unknown activation 'swish'.*Pass flow= with the user-written function"
    ):
        mf.resume(tmp_path / "run.h5", functions=functions)
    with pytest.raises(ValueError, match="flow= is not the flow of"):
        mf.resume(tmp_path / "run.h5", flow=flow(), functions=functions)
    last = mf.resume(tmp_path / "run.h5", flow=own, functions=functions, progress=False)
    np.testing.assert_array_equal(last.theta, mf.Trajectory(tmp_path / "whole.h5")[-1].theta)


def test_a_user_written_formula_must_not_go_by_the_name_of_a_built_in(h5_path):
    """The file would say tanh, and a resume would go on with tanh."""
    impostor = flow(mf.Activation("tanh", swish, swish_slope))
    with pytest.raises(ValueError, match="'tanh' is a built-in, and this is another formula"):
        run(h5_path, of=impostor)
    assert not list(h5_path.parent.iterdir())
    run(h5_path, of=flow(mf.leaky_relu(0.2)))  # a built-in, made anew


def test_resume_of_a_path_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run at"):
        mf.resume(tmp_path / "nothing.h5")
    assert not list(tmp_path.iterdir())


def test_a_diverged_run_diverges_again_when_resumed(h5_path):
    wild = flow("linear")
    with pytest.raises(mf.Diverged) as first:
        run(h5_path, mf.StopOnNonFinite(), of=wild, method=mf.EULER, dt=1e3, t_end=1e5)
    for t_end in (None, 2e5):
        with pytest.raises(mf.Diverged) as again:
            mf.resume(h5_path, t_end)
        assert str(first.value) in str(again.value)


class Taken(RuntimeError):
    """What a guard raises."""


def test_a_guard_stops_a_run_before_its_next_checkpoint_and_another_goes_on_to_the_same_bits(
    tmp_path,
):
    """It is asked before every checkpoint (here after every step) and before the file; where it
    raises nothing is published.
    """
    asked = []

    def guard():
        asked.append(None)
        if len(asked) == 4:
            raise Taken

    def watch(path, **settings):
        return [
            mf.Recorder(path, mf.every(3), exists="resume", checkpoint_seconds=0.0, **settings),
            mf.StopOnNonFinite(),
        ]

    def go(path, **settings):
        return mf.simulate(
            flow(),
            START,
            mf.RK4,
            dt=0.1,
            t_end=1.0,
            observers=watch(path, **settings),
            progress=False,
        )

    path = tmp_path / "run.h5"
    with pytest.raises(Taken):
        go(path, guard=guard)
    assert unfinished(path) and [
        name[:17] for name in sorted(p.name for p in path.with_name("run.h5.parts").glob("c*"))
    ] == [
        "checkpoint-000002",
        "checkpoint-000003",
    ]
    go(path, guard=lambda: asked.append(None))
    assert len(asked) == 4 + 7 + 2, "the seven steps left, the last checkpoint, the file"
    go(tmp_path / "whole.h5")
    assert content(path) == content(tmp_path / "whole.h5")


def test_a_guard_keeps_a_finished_run_from_being_published(tmp_path):
    """Asked before the last checkpoint and once more before the file gets its name."""
    asked = []

    def guard():
        asked.append(None)
        if len(asked) == 2:
            raise Taken

    watch = [mf.Recorder(tmp_path / "run.h5", mf.every(3), guard=guard)]
    with pytest.raises(Taken):
        mf.simulate(flow(), START, mf.RK4, dt=0.1, t_end=1.0, observers=watch, progress=False)
    assert not (tmp_path / "run.h5").exists() and unfinished(tmp_path / "run.h5")
    mf.resume(tmp_path / "run.h5", progress=False)
    assert mf.Trajectory(tmp_path / "run.h5").status == "finished"


def test_a_finished_run_that_is_asked_for_an_earlier_end_says_where_it_is(h5_path, capsys):
    last = run(h5_path)
    capsys.readouterr()
    assert mf.resume(h5_path, t_end=1.0).t == last.t
    assert (
        "has reached t = 2 already, beyond t_end = 1: run.at(t) is an earlier frame"
        in capsys.readouterr().err
    )
    with pytest.warns(RuntimeWarning, match="has reached t = 2 already, beyond t_end = 1"):
        mf.resume(h5_path, t_end=1.0, progress=False)
    assert not capsys.readouterr().err
