"""A stretch: many steps of a Runge–Kutta method in one compiled call, for a risk on samples.

A step of a small problem is some twenty kernels of a few microseconds, with as much of Python
between two of them. Here the same kernels are called by their addresses (llvm/addresses.py), in the
order in which runge_kutta.py, clocks.py, march.py and risk.py call them, so the bits are those of
steps made one by one: tests/stepping/test_stretches.py compares the two.

A stretch stops ahead of a step that its clock does not take (`refused`): the caller makes that one
by itself, and so the rules for what follows, another leg or an error, stand in one place.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types

from meanfield.backends.llvm.addresses import call, number

# Nothing is allocated in a stretch, so no references are counted: that, and the wrappers, would
# take half of the compiler's time.
compiled = njit(error_model="numpy", cache=True, nogil=True, no_cfunc_wrapper=True, _nrt=False)
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)

FIXED, HALVING, ERROR_CONTROL = range(3)
EVENTS = 1e-9  # of dt: a time this little before its moment is at it (observers/schedules.py)

# What a stretch goes on with, and when it stops. Names are those of the clocks and of March.
STATE = np.dtype(
    [
        *((name, np.int64) for name in ("clock", "threads", "step", "last_step", "leg_step", "leg_count", "traced")),
        *((name, np.bool_) for name in ("traces", "watches_size", "kinked", "still", "sound", "refused")),
        *((name, np.float64) for name in ("t", "dt", "leg_t", "t_end", "target", "until", "span", "seconds")),
        *((name, np.float64) for name in ("path", "dissipated", "energy", "energy_least", "size2")),
        *((name, np.float64) for name in ("noise", "chatter", "rtol", "atol")),
    ]
)  # fmt: skip


class Kernels(NamedTuple):
    """Addresses of the kernels of a step."""

    mean_feature: int
    pull_back: int
    advance: int
    add_scaled: int
    total: int
    slopes: int


class Risk(NamedTuple):
    """The samples and the loss as the kernels read them. importance: of the samples; empty without
    weights.
    """

    x: np.ndarray
    transposed: np.ndarray  # empty for fused kernels
    labels: np.ndarray
    importance: np.ndarray
    trainable: np.ndarray
    decay: Any  # λ in the dtype
    coupled: bool
    blocked: bool
    s: float
    s_squared: float
    factor: float
    ridge: float


class Method(NamedTuple):
    """A tableau. gaps: b - b_embedded, none without an embedded pair; last_is_new: θ_{n+1} is the
    last stage's point.
    """

    a: np.ndarray
    b: np.ndarray
    gaps: np.ndarray
    last_is_new: bool


class Work(NamedTuple):
    """Arrays that are written to. rows and lines are two views of the same: the kernels want
    either.
    """

    weight: np.ndarray
    everything: np.ndarray
    rows: np.ndarray  # θ of now, the new one as it grows, and a stage's point: (4, m, p)
    lines: np.ndarray
    stage_rows: np.ndarray
    stage_lines: np.ndarray
    partial: np.ndarray  # (shards, tiles, K, size)
    kept: np.ndarray  # z of the blocked kernels
    features: np.ndarray  # F, s F and -s⁻¹ ∂R/∂f of the samples: (n, K)
    predictions: np.ndarray
    slopes: np.ndarray
    padded: np.ndarray  # (tiles, K, size) in the dtype
    norms: np.ndarray
    cast: np.ndarray  # (1,) in the dtype
    clock: np.ndarray
    trace: np.ndarray  # t, Σ_i ℓ_i and F after each step: (as many steps as a call makes, 3)


# numba's own set_num_threads in compiled code is a pointer of this process, which no cache on disk
# can hold.
set_num_threads = types.ExternalFunction("set_num_threads", types.void(types.intp))
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
MONOTONIC = int(time.CLOCK_MONOTONIC)


@part
def _now(work):
    """Seconds of the clock that only goes on."""
    _clock_gettime(np.int32(MONOTONIC), np.uintp(work.clock.ctypes.data))
    return work.clock[0] + 1e-9 * work.clock[1]


@part
def _tree_sum(rows):
    """backend.tree_sum, into the first row."""
    count = rows.shape[0]
    while count > 1:
        half = (count + 1) // 2
        for r in range(count - half):
            for e in range(rows.shape[1]):
                rows[r, e] += rows[half + r, e]
        count = half


@part
def _mean_features(kernels, risk, work, theta, threads):
    """F(x_i) of θ, into work.features: RiskField.features."""
    if threads > 1:
        set_num_threads(threads)
    if risk.blocked:
        call(kernels.mean_feature, (theta, work.weight, risk.x, work.partial, work.kept))
    else:
        call(kernels.mean_feature, (theta, work.weight, risk.x, work.partial))
    if threads > 1:
        set_num_threads(1)

    shards, tiles, outputs, size = work.partial.shape
    _tree_sum(work.partial.reshape(shards, tiles * outputs * size))
    n, m = work.features.shape[0], theta.shape[0]
    for c in range(outputs):
        for tile in range(tiles):
            for i in range(min(size, n - tile * size)):
                work.features[tile * size + i, c] = work.partial[0, tile, c, i] / m


@part
def _slopes(kernels, risk, work):
    """-s⁻¹ ∂R/∂f(x_i) of work.features, into work.slopes: RiskField.slopes."""
    n, outputs = work.features.shape
    factor = -1.0 * risk.factor
    for i in range(n):
        for c in range(outputs):
            work.slopes[i, c] = 0.0
            work.predictions[i, c] = risk.s * work.features[i, c]
    if risk.coupled:
        call(kernels.slopes, (work.predictions, risk.labels, work.slopes))
        for i in range(n):
            for c in range(outputs):
                work.slopes[i, c] = factor * work.slopes[i, c] / risk.s
    else:
        call(kernels.slopes, (work.features, risk.labels, risk.s, factor, work.slopes))
    if risk.importance.size:
        for i in range(n):
            for c in range(outputs):
                work.slopes[i, c] = risk.importance[i] * work.slopes[i, c]


@part
def _velocity(kernels, risk, work, theta, out, threads):
    """v of θ, whose mean features are known: RiskField._velocity."""
    _slopes(kernels, risk, work)
    n, outputs = work.features.shape
    size = work.padded.shape[2]
    for c in range(outputs):
        for i in range(n):
            work.padded[i // size, c, i % size] = work.slopes[i, c]

    shards = work.partial.shape[0]
    if threads > 1:
        set_num_threads(threads)
    if risk.blocked:
        given = (theta, risk.x, risk.transposed, work.padded, risk.decay, risk.trainable, out)
        call(kernels.pull_back, (*given, work.kept, shards))
    else:
        given = (theta, risk.x, work.padded, risk.decay, risk.trainable, out)
        call(kernels.pull_back, (*given, shards))
    if threads > 1:
        set_num_threads(1)


@part
def _advance(kernels, work, base, coefficient, stage, out, columns):
    """∫|stage|² dμ over `columns`; where there is an out, it becomes base + coefficient · stage:
    CPU.advance.
    """
    work.cast[0] = coefficient
    call(kernels.advance, (base, work.cast[0], stage, out, work.weight, columns, work.norms))
    _tree_sum(work.norms.reshape(work.norms.size, 1))
    return work.norms[0] / work.rows.shape[1]


@part
def _norm(kernels, work, line, columns):
    return _advance(kernels, work, line, 0.0, line, line[:0], columns)


@part
def _combine(kernels, work, base, dt, coefficients, count, out):
    """Whether out has become base + dt Σ_j coefficients_j · stages_j; not where there is nothing to
    add: CPU.combine.
    """
    added = False
    for j in range(count):
        coefficient = dt * coefficients[j]
        if coefficient != 0.0:
            work.cast[0] = coefficient
            source = out if added else base
            call(kernels.add_scaled, (source, work.cast[0], work.stage_lines[j], out))
            added = True
    return added


@part
def _total(kernels, risk, work):
    """Σ_i ℓ_i of the θ whose mean features are known: RiskField._total."""
    if not risk.coupled:
        return number(kernels.total, (work.features, risk.labels, risk.importance, risk.s))
    for i in range(work.features.shape[0]):
        for c in range(work.features.shape[1]):
            work.predictions[i, c] = risk.s * work.features[i, c]
    return number(kernels.total, (work.predictions, risk.labels, risk.importance))


@part
def _energy(kernels, risk, work, line, total):
    """F of θ: RiskField.energy."""
    size2 = _norm(kernels, work, line, risk.trainable) if risk.ridge else 0.0

    value = risk.factor * total / risk.s_squared
    return value + 0.5 * risk.ridge * size2


@part
def _step(kernels, risk, method, work, now, dt, threads):
    """(where the new θ is, Σ b_i ∫|k_i|² dμ, Σ b_i |k_i|) of a step from rows[now], its first stage
    known: RungeKutta.step.
    """
    new, point = now, (now + 3) % 4
    dissipated = 0.0
    length = 0.0
    for i in range(method.b.size):
        at = now
        if i:
            if _combine(kernels, work, work.lines[now], dt, method.a[i], i, work.lines[point]):
                at = point
            _mean_features(kernels, risk, work, work.rows[at], threads)
            _velocity(kernels, risk, work, work.rows[at], work.stage_rows[i], threads)
        weight = 0.0 if method.last_is_new else dt * method.b[i]
        stage = work.stage_lines[i]
        if weight != 0.0:
            target = (now + 2) % 4 if new == (now + 1) % 4 else (now + 1) % 4
            out = work.lines[target]
        else:
            target = new
            out = stage[:0]
        speed = _advance(kernels, work, work.lines[new], weight, stage, out, work.everything)
        new = target
        dissipated += method.b[i] * speed
        length += method.b[i] * math.sqrt(speed)
        if method.last_is_new:
            new = at if i == method.b.size - 1 else now
    return new, dissipated, length


@part
def _error(kernels, method, work, dt, spare):
    """‖θ - θ̂‖ of an embedded pair: Step.error."""
    first = 0
    while dt * method.gaps[first] == 0.0:
        first += 1
    leading = dt * method.gaps[first]
    at = work.stage_lines[first]
    for j in range(first + 1, method.gaps.size):
        ratio = dt * method.gaps[j] / leading
        if ratio != 0.0:
            work.cast[0] = ratio
            call(kernels.add_scaled, (at, work.cast[0], work.stage_lines[j], spare))
            at = spare
    return abs(leading) * math.sqrt(_norm(kernels, work, at, work.everything))


@part
def _factor(error, tolerance):
    """Adaptive.factor."""
    if not math.isfinite(error):
        return 0.2
    if error == 0.0:
        return 5.0
    return min(5.0, max(0.2, 0.9 * (tolerance / error) ** 0.2))


@part
def _length(state):
    """The length of the next step: clock.next."""
    if state.clock != ERROR_CONTROL:
        return state.dt
    left = state.target - state.t
    if left <= 1.01 * state.dt:
        return left
    return state.dt if state.dt <= left / 2 else left / 2


@part
def _falls(state, energy, dissipated):
    """Whether F falls as the step says: Halving.judge."""
    if state.energy < state.energy_least:
        state.energy_least = state.energy
    allowed = state.energy + state.noise
    if state.kinked and state.chatter * state.energy_least > allowed:
        allowed = state.chatter * state.energy_least
    return energy <= allowed - 0.5 * dissipated


@compiled
def stretch(kernels, risk, method, work, states):
    """Steps from work.rows[0] until one of states[0]'s ends is reached; returns the place of the
    last θ in work.rows.
    """
    state = states[0]
    now, known, moving = 0, False, False  # known: F of θ; moving: its velocity, too
    begun = _now(work)
    last = method.b.size - 1
    while True:
        dt = _length(state)
        if not moving:
            if not known:
                _mean_features(kernels, risk, work, work.rows[now], state.threads)
            _velocity(kernels, risk, work, work.rows[now], work.stage_rows[0], state.threads)
            moving = True
        new, dissipated, length = _step(kernels, risk, method, work, now, dt, state.threads)
        dissipated, length = dt * dissipated, dt * length
        known = method.last_is_new

        total, energy, size2, next_dt = 0.0, state.energy, state.size2, state.dt
        if state.clock == HALVING or state.traces:
            if not known:
                _mean_features(kernels, risk, work, work.rows[new], state.threads)
                known = True
            total = _total(kernels, risk, work)
            energy = _energy(kernels, risk, work, work.lines[new], total)
            if state.clock == HALVING and not _falls(state, energy, dissipated):
                state.refused = True
                break
        if state.watches_size or state.clock == ERROR_CONTROL:
            size2 = _norm(kernels, work, work.lines[new], work.everything)
        if state.clock == ERROR_CONTROL:
            error = _error(kernels, method, work, dt, work.lines[(now + 1) % 4])
            larger = size2 if size2 > state.size2 else state.size2
            tolerance = state.atol + state.rtol * math.sqrt(larger)
            factor = _factor(error, tolerance)
            if not error <= tolerance:
                if dt * factor < 1e-14 * max(abs(state.t), state.span):
                    state.refused = True
                    break
                state.dt = dt * factor
                continue
            next_dt = max(state.dt, dt * factor) if dt < state.dt and factor >= 1 else dt * factor
            state.t = state.target if dt == state.target - state.t else state.t + dt
        else:
            count = state.step + 1 - state.leg_step
            at_end = count == state.leg_count
            state.t = state.t_end if at_end else state.leg_t + count * state.dt

        now, moving = new, False
        if method.last_is_new:
            for e in range(work.stage_lines.shape[1]):
                work.stage_lines[0, e] = work.stage_lines[last, e]
            moving = True
        state.step += 1
        state.dt = next_dt
        state.energy = energy
        state.size2 = size2
        state.dissipated += dissipated
        state.path += length
        if state.traces:
            work.trace[state.traced, 0] = state.t
            work.trace[state.traced, 1] = total
            work.trace[state.traced, 2] = energy
            state.traced += 1

        still = dissipated == 0.0
        sound = math.isfinite(state.dissipated)
        if state.watches_size and not math.isfinite(size2):
            sound = False
        changed = (still and not state.still) or (state.sound and not sound)
        state.still = still
        state.sound = sound
        if changed or state.step >= state.last_step or state.t >= state.target:
            break
        if state.traced == work.trace.shape[0]:
            break
        if state.t + EVENTS * state.dt >= state.until or _now(work) - begun > state.seconds:
            break
    state.seconds = _now(work) - begun
    return now
