"""One gradient-descent step, both layers and biases: ours against NumPy, torch, torch.compile and
JAX, plain and by experts.

The ratios are those to the fastest peer written as one would, and to the fastest written in blocks
or fused by hand. The share is that of the processor's multiply-adds, measured on the spot;
operations are the kernels' own, elementary functions not counted. "of limit" counts them: of a
step's time, the share that these operations take at that peak, and after them, for each pair, σ
once and σ with σ' once at their own ceilings. Memory is what one of our steps adds at its peak to
what the flow holds.
"""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import meanfield as mf
from meanfield.backends.cpu.backend import FUSED_UP_TO

from .engine import samples
from .peers import PEERS, forget_compiled
from .sections import Column, Effort, Goal, best, measure, milliseconds, spread, willing

TITLE = "one step"
COLUMNS = (
    Column("ours_ms", "here ms"),
    Column("plain", "plain peer", ""),
    Column("plain_ms", "ms"),
    Column("plain_ratio", "ratio", ".1f"),
    Column("expert", "expert peer", ""),
    Column("expert_ms", "ms"),
    Column("expert_ratio", "ratio", ".1f"),
    Column("share_of_peak", "of FMA peak", ".0%"),
    Column("share_of_limit", "of limit", ".0%"),
    Column("step_mb", "step MB", ".1f"),
)
QUICK = 3e6  # m·n of the largest case of --quick
SIZES = [
    (256, 64, 2),
    (256, 500, 2),
    (1e3, 100, 2),
    (2048, 500, 2),
    (1e4, 100, 2),
    (1e5, 256, 2),
    (1e6, 64, 2),
    (1e4, 1000, 10),
    (1e5, 1000, 10),
    (1e4, 1000, 64),
    (1e4, 1000, 784),
]


@dataclass(frozen=True)
class Case:
    """m neurons, n samples, d inputs."""

    activation: str
    m: int
    n: int
    d: int
    dtype: str

    @property
    def name(self) -> str:
        m = f"{self.m:.0e}".replace("e+0", "e") if self.m % 1000 == 0 else self.m
        return f"{self.activation}-d{self.d}-n{self.n}-m{m}-{self.dtype}"

    @property
    def keeps_z(self) -> bool:
        """Whether z of the forward pass is kept for the pull-back: by the blocked kernels, where it
        fits.
        """
        return self.d > FUSED_UP_TO

    @property
    def operations(self) -> float:
        """Of one step: for a pair (neuron, sample) 2 (d + 1) forward; backward z again where it is
        not kept, and the sums, which for ReLU in the fused kernels are additions alone.
        """
        pairs, forward = float(self.m) * self.n, 2 * (self.d + 1)
        if self.activation == "relu":
            return pairs * (forward + (2 * self.d if self.keeps_z else 2 * self.d + self.d + 1))
        return pairs * (forward + (0 if self.keeps_z else 2 * (self.d + 1)) + 2 * self.d + 2)

    def limit_ms(self, peak: float, ceiling: dict[str, float]) -> float:
        """Of one step: its operations at `peak` GFLOP/s; σ forward, (σ, σ') backward of each pair
        at 10⁹ `ceiling` a second.
        """
        return 1e-6 * (
            self.operations / peak + sum(self.m * self.n / rate for rate in ceiling.values())
        )

    @property
    def goals(self) -> tuple[float | None, float | None]:
        """The ratios asked for against the best plain and the best expert peer."""
        relu = self.activation == "relu"
        if self.d <= 10 and self.m < 1e5:
            return None, None
        if self.dtype == "float64":
            return (
                (8.0 if relu else 1.3)
                if self.d == 2 and self.activation in ("relu", "tanh")
                else None
            ), None
        if self.d == 2:
            return (20.0, 10.0) if relu else (5.0, None)
        return {10: 4.0 if relu else 2.0, 64: 1.4, 784: 1.1}[self.d], None


def cases(quick: bool = False) -> list[Case]:
    return [
        Case(activation, int(m), n, d, dtype)
        for m, n, d in SIZES
        for activation in (
            ("relu", "tanh", "erf", "gelu", "sigmoid") if d == 2 and m == 1e5 else ("relu", "tanh")
        )
        for dtype in ("float32", "float64")
        if not (dtype == "float64" and (m * n > 5e7 or activation not in ("relu", "tanh")))
        and not (quick and m * n > QUICK)
    ]


class Ours:
    """meanfield: explicit Euler steps of the flow, θ staying on its device."""

    name, expert = "ours", False

    def __init__(self, theta, x, y, activation, dt, backend="cpu"):
        flow = mf.GradientFlow(
            mf.EmpiricalRisk(mf.Network(activation), x, y), backend=backend, dtype=x.dtype.name
        )
        self.method, self.field, self.dt = mf.EULER, flow.on_device(mf.State(theta)), dt
        self.particles = mf.Particles.of(mf.State(theta), self.field.backend)

    def step(self, count=1):
        for _ in range(count):
            taken = self.method.step(self.field, self.particles, self.dt)
            self.particles = taken.particles
            self.dissipated = taken.dissipated  # which every step of a run looks at

    def theta(self):
        return self.field.backend.download(self.particles.theta)


def contenders(case: Case, dt: float) -> tuple[dict, dict[str, str]]:
    """({name: contender}, {name: why it is absent}), all from the same start."""
    theta, x, y = samples(case.m, case.n, case.d, case.dtype)
    given = theta, x, y, case.activation, dt
    return willing({kind.name: partial(kind, *given) for kind in (Ours, *PEERS)})


def step_bytes(ours: Ours) -> int:
    """What one step allocates at its peak; θ, the samples and what is kept between steps are there
    before.
    """
    tracemalloc.start()
    try:
        ours.step(1)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        ours.step(1)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def run(case: Case, effort: Effort) -> dict[str, Any]:
    """The medians in milliseconds, their spread, our ratios to the best peers, our share of the
    peak.
    """
    present, absent = contenders(case, dt=0.01)
    times = measure({name: contender.step for name, contender in present.items()}, effort)
    median, peak = milliseconds(times), effort.peak(case.dtype)
    # relu's is the peak
    ceiling = None if case.activation == "relu" else effort.ceiling(case.activation, case.dtype)
    result = {
        **asdict(case),
        "ms": median,
        "spread": spread(times),
        "absent": absent,
        "ours_ms": median["ours"],
        "share_of_peak": 1e-6 * case.operations / median["ours"] / peak,
        "ceilings": ceiling,  # 10⁹ evaluations a second
        "share_of_limit": ceiling and case.limit_ms(peak, ceiling) / median["ours"],
        "step_mb": 1e-6 * step_bytes(present["ours"]),
    }
    for kind in ("plain", "expert"):
        names = [peer.name for peer in PEERS if peer.expert == (kind == "expert")]
        result[kind], result[f"{kind}_ms"], result[f"{kind}_ratio"] = best(median, names)
    asked = zip(("plain", "expert"), case.goals, strict=True)
    goals = [Goal(f"{kind} peer", ratio, result[f"{kind}_ratio"]) for kind, ratio in asked if ratio]
    present.clear()
    forget_compiled()
    gc.collect()
    return {**result, "goals": goals}
