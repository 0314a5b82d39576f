"""Diffusion: θ + dt v + c ξ in one pass over the memory, ξ the normals of noise.py, made in
vectors.

A chunk of particles is worked by one thread: its words first, then its normals, then its rows of θ.
Each of these loops has vectors, and every particle's numbers are its own, so no bit depends on the
chunks.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import T, normal_pair, words
from meanfield.backends.llvm.intrinsics import fma, widest_vectors

CHUNK = 256  # particles, as in backend.py


@njit(error_model="numpy", nogil=True, cache=True)
def diffuse(chunk, chunks, base, origin, dt, drift, scale, trainable, low, high, k0, k1, out):
    """out_kc = base_kc + dt drift_kc + scale ξ_kc, ξ of the trainable columns c alone;
    `origin` is the number of the first particle."""
    m, p = base.shape
    widest_vectors()
    first = chunk * CHUNK
    count = min(CHUNK, m - first)
    raw = np.empty((4, CHUNK), np.int32)
    xi = np.empty((4, CHUNK), T)
    for block in range((p + 3) // 4):
        for i in range(count):
            k = np.uint32(origin + first + i)
            r0, r1, r2, r3 = words(k, low, high, np.uint32(block), k0, k1)
            raw[0, i] = np.int32(r0)
            raw[1, i] = np.int32(r1)
            raw[2, i] = np.int32(r2)
            raw[3, i] = np.int32(r3)
        for j in range(0, 4, 2):
            for i in range(count):
                a, b = normal_pair(T(raw[j, i]) + T(0.5), T(raw[j + 1, i]) + T(0.5))
                xi[j, i] = a
                xi[j + 1, i] = b
        for j in range(min(4, p - 4 * block)):
            c = 4 * block + j
            size = scale * trainable[c]
            for i in range(count):
                k = first + i
                out[k, c] = fma(size, xi[j, i], fma(dt, drift[k, c], base[k, c]))
