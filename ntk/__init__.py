"""The lazy limit: tangent kernels of the networks that `meanfield` simulates, infinitely wide and finite.

    H(x, x') = ∫ ∇_θφ(θ; x)·∇_θφ(θ; x') dμ(θ)        (THEORY.md, section 3; independent of γ and α)

duals → analytic | empirical → spectrum → dynamics, gaussian_process → bounds, laziness. Names are loaded when first used,
so that `import ntk` costs next to nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import diagnostics as diagnostics  # registers them

_HOME = {
    "analytic": ("kernel", "nngp", "kernel_blocks"),
    "recursion": ("deep",),
    "empirical": ("empirical", "operator", "drift", "cosine_distance", "alignment", "effective_rank"),
    "dynamics": ("KernelFlow",),
    "linearised": ("linearise",),
    "spectrum": ("certificate", "unlearnable", "split", "loss_floor", "mode_times", "Certificate"),
    "gaussian_process": ("regression", "log_marginal_likelihood"),
    "laziness": ("relative_scale", "laziness"),
    "budget": ("budget",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
_SUBMODULES = ("analytic", "bounds", "duals", "dynamics", "gaussian_process", "quadrature", "recursion", "spectrum")

__all__ = sorted([*_MODULE, *_SUBMODULES])

if TYPE_CHECKING:
    from . import analytic as analytic
    from . import bounds as bounds
    from . import duals as duals
    from . import dynamics as dynamics
    from . import gaussian_process as gaussian_process
    from . import quadrature as quadrature
    from . import recursion as recursion
    from . import spectrum as spectrum
    from .analytic import kernel as kernel
    from .analytic import kernel_blocks as kernel_blocks
    from .analytic import nngp as nngp
    from .budget import budget as budget
    from .dynamics import KernelFlow as KernelFlow
    from .empirical import alignment as alignment
    from .empirical import cosine_distance as cosine_distance
    from .empirical import drift as drift
    from .empirical import effective_rank as effective_rank
    from .empirical import empirical as empirical
    from .empirical import operator as operator
    from .gaussian_process import log_marginal_likelihood as log_marginal_likelihood
    from .gaussian_process import regression as regression
    from .laziness import laziness as laziness
    from .laziness import relative_scale as relative_scale
    from .linearised import linearise as linearise
    from .recursion import deep as deep
    from .spectrum import Certificate as Certificate
    from .spectrum import certificate as certificate
    from .spectrum import loss_floor as loss_floor
    from .spectrum import mode_times as mode_times
    from .spectrum import split as split
    from .spectrum import unlearnable as unlearnable


class _Package(ModuleType):
    """`ntk.empirical` and `ntk.laziness` are functions, whichever import has just bound the module of that name here."""

    def __setattr__(self, name: str, value: Any) -> None:
        same_name = _MODULE.get(name) == name and isinstance(value, ModuleType)
        super().__setattr__(name, getattr(value, name) if same_name else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(importlib.import_module(f".{_MODULE[name]}", __name__), name)
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'ntk' has no attribute {name!r}; it has: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
