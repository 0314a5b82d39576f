"""One gradient-descent step of f(x) = (1/m) Σ_k a_k σ(⟨w_k, x⟩ + b_k) on (1/2n) Σ_i (f(x_i) -
y_i)², as others would write it.

Every peer is built from (theta, x, y, activation, dt), theta (m, d + 2) = [a | w | b], runs
`step(count)` and gives `theta()`. All of a, w and b train and θ_k moves by dt·v_k, the learning
rate dt·m of γ = 1. With v = [w | b] and X = [x | 1] a step is

    z = v Xᵀ, s = σ(z), t = σ'(z);  u = (a·s/m - y)/n;  a ← a - dt s·u,  v ← v - dt a (t (u X))

Plain peers do that on whole (m, n) arrays, in place where the library can. Experts cut the
particles into blocks that stay in cache, compute z twice and never hold an (m, n) array, or write
the product out so that a compiler can fuse all of it.
"""

from __future__ import annotations

import functools
import math
import sys

import numpy as np

ACTIVATIONS = ("relu", "tanh", "sigmoid", "erf", "gelu")
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
INV_SQRT_2 = 1.0 / math.sqrt(2.0)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
FUSED_UP_TO = 12  # inputs; beyond, a matrix product wins


# of one (block, n) array; from 2^15 to 2^22 the larger was the faster nearly everywhere
BLOCK_BYTES = 1 << 22


def forget_compiled():
    """torch.compile gives up after eight variants of one function: start afresh for another case."""
    if "torch" in sys.modules:
        sys.modules["torch"].compiler.reset()


def block_size(m, n, itemsize):
    """The largest divisor of m whose (block, n) array has at most BLOCK_BYTES."""
    limit = max(1, BLOCK_BYTES // (n * itemsize))
    return max(size for size in range(1, min(m, limit) + 1) if m % size == 0)


class NumpyInPlace:
    """Preallocated arrays, every operation with out=."""

    name, expert = "numpy", False

    def __init__(self, theta, x, y, activation, dt):
        m, n = len(theta), len(x)
        self.a, self.v = theta[:, 0].copy(), theta[:, 1:].copy()
        self.X = np.column_stack([x, np.ones(n, x.dtype)])
        self.y, self.activation, self.dt = y, activation, dt
        self.z, self.t = np.empty((m, n), x.dtype), np.empty((m, n), x.dtype)
        self.q = np.empty((m, n), x.dtype) if activation == "gelu" else None
        self.f, self.ga, self.gv = np.empty(n, x.dtype), np.empty(m, x.dtype), np.empty_like(self.v)

    def activate(self):
        """z becomes σ(z), t becomes σ'(z)."""
        from scipy import special

        z, t, q = self.z, self.t, self.q
        if self.activation == "relu":
            np.maximum(z, 0, out=z)
            np.sign(z, out=t)
        elif self.activation == "tanh":
            np.tanh(z, out=z)
            np.multiply(z, z, out=t)
            np.subtract(1, t, out=t)
        elif self.activation == "sigmoid":
            special.expit(z, out=z)
            np.multiply(z, z, out=t)
            np.subtract(z, t, out=t)
        elif self.activation == "erf":
            np.multiply(z, z, out=t)
            np.negative(t, out=t)
            np.exp(t, out=t)
            t *= TWO_OVER_SQRT_PI
            special.erf(z, out=z)
        else:
            np.multiply(z, INV_SQRT_2, out=t)
            special.erf(t, out=t)
            t += 1
            t *= 0.5
            np.multiply(z, z, out=q)
            q *= -0.5
            np.exp(q, out=q)
            q *= z
            q *= INV_SQRT_2PI
            z *= t
            t += q

    def step(self, count=1):
        for _ in range(count):
            np.matmul(self.v, self.X.T, out=self.z)
            self.activate()
            np.dot(self.a, self.z, out=self.f)
            u = (self.f / len(self.a) - self.y) / len(self.y)
            np.dot(self.z, u, out=self.ga)
            np.dot(self.t, u[:, None] * self.X, out=self.gv)
            self.gv *= self.a[:, None]
            self.gv *= self.dt
            self.ga *= self.dt
            self.v -= self.gv
            self.a -= self.ga

    def theta(self):
        return np.column_stack([self.a, self.v])


class TorchEager:
    """torch without autograd: preallocated, in place, its kernels on all cores."""

    name, expert, blocked = "torch", False, False

    def __init__(self, theta, x, y, activation, dt):
        import torch

        m, n = len(theta), len(x)
        self.torch, self.activation, self.dt = torch, activation, dt
        tensor = functools.partial(torch.tensor, dtype=getattr(torch, x.dtype.name))
        self.a, self.v = tensor(theta[:, 0]), tensor(theta[:, 1:])
        self.X = tensor(np.column_stack([x, np.ones(n)]))
        self.y, self.one = tensor(y), tensor(1.0)
        self.size = block_size(m, n, x.dtype.itemsize) if self.blocked else m
        self.z, self.t, self.q = (torch.empty(self.size, n, dtype=self.X.dtype) for _ in range(3))

    def value(self, v):
        """σ(v Xᵀ) of a block in self.q or self.z, the argument staying in self.z where the slope
        needs it.
        """
        torch, z = self.torch, self.z
        torch.mm(v, self.X.T, out=z)
        if self.activation == "gelu":
            return torch.ops.aten.gelu.out(z, out=self.q)
        if self.activation == "erf":
            return torch.erf(z, out=self.q)
        return {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_}[
            self.activation
        ](z)

    def slope(self, s):
        """σ' of the same block in self.t."""
        torch, z, t = self.torch, self.z, self.t
        if self.activation == "relu":
            return torch.sign(s, out=t)
        if self.activation == "tanh":
            return torch.addcmul(self.one, s, s, value=-1, out=t)
        if self.activation == "sigmoid":
            return torch.addcmul(s, s, s, value=-1, out=t)
        if self.activation == "gelu":
            return torch.ops.aten.gelu_backward.grad_input(self.one.expand_as(z), z, grad_input=t)
        return torch.mul(z, z, out=t).neg_().exp_().mul_(TWO_OVER_SQRT_PI)

    def step(self, count=1):
        torch, a, v, X, m, n = self.torch, self.a, self.v, self.X, len(self.a), len(self.y)
        with torch.inference_mode():
            for _ in range(count):
                f = torch.zeros(n, dtype=X.dtype)
                for i in range(0, m, self.size):
                    s = self.value(v[i : i + self.size])
                    f.addmv_(s.T, a[i : i + self.size])
                u = (f / m - self.y) / n
                uX = u[:, None] * X
                for i in range(0, m, self.size):
                    block = slice(i, i + self.size)
                    if self.blocked:
                        s = self.value(v[block])
                    ga = torch.mv(s, u)
                    gv = torch.mm(self.slope(s), uX).mul_(a[block, None])
                    v[block].sub_(gv, alpha=self.dt)
                    a[block].sub_(ga, alpha=self.dt)

    def theta(self):
        return np.column_stack([self.a.cpu().numpy(), self.v.cpu().numpy()])


class TorchBlocked(TorchEager):
    """The same, particles in blocks that stay in cache, z computed twice."""

    name, expert, blocked = "torch blocked", True, True


class TorchCompiled:
    """torch.compile of the formula above."""

    name, expert, fused = "torch.compile", False, False

    def __init__(self, theta, x, y, activation, dt):
        import torch

        m, n = len(theta), len(x)
        if self.fused and x.shape[1] > FUSED_UP_TO:
            raise NotImplementedError(f"written out for d <= {FUSED_UP_TO} only")
        self.torch = torch
        tensor = functools.partial(torch.tensor, dtype=getattr(torch, x.dtype.name))
        self.a, self.v = tensor(theta[:, 0]), tensor(theta[:, 1:])
        self.X, self.y = tensor(np.column_stack([x, np.ones(n)])), tensor(y)

        def both(z):
            if activation == "relu":
                return torch.relu(z), (z > 0).to(z.dtype)
            if activation == "tanh":
                s = torch.tanh(z)
                return s, 1 - s * s
            if activation == "sigmoid":
                s = torch.sigmoid(z)
                return s, s - s * s
            if activation == "erf":
                return torch.erf(z), TWO_OVER_SQRT_PI * torch.exp(-z * z)
            half = 0.5 * (1 + torch.erf(INV_SQRT_2 * z))
            return z * half, half + INV_SQRT_2PI * z * torch.exp(-0.5 * z * z)

        def by_products(a, v, X, y):
            s, t = both(v @ X.T)
            u = (a @ s / m - y) / n
            gv = a[:, None] * (t @ (u[:, None] * X))
            a -= dt * (s @ u)
            v -= dt * gv

        def written_out(a, v, X, y):
            columns = X.T.contiguous()
            s, t = both(sum(v[:, j, None] * columns[j] for j in range(len(columns))))
            u = ((a[:, None] * s).sum(0) / m - y) / n
            gv = a[:, None] * torch.stack([(t * (u * column)).sum(1) for column in columns], dim=1)
            a -= dt * (s * u).sum(1)
            v -= dt * gv

        self.compiled = torch.compile(written_out if self.fused else by_products, dynamic=False)

    def step(self, count=1):
        with self.torch.no_grad():
            for _ in range(count):
                self.compiled(self.a, self.v, self.X, self.y)

    def theta(self):
        return np.column_stack([self.a.cpu().numpy(), self.v.cpu().numpy()])


class TorchFused(TorchCompiled):
    """torch.compile with the product over the d inputs written out, so that no (m, n) array need be
    stored.
    """

    name, expert, fused = "torch.compile fused", True, True


class JaxJit:
    """jax.jit with donated buffers; the loop over steps is compiled too."""

    name, expert, blocked = "jax", False, False

    def __init__(self, theta, x, y, activation, dt):
        import jax
        from jax import lax
        from jax import numpy as jnp

        jax.config.update("jax_enable_x64", True)
        m, n = len(theta), len(x)
        size = block_size(m, n, x.dtype.itemsize) if self.blocked else m
        X, y = jnp.asarray(np.column_stack([x, np.ones(n, x.dtype)])), jnp.asarray(y)
        self.a, self.v = jnp.array(theta[:, 0]), jnp.array(theta[:, 1:])
        self.jax = jax

        def both(z):
            if activation == "relu":
                return jnp.maximum(z, 0), (z > 0).astype(z.dtype)
            if activation == "tanh":
                s = jnp.tanh(z)
                return s, 1 - s * s
            if activation == "sigmoid":
                s = jax.nn.sigmoid(z)
                return s, s - s * s
            if activation == "erf":
                return lax.erf(z), TWO_OVER_SQRT_PI * jnp.exp(-z * z)
            half = 0.5 * (1 + lax.erf(INV_SQRT_2 * z))
            return z * half, half + INV_SQRT_2PI * z * jnp.exp(-0.5 * z * z)

        def whole(a, v, X, y):
            s, t = both(v @ X.T)
            u = (a @ s / m - y) / n
            return a - dt * (s @ u), v - dt * a[:, None] * (t @ (u[:, None] * X))

        def in_blocks(a, v, X, y):
            blocks = a.reshape(-1, size), v.reshape(-1, size, v.shape[1])
            f, _ = lax.scan(
                lambda f, b: (f + b[0] @ both(b[1] @ X.T)[0], None), jnp.zeros_like(y), blocks
            )
            u = (f / m - y) / n
            uX = u[:, None] * X

            def move(_, block):
                a_block, v_block = block
                s, t = both(v_block @ X.T)
                return None, (a_block - dt * (s @ u), v_block - dt * a_block[:, None] * (t @ uX))

            _, (a_new, v_new) = lax.scan(move, None, blocks)
            return a_new.reshape(a.shape), v_new.reshape(v.shape)

        one = in_blocks if self.blocked else whole

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def many(a, v, X, y, count):
            return lax.fori_loop(0, count, lambda _, av: one(*av, X, y), (a, v))

        self.many = functools.partial(many, X=X, y=y)

    def step(self, count=1):
        self.a, self.v = self.jax.block_until_ready(self.many(self.a, self.v, count=count))

    def theta(self):
        return np.column_stack([np.asarray(self.a), np.asarray(self.v)])


class JaxBlocked(JaxJit):
    """lax.scan over blocks of particles that stay in cache, z computed twice."""

    name, expert, blocked = "jax blocked", True, True


PEERS = (NumpyInPlace, TorchEager, TorchCompiled, JaxJit, TorchBlocked, TorchFused, JaxBlocked)
