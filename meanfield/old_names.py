"""Modules under the names they had before the rooms: kept for one minor version, with a
DeprecationWarning.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:  # importlib.abc and typing would take longer than all else that is imported
    from typing import Any

ROOMS = {
    "formulas": "activations losses gaussian_pairs special",
    "stepping.runge_kutta": "integrators",
    "stepping.march": "marching",
    "observers": "schedules events",
    "data": "dataset preparation tasks bundled",
    "transport.distances": "wasserstein",
    "transport": "couplings potentials matching",
    "files": "trajectory durable event_table labelled provenance",
    "diagnostics.compare": "comparison",
}
MOVED = {
    f"meanfield.{old}": f"meanfield.{room if '.' in room else f'{room}.{old}'}"
    for room, names in ROOMS.items()
    for old in names.split()
}


MOVED["meanfield.nearest"] = "meanfield.checks"


class Moved:
    """`import meanfield.OLD` gives the module of its new name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name, f"{spec.name} is now {MOVED[spec.name]}.")
        module.__getattr__ = importlib.import_module(MOVED[spec.name]).__getattribute__  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is now {new}.", DeprecationWarning, stacklevel=2)


sys.meta_path.append(Moved())
