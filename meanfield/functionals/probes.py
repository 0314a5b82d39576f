"""What a functional's formulas give at some points, in plain Python: by this two flows of the same
names are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..formulas.differences import plain
from ..formulas.gaussian_pairs import GaussianPair
from ..formulas.losses import Loss
from ..formulas.slopes import POINTS, label_points, some
from ..state import State
from .pairwise import PairwiseEnergy
from .population import PopulationRisk

# what two machines' exp, tanh, … and their rounding may make different
SAME, SAME_OF_LARGEST = 1e-9, 1e-12


def probe_values(functional: Any, start: State) -> dict[str, list[float | None]]:
    """{name: values} of σ, σ', K_σ, ℓ, ℓ', V, ∇V, U, ∇U (those there are), at fixed points or the
    start's particles.

    Of a gradient one number a point, its product with a fixed vector: what is kept does not grow
    with p. In plain Python; None where a formula has no finite value. For json; `changed(before,
    now)` says what is not the same.
    """
    found: dict[str, list[float]] = {}
    network, samples = functional.network, functional.samples
    if network is not None and network.feature is None:
        found["σ"] = [plain(network.sigma.value, z) for z in POINTS]
        found["σ'"] = [plain(network.sigma.slope, z) for z in POINTS]
    if network is not None and isinstance(functional, PopulationRisk):
        found["K_σ"] = [
            plain(_kernel, network.sigma.pair, abs(q), abs(r)) for q, r in pairwise(POINTS)
        ]
    if samples is not None and isinstance(samples.loss, Loss):
        found |= _of_loss(samples.loss, samples.y, start.outputs)
    if not isinstance(functional, PairwiseEnergy):
        return _finite(found)
    rows = some(start.theta)
    if pair := functional.potential:
        found["V"] = [plain(pair[0], x) for x in rows]
        found["∇V"] = [_along(pair[1], x) for x in rows]
    if pair := functional.interaction:
        couples = [(x, y) for x in rows for y in rows if not np.array_equal(x, y)]
        found["U"] = [plain(pair[0], x, y) for x, y in couples]
        found["∇U"] = [_along(pair[1], x, y) for x, y in couples]
    return _finite(found)


def _finite(found: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {
        name: [value if math.isfinite(value) else None for value in values]
        for name, values in found.items()
    }


def changed(
    before: Mapping[str, Sequence[float | None]], now: Mapping[str, Sequence[float | None]]
) -> list[str]:
    """A phrase for each formula of both that is another now: "σ: -0.3 before, -0.5 now, and so at 5
    of 12 points".
    """
    phrases = []
    for name in before:
        if name not in now:
            continue
        pairs = list(zip(before[name], now[name], strict=False))
        largest = max(
            (abs(value) for value in (*before[name], *now[name]) if value is not None), default=0.0
        )
        off = [(a, b) for a, b in pairs if not _same(a, b, SAME_OF_LARGEST * largest)]
        if len(before[name]) != len(now[name]):
            phrases.append(f"{name}: {len(before[name])} values before, {len(now[name])} now")
        elif off:
            a, b = off[0]
            phrases.append(
                f"{name}: {_text(a)} before, {_text(b)} now, and another at {len(off)} of "
                f"{len(pairs)} points"
            )
    return phrases


def _of_loss(loss: Loss, y: np.ndarray, outputs: int) -> dict[str, list[float]]:
    points = label_points(loss, y, outputs)
    values = [plain(loss.value, f, label) for f, label in points]
    if loss.coupled:
        slopes = [_along(loss.slope, f, label) for f, label in points]
    else:
        slopes = [plain(loss.slope, f, label) for f, label in points]
    return {"ℓ": values, "ℓ'": slopes}


def _kernel(pair: GaussianPair, q: float, r: float) -> float:
    """K_σ(w, v) for |w|² = q, |v|² = r, ⟨w, v⟩ = √(qr)/3, by the formulas of gaussian_pairs.py."""
    along_both = math.sqrt(q * r) / 3
    (mu, _, x), (nu, weight, y) = pair.prepare(q), pair.prepare(r)
    rho = mu * nu * along_both
    along, first, second = pair.pair(rho, x, y)
    return (
        pair.finish(q, weight * along * rho, weight * first, weight * second)[0]
        + pair.linear(q) * along_both
    )


def _along(gradient: Any, x: np.ndarray, *more: Any) -> float:
    """Σ_j out_j cos(j + 1) of what gradient(x, …, out) puts into an `out` of zeros; NaN outside its
    domain.
    """
    out = np.zeros(len(x))

    def filled() -> float:
        gradient(x, *more, out)
        return float(out @ np.cos(np.arange(1.0, out.size + 1)))

    return plain(filled)


def _same(a: float | None, b: float | None, allowed: float) -> bool:
    return a == b if a is None or b is None else math.isclose(a, b, rel_tol=SAME, abs_tol=allowed)


def _text(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"
