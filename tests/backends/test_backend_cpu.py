"""The CPU kernels against their slow twins: fused and blocked, one output and several, both dtypes,
masses, tiles and shards.
"""

import sys
import threading
import tracemalloc

import naive
import numba
import numpy as np
import pytest
from small_problem import Problem

import meanfield as mf
from meanfield.backends.cpu.backend import FUSED_UP_TO, tree_sum
from meanfield.backends.cpu.memory import Pool
from meanfield.formulas import activations

DIMS = (1, 2, 3, 5, 6, 12, 13, 20)  # fused with 4, 2 and 1 particles at once, and blocked


def check_against_twins(problem):
    """All three kernels. The terms of a sum are of order 1, |a| |σ| <= 10 and with |x| or |u| <=
    30: sums of absolute values stay below 30 (means over particles) and 30 n (sums over samples).
    """
    p, n, m = problem, len(problem.x), len(problem.theta)
    expected = naive.mean_feature(p.theta, p.mass, p.x, p.sigma, p.K)
    np.testing.assert_allclose(p.mean_feature(), expected, rtol=0, atol=30 * p.tolerance(m))
    expected = naive.pull_back(p.theta, p.x, p.r, p.sigma, p.K) - 0.3 * p.theta
    np.testing.assert_allclose(
        p.pull_back(decay=0.3), expected, rtol=0, atol=30 * n * p.tolerance(n)
    )
    expected = naive.push_forward(p.theta, p.mass, p.x, p.u, p.sigma, p.K)
    np.testing.assert_allclose(p.push_forward(), expected, rtol=0, atol=30 * p.tolerance(m))


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("activation", activations.TABLE)
def test_kernels_are_their_twins_for_every_activation(rng, activation, K):
    check_against_twins(Problem(rng, activation, K=K))


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("d", DIMS)
def test_kernels_are_their_twins_for_every_shape_of_kernel(rng, d, K):
    assert Problem(rng, d=d).cpu.fused == (d <= FUSED_UP_TO)
    # fewer particles than are worked at once; a last short vector; two shards
    for m, n in (
        (1, 1),
        (7, 9),
        (70, 33),
    ):
        check_against_twins(Problem(rng, d=d, K=K, m=m, n=n))


@pytest.mark.parametrize(("d", "K"), [(3, 1), (3, 3), (13, 1), (13, 3)])
def test_single_precision_kernels_are_their_twins_to_its_rounding(rng, d, K):
    check_against_twins(Problem(rng, d=d, K=K, m=70, n=33, dtype="float32"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("d", "K"), [(3, 1), (3, 3), (13, 1)])
def test_several_tiles_and_shards_are_put_together_in_order(rng, d, K, dtype):
    """n = 2100 samples are three tiles, the last padded; m = 1500 particles 24 shards whose ends
    cut blocks short. Rows of the mean feature depend on one sample, rows of the pull-back on one
    particle: the twin does a few of each.
    """
    p = Problem(rng, d=d, K=K, m=1500, n=2100, dtype=dtype)
    assert p.samples.x.shape[0] == 3 and p.cpu.shards(1500) == 24
    rows, particles = [0, 699, 700, 1403, 1404, 2099], [0, 61, 62, 63, 1498, 1499]
    expected = naive.mean_feature(p.theta, p.mass, p.x[rows], p.sigma, K)
    np.testing.assert_allclose(
        p.mean_feature()[rows], expected, rtol=0, atol=30 * p.tolerance(1500)
    )
    pulled = naive.pull_back(p.theta[particles], p.x, p.r, p.sigma, K)
    np.testing.assert_allclose(
        p.pull_back()[particles], pulled, rtol=0, atol=30 * 2100 * p.tolerance(2100)
    )
    pushed = naive.push_forward(p.theta, p.mass, p.x[rows[:2]], p.u, p.sigma, K)
    np.testing.assert_allclose(
        p.push_forward()[rows[:2]], pushed, rtol=0, atol=30 * p.tolerance(1500)
    )


@pytest.mark.parametrize(("d", "K"), [(3, 1), (3, 3), (13, 1), (13, 3)])
def test_push_forward_is_the_adjoint_of_pull_back(rng, d, K):
    """Σ_i r_i · (push u)_i = Σ_k p_k u_k · (pull r)_k. Both sides sum 200·300 terms of order 1 with
    random signs; the parts of such a sum reach √(200·300)·K p ≈ 5000, and their rounding a few
    units of that.
    """
    p = Problem(rng, d=d, K=K, m=200, n=300)
    left, right = np.sum(p.r * p.push_forward()), np.sum(p.mass[:, None] * p.u * p.pull_back())
    assert abs(left - right) <= 5000 * 8 * np.finfo(float).eps


@pytest.mark.parametrize(("d", "K"), [(3, 1), (3, 3), (13, 1)])
@pytest.mark.parametrize("trainable", [("a",), ("w",), ("b",), ()])
def test_frozen_columns_are_exactly_zero_and_the_others_unchanged(rng, d, K, trainable):
    free, frozen = (
        Problem(np.random.default_rng(1), d=d, K=K),
        Problem(np.random.default_rng(1), d=d, K=K, trainable=trainable),
    )
    columns = mf.Network(trainable=trainable).trainable_columns(d, K)
    pulled = frozen.pull_back(decay=0.3)
    assert np.array_equal(pulled[:, columns], free.pull_back(decay=0.3)[:, columns])
    assert np.all(pulled[:, ~columns] == 0.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_combine_adds_stages_and_never_writes_to_its_arguments(rng, dtype):
    p = Problem(rng, m=200, dtype=dtype)
    base, stages = p.on_device, [p.cpu.upload(rng.normal(size=p.theta.shape)) for _ in range(3)]
    before = [array.copy() for array in (base, *stages)]
    found = p.cpu.combine(base, [0.5, 0.0, -2.0], stages)
    expected = p.theta + 0.5 * stages[0].astype(float) - 2.0 * stages[2].astype(float)
    # two additions of numbers <= 10
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.finfo(dtype).eps * 10)
    assert all(
        np.array_equal(array, copy) for array, copy in zip((base, *stages), before, strict=True)
    )
    assert p.cpu.combine(base, [0.0], stages[:1]) is base  # nothing to add: θ itself


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m", [1, 64, 65, 5000])
def test_norm_is_the_mean_square_over_the_measure(rng, m, dtype):
    """Σ_k p_k |θ_k|², summed in float64 whatever the dtype; m·p_k is rounded to the dtype, half a
    unit each.
    """
    p = Problem(rng, m=m, dtype=dtype, trainable=("w",))
    expected = float(p.mass @ (p.theta**2).sum(axis=1))
    rtol = float(np.finfo(dtype).eps) + 1e-14
    assert p.cpu.norm(p.on_device, p.weight) == pytest.approx(expected, rel=rtol)
    expected = float(p.mass @ (p.theta[:, 1:4] ** 2).sum(axis=1))
    assert p.cpu.norm(p.on_device, p.weight, trainable_only=True) == pytest.approx(
        expected, rel=rtol
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m", [1, 65, 5000])
@pytest.mark.parametrize("equal", [True, False])
def test_an_advance_is_combine_and_norm_to_the_bit(rng, m, equal, dtype):
    p = Problem(rng, m=m, dtype=dtype)
    weight = np.ones_like(p.weight) if equal else p.weight
    theta, stage = p.on_device, p.cpu.upload(rng.normal(size=p.theta.shape))
    moved, norm = p.cpu.advance(theta, 0.3, stage, weight)
    assert moved.tobytes() == p.cpu.combine(theta, [0.3], [stage]).tobytes() and norm == p.cpu.norm(
        stage, weight
    )
    same, norm_alone = p.cpu.advance(theta, 0.0, stage, weight)
    assert same is theta and norm_alone == norm  # nothing to add: θ itself


def test_the_tree_adds_every_partial_sum_once():
    for count in (1, 2, 3, 5, 24, 63, 64):
        assert tree_sum(2.0 ** np.arange(count)[:, None] % 1024)[0] == sum(
            2.0**i % 1024 for i in range(count)
        )


def peak_of_two_steps(d, m, n):
    rng = np.random.default_rng(0)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu"), rng.normal(size=(n, d)), rng.normal(size=n))
    )
    state = mf.InitialLaw(d).sample(m, seed=0)
    field = flow.on_device(state)
    particles = mf.Particles.of(state, field.backend)
    for count in range(4):
        if count == 2:  # what a step needs has been made
            tracemalloc.start()
        particles = mf.RK4.step(field, particles, 0.01).particles
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, particles.theta.nbytes


@pytest.mark.parametrize("d", [2, 13])
def test_a_step_allocates_nothing_of_the_size_of_theta(d):
    """What is left does not grow with m: some vectors of the n samples in float64, a buffer of 8192
    numbers in which NumPy copies between layouts, and at d > 10 each thread's block of 96
    particles: inputs, their pre-activations, two products and sums.
    """
    n, threads = 32, numba.get_num_threads()
    blocks = 0 if d <= 10 else threads * 8 * 96 * (2 * n + 4 * 16)
    for m in (20_000, 80_000):
        peak, theta_bytes = peak_of_two_steps(d, m, n)
        assert peak < 100 * 8 * n + 8 * 8192 + blocks
    assert threads > 8 or peak < theta_bytes / 5


def test_an_array_is_handed_out_again_only_when_nobody_looks_at_it():
    pool = Pool()
    first = pool.take((4, 2), float)
    other = pool.take((4, 2), float)
    view = other[1:]
    assert other is not first
    first_id, other_id = id(first), id(other)
    del first, other  # a view of the second one is still held
    again, fresh = pool.take((4, 2), float), pool.take((4, 2), float)
    assert id(again) == first_id and id(fresh) != other_id
    del view, again
    assert {id(pool.take((4, 2), float)), id(fresh)} <= {first_id, other_id, id(fresh)}
    assert pool.take((4, 2), np.float32).dtype == np.float32


def test_two_threads_are_handed_out_different_arrays():
    """Also where one comes between the other's look at an array and its taking it."""
    pool, twice, interval = Pool(), [], sys.getswitchinterval()

    def work(mark):
        for _ in range(20_000):
            array = pool.take((2,), float)
            array[:] = mark
            for _ in range(3):
                if array[0] != mark:
                    twice.append(mark)

    threads = [threading.Thread(target=work, args=(float(mark),)) for mark in range(3)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not twice


def test_uploads_and_downloads_are_copies():
    theta = np.ones((3, 5))
    p = Problem(np.random.default_rng(0))
    device = p.cpu.upload(theta)
    theta[:] = 2.0
    host = p.cpu.download(device)
    host[:] = 3.0
    assert np.all(device == 1.0)
