"""Random numbers as a function, without state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: SC'11,
section 3).

    words = philox(counter = (particle, step mod 2³², step div 2³², block), key = (seed, purpose))

Block b holds components 4b … 4b+3, so the value of component c of particle k depends on (seed,
purpose, k, c, step) and on nothing else: not on the width, the number of components or the order of
the draws. Checked against the known-answer vectors of Random123.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from math import cos, log1p, sin, sqrt
from typing import Any

import numba
import numpy as np
from numba import njit
from numba.core.caching import IndexDataCacheFile
from numpy.typing import NDArray

from .processes.caches import for_numba

for_numba(numba.config, IndexDataCacheFile)

# The second word of the key: independent streams for independent uses of one seed.
INITIAL = 0
DIFFUSION = 1
MINIBATCH = 2
DATA = 3
BOOTSTRAP = 4
REACTION = 5
SEARCH = 6

# Multipliers and Weyl increments of Philox4x32; uint64 so that a product with a 32-bit word is
# exact.
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_32 = np.uint64(32)
_TWO_PI = 2.0 * math.pi
_ULP = 2.0**-32
_LN_2_32 = 32.0 * math.log(2.0)
_TURN = _TWO_PI * _ULP


def philox_words(c0, c1, c2, c3, k0, k1):
    """One block: counter (c0, c1, c2, c3), key (k0, k1), all uint32 -> four uint32. Plain scalars,
    for any compiler.

    A round: (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)), k
    <- k + W; ten of them.
    """
    for _ in range(10):
        p0 = _M0 * np.uint64(c0)
        p1 = _M1 * np.uint64(c2)
        c0, c1, c2, c3 = (
            np.uint32(p1 >> _32) ^ c1 ^ k0,
            np.uint32(p1),
            np.uint32(p0 >> _32) ^ c3 ^ k1,
            np.uint32(p0),
        )
        k0 = np.uint32(k0 + _W0)
        k1 = np.uint32(k1 + _W1)
    return np.uint32(c0), c1, np.uint32(c2), c3


def open_uniform(word):
    """(word + ½) 2⁻³²: in [2⁻³³, 1 - 2⁻³³], exact in float64, never 0 or 1."""
    return (np.float64(word) + 0.5) * _ULP


def box_muller(u0, u1):
    """Two independent N(0, 1) from two uniforms: sqrt(-2 ln u0) (cos 2πu1, sin 2πu1); |z| <=
    sqrt(66 ln 2) = 6.76.
    """
    radius = math.sqrt(-2.0 * math.log(u0))
    angle = _TWO_PI * u1
    return radius * math.cos(angle), radius * math.sin(angle)


def normal_pair(s0, s1):
    """box_muller of two words r given as r + ½ or r + ½ - 2³², whichever is in (-2³¹, 2³¹): for
    kernels, in their dtype.

    ln u of u = (r0 + ½) 2⁻³² is ln(1 + (u - 1)) from ½ on, where u - 1 is s0 2⁻³², and below it
    ln(2³² u) - 32 ln 2: as good in float32 near 1 as near 0. The angle 2π u1 is taken in (-π, π).
    """
    below = s0 > 0.0
    logarithm = log1p(s0 - 1.0 if below else s0 * _ULP) - (_LN_2_32 if below else 0.0)
    radius = sqrt(-2.0 * logarithm)
    angle = s1 * _TURN
    return radius * cos(angle), radius * sin(angle)


# as kernels of a backend call them
FORMULAS: dict[str, Callable[..., Any]] = {
    "words": philox_words,
    "normal_pair": normal_pair,
}

# Numbers drawn in plain Python before the kernels are compiled, which takes half a second, and what
# a call counts besides. Bits are the same where the compiler calls the C library's log, cos and sin.
FIRST, CALL = 2**15, 2**9
_drawn_in_python = (
    0 if sys.platform == "linux" and not getattr(numba.config, "USING_SVML", False) else FIRST
)

# fastmath=False is said because silence would mean: inherit the flags of the first kernel that
# calls.
_njit = njit(cache=True, error_model="numpy", fastmath=False)
_words = _njit(philox_words)
_uniform = _njit(open_uniform)
_normal_pair = _njit(box_muller)


@_njit
def _fill_raw(out, particles, low, high, k0, k1):
    m, components = out.shape
    for i in range(m):
        for first in range(0, components, 4):
            words = _words(particles[i], low, high, np.uint32(first // 4), k0, k1)
            for j in range(min(4, components - first)):
                out[i, first + j] = words[j]


@_njit
def _fill_uniforms(out, particles, low, high, k0, k1):
    m, components = out.shape
    for i in range(m):
        for first in range(0, components, 4):
            words = _words(particles[i], low, high, np.uint32(first // 4), k0, k1)
            for j in range(min(4, components - first)):
                out[i, first + j] = _uniform(words[j])


@_njit
def _fill_normals(out, particles, low, high, k0, k1):
    m, components = out.shape
    for i in range(m):
        for first in range(0, components, 4):
            words = _words(particles[i], low, high, np.uint32(first // 4), k0, k1)
            for j in range(0, min(4, components - first), 2):
                z0, z1 = _normal_pair(_uniform(words[j]), _uniform(words[j + 1]))
                out[i, first + j] = z0
                if first + j + 1 < components:
                    out[i, first + j + 1] = z1


_IN_PYTHON: dict[Any, Callable[[Any], Any]] = {
    _fill_raw: lambda words: words,
    _fill_uniforms: open_uniform,
    _fill_normals: lambda words: _normals_of(open_uniform(words)),
}


def _fill_in_python(fill: Any, out: Any, particles: Any, *key: Any) -> None:
    """What the kernel `fill` does, by the same formulas."""
    low, high, k0, k1 = key
    m, components = out.shape
    blocks = np.arange(-(-components // 4), dtype=np.uint32)
    counter = *np.broadcast_arrays(particles[:, None], low, high, blocks[None, :]), k0, k1
    with np.errstate(over="ignore"):  # words are integers modulo 2³²
        words = np.stack(philox_words(*counter), axis=-1).reshape(m, 4 * blocks.size)
    out[:] = _IN_PYTHON[fill](words)[:, :components]


def _normals_of(uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    pairs = uniforms.reshape(-1, 2).tolist()
    return np.array([box_muller(*pair) for pair in pairs]).reshape(uniforms.shape)


def _integer(name: str, value: Any, bound: int, advice: str) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer; got {value!r}. {advice}") from None
    if not 0 <= number < bound:
        raise ValueError(f"{name} must lie in 0 … {bound - 1}; got {number}. {advice}")
    return number


def _indices(particles: int | NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
    """The particles' indices as uint32: 0 … m-1 for a count m, else the array's entries."""
    if np.ndim(particles) == 0:
        advice = "Give a count m, or a 1-D array of indices."
        return np.arange(_integer("particles", particles, 2**32 + 1, advice), dtype=np.uint32)
    array = np.asarray(particles)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"particles must be a count or a 1-D integer array; got shape {array.shape}, "
            f"dtype {array.dtype}."
        )
    if array.size and not (array.min() >= 0 and array.max() < 2**32):
        raise ValueError(
            f"particle indices must lie in 0 … 2³² - 1; got {array.min()} … {array.max()}."
        )
    return np.ascontiguousarray(array, dtype=np.uint32)


def _drawn(
    fill: Any, dtype: Any, seed: int, purpose: int, particles: Any, components: int, step: int
) -> NDArray[Any]:
    k0 = _integer(
        "seed",
        seed,
        2**32,
        "The seed is one 32-bit word of the Philox key; take it modulo 2**32, or another purpose.",
    )
    k1 = _integer(
        "purpose",
        purpose,
        2**32,
        "Use one of noise.INITIAL, DIFFUSION, MINIBATCH, DATA, BOOTSTRAP, REACTION, SEARCH.",
    )
    when = _integer("step", step, 2**64, "The step is two 32-bit words of the Philox counter.")
    indices = _indices(particles)
    out = np.empty(
        (
            indices.size,
            _integer("components", components, 2**34, "It is the number of columns to draw."),
        ),
        dtype,
    )
    key = np.uint32(when % 2**32), np.uint32(when >> 32), np.uint32(k0), np.uint32(k1)
    if fill.signatures or not _to_draw_in_python(out.size):
        fill(out, indices, *key)
    else:
        _fill_in_python(fill, out, indices, *key)
    return out


def load() -> None:
    """Have the kernel of normals in memory, for processes that are forked from this one and draw much."""
    _fill_normals(np.empty((1, 1)), np.zeros(1, np.uint32), *[np.uint32(0)] * 4)


def _to_draw_in_python(count: int) -> bool:
    """Whether so many numbers more still take less than a compilation."""
    global _drawn_in_python
    if _drawn_in_python + count > FIRST:
        return False
    _drawn_in_python += count + CALL
    return True


def words(seed: int, purpose: int, step: int) -> tuple[Any, Any, Any, Any]:
    """What kernels are given of a draw, as uint32: the step in two words, low first, and the key
    (seed, purpose).
    """
    numbers = (step % 2**32, step >> 32, seed, purpose)
    return tuple(np.uint32(number) for number in numbers)  # type: ignore[return-value]


def philox4x32(counter: Any, key: Any) -> NDArray[np.uint32]:
    """One block of Philox4x32-10: counter (4,) uint32, key (2,) uint32 -> (4,) uint32."""
    c, k = np.asarray(counter, dtype=np.uint32), np.asarray(key, dtype=np.uint32)
    if c.shape != (4,) or k.shape != (2,):
        raise ValueError(
            f"philox4x32 takes a counter (4,) and a key (2,); got {c.shape} and {k.shape}."
        )
    return np.array(_words(c[0], c[1], c[2], c[3], k[0], k[1]), dtype=np.uint32)


def raw(
    seed: int,
    purpose: int,
    particles: int | NDArray[np.integer[Any]],
    components: int,
    step: int = 0,
) -> NDArray[np.uint32]:
    """The 32-bit words themselves, (m, components). particles: a count m (0 … m-1) or a 1-D array
    of m indices.
    """
    return _drawn(_fill_raw, np.uint32, seed, purpose, particles, components, step)


def uniforms(
    seed: int,
    purpose: int,
    particles: int | NDArray[np.integer[Any]],
    components: int,
    step: int = 0,
) -> NDArray[np.float64]:
    """(r + ½) / 2³² of each word r: float64 in the open interval (0, 1), (m, components)."""
    return _drawn(_fill_uniforms, np.float64, seed, purpose, particles, components, step)


def normals(
    seed: int,
    purpose: int,
    particles: int | NDArray[np.integer[Any]],
    components: int,
    step: int = 0,
) -> NDArray[np.float64]:
    """Independent N(0, 1), float64, (m, components): Box–Muller on components (0, 1) and (2, 3) of
    each block.
    """
    return _drawn(_fill_normals, np.float64, seed, purpose, particles, components, step)
