"""The linear model of early stopping, after Oymak, Fabian, Li and Soltanolkotabi (2019): few strong
directions, many weak ones, noisy labels.

x = (z + σ_x g, σ_x g'), z, g ∈ R^r and g' ∈ R^(d - r) normal; y = ⟨β, x⟩ + σ_y ε with β in the first r
directions, |β| = 1. Gradient descent on ½‖Xw - y‖² from w = 0 with X = Σ_s λ_s u_s v_sᵀ and
a_s = ⟨u_s, y⟩:

    y - Xw_τ = Σ_s (1 - ηλ_s²)^τ a_s u_s,    w_τ = Σ_s (1 - (1 - ηλ_s²)^τ)/λ_s a_s v_s

The first r modes are the information, the others the nuisance, in which labels are noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from . import Linear


def sample(config: Linear, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X (n, d), y (n,), β (d,)."""
    rng = np.random.default_rng(seed)
    beta = np.zeros(config.dim)
    beta[: config.rank] = rng.normal(size=config.rank)
    beta /= np.linalg.norm(beta)
    x = config.input_noise * rng.normal(size=(config.n, config.dim))
    x[:, : config.rank] += rng.normal(size=(config.n, config.rank))
    return x, x @ beta + config.label_noise * rng.normal(size=config.n), beta


def counts(config: Linear) -> np.ndarray:
    """Steps at which one looks, 0 and by factors √2."""
    most = int(2 * np.log2(config.steps))
    return np.unique(np.append(0, np.round(2.0 ** (np.arange(most + 1) / 2)).astype(int)))


def descended(config: Linear, seed: int) -> dict[str, np.ndarray]:
    """By count: `test`, E(⟨w_τ - β, x⟩²)/E⟨β, x⟩²; `known`, the same with w_τ in the information alone;
    `information` and `nuisance`, ‖·‖²/‖y‖² of the residual; `values` (n,), the λ_s.
    """
    x, y, beta = sample(config, seed)
    U, values, Vt = np.linalg.svd(x, full_matrices=False)
    a, eta = U.T @ y, 1.0 / values[0] ** 2
    left = (1 - eta * values**2)[None] ** counts(config)[:, None]
    parts = (1 - left) / values * a
    size = np.full(config.dim, config.input_noise**2)
    size[: config.rank] += 1.0
    test = ((parts @ Vt - beta) ** 2) @ size
    known = ((parts[:, : config.rank] @ Vt[: config.rank] - beta) ** 2) @ size
    energy = (left * a) ** 2 / np.square(y).sum()
    outside = 1 - (a @ a) / np.square(y).sum() if config.dim < config.n else 0.0
    return {
        "test": test / (beta**2 @ size),
        "known": known / (beta**2 @ size),
        "information": energy[:, : config.rank].sum(axis=1),
        "nuisance": energy[:, config.rank :].sum(axis=1) + outside,
        "values": values,
    }


def of_seeds(config: Linear) -> dict[str, np.ndarray]:
    """The same, (seeds, …)."""
    found = [descended(config, seed) for seed in range(config.seeds)]
    return {name: np.array([item[name] for item in found]) for name in found[0]}
