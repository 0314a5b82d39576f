"""Philox on the GPU: the words of noise.py, one thread a particle, whatever the width and the order
of the threads.

The block function is noise.philox_words itself, compiled as a device function; the uniforms are
exact in float64, so they too are those of the CPU to the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import numba.cuda
import numpy as np

from ... import noise
from .memory import Held, Pool

cuda: Any = numba.cuda  # its stubs are typed for callers on the host
_words = cuda.jit(device=True)(noise.philox_words)
_uniform = cuda.jit(device=True)(noise.open_uniform)


@cuda.jit
def fill_raw(out, low, high, k0, k1):
    """out[c, k] = word c of particle k."""
    k = cuda.grid(1)
    if k < out.shape[1]:
        c = 0
        while c < out.shape[0]:
            r0, r1, r2, r3 = _words(np.uint32(k), low, high, np.uint32(c // 4), k0, k1)
            out[c, k] = r0
            if c + 1 < out.shape[0]:
                out[c + 1, k] = r1
            if c + 2 < out.shape[0]:
                out[c + 2, k] = r2
            if c + 3 < out.shape[0]:
                out[c + 3, k] = r3
            c += 4


@cuda.jit
def fill_uniforms(out, low, high, k0, k1):
    """out[c, k] = (word + ½) 2⁻³²."""
    k = cuda.grid(1)
    if k < out.shape[1]:
        c = 0
        while c < out.shape[0]:
            r0, r1, r2, r3 = _words(np.uint32(k), low, high, np.uint32(c // 4), k0, k1)
            out[c, k] = _uniform(r0)
            if c + 1 < out.shape[0]:
                out[c + 1, k] = _uniform(r1)
            if c + 2 < out.shape[0]:
                out[c + 2, k] = _uniform(r2)
            if c + 3 < out.shape[0]:
                out[c + 3, k] = _uniform(r3)
            c += 4


def _filled(
    kernel: Any, dtype: Any, pool: Pool, seed: int, purpose: int, m: int, components: int, step: int
) -> Held:
    out = pool.take((components, m), dtype)
    words = np.uint32(step % 2**32), np.uint32(step >> 32), np.uint32(seed), np.uint32(purpose)
    kernel[math.ceil(m / 256), 256](out.data, *words)
    return out


def raw(pool: Pool, seed: int, purpose: int, m: int, components: int, step: int = 0) -> Held:
    """noise.raw(seed, purpose, m, components, step) on the device, transposed: (components, m)
    uint32.
    """
    return _filled(fill_raw, np.uint32, pool, seed, purpose, m, components, step)


def uniforms(pool: Pool, seed: int, purpose: int, m: int, components: int, step: int = 0) -> Held:
    """noise.uniforms(seed, purpose, m, components, step) on the device, transposed: (components, m)
    float64.
    """
    return _filled(fill_uniforms, np.float64, pool, seed, purpose, m, components, step)
