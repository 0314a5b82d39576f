"""Scientific questions as scripts: each folder has QUESTION, Config, tiny(), run(), figure(), main(). Loaded when first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
