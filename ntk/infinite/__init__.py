"""Kernels of infinitely wide networks: two layers, and deep ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["analytic", "recursion"])
