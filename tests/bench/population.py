"""The velocity of ½ E|f - f*|², x ~ N(0, I), in closed form: m ReLU particles against m and a
teacher of three, as an Euler step.

f(x) = (1/m) Σ_k a_k relu(⟨w_k, x⟩), both layers. With the sources' directions U = w/|w|, their
amplitudes A (the teacher's with a minus), ρ = U_m Uᵀ, S = √(1 - ρ²), Q = asin ρ = ±(π/4 + u P(u²)),
u = |ρ| - S, P the same polynomial for all,

    V = Q (A|w| U)/2π,  F = S (A|w|)/2π,  T = Σ A w:   ∇_w = a (F u + V + T/4),   ∇_a = |w| (F + ⟨u, V⟩) + ⟨w, T⟩/4

Peers do that on whole (m, m + 3) arrays, in place where the library can; experts on blocks of rows
that stay in cache, or with the products written out so that a compiler can fuse all of it.
"""

from __future__ import annotations

import functools
import gc
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import meanfield as mf
from meanfield.backends.elementary.functions import COEFFICIENTS

from .engine import TEACHER, student
from .peers import forget_compiled
from .sections import Column, Effort, Goal, best, measure, milliseconds, spread, willing

TITLE = "all pairs: population risk"
COLUMNS = (
    Column("ours_ms", "here ms"),
    Column("plain", "plain peer", ""),
    Column("plain_ms", "ms"),
    Column("plain_ratio", "ratio", ".1f"),
    Column("expert", "expert peer", ""),
    Column("expert_ms", "ms"),
    Column("expert_ratio", "ratio", ".1f"),
    Column("share_of_peak", "of FMA peak", ".0%"),
)

INV_TWO_PI = 0.5 / math.pi
BLOCK_BYTES = 1 << 20  # of one array of an expert's block


@dataclass(frozen=True)
class Case:
    """m particles in d dimensions."""

    m: int
    d: int
    dtype: str

    @property
    def name(self) -> str:
        return f"population-relu-d{self.d}-m{self.m:.0e}-{self.dtype}".replace("e+0", "e")

    @property
    def operations(self) -> float:
        """Of one velocity: for a pair 2d for ρ, 2d for V, 2 + 2 for S and F, 2 a term of P, 3 for u
        and Q; no root counted.
        """
        return (
            self.m
            * (self.m + TEACHER)
            * (4.0 * self.d + 9 + 2 * (len(COEFFICIENTS["angle_absolute"][self.dtype]) - 1))
        )

    @property
    def goal(self) -> float | None:
        return {2: 15.0, 10: 5.0}[self.d] if self.m == 10**4 and self.dtype == "float32" else None


def cases(quick: bool = False) -> list[Case]:
    return [
        Case(m, d, dtype)
        for m in ((1000,) if quick else (1000, 10000))
        for d in (2, 10)
        for dtype in ("float32", "float64")
    ]


class Ours:
    """meanfield: explicit Euler steps of the flow, θ staying on its device."""

    name, expert = "ours", False

    def __init__(self, theta, teacher, dt):
        with_b = [
            np.column_stack([particles, np.zeros(len(particles))]) for particles in (theta, teacher)
        ]
        pop = mf.PopulationRisk(mf.Network("relu", trainable=("a", "w")), mf.State(with_b[1]))
        flow = mf.GradientFlow(pop, dtype=theta.dtype.name)
        self.method, self.field, self.dt = mf.EULER, flow.on_device(mf.State(with_b[0])), dt
        self.particles = mf.Particles.of(mf.State(with_b[0]), self.field.backend)

    def step(self, count=1):
        for _ in range(count):
            self.particles = self.method.step(self.field, self.particles, self.dt).particles

    def theta(self):
        return self.field.backend.download(self.particles.theta)[:, :-1]


def sources(xp, theta, teacher):
    """(U, A|w|, T) of all sources; xp is numpy, torch or jax.numpy."""
    both = xp.concatenate([theta, teacher])
    A = both[:, 0] / xp.concatenate(
        [xp.full_like(theta[:, 0], len(theta)), xp.full_like(teacher[:, 0], -len(teacher))]
    )
    w = both[:, 1:]
    length = xp.sqrt((w * w).sum(1))
    return w / length[:, None], A * length, (A[:, None] * w).sum(0)


def moved(xp, theta, U, V, F, T, dt):
    """θ - dt ∇, V and F with their 1/2π already."""
    a, w = theta[:, 0], theta[:, 1:]
    u = U[: len(theta)]
    g_a = xp.sqrt((w * w).sum(1)) * (F + (u * V).sum(1)) + 0.25 * (w * T).sum(1)
    g_w = a[:, None] * (F[:, None] * u + V + 0.25 * T)
    return theta - dt * xp.concatenate([g_a[:, None], g_w], 1)


def polynomial(dtype):
    return [float(np.dtype(dtype).type(c)) for c in COEFFICIENTS["angle_absolute"][dtype]]


class NumpyInPlace:
    """Preallocated (m, m + 3) arrays, every operation with out=."""

    name, expert = "numpy", False

    def __init__(self, theta, teacher, dt):
        self.position, self.teacher, self.dt, self.c = (
            theta.copy(),
            teacher,
            dt,
            polynomial(theta.dtype.name),
        )
        self.rho, self.s, self.q, self.t = (
            np.empty((len(theta), len(theta) + len(teacher)), theta.dtype) for _ in range(4)
        )

    def step(self, count=1):
        rho, s, q = self.rho, self.s, self.q
        for _ in range(count):
            U, n, T = sources(np, self.position, self.teacher)
            np.matmul(U[: len(rho)], U.T, out=rho)
            np.multiply(rho, rho, out=s)
            np.subtract(1, s, out=s)
            np.maximum(s, 0, out=s)
            np.sqrt(s, out=s)
            F = INV_TWO_PI * (s @ n)
            np.abs(rho, out=q)
            q -= s
            np.multiply(q, q, out=s)
            t = np.multiply(s, self.c[0], out=self.t)
            for c in self.c[1:-1]:
                t += c
                t *= s
            t += self.c[-1]
            t *= q
            t += math.pi / 4
            np.copysign(t, rho, out=t)
            V = INV_TWO_PI * (t @ (n[:, None] * U))
            self.position = moved(np, self.position, U, V, F, T, self.dt).astype(rho.dtype)

    def theta(self):
        return self.position


class TorchEager:
    """torch without autograd: in place on preallocated arrays, or in blocks of rows."""

    name, expert, blocked = "torch", False, False

    def __init__(self, theta, teacher, dt):
        import torch

        self.torch, self.dt, self.c = torch, dt, polynomial(theta.dtype.name)
        self.position, self.teacher = torch.tensor(theta), torch.tensor(teacher)
        m, n = len(theta), len(theta) + len(teacher)
        self.size = max(1, min(m, BLOCK_BYTES // (n * theta.itemsize))) if self.blocked else m
        self.arrays = [torch.empty((self.size, n), dtype=self.position.dtype) for _ in range(4)]

    def rows(self, u, U, n, nU):
        """(V, F) of a block of rows."""
        torch = self.torch
        rho, s, q, t = (array[: len(u)] for array in self.arrays)
        torch.mm(u, U.T, out=rho)
        torch.mul(rho, rho, out=s).neg_().add_(1).clamp_(min=0).sqrt_()
        F = INV_TWO_PI * (s @ n)
        torch.abs(rho, out=t).sub_(s)
        torch.mul(t, t, out=s)
        torch.mul(s, self.c[0], out=q).add_(self.c[1])
        for c in self.c[2:]:
            q.mul_(s).add_(c)
        q.mul_(t).add_(math.pi / 4).copysign_(rho)
        return INV_TWO_PI * (q @ nU), F

    def step(self, count=1):
        torch = self.torch
        with torch.inference_mode():
            for _ in range(count):
                U, n, T = sources(torch, self.position, self.teacher)
                nU, m = n[:, None] * U, len(self.position)
                parts = [
                    self.rows(U[i : min(m, i + self.size)], U, n, nU)
                    for i in range(0, m, self.size)
                ]
                V, F = (torch.cat(part) for part in zip(*parts, strict=True))
                self.position = moved(torch, self.position, U, V, F, T, self.dt)

    def theta(self):
        return self.position.numpy()


class TorchBlocked(TorchEager):
    """The same in blocks of rows that stay in cache."""

    name, expert, blocked = "torch blocked", True, True


def whole(xp, theta, teacher, dt, c, fused=False):
    """The step for a compiler; fused: products over d written out, so that no (m, m) array need be
    stored.
    """
    U, n, T = sources(xp, theta, teacher)
    u = U[: len(theta)]
    rho = sum(u[:, j, None] * U[None, :, j] for j in range(U.shape[1])) if fused else u @ U.T
    s = xp.sqrt(xp.clip(1 - rho * rho, 0, 1))
    u_form = xp.abs(rho) - s
    square = u_form * u_form
    p = c[0] * square + c[1]
    for k in c[2:]:
        p = p * square + k
    q = xp.copysign(math.pi / 4 + u_form * p, rho)
    nU = n[:, None] * U
    if fused:
        V, F = xp.stack([(q * nU[None, :, j]).sum(1) for j in range(U.shape[1])], 1), (s * n).sum(1)
    else:
        V, F = q @ nU, s @ n
    return moved(xp, theta, U, INV_TWO_PI * V, INV_TWO_PI * F, T, dt)


class TorchCompiled:
    """torch.compile of the formulas."""

    name, expert, fused = "torch.compile", False, False

    def __init__(self, theta, teacher, dt):
        import torch

        self.torch = torch
        self.position, self.teacher = torch.tensor(theta), torch.tensor(teacher)
        c = polynomial(theta.dtype.name)
        self.compiled = torch.compile(
            lambda theta, teacher: whole(torch, theta, teacher, dt, c, self.fused), dynamic=False
        )

    def step(self, count=1):
        with self.torch.no_grad():
            for _ in range(count):
                self.position = self.compiled(self.position, self.teacher)

    def theta(self):
        return self.position.numpy()


class TorchFused(TorchCompiled):
    """torch.compile with the products written out."""

    name, expert, fused = "torch.compile fused", True, True


class JaxJit:
    """jax.jit; the loop over steps is compiled too."""

    name, expert, blocked = "jax", False, False

    def __init__(self, theta, teacher, dt):
        import jax
        from jax import lax
        from jax import numpy as jnp

        jax.config.update("jax_enable_x64", True)
        self.jax, self.position, c = jax, jnp.asarray(theta), polynomial(theta.dtype.name)
        teacher = jnp.asarray(teacher)

        @functools.partial(jax.jit, donate_argnums=(0,))
        def many(theta, count):
            return lax.fori_loop(
                0, count, lambda _, theta: whole(jnp, theta, teacher, dt, c, False), theta
            )

        self.many = many

    def step(self, count=1):
        self.position = self.jax.block_until_ready(self.many(self.position, count))

    def theta(self):
        return np.asarray(self.position)


PEERS = (NumpyInPlace, TorchEager, TorchCompiled, JaxJit, TorchBlocked, TorchFused)


def contenders(case: Case, dt: float) -> tuple[dict, dict[str, str]]:
    """({name: contender}, {name: why it is absent}), all from the same start."""
    theta, teacher = student(case.m, case.d, case.dtype)
    makers = (Ours, *PEERS)
    return willing({kind.name: functools.partial(kind, theta, teacher, dt) for kind in makers})


def run(case: Case, effort: Effort) -> dict[str, Any]:
    """The medians in milliseconds, their spread, our ratios to the best peers, our share of the
    peak.
    """
    present, absent = contenders(case, dt=0.01)
    times = measure({name: contender.step for name, contender in present.items()}, effort)
    median = milliseconds(times)
    result = {
        **asdict(case),
        "ms": median,
        "spread": spread(times),
        "absent": absent,
        "ours_ms": median["ours"],
        "share_of_peak": 1e-6 * case.operations / median["ours"] / effort.peak(case.dtype),
    }
    for kind in ("plain", "expert"):
        names = [peer.name for peer in PEERS if peer.expert == (kind == "expert")]
        result[kind], result[f"{kind}_ms"], result[f"{kind}_ratio"] = best(median, names)
    goals = [Goal("plain peer", case.goal, result["plain_ratio"])] if case.goal else []
    present.clear()
    forget_compiled()
    gc.collect()
    return {**result, "goals": goals}
