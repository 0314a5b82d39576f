"""Theory's exponents of the width beside measured ones.

f = s ∫φ dμ with s = m^(1-γ); neurons move by ε = 1/s = m^(γ-1) times O(1) at a fixed flow time
(THEORY.md, section 1), for γ <= 1, where ε <= 1. From there:

- displacement ~ ε. W2(μ_0, μ_T) is at most that, and equal to it to first order in ε: the move is -ε∇Ψ with a potential Ψ, and
  θ - ε∇Ψ is the gradient of a convex function for small ε, hence an optimal map (Brenier, 1991).
- f_0 of m independent neurons with E a = 0 is s times a mean of m: m^(1/2 - γ) (THEORY.md, section 3). Any γ.
- The kernel, from a symmetric start, σ smooth. P: a ↦ -a turns φ into -φ, hence the velocity v = -ε u∇φ into -P v: the
  partner of a neuron moves as that neuron would with -ε. ∇φ·∇φ' is even under P, so a pair's share of H_T is even in ε: no
  first order. ‖H_T - H_0‖ ~ ε² = m^(2(γ-1)).
- f and f_lin, same start: a pair's share of f = s ∫φ dμ is odd in ε and s = 1/ε, so f is even in ε as well. f at ε = 0 is
  f_lin, so f - f_lin ~ ε² = m^(2(γ-1)): again the kernel's drift, which drives it, df/dt = -H_t u.
- ReLU. ε² stands beside the kinks: of the m neurons m·O(ε) cross the kink of a sample, and each changes H by ±O(1/m), the sign
  at random by symmetry: √(mε)/m = m^(γ/2 - 1), in H and so in f - f_lin. The larger of the two is that for γ < 2/3; at finite m
  the slope of a sum of two powers lies between them, which near γ = 2/3 lasts for all widths there are.
  This holds for m^γ << n². Beyond, the signs are not quite balanced: a sample's own share of the velocity, O(ε/n), is there
  on one side of its kink only, so that of a pair the neurons that leave and those that enter are not equally many. That makes a
  mean change O(ε/n) of H, and γ - 1 the exponent of the drift for m → ∞ at fixed n; with n = 4 it is seen at m = 1000.

Beyond γ = 1 neurons leave the neighbourhood of their start at a fixed flow time; these exponents do
not hold there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meanfield.files.tables import text_table

from .fits import ExponentFit, Refused, decimals, fit_or_refuse, with_error

QUANTITIES = {
    "displacement": "RMS displacement",
    "w2": "W2(start, end)",
    "kernel_drift": "kernel drift",
    "linear_gap": "|f − f_lin|, held-out",
    "f0": "|f_0|, iid start",
}
KINKED = ("relu", "leaky_relu")
# of a slope over a factor 64 in m beginning at some hundreds: what finite widths may be off the
# limit
TOLERANCE = 0.03
AGREES, BETWEEN, NO_THEORY = "agrees", "between", "no theory"  # verdicts, or how they begin
FOOTNOTE = f"""agrees: the 95 % interval (Student's t over seeds) holds theory's exponent.
within {TOLERANCE:g}: it does not, but the slope is off by {TOLERANCE:g} at most, the tolerance for finite widths.
between: kinked σ, the slope lies between theory's two powers, within errors, of which the larger wins in the end.
curved: p, that of no curvature, is below 0.05: a single exponent does not describe the values."""
NEAR = f"within {TOLERANCE:g} of theory, but not within errors"


@dataclass(frozen=True)
class Exponent:
    """quantity ~ m^slope, measured, beside theory's exponent; None where there is no theory, or no
    fit.
    """

    quantity: str
    activation: str
    gamma: float
    theory: float | None
    slope: float | None
    error: float | None  # standard error, from whole seeds
    low: float | None  # 95 % interval, Student's t
    high: float | None
    bend: float | None  # change of the slope over the range of widths
    curvature_p: float | None  # p-value of bend = 0
    m_min: float
    m_max: float
    seeds: int
    verdict: str
    # what "within … of theory" means in the verdict; "agrees" goes by low … high alone
    tolerance: float = TOLERANCE

    @property
    def miss(self) -> float | None:
        """|slope - theory|."""
        return None if self.slope is None or self.theory is None else abs(self.slope - self.theory)


def powers(quantity: str, gamma: float, activation: str) -> tuple[float, ...]:
    """Theory's powers of m at fixed flow time, whose sum the quantity is; none where this module
    derives none.

    For kinked σ those that count at m^γ << n²."""
    if quantity == "f0":
        return (0.5 - gamma,)
    if gamma > 1:
        return ()
    if quantity in ("displacement", "w2"):
        return (gamma - 1,)
    smooth = 2 * (gamma - 1)
    return (smooth, gamma / 2 - 1) if activation in KINKED else (smooth,)


def theory(quantity: str, gamma: float, activation: str) -> float | None:
    """The exponent for large m (for kinked σ with m^γ << n²): the largest power."""
    return max(powers(quantity, gamma, activation), default=None)


def measured(
    quantity: str, activation: str, gamma: float, widths: np.ndarray, values: np.ndarray
) -> Exponent:
    """The Exponent of values (seeds, widths)."""
    expected, fit = theory(quantity, gamma, activation), fit_or_refuse(widths, values)
    about = (quantity, activation, gamma, expected)
    span = float(widths.min()), float(widths.max()), len(values)
    if isinstance(fit, Refused):
        return Exponent(*about, None, None, None, None, None, None, *span, str(fit))
    p = None if np.isnan(fit.curvature_p) else fit.curvature_p
    bend = fit.bend if np.isfinite(fit.bend) else None
    verdict = _verdict(fit, powers(quantity, gamma, activation))
    return Exponent(*about, fit.slope, fit.error, fit.low, fit.high, bend, p, *span, verdict)


def _verdict(fit: ExponentFit, expected: Sequence[float]) -> str:
    """One of AGREES, NEAR, BETWEEN …, the miss, NO_THEORY; where curvature is significant that is
    added.
    """
    if not expected:
        return NO_THEORY
    last, first = max(expected), min(expected)
    curved = ", but curved" if fit.curved else ""
    if fit.agrees(last):
        return AGREES + curved
    if abs(fit.slope - last) <= TOLERANCE:
        return NEAR + curved
    powers = f"{BETWEEN} {_number(first)} and {_number(last)}"
    if first < fit.slope < last or fit.agrees(first):
        return powers + curved
    if abs(fit.slope - first) <= TOLERANCE:
        return f"{powers} to within {TOLERANCE:g}{curved}"
    return f"{fit.slope - last:+.3f} off{curved}".replace("-", "−")


def table(exponents: Sequence[Exponent]) -> str:
    """One line for each quantity, σ and γ, and below them what the verdicts mean."""
    head = (
        "quantity",
        "σ",
        "γ",
        "widths",
        "seeds",
        "theory",
        "slope",
        "95 %",
        "slope's change",
        "p",
        "verdict",
    )
    lines: list[tuple[str, ...]] = [head]
    for one in exponents:
        fitted = ["", "", ""]
        if one.slope is not None and one.low is not None and one.high is not None:
            digits = decimals(
                [(end, one.theory) for end in (one.low, one.high) if one.theory is not None], 3
            )
            interval = f"{_number(one.low, digits)} … {_number(one.high, digits)}"
            fitted = [with_error(one.slope, one.error, 3), interval, _number(one.bend)]
        p = "" if one.curvature_p is None else f"{one.curvature_p:.2g}"
        widths = f"{one.m_min:g}–{one.m_max:g}"
        start = (
            QUANTITIES[one.quantity],
            one.activation,
            f"{one.gamma:g}",
            widths,
            f"{one.seeds}",
            _number(one.theory),
        )
        lines.append((*start, *fitted, p, one.verdict))
    return "\n".join([text_table(lines), "", FOOTNOTE])


def _number(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
