"""What is measured: networks stopped at one training loss, beside the kernel machine, and the test
loss against the size of the start.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

import meanfield as mf
import ntk

from ..lab.equal_training import error_of

if TYPE_CHECKING:
    from . import Scale, Training

# Chizat, Oyallon and Bach (2019), figure 1c: τ -> test loss × 1000, mean and scatter of five trials
# (tests/TRUTHS.md, section 5)
PUBLISHED = {
    10**-2.0: (0.073, 0.018),
    10**-1.5: (0.435, 0.106),
    10**-1.0: (1.65, 0.17),
    10**-0.5: (2.92, 0.47),
    1.0: (3.21, 0.58),
}


def dataset(config: Training, task: str) -> mf.data.Dataset:
    """Three ReLU neurons as a teacher, x ~ N(0, I); or digits, odd against even, |x| = 1."""
    if task == "teacher":
        return mf.data.teacher_student(
            config.teacher_n, config.teacher_dim, n_test=config.test, seed=3
        )
    odd = (1, 3, 5, 7, 9)
    return mf.data.digits(
        targets="sign", positive=odd, normalise="rows", test_fraction=0.5, n=config.digits_n
    )


def law(task: str, data: mf.data.Dataset) -> mf.InitialLaw:
    """Symmetric, so f_0 = 0; w as long as the teacher's, or N(0, I)."""
    w_std = 1.0 / math.sqrt(data.d) if task == "teacher" else 1.0
    return mf.InitialLaw(dim=data.d, w_std=w_std, symmetric=True)


def network(gamma: float) -> mf.Network:
    return mf.Network("relu", mf.Scaling(gamma), trainable=("a", "w"))


def times(config: Training) -> np.ndarray:
    """Flow times at which one looks: from 0.1 by factors √2."""
    count = math.floor(2 * math.log2(config.t_most / 0.1) + 1e-9)
    return 0.1 * 2.0 ** (np.arange(count + 1) / 2)


def kernel_flow(task: str, data: mf.data.Dataset) -> ntk.KernelFlow:
    """The network of infinite width at γ < 1, from f_0 = 0."""
    net, start = network(0.5), law(task, data)
    K_test = ntk.kernel(net, start, data.x_test, data.x)
    return ntk.KernelFlow(ntk.kernel(net, start, data.x), data.y, K_test=K_test)


def machine(config: Training, task: str) -> dict[str, np.ndarray]:
    """train and test (times,) of the kernel machine, `end` its test error at t = ∞."""
    data = dataset(config, task)
    flow = kernel_flow(task, data)
    found = flow.at(np.append(times(config), np.inf))
    assert found.test is not None  # there is a K_test
    zero, size = np.zeros(data.n_test), np.mean(data.y**2)
    train = np.mean((found.train - data.y) ** 2, axis=1) / size
    test = np.array([error_of(f, zero, data) for f in found.test])
    return {"train": train[:-1], "test": test[:-1], "end": test[-1]}


def trained(config: Training, task: str, gamma: float) -> dict[str, np.ndarray]:
    """train and test (seeds, times): R/R(0) and the test error until R <= level·R(0), NaN from then on;
    drift (seeds,): ‖H - H_0‖/‖H_0‖ on the training inputs there.
    """
    data = dataset(config, task)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network(gamma), data.x, data.y), dtype="float32")
    start_law, moments = law(task, data), times(config)
    train = np.full((config.seeds, len(moments)), np.nan)
    test, drift = train.copy(), np.empty(config.seeds)
    zero, size = np.zeros(data.n_test), 0.5 * float(np.mean(data.y**2))
    for seed in range(config.seeds):
        first = state = start_law.sample(config.m, seed=seed)
        for k, t in enumerate(moments):
            state = mf.simulate(flow, state, mf.RK4, dt="auto", t_end=float(t), progress=False)
            train[seed, k] = flow.risk(state) / size
            test[seed, k] = error_of(flow.predict(state, data.x_test)[:, 0], zero, data)
            if train[seed, k] <= config.level:
                break
        before, after = (ntk.empirical(network(gamma), item, data.x) for item in (first, state))
        drift[seed] = ntk.drift(before, after)
    return {"train": train, "test": test, "drift": drift}


def at_level(train: np.ndarray, test: np.ndarray, level: float) -> float:
    """The test error at this training loss, linear in log loss; NaN where it was not reached."""
    passed = np.flatnonzero(train <= level)
    if not passed.size or passed[0] == 0:
        return float(test[0]) if passed.size else math.nan
    k = int(passed[0])
    share = np.log(train[k - 1] / level) / np.log(train[k - 1] / train[k])
    return float(test[k - 1] + share * (test[k] - test[k - 1]))


def scaled(config: Scale, tau: float) -> dict[str, np.ndarray]:
    """loss (trials,): 1000 × the test loss after training from a, w ~ τ N(0, 1), symmetrised.

    Chizat, Oyallon and Bach (2019), figure 1c: f = Σ_k a_k relu(⟨w_k, x⟩), gradient descent on
    ½ mean (f - y)² with the rate min(10, 0.1/τ²). f(τθ) = τ² f(θ): the size of the start acts as an
    output scale α = τ².
    """
    scaling, found = mf.Scaling(gamma=0.0), np.empty(config.trials)
    dt = scaling.flow_time(min(10.0, 0.1 / tau**2), 1, config.m)
    for trial in range(config.trials):
        data = mf.data.teacher_student(
            config.n, config.dim, inputs="sphere", n_test=config.n, seed=trial
        )
        net = mf.Network("relu", scaling, trainable=("a", "w"))
        flow = mf.GradientFlow(mf.EmpiricalRisk(net, data.x, data.y), dtype="float32")
        start = mf.InitialLaw(
            dim=config.dim, a="normal", a_std=tau, w_std=tau, symmetric=True
        ).sample(config.m, seed=trial)
        with warnings.catch_warnings():  # gradient descent is meant, and not the flow
            warnings.filterwarnings("ignore", "energy_defect")
            end = mf.simulate(flow, start, mf.EULER, dt=dt, n_steps=config.steps, progress=False)
        f = flow.predict(end, data.x_test)[:, 0]
        found[trial] = 1000 * 0.5 * np.mean((f - data.y_test) ** 2)
    return {"loss": found}
