"""prepare: splits, statistics of the training rows, constant columns, normalisation."""

import math

import numpy as np
import pytest

from meanfield import data
from meanfield.data import Dataset, prepare


@pytest.fixture
def sample(rng):
    """x (20, 3), y (20,): nothing special about either."""
    return rng.normal(size=(20, 3)), rng.normal(size=20)


@pytest.mark.parametrize(
    ("n", "fraction", "tests"), [(20, 0.2, 4), (20, 0.01, 1), (7, 0.5, 4), (2, 0.5, 1)]
)
def test_a_split_is_a_partition_decided_by_the_seed(n, fraction, tests):
    train, test = data.split(n, fraction, seed=3)
    assert len(test) == tests
    assert sorted([*train, *test]) == list(range(n))
    again = data.split(n, fraction, seed=3)
    assert np.array_equal(train, again[0]) and np.array_equal(test, again[1])


def test_different_seeds_split_differently_and_leave_the_order_at_random():
    train, test = data.split(1000, 0.2, seed=0)
    other = data.split(1000, 0.2, seed=1)[1]
    # of 200 drawn from 1000, two draws share 40 ± 5.1 (hypergeometric): five standard deviations
    assert abs(len(set(test) & set(other)) - 40) < 26
    # rank correlation of a random order is 0 ± 1/√800
    assert abs(np.corrcoef(train, np.arange(800))[0, 1]) < 5 / math.sqrt(800)


def test_standardised_columns_have_mean_zero_and_std_one_on_the_training_rows_only(rng):
    # squares under- and overflow in two columns
    x = rng.normal(size=(200, 3)) * [1e-200, 1.0, 1e200] + [
        0.0,
        1e3,
        0.0,
    ]
    y = 5.0 + 2.0 * rng.normal(size=(200, 2))
    raw = Dataset(x, y)
    made = prepare(raw, test_fraction=0.25, standardise=True, standardise_y=True)
    for values in (made.x, made.y):
        # |x| ≈ 1e3 std is rounded to 1e3 ε before it is centred
        assert (
            abs(values.mean(axis=0)).max() < 1e-12 and abs(values.std(axis=0) - 1.0).max() < 1e-12
        )
    # a test mean of 50 samples is off zero by 1/√50: far from rounding in all six columns together
    assert abs(made.x_test.mean(axis=0)).max() > 1e-3
    train, test = data.split(200, 0.25)
    record = made.origin["preparation"]
    assert np.array_equal(made.x_test, (x[test] - record["mean"]) / record["std"])
    assert np.array_equal(made.y_test, (y[test] - record["y_mean"]) / record["y_std"])
    assert np.allclose(record["y_std"], y[train].std(axis=0), rtol=1e-14)


def test_preparation_without_options_changes_nothing(sample):
    raw = Dataset(*sample, *sample)
    assert prepare(raw).sha256() == raw.sha256()


def test_fewer_training_rows_are_the_first_ones_and_leave_the_test_rows_alone(sample):
    raw = Dataset(*sample)
    whole, part = prepare(raw, test_fraction=0.2), prepare(raw, test_fraction=0.2, n=7)
    assert np.array_equal(part.x, whole.x[:7]) and np.array_equal(part.x_test, whole.x_test)
    standard = prepare(raw, n=7, standardise=True)
    assert np.allclose(standard.x.std(axis=0), 1.0, rtol=1e-14)  # statistics of the rows in use


def test_constant_columns_raise_or_are_dropped_or_kept_at_zero(sample):
    x, y = sample
    x[:, 1] = 0.1  # the mean of twenty 0.1 is not 0.1 in float64
    raw = Dataset(x, y, x + 1.0, y, origin={"columns": ["left", "middle", "right"]})
    with pytest.raises(
        ValueError, match=r"1 constant columns on the 20 training rows: 1 \(middle\).*drop.*keep"
    ):
        prepare(raw)
    dropped = prepare(raw, constant="drop", standardise=True)
    assert (
        dropped.d == 2
        and dropped.x_test.shape == (20, 2)
        and dropped.origin["preparation"]["kept"] == [0, 2]
    )
    kept = prepare(raw, constant="keep", standardise=True)
    assert np.array_equal(kept.x[:, [0, 2]], dropped.x)
    # centred, not scaled
    assert not kept.x[:, 1].any() and np.array_equal(kept.x_test[:, 1], (x[:, 1] + 1.0) - 0.1)
    assert np.array_equal(prepare(raw, constant="keep").x, x)
    with pytest.raises(ValueError, match="every column of x is constant"):
        prepare(Dataset(np.ones((5, 2)), np.zeros(5)), constant="drop")


def test_columns_that_vary_by_rounding_alone_are_constant(sample):
    x, y = sample
    x[:, 0] = 1.0 + np.finfo(float).eps * (np.arange(20) % 3)
    with pytest.raises(ValueError, match="1 constant columns"):
        prepare(Dataset(x, y))


def test_rows_can_be_given_norm_one_and_inputs_divided_by_root_d(sample):
    raw = Dataset(*sample, *sample)
    rows = prepare(raw, normalise="rows")
    assert np.allclose(np.linalg.norm(rows.x, axis=1), 1.0, rtol=1e-15) and np.array_equal(
        rows.x, rows.x_test
    )
    scaled = prepare(raw, standardise=True, normalise="sqrt_d")
    assert (scaled.x**2).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-14)
    x = np.concatenate([sample[0], np.zeros((1, 3))])
    with pytest.raises(ValueError, match="row 20 of x_test is zero"):
        prepare(Dataset(*sample, x, np.zeros(21)), normalise="rows")


def test_further_inputs_are_transformed_as_the_training_inputs_were(sample):
    x, y = sample
    x[:, 1] = 2.0
    made = prepare(
        Dataset(x, y), test_fraction=0.3, standardise=True, constant="drop", normalise="sqrt_d"
    )
    train, test = data.split(20, 0.3)
    assert np.array_equal(data.transform(made, x[train]), made.x) and np.array_equal(
        data.transform(made, x[test]), made.x_test
    )
    with pytest.raises(ValueError, match=r"the 3 columns .* before its preparation; got 2"):
        data.transform(made, made.x)
    with pytest.raises(ValueError, match="was not prepared"):
        data.transform(Dataset(x, y), x)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"test_fraction": 1.0}, ValueError, r"test_fraction must be a number in \[0, 1\)"),
        ({"test_fraction": -0.1}, ValueError, "test_fraction"),
        ({"test_fraction": math.nan}, ValueError, "test_fraction"),
        ({"test_fraction": "0.2"}, ValueError, "test_fraction"),
        ({"test_fraction": 0.99}, ValueError, "leaves none to train on"),
        ({"test_fraction": 0.2, "seed": -1}, ValueError, "seed must lie in"),
        ({"n": 21}, ValueError, "n must be an integer from 1 to 20"),
        ({"n": 0}, ValueError, "n must be an integer from 1 to 20"),
        ({"standardise": "columns"}, TypeError, "standardise must be True or False"),
        ({"standardise_y": 1}, TypeError, "standardise_y must be True or False"),
        (
            {"constant": "zero"},
            ValueError,
            "constant must be one of 'error', 'drop', 'keep'; got 'zero'",
        ),
        ({"normalise": "columns"}, ValueError, 'normalise must be None, "rows".*standardise=True'),
    ],
)
def test_wrong_options_of_a_preparation_are_named(sample, options, error, message):
    with pytest.raises(error, match=message):
        prepare(Dataset(*sample), **options)


def test_a_preparation_that_makes_no_sense_is_refused(sample):
    x, y = sample
    with pytest.raises(ValueError, match="has test samples of its own"):
        prepare(Dataset(x, y, x, y), test_fraction=0.2)
    with pytest.raises(ValueError, match="is prepared already"):
        prepare(prepare(Dataset(x, y)))
    with pytest.raises(TypeError, match="y holds integer classes"):
        prepare(Dataset(x, np.arange(20)), standardise_y=True)
    with pytest.raises(ValueError, match="y is constant on the training rows in column 1"):
        prepare(Dataset(x, np.stack([y, np.full(20, 0.1)], axis=1)), standardise_y=True)
