"""Mean-field particle simulation of wide two-layer networks: neurons are particles.

    f(x) = s ∫ a σ(⟨w, x⟩ + b) dμ,  s = α m^(1-γ);      dθ_k/dt = -∇ δF/δμ(θ_k)

state → flow → method → observers → trajectory. The public names stand in __init__.pyi and are
loaded when first used, so that `import meanfield` costs next to nothing.
"""

import lazy_loader

from . import old_names  # noqa: F401  modules under their earlier names

__version__ = "0.1.0"

# As lazy_loader.attach_stub, without ast: its import would take most of the time of this one.
_homes: dict[str, list[str]] = {}
with open(f"{__path__[0]}/__init__.pyi", encoding="utf-8") as _stub:
    for _line in _stub:
        if _line.startswith("from ."):
            _, _home, _, _name, *_ = _line.split()  # from .home import name as name
            _homes.setdefault(_home[1:], []).append(_name)

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, _homes.pop(""), _homes)
