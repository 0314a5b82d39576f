"""Whether a run on the disk is as it was written, and a new start of one that is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import hdf5, schema
from .durable import IncompatibleFile, array_sha256, file_sha256, move, same_bits, sync_folder
from .memory import read_memory
from .parts import SEALED_FROM, Checkpoint, Parts, hold, minor, read_checkpoint
from .publishing import write_start
from .sealing import UNSEALED, broken
from .trajectory import Trajectory

EXTENDS = "extends_t_end"  # of /parameters/provenance: the t_end before an extension
DAMAGED = ".damaged"  # what is set aside has this at the end of its name
ANOTHER = "Put a copy in its place, or move it away and make the run again with its own script."


@dataclass
class Verification:
    """What `verify` has found: what is wrong, with which file, and how much was read."""

    path: Path
    status: str = ""
    read: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        verdict = "sound" if self.sound else "DAMAGED"
        head = f"{self.path}: {verdict}" + f", {self.status}; read: {self.read}" * bool(self.read)
        return "\n".join([head, *(f"  {text}" for text in (*self.problems, *self.notes))])


def verify(path: Any) -> Verification:
    """Read all of a run, finished or not, and compare it with its checksums.

    Of every file the seal (sha256 of its bytes); then schema and settings, data against their
    sha256, every frame, clocks that go forward, every series and event, the memory of the last
    checkpoint. Of an unfinished run every checkpoint that is kept, and every segment that it names.

    Raises
    ------
    FileNotFoundError : where there is no run.
    """
    path = Path(path)
    parts, found = _parts(path), Verification(path)
    if path.is_file():
        if _sealed(path, found):  # HDF5 itself is not safe from a damaged index
            _read(path, found)
            _attempt(found, path.name, lambda: _memory(path, "parameters/checkpoint"))
        if not found.sound or not parts.begun() or parts.published():
            return found
        found.notes.append(f"{parts.folder.name} holds a run that extends or replaces it")
    elif not parts.start.is_file():
        raise FileNotFoundError(
            f"no run at {path}: neither the file nor {parts.folder.name}/ with an unfinished run is there."
        )
    if not _sealed(parts.start, found, "mf.Trajectory"):  # there is nothing else to begin from
        return found
    sound = [
        checkpoint for item in parts.checkpoints() if (checkpoint := _kept(parts, item, found))
    ]
    if parts.checkpoints() and not sound:
        found.problems.append("no checkpoint is whole, so the run cannot go on")
        return found
    _read(parts.folder, found)
    if sound:
        found.notes.append(f"mf.resume goes on from {sound[0].path.name}")
    else:
        found.notes.append("mf.resume begins again: there is no checkpoint yet")
    return found


def begin_again(path: Any) -> Path:
    """Set a damaged run aside, and make of its settings, data and start an unfinished run that has not
    begun: mf.resume to each of its `ends` then makes it again, to the same bits. One that was cut off
    in the middle goes on.

    Returns
    -------
    Where the damaged one is now: its name with ".damaged" at the end.

    Raises
    ------
    IncompatibleFile : where settings, data or start are damaged too: nothing is touched.
    FileExistsError : where something was set aside before.
    InUse : where another process is writing the run.
    """
    check_free(path)
    path = Path(path)
    parts = _parts(path)
    finished = path.is_file()
    if cut_off(path):
        aside = path.with_name(path.name + DAMAGED)
        if not (finished or parts.begun()):
            _begin(aside, parts)
        return aside
    source = path if finished else parts.folder
    aside = source.with_name(source.name + DAMAGED)
    if aside.exists():
        raise FileExistsError(
            errno.EEXIST,
            "an earlier repair has set it aside; remove it or move it away",
            str(aside),
        )
    if finished and parts.begun():
        raise IncompatibleFile(
            f"{parts.folder} holds an unfinished run that extends or replaces {path}: go on with it by "
            "mf.resume, or, where it has no whole checkpoint, remove that folder."
        )
    if not finished and (wrong := broken(parts.start)):
        raise IncompatibleFile(
            f"{parts.start} cannot be used: {wrong}. Nothing is left to begin from. "
            f"{_still(parts.folder)}Put a copy in its place, or move the whole folder {parts.folder.name} "
            "away, for a new run of that name removes what is left of one without its start, and make the "
            "run again with its own script."
        )
    if not finished:
        _set_parts_aside(parts, aside)
        return aside

    with _whole_enough(path) as run:
        if run.settings_sha256 is None:
            raise IncompatibleFile(
                f"{path} is of an earlier layout, without a checksum of its settings: nothing says "
                "whether they are damaged too. Make the run again with its own script."
            )
        if damaged := list(_damaged_data(run)):
            raise IncompatibleFile(
                f"{path} cannot be made again: {damaged[0]}. {_still(path)}{ANOTHER}"
            )
    # before the new start: never stands the one beside the other, as an extension would
    move(path, aside)
    _begin(aside, parts)
    return aside


def _whole_enough(path: Path) -> Trajectory:
    """The run of a damaged file, where one can be opened."""
    try:
        return Trajectory(path)
    except IncompatibleFile as error:
        raise IncompatibleFile(f"{error} It cannot be made again from that. {ANOTHER}") from error


def _still(path: Path) -> str:
    """What mf.Trajectory reads of a run that cannot be made again."""
    unreadable = (ValueError, OSError, KeyError, RuntimeError)

    def whole(series: str) -> bool:
        with suppress(*unreadable):
            return bool(len(run.series(series).steps))
        return False

    with suppress(*unreadable), Trajectory(path) as run:
        frames = sum(_whole_frame(run, i, False) for i in range(len(run)))
        names = run.series_names
        return (
            f"mf.Trajectory still reads {frames} of {len(run)} frames and "
            f"{sum(map(whole, names))} of {len(names)} series there. "
        )
    return ""


def check_free(path: Any) -> None:
    """Raise InUse where another process is writing the run."""
    _parts(Path(path)).check_free()


def cut_off(path: Any) -> bool:
    """Whether a repair of a finished file has ended between setting it aside and reaching its end."""
    path, parts = Path(path), _parts(Path(path))
    aside = path.with_name(path.name + DAMAGED)
    if not aside.is_file():
        return False
    if not path.is_file() and not parts.begun():
        return True
    with Trajectory(aside) as old, Trajectory(path if path.is_file() else parts.folder) as new:
        same = {**old.config, "t_end": None} == {**new.config, "t_end": None}
        return same and (not path.is_file() or ends(new)[-1] < ends(old)[-1])


def reaching(path: Any) -> float:
    """The t_end of a run, or of its extension that is unfinished."""
    parts = _parts(Path(path))
    begun = parts.begun() and not parts.published()
    with Trajectory(parts.folder if begun else path) as run:
        return float(run.config["t_end"])


def _begin(damaged: Path, parts: Parts) -> None:
    """Parts that begin with the settings, data and start of a damaged file; durable."""
    with Trajectory(damaged) as run, hold(parts) as held, held:
        config = {**run.config, "t_end": ends(run)[0]}
        made = {**run.provenance, "continued": []}
        parts.clear()  # what another run has left
        write_start(parts, config, made, run.start, run.mass_varies, run)
        sync_folder(parts.folder)
        sync_folder(parts.folder.parent)


def compared(path: Any, aside: Any) -> str:
    """What the frames that can still be read in the damaged file say of the new one."""
    with Trajectory(path) as new, Trajectory(aside) as old:
        if len(new) != len(old):
            return f"{path} has {len(new)} frames, the damaged one had {len(old)}"
        whole = [i for i in range(len(old)) if _whole_frame(old, i, False)]
        same = sum(same_bits(new[i].theta, old[i].theta) for i in whole)
    text = (
        f"{len(whole)} of {len(old)} frames can be read in {aside}, and {same} of them are the same "
        "to the bit"
    )
    if same == len(whole):
        return text
    return f"{text}; the others are of another machine or version, or that file lies"


def ends(run: Trajectory) -> list[float]:
    """The t_end of the run as it was begun, and of each extension."""
    before = [
        float(made[EXTENDS]) for made in run.provenance.get("continued", []) if EXTENDS in made
    ]
    return [*before, float(run.config["t_end"])]


def _set_parts_aside(parts: Parts, aside: Path) -> None:
    """All but start.h5 and the lock."""
    with hold(parts) as held, held:
        aside.mkdir()
        for item in parts.folder.iterdir():
            if item not in (parts.start, parts.lock):
                os.rename(item, aside / item.name)
        sync_folder(aside)
        sync_folder(parts.folder)
        sync_folder(aside.parent)


def _parts(path: Path) -> Parts:
    named = path.name.endswith(".parts") and not path.is_file()
    return Parts(path.with_name(path.name.removesuffix(".parts")) if named else path)


def _sealed(path: Path, found: Verification, readers: str = "mf.Trajectory and repair") -> bool:
    """Whether its bytes are those that were written, as far as that can be known. readers: of what
    is damaged.
    """
    wrong = broken(path)
    if wrong is None:
        return True
    if wrong == UNSEALED and minor(path) < SEALED_FROM:
        text = f"{path.name} is of an earlier layout without a seal: only its arrays have checksums"
        found.notes.append(text)
        return True
    advice = f"not read any further; {readers} may still read much of it"
    if wrong == UNSEALED:
        if not _opens(path):
            advice = f"nothing can be read of it. {ANOTHER}"
        wrong = "its end is missing: it was cut off, or another program has written to it"
    found.problems.append(f"{path.name}: {wrong}")
    found.notes.append(advice)
    return False


def _opens(path: Path) -> bool:
    """Whether HDF5 opens it: not where it was cut off, for its first bytes say how long it is."""
    try:
        hdf5.open_hdf5(path).close()
    except IncompatibleFile:
        return False
    return True


def _kept(parts: Parts, path: Path, found: Verification) -> Checkpoint | None:
    """A checkpoint if it is whole, with all segments."""
    before = len(found.problems)

    def read() -> Checkpoint:
        checkpoint = read_checkpoint(path)
        for segment in checkpoint.segments:
            file = parts.locate(segment)
            if not file.is_file():
                found.problems.append(f"{file.name}, which {path.name} names, is missing")
            elif file_sha256(file) != segment.sha256:
                found.problems.append(
                    f"{file.name} is damaged: its checksum is not that in {path.name}"
                )
        return checkpoint

    checkpoint = _attempt(found, path.name, read)
    _attempt(found, path.name, lambda: _memory(path, "checkpoint"))
    found.problems = list(dict.fromkeys(found.problems))  # two checkpoints name the same segments
    return checkpoint if len(found.problems) == before else None


def _memory(path: Path, group: str) -> dict[str, Any]:
    with hdf5.open_hdf5(path) as file, hdf5.reading(path):
        return read_memory(file[group])


def _read(path: Path, found: Verification) -> None:
    """Everything that a reader may ask of a run."""
    run = _attempt(found, path.name, lambda: Trajectory(path))
    if run is None:
        return
    with run:
        found.status = run.status
        found.problems += _damaged_data(run)
        clock = _attempt(found, "frames", lambda: (run.steps, run.times))
        if clock is not None:
            found.problems += _backwards("frames", *clock)
        finite = run.status != "diverged"
        bad = [i for i in range(len(run)) if not _whole_frame(run, i, finite)]
        if bad:
            many = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            found.problems.append(
                f"frame {bad[0]}{many} of {len(run)} cannot be read, or is not finite"
            )
        for name in run.series_names:
            series = _attempt(found, f"series {name}", partial(run.series, name))
            if series is not None:
                found.problems += _backwards(f"series {name}", series.steps, series.times)
        _attempt(found, "events", lambda: sum(len(rows["step"]) for rows in run.event_blocks()))
        found.read = f"{len(run)} frames, {len(run.series_names)} series, {run.event_count} events"


def _whole_frame(run: Trajectory, number: int, finite: bool) -> bool:
    try:
        state = run[number]
    except (IncompatibleFile, OSError, RuntimeError):
        return False
    return not finite or bool(np.isfinite(state.theta).all())


def _backwards(what: str, steps: np.ndarray, times: np.ndarray) -> Iterator[str]:
    if not (np.diff(steps) > 0).all() or not (np.diff(times) > 0).all():
        yield f"{what}: steps or times do not go forward"


def _damaged_data(run: Trajectory) -> Iterator[str]:
    """Settings and arrays of the data set that have not their sha256, and a start that cannot be
    read.
    """
    try:
        kept = run.settings_sha256
        settings = schema.settings_sha256(run.config, run.start, run.mass_varies)
        arrays, expected = run.arrays, run.data_sha256
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        yield f"settings, data or start: {str(error).rstrip('.')}"
        return
    if kept not in (None, settings):
        yield "settings: they have not their sha256"
    for name, array in arrays.items():
        if array_sha256(array) != expected.get(name, ""):
            yield f"the data set's {name} has not its sha256"


def _attempt(found: Verification, what: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except FileNotFoundError:
        raise
    except (ValueError, OSError, KeyError, TypeError, RuntimeError) as error:
        found.problems.append(f"{what}: {error}")
        return None
