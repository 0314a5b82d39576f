"""Diagnostics of stored runs that `import ntk` adds to the registry: what the kernel can learn, |f
- f_lin|, and laziness.

What they compute with is imported when they are first called, so that `import ntk` stays cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.diagnostics.registry import SAMPLES, register_diagnostic
from meanfield.functionals.protocol import OTHERS

if TYPE_CHECKING:
    from meanfield.diagnostics.frame import Frame

    from ..learning.spectrum import Split

SHARE = 0.01  # of the largest eigenvalue of H_0: the cutoff unless one is given


def residual(frame: Frame, samples: int | None) -> np.ndarray:
    """ℓ'(f_t(x_i), y_i), which is f - y for the squared loss, on the first training inputs: (n, K)."""
    risk = frame.flow.functional.samples
    if getattr(risk, "weights", None) is not None:
        from meanfield.backends.cpu import losses

        return losses.slopes(risk.loss, frame.predictions, risk.y)[:samples]
    return (risk.slopes(frame.predictions) / risk.factor)[:samples]


def _split(frame: Frame, at_start: bool, samples: int | None, cutoff: float | None) -> Split | None:
    """The residual at t in the modes of H_0 or of H_t; None where H_0 vanishes and no cutoff is
    given.
    """
    from meanfield.tangent import as_matrix

    from ..learning.spectrum import split

    problem = frame.problem
    H0 = problem.keep(("kernel", samples), lambda: problem.origin.kernel(samples))
    if cutoff is None:
        cutoff = SHARE * problem.keep(
            ("largest", samples), lambda: float(np.linalg.eigvalsh(as_matrix(H0))[-1])
        )
        if cutoff <= 0:
            return None
    found = residual(frame, samples)
    r = found[:, 0] if H0.ndim == 2 else found
    return frame.keep(
        ("split", at_start, samples, cutoff),
        lambda: split(H0 if at_start else frame.kernel(samples), r, cutoff),
    )


def _energy(
    part: str, frame: Frame, at_start: bool, samples: int | None, cutoff: float | None
) -> float:
    found = _split(frame, at_start, samples, cutoff)
    return float("nan") if found is None else getattr(found, f"{part}_energy")


@register_diagnostic(unit="f²", needs=("kernel", "residual"))
def information(
    frame: Frame, *, samples: int | None = SAMPLES, cutoff: float | None = None
) -> float:
    """‖Π r_t‖², Π onto the modes of H_t with eigenvalue >= cutoff (None: a hundredth of
    λ_max(H_0)), r = ∂ℓ/∂f, f - y for the squared loss, on the first `samples` training inputs:
    ntk.split.
    """
    return _energy("information", frame, False, samples, cutoff)


@register_diagnostic(unit="f²", needs=("kernel", "residual"))
def nuisance(frame: Frame, *, samples: int | None = SAMPLES, cutoff: float | None = None) -> float:
    """‖(1 - Π) r_t‖², the part of the residual in the modes of H_t below the cutoff, learnt late or
    never; as information.
    """
    return _energy("nuisance", frame, False, samples, cutoff)


@register_diagnostic(unit="f²", needs=("kernel", "residual"))
def information_h0(
    frame: Frame, *, samples: int | None = SAMPLES, cutoff: float | None = None
) -> float:
    """‖Π_0 r_t‖², Π_0 onto the modes of H_0 with eigenvalue >= cutoff; as information."""
    return _energy("information", frame, True, samples, cutoff)


@register_diagnostic(unit="f²", needs=("kernel", "residual"))
def nuisance_h0(
    frame: Frame, *, samples: int | None = SAMPLES, cutoff: float | None = None
) -> float:
    """‖(1 - Π_0) r_t‖², the part of the residual in the modes of H_0 below the cutoff; as
    information.
    """
    return _energy("nuisance", frame, True, samples, cutoff)


@register_diagnostic(unit="f", needs=("data", "companion"))
def companion_gap(frame: Frame) -> float:
    """((1/n) Σ_i |f_t(x_i) - g_t(x_i)|²)^½ on the training inputs, g that of the run companion=:
    the network of ntk.linearise, for |f - f_lin|, or any run on the same inputs with frames at the
    same times.
    """
    return float(
        np.sqrt(np.square(frame.predictions - frame.companion.predictions).sum(axis=1).mean())
    )


@register_diagnostic(unit="1", needs=("linear twin",))
def departure(frame: Frame) -> float:
    """max(|f_t - f_lin,t|/|f_0 - y|, ‖H_t - H_0‖/‖H_0‖) on all training inputs, f_lin the
    linearised network trained from the same start (exact: ntk.KernelFlow with H_0), for the
    gradient flow of the squared loss without ridge; NaN where f_0 = y.
    """
    from meanfield.flow import GradientFlow

    from ..finite.kernel import drift
    from ..learning.dynamics import KernelFlow

    problem = frame.problem
    H0 = problem.keep(("kernel", None), lambda: problem.origin.kernel(None))
    # as ntk.laziness: what is measured may be small
    home = frame.network.home
    flow = problem.keep("float64", lambda: GradientFlow(frame.flow.functional, backend=home))
    f0 = problem.keep("f0", lambda: flow.predict(frame.start))
    y = flow.functional.y
    start = float(np.linalg.norm(f0 - y))
    if start == 0 or not H0.any():
        return float("nan")

    linear = problem.keep(
        "f_lin", lambda: KernelFlow(H0, y, f0=f0, reduction=flow.functional.reduction)
    )
    f_lin = linear.at(frame.state.t - frame.start.t).train
    gap = float(np.linalg.norm(flow.predict(frame.state) - f_lin)) / start
    return max(gap, drift(H0, frame.kernel(None)))


@register_diagnostic(unit="1", of=("departure",))
def laziness(departure: Any) -> np.ndarray:
    """The largest `departure` so far. What ntk.laziness goes by: a run is lazy where this ends
    below 0.1, rich above 0.5.
    """
    return np.maximum.accumulate(departure.values)


def _linearised(settings: dict[str, Any], arrays: Mapping[str, np.ndarray], start: Any) -> Any:
    from ..finite.linear import LinearisedRisk

    return LinearisedRisk.from_dict(settings, arrays, start)


OTHERS["LinearisedRisk"] = _linearised
