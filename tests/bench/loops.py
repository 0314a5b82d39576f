"""Contenders for many steps of a small problem, d = 2, squared loss, γ = 1: each makes its loop over
steps as an expert of its library would.

All start from theta (m, 4), columns [a | w | b], and x (n, 2), y (n,); `step(count)` makes that many
steps of Euler or RK4, and `theta()` gives θ.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit

# of RK4: k_{i+1} is taken at θ + dt · POINTS_i k_i; the step is dt Σ WEIGHTS_i k_i
POINTS = {"EULER": (), "RK4": (1 / 2, 1 / 2, 1.0)}
WEIGHTS = {"EULER": (1.0,), "RK4": (1 / 6, 1 / 3, 1 / 3, 1 / 6)}

plain = njit(error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc"})


def both(activation, T):
    """(σ, σ') of one number of the dtype, compiled."""
    zero, one = T(0), T(1)
    if activation == "relu":
        return plain(lambda z: max(z, zero)), plain(lambda z: one if z > zero else zero)
    return plain(lambda z: np.tanh(z)), plain(lambda z: one - np.tanh(z) ** 2)


@plain
def _velocity(value, slope, theta, x, y, f, out):
    """k of θ (4, m): the formula, loop by loop, on one thread."""
    m, n = theta.shape[1], x.shape[1]
    f[:] = 0
    for k in range(m):
        for i in range(n):
            z = theta[1, k] * x[0, i] + theta[2, k] * x[1, i] + theta[3, k]
            f[i] += theta[0, k] * value(z)
    for i in range(n):
        f[i] = (y[i] - f[i] / f.dtype.type(m)) / f.dtype.type(n)
    for k in range(m):
        a, g0, g1, gb = f[0] - f[0], f[0] - f[0], f[0] - f[0], f[0] - f[0]
        for i in range(n):
            z = theta[1, k] * x[0, i] + theta[2, k] * x[1, i] + theta[3, k]
            a += f[i] * value(z)
            q = f[i] * slope(z)
            gb += q
            g0 += q * x[0, i]
            g1 += q * x[1, i]
        out[0, k], out[3, k] = a, theta[0, k] * gb
        out[1, k], out[2, k] = theta[0, k] * g0, theta[0, k] * g1


@plain
def _steps(value, slope, theta, x, y, dt, points, weights, count):
    point, moved, k, f = theta.copy(), theta.copy(), theta.copy(), y.copy()
    for _ in range(count):
        point[:] = theta
        moved[:] = theta
        for i in range(weights.size):
            _velocity(value, slope, point, x, y, f, k)
            moved += dt * weights[i] * k
            if i < points.size:
                point[:] = theta + dt * points[i] * k
        theta[:] = moved


class PlainLoop:
    """A loop nest of numba on one thread, no tricks: what a small step has to cost."""

    name = "loop"

    def __init__(self, theta, x, y, activation, dt, method):
        T = x.dtype.type
        points, weights = (np.array(c[method], x.dtype) for c in (POINTS, WEIGHTS))
        self.state = theta.T.copy()
        given = np.ascontiguousarray(x.T), y, T(dt), points, weights
        self.steps = functools.partial(_steps, *both(activation, T), self.state, *given)

    def step(self, count=1):
        self.steps(count)

    def theta(self):
        return self.state.T


class NumpyLoop:
    """NumPy, two matrix products a stage, in place."""

    name = "numpy"

    def __init__(self, theta, x, y, activation, dt, method):
        m, n = len(theta), len(x)
        self.state, self.y, self.dt, self.method = theta.copy(), y, dt, method
        self.activation = activation
        self.X = np.column_stack([x, np.ones(n, x.dtype)])
        self.z, self.t = np.empty((2, m, n), x.dtype)

    def velocity(self, theta):
        a, m, n = theta[:, 0], len(theta), len(self.y)
        np.matmul(theta[:, 1:], self.X.T, out=self.z)
        if self.activation == "relu":
            np.maximum(self.z, 0, out=self.z)
            np.sign(self.z, out=self.t)
        else:
            np.tanh(self.z, out=self.z)
            np.multiply(self.z, self.z, out=self.t)
            np.subtract(1, self.t, out=self.t)
        u = (self.y - a @ self.z / m) / n
        return np.column_stack([self.z @ u, a[:, None] * (self.t @ (u[:, None] * self.X))])

    def step(self, count=1):
        points, weights = POINTS[self.method], WEIGHTS[self.method]
        for _ in range(count):
            k = self.velocity(self.state)
            moved = self.state + self.dt * weights[0] * k
            for point, weight in zip(points, weights[1:], strict=True):
                k = self.velocity(self.state + self.dt * point * k)
                moved += self.dt * weight * k
            self.state = moved

    def theta(self):
        return self.state


class JaxScan:
    """jax.lax.scan over steps, all of them one compiled call."""

    name, lengths = "jax.lax.scan", (1000, 100, 10, 1)

    def __init__(self, theta, x, y, activation, dt, method):
        import jax
        from jax import numpy as jnp

        jax.config.update("jax_enable_x64", True)
        X, y = jnp.asarray(np.column_stack([x, np.ones(len(x), x.dtype)])), jnp.asarray(y)
        self.jax, self.state = jax, jnp.array(theta)

        def velocity(theta):
            a, z = theta[:, 0], theta[:, 1:] @ X.T
            if activation == "relu":
                s, t = jnp.maximum(z, 0), (z > 0).astype(z.dtype)
            else:
                s = jnp.tanh(z)
                t = 1 - s * s
            u = (y - a @ s / len(theta)) / len(y)
            return jnp.column_stack([s @ u, a[:, None] * (t @ (u[:, None] * X))])

        def one(theta, _):
            k = velocity(theta)
            moved = theta + dt * WEIGHTS[method][0] * k
            for point, weight in zip(POINTS[method], WEIGHTS[method][1:], strict=True):
                k = velocity(theta + dt * point * k)
                moved += dt * weight * k
            return moved.astype(theta.dtype), None

        @functools.partial(jax.jit, static_argnums=1)
        def many(theta, count):
            return jax.lax.scan(one, theta, None, count)[0]

        self.many = many
        for length in self.lengths:
            many(self.state, length)  # compiles

    def step(self, count=1):
        """In scans of a few lengths: the length is compiled in."""
        for length in self.lengths:
            for _ in range(count // length):
                self.state = self.many(self.state, length)
            count %= length
        self.jax.block_until_ready(self.state)

    def theta(self):
        return np.asarray(self.state)


class TorchLoop:
    """torch.compile of several steps a call, each written out so that no (m, n) array need be
    stored.
    """

    name, unrolled = "torch.compile", 4

    def __init__(self, theta, x, y, activation, dt, method):
        import torch

        m, n = len(theta), len(x)
        tensor = functools.partial(torch.tensor, dtype=getattr(torch, x.dtype.name))
        self.torch, self.state, y = torch, tensor(theta), tensor(y)
        columns = [*tensor(np.ascontiguousarray(x.T)), torch.ones_like(y)]

        def velocity(theta):
            a, v = theta[:, 0], theta[:, 1:]
            z = sum(v[:, j, None] * column for j, column in enumerate(columns))
            if activation == "relu":
                s, t = torch.relu(z), (z > 0).to(z.dtype)
            else:
                s = torch.tanh(z)
                t = 1 - s * s
            u = (y - (a[:, None] * s).sum(0) / m) / n
            gv = (a * (t * (u * column)).sum(1) for column in columns)
            return torch.stack([(s * u).sum(1), *gv], dim=1)

        def steps(theta, count):
            for _ in range(count):
                k = velocity(theta)
                moved = theta + dt * WEIGHTS[method][0] * k
                for point, weight in zip(POINTS[method], WEIGHTS[method][1:], strict=True):
                    k = velocity(theta + dt * point * k)
                    moved = moved + dt * weight * k
                theta = moved
            return theta

        self.steps = torch.compile(steps, dynamic=False)
        self.step(self.unrolled)  # compiles, as the first single step does
        self.state = tensor(theta)

    def step(self, count=1):
        with self.torch.inference_mode():
            for _ in range(count // self.unrolled):
                self.state = self.steps(self.state, self.unrolled)
            for _ in range(count % self.unrolled):
                self.state = self.steps(self.state, 1)

    def theta(self):
        return self.state.numpy()


PEERS = (PlainLoop, NumpyLoop, JaxScan, TorchLoop)
