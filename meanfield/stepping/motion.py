"""Motion: what the motion that took place dissipated, |Δθ|²/Δt over windows of steps, where neurons
may slide along kinks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

from ..backends.protocol import Backend
from ..functionals.population import PopulationRisk
from ..functionals.protocol import Field
from ..particles import Particles

LEAST = 5  # steps of half a window


def may_slide(flow: Any) -> bool:
    """Whether the velocity of neurons may jump, so that they can chatter across the jump: where σ
    or ℓ has a kink.

    The population risk is smooth (Gaussian inputs average the kinks out), and so is a linearised
    network.
    """
    functional, network = flow.functional, flow.network
    if network is None or isinstance(functional, PopulationRisk):
        return False
    kinked = functional.samples is not None and functional.samples.curvature == 0  # hinge: ℓ'' = 0
    return kinked or (not network.sigma.smooth and functional.linearised_at is None)


class Motion:
    """∫ ∫|u|² dμ dt with u the motion that took place, averaged over windows: Σ
    (|Δθ|²_{L2(μ)}/Δt)·g over the windows so far.

    A window has 2 max(5, ⌊√N⌋/2) steps, N those before it: ten at first, and ever more as dt → 0,
    while its flow time √(N) dt → 0. A particle that chatters across a kink moves in it as the
    Filippov solution does, up to O(1/steps) of the chatter. g = (x/2)/tanh(x/2), x/2 =
    |ln(l_1/l_2)|, l_1 and l_2 the lengths travelled in its halves, is what a speed that falls as an
    exponential adds to the square of its mean: exact for one mode e^{-λt}, 1 for a uniform motion.
    THEORY.md, section 2. Filippov (1988), Differential Equations with Discontinuous Righthand
    Sides, section 4.

    What is kept is θ at the start of the window (device arrays are never written to: no copy is
    made).
    """

    def __init__(self, particles: Particles) -> None:
        self.theta, self.t, self.total = particles.theta, particles.t, 0.0
        self.steps = self.window = 0
        self.path = self.path_half = 0.0

    @property
    def _half(self) -> int:
        return max(LEAST, math.isqrt(self.steps - self.window) // 2)

    def after(self, field: Field, particles: Particles, path: float) -> None:
        """An accepted step has led to these particles, `path` long from the start of the run."""
        self.steps += 1
        self.window += 1
        half = self._half
        if self.window == half:
            self.path_half = path
        if self.window == 2 * half:
            self.total += self._open(field, particles, path)
            self._begin(particles.theta, particles.t, path)

    def ahead(self, step: int) -> dict[str, Any]:
        """What a compiled call has to know of the windows that end in it, by the names of
        backends/cpu/records.py; step: that of now.
        """
        half, begun = self._half, step - self.window
        return {
            "half": begun + half, "window": begun + 2 * half, "before": self.steps - self.window,
            "least": LEAST, "path_half": self.path_half,
        }  # fmt: skip

    def passed(self, steps: int, windows: list[list[float]], theta: Any, path_half: float) -> None:
        """A compiled call has made these steps. windows: (t, path, the path at its middle, |Δθ|²)
        of each that ended, the last of them at `theta`; path_half: that at the last middle.
        """
        last = self.steps + steps
        for t, path, self.path_half, way2 in windows:
            self.steps += 2 * self._half - self.window
            self.window = 2 * self._half
            self.total += self._rate(way2, t, path)
            self._begin(theta, t, path)
        self.window += last - self.steps
        self.steps, self.path_half = last, path_half

    def along(self, step: int, looks: Iterable[Any], windows: list[list[float]]) -> Iterator[float]:
        """`dissipated` at the moments `looks` (backends/cpu/records.py) of a compiled call that began
        at this step and has not been `passed` yet.
        """
        then, ended = copy.copy(self), 0
        for look in looks:
            then.passed(look.step - step, windows[ended : look.windows], None, look.path_half)
            step, ended = look.step, look.windows
            left = then._rate(look.moved2, look.t, look.path) if then.window else 0.0
            yield then.total + left

    def dissipated(self, field: Field, particles: Particles, path: float) -> float:
        """Up to this moment, that of the last step."""
        return self.total + (self._open(field, particles, path) if self.window else 0.0)

    def memory(self, backend: Backend) -> dict[str, Any]:
        return {
            "theta": backend.download(self.theta),
            **{name: getattr(self, name) for name in self._SCALARS},
        }

    def restore(self, backend: Backend, memory: dict[str, Any]) -> None:
        self.theta = backend.upload(memory["theta"])
        for name in self._SCALARS:
            setattr(self, name, memory[name])

    _SCALARS = ("t", "total", "steps", "window", "path", "path_half")

    def _open(self, field: Field, particles: Particles, path: float) -> float:
        """The part of the window that is open: |Δθ|²/Δt·g."""
        way = field.backend.combine(particles.theta, [-1.0], [self.theta])
        return self._rate(float(field.mean_square(way, particles)), particles.t, path)

    def _begin(self, theta: Any, t: float, path: float) -> None:
        """A window begins."""
        self.theta, self.t = theta, t
        self.path, self.window = path, 0

    def _rate(self, way2: float, t: float, path: float) -> float:
        """way2/Δt·g of a window up to t."""
        if not t > self.t:
            return 0.0
        first, second = self.path_half - self.path, path - self.path_half
        # of a run that diverges one may vanish beside the other
        measured = first > 0 and second > 0 and first / second > 0
        if self.window < 2 * self._half or not measured:
            return way2 / (t - self.t)
        x = abs(math.log(first / second))
        return way2 / (t - self.t) * (x / math.tanh(x) if x > 1e-8 else 1.0)
