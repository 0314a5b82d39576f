"""Losses: scalar formulas and their compiled sums against torch, the curvature that dt="auto"
relies on, labels at the door.
"""

import numpy as np
import pytest

pytest.importorskip("torch", reason="ours is held against torch")

import torch
from torch_twin import LOSSES

import meanfield as mf
from meanfield.backends.cpu import losses as loss_kernels
from meanfield.formulas import losses


def problem(rng, loss, n=40, K=3):
    """Predictions over a wide range and labels of the loss's kind."""
    f = rng.normal(size=(n, K)) * np.geomspace(0.1, 50.0, n)[:, None]
    labels = {
        "real": rng.normal(size=(n, K)),
        "sign": rng.choice([-1.0, 1.0], (n, K)),
        "class": rng.integers(0, K, n),
    }
    return f, labels[losses.get(loss).labels]


@pytest.mark.parametrize("name", losses.TABLE)
def test_compiled_sums_and_slopes_are_those_of_torch(rng, name):
    """Σℓ and autograd's ∂/∂f. Sums of 120 terms of relative accuracy 1e-15 or so: 1e-13 in all;
    slopes one term each, of size up to |f| = 150 for the squared loss.
    """
    f, y = problem(rng, name)
    leaf = torch.tensor(f, requires_grad=True)
    expected = LOSSES[name](leaf, torch.tensor(y))
    expected.backward()
    loss = losses.TABLE[name]
    checked = losses.check_labels(loss, y, len(f))
    assert loss_kernels.total(loss, f, checked) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(
        loss_kernels.slopes(loss, f, checked), leaf.grad.numpy(), rtol=1e-14, atol=1e-14
    )


@pytest.mark.parametrize("name", losses.TABLE)
def test_curvature_is_the_supremum_of_the_second_derivative(name):
    """sup ℓ'': by differences of the slope over a grid through the steepest point, step h: exact to
    h²ℓ''''/6 < 1e-7 there.
    """
    loss, h = losses.TABLE[name], 1e-3
    # the largest eigenvalue of diag(p) - ppᵀ is at most 1/2, reached at p = (1/2, 1/2, 0)
    if loss.coupled:
        hessian, top = np.empty((3, 3)), 0.0
        for f in (
            np.array([u, v, w])
            for u in (-40.0, 0.0, 1.0)
            for v in (-1.0, 0.0, 2.0)
            for w in (-50.0, 0.0, 3.0)
        ):
            for c in range(3):
                up, down = np.empty(3), np.empty(3)
                loss.slope(f + h / 2 * np.eye(3)[c], 0, up)
                loss.slope(f - h / 2 * np.eye(3)[c], 0, down)
                hessian[c] = (up - down) / h
            top = max(top, np.linalg.eigvalsh(hessian).max())
    elif name == "hinge":
        top = max(
            abs(loss.slope(f + h, 1.0) - loss.slope(f, 1.0)) for f in (-3.0, 0.0, 0.9, 1.1, 5.0)
        )
    else:
        grid = np.linspace(-5.0, 5.0, 2001)
        top = max(
            (loss.slope(f + h / 2, 1.0) - loss.slope(f - h / 2, 1.0)) / h for f in map(float, grid)
        )
    assert top == pytest.approx(loss.curvature, abs=1e-6)


def test_extreme_predictions_stay_finite():
    """log(1 + e^{-yf}) and log Σ e^f are the overflow traps: at f = ±1e4 they are |f| or 0 exactly."""
    logistic, softmax = losses.TABLE["logistic"], losses.TABLE["softmax"]
    assert (logistic.value(-1e4, 1.0), logistic.value(1e4, 1.0), logistic.slope(-1e4, 1.0)) == (
        1e4,
        0.0,
        -1.0,
    )
    out = np.empty(2)
    softmax.slope(np.array([1e4, -1e4]), 1, out)
    assert softmax.value(np.array([1e4, -1e4]), 1) == 2e4 and out.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (
            "squared",
            np.zeros(3),
            r"y must be \(4,\) or \(4, K\), one row for each row of x; got \(3,\)",
        ),
        ("squared", np.array(0.0), r"y must be \(4,\) or"),
        (
            "squared",
            np.array([0.0, np.nan, 1.0, np.inf]),
            "y has NaN or infinite values, first in row 1",
        ),
        (
            "logistic",
            np.array([0, 1, 1, 0]),
            r"wants labels -1 and \+1; got values such as .*For labels 0 and 1 use 2\*y - 1",
        ),
        (
            "hinge",
            np.array([1.0, -1.0, 1.0, 2.0]),
            r"wants labels -1 and \+1; got values such as \[2.0\]",
        ),
        (
            "softmax",
            np.eye(4),
            r"wants integer classes 0 … K-1 of shape \(4,\).*y.argmax\(axis=1\)",
        ),
        ("softmax", np.array([0.5, 1.0, 0.0, 1.0]), "wants integer classes"),
        ("softmax", np.array([0, 1, -1, 0]), "wants integer classes"),
    ],
)
def test_labels_of_the_wrong_kind_raise_with_the_conversion(loss, y, message):
    with pytest.raises(ValueError, match=message):
        mf.EmpiricalRisk(mf.Network(), np.ones((4, 2)), y, loss=loss)


def test_labels_that_are_not_numbers_raise_a_type_error():
    with pytest.raises(TypeError, match="y must be real numbers; got dtype <U"):
        losses.check_labels(losses.get("squared"), np.array(["cat", "dog"]), 2)


def test_labels_of_the_right_kind_take_their_stored_form():
    sign, classes = losses.get("logistic"), losses.get("softmax")
    assert losses.check_labels(sign, np.array([1, -1]), 2).tolist() == [[1.0], [-1.0]]
    assert losses.check_labels(classes, np.array([[1.0], [0.0]]), 2).tolist() == [1, 0]
    assert losses.check_labels(classes, [True, False], 2).dtype == np.int64


def test_an_unknown_loss_is_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match="unknown loss 'square'. Did you mean 'squared'\\? Known: squared, huber"
    ):
        losses.get("square")
    with pytest.raises(TypeError, match="loss must be a name or an mf.Loss; got None"):
        losses.get(None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mse", r'"squared": ½\(f-y\)².*no ½.*dt = 2·lr·s²/\(m K\)'),
        ("nn.MSELoss", '"squared"'),
        (torch.nn.MSELoss(), '"squared"'),
        (torch.nn.functional.mse_loss, '"squared"'),
        ("mean_squared_error", '"squared"'),
        ("cross_entropy", '"softmax".*integers 0 … K-1'),
        ("CrossEntropyLoss", '"softmax"'),
        (torch.nn.CrossEntropyLoss(), '"softmax"'),
        ("sparse_categorical_crossentropy", '"softmax"'),
        ("nll_loss", '"softmax"'),
        ("bce", r'"logistic".*2\*y - 1'),
        ("binary_cross_entropy_with_logits", '"logistic"'),
        ("BCEWithLogitsLoss", '"logistic"'),
        ("log_loss", '"logistic"'),
        ("mae", '"huber".*mf.Loss'),
        ("smooth_l1", '"huber"'),
        ("HingeEmbeddingLoss", '"hinge"'),
        ("sqared", "Did you mean 'squared'"),
    ],
)
def test_the_names_of_other_packages_are_answered_with_what_to_write(name, said):
    with pytest.raises((ValueError, TypeError), match=said):
        losses.get(name)


def test_a_coupled_slope_that_leaves_out_what_is_zero_has_zeros_there():
    """A perceptron for classes: only the best wrong output and the right one have a slope, and none
    where the sample is right. First a batch of samples that are all wrong, so that whatever is left
    in memory is not 0.
    """

    def value(f, y):
        best = f[1] if y == 0 else f[0]
        for c in range(f.size):
            if c != y and f[c] > best:
                best = f[c]
        return best - f[y] if best > f[y] else 0.0

    def slope(f, y, out):
        best = 1 if y == 0 else 0
        for c in range(f.size):
            if c != y and f[c] > f[best]:
                best = c
        if f[best] > f[y]:
            out[best] = 1.0
            out[y] = -1.0

    loss = mf.Loss("perceptron", value, slope, labels="class", coupled=True)
    f = np.arange(4000.0)[:, None] % 7 + np.array([0.0, 1.0, 2.0])
    classes = np.zeros(4000, int)
    assert np.array_equal(
        loss_kernels.slopes(loss, f, classes), np.tile([-1.0, 0.0, 1.0], (4000, 1))
    )
    assert np.array_equal(loss_kernels.slopes(loss, -f, classes), np.zeros((4000, 3)))
