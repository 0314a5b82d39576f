"""What a kernel can learn: spectra, certificates, the dynamics of training, Gaussian processes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["dynamics", "gaussian_process", "spectrum"]
)
