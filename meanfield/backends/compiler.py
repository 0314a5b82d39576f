"""One formula, compiled for a device and a dtype, and kept in an on-disk cache that really hits.

Formulas are plain scalar Python functions (activations, losses, pair potentials). `bind` rebuilds
one with its float constants cast to the dtype and exp, tanh, … bound to fast accurate versions
(elementary/), and compiles it.

`kernels` makes the text of a kernel from a kernel file (kernel_files.py), and `load` writes it to a
file of the cache folder whose name holds the hash of the text and of the formulas it uses, and
imports it. numba's own cache then works on that file: a second process finds every kernel, an
edited formula has another name and misses. (A kernel that closes over a dispatcher misses always;
one that refers to it by bare name in a fixed file goes stale.)
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import math
import os
import sys
import tempfile
import threading
import types
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

from ..formulas import special
from ..formulas.activations import Activation
from ..formulas.slopes import written_here
from ..processes.caches import folder
from . import kernel_files, undisturbed  # noqa: F401  undisturbed: before anything compiles
from .cpu import launch  # noqa: F401  launch: before any parallel kernel
from .elementary import functions as elementary

# NaN and infinity keep their meaning: guards look for them. Sums keep their order, too: a function
# that a kernel calls is compiled twice, alone and into its caller, and only the second is in the
# cache on disk; with sums that the compiler may reorder ("reassoc") a fresh process and a later one
# had different bits. "contract" leaves a choice only where two products are added, a b + c d:
# kernels write fma there, or add one after the other; formulas, which anybody may write, go without
# it.
FASTMATH = {"contract", "nsz", "arcp"}
# Of kernels that are called by their addresses alone (cpu/sharing.py): without what Python and C
# would call them by, which takes a fifth of the compiler's time.
BY_ADDRESS = {
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# Of formulas that Python may call, which is a crash without the wrapper.
formula = numba.njit(error_model="numpy", fastmath=False, forceinline=True)
# kinds of globals compiled in
FROZEN = (
    bool,
    int,
    float,
    complex,
    str,
    tuple,
    list,
    np.generic,
    np.ndarray,
    Dispatcher,
)
# Whole numbers of a formula that are taken as floats, {function: places}: whole_numbers.py finds
# them where int64 gives other values than Python's integers, 10**k with k < 0 and products beyond
# 2⁶³.
REAL: weakref.WeakKeyDictionary[Callable, frozenset] = weakref.WeakKeyDictionary()
LARGEST_WHOLE = 2**63 - 1  # that a compiler has; larger ones are floats from the start
LOADING = threading.RLock()
ELEMENTARY: dict[Callable, str] = {
    getattr(math, name): name for name in ("exp", "expm1", "log1p", "tanh", "erf", "sin", "cos")
}
ELEMENTARY |= {
    getattr(special, name): name
    for name in ("decay", "gaussian", "mills", "angle", "angle_absolute")
}


def bind(
    function: Callable,
    dtype: str,
    compile: Any = formula,
    elementary: Callable[[str, str], Any] = elementary.get,
) -> Any:
    """The formula compiled for "float32" or "float64": by numba.njit, or by another compiler with
    its own exp, tanh, …
    """
    return compile(_rebuild(function, np.dtype(dtype).type, compile, elementary, {}))


def inner(function: Callable, dtype: str) -> Any:
    """The formula compiled for kernels alone: Python must not call it."""
    return bind(function, dtype, elementary.compiled)


def _rebuild(
    function: Callable,
    T: type,
    compile: Any,
    elementary: Callable[[str, str], Any],
    done: dict[Callable, Any],
) -> types.FunctionType:
    def convert(value: Any, site: tuple | None = None) -> Any:
        if site in real:
            value = as_real(value, names)
        if isinstance(value, (float, np.floating)) or (
            isinstance(value, int) and abs(value) > LARGEST_WHOLE
        ):
            return T(value)
        if isinstance(value, (tuple, list)):  # a list is no constant to a compiler, a tuple is
            return _like(value, map(convert, value))
        if not isinstance(value, (types.BuiltinFunctionType, types.FunctionType)):
            return value
        if value in ELEMENTARY and (fast := elementary(ELEMENTARY[value], np.dtype(T).name)):
            return fast
        if isinstance(value, types.FunctionType):
            if value not in done:
                done[value] = compile(_rebuild(value, T, compile, elementary, done))
            return done[value]
        return value

    if not isinstance(function, types.FunctionType):
        raise TypeError(f"a formula must be a plain Python function of scalars; got {function!r}.")
    real = REAL.get(function, frozenset())
    code = function.__code__
    names = names_in(function.__code__)
    constants = tuple(convert(value, ("constant", k)) for k, value in enumerate(code.co_consts))
    around = {
        name: convert(value, ("global", name))
        for name, value in function.__globals__.items()
        if name in names
    }
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    closed = tuple(
        types.CellType(convert(cell.cell_contents, ("closure", name))) for name, cell in cells
    )
    rebuilt = types.FunctionType(
        code.replace(co_consts=constants),
        {"__builtins__": __builtins__, **around},
        function.__name__,
        None,
        closed,
    )
    defaults = function.__defaults__
    rebuilt.__defaults__ = defaults and tuple(
        convert(value, ("default", k)) for k, value in enumerate(defaults)
    )
    rebuilt.__kwdefaults__ = function.__kwdefaults__
    return rebuilt


def _like(value: tuple | list, items: Iterable) -> Any:
    make: Any = type(value)
    return make(*items) if hasattr(value, "_fields") else tuple(items)


def names_in(code: types.CodeType) -> set[str]:
    """Names of globals and attributes in a function's code, and in that of functions inside it."""
    return set(code.co_names).union(
        *(names_in(part) for part in code.co_consts if isinstance(part, types.CodeType))
    )


def as_real(value: Any, names: set[str]) -> Any:
    """The whole numbers in a value as float: in tuples, lists, arrays, and those of `names` in a
    module or a module of it.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, (tuple, list)):
        return _like(value, (as_real(item, names) for item in value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return value.astype(np.float64)
    if isinstance(value, types.ModuleType):
        twin = types.ModuleType(value.__name__)
        vars(twin).update(
            {name: as_real(getattr(value, name), names) for name in names if hasattr(value, name)}
        )
        return twin
    return value


def holds_whole(value: Any, names: set[str], deep: int = 3) -> bool:
    """Whether as_real would change the value."""
    if isinstance(value, (int, np.integer)):
        return not isinstance(value, bool)
    if isinstance(value, (tuple, list)):
        return any(holds_whole(item, names) for item in value)
    if isinstance(value, types.ModuleType):
        return deep > 0 and any(
            holds_whole(getattr(value, name), names, deep - 1)
            for name in names
            if hasattr(value, name)
        )
    return isinstance(value, np.ndarray) and value.dtype.kind in "iu"


def of_activation(sigma: Activation) -> dict[str, Callable]:
    """σ, σ' and both at once by the names that kernels call them."""
    value, slope = sigma.value, sigma.slope
    both = sigma.value_and_slope or _both(value, slope)
    return {"value": value, "slope": slope, "value_and_slope": both}


@functools.lru_cache(64)
def _both(value: Callable, slope: Callable) -> Callable:
    def both(z):
        return value(z), slope(z)

    # whose it is, for written_here; value is asked by itself
    both.__module__ = getattr(slope, "__module__", "")
    return both


def fingerprint(function: Callable) -> str:
    """Hash of what a formula computes: its bytecode, constants, defaults, the numbers and arrays
    around it, what it calls.
    """
    digest = hashlib.sha256()
    seen: set[Callable] = set()

    def feed(value: Any) -> None:
        if isinstance(value, types.FunctionType):
            if value in seen:
                return
            seen.add(value)
            feed_code(value.__code__)
            for part in (
                value.__defaults__,
                value.__kwdefaults__,
                tuple(sorted(REAL.get(value, ()))),
            ):
                feed(part)
            names = names_in(value.__code__)
            for name in sorted(names & value.__globals__.keys()):
                digest.update(name.encode())
                found = value.__globals__[name]
                feed(found)
                if isinstance(found, types.ModuleType):
                    feed_module(found, names, {found})
            for cell in value.__closure__ or ():
                feed(cell.cell_contents)
        elif (
            isinstance(value, tuple) or type(value) is list
        ):  # a list of another class has the text that it gives itself
            digest.update(f"{type(value).__name__} {len(value)}".encode())
            for item in value:
                feed(item)
        elif isinstance(value, types.CodeType):
            feed_code(value)
        elif isinstance(value, types.ModuleType):
            digest.update(value.__name__.encode())
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
        elif isinstance(value, Dispatcher):
            feed(value.py_func)
        else:
            digest.update(repr(value).encode())
        digest.update(b"|")

    def feed_code(code: types.CodeType) -> None:
        digest.update(code.co_code)
        feed(code.co_names)
        feed(code.co_consts)

    def feed_module(
        module: types.ModuleType, names: set[str], above: set[types.ModuleType]
    ) -> None:
        """What is compiled in of another module, and of modules in it: package.module.constant."""
        for name in sorted(names):
            found = getattr(module, name, None)
            if isinstance(found, types.ModuleType) and found not in above:
                digest.update(name.encode())
                feed_module(found, names, above | {found})
            elif isinstance(found, FROZEN):
                digest.update(name.encode())
                feed(found)

    feed(function)
    return digest.hexdigest()


def load(
    name: str,
    source: str,
    dtype: str,
    formulas: dict[str, Callable],
    bind: Callable[[Callable, str], Any] = inner,
) -> types.ModuleType:
    """Import kernel source text as a module in which T is the dtype and `formulas` are bound by
    name.

    The text compiles its kernels with numba.njit(cache=True), or for another device; nothing is
    compiled before the first call.
    """
    # those of a user may refer to numbers that change
    key_of = _key_of_own if written_here(*formulas.values()) else _key
    module_name = f"{name}_{key_of(source, dtype, *formulas.items())[:20]}"
    with LOADING:
        if module_name in sys.modules:
            return sys.modules[module_name]
        path = folder() / f"{module_name}.py"
        if not path.exists():
            _write_once(path, source)
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        vars(module).update(
            T=np.dtype(dtype).type,
            FASTMATH=FASTMATH,
            BY_ADDRESS=BY_ADDRESS,
            **{k: bind(f, dtype) for k, f in formulas.items()},
        )
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:  # half of a module is none
            del sys.modules[module_name]
            raise
        return module


def _key(source: str, dtype: str, *formulas: tuple[str, Callable]) -> str:
    """Hash of all that the kernels of a text are compiled from."""
    used = [f"{name}={fingerprint(formula)}" for name, formula in formulas]
    flags = f"{sorted(FASTMATH)} {BY_ADDRESS}"
    parts = [source, dtype, flags, elementary.version(), *used]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


_key_of_own = functools.lru_cache(256)(_key)  # each run of a sweep asks for some ten


def kernels(
    file: str,
    dtype: str,
    formulas: dict[str, Callable],
    *,
    bind: Callable[[Callable, str], Any] = inner,
    **constants: Any,
) -> types.ModuleType:
    """The kernels of a kernel file, by its dotted name, for a dtype, formulas and constants:
    kernel_files.py.
    """
    *_, room, _, name = file.split(".")
    whole = [f"{key}{value}" for key, value in constants.items() if isinstance(value, int)]
    text = _text(file, **constants)
    return load("_".join([room, name, *whole]), text, dtype, formulas, bind)


@functools.cache
def _text(file: str, **constants: Any) -> str:
    """That of kernel_files.py, which is kept: to write loops out takes as long as to load kernels."""
    if not constants:
        return kernel_files.text(file)
    made_of = f"{kernel_files.sources(file)} {sorted(constants.items())}"
    key = hashlib.sha256(made_of.encode()).hexdigest()
    path = folder() / f"{file.rpartition('.')[2]}_{key[:20]}.txt"
    with contextlib.suppress(OSError, ValueError):
        sum_of, _, text = path.read_text(encoding="utf-8").partition("\n")
        if sum_of == hashlib.sha256(text.encode()).hexdigest():
            return text
        path.unlink()  # cut off, as by a loss of power
    text = kernel_files.text(file, **constants)
    _write_once(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    return text


def _write_once(path: Path, text: str) -> None:
    # The first writer wins: numba's cache looks at the file's time, so a second process must not
    # renew it.
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
    ) as temporary:
        try:
            temporary.write(text)
            temporary.flush()
            os.link(temporary.name, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary.name)


def is_compiled(kernel: Any) -> bool:
    """Whether a first call of this kernel would find compiled code, in this process or in the
    cache.
    """
    stored = kernel._cache._impl
    found = Path(stored.locator.get_cache_path()).glob(f"{stored.filename_base}*.nb[ic]")
    # a full disk may leave the index without the code
    return bool(kernel.signatures) or len({path.suffix for path in found}) == 2
