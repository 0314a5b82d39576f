"""Files of networks with many inputs or outputs: nothing whose size grows with p is an attribute,
which HDF5 ends at 64 KB.
"""

import h5py
import numpy as np
import pytest

import meanfield as mf
from meanfield.files import hdf5

MANY = 20_000


def problem(dim, outputs):
    """Three samples: (flow, start) of a network with so many inputs and outputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, dim)) / dim**0.5
    y = rng.normal(size=(3, outputs)) if outputs > 1 else x[:, 0]
    risk = mf.EmpiricalRisk(mf.Network("tanh"), x, y)
    return mf.GradientFlow(risk), mf.InitialLaw(dim, outputs=outputs).sample(4)


def attributes(path):
    """Bytes of every attribute of a file, by name."""
    found = {}

    def collect(name, item):
        for key in item.attrs:
            found[f"{name} {key}"] = item.attrs.get_id(key).get_storage_size()

    with h5py.File(path) as file:
        file.visititems(collect)
    return found


@pytest.mark.parametrize(("dim", "outputs"), [(MANY, 1), (1, MANY)], ids=["inputs", "outputs"])
def test_a_run_of_twenty_thousand_becomes_a_file_and_is_extended(h5_path, dim, outputs):
    flow, start = problem(dim, outputs)
    recorder = mf.Recorder(h5_path, mf.every(1))
    end = mf.simulate(
        flow, start, mf.EULER, dt=0.1, t_end=0.2, observers=[recorder], progress=False
    )
    with mf.Trajectory(h5_path) as run:
        assert len(run) == 3 and run[-1].theta.tobytes() == end.theta.tobytes()
    p = dim + outputs + 1
    with h5py.File(h5_path) as file:
        units = file["particles/units"]
        columns = units["columns"].asstr()[()]
        assert "columns" not in units.attrs and units["box/boundary"][()].tolist() == [b"none"] * p
        assert columns.tolist() == [f"a{j}" for j in range(outputs)] + [
            f"w{j}" for j in range(dim)
        ] + ["b"]
        view = file["particles/trajectory"]
        shown = [list(columns).index(name) for name in view.attrs["columns"].decode().split()]
        np.testing.assert_array_equal(
            view["position/value"][1], units["position/value"][1][:, shown]
        )
    assert max(attributes(h5_path).values()) <= hdf5.LARGEST_ATTRIBUTE
    mf.resume(h5_path, t_end=0.3, progress=False)
    with mf.Trajectory(h5_path) as run:
        assert len(run) == 4 and run.times[-1] == pytest.approx(0.3)


def test_a_wide_run_that_was_interrupted_is_resumed_to_its_file(h5_path):
    flow, start = problem(MANY, 1)
    calls = []

    def once(flow, state):
        calls.append(state.step)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 0.0

    observers = [mf.Recorder(h5_path, mf.every(1)), mf.Series("once", mf.every(1), once)]
    with pytest.raises(KeyboardInterrupt):
        mf.simulate(flow, start, mf.EULER, dt=0.1, t_end=0.2, observers=observers, progress=False)
    parts = [path for path in h5_path.with_name("run.h5.parts").iterdir() if path.suffix == ".h5"]
    assert (
        parts
        and max(size for path in parts for size in attributes(path).values())
        <= hdf5.LARGEST_ATTRIBUTE
    )
    mf.resume(h5_path, functions={"once": once}, progress=False)
    with mf.Trajectory(h5_path) as run:
        assert run.status == "finished" and run.steps.tolist() == [0, 1, 2]


def test_the_columns_are_an_attribute_where_they_are_short_and_a_data_set_in_every_file(h5_path):
    flow, start = problem(2, 2)
    mf.simulate(
        flow,
        start,
        mf.EULER,
        dt=0.1,
        n_steps=1,
        observers=[mf.Recorder(h5_path, mf.every(1))],
        progress=False,
    )
    with h5py.File(h5_path) as file:
        units = file["particles/units"]
        assert units.attrs["columns"] == b"a0 a1 w0 w1 b"
        assert units["columns"].asstr()[()].tolist() == ["a0", "a1", "w0", "w1", "b"]
        assert units["box"].attrs["boundary"].tolist() == [b"none"] * 5
