"""Mean-field particle simulation of wide two-layer networks: neurons are particles.

    f(x) = s ∫ a σ(⟨w, x⟩ + b) dμ,  s = α m^(1-γ);      dθ_k/dt = -∇ δF/δμ(θ_k)

state → flow → integrator → observers → trajectory. Names are loaded when first used, so that
`import meanfield` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "activations": ("Activation", "leaky_relu"),
    "losses": ("Loss",),
    "scaling": ("Scaling", "MEAN_FIELD", "NTK"),
    "network": ("Network",),
    "state": ("State",),
    "initial": ("InitialLaw",),
    "functionals.risk": ("EmpiricalRisk",),
    "functionals.pairwise": ("PairwiseEnergy",),
    "functionals.population": ("PopulationRisk",),
    "flow": ("GradientFlow",),
    "integrators": ("EULER", "HEUN", "RK4", "RungeKutta", "Adaptive"),
    "schedules": ("every", "evenly", "at_steps", "at_times", "log_spaced"),
    "observers": ("Recorder", "Series", "StopOnNonFinite"),
    "events": ("Events",),
    "simulation": ("simulate", "resume", "Interrupted", "Diverged"),
    "trajectory": ("Trajectory",),
    "w2_beside": ("W2",),
    "couplings": ("NotConverged",),
    "wasserstein": ("w2", "w2_interval", "displacement", "SlowSolve"),
    "comparison": ("compare",),
    "matching": ("match", "interpolate"),
    "diagnostics.computing": ("diagnose",),
    "diagnostics.registry": ("register_diagnostic",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
_SUBMODULES = ("data", "noise", "tangent")

__all__ = sorted([*_MODULE, *_SUBMODULES])

if TYPE_CHECKING:
    from . import data as data
    from . import noise as noise
    from . import tangent as tangent
    from .activations import Activation as Activation
    from .activations import leaky_relu as leaky_relu
    from .comparison import compare as compare
    from .couplings import NotConverged as NotConverged
    from .diagnostics.computing import diagnose as diagnose
    from .diagnostics.registry import register_diagnostic as register_diagnostic
    from .events import Events as Events
    from .flow import GradientFlow as GradientFlow
    from .functionals.pairwise import PairwiseEnergy as PairwiseEnergy
    from .functionals.population import PopulationRisk as PopulationRisk
    from .functionals.risk import EmpiricalRisk as EmpiricalRisk
    from .initial import InitialLaw as InitialLaw
    from .integrators import EULER as EULER
    from .integrators import HEUN as HEUN
    from .integrators import RK4 as RK4
    from .integrators import Adaptive as Adaptive
    from .integrators import RungeKutta as RungeKutta
    from .losses import Loss as Loss
    from .matching import interpolate as interpolate
    from .matching import match as match
    from .network import Network as Network
    from .observers import Recorder as Recorder
    from .observers import Series as Series
    from .observers import StopOnNonFinite as StopOnNonFinite
    from .scaling import MEAN_FIELD as MEAN_FIELD
    from .scaling import NTK as NTK
    from .scaling import Scaling as Scaling
    from .schedules import at_steps as at_steps
    from .schedules import at_times as at_times
    from .schedules import evenly as evenly
    from .schedules import every as every
    from .schedules import log_spaced as log_spaced
    from .simulation import Diverged as Diverged
    from .simulation import Interrupted as Interrupted
    from .simulation import resume as resume
    from .simulation import simulate as simulate
    from .state import State as State
    from .trajectory import Trajectory as Trajectory
    from .w2_beside import W2 as W2
    from .wasserstein import SlowSolve as SlowSolve
    from .wasserstein import displacement as displacement
    from .wasserstein import w2 as w2
    from .wasserstein import w2_interval as w2_interval


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(importlib.import_module(f".{_MODULE[name]}", __name__), name)
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'meanfield' has no attribute {name!r}; it has: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return __all__
