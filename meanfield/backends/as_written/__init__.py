"""What is compiled compared with what was written: kernels with a user's formulas at a few points,
and the same in plain Python.

The kernels themselves are asked, once in a process for each formula, dtype and device and just
before their first use, so nothing is compiled that is not needed anyway, a constant that went stale
in the cache on disk is seen too, and the same lines serve all devices. Formulas of this package are
not looked at: tests compare them.
"""

from .activations import by_user as by_user
from .activations import prove_activation as prove_activation
from .activations import prove_gaussian_pair as prove_gaussian_pair
from .energies import prove_pairs as prove_pairs
from .features import prove_feature as prove_feature
from .losses import prove_loss as prove_loss
