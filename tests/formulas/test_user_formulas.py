"""Formulas that users write: slopes that are not the slope, numbers that a compiler counts in 64
bits, messages of one line.
"""

import dataclasses
import math
import os
import subprocess
import sys
import types
import warnings
from math import exp, log1p

import numpy as np
import pytest
import scipy.special
from sweeps import sweep

import meanfield as mf
from meanfield.backends import as_written, compiler
from meanfield.formulas import gaussian_pairs, losses
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
    with pytest.raises(
        ValueError, match=r"σ' of 'mine' at z = .*: given .*, differences of σ give .*check=False"
    ):
        mf.simulate(flow, STATE, mf.EULER, dt=0.1, n_steps=1, observers=[recorder], progress=False)
    assert not list(h5_path.parent.iterdir())
    flow_of(swish(1.5), swish_slope(1.5, forgotten=True), check=False).velocity(STATE)


RIGHT = {
    "softplus of steepness 50": (
        lambda z: max(z, 0.0) + log1p(exp(-abs(50 * z))) / 50,
        lambda z: 0.5 + 0.5 * math.tanh(25 * z),
    ),
    "a step-like sigmoid": (lambda z: 0.5 + 0.5 * math.tanh(1e6 * z), lambda z: 0.0),
    "a kink at 1": (lambda z: min(max(z, -1.0), 1.0), lambda z: 1.0 if abs(z) < 1.0 else 0.0),
    "of size 1e-9": (lambda z: 1e-9 * z * z, lambda z: 2e-9 * z),
    "of scale 1e-3": (lambda z: math.sin(1e3 * z), lambda z: 1e3 * math.cos(1e3 * z)),
    "faster than the shortest step": (
        lambda z: math.sin(1e9 * z),
        lambda z: 1e9 * math.cos(1e9 * z),
    ),
    "of scale 1e-6": (lambda z: math.sin(1e6 * z), lambda z: 1e6 * math.cos(1e6 * z)),
    "of scale 1e-8 next to a kink": (
        lambda z: abs(z - 0.7812501),
        lambda z: 1.0 if z > 0.7812501 else -1.0,
    ),
    "on positive numbers": (
        lambda z: math.sqrt(z) if z > 0.25 else z + 0.25,
        lambda z: 0.5 / math.sqrt(z) if z > 0.25 else 1.0,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_slopes_of_steep_and_kinked_functions_are_taken(name):
    check_activation(mf.Activation(name, *RIGHT[name]))


RIGHT_LOSSES = {
    "quantile": (
        lambda f, y: max(0.9 * (y - f), 0.1 * (f - y)),
        lambda f, y: -0.9 if y > f else 0.1,
    ),
    "expectile": (
        lambda f, y: (0.9 if y > f else 0.1) * (y - f) ** 2,
        lambda f, y: 2 * (0.9 if y > f else 0.1) * (f - y),
    ),
    "Student": (
        lambda f, y: 2 * log1p((f - y) ** 2 / 3),
        lambda f, y: 4 * (f - y) / (3 + (f - y) ** 2),
    ),
    "Student, narrow": (
        lambda f, y: log1p((f - y) ** 2 / 1e-8),
        lambda f, y: 2 * (f - y) / (1e-8 + (f - y) ** 2),
    ),
    "ramp": (
        lambda f, y: min(max(1 - y * f, 0.0), 2.0),
        lambda f, y: -y if -1 < y * f < 1 else 0.0,
    ),
    "Huber, 0.01": (
        lambda f, y: 0.5 * (f - y) ** 2 if abs(f - y) < 0.01 else 0.01 * (abs(f - y) - 0.005),
        lambda f, y: max(-0.01, min(0.01, f - y)),
    ),
    "|f - y|^1.5": (
        lambda f, y: abs(f - y) ** 1.5,
        lambda f, y: math.copysign(1.5 * abs(f - y) ** 0.5, f - y),
    ),
    "Welsch, narrow": (
        lambda f, y: 1 - exp(-0.5e6 * (f - y) ** 2),
        lambda f, y: 1e6 * (f - y) * exp(-0.5e6 * (f - y) ** 2),
    ),
    "log cosh": (
        lambda f, y: abs(f - y) + log1p(exp(-2 * abs(f - y))),
        lambda f, y: math.tanh(f - y),
    ),
}
LABELS = {
    "signs": [-1.0, 1.0],
    "1e5": [99999.2, 100000.0],
    "1e8": [1e8, 2e8],
    "1e-12": [1e-12],
    "zero": [0.0],
}


@pytest.mark.parametrize("name", RIGHT_LOSSES)
@pytest.mark.parametrize("labels", LABELS)
def test_right_losses_are_taken_whatever_their_width_and_their_labels(name, labels):
    loss = mf.Loss(name, *RIGHT_LOSSES[name])
    check_loss(loss, label_points(loss, np.array(LABELS[labels])[:, None], 1))


WRONG_NEAR_THE_LABEL = {
    "an insensitive tube": (
        lambda f, y: max(abs(f - y) - 0.1, 0.0),
        lambda f, y: 1.0 if f > y else -1.0,
    ),
    "Huber, twice its middle": (
        lambda f, y: 0.5 * (f - y) ** 2 if abs(f - y) < 0.1 else 0.1 * (abs(f - y) - 0.05),
        lambda f, y: 2 * (f - y) if abs(f - y) < 0.1 else math.copysign(0.1, f - y),
    ),
}


@pytest.mark.parametrize("name", WRONG_NEAR_THE_LABEL)
def test_a_slope_that_is_wrong_within_a_tenth_of_the_label_is_refused(name):
    loss = mf.Loss("mine", *WRONG_NEAR_THE_LABEL[name])
    with pytest.raises(ValueError, match="ℓ' of 'mine' at f = "):
        check_loss(loss, label_points(loss, np.array([[-1.0], [0.4], [2.0]]), 1))


def test_student_with_another_width_is_refused_at_labels_of_1e5():
    """Far from the label both slopes are 4/(f - y) to 1e-10: points near it tell."""
    loss = mf.Loss(
        "t", lambda f, y: 2 * log1p((f - y) ** 2 / 3), lambda f, y: 4 * (f - y) / (1 + (f - y) ** 2)
    )
    with pytest.raises(ValueError, match="ℓ' of 't'"):
        check_loss(loss, label_points(loss, np.array([[99999.0], [100000.0]]), 1))


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
    right = mf.Loss(
        "mine",
        losses.softmax,
        lambda f, y, out: losses.softmax_slope(f, y, out),
        "class",
        0.5,
        True,
    )
    check_loss(right, points)
    with pytest.raises(ValueError, match=r"ℓ' of 'mine' at f = \[.*output 1"):
        check_loss(mf.Loss("mine", losses.softmax, half, "class", 0.5, True), points)


def test_a_wrong_degree_and_a_joint_formula_of_another_function_are_refused():
    with pytest.raises(ValueError, match="'sq' is not homogeneous of degree 1"):
        check_activation(mf.Activation("sq", lambda z: z * z, lambda z: 2 * z, homogeneity=1))
    with pytest.raises(ValueError, match="value_and_slope of 'sq'"):
        check_activation(
            mf.Activation("sq", lambda z: z * z, lambda z: 2 * z, lambda z: (z * z, z))
        )


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


@pytest.mark.parametrize("name", sweep(WHOLE, "globals", "a product beyond 2^63"))
def test_whole_numbers_count_as_in_python(name):
    """f = mean of σ over both neurons: σ is linear, so float64's rounding of a few products is all."""
    sigma = WHOLE[name]
    rate = float(sigma(1.0))
    found = flow_of(sigma, lambda z: rate + 0.0 * z).predict(STATE)[0, 0]
    assert found == pytest.approx(rate * sum(Z) / 2, rel=1e-13)


def test_what_can_not_be_mended_is_refused():
    with pytest.raises(
        ValueError,
        match=r"σ of activation 'mine' at z = .*: Python gives .*, compiled for float64 it gives",
    ):
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

    risk = mf.EmpiricalRisk(
        mf.Network("linear"), X, np.full(2, sum(Z) / 2 - 1.0), loss=mf.Loss("pseudo", value, slope)
    )
    assert mf.GradientFlow(risk).risk(STATE) == pytest.approx(
        0.01 * (math.sqrt(101.0) - 1.0), rel=1e-12
    )


def leaky_pair(power):
    """K_σ of the leaky relu of slope 2**power, as gaussian_pairs.py writes it but with whole
    numbers.
    """

    def prepare(q):
        length = math.sqrt(q)
        return (
            (1.0 / length if length > 0.0 else 0.0),
            (1 - 2**power) ** 2 * gaussian_pairs.INV_TWO_PI * length,
            0.0,
        )

    def pair(rho, x, y):
        sine = math.sqrt(abs(1.0 - rho * rho))
        return math.atan2(rho, sine), sine, 0.0

    def finish(q, D, F, X):
        return math.sqrt(q) * (F + D), F, 1.0

    def linear(q):
        return (1 + 2**power) ** 2 / 4 if q > 0.0 else 2**power * (1 + 2**power) / 2

    return gaussian_pairs.GaussianPair(prepare, pair, finish, linear)


@pytest.mark.kernel
def test_whole_numbers_of_a_closed_kernel_count_as_in_python():
    """2**-2 is 1/4: the same energy and velocity as mf.leaky_relu(0.25), to rounding of a few
    terms.
    """
    mine = mf.Activation(
        "mine",
        lambda z: z if z > 0.0 else 0.25 * z,
        lambda z: 1.0 if z > 0.0 else 0.25,
        pair=leaky_pair(-2),
    )
    rows = np.random.default_rng(0).normal(size=(8, 4)) * [1.0, 1.0, 1.0, 0.0]
    teacher, state = mf.State(rows[:3]), mf.State(rows[3:])

    def flow(sigma):
        return mf.GradientFlow(mf.PopulationRisk(mf.Network(sigma, trainable=("a", "w")), teacher))

    found, expected = flow(mine), flow(mf.leaky_relu(0.25))
    assert found.energy(state) == pytest.approx(expected.energy(state), rel=1e-13)
    np.testing.assert_allclose(found.velocity(state), expected.velocity(state), rtol=0, atol=1e-14)


def test_a_closed_kernel_that_can_not_be_mended_is_refused():
    shifted = dataclasses.replace(leaky_pair(-2), linear=lambda q: (BASE << 62) * q * 1e-19)
    sigma = mf.Activation("mine", lambda z: z, lambda z: 1.0, pair=shifted)
    with pytest.raises(
        ValueError,
        match="linear of the pair of activation 'mine' at .*Python gives .*, compiled it gives",
    ):
        as_written.prove_gaussian_pair(sigma, "float64")


EDITED = """
import meanfield as mf, numpy as np
import package.module

def V(x):
    return package.module.c * x[0]

def grad_V(x, out):
    out[0] = package.module.c

flow = mf.GradientFlow(mf.PairwiseEnergy((V, grad_V)))
print(flow.energy(mf.State(np.array([[1.0], [2.0]]), outputs=0)))
"""


@pytest.mark.process
def test_a_constant_edited_between_two_processes_is_the_new_one(tmp_path):
    """c = 2, then 5, with one cache on disk: F = 3c/2. Two processes, so seconds."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "run.py").write_text(EDITED)
    for c in (2.0, 5.0):
        (tmp_path / "package" / "module.py").write_text(f"c = {c}\n")
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        settings = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path}
        made = subprocess.run(
            [sys.executable, "run.py"],
            cwd=tmp_path,
            env=settings,
            capture_output=True,
            text=True,
            check=True,
        )
        assert float(made.stdout) == pytest.approx(1.5 * c, rel=1e-14)


def test_formulas_that_agree_keep_their_whole_numbers():
    """z**2 stays one product: places are noted only where a formula was found to differ."""

    def cube(z):
        return z**3

    def slope(z):
        return 3 * z**2

    flow_of(cube, slope).velocity(STATE)
    assert cube not in compiler.REAL and slope not in compiler.REAL


def test_the_fingerprint_follows_a_constant_in_a_module_of_a_package():
    """What a kernel's cache is keyed by: package.module.c, in the function, in one inside it, and
    in a list.
    """
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
        assert all(
            a != compiler.fingerprint(f)
            for a, f in zip(before, (direct, inside, listed), strict=True)
        )
    finally:
        PACKAGE.module.c, table[1][1000] = -3, 0.0
    assert before == [compiler.fingerprint(f) for f in (direct, inside, listed)]


# Messages and numbers.


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda z, *, k=2.0: k * z, r"σ must be a function of z; <lambda> takes \(z, \*, k=2.0\)"),
        (
            lambda z: np.clip(z, -1.0, 1.0),
            r"σ \(<lambda>\) does not compile for float64: clip is not known for numbers there",
        ),
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
        (
            lambda f, y: scipy.special.huber(1.0, f - y),
            lambda f, y: f - y,
            r"ℓ \(<lambda>\) does not compile",
        ),
    ],
)
def test_a_loss_that_does_not_compile_is_answered_in_one_line(value, slope, said):
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(), X, np.zeros(2), loss=mf.Loss("mine", value, slope))
    )
    with pytest.raises(TypeError, match=f"loss 'mine': .*{said}") as caught:
        flow.risk(STATE)
    assert "\n" not in str(caught.value)


def test_numpy_scalars_are_numbers_in_activations_losses_and_energies():
    sigma = mf.Activation(
        "sq", lambda z: z * z, lambda z: 2.0 * z, homogeneity=np.float32(2), smooth=np.bool_(True)
    )
    loss = mf.Loss(
        "mine",
        losses.squared,
        losses.squared_slope,
        curvature=np.float32(0.5),
        coupled=np.bool_(False),
    )
    energy = mf.PairwiseEnergy((lambda x: 0.0, lambda x, out: None), self_pairs=np.bool_(False))
    assert (type(sigma.homogeneity), type(loss.curvature), type(energy.self_pairs)) == (
        float,
        float,
        bool,
    )
    assert mf.leaky_relu(np.float32(0.25)).name == "leaky_relu(0.25)"
    for wrong in ({"labels": "classes"}, {"curvature": -1.0}, {"curvature": "1"}, {"coupled": 1}):
        with pytest.raises((ValueError, TypeError), match="Loss 'mine': "):
            mf.Loss("mine", losses.squared, losses.squared_slope, **wrong)
