"""What a GPU can do, measured on the spot by two kernels of ours: chains of fused multiply-adds in
registers, and a copy.

In CUDA's simulator (scripts/bench --device cuda --dry-run) the same lines run at toy sizes, and
their numbers mean nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numba import cuda

from meanfield.backends.cuda.compiler import SIMULATED

from . import sections

CHAINS = 8  # independent sums a thread: more than the latency of a multiply-add


def gpu() -> str:
    """Its name."""
    name = "simulator" if SIMULATED else cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else name


def machine() -> dict[str, str]:
    """What times on a GPU depend on beside the processor's machine."""
    capability = (
        "" if SIMULATED else ".".join(map(str, cuda.get_current_device().compute_capability))
    )
    return {"gpu": gpu(), "compute_capability": capability, "numba-cuda": version("numba-cuda")}


def memory() -> tuple[float, float] | None:
    """(in use, total) bytes of the GPU; None in the simulator."""
    if SIMULATED:
        return None
    free, total = cuda.current_context().get_memory_info()
    return total - free, total


def measure(works: Mapping[str, Callable[[int], Any]], effort: Effort) -> dict[str, list[float]]:
    """As sections.measure, until the GPU has done what was queued. Everything is called once
    before, and so compiled.
    """

    def waited(work: Callable[[int], Any]) -> Callable[[int], None]:
        def whole(count: int) -> None:
            work(count)
            cuda.synchronize()

        whole(1)
        return whole

    return sections.measure({name: waited(work) for name, work in works.items()}, effort)


@dataclass
class Effort(sections.Effort):
    """Of one run on a GPU: its limits are measured once."""

    def peak(self, dtype: str) -> float:
        """Fused multiply-adds that touch no memory, two operations each: GFLOP/s."""
        if dtype not in self.peaks:
            self.peaks[dtype] = _gigaflops(dtype, self)
        return self.peaks[dtype]

    @property
    def bandwidth(self) -> float:
        """GB/s of a copy, read and written counted."""
        if "copy" not in self.peaks:
            self.peaks["copy"] = _copied(self)
        return self.peaks["copy"]


def chains(dtype: str) -> Any:
    """A kernel of CHAINS independent chains s <- a s + b a thread, `repeats` long."""
    lines = "\n".join(f"        s{j} = a * s{j} + b" for j in range(CHAINS))
    first = "\n".join(f"    s{j} = a + T({j})" for j in range(CHAINS))
    text = f"""
def kernel(a, b, repeats, out):
{first}
    r = 0
    while r < repeats:
{lines}
        r += 1
    out[cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x] = {" + ".join(f"s{j}" for j in range(CHAINS))}
"""
    names: dict[str, Any] = {"cuda": cuda, "T": np.dtype(dtype).type}
    exec(text, names)
    return cuda.jit(names["kernel"])


def _gigaflops(dtype: str, effort: Effort) -> float:
    blocks, threads, repeats = (2, 4, 4) if SIMULATED else (132 * 32, 256, 4096)
    kernel, out = chains(dtype), cuda.device_array(blocks * threads, dtype)
    a, b = np.dtype(dtype).type(0.999), np.dtype(dtype).type(0.001)

    def work(count: int) -> None:
        for _ in range(count):
            kernel[blocks, threads](a, b, repeats, out)

    return (
        2e-9
        * CHAINS
        * repeats
        * blocks
        * threads
        / min(measure({"chains": work}, effort)["chains"])
    )


@cuda.jit
def copy(source, target):
    i = cuda.blockIdx.x * 256 + cuda.threadIdx.x
    if i < target.size:
        target[i] = source[i]


def _copied(effort: Effort) -> float:
    count = 300 if SIMULATED else 2**28
    source, target = (
        cuda.to_device(np.ones(count, np.float32)),
        cuda.device_array(count, np.float32),
    )

    def work(times: int) -> None:
        for _ in range(times):
            copy[math.ceil(count / 256), 256](source, target)

    return 8e-9 * count / min(measure({"copy": work}, effort)["copy"])
