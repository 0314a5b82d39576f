"""The velocity of all pairs, -(1/m) Σ_l ∇_x U(x_k, x_l), for interactions that a user writes.

Plain peers form the differences x_k - x_l (m, m, d); experts expand |x - y|² into matrix products on
(m, m) arrays, or give the formula to KeOps.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf

from .engine import INTERACTIONS
from .sections import Column, Effort, best, measure, milliseconds, repeated, spread, willing

TITLE = "all pairs: user-written interactions"
COLUMNS = (
    Column("ours_ms", "here ms"),
    Column("per_pair", "ns a pair"),
    Column("plain", "plain peer", ""),
    Column("plain_ms", "ms"),
    Column("plain_ratio", "ratio", ".0f"),
    Column("expert", "expert peer", ""),
    Column("expert_ms", "ms"),
    Column("expert_ratio", "ratio", ".0f"),
)
# of the largest: products lose half the digits of small distances
TOLERANCE = {
    "float64": 1e-10,
    "float32": 2e-4,
}


@dataclass(frozen=True)
class Case:
    """m particles in d dimensions under one of INTERACTIONS."""

    interaction: str
    m: int
    d: int
    dtype: str

    @property
    def name(self) -> str:
        return f"pairs-{self.interaction}-d{self.d}-m1e{round(math.log10(self.m))}-{self.dtype}"


def cases(quick: bool = False) -> list[Case]:
    m = 1000 if quick else 10000
    return [
        Case(name, m, d, dtype)
        for name in INTERACTIONS
        for d, dtype in ((2, "float32"), (2, "float64"), (10, "float32"))
    ]


Work = Callable[[], np.ndarray]  # -> the velocity (m, d)


def ours(case: Case, x: np.ndarray) -> Work:
    flow = mf.GradientFlow(
        mf.PairwiseEnergy(interaction=INTERACTIONS[case.interaction]), dtype=case.dtype
    )
    field = flow.on_device(mf.State(x, outputs=0))
    particles = mf.Particles.of(mf.State(x, outputs=0), field.backend)
    return lambda: field.velocity(particles._replace(theta=particles.theta.view()))


def torch_eager(case: Case, x: np.ndarray) -> Work:
    import torch

    given = torch.from_numpy(x)

    def work() -> np.ndarray:
        gaps = given[:, None] - given[None]
        if case.interaction == "gaussian":
            gaps = -torch.exp(-0.5 * gaps.square().sum(-1, keepdim=True)) * gaps
        return -gaps.mean(1).numpy()

    return work


def jax_jit(case: Case, x: np.ndarray) -> Work:
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def velocity(x: Any) -> Any:
        gaps = x[:, None] - x[None]
        if case.interaction == "gaussian":
            gaps = -jnp.exp(-0.5 * jnp.square(gaps).sum(-1, keepdims=True)) * gaps
        return -gaps.mean(1)

    given = jnp.asarray(x)
    return lambda: np.asarray(velocity(given).block_until_ready())


def torch_products(case: Case, x: np.ndarray) -> Work:
    """The spring has a closed form, which is no matter of pairs: no expert for it."""
    import torch

    given = torch.from_numpy(x)
    half, twice = 0.5 * given.square().sum(1), given.T.contiguous()

    def work() -> np.ndarray:
        K = torch.addmm(-half[:, None], given, twice).sub_(half).exp_()
        return ((K.sum(1, keepdim=True) * given - K @ given) / len(x)).numpy()

    return work


def keops(case: Case, x: np.ndarray) -> Work:
    """The formula as KeOps compiles it: no (m, m) array either."""
    import torch

    # read when KeOps is imported: by itself it compiles for any processor of the architecture
    os.environ.setdefault("CXXFLAGS", "-march=native -ffast-math")
    os.environ.setdefault("PYKEOPS_VERBOSE", "0")
    with contextlib.redirect_stdout(sys.stderr):
        from pykeops.torch import LazyTensor

    given = torch.from_numpy(x)
    gaps = LazyTensor(given[:, None].contiguous()) - LazyTensor(given[None].contiguous())
    if case.interaction == "gaussian":
        gaps = -(-0.5 * (gaps**2).sum(-1)).exp() * gaps
    return lambda: (-gaps.sum(1) / len(x)).numpy()


def run(case: Case, effort: Effort) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(case.m, case.d)).astype(case.dtype)
    makers = {"ours": ours, "torch": torch_eager, "jax": jax_jit, "keops": keops}
    makers |= {"torch products": torch_products} if case.interaction == "gaussian" else {}
    works, absent = willing(
        {name: functools.partial(make, case, x) for name, make in makers.items()},
        lambda work: work(),
    )
    expected = works["ours"]()
    for name, work in works.items():
        gap = np.abs(work() - expected).max() / np.abs(expected).max()
        if not gap < TOLERANCE[case.dtype]:
            raise ArithmeticError(
                f"{name} computes another velocity: they differ by {gap:.1e} of the largest."
            )
    times = measure({name: repeated(work) for name, work in works.items()}, effort)
    median = milliseconds(times)
    result = {"ms": median, "spread": spread(times), "absent": absent, "ours_ms": median["ours"]}
    result["per_pair"] = 1e6 * median["ours"] / case.m**2
    for kind, names in (("plain", ("torch", "jax")), ("expert", ("torch products", "keops"))):
        result[kind], result[f"{kind}_ms"], result[f"{kind}_ratio"] = best(median, names)
    return {**result, "goals": []}
