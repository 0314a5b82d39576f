"""One step of a pairwise energy on one GPU: m² pairs of a Gaussian interaction, against torch eager and torch.compile.

A step is an explicit Euler step x ← x - dt Σ_l p_l ∇U(x - x_l), U = e^{-|x - y|²/2}, θ staying on the device, and its ∫|v|² read.
Peers write v = K x - (Σ_l K_kl) x_k on whole (m, m) matrices, the distances by a matrix product. The share is that of the GPU's
multiply-adds, 6 p + 1 operations a pair (p differences, p squares, their sum, the weight, p sums), the exponential not counted.
"""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass
from math import exp
from typing import Any

import numpy as np
import torch

import meanfield as mf

from . import peers
from .gpu_limits import SIMULATED, Effort, measure
from .gpu_steps import wants_gpu
from .sections import Column, milliseconds, spread

TITLE = "one step of a pairwise energy on the GPU"
COLUMNS = (
    Column("ours_ms", "step ms"),
    Column("tflops", "TFLOP/s", ".2f"),
    Column("of_peak", "of FMA peak", ".0%"),
    Column("eager_ratio", "torch eager", ".1f", "×"),
    Column("compiled_ratio", "torch.compile", ".1f", "×"),
)
DT = 0.01


def attraction(x, y):
    total = 0.0
    for j in range(x.size):
        total += (x[j] - y[j]) * (x[j] - y[j])
    return -exp(-0.5 * total)


def grad_attraction(x, y, out):
    total = 0.0
    for j in range(x.size):
        total += (x[j] - y[j]) * (x[j] - y[j])
    e = exp(-0.5 * total)
    for j in range(x.size):
        out[j] = (x[j] - y[j]) * e


@dataclass(frozen=True)
class Case:
    """m points of p coordinates."""

    m: int
    p: int
    dtype: str

    @property
    def name(self) -> str:
        return f"pairs-p{self.p}-m{self.m:.0e}-{self.dtype}".replace("e+0", "e")

    @property
    def operations(self) -> float:
        return float(self.m) ** 2 * (6 * self.p + 1)


def cases(quick: bool = False) -> list[Case]:
    if SIMULATED:
        return [Case(9, 2, "float32"), Case(9, 3, "float64")]
    found = [(10**4, 2), (10**4, 10), (3 * 10**4, 2), (10**5, 2)]
    return [Case(m, p, "float32") for m, p in found if not (quick and m > 10**4)] + [Case(10**4, 2, "float64")]


class Ours:
    def __init__(self, theta: np.ndarray) -> None:
        energy = mf.PairwiseEnergy(interaction=(attraction, grad_attraction))
        flow = mf.GradientFlow(energy, backend="cuda", dtype=theta.dtype.name)
        self.field = flow.on_device(mf.State(theta, outputs=0))
        self.position = self.field.backend.upload(theta)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            taken = mf.EULER.step(self.field, self.position, self.field.velocity(self.position), DT)
            self.position, self.dissipated = taken.theta, taken.dissipated  # which every step of a run looks at

    def theta(self) -> np.ndarray:
        return self.field.backend.download(self.position)


class Torch:
    """Whole (m, m) matrices; `compiled` lets torch.compile fuse what lies between the products."""

    def __init__(self, theta: np.ndarray, compiled: bool) -> None:
        self.x = torch.tensor(theta)
        self.advance = torch.compile(self._advance) if compiled else self._advance

    @staticmethod
    def _advance(x: torch.Tensor) -> torch.Tensor:
        squares = (x * x).sum(dim=1)
        kernel = torch.exp(-0.5 * (squares[:, None] + squares[None, :] - 2.0 * (x @ x.T)))
        return x + DT * (kernel @ x - kernel.sum(dim=1, keepdim=True) * x) / len(x)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.x = self.advance(self.x)

    def theta(self) -> np.ndarray:
        return self.x.cpu().numpy()


def run(case: Case, effort: Effort) -> dict[str, Any]:
    """Milliseconds of a step, and the peers' times over ours, each of which takes turns with ours."""
    theta = np.random.default_rng(0).normal(size=(case.m, case.p)).astype(case.dtype)
    times = measure({"ours": Ours(theta).step}, effort)
    median, ratios, absent = milliseconds(times), {}, {}
    for name in ("torch", "torch.compile"):
        if SIMULATED and "compile" in name:
            absent[name] = "left out of the rehearsal"
            continue
        try:
            if not SIMULATED:
                wants_gpu(name)
            torch.set_default_device("cpu" if SIMULATED else "cuda")
            pair = {"ours": Ours(theta), "peer": Torch(theta, "compile" in name)}
            for contender in pair.values():
                contender.step(2)
            gap = np.abs(pair["peer"].theta() - pair["ours"].theta()).max()
            if not gap < 1e-3:
                raise ArithmeticError(f"{name} took another step: the points differ by {gap:.1e}.")
            both = milliseconds(measure({key: contender.step for key, contender in pair.items()}, effort))
            ratios[name] = both["peer"] / both["ours"]
        except (ImportError, NotImplementedError, RuntimeError) as error:
            absent[name] = (str(error).splitlines() or [type(error).__name__])[0]
        finally:
            torch.set_default_device("cpu")
            pair = contender = None
            gc.collect()
            if not SIMULATED and torch.cuda.is_available():
                torch.cuda.empty_cache()
            peers.forget_compiled()
    rate = case.operations / (1e-3 * median["ours"])
    return {
        **asdict(case), "ms": median, "spread": spread(times), "ratios": ratios, "absent": absent, "ours_ms": median["ours"],
        "tflops": 1e-12 * rate, "of_peak": 1e-9 * rate / effort.peak(case.dtype), "eager_ratio": ratios.get("torch"),
        "compiled_ratio": ratios.get("torch.compile"), "goals": [],
    }  # fmt: skip
