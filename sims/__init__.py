"""Scientific questions as scripts: each folder has QUESTION, Config, tiny(), run(), figure(), main(). Loaded when first used."""

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

HOMES = {  # of the names that are no folder of their own: module, and attribute of it
    "config": ("lab.config", ""),
    "experiment": ("lab.experiment", ""),
    "fits": ("lab.fits", ""),
    "fit_exponent": ("lab.fits", "fit_exponent"),
    "find_crossing": ("lab.crossings", "find_crossing"),
    "Sweep": ("sweeps.indexing", "Sweep"),
    "open_sweep": ("sweeps.indexing", "open_sweep"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sims' has no attribute {name!r}; it has: {', '.join(__all__)}.")
    home, attribute = HOMES.get(name, (name, ""))
    module = importlib.import_module(f".{home}", __name__)
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return __all__
