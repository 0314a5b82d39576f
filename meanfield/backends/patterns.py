"""Patterns as bits: on which probe samples a neuron is active, which directions are close, which bits are set.

Compiled loops that need neither an activation nor a device's formulas. Every sum runs in the order of the columns, without
fused or reordered operations, and every word is the work of one thread: the bits are those of the plain formula in the
dtype of θ, whatever the number of threads.
"""

from __future__ import annotations

import sys

import numba
import numpy as np

from .cpu import _run

WORD = 64  # bits in a word: the most samples a pattern holds
# Eight bytes 0 or 1 times GATHER have those eight bits in the top byte of the product: three times as fast as 64 shifts.
GATHER = np.uint64(0x0102040810204080 if sys.byteorder == "little" else 0x8040201008040201)
TOP = np.uint64(56)

compiled = numba.njit(error_model="numpy", parallel=True, cache=True)
inlined = numba.njit(error_model="numpy", fastmath=False, forceinline=True)


@inlined
def _gathered(eights):
    """The word of 64 bytes 0 or 1, seen as eight uint64."""
    word = np.uint64(0)
    for i in range(8):
        word |= ((eights[i] * GATHER) >> TOP) << np.uint64(8 * i)
    return word


@inlined
def _bit_count(word):
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> TOP)


@compiled
def _signs(theta, outputs, x, used, patterns):
    m, bias = theta.shape[0], theta.shape[1] - 1
    for shard in numba.prange((m + 255) // 256):
        z, active = np.empty(WORD, theta.dtype), np.empty(WORD, np.uint8)
        eights = active.view(np.uint64)
        for k in range(shard * 256, min(m, shard * 256 + 256)):
            b, w = theta[k, bias], theta[k, outputs]
            for i in range(WORD):
                z[i] = b + w * x[0, i]
            for j in range(1, x.shape[0]):
                w = theta[k, outputs + j]
                for i in range(WORD):
                    z[i] += w * x[j, i]
            for i in range(WORD):
                active[i] = z[i] > 0
            patterns[k] = _gathered(eights) & used


@compiled
def _close(u, columns, largest, words):
    for k in numba.prange(u.shape[0]):
        distance, close = np.empty(WORD, np.float64), np.empty(WORD, np.uint8)
        eights = close.view(np.uint64)
        for word in range(words.shape[1]):
            words[k, word] = 0
            first = word * WORD
            if first + WORD <= k + 1:
                continue
            distance[:] = 0.0
            for j in range(u.shape[1]):
                for i in range(WORD):
                    distance[i] += (u[k, j] - columns[j, first + i]) ** 2
            for i in range(WORD):
                close[i] = (distance[i] <= largest) & (first + i > k)
            words[k, word] = _gathered(eights)


@numba.njit(error_model="numpy", cache=True)
def _set_bits(words, row, column):
    total, listed = 0, 0
    for k in range(words.shape[0]):
        for j in range(words.shape[1]):
            left = words[k, j]
            if left:
                total += _bit_count(left)
                while left and listed < row.size:
                    row[listed], column[listed] = k, j * WORD + _bit_count((left & (~left + np.uint64(1))) - np.uint64(1))
                    left &= left - np.uint64(1)
                    listed += 1
    return total


def signs(theta: np.ndarray, outputs: int, x: np.ndarray) -> np.ndarray:
    """Activation patterns (m,) uint64: bit i of neuron k is [⟨w_k, x_i⟩ + b_k > 0]; the bits beyond the samples are 0.

    theta (m, p) with columns [a | w | b]; x (n, d), n <= 64, is rounded to θ's dtype.
    """
    n, d = x.shape
    columns = np.zeros((d, WORD), theta.dtype)
    columns[:, :n] = x.T
    patterns = np.empty(theta.shape[0], np.uint64)
    _run(_signs, theta.shape[0] * d * WORD, theta, outputs, columns, np.uint64(2**n - 1), patterns)
    return patterns


def close(u: np.ndarray, distance: float) -> np.ndarray:
    """Which rows of u (T, D) float64 lie within `distance` of each other: (T, ⌈T/64⌉) uint64.

    Bit k mod 64 of word k div 64 in row j is [|u_j - u_k| <= distance] for j < k, else 0. NaN is close to nothing.
    """
    T, D = u.shape
    words = np.empty((T, -(-T // WORD)), np.uint64)
    columns = np.full((D, words.shape[1] * WORD), np.nan)
    columns[:, :T] = u.T
    _run(_close, T * T * D, u, columns, distance**2, words)
    return words


def set_bits(words: np.ndarray, limit: int) -> tuple[int, np.ndarray, np.ndarray]:
    """How many bits of words (m, c) are set, and where the first `limit` are: (total, rows, columns), in that order."""
    rows, columns = np.empty(limit, np.int64), np.empty(limit, np.int64)
    total = int(_set_bits(words, rows, columns))
    return total, rows[:total], columns[:total]
