"""What a sweep is: a TOML file of base settings and axes becomes a Plan, every run of it built and
checked.

[base]                                              any setting of sims.lab.experiment.Experiment
t_end = 20
data = { name = "teacher_student", options = { n = 300, dim = 20, n_test = 1000 } }

[axes]                                              every axis × every other; dotted names reach into tables
gamma = [0.5, 0.75, 1.0]
m = { from = 64, to = 1024, count = 5, log = true }
seed = { from = 0, to = 3, count = 4 }
"law.b_std" = [0, 1]

[[zipped]]                                          settings that change together: one axis, named after the first
alpha = [1, 10]
t_end = [20, 2]
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import meanfield as mf
from meanfield import backends
from meanfield.checks import hint

from ..lab import config as settings
from ..lab.config import BadSettings
from ..lab.experiment import Data, Experiment, initial_law, make, method
from .axes import RANGE, few, values

SHOWN = 12  # values of an axis
DEFAULT_DATA = settings.to_dict(Data())


@dataclass(frozen=True)
class Axis:
    """Settings that vary together: points[i] has a value for each of names. One name, but for a
    zipped axis.
    """

    names: tuple[str, ...]
    points: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Planned:
    """One run: where it stands on each axis, and its settings."""

    index: tuple[int, ...]
    config: Experiment


@dataclass(frozen=True)
class Plan:
    """A sweep: the base settings, the axes, and the runs by the digest of their settings, in the
    order of the axes.

    notes: what was made of the file otherwise than it says, for who writes it.
    """

    base: Experiment
    axes: tuple[Axis, ...]
    runs: dict[str, Planned]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def at(self, digest: str) -> dict[str, Any]:
        """The settings on the axes of one run."""
        places = zip(self.axes, self.runs[digest].index, strict=True)
        return {
            name: value
            for axis, i in places
            for name, value in zip(axis.names, axis.points[i], strict=True)
        }

    def describe(self) -> str:
        """For example "60 runs: gamma 3 × m 5 × seed 4"."""
        axes = " × ".join(f"{'+'.join(axis.names)} {len(axis.points)}" for axis in self.axes)
        return f"{len(self.runs)} run{'s' * (len(self.runs) != 1)}: {axes}"

    def values(self) -> str:
        """A line for each axis, with its values: "  m = 64, 128, 256"; then the notes."""
        lines = []
        for axis in self.axes:
            points = [", ".join(map(_shown, point)) for point in axis.points]
            points = [f"({point})" for point in points] if len(axis.names) > 1 else points
            more = [f"… {points[-1]}"] if len(points) > SHOWN else []
            lines.append(
                f"  {'+'.join(axis.names)} = "
                f"{', '.join(points[: SHOWN - 1] + more if more else points)}"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def load(path: str | Path) -> Plan:
    """The Plan of a TOML file; raises BadSettings, which names the key, what is wrong, and the
    nearest known name.
    """
    found = settings.read_toml(path)
    try:
        return plan(found)
    except BadSettings as error:
        raise BadSettings(f"{path}: {error}") from None


def plan(tables: Mapping[str, Any]) -> Plan:
    """The Plan of the tables base, axes and zipped."""
    known = ("base", "axes", "zipped")
    for name in tables:
        if name not in known:
            raise BadSettings(
                f"no table {name!r}.{hint(name, known)} A sweep has: {', '.join(known)}."
            )
    base, notes = _base(tables.get("base", {})), list[str]()
    axes = [_axis([item], base, notes) for item in _flat(tables.get("axes", {}))]
    axes += [_axis(list(_flat(group)), base, notes) for group in _groups(tables.get("zipped", []))]
    _distinct([name for axis in axes for name in axis.names])
    notes += _lost(dict(_flat(tables.get("base", {}))), axes)
    if not axes:
        raise BadSettings(
            "there are no axes: name what varies, for example [axes] gamma = [0.5, 1.0]."
        )
    few(count := math.prod(len(axis.points) for axis in axes))
    runs: dict[str, Planned] = {}
    for index in itertools.product(*(range(len(axis.points)) for axis in axes)):
        at = {
            name: value
            for axis, i in zip(axes, index, strict=True)
            for name, value in zip(axis.names, axis.points[i], strict=True)
        }
        config = _built(base, at)
        runs.setdefault(settings.digest(config), Planned(index, config))
    if len(runs) < count:
        notes.append(
            f"{count - len(runs)} of {count} combinations are repeated: the same settings "
            "by other words"
        )
    return Plan(_built(base, {}), tuple(axes), runs, tuple(notes))


def kinds(plan: Plan) -> list[Experiment]:
    """The runs that differ in more than numbers which any network takes: two neurons each, a moment
    of time, on the CPU.
    """
    return [kind for kind, _ in stages(plan)]


def stages(plan: Plan) -> list[tuple[Experiment, float]]:
    """The `kinds` of runs, with how many stages of how many steps all runs of each have; a run
    whose steps are not known beforehand counts for 300 of them.
    """
    plain: dict[str, Any] = {
        "gamma": 1.0,
        "alpha": 1.0,
        "gamma_prime": 0.0,
        "t_end": 1e-3,
        "frames": 2,
        "dt": "auto",
    }
    names = {item.name for item in dataclasses.fields(Experiment)} - {
        "m",
        "seed",
        "backend",
        *plain,
    }
    counted: dict[str, list[Any]] = {}  # a digest of each of thousands of runs would take long
    for config in (run.config for run in plan.runs.values()):
        steps = 300.0 if config.dt == "auto" else config.t_end / config.dt
        row = counted.setdefault(repr([getattr(config, name) for name in names]), [config, 0.0])
        row[1] += steps * method(config).stages
    found: dict[str, list[Any]] = {}
    for config, count in counted.values():
        kind = dataclasses.replace(config, m=2, seed=0, backend="cpu", **plain)
        found.setdefault(settings.digest(kind), [kind, 0.0])[1] += count
    return [(kind, count) for kind, count in found.values()]


def check(plan: Plan) -> None:
    """Make the data of every kind of run, and try its labels, network and law on two neurons;
    nothing is trained.

    Raises what the run itself would: BadData, or ValueError for a network or law that cannot be.
    """
    for kind in kinds(plan):
        made = make(kind)
    for seed in {run.config.seed for run in plan.runs.values()}:
        initial_law(kind, made.data.d).sample(2, seed=seed)


def uses_gpu(plan: Plan) -> bool:
    """Whether a run asks for CUDA, or for what is there."""
    return any(run.config.backend != "cpu" for run in plan.runs.values())


def without_gpu(plan: Plan) -> str:
    """Why this machine cannot make the runs that ask for CUDA; "" where none does, or it can."""
    if all(run.config.backend != "cuda" for run in plan.runs.values()):
        return ""
    try:
        backends.check("cuda")
    except ValueError as error:
        return (
            f"{str(error).partition(' Or use ')[0]} The workers of this sweep must run "
            "where there is one; or change backend."
        )
    return ""


def setting(config: Experiment, name: str) -> Any:
    """The value of a dotted name."""
    value: Any = settings.to_dict(config)
    for part in name.split("."):
        value = value[part]
    return value


def _base(given: Any) -> dict[str, Any]:
    """The base settings as a dictionary. Options of the data that it does not give are None:
    `_built` knows the data's name.
    """
    if not isinstance(given, Mapping):
        raise BadSettings(f"base must be a table of settings; got {given!r}.")
    values = settings.to_dict(Experiment())
    values["data"].pop("options")
    for key, value in given.items():
        both = isinstance(value, Mapping) and isinstance(values.get(key), dict)
        values[key] = {**values[key], **value} if both else value
    own = isinstance(values["data"], Mapping) and "options" in values["data"]
    try:
        base = settings.to_dict(settings.from_dict(Experiment, values))
    except BadSettings as error:
        raise BadSettings(f"base: {error}") from None
    return base if own else {**base, "data": {**base["data"], "options": None}}


def _flat(table: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, values) of the axes; TOML writes law.b_std as a table in a table."""
    if not isinstance(table, Mapping):
        raise BadSettings(f"axes must be a table of lists and ranges; got {table!r}.")
    for key, value in table.items():
        if isinstance(value, Mapping) and not value.keys() & RANGE:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _groups(zipped: Any) -> list[Any]:
    if not isinstance(zipped, list):
        raise BadSettings(
            "zipped axes are written [[zipped]], with double brackets, once for each group."
        )
    return zipped


def _axis(items: list[tuple[str, Any]], base: dict[str, Any], notes: list[str]) -> Axis:
    """One axis of one name, or of several that step together. Points that are equal as settings (1
    and 1.0) are one.

    notes: gets what was changed.
    """
    if not items:
        raise BadSettings(
            "zipped: an empty group; name at least two settings with lists of equal length."
        )
    columns = [values(name, given, base) for name, given in items]
    names = tuple(name for name, _ in items)
    if len(lengths := {len(column) for column in columns}) > 1:
        raise BadSettings(
            f"zipped: {', '.join(names)} step together, so their lists must be equally "
            f"long; got {sorted(lengths)}."
        )
    points: dict[str, tuple[Any, ...]] = {}
    for row in zip(*columns, strict=True):
        # an axis alone may be at odds with the base (an odd m, symmetric switched off by another
        # axis): the product decides
        point = tuple(_converted(name, value, base) for name, value in zip(names, row, strict=True))
        points.setdefault(json.dumps([_canonical(value) for value in point]), point)
    if dropped := len(columns[0]) - len(points):
        notes.append(
            f"{'+'.join(names)}: {dropped} of {len(columns[0])} values are repeated; each "
            "is made once"
        )
    for (name, given), column in zip(items, columns, strict=True):
        plain = values(name, given, {**base, "law": {**base["law"], "symmetric": False}})
        if changed := [f"{a} became {b}" for a, b in zip(plain, column, strict=True) if a != b]:
            notes.append(f"{name}: {', '.join(changed)}: even, for a symmetric start pairs neurons")
    return Axis(names, tuple(points.values()))


def _converted(name: str, value: Any, base: dict[str, Any]) -> Any:
    """The value as its setting keeps it: 1 becomes 1.0 for a float."""
    lenient = copy.deepcopy(base)
    if name != "law.symmetric":
        lenient["law"]["symmetric"] = False
    else:
        lenient["m"] = 2
    return setting(_built(lenient, {name: value}), name)


def _built(base: dict[str, Any], at: Mapping[str, Any]) -> Experiment:
    """The settings at one point of the axes."""
    values = copy.deepcopy(base)
    if isinstance(values["data"], dict) and values["data"].get("options", {}) is None:
        name = at.get("data.name", values["data"]["name"])
        values["data"]["options"] = (
            dict(DEFAULT_DATA["options"]) if name == DEFAULT_DATA["name"] else {}
        )
    for name, value in at.items():
        *path, last = name.split(".")
        table = values
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise BadSettings(f"axes: no setting {name!r}: {part!r} is a value, not a table.")
        table[last] = value
    data = values.get("data")
    if isinstance(data, dict) and data.get("name", DEFAULT_DATA["name"]) != DEFAULT_DATA["name"]:
        data.setdefault("options", {})
    if (
        isinstance(data, dict)
        and isinstance(data.get("name"), str)
        and data["name"] not in mf.data.names()
        and Path(data["name"]).is_file()
    ):
        data["name"] = str(Path(data["name"]).resolve())  # workers may start in another folder
    try:
        return settings.from_dict(Experiment, values)
    except BadSettings as error:
        where = ", ".join(f"{name} = {value!r}" for name, value in at.items())
        raise BadSettings(f"{error} (axes: {where})") from None


def _lost(base: dict[str, Any], axes: list[Axis]) -> Iterator[str]:
    """What the base says, by dotted name, of a setting that varies, where no run has it."""
    for axis in axes:
        for name, points in zip(axis.names, zip(*axis.points, strict=True), strict=True):
            if name in base and base[name] not in points:
                given = f"base.{name} = {_shown(base[name])}"
                yield f"{given} is in no run: the axis {name} has other values"


def _shown(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else json.dumps(value)
    )


def _canonical(value: Any) -> Any:
    """Equal for 1 and 1.0, 0.0 and -0.0, as they are for a setting; true is not 1."""
    return (
        float(value) + 0.0
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else value
    )


def _distinct(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadSettings(f"axes: {name} is an axis twice.")
        if inside := [other for other in names if other.startswith(f"{name}.")]:
            raise BadSettings(f"axes: {inside[0]} is part of {name}; vary one of them.")
