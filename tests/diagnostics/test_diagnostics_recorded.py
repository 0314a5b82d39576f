"""Diagnostics recorded during a run and computed from its file afterwards are the same bits."""

import numpy as np
import pytest
from diagnosed import problem, record
from sweeps import sweep

import meanfield as mf
import ntk  # noqa: F401  its diagnostics belong to "all"
from meanfield.diagnostics import registry
from meanfield.diagnostics.diagnose import Curve
from meanfield.observers.moment import MEASURES, recordable


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
    (
        "signs",
        "relu",
        12,
        "float64",
        mf.HEUN,
    ),  # d > 10: the blocked kernels, which keep z for the pull-back
    ("signs", "relu", 12, "float32", mf.HEUN),
]


@pytest.mark.parametrize(
    ("kind", "activation", "d", "dtype", "method"), sweep(CASES, CASES[0], CASES[2])
)
def test_all_diagnostics_of_one_moment_are_the_same_bits_during_the_run_and_after_it(
    kind, activation, d, dtype, method, h5_path, tmp_path
):
    """The same function through the same frame context; 70 neurons make two shards, so the sums
    have a tree.
    """
    made = problem(kind, activation, d, m=70, dtype=dtype)
    names = local(record(tmp_path / "first.h5", made, steps=1, every=1, method=method))
    assert {
        "kernel_drift",
        "kernel_rank",
        "information",
        "sign_flips",
        "test_error",
        "margin_min",
    } <= set(names)
    series = [mf.Series(name, mf.every(1)) for name in names]
    record(h5_path, made, steps=4, every=1, series=series, method=method)
    after = mf.diagnose(h5_path, names, workers=1)
    for item in series:
        steps, _, values = after[item.name]
        assert set(item.steps) <= set(steps.tolist()) and len(item.steps) >= 3
        at = np.isin(steps, item.steps)
        np.testing.assert_array_equal(
            np.array(item.values).view(np.uint64), values[at].view(np.uint64), err_msg=item.name
        )
    with mf.Trajectory(h5_path) as run:  # what every run records, at every frame
        for name in set(MEASURES) & set(run.series_names):
            recorded = run.series(name)
            at = np.isin(recorded.steps, run.steps)
            np.testing.assert_array_equal(
                recorded.values[at], mf.diagnose(h5_path, [name])[name].values, err_msg=name
            )


def test_recording_diagnostics_leaves_the_particles_as_they_would_be(tmp_path):
    """They look and change nothing: all particles and the standard series of two runs are the same,
    with dt="auto" too.
    """
    for number, settings in enumerate(
        ({"dt": 0.2}, {"dt": "auto"}, {"method": mf.Adaptive(rtol=1e-4)})
    ):
        made = problem("real", "tanh", d=13 if number == 1 else 3)
        plain = record(tmp_path / f"plain{number}.h5", made, **settings)
        names = ["kernel_drift", "test_risk", "speed", "energy", "sign_flips"]
        watched = record(
            tmp_path / f"watched{number}.h5",
            made,
            series=[mf.Series(name, mf.every(1)) for name in names],
            **settings,
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


def test_sums_along_the_way_are_those_recorded_and_lie_within_what_the_frames_allow(h5_path):
    """Here |v| falls throughout, so lower and upper sums hold the integral, for any frames: 11 and
    41 of them, and three.

    Their middle is the trapezoid, and on even frames their distance is h |g(0) - g(t)|, which
    halves with h. What the run recorded has the weights of RK4: its error, h⁴ of a step h = 0.05,
    is out of sight.
    """
    widths = {}
    for every in (1, 4, 20):
        record(h5_path, problem("real", "tanh", m=30), steps=40, every=every, dt=0.05)
        found = mf.diagnose(
            h5_path, ["path", "energy_defect", "path_frames", "energy_defect_frames", "speed"]
        )
        assert found.recorded == ("path", "energy_defect")
        times, speed = found["speed"].times, found["speed"].values
        assert (np.diff(speed) < 0).all()
        with mf.Trajectory(h5_path) as run:
            for name in found.recorded:
                values, bounds = run.series(name).values, found[f"{name}_frames"]
                np.testing.assert_array_equal(found[name].values, values)
                assert (
                    (bounds.lower <= values).all()
                    and (values[1:] < bounds.upper[1:]).all()
                    and bounds.upper[0] == 0.0
                )
        bounds = found["path_frames"]
        trapezoid = [np.trapezoid(speed[: k + 1], times[: k + 1]) for k in range(len(times))]
        np.testing.assert_allclose((bounds.lower + bounds.upper) / 2, trapezoid, rtol=1e-13)
        assert (bounds.lower_method[-1], bounds.upper_method[-1]) == ("lower sum", "upper sum")
        widths[every] = bounds.upper[-1] - bounds.lower[-1]
        assert widths[every] == pytest.approx(0.05 * every * (speed[0] - speed[-1]), rel=1e-12)
    assert widths[4] / widths[1] == pytest.approx(4, rel=1e-9)


def test_a_defect_that_frames_cannot_tell_from_none_has_the_lower_bound_zero():
    """Two frames, by hand: F falls by 1 while ∫∫|v|² dμ dt is between 0.5 and 1.5: up to half of it
    may be gone; then 3 … 4.
    """
    function = registry.get("energy_defect_frames").function
    times = np.array([0.0, 1.0])
    for rates, expected in (
        ((1.5, 0.5), (0.0, 0.5)),
        ((4.0, 3.0), (2.0, 3.0)),
        ((0.25, 0.75), (0.25, 0.75)),
    ):
        energy, speed2 = (
            Curve(np.arange(2), times, np.array(values)) for values in ((2.0, 1.0), rates)
        )
        lower, upper, *_ = function(energy, speed2)
        assert (lower[-1], upper[-1]) == expected and lower[0] == upper[0] == 0.0


def test_a_run_with_diagnostic_series_resumes_from_its_file_alone_to_the_same_bits(tmp_path):
    """Also those of the test set, which the file holds: an extension of a shorter run equals the
    long one.
    """
    names = ["kernel_drift", "test_error", "sign_flips", "information"]
    long = record(
        tmp_path / "long.h5", steps=12, series=[mf.Series(name, mf.every(2)) for name in names]
    )
    short = record(
        tmp_path / "short.h5", steps=6, series=[mf.Series(name, mf.every(2)) for name in names]
    )
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
        ValueError,
        match="records the diagnostic 'information', which is not registered here. .*`import "
        "ntk` first",
    ):
        mf.resume(h5_path, t_end=9.0, progress=False)
    assert mf.Trajectory(h5_path).status == "finished"


def test_what_cannot_be_recorded_is_refused_before_any_file(h5_path):
    for name in ("w2", "path_", "displacement_step", "geodesic_efficiency", "companion_gap"):
        with pytest.raises(
            ValueError,
            match="no built-in series 'path_'|is not one number of one moment.*mf.diagnose",
        ):
            mf.Series(name, mf.every(1))
    with pytest.raises(
        ValueError,
        match="series 'test_risk' cannot be recorded in this run: no test set was saved with "
        "the run",
    ):
        record(h5_path, test=False, series=[mf.Series("test_risk", mf.every(1))])
    with pytest.raises(
        ValueError, match="series 'dead_units' cannot be recorded in this run: σ = tanh is smooth"
    ):
        record(h5_path, problem(activation="tanh"), series=[mf.Series("dead_units", mf.every(1))])
    assert not list(h5_path.parent.iterdir())
