"""One step over all pairs on one GPU: m² pairs of a Gaussian interaction, or of ReLU neurons in a
population risk.

Against torch eager and torch.compile.

A step is an explicit Euler step x ← x - dt Σ_l p_l ∇U(x - x_l), U = e^{-|x - y|²/2}, θ staying on
the device, and its ∫|v|² read. Peers write v = K x - (Σ_l K_kl) x_k on whole (m, m) matrices, the
distances by a matrix product. The share is that of the GPU's multiply-adds, 6 p + 1 operations a
pair (p differences, p squares, their sum, the weight, p sums), the exponential not counted. Of
neurons, with whole(…) of population.py as peer, 4 d + 7 a pair: ρ, V, and 1 - ρ², F and the weight,
no root or angle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from math import exp
from typing import Any

import numpy as np
import torch

import meanfield as mf

from . import engine, population
from .gpu_limits import SIMULATED, Effort, measure
from .gpu_steps import peer_ratios
from .sections import Column, milliseconds, spread

TITLE = "one step over all pairs on the GPU"
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
    """m points of p coordinates, or m neurons of p inputs that meet a teacher of three."""

    m: int
    p: int
    dtype: str
    kind: str = "pairs"  # or "neurons"

    @property
    def name(self) -> str:
        return f"{self.kind}-p{self.p}-m{self.m:.0e}-{self.dtype}".replace("e+0", "e")

    @property
    def operations(self) -> float:
        if self.kind == "neurons":
            return float(self.m) * (self.m + engine.TEACHER) * (4 * self.p + 7)
        return float(self.m) ** 2 * (6 * self.p + 1)

    def contenders(
        self,
    ) -> tuple[Callable[[], Ours | Neurons], Callable[[bool], Torch | TorchNeurons]]:
        """(what makes ours, what makes the torch peer, compiled or not)."""
        if self.kind == "neurons":
            theta, teacher = engine.student(self.m, self.p, self.dtype)
            return lambda: Neurons(theta, teacher), lambda compiled: TorchNeurons(
                theta, teacher, compiled
            )
        points = np.random.default_rng(0).normal(size=(self.m, self.p)).astype(self.dtype)
        return lambda: Ours(points), lambda compiled: Torch(points, compiled)


def cases(quick: bool = False) -> list[Case]:
    if SIMULATED:
        return [Case(9, 2, "float32"), Case(9, 3, "float64"), Case(9, 2, "float32", "neurons")]
    found = [(10**4, 2), (10**4, 10), (3 * 10**4, 2), (10**5, 2)]
    return [
        case
        for kind in ("pairs", "neurons")
        for case in (
            *(Case(m, p, "float32", kind) for m, p in found),
            Case(10**4, 2, "float64", kind),
        )
        if not (quick and case.m > 10**4)
    ]


class Ours:
    def __init__(self, theta: np.ndarray) -> None:
        energy = mf.PairwiseEnergy(interaction=(attraction, grad_attraction))
        flow = mf.GradientFlow(energy, backend="cuda", dtype=theta.dtype.name)
        self.field = flow.on_device(mf.State(theta, outputs=0))
        self.particles = mf.Particles.of(mf.State(theta, outputs=0), self.field.backend)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            taken = mf.EULER.step(self.field, self.particles, DT)
            self.particles = taken.particles
            self.dissipated = taken.dissipated  # which every step of a run looks at

    def theta(self) -> np.ndarray:
        return self.field.backend.download(self.particles.theta)


class Neurons(Ours):
    """The flow of a population risk, its θ without the column of biases for the comparison."""

    def __init__(self, theta: np.ndarray, teacher: np.ndarray) -> None:
        own, taught = (
            np.column_stack([rows, np.zeros(len(rows), rows.dtype)]) for rows in (theta, teacher)
        )
        risk = mf.PopulationRisk(mf.Network("relu", trainable=("a", "w")), mf.State(taught))
        self.field = mf.GradientFlow(risk, backend="cuda", dtype=theta.dtype.name).on_device(
            mf.State(own)
        )
        self.particles = mf.Particles.of(mf.State(own), self.field.backend)

    def theta(self) -> np.ndarray:
        return super().theta()[:, :-1]


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


class TorchNeurons(Torch):
    """The formulas of population.py on whole (m, m + 3) matrices."""

    def __init__(self, theta: np.ndarray, teacher: np.ndarray, compiled: bool) -> None:
        self.teacher, self.c = torch.tensor(teacher), population.polynomial(theta.dtype.name)
        super().__init__(theta, compiled)

    def _advance(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return population.whole(torch, x, self.teacher, DT, self.c)


def run(case: Case, effort: Effort) -> dict[str, Any]:
    """Milliseconds of a step, and the peers' times over ours, each of which takes turns with ours."""
    ours, peer = case.contenders()
    times = measure({"ours": ours().step}, effort)
    median = milliseconds(times)
    makers = {name: partial(peer, "compile" in name) for name in ("torch", "torch.compile")}
    ratios, absent = peer_ratios(ours, makers, effort)
    rate = case.operations / (1e-3 * median["ours"])
    return {
        **asdict(case), "ms": median, "spread": spread(times), "ratios": ratios, "absent": absent, "ours_ms": median["ours"],
        "tflops": 1e-12 * rate, "of_peak": 1e-9 * rate / effort.peak(case.dtype), "eager_ratio": ratios.get("torch"),
        "compiled_ratio": ratios.get("torch.compile"), "goals": [],
    }  # fmt: skip
