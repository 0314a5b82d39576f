"""Centred: a backend whose network is f - f_0, the function at the start taken away."""

from __future__ import annotations

from typing import Any

from ..state import State


class Centred:
    """Mean features ∫ φ dμ - ∫ φ dμ_0; all else is the wrapped backend's, for f_0 does not move."""

    def __init__(self, backend: Any, start: State) -> None:
        self.backend = backend
        self._theta, self._weight = backend.upload(start.theta), backend.weights(start.mass)
        self._at_start: tuple[Any, Any] = (None, None)  # of the samples last asked for

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def mean_feature(self, theta: Any, weight: Any, samples: Any, keep: bool = False) -> Any:
        """Σ_k p_k φ(θ_k; x_i) - Σ_k p_k φ(θ_0k; x_i), (n, K); the second once for a set of samples."""
        if self._at_start[0] is not samples:
            first = self.backend.mean_feature(self._theta, self._weight, samples)
            self._at_start = samples, first
        found = self.backend.mean_feature(theta, weight, samples, keep)
        return self.backend.combine(found, [-1.0], [self._at_start[1]])

    def stretch(self, field: Any, particles: Any, tableau: Any, seconds: float) -> None:
        """None: steps are made one by one."""
