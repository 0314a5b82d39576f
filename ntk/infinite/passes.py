"""Fused elementwise passes over kernel matrices: the duals of relu and erf, once, or through all
layers of a deep network.

A row of the matrix stays in the cache while the layers pass over it (a loop over layers around a
loop over samples: the other way round does not vectorise). Entries are independent, so the bits do
not depend on the number of threads. The loops are kernels/passes.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from meanfield.backends import compiler
from meanfield.backends.cpu.sharing import run
from meanfield.backends.llvm.intrinsics import polynomial
from meanfield.formulas.activations import Activation

from ..gaussian import duals

BLOCK_ENTRIES = 2**20  # of the matrix in work at once, where NumPy makes temporary arrays
WORK = 40  # operations of an entry
SMALL = 2**14  # below so many entries NumPy is as quick, and nothing needs compiling
INV_2PI, HALF_PI, PI = 0.15915494309189535, 1.5707963267948966, 3.141592653589793
TWO_OVER_PI, FOUR_OVER_PI = 0.6366197723675814, 1.2732395447351628

# asin(√z)/√z = 1 + z P(z), 0 <= z <= ¼: interpolation in Chebyshev's points in 60 digits, relative
# error of asin 2^-25.8, 2^-54.
ARCSIN = {
    "float32": (
        0.03808502480387688,
        0.026554541662335396,
        0.045001380145549774,
        0.07498855143785477,
        0.16666673123836517,
    ),
    "float64": (
        *(
            0.028169218060881414,
            -0.010749050339697808,
            0.01603551434914882,
            0.0078029494773533175,
            0.011875494382636922,
        ),
        *(
            0.013929652902326633,
            0.017355259955786323,
            0.02237204763174451,
            0.03038194736709848,
            0.044642857103423646,
        ),
        *(0.07500000000020764, 0.1666666666666665),
    ),
}


def arc_functions(dtype: str) -> tuple[Callable, Callable]:
    """(arcsin, arccos) on [-1, 1] as formulas that vectorise, within 2 units of the last place
    (arccos of π near -1).

    |x| <= ½: asin x = x + x³ P(x²);  |x| > ½: acos |x| = 2 asin √((1 - |x|)/2). The sums leave both exact at ±1.
    """
    coefficients = ARCSIN[dtype]

    def arcsin(x):
        a = abs(x)
        z = 0.5 * (1.0 - a)
        root = sqrt(z)
        z = z if a > 0.5 else a * a
        s = root if a > 0.5 else a
        y = s + s * z * polynomial(z, coefficients)
        y = HALF_PI - (y + y) if a > 0.5 else y
        return -y if x < 0.0 else y

    def arccos(x):
        a = abs(x)
        z = 0.5 * (1.0 - a)
        root = sqrt(z)
        z = z if a > 0.5 else a * a
        s = root if a > 0.5 else a
        y = s + s * z * polynomial(z, coefficients)
        y = y + y if a > 0.5 else HALF_PI - y
        return PI - y if x < 0.0 else y

    return arcsin, arccos


def _relu(dtype: str) -> Callable:
    arccos = arc_functions(dtype)[1]

    def relu(c, p1, g1, p2, g2):
        """√(q1q2) (sin ψ + (π-ψ) cos ψ)/2π, (π-ψ)/2π; p = √q, g = 1/√q. The slope is 0 where q = 0,
        as σ'(0).
        """
        rho = c * (g1 * g2)
        rho = 1.0 if rho > 1.0 else rho
        rho = -1.0 if rho < -1.0 else rho
        opposite = arccos(-rho)
        scale = p1 * p2
        value = scale * (sqrt((1.0 - rho) * (1.0 + rho)) + opposite * rho) * INV_2PI
        return value, 0.0 if scale == 0.0 else opposite * INV_2PI

    return relu


def _erf(dtype: str) -> Callable:
    arcsin = arc_functions(dtype)[0]

    def erf(c, p1, g1, p2, g2):
        """(2/π) asin(2c g1 g2), (4/π)/√(p1²p2² - 4c²); p = √(1 + 2q), g = 1/p. The root is at least
        1.
        """
        double, scale = c + c, p1 * p2
        rest = (scale - double) * (scale + double)
        rest = 1.0 if rest < 1.0 else rest
        sine = double * (g1 * g2)
        sine = 1.0 if sine > 1.0 else sine
        sine = -1.0 if sine < -1.0 else sine
        return TWO_OVER_PI * arcsin(sine), FOUR_OVER_PI / sqrt(rest)

    return erf


FORMULAS = {"relu": _relu, "erf": _erf}


def covers(sigma: Activation, entries: int, *variances: np.ndarray) -> bool:
    """Whether there is a fused pass for this activation and these variances, and enough to do for
    it.

    That of erf forms the product of two variances: it is not for large ones.
    """
    if (
        sigma.name not in FORMULAS
        or entries < SMALL
        or duals.closed_form(sigma) is not duals.TABLE[sigma.name]
    ):
        return False
    return sigma.name == "relu" or all(q.max(initial=0.0) <= duals.LARGE for q in variances)


def compiled(sigma: Activation, dtype: np.dtype) -> Any:
    """The module with one_layer and all_layers for this activation and dtype."""
    used = {"dual": FORMULAS[sigma.name](dtype.name)}
    return compiler.kernels(f"{__package__}.kernels.passes", dtype.name, used)


def factors(sigma: Activation, q: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """(p, g) of variances q: p = √q for relu, √(1 + 2q) for erf, g = 1/p, and 0 where p is."""
    p = np.sqrt(q if sigma.name == "relu" else 1.0 + 2.0 * q)
    with np.errstate(divide="ignore"):
        g = np.where(p > 0.0, 1.0 / p, 0.0)
    return p.astype(dtype), g.astype(dtype)


def one_layer(sigma: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> duals.Pair:
    """The duals for variances q1 (n1,), q2 (n2,) and covariances c (n1, n2)."""
    if not covers(sigma, c.size, q1, q2):
        return duals.unchecked(sigma, q1[:, None], q2[None, :], c)
    values, slopes = np.empty_like(c), np.empty_like(c)
    given = *factors(sigma, q1, c.dtype), *factors(sigma, q2, c.dtype), values, slopes
    run(compiled(sigma, c.dtype).one_layer, len(c), WORK * c.size, c, *given)
    return duals.Pair(values, slopes)


def all_layers(
    sigma: Activation,
    covariance: np.ndarray,
    q1: np.ndarray,
    q2: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    triangle: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Σ^h = scale_h E[σσ] + shift_h, Θ^h = Σ^h + scale_h Θ^{h-1} E[σ'σ'], from Σ⁰ = Θ⁰ = covariance
    (n1, n2) to the last layer.

    q1 (L, n1), q2 (L, n2): the variances that enter each layer; scale, shift (L,). THEORY.md,
    section 3. Overwrites covariance. triangle: only entries on and right of the diagonal are asked
    for.
    """
    dtype = covariance.dtype
    theta = covariance.copy()
    if covers(sigma, covariance.size, q1, q2):
        fixed = (triangle, scale.astype(dtype), shift.astype(dtype))
        given = *fixed, *factors(sigma, q1, dtype), *factors(sigma, q2, dtype)
        work = WORK * covariance.size * len(scale)
        run(compiled(sigma, dtype).all_layers, len(theta), work, covariance, theta, *given)
        return covariance, theta
    step = max(1, BLOCK_ENTRIES // covariance.shape[1])
    for first in range(0, len(covariance), step):
        rows, columns = slice(first, first + step), slice(first if triangle else 0, None)
        s, t = covariance[rows, columns], theta[rows, columns]
        for h in range(len(scale)):
            v1, v2 = q1[h, rows, None].astype(dtype), q2[h, None, columns].astype(dtype)
            largest = np.sqrt(v1) * np.sqrt(v2)
            value, slope = duals.unchecked(sigma, v1, v2, np.clip(s, -largest, largest))
            s[:] = dtype.type(scale[h]) * value + dtype.type(shift[h])
            t[:] = s + dtype.type(scale[h]) * slope * t
    return covariance, theta
