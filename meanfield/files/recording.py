"""Recording: a run on its way to the disk. Immutable segments and two checkpoints while it goes on,
one file at the end.

    create → frame, observe, … → checkpoint → … → finish           reopen: after a kill         extend: a finished run goes on

Nothing that has been published is ever written to again, so a kill, a full disk or a power cut at
any instant leaves the run readable, and continuable from its last checkpoint. HDF5 itself gives no
such promise.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..state import State
from .durable import canonical_json, is_at, sync, sync_folder
from .opening import last_memory, last_summary, memory_of, unfinished, with_continuations
from .order import Order
from .parts import (
    Checkpoint,
    Parts,
    check_place,
    check_seal,
    finished_segment,
    hold,
    write_checkpoint,
    write_segment,
)
from .pieces import Buffer, Piece, Pieces
from .publishing import Given, Head, publish, write_start
from .stored_data import check_arrays
from .trajectory import Trajectory

EXISTS = ("error", "resume", "replace")

__all__ = ["EXISTS", "Recording", "last_memory", "last_summary", "unfinished"]


class Recording:
    """The writer of one run; made by `create`, `reopen` or `extend`, and the only one of its path
    (a lock sees to that).

    path: the final name. config, provenance: dictionaries; start: the initial State. final: None,
    or {"status", "summary"} when the run had ended before a kill and only `finish(memory,
    **recording.final)` is left to do. pending_bytes: buffered since the last checkpoint.
    last_checkpoint_time: time.monotonic() of it. guard: called before anything is published; what
    it raises keeps the run as it is.
    """

    guard: Callable[[], None] | None = None
    _given: Given | None = None

    def __init__(
        self, parts: Parts, held: IO[str], head: Head, checkpoint: Checkpoint | None, continued: Any = None
    ) -> None:  # fmt: skip
        """Not for callers: parts that have begun, whose lock is held, what start.h5 says, and the
        checkpoint to go on from.
        """
        self._parts, self._lock = parts, held
        self.path = parts.final
        self.config, self.start, self.mass_varies, self.provenance = head
        if continued is not None:
            self.provenance = with_continuations(self.provenance, [continued])
        self._segments = list(checkpoint.segments) if checkpoint else []
        self._order = Order(self.path, checkpoint.last_steps if checkpoint else {})
        self._continued = [
            *(checkpoint.continued if checkpoint else []),
            *([] if continued is None else [continued]),
        ]
        self.final = checkpoint.final if checkpoint else None
        self._buffer = Buffer()
        self._named = False  # whether the names of the folder and of start.h5 are durable
        self.last_checkpoint_time = time.monotonic()

    @classmethod
    def create(cls, path: Any, exists: str, *, config: dict[str, Any], provenance: dict[str, Any], arrays: dict[str, np.ndarray],
               start: State, mass_varies: bool = False, needed: str = "",
               identity: dict[str, Any] | None = None) -> Recording:  # fmt: skip
        """A new run. Everything is checked before anything is created.

        exists: what to do about a finished file of that name, "error" or "replace" (it stays until
        the new one is complete); "resume" is as "error" here, for there is `reopen`. arrays: the
        data sets by name. needed: what mf.resume has to be given besides the path, ", flow=…".
        identity: what tells user-written formulas of one name apart, as JSON.
        """
        if exists not in EXISTS:
            raise ValueError(f"exists must be one of {', '.join(EXISTS)}; got {exists!r}.")
        parts = Parts(Path(path))
        written = json.loads(canonical_json([config, provenance, identity]))
        check_arrays(arrays)
        check_place(parts.final)
        parts.check_free()
        if parts.final.exists() and exists != "replace":
            raise FileExistsError(
                f"{parts.final} exists. Continue it with mf.resume({str(path)!r}, "
                f't_end=…{needed}) or exists="resume", replace '
                'it with exists="replace", or choose another name.'
            )
        with hold(parts) as held:
            if parts.begun() and exists != "replace" and not parts.published():
                raise FileExistsError(
                    f"{parts.folder} holds an unfinished run. Continue it with "
                    f"mf.resume({str(path)!r}{needed}) or "
                    'exists="resume", or give it up with exists="replace".'
                )
            parts.clear()  # what a run that never began, or is given up, has left
            given = Given.of(arrays, written[2])
            write_start(parts, config, provenance, start, mass_varies, given)
            made = cls(parts, held, Head(written[0], start, mass_varies, written[1]), None)
            made._given = given if given.small else None
            return made

    @classmethod
    def reopen(
        cls, path: Any, provenance: dict[str, Any] | None = None
    ) -> tuple[Recording, dict[str, Any] | None]:
        """Go on with an unfinished run: the recording and the memory of its newest valid
        checkpoint, None before the first.

        All checksums are verified; what came after that checkpoint is removed. provenance: that of
        the process which goes on, kept beside the first's.
        """
        parts = Parts(Path(path))
        parts.check_free()
        if not parts.folder.is_dir():
            if parts.final.is_file():
                raise ValueError(
                    f"{parts.final} is finished: there is nothing to continue. A larger "
                    "t_end extends it."
                )
            raise FileNotFoundError(
                f"no run at {parts.final}: neither the file nor {parts.folder.name}/ is there."
            )
        with hold(parts) as held:
            published = parts.published()
            if published or not parts.begun():
                if parts.start.is_file() and not parts.final.is_file():
                    check_seal(parts.start)  # a power cut takes the seal, and damage does not
                parts.remove()
                if published or parts.final.is_file():
                    raise ValueError(
                        f"{parts.final} is finished: there is nothing to continue. A "
                        "larger t_end extends it."
                    )
                raise ValueError(
                    f"the run {parts.final} was killed before it began: nothing is lost, "
                    "start it again."
                )
            check_seal(parts.start)
            checkpoint = parts.newest(thorough=True)
            parts.tidy(checkpoint)
            memory = memory_of(checkpoint)
            return cls(parts, held, _head(parts), checkpoint, provenance), memory

    @classmethod
    def extend(cls, path: Any, config: dict[str, Any] | None = None,
               provenance: dict[str, Any] | None = None) -> tuple[Recording, dict[str, Any]]:  # fmt: skip
        """Go on with a finished run. The file stays as it is until `finish` puts the longer one in
        its place.

        config: the configuration of the longer run (its t_end). After a kill `reopen` continues the
        extension.
        """
        parts = Parts(Path(path))
        parts.check_free()
        if parts.final.is_file():
            check_seal(parts.final)
        with Trajectory(parts.final) as run:  # raises for what is not a run
            if run.status == "unfinished":
                raise ValueError(f"{parts.final} is unfinished: continue it first.")
        check_place(parts.final)
        with hold(parts) as held:
            if parts.begun() and not parts.published():
                raise ValueError(
                    f"{parts.folder} holds an unfinished run: continue it first, or "
                    "remove that folder to give it up."
                )
            parts.empty()
            memory = last_memory(parts.final)
            with Trajectory(parts.final) as run:
                steps = {name: run.series(name).steps for name in run.series_names}
                counts = {name: len(column) for name, column in steps.items()}
                base = finished_segment(parts, len(run), counts, run.event_count)
                order = Order(parts.final, {})
                for name, column in steps.items():
                    order.series(name, int(column[-1]), int(column[-1]))
                if len(run):
                    order.frame(int(run.steps[-1]))
                said: dict[str, Any] = {
                    "last_steps": order.to_dict(),
                    "continued": [],
                    "final": None,
                }
                write_checkpoint(parts, 1, memory, [base], **said)
                write_start(
                    parts, config or run.config, run.provenance, run.start, run.mass_varies, run
                )
            newest = parts.newest(thorough=False)
            return cls(parts, held, _head(parts), newest, provenance), memory

    @property
    def pending_bytes(self) -> int:
        return self._buffer.bytes

    @property
    def frame_count(self) -> int:
        return sum(segment.frames for segment in self._segments) + len(self._buffer.frames)

    def frame(self, state: State) -> None:
        """Buffer one frame: step, t, θ, and the masses where they vary. The arrays must not change
        afterwards.
        """
        start = self.start
        if state.theta.shape != start.theta.shape or state.theta.dtype != start.theta.dtype:
            expected, found = (
                f"theta {item.theta.shape} {item.theta.dtype}" for item in (start, state)
            )
            raise ValueError(f"a frame of {self.path} is {expected}; got {found}.")
        self._order.frame(int(state.step))
        self._buffer.add_frame(state, self.mass_varies)

    def has(self, name: str, step: int) -> bool:
        """Whether the series has a value of this step, or of one after it."""
        return self._order.steps.get(name, -1) >= step

    @property
    def last_steps(self) -> dict[str, int]:
        """The step of the last value of each series."""
        return dict(self._order.steps)

    def observe(self, name: str, step: int, t: float, value: float) -> None:
        """Buffer one scalar of the dense series `name`."""
        self.observe_moment(int(step), float(t), {name: float(value)})

    def observe_moment(self, step: int, t: float, values: Mapping[str, float]) -> None:
        """Buffer one scalar of each of these series, all of one moment."""
        for name, value in values.items():
            self._order.series(name, step, step)
            self._buffer.add_value(name, step, t, value)

    def observe_all(
        self, name: str, steps: list[int], times: list[float], values: list[float]
    ) -> None:
        """Buffer scalars of the dense series `name`, at steps that increase."""
        self._order.series(name, steps[0], steps[-1])
        self._buffer.add_values(name, steps, times, values)

    def log(self, rows: dict[str, np.ndarray]) -> None:
        """Buffer rows of /events: columns as in schema.EVENT_COLUMNS, none earlier than those
        before.
        """
        if len(rows["step"]):
            self._buffer.add_events(rows)

    def checkpoint(self, memory: dict[str, Any]) -> None:
        """Publish what is buffered as one segment, then the memory: the loop's whole future,
        current θ included.

        memory: a nested dictionary of numbers, strings, lists and numpy arrays, restored exactly.
        When the disk is full OSError is raised, all that was published before stays valid, and the
        call can be repeated.
        """
        self._publish(memory, None)

    def finish(
        self, memory: dict[str, Any], summary: dict[str, Any], status: str = "finished"
    ) -> Path:
        """Merge the parts into the final file, verify it, rename it into place, remove the parts.

        status: "finished" or "diverged". Frames are in memory one by one. A run that is over before
        its first checkpoint goes from memory into its file; killed there, it begins again, and
        whatever else goes wrong there, what is in memory is published in parts after all. Otherwise
        a last segment and checkpoint come first, and after a kill `reopen` continues the run, whose
        `final` then says that only this is left.
        """
        final = {"status": status, "summary": summary}
        canonical_json(final)
        self._check_place()
        if self._parts.checkpoints() or not self._published_at_once(memory, final):
            held = self._buffer
            checkpoint = self._publish(memory, final)
            with self._says_what_is_safe():
                self._merge(held, memory, final, checkpoint.name)
        with suppress(
            OSError
        ):  # the run is published; what is left of its parts counts for nothing
            self._parts.remove()
        self.close()
        return self.path

    def _published_at_once(self, memory: dict[str, Any], final: dict[str, Any]) -> bool:
        """Whether the file could be made without parts; where the disk refuses, the parts say what
        is safe.
        """
        self._ask_guard()
        try:
            self._merge(self._buffer, memory, final, self._parts.mark())
        except OSError:
            return False
        except BaseException:
            self._publish(memory, final)
            raise
        return True

    def _merge(
        self, held: Buffer, memory: dict[str, Any], final: dict[str, Any], checkpoint: str
    ) -> None:
        """All segments, or what they hold or would hold of the last, into the file."""
        pieces = Pieces(
            Piece(self._parts.locate(item), item.frames, item.series, item.events)
            for item in self._segments
        )
        if held:
            pieces = pieces.held_last(held)
        head = Head(self.config, self.start, self.mass_varies, self.provenance)
        try:
            publish(
                self._parts, head, pieces, memory, final, checkpoint, self._ask_guard, self._given
            )
        finally:
            pieces.close()

    def close(self) -> None:
        """Release the lock. What is buffered and not published is dropped; `reopen` continues from
        the last checkpoint.
        """
        self._lock.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._lock.closed:
            raise ValueError(
                f"the recording of {self.path} is closed; continue it with Recording.reopen."
            )

    def _check_place(self) -> None:
        """The folder is the one whose lock is held."""
        self._check_open()
        if not is_at(self._lock, self._parts.lock):
            raise FileNotFoundError(
                errno.ENOENT,
                "the folder of this run is gone, or is another run's now; nothing is published. Where "
                f"it was moved away, move it back: mf.resume({str(self.path)!r}) goes on from its last "
                "checkpoint",
                str(self._parts.folder),
            )

    def _ask_guard(self) -> None:
        """Before anything is published: the folder is this run's, and the guard agrees."""
        self._check_place()
        if self.guard is not None:
            self.guard()

    def _publish(self, memory: dict[str, Any], final: dict[str, Any] | None) -> Path:
        self._ask_guard()
        number = self._parts.next_number()
        with self._says_what_is_safe():
            if not self._named:
                sync(self._parts.start)
                sync_folder(self._parts.folder.parent)
                sync_folder(self._parts.folder)
                self._named = True
            if self._buffer:
                held = self._buffer, self.start, self.mass_varies
                self._segments.append(write_segment(self._parts, number, *held))
                self._buffer = Buffer()
            last_steps = self._order.to_dict()
            said = {"last_steps": last_steps, "continued": self._continued, "final": final}
            path = write_checkpoint(self._parts, number, memory, self._segments, **said)
        self.last_checkpoint_time = time.monotonic()
        return path

    @contextmanager
    def _says_what_is_safe(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            safe = (
                f"what was published before is safe in {self._parts.folder}: "
                f"mf.resume({str(self.path)!r}) goes on from there"
            )
            raise OSError(
                error.errno, f"{error.strerror or error}; {safe}", error.filename or str(self.path)
            ) from error


def _head(parts: Parts) -> Head:
    with Trajectory(parts.folder) as run:
        return Head(run.config, run.start, run.mass_varies, run.provenance)
