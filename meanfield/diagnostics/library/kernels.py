"""How the tangent kernel H_t moves, turns and aligns. Comparisons of kernel matrices, and the
diagnostics made of them.

On the first `samples` training inputs (256; None: all): O(m n² K²) a frame.
"""

from __future__ import annotations

import numpy as np

from ...tangent import as_matrix
from ..frame import Frame
from ..registry import SAMPLES, register_diagnostic


def drift(H0: np.ndarray, Ht: np.ndarray) -> float:
    """‖H_t - H_0‖_F / ‖H_0‖_F."""
    return float(np.linalg.norm(Ht - H0) / np.linalg.norm(H0))


def cosine_distance(H0: np.ndarray, Ht: np.ndarray) -> float:
    """1 - ⟨H_0, H_t⟩_F/(‖H_0‖_F ‖H_t‖_F), as ½‖H_0/‖H_0‖ - H_t/‖H_t‖‖², which keeps its digits
    where the two are close.
    """
    return float(0.5 * np.square(H0 / np.linalg.norm(H0) - Ht / np.linalg.norm(Ht)).sum())


def alignment(H: np.ndarray, y: np.ndarray, centred: bool) -> float:
    """⟨H, yyᵀ⟩_F/(‖H‖_F ‖yyᵀ‖_F), H (n, n) and y (n, C), or H (n, n, C, C) and y (n, C); centred:
    means over samples taken out.

    NaN where either vanishes.
    """
    if centred:
        H = H - H.mean(axis=0, keepdims=True)
        H = H - H.mean(axis=1, keepdims=True)
        y = y - y.mean(axis=0)
    matrix = as_matrix(H)
    columns = y.reshape(len(matrix), -1)
    size = float(np.linalg.norm(matrix) * np.linalg.norm(columns.T @ columns))
    return float(np.vdot(columns, matrix @ columns)) / size if size > 0 else float("nan")


def effective_rank(H: np.ndarray) -> float:
    """exp(-Σ_i p_i log p_i), p_i = λ_i/Σλ; eigenvalues negative by rounding count as zero. NaN for
    a kernel that vanishes.
    """
    values = np.maximum(np.linalg.eigvalsh(as_matrix(H)), 0.0)
    if not values.any():
        return float("nan")
    p = values[values > 0] / values.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def _pair(frame: Frame, samples: int | None) -> tuple[np.ndarray, np.ndarray]:
    H0 = frame.problem.keep(("kernel", samples), lambda: frame.problem.origin.kernel(samples))
    return H0, frame.kernel(samples)


@register_diagnostic(unit="1", needs=("kernel",))
def kernel_drift(frame: Frame, *, samples: int | None = SAMPLES) -> float:
    """‖H_t - H_0‖_F / ‖H_0‖_F on the first `samples` training inputs; NaN where H_0 vanishes."""
    H0, Ht = _pair(frame, samples)
    return drift(H0, Ht) if H0.any() else float("nan")


@register_diagnostic(unit="1", needs=("kernel",))
def kernel_distance(frame: Frame, *, samples: int | None = SAMPLES) -> float:
    """1 - ⟨H_0, H_t⟩_F/(‖H_0‖_F ‖H_t‖_F) in [0, 1]: the drift that no rescaling explains (Fort et
    al. 2020); NaN where one vanishes.
    """
    H0, Ht = _pair(frame, samples)
    return cosine_distance(H0, Ht) if H0.any() and Ht.any() else float("nan")


@register_diagnostic(unit="1", needs=("kernel", "varied labels"))
def kernel_alignment(frame: Frame, *, samples: int | None = SAMPLES) -> float:
    """⟨CH_tC, yyᵀ⟩_F/(‖CH_tC‖_F ‖yyᵀ‖_F), C = I - 11ᵀ/n and y centred too, classes as unit vectors
    (Cortes, Mohri, Rostamizadeh 2012); NaN where either vanishes.
    """
    y = frame.y[:samples]
    if y.dtype.kind == "i":
        y = np.eye(frame.state.outputs)[y]
    return alignment(frame.kernel(samples), y, centred=True)


@register_diagnostic(unit="eigenvalues", needs=("kernel",))
def kernel_rank(frame: Frame, *, samples: int | None = SAMPLES) -> float:
    """Effective rank exp(-Σ_i p_i log p_i), p_i = λ_i(H_t)/Σλ (Roy and Vetterli 2007): 1 to nK; NaN
    where H_t vanishes.
    """
    return effective_rank(frame.kernel(samples))
