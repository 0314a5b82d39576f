"""What a backend is, and what it hands about. cpu/backend.py and cuda/backend.py have all of it;
functionals call nothing else.

An array of a backend (`Array`) lies on its device, in an order of its own: NumPy (m, p) on the CPU,
`Held` (p, m) on a GPU. Only the backend that made it reads it. A number (`Number`) may still be
under way when it is returned: float() waits for it, and for all others at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, SupportsFloat, TypeAlias

import numpy as np

from ..formulas.losses import Loss
from ..network import Network

Array: TypeAlias = Any
Samples: TypeAlias = Any  # inputs x as a backend reads them, cut into tiles
Cloud: TypeAlias = Any  # particles with amplitudes, prepared for sums over pairs
Number: TypeAlias = SupportsFloat
Formulas: TypeAlias = tuple[Callable[..., float], Callable[..., None]]  # a potential, its gradient


class Backend(Protocol):
    """Kernels for one network, input dimension d, K outputs and dtype; without a network, what any
    particles need.

    It holds θ on its device, and of n samples inputs, labels, mean features and slopes. No array is
    written to while somebody has it; what falls free is used again, so that a step allocates
    nothing of θ's size. Sums have one order that depends on the shapes alone.
    """

    name: str
    # what of σ has not been compared with its Python function yet: as_written
    unproved: set[str]
    network: Network | None
    dim: int
    outputs: int
    dtype: np.dtype

    def for_network(self, network: Network) -> Backend:
        """A backend of the same device, d, K and dtype for another network; it reads the same
        arrays.
        """

    def upload(self, theta: np.ndarray) -> Array:
        """Rows of the host, (m, p) particles or (n, K) values at samples, on the device."""

    def download(self, theta: Array) -> np.ndarray:
        """The same rows on the host, a copy."""

    def weights(self, mass: np.ndarray) -> Array:
        """m·p_k: near 1, so that float32 loses nothing of uniform masses."""

    def samples(self, x: np.ndarray) -> Samples:
        """x (n, d) as the kernels read it."""

    def labels(self, y: np.ndarray) -> Array:
        """y (n, K), or classes (n,), as the kernels of losses read it; also weights of samples
        (n,).
        """

    def mean_feature(
        self, theta: Array, weight: Array, samples: Samples, keep: bool = False
    ) -> Array:
        """Σ_k p_k φ(θ_k; x_i): (n, K) float64. `keep`: the pull-back of the same θ is about to
        follow.
        """

    def push_forward(self, theta: Array, weight: Array, samples: Samples, move: Array) -> Array:
        """Σ_k p_k ∇_θ φ(θ_k; x_i) · move_k: (n, K) float64, the adjoint of pull_back."""

    def pull_back(self, theta: Array, samples: Samples, slopes: Array, decay: float = 0.0) -> Array:
        """g_k = Σ_i slopes_i · ∇_θ φ(θ_k; x_i) - decay·θ_k on trainable columns, 0 elsewhere: (m,
        p).
        """

    def total(
        self, loss: Loss, features: Array, labels: Array, s: float, weights: Array | None = None
    ) -> Number:
        """Σ_i w_i ℓ(s F_i, y_i) over samples and outputs, of mean features F (n, K); w = 1 unless
        given.
        """

    def slopes(
        self,
        loss: Loss,
        features: Array,
        labels: Array,
        s: float,
        factor: float,
        weights: Array | None = None,
    ) -> Array:
        """factor · w_i ℓ'(s F_i, y_i)/s, (n, K): the derivative of factor · Σ_i w_i ℓ(s F_i,
        y_i)/s² in F.
        """

    def combine(
        self, theta: Array, coefficients: Sequence[float], stages: Sequence[Array]
    ) -> Array:
        """θ + Σ_j coefficients_j · stages_j, a new array; θ itself where there is nothing to add."""

    def diffuse(
        self, theta: Array, dt: float, drift: Array, scale: float, seed: int, step: int
    ) -> Array:
        """θ + dt·drift + scale·ξ, ξ = noise.normals(seed, DIFFUSION, m, p, step) on trainable
        columns, 0 elsewhere.
        """

    def norm(self, array: Array, weight: Array, trainable_only: bool = False) -> Number:
        """The squared L2(μ) norm Σ_k p_k |array_k|² by the fixed tree."""

    def advance(
        self, theta: Array, coefficient: float, stage: Array, weight: Array
    ) -> tuple[Array, Number]:
        """(θ + coefficient · stage, ∫|stage|² dμ): `combine` and `norm` at once."""

    def pair_energy(
        self, potential: Formulas | None, interaction: Formulas | None, self_pairs: bool
    ) -> PairEnergy:
        """The sums over pairs of particles of a pairwise energy."""

    @property
    def gaussian_pairs(self) -> PairSums:
        """The sums over pairs of neurons of a population risk."""

    @property
    def exact_gaussian_pairs(self) -> PairSums:
        """The same in float64, of the same θ."""

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on
        disk.
        """

    def forget(self) -> None:
        """Compile σ again when it is used next: its formulas have changed."""


class PairEnergy(Protocol):
    """The kernels of one potential V or None, one interaction U or None, p coordinates and a dtype.

    Formulas are compared with the Python functions before they are first used; the time of a call
    is O(m²), its memory O(m).
    """

    def velocity(self, theta: Array, weight: Array) -> Array:
        """-∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l): (m, p) on the device."""

    def values(self, theta: Array, weight: Array) -> tuple[np.ndarray, np.ndarray]:
        """V(x_k) and Σ_l p_l U(x_k, x_l): (m,) float64 each, on the host."""

    def compiled(self) -> bool:
        """Whether the kernels are compiled already, in this process or in the cache on disk."""


class PairSums(Protocol):
    """Σ_l A_l K_σ(w_k, w_l) and its gradient in θ_k, K_σ a Gaussian expectation in closed form, of
    one activation, d, K and dtype.

    Particles become clouds once; a cloud acts on another in O(m²) time and O(m) memory.
    """

    def hold(self, array: np.ndarray) -> Array:
        """Particles (m, p) or factors (m,) of the host, as `cloud` takes them."""

    def cloud(self, theta: Array, factor: Array) -> Cloud:
        """Particles [a | w | b] of any float dtype with amplitudes A = factor · a."""

    def act(
        self, cloud: Cloud, sources: Sequence[Cloud], decay: float = 0.0
    ) -> tuple[Array, Array]:
        """(g, v): g_k = Σ_l A_l K(w_k, w_l), v_k = -∇_θ ⟨a_k, g(w_k)⟩ - decay θ_k, 0 on frozen
        columns.
        """

    def potentials(self, potential: Array) -> np.ndarray:
        """g of `act` on the host: (m, K)."""

    def pairing(self, cloud: Cloud, potential: Array) -> Number:
        """Σ_k factor_k ⟨a_k, potential_k⟩."""

    def compiled(self) -> bool:
        """Whether the kernels are compiled already, in this process or in the cache on disk."""
