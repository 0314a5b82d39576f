"""Scientific questions, one folder each, with QUESTION, Config, tiny(), run(), figure() and
main(). What they share: lab (settings, runs, fits), figures, sweeps, and commands, which scripts/
calls. Loaded when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
