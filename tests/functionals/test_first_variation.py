"""flow.first_variation(state, at=θ): δF/δμ at neurons that are not in the state, against F itself."""

import numpy as np
import pair_formulas
import pytest
from sweeps import sweep

import meanfield as mf
import ntk

RNG = np.random.default_rng(11)
M, Q = 9, 5
MASS = RNG.uniform(0.5, 1.5, M)
MASS /= MASS.sum()


def particles(count, d=2, K=1, b=True, mass=None):
    theta = RNG.normal(size=(count, K + d + 1))
    theta[:, -1] *= b
    return mf.State(theta, K, mass)


X, Y = RNG.normal(size=(8, 2)), RNG.normal(size=(8, 2))
WEIGHTS = RNG.uniform(0.5, 2.0, 8)
WIDE = RNG.normal(size=(8, 24))
SCALING = mf.Scaling(gamma=1.0, alpha=2.0)  # γ = 1: s does not depend on the number of neurons
NETWORK = mf.Network("tanh", SCALING, trainable=("a", "w"))
START = particles(M, K=2, mass=MASS)
POINTS = mf.State(RNG.normal(size=(M, 2)), outputs=0, mass=MASS)

# name -> (functional, state, others); those of softmax and huber are not quadratic in μ
CASES = {
    "squared": (mf.EmpiricalRisk(NETWORK, X, Y), START, particles(Q, K=2)),
    "ridge": (mf.EmpiricalRisk(NETWORK, X, Y, "squared", "sum", ridge=0.3), START, particles(Q, K=2)),
    "weights": (mf.EmpiricalRisk(NETWORK, X, Y, ridge=0.3, weights=WEIGHTS), START, particles(Q, K=2)),
    "relu, d = 24": (
        mf.EmpiricalRisk(mf.Network("relu", SCALING), WIDE, Y[:, 0]), particles(M, 24, mass=MASS), particles(Q, 24),
    ),
    "softmax": (mf.EmpiricalRisk(NETWORK, X, np.arange(8) % 2, "softmax", weights=WEIGHTS), START, particles(Q, K=2)),
    "teacher": (
        mf.PopulationRisk(mf.Network("erf", SCALING, ("a", "w")), particles(3, K=2, b=False), ridge=0.3),
        particles(M, K=2, b=False, mass=MASS), particles(Q, K=2, b=False),
    ),
    "pairs": (
        mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.GAUSSIAN), POINTS,
        mf.State(RNG.normal(size=(Q, 2)), outputs=0),
    ),
    "pairs without their own": (
        mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.GAUSSIAN, self_pairs=False), POINTS,
        mf.State(RNG.normal(size=(Q, 2)), outputs=0),
    ),
    "potential": (
        mf.PairwiseEnergy(potential=pair_formulas.QUADRATIC), POINTS, mf.State(RNG.normal(size=(Q, 2)), outputs=0),
    ),
}  # fmt: skip


def slope_at_zero(G, h):
    """G'(0) from G at 0, h/2 and h: exact for quadratic G, else h² G'''/12 off; rounding 8 ε |G|/h."""
    return (4.0 * G(0.5 * h) - 3.0 * G(0.0) - G(h)) / h


def joined(state, neuron, share):
    """(1 - ε)μ + ε δ_θ."""
    return mf.State(
        np.vstack([state.theta, neuron]),
        state.outputs,
        np.append((1.0 - share) * state.mass, share),
    )


@pytest.mark.parametrize("case", sweep(CASES, "squared", "softmax", "teacher", "pairs"))
def test_adding_a_neuron_changes_F_by_its_first_variation_less_the_mean(case):
    """d/dε F((1-ε)μ + ε δ_θ) at 0 = δF/δμ(θ) - ∫ δF/δμ dμ. Quadratic F: h = 1/4 is exact but for
    rounding, 8·2e-16·|F|/h, 1e-14 |F|, with the sums' own some 1e-13. softmax: h = 1e-4, h²/12 =
    1e-9 times G''' of some 100 units, and rounding 2e-11 |F|.
    """
    functional, state, others = CASES[case]
    flow = mf.GradientFlow(functional)
    heights, mean = flow.first_variation(state, at=others), state.mass @ flow.first_variation(state)
    assert heights.shape == (Q,)
    h, tolerance = (1e-4, 1e-7) if case == "softmax" else (0.25, 1e-12)
    for neuron, height in zip(others.theta, heights, strict=True):
        found = slope_at_zero(
            lambda share, neuron=neuron: flow.energy(joined(state, neuron, share)), h
        )
        assert found == pytest.approx(
            height - mean, abs=tolerance * max(1.0, flow.energy(state), abs(height), abs(mean))
        )


def test_a_neuron_added_to_a_linearised_network_is_linearised_where_it_is_added():
    """As above, for the risk of f_lin of the neurons that have moved and of one more that has not;
    quadratic in μ.
    """
    moved = mf.State(START.theta + 0.3 * RNG.normal(size=START.theta.shape), 2, MASS)
    others, settings = particles(Q, K=2), {"ridge": 0.3, "weights": WEIGHTS}
    network = mf.Network("tanh", SCALING)
    flow = mf.GradientFlow(ntk.linearise(network, START).risk(X, Y, **settings))
    heights, mean = flow.first_variation(moved, at=others), MASS @ flow.first_variation(moved)

    def energy(neuron, share):
        risk = ntk.linearise(network, joined(START, neuron, share)).risk(X, Y, **settings)
        return mf.GradientFlow(risk).energy(joined(moved, neuron, share))

    for neuron, height in zip(others.theta, heights, strict=True):
        found = slope_at_zero(lambda share, neuron=neuron: energy(neuron, share), 0.25)
        assert found == pytest.approx(
            height - mean, abs=1e-12 * max(1.0, flow.energy(moved), abs(height), abs(mean))
        )
    np.testing.assert_allclose(
        flow.first_variation(START, at=START), flow.first_variation(START), rtol=1e-12, atol=1e-13
    )


OF_NEURONS = [name for name in CASES if name != "pairs without their own"]


@pytest.mark.parametrize("dtype", sweep(["float64", "float32"]))
@pytest.mark.parametrize("case", sweep(OF_NEURONS, "squared", "softmax", "teacher", "pairs"))
def test_at_the_neurons_of_the_state_it_is_the_first_variation_of_the_state(case, dtype):
    """To the bit for samples and teachers, where every neuron is by itself; weights of pairs are
    rounded once more: ε each.
    """
    functional, state, _ = CASES[case]
    flow = mf.GradientFlow(functional, dtype=dtype)
    expected = flow.first_variation(state)
    for at in (state, state.theta, state.theta.tolist()):
        found = flow.first_variation(state, at=at)
        if case == "pairs":
            np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(dtype).eps * M)
        else:
            np.testing.assert_array_equal(found, expected)


def test_pairs_count_every_particle_of_the_state_and_points_may_be_many_twice_and_in_any_order():
    """-log|x - y| of 3 particles at 2500 points, some of them twice: more than one block, and none
    of them meets itself.
    """
    energy = mf.PairwiseEnergy(interaction=pair_formulas.COULOMB, self_pairs=False)
    state = mf.State([[-1.0], [0.5], [2.0]], outputs=0, mass=[0.2, 0.3, 0.5])
    at = np.append(RNG.uniform(-3.0, 3.0, 2490), np.full(10, 0.25))[RNG.permutation(2500), None]
    expected = -np.log(np.abs(at - state.theta[:, 0])) @ state.mass
    np.testing.assert_allclose(
        mf.GradientFlow(energy).first_variation(state, at=at), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("case", "at", "error", "text"),
    [
        (
            "squared",
            np.zeros((3, 4)),
            ValueError,
            r"at must be \(q, 5\).*d = 2, K = 2.*got \(3, 4\)",
        ),
        ("squared", np.zeros(5), ValueError, r"at must be \(q, 5\), one row a neuron.*got \(5,\)"),
        (
            "squared",
            mf.State(np.zeros((2, 5)), 1),
            ValueError,
            r"at must be \(q, 5\).*got State\(m=2, d=3, K=1",
        ),
        ("squared", np.zeros((0, 5)), ValueError, "at has no rows"),
        (
            "squared",
            [[0.0, 0.0, np.nan, 0.0, 0.0]],
            ValueError,
            "at has NaN or infinite values in 1 of 1 rows",
        ),
        (
            "squared",
            np.zeros((1, 5), complex),
            TypeError,
            "at must be real numbers; got dtype complex128",
        ),
        (
            "teacher",
            np.ones((1, 5)),
            ValueError,
            "no biases, but the argument `at`'s neuron 0 has b = 1",
        ),
        ("pairs", np.ones((1, 3)), ValueError, r"at must be \(q, 2\)"),
    ],
)
def test_neurons_that_are_not_like_those_of_the_state_are_refused(case, at, error, text):
    functional, state, _ = CASES[case]
    with pytest.raises(error, match=text):
        mf.GradientFlow(functional).first_variation(state, at=at)
