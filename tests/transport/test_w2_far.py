"""W2 where the costs of near and of far particles, or of two close clouds, have few digits in
common.
"""

import numpy as np
import pytest
from clouds import rng
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import meanfield as mf
from meanfield.transport import optimality
from meanfield.transport.couplings import NotConverged

# optimality.GAP bounds what W2² is above the minimum: half of it for W2
PROVED = 0.5 * optimality.GAP


def assigned(x, y):
    """Σ_k |x_k - y_σ(k)|² of the best permutation σ."""
    cost = cdist(x, y, "sqeuclidean")
    return cost[linear_sum_assignment(cost)].sum()


@pytest.mark.parametrize("far", [1e5, 1e7, 1e8, 1e9])
def test_one_particle_far_away_in_both_clouds_hides_nothing_of_the_others(far):
    r = rng(1)
    x, y = r.normal(size=(2, 60, 3))
    x[0], y[0] = (far, 0, 0), (far + 1, 0, 0)
    truth = np.sqrt((1.0 + assigned(x[1:], y[1:])) / 60)  # the far one goes to the far one
    assert mf.w2(x, y) == pytest.approx(truth, rel=PROVED)
    assert mf.match(mf.State(x), mf.State(y), canonical=False).distance == pytest.approx(
        truth, rel=PROVED
    )
    middle = mf.interpolate(mf.State(x), mf.State(y), [0.5])[0]
    # a constant speed; the middle of the far pair is rounded to far·eps, of W2·√60
    assert mf.w2(middle, y) == pytest.approx(0.5 * truth, rel=PROVED + far * 2.3e-16)


@pytest.mark.parametrize("seed", range(12))
def test_clusters_far_apart_and_of_different_sizes_are_each_solved_to_the_end(seed):
    r = rng(seed)
    k, dim = int(r.integers(2, 5)), int(r.integers(2, 6))
    centres, sizes = (
        r.normal(size=(k, dim)) * 10 ** r.uniform(3, 12),
        10 ** r.uniform(-3, 3, size=k),
    )
    counts = r.integers(1, 40, size=k)
    xs, ys = (
        [c + s * r.normal(size=(n, dim)) for c, s, n in zip(centres, sizes, counts, strict=True)]
        for _ in range(2)
    )
    x, y = np.concatenate(xs), np.concatenate(ys)
    truth = np.sqrt(sum(assigned(a, b) for a, b in zip(xs, ys, strict=True)) / len(x))
    assert mf.w2(x[r.permutation(len(x))], y) == pytest.approx(truth, rel=PROVED)


@pytest.mark.parametrize("far", [1e3, 1e7, 1e9])
def test_far_particles_of_their_own_masses_leave_the_rest_its_optimum(far):
    r = rng(3)
    a, b = r.random(30), r.random(45)
    a[2:] *= 0.85 / a[2:].sum()
    b[2:] *= 0.85 / b[2:].sum()
    a[:2] = b[:2] = (0.05, 0.1)
    x, y = r.normal(size=(30, 3)), r.normal(size=(45, 3))
    near = mf.w2(mf.State(x[2:], 1, a[2:] / 0.85), mf.State(y[2:], 1, b[2:] / 0.85))
    x[:2], y[:2] = [[far, 0, 0], [0, far, 0]], [[far + 1, 0, 0], [0, far, 2]]
    truth = np.sqrt(0.05 * 1 + 0.1 * 4 + 0.85 * near**2)
    assert mf.w2(mf.State(x, 1, a), mf.State(y, 1, b)) == pytest.approx(truth, rel=2 * PROVED)


@pytest.mark.parametrize("unit", [1e-150, 1e-8, 1.0, 1e150])
def test_columns_of_very_different_scales_and_tiny_or_huge_clouds_keep_the_optimum(unit):
    r = rng(4)
    scales = np.array([1e-8, 1e-3, 1.0, 1e8])
    x, y = r.normal(size=(2, 40, 4)) * scales
    assert mf.w2(x * unit, y * unit) / unit == pytest.approx(
        np.sqrt(assigned(x, y) / 40), rel=PROVED
    )


def test_a_plan_whose_optimality_is_not_proved_raises():
    """10^160 squared is no number, and the lazy solver has no matrix to refine."""
    x, y = rng(5).normal(size=(2, 30, 3))
    x[0] = y[0] = 1e8
    with pytest.raises(NotConverged, match="not proved optimal.*lazy=False refines it"):
        mf.w2(x, y, lazy=True)
    x[0] = y[0] = 1e160
    with pytest.raises(NotConverged, match="not proved optimal.*mf.w2_interval"):
        mf.w2(x, y)


def test_costs_are_right_to_their_last_digits_however_large_the_shift_between_the_clouds():
    """Against whole numbers: |x - y - s|² of positions near 2^50, exact in Python's integers."""
    r = np.random.default_rng(6)
    x, y = r.integers(0, 50, (2, 20, 3))
    s = np.array([2**50, -(2**49), 7])
    expected = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
    cost = optimality.accurate_costs((x + s).astype(float), y.astype(float), s.astype(float))
    assert np.array_equal(cost, expected)


# --- sinkhorn


def entropic(x, y, epsilon, rounds=3000):
    """OT_ε of equal masses in long double, updates averaged: the dual value."""
    cost = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
    f, g = np.zeros(len(x), np.longdouble), np.zeros(len(x), np.longdouble)

    def smooth(z):
        top = z.max(axis=1)
        return top + np.log(np.exp(z - top[:, None]).mean(axis=1))

    for _ in range(rounds):
        to_f, to_g = (
            -epsilon * smooth((g - cost) / epsilon),
            -epsilon * smooth((f - cost.T) / epsilon),
        )
        f, g = (f + to_f) / 2, (g + to_g) / 2
    return f.mean() + g.mean()


@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-6])
def test_the_sinkhorn_distance_of_close_clouds_is_that_of_many_more_iterations_in_long_double(size):
    r = np.random.default_rng(7)
    x, shift = r.normal(size=(2, 10, 2))
    y = x + size * shift
    X, Y = ((z - z.mean(axis=0)).astype(np.longdouble) for z in (x, y))
    epsilon = np.longdouble(0.2) * ((X**2).sum() + (Y**2).sum()) / 10
    mean = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    centred = entropic(X, Y, epsilon) - entropic(X, X, epsilon) / 2 - entropic(Y, Y, epsilon) / 2
    # entropic.ACCURACY of the square, and its rounding: 4e-16 of a value of size·2 squared; a
    # hundredth at 1e-6
    assert mf.w2(x, y, "sinkhorn", reg=0.2) == pytest.approx(
        float(centred + mean) ** 0.5, rel=1e-6 + 1e-15 / size**2
    )


def test_clouds_too_close_for_a_sinkhorn_divergence_raise_and_the_same_cloud_in_another_order_is_at_zero():
    x = np.random.default_rng(8).normal(size=(20, 2))
    near = x + 1e-9 * np.random.default_rng(9).normal(size=(20, 2))
    near += (x - near).mean(axis=0)
    with pytest.raises(NotConverged, match="too close for a Sinkhorn divergence.*method='exact'"):
        mf.w2(x, near, "sinkhorn", reg=0.2)
    assert mf.w2(x, x[::-1], "sinkhorn") < 1e-15
