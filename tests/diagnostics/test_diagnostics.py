"""mf.diagnose and its registry: what is kept and when it is not used, workers and bits, what cannot
be had and why, errors.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from diagnosed import problem, record

import meanfield as mf
import ntk
from meanfield.diagnostics import jobs, registry, stored
from meanfield.diagnostics.stored import Cache, folder_of
from meanfield.files.recording import unfinished
from meanfield.processes import workers

NAMES = ["kernel_drift", "displacement_step", "w2", "energy_defect"]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """By worker processes, which import the module of a diagnostic that was registered here and get
    sys.path of this one.
    """
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def path(tmp_path):
    """A finished run of four frames."""
    return record(tmp_path / "run.h5")


class Calls(list):
    """What a function remembers of its calls: of one text, for what a user's function closes over
    is a part of the key.
    """

    def __repr__(self):
        return "calls"


@pytest.fixture
def calls(monkeypatch):
    """A registered diagnostic that counts how often it is called: the list of its steps."""
    steps = Calls()

    def counted(frame):
        """The step."""
        steps.append(frame.state.step)
        return float(frame.state.step)

    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE) if registry.names() else {})
    mf.register_diagnostic(unit="steps")(counted)
    return steps


def everything_but(path):
    """Content of all files beside the run, but for what diagnostics keep."""
    return {item.name: item.read_bytes() for item in path.parent.iterdir() if item.is_file()}


def test_a_diagnosis_is_a_mapping_with_units_and_a_table(path):
    before = everything_but(path)
    found = mf.diagnose(path, NAMES)
    assert list(found) == NAMES and len(found) == 4 and "w2" in found and "risk" not in found
    steps, times, values = found["kernel_drift"]
    assert (
        steps.tolist() == [0, 3, 6, 9]
        and times == pytest.approx([0, 0.6, 1.2, 1.8])
        and values.shape == (4,)
    )
    assert values[0] == 0 < values[-1] and found["displacement_step"].steps.tolist() == [3, 6, 9]
    assert found["w2"]._fields == (
        "steps",
        "times",
        "lower",
        "upper",
        "lower_method",
        "upper_method",
    )
    assert found["w2"].upper_method == ("identical", "exact", "exact", "exact")
    assert found.units == {
        "kernel_drift": "1",
        "displacement_step": "θ",
        "w2": "θ",
        "energy_defect": "1",
    }
    assert found.parameters["w2"] == {"seconds": 1.0} and found.parameters["kernel_drift"] == {
        "samples": 256
    }
    assert found.meanings["kernel_drift"].startswith("‖H_t - H_0‖_F / ‖H_0‖_F on the first")
    lines = repr(found).split("\n")
    assert lines[0] == f"Diagnosis of {path}: 4 frames, t = 0 … 1.8"
    assert lines[1].split() == ["diagnostic", "first", "last", "unit"]
    assert lines[2].split() == ["kernel_drift", "0", f"{values[-1]:.5g}", "1"]
    assert any(line.startswith("also energy, risk") for line in lines)
    assert found.recorded == ("energy_defect",)
    assert "note energy_defect: the run's own series, which count every step" in lines
    assert max(map(len, lines)) <= 120
    assert everything_but(path) == before  # the run is not touched
    with pytest.raises(
        KeyError, match="'risk' was not computed; there is: kernel_drift.*mf.diagnose"
    ):
        found["risk"]
    with pytest.raises(
        KeyError, match="'companion_gap' was not computed.*not available here: it needs companion="
    ):
        found["companion_gap"]


def test_without_names_nothing_is_computed_and_all_is_listed(path, calls):
    found = mf.diagnose(path)
    assert len(found) == 0 and not calls and not path.with_name("run.h5.diagnostics").exists()
    assert "counted" in found.available and "kernel_drift" in found.available
    other_loss = (
        "f_lin is known in closed form for the squared loss without ridge; the run has "
        "loss 'logistic' and ridge 0"
    )
    assert found.unavailable == {
        "companion_gap": "it needs companion=, the path of another run on the same data",
        "departure": other_loss,
        "laziness": other_loss,
        "effective_sample_size": "the masses are constant: it is 1/Σp², m for equal ones",
        "kinetic_energy": "the file has no series kinetic_energy with a value at each frame: "
        "methods with momentum record it",
    }
    assert set(found.available) | set(found.unavailable) == set(registry.names())
    lines = repr(found).split("\n")
    assert lines[0] == f"Diagnosis of {path}: 4 frames, t = 0 … 1.8" and lines[1].startswith(
        "nothing computed yet; ask by name"
    )
    first = lines.index("not available for this run")
    rows = {
        line.split()[0]: line for line in lines[2:first] if line.startswith("  ") and line[2] != " "
    }
    assert (
        set(rows) == set(found.available)
        and "[θ] (∫|θ_t - θ_0|² dμ)^½, each neuron" in rows["displacement"]
    )
    assert max(map(len, lines)) <= 120


def test_the_list_names_what_is_kept_beside_the_run(path):
    mf.diagnose(path, ["kernel_drift", "displacement"])
    lines = repr(mf.diagnose(path)).split("\n")
    assert lines[1].startswith("nothing asked for; ask by name")
    assert (
        lines[2]
        == "values of the same frames kept in run.h5.diagnostics/ are not computed again: displacement, kernel_drift"
    )


def test_diagnostics_that_are_missing_for_one_reason_are_listed_together_and_the_reason_once(path):
    said = repr(mf.diagnose(path)).split("not available for this run\n")[1]
    assert said.count("f_lin is known in closed form for the squared loss") == 1
    assert (
        "  departure, laziness\n      f_lin is known" in said
        and "  companion_gap\n      it needs companion=" in said
    )


def test_what_cannot_be_had_is_listed_with_its_reason_and_refused_when_asked_for(tmp_path):
    path = record(tmp_path / "run.h5", problem("real", "tanh"), steps=1, every=10, test=False)
    with mf.Trajectory(path) as run:
        theta, config, arrays = run.start, run.config, {"x": run.data.x, "y": run.data.y}
    one = tmp_path / "one.h5"
    from meanfield.files.recording import Recording

    recording = Recording.create(
        one, "error", config=config, provenance={}, arrays=arrays, start=theta
    )
    recording.frame(theta)
    recording.finish({}, {})
    why = mf.diagnose(one).unavailable
    assert why["test_risk"].startswith(
        "no test set was saved with the run: mf.Recorder(…, data=dataset)"
    )
    assert why["w2_step"] == "it compares consecutive frames, and there is one"
    assert why["balance_defect"] == "σ = tanh is not homogeneous"
    assert why["dead_units"] == "σ = tanh is smooth: it has no inactive side"
    assert why["margin_min"] == "y holds real targets, neither classes nor signs -1 and +1"
    for name, series in (
        ("geodesic_efficiency", "path"),
        ("path", "path"),
        ("energy_defect", "energy_defect"),
    ):
        expected = (
            f"the file has no series {series} with a value at each frame; {series}_frames "
            "gives bounds from the frames"
        )
        assert why[name] == expected
    with pytest.raises(
        ValueError,
        match="'test_risk' cannot be computed for .*one.h5: no test set was saved with the run",
    ):
        mf.diagnose(one, ["test_risk"])
    assert mf.diagnose(one, ["kernel_rank"])["kernel_rank"].values.shape == (1,)


def test_unknown_names_and_parameters_get_the_nearest(path):
    with pytest.raises(
        ValueError,
        match="unknown diagnostic 'kernel_drfit'. Did you mean 'kernel_drift'\\? Known: energy",
    ):
        mf.diagnose(path, ["kernel_drfit"])
    with pytest.raises(TypeError, match="names is a list: write \\['w2'\\]"):
        mf.diagnose(path, "w2")
    with pytest.raises(
        TypeError,
        match="none of the diagnostics asked for has a parameter 'second'. Did you mean 'seconds'",
    ):
        mf.diagnose(path, ["w2"], second=3)
    with pytest.raises(ValueError, match="workers must be an integer >= 1; got 0"):
        mf.diagnose(path, ["w2"], workers=0)
    with pytest.raises(FileNotFoundError, match="no run at"):
        mf.diagnose(path.with_name("none.h5"), ["w2"])


def test_ntk_registers_what_meanfield_says_it_does_and_the_hint_names_it(path):
    """In a process without ntk; the import of it costs neither numba nor h5py."""
    assert ntk.diagnostics and {"information", "companion_gap"} <= set(registry.OF_NTK) <= set(
        registry.names()
    )
    module = {
        name
        for name in registry.names()
        if registry.get(name).function.__module__ == "ntk.runs.diagnostics"
    }
    assert module == set(registry.OF_NTK)
    program = f"""
import sys, meanfield as mf
for name in ("information", "informatoin"):
    try:
        mf.diagnose({str(path)!r}, [name])
    except ValueError as error:
        print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert "unknown diagnostic 'information'. It is one of ntk's: `import ntk` first." in said[0]
    assert "Did you mean 'information'? (`import ntk` first.)" in said[1]
    quick = (
        "import sys, ntk; print([name for name in ('numba', 'scipy', 'h5py', 'torch') if "
        "name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", quick], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_values_are_kept_and_not_computed_twice(path, calls):
    first = mf.diagnose(path, ["counted"])
    assert calls == [0, 3, 6, 9]
    again = mf.diagnose(path, ["counted"])
    assert calls == [0, 3, 6, 9] and np.array_equal(
        again["counted"].values, first["counted"].values
    )
    folder = path.with_name("run.h5.diagnostics")
    content = json.loads((folder / "counted.json").read_text(encoding="utf-8"))
    assert (content["name"], content["unit"], content["meaning"]) == (
        "counted",
        "steps",
        "The step.",
    )
    assert sorted(content["values"].values()) == [0.0, 3.0, 6.0, 9.0]
    assert [item.name for item in folder.iterdir()] == ["counted.json"]  # nothing temporary is left


def test_kept_values_are_those_computed_to_the_bit(path):
    """Floats go through JSON by their shortest exact text, NaN and bounds with their methods too."""
    names = [name for name in mf.diagnose(path).available]
    first, kept = mf.diagnose(path, names), mf.diagnose(path, names)
    for name in names:
        for one, other in zip(first[name], kept[name], strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other), err_msg=name)


@pytest.mark.parametrize(("kept", "reads"), [(stored.KEPT, 1), (0, 2)])
def test_the_frames_of_a_small_run_are_read_once_to_the_same_bits(path, monkeypatch, kept, reads):
    """For the keys of their values; those of a large one again, one by one, for the values."""
    expected = mf.diagnose(path, ["kernel_drift"])["kernel_drift"].values
    shutil.rmtree(path.with_name("run.h5.diagnostics"))
    real, read = mf.Trajectory.__getitem__, []

    def counted(run, number):
        read.append(number)
        return real(run, number)

    monkeypatch.setattr(stored, "KEPT", kept)
    monkeypatch.setattr(mf.Trajectory, "__getitem__", counted)
    found = mf.diagnose(path, ["kernel_drift"])["kernel_drift"]
    assert np.array_equal(found.values, expected) and sorted(read) == sorted(reads * [0, 1, 2, 3])


def test_a_damaged_or_foreign_cache_is_computed_anew(path, calls):
    mf.diagnose(path, ["counted"])
    file = path.with_name("run.h5.diagnostics") / "counted.json"
    for text in ("{", "[]", '{"values": 3}', ""):
        file.write_text(text)
        calls.clear()
        assert mf.diagnose(path, ["counted"])["counted"].values.tolist() == [0, 3, 6, 9]
        assert calls == [0, 3, 6, 9]


def test_a_replaced_run_does_not_use_the_values_of_the_old_one(tmp_path, calls):
    """Neither with other neurons, nor with other settings, nor with other data."""
    flow, start, data = problem()
    path = record(tmp_path / "run.h5", (flow, start, data))
    old = mf.diagnose(path, ["counted", "kernel_drift", "w2"])
    risk = flow.functional
    others = [
        (flow, mf.InitialLaw(dim=3, b_std=1.0).sample(10, seed=5), data),
        (mf.GradientFlow(mf.EmpiricalRisk(risk.network, data.x, data.y, "hinge")), start, data),
        (
            mf.GradientFlow(
                mf.EmpiricalRisk(risk.network, data.x, data.y, "logistic"), dtype="float32"
            ),
            start,
            data,
        ),
        (flow, start, mf.data.Dataset(data.x, data.y, data.x_test + 1, data.y_test)),
    ]
    for other in others:
        calls.clear()
        record(path, other, steps=9)
        new = mf.diagnose(path, ["counted", "kernel_drift", "w2"])
        assert calls == [0, 3, 6, 9]
    record(path, others[0])
    calls.clear()
    new = mf.diagnose(path, ["counted", "kernel_drift", "w2"])
    assert not calls  # the first of the others is back, and its values were kept
    fresh = mf.diagnose(record(tmp_path / "fresh.h5", others[0]), ["kernel_drift", "w2"])
    assert np.array_equal(new["kernel_drift"].values, fresh["kernel_drift"].values)
    assert not np.array_equal(new["kernel_drift"].values[1:], old["kernel_drift"].values[1:])
    assert new["w2"].upper.tolist() == fresh["w2"].upper.tolist()


def test_an_extended_run_keeps_the_values_of_its_old_frames(path, calls):
    mf.diagnose(path, ["counted"])
    calls.clear()
    mf.resume(path, t_end=3.0, progress=False)
    found = mf.diagnose(path, ["counted"])
    assert calls == [12, 15] and found["counted"].steps.tolist() == [0, 3, 6, 9, 12, 15]


def test_an_unfinished_run_is_diagnosed_from_its_parts(path, calls):
    """And its values are there when it is finished."""
    import toy_run

    whole = toy_run.whole(path.with_name("whole.h5"))
    steps = mf.diagnose(whole, ["counted"])["counted"].steps
    part = path.with_name("part.h5")
    recording = toy_run.create(part)
    memory = toy_run.record(recording, None, 12, 6)
    recording.close()
    assert unfinished(part)
    calls.clear()
    found = mf.diagnose(part, ["counted", "theta_max", "displacement_step"])
    assert found["counted"].steps.tolist() == [0, 5, 10] == calls and memory["step"] == 12
    assert "the run's configuration names no flow" == found.unavailable["kernel_drift"]
    assert (
        mf.diagnose(f"{part}.parts", ["counted"])["counted"].steps.tolist() == [0, 5, 10]
        and len(calls) == 3
    )
    toy_run.advance(part, 20, 7)
    assert mf.diagnose(part, ["counted"])["counted"].steps.tolist() == steps.tolist() and calls == [
        0,
        5,
        10,
        15,
        20,
    ]


def test_parameters_and_versions_are_part_of_the_key(path, monkeypatch):
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE) if registry.names() else {})
    seen = Calls()

    def define(version, power):
        def measured(frame, *, factor=2.0):
            """factor^power."""
            seen.append(frame.state.step)
            return factor**power

        mf.register_diagnostic(unit="1", version=version)(measured)

    define(1, 1)
    assert mf.diagnose(path, ["measured"])["measured"].values.tolist() == [2.0] * 4
    assert mf.diagnose(path, ["measured"], factor=3.0)["measured"].values.tolist() == [3.0] * 4
    assert (
        len(seen) == 8
        and mf.diagnose(path, ["measured"])["measured"].values[0] == 2.0
        and len(seen) == 8
    )
    define(2, 1)
    mf.diagnose(path, ["measured"])
    assert len(seen) == 12
    define(2, 2)  # the same version of another function: of a user's own, the code counts too
    assert mf.diagnose(path, ["measured"])["measured"].values[0] == 4.0 and len(seen) == 16


def test_a_folder_that_cannot_be_written_is_said_once_and_does_not_matter(path, monkeypatch):
    """Tests may run as root, whom no permission stops: the call that makes the folder fails
    instead.
    """

    def refused(self, *arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.warns(
        UserWarning,
        match="computed but not kept: .*run.h5.diagnostics cannot be written .Permission denied",
    ) as said:
        found = mf.diagnose(path, ["kernel_drift", "displacement", "theta_max"])
    assert len(said) == 1 and len(found) == 3 and not path.with_name("run.h5.diagnostics").exists()


def test_what_was_computed_before_an_interruption_is_kept(path, calls, monkeypatch):
    original = jobs._frame_values

    def interrupted(stored, number, *rest):
        if number == 2:
            raise KeyboardInterrupt
        return original(stored, number, *rest)

    monkeypatch.setattr(jobs, "_frame_values", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mf.diagnose(path, ["counted"])
    monkeypatch.undo()
    assert len(Cache(path).read("counted")) == 2


def slow_trace(frame, *, weight=1.0):
    """weight · Σ_k p_k |θ_k|² by a matrix product that BLAS would share out."""
    A = np.outer(np.sin(np.arange(300)), np.ones(400)) + frame.state.theta[0, 0]
    return float((A @ A.T).sum()) * weight + float(
        frame.state.mass @ np.square(frame.state.theta).sum(axis=1)
    )


def test_the_bits_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    """Two processes against none, on copies of one run; a user's function of an importable module
    goes along.
    """
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE) if registry.names() else {})
    names = [
        "kernel_rank",
        "energy",
        "displacement_step",
        "w2",
        "information",
        "slow_trace",
        "test_error",
        "companion_gap",
    ]
    monkeypatch.setattr(jobs, "START_SECONDS", -1.0)
    sys.modules.setdefault("test_diagnostics", sys.modules[__name__])
    monkeypatch.setattr(slow_trace, "__module__", "test_diagnostics")
    mf.register_diagnostic(unit="1")(slow_trace)
    started = []
    monkeypatch.setattr(workers.subprocess, "Popen", recorded_popen(started, subprocess.Popen))
    flow, start, data = problem()
    linear = mf.GradientFlow(ntk.linearise(flow.network, start).risk(data.x, data.y, "logistic"))
    other = record(tmp_path / "linear.h5", (linear, start, data), test=False, steps=15)
    found = []
    for count in (1, 2):
        path = record(tmp_path / f"run{count}.h5", (flow, start, data), steps=15)
        found.append(mf.diagnose(path, names, workers=count, companion=other, weight=0.5))
    started = [process for process in started if process.args[0] != "git"]  # of provenance
    assert len(started) == 2 and all(process.poll() is not None for process in started)
    for name in names:
        for one, two in zip(found[0][name], found[1][name], strict=True):
            assert np.asarray(one).tobytes() == np.asarray(two).tobytes(), name


@pytest.mark.process
def test_an_executor_computes_the_frames_to_the_same_bits(path):
    """Processes that start from the beginning, and threads, which take turns."""
    names = ["kernel_drift", "w2", "path_frames"]
    here = mf.diagnose(path, names, workers=1, progress=False)
    spawn = multiprocessing.get_context("spawn")
    for pool in (ThreadPoolExecutor(2), ProcessPoolExecutor(1, mp_context=spawn)):
        shutil.rmtree(folder_of(path))
        with pool as executor:
            there = mf.diagnose(path, names, executor=executor, progress=False)
        assert repr(dict(there)) == repr(dict(here))


class Gone(Executor):
    """dask's, when its scheduler is killed after the first task."""

    asked = 0

    def submit(self, function, *given):
        self.asked += 1
        answer = Future()
        if self.asked == 1:
            answer.set_result(function(*given))
        else:
            answer.cancel()
            answer.set_running_or_notify_cancel()
        return answer


def test_an_executor_that_ends_before_it_has_answered_is_said(path):
    with pytest.raises(ConnectionError, match="executor has ended .* scheduler .* ask once more"):
        mf.diagnose(path, ["kernel_drift"], executor=Gone(), progress=False)


def test_an_executor_that_is_none_or_cannot_have_the_functions_is_refused(path, monkeypatch):
    with pytest.raises(TypeError, match="executor must be a concurrent.futures.Executor.*got int"):
        mf.diagnose(path, ["kernel_drift"], executor=3)
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(ValueError, match="give it or executor="):
            mf.diagnose(path, ["kernel_drift"], executor=executor, workers=2)
        monkeypatch.setattr(jobs, "_portable", lambda job: False)
        with pytest.raises(ValueError, match="Put them into a module that all import"):
            mf.diagnose(path, ["kernel_drift"], executor=executor)
    assert not folder_of(path).exists()


def test_a_process_that_does_not_see_the_run_says_so(path, tmp_path):
    job = jobs.Job("one", tmp_path / "elsewhere.h5", None, None, {}, {}, "", {})
    with pytest.raises(FileNotFoundError, match="must see one folder, under one name"):
        job.answer((0, "", ()))


def recorded_popen(started, popen):
    def start(*arguments, **keywords):
        started.append(popen(*arguments, **keywords))
        return started[-1]

    return start


def test_an_error_in_a_worker_is_the_error_of_the_caller(path, monkeypatch):
    monkeypatch.setattr(jobs, "START_SECONDS", -1.0)
    record(path, steps=15)
    with pytest.raises(ValueError, match="has no frame at t = 1.2") as caught:
        short = record(path.with_name("short.h5"), steps=5)
        mf.diagnose(path, ["companion_gap"], companion=short)
    del caught
    with pytest.raises(RuntimeError, match="a worker process ended with code 3"):
        list(workers.spread(Dying(), [1, 2], 2))


class Dying:
    """A job whose processes end at the first question."""

    def __reduce__(self):
        return _dying, ()

    def answer(self, task):
        os._exit(3)


def _dying():
    return Dying()


Dying.__module__ = _dying.__module__ = "test_diagnostics"


def test_functions_of_a_script_without_a_main_guard_stay_in_its_process(path):
    """The script is not run anew by workers, as multiprocessing would do; its own diagnostic is
    computed by itself.
    """
    script = path.with_name("script.py")
    script.write_text(f"""
import meanfield as mf
from meanfield.diagnostics import jobs
jobs.START_SECONDS = -1.0
print("once")

@mf.register_diagnostic(unit="1")
def own(frame):
    "Two."
    return 2.0

print(mf.diagnose({str(path)!r}, ["own"], workers=2)["own"].values.sum())
print(mf.diagnose({str(path)!r}, ["theta_max"], workers=2)["theta_max"].values.size)
""")
    said = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["once", "8.0", "4"]


def test_a_user_registers_functions_of_frames_steps_and_curves(path, monkeypatch):
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE) if registry.names() else {})

    @mf.register_diagnostic(unit="f", needs=("data",))
    def mean_output(frame):
        """(1/n) Σ_i f(x_i), first output."""
        return frame.predictions[:, 0].mean()

    @mf.register_diagnostic(unit="f", needs=("data",))
    def change(frame, previous):
        """The largest change of an output since the frame before."""
        return np.abs(frame.predictions - previous.predictions).max()

    @mf.register_diagnostic(unit="1", of=("energy", "recorded:energy"))
    def gap(energy, recorded):
        """Computed against recorded energy."""
        return energy.values - recorded.values

    found = mf.diagnose(path, ["mean_output", "change", "gap"])
    flow = problem()[0]
    with mf.Trajectory(path) as run:
        f = [flow.predict(state) for state in run]
    assert found["mean_output"].values == pytest.approx([g.mean() for g in f], rel=1e-14)
    assert found["change"].values == pytest.approx(
        [np.abs(g - h).max() for g, h in zip(f[1:], f, strict=False)], rel=1e-13
    )
    assert not found["gap"].values.any()
    series = mf.Series("mean_output", mf.every(3))
    record(path.with_name("watched.h5"), series=[series])
    assert series.values == found["mean_output"].values.tolist()


def test_a_registration_says_what_is_missing():
    def nameless(frame):
        return 0.0

    def documented(frame):
        """A meaning."""

    def three(frame, previous, more):
        """Too many."""

    def reserved(frame, *, flow=None):
        """A name that is taken."""

    def required(frame, *, factor):
        """No default."""

    register = mf.register_diagnostic
    for function, settings, message in (
        (nameless, {"unit": "1"}, "diagnostic 'nameless' has no meaning. Write a docstring"),
        (
            documented,
            {"unit": ""},
            "diagnostic 'documented' has no unit. unit=\"1\" where there is none",
        ),
        (
            documented,
            {"unit": "1", "name": "w2"},
            "'w2' is a built-in diagnostic: give yours a name of its own",
        ),
        (
            documented,
            {"unit": "1", "name": "information"},
            "'information' is a built-in diagnostic",
        ),
        (
            documented,
            {"unit": "1", "name": "a b"},
            "a diagnostic's name is a plain identifier; got 'a b'",
        ),
        (
            documented,
            {"unit": "1", "needs": ("dta",)},
            "needs 'dta', which nobody provides. Did you mean 'data'",
        ),
        (documented, {"unit": "1", "version": 0}, "version must be an integer >= 1; got 0"),
        (three, {"unit": "1"}, "diagnostic 'three' must take \\(frame\\) or \\(frame, previous\\)"),
        (reserved, {"unit": "1"}, "'flow' is an argument of mf.diagnose itself"),
        (required, {"unit": "1"}, "each keyword-only argument needs a default"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            register(**settings)(function)
    assert {"nameless", "documented", "three", "required"}.isdisjoint(registry.names())


def test_a_function_that_returns_no_scalar_or_fails_says_where(path, monkeypatch):
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE) if registry.names() else {})

    @mf.register_diagnostic(unit="1")
    def vector(frame):
        """No scalar."""
        return frame.state.b

    @mf.register_diagnostic(unit="1")
    def failing(frame):
        """Divides by zero."""
        return 1 / 0

    @mf.register_diagnostic(unit="1", of=("displacement_step",))
    def short(step):
        """Too few values."""
        return step.values[1:]

    with pytest.raises(
        ValueError,
        match=r"'short' must return one value for each of the 3 moments of 'displacement_step'",
    ):
        mf.diagnose(path, ["short"])
    with pytest.raises(
        ValueError, match=r"diagnostic 'vector' must return a scalar; got shape \(10,\)"
    ):
        mf.diagnose(path, ["vector"])
    with pytest.raises(ZeroDivisionError) as error:
        mf.diagnose(path, ["failing"])
    assert "while computing the diagnostic 'failing' at frame 0" in error.value.__notes__[0]


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_frame_that_is_not_finite_gives_nan_and_the_count_of_what_is_not(tmp_path):
    """A run that diverged is diagnosed all the same."""
    flow, start, data = problem("real", gamma=1.0)
    path = tmp_path / "run.h5"
    with pytest.warns(RuntimeWarning, match="diverged"):
        record(path, (flow, mf.State(1e80 * start.theta), data), dt=1e80, method=mf.EULER)
    found = mf.diagnose(path, ["kernel_drift", "w2", "nonfinite", "sign_flips"])
    assert found["nonfinite"].values[0] == 0 < found["nonfinite"].values[-1]
    assert (
        np.isnan(found["kernel_drift"].values[-1])
        and np.isnan(found["w2"].upper[-1])
        and np.isnan(found["sign_flips"].values[-1])
    )
    assert "nan" in repr(found)


def test_a_user_written_activation_is_handed_in_with_the_flow(tmp_path):
    """Its formula is part of the key: another formula of the same name has values of its own."""

    def made(power):
        sigma = mf.Activation("own", lambda z: z + power * z * z, lambda z: 1.0 + 2.0 * power * z)
        return problem("real", sigma, gamma=1.0)

    path = record(tmp_path / "run.h5", made(0.5), steps=3)
    why = mf.diagnose(path).unavailable["kernel_drift"]
    assert "the file alone does not make its flow" in why and "Pass flow=" in why
    first = mf.diagnose(path, ["kernel_rank", "risk"], flow=made(0.5)[0])
    other = mf.diagnose(path, ["kernel_rank"], flow=made(0.25)[0])
    assert first["kernel_rank"].values[0] != other["kernel_rank"].values[0]
    with mf.Trajectory(path) as run:
        np.testing.assert_array_equal(first["risk"].values, run.series("risk").values)
    with pytest.raises(ValueError, match="flow= is not the flow of .*run.h5"):
        mf.diagnose(path, ["risk"], flow=problem("real", "tanh")[0])


def test_a_run_made_on_a_device_that_is_not_here_is_computed_on_the_cpu_and_that_is_said(
    path, monkeypatch
):
    from meanfield import backends
    from meanfield.files.recording import Recording

    monkeypatch.setattr(backends, "why_no_cuda", lambda: "there is no GPU.")
    elsewhere = path.with_name("elsewhere.h5")
    with mf.Trajectory(path) as run:
        config = {**run.config, "flow": {**run.config["flow"], "backend": "cuda"}}
        arrays = {name: getattr(run.data, name) for name in ("x", "y", "x_test", "y_test")}
        recording = Recording.create(
            elsewhere, "error", config=config, provenance={}, arrays=arrays, start=run.start
        )
        for state in run:
            recording.frame(state)
        recording.finish({}, {})
    here, there = mf.diagnose(path, ["risk"]), mf.diagnose(elsewhere, ["risk"])
    assert np.array_equal(here["risk"].values, there["risk"].values)
    assert (
        here.device == ""
        and there.device == "computed on cpu, the run was made on cuda"
        and there.device in repr(there)
    )
    mf.diagnose(elsewhere, ["risk"], flow=problem()[0])  # the same flow on another device
