"""Scientific questions as scripts: each file has QUESTION, Config, tiny(), run(), figure() and main(). Loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "Sweep",
    "open_sweep",
    "both_limits",
    "config",
    "experiment",
    "figures",
    "find_crossing",
    "fit_exponent",
    "fits",
    "kernel_limits",
    "lazy_vs_mean_field",
    "phase_diagram",
    "random_features",
    "scaling_exponents",
]

if TYPE_CHECKING:
    from . import both_limits as both_limits
    from . import figures as figures
    from . import kernel_limits as kernel_limits
    from . import lazy_vs_mean_field as lazy_vs_mean_field
    from . import phase_diagram as phase_diagram
    from . import random_features as random_features
    from . import scaling_exponents as scaling_exponents
    from .lab import config as config
    from .lab import fits as fits
    from .lab.crossings import find_crossing as find_crossing
    from .lab.fits import fit_exponent as fit_exponent
    from .sweeps.indexing import Sweep as Sweep
    from .sweeps.indexing import open_sweep as open_sweep

FUNCTIONS = {  # where they are defined
    "fit_exponent": "fits", "find_crossing": "crossings", "Sweep": "sweeps.indexing", "open_sweep": "sweeps.indexing",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        return getattr(importlib.import_module(f".{FUNCTIONS[name]}", __name__), name)
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'sims' has no attribute {name!r}; it has: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
