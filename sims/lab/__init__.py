"""What the experiments share: command line, configuration, runs, fits."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["config", "experiment", "fits"])
