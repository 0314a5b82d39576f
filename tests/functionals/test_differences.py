"""The check of a user's gradient: right ones pass at every scale, wrong ones are found at every
scale.
"""

import math
from math import exp

import numpy as np
import pytest

import meanfield as mf
from meanfield.formulas.differences import slope_at


def gaussian(scale, sign=1.0, energy=1.0):
    """energy·exp(-|x - y|²/2 scale²) and sign times its gradient."""
    c = 1.0 / scale**2

    def U(x, y):
        return energy * exp(-0.5 * c * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2))

    def grad_U(x, y, out):
        e = sign * energy * exp(-0.5 * c * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2))
        out[0], out[1] = -c * (x[0] - y[0]) * e, -c * (x[1] - y[1]) * e

    return U, grad_U


def lennard_jones(sign=1.0):
    """Argon in SI units: 4ε((σ/r)¹² - (σ/r)⁶), ε = 1.65e-21 J, σ = 3.4e-10 m."""
    depth, size = 1.65e-21, 3.4e-10

    def U(x, y):
        r2 = (x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2
        s6 = (size * size / r2) ** 3
        return 4.0 * depth * (s6 * s6 - s6)

    def grad_U(x, y, out):
        r2 = (x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2
        s6 = (size * size / r2) ** 3
        factor = sign * 4.0 * depth * (6.0 * s6 - 12.0 * s6 * s6) / r2
        out[0], out[1] = factor * (x[0] - y[0]), factor * (x[1] - y[1])

    return U, grad_U


def check(interaction, points, potential=None, **settings):
    mf.PairwiseEnergy(potential, interaction, **settings).check_state(mf.State(points, outputs=0))


CLOUDS = [
    (1.0, 0.0),
    (1e-3, 0.0),
    (1e-4, 0.0),
    (1e-9, 0.0),
    (1e5, 0.0),
    (1.0, 1e3),
    (1.0, 1e4),
    (1.0, 1e6),
    (1e-3, 1e3),
]


@pytest.mark.parametrize(("scale", "shift"), CLOUDS)
def test_right_gradients_pass_and_wrong_signs_are_found_at_every_length_scale(scale, shift):
    for seed in range(6):
        points = scale * np.random.default_rng(seed).normal(size=(15, 2)) + shift
        check(gaussian(scale), points)
        with pytest.raises(ValueError, match="grad_U is not the gradient of U: .*check=False"):
            check(gaussian(scale, sign=-1.0), points)
        check(gaussian(scale, sign=-1.0), points, check=False)


@pytest.mark.parametrize("energy", [1e-12, 1e-30, 1e20])
def test_a_wrong_sign_is_found_at_every_size_of_the_energy(energy):
    points = np.random.default_rng(0).normal(size=(15, 2))
    check(gaussian(1.0, energy=energy), points)
    with pytest.raises(ValueError, match="is not the gradient"):
        check(gaussian(1.0, -1.0, energy), points)


def test_lennard_jones_in_si_units_passes_and_minus_its_gradient_does_not():
    """A lattice of 4 Å with some disorder: metres and joules."""
    rng = np.random.default_rng(2)
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1).reshape(-1, 2)
    points = 4e-10 * (grid + 0.1 * rng.normal(size=grid.shape))
    check(lennard_jones(), points, self_pairs=False)
    with pytest.raises(ValueError, match="is not the gradient"):
        check(lennard_jones(-1.0), points, self_pairs=False)


def test_the_check_waits_for_particles_that_can_tell():
    """All at one point there is no pair to look at, so the first start does not count."""
    energy = mf.PairwiseEnergy(interaction=gaussian(1.0, sign=-1.0))
    energy.check_state(mf.State(np.zeros((4, 2)), outputs=0))
    with pytest.raises(ValueError, match="is not the gradient"):
        energy.check_state(mf.State(np.random.default_rng(0).normal(size=(5, 2)), outputs=0))


def test_a_gradient_of_a_noisy_formula_is_not_refused():
    """|x|² - 2⟨x, y⟩ + |y|² around 10⁶ has a rounding of 10⁻⁴: differences see steps of that, and
    no slope.
    """

    def U(x, y):
        return 0.5 * (x[0] * x[0] - 2.0 * x[0] * y[0] + y[0] * y[0])

    def grad_U(x, y, out):
        out[0] = x[0] - y[0]

    for seed in range(20):
        check((U, grad_U), 1e6 + np.random.default_rng(seed).normal(size=(15, 1)))


def test_a_component_that_is_left_out_only_beyond_the_cut_off_is_right():
    """Within it the gradient is assigned; beyond, what is unset is 0, as U says."""

    def U(x, y):
        r = abs(x[0] - y[0])
        return 0.5 * (1.0 - r) ** 2 if r < 1.0 else 0.0

    def grad_U(x, y, out):
        r = x[0] - y[0]
        if 0.0 < abs(r) < 1.0:
            out[0] = -(1.0 - abs(r)) * (1.0 if r > 0.0 else -1.0)

    def constant(x, y, out):
        out[0] = 0.3

    points = np.linspace(0.0, 9.0, 31)[:, None]
    check((U, grad_U), points)
    with pytest.raises(ValueError, match="is not the gradient"):
        check((U, constant), points)


SLOPES = {
    "steep": (lambda z: math.log1p(exp(50 * z)) / 50, lambda z: 1 / (1 + exp(-50 * z)), 0.01),
    "a step": (lambda z: 1.0 if z > 0 else 0.0, lambda z: 0.0, 0.3),
    "a steep step": (lambda z: math.tanh(1e6 * z), lambda z: 0.0, 0.3),
    "a kink beside it": (abs, lambda z: 1.0, 1e-3),
    "fast": (lambda z: math.sin(1e4 * z), lambda z: 1e4 * math.cos(1e4 * z), 0.7),
    "of size 1e-200": (lambda z: 1e-200 * z * z, lambda z: 2e-200 * z, 0.7),
    "on top of 1e10": (lambda z: 1e10 + z, lambda z: 1.0, 0.7),
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_right_slope_is_taken_and_one_that_is_off_is_not(name):
    f, slope, z = SLOPES[name]
    told, found = slope_at(f, z, slope(z), (1.0,))
    assert found is None
    if told:
        wrong = 1.01 * slope(z) + (0.1 if slope(z) == 0 else 0.0)
        assert slope_at(f, z, wrong, (1.0,))[1] == pytest.approx(slope(z), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("given", "right"),
    [(-1.0, True), (0.0, True), (1.0, True), (0.3, True), (1.1, False), (-2.0, False)],
)
def test_at_a_kink_every_slope_between_its_sides_is_right(given, right):
    assert (slope_at(abs, 0.0, given, (1.0,))[1] is None) == right


def soft_spheres(sign):
    """½ (1 - r)² within r < 1, and sign times its gradient."""

    def U(x, y):
        r = math.hypot(x[0] - y[0], x[1] - y[1])
        return 0.5 * (1.0 - r) ** 2 if r < 1.0 else 0.0

    def grad_U(x, y, out):
        r = math.hypot(x[0] - y[0], x[1] - y[1])
        if 0.0 < r < 1.0:
            out[0], out[1] = (
                -sign * (1.0 - r) * (x[0] - y[0]) / r,
                -sign * (1.0 - r) * (x[1] - y[1]) / r,
            )

    return mf.PairwiseEnergy(interaction=(U, grad_U))


def test_a_start_beyond_the_cut_off_does_not_end_the_check():
    """At distances of 3 both U and a wrong grad_U are 0; at 0.3 they tell."""
    far = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    for sign in (1.0, -1.0):
        energy = soft_spheres(sign)
        energy.check_state(mf.State(far, outputs=0))
        if sign > 0:
            energy.check_state(mf.State(far / 10, outputs=0))
        else:
            with pytest.raises(ValueError, match="grad_U is not the gradient of U"):
                energy.check_state(mf.State(far / 10, outputs=0))


def test_a_wall_that_the_start_does_not_touch_is_checked_when_it_does():
    def V(x):
        return max(abs(x[0]) - 5.0, 0.0) ** 2

    energy = mf.PairwiseEnergy((V, lambda x, out: None))
    energy.check_state(mf.State(np.array([[0.1], [0.4]]), outputs=0))
    with pytest.raises(ValueError, match=r"leaves out\[0\] unset"):
        energy.check_state(mf.State(np.array([[7.0], [0.4]]), outputs=0))


@pytest.mark.parametrize(("p", "j"), [(3, 2), (40, 17), (200, 2)])
def test_one_wrong_component_of_many_is_found(p, j):
    """Beyond 16 coordinates those between the ones looked at alone are seen along one line through
    all.
    """

    def V(x):
        return sum(0.5 * x[i] * x[i] for i in range(x.size))

    def right(x, out):
        for i in range(x.size):
            out[i] = x[i]

    def wrong(x, out):
        right(x, out)
        out[j] *= 2.0

    for shift in (0.0, 1e4):
        state = mf.State(np.random.default_rng(0).normal(size=(20, p)) + shift, outputs=0)
        mf.PairwiseEnergy((V, right)).check_state(state)
        with pytest.raises(ValueError, match="wrong is not the gradient of V"):
            mf.PairwiseEnergy((V, wrong)).check_state(state)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-320])
def test_particles_at_the_ends_of_the_numbers_are_taken_without_a_warning(scale):
    def V(x):
        return abs(x[0])

    def grad_V(x, out):
        out[0] = 1.0 if x[0] > 0.0 else -1.0

    mf.PairwiseEnergy((V, grad_V)).check_state(
        mf.State(scale * np.array([[1.0], [3.0], [-2.0]]), outputs=0)
    )
