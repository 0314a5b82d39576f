"""A small run for mf.W2, and jobs of its worker processes that wait, die or fail: they must be
importable by name there.
"""

import os
import time

import numpy as np

import meanfield as mf
from meanfield.observers.distances import Solver
from meanfield.transport.couplings import NotConverged

X = np.linspace(-1, 1, 12)[:, None]
START = mf.InitialLaw(dim=1, b_std=1.0).sample(40, seed=3)
GATE = "MEANFIELD_TEST_GATE"  # a file: solvers that are Gated answer once it is there


def flow(dtype="float64", outputs=1):
    y = np.abs(X[:, 0]) if outputs == 1 else np.column_stack([np.abs(X[:, 0])] * outputs)
    return mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, y), dtype=dtype)


def watched(*observers, of=None, state=START, steps=60, progress=False):
    return mf.simulate(
        of or flow(),
        state,
        mf.HEUN,
        dt=0.1,
        n_steps=steps,
        observers=[*observers],
        progress=progress,
    )


class Gated(Solver):
    """Answers nothing before the gate is open."""

    def answer(self, task):
        deadline = time.monotonic() + 60
        while not os.path.exists(os.environ[GATE]):
            assert time.monotonic() < deadline, "the run waited for a distance"
            time.sleep(0.01)
        return super().answer(task)


class Mortal(Solver):
    """Its process dies at step 30."""

    def answer(self, task):
        if task[1].step == 30:
            os._exit(3)
        return super().answer(task)


class Stuck(Solver):
    """Finds no optimum at step 30."""

    def answer(self, task):
        if task[1].step == 30:
            raise NotConverged("no plan.")
        return super().answer(task)


class Foreign(Solver):
    """Cannot be had by another process."""

    def __reduce__(self):
        return _elsewhere, ()


def _elsewhere():
    raise ImportError("no such module here")
