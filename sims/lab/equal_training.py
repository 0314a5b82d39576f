"""Networks held against each other at equal training: at one training loss, and beside the kernel
machine at t = ∞.

At one flow time a network whose neurons travel has trained further than one whose neurons stay, so
that a lower test error there can come from either.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import meanfield as mf
import ntk

from .runs import Row, at_frames

MOST = 3000  # training samples for which the kernel machine is solved, O(n³)


def levels(rows: list[Row]) -> dict[tuple[int, int], float]:
    """(m, seed) -> the training loss that the slowest network of that width and seed ends at, which
    the others have passed.
    """
    found: dict[tuple[int, int], float] = {}
    for row in rows:
        found[row.m, row.seed] = max(row.train_loss, found.get((row.m, row.seed), 0.0))
    return found


def error_at(path: Path, level: float) -> float:
    """The test error of a run, as Row.test_error, when its training loss was `level`: linear in log
    loss between the two frames about it; NaN where the loss was never there.
    """
    with mf.Trajectory(path) as run:
        flow, data = run.flow(), run.data
        losses = at_frames(run, "risk")
        passed = np.flatnonzero(losses <= level * (1 + 1e-12))
        if not passed.size or losses[0] < level:
            return float("nan")
        start = _outputs(flow, run[0], data)

        def error(k: int) -> float:
            return error_of(_outputs(flow, run[k], data), start, data)

        k = int(passed[0])
        after = error(k)
        if k == 0 or losses[k] >= level:
            return after
        before = error(k - 1)
        share = np.log(losses[k - 1] / level) / np.log(losses[k - 1] / losses[k])
        return float(before + share * (after - before))


def kernel_machine(path: Path) -> float | None:
    """The test error of the network of infinite width at γ < 1, trained to t = ∞ from f_0 = 0: h(x)ᵀ
    H∞⁺ y, H∞ of the run's law. None where more samples than MOST were trained on, or the file has no
    law.
    """
    with mf.Trajectory(path) as run:
        network, law, data = run.network, run.law, run.data
    if law is None or data.n > MOST:
        return None
    K = ntk.kernel(network, law, data.x)
    flow = ntk.KernelFlow(K, data.y, K_test=ntk.kernel(network, law, data.x_test, data.x))
    test = flow.at(np.inf).test
    assert test is not None  # K_test was given
    return error_of(test, np.zeros(data.n_test), data)


def _outputs(flow: mf.GradientFlow, state: mf.State, data: mf.data.Dataset) -> np.ndarray:
    return flow.predict(state, data.x_test)[:, 0]


def error_of(f: np.ndarray, start: np.ndarray, data: mf.data.Dataset) -> float:
    """Of predictions f, and start before training: wrong signs as a fraction for labels
    ±1, else the loss in parts of the start's.
    """
    if np.isin(data.y, (-1.0, 1.0)).all():
        return float(np.mean(np.sign(f) != data.y_test))
    return float(np.mean((f - data.y_test) ** 2) / np.mean((start - data.y_test) ** 2))
