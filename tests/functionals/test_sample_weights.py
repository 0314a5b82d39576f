"""Weights of samples: R = Σ w ℓ / Σ w, against autograd, against repeated rows, in a file. On CUDA:
cuda_parity.py.
"""

import numpy as np
import pytest

import meanfield as mf
import ntk
from meanfield.diagnostics import compare

R = np.random.default_rng(0)
N, D, M = 9, 3, 7
X, STATE = R.normal(size=(N, D)), mf.InitialLaw(dim=D).sample(M, seed=1)
WEIGHTS = np.array([0.0, 1.0, 2.0, 0.5, 3.0, 1.0, 1.0, 0.25, 4.0])
COUNTS = np.array([0, 1, 2, 1, 3, 1, 1, 2, 4])
NETWORK = mf.Network("tanh", mf.Scaling(0.75))
CASES = {
    "squared": (R.normal(size=N), 1),
    "logistic": (np.sign(R.normal(size=N)), 1),
    "softmax": (R.integers(0, 3, N), 3),
}
# sums of N = 9 terms in another order: some 10 roundings
ROUNDING = 1e-13


def made(loss, reduction="mean", weights=None, rows=None, ridge=0.1):
    y, K = CASES[loss]
    rows = np.arange(N) if rows is None else rows
    risk = mf.EmpiricalRisk(
        NETWORK, X[rows], y[rows], loss, reduction, ridge=ridge, weights=weights
    )
    return mf.GradientFlow(risk), mf.InitialLaw(dim=D, outputs=K).sample(M, seed=1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", CASES)
def test_whole_numbers_are_repetitions_of_the_rows(loss, reduction):
    flow, state = made(loss, reduction, COUNTS)
    repeated, _ = made(loss, reduction, rows=np.repeat(np.arange(N), COUNTS))
    assert flow.risk(state) == pytest.approx(repeated.risk(state), rel=ROUNDING)
    assert flow.energy(state) == pytest.approx(repeated.energy(state), rel=ROUNDING)
    for name in ("velocity", "first_variation"):
        expected = getattr(repeated, name)(state)
        np.testing.assert_allclose(
            getattr(flow, name)(state), expected, rtol=0, atol=ROUNDING * abs(expected).max()
        )
    # the largest eigenvalue of W^½HW^½ is that of H on the repeated rows; Lanczos to 1e-3
    steps = [
        f.on_device(state).rate(mf.Particles.of(state, f.on_device(state).backend))
        for f in (flow, repeated)
    ]
    assert steps[0] == pytest.approx(steps[1], rel=2e-3)


@pytest.mark.parametrize("loss", CASES)
def test_the_velocity_is_that_of_autograd_on_the_weighted_mean(loss):
    torch = pytest.importorskip("torch")
    flow, state = made(loss, weights=WEIGHTS)
    y, K = CASES[loss]
    theta = torch.tensor(state.theta, requires_grad=True)
    s = NETWORK.scaling.output_scale(M)
    f = s / M * torch.tanh(torch.tensor(X) @ theta[:, K:-1].T + theta[:, -1]) @ theta[:, :K]
    if loss == "softmax":
        losses = torch.nn.functional.cross_entropy(f, torch.tensor(y), reduction="none")
    elif loss == "squared":
        losses = 0.5 * (f[:, 0] - torch.tensor(y)) ** 2
    else:
        losses = torch.nn.functional.softplus(-f[:, 0] * torch.tensor(y))
    risk = (torch.tensor(WEIGHTS) * losses).sum() / WEIGHTS.sum()
    (M / s**2 * risk + 0.05 * (theta**2).sum()).backward()
    assert flow.risk(state) == pytest.approx(risk.item(), rel=ROUNDING)
    np.testing.assert_allclose(
        flow.velocity(state),
        -theta.grad.numpy(),
        rtol=0,
        atol=ROUNDING * abs(theta.grad).max().item(),
    )


@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_the_linearised_risk_takes_the_same_weights(loss):
    flow, state = made(loss, weights=WEIGHTS)
    y, _ = CASES[loss]
    linear = mf.GradientFlow(
        ntk.linearise(NETWORK, state).risk(X, y, loss, ridge=0.1, weights=WEIGHTS)
    )
    assert linear.risk(state) == pytest.approx(flow.risk(state), rel=ROUNDING)
    np.testing.assert_allclose(linear.velocity(state), flow.velocity(state), rtol=0, atol=ROUNDING)


def test_balanced_weights_give_each_label_the_same_share_and_a_table_its_own():
    y = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    balanced = mf.EmpiricalRisk(NETWORK, X, y, "softmax", weights="balanced").weights
    np.testing.assert_allclose([balanced[y == c].sum() for c in range(3)], 3.0, rtol=1e-15)
    signs = np.where(y == 1, 1, -1)
    assert np.array_equal(
        mf.EmpiricalRisk(NETWORK, X, signs, "logistic", weights={-1: 1, 1: 3.5}).weights,
        np.where(y == 1, 3.5, 1.0),
    )


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(4), ValueError, r"weights must be \(9,\)"),
        (-np.ones(N), ValueError, "finite and >= 0"),
        (np.zeros(N), ValueError, "not all 0"),
        (np.full(N, np.nan), ValueError, "finite and >= 0"),
        (["a"] * N, TypeError, "weights must be real numbers"),
        ("balance", ValueError, "\"balanced\" or {label: weight}; got 'balance'"),
        ({0: 1.0, 1: 2.0}, ValueError, r"one entry for each label of y, \[0, 1, 2\]; got \[0, 1\]"),
    ],
)
def test_other_weights_are_refused_with_what_they_should_be(weights, error, message):
    with pytest.raises(error, match=message):
        mf.EmpiricalRisk(NETWORK, X, np.arange(N) % 3, "softmax", weights=weights)


def test_weights_by_label_of_real_targets_are_refused():
    with pytest.raises(ValueError, match="one whole number a sample"):
        mf.EmpiricalRisk(NETWORK, X, X[:, 0], weights="balanced")


def test_a_weighted_run_is_resumed_from_its_file_alone_and_its_hash_knows_the_weights(tmp_path):
    flow, state = made("squared", weights=WEIGHTS, ridge=0.0)
    plain, _ = made("squared", ridge=0.0)

    def run(flow, name, **options):
        mf.simulate(
            flow,
            state,
            mf.EULER,
            dt=0.01,
            n_steps=20,
            observers=[mf.Recorder(tmp_path / name, mf.every(5), **options)],
        )
        return mf.Trajectory(tmp_path / name)

    with run(flow, "w.h5") as weighted, run(plain, "p.h5") as unweighted:
        assert weighted.content_hash() != unweighted.content_hash()
        assert "weights" not in unweighted.config["flow"]["functional"]
        assert np.array_equal(weighted.arrays["weights"], WEIGHTS) and np.array_equal(
            weighted.data.x, X
        )
        again = mf.GradientFlow.from_dict(weighted.config["flow"], weighted.arrays)
        assert np.array_equal(again.velocity(state), flow.velocity(state))
        risks = mf.compare(weighted, unweighted).rows["train risk"]
        assert risks == pytest.approx(
            (flow.risk(weighted[-1]), plain.risk(unweighted[-1])), rel=ROUNDING
        )
        for refused in (ntk.laziness, ntk.budget):
            with pytest.raises(ValueError, match=r"sample weights W that is W\^½HW\^½"):
                refused(weighted)
    end = mf.resume(tmp_path / "w.h5", t_end=0.4, progress=False)
    whole = mf.simulate(flow, state, mf.EULER, dt=0.01, t_end=0.4)
    assert np.array_equal(end.theta, whole.theta) and not np.array_equal(
        whole.theta, mf.simulate(plain, state, mf.EULER, dt=0.01, t_end=0.4).theta
    )


@pytest.mark.parametrize("size", [1e308, 1e-320])
def test_weights_whose_sum_is_beyond_float64_are_refused_before_the_run_diverges(size):
    with pytest.raises(ValueError, match="the sum of the weights"):
        mf.EmpiricalRisk(NETWORK, X, CASES["squared"][0], weights=np.full(N, size))


@pytest.mark.parametrize("value", ["1", None, True, np.nan, -1.0])
def test_the_weight_of_a_label_is_a_number(value):
    with pytest.raises(ValueError, match="the weight of label 1 must be a finite number >= 0"):
        mf.EmpiricalRisk(NETWORK, X, np.arange(N) % 2, "softmax", weights={0: 1.0, 1: value})
    mf.EmpiricalRisk(
        NETWORK,
        X,
        np.arange(N) % 2,
        "softmax",
        weights={np.int8(0): np.longdouble(1), 1: np.array(2)},
    )


def test_a_comparison_takes_this_seed_s_own_output_with_the_weights_of_its_run(tmp_path):
    """|slopes at f_0 - slopes at 0|/|slopes at f_0|, of the weighted risk: on rows of weight 0
    nothing drives the flow.
    """
    y = CASES["squared"][0]
    risk = mf.EmpiricalRisk(NETWORK, X, y, weights=WEIGHTS)
    path = tmp_path / "a.h5"
    mf.simulate(
        mf.GradientFlow(risk),
        STATE,
        mf.RK4,
        dt=0.05,
        n_steps=2,
        observers=[mf.Recorder(path, mf.every(1))],
    )
    run = mf.Trajectory(path)
    f0 = mf.GradientFlow(risk).predict(STATE)[:, 0]
    drives = WEIGHTS * (f0 - y)
    own = compare._own_output(
        run.config["flow"], run.network, run.data, STATE, run.arrays.get("weights")
    )
    assert own == pytest.approx(
        0.7 * np.linalg.norm(WEIGHTS * f0) / np.linalg.norm(drives), rel=ROUNDING
    )
    assert own != pytest.approx(0.7 * np.linalg.norm(f0) / np.linalg.norm(f0 - y), rel=1e-3)
