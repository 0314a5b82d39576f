"""Diagnostics recorded during a run and computed from its file afterwards are the same bits; the sums along the way nearly so."""

import numpy as np
import pytest
from diagnosed import problem, record

import meanfield as mf
import ntk  # noqa: F401  its diagnostics belong to "all"
from meanfield.diagnostics import registry
from meanfield.observers import MEASURES, recordable


def local(path):
    """The names that can be recorded in this run."""
    names = []
    for name in mf.diagnose(path).available:
        try:
            recordable(name)
        except ValueError:
            continue
        names.append(name)
    return names


CASES = [
    ("signs", "relu", 3, "float64", mf.RK4),
    ("signs", "relu", 3, "float32", mf.RK4),
    ("classes", "tanh", 3, "float64", mf.Adaptive(rtol=1e-4)),
    ("classes", "tanh", 3, "float32", mf.Adaptive(rtol=1e-4)),
    ("signs", "relu", 12, "float64", mf.HEUN),  # d > 10: the blocked kernels, which keep z for the pull-back
    ("signs", "relu", 12, "float32", mf.HEUN),
]


@pytest.mark.parametrize(("kind", "activation", "d", "dtype", "method"), CASES)
def test_all_diagnostics_of_one_moment_are_the_same_bits_during_the_run_and_after_it(
    kind, activation, d, dtype, method, h5_path, tmp_path
):
    """The same function through the same frame context; 70 neurons make two shards, so the sums have a tree."""
    made = problem(kind, activation, d, m=70, dtype=dtype)
    names = local(record(tmp_path / "first.h5", made, steps=1, every=1, method=method))
    assert {"kernel_drift", "kernel_rank", "information", "sign_flips", "test_error", "margin_min"} <= set(names)
    series = [mf.Series(name, mf.every(1)) for name in names]
    record(h5_path, made, steps=4, every=1, series=series, method=method)
    after = mf.diagnose(h5_path, names, workers=1)
    for item in series:
        steps, _, values = after[item.name]
        assert set(item.steps) <= set(steps.tolist()) and len(item.steps) >= 3
        at = np.isin(steps, item.steps)
        np.testing.assert_array_equal(np.array(item.values).view(np.uint64), values[at].view(np.uint64), err_msg=item.name)
    with mf.Trajectory(h5_path) as run:  # what every run records, at every frame
        for name in set(MEASURES) & set(run.series_names) - {"path", "energy_defect"}:
            recorded = run.series(name)
            at = np.isin(recorded.steps, run.steps)
            np.testing.assert_array_equal(recorded.values[at], mf.diagnose(h5_path, [name])[name].values, err_msg=name)


def test_recording_diagnostics_leaves_the_particles_as_they_would_be(tmp_path):
    """They look and change nothing: all particles and the standard series of two runs are the same, with dt="auto" too."""
    for number, settings in enumerate(({"dt": 0.2}, {"dt": "auto"}, {"method": mf.Adaptive(rtol=1e-4)})):
        made = problem("real", "tanh", d=12 if number == 1 else 3)
        plain = record(tmp_path / f"plain{number}.h5", made, **settings)
        names = ["kernel_drift", "test_risk", "speed", "energy", "sign_flips"]
        watched = record(
            tmp_path / f"watched{number}.h5", made, series=[mf.Series(name, mf.every(1)) for name in names], **settings
        )
        with mf.Trajectory(plain) as a, mf.Trajectory(watched) as b:
            assert all(np.array_equal(one.theta, two.theta) for one, two in zip(a, b, strict=True))
            for name in set(MEASURES) & set(a.series_names) - {"energy"}:
                assert np.array_equal(a.series(name).values, b.series(name).values), name


def test_the_step_dt_auto_leaves_the_same_bits(h5_path):
    """There the energy comes out of the step control and not out of the frame."""
    record(h5_path, problem("real", "tanh", m=70), method=mf.RK4, dt="auto", steps=9, every=3)
    found = mf.diagnose(h5_path, ["energy", "speed2"])
    with mf.Trajectory(h5_path) as run:
        for name in found:
            np.testing.assert_array_equal(run.series(name).values, found[name].values)


def test_path_and_energy_defect_from_frames_differ_by_the_error_of_the_trapezoid(h5_path):
    """∫g dt by the trapezoid over T with steps h errs by at most T h²/12 max|g''| (Davis and Rabinowitz 1984, 2.1.7). Second
    differences of g are h² g'' at points in between: their largest, doubled, bounds it for a g as smooth as |v| and |v|² here.
    What the run recorded has the weights of RK4, h⁴ and out of sight. The defect is such an error relative to the fall of F.
    """
    flow, start, data = problem("real", "tanh", m=30)
    record(h5_path, (flow, start, data), steps=40, every=4, dt=0.05)
    found = mf.diagnose(h5_path, ["path", "energy_defect", "speed", "speed2", "energy"])
    with mf.Trajectory(h5_path) as run:
        path, defect = run.series("path").values, run.series("energy_defect").values
    h, T = 0.2, 2.0

    def bound(values):
        return 2 * T / 12 * np.abs(np.diff(values, 2)).max()

    gap = np.abs(found["path"].values - path)
    assert 0 < gap[-1] <= bound(found["speed"].values)
    fall = found["energy"].values[0] - found["energy"].values[1:]
    error = np.abs(found["energy_defect"].values - defect)[1:] * fall
    assert 0 < error[-1] and np.all(error <= bound(found["speed2"].values))
    record(h5_path, (flow, start, data), steps=40, every=2, dt=0.05)  # h/2: a quarter of the error, up to h⁴
    with mf.Trajectory(h5_path) as run:
        finer = np.abs(mf.diagnose(h5_path, ["path"])["path"].values - run.series("path").values)
    assert h and finer[-1] == pytest.approx(gap[-1] / 4, rel=0.1)


def test_a_run_with_diagnostic_series_resumes_from_its_file_alone_to_the_same_bits(tmp_path):
    """Also those of the test set, which the file holds: an extension of a shorter run equals the long one."""
    names = ["kernel_drift", "test_error", "sign_flips", "information"]
    long = record(tmp_path / "long.h5", steps=12, series=[mf.Series(name, mf.every(2)) for name in names])
    short = record(tmp_path / "short.h5", steps=6, series=[mf.Series(name, mf.every(2)) for name in names])
    with mf.Trajectory(long) as run:
        t_end = run.config["t_end"]
        assert [item["user"] for item in run.config["observers"]["series"]] == [False] * 4
    mf.resume(short, t_end=t_end, progress=False)
    with mf.Trajectory(long) as a, mf.Trajectory(short) as b:
        for name in names:
            np.testing.assert_array_equal(a.series(name).values, b.series(name).values)


def test_a_resume_says_which_diagnostic_is_not_registered(h5_path, monkeypatch):
    record(h5_path, steps=3, series=[mf.Series("information", mf.every(1))])
    monkeypatch.delitem(registry._TABLE, "information")
    with pytest.raises(
        ValueError, match="records the diagnostic 'information', which is not registered here. .*`import ntk` first"
    ):
        mf.resume(h5_path, t_end=9.0, progress=False)
    assert mf.Trajectory(h5_path).status == "finished"


def test_what_cannot_be_recorded_is_refused_before_any_file(h5_path):
    for name in ("w2", "path_", "displacement_step", "geodesic_efficiency", "companion_gap"):
        with pytest.raises(ValueError, match="no built-in series 'path_'|is not one number of one moment.*mf.diagnose"):
            mf.Series(name, mf.every(1))
    with pytest.raises(ValueError, match="series 'test_risk' cannot be recorded in this run: no test set was saved with the run"):
        record(h5_path, test=False, series=[mf.Series("test_risk", mf.every(1))])
    with pytest.raises(ValueError, match="series 'dead_units' cannot be recorded in this run: σ = tanh is smooth"):
        record(h5_path, problem(activation="tanh"), series=[mf.Series("dead_units", mf.every(1))])
    assert not list(h5_path.parent.iterdir())
