"""Opening a run: the finished file, or the parts of one that goes on; and saying what is wrong with a
file that is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from . import hdf5, schema, sealing
from .durable import IncompatibleFile
from .hdf5 import File
from .memory import read_memory
from .parts import Checkpoint, Parts
from .pieces import Piece


class Opened(NamedTuple):
    """What is known of a run before any of its frames is read."""

    head: File
    status: str
    summary: dict[str, Any]
    provenance: dict[str, Any]
    pieces: list[Piece]


def opened(path: Path) -> Opened:
    """FileNotFoundError where there is no run, IncompatibleFile where what is there is none."""
    if path.is_file():
        return _open_file(path)
    if not path.name:  # "." or "/"
        raise IncompatibleFile(f"{path} is a folder, not a run.")
    is_parts = path.is_dir() and path.name.endswith(".parts")
    parts = Parts(path.with_name(path.name.removesuffix(".parts")) if is_parts else path)
    if parts.begun():
        return _open_parts(parts)
    if path.is_dir():
        raise IncompatibleFile(f"{path} is a folder, not a run.")
    raise FileNotFoundError(
        f"no run at {path}: neither the file nor {parts.folder.name}/ with an unfinished "
        "run is there."
    )


def _open_file(path: Path) -> Opened:
    head = _checked(path)
    with _closed_on_failure(head), hdf5.reading(path):
        parameters = head["parameters"]
        series = {name: hdf5.length(head, f"series/{name}/step") for name in head["series"]}
        return Opened(
            head,
            hdf5.get_text(parameters.attrs, "status"),
            hdf5.read_json(parameters, "summary"),
            hdf5.read_json(parameters, "provenance"),
            [
                Piece(
                    path,
                    hdf5.length(head, f"{schema.POSITION}/step"),
                    series,
                    hdf5.length(head, "events/step") if "events" in head else 0,
                )
            ],
        )


def _open_parts(parts: Parts) -> Opened:
    head = _checked(parts.start)
    with _closed_on_failure(head):
        checkpoint = parts.newest(thorough=False)
        with hdf5.reading(parts.start):
            provenance = hdf5.read_json(head["parameters"], "provenance")
    if checkpoint is None:
        return Opened(head, "unfinished", {}, provenance, [])
    pieces = [
        Piece(parts.locate(item), item.frames, item.series, item.events)
        for item in checkpoint.segments
    ]
    summary = (checkpoint.final or {}).get("summary", {})
    return Opened(
        head, "unfinished", summary, with_continuations(provenance, checkpoint.continued), pieces
    )


def _checked(path: Path) -> File:
    file = hdf5.open_hdf5(path)
    with _closed_on_failure(file):
        if sealing.torn(path):
            raise IncompatibleFile(f"{path} is truncated: its last line is not whole.")
        schema.check_schema(file, path)
    return file


def check_texts(config: Any, *others: Any) -> None:
    """TypeError or KeyError where the texts of a file are not of the kind that all readers expect."""
    parts = [config.get(name) or {} for name in ("network", "flow", "law", "integrator", "data")]
    if not all(isinstance(item, dict) for item in (*parts, *others)):
        raise TypeError("its settings are not those of a run")
    if scaling := parts[0].get("scaling"):
        f"{scaling['gamma']:g}, {scaling['alpha']:g}"


@contextmanager
def settings_of(path: Path) -> Iterator[None]:
    """Say which file it is whose settings cannot be understood."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise IncompatibleFile(
            f"{path}: its settings are not those of a run ({type(error).__name__}: {error})."
        ) from error


@contextmanager
def _closed_on_failure(file: File) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.close()
        raise


def with_continuations(
    provenance: dict[str, Any], continued: list[dict[str, Any]]
) -> dict[str, Any]:
    """The provenance of the start, and of each process that took the run up again."""
    return (
        {**provenance, "continued": [*provenance.get("continued", []), *continued]}
        if continued
        else provenance
    )


def last_memory(path: Any) -> dict[str, Any]:
    """The memory of a run's newest checkpoint, finished or not; {} before the first."""
    if not unfinished(path):
        with hdf5.open_hdf5(Path(path)) as file:
            return read_memory(file["parameters/checkpoint"])
    return memory_of(Parts(Path(path)).newest(thorough=False)) or {}


def memory_of(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """What it remembers for the loop; None before the first."""
    if checkpoint is None:
        return None
    with hdf5.open_hdf5(checkpoint.path) as file:
        return read_memory(file["checkpoint"])


def last_summary(path: Any) -> dict[str, Any]:
    """The summary of a finished run, without a look at the rest of its file."""
    with hdf5.open_hdf5(Path(path)) as file:
        return hdf5.read_json(file, "parameters/summary")


def unfinished(path: Any) -> bool:
    """True when `Recording.reopen(path)` has a run to continue (a finished file beside it or not)."""
    parts = Parts(Path(path))
    return parts.begun() and not parts.published()
