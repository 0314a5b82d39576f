"""One small problem on the CPU backend, beside its slow twin."""

import numpy as np

import meanfield as mf
from meanfield import backends
from meanfield.formulas import activations


class Problem:
    """m particles of unequal masses, n samples, K outputs, a direction u and slopes r; on the CPU
    and for the twins.
    """

    def __init__(
        self,
        rng,
        activation="tanh",
        d=3,
        K=1,
        m=9,
        n=11,
        dtype="float64",
        trainable=("a", "w", "b"),
        masses=True,
    ):
        self.sigma, self.K, self.d, self.dtype = activations.get(activation), K, d, dtype
        self.cpu = backends.make("cpu", mf.Network(activation, trainable=trainable), d, K, dtype)
        mass = rng.uniform(0.5, 1.5, m) if masses else np.ones(m)
        self.mass = mass / mass.sum()
        # float32 is judged as arithmetic, not as storage: the twin sees the numbers that the kernel
        # sees.
        self.theta, self.u = (self.round(rng.normal(size=(m, K + d + 1))) for _ in range(2))
        self.x, self.r = (
            self.round(rng.normal(size=(n, d)) / np.sqrt(d)),
            self.round(rng.normal(size=(n, K))),
        )
        self.on_device = self.cpu.upload(self.theta)
        self.weight, self.samples = self.cpu.weights(self.mass), self.cpu.samples(self.x)

    def round(self, array):
        return array.astype(self.dtype).astype(np.float64)

    def tolerance(self, terms):
        """Relative to Σ|terms|: a sum of `terms` terms loses at most one unit each (blocks of <=
        1024 in the dtype, float64 across), a term itself up to d + 2 for z, 4 for σ and σ'
        (test_elementary.py), 3 for its products and m·p_k.
        """
        return np.finfo(self.dtype).eps / 2 * (min(terms, 1024) + self.d + 10)

    def mean_feature(self):
        return self.cpu.mean_feature(self.on_device, self.weight, self.samples)

    def pull_back(self, decay=0.0):
        return self.cpu.download(self.cpu.pull_back(self.on_device, self.samples, self.r, decay))

    def push_forward(self):
        return self.cpu.push_forward(
            self.on_device, self.weight, self.samples, self.cpu.upload(self.u)
        )
