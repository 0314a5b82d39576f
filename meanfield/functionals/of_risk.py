"""What functionals share that are made of an EmpiricalRisk: its network, samples and settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ..network import Network
from ..state import State
from .protocol import Functional
from .risk import EmpiricalRisk


class OfRisk(Functional):
    """A functional with a `risk`: what it does not say itself is that of the risk."""

    risk: EmpiricalRisk

    devices: ClassVar[tuple[str, ...]] = EmpiricalRisk.devices
    terms: ClassVar[tuple[str, ...]] = EmpiricalRisk.terms

    @property
    def network(self) -> Network:  # type: ignore[override]
        return self.risk.network

    @property
    def samples(self) -> EmpiricalRisk:
        return self.risk

    @property
    def ridge(self) -> float:  # type: ignore[override]
        return self.risk.ridge

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return self.risk.arrays

    @property
    def formulas(self) -> tuple[Callable, ...]:
        return self.risk.formulas

    def check_state(self, state: State) -> None:
        self.risk.check_state(state)
