"""The registry: a diagnostic is a function of frames with a name, a unit, declared needs, a version
and a meaning.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from ..checks import hint, is_integer
from ..once import cached_property

# modules that register when first asked for
BUILT_IN = (
    "measures",
    "movement",
    "kernels",
    "patterns",
    "directions",
    "errors",
    "gradient_noise",
    "entropy",
)
SAMPLES = 256  # the first samples of x carry the kernel unless another number is asked for
RESERVED = {"run", "names", "flow", "companion", "workers", "progress"}
RECORDED = "recorded:"  # in `of`: the series of that name in the run's file
OWN = ("meanfield.", "ntk.")  # packages whose names no user function may take
NEEDS = (
    "neurons", "flow", "plain flow", "energy", "energy balance", "network", "risk", "kernel",
    "data", "residual", "labels", "varied labels", "test", "test labels", "homogeneous",
    "balance", "kink", "equal masses", "varying masses", "paired", "no copies", "density",
    "free energy",
    "companion", "linear twin", "steps",
    "recorded path", "recorded energy_defect", "recorded energy_defect_motion",
    "recorded kinetic_energy",
)  # fmt: skip
# What `import ntk` adds: known by name here, so that an error can say so; meanfield itself never
# imports ntk.
OF_NTK = (
    "information",
    "nuisance",
    "information_h0",
    "nuisance_h0",
    "companion_gap",
    "departure",
    "laziness",
)


# series that are no diagnostics, but those of an observer
OF_OBSERVERS = {"lambda_min": "ntk.LayerMinima(mf.every(…))"}


@dataclass(frozen=True)
class Diagnostic:
    """One diagnostic. kind: "frame" f(frame), "step" f(frame, previous), "curve" f(*curves of the
    diagnostics in `of`).

    parameters: the keyword-only arguments of the function with their defaults. interval: the value
    is lower <= … <= upper. finite: not called, and NaN, where θ is not finite. blas: called with
    BLAS on one thread; False for what never calls it.
    """

    name: str
    function: Callable[..., Any]
    unit: str
    meaning: str
    needs: tuple[str, ...] = ()
    version: int = 1
    of: tuple[str, ...] = ()
    interval: bool = False
    finite: bool = True
    blas: bool = True

    @cached_property
    def kind(self) -> str:
        if self.of:
            return "curve"
        positional = [
            item
            for item in inspect.signature(self.function).parameters.values()
            if item.kind in _POSITIONAL
        ]
        return {1: "frame", 2: "step"}.get(len(positional), "")

    @cached_property
    def parameters(self) -> dict[str, Any]:
        signature = inspect.signature(self.function).parameters.values()
        return {
            item.name: item.default
            for item in signature
            if item.kind is inspect.Parameter.KEYWORD_ONLY
        }

    @property
    def own(self) -> bool:
        """Whether it belongs to these packages, not to their user."""
        return f"{self.function.__module__}.".startswith(OWN)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TABLE: dict[str, Diagnostic] = {}


def register_diagnostic(
    *,
    unit: str,
    needs: tuple[str, ...] = (),
    name: str | None = None,
    version: int = 1,
    of: tuple[str, ...] = (),
    interval: bool = False,
    finite: bool = True,
    blas: bool = True,
) -> Callable[[Callable], Callable]:
    """A decorator: from then on mf.diagnose and mf.Series know the function by its name.

    The function's docstring is its meaning.

    Parameters
    ----------
    unit : "1" for numbers without one.
    needs : what must be there, else the diagnostic is said to be unavailable, with the reason.
        neurons (outputs K >= 1), flow, plain flow (deterministic, constant masses), energy, energy
        balance, network (of neurons, not linearised), risk (of any network), kernel, data (training
        samples), residual, labels (signs or classes), varied labels, test, test labels, homogeneous
        (σ), balance, kink (σ), equal masses (that stay), varying masses,
        paired (particle k is the same one at all times), no copies (of particles), density
        (of particles that are free, with constant masses), free energy (that, where T > 0), companion,
        linear twin (gradient flow of the squared loss without ridge), steps (frame.dt, the length of
        the run's steps), recorded path,
        recorded energy_defect, recorded energy_defect_motion,
        recorded kinetic_energy.
    name : that of the function by default. A later function of the same name takes its place;
        built-in names are taken.
    version : raise it when the function changes, so that stored values are not used.
    of : names of other diagnostics whose curves the function takes; "recorded:name" is a series of
        the file.
    interval : whether it returns (lower, upper, method of the lower, method of the upper).
    finite : False calls it for θ with NaN too; otherwise the value is NaN there.
    blas : False says that it makes no matrix product and no linear algebra, whose bits would depend
        on the number of threads: the 5 µs that limiting BLAS to one thread takes are saved.

    Notes
    -----
        @mf.register_diagnostic(unit="1", needs=("data",))
        def mean_output(frame):
            '''(1/n) Σ_i f(x_i), first output.'''
            return frame.predictions[:, 0].mean()

    f(frame) -> scalar, at each frame; f(frame, previous), from the second frame on; with
    of=("energy", …), f(*curves) -> (frames,) from named tuples (steps, times, values). A frame has
    .state .start .flow .x .y .predictions .velocity .kernel(samples): see diagnostics/frame.py.
    Keyword-only arguments are parameters, settable in mf.diagnose.
    """

    def register(function: Callable) -> Callable:
        meaning = _meaning(function)
        add(
            Diagnostic(
                name or function.__name__,
                function,
                unit,
                meaning,
                tuple(needs),
                version,
                tuple(of),
                interval,
                finite,
                blas,
            )
        )
        return function

    return register


def add(diagnostic: Diagnostic) -> None:
    """Put a diagnostic into the table, checked."""
    name = diagnostic.name
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(
            f"a diagnostic's name is a plain identifier; got {name!r}. Pass name=… to "
            "mf.register_diagnostic."
        )
    for what in ("unit", "meaning"):
        value = getattr(diagnostic, what)
        if not isinstance(value, str) or not value:
            advice = (
                'unit="1" where there is none.'
                if what == "unit"
                else "Write a docstring: one sentence with the formula."
            )
            raise ValueError(f"diagnostic {name!r} has no {what}. {advice}")
    unknown = [need for need in diagnostic.needs if need not in NEEDS]
    if unknown:
        raise ValueError(
            f"diagnostic {name!r} needs {unknown[0]!r}, which nobody "
            f"provides.{hint(unknown[0], NEEDS)} "
            f"Known: {', '.join(NEEDS)}."
        )
    if not is_integer(diagnostic.version) or diagnostic.version < 1:
        raise ValueError(
            f"diagnostic {name!r}: version must be an integer >= 1; got {diagnostic.version!r}."
        )
    if not diagnostic.kind:
        raise TypeError(
            f"diagnostic {name!r} must take (frame) or (frame, previous); parameters are "
            "keyword-only arguments."
        )
    if any(default is inspect.Parameter.empty for default in diagnostic.parameters.values()):
        raise TypeError(f"diagnostic {name!r}: each keyword-only argument needs a default.")
    if taken := sorted(RESERVED & set(diagnostic.parameters)):
        raise ValueError(
            f"diagnostic {name!r}: {taken[0]!r} is an argument of mf.diagnose itself; "
            "call the parameter otherwise."
        )
    if not diagnostic.own:
        _load_own()
        if (name in _TABLE and _TABLE[name].own) or name in OF_NTK:
            raise ValueError(f"{name!r} is a built-in diagnostic: give yours a name of its own.")
    _TABLE[name] = diagnostic


def get(name: str) -> Diagnostic:
    """The diagnostic of that name; ValueError with the nearest, or with `import ntk`, for an
    unknown one.
    """
    _load_own()
    if name in _TABLE:
        return _TABLE[name]
    raise ValueError(f"unknown diagnostic {name!r}.{missing(name)} Known: {', '.join(names())}.")


def missing(name: str) -> str:
    """What to add to an error about an unknown name: the nearest known one, or that `import ntk`
    brings it.
    """
    if name in OF_NTK:
        return " It is one of ntk's: `import ntk` first."
    if name in OF_OBSERVERS:
        return (
            f" It is a series of the observer {OF_OBSERVERS[name]}: put that among the observers."
        )
    near = hint(name, [*names(), *OF_NTK])
    return (
        f"{near} (`import ntk` first.)"
        if any(repr(item) in near for item in OF_NTK if item not in _TABLE)
        else near
    )


def names() -> list[str]:
    """All registered names: those of meanfield, of ntk, of the user, each in the order of the
    source.
    """
    _load_own()
    return list(_in_order(tuple(_TABLE)))


@lru_cache(8)  # a run asks some twenty times
def _in_order(names: tuple[str, ...]) -> list[str]:
    modules = [f"{__package__}.library.{module}" for module in BUILT_IN]

    def rank(name: str) -> int:
        diagnostic = _TABLE[name]
        module = diagnostic.function.__module__
        return modules.index(module) if module in modules else len(modules) + (not diagnostic.own)

    return sorted(names, key=rank)


@cache
def _load_own() -> None:
    for module in BUILT_IN:
        importlib.import_module(f".library.{module}", __package__)


def _meaning(function: Callable) -> str:
    """The first paragraph of the docstring, on one line."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
