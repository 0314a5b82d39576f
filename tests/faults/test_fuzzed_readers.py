"""Files that strangers or chance have written: each reader takes them, or says in one line what is
wrong with them. No code of theirs is run, no memory taken that they cannot fill.
"""

import pickle
import shutil
import zipfile
from io import BytesIO
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
from meanfield.files import verification
from sims.lab import config
from sims.lab.config import code_of
from sims.lab.experiment import Experiment
from sims.sweeps import plans

MANY = pytest.mark.slow
SWEEP = """[base]
t_end = 1.0
data = { name = "kink", options = { n = 8 } }
[axes]
gamma = [0.5, 1.0]
m = { from = 2, to = 64, count = 3 }
"""
TABLE = "a,b,y\n1,2.5,-3\n4,5,6e2\n7,8,0.1\n"


def refused(work):
    """Whether the file was refused; an error without an exit code is a bug."""
    try:
        work()
    except Exception as error:
        assert code_of(error) is not None, repr(error)
        assert str(error) and "Traceback" not in str(error)
        return True
    return False


def changed(text):
    """The text with some pieces cut out, doubled, or replaced by what the format does not expect."""
    odd = st.sampled_from(
        ["", '"', "'''", "[", "]" * 3, "{", "=", ".", ",", "\n", "\r", "\0", "nan", "-inf", "1e999",
         "9" * 5000, "0x", "true", "1979-05-27", "é", "\ud7ff", "[[", "base", "\\u0000", " " * 99]
    )  # fmt: skip
    at = st.integers(0, len(text))
    edits = st.lists(st.tuples(at, st.integers(0, 9), odd | st.text(max_size=5)), max_size=4)

    def apply(edits):
        found = text
        for start, length, new in edits:
            found = found[:start] + new + found[start + length :]
        return found

    return edits.map(apply)


@pytest.mark.parametrize("count", [30, pytest.param(3000, marks=MANY)])
def test_any_toml_is_read_or_refused(count, tmp_path):
    path = tmp_path / "any.toml"

    @examples(count)
    @given(changed(SWEEP) | st.text(max_size=60) | st.binary(max_size=60))
    def holds(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        refused(lambda: plans.load(path))
        refused(lambda: config.load(path, Experiment()))

    holds()


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 10**5, "a = " + "{a=" * 10**5, "a." * 10**3 + "a=1"]
)
def test_deep_toml_is_refused(text, tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text(text)
    assert refused(lambda: plans.load(path)) and refused(lambda: config.load(path, Experiment()))


@pytest.mark.parametrize("count", [30, pytest.param(3000, marks=MANY)])
def test_any_csv_is_read_or_refused(count, tmp_path):
    path = tmp_path / "any.csv"

    @examples(count)
    @given(changed(TABLE) | st.text(max_size=60) | st.binary(max_size=60))
    def holds(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        refused(lambda: mf.data.load(path))

    holds()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small finished run with a series and events."""
    path = tmp_path_factory.mktemp("run") / "run.h5"
    data = mf.data.Dataset(np.linspace(-1, 1, 4)[:, None], np.arange(4.0))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), data.x, data.y))
    watch = [mf.Recorder(path, mf.every(2)), mf.Events(), mf.Series("risk", mf.every(1))]
    start = mf.InitialLaw(dim=1).sample(4, seed=0)
    mf.simulate(flow, start, mf.EULER, dt=0.1, n_steps=6, observers=watch, progress=False)
    return path


# what a reader may ask of a run
ASKED = (
    lambda run: run.content_hash(),
    lambda run: [frame.theta.sum() for frame in run],
    lambda run: (repr(run), run._repr_html_()),
    lambda run: (run.law, run.network, run.identity, run.settings_sha256),
    lambda run: (run.data, run.arrays, run.data_sha256),
    lambda run: (run.start, run.at(0.2)),
    lambda run: (repr(run.events), run.births, list(run.each_ids())),
    lambda run: [run.series(name) for name in run.series_names],
    lambda run: run.flow().risk(run[-1]) if len(run) else None,
)


def read_all(path):
    with mf.Trajectory(path) as stored:
        for ask in ASKED:
            ask(stored)


@pytest.mark.parametrize("count", [40, pytest.param(4000, marks=MANY)])
def test_any_bytes_in_a_run_are_read_or_refused(count, run, tmp_path):
    """HDF5 itself has no seal: some bits that flip are seen by `verify` alone."""
    content, path = run.read_bytes(), tmp_path / "run.h5"
    spot = st.tuples(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=8))

    @examples(count)
    @given(st.lists(spot, min_size=1, max_size=3), st.integers(0, len(content)))
    def holds(spots, end):
        found = bytearray(content)
        for at, new in spots:
            found[at : at + len(new)] = new
        for cut in (found, found[:end]):
            path.write_bytes(cut)
            refused(lambda: read_all(path))
            assert bytes(cut) == content or not verification.verify(path).sound

    holds()


OTHER = [
    None, 0, -1, 1.5, "", "{}", "[]", "null", '"a"', np.zeros((0, 3)), np.zeros(0), np.zeros(3, "c16"),
    np.zeros((2, 2, 2)), np.arange(5), h5py.Empty("f8"), np.full((4, 3), np.nan), b"\xff",
    np.array([b"a", b"b"]), np.zeros((0, 4, 3)),
]  # fmt: skip


def sites(path):
    """(name, attribute or None) of all that a file holds."""
    with h5py.File(path) as file:
        names = []
        file.visit(lambda name: names.append(name) if "trajectory" not in name else None)
        for name in names:
            yield name, None
            yield from ((name, attribute) for attribute in file[name].attrs)


@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=MANY)])
def test_a_run_with_other_things_under_its_names_is_read_or_refused(stride, run, tmp_path):
    """HDF5 that is whole, and of another content: each group, array and attribute is taken away, or
    is of each of some other kinds and shapes. Every question is asked, whatever came of the others.
    """
    path = tmp_path / "run.h5"
    for (name, attribute), value in list(product(sites(run), OTHER))[::stride]:
        shutil.copy(run, path)
        with h5py.File(path, "r+") as file:
            here, key = (file, name) if attribute is None else (file[name].attrs, attribute)
            del here[key]
            if value is not None:
                here[key] = value
        verification.verify(path)
        if not refused(lambda: mf.Trajectory(path).close()):
            with mf.Trajectory(path) as changed:
                for ask in ASKED:
                    refused(lambda: ask(changed))


@pytest.mark.parametrize("outputs", [0, -1, 2])
def test_a_start_whose_outputs_are_not_those_of_its_columns_is_damaged(outputs, run, tmp_path):
    path = shutil.copy(run, tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        file["parameters/start"].attrs["outputs"] = outputs
    with pytest.raises(mf.files.durable.IncompatibleFile, match=r"run\.h5 is damaged: .*outputs"):
        mf.compare(run, path)


# ---- strangers


class Stranger:
    """Pickled, it runs code when it is read."""

    ran = False

    def __reduce__(self):
        return setattr, (Stranger, "ran", True)


def test_no_reader_runs_code_of_a_file(tmp_path):
    pickled, objects = pickle.dumps(Stranger()), np.array([Stranger()], dtype=object)
    np.savez(tmp_path / "a.npz", x=objects, y=np.zeros(1))
    np.save(tmp_path / "bare.npy", objects)
    (tmp_path / "bare.npy").rename(tmp_path / "b.npz")
    for name in ("c.npz", "d.csv", "e.h5"):
        (tmp_path / name).write_bytes(pickled)
    for path in sorted(tmp_path.iterdir()):
        assert refused(lambda: mf.data.load(path)), path
        assert refused(lambda: mf.Trajectory(path)), path
    assert not Stranger.ran


def test_nothing_of_ours_reads_files_by_what_runs_code():
    """pickle is for our own processes, over pipes; exec and eval for our own kernels."""
    root = Path(mf.__file__).parents[1]
    words = ("pickle.load(", "eval(", "exec(", "allow_pickle=True", "yaml.load", "torch.load(")
    ours = {"meanfield/processes/workers.py", "meanfield/backends/plain.py"}
    ours |= {"meanfield/backends/unroll.py"}
    for package in ("meanfield", "ntk", "sims"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8").replace("hermeval(", "").replace(".eval(", "")
            text = text.replace("literal_eval(", "")
            found = [word for word in words if word in text]
            assert not found or path.relative_to(root).as_posix() in ours, (path, found)


HUGE = (10**6, 10**6)  # 8 TB


def test_an_array_that_claims_more_than_its_file_holds_takes_no_memory(run, tmp_path):
    header = BytesIO()
    about = {"descr": "<f8", "fortran_order": False, "shape": HUGE}
    np.lib.format.write_array_header_2_0(header, about)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name in "xy":
            file.create_dataset(name, HUGE, "f8", chunks=(1000, 1000))
    for name in ("a.npz", "b.h5"):
        with pytest.raises(ValueError, match=r"claims 8e\+12 bytes"):
            mf.data.load(tmp_path / name)

    for name in ("particles/units/position/value", "parameters/start/theta", "series/risk/value"):
        path = shutil.copy(run, tmp_path / "run.h5")
        with h5py.File(path, "r+") as file:
            del file[name]
            shape = (4, *HUGE) if "position" in name else HUGE
            file.create_dataset(name, shape, "f8", chunks=shape[:-2] + (1000, 1000))
        with pytest.raises(
            mf.files.durable.IncompatibleFile, match="claims .* bytes, and the file"
        ):
            read_all(path)


def test_compressed_arrays_are_read(tmp_path):
    x, y = np.arange(3 * 10**4).reshape(-1, 3) // 1000, np.zeros(10**4)
    np.savez_compressed(tmp_path / "a.npz", x=x, y=y)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", data=x, compression="gzip", compression_opts=9)
        file.create_dataset("y", data=y, compression="gzip")
    for name in ("a.npz", "b.h5"):
        assert mf.data.load(tmp_path / name).x.shape == x.shape
