"""One Euler step is gradient descent: the engine against torch autograd over every choice the
contract offers.

THEORY.md, section 1: explicit Euler with step dt is exactly gradient descent on R + s² (λ/2) mean_k
|θ_k|² with learning rate η = dt·m/s². Held to ‖Δθ - Δθ_torch‖ <= 1e-12 (‖θ‖ + ‖Δθ‖) in float64, off
the kinks: the two sum the same few dozen terms, each of a few roundings (1e-16), in different
orders; at s = 1/√m … 10√m no term is larger than that norm.
"""

from itertools import combinations, product

import numba
import numpy as np
import pytest

pytest.importorskip("torch", reason="ours is held against torch")

import torch
from torch_twin import torch_gradient_step

import meanfield as mf
from meanfield.formulas import activations, losses

M, N = 6, 7
SCALINGS = [mf.Scaling(gamma, alpha) for gamma in (0.5, 0.7, 1.0, 1.2) for alpha in (1.0, 10.0)]
LOSSES = [(loss, K) for loss in losses.TABLE for K in ((3,) if loss == "softmax" else (1, 3))]
SUBSETS = [names for count in range(4) for names in combinations(("a", "w", "b"), count)]
RIDGES, REDUCTIONS = (0.0, 0.3), ("mean", "sum")
KERNEL = pytest.mark.kernel
NAMES = list(activations.TABLE)


@pytest.fixture(autouse=True)
def _one_thread():
    """Thousands of tiny steps: waking a second thread costs more than the step (and changes no
    bit).
    """
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def problem(loss, K, d, scaling):
    """Particles and data in general position: every z, and every margin of hinge and huber, farther
    than 1e-3 from a kink.
    """
    kind = losses.get(loss).labels
    for seed in range(100):
        rng = np.random.default_rng([seed, d, K])
        theta, x = rng.normal(size=(M, K + d + 1)), rng.normal(size=(N, d)) / np.sqrt(d)
        y = {
            "real": rng.normal(size=(N, K)),
            "sign": rng.choice([-1.0, 1.0], (N, K)),
            "class": rng.integers(0, K, N),
        }[kind]
        z = x @ theta[:, K:-1].T + theta[:, -1]
        if np.abs(z).min() > 1e-3:
            return theta, x, y
    raise AssertionError("no problem in general position found")


def margin(theta, x, y, loss, activation, scaling, K):
    """Distance of the nearest prediction to a kink of the loss."""
    sigma = np.vectorize(activations.get(activation).value, otypes=[float])
    f = scaling.output_scale(M) * sigma(x @ theta[:, K:-1].T + theta[:, -1]) @ theta[:, :K] / M
    if loss == "huber":
        return np.abs(np.abs(f - y) - 1.0).min()
    return np.abs(1.0 - y * f).min() if loss == "hinge" else np.inf


def check_step(activation, loss, K, scaling, trainable, ridge, reduction, d=3):
    """One simulate step against one step of torch.optim.SGD."""
    theta, x, y = problem(loss, K, d, scaling)
    assert margin(theta, x, y, loss, activation, scaling, K) > 1e-9
    network = mf.Network(activation, scaling=scaling, trainable=trainable)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(network, x, y, loss=loss, reduction=reduction, ridge=ridge)
    )
    dt = 0.1
    end = mf.simulate(flow, mf.State(theta, outputs=K), mf.EULER, dt=dt, n_steps=1, progress=False)
    rate = dt * M / scaling.output_scale(M) ** 2
    expected = torch_gradient_step(
        theta, x, y, activation, loss, scaling, trainable, ridge, reduction, rate
    )
    moved = np.linalg.norm(expected - theta)
    what = activation, loss, K, scaling, trainable, ridge, reduction, d
    assert np.linalg.norm(end.theta - expected) <= 1e-12 * (np.linalg.norm(theta) + moved), what
    # hinge: every sample may have its margin
    assert moved > 0 or not trainable or loss == "hinge", what


EVERY = list(product(SCALINGS, LOSSES, SUBSETS, RIDGES, REDUCTIONS))
PAIRS = [  # a Latin square: any two choices of two kinds meet at least once
    (
        SCALINGS[(i + j) % 8],
        LOSSES[i],
        SUBSETS[j],
        RIDGES[(j >> 1 ^ i) & 1],
        REDUCTIONS[(j >> 2 ^ i >> 1) & 1],
    )
    for i, j in product(range(9), range(8))
]


def test_among_the_pairs_any_two_choices_meet():
    for one, other in combinations(range(5), 2):
        asked, found = ({(case[one], case[other]) for case in cases} for cases in (EVERY, PAIRS))
        assert asked == found


# nothing trainable, or every margin kept: that is the point
@pytest.mark.filterwarnings("ignore:no particle moves")
@pytest.mark.parametrize(
    ("activation", "cases"),
    [
        *(pytest.param(name, "pairs", marks=() if name == "tanh" else KERNEL) for name in NAMES),
        *(
            pytest.param(name, "all", marks=KERNEL if name == "tanh" else pytest.mark.slow)
            for name in NAMES
        ),
    ],
)
def test_one_euler_step_is_gradient_descent_with_rate_dt_m_over_s_squared(activation, cases):
    """8 scalings × 9 losses and K × 8 subsets × 2 ridges × 2 reductions, or those that meet in
    pairs.
    """
    for case in EVERY if cases == "all" else PAIRS:
        check_step(activation, case[1][0], case[1][1], case[0], *case[2:])


# each its own kernels, of a shape that other d have too: a fast run leaves their compiling out
BETWEEN = (
    4,
    7,
    8,
    9,
    10,
    11,
)
FEW = (2, 13)  # one of each of the two kinds of kernels
DIMS = [
    *(pytest.param(d, marks=pytest.mark.slow) for d in BETWEEN),
    *FEW,
    *(pytest.param(d, marks=KERNEL) for d in (*range(1, 17), 64) if d not in (*BETWEEN, *FEW)),
]


@pytest.mark.parametrize("d", DIMS)
def test_a_step_is_gradient_descent_in_every_input_dimension(d):
    for scaling, reduction in product((mf.NTK, mf.MEAN_FIELD, mf.Scaling(0.7, 10.0)), REDUCTIONS):
        for K in (1, 3) if d in (1, 3, 12, 64) else (1,):
            check_step("tanh", "squared", K, scaling, ("a", "w", "b"), 0.1, reduction, d=d)


def test_many_steps_are_many_steps_of_gradient_descent():
    """20 steps at γ = 1/2: rounding errors of 20 steps, amplified by at most e^{L t} with L t of
    order 1.
    """
    theta, x, y = problem("squared", 1, 3, mf.NTK)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", scaling=mf.NTK), x, y))
    end = mf.simulate(flow, mf.State(theta), mf.EULER, dt=0.05, n_steps=20, progress=False)
    expected = theta
    for _ in range(20):
        expected = torch_gradient_step(
            expected, x, y, "tanh", "squared", mf.NTK, ("a", "w", "b"), 0.0, "mean", 0.05
        )
    assert np.linalg.norm(end.theta - expected) <= 20 * 1e-12 * np.linalg.norm(theta)
    assert end.t == pytest.approx(1.0) and end.step == 20


@pytest.mark.parametrize(("outputs", "decay"), [(1, 0.0), (3, 0.0), (1, 0.02)])
def test_a_hundred_steps_of_torch_sgd_on_mse_are_euler_with_dt_two_lr_s2_over_m(outputs, decay):
    """nn.MSELoss has no ½ and averages over K outputs: dt = 2·lr·s²/(m K); weight_decay w is ridge
    w·lr/dt. θ = [a | w | b].

    100 steps of a contraction add 100 roundings of sums of 200 terms: 1e-13 of f of size 1."""
    torch.manual_seed(0)
    m, d, lr = 200, 3, 1e-3
    layer, readout = (
        torch.nn.Linear(d, m).double(),
        torch.nn.Linear(m, outputs, bias=False).double(),
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, d)), rng.normal(size=(40, outputs))
    theta = (
        torch.cat([readout.weight.T, layer.weight, layer.bias[:, None]], dim=1)
        .detach()
        .numpy()
        .copy()
    )
    scaling = mf.Scaling(gamma=0)
    dt = scaling.flow_time(2 * lr / outputs, 1, m)
    risk = mf.EmpiricalRisk(mf.Network("tanh", scaling), x, y, ridge=decay * lr / dt)
    flow = mf.GradientFlow(risk)
    end = mf.simulate(flow, mf.State(theta, outputs), mf.EULER, dt=dt, n_steps=100, progress=False)
    model = torch.nn.Sequential(layer, torch.nn.Tanh(), readout)
    sgd = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=decay)
    for _ in range(100):
        sgd.zero_grad()
        torch.nn.MSELoss()(model(torch.tensor(x)), torch.tensor(y)).backward()
        sgd.step()
    np.testing.assert_allclose(
        flow.predict(end, x), model(torch.tensor(x)).detach().numpy(), rtol=0, atol=1e-13
    )
    np.testing.assert_allclose(end.b, layer.bias.detach().numpy(), rtol=0, atol=1e-13)
