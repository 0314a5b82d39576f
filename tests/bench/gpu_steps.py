"""One step of the CUDA backend on one GPU, its share of what this GPU can do, and the peers in the
same run.

A step is an explicit Euler step, θ staying on the device, and its ∫|v|² read, as a run does. Its
operations are the kernels' own, elementary functions not counted: for a pair (particle, sample) z
and a σ forward, 2 (d + 1); z again, and the sums backward, 4 d + 2 (relu) or 4 d + 4. Its bytes are
θ read forward and backward, the velocity written, read and added. The roofline is the longer of the
two times at the limits. "products" are the three large matrix products that a step cannot do
without when z is not kept, Z = VᵀX twice and X Qᵀ, whole and alone, by cuBLAS.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from . import peers
from .engine import samples
from .gpu_limits import SIMULATED, Effort, measure, memory
from .sections import Column, Goal, milliseconds, reason, repeated, spread
from .steps import Case as OnProcessor
from .steps import Ours

TITLE = "one step on the GPU"
COLUMNS = (
    Column("ours_ms", "step ms"),
    Column("forward_ms", "forward ms"),
    Column("backward_ms", "backward ms"),
    Column("tflops", "TFLOP/s", ".2f"),
    Column("of_peak", "of FMA peak", ".0%"),
    Column("of_roofline", "of roofline", ".0%"),
    Column("products_ms", "products ms"),
    Column("eager_ratio", "torch eager", ".1f", "×"),
    Column("compiled_ratio", "best compiled", ".1f", "×"),
    Column("memory_gb", "GPU GB", ".2f"),
)
PEERS = (peers.TorchEager, peers.TorchCompiled, peers.TorchFused, peers.JaxJit)
COMPILED = ("torch.compile", "jax")  # of which the better is what the goal is counted against


@dataclass(frozen=True)
class Case(OnProcessor):
    """One of m neurons, n samples, d inputs, and what is asked of it: "peers", "peak", "products",
    "fits".
    """

    asked: tuple[str, ...] = ()

    @property
    def operations(self) -> float:
        """Of one step: the pull-back multiplies for ReLU, too."""
        return (
            float(self.m)
            * self.n
            * (2 * (self.d + 1) + 4 * self.d + (2 if self.activation == "relu" else 4))
        )

    @property
    def bytes(self) -> float:
        """Read or written by one step in arrays of θ's size."""
        return 6.0 * self.m * (self.d + 2) * np.dtype(self.dtype).itemsize

    def verdicts(self, result: dict[str, Any]) -> list[Goal]:
        """The goals of the CUDA backend, each where it was set."""
        room, products = memory(), result["products_ms"]
        goals = {
            "peers": [
                Goal("torch eager", 10.0, result["eager_ratio"]),
                Goal("the better of torch.compile and JAX", 5.0, result["compiled_ratio"]),
            ],
            "peak": [Goal("of the FMA peak", 0.4, result["of_peak"], ".0%", "")],
            "products": [
                Goal(
                    "over cuBLAS alone",
                    1.1,
                    result["ours_ms"] / products if products else None,
                    ".2f",
                    most=True,
                )
            ],
            "fits": [
                Goal(
                    "GPU memory",
                    1e-9 * room[1] if room else np.inf,
                    result["memory_gb"],
                    ".1f",
                    " GB",
                    most=True,
                )
            ],
        }
        return [goal for name in self.asked for goal in goals[name]]


def cases(quick: bool = False) -> list[Case]:
    if SIMULATED:
        return [
            Case("relu", 6, 7, 2, "float32", ("peers", "peak")),
            Case("tanh", 6, 7, 2, "float64"),
            Case("relu", 6, 7, 20, "float32", ("products",)),
            Case("relu", 9, 5, 2, "float32", ("fits",)),
        ]
    found = [
        Case("relu", 10**6, 1024, 2, "float32", ("peers", "peak")),
        Case("tanh", 10**6, 1024, 2, "float32"),
        Case("relu", 10**6, 1024, 2, "float64"),
        Case("relu", 10**5, 256, 2, "float32"),
        Case("tanh", 10**5, 256, 2, "float32"),
        Case("relu", 10**5, 1000, 10, "float32"),
        Case("tanh", 10**5, 1000, 10, "float32"),
        Case("relu", 10**4, 1000, 10, "float32"),
        Case("relu", 10**5, 1000, 64, "float32"),
        Case("relu", 10**4, 1000, 784, "float32", ("products",)),
        Case("relu", 10**5, 1000, 784, "float32", ("products",)),
        Case("relu", 10**8, 256, 2, "float32", ("fits",)),
    ]
    return [case for case in found if not (quick and case.m * case.n > 1e8)]


def products(ours: Ours, field: Any) -> Callable[[], None]:
    """Z = VᵀX twice and X Qᵀ on whole arrays, in the dtype, not rounded to ten bits."""
    from meanfield.backends.cuda.wide import tensor

    torch.backends.cuda.matmul.allow_tf32 = False
    V, X = tensor(ours.particles.theta.data)[1:], tensor(field.samples.x.data)[:, : field.samples.n]
    z = torch.empty((V.shape[1], X.shape[1]), dtype=X.dtype, device=X.device)
    g = torch.empty_like(V)

    def three() -> None:
        torch.mm(V.T, X, out=z)
        torch.mm(V.T, X, out=z)
        torch.mm(X, z.T, out=g)

    return three


def parts(
    case: Case, problem: tuple, effort: Effort
) -> tuple[dict[str, list[float]], float | None]:
    """Seconds of our step and of its parts; the GPU's memory that they take, GB."""
    before = memory()
    ours = Ours(*problem, case.activation, 0.01, "cuda")
    field, backend = ours.field, ours.field.backend
    slopes = backend.upload(np.ones((case.n, 1)))
    works = {
        "ours": ours.step,
        "forward": repeated(
            lambda: backend.mean_feature(
                ours.particles.theta, field.weight(ours.particles), field.samples
            )
        ),
        "backward": repeated(
            lambda: backend.pull_back(ours.particles.theta, field.samples, slopes)
        ),
    }
    if not backend.fused:
        works["products"] = repeated(products(ours, field))
    times = measure(works, effort)
    after = memory()
    return times, 1e-9 * (after[0] - before[0]) if before and after else None


def run(case: Case, effort: Effort) -> dict[str, Any]:
    """Milliseconds of a step, of its parts, and of the peers, each of which takes turns with ours;
    the goals set for it.
    """
    problem = samples(case.m, case.n, case.d, case.dtype)
    times, memory_gb = parts(case, problem, effort)
    gc.collect()
    given = *problem, case.activation, 0.01
    makers = {} if "fits" in case.asked else {kind.name: partial(kind, *given) for kind in PEERS}
    ratios, absent = peer_ratios(partial(Ours, *given, "cuda"), makers, effort)
    median = milliseconds(times)
    seconds = 1e-3 * median["ours"]
    roof = max(case.operations / effort.peak(case.dtype), case.bytes / effort.bandwidth) * 1e-9
    result = {
        **asdict(case), "ms": median, "spread": spread(times), "ratios": ratios, "absent": absent,
        **{f"{name}_ms": median.get(name) for name in ("ours", "forward", "backward", "products")},
        "tflops": 1e-12 * case.operations / seconds, "of_peak": 1e-9 * case.operations / seconds / effort.peak(case.dtype),
        "of_roofline": roof / seconds, "eager_ratio": ratios.get("torch"),
        "compiled_ratio": min((ratios[name] for name in COMPILED if name in ratios), default=None),
        "memory_gb": memory_gb,
    }  # fmt: skip
    return {**result, "goals": case.verdicts(result)}


def peer_ratios(
    ours: Callable[[], Any], makers: Mapping[str, Callable[[], Any]], effort: Effort
) -> tuple[dict[str, float], dict[str, str]]:
    """({peer: its time over ours}, {peer: why it is absent}): each on the same GPU, from the same
    start, in turns with ours. One that takes other steps is absent, too.
    """
    ratios, absent = {}, {}
    for name, make in makers.items():
        if SIMULATED and "compile" in name:
            absent[name] = "left out of the rehearsal"
            continue
        try:
            if not SIMULATED:
                wants_gpu(name)
            torch.set_default_device("cpu" if SIMULATED else "cuda")
            pair = {"ours": ours(), "peer": make()}
            for contender in pair.values():
                contender.step(2)
            expected = pair["ours"].theta()
            gap = np.abs(pair["peer"].theta() - expected).max() / np.abs(expected).max()
            if not gap < 1e-3:
                raise ArithmeticError(
                    f"it took other steps: they differ by {gap:.1e} of the largest"
                )
            median = milliseconds(measure({key: one.step for key, one in pair.items()}, effort))
            ratios[name] = median["peer"] / median["ours"]
        except Exception as error:
            absent[name] = reason(error)
        finally:
            torch.set_default_device("cpu")
            pair = contender = expected = None
            gc.collect()
            if not SIMULATED and torch.cuda.is_available():
                torch.cuda.empty_cache()
            peers.forget_compiled()
    return ratios, absent


def wants_gpu(name: str) -> None:
    """RuntimeError where the peer's library would compute elsewhere."""
    if name.startswith("torch"):
        found = torch.cuda.is_available()
    else:
        import jax

        found = jax.default_backend() == "gpu"
    if not found:
        raise RuntimeError(f"this {name.split('.')[0]} finds no GPU")
