"""Workers of a sweep that are killed (SIGKILL) before each call that changes a name or makes one
durable, and their successors.

`python dying_worker.py folder 9` kills before every ninth such call. Prints "run <content hash>"
for each, or what is wrong.
"""

import os
import sys
from pathlib import Path

import h5py  # noqa: F401  what every child needs, loaded once before the forks
import scipy.linalg  # noqa: F401
import toy_run
from toy_run import child, die_before

import meanfield as mf
from sims.lab import experiment
from sims.sweeps import folders, leases, plans, workers
from sims.sweeps.workers import Terms

toy_run.DURABLE = (*toy_run.DURABLE, "link", "rename")
BASE = {
    "m": 8,
    "t_end": 0.4,
    "dt": 0.1,
    "frames": 2,
    "data": {"name": "teacher_student", "options": {"n": 6, "dim": 2}},
}
TERMS = Terms(checkpoint_seconds=0.0)


def sweep(folder):
    """Of one run."""
    return folders.create(plans.plan({"base": BASE, "axes": {"seed": [0]}}), folder)[0]


def killed_before(number, folder):
    """Kill a worker there, let the next one find its lease stale; returns whether it was killed
    before it was done.
    """
    here = sweep(folder)
    (name,) = here.plan.runs
    _, status = os.waitpid(child(lambda: (die_before(number), workers.work(here, TERMS))), 0)
    there = here.run(name).stat().st_ino if here.published() else None
    for path in here.leases.glob("[0-9a-f]*"):
        then = leases.now_ns(here.leases) - int(3600e9)
        os.utime(path, ns=(then, then))
    _, second = os.waitpid(child(lambda: workers.work(here, TERMS)), 0)
    left = [*here.work.iterdir(), *here.failed.iterdir(), *here.leases.glob("[0-9a-f]*")]
    if second or there not in (None, here.run(name).stat().st_ino) or left:
        print(
            f"wrong: killed before call {number}: then {second}, published {there}, left "
            f"over {left}",
            flush=True,
        )
    with mf.Trajectory(here.run(name)) as run:
        print("run", run.content_hash(), flush=True)
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    place, stride = Path(sys.argv[1]), int(sys.argv[2])
    (config,) = (run.config for run in sweep(place / "plan").plan.runs.values())
    experiment.make(config)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    calls = 0
    while killed_before(calls, place / str(calls)):
        calls += stride
    print("calls", calls)
