"""Published bounds with their corrected constants, held to networks that the engine trains."""

import math

import numpy as np
import pytest
import scipy.stats

import meanfield as mf
import ntk
from ntk.theorems import bounds

ANGLES = 2 * np.pi * np.arange(5) / 5
PENTAGON, SIGNS = (
    np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1),
    np.array([1.0, -1.0, 1.0, -1.0, 1.0]),
)
NETWORK = mf.Network("relu", scaling=mf.NTK, trainable=("w",))  # a = ±1 fixed, no bias
LAW = mf.InitialLaw(dim=2)


class Watch:
    """Keeps the states that an mf.Series passes by."""

    def __init__(self):
        self.states = []

    def __call__(self, flow, state):
        self.states.append(state)
        return 0.0


def trained(m, seed, t_end=10.0):
    """A network on the pentagon, and its states along the flow of the summed loss."""
    flow = mf.GradientFlow(mf.EmpiricalRisk(NETWORK, PENTAGON, SIGNS, reduction="sum"))
    start, watch = LAW.sample(m, seed), Watch()
    mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=0.1,
        t_end=t_end,
        observers=[mf.Series("states", mf.every(10), watch)],
        progress=False,
    )
    return start, watch.states


@pytest.mark.parametrize("m", [100, 1000, 10_000])
def test_du_et_al_hold_on_the_pentagon_in_twenty_of_twenty_seeds(m):
    """TRUTHS.md, section 4: λ_0 = .3, ‖y - f_t‖² <= e^{-λ_0 t}‖y - f_0‖², λ_min(H_0) >= ¾λ_0;
    section 0: 2C√(n/m)‖y - f_0‖/λ_0.

    The theorem asks for m = 1e4 for the second alone and far more for the neurons to stay: it is
    sufficient, not necessary.
    """
    for seed in range(20):
        start, states = trained(m, seed)
        found = bounds.two_layer_convergence(
            NETWORK, start, PENTAGON, SIGNS, states, reduction="sum", epsilon=0.05
        )
        assert found["lambda_min"].bound == pytest.approx(0.75 * 0.3, abs=1e-12)
        for name in ("lambda_min", "residual", "movement"):
            assert found[name].holds, f"m = {m}, seed {seed}: {found}"
        f0 = mf.GradientFlow(mf.EmpiricalRisk(NETWORK, PENTAGON, SIGNS)).predict(start)[:, 0]
        assert found["movement"].bound == pytest.approx(
            2 * math.sqrt(5 / m) * np.linalg.norm(SIGNS - f0) / 0.3, rel=1e-12
        )
        assert found["time to epsilon"].holds and found["time to epsilon"].bound == pytest.approx(
            math.log(20) / 0.3
        )
        assert found.applies is False and not found.hypotheses[-1].holds


def test_each_hypothesis_is_named_and_checked():
    """One network for each that breaks; the mean takes n times as long; γ = 1 has no width that
    would do.
    """

    def failing(network=NETWORK, law=LAW, **change):
        found = bounds.two_layer_convergence(network, law.sample(100), PENTAGON, SIGNS, **change)
        return {
            item.name
            for item in found.hypotheses
            if item.holds is False and not item.name.startswith("m is enough")
        }, found

    assert failing()[0] == set()
    assert failing(mf.Network("erf", mf.NTK, ("w",)))[0] == {"the activation is relu"}
    assert failing(mf.Network("relu", mf.NTK))[0] == {"only w is trained"}
    assert failing(law=mf.InitialLaw(dim=2, a="normal"))[0] == {"one output, |a| = 1"}
    assert failing(law=mf.InitialLaw(dim=2, b_std=0.1))[0] == {"no biases"}
    assert failing(law=mf.InitialLaw(dim=2, symmetric=True))[0] == {
        "w ~ N(0, w_std² I), neurons independent"
    }
    mean, total = failing(reduction="mean")[1], failing(reduction="sum")[1]
    assert mean["time to epsilon"].bound == pytest.approx(5 * total["time to epsilon"].bound)
    assert mean["movement"] == total["movement"]
    assert failing(mf.Network("relu", mf.MEAN_FIELD, ("w",)))[1].hypotheses[-1].asked == math.inf
    assert "NO  m is enough" in str(total) and "lambda_min: measured" in str(total)


def test_the_width_that_keeps_neurons_within_the_radius_makes_the_theorem_apply():
    """At the width that is asked for the movement bound equals R = √(2π) δ λ_0/(16 C²n²), δ = .1,
    λ_0 = .3, C = 1, n = 5: for ‖y - f_0‖ as measured both scale as stated. Width and radius are what
    the theorem asks for, not what it promises.
    """
    narrow = bounds.two_layer_convergence(
        NETWORK, LAW.sample(1000), PENTAGON, SIGNS, reduction="sum"
    )
    asked, radius = narrow.hypotheses[-1].asked, math.sqrt(2 * math.pi) * 0.1 * 0.3 / (16 * 25)
    assert narrow["movement"].bound * math.sqrt(1000 / asked) == pytest.approx(radius, rel=1e-12)
    assert asked > 1e6  # of use in principle
    claims = [claim.name for claim in narrow.claims]
    assert claims == ["lambda_min", "movement", "residual", "time to epsilon"]
    assert f"R = {radius:.3g} at most" in narrow.hypotheses[-1].found


def test_repeated_inputs_have_no_such_theorem():
    with pytest.raises(ValueError, match="lambda_0 = .*positive definite limits"):
        bounds.two_layer_convergence(
            NETWORK, LAW.sample(10), np.ones((2, 2)), np.array([1.0, -1.0])
        )
    with pytest.raises(ValueError, match="needs the law of the start"):
        bounds.two_layer_convergence(NETWORK, mf.State(np.ones((4, 4))), PENTAGON, SIGNS)
    with pytest.raises(ValueError, match=r"delta must lie in \(0, 1\)"):
        bounds.two_layer_convergence(NETWORK, LAW.sample(10), PENTAGON, SIGNS, delta=0.0)


def test_the_complexity_is_the_way_of_the_lazy_network():
    """Arora et al.: √(yᵀH^{-1}y) against s × RMS displacement of a symmetric start trained to t =
    60 (e^{-.3·60}, nothing left).

    H_m differs from H∞ by .95·√2/√m (TRUTHS.md, section 1; half as many draws), relative to λ_0 =
    .3 by 5 % at m = 10⁴, of which half in the root.
    """
    law = mf.InitialLaw(dim=2, symmetric=True)
    flow = mf.GradientFlow(mf.EmpiricalRisk(NETWORK, PENTAGON, SIGNS, reduction="sum"))
    start = law.sample(10_000, seed=0)
    end = mf.simulate(flow, start, mf.RK4, dt=0.5, t_end=60.0, progress=False)
    H = ntk.kernel(NETWORK, law, PENTAGON)
    found = bounds.fine_grained(H, SIGNS, NETWORK, start, end)
    assert found["complexity"].bound == pytest.approx(
        math.sqrt(2 * SIGNS @ np.linalg.solve(H, SIGNS) / 5), rel=1e-10
    )
    assert found["movement"].measured == pytest.approx(found["movement"].bound, rel=0.05)
    assert found.applies


def test_a_start_that_is_not_zero_is_no_case_of_the_fine_grained_theorem():
    """An independent start has f_0 of size 1 at γ = 1/2: the hypothesis f_0 = 0 fails, so a longer
    way refutes nothing.
    """
    H = ntk.kernel(NETWORK, LAW, PENTAGON)
    start = LAW.sample(100, seed=0)
    by_law = bounds.fine_grained(H, SIGNS, NETWORK, start, start)
    measured = bounds.fine_grained(H, SIGNS, NETWORK, start, start, x=PENTAGON)
    assert by_law.applies is False and measured.applies is False
    assert "NO  f_0 = 0 (max |f_0| = " in str(measured) and "NO  f_0 = 0 (the neurons" in str(
        by_law
    )
    symmetric = mf.InitialLaw(dim=2, symmetric=True).sample(100, seed=0)
    assert bounds.fine_grained(H, SIGNS, NETWORK, symmetric, symmetric, x=PENTAGON).applies is True
    unknown = bounds.fine_grained(H, SIGNS, NETWORK, mf.State(start.theta), start)
    assert unknown.applies is None and "pass network= and x=" in str(unknown)
    assert bounds.fine_grained(H, SIGNS).applies is None  # no start, nothing known of f_0


def test_labels_in_the_null_space_have_infinite_complexity():
    K = np.array([[1.0, 1.0], [1.0, 1.0]])
    assert bounds.fine_grained(K, [1.0, -1.0])["complexity"].bound == math.inf
    # √(2·(√2)²/2 / 2)
    assert bounds.fine_grained(K, [1.0, 1.0])["complexity"].bound == pytest.approx(1.0)
    assert bounds.fine_grained(K, [1.0, -1.0]).applies is False


@pytest.mark.parametrize("t", [None, 0.0, 3.0, 100.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_information_is_learnt_and_nuisance_is_not_for_the_linear_model(rng, t, reduction):
    """Oymak et al.: bounds on residual and movement against the exact flow of f = Jθ, s = 1 and
    unit masses.
    """
    J = rng.normal(size=(6, 9)) * np.array([3.0, 2.0, 1.0, 0.3, 0.1, 0.03])[:, None]
    K, r = J @ J.T, rng.normal(size=6)
    cutoff = 2.0
    c = 1 / 6 if reduction == "mean" else 1.0
    values, V = np.linalg.eigh(K)
    stop = ntk.split(K, r, cutoff, reduction).stopping_time if t is None else t
    later = V @ (np.exp(-c * values * stop) * (V.T @ r))
    moved = J.T @ (V @ (-np.expm1(-c * values * stop) / values * (V.T @ r)))
    found = bounds.information(K, r, cutoff, later, t, reduction, K_t=K)
    assert found["residual"].holds and found["residual"].measured == pytest.approx(
        np.linalg.norm(later)
    )
    assert np.linalg.norm(moved) <= found["movement"].bound * (1 + 1e-9)
    assert (
        found.hypotheses[0].holds
        and not bounds.information(K, r, cutoff, K_t=2 * K).hypotheses[0].holds
    )


def test_random_features_follow_the_beta_law():
    """TRUTHS.md, section 4: d = 64, m = 32: mean 1 - m/d, P(MSE < ¼) = 1.3e-3; KS test of 2000
    draws at the 1e-3 level.
    """
    found = bounds.random_features(64, 32, delta=1.3e-3)
    assert (
        found["error"].bound == pytest.approx(0.25, abs=5e-4) and found["mean error"].bound == 0.5
    )
    assert scipy.stats.beta(16, 16).cdf(0.25) == pytest.approx(1.3e-3, abs=5e-5)
    target = np.eye(64)[0]
    errors = [
        bounds.distance2(mf.InitialLaw(dim=64).sample(32, seed).w, target) for seed in range(2000)
    ]
    assert scipy.stats.kstest(errors, scipy.stats.beta(16, 16).cdf).pvalue > 1e-3
    assert (
        bounds.random_features(64, 64)["error"].bound == 0.0
        and bounds.random_features(64, 64).applies is False
    )
    w = mf.InitialLaw(dim=64).sample(32, seed=0).w
    assert bounds.random_features(64, 32, features=w, target=target)["error"].measured == errors[0]
    with pytest.raises(ValueError, match="target must be a unit vector"):
        bounds.distance2(w, 2 * target)


def test_no_readout_of_frozen_relu_features_beats_the_distance_to_their_span():
    """Population error of the best a on relu features, by the arc-cosine kernel: E[σσ] and
    E[σ(⟨w,x⟩)⟨β,x⟩] = ½⟨w, β⟩.
    """
    w, beta = mf.InitialLaw(dim=8).sample(5, seed=3).w, np.eye(8)[0]
    covariance = w @ w.T
    norms = np.diag(covariance)
    gram = ntk.duals.pair("relu", norms[:, None], norms[None, :], covariance).value
    best = 1 - (0.5 * w @ beta) @ np.linalg.solve(gram, 0.5 * w @ beta)
    assert best >= bounds.distance2(w, beta)


@pytest.mark.parametrize(("m", "expected"), [(10, 1.9324), (100, 16.2564)])
def test_all_ones_output_weights_start_far_from_zero_and_rademacher_ones_do_not(m, expected):
    """TRUTHS.md, section 4: E f_0² = ½ against ½ + (m - 1)/2π at γ = ½. 4 standard errors of 2000
    seeds.
    """
    x = np.array([[0.6, 0.8]])
    ones, signs = [], []
    for seed in range(2000):
        state = LAW.sample(m, seed)
        z = np.maximum(state.w @ x[0], 0.0) / math.sqrt(m)
        ones.append(z.sum() ** 2)
        signs.append((state.a[:, 0] @ z) ** 2)
    exact_ones = 0.5 + (m - 1) / (2 * math.pi)
    assert exact_ones == pytest.approx(expected, abs=1e-4)  # 16.25634 stands there as 16.2564
    for found, exact in ((ones, exact_ones), (signs, 0.5)):
        assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / math.sqrt(len(found)))
    assert ntk.nngp(NETWORK, LAW, x)[0, 0] == pytest.approx(0.5, rel=1e-12)


def test_a_statement_without_a_measurement_claims_nothing():
    found = bounds.random_features(10, 5)
    assert found["error"].holds is None and found.applies is None
    with pytest.raises(KeyError, match="there are: error, mean error"):
        found["loss"]
