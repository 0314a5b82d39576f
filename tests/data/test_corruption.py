"""corrupt=: how many labels are replaced, by what, and that it is known which."""

import numpy as np
import pytest

import meanfield as mf
from meanfield.data import Dataset, prepare

X = np.random.default_rng(0).normal(size=(4000, 2))
CLASS = np.arange(4000) % 5
KINDS = {
    "integers": CLASS,
    "signs": np.where(CLASS > 2, 1.0, -1.0),
    "one-hot": np.eye(5)[CLASS],
    "centred": np.eye(5)[CLASS] - 0.2,
    "real": X[:, 0] ** 2,
    "column": (-1.0) ** CLASS[:, None],
    "vectors": np.stack([X[:, 1], 3.0 + 2.0 * X[:, 0]], axis=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_is_exact_the_rows_are_known_and_all_else_stays(kind):
    raw = Dataset(X, KINDS[kind], X[:7], KINDS[kind][:7])
    made = prepare(raw, corrupt=0.25, seed=3)
    changed = np.flatnonzero((made.y != raw.y).reshape(len(X), -1).any(axis=1))
    # a class becomes another one for sure, a real number almost surely
    assert np.array_equal(changed, made.corrupted) and len(changed) == 1000
    assert np.array_equal(made.x, raw.x) and np.array_equal(made.y_test, raw.y_test)
    assert made.y.dtype == raw.y.dtype and made.y.shape == raw.y.shape
    record = made.origin["preparation"]
    assert record["seed"] == 3 and record["corrupt"]["share"] == 0.25
    assert record["corrupt"]["by"] == ("noise" if kind in ("real", "vectors") else "another class")
    again, other = prepare(raw, corrupt=0.25, seed=3), prepare(raw, corrupt=0.25, seed=4)
    assert again.sha256() == made.sha256() != other.sha256()
    assert np.array_equal(made.subset(100).corrupted, changed[changed < 100])
    if kind not in ("real", "vectors"):
        # the targets are the same ones, only otherwise distributed
        assert np.array_equal(np.unique(made.y, axis=0), np.unique(raw.y, axis=0))


def test_every_other_class_is_as_probable_and_noise_has_the_moments_of_the_targets():
    """2000 of 4000 rows, four other classes: 500 ± √(2000·¼·¾) = 19.4 each; moments of 2000 normal
    numbers within 5 standard errors."""
    made = prepare(Dataset(X, CLASS), corrupt=0.5)
    shift = (made.y - CLASS)[made.corrupted] % 5
    counts = np.bincount(shift, minlength=5)
    assert counts[0] == 0 and (abs(counts[1:] - 500) < 5 * 19.4).all()
    y = KINDS["vectors"]
    noise = prepare(Dataset(X, y), corrupt=0.5).y
    rows = prepare(Dataset(X, y), corrupt=0.5).corrupted
    apart = (noise[rows].mean(axis=0) - y.mean(axis=0)) / y.std(axis=0)
    assert (abs(apart) < 5 / np.sqrt(2000)).all()
    assert (abs(noise[rows].std(axis=0) / y.std(axis=0) - 1) < 5 / np.sqrt(4000)).all()
    # nothing is left of what they were
    assert abs(np.corrcoef(noise[rows, 0], y[rows, 0])[0, 1]) < 5 / np.sqrt(2000)


def test_it_comes_after_the_split_and_the_cut_and_before_y_is_standardised():
    raw = Dataset(X[:60], KINDS["real"][:60])
    clean = prepare(raw, test_fraction=0.2, n=20, seed=1)
    made = prepare(raw, test_fraction=0.2, n=20, seed=1, corrupt=0.3, standardise_y=True)
    assert made.y.mean() == pytest.approx(0, abs=1e-13) and len(made.corrupted) == 6
    record = made.origin["preparation"]
    back = made.y * record["y_std"] + record["y_mean"]
    kept = np.setdiff1d(np.arange(20), made.corrupted)
    np.testing.assert_allclose(back[kept], clean.y[kept], rtol=1e-12)
    np.testing.assert_array_equal(made.x_test, clean.x_test)
    assert not clean.corrupted.size and "corrupt" not in clean.origin["preparation"]


def test_a_bundled_set_takes_it_and_is_made_again_from_its_origin():
    made = mf.data.get("iris", corrupt=0.1, seed=2)
    assert len(made.corrupted) == 12
    again = mf.data.get(made.origin["maker"], **made.origin["arguments"])
    assert again.sha256() == made.sha256() and np.array_equal(again.corrupted, made.corrupted)


def test_what_has_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"corrupt must be the share .* \[0, 1\]; got 1.5"):
        prepare(Dataset(X, CLASS), corrupt=1.5)
    with pytest.raises(ValueError, match="got True"):
        prepare(Dataset(X, CLASS), corrupt=True)
    with pytest.raises(ValueError, match="every label is 0.*Use corrupt=0"):
        prepare(Dataset(X, 0 * CLASS), corrupt=0.1)
