"""What every sim's settings and command line share: frozen checked dataclasses, TOML files, options.

A sim's Config is decorated with @settings: frozen, extra keys forbidden and the nearest name
offered, 1 and 1.0 one value (and one `digest`). `load` reads a TOML file, `command_line` makes the
options; exit codes: exits.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import io
import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    TypeVar,
    dataclass_transform,
    get_args,
    get_type_hints,
)

import pydantic
from pydantic.dataclasses import dataclass as checked

from .exits import (  # noqa: F401  by their names here
    BAD_DATA,
    DIVERGED,
    IN_USE,
    INCOMPATIBLE,
    INTERRUPTED,
    IO,
    USAGE,
    BadData,
    BadSettings,
    code_of,
    exit_code,
    outcome,
)

T = TypeVar("T")


def at_least(least: float) -> Any:
    """For Annotated: a number >= least."""
    return pydantic.Field(ge=least)


def between(least: float, most: float) -> Any:
    """For Annotated: a number from least to most."""
    return pydantic.Field(ge=least, le=most)


def different(name: str, values: Sequence[Any]) -> None:
    """ValueError unless there are two values at least, all different: a study compares them."""
    if len(values) < 2 or len(set(values)) != len(values):
        raise ValueError(
            f"{name} needs two different values at least, without repetition; got {list(values)}."
        )


def even(name: str, values: Sequence[int]) -> None:
    """ValueError for an odd number of neurons: those of a symmetric start stand in pairs."""
    if odd := [value for value in values if value % 2]:
        raise ValueError(
            f"{name} must be even, symmetric starts pair neurons; got {odd[0]}. Use {odd[0] + 1}."
        )


def growing(name: str, values: Sequence[float], least: str) -> None:
    """ValueError unless there are `least` values, "two" or "three", each above the last."""
    if len(values) < {"two": 2, "three": 3}[least] or list(values) != sorted(set(values)):
        raise ValueError(f"{name} needs {least} values at least, growing; got {list(values)}.")


def above(bound: float) -> Any:
    """For Annotated: a number > bound."""
    return pydantic.Field(gt=bound)


def below(bound: float) -> Any:
    """For Annotated: a number < bound."""
    return pydantic.Field(lt=bound)


if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True)
    def settings(cls: type[T]) -> type[T]: ...

else:

    def settings(cls):
        """Decorator: a frozen dataclass whose fields are checked and converted (1 to 1.0 for a
        float, a list to a tuple).

        An unknown name or a wrong value raises BadSettings, one line that names the field and,
        where there is one, the nearest.
        """
        cls = checked(frozen=True, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))(
            cls
        )
        make = cls.__init__

        @functools.wraps(make)
        def __init__(self, *args, **values):
            try:
                make(self, *args, **values)
            except pydantic.ValidationError as error:
                raise BadSettings(_explain(cls, error)) from None

        cls.__init__ = __init__
        return cls


@functools.cache
def _say_ranges(cls: type) -> None:
    """Let --help say what a number may be, beside its default."""
    import tyro  # of a command line alone: it takes as long to load as two small runs

    for name, hint in get_type_hints(cls, include_extras=True).items():
        if hasattr(hint, "__dataclass_fields__"):
            _say_ranges(hint)
        elif name in cls.__annotations__ and (bounds := range_of(hint)):
            told = tyro.conf.arg(help_behavior_hint=functools.partial(_with_range, bounds))
            cls.__annotations__[name] = Annotated[hint, told]


def _with_range(bounds: str, default: str) -> str:
    return f"({bounds}; default: {default})"


def range_of(hint: Any) -> str:
    """The bounds of an annotation, of a tuple those of its values: ">= 2", "> 0, < 1"; "" for none."""
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    found = [
        f"{sign} {getattr(bound, name):g}"
        for item in getattr(hint, "__metadata__", ())
        for bound in getattr(item, "metadata", ())
        for name, sign in signs
        if hasattr(bound, name)
    ]
    return ", ".join(found) or next(filter(None, map(range_of, get_args(hint))), "")


def to_dict(config: Any) -> dict[str, Any]:
    """The settings as plain JSON-able values; `from_dict(type(config), …)` is the inverse."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """Settings from plain values, as strict as a file must be: "3" is no number, true is no 1."""
    try:
        return _adapter(cls).validate_json(json.dumps(values, default=str), strict=True)
    except pydantic.ValidationError as error:
        raise BadSettings(_explain(cls, error)) from None


# the manifest of a sweep has thousands of settings
_adapter: Any = functools.cache(pydantic.TypeAdapter)


def digest(config: Any) -> str:
    """Twelve hexadecimal digits that name a configuration: equal settings, equal digest (1 and 1.0,
    0.0 and -0.0 are equal).
    """
    text = json.dumps(_canonical(dataclasses.asdict(config)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load(path: str | Path, base: T) -> T:
    """Read a TOML file over `base`: what the file does not name keeps its value; tables are nested
    settings.
    """
    found = read_toml(path)
    if not found:
        from meanfield.observers.progress import say  # the engine, which no other settings need

        say(f"{path} names no setting: all keep their defaults")
    try:
        return from_dict(type(base), _merged(to_dict(base), found))
    except BadSettings as error:
        raise BadSettings(f"{path}: {error}") from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file; BadSettings for what is none."""
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        json.dumps(found, default=str)  # as deep as whoever takes the settings apart
        return found
    except ValueError as error:  # of TOML, of its encoding, of a number of thousands of digits
        why = str(error).replace("Cannot overwrite a value", "a setting is there twice")
        raise BadSettings(f"{path} is not a TOML file: {why}.") from None
    except RecursionError:
        raise BadSettings(
            f"{path} is not a TOML file of settings: its brackets stand in one another by the hundred."
        ) from None


def told(metavar: str | None = None) -> Any:
    """Annotation of an option whose help says all, and needs no default beside it; metavar: what
    stands for its value.
    """
    import tyro

    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


def command_line(
    prog: str,
    about: str,
    presets: Mapping[str, tuple[Any, str]],
    extra: type[T],
    argv: list[str] | None = None,
) -> tuple[Any, T]:
    """(settings, extra options) of a command line.

    presets: name -> (settings, meaning); the first is the default, the others are flags --name.
    `extra` is a dataclass of options that are not part of the question (--out, --dry-run, …).
    --config FILE.toml is read over the preset, options over both. -h prints the help and exits;
    wrong options raise BadSettings.
    """
    import tyro

    argv = sys.argv[1:] if argv is None else list(argv)
    wanted = [name for name in presets if f"--{name}" in argv]
    if len(wanted) > 1:
        raise BadSettings(f"choose one of {', '.join(f'--{name}' for name in wanted)}.")
    base = presets[wanted[0] if wanted else next(iter(presets))][0]
    rest, files = _take(argv, "--config", {f"--{name}" for name in presets})
    for file in files:
        base = load(file, base)
    kind: Any = type(base)
    _say_ranges(kind)
    shared: list[Any] = [
        (
            name,
            Annotated[bool, tyro.conf.arg(help=meaning, help_behavior_hint="")],
            dataclasses.field(default=False),
        )
        for name, (_, meaning) in list(presets.items())[1:]
    ]
    meaning = (
        "TOML file with any of the settings below ([tables] for the dotted ones); "
        "options on the command line win."
    )
    shared.append(
        (
            "config",
            Annotated[
                Path | None, tyro.conf.arg(help=meaning, metavar="FILE", help_behavior_hint="")
            ],
            dataclasses.field(default=None),
        )
    )
    parts: list[Any] = [
        (
            "options",
            Annotated[extra, tyro.conf.arg(name="")],
            dataclasses.field(default_factory=extra),
        ),
        (
            "settings",
            Annotated[kind, tyro.conf.arg(name="")],
            dataclasses.field(default=base),
        ),
    ]
    command = dataclasses.make_dataclass("Command", [*shared, *parts])
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed: Any = tyro.cli(
                command,
                prog=prog,
                description=about,
                args=rest,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise BadSettings(f"{_unboxed(errors.getvalue())} See {prog} --help.") from None
    return parsed.settings, parsed.options


def _explain(cls: type, error: pydantic.ValidationError) -> str:
    """The first problem of a validation, with where it is and, for an unknown name, the nearest
    known one.
    """
    problems = error.errors()
    # an unknown name first: a missing value is often its consequence
    first = min(
        problems,
        key=lambda problem: (
            problem["type"] not in ("unexpected_keyword_argument", "extra_forbidden")
        ),
    )
    place = ".".join(str(part) for part in _names(cls, first["loc"]))
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        owner: Any = cls
        for part in first["loc"][:-1]:
            owner = next(field.default for field in dataclasses.fields(owner) if field.name == part)
        names = [field.name for field in dataclasses.fields(owner)]
        near = difflib.get_close_matches(str(first["loc"][-1]), names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"no setting {place!r}.{hint} Known: {', '.join(names)}."
    # a setting of several kinds has a problem with each
    same = [item for item in problems if _names(cls, item["loc"]) == _names(cls, first["loc"])]
    told = [item["msg"].removeprefix("Value error, ") for item in same]
    others = [text.removeprefix("Input should be ") for text in dict.fromkeys(told[1:])]
    message = " or ".join([told[0], *others]).replace("an object", "a table")
    where = f"{place}: " if place else ""
    return f"{where}{message}" + (f"; got {first['input']!r}." if place else "")


def _names(cls: Any, loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """Of the place of a problem what the file has: names of settings and numbers of values, without
    the kinds of value that were tried.
    """
    found: list[str | int] = []
    for part in loc:
        known = {field.name: field for field in dataclasses.fields(cls)} if cls else {}
        last = part == loc[-1]
        if isinstance(part, int) or part in known or (cls and last) or not found:
            found.append(part)
            cls = getattr(known.get(str(part)), "default", None)
            cls = cls if dataclasses.is_dataclass(cls) else None
    return tuple(found)


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), dict)
        result[key] = _merged(base[key], value) if both else value
    return result


def _take(argv: list[str], option: str, flags: set[str]) -> tuple[list[str], list[str]]:
    """argv without `option VALUE` and without the flags, and the values."""
    rest, values, words = [], [], iter(argv)
    for word in words:
        if word == option:
            value = next(words, None)
            if value is None:
                raise BadSettings(f"{option} needs the name of a TOML file.")
            values.append(value)
        elif word.startswith(f"{option}="):
            values.append(word.removeprefix(f"{option}="))
        elif word not in flags:
            rest.append(word)
    return rest, values


def _unboxed(text: str) -> str:
    """tyro's framed message as one line: what is wrong, and the nearest options, without their
    help.
    """
    inside = [re.sub(r"[│╭╮╰╯─]+", " ", line).strip() for line in text.splitlines()[1:]]
    line = " ".join(" ".join(inside).split())
    line = re.split(r" Argument helptext: | For full helptext", line)[0]
    problem, _, meant = line.partition(" Perhaps you meant: ")
    near = list(dict.fromkeys(re.findall(r"--[a-z][\w.-]*", meant)))
    hint = f" Did you mean {' or '.join(near[:2])}?" if near else ""
    return f"{problem.rstrip('.')}.{hint}"
