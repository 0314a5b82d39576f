"""What a Python function says: its instructions and constants, to tell one function from another.

The text of a function is not always to be had, and changes with a blank line; its bytecode is, and
does not. Functions of installed packages, of the standard library and of this package count by
their names: they are not the user's to edit.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import math
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..files.durable import canonical_json

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # another one has other instructions
OURS = ("meanfield", "ntk", "sims")
# a function that reads one has other constants in each process
CLOCKS = (
    "time",
    "datetime",
    "random",
    "secrets",
    "uuid",
)
CHANGING = {
    "append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "add", "discard", "sort", "fill", "popitem",
}  # fmt: skip
MOST_ITEMS = 64  # of a container, each by its own name; longer ones by their hash
MOST_TEXT = 60  # characters of a constant that are kept; longer ones by their hash
# relative: a constant that was computed may differ in its last bits on another machine
CLOSE = 1e-12


def describe(function: Any) -> dict[str, Any]:
    """{"python", "shape", "constants"}: the version, a hash of all but the constants, and these.

    Constants are [name, text], in order. What the function itself changes (a list it appends to, a
    counter) is left out.
    """
    reader = _Reader()
    reader.anything(getattr(function, "__name__", type(function).__name__), function, frozenset())
    constants = [] if reader.reads_clock else reader.constants
    return {
        "python": PYTHON,
        "shape": reader.shape.hexdigest(),
        "constants": [list(pair) for pair in constants],
    }


def same_shape(ours: dict[str, Any], theirs: dict[str, Any]) -> bool | None:
    """Whether the instructions are the same; None where two versions of Python cannot be compared."""
    return ours["shape"] == theirs["shape"] if ours["python"] == theirs["python"] else None


def constants_that_differ(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """ "k = 3, in the file 1" for each; of functions of two shapes only those that both have by
    name.
    """
    if same_shape(ours, theirs) and len(ours["constants"]) == len(theirs["constants"]):
        pairs = [
            (name, mine, other)
            for (name, mine), (_, other) in zip(ours["constants"], theirs["constants"], strict=True)
        ]
    else:
        kept = {name: text for name, text in theirs["constants"] if name}
        pairs = [(name, text, kept[name]) for name, text in ours["constants"] if name in kept]
    found = [
        f"{name or 'a number in it'} = {mine}, in the file {other}"
        for name, mine, other in pairs
        if not _alike(mine, other)
    ]
    return list(dict.fromkeys(found))


def _alike(mine: str, other: str) -> bool:
    if mine == other:
        return True
    try:
        return math.isclose(float(mine), float(other), rel_tol=CLOSE)
    except ValueError:
        return False


class _Reader:
    """Walks through a function and what it calls; `shape` and `constants` are what it has seen."""

    def __init__(self) -> None:
        self.shape = hashlib.sha256()
        self.constants: list[tuple[str, str]] = []
        self.reads_clock = False
        self._seen: list[Any] = []  # the objects themselves: an id alone may be given away again

    def anything(
        self, name: str, value: Any, attributes: frozenset[str], changes: bool = False
    ) -> None:
        """A global, a cell, a default, an item: whatever a function refers to by `name`."""
        if (text := _plain(value)) is not None:
            if not (changes and isinstance(value, (list, dict, set, np.ndarray))):
                self._constant(name, value, text)
            return
        if any(item is value for item in self._seen):
            return
        self._seen.append(value)
        if isinstance(value, functools.partial):
            self.anything(name, value.func, attributes)
            self._items(name, [*value.args, *value.keywords.items()], attributes, changes)
        elif isinstance(value, types.MethodType):
            self.anything(name, value.__func__, attributes)
            self.anything(name, value.__self__, _names(value.__func__))
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(
            inner := getattr(value, "py_func", getattr(value, "__wrapped__", None)),
            types.FunctionType,
        ):
            self.anything(name, inner, attributes)  # what numba, or functools.cache, was given
        elif isinstance(value, types.ModuleType):
            self._module(name, value, attributes)
        elif isinstance(value, (list, tuple)):
            self._items(name, value, attributes, changes)
        elif isinstance(value, dict):
            for key, item in value.items():
                self.anything(f"{name}[{key!r}]", item, attributes, changes)
        elif isinstance(value, type):
            self._class(name, value, attributes)
        else:
            self._object(name, value, attributes, changes)

    def _constant(self, name: str, value: Any, text: str) -> None:
        if isinstance(value, dict) and 0 < len(value) <= MOST_ITEMS:
            for key, item in value.items():
                self.constants.append((f"{name}[{key!r}]", _shortened(_plain(item) or "")))
        else:
            self.constants.append((name, _shortened(text)))

    def _items(self, name: str, values: Any, attributes: frozenset[str], changes: bool) -> None:
        for number, item in enumerate(values):
            self.anything(f"{name}[{number}]", item, attributes, changes)

    def _function(self, function: types.FunctionType) -> None:
        if _is_library(function):
            self._say(f"{function.__module__}.{function.__qualname__}")
            self.reads_clock |= function.__module__.split(".")[0] in CLOCKS
        codes = list(_codes(function.__code__))
        attributes = frozenset(name for code in codes for name in code.co_names)
        changed = frozenset(_changed(codes))
        changes = bool(attributes & CHANGING) or "[]" in changed
        if not _is_library(function):
            for code in codes:
                self._instructions(code)
            for name in dict.fromkeys(_globals(codes)):
                if name in function.__globals__ and name not in changed:
                    self.anything(name, function.__globals__[name], attributes - changed, changes)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            if name not in changed and name != "__class__" and (held := _held(cell)) is not None:
                self.anything(name, held[0], attributes - changed, changes)
        for name, default in _defaults(function):
            self.anything(name, default, attributes, changes)

    def _instructions(self, code: types.CodeType) -> None:
        for item in dis.get_instructions(code):
            if item.opcode in dis.hasconst or item.opname == "LOAD_SMALL_INT":
                self._say(item.opname)
                if (
                    not isinstance(item.argval, types.CodeType)
                    and (text := _plain(item.argval)) is not None
                ):
                    self.constants.append(("", _shortened(text)))
            elif (
                item.opcode in dis.haslocal or item.opcode in dis.hasfree
            ):  # by number: a new name is not another function
                self._say(f"{item.opname} {item.arg}")
            else:
                self._say(f"{item.opname} {item.argval}")

    def _module(self, name: str, module: types.ModuleType, attributes: frozenset[str]) -> None:
        self._say(module.__name__)
        self.reads_clock |= module.__name__.split(".")[0] in CLOCKS
        if not _is_library(module):
            for attribute in sorted(attributes & vars(module).keys()):
                self.anything(f"{name}.{attribute}", vars(module)[attribute], attributes)

    def _class(self, name: str, kind: type, attributes: frozenset[str]) -> None:
        self._say(f"{kind.__module__}.{kind.__qualname__}")
        if _is_library(kind):
            return
        for attribute, value in sorted(vars(kind).items()):
            if isinstance(value, (staticmethod, classmethod)):
                value = value.__func__
            elif isinstance(value, property):
                value = value.fget
            if isinstance(value, types.FunctionType) or (
                attribute in attributes and not attribute.startswith("__")
            ):
                self.anything(f"{name}.{attribute}", value, attributes)

    def _object(self, name: str, value: Any, attributes: frozenset[str], changes: bool) -> None:
        """An instance: its settings, where it is one of ours; else its class, and its attributes
        that are asked for.
        """
        kind = type(value)
        self._say(f"{kind.__module__}.{kind.__qualname__}")
        to_dict = getattr(value, "to_dict", None)
        if kind.__module__.split(".")[0] in OURS and callable(to_dict):
            self.constants.append((name, _shortened(canonical_json(to_dict()))))
            return
        if not _is_library(kind):
            self._class(name, kind, attributes)
        if not changes and (
            not _is_library(kind) or kind.__module__.split(".")[0] in (*OURS, "types")
        ):
            known = getattr(value, "__dict__", None) or {}
            called = _names(vars(kind).get("__call__"))
            wanted = (attributes | called) & known.keys()
            # a State: it is its fields
            if kind.__module__.split(".")[0] in OURS and _is_frozen(kind):
                wanted = frozenset(item for item in known if not item.startswith("_"))
            for attribute in sorted(wanted):
                self.anything(f"{name}.{attribute}", known[attribute], attributes)

    def _say(self, text: str) -> None:
        self.shape.update(text.encode() + b"\n")


def _plain(value: Any) -> str | None:
    """The text of a value that is a constant through and through, the same in every process; else
    None.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if (
        value is None
        or value is Ellipsis
        or isinstance(value, (bool, int, float, complex, str, bytes))
    ):
        return repr(value)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return None
        digest = hashlib.sha256(
            f"{value.dtype.str} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        )
        return (
            f"an array {value.shape} with hash {digest.hexdigest()[:8]}"
            if value.ndim
            else repr(value.item())
        )
    if isinstance(value, dict):
        texts = [
            f"{_plain(key)}: {text}" if (text := _plain(item)) is not None else None
            for key, item in value.items()
        ]
    elif isinstance(value, (tuple, list, set, frozenset)):
        texts = [_plain(item) for item in value]
        texts = sorted(texts, key=str) if isinstance(value, (set, frozenset)) else texts
    else:
        return None
    return None if None in texts else f"{type(value).__name__}({', '.join(map(str, texts))})"


def _shortened(text: str) -> str:
    if len(text) <= MOST_TEXT:
        return text
    return f"{text[: MOST_TEXT - 20]}… (hash {hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _names(function: Any) -> frozenset[str]:
    """The attributes that a function may ask for."""
    code = getattr(function, "__code__", None)
    return (
        frozenset(name for part in _codes(code) for name in part.co_names) if code else frozenset()
    )


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _globals(codes: list[types.CodeType]) -> Iterator[str]:
    for code in codes:
        for item in dis.get_instructions(code):
            if item.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield item.argval


def _changed(codes: list[types.CodeType]) -> Iterator[str]:
    """Names that the function assigns to outside itself, attributes that it sets, and "[]" where it
    sets an item.
    """
    outer = codes[0].co_freevars
    for code in codes:
        for item in dis.get_instructions(code):
            if item.opname in ("STORE_GLOBAL", "STORE_ATTR") or (
                item.opname == "STORE_DEREF" and item.argval in outer
            ):
                yield item.argval
            elif item.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"):
                yield "[]"


def _held(cell: types.CellType) -> tuple[Any] | None:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not assigned yet
        return None


def _defaults(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    given = function.__code__.co_varnames[: function.__code__.co_argcount]
    values = function.__defaults__ or ()
    yield from zip(given[len(given) - len(values) :], values, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def _is_library(thing: Any) -> bool:
    """Whether it belongs to an installed package, to the standard library or to us."""
    name = (
        thing.__name__
        if isinstance(thing, types.ModuleType)
        else getattr(thing, "__module__", None)
    )
    top = (name or "").split(".")[0]
    if top in OURS or top in sys.stdlib_module_names:
        return True
    code = getattr(thing, "__code__", None)
    module = sys.modules.get(name or "")
    file = (
        code.co_filename
        if code is not None
        else getattr(thing, "__file__", None) or getattr(module, "__file__", None)
    )
    return file is not None and _is_installed(str(file))


@functools.cache
def _is_installed(file: str) -> bool:
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib", "platstdlib")}
    return any(folder and Path(file).is_relative_to(folder) for folder in folders)


def _is_frozen(kind: type) -> bool:
    settings = getattr(kind, "__dataclass_params__", None)
    return settings is not None and bool(settings.frozen)


def arguments(function: Any) -> int:
    """How many arguments a plain function takes; 0 for others."""
    code = getattr(function, "__code__", None)
    return code.co_argcount if code else 0
