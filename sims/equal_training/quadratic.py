"""A quadratic function of many variables, learnt by N neurons in three ways: Ghorbani, Mei,
Misiakiewicz and Montanari (2019).

x ~ N(0, I_d), target xᵀBx - tr B with B = diag(λ_1 >= … >= λ_d > 0), networks with σ(z) = z² and a
free constant. Their mean squared errors on the population, in parts of R_0 = 2‖B‖²:

    RF    Σ_k a_k ⟨w_k, x⟩² with the best a, w on the sphere: 1 - bᵀG⁻¹b/‖B‖²,
          G_kl = ⟨w_k, w_l⟩², b_k = w_kᵀBw_k                      → 1 - tρ/(1 + ρ)
    NT    Σ_k ⟨v_k, x⟩⟨w_k, x⟩ with the best v: ‖PBP‖²/‖B‖², P the projection
          on what is at right angles to all w_k                  → (1 - ρ)²(1 - t) + (1 - ρ)t
    NN    (1/N) Σ_k ⟨w_k, x⟩² with w trained                      → Σ_{i > N} λ_i²/‖B‖²

ρ = N/d up to 1, t = (tr B)²/(d‖B‖²); NT has no error from ρ = 1 on. The last is an energy of pairs
of particles, F = -2∫wᵀBw dμ + ∬⟨w, w'⟩² dμdμ = ‖M - B‖² - ‖B‖² with M = ∫wwᵀ dμ: a functional of its
own that computes M and compiles nothing for a B.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

import meanfield as mf

if TYPE_CHECKING:
    from . import Quadratic

KINDS = ("RF", "NT", "NN")
STEP = 0.12  # dt·λ_1; the fastest rate at the target is 16 λ_1, and RK4 is stable below 2.78


def target(dim: int, draw: int) -> np.ndarray:
    """λ_1 >= … >= λ_d, independent with the law Exp(1)."""
    return np.sort(np.random.default_rng(draw).exponential(size=dim))[::-1].copy()


def trace_share(lam: np.ndarray) -> float:
    """t = (tr B)²/(d‖B‖²)."""
    return float(lam.sum() ** 2 / (len(lam) * np.square(lam).sum()))


def theory(kind: str, lam: np.ndarray, N: int) -> float:
    """The error in parts of R_0: of RF and NT as d → ∞, of NN for these λ."""
    rho, t = N / len(lam), trace_share(lam)
    if kind == "RF":
        return 1 - t * rho / (1 + rho)
    if kind == "NT":
        return (1 - rho) ** 2 * (1 - t) + (1 - rho) * t if rho < 1 else 0.0
    return float(np.square(lam[N:]).sum() / np.square(lam).sum())


def directions(N: int, dim: int, draw: int) -> np.ndarray:
    w = np.random.default_rng((1, draw)).normal(size=(N, dim))
    return w / np.linalg.norm(w, axis=1, keepdims=True)


def random_features(lam: np.ndarray, w: np.ndarray) -> float:
    G, b = (w @ w.T) ** 2, np.square(w) @ lam
    return float(1 - b @ np.linalg.lstsq(G, b, rcond=1e-12)[0] / np.square(lam).sum())


def tangent(lam: np.ndarray, w: np.ndarray) -> float:
    if len(w) >= len(lam):
        return 0.0
    Q = np.linalg.qr(w.T)[0]
    P = np.eye(len(lam)) - Q @ Q.T
    return float(np.square(P @ (lam[:, None] * P)).sum() / np.square(lam).sum())


def trained(lam: np.ndarray, N: int, draw: int, time: float) -> float:
    """After the gradient flow of w from N(0, I/(4d))."""
    flow = mf.GradientFlow(Distance(lam))
    w = np.random.default_rng((2, draw)).normal(size=(N, len(lam))) / (2 * np.sqrt(len(lam)))
    start, dt = mf.State(w, outputs=0), STEP / lam[0]
    end = mf.simulate(flow, start, mf.RK4, dt=dt, t_end=time, progress=False)
    return 1 + flow.energy(end) / float(np.square(lam).sum())


class Distance(mf.Functional):
    """F(μ) = ‖M - B‖² - ‖B‖², M = ∫wwᵀ dμ, B = diag(λ): velocity 4(B - M)w. The pairs of particles
    meet in M alone, O(m d²) a step.
    """

    network = None

    def __init__(self, lam: np.ndarray) -> None:
        self.lam = lam

    def on(self, backend: Any, state: mf.State) -> DistanceField:
        return DistanceField(self, backend)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "Distance", "lam": self.lam.tolist()}


class DistanceField(mf.Field):
    """The functional bound to the CPU, whose arrays are NumPy's."""

    def __init__(self, functional: Distance, backend: Any) -> None:
        super().__init__(backend)
        self.B = np.diag(functional.lam)

    def _apart(self, particles: Any) -> np.ndarray:
        theta = particles.theta
        return (theta * particles.mass[:, None]).T @ theta - self.B

    def energy(self, particles: Any) -> float:
        return float(np.square(self._apart(particles)).sum() - np.square(self.B).sum())

    def _velocity(self, particles: Any) -> np.ndarray:
        return -4.0 * particles.theta @ self._apart(particles)

    def potential(self, particles: Any, at: Any = None) -> np.ndarray:
        w = particles.theta if at is None else at
        return 2.0 * np.einsum("ki,ij,kj->k", w, self._apart(particles), w)


# products of d = 200 are too short for several threads, which wait for each other on a busy machine
@threadpool_limits.wrap(limits=1)
def learnt(config: Quadratic, N: int) -> dict[str, np.ndarray]:
    """RF, NT, NN (draws,), and what theory says of each, theory_RF, …"""
    ways: dict[str, Callable[[np.ndarray, int], float]] = {
        "RF": lambda lam, draw: random_features(lam, directions(N, config.dim, draw)),
        "NT": lambda lam, draw: tangent(lam, directions(N, config.dim, draw)),
        "NN": lambda lam, draw: trained(lam, N, draw, config.time),
    }
    targets = [target(config.dim, draw) for draw in range(config.draws)]
    found: dict[str, np.ndarray] = {}
    for kind, way in ways.items():
        found[kind] = np.array([way(lam, draw) for draw, lam in enumerate(targets)])
        found[f"theory_{kind}"] = np.array([theory(kind, lam, N) for lam in targets])
    return found
