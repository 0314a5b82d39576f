"""The lazy limit: tangent kernels of the networks that `meanfield` simulates, infinitely wide and
finite.

    H(x, x') = ∫ ∇_θφ(θ; x)·∇_θφ(θ; x') dμ(θ)        (THEORY.md, section 3; independent of γ and α)

gaussian → infinite | finite → learning → theorems, runs. The public names stand in __init__.pyi and
are loaded when first used, so that `import ntk` costs next to nothing.
"""

import lazy_loader

from .runs import diagnostics  # noqa: F401  registers them

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
