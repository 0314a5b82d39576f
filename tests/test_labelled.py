"""Labelled arrays: a run and a diagnosis as xarray.Dataset, with names, times, units and what every figure states."""

import subprocess
import sys

import numpy as np
import pytest
from diagnosed import problem, record

import meanfield as mf

xarray = pytest.importorskip("xarray")


def test_a_run_is_labelled_by_frame_neuron_and_column(h5_path):
    """θ, masses, clocks and each series over times of its own, one of them denser than the frames."""
    record(
        h5_path, problem("classes"), series=[mf.Series("risk", mf.every(1)), mf.Series("mass", mf.every(4), lambda flow, s: 1.0)]
    )
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
        assert found["theta"].dims == ("frame", "neuron", "column") and found["mass"].dims == ("neuron",)
        assert found["column"].values.tolist() == ["a0", "a1", "a2", "w0", "w1", "w2", "b"]
        for number, state in enumerate(run):
            np.testing.assert_array_equal(found["theta"][number], state.theta)
        np.testing.assert_array_equal(found["theta"].sel(column="w1", neuron=3), [state.w[3, 1] for state in run])
        np.testing.assert_array_equal(found["t"], run.times)
        np.testing.assert_array_equal(found["step"], run.steps)
        for name in run.series_names:
            label = "series_mass" if name == "mass" else name  # the masses have that name
            assert found[label].dims == (f"{label}_t",)
            for part, values in zip((f"{label}_step", f"{label}_t", label), run.series(name), strict=True):
                np.testing.assert_array_equal(found[part], values)
        assert found["risk"].sizes == {"risk_t": 10} and found["energy"].sizes == {"energy_t": 4}
        assert (found.attrs["gamma"], found.attrs["alpha"], found.attrs["status"]) == (0.75, 2.0, "finished")
        assert found.attrs["law"] == run.law.describe() and found.attrs["time_unit"].startswith("flow time t")


def test_a_run_without_scaling_law_or_frames_is_labelled_too(h5_path):
    import toy_run

    recording = toy_run.create(h5_path, config={"flow": None})
    recording.observe("own", 0, 0.0, 2.0)
    recording.finish({}, {})
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
    assert found["theta"].sizes == {"frame": 0, "neuron": 8, "column": 4} and found["own"].values.tolist() == [2.0]
    assert "gamma" not in found.attrs and found.attrs["law"] == "given as an array"


def test_it_survives_a_netcdf_file(h5_path, tmp_path):
    record(h5_path)
    with mf.Trajectory(h5_path) as run:
        found = run.to_xarray()
    found.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as again:
        xarray.testing.assert_identical(again.load(), found)


def test_a_diagnosis_is_labelled_with_units_over_the_frames(h5_path):
    """What compares two frames is NaN at the first; bounds are two variables."""
    found = mf.diagnose(record(h5_path), ["kernel_drift", "displacement_step", "w2"])
    labelled = found.to_xarray()
    assert set(labelled) == {"kernel_drift", "displacement_step", "w2_lower", "w2_upper"}
    assert labelled["kernel_drift"].attrs["units"] == "1" and labelled["w2_upper"].attrs["units"] == "θ"
    assert labelled["w2_upper"].attrs["long_name"] == found.meanings["w2"]
    np.testing.assert_array_equal(labelled["kernel_drift"], found["kernel_drift"].values)
    np.testing.assert_array_equal(labelled["displacement_step"], [np.nan, *found["displacement_step"].values])
    np.testing.assert_array_equal(labelled["w2_lower"], found["w2"].lower)
    np.testing.assert_array_equal(labelled["t"], found.times)


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
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == 'labelled arrays need xarray: pip install "meanfield[xarray]".'
