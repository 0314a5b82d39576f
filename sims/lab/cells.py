"""Batches of short runs of which a few numbers are wanted and no particles: one .npz file a batch.

A file holds the numbers and the settings that they come from, so that tables and figures are made
again from the files alone, and a batch of other settings is refused.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from meanfield.files.durable import replacing

from . import config as settings
from . import runs

ABOUT = "about"  # the entry of the settings, JSON
Numbers = Mapping[str, Any]
Batch = tuple[Path, dict[str, Any], Callable[[], Numbers]]  # file, settings, work
OfWidth = Callable[[Any, int], Numbers]  # (config, m) -> numbers


def about(config: Any, without: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """The settings of a batch: those of its sim but for `without`, which other batches differ in,
    and `more`.
    """
    every = settings.to_dict(config)
    return {name: value for name, value in every.items() if name not in without} | more


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(settings, numbers) of a file; ValueError for what is no such file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(str(arrays.pop(ABOUT))), arrays
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a whole file of this study ({error}): remove it, and give the same "
            "command again."
        ) from error


def missing(path: Path, about: Mapping[str, Any]) -> bool:
    """Whether the batch is still to be done; ValueError where the file holds another one."""
    if not path.exists():
        return True
    theirs = read(path)[0]
    ours = json.loads(json.dumps(about))
    differing = [
        f"{name} ({ours.get(name)}, in the file {theirs.get(name)})"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise ValueError(
            f"{path} holds another study; different here: {', '.join(differing)}. Give another --out."
        )
    return False


def write(path: Path, about: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
    """The file, complete or not there at all."""
    with replacing(path) as new, open(new, "wb") as file:
        arrays: dict[str, Any] = {name: np.asarray(values) for name, values in numbers.items()}
        arrays[ABOUT] = np.array(json.dumps(about))
        np.savez(file, **arrays)


def fill(batches: Sequence[Batch], progress: bool = False) -> None:
    """Do the work of each (file, settings, work) whose file is not there; `work` gives its numbers.

    Another study's file raises ValueError before any work. Interrupted, the same call goes on with
    the batch that was in hand.
    """
    left = [batch for batch in batches if missing(*batch[:2])]

    def done(path: Path, about: dict[str, Any], work: Callable[[], Numbers]) -> None:
        write(path, about, work())

    for path, _, _ in left[:1]:
        path.parent.mkdir(parents=True, exist_ok=True)
    runs.train_all([(batch[0], partial(done, *batch)) for batch in left], progress)


def found(out: Path, pattern: str) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """The batches in `out` whose names match, in the order of their names; ValueError for none."""
    return [read(path) for path in runs.named(out.glob(pattern))]


def there(batches: Sequence[Batch]) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """(settings, numbers) of those whose file is there."""
    return [read(path) for path, _, _ in batches if path.exists()]


def of_width(out: Path, m: int) -> Path:
    """The file of a width, for studies with one batch a width."""
    return out / f"m{m:06}.npz"


def of_widths(config: Any, out: Path) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """(m, numbers) of each of config.widths, rising."""
    for m in sorted(config.widths):
        yield m, read(of_width(out, m))[1]


def by_width(config: Any, out: Path, work: OfWidth, without: Sequence[str] = ()) -> list[Batch]:
    """(file, settings, work) of each of config.widths, for `fill`; without: settings that are of
    something else.
    """
    return [
        (
            of_width(out, m),
            about(config, without=("widths", *without), m=m),
            partial(work, config, m),
        )
        for m in sorted(config.widths)
    ]


def shared(abouts: Sequence[Mapping[str, Any]], without: Sequence[str]) -> dict[str, Any]:
    """The settings that all batches have but for those in `without`; ValueError where one has others."""
    every = [
        {name: value for name, value in item.items() if name not in without} for item in abouts
    ]
    if any(item != every[0] for item in every):
        raise ValueError("the files are of different studies: make a folder for each.")
    return every[0]


def config_of_widths(cls: type, out: Path, **more: Any) -> Any:
    """The settings of such a study from the files in `out` alone, and those in `more`."""
    abouts = [about for about, _ in found(out, "m*.npz")]
    widths = tuple(about["m"] for about in abouts)
    return settings.from_dict(cls, {**shared(abouts, ("m",)), **more, "widths": widths})
