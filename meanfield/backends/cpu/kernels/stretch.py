"""A stretch: many steps of a Runge–Kutta method in one compiled call, for a risk on samples or an
energy of pairs.

A step of a small problem is some twenty kernels of a few microseconds, with as much of Python
between two of them. Here their parts of a shard are called by their addresses (llvm/addresses.py),
in an order of sums that is that of runge_kutta.py, clocks.py, march.py and risk_field.py, so the
bits are those of steps made one by one: tests/stepping/test_stretches.py compares the two. What is
done for each shard, and by which thread: shards.py, team.py.

A stretch stops ahead of a step that its clock does not take (`refused`): the caller makes that one
by itself, and so the rules for what follows, another leg or an error, stand in one place.
"""

import math

import numpy as np
from numba import njit

from meanfield.backends.bound import T
from meanfield.backends.cpu.kernels.clock import now
from meanfield.backends.cpu.kernels.trees import tree_sum
from meanfield.backends.cpu.records import (
    CALL,
    ERROR,
    ERROR_CONTROL,
    HALVING,
    KNOWN,
    LAST,
    PULL_BACK,
    RIDGE,
    ROWS,
    SIZE,
    SPEED,
)
from meanfield.backends.llvm.addresses import call, number
from meanfield.backends.llvm.atomics import load, store

# Nothing is allocated in a stretch, so no references are counted: that, and the wrappers, would
# take half of the compiler's time.
compiled = njit(error_model="numpy", cache=True, nogil=True, no_cfunc_wrapper=True, _nrt=False)
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)

BITS = np.int32 if T is np.float32 else np.int64
LARGEST = BITS(np.iinfo(BITS).max)  # all but the sign

EVENTS = 1e-9  # of dt: a time this little before its moment is at it (observers/schedules.py)


@part
def _total(kernels, risk, method, work):
    """Σ_i ℓ_i of the new θ, whose mean features are known: RiskField._total. Of pairs their energy,
    for which the velocity is made first where it has the same sums.
    """
    if risk.pairs:
        theta = work.rows[0, (work.job[0].now + method.at[method.b.size]) % ROWS]
        if kernels.velocity and not method.last_is_new:
            call(kernels.velocity, (theta, work.stage_rows[0, 0], risk.places))
        return number(kernels.energy, (theta, risk.energy_places))
    if not risk.coupled:
        return number(kernels.total, (work.features, risk.labels, risk.importance, risk.s))
    for i in range(work.features.shape[0]):
        for c in range(work.features.shape[1]):
            work.predictions[i, c] = risk.s * work.features[i, c]
    return number(kernels.total, (work.predictions, risk.labels, risk.importance))


@part
def _energy(risk, work, total):
    """F of θ: RiskField.energy."""
    size2 = work.means[RIDGE] if risk.ridge else 0.0
    value = risk.factor * total / risk.s_squared
    return value + 0.5 * risk.ridge * size2


@part
def _step(kernels, risk, method, work, state, goes_on):
    """(Σ b_i ∫|k_i|² dμ, Σ b_i |k_i|) of a step of work.job's dt: RungeKutta.step.

    goes_on: its new θ needs its mean features.
    """
    job = work.job[0]
    last = method.b.size - 1
    dissipated = 0.0
    length = 0.0
    for i in range(job.first, last + 1):
        if i > 0:
            job.begins = PULL_BACK
        job.stage = i
        job.forward = (i < last or goes_on) and not risk.pairs
        call(kernels.stage, (kernels, risk, method, work, 0, 0))
        if i >= 0:
            speed = work.means[SPEED]
            state.speed2 = speed if i == 0 else state.speed2
            dissipated += method.b[i] * speed
            length += method.b[i] * math.sqrt(speed)
    job.first = 0
    return job.dt * dissipated, job.dt * length


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


@part
def _time(state, dt):
    """The time after a step: clock.judge."""
    if state.clock == ERROR_CONTROL:
        return state.target if dt == state.target - state.t else state.t + dt
    count = state.step + 1 - state.leg_step
    return state.t_end if count == state.leg_count else state.leg_t + count * state.dt


@part
def _to_be_seen(notes, state, step, t, dt):
    """Whether a moment that is asked for comes with this step."""
    if notes.steps[state.next_step] <= step:
        return True
    return notes.times[state.next_time] <= t + EVENTS * dt


@part
def _moved2(kernels, work, way):
    """∫|way|² dμ, by worker 0's norms: between two steps they are free."""
    column, shards = work.norms[0, SPEED], work.claims.size
    for shard in range(shards):
        given = shard, shards, way, T(0), way, way[:0], work.weight, work.alike
        call(kernels.advance, (*given, work.everything, work.scratch[0], column))
    return tree_sum(column) / work.weight.size


@part
def _line(work, shard):
    """θ of now where this shard is up to date, and the shard's part of it."""
    now, m, p, shards = work.job[0].now, work.weight.size, work.everything.size, work.claims.size
    first, last = shard * m // shards * p, (shard + 1) * m // shards * p
    return work.lines[work.owners[now, shard], now], first, last


@part
def _copy(work, made):
    """θ of now."""
    for shard in range(work.claims.size):
        line, first, last = _line(work, shard)
        for e in range(first, last):
            made[e] = line[e]


@part
def _window(kernels, work, notes, state):
    """The end of a window of motion.py: what it moved is noted, and θ is the start of the next."""
    way = work.lines[0, (work.job[0].now + 1) % ROWS]  # between two steps θ of now alone is read
    for shard in range(work.claims.size):
        line, first, last = _line(work, shard)
        for e in range(first, last):
            way[e] = line[e] - notes.start[e]
            notes.start[e] = line[e]

    ended = notes.windows[state.windows]
    ended[0], ended[1], ended[2] = state.t, state.path, state.path_half
    ended[3] = _moved2(kernels, work, way)
    state.windows += 1
    state.before += 2 * (state.window - state.half)
    half = max(state.least, int(math.sqrt(state.before)) // 2)
    state.half, state.window = state.step + half, state.step + 2 * half


@part
def _look(kernels, work, notes, state, total):
    """What observers ask of this moment, but for the speed: that is the next step's to say."""
    now, seen = work.job[0].now, notes.seen[state.looked]
    way, moved = work.lines[0, (now + 1) % ROWS], work.lines[0, (now + 2) % ROWS]
    bits, most = seen.view(BITS), BITS(0)
    for shard in range(work.claims.size):  # once: much of it is in the cache of another core
        line, first, last = _line(work, shard)
        for e in range(first, last):
            seen[e] = line[e]
            way[e] = line[e] - notes.origin[e]
            moved[e] = line[e] - notes.start[e]
        for e in range(first, last):  # the order of |θ| is that of its bits, and NaN is the largest
            most = max(most, bits[e] & LARGEST)

    look = notes.looks[state.looked]
    look.step, look.t, look.dt, look.windows = state.step, state.t, state.dt, state.windows
    look.path, look.path_half, look.dissipated = state.path, state.path_half, state.dissipated
    look.energy, look.total, look.ridge2 = state.energy, total, work.means[RIDGE]
    look.way2 = _moved2(kernels, work, way)
    look.moved2 = _moved2(kernels, work, moved) if state.half >= 0 else 0.0
    way.view(BITS)[0] = most
    look.largest = way[0]
    while notes.steps[state.next_step] <= state.step:
        state.next_step += 1
    while notes.times[state.next_time] <= state.t + EVENTS * state.dt:
        state.next_time += 1


@compiled
def stretch(kernels, risk, method, work, notes, states, theta, made):
    """Steps from theta until one of states[0]'s ends is reached; the last θ is put into `made`."""
    state, job = states[0], work.job[0]
    begun = now(work, 0)
    for e in range(theta.size):
        work.lines[0, 0, e] = theta[e]
    job.now, job.first, job.begins, job.known = 0, -1, PULL_BACK, state.known
    if state.known or state.given or risk.pairs:
        job.first = 0
    if state.given:
        job.begins = KNOWN
    job.watches_size = state.watches_size or state.clock == ERROR_CONTROL
    always = state.clock == HALVING or state.traces
    job.error = state.clock == ERROR_CONTROL
    asked = notes.seen.shape[0] > 0
    pending = False  # whether a moment that was seen waits for its speed

    while True:
        dt = _length(state)
        job.dt = dt
        # the next dt, by which a moment has come, is not known to error control ahead of its step
        t = _time(state, dt)
        may_look = asked and (job.error or _to_be_seen(notes, state, state.step + 1, t, dt))
        job.energy = always or may_look
        job.ridge = job.energy and risk.ridge != 0.0
        goes_on = job.energy or state.step + 1 < state.last_step
        goes_on = goes_on and not method.last_is_new
        dissipated, length = _step(kernels, risk, method, work, state, goes_on)
        if pending:
            notes.looks[state.looked].speed2 = state.speed2
            state.looked += 1
            pending = False

        size2, next_dt = state.size2, state.dt
        if job.watches_size:
            size2 = work.means[SIZE]
        if state.clock == ERROR_CONTROL:
            error = abs(dt * method.gaps[method.leading]) * math.sqrt(work.means[ERROR])
            larger = size2 if size2 > state.size2 else state.size2
            tolerance = state.atol + state.rtol * math.sqrt(larger)
            factor = _factor(error, tolerance)
            if not error <= tolerance:
                if dt * factor < 1e-14 * max(abs(state.t), state.span):
                    state.refused = True
                    break
                state.dt = dt * factor
                job.begins = KNOWN
                continue
            next_dt = max(state.dt, dt * factor) if dt < state.dt and factor >= 1 else dt * factor
        looks = asked and _to_be_seen(notes, state, state.step + 1, t, next_dt)
        total, energy = 0.0, state.energy
        if always or looks:  # of a step that is not rejected: k_0 of one that is stays where it is
            total = _total(kernels, risk, method, work)
            energy = _energy(risk, work, total)
            if state.clock == HALVING and not _falls(state, energy, dissipated):
                state.refused = True
                break

        job.now = (job.now + method.at[method.b.size]) % ROWS
        made_already = (always or looks) and kernels.velocity != 0
        job.begins = LAST if method.last_is_new else KNOWN if made_already else PULL_BACK
        state.step += 1
        state.t = t
        state.dt = next_dt
        state.energy = energy
        state.size2 = size2
        state.dissipated += dissipated
        state.path += length
        if state.step == state.half:
            state.path_half = state.path
        if state.step == state.window:
            _window(kernels, work, notes, state)
        if state.traces:
            notes.trace[state.traced, 0] = state.t
            notes.trace[state.traced, 1] = total
            notes.trace[state.traced, 2] = energy
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
        if state.traced == notes.trace.shape[0] or state.windows == notes.windows.shape[0]:
            break
        if state.t + EVENTS * state.dt >= state.until or now(work, 0) - begun > state.seconds:
            break
        if looks:
            if state.looked == notes.seen.shape[0]:
                break
            _look(kernels, work, notes, state, total)
            pending = True

    store(work.control, CALL, load(work.control, CALL) + 1)
    _copy(work, made)
    state.known = job.known and not state.refused
    state.seconds = now(work, 0) - begun
