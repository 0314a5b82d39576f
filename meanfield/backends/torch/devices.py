"""Which devices the torch that is installed can use."""

from __future__ import annotations

import torch


def available(device: str) -> bool:
    """Whether "cuda" or "mps" is there."""
    if device == "cuda":
        return torch.cuda.is_available()
    return device == "mps" and torch.backends.mps.is_available()
