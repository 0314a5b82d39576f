"""Kernels of ReLU networks on the circle in Fourier modes, and networks that learn them.

On the uniform circle K(ψ) has the eigenfunctions cos kθ, sin kθ with λ_k = (1/2π)∫ K(ψ) cos kψ dψ.
a = ±1 fixed, no bias at the start (THEORY.md, section 3):

    w trained    cos ψ (π - ψ)/2π    1/8 (k = 1), (k² + 1)/(π²(k² - 1)²) (k even), 0 (k = 3, 5, …)
    b trained    (π - ψ)/2π          1/4 (k = 0), 1/(π²k²) (k odd), 0 (k = 2, 4, …)

n equispaced points have Σ_j λ_{|k + jn|}, j over all integers, as eigenvalues of K/n.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

LAW = mf.InitialLaw(dim=2, symmetric=True)
LEARNT = (1, 2, 3, 4)  # degrees of the target Σ_k cos kθ
TRAINED = {"w": ("w",), "w and b": ("w", "b")}


def eigenvalue(k: int, trained: str = "w") -> float:
    """λ_k of what is trained, "w" or "w and b"."""
    w = 1 / 8 if k == 1 else 0.0 if k % 2 else (k**2 + 1) / (math.pi**2 * (k**2 - 1) ** 2)
    b = 1 / 4 if k == 0 else 1 / (math.pi * k) ** 2 if k % 2 else 0.0
    return w + b * (trained == "w and b")


def angles(n: int) -> np.ndarray:
    return 2 * math.pi * np.arange(n) / n


def dataset(config: Config) -> mf.data.Dataset:
    """n equispaced points and Σ_k cos kθ over LEARNT."""
    theta = angles(config.n)
    x = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    return mf.data.Dataset(x, np.cos(np.outer(theta, LEARNT)).sum(axis=1), name="circle")


def network(trained: str = "w") -> mf.Network:
    return mf.Network("relu", mf.NTK, trainable=TRAINED[trained])


def flow(config: Config) -> mf.GradientFlow:
    data = dataset(config)
    return mf.GradientFlow(mf.EmpiricalRisk(network(), data.x, data.y))


def in_modes(H: np.ndarray, degrees: int) -> np.ndarray:
    """⟨v, H v⟩/n of the normalised modes of each degree, cos and sin on average: (degrees,)."""
    n = len(H)
    waves = np.exp(1j * np.outer(np.arange(degrees), angles(n))) / math.sqrt(n)
    return np.einsum("ki,ij,kj->k", waves.conj(), H, waves, optimize=True).real / n


def limit(config: Config, trained: str) -> np.ndarray:
    """The same of the infinite-width kernel."""
    return in_modes(ntk.kernel(network(trained), LAW, dataset(config).x), config.degrees)


def trained(config: Config, m: int) -> dict[str, np.ndarray]:
    """spectrum (seeds, degrees) of the kernel at the start, and its distance ‖H - H∞‖/n (seeds,) in
    operator norm; times (k,) and left (seeds, k, LEARNT): the amplitude of each mode of y - f, 1 at
    the start.

    With a = ±1 fixed a rotation of one neuron's kernel is that of another neuron: in_modes averages
    over the rotations by 2π/n, so spectrum is almost that of the limit at every width, and what is
    at random is between modes.
    """
    data = dataset(config)
    spectrum, apart, left, times = [], [], [], np.empty(0)
    limit = ntk.kernel(network(), LAW, data.x)
    for seed in range(config.seeds):
        start = LAW.sample(m, seed=seed)
        H = ntk.empirical(network(), start, data.x)
        spectrum.append(in_modes(H, config.degrees))
        apart.append(np.linalg.norm(H - limit, 2) / data.n)
        series = [
            mf.Series(f"mode_{k}", mf.every(1), partial(_left, data=data, k=k)) for k in LEARNT
        ]
        mf.simulate(
            flow(config), start, mf.RK4, dt=config.dt, t_end=config.t_end, observers=series,
            progress=False,
        )  # fmt: skip
        times = np.array(series[0].times)
        left.append(np.stack([item.values for item in series], axis=1))
    return {
        "spectrum": np.array(spectrum),
        "apart": np.array(apart),
        "times": times,
        "left": np.array(left),
    }


def _left(flow: Any, state: mf.State, data: mf.data.Dataset, k: int) -> float:
    residual = data.y - flow.predict(state)[:, 0]
    return float(2 * np.mean(residual * np.cos(k * angles(data.n))))
