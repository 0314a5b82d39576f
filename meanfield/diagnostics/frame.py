"""Frame: one moment of a run as a diagnostic sees it, live or stored; Problem: what all frames of a
run share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks, tangent
from ..flow import GradientFlow
from ..functionals.risk import EmpiricalRisk
from ..network import Network
from ..once import cached_property
from ..particles import Particles
from ..processes.threads import one_thread
from ..state import State
from .registry import Diagnostic


class Problem:
    """The flow, the start and the data of a run, and what diagnostics keep of the start.

    flow: None where it cannot be made, and `without` says why. data: the Dataset with the test set,
    or None. companion: t -> the Frame of another run at that time, or None. mass_varies: whether
    the masses change. traits: of the method, as in stepping/methods.py: "noisy", "moves masses",
    "does not balance".
    """

    def __init__(
        self,
        flow: GradientFlow | None,
        start: State,
        data: Any = None,
        without: str = "",
        mass_varies: bool = False,
        companion: Callable[[float], Frame] | None = None,
        traits: tuple[str, ...] = (),
    ) -> None:
        self.flow, self.start, self.data, self.without = flow, start, data, without
        self.mass_varies, self.companion, self.traits = mass_varies, companion, traits
        self.kept: dict[Any, Any] = {}

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """make(), once for each key: what a diagnostic needs of the start at every frame."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    @cached_property
    def origin(self) -> Frame:
        """The frame of the start."""
        return Frame(self, lambda: self.start)

    @cached_property
    def field(self) -> Any:
        """The flow on its device, for particles of the shape of the start."""
        assert self.flow is not None
        return self.flow.on_device(self.start)

    @cached_property
    def test(self) -> EmpiricalRisk | None:
        """The risk on the test set, without the ridge; None without a test set."""
        risk = None if self.flow is None else self.flow.functional.samples
        if risk is None or self.data is None or self.data.x_test is None:
            return None
        assert self.flow is not None
        if self.flow.functional.linearised_at is not None:
            return None
        return EmpiricalRisk(
            risk.network, self.data.x_test, self.data.y_test, risk.loss, risk.reduction
        )

    @cached_property
    def test_field(self) -> Any:
        assert self.flow is not None and self.test is not None
        return GradientFlow(self.test, backend=self.flow.backend, dtype=self.flow.dtype).on_device(
            self.start
        )


class Frame:
    """One moment: .state and .start (States), .flow, .x (n, d), .y (n, K) or classes (n,), and what
    follows from them.

    θ is on the device of the flow, in its dtype; everything else is NumPy on the host. Each is made
    when first asked for. march: that of a run that is on, whose particles are on the device
    already; None: the state is uploaded. dt: the length of the run's steps around this moment; NaN
    where it is not known.
    """

    def __init__(
        self,
        problem: Problem,
        state: Callable[[], State],
        march: Any = None,
        dt: float = float("nan"),
    ) -> None:
        self.problem, self._state, self._march = problem, state, march
        if march is not None:  # those of now: the march goes on, and a frame may be kept
            self.particles = march.particles
        self.dt = dt
        self.kept: dict[Any, Any] = {}

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """make(), once for each key: what several diagnostics of this moment share."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    @cached_property
    def state(self) -> State:
        return self._state()

    @property
    def start(self) -> State:
        return self.problem.start

    @property
    def flow(self) -> Any:
        return self.problem.flow

    @property
    def network(self) -> Network:
        return self.flow.network

    @property
    def x(self) -> np.ndarray:
        return self.flow.functional.samples.x

    @property
    def y(self) -> np.ndarray:
        return self.flow.functional.samples.y

    @cached_property
    def finite(self) -> bool:
        return bool(np.isfinite(self.state.theta).all())

    @cached_property
    def field(self) -> Any:
        """The flow bound to its device: energy, velocity, potential, value, predictions of
        particles.
        """
        return self._march.field if self._march else self.problem.field

    @cached_property
    def particles(self) -> Particles:
        """θ on the device, with the masses."""
        return Particles.of(self.state, self.field.backend)

    @property
    def theta(self) -> Any:
        """θ (m, p) on the device."""
        return self.particles.theta

    @cached_property
    def velocity(self) -> Any:
        """v(θ_k) = -∇ δF/δμ(θ_k), (m, p) on the device; of mini-batches that of all samples."""
        return self.field.mean_velocity(self.particles)

    @cached_property
    def energy(self) -> float:
        """F_s."""
        march = self._march
        now = march is not None and march.particles is self.particles
        return march.energy if now else self.field.energy(self.particles)

    @cached_property
    def predictions(self) -> np.ndarray:
        """f(x_i) on the training inputs, (n, K)."""
        return self.field.predictions(self.particles)

    @cached_property
    def test_predictions(self) -> np.ndarray:
        """f(x_i) on the test inputs, (n_test, K)."""
        return self.problem.test_field.predictions(self.particles)

    @property
    def companion(self) -> Frame:
        """The frame of the companion run at the same time."""
        assert self.problem.companion is not None
        return self.problem.companion(self.state.t)

    def kernel(self, samples: int | None) -> np.ndarray:
        """H_t on the first `samples` training inputs (None: on all), (n, n) or (n, n, K, K)."""
        return self.keep(
            ("kernel", samples), lambda: tangent.kernel(self.network, self.state, self.x[:samples])
        )


def evaluate(
    diagnostic: Diagnostic, frame: Frame, previous: Frame | None = None, **parameters: Any
) -> Any:
    """The value at a frame: a float, or (lower, upper, method, method); the one way, during a run
    and after it.
    """
    frames = (frame,) if diagnostic.kind == "frame" else (frame, previous)
    if diagnostic.finite and not all(item is not None and item.finite for item in frames):
        return (float("nan"), float("nan"), "", "") if diagnostic.interval else float("nan")
    if diagnostic.blas:
        import scipy.linalg  # noqa: F401  so that its BLAS is there to be limited

        with one_thread():
            value = diagnostic.function(*frames, **parameters)
    else:
        value = diagnostic.function(*frames, **parameters)
    if diagnostic.interval:
        lower, upper, lower_method, upper_method = value
        return float(lower), float(upper), str(lower_method), str(upper_method)
    if type(value) is float:
        return value
    return checks.scalar(f"diagnostic {diagnostic.name!r}", value)
