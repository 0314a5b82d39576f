"""Tangent kernels: of a finite network against torch.func, JAX and two matrix products of NumPy; of
infinite ones against NumPy.

All compute in the dtype of the case, and are first held to the same matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import meanfield as mf
import ntk

from .sections import (
    Column,
    Effort,
    Goal,
    best,
    measure,
    milliseconds,
    repeated,
    spread,
    willing,
)

TITLE = "tangent kernels"
COLUMNS = (
    Column("ours_ms", "here ms"),
    Column("plain", "plain peer", ""),
    Column("plain_ms", "ms"),
    Column("plain_ratio", "ratio", ".1f"),
    Column("expert", "expert peer", ""),
    Column("expert_ms", "ms"),
    Column("expert_ratio", "ratio", ".2f"),
)
# of the largest entry: relu's kernel in float32 has arccos near 1
TOLERANCE = {
    "float64": 1e-9,
    "float32": 1e-3,
}
ROWS = 50  # samples on which contenders are compared: no peer is held up by a mistake for long


@dataclass(frozen=True)
class Case:
    """kind: "empirical" (relu, m neurons) or "analytic" (relu, `depth` hidden layers); n samples, d
    inputs.
    """

    kind: str
    size: int
    n: int
    d: int
    dtype: str

    @property
    def name(self) -> str:
        width = f"m{self.size}" if self.kind == "empirical" else f"depth{self.size}"
        return f"{self.kind}-ntk-{width}-n{self.n}-d{self.d}-{self.dtype}"


def cases(quick: bool = False) -> list[Case]:
    sizes = (
        [("empirical", 1000, 100, 10), ("analytic", 3, 500, 64)]
        if quick
        else [("empirical", 10**4, 500, 10), ("analytic", 3, 2000, 64)]
    )
    return [Case(*size, dtype) for size in sizes for dtype in ("float32", "float64")]


Work = Callable[[np.ndarray], np.ndarray]  # x (n, d) -> the kernel (n, n)


def torch_func(theta: np.ndarray, dtype: str) -> Work:
    """The Jacobian of every sample by vmap(jacrev), contracted: J Jᵀ m/s², s = 1."""
    import torch

    tensor = lambda array: torch.tensor(np.ascontiguousarray(array), dtype=getattr(torch, dtype))
    a, w, b = tensor(theta[:, 0]), tensor(theta[:, 1:-1]), tensor(theta[:, -1])
    m = len(theta)

    def f(a: Any, w: Any, b: Any, x: Any) -> Any:
        return (a * torch.relu(w @ x + b)).sum() / m

    jacobian = torch.func.vmap(torch.func.jacrev(f, argnums=(0, 1, 2)), (None, None, None, 0))

    def work(x: np.ndarray) -> np.ndarray:
        parts = (part.flatten(1) for part in jacobian(a, w, b, tensor(x)))
        return m * sum(part @ part.T for part in parts).numpy()

    return work


def jax_jacobian(theta: np.ndarray, dtype: str) -> Work:
    """The same in JAX, compiled."""
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", True)
    theta, m = jnp.asarray(theta, dtype), len(theta)

    def f(theta: Any, x: Any) -> Any:
        return (theta[:, 0] * jax.nn.relu(theta[:, 1:-1] @ x + theta[:, -1])).sum() / m

    @jax.jit
    def kernel(theta: Any, x: Any) -> Any:
        J = jax.vmap(jax.grad(f), (None, 0))(theta, x).reshape(len(x), -1)
        return m * (J @ J.T)

    return lambda x: np.asarray(kernel(theta, jnp.asarray(x, dtype)))


def numpy_products(theta: np.ndarray, dtype: str) -> Work:
    """By hand: σσᵀ and (x xᵀ + 1)·(aσ')(aσ')ᵀ."""
    a, v, m = theta[:, 0].astype(dtype), theta[:, 1:].astype(dtype), len(theta)

    def work(x: np.ndarray) -> np.ndarray:
        X = np.column_stack([x, np.ones(len(x))]).astype(dtype)
        z = X @ v.T
        slopes = np.sign(np.maximum(z, 0, out=z)) * a
        return (z @ z.T + (X @ X.T) * (slopes @ slopes.T)) / np.asarray(m, dtype)

    return work


def numpy_deep(depth: int, dtype: str) -> Work:
    """The recursion on whole matrices in place of compiled loops: arccos of the correlation, layer
    by layer.
    """

    def work(x: np.ndarray) -> np.ndarray:
        x = x.astype(dtype)
        sigma = x @ x.T
        theta = sigma.copy()
        for _ in range(depth):
            diagonal = np.sqrt(np.diag(sigma))
            norms = np.outer(diagonal, diagonal)
            rho = np.clip(sigma / norms, -1, 1)
            np.fill_diagonal(rho, 1)
            angle = np.pi - np.arccos(rho)
            slope = angle / np.asarray(np.pi, dtype)
            sigma = norms * (np.sqrt(1 - rho * rho) + rho * angle) / np.asarray(math.pi, dtype)
            theta = sigma + theta * slope
        return theta

    return work


def contenders(case: Case, x: np.ndarray) -> tuple[dict[str, Work], dict[str, str]]:
    """({name: work}, {name: why it is absent})."""
    if case.kind == "analytic":
        return {
            "ours": lambda x: ntk.deep(x.astype(case.dtype), depth=case.size)[1],
            "numpy": numpy_deep(case.size, case.dtype),
        }, {}
    state, network = mf.InitialLaw(case.d, b_std=1.0).sample(case.size, seed=0), mf.Network("relu")
    theta = state.theta.astype(case.dtype)
    state = mf.State(theta)
    makers: dict[str, Callable[[], Work]] = {
        "ours": lambda: lambda x: ntk.empirical(network, state, x, dtype=case.dtype),
        "torch.func": lambda: torch_func(theta, case.dtype),
        "jax": lambda: jax_jacobian(theta, case.dtype),
        "numpy": lambda: numpy_products(theta, case.dtype),
    }
    return willing(makers, lambda work: work(x))


def run(case: Case, effort: Effort) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(case.n, case.d)) / case.d**0.5
    present, absent = contenders(case, x[:ROWS])
    expected = present["ours"](x[:ROWS])
    for name, work in present.items():
        gap = np.abs(work(x[:ROWS]) - expected).max() / np.abs(expected).max()
        if not gap < TOLERANCE[case.dtype]:
            raise ArithmeticError(
                f"{name} computes another kernel: they differ by {gap:.1e} of the largest entry."
            )
        work(x)  # compiles for this n
    times = measure(
        {name: repeated(lambda work=work: work(x)) for name, work in present.items()}, effort
    )
    median = milliseconds(times)
    empirical = case.kind == "empirical"
    result = {
        "kind": case.kind,
        "ms": median,
        "spread": spread(times),
        "absent": absent,
        "ours_ms": median["ours"],
    }
    for kind, names in (
        ("plain", ("torch.func", "jax") if empirical else ("numpy",)),
        ("expert", ("numpy",) if empirical else ()),
    ):
        result[kind], result[f"{kind}_ms"], result[f"{kind}_ratio"] = best(median, names)
    if empirical:
        found = median["torch.func"] / median["ours"] if "torch.func" in median else None
        goals = [Goal("torch.func", 10.0, found)]
    else:
        goals = [Goal("numpy", 1.5, result["plain_ratio"])]
    return {**result, "goals": goals}
