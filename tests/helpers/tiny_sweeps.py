"""Sweeps of runs that take milliseconds, and what their files hold."""

import meanfield as mf
from sims.sweeps import folders, plans

DATA = {"name": "teacher_student", "options": {"n": 12, "dim": 3, "n_test": 10}}


def made(folder, seeds=2, gammas=(0.5, 1.0), **base):
    """A sweep of tiny runs: m = 8, a dozen steps."""
    settings = {"m": 8, "t_end": 1.0, "dt": 0.1, "frames": 3, "data": DATA, **base}
    tables = {"base": settings, "axes": {"gamma": list(gammas), "seed": list(range(seeds))}}
    return folders.create(plans.plan(tables), folder)[0]


def hashes(sweep):
    found = {}
    for name in sorted(sweep.published()):
        with mf.Trajectory(sweep.run(name)) as run:
            found[name] = run.content_hash()
    return found
