"""Activations as torch functions: written a second time, what the kernels of the CPU are held against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from ..formulas import activations
from ..formulas.activations import Activation

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
    "gelu": functional.gelu,
    "sin": torch.sin,
    "square": torch.square,
    "linear": lambda z: z,
}


def of(sigma: Activation) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """σ of tensors; None for one that torch does not know, and for one of a user's own."""
    if sigma.name.startswith("leaky_relu"):
        return partial(functional.leaky_relu, negative_slope=sigma.slope(-1.0))
    known = activations.TABLE.get(sigma.name)
    return ACTIVATIONS.get(sigma.name) if known and sigma.value is known.value else None
