"""mf.match and mf.interpolate: neurons recovered through permutations and symmetries, twins by
brute force, geodesics.
"""

import naive
import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield.formulas import activations
from meanfield.transport import matching
from meanfield.transport.distances import optimal_plan

ROUNDING = 1e-12  # of O(1) weights after a few products
EVEN, ODD, HOMOGENEOUS = (
    {"square"},
    {"tanh", "erf", "sin", "linear"},
    {"relu": 1, "leaky_relu": 1, "square": 2, "linear": 1},
)


def cloud(rng, m, dim=3, outputs=1, masses=False):
    mass = rng.integers(1, 5, size=m).astype(float) if masses else np.ones(m)
    return mf.State(
        rng.normal(size=(m, outputs + dim + 1)), outputs=outputs, mass=mass / mass.sum()
    )


def disguised(rng, state, name):
    """The same function in other weights: permuted, rescaled and sign-flipped as the activation
    allows; and the permutation.
    """
    order, K = rng.permutation(state.m), state.outputs
    theta = state.theta[order].copy()
    if name in HOMOGENEOUS:
        c = rng.uniform(0.3, 3.0, size=(state.m, 1))
        theta[:, :K] /= c ** HOMOGENEOUS[name]
        theta[:, K:] *= c
    signs = rng.choice([-1.0, 1.0], size=(state.m, 1))
    if name in ODD | EVEN:
        theta[:, K:] *= signs
    if name in ODD:
        theta[:, :K] *= signs
    return mf.State(theta, K, state.mass[order]), np.argsort(order)


@pytest.mark.parametrize("name", sweep(activations.TABLE, "relu", "tanh"))
@pytest.mark.parametrize("outputs", sweep([1, 3]))
def test_a_network_in_disguise_is_matched_at_distance_zero(rng, name, outputs):
    """Rescaled, flipped and permuted, it computes the same f; the plan recovers the permutation
    exactly, `apply` undoes it.
    """
    network, p = mf.Network(name), cloud(rng, 40, outputs=outputs)
    q, order = disguised(rng, p, name)
    x = rng.normal(size=(6, 3))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.zeros((6, outputs))))
    np.testing.assert_allclose(flow.predict(p), flow.predict(q), rtol=0, atol=ROUNDING)
    found = mf.match(p, q, network=network)
    np.testing.assert_array_equal(found.permutation, order)
    assert found.distance < ROUNDING and found.same == np.mean(order == np.arange(40))
    again = found.apply(q)
    np.testing.assert_allclose(flow.predict(again), flow.predict(q), rtol=0, atol=ROUNDING)
    if name not in HOMOGENEOUS:
        np.testing.assert_allclose(again.theta, p.theta, rtol=0, atol=ROUNDING)


def test_the_verdict_says_up_to_what_and_in_which_units_its_distance_is():
    """(a, w, b) = (2, 1, 0) and (1, 2, 0) are one ReLU neuron: W2 up to rescaling 0, mf.w2 of the
    weights √2.
    """
    p, q = mf.State(np.array([[2.0, 1.0, 0.0]])), mf.State(np.array([[1.0, 2.0, 0.0]]))
    relu = mf.Network("relu", mf.NTK)
    assert mf.w2(p, q) == pytest.approx(np.sqrt(2.0), abs=ROUNDING)
    assert mf.match(p, q, network=relu).distance == pytest.approx(0.0, abs=ROUNDING)
    said = {
        "W2 up to rescaling = ": mf.match(p, q, network=relu),
        "W2 up to rescaling, in output units = ": mf.match(p, q, network=relu, output_units=True),
        "W2 in output units = ": mf.match(p, q, canonical=False, network=relu, output_units=True),
        "; W2 = 1.414 (": mf.match(p, q, canonical=False),
        "W2 up to sign = ": mf.match(p, q, network=mf.Network("tanh")),
        "W2 up to rescaling and sign = ": mf.match(p, q, network=mf.Network("square")),
        "; W2 = 1.414 (1 ": mf.match(
            p, q, network=mf.Network("gelu")
        ),  # no symmetry: nothing is divided out
    }
    for words, found in said.items():
        assert words in str(found)


@pytest.mark.parametrize(
    ("name", "twin"), [("gelu", None), ("tanh", [-1] * 5), ("square", [1, -1, -1, -1, -1])]
)
def test_plan_and_distance_are_those_of_the_hungarian_method(rng, name, twin):
    p, q = cloud(rng, 30), cloud(rng, 30)
    found = mf.match(p, q, network=mf.Network(name))
    p, q = found.first, found.second  # balanced for square
    columns, distance = naive.best_assignment(
        p.theta, q.theta, None if twin is None else np.array(twin, float)
    )
    np.testing.assert_array_equal(found.permutation, columns)
    assert found.distance == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("twin", [None, -np.ones(5)])
def test_masses_are_split_as_the_hungarian_method_splits_their_units(rng, twin):
    """Masses that are multiples of 1/60: each neuron as so many neurons of 1/60 is an assignment of
    equal masses.
    """
    counts = [
        rng.multinomial(60 - 12, np.full(12, 1 / 12)) + 1,
        rng.multinomial(60 - 9, np.full(9, 1 / 9)) + 1,
    ]
    p, q = (mf.State(rng.normal(size=(len(count), 5)), mass=count / 60) for count in counts)
    _, distance = naive.best_assignment(
        np.repeat(p.theta, counts[0], axis=0), np.repeat(q.theta, counts[1], axis=0), twin
    )
    found = mf.match(p, q, network=mf.Network("gelu" if twin is None else "erf"))
    assert found.distance == pytest.approx(distance, rel=1e-9)
    assert len(found.i) <= 12 + 9 - 1
    np.testing.assert_allclose(np.bincount(found.i, found.mass), p.mass, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.bincount(found.j, found.mass), q.mass, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.plan.sum(axis=1), p.mass, rtol=0, atol=1e-12)
    assert found.plan.shape == (12, 9)
    with pytest.raises(ValueError, match="the plan is no permutation"):
        _ = found.permutation


def test_without_canonical_weights_it_is_the_plan_of_w2(rng):
    p, q = cloud(rng, 20, masses=True), cloud(rng, 31, masses=True)
    found = mf.match(p, q, canonical=False)
    assert found.distance == pytest.approx(mf.w2(p, q), rel=1e-12) and not found.flipped.any()
    rows = (
        mf.State(rng.normal(size=(7, 1)), outputs=0),
        mf.State(rng.normal(size=(4, 1)), outputs=0),
    )
    assert mf.match(*rows, canonical=False).distance == pytest.approx(mf.w2(*rows), rel=1e-12)


def test_particles_without_mass_are_in_no_pair(rng):
    mass = np.array([0.0, 0.5, 0.0, 0.5])
    p = mf.State(rng.normal(size=(4, 3)), mass=mass)
    i, j, w = optimal_plan(p, cloud(rng, 2, dim=1))
    assert set(i.tolist()) == {1, 3} and set(j.tolist()) == {0, 1} and w.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_balanced_weights_compute_the_same_function_with_balanced_norms(rng, name):
    state, p = cloud(rng, 25, outputs=2), HOMOGENEOUS[name]
    found = matching.balanced(state, activations.get(name))
    np.testing.assert_allclose(
        (found.theta[:, 2:] ** 2).sum(axis=1), p * (found.a**2).sum(axis=1), rtol=1e-12
    )
    x = rng.normal(size=(5, 3))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(name), x, np.zeros((5, 2))))
    np.testing.assert_allclose(flow.predict(found), flow.predict(state), rtol=0, atol=ROUNDING)
    dead = mf.State(np.array([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]]))
    assert not matching.balanced(dead, activations.get(name)).theta.any()  # they compute 0


def test_parity_is_that_of_the_function():
    found = {name: matching.parity(sigma) for name, sigma in activations.TABLE.items()}
    assert found == {
        name: 1 if name in EVEN else -1 if name in ODD else 0 for name in activations.TABLE
    }


def test_how_far_the_mass_moved():
    """Four neurons, one moved by 3 and one by 4; p and q in the same order."""
    theta = 10.0 * np.arange(12.0).reshape(4, 3)
    moved = theta.copy()
    moved[1, 0] += 3.0
    moved[2, 2] -= 4.0
    found = mf.match(mf.State(theta), mf.State(moved), canonical=False)
    assert found.same == 1.0
    np.testing.assert_allclose(found.moved(0.0, 3.5, 5.0), [0.5, 0.25, 0.0])
    np.testing.assert_allclose(found.quantiles(0.5, 0.75, 1.0), [0.0, 3.0, 4.0])
    assert found.distance == pytest.approx(np.sqrt(25 / 4))
    assert "100.0% of the mass has a partner of the same index" in str(found)
    with pytest.raises(ValueError, match=r"fractions must lie in \[0, 1\]"):
        found.quantiles(1.5)


def run(path, gamma, m, seed=0, activation="relu"):
    x = np.linspace(-1, 1, 8)[:, None]
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation, mf.Scaling(gamma)), x, np.abs(x[:, 0]))
    )
    start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(m, seed=seed)
    mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=0.1,
        t_end=2.0,
        observers=[mf.Recorder(path, mf.evenly(2))],
        progress=False,
    )
    return path


def test_runs_are_matched_by_their_last_frames_with_the_activation_of_their_file(tmp_path):
    """A run and its twin at another γ: from start to end most neurons keep their index, as they
    move less than they lie apart.
    """
    paths = [run(tmp_path / f"{gamma}.h5", gamma, 60) for gamma in (0.5, 1.0)]
    found = mf.match(*paths)
    with mf.Trajectory(paths[0]) as lazy, mf.Trajectory(paths[1]) as rich:
        assert found.distance == mf.match(lazy, rich).distance == mf.match(lazy[-1], rich).distance
        start = mf.match(rich.start, rich)
        assert start.same > 0.9 and start.distance <= mf.displacement(start.first, start.second) * (
            1 + 1e-12
        )


def test_an_activation_written_by_the_user_is_handed_in(tmp_path):
    cube = mf.Activation("cube", lambda z: z * z * z, lambda z: 3.0 * z * z, homogeneity=3.0)
    run(tmp_path / "cube.h5", 1.0, 10, activation=cube)
    with pytest.raises(ValueError, match="unknown activation 'cube'"):
        mf.match(tmp_path / "cube.h5", tmp_path / "cube.h5")
    found = mf.match(tmp_path / "cube.h5", tmp_path / "cube.h5", network=mf.Network(cube))
    assert found.distance == 0.0 and found.same == 1.0
    np.testing.assert_allclose(
        (found.first.theta[:, 1:] ** 2).sum(axis=1), 3 * found.first.a[:, 0] ** 2, rtol=1e-12
    )


def test_in_output_units_the_mean_of_the_features_is_f(tmp_path):
    """Weights of γ = 1/2 at two widths differ by what s multiplies; times s they are measures of
    one function, f = ∫φ dμ.
    """
    paths = [run(tmp_path / f"{m}.h5", 0.5, m) for m in (20, 30)]
    found = mf.match(*paths, output_units=True)
    for path, state in zip(paths, (found.first, found.second), strict=True):
        with mf.Trajectory(path) as trained:
            x = trained.data.x
            f = mf.GradientFlow(mf.EmpiricalRisk(trained.network, x, np.zeros(8))).predict(
                trained[-1]
            )
        unit = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.zeros(8)))
        np.testing.assert_allclose(unit.predict(state), f, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(
            np.square(state.theta[:, 1:]).sum(axis=1), state.a[:, 0] ** 2, rtol=1e-12
        )


@pytest.mark.parametrize("canonical", [False, True])
def test_interpolation_has_constant_speed(rng, canonical):
    """THEORY.md, section 6: W2(μ_s, μ_t) = |t - s| W2(μ_0, μ_1), for unequal widths and masses."""
    p, q, times = cloud(rng, 14, masses=True), cloud(rng, 23, masses=True), (0.0, 0.25, 0.6, 1.0)
    network = mf.Network("relu")
    states = mf.interpolate(p, q, times, canonical, network)
    whole = mf.match(p, q, canonical, network)
    assert all(
        state.m <= 14 + 23 - 1 and state.t == t for state, t in zip(states, times, strict=True)
    )
    assert mf.w2(states[0], whole.first) < 1e-9 and mf.w2(states[-1], whole.second) < 1e-9
    for s, here in zip(times, states, strict=True):
        for t, there in zip(times, states, strict=True):
            assert mf.w2(here, there) == pytest.approx(abs(t - s) * whole.distance, abs=1e-9)


def test_equal_widths_interpolate_with_as_many_neurons(rng):
    p = cloud(rng, 12)
    half = mf.interpolate(p, mf.State(p.theta[::-1] + 2.0), [0.5])[0]
    # a translation is optimal
    np.testing.assert_allclose(half.theta, p.theta + 1.0, rtol=0, atol=ROUNDING)
    assert half.m == 12 and np.ptp(half.mass) == 0.0


def test_what_does_not_fit_is_refused_with_what_to_do(rng, tmp_path):
    p, q = cloud(rng, 4), cloud(rng, 4)
    with pytest.raises(ValueError, match="pass network=mf.Network"):
        mf.match(p, q)
    with pytest.raises(TypeError, match="p must be an mf.State"):
        mf.match(3, q)
    with pytest.raises(ValueError, match="the same number of columns"):
        mf.match(p, cloud(rng, 4, dim=2), canonical=False)
    with pytest.raises(ValueError, match="outputs = 0"):
        mf.match(
            mf.State(p.theta, outputs=0), mf.State(q.theta, outputs=0), network=mf.Network("relu")
        )
    with pytest.raises(ValueError, match="activations relu and tanh"):
        mf.match(run(tmp_path / "a.h5", 1.0, 4), run(tmp_path / "b.h5", 1.0, 4, activation="tanh"))
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]; got 1.5"):
        mf.interpolate(p, q, [1.5])
    with pytest.raises(ValueError, match="apply needs a State of the second network"):
        mf.match(p, q, canonical=False).apply(cloud(rng, 5))
    with pytest.raises(ValueError, match="has the activation 'relu'; network= has 'tanh'"):
        mf.match(tmp_path / "a.h5", p, network=mf.Network("tanh"))
    wide = cloud(rng, 5001)
    with pytest.raises(ValueError, match="take narrower networks"):
        mf.match(wide, wide, network=mf.Network("tanh"))


def test_runs_of_whole_rows_are_matched_as_they_are_and_the_error_says_so(tmp_path):
    def V(x):
        return 0.5 * x[0] ** 2

    def grad_V(x, out):
        out[0] = x[0]

    path = tmp_path / "pair.h5"
    flow, start = (
        mf.GradientFlow(mf.PairwiseEnergy(potential=(V, grad_V))),
        mf.State(np.ones((3, 1)), outputs=0),
    )
    mf.simulate(
        flow,
        start,
        mf.EULER,
        dt=0.1,
        n_steps=2,
        observers=[mf.Recorder(path, mf.evenly(2))],
        progress=False,
    )
    with pytest.raises(
        ValueError, match="outputs = 0, whole rows of θ, have no a, w, b: pass canonical=False"
    ):
        mf.match(path, path)
    assert mf.match(path, path, canonical=False).distance == 0
