"""The folder `run.h5.parts/` of an unfinished run: its names, its checkpoints, and which of them
can be trusted.

    start.h5                          configuration, provenance, data, initial State; written first (of an extension: last)
    segment-000007.h5                 frames and series of one stretch of the run; never changed
    checkpoint-000007-<sha256>.h5     memory of the loop, and the list of all segments with their sha256; the last two are kept
    lock                              flocked by the one process that writes

A checkpoint's name holds the hash of its content, so a torn one is found. Segment 0 of an extension
is the finished file, by the name "finished".
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..state import State
from . import hdf5, schema, sealing
from .durable import (
    IncompatibleFile,
    check_free,
    file_sha256,
    lock,
    move,
    sync_folder,
)
from .memory import size_of, write_memory
from .new_files import new_hdf5
from .pieces import Buffer, Pieces

FINISHED = "finished"
SEALED_FROM = 2  # schema_minor
DIGITS = 32  # of a sha256, in the name of a checkpoint
MARK = "start-"
_CHECKPOINT = re.compile(rf"checkpoint-(\d{{6,}})-([0-9a-f]{{{DIGITS}}})\.h5")
_SEGMENT = re.compile(r"segment-(\d{6,})\.h5")


@dataclass(frozen=True)
class Segment:
    """A file of frames, series and events, with what must be known of it without opening it."""

    name: str
    sha256: str
    size: int
    frames: int
    series: dict[str, int]
    events: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file names; `final` is {"status", "summary"} once the run has ended and
    only waits to be merged.
    """

    path: Path
    number: int
    segments: tuple[Segment, ...]
    last_steps: dict[str, int]
    continued: list[dict[str, Any]]
    final: dict[str, Any] | None


def whole(path: Path) -> bool:
    """Whether a file is as it was written, as far as that can be known of its layout."""
    wrong = sealing.broken(path)
    return wrong is None or (wrong == sealing.UNSEALED and minor(path) < SEALED_FROM)


def minor(path: Path) -> int:
    """The schema_minor of a file; that of sealed ones where it cannot be read."""
    try:
        with hdf5.open_hdf5(path) as file, hdf5.reading(path):
            return int(file["parameters"].attrs["schema_minor"])
    except (IncompatibleFile, TypeError):
        return SEALED_FROM


class Parts:
    """The parts folder that belongs to a final name."""

    def __init__(self, final: Path) -> None:
        if not final.name:  # "." or "/": with_name knows no name beside it
            raise IsADirectoryError(
                errno.EISDIR,
                "the name of a run's file is that of a folder; add a file name",
                str(final),
            )
        self.final = final
        self.folder = final.with_name(final.name + ".parts")
        self.start = self.folder / "start.h5"
        self.lock = self.folder / "lock"

    def check_free(self) -> None:
        """Raise InUse where another process holds the lock, whatever the folder has in it so far:
        what it has may change at any moment, so nothing else can be said of the run.
        """
        check_free(self.lock, str(self.final))

    def begun(self) -> bool:
        """A folder without start.h5 is the remainder of a run that never began, or of one that is
        published; so is one without checkpoints whose start.h5 is not whole: up to the first
        checkpoint a power cut may tear it.
        """
        with suppress(FileNotFoundError):  # published meanwhile
            return self.start.is_file() and (bool(self._names(_CHECKPOINT)) or whole(self.start))
        return False

    def locate(self, segment: Segment) -> Path:
        return self.final if segment.name == FINISHED else self.folder / segment.name

    def checkpoints(self) -> list[Path]:
        """The checkpoint files, newest first."""
        return [
            self.folder / name
            for name in sorted(self._names(_CHECKPOINT), key=_number, reverse=True)
        ]

    def next_number(self) -> int:
        return 1 + max(map(_number, [*self._names(_CHECKPOINT), *self._names(_SEGMENT)]), default=0)

    def newest(self, thorough: bool) -> Checkpoint | None:
        """The newest valid checkpoint; None before the first. thorough: the segments' bytes too,
        not only their sizes.

        The first that is valid, of the (at most two) there are: a torn newest one gives way to the
        one before.
        """
        # a writer may replace the older one between our looking and our opening
        for _ in range(10):
            problems = []
            for path in self.checkpoints():
                try:
                    checkpoint = read_checkpoint(path)
                    self._verify(checkpoint, thorough)
                    return checkpoint
                except IncompatibleFile as problem:
                    problems.append(str(problem))
                except FileNotFoundError:
                    break
            else:
                if problems:
                    raise IncompatibleFile(
                        f"{self.folder} has no valid checkpoint left: {' '.join(problems)}"
                    )
                return None
        raise IncompatibleFile(f"{self.folder} changes while it is read; try again.")

    def published(self) -> bool:
        """True when the final file already is what these parts add up to (killed between the
        renaming and the removal).
        """
        if not (self.final.is_file() and self.begun()):
            return False
        with suppress(IncompatibleFile), hdf5.open_hdf5(self.final) as file:
            schema.check_schema(file, self.final)
            name = hdf5.get_text(file["parameters"].attrs, "checkpoint")
            return name == self.mark() if name.startswith(MARK) else (self.folder / name).is_file()
        return False

    def mark(self) -> str:
        """What a file names that was made from start.h5 and memory alone: the run was over before
        its first checkpoint.
        """
        return MARK + file_sha256(self.start)[:DIGITS]

    def tidy(self, checkpoint: Checkpoint | None) -> None:
        """Remove what no future reader needs: temporary files, newer torn checkpoints, segments
        that no checkpoint names.
        """
        named = {segment.name for segment in checkpoint.segments} if checkpoint else set()
        number = checkpoint.number if checkpoint else 0
        for name in os.listdir(self.folder):
            torn = _CHECKPOINT.fullmatch(name) and _number(name) > number
            orphan = _SEGMENT.fullmatch(name) and name not in named
            if torn or orphan or name.startswith(".tmp-"):
                os.unlink(self.folder / name)

    def empty(self) -> None:
        """Remove our files but the lock, start.h5 first: from then on the folder is a remainder.
        Others' files stay.

        Of a run without checkpoints the order does not matter: start.h5 alone, should a power cut
        bring it back, is what a published file names as its own (`published`), or the beginning of
        a run that has got no further.
        """
        self.start.unlink(missing_ok=True)
        if self._names(_CHECKPOINT):
            sync_folder(self.folder)
        for name in os.listdir(self.folder):
            if _CHECKPOINT.fullmatch(name) or _SEGMENT.fullmatch(name) or name.startswith(".tmp-"):
                os.unlink(self.folder / name)

    def clear(self) -> None:
        """Empty, for another run: a power cut brings no checkpoint back beside its start.h5."""
        left = self.checkpoints()
        self.empty()
        if left:
            sync_folder(self.folder)

    def remove(self) -> None:
        """Empty and remove the folder; by the one who holds the lock. Whether its name is gone for
        good does not matter, as long as what was in it is.
        """
        self.empty()
        self.lock.unlink(missing_ok=True)
        # somebody else's file in it, or the next run that already wants this name
        with suppress(OSError):
            self.folder.rmdir()

    def _names(self, pattern: re.Pattern[str]) -> list[str]:
        return [name for name in os.listdir(self.folder) if pattern.fullmatch(name)]

    def _verify(self, checkpoint: Checkpoint, thorough: bool) -> None:
        for segment in checkpoint.segments:
            path = self.locate(segment)
            if not path.is_file():
                raise IncompatibleFile(
                    f"{checkpoint.path.name} names {path.name}, which is missing."
                )
            if path.stat().st_size != segment.size or (
                thorough and file_sha256(path) != segment.sha256
            ):
                raise IncompatibleFile(
                    f"{path.name} is damaged (its checksum is not that in {checkpoint.path.name})."
                )


def _number(name: str | Path) -> int:
    return int(Path(name).name.split("-")[1].split(".")[0])


def read_checkpoint(path: Path) -> Checkpoint:
    match = _CHECKPOINT.fullmatch(path.name)
    if match is None or file_sha256(path)[:DIGITS] != match[2]:
        raise IncompatibleFile(f"{path.name} is damaged (its checksum is not that in its name).")
    with hdf5.open_hdf5(path) as file, hdf5.reading(path):
        content = hdf5.read_json(file, "content")
    segments = tuple(Segment(**segment) for segment in content.pop("segments"))
    return Checkpoint(path=path, number=int(match[1]), segments=segments, **content)


def write_checkpoint(
    parts: Parts, number: int, memory: dict[str, Any], segments: list[Segment], **content: Any
) -> Path:
    """Publish checkpoint `number` and keep the one before it; returns its path."""
    temporary = parts.folder / f".tmp-checkpoint-{number:06d}.h5"
    with new_hdf5(temporary, size_of(memory)) as (file, _):
        hdf5.write_json(
            file, "content", {"segments": [asdict(item) for item in segments], **content}
        )
        write_memory(file.create_group("checkpoint"), memory)
    path = parts.folder / f"checkpoint-{number:06d}-{file_sha256(temporary)[:DIGITS]}.h5"
    move(temporary, path)
    for old in parts.checkpoints()[2:]:
        old.unlink()
    return path


def write_segment(
    parts: Parts, number: int, held: Buffer, start: State, mass_varies: bool
) -> Segment:
    """Publish what is held as segment `number`."""
    name, pieces = f"segment-{number:06d}.h5", Pieces([]).held_last(held)
    temporary = parts.folder / f".tmp-{name}"
    with new_hdf5(temporary, held.bytes) as (file, scratch):
        schema.write_frames(file, pieces, start, mass_varies, scratch.check)
        hdf5.new_group(file, "series")
        for series in held.series:
            columns = held.columns(f"series/{series}", ("step", "time", "value"))
            schema.write_series(file, series, *columns)
        if held.event_count:
            schema.write_events(file, held.event_count, pieces.event_blocks())
    counts = {series: columns.rows for series, columns in held.series.items()}
    size = temporary.stat().st_size
    segment = Segment(
        name, file_sha256(temporary), size, len(held.frames), counts, held.event_count
    )
    move(temporary, parts.folder / name)
    return segment


def finished_segment(parts: Parts, frames: int, series: dict[str, int], events: int) -> Segment:
    """The finished file as the first segment of an extension."""
    path = parts.final
    return Segment(FINISHED, file_sha256(path), path.stat().st_size, frames, series, events)


@contextmanager
def hold(parts: Parts) -> Iterator[IO[str]]:
    """The parts folder, made if need be, and its lock: kept when the block succeeds, undone when it
    raises. The folder's name is durable from the first checkpoint on.
    """
    if not parts.folder.exists():
        parts.folder.mkdir(exist_ok=True)  # another process may have come first
    held = lock(parts.lock, str(parts.final))
    try:
        yield held
    except BaseException:
        with held, suppress(OSError):  # a disk that cannot be written keeps what is there
            if parts.folder.is_dir() and not parts.start.is_file():
                parts.remove()
        raise


def check_seal(path: Path) -> None:
    """Raise where a file is not as it was written; one without a seal is of an earlier layout."""
    if (wrong := sealing.broken(path)) and wrong != sealing.UNSEALED:
        raise IncompatibleFile(
            f"{path} is damaged: {wrong}. See scripts/inspect verify and repair, or a copy of it."
        )


def check_place(path: Path) -> None:
    folder = path.parent
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "the name of a run's file is that of a folder; add a file name", str(path)
        )
    if not folder.exists():
        raise FileNotFoundError(
            errno.ENOENT, f"the folder for {path.name} does not exist; make it first", str(folder)
        )
    if not folder.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR,
            f"{path.name} cannot be written there: this is a file, not a folder",
            str(folder),
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, f"the folder for {path.name} is not writable", str(folder)
        )
