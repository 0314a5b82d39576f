"""What a stretch of steps (kernels/stretch.py) needs of a risk, a tableau and particles, and on how
many threads it runs.
"""

from __future__ import annotations

import time
from typing import Any

import numba
import numpy as np
from numba import typeof

from ..llvm.addresses import address
from .kernels import stretch as loop
from .kernels.stretch import STATE, Kernels, Method, Risk, Work

SHARED = 3 * 10**5  # operations of a mean feature that a second thread may make shorter
# operations of a mean feature, beyond which what lies between kernels is not seen
LARGEST_WORK = 10**8
# numbers of θ, likewise; below it one thread does what is done element by element
LARGEST_THETA = 10**5
SECONDS = 0.05  # of one call: Ctrl-C is served after it
TRIAL = 0.003  # … of one that finds out how long a step takes
WAIT, LONGEST = 0.1, 2.0  # seconds until the slower number of threads is tried again
# seconds of the compiler: once for a dtype and a kind of labels on a machine, whatever σ and d are
COMPILING = 4.0
TRACED = 1024  # steps of one call at most, where their risk and energy are asked for
KINDS = ("fixed", "halving", "error control")  # of clocks, in the order of kernels/stretch.py


class Stretch:
    """Steps of one tableau for one risk and particles of one shape, with the memory that they take."""

    def __init__(
        self,
        backend: Any,
        theta: np.ndarray,
        weight: np.ndarray,
        samples: Any,
        labels: tuple[np.ndarray, np.ndarray | None],
        loss: Any,
        settings: tuple[float, float, float],
        tableau: Any,
    ) -> None:
        m, p = theta.shape
        K, tiles, stages = backend.outputs, samples.x.shape[0], len(tableau.b)
        T, y, importance = backend.dtype, *labels
        s, factor, ridge = settings
        self.backend, self.theta = backend, theta
        rows, stage_rows = np.zeros((4, m, p), T), np.zeros((stages, m, p), T)

        a = np.zeros((stages, stages))
        for i, row in enumerate(tableau.a):
            a[i, :i] = row
        b = np.array(tableau.b)
        gaps = b - np.array(tableau.b_embedded) if tableau.b_embedded else np.zeros(0)
        last_is_new = stages > 1 and tuple(tableau.b) == (*tableau.a[-1], 0.0)
        self.method = Method(a, b, gaps, last_is_new)

        self.risk = Risk(
            samples.x,
            np.zeros((0, 0), T) if samples.transposed is None else samples.transposed,
            y,
            np.zeros(0) if importance is None else importance,
            backend.trainable,
            T.type(ridge),
            bool(loss.coupled),
            not backend.fused,
            float(s),
            float(s**2),
            float(factor),
            float(ridge),
        )
        kept = np.zeros((0, 0, 0), T) if backend.fused else backend._keep(theta, samples, True)
        self.work = Work(
            weight,
            backend._everything,
            rows,
            rows.reshape(4, m * p),
            stage_rows,
            stage_rows.reshape(stages, m * p),
            np.zeros((backend.shards(m), tiles, K, samples.size)),
            kept,
            np.zeros((samples.n, K)),
            np.zeros((samples.n, K)),
            np.zeros((samples.n, K)),
            np.zeros((tiles, K, samples.size), T),
            np.zeros(backend.shards(m)),
            np.zeros(1, T),
            np.zeros(2, np.int64),
            np.zeros((TRACED, 3)),
        )
        self.kernels = self._addresses(loss)
        shared = backend._work(theta, samples) > SHARED
        self.pace = Pace(numba.get_num_threads() if shared else 1)

    def _addresses(self, loss: Any) -> Kernels:
        backend, risk, work = self.backend, self.risk, self.work
        from . import backend as elementwise

        theta, line = work.rows[0], work.lines[0]
        kernels, of_loss = backend.kernels, backend._loss(loss)
        several = "_k" if backend.fused and backend.outputs > 1 else ""
        given = (theta, work.weight, risk.x, work.partial)
        x = (risk.x,) if backend.fused else (risk.x, risk.transposed)
        back = (theta, *x, work.padded, risk.decay, risk.trainable, theta)
        kept = () if backend.fused else (work.kept,)

        coupled = "_coupled" if loss.coupled else ""
        total = getattr(of_loss.module(risk.importance.size > 0), f"total{coupled}")
        slopes = getattr(of_loss.module(), f"slopes{coupled}")
        scale = () if loss.coupled else (risk.s,)
        factor = () if loss.coupled else (risk.s, risk.factor)
        sums = work.weight, work.everything, work.norms
        return Kernels(
            address(getattr(kernels, f"mean_feature{several}"), *given, *kept),
            address(backend.pull_back_kernel, *back, *kept, 1),
            address(elementwise._advance, line, work.cast[0], line, line, *sums),
            address(elementwise._add_scaled, line, work.cast[0], line, line),
            address(total, work.features, risk.labels, risk.importance, *scale),
            address(slopes, work.features, risk.labels, *factor, work.slopes),
        )

    def compile(self) -> None:
        """Compile the call, where it is not."""
        loop.stretch.compile(self._kinds())

    def _kinds(self) -> tuple[Any, ...]:
        """The types of what the call is given."""
        given = self.kernels, self.risk, self.method, self.work, np.zeros(1, STATE)
        return tuple(map(typeof, given))

    @property
    def compiled(self) -> bool:
        """Whether the call is compiled, in this process or in the cache on disk."""
        kernel, kinds = loop.stretch, self._kinds()
        if kinds in kernel.overloads:
            return True
        cache = kernel._cache
        key = cache._index_key(kinds, kernel.targetctx.codegen())
        return key in cache._cache_file._load_index()

    def state(self, kind: str, given: dict[str, Any]) -> np.ndarray:
        """The record (1,) that a call goes on with; kind: of the clock."""
        state = np.zeros(1, STATE)
        state["clock"] = KINDS.index(kind)
        for name, value in given.items():
            state[name] = value
        return state

    def traced(self, state: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Of the steps of the last call: (times, {"risk": R, "energy": F}), as Field.value and
        Field.energy give them.
        """
        t, total, energy = self.work.trace[: int(state["traced"][0])].T.copy()
        return t, {"risk": self.risk.factor * total, "energy": energy}

    def run(self, theta: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Steps from θ; returns the last θ, and `state` says where it is."""
        first = int(state["step"][0])
        self.work.rows[0] = theta
        threads, state["seconds"] = self.pace.choose()
        state["threads"] = threads
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            place = loop.stretch(self.kernels, self.risk, self.method, self.work, state)
        finally:
            numba.set_num_threads(before)
        self.pace.took(threads, int(state["step"][0]) - first, float(state["seconds"][0]))

        made = self.backend.pool.take(theta.shape, theta.dtype)
        made[:] = self.work.rows[place]
        return made


class Pace:
    """One thread or several, by the time that steps take: bits do not depend on it.

    Several threads wait for each other a dozen times a step. Where another process takes the core
    of one of them, they wait for as long as it keeps it, and a step may take fifty times as long;
    so both are tried, now and then again.
    """

    def __init__(self, several: int) -> None:
        self.several = several
        self._seconds: dict[int, float] = {}  # of a step
        self._again = 0.0  # when the slower one is tried next
        self._wait = WAIT

    def choose(self) -> tuple[int, float]:
        """(threads, seconds at most) of the next call."""
        if self.several == 1:
            return 1, SECONDS
        for threads in (1, self.several):
            if threads not in self._seconds:
                return threads, TRIAL
        best = min(self._seconds, key=lambda threads: self._seconds[threads])
        if time.monotonic() < self._again:
            return best, (SECONDS if best == 1 else SECONDS / 4)
        return (self.several if best == 1 else 1), TRIAL

    def took(self, threads: int, steps: int, seconds: float) -> None:
        """So many steps have taken so long."""
        if self.several == 1 or not steps:
            return
        before = self._seconds.get(threads)
        self._seconds[threads] = seconds / steps
        if len(self._seconds) < 2:
            return
        best = min(self._seconds, key=lambda threads: self._seconds[threads])
        if time.monotonic() >= self._again:
            lost = before is not None and threads != best
            self._wait = min(LONGEST, 2 * self._wait) if lost else WAIT
            self._again = time.monotonic() + self._wait


_not_compiled: set[tuple[Any, ...]] = (
    set()
)  # kinds of calls that no cache had: asking takes a millisecond


def of(
    backend: Any,
    theta: np.ndarray,
    seconds: float,
    **given: Any,
) -> Stretch | None:
    """A Stretch; None where it would not make the run shorter. seconds: what all the steps would
    gain.
    """
    work = theta.shape[0] * given["samples"].n * backend._operations
    if work > LARGEST_WORK or theta.size > LARGEST_THETA:
        return None
    y = given["labels"][0]
    kind = backend.dtype.name, backend.fused, y.dtype.name, y.ndim
    if seconds <= COMPILING and kind in _not_compiled:
        return None

    made = Stretch(backend, theta, **given)
    if made.compiled or seconds > COMPILING:
        _not_compiled.discard(kind)
        return made
    _not_compiled.add(kind)
    return None
