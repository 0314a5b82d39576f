"""Gaussian expectations E[σ(u)σ(v)] and E[σ'(u)σ'(v)]: closed forms, quadrature, the sphere."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["duals", "quadrature"])
