"""Risks, errors and margins on the training and on the test samples."""

from __future__ import annotations

import numpy as np

from ..frame import Frame
from ..registry import register_diagnostic


def wrong(y: np.ndarray, f: np.ndarray) -> float:
    """The share of wrong classes, or of wrong signs (f = 0 counts as +1): y (n,) classes or (n, K)
    signs, f (n, K).
    """
    if y.dtype.kind == "i":
        return float(np.mean(f.argmax(axis=1) != y))
    return float(np.mean(np.where(f >= 0, 1.0, -1.0) != y))


def margins(y: np.ndarray, f: np.ndarray) -> np.ndarray:
    """y f, one for each sample and output; for classes f_y - max_{c ≠ y} f_c, one for each sample."""
    if y.dtype.kind != "i":
        return y * f
    right = np.take_along_axis(f, y[:, None], axis=1)[:, 0]
    others = f.copy()
    np.put_along_axis(others, y[:, None], -np.inf, axis=1)
    return right - others.max(axis=1)


@register_diagnostic(unit="R", needs=("test",))
def test_risk(frame: Frame) -> float:
    """R(f_t) on the test samples, with the loss and the reduction of the flow."""
    assert frame.problem.test is not None
    return frame.problem.test.value(frame.test_predictions)


@register_diagnostic(unit="1", needs=("labels",))
def train_error(frame: Frame) -> float:
    """The share of training samples with a wrong class, or a wrong sign (f = 0 counts as +1)."""
    return wrong(frame.y, frame.predictions)


@register_diagnostic(unit="1", needs=("test labels",))
def test_error(frame: Frame) -> float:
    """The share of test samples with a wrong class, or a wrong sign (f = 0 counts as +1)."""
    assert frame.problem.test is not None
    return wrong(frame.problem.test.y, frame.test_predictions)


@register_diagnostic(unit="f", needs=("labels",))
def margin_min(frame: Frame) -> float:
    """min_i y_i f_t(x_i) over the training samples; f_y - max_{c≠y} f_c for classes."""
    return float(margins(frame.y, frame.predictions).min())


@register_diagnostic(unit="f", needs=("labels",))
def margin_mean(frame: Frame) -> float:
    """(1/n) Σ_i y_i f_t(x_i) over the training samples; f_y - max_{c≠y} f_c for classes."""
    return float(margins(frame.y, frame.predictions).mean())


@register_diagnostic(unit="f/θ^(p+1)", needs=("labels", "homogeneous"))
def margin_min_normalised(frame: Frame) -> float:
    """margin_min / (s (∫|θ|² dμ_t)^((p+1)/2)), σ p-homogeneous: unchanged when all θ are rescaled
    (Chizat and Bach 2020); NaN at θ = 0.
    """
    return _normalised(frame, float(margins(frame.y, frame.predictions).min()))


@register_diagnostic(unit="f/θ^(p+1)", needs=("labels", "homogeneous"))
def margin_mean_normalised(frame: Frame) -> float:
    """margin_mean / (s (∫|θ|² dμ_t)^((p+1)/2)), σ p-homogeneous; NaN at θ = 0."""
    return _normalised(frame, float(margins(frame.y, frame.predictions).mean()))


def _normalised(frame: Frame, margin: float) -> float:
    p = frame.network.sigma.homogeneity
    assert p is not None
    size = float(frame.field.size2(frame.particles)) ** ((p + 1) / 2)
    return margin / (frame.field.s * size) if size > 0 else float("nan")
