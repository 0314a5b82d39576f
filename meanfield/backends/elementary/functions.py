"""exp, expm1, log1p, tanh, erf, sin, cos, and special.py's decay, gaussian, mills, angle and
angle_absolute, as scalar code without branches and calls, so that LLVM vectorises the loop around
it.

    elementary.get("tanh", "float32")  ->  a numba dispatcher, inlined into whatever kernel calls it

Largest errors against exact values: 3.3 units in the last place in float32 (4 is promised), 2 in
float64, on the whole line and for results below the normal range (mills: 4 and 5; angle: 3;
angle_absolute: 3 units of the last place of 1); NaN gives NaN, ±inf the limit (sin, cos: NaN). sin
and cos keep this for |x| <= 1e5 (float32) and 1e12 (float64); the absolute error stays below 0.1 up
to 3e6 (1e15), and beyond that they are numbers in [-1, 1] without meaning. exp, expm1, log1p and
sin do not keep the sign of a zero.

Every dispatcher says fastmath=False and means it: numba lets a function that is silent inherit the
flags of the first kernel that calls it, and reassociation undoes the tricks below (cos(0) = 0,
exp(88.6) = inf). Set once, the flags stay with the instructions, so kernels with other flags may
inline these functions: LLVM leaves them alone. fma is asked for by name, not hoped for. (A machine
without one computes the same bits, slowly.)
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from ...checks import hint
from ..llvm import intrinsics
from ..llvm.intrinsics import copysign, exponent, fma, half_turn_sign, odd_sign, polynomial, two_to

# A dispatcher that does not name its flags takes those of the first kernel that calls it. What
# compiled code alone calls goes without what Python and C would call it by: half of the compiler's
# time.
OPTIONS: Any = {
    "error_model": "numpy",
    "fastmath": False,
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
compiled = njit(**OPTIONS)

# Minimax coefficients, highest power first, from a Remez exchange in 60 digits; the error that is
# levelled is the relative one of the function. In brackets its log2 in float32 and float64, before
# the coefficients are rounded.
# fmt: off
COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "expm1": {  # expm1(r) = r + r² P(r), |r| <= ln(2)/2  [-26, -55]
        "float32": (0.0013882485, 0.0083665205, 0.0416672, 0.16666543, 0.49999997),
        "float64": (
            2.5053767938602502e-08, 2.762603790948584e-07, 2.755740757287991e-06, 2.4801505273967386e-05,
            0.00019841269718962702, 0.0013888888931564431, 0.008333333333389578, 0.04166666666657676, 0.16666666666666588,
            0.5000000000000006,
        ),
    },
    "log1p": {  # log1p(f) = f + f² P(f), √½ - 1 <= f <= √2 - 1  [-27, -54]
        "float32": (
            -0.07621818, 0.12904464, -0.13242988, 0.14181821, -0.16609082, 0.20001975, -0.25001583, 0.33333325, -0.49999988,
        ),
        "float64": (
            -0.028300657092514996, 0.06325160050207669, -0.06787077313770289, 0.059735231495513796, -0.060411136791589576,
            0.0662160776580533, -0.07160261755530772, 0.07697710747400532, -0.08332551963789318, 0.09090583286262996,
            -0.10000018190656537, 0.11111122018467326, -0.12499999829705795, 0.14285714087162504, -0.16666666666267516,
            0.20000000001741797, -0.2500000000001236, 0.33333333333328097, -0.4999999999999997,
        ),
    },
    # a float32 has 2 (1 - erfc(a)^⅛) = c a + a P(a), c = (2/√π)/4 rounded; float64 -ln erfc(a) =
    # (2/√π) a + a² P(a);
    "erfc": {
        # 0 <= a <= 4 and 6  [-27, -57]: smooth, where erfc spans 16 decades
        "float32": (
            9.510133e-06, -0.00017701252, 0.0010234035, -0.00036958212, -0.013181097, 0.004178984, 0.13926062, -1.4798572e-08,
        ),
        "float64": (
            7.89893064401303e-16, -3.880414481530952e-14, 8.909809407602786e-13, -1.2696410336490621e-11,
            1.2562856071992507e-10, -9.135730005448027e-10, 5.025472764106218e-09, -2.1075341062952506e-08,
            6.609647701267177e-08, -1.426988498697398e-07, 1.3913008816017147e-07, 3.330957584291259e-07,
            -1.7371246814002387e-06, 2.8303340540590673e-06, 3.4114318938709972e-06, -2.972689854016605e-05,
            6.449338162348041e-05, 2.5877984690322682e-05, -0.0005901253648619559, 0.0016962063446963175, -0.000209194688704407,
            -0.01912844700565526, 0.10277260330182043, 0.6366197723675828,
        ),
    },
    "mills above": {  # mills(t) = P(t)/Q(t), 0 <= t <= 10 and 13  [-28, -59]: P …
        "float32": (0.0036858437, 0.037682664, 0.17438853, 0.42618248, 0.5),
        "float64": (
            8.205881294770556e-07, 2.4037419707925516e-05, 0.00033997885395289923, 0.0030184991635745476, 0.018447806403315597,
            0.0803483152103314, 0.2497717321302489, 0.5373615116015755, 0.7346953593131182, 0.5,
        ),
    },
    "mills below": {  # … and Q
        "float32": (0.00923878, 0.09446807, 0.44613442, 1.1654835, 1.6502497, 1.0),
        "float64": (
            2.0569094079926956e-06, 6.025287579247217e-05, 0.0008542575228976104, 0.007626508035803376, 0.047089884705863484,
            0.2088490172697174, 0.6706442162724569, 1.5338222440499898, 2.3837469637496422, 2.267275279429102, 1.0,
        ),
    },
    "sin": {  # sin(r) = r + r³ P(r²), |r| <= π/4  [-27, -57]
        "float32": (-0.00019515152, 0.008332159, -0.16666655),
        "float64": (
            1.5896164776704403e-10, -2.5050746667600306e-08, 2.7557313614610873e-06, -0.00019841269829570685,
            0.008333333333322096, -0.1666666666666663,
        ),
    },
    "cos": {  # cos(r) = 1 - r²/2 + r⁴ P(r²), |r| <= π/4  [-33, -63]
        "float32": (2.4433006e-05, -0.0013887315, 0.041666646),
        "float64": (
            -1.1358491849358431e-11, 2.0875700000018323e-09, -2.755731417326208e-07, 2.4801587288831392e-05,
            -0.0013888888888873025, 0.041666666666666595,
        ),
    },
    "angle": {  # atan(h) = h + h³ P(h²), |h| <= 1  [-29, -58]
        "float32": (
            -0.001793623, 0.010914612, -0.031177856, 0.057957605, -0.08403451, 0.10952186, -0.14264242, 0.19998549, -0.333333,
        ),
        "float64": (
            1.3225091287776703e-05, -0.00015216100429936842, 0.0008313224035553237, -0.00288491978648609, 0.007196505307900893,
            -0.01390056245769812, 0.021984855239480912, -0.029903859558788715, 0.03664191130197088, -0.04219178960658029,
            0.047223222133859086, -0.052535185504068244, 0.05880527813789362, -0.06666404057407956, 0.0769227983926991,
            -0.09090907002989175, 0.11111111007025994, -0.14285714282575102, 0.1999999999995146, -0.3333333333333307,
        ),
    },
    # asin t = π/4 + u P(u²), u = t - √(1-t²), 0 <= t <= 1  [-24, -54, absolute]
    "angle_absolute": {
        "float32": (0.0013058606, -0.0018334651, 0.0034608745, 0.0029726604, 0.013481457, 0.058903314, 0.7071074),
        "float64": (
            4.633258612240879e-06, -3.334591784142964e-05, 0.00011432894379561908, -0.0002408803617738804, 0.00034895483063156256,
            -0.0003622503002971441, 0.0002837555725999129, -0.00015810981969220135, 8.576419803827076e-05, 7.856533362204768e-06,
            8.312131839447854e-05, 0.0001906345431855763, 0.0004945006437392563, 0.0013426924646688235, 0.0039459090796544844,
            0.013258252124602318, 0.0589255650992222, 0.707106781186546,
        ),
    },
}
# fmt: on

# A constant in parts, each the rounded rest: with an fma, x - n·(first part) is exact, the others
# only correct it.
PARTS: dict[str, dict[str, tuple[float, ...]]] = {
    "ln2": {
        "float32": (0.6931472, -1.9046542e-09),
        "float64": (0.6931471805599453, 2.3190468138462996e-17),
    },
    "half_pi": {
        "float32": (1.5707964, -4.371139e-08, -1.7151245e-15),
        "float64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    },
    "two_over_sqrt_pi": {
        "float32": (1.1283792, -5.8635383e-08),
        "float64": (1.1283791670955126, 1.533545961316588e-17),
    },
}


def _family(dtype: str) -> dict[str, Callable[..., Any]]:
    """The functions of one dtype. Constants are cast once: a Python float in float32 code would
    make it float64.
    """
    single = dtype == "float32"
    real = np.float32 if single else np.float64
    mantissa, bias = (23, 127) if single else (52, 1023)

    def cast(*values: float) -> tuple[Any, ...]:
        return tuple(real(value) for value in values)

    minus_zero, quarter, half, one, two, inf, nan = cast(-0.0, 0.25, 0.5, 1, 2, math.inf, math.nan)
    log2e, two_over_pi, quarter_pi = cast(1 / math.log(2), 2 / math.pi, math.pi / 4)
    magic = 1.5 * 2.0**mantissa
    round_, round_exponent, round_lower, four_over = cast(
        magic, magic + bias, magic + bias - 1, magic + bias + 2
    )
    round_raised, lower = cast(magic + bias + 64, 2.0**-64)
    unit = real(2.0**mantissa + bias)
    ln2_0, ln2_1 = cast(*PARTS["ln2"][dtype])
    angle_0, angle_1, angle_2 = cast(*PARTS["half_pi"][dtype])
    slope_0, slope_1 = cast(*PARTS["two_over_sqrt_pi"][dtype])
    expm1_p, log1p_p, erfc_p, above_p, below_p, sin_p, cos_p, angle_p, arc_p = (
        cast(*table[dtype]) for table in COEFFICIENTS.values()
    )
    # Beyond these the rounded result no longer changes: exp is 0 or inf, expm1 -1, tanh and erf 1.
    exp_low, exp_high, expm1_low, tanh_high, erf_high = cast(
        *((-105, 89, -20, 10, 4) if single else (-746, 710, -40, 20, 6))
    )
    gaussian_high, mills_high = cast(*((15, 10) if single else (39, 13)))
    # a little above π/4: keeps arguments past the range of the reduction in [-1, 1]
    angle_limit = real(0.79)

    def exp(x):
        """eˣ = 2ⁿ eʳ, x = n ln 2 + r; 2ⁿ in two factors, for results that overflow or lie below the
        normal range.
        """
        x = exp_low if x < exp_low else x
        x = exp_high if x > exp_high else x
        n = fma(x, log2e, round_) - round_
        r = fma(-n, ln2_1, fma(-n, ln2_0, x))
        t = fma(n, half, round_exponent)
        rest = n - (t - round_exponent)
        return (
            (fma(r * r, polynomial(r, expm1_p), r) + one)
            * two_to(t)
            * two_to(rest + round_exponent)
        )

    @compiled
    def half_expm1(x, low):
        """½ expm1(x + low) = s expm1(r) + (s - ½), s = 2ⁿ⁻¹; half of it, for expm1 may be finite
        where 2ⁿ is not.

        float64 carries the rounding error of r along, to stay within 2 units; float32 has no need,
        and ignores low.
        """
        t = fma(x, log2e, round_lower)
        n = t - round_lower
        s = two_to(t)
        high = fma(-n, ln2_0, x)
        r = fma(-n, ln2_1, high)
        if single:
            return fma(s, fma(r * r, polynomial(r, expm1_p), r), s - half)
        lost = fma(-n, ln2_1, high - r) + low
        return fma(s, r, s - half) + s * fma(r * r, polynomial(r, expm1_p), fma(r, lost, lost))

    @compiled
    def small_expm1(x):
        """expm1(x) of float32 for |x| <= 20, where n ln 2 rounded once is near enough: s expm1(r) +
        (s - 1), s = 2ⁿ.
        """
        t = fma(x, log2e, round_exponent)
        n = t - round_exponent
        s = two_to(t)
        r = fma(-n, ln2_0, x)
        return fma(s, fma(r * r, polynomial(r, expm1_p), r), s - one)

    def expm1(x):
        x = expm1_low if x < expm1_low else x
        x = exp_high if x > exp_high else x
        return two * half_expm1(x, minus_zero)

    def log1p(x):
        """ln(1 + x) = n ln 2 + log1p(f), f = 2⁻ⁿ(1 + x) - 1 = 2⁻ⁿ x + (2⁻ⁿ - 1), rounded once; 2⁻ⁿ
        = ¼·2²⁻ⁿ may be subnormal.
        """
        n = exponent(one + x) - unit
        s = quarter * two_to(four_over - n)
        f = fma(s, x, s - one)
        y = fma(n, ln2_0, f + fma(f * f, polynomial(f, log1p_p), n * ln2_1))
        y = x if x == inf else y
        edge = -inf if x == -one else nan
        return edge if x <= -one else y

    def tanh(x):
        """tanh |x| = g/(g + 1), g = ½ expm1(2|x|). float64 adds what the rounded sum and quotient
        lost; float32 has 2g for g.
        """
        a = abs(x)
        a = tanh_high if a > tanh_high else a
        if single:
            g = small_expm1(a + a)
            return copysign(g / (g + two), x)
        g = half_expm1(a + a, minus_zero)
        total = g + one
        inverse = one / total
        y = g * inverse
        lost = fma(-y, total, g) - y * ((one - total) + g)
        return copysign(fma(lost, inverse, y), x)

    def erf(x):
        """erf |x| = 1 - (1-y)⁸ of a y(|x|), each square y <- y (2 - y) without cancellation;
        float64 is -expm1(-q), q = -ln erfc.

        y and q are smooth on [0, ∞), and their relative error at 0 is that of erf, which falls to
        nothing as erf nears 1.
        """
        a = abs(x)
        a = erf_high if a > erf_high else a
        if single:
            # 2y, for numbers below the normal range
            u = fma(a, quarter * slope_0, a * polynomial(a, erfc_p))
            y = fma(-quarter * u, u, u)
            y = fma(-y, y, y + y)
            return copysign(fma(-y, y, y + y), x)
        first = slope_0 * a
        tail = fma(a * a, polynomial(a, erfc_p), fma(slope_1, a, fma(slope_0, a, -first)))
        q = first + tail
        return copysign(-two * half_expm1(-q, (q - first) - tail), x)

    def decay(t):
        """e⁻ᵗ = 2ⁿ eʳ for t >= 0. 2ⁿ⁺⁶⁴ eʳ is in the normal range, and rounded once more where the
        result is not.
        """
        t = -exp_low if t > -exp_low else t
        k = fma(t, -log2e, round_raised)
        n = k - round_raised
        r = fma(-n, ln2_1, fma(-n, ln2_0, -t))
        s = two_to(k)
        return fma(s, fma(r * r, polynomial(r, expm1_p), r), s) * lower

    decaying = compiled(decay)

    def gaussian(z):
        """e^(-z²/2) with the rounding error of z² put right to first order: it counts z²/2 times."""
        a = abs(z)
        a = gaussian_high if a > gaussian_high else a
        square = a * a
        y = decaying(half * square)
        return fma(-half * fma(a, a, -square), y, y)

    def mills(t):
        t = mills_high if t > mills_high else t
        return polynomial(t, above_p) / polynomial(t, below_p)

    def angle(sine, cosine):
        """2 atan(sine/(1 + cosine)): the half angle's tangent is at most 1."""
        h = sine / (one + cosine)
        return two * fma(h * (h * h), polynomial(h * h, angle_p), h)

    def angle_absolute(sine, cosine):
        """±(π/4 + asin(u/√2)) with u = |sine| - cosine, which is in [-1, 1]."""
        u = abs(sine) - cosine
        return copysign(fma(u, polynomial(u * u, arc_p), quarter_pi), sine)

    @compiled
    def rotated(x, turns):
        """sin(x + turns·π/2): x = n π/2 + r, then ±sin(r) or ±cos(r) by the last two bits of n +
        turns.
        """
        t = fma(x, two_over_pi, round_)
        n = t - round_
        r = fma(-n, angle_2, fma(-n, angle_1, fma(-n, angle_0, x)))
        r = angle_limit if r > angle_limit else r
        r = -angle_limit if r < -angle_limit else r
        square = r * r
        sine = fma(r * square, polynomial(square, sin_p), r)
        cosine = fma(square * square, polynomial(square, cos_p), fma(square, -half, one))
        t = t + turns
        return (cosine if odd_sign(t) < minus_zero else sine) * half_turn_sign(t)

    def sin(x):
        return rotated(x, minus_zero)

    def cos(x):
        return rotated(x, one)

    functions = (
        exp,
        decay,
        expm1,
        log1p,
        tanh,
        erf,
        gaussian,
        mills,
        sin,
        cos,
        angle,
        angle_absolute,
    )
    return {function.__name__: function for function in functions}


TABLE: dict[tuple[str, str], Callable[..., Any]] = {
    (name, dtype): function
    for dtype in ("float32", "float64")
    for name, function in _family(dtype).items()
}


@functools.cache
def get(name: str, dtype: str) -> Any:
    """The numba dispatcher of that function; it takes and returns scalars of that dtype, and is
    always inlined.
    """
    if (name, dtype) not in TABLE:
        names, dtypes = (list(dict.fromkeys(key[i] for key in TABLE)) for i in (0, 1))
        known = f"{', '.join(names)} in {' and '.join(dtypes)}"
        raise ValueError(
            f"no elementary function {name!r} in {dtype!r}.{hint(name, names)} Known: {known}."
        )
    return compiled(TABLE[name, dtype])


@functools.cache
def version() -> str:
    """sha256 of this file and of llvm/intrinsics.py: part of the key of every cached kernel, so
    that no edit here is missed.
    """
    files = Path(__file__), Path(intrinsics.__file__)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
