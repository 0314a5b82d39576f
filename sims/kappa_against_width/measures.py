"""The relative scale κ(θ_0) = ‖f - y‖ ‖∇²f‖/‖∇f‖² of networks Σ_k a_k σ(w_k x), before they train.

f = α m^(-γ) Σ_k φ(θ_k) has ‖∇f‖ ~ α m^(1/2 - γ) and ‖∇²f‖ ~ α m^(-γ), the largest of the blocks of
single neurons. With f_0 = 0

    κ ~ m^(γ-1)/α                  a = ±1
    κ ~ m^(-1)/α                   γ = 0, a ~ N(0, 1/m), LeCun's start (TRUTHS.md, section 4)

In the second ∇f has the O(1) entries σ, ∇²f the O(1) entries ∂²/∂a∂w = σ'x. Without f_0 = 0 the
residual grows with α as well, and κ tends to a constant. The kernel changes by O(κ) at most, and by
O(κ²) from a symmetric start of smooth neurons, which cancels what is odd in 1/α.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

X = np.linspace(-1.0, 1.0, 8)[:, None]
DATA = mf.data.Dataset(X, np.sin(2.0 * X[:, 0]), name="sine")
SLOPES = {"γ = 1/2": -0.5, "γ = 3/4": -0.25, "γ = 1": 0.0, "LeCun": -1.0}  # theory's, of m
GAMMAS = {"γ = 1/2": 0.5, "γ = 3/4": 0.75, "γ = 1": 1.0, "LeCun": 0.0}


def law(name: str, m: int) -> mf.InitialLaw:
    """w ~ N(0, 1) with a = ±1, or a ~ N(0, 1/m); neighbours (a, w), (-a, w), so that f_0 = 0."""
    ones = mf.InitialLaw(dim=1, symmetric=True)
    return replace(ones, a="normal", a_std=m**-0.5) if name == "LeCun" else ones


def network(config: Config, name: str, alpha: float = 1.0) -> mf.Network:
    return mf.Network(config.activation, mf.Scaling(GAMMAS[name], alpha), trainable=("a", "w"))


def flow(config: Config, name: str) -> mf.GradientFlow:
    return mf.GradientFlow(mf.EmpiricalRisk(network(config, name), DATA.x, DATA.y))


def kappa(config: Config, name: str, start: mf.State, alpha: float = 1.0) -> float:
    return ntk.relative_scale(network(config, name, alpha), start, DATA.x, DATA.y).kappa


def measured(config: Config, m: int) -> dict[str, np.ndarray]:
    """kappa and drift (networks, seeds) at α = 1; scaled (networks + 1, seeds, alphas), κ against α,
    the last of independent neurons at γ = 1/2.
    """
    kappas, drifts, scaled = [], [], []
    for name in SLOPES:
        starts = [law(name, m).sample(m, seed=seed) for seed in range(config.seeds)]
        kappas.append([kappa(config, name, start) for start in starts])
        drifts.append([_drift(config, name, start) for start in starts])
        scaled.append([[kappa(config, name, start, a) for a in config.alphas] for start in starts])
    alone = replace(law("γ = 1/2", m), symmetric=False)
    starts = [alone.sample(m, seed=seed) for seed in range(config.seeds)]
    scaled.append([[kappa(config, "γ = 1/2", start, a) for a in config.alphas] for start in starts])
    return {name: np.array(values) for name, values in
            (("kappa", kappas), ("drift", drifts), ("scaled", scaled))}  # fmt: skip


def _drift(config: Config, name: str, start: mf.State) -> float:
    """‖H_T - H_0‖/‖H_0‖ after gradient flow."""
    end = mf.simulate(
        flow(config, name), start, mf.RK4, dt=config.dt, t_end=config.t_end, progress=False
    )
    H0, H = (ntk.empirical(network(config, name), state, DATA.x) for state in (start, end))
    return ntk.drift(H0, H)
