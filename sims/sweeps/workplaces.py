"""Where the runs of a sweep are made: one place for each worker and run, and a link by which one of
them is published.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meanfield.files.durable import replacing, sync_folder
from meanfield.files.recording import unfinished

if TYPE_CHECKING:
    from .folders import SweepFolder


@dataclass(frozen=True)
class Place:
    """Where one worker makes one run; nobody else ever writes there."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run.h5"

    def reached(self) -> int:
        """How far the run here has come: -1 not begun, the number of its last checkpoint, or
        infinitely far.
        """
        if self.run.is_file() and not unfinished(self.run):
            return 1 << 62
        parts = self.run.with_name("run.h5.parts")
        if not (parts / "start.h5").is_file():
            return -1
        return max(
            (int(path.name.split("-")[1]) for path in parts.glob("checkpoint-*.h5")), default=0
        )


def adopt(sweep: SweepFolder, digest: str, place: Place) -> int:
    """Go on in `place` from the furthest of the places that others have left; returns what it has
    `reached`.

    The parts are linked, none is moved: checkpoints and segments never change, and an owner who is
    thought dead and is not goes on writing in a place of its own, where it harms nobody.
    """
    others = [Place(folder) for folder in places(sweep, digest) if folder != place.folder]
    place.folder.mkdir()
    for other in sorted(others, key=Place.reached, reverse=True):
        if other.reached() < 0:
            break
        # a living owner may replace a checkpoint between our looking and our linking
        for _ in range(10):
            try:
                _link_all(other, place)
                return place.reached()
            except FileNotFoundError:
                clear(place.folder)
                place.folder.mkdir()
    return -1


def publish(sweep: SweepFolder, digest: str, place: Place) -> bool:
    """Give the finished run its name, unless somebody has; one caller in the world is told True."""
    try:
        os.link(place.run, sweep.run(digest))
    except FileExistsError:
        # a file server may answer late to a link that it has made
        return os.path.samefile(place.run, sweep.run(digest))
    sync_folder(sweep.runs)
    return True


def places(sweep: SweepFolder, digest: str) -> list[Path]:
    """The folders where workers are at work on this run, or were."""
    return by_run(sweep.work).get(digest, [])


def by_run(work: Path) -> dict[str, list[Path]]:
    """digest -> the places of that run, in one look at the folder of them all."""
    found: dict[str, list[Path]] = {}
    for name in os.listdir(work):
        digest, dot, _ = name.partition(".")
        if dot:
            found.setdefault(digest, []).append(work / name)
    return found


def clear(folder: Path) -> None:
    """Remove a place; the start of the run first: a place without it counts for nothing, should a
    kill come in between.
    """
    parts = folder / "run.h5.parts"
    for place, ending in ((parts, "start.h5"), (parts, ""), (folder, ".h5")):
        # of a folder: another worker has just removed it, or somebody has put a file there
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(place):
                if name.endswith(ending):
                    (place / name).unlink(missing_ok=True)
    for each in (parts, folder):
        # cleared by another, or its owner, thought dead, has just written there
        with suppress(OSError):
            each.rmdir()


def _link_all(source: Place, target: Place) -> None:
    """Checkpoints first: the segments that one names were there before it."""
    theirs, ours = (place.run.with_name("run.h5.parts") for place in (source, target))
    if source.run.is_file():  # a copy, for by the file itself `publish` knows who published it
        with replacing(target.run) as copy:
            shutil.copyfile(source.run, copy)
    if theirs.is_dir():
        ours.mkdir()
        names = sorted(name for name in os.listdir(theirs) if name.startswith("checkpoint-"))
        names += sorted(
            name for name in os.listdir(theirs) if name.startswith(("segment-", "start.h5"))
        )
        for name in names:
            os.link(theirs / name, ours / name)
