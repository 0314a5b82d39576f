"""An EmpiricalRisk on a device: features, predictions, energy, velocity and first variation there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.protocol import Backend
from ..network import PARAMETERS
from ..particles import Particles
from ..state import State
from .lanczos import largest_eigenvalue
from .protocol import NetworkField

if TYPE_CHECKING:
    from .risk import EmpiricalRisk


class RiskField(NetworkField):
    """The risk bound to a device: predictions, energy and velocity of device particles.

    Mean features F = ∫ φ dμ, losses and slopes stay on the device; `predictions` are what the host
    sees of them.
    """

    def __init__(
        self, risk: EmpiricalRisk, backend: Backend, state: State, draws: bool = False
    ) -> None:
        super().__init__(backend, deterministic=not draws)
        self.risk = risk
        self.s = risk.network.scaling.output_scale(state.m)
        self._everything: tuple[Any, Any] = (None, None)
        if not draws:  # who draws samples says at each step which
            self.hold(backend.samples(risk.x), risk.y, risk.weights)

    def hold(self, samples: Any, y: np.ndarray, weights: np.ndarray | None) -> None:
        """These samples stand for all n: Σ_i over n is estimated by n/size times the sum over them."""
        self.samples = samples
        self.labels = self.backend.labels(y)
        self._weights = {} if weights is None else {"weights": self.backend.labels(weights)}
        self.factor = self.risk.factor * (self.risk.n / samples.n)

    def features(self, particles: Particles) -> Any:
        """F(x_i) = Σ_k p_k φ(θ_k; x_i), (n, K) on the device."""
        known = self.known(particles)
        if "features" not in known:
            theta, weight = particles.theta, self.weight(particles)
            known["features"] = self.backend.mean_feature(theta, weight, self.samples, keep=True)
        return known["features"]

    def predictions(self, particles: Particles) -> np.ndarray:
        """f(x_i) = s F(x_i): (n, K) on the host."""
        return self.s * self.backend.download(self.features(particles))

    def value(self, particles: Particles) -> float:
        """R(f)."""
        return self.factor * float(self._total(particles))

    def regulariser(self, particles: Particles) -> float:
        """(λ/2) ∫ |θ|² dμ over trainable columns."""
        return 0.5 * self.risk.ridge * float(self._size2(particles))

    def energy(self, particles: Particles) -> float:
        """F_s = R/s² + (λ/2) ∫ |θ|² dμ."""
        total = self._total(particles)
        size2 = self._size2(particles)  # both are started before the first is waited for
        risk = self.factor * float(total) / self.s**2

        return risk + 0.5 * self.risk.ridge * float(size2)

    def _total(self, particles: Particles) -> Any:
        features = self.features(particles)
        return self.backend.total(self.risk._loss, features, self.labels, self.s, **self._weights)

    def _size2(self, particles: Particles) -> Any:
        if not self.risk.ridge:
            return 0.0
        weight = self.weight(particles)
        return self.backend.norm(particles.theta, weight, trainable_only=True)

    def slopes(self, particles: Particles, sign: float = 1.0) -> Any:
        """± s⁻¹ ∂R/∂f(x_i), (n, K) on the device."""
        factor = sign * self.factor
        features = self.features(particles)
        return self.backend.slopes(
            self.risk._loss, features, self.labels, self.s, factor, **self._weights
        )

    def _velocity(self, particles: Particles) -> Any:
        """v_k = -s⁻¹ Σ_i ∂R/∂f(x_i) ∇_θ φ(θ_k; x_i) - λ θ_k on trainable columns: a device array
        (m, p).
        """
        slopes = self.slopes(particles, -1.0)
        return self.backend.pull_back(particles.theta, self.samples, slopes, decay=self.risk.ridge)

    def potential(self, particles: Particles, at: Any = None) -> np.ndarray:
        """δF/δμ(θ_k) = s⁻¹ Σ_i ∂R/∂f(x_i) · φ(θ_k; x_i) + (λ/2)|θ_k|²: (m,) on the host; of other
        neurons `at`, (q,).
        """
        points = particles.theta if at is None else at
        return self._heights(self.backend, points, self.slopes(particles))

    def _heights(self, backend: Any, points: Any, slopes: Any) -> np.ndarray:
        """Σ_i slopes_i · φ(θ; x_i) + (λ/2)|θ|² at each point, on the host. φ = a σ is the
        derivative in a, times a.
        """
        network, K = self.risk.network, backend.outputs
        if network.feature is not None:
            heights = backend.heights(points, self.samples, slopes)
        else:
            if self._everything[0] is not backend:  # made once: a reaction asks at every step
                of_all = replace(network, trainable=PARAMETERS)
                self._everything = backend, backend.for_network(of_all)
            everything = self._everything[1]
            gradient = everything.pull_back(points, self.samples, slopes)
            g = backend.download(gradient).astype(np.float64)
            a = backend.download(points)[:, :K].astype(np.float64)
            heights = (g[:, :K] * a).sum(axis=1)
        if not self.risk.ridge:
            return heights
        host = backend.download(points).astype(np.float64)
        columns = network.trainable_columns(backend.dim, K)
        return heights + 0.5 * self.risk.ridge * (host[:, columns] ** 2).sum(axis=1)

    def force(self, particles: Particles, at: Any) -> np.ndarray:
        """-∇ δF/δμ at other neurons `at`: (q, p) on the host."""
        slopes = self.slopes(particles, -1.0)
        pulled = self.backend.pull_back(at, self.samples, slopes, decay=self.risk.ridge)
        return self.backend.download(pulled)

    def tangent_product(self, particles: Particles, v: np.ndarray) -> np.ndarray:
        """H·v on the training inputs, v (n, K) -> (n, K), by one pull-back and its adjoint: no
        kernel is formed.
        """
        theta, weight = particles.theta, self.weight(particles)
        pulled = self.backend.pull_back(theta, self.samples, self.backend.upload(v))
        pushed = self.backend.push_forward(theta, weight, self.samples, pulled)
        return self.backend.download(pushed)

    def tangent_eigenvalue(
        self, particles: Particles, rtol: float = 1e-3, steps: int = 200, weighted: bool = False
    ) -> float:
        """λ_max(H) on the training inputs, to rtol; 0 for a kernel that vanishes. weighted:
        λ_max(W^½HW^½).
        """
        shape = self.samples.n, self.backend.outputs
        weights = self.risk.weights if weighted else None
        root = 1.0 if weights is None else np.sqrt(weights)[:, None]

        def product(v: np.ndarray) -> np.ndarray:
            found = self.tangent_product(particles, root * v.reshape(shape))
            return (root * found).ravel()

        return largest_eigenvalue(product, shape[0] * shape[1], rtol, steps)

    def rate(self, particles: Particles) -> float:
        """L·λ_max + λ: λ_max that of H/n (mean) or H (sum), W^½HW^½ with weights; L = sup ℓ'', λ
        the ridge.
        """
        risk = self.risk
        if risk.curvature == 0:
            raise ValueError(
                f'dt="auto" needs a loss with curvature; {risk.to_dict()["loss"]!r} has '
                "ℓ'' = 0. Give dt a number."
            )
        eigenvalue = self.tangent_eigenvalue(particles, weighted=True)
        return risk.curvature * risk.factor * eigenvalue + risk.ridge

    def compiled(self) -> bool:
        return self.backend.compiled()

    @property
    def stretched_by(self) -> Any:
        return self.backend
