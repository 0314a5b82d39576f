"""What the engine does for its users, by its public names alone.

A process of its own, `python -P engine.py`, so that it runs with any commit's package. It reads a
JSON a line and answers a JSON a line:

    {"section": "steps", …}   makes a case and calls it, so that kernels are compiled; {"error": why}
    {"turn": 0.2}             a turn of so many seconds on that case; {"found": seconds of one piece of work}

Of "memory" what is found is the gigabytes of a process.

It imports nothing of this folder; the other sections take their inputs from here.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from math import exp
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[int], Any]  # count pieces of work
PIECES = 5  # of a turn: its time is their median
TEACHER = 3  # neurons
# steps after which all is compiled: the engine makes the first ones one by one, and the call that makes
# many wants several at least; peers that make 4 at a time make one by itself as well
WARM = 17


def samples(m: int, n: int, d: int, dtype: str) -> tuple:
    """(theta, x, y) at random, ⟨w, x⟩ of order one."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(m, d + 2)).astype(dtype)
    theta[:, 1:-1] /= d**0.5
    x = rng.normal(size=(n, d)).astype(dtype)
    return theta, x, np.sin(x[:, 0])


def student(m: int, d: int, dtype: str) -> tuple:
    """(theta, teacher), (m, d + 1) and (3, d + 1), columns [a | w]."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(m, d + 1)).astype(dtype)
    return theta, rng.normal(size=(TEACHER, d + 1)).astype(dtype)


def clouds(kind: str, m: int, p: int) -> tuple:
    """Two clouds (m, p) of normal particles.

    "moved": each particle, and where it is a third of the spread away; "shifted": two draws, one
    shifted by twice the spread; "γ = 0.5" and the like: the start and the end of a run.
    """
    if kind.startswith("γ"):
        return along(float(kind.removeprefix("γ = ")), m, p)
    x, other = np.random.default_rng(0).normal(size=(2, m, p))
    return x, x + other / 3 if kind == "moved" else other + 2.0


def along(gamma: float, m: int, p: int) -> tuple:
    """θ at the start and at t = 20 of a run that learns a kink, |x_1|, in p - 2 dimensions."""
    import meanfield as mf

    x = np.random.default_rng(0).normal(size=(64, p - 2))
    network = mf.Network("relu", mf.Scaling(gamma))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.abs(x[:, 0])))
    start = mf.InitialLaw(dim=p - 2, b_std=1.0, symmetric=True).sample(m, seed=0)
    end = mf.simulate(flow, start, mf.RK4, dt="auto", t_end=20.0, progress=False)
    return start.theta, end.theta


def square_distance(x, y):
    total = 0.0
    for j in range(x.size):
        total += (x[j] - y[j]) ** 2
    return total


def spring(x, y):
    return 0.5 * square_distance(x, y)


def grad_spring(x, y, out):
    for j in range(x.size):
        out[j] = x[j] - y[j]


def gaussian(x, y):
    return exp(-0.5 * square_distance(x, y))


def grad_gaussian(x, y, out):
    e = exp(-0.5 * square_distance(x, y))
    for j in range(x.size):
        out[j] = -(x[j] - y[j]) * e


INTERACTIONS = {"spring": (spring, grad_spring), "gaussian": (gaussian, grad_gaussian)}


# The work of a case of each section.


def _run(functional: Any, state: Any, dtype: str, method: str = "EULER") -> Work:
    """Steps of a run that nobody watches."""
    import meanfield as mf

    flow, method = mf.GradientFlow(functional, dtype=dtype), getattr(mf, method)
    return lambda count: mf.simulate(flow, state, method, dt=0.01, n_steps=count, progress=False)


def steps(
    activation: str, m: int, n: int, d: int, dtype: str, method: str = "EULER", **_: Any
) -> Work:
    import meanfield as mf

    theta, x, y = samples(m, n, d, dtype)
    risk = mf.EmpiricalRisk(mf.Network(activation), x, y)
    return _run(risk, mf.State(theta), dtype, method)


def small(activation: str, m: int, n: int, dtype: str, method: str, **_: Any) -> Work:
    """Steps of one long march. Runs as short as a turn would not compile their loop over steps at once."""
    import meanfield as mf

    theta, x, y = samples(m, n, 2, dtype)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), x, y), dtype=dtype)
    try:
        _, work = marching(flow, mf.State(theta), getattr(mf, method), 0.01)
    except ImportError:  # of a commit that makes its steps one by one
        return steps(activation, m, n, 2, dtype, method)
    work(1000)
    return work


def marching(flow: Any, state: Any, method: Any, dt: float) -> tuple[Any, Work]:
    """(A march without an end that nobody looks at, its steps)."""
    from meanfield.stepping.march import March
    from meanfield.stepping.stretches import Ahead

    march = March(flow, state, method, dt, None, 2**40)

    def work(count: int) -> None:
        last = march.step + count
        while march.step < last:
            march.advance(None, Ahead(step=last))

    return march, work


def population(m: int, d: int, dtype: str, **_: Any) -> Work:
    import meanfield as mf

    start, teacher = (
        mf.State(np.column_stack([particles, np.zeros(len(particles))]))
        for particles in student(m, d, dtype)
    )
    return _run(mf.PopulationRisk(mf.Network("relu", trainable=("a", "w")), teacher), start, dtype)


def interactions(interaction: str, m: int, d: int, dtype: str, **_: Any) -> Work:
    import meanfield as mf

    x = np.random.default_rng(0).normal(size=(m, d)).astype(dtype)
    energy = mf.PairwiseEnergy(interaction=INTERACTIONS[interaction])
    return _run(energy, mf.State(x, outputs=0), dtype)


def kernels(kind: str, size: int, n: int, d: int, dtype: str, **_: Any) -> Work:
    import meanfield as mf
    import ntk

    x = np.random.default_rng(0).normal(size=(n, d)) / d**0.5
    if kind == "analytic":
        return _repeated(lambda: ntk.deep(x.astype(dtype), depth=size))

    network, state = mf.Network("relu"), mf.InitialLaw(d, b_std=1.0).sample(size, seed=0)
    return _repeated(lambda: ntk.empirical(network, state, x, dtype=dtype))


def w2(of: tuple, **_: Any) -> Work:
    import meanfield as mf

    x, y = clouds(*of)
    return _repeated(lambda: mf.w2(x, y))


def runs(m: int, n: int, dtype: str, steps: int, **_: Any) -> Work:
    """A whole recorded run with 100 frames."""
    import meanfield as mf

    x = np.random.default_rng(0).normal(size=(n, 2))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.sin(x[:, 0])), dtype=dtype)
    start = mf.InitialLaw(dim=2, b_std=1.0).sample(m, seed=0)
    # the loop over steps, which later runs would compile between two turns
    with suppress(ImportError):
        marching(flow, start, mf.RK4, 0.01)[1](WARM)
    folder = tempfile.TemporaryDirectory()

    def once() -> None:
        recorder = mf.Recorder(Path(folder.name) / "run.h5", mf.evenly(100), exists="replace")
        mf.simulate(
            flow, start, mf.RK4, dt=0.01, n_steps=steps, observers=[recorder], progress=False
        )

    return _repeated(once)


SWEEP = """
base.m      = 64
base.t_end  = 10.0
base.dt     = 0.05
base.frames = 11
base.data   = { name = "teacher_student", options = { n = 50, dim = 2 } }
axes.seed   = SEEDS
"""


def sweeps(of: tuple, **_: Any) -> Work:
    """`scripts/sweep work` on a new sweep of so many recorded runs with so many workers."""
    runs, workers = of
    # its name at commit 3fbdf82 and before
    program = "sims.commands.sweep" if find_spec("sims.commands") else "sims.sweep"

    def command(*words: Any) -> None:
        process("-m", program, *map(str, words))

    place = tempfile.TemporaryDirectory()
    plan, fresh = Path(place.name) / "sweep.toml", Path(place.name) / "fresh"
    plan.write_text(SWEEP.replace("SEEDS", str(list(range(runs)))), encoding="utf-8")
    command("create", plan, fresh)

    def once() -> None:
        sweep = Path(place.name) / "sweep"
        shutil.rmtree(sweep, ignore_errors=True)
        shutil.copytree(fresh, sweep)
        command("work", sweep, "--workers", workers)

    return _repeated(once)


def memory(of: dict, **_: Any) -> Work:
    """The largest resident size of a process that takes three steps, GB; `count` is not looked at."""
    return lambda count: 1e-9 * int(process(__file__, json.dumps(of)))


def process(*words: str) -> str:
    """What a Python process says that has the packages of this one; ChildProcessError with its last
    line where it fails.
    """
    import meanfield

    tree = str(Path(meanfield.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", *words],
        env={**os.environ, "PYTHONPATH": tree},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ChildProcessError(f"{' '.join(words)} ended with {done.returncode}: {last}")
    return done.stdout


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    # on Linux ru_maxrss would count what the parent process held before exec
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def start(name: str, of: str, **_: Any) -> Work:
    """A fresh process, where "compiling" with an empty cache."""

    def once() -> None:
        with tempfile.TemporaryDirectory() as folder:
            empty = {"MEANFIELD_CACHE": f"{folder}/0", "NUMBA_CACHE_DIR": f"{folder}/1"}
            environment = {**os.environ, **(empty if name.endswith("compiling") else {})}
            subprocess.run([sys.executable, "-P", "-c", of], env=environment, check=True)

    return _repeated(once)


def _repeated(function: Callable[[], Any]) -> Work:
    def work(count: int) -> None:
        for _ in range(count):
            function()

    return work


def seconds_of(work: Work, count: int) -> float:
    """Of one piece of work."""
    begin = time.perf_counter()
    work(count)
    return (time.perf_counter() - begin) / count


def turn(work: Work, seconds: float) -> float:
    """The median of PIECES times of one piece of work; one time, where it is longer than the turn.

    What comes before is not counted: the threads of the process before go to sleep meanwhile.
    """
    one = seconds_of(work, 1)
    count = round(seconds / PIECES / one)
    if count == 0:
        return one if one > seconds else statistics.median(seconds_of(work, 1) for _ in range(3))
    one = seconds_of(work, count)  # without the fixed cost of a call
    count = max(1, round(seconds / PIECES / one))
    return statistics.median(seconds_of(work, count) for _ in range(PIECES))


def of_one_tree() -> None:
    """An editable install would give a commit's packages the modules that it lacks, of another
    commit: findings/editable_install_joins_another_tree.sh.
    """
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if not getattr(finder, "__module__", "").startswith("__editable__")
    ]


def main() -> None:
    of_one_tree()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a case prints is no answer
    section, work = "", lambda count: None
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "section" in asked:
                section = asked["section"]
                work = globals()[section](**asked)
                work(1)
            else:
                found = work(1) if section == "memory" else turn(work, asked["turn"])
                answer = {"found": found}
        except Exception as error:  # another commit may lack anything
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:  # what a case of memory starts
        steps(**json.loads(sys.argv[1]))(3)
        print(peak_bytes())
    else:
        main()
