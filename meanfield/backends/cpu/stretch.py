"""What a stretch of steps (kernels/stretch.py) needs of a field, a tableau and particles, and how many
threads work at it.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import get_num_threads, typeof
from numba._dispatcher import compute_fingerprint

from ...processes.ledger import Ledger
from .. import compiler
from ..llvm.addresses import address
from . import team
from .backend import scratch_of
from .branches import branches_of, in_lines
from .records import (
    APART,
    CALL,
    ERROR,
    JOB,
    LOOK,
    MOST,
    ROWS,
    STATE,
    Kernels,
    Look,
    Method,
    Notes,
    Risk,
    Work,
)

SHARED = 3 * 10**5  # operations of a mean feature that a second thread makes shorter
# operations of a mean feature with matrix products, beyond which what lies between kernels is not
# seen
LARGEST_WORK = 10**8
LARGEST = 2**29  # bytes of θ, its points and stages
SECONDS = 0.05  # of one call: Ctrl-C is served after it
# seconds of the compiler, once for a dtype and a kind of labels on a machine, whatever σ and d are: where
# a stage saves stretches.SAVED. What counts is the ratio, 3·10⁵ stages, which is that of slower machines,
# too: one that compiles for 9 s saves 3·10⁻⁵ s (m = 64) … 10⁻⁴ s (m = 1000, d = 20)
COMPILING = 6.0
AGAIN = 0.5  # seconds that runs lose until the cache is asked again, which takes 2 ms
TRACED = 1024  # steps of one call at most, where their risk and energy are asked for
WINDOWS = 128  # of motion.py, of one call at most
LOOKS = 128  # moments of one call that are seen on the way, at most …
LOOK_BYTES = 2**22 - 1  # … and of their θ: from 4 MiB on NumPy asks for pages slow to come
# steps of one call at least, where several threads share a stage and a step has one: where observers
# have just asked for its velocity, a step by itself is one addition
SHARED_LEAST = 3
KINDS = ("fixed", "halving", "error control")  # of clocks, in the order of records.py


def method_of(tableau: Any) -> Method:
    """The tableau as compiled code reads it."""
    stages = len(tableau.b)
    a, b = np.zeros((stages, stages)), np.array(tableau.b)
    for i, row in enumerate(tableau.a):
        a[i, :i] = row
    gaps = b - np.array(tableau.b_embedded) if tableau.b_embedded else np.zeros(0)
    last_is_new = stages > 1 and tuple(tableau.b) == (*tableau.a[-1], 0.0)

    at, source, target = np.zeros((3, stages + 1), np.int64)
    for i in range(1, stages):
        at[i] = 3 + i % 2 if any(tableau.a[i]) else 0
    grown = 0  # where the new θ is
    for i in range(stages):
        source[i] = grown
        if b[i] and not last_is_new:
            grown = target[i] = 2 if grown == 1 else 1
    at[stages] = at[stages - 1] if last_is_new else grown
    fresh = [at[i + 1] != 0 for i in range(stages - 1)]
    fresh.append(bool(target[stages - 1]))
    leading = next((j for j, gap in enumerate(gaps) if gap), 0)
    return Method(a, b, gaps, leading, last_is_new, at, source, target, np.array(fresh))


class Stretch:
    """Steps of one tableau for one field and particles of one shape, with the memory that they take.

    risk: the field as the kernels read it, on these samples.
    """

    least = 1  # steps of a call
    factor = 1.0  # R over what is traced of it

    def __init__(
        self, field: Any, particles: Any, tableau: Any, samples: Any, risk: Risk, workers: int
    ) -> None:
        backend = self.backend = field.backend
        self.risk, self.method = risk, method_of(tableau)
        self.work = self._memory(particles.theta, field.weight(particles), samples, workers)
        self.notes = self._notes()
        self.loop, self.stage, self.shards = _loops(backend.dtype.name)
        self.kernels = Kernels(*[0] * len(Kernels._fields))  # not asked for yet
        self._turn = 0  # calls so far
        most = min(LOOKS, LOOK_BYTES // particles.theta.nbytes)
        self.most_looks = max(1, most)  # of one call
        self._known: np.ndarray | None = None  # θ whose mean features the last call has left behind

    def _memory(self, theta: np.ndarray, weight: np.ndarray, samples: Any, workers: int) -> Work:
        backend, T = self.backend, self.backend.dtype
        (m, p), n, size = theta.shape, samples.n, samples.size
        K, tiles = backend.outputs, samples.x.shape[0]
        stages, shards = len(self.method.b), backend.shards(m)
        # of a tile's samples: kinked.py takes them in pairs
        used = size if tiles > 1 else n + n % 2
        rows = np.zeros((workers, ROWS, m, p), T)
        stage_rows = np.zeros((workers, stages, m, p), T)
        partial = np.zeros((workers, shards, tiles, K, size))
        keeps = backend.network is not None and backend.keeps(theta, samples)
        kept = (tiles, m, size) if keeps else (0, 0, 0)
        kinked = backend.network is not None and backend.kinked
        slopes = size if backend.network is None else backend.slopes_of(samples)
        terms = (tiles, used, 2 * backend.dim + 1) if kinked else (0, 0, 0)
        branches, keepers = branches_of(shards, workers)
        order = np.argsort(keepers, kind="stable")
        first = np.searchsorted(keepers[order], np.arange(workers + 1))
        claims, done = in_lines(2, shards)
        sums = shards if branches == shards else (shards + 1) // 2
        return Work(
            weight=weight,
            alike=backend.alike(weight),
            everything=backend._everything,
            rows=rows,
            lines=rows.reshape(workers, ROWS, m * p),
            stage_rows=stage_rows,
            stage_lines=stage_rows.reshape(workers, stages, m * p),
            partial=partial,
            sums=partial.reshape(workers, shards, tiles * K * size),
            kept=np.zeros((workers, *kept), T),
            nothing=np.zeros((0, 0, 0), T),
            norms=np.zeros((workers, ERROR + 1, shards)),
            scratch=np.zeros((workers, scratch_of(p))),
            column=np.zeros(shards),
            means=np.zeros(ERROR + 1),
            features=np.zeros((n, K)),
            predictions=np.zeros((n, K)),
            slopes=np.zeros((n, K)),
            padded=np.zeros((tiles, K, slopes), T),
            terms=np.zeros((workers, *terms), T),
            whole=np.zeros((workers, backend.dim + 1)),
            job=np.zeros(workers, JOB),
            owners=np.zeros((ROWS + stages + 2, shards), np.int64),
            order=order,
            first=first,
            claims=claims,
            done=done,
            branches=branches,
            keepers=keepers,
            folds=np.zeros((workers, sums, tiles * K * size)),
            folded=np.full(workers * APART, -1),
            control=np.zeros(16, np.int64),
            clock=np.zeros((workers, APART), np.int64),
        )

    def _notes(self) -> Notes:
        line = self.work.lines[0, 0]
        return Notes(
            trace=np.zeros((TRACED, 3)),
            start=np.zeros_like(line),
            windows=np.zeros((WINDOWS, 4)),
            origin=np.zeros_like(line),
            steps=np.zeros(LOOKS + 1, np.int64),
            times=np.zeros(LOOKS + 1),
            looks=np.zeros(LOOKS, LOOK),
            seen=self.work.lines[0, :0],
        )

    def _addresses(self) -> Kernels:
        work, risk = self.work, self.risk
        used, asked = self._of_field()
        key = *used, compute_fingerprint((risk, self.method, work))
        if key in _addresses_of:
            return _addresses_of[key]

        rows, line, one = self.backend.rows, work.lines[0, 0], self.backend.dtype.type(1)
        weights = work.weight, work.alike, work.everything
        sums = 0, 0, line, one, line, line, *weights, work.scratch[0], work.norms[0, 0]
        asked |= {"advance": (rows.advance, sums)}
        asked |= {"add_scaled": (rows.add_scaled, (0, 0, 1, line, one, line, line))}
        found = {name: address(kernel, *given) for name, (kernel, given) in asked.items()}
        made = Kernels(**{**dict.fromkeys(Kernels._fields, 0), **found})
        given = made, risk, self.method, work, 0, 0, 0
        stage = address(self.stage, *given[:-1])
        made = made._replace(stage=stage, work_shards=address(self.shards, *given))
        _addresses_of[key] = made
        return made

    def _of_field(self) -> tuple[tuple[Any, ...], dict[str, tuple[Any, tuple[Any, ...]]]]:
        """The kernels of the field that differ from one to the other, and by name of Kernels each
        with arguments of its types.
        """
        raise NotImplementedError

    def compile(self) -> None:
        """Compile the call and what it calls, where they are not."""
        for task in self.compilations():
            task()
        self.kernels = self._addresses()

    def compilations(self) -> list[Callable[[], None]]:
        """Those of what no single step compiles, the longest first: none needs another."""
        return [functools.partial(kernel.compile, kinds) for kernel, kinds in self._given()]

    def _given(self) -> list[tuple[Any, tuple[Any, ...]]]:
        """What no single step compiles, and the types that it is given."""
        line, common = self.work.lines[0, 0], (self.kernels, self.risk, self.method, self.work)
        more = {
            self.stage: (0, 0),
            self.shards: (0, 0, 0),
            self.loop: (self.notes, np.zeros(1, STATE), line, line),
        }
        return [(kernel, tuple(map(typeof, (*common, *last)))) for kernel, last in more.items()]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for those that compile the same."""
        common = self.kernels, self.risk, self.method, self.work
        return self.loop, compute_fingerprint(common)

    @property
    def compiled(self) -> bool:
        """Whether what no single step compiles is there, in this process or in the cache on disk."""
        if (kind := self.kind) not in _there:
            if not all(map(_is_there, *zip(*self._given(), strict=True))):
                return False
            _there.add(kind)
        return True

    def pays(self, seconds: float) -> bool:
        """Whether it is compiled, or worth it where so much is gained by it."""
        return self.compiled or seconds > COMPILING

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
        t, total, energy = self.notes.trace[: int(state["traced"][0])].T.copy()
        return t, {"risk": self.factor * total, "energy": energy}

    def windows(self, state: np.ndarray) -> list[list[float]]:
        """Of the windows of motion.py that ended in the last call: t, the path, that at the middle,
        |Δθ|².
        """
        return self.notes.windows[: int(state["windows"][0])].tolist()

    @property
    def start(self) -> np.ndarray:
        """θ at the start of the window of motion.py; to be set before a call, where there are windows."""
        made = self.backend.pool.take(self.work.rows.shape[2:], self.work.rows.dtype)
        np.copyto(made.reshape(-1), self.notes.start)
        return made

    @start.setter
    def start(self, theta: np.ndarray) -> None:
        np.copyto(self.notes.start, theta.reshape(-1))

    def begin(self, origin: np.ndarray) -> None:
        """θ at the start of the run, for moments that are seen."""
        np.copyto(self.notes.origin, origin.reshape(-1))

    def look_at(self, steps: np.ndarray, times: np.ndarray) -> None:
        """Moments that the next call is to see on its way: the first most_looks of these steps, and of
        the first ones at these times, both sorted.
        """
        notes = self.notes
        for coming, wanted, never in (
            (notes.steps, steps, np.iinfo(np.int64).max),
            (notes.times, times, np.inf),
        ):
            known = wanted[: self.most_looks]
            coming[: known.size] = known
            coming[known.size] = never
        most = min(self.most_looks, steps.size + times.size)
        seen = np.empty((most, notes.origin.size), notes.origin.dtype)  # theirs who look
        self.notes = notes._replace(seen=seen)

    def seen(self, state: np.ndarray) -> list[tuple[Look, np.ndarray, dict[str, float]]]:
        """The moments that the last call has seen, each with its θ (m, p), which nobody writes to,
        and with what diagnostics say of it, by their names.
        """
        looks = [Look(*row) for row in self.notes.looks[: int(state["looked"][0])].tolist()]
        seen = self.notes.seen
        # a frame that waits for its file keeps all that it is part of
        if 2 * len(looks) < len(seen):
            seen = seen[: len(looks)].copy()
        return [
            (look, line.reshape(self.work.rows.shape[2:]), self._said(look))
            for look, line in zip(looks, seen, strict=False)
        ]

    def _said(self, look: Look) -> dict[str, float]:
        ridge = self.risk.ridge
        said = {
            "energy": look.energy,
            "risk": self.factor * look.total,
            "regulariser": 0.5 * ridge * (look.ridge2 if ridge else 0.0),
            "speed2": look.speed2,
            "displacement": math.sqrt(look.way2),
        }
        if math.isfinite(look.largest):
            said |= {"theta_max": look.largest, "nonfinite": 0.0}
        return said

    @property
    def features(self) -> np.ndarray | None:
        """The mean features (n, K) of the last θ of the last call, where it made them."""
        return None if self._known is None else self.work.features.copy()

    def run(
        self, theta: np.ndarray, state: np.ndarray, velocity: np.ndarray | None = None
    ) -> np.ndarray:
        """Steps from θ; returns the last θ, and `state` says where it is. velocity: that of θ, where
        somebody has asked for it.
        """
        made = self.backend.pool.take(theta.shape, theta.dtype)
        state["seconds"] = SECONDS
        state["known"] = theta is self._known
        if velocity is not None:
            state["given"] = True
            np.copyto(self.work.stage_rows[0, 0], velocity)
        if not self.kernels.stage:
            self.kernels = self._addresses()
        self._turn += 1
        owners = self.work.owners
        owners[:-2] = owners[-1] = 0  # what is kept of a θ that is known stays where it is
        self.work.control[CALL] = self._turn
        given = self.kernels, self.risk, self.method, self.work
        for number, helper in enumerate(team.helpers(self.work.rows.shape[0] - 1), start=1):
            helper.give(self.stage, *given, self._turn, number)
        self.loop(*given, self.notes, state, theta.reshape(-1), made.reshape(-1))
        # blocked kernels take the longer for a z that nobody has kept
        known = state["known"][0] and not (self.risk.blocked or self.risk.pairs)
        self._known = made if known else None
        return made


class OfRisk(Stretch):
    """For a risk on samples."""

    def __init__(self, field: Any, particles: Any, tableau: Any) -> None:
        backend, samples, of, theta = field.backend, field.samples, field.risk, particles.theta
        T, s = backend.dtype, field.s
        risk = Risk(
            x=samples.x,
            transposed=np.zeros((0, 0), T) if samples.transposed is None else samples.transposed,
            labels=field.labels,
            importance=np.zeros(0) if of.weights is None else of.weights,
            trainable=backend.trainable,
            decay=T.type(of.ridge),
            coupled=bool(of.loss.coupled),
            blocked=not backend.fused,
            pairs=False,
            s=float(s),
            s_squared=float(s**2),
            factor=float(of.factor),
            ridge=float(of.ridge),
            places=0,
            energy_places=0,
        )
        self.loss, self.factor = of.loss, float(of.factor)
        shared = backend._work(theta, samples) > SHARED
        workers = min(get_num_threads(), backend.shards(theta.shape[0]), MOST) if shared else 1
        self.least = SHARED_LEAST if shared and len(tableau.b) == 1 else 1
        super().__init__(field, particles, tableau, samples, risk, workers)

    def _of_field(self) -> tuple[tuple[Any, ...], dict[str, tuple[Any, tuple[Any, ...]]]]:
        backend, risk, work, loss = self.backend, self.risk, self.work, self.loss
        theta, line = work.rows[0, 0], work.lines[0, 0]
        forward, back = backend.mean_feature_kernel, backend.pull_back_kernel
        of_loss = backend._loss(loss)
        given = 0, 0, theta, work.weight, risk.x, work.partial[0], work.nothing

        x = (risk.x,) if backend.fused else (risk.x, risk.transposed)
        pulled = 0, 0, theta, *x, work.padded, risk.decay, risk.trainable, theta, work.nothing
        sides = {}
        if backend.kinked:
            halves = backend.kinked_kernels
            used = work.terms.shape[2]
            work.terms[..., : backend.dim] = risk.x.transpose(0, 2, 1)[:, :used]
            made = work.terms[0], work.whole[0]
            pulled = 0, 0, line, *made, risk.decay, risk.trainable, line
            sides["sides"] = halves.sides, (risk.x, work.padded, *made)

        coupled = "_coupled" if loss.coupled else ""
        total = getattr(of_loss.module(risk.importance.size > 0), f"total{coupled}")
        slopes = getattr(of_loss.module(), f"slopes{coupled}")
        scale = () if loss.coupled else (risk.s,)
        factor = () if loss.coupled else (risk.s, risk.factor)
        return (forward, back, total, slopes), {
            "mean_feature": (forward, given),
            "pull_back": (back, pulled),
            "total": (total, (work.features, risk.labels, risk.importance, *scale)),
            "slopes": (slopes, (work.features, risk.labels, *factor, work.slopes)),
            **sides,
        }


# What takes numba milliseconds to say, for each run of a sweep: by the kernels, and by the kinds of
# what they are given.
_addresses_of: dict[tuple[Any, ...], Kernels] = {}
_there: set[tuple[Any, ...]] = set()


def _is_there(kernel: Any, kinds: tuple[Any, ...]) -> bool:
    """Whether a kernel is compiled for arguments of these types."""
    if kinds in kernel.overloads:
        return True
    cache = kernel._cache
    files = cache._cache_file
    name = files._load_index().get(cache._index_key(kinds, kernel.targetctx.codegen()))
    return name is not None and os.path.exists(files._data_path(name))


_not_compiled: set[tuple[Any, ...]] = set()  # kinds of calls that the cache did not have


def of(field: Any, particles: Any, tableau: Any, seconds: float) -> Stretch | None:
    """A Stretch for a risk; None where it would not make the run shorter. seconds: what all the
    steps would gain.
    """
    backend, theta, y = field.backend, particles.theta, field.labels
    work = theta.shape[0] * field.samples.n * backend._operations
    if too_large(theta, tableau) or (work > LARGEST_WORK and not backend.fused):
        return None
    weighted = field.risk.weights is not None
    kind = backend.dtype.name, backend.fused, y.dtype.name, y.ndim, weighted
    return worth(kind, seconds, lambda: OfRisk(field, particles, tableau))


def too_large(theta: np.ndarray, tableau: Any) -> bool:
    return 2 * (ROWS + len(tableau.b)) * theta.nbytes > LARGEST


def worth(kind: tuple[Any, ...], seconds: float, make: Callable[[], Stretch]) -> Stretch | None:
    """One that is compiled, or worth it: for this run alone, or for all of its kind, which have lost as much
    so far, in whatever process.
    """
    made = None
    if seconds > COMPILING or kind not in _not_compiled:
        made = make()
        if made.pays(seconds):
            _not_compiled.discard(kind)
            return made
        _not_compiled.add(kind)

    lost = _ledger(kind)
    so_far = lost.add(seconds)
    if so_far // AGAIN > (so_far - seconds) // AGAIN:
        _not_compiled.discard(kind)  # another process may have compiled it
    if so_far > COMPILING and lost.clear(COMPILING):
        _not_compiled.discard(kind)
        return made or make()
    return None


def _loops(dtype: str) -> list[Any]:
    """The functions that make many steps, and call the kernels of any field."""
    return [
        getattr(compiler.kernels(f"{__package__}.kernels.{file}", dtype, {}), name)
        for file, name in (("stretch", "stretch"), ("stages", "stage"), ("shards", "work_shards"))
    ]


@functools.cache
def _ledger(kind: tuple[Any, ...]) -> Ledger:
    """What runs of this kind have lost. Another text, compiler or processor begins at zero."""
    loops = _loops(kind[0])
    target = loops[0].targetctx.codegen().magic_tuple()
    names = [loop.py_func.__module__ for loop in loops]
    digest = hashlib.sha256(repr((kind, names, target, numba.__version__)).encode()).hexdigest()
    return Ledger(f"{names[0]}_{digest[:20]}")
