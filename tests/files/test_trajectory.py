"""Trajectory: a run read back is the run that was recorded, and other programs find what H5MD
promises them.
"""

import json
import time

import h5py
import numpy as np
import pytest
import toy_run

import meanfield as mf
from meanfield.files import hdf5, stored_data
from meanfield.files.durable import IncompatibleFile
from meanfield.files.provenance import provenance
from meanfield.files.trajectory import Trajectory


@pytest.fixture
def run(h5_path):
    with Trajectory(toy_run.whole(h5_path)) as opened:
        yield opened


@pytest.fixture
def half_way(h5_path):
    """An unfinished run: checkpoints up to step 14, frames 0, 5, 10."""
    with toy_run.create(h5_path) as recording:
        toy_run.record(recording, None, 17, 5)
    with Trajectory(h5_path) as opened:
        yield opened


# ---- a sequence of State


def test_every_frame_comes_back_to_the_last_bit(run):
    first = toy_run.start()
    assert len(run) == 5
    for state, step in zip(run, range(0, 21, 5), strict=True):
        expected = toy_run.state_at(step, first)
        assert (
            state.theta.tobytes() == expected.theta.tobytes()
            and state.theta.dtype == expected.theta.dtype
        )
        assert (state.step, state.t, state.outputs) == (step, expected.t, 1)
        assert np.array_equal(state.mass, first.mass)
        assert state.origin == (toy_run.LAW, 3)
        assert not state.theta.flags.writeable


def test_frames_are_indexed_like_a_list(run):
    assert run[-1].step == 20 and run[np.int64(1)].step == 5
    assert [state.step for state in run[1:4]] == [5, 10, 15]
    assert [state.step for state in run[::-2]] == [20, 10, 0]
    assert run[7:] == []
    for index in (5, -6):
        with pytest.raises(
            IndexError, match=rf"frame {index} was asked for; .* has 5 frames \(0 … 4\)"
        ):
            run[index]
    with pytest.raises(TypeError):
        run["energy"]


def test_the_clock_of_the_frames(run):
    assert run.steps.tolist() == [0, 5, 10, 15, 20] and run.steps.dtype == np.int64
    assert np.array_equal(run.times, run.steps * 0.1)


def test_single_precision_stays_single(h5_path):
    first = toy_run.start(dtype=np.float32)
    with Trajectory(toy_run.whole(h5_path, first=first)) as run:
        assert run[2].theta.dtype == np.float32
        assert run[2].theta.tobytes() == toy_run.state_at(10, first).theta.tobytes()


def test_masses_that_vary_are_kept_frame_by_frame(h5_path, rng):
    masses = rng.uniform(size=(3, 8))
    masses /= masses.sum(axis=1, keepdims=True)
    recording = toy_run.create(h5_path, mass_varies=True)
    for step, mass in enumerate(masses):
        recording.frame(mf.State(recording.start.theta, mass=mass, step=step, t=step / 2))
        recording.checkpoint({})
    with Trajectory(h5_path) as unfinished:
        expected = unfinished.content_hash()
    with Trajectory(recording.finish({}, {})) as run:
        assert (
            np.array_equal([state.mass for state in run], masses) and run.content_hash() == expected
        )
    with h5py.File(h5_path) as file:
        mass = file["particles/units/mass"]
        assert np.array_equal(mass["value"], masses) and np.array_equal(
            mass["step"], file["particles/units/position/step"]
        )


def test_a_diverged_run_keeps_its_values_that_are_not_finite(h5_path):
    recording = toy_run.create(h5_path)
    theta = np.full((8, 4), np.nan)
    theta[0] = np.inf
    recording.frame(mf.State.trusted(theta, 1, recording.start.mass, 1, 0.1))
    recording.observe("risk", 1, 0.1, np.nan)
    with Trajectory(recording.finish({}, {"last_good_step": 0}, status="diverged")) as run:
        assert run.status == "diverged" and run.summary == {"last_good_step": 0}
        np.testing.assert_array_equal(run[0].theta, theta)
        assert np.isnan(run.series("risk").values).all()


def test_a_frame_larger_than_a_chunk_is_split_into_rows(h5_path, monkeypatch):
    monkeypatch.setattr(hdf5, "LARGEST_CHUNK", 100)
    with Trajectory(toy_run.whole(h5_path, first=toy_run.start(50))) as run:
        assert run[3].theta.tobytes() == toy_run.state_at(15, toy_run.start(50)).theta.tobytes()
    with h5py.File(h5_path) as file:
        assert file["particles/units/position/value"].chunks == (1, 3, 4)


def test_rows_of_a_pairwise_energy_are_recorded_without_a_network(h5_path, rng):
    first = mf.State(rng.normal(size=(6, 2)), outputs=0)
    recording = toy_run.create(h5_path, config={"seed": 0}, arrays={}, first=first)
    recording.frame(first)
    with Trajectory(recording.finish({}, {})) as run:
        assert run[0].outputs == 0 and run[0].origin is None and run.law is None
        with pytest.raises(ValueError, match="no network"):
            _ = run.network
        with pytest.raises(ValueError, match="no data set"):
            _ = run.data
    with h5py.File(h5_path) as file:
        assert (
            "trajectory" not in file["particles"]
            and file["particles/units"].attrs["columns"] == b"x0 x1"
        )


def test_a_run_without_frames_is_a_file_too(h5_path):
    with Trajectory(toy_run.create(h5_path).finish({}, {})) as run:
        assert len(run) == 0 and list(run) == [] and run.series_names == []
        with pytest.raises(IndexError, match="has 0 frames"):
            run[0]
        assert "0 frames" in repr(run)


def test_a_frame_is_found_by_its_flow_time(run):
    """Frames at t = 0, .5, 1, 1.5, 2: the nearest one, of two as near the earlier; within rounding
    of the ends, not beyond.
    """
    assert run.at(1.0).step == 10 and run.at(1).step == 10 and run.at(np.float32(1.1)).step == 10
    assert (
        run.at(1.3).step == 15
        and run.at(1.25).step == 10
        and run.at(run.times[3]).theta.tobytes() == run[3].theta.tobytes()
    )
    assert run.at(2 + 1e-10).step == 20 and run.at(-1e-10).step == 0
    assert [state.step for state in run.at([2.0, 0.4, 0.4])] == [20, 5, 5] and run.at(
        np.empty(0)
    ) == []
    for wrong in (2.1, -0.1, np.nan, np.inf):
        with pytest.raises(
            ValueError, match=r"was asked for; the frames of .*run\.h5 are from t = 0 to 2\."
        ):
            run.at([0.0, wrong])
    with pytest.raises(TypeError, match="t must be a flow time"):
        run.at("end")


def test_the_times_of_an_unfinished_run_are_those_so_far(half_way, tmp_path):
    assert half_way.at(1.0).step == 10
    with pytest.raises(ValueError, match="so far are from t = 0 to 1"):
        half_way.at(2.0)
    with (
        toy_run.create(tmp_path / "new.h5"),
        Trajectory(tmp_path / "new.h5") as empty,
        pytest.raises(ValueError, match="yet"),
    ):
        empty.at(0.0)


# ---- series


def test_series_have_their_own_clocks(run):
    steps, times, values = run.series("energy")
    assert (
        np.array_equal(steps, np.arange(21))
        and np.array_equal(times, steps * 0.1)
        and np.array_equal(values, 1 / (1 + steps))
    )
    assert run.series("path").steps.tolist() == run.steps.tolist()
    assert run.series_names == ["energy", "path"]


def test_an_unknown_series_names_those_there_are(run):
    with pytest.raises(ValueError, match=r"no series 'enrgy' in .*; it has: energy, path"):
        run.series("enrgy")


# ---- what the run was


def test_network_law_and_data_are_rebuilt(run):
    assert run.network == toy_run.NETWORK and run.law == toy_run.LAW
    assert (
        np.array_equal(run.data.x, toy_run.X)
        and np.array_equal(run.data.y, toy_run.Y)
        and run.data.name == "line"
    )
    assert run.config == toy_run.config(20) and run.provenance == {"author": "nobody"}
    assert run.status == "finished" and run.summary == {"energy_defect": 1e-7}
    assert np.array_equal(run.start.theta, toy_run.start().theta)


def test_a_user_written_activation_must_be_handed_in(h5_path):
    config = toy_run.config(20)
    config["network"]["activation"] = "swish"
    with (
        Trajectory(toy_run.whole(h5_path, config=config)) as run,
        pytest.raises(ValueError, match=r"'swish'.*activation=\.\.\."),
    ):
        _ = run.network


def test_integer_classes_stay_integers(h5_path):
    arrays = {
        "x": toy_run.X,
        "y": np.arange(6) % 3,
        "x_test": toy_run.X[:2],
        "y_test": np.arange(2),
    }
    with Trajectory(toy_run.whole(h5_path, arrays=arrays)) as run:
        assert run.data.y.dtype == np.int64 and run.data.outputs == 3 and run.data.n_test == 2


def test_a_large_data_set_is_made_again_and_compared(h5_path, monkeypatch):
    monkeypatch.setattr(stored_data, "STORED", 100)
    kink = mf.data.get("kink", n=40)
    config = toy_run.config(20) | {"data": kink.to_dict()}
    arrays = {"x": kink.x, "y": kink.y}
    with Trajectory(toy_run.whole(h5_path, config=config, arrays=arrays)) as run:
        assert np.array_equal(run.data.x, kink.x)
    changed = arrays | {"y": kink.y + 1e-12}
    with Trajectory(toy_run.whole(h5_path, config=config, arrays=changed, exists="replace")) as run:
        with pytest.raises(
            ValueError, match=r"no longer makes the data set of .*; needed: .*y \(40,\) with sha256"
        ):
            _ = run.data
    del config["data"]["origin"]
    with Trajectory(toy_run.whole(h5_path, config=config, arrays=arrays, exists="replace")) as run:
        with pytest.raises(ValueError, match="too large.*where it came from is not known"):
            _ = run.data


def test_a_run_says_what_it_is_in_one_line(run):
    path = str(run.path)
    assert (
        repr(run)
        == f"Trajectory({path!r}: 5 frames, m=8, d=2, K=1, gamma=0.75, alpha=2, t=0 … 2, finished)"
    )


def test_provenance_names_versions_commit_and_machine():
    found = provenance()
    assert json.loads(json.dumps(found)) == found
    assert (
        found["versions"]["meanfield"] == mf.__version__
        and {"python", "numpy", "numba", "torch", "h5py", "POT"} <= found["versions"].keys()
    )
    assert found["git"].keys() == {"commit", "dirty"} and found["machine"]["cores"] >= 1
    assert found["started"].endswith("+00:00")


# ---- unfinished runs


def test_an_unfinished_run_reads_like_a_finished_one(half_way):
    assert half_way.status == "unfinished" and half_way.steps.tolist() == [0, 5, 10]
    assert half_way[-1].theta.tobytes() == toy_run.state_at(10, toy_run.start()).theta.tobytes()
    assert half_way.series("energy").steps.tolist() == list(
        range(15)
    ) and half_way.series_names == ["energy", "path"]
    assert half_way.network == toy_run.NETWORK and np.array_equal(half_way.data.x, toy_run.X)
    assert len(Trajectory(f"{half_way.path}.parts")) == 3


def test_series_too_long_to_keep_are_read_one_by_one(half_way, monkeypatch):
    expected = half_way.content_hash()
    monkeypatch.setattr("meanfield.files.pieces.CACHED_POINTS", 3)
    with Trajectory(half_way.path) as again:
        assert again.content_hash() == expected


def test_a_run_before_its_first_checkpoint_has_no_frames_yet(h5_path):
    with toy_run.create(h5_path), Trajectory(h5_path) as run:
        assert len(run) == 0 and run.status == "unfinished" and run.start.m == 8


def test_a_reader_is_told_when_the_run_is_published_under_it(half_way):
    from meanfield.files.recording import Recording

    recording, memory = Recording.reopen(half_way.path)
    recording.finish(memory, {})
    with pytest.raises(FileNotFoundError, match="published meanwhile; open it again"):
        half_way[0]


# ---- the content hash


def test_the_content_hash_of_the_parts_is_that_of_the_file(h5_path):
    recording = toy_run.create(h5_path)
    memory = toy_run.record(recording, None, 20, 6)
    recording.checkpoint(memory)
    parts = Trajectory(h5_path).content_hash()
    assert Trajectory(recording.finish(memory, {})).content_hash() == parts


def test_the_content_hash_is_blind_to_provenance_and_summary_only(tmp_path):
    def content_hash(name, value=None, **more):
        recording = toy_run.create(tmp_path / name, **more)
        memory = toy_run.record(recording, None, 20, 6)
        recording.observe("energy", 21, 2.1, 0.0 if value is None else value)
        return Trajectory(recording.finish(memory, {"seconds": len(name)})).content_hash()

    plain = content_hash("a.h5")
    assert content_hash("another.h5", provenance={"author": "else"}) == plain
    others = [
        content_hash("value.h5", value=np.nextafter(0.0, 1.0)),
        content_hash("config.h5", config=toy_run.config(20) | {"dt": 0.1 + 2**-55}),
        content_hash("data.h5", arrays={"x": toy_run.X, "y": toy_run.Y + 1}),
        content_hash(
            "theta.h5",
            first=mf.State(np.nextafter(toy_run.start().theta, 9), origin=(toy_run.LAW, 3)),
        ),
        content_hash("dtype.h5", first=toy_run.start(dtype=np.float32)),
    ]
    assert len({plain, *others}) == 6


# ---- H5MD


def test_the_file_has_the_layout_of_h5md(run):
    with h5py.File(run.path) as file:
        assert sorted(file) == ["h5md", "observables", "parameters", "particles", "series"]
        version = file["h5md"].attrs["version"]
        assert version.tolist() == [1, 1] and version.dtype.kind == "i"
        assert (
            file["h5md/author"].attrs["name"] == b"nobody"
            and file["h5md/creator"].attrs["name"] == b"meanfield"
        )
        assert list(file["particles"]) == ["trajectory", "units"], "readers take the first group"
        units = file["particles/units"]
        value = units["position/value"]
        assert (
            value.shape == (5, 8, 4)
            and value.chunks == (1, 8, 4)
            and value.fletcher32
            and value.compression is None
        )
        assert units.attrs["columns"] == b"a0 w0 w1 b" and (
            units.attrs["gamma"],
            units.attrs["alpha"],
        ) == (0.75, 2.0)
        assert b"flow time" in units.attrs["time_unit"]
        assert (
            units["position/step"][:].tolist() == run.steps.tolist()
            and units["position/time"][:].tolist() == run.times.tolist()
        )
        assert units["id"][:].tolist() == list(range(8)) and np.array_equal(
            units["mass"], run.start.mass
        )
        for group, dimension in (("units", 4), ("trajectory", 3)):
            box = file[f"particles/{group}/box"].attrs
            assert (
                box["dimension"] == dimension and box["boundary"].tolist() == [b"none"] * dimension
            )
        view = file["particles/trajectory"]
        assert view["position/value"].is_virtual and view.attrs["columns"] == b"a0 w0 w1"
        assert np.array_equal(view["position/value"], value[:, :, :3])
        assert np.array_equal(view["position/step"], units["position/step"])
        assert (
            file["parameters"].attrs["schema_version"] == 1
            and file["parameters"].attrs["schema_minor"] == 2
        )
        assert units["columns"][()].tolist() == [b"a0", b"w0", b"w1", b"b"]


@pytest.mark.parametrize(
    ("d", "K", "columns"), [(1, 1, "a0 w0 b"), (3, 2, "a0 w0 w1"), (1, 3, "a0 w0 b")]
)
def test_the_three_dimensional_view_shows_a_and_w(h5_path, d, K, columns):
    first = mf.State(np.arange(5.0 * (K + d + 1)).reshape(5, -1), outputs=K)
    with (
        Trajectory(toy_run.whole(h5_path, first=first, config={})) as run,
        h5py.File(h5_path) as file,
    ):
        view = file["particles/trajectory"]
        assert view.attrs["columns"].decode() == columns
        chosen = [
            file["particles/units"].attrs["columns"].decode().split().index(name)
            for name in columns.split()
        ]
        assert np.array_equal(view["position/value"][2], run[2].theta[:, chosen])


def test_observables_are_the_series_that_have_one_value_a_frame(run):
    with h5py.File(run.path) as file:
        assert (
            list(file["observables"]) == ["path"]
            and file["observables/path"] == file["series/path"]
        )


def test_texts_are_ascii_of_a_fixed_length_and_flags_are_whole_numbers(h5_path):
    """Octave stops at the first text in UTF-8, netCDF4 leaves out an attribute that is h5py's
    enumeration of False and True.
    """

    def check(name, item):
        for key in item.attrs:
            of_file(f"attribute {key} of {name}", item.attrs.get_id(key))
        if isinstance(item, h5py.Dataset):
            of_file(name, item.id)

    def of_file(name, found):
        kind = found.get_type()
        assert isinstance(
            kind, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeStringID)
        ), name
        if isinstance(kind, h5py.h5t.TypeStringID):
            assert kind.get_cset() == h5py.h5t.CSET_ASCII and not kind.is_variable_str(), name

    config = toy_run.config(20) | {"data": {"name": "Gauß"}}
    recording = toy_run.create(h5_path, config=config, provenance={"author": 'Z"oë 😀'})
    recording.finish({"flags": np.array([True, False])}, {"message": "θ"})
    with h5py.File(h5_path) as file:
        file.visititems(check)
        assert json.loads(file["parameters/config"][()]) == config
        assert json.loads(b'"%s"' % file["h5md/author"].attrs["name"]) == 'Z"oë 😀'
    with Trajectory(h5_path) as run:
        assert (
            run.provenance["author"] == 'Z"oë 😀'
            and run.summary == {"message": "θ"}
            and run.data.name == "Gauß"
        )


def test_no_clock_is_known_by_a_link_only(h5_path):
    """Readers that follow no links find step and time beside every value; observables are whole
    groups of series.
    """
    toy_run.whole(h5_path, mass_varies=True)
    with h5py.File(h5_path) as file:
        groups = [
            "particles/units/position",
            "particles/units/mass",
            "particles/trajectory/position",
            "series/path",
        ]
        clocks = [file[group][name] for group in groups for name in ("step", "time")]
        assert len({h5py.h5o.get_info(clock.id).addr for clock in clocks}) == len(clocks)
        assert all(clock.fletcher32 for clock in clocks)


def test_the_view_is_nan_where_its_source_is_not_followed(h5_path):
    """Its fill value, which such readers take: zeros would be positions."""
    for dtype in (np.float64, np.float32):
        with h5py.File(
            toy_run.whole(h5_path, first=toy_run.start(dtype=dtype), exists="replace")
        ) as file:
            view = file["particles/trajectory/position/value"]
            assert np.isnan(view.fillvalue) and view.dtype == dtype and np.isfinite(view[()]).all()


def test_the_same_run_a_second_later_has_the_same_bytes(run, h5_path):
    """No dates anywhere: HDF5's would be in whole seconds."""
    time.sleep(1.01)
    assert toy_run.whole(h5_path.with_name("later.h5")).read_bytes() == h5_path.read_bytes()


# ---- files that are not runs


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no run at .*nothing\.h5: neither the file nor nothing\.h5\.parts/",
    ):
        Trajectory(tmp_path / "nothing.h5")


@pytest.mark.parametrize("size", [0, 100, 3000, -90, -8, -1])
def test_a_truncated_file_is_refused(run, h5_path, size):
    """The last 82 bytes are the seal, which HDF5 does not read."""
    cut = h5_path.with_name("cut.h5")
    cut.write_bytes(h5_path.read_bytes()[:size])
    with pytest.raises(IncompatibleFile, match=r"cut\.h5 is .*truncated"):
        Trajectory(cut)


def test_foreign_files_are_refused_with_what_was_found(tmp_path):
    text = tmp_path / "notes.h5"
    text.write_text("step energy\n0 1.0\n")
    with pytest.raises(IncompatibleFile, match=r"notes\.h5 is not a readable HDF5 file"):
        Trajectory(text)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = 1
    with pytest.raises(IncompatibleFile, match="not a run of meanfield: it holds weights"):
        Trajectory(tmp_path / "other.h5")
    with h5py.File(tmp_path / "other_h5md.h5", "w") as file:
        file.create_group("h5md")
        file.create_group("particles")
    with pytest.raises(IncompatibleFile, match="it holds h5md, particles"):
        Trajectory(tmp_path / "other_h5md.h5")
    with pytest.raises(IncompatibleFile, match="is a folder, not a run"):
        Trajectory(tmp_path)


def test_a_newer_schema_is_refused(run, h5_path):
    newer = h5_path.with_name("newer.h5")
    newer.write_bytes(h5_path.read_bytes())
    with h5py.File(newer, "r+") as file:
        file["parameters"].attrs["schema_version"] = 2
    with pytest.raises(IncompatibleFile, match="schema version 2; this meanfield reads up to 1"):
        Trajectory(newer)


def test_a_run_whose_groups_are_gone_is_damaged(run, h5_path):
    broken = h5_path.with_name("broken.h5")
    broken.write_bytes(h5_path.read_bytes())
    with h5py.File(broken, "r+") as file:
        del file["particles"]
    with pytest.raises(IncompatibleFile, match=r"broken\.h5 is damaged"):
        Trajectory(broken)


def test_a_flipped_bit_in_a_frame_is_seen_when_it_is_read(run, h5_path):
    data = bytearray(h5_path.read_bytes())
    at = data.index(run[2].theta.tobytes())
    data[at + 17] ^= 4
    flipped = h5_path.with_name("flipped.h5")
    flipped.write_bytes(data)
    with Trajectory(flipped) as damaged:
        assert damaged[1].step == 5
        with pytest.raises(IncompatibleFile, match=r"flipped\.h5 is damaged"):
            damaged[2]


def test_a_closed_run_says_so(h5_path):
    run = Trajectory(toy_run.whole(h5_path))
    run.close()
    with pytest.raises(ValueError, match="was closed; open it again"):
        run[0]


@pytest.mark.parametrize("name", [".", "/"])
def test_a_folder_without_a_name_is_a_folder_and_not_a_run(name):
    with pytest.raises(IncompatibleFile, match="is a folder, not a run"):
        Trajectory(name)
    with pytest.raises(IsADirectoryError, match="is that of a folder; add a file name"):
        toy_run.create(name)


def test_data_with_a_name_that_leads_nowhere_are_damaged(run):
    """h5py's items() has None for it."""
    run.close()
    with h5py.File(run.path, "a") as file:
        file["parameters/data/x_test"] = h5py.SoftLink("/nowhere")
    with mf.Trajectory(run.path) as again, pytest.raises(IncompatibleFile, match="is damaged"):
        _ = again.data
