"""Runs that are killed (SIGKILL) at random instants and taken up again by processes that know the
file only.

`python dying_run.py folder 20` kills 20 forked processes in turn, `python dying_run.py folder 20
fresh` as many interpreters of their own; `SIGTERM`, `SIGINT` or `SIGUSR1` in place of fresh sends
forks that signal. The kinds of run take turns. Prints "kind hash" for each run that was completed in
spite of it.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py  # noqa: F401  what every child needs, loaded once before the forks
import numpy as np
import scipy.linalg  # noqa: F401
from toy_run import child

import meanfield as mf
from meanfield.files.recording import unfinished

X = np.linspace(-1, 1, 16)[:, None]
LAW = mf.InitialLaw(dim=1, b_std=1.0)
KINDS = ("fixed", "auto", "adaptive")
INTERRUPTED = 75
LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT  # has it ended by itself?
# flow times to which a finished run is extended
LONGER = {
    "fixed": 40.0,
    "auto": 30.0,
    "adaptive": 300.0,
}


def problem(kind):
    """(flow, state, integrator, dt, t_end): about a second of steps."""
    height, activation = (20.0, "relu") if kind == "auto" else (1.0, "tanh")
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), X, height * np.abs(X[:, 0])))
    method = {"fixed": mf.RK4, "auto": mf.HEUN, "adaptive": mf.Adaptive(1e-10, 1e-12)}[kind]
    dt, t_end = {"fixed": (0.01, 25.0), "auto": ("auto", 20.0), "adaptive": (None, 200.0)}[kind]
    return flow, LAW.sample(50, seed=1), method, dt, t_end


def simulate(path, kind, share=1.0, **settings):
    """The run from its first step to its file (or a share of it); a schedule of frames, and two
    series of other rhythms.
    """
    flow, state, method, dt, t_end = problem(kind)
    recorder = mf.Recorder(path, mf.evenly(12), **settings)
    watch = [
        recorder,
        mf.Series("theta_max", mf.every(7)),
        mf.Series("risk", mf.at_times([0.5, 1.25])),
    ]
    t_end = share * t_end
    return mf.simulate(flow, state, method, dt=dt, t_end=t_end, observers=watch, progress=False)


def load_kernels(kinds=KINDS):
    """Before the forks, which would each take half a second for it."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            simulate(Path(folder) / f"{kind}.h5", kind, share=0.1)


def go_on(path, kind):
    """Start the run, take it up wherever a kill has left it, or extend it once it is finished; then
    finish it. An interruption ends the process with 75.
    """
    try:
        if unfinished(path) or path.exists():
            mf.resume(path, LONGER[kind], progress=False, checkpoint_seconds=0.02)
        else:
            simulate(path, kind, checkpoint_seconds=0.02)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


def killed_at_random(folder, count, start, number=signal.SIGKILL):
    """start(path, kind) -> process id. Every run is extended once it is finished, and killed in
    that as well.

    Three kills of four come at a random instant after the process has published its first
    checkpoint, the rest at any.
    """
    chance, kills, turns, done = (
        random.Random(7),
        0,
        itertools.cycle(KINDS),
        dict.fromkeys(KINDS, 0),
    )
    while kills < count or not all(done.values()):
        kind = next(turns)
        path = folder / f"{kind}{done[kind]}.h5"
        before, pid = checkpoints(path), start(path, kind)
        if kills < count:
            patient = chance.random() < 0.75
            while (
                patient and checkpoints(path) == before and os.waitid(os.P_PID, pid, LOOK) is None
            ):
                time.sleep(0.005)
            time.sleep(chance.uniform(0.0, 0.3))
            os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        stopped = os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == INTERRUPTED
        kills += stopped
        if not stopped and status:
            raise SystemExit(f"{kind} failed with status {status}")
        if unfinished(path):
            # whatever the instant, what is there can be read
            mf.Trajectory(f"{path}.parts").content_hash()
        if path.exists() and mf.Trajectory(path).times[-1] == LONGER[kind]:
            print(kind, mf.Trajectory(path).content_hash(), flush=True)
            done[kind] += 1
    print("kills", kills)


def checkpoints(path):
    return sorted(path.with_name(f"{path.name}.parts").glob("checkpoint-*"))


def forked(path, kind):
    return child(lambda: go_on(path, kind))


def fresh(path, kind):
    return subprocess.Popen([sys.executable, __file__, str(path), "child", kind]).pid


if __name__ == "__main__":
    place, what, *more = sys.argv[1:]
    if what == "child":
        go_on(Path(place), *more)
    else:
        start = fresh if "fresh" in more else forked
        numbers = [getattr(signal, word) for word in more if word != "fresh"]
        load_kernels()
        killed_at_random(Path(place), int(what), start, *numbers)
