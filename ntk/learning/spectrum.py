"""What a kernel can learn: its smallest eigenvalue with an error bound, its null space, and how
long each mode takes.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from meanfield.checks import is_number
from meanfield.functionals.samples import check_inputs
from meanfield.tangent import as_matrix

from . import repeated_inputs
from .matrices import Modes, checked, columns, factor, null_tolerance, precision


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is known of a symmetric K (n, n): every eigenvalue lies within error_bound of the one
    computed.

    eigenvalues (n,) ascending; rank counts those beyond tolerance in size (where the inputs make K
    singular: beyond tolerance + error_bound), null_space (n, n - rank) spans the others.
    positive_definite: True iff lambda_min - error_bound > tolerance; False iff lambda_min +
    error_bound < -tolerance, or K is singular by its inputs (two equal rows; repeated, parallel,
    antipodal or zero inputs, to rounding, whose combination K maps to zero within tolerance +
    error_bound); else None: not proved either way. causes: sentences that name inputs; where there
    are some that are merely close to parallel or antipodal, the verdict of None is "Singular as far
    as rounding shows", else "Undecided".
    """

    eigenvalues: np.ndarray
    error_bound: float
    rank: int
    null_space: np.ndarray
    tolerance: float
    positive_definite: bool | None
    causes: tuple[str, ...] = ()

    @property
    def lambda_min(self) -> float:
        return float(self.eigenvalues[0])

    @property
    def lambda_max(self) -> float:
        return float(self.eigenvalues[-1])

    @property
    def verdict(self) -> str:
        """One sentence: what is decided, with λ_min, its error bound and the tolerance; then the
        causes.
        """
        found = (
            f"lambda_min = {self.lambda_min:.4g} ± {self.error_bound:.2g}, tolerance = "
            f"{self.tolerance:.2g}"
        )
        rank = f"rank {self.rank} of {len(self.eigenvalues)}"
        if self.positive_definite:
            said = "Positive definite: any labels can be fitted"
        elif self.positive_definite is None and self.causes:
            zero = "λ_min is zero within the tolerance and its error"
            said = f"Singular as far as rounding shows: {zero}, and the inputs explain it"
        elif self.positive_definite is None:
            said = (
                "Undecided: λ_min is zero within the tolerance and its error, so some "
                "labels may never be learnt"
            )
        elif self.lambda_min + self.error_bound < -self.tolerance:
            said = "Not positive semi-definite: this is the tangent kernel of no network"
        else:
            said = "Singular: the part of the labels in its null space is never learnt"
        return " ".join([f"{said} ({found}, {rank}).", *self.causes])

    def __str__(self) -> str:
        return self.verdict


def certificate(K: Any, x: Any = None, tolerance: float | None = None) -> Certificate:
    """Is K positive definite? The smallest eigenvalue with a bound of its error.

    Parameters
    ----------
    K : (n, n) or (n, n, C, C).
    x : (n, d), the inputs of K; zero, repeated, parallel and antipodal ones are named, in .causes
        and a RuntimeWarning, where K shows them to be the cause. Their absence proves nothing, and
        nothing is concluded from it (TRUTHS.md, section 0).
    tolerance : n·ε·max|λ|, ε that of K's dtype, unless given.

    Returns
    -------
    A Certificate: .positive_definite is True, False, or None where the bound does not decide.

    Raises
    ------
    ValueError, TypeError : as ntk.matrices.checked.

    Notes
    -----
    From the symmetrised eigensolver's V and Λ, with R = KV - VΛ and E = VᵀV - I, in Frobenius
    norms:

        |λ_i(K) - Λ_i| <= (‖R‖ + ‖E‖ (Λ_max - Λ_min)) / √(1 - ‖E‖) + ½‖K - Kᵀ‖

    V = QP with Q orthogonal, ‖P - I‖ <= ‖E‖, gives QᵀKQ = Λ + F with F symmetric of that size:
    Weyl's inequality (Parlett 1998, section 10.3 and theorem 11.5.1). R and E are computed too: ‖R‖
    and ‖E‖ are enlarged by what rounding makes of sums of n terms, √n u each for rounding errors
    that do not conspire (Higham and Mary 2019).
    """
    epsilon, K = precision(K), checked(K)
    A = as_matrix(K)
    skew = 0.5 * float(np.linalg.norm(A - A.T))
    A = 0.5 * (A + A.T)
    n, u = len(A), 0.5 * np.finfo(np.float64).eps
    values, V = scipy.linalg.eigh(A)
    R = float(np.linalg.norm(A @ V - V * values)) + n * u * float(np.linalg.norm(A))
    E = float(np.linalg.norm(V.T @ V - np.eye(n))) + n**1.5 * u
    bound = (R + E * float(values[-1] - values[0])) / math.sqrt(1.0 - E) + skew
    tolerance = null_tolerance(values, epsilon, tolerance)
    positive: bool | None = None
    causes: tuple[str, ...] = ()
    if values[0] - bound > tolerance:
        positive = True
    elif values[0] + bound < -tolerance or repeated_inputs.has_equal_rows(A):
        positive = False
    if x is not None and len(x := check_inputs(x)) != len(K):
        raise ValueError(
            f"x must be ({len(K)}, d), the inputs of a kernel {K.shape}; got {x.shape}."
        )
    if x is not None and not positive:
        causes, decided = repeated_inputs.causes(
            x, K[:, :, 0, 0] if K.ndim == 4 else A, tolerance + bound
        )
        positive = False if decided else positive
        for cause in causes:
            warnings.warn(cause, RuntimeWarning, stacklevel=2)
    # an eigenvalue that the inputs make zero is computed as up to tolerance + bound
    singular = positive is False and values[0] + bound >= -tolerance
    null = np.abs(values) <= (tolerance + bound if singular else tolerance)
    return Certificate(values, bound, int(n - null.sum()), V[:, null], tolerance, positive, causes)


def unlearnable(K: Any, residual: Any, tolerance: float | None = None) -> np.ndarray:
    """V_0 V_0ᵀ r, the part of the residual r = f_0 - y that never decays.

    Parameters
    ----------
    K : (n, n) or (n, n, C, C).
    residual : (n,) or (n, C).
    tolerance : eigenvalues up to it are null; n·ε·λ_max unless given.

    Returns
    -------
    Its projection on the null space of K, of the residual's shape.

    Raises
    ------
    ValueError : for an indefinite K, with λ_min, and for shapes that do not match.

    Notes
    -----
    THEORY.md, section 3.
    """
    modes = Modes(K, tolerance=tolerance)
    V = modes.vectors[:, modes.null]
    return (V @ (V.T @ columns(residual, modes.kernel, "residual"))).reshape(np.shape(residual))


def loss_floor(
    K: Any, residual: Any, reduction: str = "mean", tolerance: float | None = None
) -> float:
    """½ ‖V_0 V_0ᵀ r‖² (times 1/n for "mean"): the squared loss that is left at t = ∞."""
    part = unlearnable(K, residual, tolerance)
    return 0.5 * factor(reduction, len(part)) * float(np.square(part).sum())


def mode_times(
    K: Any, epsilon: float, reduction: str = "mean", tolerance: float | None = None
) -> np.ndarray:
    """The flow time by which each mode has fallen to ε of its start: log(1/ε)/(c λ_i).

    Parameters
    ----------
    K, reduction, tolerance : as in `split` and `certificate`; c = 1/n for "mean", 1 for "sum".
    epsilon : ε in (0, 1).

    Returns
    -------
    (n,), in the order of certificate(K).eigenvalues, ascending: the slowest first; ∞ for null
    modes.
    """
    if not is_number(epsilon) or not 0 < epsilon < 1:
        raise ValueError(
            f"epsilon must be the share of a mode that may be left, in (0, 1); got {epsilon!r}."
        )
    modes = Modes(K, tolerance=tolerance)
    rates = factor(reduction, len(modes.kernel)) * modes.values
    return np.divide(-math.log(epsilon), rates, out=np.full(rates.shape, math.inf), where=rates > 0)


class Split(NamedTuple):
    """A residual in two: information, learnt soon, and nuisance, learnt late or never.

    information, nuisance: of the residual's shape, their sum is the residual; *_energy: squared
    norms; rank: how many eigenvalues are at or above the cutoff; stopping_time: flow time at which
    to stop; residual_bound: on ‖f_t - y‖ at that time.
    """

    information: np.ndarray
    nuisance: np.ndarray
    information_energy: float
    nuisance_energy: float
    rank: int
    stopping_time: float
    residual_bound: float


def split(
    K: Any, residual: Any, cutoff: float, reduction: str = "mean", left: float = math.exp(-1)
) -> Split:
    """Information (eigenvalues λ >= cutoff) and nuisance (the others) of a residual, for K_0 or any
    K_t.

    Parameters
    ----------
    K : (n, n) or (n, n, C, C).
    residual : f - y, (n,) or (n, C).
    cutoff : > 0; in terms of the Jacobian's singular values √cutoff.
    reduction : c = 1/n for "mean", 1 for "sum".
    left : the share of the information that may be left at the stopping time.

    Returns
    -------
    A Split. Stopping at t = log(1/left)/(c λ_I), λ_I the smallest information eigenvalue, leaves at
    most left·‖information‖ + ‖nuisance‖, while no nuisance mode has been fitted by more than the
    share 1 - left^(λ/λ_I). No eigenvalue above the cutoff: stop at 0.

    Notes
    -----
    Oymak, Fabian, Li and Soltanolkotabi (2019).
    """
    if not is_number(cutoff) or not 0 < cutoff < math.inf:
        raise ValueError(
            "cutoff must be an eigenvalue > 0 that separates information from nuisance; "
            f"got {cutoff!r}."
        )
    if not is_number(left) or not 0 < left < 1:
        raise ValueError(
            f"left must be the share of the information that may be left, in (0, 1); got {left!r}."
        )
    modes = Modes(K)
    r, chosen = columns(residual, modes.kernel, "residual"), modes.values >= cutoff
    V = modes.vectors[:, chosen]
    information = V @ (V.T @ r)
    nuisance = r - information
    rate = (
        factor(reduction, len(modes.kernel)) * float(modes.values[chosen].min())
        if chosen.any()
        else math.inf
    )
    known, unknown = float(np.square(information).sum()), float(np.square(nuisance).sum())
    shape = np.shape(residual)
    bound = left * math.sqrt(known) + math.sqrt(unknown)
    time = -math.log(left) / rate
    return Split(
        information.reshape(shape),
        nuisance.reshape(shape),
        known,
        unknown,
        int(chosen.sum()),
        time,
        bound,
    )
