"""Condensation: its measures against slow twins, closed forms, and what they must not see."""

import naive
import numpy as np
import pytest

import meanfield as mf
from meanfield.diagnostics.library import condensation


def cloud(rng, m=40, d=3, K=1, weighted=False):
    """A state of normal neurons, one in ten dead, with random masses where asked."""
    theta = rng.normal(size=(m, K + d + 1))
    theta[::10, :K] = 0.0
    mass = rng.random(m) + 0.1
    return mf.State(theta, outputs=K, mass=mass / mass.sum() if weighted else None)


def aligned(directions, amplitude=None):
    """Neurons with a = amplitude and input weights of unit length along these directions (m, D)."""
    directions = np.asarray(directions, dtype=float)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    a = np.ones(len(directions)) if amplitude is None else np.asarray(amplitude, dtype=float)
    return mf.State(np.column_stack([a, directions]))


@pytest.mark.parametrize(("K", "weighted"), [(1, False), (1, True), (3, True)])
def test_all_measures_are_those_of_the_slow_twins(rng, K, weighted):
    """Sums of 40 or 1600 terms in another order: 1e-12."""
    start, end = cloud(rng, K=K, weighted=weighted), None
    end = mf.State(
        start.theta + 0.3 * rng.normal(size=start.theta.shape), outputs=K, mass=start.mass
    )
    assert condensation.relative_change(start, end) == pytest.approx(
        naive.relative_change(start, end), rel=1e-12
    )
    assert condensation.effective_neurons(start) == pytest.approx(
        naive.effective_neurons(start), rel=1e-12
    )
    assert condensation.alignment(start) == pytest.approx(naive.alignment(start), rel=1e-12)
    for degrees, share in ((5.0, 1.0), (40.0, 0.9), (90.0, 0.5)):
        found = condensation.clusters(start, degrees, share)
        assert found.mass == pytest.approx(naive.cluster_masses(start, degrees, share), rel=1e-12)
        assert found.mass.sum() + found.rest == pytest.approx(1.0, rel=1e-12)
        assert np.linalg.norm(found.directions, axis=1) == pytest.approx(1.0, rel=1e-12)


def test_the_relative_change_is_that_of_one_vector_with_biases_and_without_output_weights(rng):
    start = cloud(rng)
    theta = start.theta.copy()
    theta[:, 0] += 5.0
    assert condensation.relative_change(start, mf.State(theta)) == 0.0
    theta[:, 1:] *= 3.0
    assert condensation.relative_change(start, mf.State(theta)) == pytest.approx(2.0, rel=1e-14)


def test_the_effective_number_counts_equal_neurons_and_ignores_dead_ones():
    amplitude = np.r_[np.full(7, 2.0), np.zeros(5)]
    state = aligned(np.ones((12, 2)), amplitude)
    assert condensation.effective_neurons(state) == pytest.approx(7.0, rel=1e-14)
    assert condensation.effective_neurons(
        aligned([[1, 0], [0, 1]], [1e140, 1e-140])
    ) == pytest.approx(1.0)
    assert condensation.participation(np.array([1e300, 1e300])) == pytest.approx(2.0)
    assert condensation.participation(np.array([3.0, 1.0])) == pytest.approx(16 / 10)


@pytest.mark.parametrize("c", [1, 2, 3, 4])
def test_the_order_parameter_of_orthogonal_lines(c):
    """c orthogonal lines of equal share in D = 4: (D/c - 1)/(D - 1); a line has two ends."""
    lines = np.vstack([np.eye(4)[:c], -np.eye(4)[:c]])
    assert condensation.alignment(aligned(lines)) == pytest.approx((4 / c - 1) / 3, abs=1e-14)


def test_the_order_parameter_of_independent_directions_falls_as_one_over_their_number():
    """E tr M² = 1/D + (1 - 1/D)/N for N isotropic unit vectors, so E S = 1/N; over 200 clouds of N
    = 50 in D = 3 the mean of S (about χ² with 5 degrees of freedom, relative scatter √(2/5)) is
    within 4 √(2/5/200) = 18 %.
    """
    rng = np.random.default_rng(0)
    found = [condensation.alignment(aligned(rng.normal(size=(50, 3)))) for _ in range(200)]
    assert np.mean(found) == pytest.approx(1 / 50, rel=0.18)


def test_clusters_find_planted_directions_and_their_shares():
    """Three directions with a scatter of a degree, u and -u among them; and a share left over."""
    rng = np.random.default_rng(1)
    planted = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, 1.0]])
    which = np.repeat([0, 1, 2], [60, 30, 10])
    state = aligned(planted[which] + 0.01 * rng.normal(size=(100, 3)))
    found = condensation.clusters(state, degrees=10.0)
    assert found.mass == pytest.approx([0.6, 0.3, 0.1], rel=1e-12) and found.rest == 0.0
    # the mean of N directions scatters by 0.01/√N along each axis: 5 times that of N = 10
    assert found.directions == pytest.approx(planted, abs=5 * 0.01 / np.sqrt(10))
    assert len(condensation.clusters(state, degrees=10.0, share=0.85).mass) == 2
    assert condensation.clusters(state, degrees=10.0, share=0.85).rest == pytest.approx(0.1)


def test_the_angle_of_a_cluster_is_in_degrees_and_its_boundary_belongs_to_it():
    angles = np.radians([0.0, 29.9, 30.1])
    state = aligned(np.column_stack([np.cos(angles), np.sin(angles)]), [2.0, 1.0, 1.0])
    assert condensation.clusters(state, degrees=30.0, share=1.0).mass == pytest.approx([0.75, 0.25])


def test_measures_do_not_depend_on_the_order_of_neurons_nor_on_splitting_them(rng):
    """Every neuron twice with half its mass: the same measure μ; the effective number of neurons
    alone doubles.
    """
    state = cloud(rng, weighted=True)
    order = rng.permutation(state.m)
    shuffled = mf.State(state.theta[order], mass=state.mass[order])
    split = mf.State(np.repeat(state.theta, 2, axis=0), mass=np.repeat(state.mass, 2) / 2)
    for other, factor in ((shuffled, 1), (split, 2)):
        assert condensation.alignment(other) == pytest.approx(
            condensation.alignment(state), rel=1e-12
        )
        assert condensation.clusters(other).mass == pytest.approx(
            condensation.clusters(state).mass, rel=1e-12
        )
        assert condensation.effective_neurons(other) == pytest.approx(
            factor * condensation.effective_neurons(state), rel=1e-12
        )


def test_float32_states_are_measured_in_float64(rng):
    """1 + 1e-7-sized sums lose digits in float32; the measures do not: equal to those of the same
    numbers in float64.
    """
    single = mf.State(cloud(rng).theta.astype(np.float32))
    double = mf.State(single.theta.astype(np.float64))
    for measure in (condensation.alignment, condensation.effective_neurons):
        assert measure(single) == measure(double)


def test_a_network_without_amplitude_has_no_order():
    state = mf.State(np.column_stack([np.zeros(4), np.ones((4, 2))]))
    assert np.isnan(condensation.effective_neurons(state)) and np.isnan(
        condensation.alignment(state)
    )
    found = condensation.clusters(state)
    assert found.mass.shape == (0,) and found.directions.shape == (0, 2) and found.rest == 0.0


def test_what_cannot_be_measured_is_said(rng):
    state = cloud(rng)
    with pytest.raises(ValueError, match="the same neurons twice"):
        condensation.relative_change(state, cloud(rng, m=20))
    with pytest.raises(ValueError, match="with other masses"):
        condensation.relative_change(state, cloud(rng, weighted=True))
    still = mf.State(np.column_stack([np.ones(3), np.zeros((3, 2))]))
    with pytest.raises(ValueError, match="all input weights"):
        condensation.relative_change(still, still)
    for wrong in ({"degrees": 0}, {"degrees": 91}, {"share": 1.5}, {"share": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            condensation.clusters(state, **wrong)
    broken = mf.State.trusted(np.full((3, 3), np.nan), 1, np.full(3, 1 / 3), 0, 0.0)
    with pytest.raises(ValueError, match="3 of 3 neurons are not finite"):
        condensation.alignment(broken)
    with pytest.raises(ValueError, match="outputs = 0"):
        condensation.alignment(mf.State(np.ones((3, 3)), outputs=0))
