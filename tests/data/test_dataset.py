"""Dataset: every check at the door, by name and index."""

import json
import math

import numpy as np
import pytest

from meanfield.data import Dataset


@pytest.fixture
def sample(rng):
    """x (20, 3), y (20,): nothing special about either."""
    return rng.normal(size=(20, 3)), rng.normal(size=20)


def test_a_dataset_is_a_frozen_copy_of_its_arrays(sample):
    x, y = sample
    made = Dataset(np.asfortranarray(x), y)
    x[0, 0] = 7.0
    assert made.x[0, 0] != 7.0 and made.x.flags.c_contiguous and made.x.dtype == np.float64
    for array in (made.x, made.y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    with pytest.raises(AttributeError):
        made.x = x


def test_targets_keep_their_kind_and_say_how_many_outputs_they_need(sample):
    x, y = sample
    classes = np.arange(20) % 4
    for given, dtype, outputs in (
        (y, "float64", 1),
        (y.astype(np.float32), "float64", 1),
        (np.stack([y, y], axis=1), "float64", 2),
        (classes, "int64", 4),
        (classes.astype(np.uint8), "int64", 4),
        (classes > 1, "int64", 2),
        (2 * (classes % 2) - 1, "int64", 1),  # signs written as integers
        (classes[:, None], "float64", 1),
    ):
        made = Dataset(x, given)
        assert (made.y.dtype, made.outputs) == (dtype, outputs)
        assert np.array_equal(made.y, given)
    # a class seen in the test set alone counts
    assert Dataset(x, classes % 2, x[:4], classes[:4]).outputs == 4


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros(20)}, ValueError, r"x must be \(n, d\).*got shape \(20,\).*x\[:, None\]"),
        ({"x": np.zeros((20, 2, 2))}, ValueError, r"x must be .*x\.reshape\(len\(x\), -1\)"),
        ({"x": 3.0}, ValueError, r"got shape \(\)"),
        (
            {"x": np.zeros((0, 3)), "y": np.zeros(0)},
            ValueError,
            r"x is empty: shape \(0, 3\) has no samples",
        ),
        ({"x": np.zeros((20, 0))}, ValueError, r"x is empty: shape \(20, 0\) has no columns"),
        (
            {"x": np.zeros((20, 3), dtype=complex)},
            TypeError,
            "x must hold real numbers; got dtype complex128",
        ),
        ({"x": np.full((20, 3), None)}, TypeError, "x must hold real numbers; got dtype object"),
        ({"x": np.full((20, 3), "1")}, TypeError, "x must hold real numbers; got dtype <U1"),
        ({"x": [[1.0], [1.0, 2.0]]}, ValueError, "x must be a rectangular array"),
        ({"x": np.ma.masked_less(np.zeros((20, 3)), 1)}, ValueError, "x has masked entries"),
        (
            {"y": np.zeros(19)},
            ValueError,
            r"y must be \(20,\) or \(20, K\).*each row of x; got shape \(19,\)",
        ),
        ({"y": np.zeros((20, 1, 1))}, ValueError, r"got shape \(20, 1, 1\)"),
        ({"y": np.zeros((20, 0))}, ValueError, "y is empty"),
        ({"y": np.array(["cat"] * 20)}, TypeError, "y must hold real numbers.*np.unique"),
        (
            {"y": np.full(20, 2**63, dtype=np.uint64)},
            ValueError,
            "y has integers beyond int64, first in row 0",
        ),
        ({"x_test": np.zeros((2, 3))}, ValueError, "x_test is given, y_test is None"),
        ({"y_test": np.zeros(2)}, ValueError, "y_test is given, x_test is None"),
        (
            {"x_test": np.zeros((2, 4)), "y_test": np.zeros(2)},
            ValueError,
            "x_test must have the 3 columns of x; got 4",
        ),
        (
            {"x_test": np.zeros((2, 3)), "y_test": np.zeros(3)},
            ValueError,
            r"y_test must be \(2,\).*each row of x_test",
        ),
        (
            {"x_test": np.zeros((2, 3)), "y_test": np.zeros((2, 2))},
            ValueError,
            "y_test must have the columns of y",
        ),
        (
            {"y": np.zeros(20, dtype=int), "x_test": np.zeros((2, 3)), "y_test": np.zeros(2)},
            TypeError,
            "y_test is float64",
        ),
        ({"name": ""}, TypeError, "name must be a non-empty string"),
        ({"origin": {"a": np.zeros(2)}}, TypeError, "origin must be JSON-able.*ndarray"),
        ({"origin": {"a": math.nan}}, TypeError, "origin must be JSON-able"),
        ({"origin": [1]}, TypeError, "origin must be a dict"),
    ],
)
def test_wrong_arrays_are_refused_by_name(sample, change, error, message):
    with pytest.raises(error, match=message):
        Dataset(**({"x": sample[0], "y": sample[1]} | change))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_by_name_row_and_column(sample, bad):
    x, y = sample
    x[3, 2] = x[3, 1] = x[5, 0] = bad
    with pytest.raises(
        ValueError, match="x has NaN or infinite values in 2 of 20 rows, first in row 3, column 1"
    ):
        Dataset(x, y)
    with pytest.raises(ValueError, match="x_test has NaN or infinite"):
        Dataset(x[:3], y[:3], x, y)
    y[4] = bad
    with pytest.raises(
        ValueError, match="y has NaN or infinite values in 1 of 20 rows, first in row 4:"
    ):
        Dataset(np.zeros((20, 1)), y)


def test_the_digest_is_that_of_the_contents_alone(sample):
    x, y = sample
    made = Dataset(x, y)
    assert made.sha256() == Dataset(x.copy(), y, name="another", origin={"a": 1}).sha256()
    others = [Dataset(x + 1e-15, y), Dataset(x, y, x, y), Dataset(x, y[:, None]), made.subset(19)]
    assert len({made.sha256(), *(other.sha256() for other in others)}) == 5


def test_a_subset_is_the_first_samples_and_says_so(sample):
    made = Dataset(*sample, *sample, origin={"maker": "hand"})
    part = made.subset(5)
    assert (
        np.array_equal(part.x, made.x[:5])
        and np.array_equal(part.y, made.y[:5])
        and part.n_test == 20
    )
    assert part.origin == {"maker": "hand", "subset": 5}
    for n in (0, 21, 2.0, True):
        with pytest.raises(ValueError, match="n must be an integer from 1 to 20"):
            made.subset(n)


def test_metadata_are_json_and_short(sample):
    made = Dataset(*sample, name="mine", origin={"n": np.int64(3), "flag": np.True_})
    description = made.to_dict()
    assert json.loads(json.dumps(description)) == description
    assert (
        description["origin"] == {"n": 3, "flag": True} and description["sha256"] == made.sha256()
    )
    assert repr(made) == "Dataset(mine: n=20, d=3, K=1, n_test=0)"
