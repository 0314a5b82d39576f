"""The fast elementary functions against 40-digit values: accuracy in units of the last place,
limits, vectorisation.
"""

import platform
import re

import llvmlite.binding
import mpmath
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from scipy import special

from meanfield.backends import compiler
from meanfield.backends.elementary import functions
from meanfield.formulas import activations

NAMES = ["exp", "decay", "expm1", "log1p", "tanh", "erf", "gaussian", "mills", "sin", "cos"]
DTYPES = ["float32", "float64"]
EVERY = [(name, dtype) for name in NAMES for dtype in DTYPES]
ULPS = {"float32": 4, "float64": 2}  # what the module promises …
MILLS_ULPS = 5  # … and of this one
ANGLES = ["angle", "angle_absolute"]  # of two arguments
SINE_RANGE = {"float32": 1e5, "float64": 1e12}
# all that a caller may have; the engine's kernels go without reassoc
FAST = {
    "reassoc",
    "contract",
    "nsz",
    "arcp",
}


def compiled(function, fastmath):
    @njit(error_model="numpy", fastmath=fastmath)
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    def call(x):
        y = np.empty_like(x)
        loop(x, y)
        return y

    call.loop = loop
    return call


@pytest.fixture(scope="module")
def kernel():
    """(name, dtype) -> array function: the function inlined in a loop compiled with the engine's
    fast-math flags.
    """
    cache = {}

    def get(name, dtype):
        if (name, dtype) not in cache:
            cache[name, dtype] = compiled(functions.get(name, dtype), FAST)
        return cache[name, dtype]

    return get


def neighbours(centres, dtype, steps=6):
    """The floats within `steps` units of each centre, both signs."""
    integer = {"float32": np.int32, "float64": np.int64}[dtype]
    bits = np.abs(np.asarray(centres, dtype)).view(integer)[:, None] + np.arange(
        -steps, steps + 1, dtype=integer
    )
    around = bits[bits >= 0].view(dtype)
    return np.concatenate([around, -around])


def seams(name, dtype):
    """Where a formula changes: ends of the reduced intervals, saturation, overflow, the smallest
    normal numbers.
    """
    info, k, n = np.finfo(dtype), np.arange(40), np.arange(1, 60)
    half_steps = (2 * k + 1) * np.log(2) / 2
    own = {
        "exp": [
            *half_steps,
            -np.log(float(info.tiny)),
            np.log(float(info.max)),
            87.3,
            103.97,
            708.3,
            745.1,
        ],
        "decay": [*half_steps, -np.log(float(info.tiny)), 87.3, 103.97, 708.3, 745.1],
        "expm1": [*half_steps, 17.3, 20, 37.4, 40, np.log(float(info.max))],
        "log1p": [*(np.sqrt(2) * 2.0**k - 1), *(1 - np.sqrt(0.5) * 2.0**-k), 1, info.max],
        "tanh": [*(half_steps / 2), 9.01, 10, 19.06, 20],
        "erf": [0.5, 1, 2, 3.83, 3.92, 4, 5.86, 5.92, 6],
        "sin": [*(n * np.pi / 4)],
        "cos": [*(n * np.pi / 4)],
        "gaussian": [1, 13.2, 14.5, 15, 37.6, 38.6, 39],
        "mills": [1, 5],
    }
    return neighbours([*own[name], info.tiny, 2.0**-27, 2.0**-12, 1.0], dtype)


def points(name, dtype, count):
    """About `count` finite arguments: all magnitudes alike from the least subnormal on, the bulk,
    the tails, the seams.
    """
    rng, info, part = np.random.default_rng(7), np.finfo(dtype), count // 4
    integer = {"float32": np.int32, "float64": np.int64}[dtype]
    magnitudes = rng.integers(1, np.asarray(info.max).view(integer), part, dtype=integer).view(
        dtype
    )
    signs = rng.choice([-1, 1], part)
    x = [
        magnitudes * signs.astype(dtype),
        rng.uniform(-4, 4, part),
        10 ** rng.uniform(-6, 1, part) * signs,
        seams(name, dtype),
    ]
    if name in ("exp", "expm1"):
        x.append(rng.uniform(*{"float32": (-104, 89), "float64": (-746, 710)}[dtype], part))
    elif name == "decay":
        x.append(rng.uniform(0, {"float32": 104, "float64": 746}[dtype], part))
    elif name == "log1p":
        x.append(10 ** rng.uniform(np.log10(float(info.eps)), 0, part) - 1)
    elif name in ("gaussian", "mills"):
        x.append(rng.uniform(0, {"float32": 14, "float64": 38}[dtype], part))
    elif name in ("sin", "cos"):
        top = SINE_RANGE[dtype]
        # arguments next to a zero
        multiples = rng.integers(-int(top / 1.6), int(top / 1.6), part // 2) * (np.pi / 2)
        x += [rng.uniform(-top, top, part // 2), multiples]
    else:
        x.append(rng.uniform(-20, 20, part) if dtype == "float64" else rng.uniform(-10, 10, part))
    x = np.concatenate([np.asarray(values, dtype) for values in x])
    x = x[np.isfinite(x)]
    if name in ("sin", "cos"):
        x = x[abs(x) <= SINE_RANGE[dtype]]
    if name == "decay":
        x = abs(x)
    if name == "mills":
        x = abs(x)[abs(x) <= {"float32": 10, "float64": 13}[dtype]]
    if name in ("exp", "expm1"):
        x = x[x <= np.log(float(info.max))]
    return x[x > -1] if name == "log1p" else x


def saturated(name, x):
    """Arguments whose exact value differs from the limit by less than 1e-30: mpmath need not spell
    it out.
    """
    return {
        "tanh": abs(x) > 40,
        "erf": abs(x) > 10,
        "exp": x < -800,
        "decay": x > 800,
        "expm1": x < -80,
        "gaussian": abs(x) > 45,
    }.get(name, np.zeros(x.shape, bool))


EXACT = {
    "decay": lambda t: mpmath.exp(-t),
    "gaussian": lambda z: mpmath.exp(-z * z / 2),
    "mills": lambda t: mpmath.exp(t * t / 2) * mpmath.erfc(t / mpmath.sqrt(2)) / 2,
}


def exact(name, x):
    """(n,) -> two float64 arrays whose sum is the value to 100 bits."""
    limit = {
        "tanh": np.sign(x),
        "erf": np.sign(x),
        "exp": 0 * x,
        "decay": 0 * x,
        "expm1": 0 * x - 1,
        "gaussian": 0 * x,
    }.get(name, x).astype(np.float64)
    high, low = limit, np.zeros(x.shape)
    function = EXACT.get(name) or getattr(mpmath, name)
    with mpmath.workprec(130):
        for i in np.flatnonzero(~saturated(name, x)):
            value = function(mpmath.mpf(float(x[i])))
            high[i] = float(value)
            low[i] = float(value - high[i])
    return high, low


def units(result, high, low):
    """|result - (high + low)| in units of the last place of the result's dtype."""
    unit = np.spacing(np.abs(high).astype(result.dtype)).astype(np.longdouble)
    return np.abs((result.astype(np.longdouble) - high) - low) / unit


@pytest.mark.parametrize("name, dtype", EVERY)
def test_the_error_is_within_the_promised_units_of_the_last_place(kernel, name, dtype):
    x = points(name, dtype, 20_000)
    error = units(kernel(name, dtype)(x), *exact(name, x))
    worst = np.argmax(error)  # a NaN counts as the largest
    assert error[worst] <= (MILLS_ULPS if name == "mills" else ULPS[dtype]), (
        f"{name}({x[worst]!r}) is off by {error[worst]:.2f} units"
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ANGLES)
def test_an_angle_from_its_sine_and_cosine_is_as_accurate_as_promised(name, dtype):
    """The angle of the two rounded numbers given: to 3 units of its last place, angle_absolute to 3
    ε; both odd in the sine.
    """
    rng, function = np.random.default_rng(5), functions.get(name, dtype)

    @njit(error_model="numpy", fastmath=FAST)
    def loop(sine, cosine, out):
        for i in range(sine.size):
            out[i] = function(sine[i], cosine[i])

    true = np.concatenate(
        [
            rng.uniform(-1.5708, 1.5708, 3000),
            10 ** rng.uniform(-12, 0, 1000),
            np.pi / 2 - 10 ** rng.uniform(-9, -1, 500),
        ]
    )
    sine, cosine = np.sin(true).astype(dtype), np.cos(true).astype(dtype)
    found, mirrored = np.empty_like(sine), np.empty_like(sine)
    loop(sine, cosine, found)
    loop(-sine, cosine, mirrored)
    np.testing.assert_array_equal(mirrored, -found)
    with mpmath.workprec(130):
        exact_angle = [
            mpmath.atan2(mpmath.mpf(float(y)), mpmath.mpf(float(x)))
            for y, x in zip(sine, cosine, strict=True)
        ]
        error = np.array(
            [abs(float(mpmath.mpf(float(f)) - e)) for f, e in zip(found, exact_angle, strict=True)]
        )
    eps = float(np.finfo(dtype).eps)
    unit = np.spacing(abs(found)).astype(float) if name == "angle" else eps
    # The sine and cosine given have a rounding of their own, ½ε each, and the formulas take their
    # square sum for 1.
    assert (error / unit).max() <= 3, (error / unit).max()
    loop(np.array([np.nan, 0, 1, -1], dtype), np.array([1, 1, 0, 0], dtype), found)
    assert (
        np.isnan(found[0])
        and abs(found[1]) <= eps
        and np.allclose(found[2:4], [np.pi / 2, -np.pi / 2], atol=3 * eps, rtol=0)
    )


@pytest.mark.parametrize("name, dtype", EVERY)
def test_fast_math_flags_of_the_caller_change_no_bit(name, dtype):
    # fresh dispatchers each: a function compiled for one kernel would be reused by the other
    fast, strict = (
        compiled(functions.compiled(functions._family(dtype)[name]), flags)
        for flags in (FAST, False)
    )
    x = points(name, dtype, 4000)
    np.testing.assert_array_equal(fast(x), strict(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name, at_minus_infinity, at_zero, at_infinity",
    [
        ("exp", 0, 1, np.inf),
        ("expm1", -1, 0, np.inf),
        ("log1p", np.nan, 0, np.inf),
        ("tanh", -1, 0, 1),
        ("erf", -1, 0, 1),
        ("sin", np.nan, 0, np.nan),
        ("cos", np.nan, 1, np.nan),
        ("gaussian", 0, 1, 0),
    ],
)
def test_limits_are_exact_and_nan_comes_through(
    kernel, name, dtype, at_minus_infinity, at_zero, at_infinity
):
    info = np.finfo(dtype)
    y = kernel(name, dtype)(np.array([-np.inf, 0.0, np.inf, np.nan, -np.nan], dtype))
    np.testing.assert_array_equal(
        y, np.array([at_minus_infinity, at_zero, at_infinity, np.nan, np.nan], dtype)
    )
    if name not in ("sin", "cos", "log1p"):
        huge = kernel(name, dtype)(np.array([-info.max, info.max], dtype))
        np.testing.assert_array_equal(huge, np.array([at_minus_infinity, at_infinity], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name, exact_value",
    [
        ("sigmoid", lambda z: 1 / (1 + mpmath.exp(-z))),
        ("gelu", lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2),
    ],
)
def test_sigmoid_and_gelu_keep_their_accuracy_in_both_tails(name, exact_value, dtype):
    """sigmoid as the elementary functions; gelu within 4 ε max(|gelu(z)|, |z| 2⁻⁵³), where 1 + erf
    would lose every digit.
    """
    rng, eps = np.random.default_rng(3), float(np.finfo(dtype).eps)
    z = np.concatenate(
        [rng.uniform(-80 if name == "sigmoid" else -40, 30, 1500), rng.uniform(-9, -1, 1500)]
    )
    z = np.concatenate([z, rng.choice([-1, 1], 800) * 10 ** rng.uniform(-8, 0, 800)]).astype(dtype)
    y = compiled(compiler.bind(activations.get(name).value, dtype), FAST)(z)
    for argument, value in zip(z, y, strict=True):
        with mpmath.workprec(130):
            right = exact_value(mpmath.mpf(float(argument)))
            error = abs(mpmath.mpf(float(value)) - right)
        unit = float(np.spacing(value)) * ULPS[dtype]
        floor = 4 * eps * max(abs(right), abs(float(argument)) * 2.0**-53)
        assert error <= (unit if name == "sigmoid" else floor), f"{name}({argument!r}) = {value!r}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_overflows_and_underflows_where_it_should(kernel, dtype):
    top = np.nextafter(np.log(np.finfo(dtype).max), np.inf, dtype=dtype) + np.array(
        [0.01, 1, 100, 1e30], dtype
    )
    least = (
        np.log(float(np.finfo(dtype).smallest_subnormal))
        - np.log(2)
        - np.array([0.01, 1, 100, 1e30])
    )
    assert np.all(np.isposinf(kernel("exp", dtype)(top.astype(dtype))))
    np.testing.assert_array_equal(kernel("exp", dtype)(least.astype(dtype)), 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_decay_goes_from_one_to_zero_and_lets_nan_through(kernel, dtype):
    info = np.finfo(dtype)
    t = np.array([0.0, -0.0, info.smallest_subnormal, 800, info.max, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(
        kernel("decay", dtype)(t), np.array([1, 1, 1, 0, 0, 0, np.nan], dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_has_its_pole_at_minus_one_and_no_value_below(kernel, dtype):
    y = kernel("log1p", dtype)(
        np.array([-1, np.nextafter(-1, -2, dtype=dtype), -5, np.finfo(dtype).min], dtype)
    )
    np.testing.assert_array_equal(y, np.array([-np.inf, np.nan, np.nan, np.nan], dtype))


@pytest.mark.parametrize("name, dtype", [(n, d) for n in ("tanh", "erf") for d in DTYPES])
def test_tanh_and_erf_are_odd_to_the_bit_and_never_exceed_one(kernel, name, dtype):
    x = np.concatenate([points(name, dtype, 8000), np.array([0.0], dtype)])
    y, mirrored = kernel(name, dtype)(x), kernel(name, dtype)(-x)
    np.testing.assert_array_equal(mirrored, -y)
    np.testing.assert_array_equal(np.signbit(mirrored), ~np.signbit(y))
    assert np.all(abs(y) <= 1)


@pytest.mark.parametrize(
    "name, dtype", [(n, d) for n in ("tanh", "sin", "expm1", "log1p") for d in DTYPES]
)
def test_a_tiny_argument_is_its_own_value(kernel, name, dtype):
    eps = float(np.finfo(dtype).eps)
    # x² / 2 is below half a unit of x
    x = np.array([eps / 16, eps / 1e3, float(np.finfo(dtype).tiny) * 8], dtype)
    np.testing.assert_array_equal(kernel(name, dtype)(x), x)


@pytest.mark.parametrize("name, dtype", [(n, d) for n in ("sin", "cos") for d in DTYPES])
def test_sine_and_cosine_of_any_finite_argument_lie_in_minus_one_to_one(kernel, name, dtype):
    x = np.concatenate(
        [np.geomspace(1, float(np.finfo(dtype).max) * 0.99, 20_000), np.linspace(-1e5, 1e5, 20_001)]
    ).astype(dtype)
    assert np.all(abs(kernel(name, dtype)(x)) <= 1)


@pytest.mark.parametrize("name, dtype", EVERY)
def test_a_loop_around_the_function_is_vectorised_and_calls_no_library(kernel, name, dtype):
    if platform.machine() not in (
        "x86_64",
        "AMD64",
    ) or not llvmlite.binding.get_host_cpu_features().get("fma"):
        pytest.skip("reads x86 assembly with fused multiply-add")
    function = kernel(name, dtype)
    function(np.ones(3, dtype))
    assembly = "\n".join(function.loop.inspect_asm().values())
    packed = {"float32": "ps", "float64": "pd"}[dtype]
    assert re.search(rf"vfn?m(add|sub)\d+{packed}", assembly)
    assert not re.search(
        rf"\b{name}f?\b\s*(@PLT)?$|movabsq\s+\$(fma|{name})f?\b", assembly, re.MULTILINE
    )


def test_a_float64_that_slips_into_float32_code_is_an_error():
    with pytest.raises(TypingError, match="own dtype"):
        functions.get("exp", "float32")(np.float64(1.0))


def test_an_unknown_function_raises_with_the_known_ones():
    with pytest.raises(ValueError, match="Did you mean 'tanh'.*exp, decay, expm1"):
        functions.get("tahn", "float32")
    with pytest.raises(ValueError, match="float32 and float64"):
        functions.get("tanh", "float16")


def test_the_version_is_a_hash_and_the_table_covers_every_function_and_dtype():
    assert re.fullmatch("[0-9a-f]{64}", functions.version())
    assert set(functions.TABLE) == {*EVERY, *((name, dtype) for name in ANGLES for dtype in DTYPES)}


@pytest.mark.slow
@pytest.mark.parametrize("name, dtype", EVERY)
def test_the_error_stays_within_the_promise_on_a_million_points(kernel, name, dtype):
    wide = np.float64 if dtype == "float32" else np.longdouble
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("long double is no wider than float64 here")
    if name in ("gaussian", "mills") or (name, dtype) == ("erf", "float64"):
        pytest.skip("no such function in long double; the mpmath test covers it")
    x = points(name, dtype, 1_000_000)
    reference = {"erf": special.erf, "decay": lambda t: np.exp(-t)}.get(
        name, getattr(np, name, None)
    )(x.astype(wide))
    error = units(kernel(name, dtype)(x), reference, 0)
    # the reference is off by up to an ulp of its own, 2⁻¹¹ or less of ours
    assert np.max(error) <= ULPS[dtype] + 2.0**-8
