"""φ of many particles at once as torch sees it: of neurons, and of modules."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch

from ...features import torch_activations
from ...network import Network

Many = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # θ (m, p), x (n, d) -> (m, n, K)


def of_neurons(network: Network, outputs: int) -> Many:
    """a σ(⟨w, x⟩ + b); ValueError for an activation that torch does not know."""
    sigma = torch_activations.of(network.sigma)
    if sigma is None:
        raise ValueError(
            f'backend="torch" knows no activation {network.sigma.name!r}, only '
            f'{", ".join(torch_activations.ACTIVATIONS)} and leaky_relu: use backend="cpu", or '
            "mf.ModuleFeature of a module with it."
        )

    def many(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        a, w, b = theta[:, :outputs], theta[:, outputs:-1], theta[:, -1:]
        return sigma(w @ x.T + b)[:, :, None] * a[:, None, :]

    return many


class _Made(threading.local):
    """{feature: {(dtype, device): what of_module gives}}, as long as the feature lives. Of each thread
    its own: torch puts the parameters of a call into the module.
    """

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[Any, dict[Any, tuple[Many, Any]]] = WeakKeyDictionary()


_MADE = _Made()


def of_module(feature: Any, dtype: torch.dtype, device: str) -> tuple[Many, Any]:
    """module(x) of each particle, and the architecture on that device: mapped over particles by
    vmap, or, where torch cannot do that with a layer, one after the other.
    """
    made = _MADE.of.setdefault(feature, {})
    if (dtype, device) not in made:
        made[dtype, device] = _of_module(weakref.proxy(feature), dtype, device)
    return made[dtype, device]


def _of_module(feature: Any, dtype: torch.dtype, device: str) -> tuple[Many, Any]:
    architecture = copy.deepcopy(feature.architecture).to(dtype=dtype, device=device)

    def one(row: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return feature.phi(row, x, architecture)

    mapped = torch.func.vmap(one, (0, None))
    probe = torch.zeros((2, feature.columns.size), dtype=dtype, device=device)
    try:
        mapped(probe, torch.zeros((2, feature.columns.dim), dtype=dtype, device=device))
        can = True
    except RuntimeError:
        can = False

    def many(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if len(theta) == 1 or not can:
            return torch.stack([one(row, x) for row in theta])
        return mapped(theta, x)

    return many, architecture
