"""On a GPU, where the fused kernels stop winning: a step with them and with matrix products, for d
= 8 … 32.

What cuda.FUSED_UP_TO should be: above 1 the fused kernels win.
"""

from __future__ import annotations

from typing import Any

from meanfield.backends.cuda import backend

from .engine import samples
from .gpu_limits import SIMULATED, Effort, measure
from .sections import Column, Named, milliseconds, spread
from .steps import Ours

TITLE = f"fused kernels (used up to d = {backend.FUSED_UP_TO}) against matrix products"
COLUMNS = (
    Column("fused_ms", "fused ms"),
    Column("products_ms", "products ms"),
    Column("ratio", "products / fused", ".2f"),
)


def cases(quick: bool = False) -> list[Named]:
    dims = (2, 3) if SIMULATED else (8, 16, 32) if quick else (8, 12, 16, 20, 24, 32)
    return [
        Named(f"crossover-{activation}-d{d}-float32", (d, activation))
        for activation in ("relu", "tanh")
        for d in dims
    ]


def run(case: Named, effort: Effort) -> dict[str, Any]:
    d, activation = case.of
    m, n = (6, 7) if SIMULATED else (10**5, 1000)
    before = backend.FUSED_UP_TO

    def work(limit: int) -> Any:
        backend.FUSED_UP_TO = limit
        ours = Ours(*samples(m, n, d, "float32"), activation, 0.01, "cuda")

        def step(count: int) -> None:
            backend.FUSED_UP_TO = limit
            ours.step(count)

        return step

    try:
        times = measure({"fused": work(d), "products": work(0)}, effort)
    finally:
        backend.FUSED_UP_TO = before
    median = milliseconds(times)
    return {
        "d": d, "activation": activation, "dtype": "float32", "m": m, "n": n, "spread": spread(times), "goals": [],
        "fused_ms": median["fused"], "products_ms": median["products"], "ratio": median["products"] / median["fused"],
    }  # fmt: skip
