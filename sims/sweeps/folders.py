"""The folder of a sweep: an immutable manifest, one file a run, and who is at work on what.

manifest.json          base, axes, and the settings of every run; written once
runs/<digest>.h5       finished (or diverged) runs, ordinary trajectories; .json beside it: who finished it, and how long it took
work/<digest>.<token>  where one worker, the owner of that token, is at work on a run
leases/<digest>        who that is now
failed/<digest>.json   the message of a run that could not be made
logs/                  what each worker did
index.csv, index.h5    collected from the runs, never the truth
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import meanfield as mf
from meanfield.files.durable import IncompatibleFile, canonical_json, creating, replacing, temporary
from meanfield.files.provenance import provenance
from meanfield.once import cached_property

from ..lab import config as settings
from ..lab.experiment import Experiment
from . import leases
from .plans import Axis, Plan, Planned
from .workplaces import Place, by_run

SCHEMA = 1
SUM = "sha256"  # of a manifest and of a note: that of all the rest, as canonical JSON
UNSUMMED = {"status", "seconds", "host", "pid", "attempts", "energy_defect", "defect"}
FOLDERS = ("runs", "work", "leases", "failed", "logs")
STATES = ("finished", "diverged", "failed", "running", "interrupted", "waiting")


class SweepFolder:
    """A sweep on the disk, made by `create`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.runs, self.work, self.leases, self.failed, self.logs = (
            self.path / name for name in FOLDERS
        )
        self.manifest = self.path / "manifest.json"
        if not self.manifest.is_file():
            raise FileNotFoundError(
                errno.ENOENT,
                "no sweep here: it has no manifest.json; make one with scripts/sweep "
                "create FILE.toml FOLDER",
                str(path),
            )

    @cached_property
    def plan(self) -> Plan:
        """What the manifest says; raises IncompatibleFile."""
        try:
            content = json.loads(self.manifest.read_text(encoding="utf-8"))
            if content["schema"] > SCHEMA:
                raise IncompatibleFile(
                    f"{self.manifest} has schema {content['schema']}; this version reads "
                    f"up to {SCHEMA}."
                )
            if content.pop(SUM, None) not in (None, _sum(content)):
                raise ValueError("its content has not its sha256")
            # they become names of files, in this folder and nowhere else
            if strange := [run["digest"] for run in content["runs"] if not _is_name(run["digest"])]:
                raise ValueError(f"{strange[0]!r} is the digest of no run")
            axes = tuple(
                Axis(tuple(axis["names"]), tuple(map(tuple, axis["points"])))
                for axis in content["axes"]
            )
            runs = {
                run["digest"]: Planned(
                    tuple(run["index"]), settings.from_dict(Experiment, run["config"])
                )
                for run in content["runs"]
            }
            return Plan(settings.from_dict(Experiment, content["base"]), axes, runs)
        except IncompatibleFile:
            raise
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise IncompatibleFile(
                f"{self.manifest} is damaged, or of another version: {error}."
            ) from None

    def run(self, digest: str) -> Path:
        """The file of a run, whether it is there or not."""
        return self.runs / f"{digest}.h5"

    def published(self) -> set[str]:
        """The digests of the runs that are there."""
        return {
            name.removesuffix(".h5")
            for name in os.listdir(self.runs)
            if name.endswith(".h5") and not name.startswith(".")
        }

    def failures(self) -> dict[str, int]:
        """The digests of the runs that failed, with when (ns, the folder's clock)."""
        found = {}
        for entry in os.scandir(self.failed):
            if entry.name.endswith(".json"):
                with suppress(FileNotFoundError):
                    found[entry.name.removesuffix(".json")] = entry.stat().st_mtime_ns
        return found

    def failed_since(self, digest: str, when: int) -> bool:
        """Whether this run failed then or later (ns, the folder's clock)."""
        try:
            return (self.failed / f"{digest}.json").stat().st_mtime_ns >= when
        except FileNotFoundError:
            return False

    def failure(self, digest: str) -> dict[str, Any]:
        """Why a run failed: kind, message, code, host, pid; empty where it did not."""
        return _json(self.failed / f"{digest}.json")

    def note(self, digest: str) -> dict[str, Any]:
        """Who finished a run: host, pid, seconds, status, energy_defect, defect; empty where a kill
        came in between, or it is not what was written.
        """
        content = _json(self.runs / f"{digest}.json")
        if SUM not in content and content.keys() <= UNSUMMED:  # of before the checksum
            return content
        return content if content.pop(SUM, None) == _sum(content) else {}

    def status(self, digest: str) -> str:
        """ "finished" or "diverged" of a run that is there."""
        if (noted := self.note(digest).get("status")) in STATES[:2]:
            return str(noted)
        with mf.Trajectory(self.run(digest)) as run:
            return run.status

    def energy_defect(self, digest: str) -> float:
        """Of a run that is there; NaN where its flow has none."""
        value = self.note(digest).get("energy_defect", "unknown")
        if value == "unknown":
            with mf.Trajectory(self.run(digest)) as run:
                value = run.summary.get("energy_defect")
        return math.nan if value is None else float(value)

    def sliding(self, digest: str) -> bool:
        """Whether a large energy_defect of this run is that of neurons which slide along kinks, and
        no fault of its steps.
        """
        return self.note(digest).get("defect") == "sliding"

    def states(self) -> dict[str, tuple[str, leases.Holder | None]]:
        """One of STATES for every run, with the holder of its lease while it is running or when
        that holder has gone.

        "interrupted": whoever was at work on it was killed, or cannot be heard, or has stopped
        after a checkpoint; the next worker goes on from there.
        """
        places = by_run(self.work)
        there, failed = self.published(), self.failures()
        found: dict[str, tuple[str, leases.Holder | None]] = {}
        for digest in self.plan.runs:
            holder = None if digest in there else leases.look(self.leases / digest)
            if digest in there:
                found[digest] = self.status(digest), None
            elif holder:
                found[digest] = "interrupted" if holder.gone else "running", holder
            elif digest in failed:
                found[digest] = "failed", None
            else:
                begun = any(Place(place).reached() > 0 for place in places.get(digest, ()))
                found[digest] = "interrupted" if begun else "waiting", None
        return found


def create(plan: Plan, path: str | Path) -> tuple[SweepFolder, bool]:
    """Write the manifest, at once and for ever: (folder, whether it is new). The same sweep again
    changes nothing.

    Raises FileExistsError for a folder that holds another sweep, or anything else.
    """
    path = Path(path)
    content = _content(plan)
    if (path / "manifest.json").is_file():
        return _same(path, content), False
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, "a sweep needs a folder, and this is a file", str(path)
        )
    strange = sorted(set(os.listdir(path)) - set(FOLDERS)) if path.exists() else []
    if strange := [name for name in strange if not name.startswith(".tmp-")]:
        raise FileExistsError(
            errno.EEXIST, f"the folder holds other things ({strange[0]}); name a new one", str(path)
        )
    for name in FOLDERS:
        (path / name).mkdir(parents=True, exist_ok=True)
    written = content | {"versions": provenance()["versions"]}
    text = json.dumps(written | {SUM: _sum(written)}, indent=1)
    try:
        with creating(path / "manifest.json") as new:
            new.write_text(text, encoding="utf-8")
    except FileExistsError:
        return _same(path, content), False
    except OSError as error:
        text = (
            f"{error.strerror}; a sweep needs a file system with hard links, by which one "
            "worker alone can publish a run"
        )
        raise OSError(error.errno, text, str(path)) from error
    return SweepFolder(path), True


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a small file: the old one or the new one is there, whatever happens."""
    with replacing(path) as new:
        new.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_note(path: Path, content: dict[str, Any]) -> None:
    """Likewise, but not synced: where the power goes it may be missing, or cut off, as one that a
    kill came before. Whoever reads it does without.
    """
    written = json.dumps(content | {SUM: _sum(content)}, ensure_ascii=False)
    with temporary(path) as new:
        new.write_text(written, encoding="utf-8")
        os.replace(new, path)


def _content(plan: Plan) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "base": settings.to_dict(plan.base),
        "axes": [
            {"names": list(axis.names), "points": [list(point) for point in axis.points]}
            for axis in plan.axes
        ],
        "runs": [
            {"digest": digest, "index": list(run.index), "config": settings.to_dict(run.config)}
            for digest, run in plan.runs.items()
        ],
    }


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _same(path: Path, content: dict[str, Any]) -> SweepFolder:
    """The sweep that is there, if it is this one."""
    SweepFolder(path).plan  # noqa: B018  raises where the manifest is damaged
    there = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    differing = [
        name for name in content if there.get(name) != json.loads(json.dumps(content[name]))
    ]
    if differing:
        text = (
            f"the folder holds another sweep (its {' and '.join(differing)} differ), "
            "which cannot be changed; name a new one"
        )
        raise FileExistsError(errno.EEXIST, text, str(path))
    return SweepFolder(path)


def _is_name(digest: Any) -> bool:
    return isinstance(digest, str) and digest.isalnum()


def _json(path: Path) -> dict[str, Any]:
    """What a small file says; nothing where it is missing, or damaged."""
    with suppress(FileNotFoundError, ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
