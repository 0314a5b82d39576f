"""The limit m → ∞ without particles, at γ = 1: densities on a line or a circle by finite volumes;
and what closes in a few numbers, as ordinary differential equations.
"""

from .cells import Density, circle, density, line
from .finite_volumes import FINITE_VOLUMES, FiniteVolumes
from .isotropic import isotropic
from .order_parameters import OrderParameters, Overlaps
from .overlays import Overlay, overlay
from .quadratic import Quadratic

__all__ = [
    "FINITE_VOLUMES", "Density", "FiniteVolumes", "OrderParameters", "Overlaps", "Overlay", "Quadratic",
    "circle", "density", "isotropic", "line", "overlay",
]  # fmt: skip
