"""Diffusion on the GPU: θ + dt v + c ξ, ξ the normals of noise.py, made in registers; a thread has
four columns of a particle.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import T, normal_pair, words


@cuda.jit(device=True)
def signed(word):
    """word + ½, or less 2³²: what normal_pair takes."""
    return T(np.int64(word) - ((np.int64(word) >> 31) << 32)) + T(0.5)


@cuda.jit(device=True)
def add(base, dt, drift, size, xi, out, c, k):
    if c < base.shape[0]:
        out[c, k] = (base[c, k] + dt * drift[c, k]) + size[c] * xi


@cuda.jit(cache=True)
def diffuse(base, first, dt, drift, scale, trainable, low, high, k0, k1, out):
    """out_ck = base_ck + dt drift_ck + scale ξ_ck, ξ of the trainable columns c alone; grid
    (⌈m/128⌉, ⌈p/4⌉). first: the number of the first particle.
    """
    k, block = cuda.blockIdx.x * 128 + cuda.threadIdx.x, cuda.blockIdx.y
    if k < base.shape[1]:
        r0, r1, r2, r3 = words(np.uint32(first + k), low, high, np.uint32(block), k0, k1)
        x0, x1 = normal_pair(signed(r0), signed(r1))
        x2, x3 = normal_pair(signed(r2), signed(r3))
        c = 4 * block
        add(base, dt, drift, trainable, scale * x0, out, c, k)
        add(base, dt, drift, trainable, scale * x1, out, c + 1, k)
        add(base, dt, drift, trainable, scale * x2, out, c + 2, k)
        add(base, dt, drift, trainable, scale * x3, out, c + 3, k)
