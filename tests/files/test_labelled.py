"""Labelled arrays: a run and a diagnosis as xarray.Dataset, with names, times, units and what every
figure states; exports.
"""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import toy_run
from diagnosed import problem, record

import meanfield as mf
from meanfield.diagnostics import registry
from meanfield.files import durable, exporting, labelled
from meanfield.observers.moment import MEASURES

xarray = pytest.importorskip("xarray")


def test_a_run_is_labelled_by_frame_neuron_and_column(h5_path):
    """θ, masses, clocks and each series over times of its own, one of them denser than the frames."""
    record(
        h5_path,
        problem("classes"),
        series=[
            mf.Series("risk", mf.every(1)),
            mf.Series("mass", mf.every(4), lambda flow, s: 1.0),
        ],
    )
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
        assert found["theta"].dims == ("frame", "neuron", "column") and found["mass"].dims == (
            "neuron",
        )
        assert found["column"].values.tolist() == ["a0", "a1", "a2", "w0", "w1", "w2", "b"]
        for number, state in enumerate(run):
            np.testing.assert_array_equal(found["theta"][number], state.theta)
        np.testing.assert_array_equal(
            found["theta"].sel(column="w1", neuron=3), [state.w[3, 1] for state in run]
        )
        np.testing.assert_array_equal(found["t"], run.times)
        np.testing.assert_array_equal(found["step"], run.steps)
        for name in run.series_names:
            label = "series_mass" if name == "mass" else name  # the masses have that name
            parts = (
                (f"{label}_step", f"{label}_t", label)
                if name in ("mass", "risk")
                else ("step", "t", label)
            )
            assert found[label].dims == (
                (f"{label}_t",) if name in ("mass", "risk") else ("frame",)
            )
            for part, values in zip(parts, run.series(name), strict=True):
                np.testing.assert_array_equal(found[part], values)
        assert found["risk"].sizes == {"risk_t": 10} and found["energy"].sizes == {"frame": 4}
        assert (found.attrs["gamma"], found.attrs["alpha"], found.attrs["status"]) == (
            0.75,
            2.0,
            "finished",
        )
        assert found.attrs["law"] == run.law.describe() and found.attrs["time_unit"].startswith(
            "flow time t"
        )


def test_a_run_without_scaling_law_or_frames_is_labelled_too(h5_path):
    recording = toy_run.create(h5_path, config={"flow": None})
    recording.observe("own", 0, 0.0, 2.0)
    recording.finish({}, {})
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
    assert found["theta"].sizes == {"frame": 0, "neuron": 8, "column": 4} and found[
        "own"
    ].values.tolist() == [2.0]
    assert "gamma" not in found.attrs and found.attrs["law"] == "given as an array"


def test_the_ratio_of_two_series_of_one_clock_has_one_value_a_frame(h5_path):
    """And series that share another clock share a dimension, named after the first of them."""
    dense = [
        mf.Series(name, mf.every(1), lambda flow, state: float(state.step))
        for name in ("one", "two")
    ]
    record(h5_path, series=dense)
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
    ratio = found.risk / found.displacement
    assert ratio.dims == ("frame",) and ratio.shape == (4,) and {"t", "step"} <= set(ratio.coords)
    both = found.one + found.two
    assert both.dims == ("one_t",) and both.values.tolist() == [2.0 * step for step in range(10)]
    assert "two_t" not in found.variables and "risk_t" not in found.variables


def test_a_series_recorded_beside_the_frames_is_brought_to_them_by_their_times(h5_path):
    """Both series have the frames' moments and their own: two clocks, whose product is a table."""
    series = [mf.Series("risk", mf.every(1)), mf.Series("displacement", mf.every(2))]
    record(h5_path, series=series)
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
        frames = np.isin(run.series("risk").steps, run.steps)
        wanted = run.series("risk").values[frames]
    assert (found.risk / found.displacement).dims == ("risk_t", "displacement_t")
    risk = found.risk.sel(risk_t=found.t)
    ratio = risk / found.displacement.sel(displacement_t=found.t)
    assert ratio.dims == ("frame",)
    np.testing.assert_array_equal(risk, wanted)


def test_a_series_whose_name_is_taken_has_a_label_of_its_own(h5_path):
    """risk_t would be the clock of risk; series_mass is what another's label would be."""
    recording = toy_run.create(h5_path)
    names = ["risk", "risk_t", "mass", "series_mass", "frame"]
    for k, name in enumerate(names):
        recording.observe(name, 0, 0.0, float(k))
    recording.finish({}, {})
    with mf.Trajectory(h5_path) as run:
        labels = labelled.series_labels(run.series_names)
        found = run.to_xarray()
    assert len(set(labels.values())) == len(names)
    assert [found[labels[name]].item() for name in names] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (
        labels["risk"] == "risk"
        and labels["risk_t"] == "series_risk_t"
        and labels["series_mass"] == "series_mass"
    )


def test_variables_have_units_and_meanings(h5_path):
    units = {name: labelled.ABOUT.get(name, ("no line in labelled.ABOUT",))[0] for name in MEASURES}
    assert units == {name: registry.get(name).unit for name in MEASURES}
    record(h5_path, series=[mf.Series("own", mf.every(3), lambda flow, state: 1.0)])
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
    assert found.risk.attrs == {"units": "R", "long_name": "R, the risk on the training samples"}
    assert found.t.attrs == {"units": "t", "long_name": "flow time"} and found.own.attrs == {
        "long_name": "own"
    }


# ---- netCDF, Zarr


def written(run, path, kind, **settings):
    """Export, and read back by xarray alone."""
    assert getattr(run, f"to_{kind}")(path, **settings) == path
    opened = (
        xarray.open_zarr(path) if kind == "zarr" else xarray.open_dataset(path, engine="h5netcdf")
    )
    with opened:
        return opened.load()


@pytest.fixture(params=["netcdf", "zarr"])
def kind(request):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return request.param


@pytest.mark.parametrize("what", ["classes", "masses", "float32", "diverged", "empty"])
def test_an_export_is_read_back_by_xarray_alone_to_the_same_bits(h5_path, tmp_path, kind, what):
    if what == "classes":
        record(
            h5_path,
            problem("classes"),
            series=[mf.Series("own β", mf.every(1), lambda flow, state: -0.0)],
        )
    elif what == "float32":
        record(h5_path, problem(dtype="float32"))
    else:
        recording = toy_run.create(h5_path, mass_varies=what == "masses")
        mass = np.arange(1.0, 9.0) / 36
        theta = np.full((8, 4), -0.0)
        if what == "diverged":
            theta[0] = [np.nan, np.inf, -np.inf, 0.0]
            theta.view(np.uint64)[1, 0] = 0x7FF8000000001234  # a NaN of other bits
        for step in range(0 if what == "empty" else 3):
            recording.frame(mf.State.trusted(theta, 1, mass, step, step / 2))
            recording.observe("zero", step, step / 2, -0.0)
        recording.finish({}, {})
    with mf.Trajectory(h5_path) as run:
        expected = run.to_xarray()
        found = written(run, tmp_path / f"run.{kind}", kind)
    xarray.testing.assert_identical(found, expected)
    for name, variable in expected.variables.items():
        assert (
            found[name].dtype == variable.dtype
            and found[name].values.tobytes() == variable.values.tobytes()
        ), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.h5", f"run.{kind}"]


def test_a_netcdf_file_has_dimension_scales(h5_path, tmp_path):
    import h5py

    record(h5_path)
    with mf.Trajectory(h5_path) as run:
        run.to_netcdf(tmp_path / "run.nc")
    with h5py.File(tmp_path / "run.nc") as file:
        assert all(file[name].is_scale for name in ("frame", "neuron", "column"))
        assert [file[dimension[0].name].name for dimension in file["theta"].dims] == [
            "/frame",
            "/neuron",
            "/column",
        ]
        assert file["theta"].attrs["units"] == "θ" and file.attrs["time_unit"].startswith(
            "flow time t"
        )


def test_an_export_replaces_only_what_it_is_asked_to(h5_path, tmp_path, kind):
    record(h5_path)
    target, before = tmp_path / "out", h5_path.read_bytes()
    with mf.Trajectory(h5_path) as run:
        first = written(run, target, kind)
        with pytest.raises(FileExistsError, match='out exists. Replace it with exists="replace"'):
            getattr(run, f"to_{kind}")(target)
        xarray.testing.assert_identical(written(run, target, kind, exists="replace"), first)
        with pytest.raises(ValueError, match="exists must be one of error, replace; got 'resume'"):
            getattr(run, f"to_{kind}")(target, exists="resume")
        with pytest.raises(
            ValueError,
            match=r"run\.h5 is a (recorded run|file, and a Zarr store is a folder); choose another",
        ):
            getattr(run, f"to_{kind}")(h5_path, exists="replace")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/notes.txt").write_text("precious")
        with pytest.raises(ValueError, match="mine is a folder"):
            getattr(run, f"to_{kind}")(tmp_path / "mine", exists="replace")
        with pytest.raises(FileNotFoundError, match="make it first"):
            getattr(run, f"to_{kind}")(tmp_path / "nowhere/out")
    assert h5_path.read_bytes() == before and (tmp_path / "mine/notes.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out", "run.h5"]


def test_an_export_that_fails_leaves_what_was_there(h5_path, tmp_path, kind, monkeypatch):
    record(h5_path)
    target = tmp_path / "out"
    with mf.Trajectory(h5_path) as run:
        first = written(run, target, kind)
        with monkeypatch.context() as patch:
            patch.setattr(durable.shutil, "disk_usage", lambda _: type("usage", (), {"free": 10}))
            with pytest.raises(OSError, match="writing out takes .* GB are free"):
                getattr(run, f"to_{kind}")(target, exists="replace")
        with monkeypatch.context() as patch:
            patch.setattr(
                durable if kind == "netcdf" else exporting,
                "move",
                lambda *_: 1 / 0,
            )
            with pytest.raises(ZeroDivisionError):
                getattr(run, f"to_{kind}")(target, exists="replace")
        shutil.move(target, tmp_path / "kept")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "run.h5"]
        shutil.move(tmp_path / "kept", target)
        opened = (
            xarray.open_zarr(target)
            if kind == "zarr"
            else xarray.open_dataset(target, engine="h5netcdf")
        )
        with opened:
            xarray.testing.assert_identical(opened.load(), first)


def test_a_diagnosis_is_labelled_with_units_over_the_frames(h5_path):
    """What compares two frames is NaN at the first; bounds are two variables."""
    found = mf.diagnose(record(h5_path), ["kernel_drift", "displacement_step", "w2"])
    labelled = found.to_xarray()
    assert set(labelled) == {"kernel_drift", "displacement_step", "w2_lower", "w2_upper"}
    assert (
        labelled["kernel_drift"].attrs["units"] == "1"
        and labelled["w2_upper"].attrs["units"] == "θ"
    )
    assert labelled["w2_upper"].attrs["long_name"] == found.meanings["w2"]
    np.testing.assert_array_equal(labelled["kernel_drift"], found["kernel_drift"].values)
    np.testing.assert_array_equal(
        labelled["displacement_step"], [np.nan, *found["displacement_step"].values]
    )
    np.testing.assert_array_equal(labelled["w2_lower"], found["w2"].lower)
    np.testing.assert_array_equal(labelled["t"], found.times)


@pytest.mark.process
def test_without_xarray_the_error_says_how_to_get_it(h5_path):
    record(h5_path)
    program = f"""
import sys
sys.modules["xarray"] = None
import meanfield as mf
try:
    mf.Trajectory({str(h5_path)!r}).to_xarray()
except ImportError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == 'labelled arrays need xarray: pip install -e ".[xarray]".'
