"""Devices: the only place that knows one from another.

A backend holds θ on its device and offers upload, download, samples, mean_feature, pull_back, push_forward,
combine and norm. Nothing above this package names a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..network import Network

if TYPE_CHECKING:
    from .cpu import CPU

NAMES = ("cpu", "auto")
DTYPES = ("float64", "float32")


def check(backend: str, dtype: str) -> None:
    """Raise, before any work, for a backend or a dtype that is not there."""
    if backend not in NAMES:
        missing = " The CUDA backend is not part of this version." if backend == "cuda" else ""
        raise ValueError(f"backend must be one of {', '.join(NAMES)}; got {backend!r}.{missing}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")


def make(backend: str, network: Network, dim: int, outputs: int, dtype: str) -> CPU:
    """The backend of that name for one network, input dimension and dtype ("auto": the CPU, the only one here)."""
    check(backend, dtype)
    from .cpu import CPU

    return CPU(network, dim, outputs, dtype)
