"""The radial equation: two isotropic Gaussians told apart by neurons that are isotropic themselves,
as a risk in one dimension.
"""

from __future__ import annotations

import math
from math import acos, cos, erf, exp, sin

import numpy as np

from ..checks import is_integer, is_number
from ..formulas.activations import Activation
from ..functionals.risk import EmpiricalRisk
from ..network import Network

# σ of the paper's experiment: LOW for z <= START, HIGH for z >= STOP, linear between.
LOW, HIGH, START, STOP = -2.5, 7.5, 0.5, 1.5
RISE = (HIGH - LOW) / (STOP - START)
NODES = 24  # of |x|, of each of the two Gaussians, in finite dimension

INV_SQRT_2PI = 0.3989422804014327
INV_SQRT_2 = 0.7071067811865476


def isotropic(delta: float, dim: int | None = None) -> EmpiricalRisk:
    """The risk of telling y = +1, x ~ N(0, (1+Δ)² I_d) from y = -1, x ~ N(0, (1-Δ)² I_d), each with
    probability ½, by neurons σ(⟨θ, x⟩) whose law is isotropic: it depends on the law of r = |θ|.

        f(x) = ∫ κ_d(r |x|/√d) dμ(r),   κ_d(u) = E σ(√d u ω_1), ω uniform on the sphere,   κ_∞(u) = E σ(u G)
        R = ½ E (y - f(x))²

    An isotropic μ stays isotropic, and the law of r follows a continuity equation in one dimension:
    that of R as a function of it. As d → ∞, |x|/√d becomes 1 ± Δ: two samples. At finite d they are
    Gauss–Laguerre nodes of |x|², with weights. Particles follow it by mf.RK4, the density by
    mf.limits.FINITE_VOLUMES from mf.limits.line(low, high, cells, a=1.0), low >= 0.

    Parameters
    ----------
    delta : Δ in (0, 1).
    dim : d >= 2, or None for d = ∞.

    Returns
    -------
    The mf.EmpiricalRisk of a network with one input, |x|/√d, that trains w = r alone; a = 1, b = 0.
    Half of the paper's R. No file holds κ_d: mf.resume(path, flow=…).

    Raises
    ------
    ValueError : for Δ outside (0, 1), for d < 2.

    Notes
    -----
    Mei, Montanari, Nguyen (2018), A mean field view of the landscape of two-layer neural networks,
    PNAS 115, on centred isotropic Gaussians; σ = -2.5 for z <= .5, 7.5 for z >= 1.5, linear between.
    TRUTHS.md, 3.10: below Δ∞ = .4742190 one atom is optimal, above it R falls to 0.
    """
    if not is_number(delta) or not 0 < delta < 1:
        raise ValueError(f"delta must be a number in (0, 1); got {delta!r}.")
    if dim is not None and not (is_integer(dim) and dim >= 2):
        raise ValueError(f"dim must be an integer >= 2, or None for d = ∞; got {dim!r}.")
    sides = np.array([1.0 + delta, 1.0 - delta])
    if dim is None:
        network = Network(Activation("isotropic", _mean, _slope), trainable=("w",))
        return EmpiricalRisk(network, sides[:, None], np.array([1.0, -1.0]))

    squares, weights = _laguerre(NODES, dim / 2 - 1)  # of |z|²/2, z ~ N(0, I_d)
    lengths = np.sqrt(2.0 * squares / dim)
    network = Network(_finite(int(dim)), trainable=("w",))
    x, y = np.outer(sides, lengths).reshape(-1, 1), np.repeat([1.0, -1.0], NODES)
    return EmpiricalRisk(network, x, y, weights=np.tile(weights / weights.sum(), 2))


def _laguerre(nodes: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights, of sum 1, of Gauss's rule for x^α e^(-x), after Golub and Welsch: the
    eigenvalues of the Jacobi matrix and the squares of the eigenvectors' first components. No Γ(α),
    which overflows from α = 171 on.
    """
    from scipy.linalg import eigh_tridiagonal

    k = np.arange(nodes)
    points, vectors = eigh_tridiagonal(2 * k + 1 + alpha, np.sqrt(k[1:] * (k[1:] + alpha)))
    return points, vectors[0] ** 2


def _above(u, c):
    """E (uG - c)_+, G standard normal, u > 0, c > 0."""
    k = c / u
    return u * INV_SQRT_2PI * exp(-0.5 * k * k) - 0.5 * c * (1.0 - erf(k * INV_SQRT_2))


def _mean(u):
    size = abs(u)
    if size < 1e-150:
        return LOW + 0.0 * u
    return LOW + RISE * (_above(size, START) - _above(size, STOP))


def _slope(u):
    """d/du E (uG - c)_+ = φ(c/u); odd in u."""
    size = abs(u)
    if size < 1e-150:
        return 0.0 * u
    j, k = START / size, STOP / size
    rise = RISE * INV_SQRT_2PI * (exp(-0.5 * j * j) - exp(-0.5 * k * k))
    return -rise if u < 0.0 else rise


def _finite(d: int) -> Activation:
    """κ_d. ω_1 has the density C (1 - t²)^((d-3)/2); with A = √d u and k = c/A < 1

    E (A ω_1 - c)_+ = A C (1 - k²)^((d-1)/2)/(d - 1) - c P(ω_1 > k),   P = C S_(d-2)(acos k),
    S_n(φ) = ∫_0^φ sin^n = -cos φ sin^(n-1) φ/n + (n - 1)/n S_(n-2)(φ).
    """
    root, power = math.sqrt(d), 0.5 * (d - 1)
    scale = math.exp(math.lgamma(d / 2) - math.lgamma((d - 1) / 2)) / math.sqrt(math.pi)
    tail = scale / (d - 1)
    first = 2 + d % 2  # of the recursion, which starts at S_0 or S_1
    even = 1.0 - d % 2

    def beyond(k):
        phi = acos(k)
        c, s = cos(phi), sin(phi)
        found = even * phi + (1.0 - even) * (1.0 - c)
        for n in range(first, d - 1, 2):
            found = (-c * s ** (n - 1) + (n - 1.0) * found) / n
        return scale * found

    def above(u, c):
        A = root * u
        k = c / A
        if k >= 1.0:
            return 0.0 * u
        return A * tail * (1.0 - k * k) ** power - c * beyond(k)

    def mean(u):
        size = abs(u)
        if size < 1e-150:
            return LOW + 0.0 * u
        return LOW + RISE * (above(size, START) - above(size, STOP))

    def part(size, c):
        k = c / (root * size)
        return 0.0 * size if k >= 1.0 else root * tail * (1.0 - k * k) ** power

    def slope(u):
        size = abs(u)
        if size < 1e-150:
            return 0.0 * u
        rise = RISE * (part(size, START) - part(size, STOP))
        return -rise if u < 0.0 else rise

    return Activation(f"isotropic_{d}", mean, slope)
