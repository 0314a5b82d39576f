"""Formulas that users write: slopes that are not the slope, numbers that a compiler counts in 64 bits, messages of one line."""

import math
import types
import warnings
from math import exp, log1p

import numpy as np
import pytest
import scipy.special

import meanfield as mf
from meanfield.backends import compiler
from meanfield.formulas import losses
from meanfield.formulas.slopes import check_activation, check_loss
from meanfield.functionals.probes import label_points

X = np.ones((2, 1))
STATE = mf.State(np.array([[1.0, 0.7, 0.2], [1.0, -0.3, 0.1]]))
Z = 0.9, -0.2  # its pre-activations at X


def flow_of(value, slope, dtype="float64", **settings):
    network = mf.Network(mf.Activation("mine", value, slope, **settings))
    return mf.GradientFlow(mf.EmpiricalRisk(network, X, np.zeros(2)), dtype=dtype)


# Slopes.


def swish(beta):
    return lambda z: z / (1.0 + exp(-beta * z))


def swish_slope(beta, forgotten=False):
    def slope(z):
        s = 1.0 / (1.0 + exp(-beta * z))
        return s + (1.0 if forgotten else beta) * z * s * (1.0 - s)

    return slope


def test_a_slope_that_forgets_beta_is_refused_before_any_file(h5_path):
    flow = flow_of(swish(1.5), swish_slope(1.5, forgotten=True))
    recorder = mf.Recorder(h5_path, mf.every(1))
    with pytest.raises(ValueError, match=r"σ' of 'mine' at z = .*: given .*, differences of σ give .*check=False"):
        mf.simulate(flow, STATE, mf.EULER, dt=0.1, n_steps=1, observers=[recorder], progress=False)
    assert not list(h5_path.parent.iterdir())
    flow_of(swish(1.5), swish_slope(1.5, forgotten=True), check=False).velocity(STATE)


RIGHT = {
    "softplus of steepness 50": (lambda z: max(z, 0.0) + log1p(exp(-abs(50 * z))) / 50, lambda z: 0.5 + 0.5 * math.tanh(25 * z)),
    "a step-like sigmoid": (lambda z: 0.5 + 0.5 * math.tanh(1e6 * z), lambda z: 0.0),
    "a kink at 1": (lambda z: min(max(z, -1.0), 1.0), lambda z: 1.0 if abs(z) < 1.0 else 0.0),
    "of size 1e-9": (lambda z: 1e-9 * z * z, lambda z: 2e-9 * z),
    "of scale 1e-3": (lambda z: math.sin(1e3 * z), lambda z: 1e3 * math.cos(1e3 * z)),
    "on positive numbers": (lambda z: math.sqrt(z) if z > 0.25 else z + 0.25, lambda z: 0.5 / math.sqrt(z) if z > 0.25 else 1.0),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_slopes_of_steep_and_kinked_functions_are_taken(name):
    check_activation(mf.Activation(name, *RIGHT[name]))


def test_a_squared_loss_without_its_two_is_refused_and_told_so():
    loss = mf.Loss("mse", lambda f, y: (f - y) ** 2, lambda f, y: f - y)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, np.array([0.3, 1e5]), loss=loss))
    with pytest.raises(ValueError, match=r"ℓ' of 'mse' at f = .*has the slope 2 \(f-y\)"):
        flow.risk(STATE)


def test_each_output_of_a_coupled_slope_is_looked_at():
    def half(f, y, out):
        losses.softmax_slope(f, y, out)
        out[1] *= 0.5

    points = label_points(losses.TABLE["softmax"], np.array([0, 1, 2]), 3)
    right = mf.Loss("mine", losses.softmax, lambda f, y, out: losses.softmax_slope(f, y, out), "class", 0.5, True)
    check_loss(right, points)
    with pytest.raises(ValueError, match=r"ℓ' of 'mine' at f = \[.*output 1"):
        check_loss(mf.Loss("mine", losses.softmax, half, "class", 0.5, True), points)


def test_a_wrong_degree_and_a_joint_formula_of_another_function_are_refused():
    with pytest.raises(ValueError, match="'sq' is not homogeneous of degree 1"):
        check_activation(mf.Activation("sq", lambda z: z * z, lambda z: 2 * z, homogeneity=1))
    with pytest.raises(ValueError, match="value_and_slope of 'sq'"):
        check_activation(mf.Activation("sq", lambda z: z * z, lambda z: 2 * z, lambda z: (z * z, z)))


def test_halving_stops_after_twenty_in_a_row_and_says_what_it_means():
    """A velocity that climbs: no step lowers F. dt falls by 2^20 and not to 1e-12 of the span."""
    flow = flow_of(lambda z: z * z, lambda z: -4.0 * z, check=False)
    said = r"after 20 halvings in a row. Then v is not -∇F: σ' or ℓ'"
    with pytest.raises(ArithmeticError, match=said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mf.simulate(flow, STATE, mf.EULER, dt="auto", t_end=1.0, progress=False)


# Whole numbers.

BASE, POWER = 10, -3
PAIR, ARRAY = [10, -3], np.array([10, -3])
PACKAGE = types.ModuleType("package")
PACKAGE.module = types.ModuleType("package.module")
PACKAGE.module.c = -3


def helper(z):
    return BASE**POWER * z


def product(z):
    f = 1
    for i in range(1, 26):
        f *= i
    return z * 1e-25 * f


def local(z):
    k = -3
    return 10**k * z


WHOLE = {
    "globals": lambda z: BASE**POWER * z,
    "a list": lambda z: PAIR[0] ** PAIR[1] * z,
    "a module in a package": lambda z: 10**PACKAGE.module.c * z,
    "a function it calls": lambda z: helper(z) + z,
    "a default": lambda z, k=-3: 10**k * z,
    "a local number": local,
    "a product beyond 2^63": product,
    "one that indexes": lambda z: (z, BASE**POWER * z)[1],
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_count_as_in_python(name):
    """f = mean of σ over both neurons: σ is linear, so float64's rounding of a few products is all."""
    sigma = WHOLE[name]
    rate = float(sigma(1.0))
    found = flow_of(sigma, lambda z: rate + 0.0 * z).predict(STATE)[0, 0]
    assert found == pytest.approx(rate * sum(Z) / 2, rel=1e-13)


def test_what_can_not_be_mended_is_refused():
    with pytest.raises(ValueError, match=r"σ of activation 'mine' at z = .*: Python gives .*, compiled for float64 it gives"):
        flow_of(lambda z: (BASE << 62) * z * 1e-19, lambda z: (BASE << 62) * 1e-19).predict(STATE)


def test_whole_numbers_of_a_potential_and_of_a_loss_count_as_in_python():
    """V = 10⁻³ x²/2; a pseudo-Huber loss with δ = 10⁻¹ (f - y = 1: δ²(√101 - 1))."""

    def V(x):
        return 0.5 * BASE**POWER * x[0] ** 2

    def grad_V(x, out):
        out[0] = BASE**POWER * x[0]

    cloud = mf.GradientFlow(mf.PairwiseEnergy((V, grad_V)))
    state = mf.State(np.array([[1.0], [2.0]]), outputs=0)
    np.testing.assert_allclose(cloud.velocity(state)[:, 0], [-1e-3, -2e-3], rtol=1e-14)
    assert cloud.energy(state) == pytest.approx(1.25e-3, rel=1e-14)

    def value(f, y):
        d = BASE ** (POWER + 2)
        return d * d * ((1.0 + ((f - y) / d) ** 2) ** 0.5 - 1.0)

    def slope(f, y):
        return (f - y) / (1.0 + ((f - y) / BASE ** (POWER + 2)) ** 2) ** 0.5

    risk = mf.EmpiricalRisk(mf.Network("linear"), X, np.full(2, sum(Z) / 2 - 1.0), loss=mf.Loss("pseudo", value, slope))
    assert mf.GradientFlow(risk).risk(STATE) == pytest.approx(0.01 * (math.sqrt(101.0) - 1.0), rel=1e-12)


def test_formulas_that_agree_keep_their_whole_numbers():
    """z**2 stays one product: places are noted only where a formula was found to differ."""

    def cube(z):
        return z**3

    def slope(z):
        return 3 * z**2

    flow_of(cube, slope).velocity(STATE)
    assert cube not in compiler.REAL and slope not in compiler.REAL


def test_the_fingerprint_follows_a_constant_in_a_module_of_a_package():
    """What a kernel's cache is keyed by: package.module.c, in the function, in one inside it, and in a list."""
    table = [1.0, np.zeros(2000)]

    def direct(z):
        return PACKAGE.module.c * z

    def inside(z):
        return (lambda u: PACKAGE.module.c * u)(z)

    def listed(z):
        return table[0] * z

    before = [compiler.fingerprint(f) for f in (direct, inside, listed)]
    PACKAGE.module.c, table[1][1000] = -4, 1.0
    try:
        assert all(a != compiler.fingerprint(f) for a, f in zip(before, (direct, inside, listed), strict=True))
    finally:
        PACKAGE.module.c, table[1][1000] = -3, 0.0
    assert before == [compiler.fingerprint(f) for f in (direct, inside, listed)]


# Messages and numbers.


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda z: np.clip(z, -1.0, 1.0), r"σ \(<lambda>\) does not compile for float64: clip is not known for numbers there"),
        (lambda z: scipy.special.expit(z), "scipy.special.expit is not known there"),
        (lambda z: np.heaviside(z, 0.5) * z, "heaviside"),
        (lambda z, k: z, r"σ must be a function of z; <lambda> takes \(z, k\)"),
        (lambda z: "text", "σ must return one real number; got 'text'|does not compile"),
    ],
)
def test_an_activation_that_does_not_compile_is_answered_in_one_line(value, said):
    with pytest.raises(TypeError, match=f"activation 'mine': .*(?:{said})") as caught:
        flow_of(value, lambda z: 1.0).predict(STATE)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 450
    assert "math" in message or "function of z" in message or "real number" in message


@pytest.mark.parametrize(
    ("value", "slope", "said"),
    [
        (lambda f: f, lambda f, y: 1.0, r"ℓ must be a function of \(f, y\); <lambda> takes \(f\)"),
        (lambda f, y: scipy.special.huber(1.0, f - y), lambda f, y: f - y, r"ℓ \(<lambda>\) does not compile"),
    ],
)
def test_a_loss_that_does_not_compile_is_answered_in_one_line(value, slope, said):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(), X, np.zeros(2), loss=mf.Loss("mine", value, slope)))
    with pytest.raises(TypeError, match=f"loss 'mine': .*{said}") as caught:
        flow.risk(STATE)
    assert "\n" not in str(caught.value)


def test_numpy_scalars_are_numbers_in_activations_losses_and_energies():
    sigma = mf.Activation("sq", lambda z: z * z, lambda z: 2.0 * z, homogeneity=np.float32(2), smooth=np.bool_(True))
    loss = mf.Loss("mine", losses.squared, losses.squared_slope, curvature=np.float32(0.5), coupled=np.bool_(False))
    energy = mf.PairwiseEnergy((lambda x: 0.0, lambda x, out: None), self_pairs=np.bool_(False))
    assert (type(sigma.homogeneity), type(loss.curvature), type(energy.self_pairs)) == (float, float, bool)
    assert mf.leaky_relu(np.float32(0.25)).name == "leaky_relu(0.25)"
    for wrong in ({"labels": "classes"}, {"curvature": -1.0}, {"curvature": "1"}, {"coupled": 1}):
        with pytest.raises((ValueError, TypeError), match="Loss 'mine': "):
            mf.Loss("mine", losses.squared, losses.squared_slope, **wrong)
