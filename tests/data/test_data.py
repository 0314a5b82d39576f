"""Data sets by name and from the user's files: round trips, and errors that name line, column and
key.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meanfield import data
from meanfield.data import Dataset, prepare

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def sample(rng):
    """x (20, 3), y (20,): nothing special about either."""
    return rng.normal(size=(20, 3)), rng.normal(size=20)


def test_load_says_which_options_there_are_and_that_the_target_is_y(tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(
        TypeError,
        match=r"mine.csv: load has no option 'target'\. The target's column is y=\. It has x, y, ",
    ):
        data.load(tmp_path / "mine.csv", target="b")
    with pytest.raises(TypeError, match=r"no option 'standardize'\. Did you mean 'standardise'\?"):
        data.load(tmp_path / "mine.csv", standardize=True)


def test_an_unknown_name_or_option_offers_the_nearest():
    with pytest.raises(ValueError, match=r"unknown data set 'digit'\. Did you mean 'digits'"):
        data.get("digit")
    with pytest.raises(ValueError, match=r"parity has no option 'dims'\. Did you mean 'dim'"):
        data.get("parity", n=3, dims=4)
    with pytest.raises(
        ValueError, match=r"digits has no option 'standardize'\. Did you mean 'standardise'"
    ):
        data.get("digits", standardize=True)
    with pytest.raises(ValueError, match=r"two_points has no option 'n'\. Its options: none"):
        data.get("two_points", n=2)
    with pytest.raises(ValueError, match="parity needs n and dim"):
        data.get("parity", k=2)
    with pytest.raises(TypeError, match="name must be a string"):
        data.get(3)
    synthetic = {
        "teacher_student",
        "single_index",
        "parity",
        "kink",
        "gaussian_mixture",
        "two_points",
        "luo_points",
    }
    assert set(data.names()) == synthetic | {"digits", "iris", "wine", "breast_cancer", "diabetes"}


def write(path, **arrays):
    """The arrays in the format of the path's extension."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        import h5py

        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


@pytest.mark.parametrize("extension", ["npz", "h5", "hdf5"])
def test_arrays_come_back_from_npz_and_hdf5_with_their_kinds(tmp_path, sample, extension):
    x, y = sample
    classes = np.arange(20) % 3
    path = write(
        tmp_path / f"mine.{extension}", x=x, y=y, inputs=x.astype(np.float32), classes=classes
    )
    made = data.load(path)
    assert (
        np.array_equal(made.x, x)
        and np.array_equal(made.y, y)
        and made.name == "mine"
        and made.x_test is None
    )
    other = data.load(str(path), "inputs", "classes", x_test="x", y_test="classes")
    assert other.y.dtype == np.int64 and other.outputs == 3 and np.array_equal(other.x_test, x)
    again = data.get(other.origin["maker"], **other.origin["arguments"])
    assert (
        again.sha256()
        == other.sha256()
        == data.get(str(path), x="inputs", y="classes", x_test="x", y_test="classes").sha256()
    )


def test_hdf5_datasets_inside_groups_are_found_by_path(tmp_path, sample):
    x, y = sample
    path = write(tmp_path / "a.h5", **{"run/x": x, "run/y": y})
    assert np.array_equal(data.load(path, "run/x", "/run/y").y, y)
    with pytest.raises(ValueError, match="no array 'run' for x; it has: run/x, run/y"):
        data.load(path, "run", "run/y")


@pytest.mark.parametrize("extension", ["npz", "h5"])
def test_wrong_contents_of_array_files_are_named_with_the_file(tmp_path, sample, extension):
    x, y = sample
    path = write(
        tmp_path / f"a.{extension}",
        x=x,
        y=y,
        short=y[:3],
        flat=np.ones((20, 2)),
        hole=np.where(x > 1e9, x, np.nan),
    )
    for options, message in (
        ({"x": "X"}, "has no array 'X' for x; it has: .*x"),
        ({"y": "target"}, "has no array 'target' for y"),
        ({"x_test": "x", "y_test": "z"}, "has no array 'z' for y_test"),
        ({"y": "short"}, r"a\.\w+: y must be \(20,\)"),
        ({"x": "flat"}, "2 constant columns"),
        (
            {"x": "hole"},
            r"a\.\w+: x has NaN or infinite values in 20 of 20 rows, first in row 0, column 0",
        ),
        ({"x": "y"}, r"x must be \(n, d\).*x\[:, None\]"),
        ({"x_test": "x"}, "x_test is given, y_test is None"),
    ):
        with pytest.raises(ValueError, match=message):
            data.load(path, **options)
    with pytest.raises(TypeError, match="y must be the name of an array in the file; got 1"):
        data.load(path, y=1)


def test_a_pickled_npz_is_refused_and_never_executed(tmp_path):
    marker = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    np.savez(tmp_path / "a.npz", x=np.array([[Trap()]], dtype=object), y=np.zeros(1))
    with pytest.raises(ValueError, match="pickled Python objects, which could run code"):
        data.load(tmp_path / "a.npz")
    assert not marker.exists()


def test_files_that_are_not_what_they_are_called_are_refused(tmp_path, sample):
    for name, content in (
        ("a.npz", b""),
        ("b.npz", b"PK\x03\x04 and no more"),
        ("c.npz", b"text"),
        ("d.h5", b"text"),
        ("e.h5", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not a readable"):
            data.load(tmp_path / name)
    with open(tmp_path / "f.npz", "wb") as file:
        np.save(file, sample[0])
    with pytest.raises(ValueError, match=r"f.npz holds one bare array"):
        data.load(tmp_path / "f.npz")
    damaged = write(tmp_path / "g.npz", x=sample[0], y=sample[1])
    content = bytearray(damaged.read_bytes())
    content[200] ^= 0xFF  # inside the bytes of x: the archive's checksum notices
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"g.npz is damaged"):
        data.load(damaged)


def test_missing_files_folders_and_unknown_extensions_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data file '.*a.npz' \(looked in "):
        data.load(tmp_path / "a.npz")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(ValueError, match="is not a file"):
        data.load(tmp_path / "b.csv")
    with pytest.raises(ValueError, match=r"must be one of .npz, .csv, .h5, .hdf5"):
        data.load(tmp_path / "c.xlsx")


@pytest.fixture
def csv_file(tmp_path):
    def make(text, encoding="utf-8"):
        path = tmp_path / "a.csv"
        path.write_text(text, encoding=encoding)
        return path

    return make


def test_csv_with_and_without_a_header_gives_the_same_arrays(csv_file):
    rows = "1,2.5,3\n-4,5e-1, 6\n\n7,8,9.25\n"
    plain = data.load(csv_file(rows))
    assert np.array_equal(plain.x, [[1, 2.5], [-4, 0.5], [7, 8]]) and np.array_equal(
        plain.y, [3, 6, 9.25]
    )
    headed = data.load(
        csv_file('\ufeffage,"blood, pressure",dose\r\n' + rows.replace("\n", "\r\n"))
    )
    assert headed.sha256() == plain.sha256() and headed.origin["columns"] == [
        "age",
        "blood, pressure",
    ]
    assert data.load(csv_file("1,2,3\n" + rows), header=True).sha256() == plain.sha256()
    assert data.load(csv_file(rows.replace(",", ";")), delimiter=";").sha256() == plain.sha256()


def test_csv_columns_are_chosen_by_name_or_number(csv_file):
    path = csv_file("id,a,b,c\nfirst,1,2,3\nsecond,4,5,7\n")
    one = data.load(path, x=["a", -1], y="b")
    # the text in `id` is not read
    assert np.array_equal(one.x, [[1, 3], [4, 7]]) and np.array_equal(one.y, [2, 5])
    two = data.load(path, x=1, y=["b", "c"])
    assert np.array_equal(two.x, [[1], [4]]) and np.array_equal(two.y, [[2, 3], [5, 7]])
    assert data.get("load", **two.origin["arguments"]).sha256() == two.sha256()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "a.csv is empty"),
        ("a,b\n", {}, "has a header but no rows"),
        ("1\n2\n", {}, "has one column.*delimiter"),
        ("1;2\n3;4\n", {}, r"has one column.*delimiter"),
        ("a,b\n1,2\n3,x\n", {}, r"line 3, column 1 \(b\): 'x' is not a number"),
        (
            "1,2\n\n3,\n",
            {},
            r"line 3, column 1 \(1\): the cell is empty.*Lines count from 1.*columns from 0",
        ),
        (
            "1.o,2\n3,4\n",
            {},
            r"line 1, column 0 \(0\): '1.o' is not a number",
        ),  # not taken for a header
        ("a,b\n1,2\nnan,4\n", {}, r"line 3, column 0 \(a\): 'nan' is NaN or infinite"),
        ("1,2\n3,4,5\n", {}, "line 2: 3 cells, where the first line has 2"),
        ("a,b\n1,2\n3,4\n", {"header": False}, r"line 1, column 0 \(0\): 'a' is not a number"),
        ("a,b\n1,2\n3,4\n", {"y": "c"}, "no single column 'c' for y; it has the columns a, b"),
        ("a,a\n1,2\n3,4\n", {"y": "a"}, "no single column 'a' for y"),
        (
            "1,2\n3,4\n",
            {"y": "c"},
            "no single column 'c' for y; it has no header, and columns 0 … 1",
        ),
        ("1,2\n3,4\n", {"y": 2}, "no single column 2 for y"),
        ("1,2\n3,4\n", {"x": [0, -1], "y": 1}, "column '1' is both an input and a target"),
        ("1,2\n3,4\n", {"x": []}, "x must name at least one column"),
        ("1,2\n3,4\n", {"x": [0, 0]}, "none twice"),
        ("1,2\n3,4\n", {"x_test": "x"}, "use test_fraction"),
        ("a,b\n1,2\n1,4\n", {}, r"a.csv: x has 1 constant columns on the 2 training rows: 0 \(a\)"),
        ("1,2\n3,4\n", {"test_fraction": 2}, "a.csv: test_fraction must be"),
    ],
)
def test_wrong_csv_files_are_named_by_line_and_column(csv_file, text, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(csv_file(text), **options)


def test_bytes_that_are_not_text_are_no_csv(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="is not a text file of comma-separated values"):
        data.load(tmp_path / "a.csv")


def test_a_file_is_split_and_standardised_on_the_way_in(tmp_path, sample):
    x, y = sample
    made = data.load(
        write(tmp_path / "a.npz", x=x, y=y), test_fraction=0.25, seed=4, standardise=True
    )
    expected = prepare(Dataset(x, y), test_fraction=0.25, seed=4, standardise=True)
    assert made.sha256() == expected.sha256() and made.n_test == 5


def test_the_heavy_readers_are_imported_when_a_file_needs_them():
    code = (
        "import sys, meanfield.data; print(*{'h5py', 'sklearn', 'torch'} & "
        "{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == ""
