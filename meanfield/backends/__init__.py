"""Where the arithmetic is done: on the CPU by numba, on a GPU by CUDA, or by torch. Nothing above this
folder names a device.

protocol.py says what a backend has. Kernels are plain Python, in the folders `kernels`;
kernel_files.py makes the text of one, unroll.py writes its short loops out, compiler.py binds
formulas to it and compiles it, plain.py runs it without a compiler.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from ..network import Network
from ..processes.ranks import Ranks, current
from .protocol import Backend

NAMES = ("cpu", "cuda", "auto", "torch", "torch:cuda", "torch:mps")
DTYPES = ("float64", "float32")


def dtype_name(dtype: Any) -> str:
    """The name "float64" or "float32" of such a name, a NumPy type or a np.dtype; ValueError for
    others.
    """
    # of np.float32, of a np.dtype, a string
    name = getattr(dtype, "__name__", getattr(dtype, "name", dtype))
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    return str(name)


def check(backend: str, devices: tuple[str, ...] = ("cpu", "cuda")) -> str:
    """The backend that "cpu", "cuda" or "auto" means here; raises, before any work, for one that is
    not there.

    "auto" is "cuda" where a GPU can be used and "cpu" elsewhere; it does not ask whether torch,
    needed there for d > 16, can use the GPU too. It is decided once, when a flow is made: what the
    flow, its run and its file name is the backend that computes. devices: those that have the
    kernels needed.
    """
    if backend not in NAMES:
        raise ValueError(f"backend must be one of {', '.join(NAMES)}; got {backend!r}.")
    if backend.startswith("torch"):
        return _torch(backend)
    if backend == "auto" and devices == ("torch",):
        return "torch:cuda" if not _lacks("cuda") else "torch"
    if backend == "auto":
        return "cpu" if "cuda" not in devices or why_no_cuda() else "cuda"
    if backend == "cuda" and (missing := why_no_cuda()):
        raise ValueError(
            f'backend="cuda" was asked for, but {missing} Or use backend="cpu" ("auto" '
            "takes what is there)."
        )
    return backend


def here(backend: str) -> str:
    """The backend that a run had, or the one without a GPU where this machine has none for it."""
    if backend == "cuda" and why_no_cuda():
        return "cpu"
    name, _, device = backend.partition(":")
    return name if device and _lacks(device) else backend


def _torch(backend: str) -> str:
    """The name, where torch and the device it names are here; raises otherwise."""
    if importlib.util.find_spec("torch") is None:
        raise ValueError(
            f'backend="{backend}" was asked for, and torch is not installed: pip install torch.'
        )
    if (device := backend.partition(":")[2]) and _lacks(device):
        raise ValueError(
            f'backend="{backend}" was asked for, and the torch that is installed finds no such device: '
            'use backend="torch", which computes on the CPU.'
        )
    return backend


def _lacks(device: str) -> bool:
    from .torch import devices

    return not devices.available(device)


def why_no_cuda() -> str | None:
    """What the CUDA backend lacks on this machine and how to get it; None where it can run."""
    if importlib.util.find_spec("numba_cuda") is None:
        if sys.platform != "linux":
            return f"it runs on Linux with an NVIDIA GPU only; this is {sys.platform}."
        return 'numba-cuda is not installed. Install it with: pip install -e ".[cuda]".'
    try:
        from numba import cuda

        if cuda.is_available():
            return None
    except Exception as error:  # numba-cuda and numba of versions that do not fit fail in many ways
        found = f"{type(error).__name__}: {error}"
        return (
            f"numba-cuda does not load ({found}). Install the versions that fit: pip "
            'install -e ".[cuda]".'
        )
    said = " ".join(str(cuda.cuda_error() or "no NVIDIA GPU, or no NVVM").split()).strip(" :")
    return (
        f"no usable NVIDIA GPU was found ({said}). Install an NVIDIA driver for CUDA 13; "
        "`nvidia-smi` must list a GPU."
    )


def shared(backend: Backend, ranks: Ranks, m: int) -> Backend:
    """The part of m particles that this rank works of a backend; itself in one process."""
    if ranks.size == 1:
        return backend
    made: Any = backend
    if backend.name == "cuda":
        from .cuda import part

        return part.part_of(made, ranks, m)
    if backend.name != "cpu":
        raise ValueError(
            f'{ranks.size} processes share a run with backend="cpu" or "cuda"; got "{backend.name}". Use '
            "one of these, or one process."
        )
    from .cpu.part import part_of

    return part_of(made, ranks, m)


def make(backend: str, network: Network | None, dim: int, outputs: int, dtype: str) -> Backend:
    """The backend of that name for one network, input dimension and dtype; network None: for whole
    rows of θ (outputs = 0).
    """
    if backend.startswith("torch") and network is not None:
        from .torch.backend import Torch

        made: Any = Torch(network, dim, outputs, dtype, backend.partition(":")[2] or "cpu")
        return made
    feature = None if network is None else network.feature
    if check(backend) == "cuda":
        if current().size > 1:
            from .cuda.part import choose_device

            choose_device()
        if network is not None and feature is not None:
            from .cuda.features import FeatureCUDA

            return FeatureCUDA(network, dim, outputs, dtype)
        from .cuda.backend import CUDA

        return CUDA(network, dim, outputs, dtype)
    if network is not None and feature is not None:
        from .cpu.features import FeatureCPU

        return FeatureCPU(network, dim, outputs, dtype)
    from .cpu.backend import CPU

    return CPU(network, dim, outputs, dtype)
