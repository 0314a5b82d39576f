"""Patterns as bits: on which probe samples a neuron is active, which directions are close, and what
differs between two times.

Compiled loops that need neither an activation nor a device's formulas. Every sum runs in the order
of the columns, without fused or reordered operations, and every word is the work of one thread: the
bits are those of the plain formula in the dtype of θ, whatever the number of threads. Few and large
kernels: a call from Python costs as much as a thousand neurons.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from .sharing import run

WORD = 64  # bits in a word: the most samples a pattern holds
FLIP, DEATH, REVIVAL, MERGE, SPLIT = range(5)  # codes of the kinds of differences
# Where the kernels hold sample s: byte s div 8 of the uint64 number s mod 8, so that eight shifts
# gather 64 bytes into bits.
PLACE = 8 * (np.arange(WORD) % 8) + np.arange(WORD) // 8

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)
inlined = numba.njit(error_model="numpy", fastmath=False, forceinline=True)


class Sampling(NamedTuple):
    """What is compared. active (m,) uint64: bit i of neuron k is [⟨w_k, x_i⟩ + b_k > 0].

    near (T, ⌈T/64⌉) uint64: bit l mod 64 of word l div 64 in row k < l is [angle of u_k and u_l <=
    the one asked for]; u (T, D) float64: directions of the first T neurons, NaN (close to nothing)
    where (w, b) = 0.
    """

    active: np.ndarray
    near: np.ndarray
    u: np.ndarray


class Differences(NamedTuple):
    """totals (5,): how many of each kind; silent: neurons active on no sample now. Rows (r,) by
    kind, neuron, other.

    value: of a flip its bit now; of a death or revival the number of bits lost or won; of merge and
    split the angle in degrees.
    """

    totals: list[int]
    silent: int
    kind: np.ndarray
    neuron: np.ndarray
    other: np.ndarray
    value: np.ndarray


@inlined
def _gathered(eights):
    """The word of 64 bytes 0 or 1, seen as eight uint64: byte j of number i is bit 8j + i, on a
    little-endian machine.
    """
    word = np.uint64(0)
    for i in range(8):
        word |= eights[i] << np.uint64(i)
    return word


@inlined
def _bit_count(word):
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (
        (word >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inlined
def _lowest(word):
    """The number of the lowest bit that is set."""
    return _bit_count((word & (~word + np.uint64(1))) - np.uint64(1))


@compiled
def _signs(chunk, chunks, theta, outputs, x, used, active):
    m, bias, last = theta.shape[0], theta.shape[1] - 1, x.shape[0] - 1
    z, signs = np.empty(WORD, theta.dtype), np.empty(WORD, np.uint8)
    eights = signs.view(np.uint64)
    for k in range(chunk * 256, min(m, chunk * 256 + 256)):
        b, w = theta[k, bias], theta[k, outputs]
        if last == 0:
            for i in range(WORD):
                signs[i] = b + w * x[0, i] > 0
        else:
            for i in range(WORD):
                z[i] = b + w * x[0, i]
            for j in range(1, last):
                w = theta[k, outputs + j]
                for i in range(WORD):
                    z[i] += w * x[j, i]
            w = theta[k, outputs + last]
            for i in range(WORD):
                signs[i] = z[i] + w * x[last, i] > 0
        active[k] = _gathered(eights) & used


@compiled
def _directions(theta, outputs, place, u, columns):
    """w/|w| of each neuron, a row of u, and with its place within a word a column of `columns`."""
    T, D = u.shape
    columns[:] = np.nan
    for k in range(T):
        norm = 0.0
        for j in range(D):
            v = np.float64(theta[k, outputs + j])
            norm += v * v
        norm = math.sqrt(norm)
        for j in range(D):
            u[k, j] = np.float64(theta[k, outputs + j]) / norm
            columns[j, k // WORD * WORD + place[k % WORD]] = u[k, j]


@compiled
def _close(shard, shards, largest, u, columns, near):
    T, D = u.shape
    distance, close = np.empty(WORD, np.float64), np.empty(WORD, np.uint8)
    eights = close.view(np.uint64)
    for k in range(shard * T // shards, (shard + 1) * T // shards):
        for word in range(near.shape[1]):
            near[k, word] = 0
            first = word * WORD
            if first + WORD <= k + 1:
                continue
            distance[:] = 0.0
            for j in range(D):
                for i in range(WORD):
                    distance[i] += (u[k, j] - columns[j, first + i]) ** 2
            for i in range(WORD):
                close[i] = distance[i] <= largest
            later = ~np.uint64(0) << np.uint64(k + 1 - first) if first <= k else ~np.uint64(0)
            near[k, word] = _gathered(eights) & later


@numba.njit(error_model="numpy", cache=True)
def _differences(
    active, before, near, near_before, u, mortal, limit, totals, kind, neuron, other, value
):
    """Writes totals, then the number of silent neurons, and the rows; returns how many. The columns
    hold 5·limit.
    """
    flips, silent, deaths, revivals = 0, 0, 0, 0
    # counted without a branch, which would be mispredicted at every other neuron
    for k in range(active.size):
        flips += _bit_count(active[k] ^ before[k])
        silent += active[k] == 0
        deaths += (active[k] == 0) & (before[k] != 0)
        revivals += (active[k] != 0) & (before[k] == 0)
    totals[FLIP] = flips
    totals[DEATH] = deaths
    totals[REVIVAL] = revivals
    totals[MERGE] = 0
    totals[SPLIT] = 0
    totals[5] = silent
    row, k = 0, 0
    while row < min(flips, limit):
        changed = active[k] ^ before[k]
        while changed and row < limit:
            i = _lowest(changed)
            kind[row], neuron[row], other[row] = FLIP, k, i
            value[row] = (active[k] >> np.uint64(i)) & np.uint64(1)
            changed &= changed - np.uint64(1)
            row += 1
        k += 1
    for code in (DEATH, REVIVAL):
        totals[code] *= mortal
        gone, left = (active, before) if code == DEATH else (before, active)
        most, k = row + min(totals[code], limit), 0
        while row < most:
            if gone[k] == 0 and left[k] != 0:
                kind[row], neuron[row], other[row], value[row] = code, k, -1, _bit_count(left[k])
                row += 1
            k += 1
    for code in (MERGE, SPLIT):
        most = row + limit
        for k in range(near.shape[0]):
            for word in range(near.shape[1]):
                changed = (near[k, word] ^ near_before[k, word]) & (
                    near[k, word] if code == MERGE else near_before[k, word]
                )
                if changed:
                    totals[code] += _bit_count(changed)
                    while changed and row < most:
                        l = word * WORD + _lowest(changed)  # noqa: E741
                        square = 0.0
                        for j in range(u.shape[1]):
                            square += (u[k, j] - u[l, j]) ** 2
                        kind[row], neuron[row], other[row] = code, k, l
                        value[row] = math.degrees(
                            2.0 * math.asin(min(1.0, 0.5 * math.sqrt(square)))
                        )
                        changed &= changed - np.uint64(1)
                        row += 1
    return row


class Sampler:
    """Samples states of one shape and dtype on the probe x (n <= 64, d), rounded to that dtype, and
    lists differences.

    tracked: how many neurons, the first ones, are compared in pairs; degrees: the angle up to which
    they are close. limit: the most rows of each kind; mortal: whether deaths and revivals are among
    them.
    """

    def __init__(
        self,
        x: np.ndarray,
        outputs: int,
        dtype: np.dtype,
        tracked: int,
        degrees: float,
        limit: int,
        mortal: bool,
    ) -> None:
        n, d = x.shape
        self._x = np.zeros((d, WORD), dtype)
        self._x[:, PLACE[:n]] = x.T
        self._used = np.uint64(2**n - 1)
        self._outputs, self._tracked, self._limit, self._mortal = outputs, tracked, limit, mortal
        self._largest = (2 * math.sin(math.radians(degrees) / 2)) ** 2
        # Kept from call to call: fresh memory costs more than what is written to it.
        size, self._totals = 5 * limit, np.zeros(6, np.int64)
        self._rows = (
            np.empty(size, np.uint8),
            np.empty(size, np.int32),
            np.empty(size, np.int32),
            np.empty(size),
        )

    def sample(self, theta: np.ndarray) -> Sampling:
        """theta (m, p) with columns [a | w | b]."""
        m, T, D = theta.shape[0], min(self._tracked, theta.shape[0]), len(self._x) + 1
        words = -(-T // WORD)
        active, near = np.empty(m, np.uint64), np.empty((T, words), np.uint64)
        u, columns = np.empty((T, D)), np.empty((D, words * WORD))
        chunks, work = -(-m // 256), m * D * WORD
        run(_signs, chunks, work, theta, self._outputs, self._x, self._used, active)
        _directions(theta, self._outputs, PLACE, u, columns)
        run(_close, min(64, T), T * T * D, self._largest, u, columns, near)
        return Sampling(active, near, u)

    def differences(self, before: Sampling, after: Sampling) -> Differences:
        """What differs: all are counted, the first `limit` of each kind are listed."""
        given = (
            after.active,
            before.active,
            after.near,
            before.near,
            after.u,
            self._mortal,
            self._limit,
        )
        count = _differences(*given, self._totals, *self._rows)
        *totals, silent = self._totals.tolist()
        return Differences(totals, silent, *(column[:count].copy() for column in self._rows))
