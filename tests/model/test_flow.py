"""GradientFlow and EmpiricalRisk at their doors: what the user calls, against the slow twin, with
unequal masses.
"""

import naive
import numpy as np
import pytest

import meanfield as mf

# One forward pass and its adjoint: a few hundred terms of size one, each rounded once.
ROUNDING = 1e-13


def problem(rng, loss, outputs, m=9, n=6, dim=3):
    mass = rng.random(m) + 0.1
    state = mf.State(
        rng.normal(size=(m, dim + outputs + 1)), outputs=outputs, mass=mass / mass.sum()
    )
    labels = {
        "softmax": rng.integers(0, outputs, n),
        "logistic": rng.choice([-1.0, 1.0], (n, outputs)),
    }
    labels["hinge"] = labels["logistic"]
    return state, rng.normal(size=(n, dim)), labels.get(loss, rng.normal(size=(n, outputs)))


CASES = [
    (loss, reduction)
    for loss in ("squared", "huber", "logistic", "hinge", "softmax")
    for reduction in ("mean", "sum")
]


@pytest.mark.parametrize(("loss", "reduction"), CASES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_flow_is_the_slow_twin_with_unequal_masses(rng, loss, reduction, outputs):
    """THEORY.md, section 1: f, R, F_s, δF/δμ and v = -∇δF/δμ."""
    if loss == "softmax" and outputs == 1:
        pytest.skip("softmax needs two outputs at least")
    state, x, y = problem(rng, loss, outputs)
    network = mf.Network("tanh", mf.Scaling(0.7, alpha=3.0), trainable=("a", "w"))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, y, loss, reduction, ridge=0.3))
    close = {"rtol": ROUNDING, "atol": ROUNDING}
    np.testing.assert_allclose(flow.predict(state), naive.predict(network, state, x), **close)
    np.testing.assert_allclose(
        flow.predict(state, x[:2]), naive.predict(network, state, x[:2]), **close
    )
    assert flow.risk(state) == pytest.approx(
        naive.risk(network, state, x, y, loss, reduction), rel=ROUNDING
    )
    arguments = (network, state, x, y, loss, reduction, 0.3)
    assert flow.energy(state) == pytest.approx(naive.energy(*arguments), rel=ROUNDING)
    np.testing.assert_allclose(
        flow.first_variation(state), naive.first_variation(*arguments), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        flow.velocity(state), naive.velocity(*arguments), rtol=1e-12, atol=1e-12
    )
    assert not flow.velocity(state)[:, -1].any()


def test_one_output_keeps_its_axis_and_masses_are_not_needed(rng):
    state, x, y = problem(rng, "squared", 1)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, y[:, 0]))
    assert flow.predict(state).shape == (6, 1) and flow.velocity(state).shape == state.theta.shape


def test_float32_is_the_same_flow_to_its_rounding(rng):
    state, x, y = problem(rng, "squared", 1)
    risk = mf.EmpiricalRisk(mf.Network("tanh"), x, y)
    fast, exact = mf.GradientFlow(risk, dtype="float32"), mf.GradientFlow(risk)
    assert fast.velocity(state).dtype == np.float32
    # tens of float32 operations a term, each of relative error 6e-8
    np.testing.assert_allclose(fast.velocity(state), exact.velocity(state), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backend": "gpu"}, "backend must be one of cpu, cuda, auto"),
        ({"dtype": "float16"}, "dtype must be one of float64, float32"),
        ({"dtype": None}, "dtype must be one of float64, float32; got None"),
        ({"temperature": -0.1}, "temperature must be finite and >= 0"),
        ({"reaction": -1.0}, "reaction must be a rate >= 0, finite; got -1.0"),
    ],
)
def test_a_flow_that_is_not_there_says_so(rng, settings, words):
    _, x, y = problem(rng, "squared", 1)
    with pytest.raises(ValueError, match=words):
        mf.GradientFlow(mf.EmpiricalRisk(mf.Network(), x, y), **settings)


def test_a_dtype_may_be_numpys(rng):
    _, x, y = problem(rng, "squared", 1)
    risk = mf.EmpiricalRisk(mf.Network(), x, y)
    assert [
        mf.GradientFlow(risk, dtype=dtype).dtype for dtype in (np.float32, np.dtype("float64"))
    ] == ["float32", "float64"]


def test_what_does_not_fit_is_named_with_what_would(rng):
    state, x, y = problem(rng, "squared", 1)
    network = mf.Network()
    with pytest.raises(ValueError, match=r"x must be \(n, d\).*x\[:, None\]"):
        mf.EmpiricalRisk(network, x[:, 0], y)
    for arguments in ((x,), (mf.data.Dataset(x, y),), (mf.data.Dataset(x, y), "logistic")):
        with pytest.raises(TypeError, match=r"mf\.EmpiricalRisk\(network, .*data\.x, data\.y\)"):
            mf.EmpiricalRisk(network, *arguments)
    with pytest.raises(ValueError, match=r"first at row 2, column 1"):
        mf.EmpiricalRisk(network, np.where(np.arange(18).reshape(6, 3) == 7, np.nan, x), y)
    with pytest.raises(ValueError, match="d = 3 input dimensions"):
        mf.GradientFlow(mf.EmpiricalRisk(network, x[:, :2], y)).velocity(state)
    with pytest.raises(ValueError, match=r"y has 2 output\(s\) a sample but the state has K = 1"):
        mf.GradientFlow(mf.EmpiricalRisk(network, x, np.hstack([y, y]))).risk(state)
    with pytest.raises(ValueError, match="needs outputs K >= 3"):
        mf.GradientFlow(mf.EmpiricalRisk(network, x, np.array([0, 1, 2, 0, 1, 2]), "softmax")).risk(
            state
        )
    with pytest.raises(ValueError, match="ridge must be a finite number >= 0"):
        mf.EmpiricalRisk(network, x, y, ridge=-1.0)
    with pytest.raises(ValueError, match='reduction must be "mean" or "sum"'):
        mf.EmpiricalRisk(network, x, y, reduction="none")
