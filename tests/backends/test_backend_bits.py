"""Bits and invariances of the CPU backend: threads, kept pre-activations, NaN, symmetric starts,
permutation, duplication.
"""

import numpy as np
import pytest
from small_problem import Problem
from some_threads import with_threads

import meanfield as mf
from meanfield.formulas import activations

SHAPES = [(3, 1), (3, 3), (13, 1), (13, 3)]


def flow_and_state(
    rng, d=3, K=1, m=600, n=40, activation="tanh", scaling=mf.MEAN_FIELD, dtype="float64"
):
    state = mf.State(rng.normal(size=(m, K + d + 1)), outputs=K)
    risk = mf.EmpiricalRisk(
        mf.Network(activation, scaling=scaling), rng.normal(size=(n, d)), rng.normal(size=(n, K))
    )
    return mf.GradientFlow(risk, dtype=dtype), state


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("d", "K"), SHAPES)
def test_every_kernel_gives_the_same_bits_with_one_thread_and_two(d, K, dtype):
    """Decision 3: shards depend on m alone, and a shard is worked by one thread."""
    results = []
    for threads in (1, 2):
        p = Problem(np.random.default_rng(4), d=d, K=K, m=1500, n=1100, dtype=dtype)
        step = lambda p=p: (
            p.mean_feature(), p.pull_back(0.2), p.push_forward(), p.cpu.combine(p.on_device, [0.1], [p.cpu.upload(p.u)]),
            np.array(p.cpu.norm(p.on_device, p.weight)),
        )  # fmt: skip
        results.append([array.tobytes() for array in with_threads(threads, step)])
    assert results[0] == results[1]


@pytest.mark.parametrize(("d", "K"), SHAPES)
def test_a_whole_run_gives_the_same_bits_with_one_thread_and_two(d, K):
    ends = []
    for threads in (1, 2):
        flow, state = flow_and_state(np.random.default_rng(5), d, K)
        run = lambda flow=flow, state=state: mf.simulate(
            flow, state, mf.RK4, dt="auto", n_steps=5, progress=False
        )
        ends.append(with_threads(threads, run))
    assert ends[0].theta.tobytes() == ends[1].theta.tobytes() and ends[0].t == ends[1].t


@pytest.mark.parametrize("K", [1, 3])
def test_kept_and_recomputed_pre_activations_give_the_same_bits(K):
    """Above the fused kernels z = Wxᵀ of the forward pass is kept where it fits the budget: memory,
    not arithmetic.
    """
    p = Problem(np.random.default_rng(6), d=13, K=K, m=300, n=1100)
    recomputed = p.mean_feature(), p.pull_back()
    kept = p.cpu.mean_feature(p.on_device, p.weight, p.samples, keep=True), p.pull_back()
    assert p.cpu._kept is not None and p.cpu._kept[2].shape == (2, 300, p.samples.size)
    assert all(
        np.array_equal(first, second) for first, second in zip(recomputed, kept, strict=True)
    )
    p.theta = p.theta + 1.0  # other particles must not meet the pre-activations of the old ones
    p.on_device = p.cpu.upload(p.theta)
    after = p.pull_back()
    p.cpu._kept = None
    assert np.array_equal(after, p.pull_back())


@pytest.mark.parametrize(("K", "dtype"), [(1, "float32"), (1, "float64"), (3, "float64")])
def test_kept_and_recomputed_tanh_have_the_same_bits(K, dtype):
    """Shards and tiles that end within a vector, and values that saturate; other particles, or other
    samples, do not meet what was kept.
    """
    rng = np.random.default_rng(7)
    for n, m in ((3, 5), (101, 333), (1100, 130)):
        p = Problem(rng, d=2, K=K, m=m, n=n, dtype=dtype)
        p.on_device *= rng.choice([0.1, 1.0, 5.0], size=(m, 1)).astype(dtype)
        recomputed = p.mean_feature(), p.pull_back(0.1)
        assert p.cpu._kept is None
        kept = p.cpu.mean_feature(p.on_device, p.weight, p.samples, keep=True), p.pull_back(0.1)
        assert p.cpu._kept[2].shape == (len(p.samples.x), m, p.samples.size)
        assert [a.tobytes() for a in kept] == [a.tobytes() for a in recomputed]

        others = p.cpu.upload(p.theta + 1.0), p.cpu.samples(p.x + 1.0)
        for theta, samples in ((others[0], p.samples), (p.on_device, others[1])):
            p.cpu.mean_feature(p.on_device, p.weight, p.samples, keep=True)
            after = p.cpu.pull_back(theta, samples, p.r)
            p.cpu._kept = None
            assert after.tobytes() == p.cpu.pull_back(theta, samples, p.r).tobytes()


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("activation", activations.TABLE)
def test_nan_in_one_particle_shows_in_every_prediction_and_in_its_own_velocity(rng, activation, K):
    """A guard looks for it: fast-math must not assume it away. A neuron that is NaN in any column
    moves to NaN.
    """
    for column in range(K + 3 + 1):
        p = Problem(rng, activation, K=K)
        p.on_device[4, column] = np.nan
        touched = [column] if column < K else list(range(K))
        assert np.isnan(p.mean_feature()[:, touched]).all()
        rows = np.isnan(p.pull_back()).any(axis=1)
        assert rows[4] and not np.delete(rows, 4).any()
        assert np.isnan(p.cpu.norm(p.on_device, p.weight))


def test_infinity_stays_infinite(rng):
    p = Problem(rng, "linear")
    p.on_device[4] = [np.inf, 1.0, 0.0, 0.0, 1.0]
    assert not np.isfinite(p.mean_feature()).any() and not np.isfinite(
        p.cpu.norm(p.on_device, p.weight)
    )


@pytest.mark.parametrize("activation", activations.TABLE)
def test_a_symmetric_start_predicts_zero(activation):
    """THEORY.md, section 2: |f_0| <= 1e-14 s. Pairs cancel to the rounding of one product, 1e-16 of
    order 1 and of random sign, so a mean over pairs is far below.
    """
    for m, scaling in ((1000, mf.NTK), (3002, mf.Scaling(gamma=0.75, alpha=10.0))):
        state = mf.InitialLaw(dim=3, a="normal", b_std=1.0, symmetric=True).sample(m, seed=m)
        x = np.random.default_rng(m).normal(size=(50, 3))
        flow = mf.GradientFlow(
            mf.EmpiricalRisk(mf.Network(activation, scaling=scaling), x, np.ones(50))
        )
        assert np.abs(flow.predict(state)).max() <= 1e-14 * scaling.output_scale(m)


def test_a_symmetric_start_of_several_outputs_in_many_dimensions_predicts_zero():
    state = mf.InitialLaw(dim=13, outputs=3, b_std=1.0, symmetric=True).sample(1000)
    x = np.random.default_rng(0).normal(size=(50, 13)) / np.sqrt(13)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("tanh", scaling=mf.NTK), x, np.ones((50, 3)))
    )
    assert np.abs(flow.predict(state)).max() <= 1e-14 * np.sqrt(1000)


@pytest.mark.parametrize(("d", "K"), SHAPES)
def test_permuting_the_particles_permutes_the_run(rng, d, K):
    """THEORY.md, section 2, up to the rounding of sums: 600 terms in another order move f by 1e-15
    of its size, and 10 steps of a flow whose Lipschitz constant times t is of order 1 keep that
    within a factor of e: 1e-13 is a hundred times that.
    """
    flow, state = flow_and_state(rng, d, K)
    order = rng.permutation(state.m)
    permuted = mf.State(state.theta[order], outputs=K)
    ends = [
        mf.simulate(flow, start, mf.HEUN, dt=0.02, n_steps=10, progress=False)
        for start in (state, permuted)
    ]
    np.testing.assert_allclose(ends[1].theta, ends[0].theta[order], rtol=0, atol=1e-13)


@pytest.mark.parametrize("scaling", [mf.MEAN_FIELD, mf.NTK])
def test_splitting_every_particle_in_two_of_half_its_mass_changes_nothing_at_fixed_s(rng, scaling):
    """THEORY.md, section 2: s depends on m, so α makes up for it where γ ≠ 1. Unequal masses too;
    tolerance as above.
    """
    flow, state = flow_and_state(rng, scaling=scaling)
    mass = rng.uniform(0.5, 1.5, state.m)
    state = mf.State(state.theta, mass=mass / mass.sum())
    doubled = mf.State(np.repeat(state.theta, 2, axis=0), mass=np.repeat(state.mass, 2) / 2)
    same_s = mf.Scaling(scaling.gamma, scaling.alpha * 2 ** (scaling.gamma - 1))
    assert same_s.output_scale(doubled.m) == pytest.approx(scaling.output_scale(state.m), rel=1e-15)
    risk = flow.functional
    flow2 = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", scaling=same_s), risk.x, risk.y))
    end, end2 = (
        mf.simulate(f, s, mf.HEUN, dt=0.02, n_steps=10, progress=False)
        for f, s in ((flow, state), (flow2, doubled))
    )
    for half in (0, 1):
        np.testing.assert_allclose(end2.theta[half::2], end.theta, rtol=0, atol=1e-13)
    assert flow2.energy(end2) == pytest.approx(flow.energy(end), rel=1e-12)
