"""scikit-learn's bundled sets: standardised, split, relabelled."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meanfield import data
from meanfield.data import bundled

ROOT = Path(__file__).resolve().parents[2]
SIZES = {
    "digits": (1797, 61),
    "iris": (150, 4),
    "wine": (178, 13),
    "breast_cancer": (569, 30),
    "diabetes": (442, 10),
}
BUNDLED = tuple(SIZES)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_set_is_standardised_split_and_can_be_made_again(name):
    pytest.importorskip("sklearn")
    made = data.get(name)
    n, d = SIZES[name]
    assert made.n + made.n_test == n and made.n_test == round(0.2 * n) and made.d == d
    # pixels and measurements up to 10³ standard deviations from zero: 1e3 ε
    assert abs(made.x.mean(axis=0)).max() < 1e-12 and abs(made.x.std(axis=0) - 1.0).max() < 1e-12
    assert data.get(made.origin["maker"], **made.origin["arguments"]).sha256() == made.sha256()
    assert data.get(name, seed=1).sha256() != made.sha256()
    raw = data.get(name, standardise=False, test_fraction=0, constant="keep")
    assert raw.n == n and np.array_equal(
        data.transform(made, raw.x[data.split(n, 0.2)[1]]), made.x_test
    )
    if name == "diabetes":
        assert (
            made.y.dtype == np.float64
            and abs(made.y.mean()) < 1e-13
            and abs(made.y.std() - 1.0) < 1e-13
        )
    else:
        assert made.y.dtype == np.int64 and made.outputs == len(made.origin["classes"])


def test_digits_keep_64_pixels_when_asked():
    pytest.importorskip("sklearn")
    made = data.digits(constant="keep", n=300, normalise="sqrt_d")
    assert made.d == 64 and made.n == 300 and np.isfinite(made.x_test).all()
    with pytest.raises(ValueError, match=r"x has .* constant columns"):
        data.digits(constant="error")


def test_the_digits_are_those_of_scikit_learn_without_its_import():
    datasets = pytest.importorskip("sklearn.datasets")
    ours, theirs = bundled._read("digits"), datasets.load_digits()
    for name in ("data", "target", "target_names", "feature_names"):
        found, expected = (np.asarray(getattr(item, name)) for item in (ours, theirs))
        assert found.dtype == expected.dtype and np.array_equal(found, expected), name
    code = "import sys; from meanfield import data; data.digits(); print('sklearn' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "False\n"


def test_digits_that_lie_elsewhere_are_read_by_scikit_learn(monkeypatch):
    pytest.importorskip("sklearn")
    expected = data.digits().sha256()
    monkeypatch.setattr(bundled, "_file_of_digits", lambda: None)
    assert data.digits().sha256() == expected


def test_classes_become_signs_or_centred_rows():
    pytest.importorskip("sklearn")
    every = data.digits(test_fraction=0)
    pair = data.digits(targets="sign", classes=(8, 3), test_fraction=0)
    # the first class of the pair is -1; rows stay in the file's order
    assert np.array_equal(pair.y, np.where(every.y[np.isin(every.y, (3, 8))] == 3, 1.0, -1.0))
    even = data.digits(targets="sign", positive={0, 2, 4, 6, 8}, test_fraction=0)
    assert np.array_equal(even.y, np.where(every.y % 2 == 0, 1.0, -1.0))
    onehot = data.digits(targets="onehot", test_fraction=0)
    assert (
        np.array_equal(onehot.y.argmax(axis=1), every.y) and abs(onehot.y.sum(axis=1)).max() < 1e-15
    )
    assert onehot.outputs == 10 and pair.outputs == even.outputs == 1
    named = data.iris(
        targets="sign", classes=["virginica", "setosa", "versicolor"], positive=["setosa"]
    )
    assert named.origin["classes"] == ["virginica", "setosa", "versicolor"]
    assert np.array_equal(named.y, data.get("iris", **named.origin["arguments"]).y)
    whole = data.iris(test_fraction=0)
    assert np.array_equal(
        data.iris(targets="sign", positive=["setosa"], test_fraction=0).y,
        np.where(whole.y == 0, 1.0, -1.0),
    )
    assert np.array_equal(data.breast_cancer(targets="sign").y, 2.0 * data.breast_cancer().y - 1.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"targets": "signs"}, ValueError, "targets must be one of 'class', 'sign', 'onehot'"),
        ({"targets": "sign"}, ValueError, 'targets="sign" needs two classes; got 3'),
        ({"positive": [0]}, ValueError, 'for targets="sign" only'),
        ({"targets": "sign", "positive": [0, 1, 2]}, ValueError, "some, not all, of the classes"),
        ({"targets": "sign", "positive": []}, ValueError, "some, not all, of the classes"),
        (
            {"targets": "sign", "classes": (0, 1), "positive": [2]},
            ValueError,
            "some, not all, of the classes",
        ),
        (
            {"classes": (0, 3)},
            ValueError,
            "no class 3; the classes are 0 … 2: setosa, versicolor, virginica",
        ),
        ({"classes": ("rose", "setosa")}, ValueError, "no class 'rose'"),
        ({"classes": (1, 1)}, ValueError, "names a class twice"),
        ({"classes": (1,)}, ValueError, "at least two classes"),
        ({"classes": "setosa"}, TypeError, "must be a collection of classes"),
        ({"classes": 3}, TypeError, "must be a collection of classes"),
        ({"standardise_y": True}, TypeError, "y holds integer classes"),
    ],
)
def test_wrong_classes_are_named(options, error, message):
    pytest.importorskip("sklearn")
    with pytest.raises(error, match=message):
        data.iris(**options)


@pytest.mark.parametrize("name", BUNDLED)
def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[data\]"'):
        data.get(name)
