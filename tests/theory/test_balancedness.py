"""Conserved quantities of homogeneous activations. TRUTHS.md, 3.3; THEORY.md, section 2."""

import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf


def problem(activation, bias, scaling=mf.MEAN_FIELD, outputs=1):
    rng = np.random.default_rng(8)
    network = mf.Network(
        activation, scaling=scaling, trainable=("a", "w", "b") if bias else ("a", "w")
    )
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, outputs))
    law = mf.InitialLaw(dim=3, outputs=outputs, a="normal", b_std=1.0 if bias else 0.0)
    return mf.GradientFlow(mf.EmpiricalRisk(network, x, y)), law.sample(200, seed=2)


def invariant(state, p):
    """|w|² + b² - p|a|² of each neuron."""
    return (state.w**2).sum(axis=1) + state.b**2 - p * (state.a**2).sum(axis=1)


def drift(flow, start, p, dt, t_end=1.0, method=mf.RK4):
    """(largest change of the invariant over neurons relative to the largest |θ_k|², the last
    state).
    """
    end = mf.simulate(flow, start, method, dt=dt, t_end=t_end, progress=False)
    return np.abs(invariant(end, p) - invariant(start, p)).max() / (start.theta**2).sum(
        axis=1
    ).max(), end


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("activation", "p", "outputs"),
    sweep([("relu", 1, 1), ("relu", 1, 3), ("leaky_relu", 1, 1), ("square", 2, 1)]),
)
def test_every_neuron_keeps_its_balance(h5_path, activation, p, outputs, bias):
    """d/dt (|w|² + b² - p|a|²) = 2⟨w, w'⟩ + 2bb' - 2p⟨a, a'⟩ = 0, because ⟨w, x⟩ + b = z and zσ'(z)
    = pσ(z).

    A neuron that passes no kink: dt⁴ = 1e-12 times derivatives, well within TRUTHS.md's 1e-6. One
    that is driven to a kink from both sides slides along it (Filippov) and chatters across it in
    every step, which costs dt²|v|² each: dt t |v|² in all.
    """
    dt = 1e-3
    flow, start = problem(activation, bias, outputs=outputs)
    series = mf.Series("balance_defect", mf.evenly(1))
    mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=dt,
        t_end=1.0,
        observers=[mf.Recorder(h5_path, mf.every(1)), series],
        progress=False,
    )
    with mf.Trajectory(h5_path) as run:
        z = np.array(
            [np.abs(state.w @ flow.functional.x.T + state.b[:, None]).min(axis=1) for state in run]
        )
        change = np.abs(invariant(run[-1], p) - invariant(start, p))
        assert mf.displacement(start, run[-1]) > 0.05  # the neurons did move
    scale = (start.theta**2).sum(axis=1).max()
    # a step moves z by dt |v| |x| < 10 dt: none crosses
    smooth = z.min(axis=0) > 10 * dt if p == 1 else np.ones(start.m, bool)
    assert smooth.mean() > 0.2
    assert change[smooth].max() / scale < 1e-6
    assert change.max() <= dt * 1.0 * (flow.velocity(start) ** 2).sum(axis=1).max()
    assert series.values == [pytest.approx(change.max() / scale, rel=1e-12)]


def test_the_balance_holds_in_the_lazy_scaling_too():
    """Large s moves no neuron far, but the invariant is exact for every s."""
    flow, start = problem("relu", True, scaling=mf.NTK)
    assert drift(flow, start, 1, dt=1e-3)[0] < 1e-6


def test_euler_violates_the_balance_at_first_order():
    """θ + dt v changes |w|² + b² - |a|² by dt² (|v_w|² + v_b² - v_a²) a step: dt in all, halved
    with dt (± 10 % at dt = 0.01).
    """
    flow, start = problem("relu", True)
    coarse, fine = (drift(flow, start, 1, dt=dt, method=mf.EULER)[0] for dt in (0.01, 0.005))
    assert coarse > 1e-4 and coarse / fine == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("activation", sweep(["tanh", "gelu", "softplus"]))
def test_an_activation_that_is_not_homogeneous_breaks_it(activation):
    flow, start = problem(activation, bias=True)
    for p in (1, 2):
        assert drift(flow, start, p, dt=1e-2)[0] > 1e-2


def test_a_frozen_bias_breaks_it():
    flow, start = problem("relu", bias=True)
    risk = flow.functional
    frozen = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu", trainable=("a", "w")), risk.x, risk.y)
    )
    assert drift(frozen, start, 1, dt=1e-2)[0] > 1e-2
