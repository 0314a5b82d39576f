"""The CUDA backend on one GPU: a step's time, its share of what this GPU can do, and the peers in the same run.

The limits are measured on the spot by two kernels of ours: chains of fused multiply-adds in registers, and a copy. A step is an
explicit Euler step, θ staying on the device. Its operations are the kernels' own, elementary functions not counted: for a
pair (particle, sample) z and a σ forward, 2 (d + 1); z again, and the sums backward, 4 d + 2 (relu) or 4 d + 4. Its bytes are θ
read forward and backward, the velocity written, read and added. The roofline is the longer of the two times at the limits.
"""

from __future__ import annotations

import fnmatch
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numba import cuda

import meanfield as mf
from meanfield.backends import cuda as backend
from meanfield.backends.cuda_formulas import SIMULATED

from . import peers
from .machine import machine
from .steps import Case as OnProcessor
from .steps import Ours, start

CHAINS = 8  # independent sums a thread: more than the latency of a multiply-add


class Case(OnProcessor):
    """One of m neurons, n samples, d inputs, with what a step costs."""

    keeps_z = False

    @property
    def bytes(self) -> float:
        """Read or written by one step in arrays of θ's size."""
        return 6.0 * self.m * (self.d + 2) * np.dtype(self.dtype).itemsize


CASES = [
    Case("relu", 10**6, 1024, 2, "float32"),
    Case("tanh", 10**6, 1024, 2, "float32"),
    Case("relu", 10**6, 1024, 2, "float64"),
    Case("relu", 10**5, 256, 2, "float32"),
    Case("tanh", 10**5, 256, 2, "float32"),
    Case("relu", 10**5, 1000, 10, "float32"),
    Case("tanh", 10**5, 1000, 10, "float32"),
    Case("relu", 10**4, 1000, 10, "float32"),
    Case("relu", 10**5, 1000, 64, "float32"),
    Case("relu", 10**4, 1000, 784, "float32"),
]
REHEARSAL = [Case("relu", 6, 7, 2, "float32"), Case("tanh", 6, 7, 2, "float64"), Case("relu", 6, 7, 20, "float32")]


def seconds(work: Callable[[int], Any], rounds: int, least: float) -> float:
    """The median time of one piece of work over rounds of at least `least` seconds; work(count) queues it count times."""

    def once(count: int) -> float:
        cuda.synchronize()
        begin = time.perf_counter()
        work(count)
        cuda.synchronize()
        return (time.perf_counter() - begin) / count

    once(1)  # compiles
    count = max(1, min(1000, math.ceil(least / max(once(1), 1e-9))))
    return statistics.median(once(count) for _ in range(rounds))


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


def multiply_add_peak(dtype: str, rounds: int, least: float) -> float:
    """Operations a second of fused multiply-adds that touch no memory, two a multiply-add."""
    blocks, threads, repeats = (2, 4, 4) if SIMULATED else (132 * 32, 256, 4096)
    kernel, out = chains(dtype), cuda.device_array(blocks * threads, dtype)
    a, b = np.dtype(dtype).type(0.999), np.dtype(dtype).type(0.001)

    def work(count: int) -> None:
        for _ in range(count):
            kernel[blocks, threads](a, b, repeats, out)

    return 2.0 * CHAINS * repeats * blocks * threads / seconds(work, rounds, least)


@cuda.jit
def copy(source, target):
    i = cuda.blockIdx.x * 256 + cuda.threadIdx.x
    if i < target.size:
        target[i] = source[i]


def bandwidth(rounds: int, least: float) -> float:
    """Bytes a second of a copy, read and written counted."""
    count = 300 if SIMULATED else 2**28
    source, target = cuda.to_device(np.ones(count, np.float32)), cuda.device_array(count, np.float32)

    def work(times: int) -> None:
        for _ in range(times):
            copy[math.ceil(count / 256), 256](source, target)

    return 8.0 * count / seconds(work, rounds, least)


def parts(case: Case, rounds: int, least: float) -> dict[str, float]:
    """Seconds of a step, and of its forward and backward pass with the n-vectors' travel."""
    theta, x, y = start(case.m, case.n, case.d, case.dtype)
    ours = Ours(theta, x, y, case.activation, 0.01, "cuda")
    field, position = ours.field, ours.position
    slopes = np.ones((case.n, 1))

    def forward(count: int) -> None:
        for _ in range(count):
            field.backend.mean_feature(position, field.weight, field.samples)

    def backward(count: int) -> None:
        for _ in range(count):
            field.backend.pull_back(position, field.samples, slopes)

    return {
        name: seconds(work, rounds, least) for name, work in (("step", ours.step), ("forward", forward), ("backward", backward))
    }


def peer_times(case: Case, rounds: int, least: float) -> tuple[dict[str, float], dict[str, str]]:
    """({peer: seconds a step}, {peer: why it is absent}): torch and JAX on the same GPU, from the same start."""
    import torch

    theta, x, y = start(case.m, case.n, case.d, case.dtype)
    reference = Ours(theta, x, y, case.activation, 0.01, "cuda")
    reference.step(2)
    expected, times, absent = reference.theta(), {}, {}
    for peer in (peers.TorchEager, peers.TorchCompiled, peers.TorchFused, peers.JaxJit):
        if SIMULATED and "compile" in peer.name:
            absent[peer.name] = "left out of the rehearsal"
            continue
        try:
            if not SIMULATED:
                _wants_gpu(peer.name)
            torch.set_default_device("cpu" if SIMULATED else "cuda")
            contender = peer(theta, x, y, case.activation, 0.01)
            contender.step(2)
            gap = np.abs(contender.theta() - expected).max() / np.abs(expected).max()
            if not gap < 1e-3:
                raise ArithmeticError(f"{peer.name} took another step: the parameters differ by {gap:.1e}.")
            times[peer.name] = seconds(contender.step, rounds, least)
        except (ImportError, NotImplementedError, RuntimeError) as error:
            absent[peer.name] = (str(error).splitlines() or [type(error).__name__])[0]
        finally:
            torch.set_default_device("cpu")
            contender = None
            if not SIMULATED and torch.cuda.is_available():
                torch.cuda.empty_cache()
            peers.forget_compiled()
    return times, absent


def _wants_gpu(name: str) -> None:
    """RuntimeError where the peer's library would compute elsewhere."""
    if name.startswith("torch"):
        import torch

        found = torch.cuda.is_available()
    else:
        import jax

        found = jax.default_backend() == "gpu"
    if not found:
        raise RuntimeError(f"this {name.split('.')[0]} finds no GPU")


def crossover(rounds: int, least: float) -> list[dict]:
    """Our fused kernels against matrix products, d = 8 … 32: what cuda.FUSED_UP_TO should be."""
    m, n, dims = (6, 7, (2, 3)) if SIMULATED else (10**5, 1000, (8, 12, 16, 20, 24, 32))
    limit, rows = backend.FUSED_UP_TO, []
    try:
        for activation in ("relu", "tanh"):
            for d in dims:
                times = []
                for backend.FUSED_UP_TO in (d, 0):
                    ours = Ours(*start(m, n, d, "float32"), activation, 0.01, "cuda")
                    times.append(seconds(ours.step, rounds, least))
                rows.append({"activation": activation, "d": d, "fused_ms": 1e3 * times[0], "products_ms": 1e3 * times[1]})
                print(
                    f"{activation:8} d = {d:3}   fused {1e3 * times[0]:9.3f} ms   products {1e3 * times[1]:9.3f} ms", flush=True
                )
    finally:
        backend.FUSED_UP_TO = limit
    return rows


def table(rounds: int, least: float, patterns: list[str], to: Path | None) -> None:
    """Print the limits, every case and what is absent; write all of it as JSON where asked."""
    cases = REHEARSAL if SIMULATED else CASES
    chosen = [case for case in cases if not patterns or any(fnmatch.fnmatch(case.name, pattern) for pattern in patterns)]
    if not chosen:
        raise SystemExit(f"no case matches {' '.join(patterns)}; there are {', '.join(case.name for case in cases)}.")
    peaks = {dtype: multiply_add_peak(dtype, rounds, least) for dtype in ("float32", "float64")}
    bytes_a_second = bandwidth(rounds, least)
    gpu = "simulator" if SIMULATED else cuda.get_current_device().name
    gpu = gpu.decode() if isinstance(gpu, bytes) else gpu
    print(f"{gpu}: multiply-adds {peaks['float32'] / 1e12:.1f} TFLOP/s float32, {peaks['float64'] / 1e12:.1f} float64; "
          f"copy {bytes_a_second / 1e9:.0f} GB/s")  # fmt: skip
    print(
        f"{'case':34}{'step ms':>10}{'forward':>10}{'backward':>10}{'TFLOP/s':>9}{'of peak':>9}{'of roof':>9}   peers, ms",
        flush=True,
    )
    results, missing = [], {}
    for case in chosen:
        ours = parts(case, rounds, least)
        times, absent = peer_times(case, rounds, least)
        missing |= absent
        roof = max(case.operations / peaks[case.dtype], case.bytes / bytes_a_second)
        rate = case.operations / ours["step"]
        result = {
            **asdict(case), "seconds": ours, "peers": times, "operations_a_second": rate,
            "of_peak": rate / peaks[case.dtype], "of_roofline": roof / ours["step"],
        }  # fmt: skip
        results.append(result)
        shown = ", ".join(f"{name} {1e3 * value:.3g} ({value / ours['step']:.1f}×)" for name, value in times.items())
        milliseconds = "".join(f"{1e3 * ours[name]:10.3f}" for name in ("step", "forward", "backward"))
        shares = f"{rate / 1e12:9.2f}{result['of_peak']:9.1%}{result['of_roofline']:9.1%}"
        print(f"{case.name:34}{milliseconds}{shares}   {shown or 'none'}", flush=True)
    for name, why in missing.items():
        print(f"{name} absent: {why}")
    if to:
        limits = {"multiply_adds": peaks, "copy": bytes_a_second}
        to.write_text(json.dumps({"machine": machine(), "gpu": gpu, "limits": limits, "results": results}, indent=1))


def main(quick: bool, patterns: list[str], cross: bool, to: Path | None) -> None:
    mf.backends.check("cuda", "float32")
    rounds, least = (1, 0.0) if SIMULATED else (3, 0.05) if quick else (7, 0.2)
    if cross:
        rows = crossover(rounds, least)
        if to:
            to.write_text(json.dumps(rows, indent=1))
        return
    table(rounds, least, patterns, to)
