"""Published theorems as checks: hypotheses, what they promise, what a run did."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["bounds"])
