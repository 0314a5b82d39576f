"""Mean-field particle simulation of wide two-layer networks: neurons are particles.

    f(x) = s ∫ a σ(⟨w, x⟩ + b) dμ,  s = α m^(1-γ);      dθ_k/dt = -∇ δF/δμ(θ_k)

state → flow → integrator → observers → trajectory. The public names stand in __init__.pyi and are
loaded when first used, so that `import meanfield` costs next to nothing.
"""

import lazy_loader

from . import moved  # noqa: F401  modules under their earlier names

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
