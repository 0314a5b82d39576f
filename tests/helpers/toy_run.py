"""A run whose every number is a function of its step, recorded as the simulation loop would. Also a
script that dies on demand.

`python toy_run.py folder random 20` kills (SIGKILL) the writer 20 times at random instants; `every`
and `extension` kill it before each call that changes a name or makes one durable, in a run and in
the extension of one. Each prints the content hashes of the runs that were completed in spite of it,
one a line.
"""

import functools
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

import meanfield as mf
from meanfield.files.recording import Recording, unfinished
from meanfield.files.trajectory import Trajectory

LAW = mf.InitialLaw(dim=2, b_std=1.0)
NETWORK = mf.Network("tanh", scaling=mf.Scaling(gamma=0.75, alpha=2.0), trainable=("a", "w"))
X, Y = np.linspace(-1, 1, 12).reshape(6, 2), np.arange(6.0)
FRAME_EVERY = 5
# of os: the calls a kill may come before
DURABLE = (
    "open",
    "replace",
    "unlink",
    "fsync",
    "mkdir",
    "rmdir",
)


# drawn before the first fork: a compiler that every child runs anew is all that would ever be
# killed
@functools.cache
def start(m=8, dtype=np.float64):
    drawn = LAW.sample(m, seed=3)
    return (
        drawn if dtype == np.float64 else mf.State(drawn.theta.astype(dtype), origin=drawn.origin)
    )


def state_at(step, first):
    theta = np.asarray(first.theta * (1 + step / 7) + step, dtype=first.theta.dtype)
    return mf.State.trusted(theta, first.outputs, first.mass, step, step * 0.1)


def config(steps):
    return {
        "network": NETWORK.to_dict(),
        "law": LAW.to_dict(),
        "seed": 3,
        "dt": 0.1,
        "t_end": steps * 0.1,
        "data": {"name": "line"},
    }


def create(path, exists="error", steps=20, first=None, **more):
    arrays = more.pop("arrays", {"x": X, "y": Y})
    settings = {
        "config": config(steps),
        "provenance": {"author": "nobody"},
        "arrays": arrays,
        "start": first or start(),
    } | more
    return Recording.create(path, exists, **settings)


def record(recording, memory, steps, checkpoint_every):
    """The loop: from the step in memory (or the start) to `steps`; returns what it remembers at the
    end.
    """
    done = -1 if memory is None else memory["step"]
    for step in range(done + 1, steps + 1):
        state = state_at(step, recording.start)
        recording.observe("energy", step, state.t, 1 / (1 + step))
        if step % FRAME_EVERY == 0:
            recording.frame(state)
            recording.observe("path", step, state.t, step / 3)
        memory = {"step": step, "theta": state.theta}
        if (step + 1) % checkpoint_every == 0:
            recording.checkpoint(memory)
    return memory


def whole(path, steps=20, checkpoint_every=7, **more):
    """A run from its first step to its file."""
    recording = create(path, steps=steps, **more)
    recording.finish(record(recording, None, steps, checkpoint_every), {"energy_defect": 1e-7})
    return path


def advance(path, steps, checkpoint_every):
    """Start the run, or take it up wherever a kill has left it, and finish it."""
    if unfinished(path):
        recording, memory = Recording.reopen(path)
    else:
        recording, memory = create(path, steps=steps), None
    with recording:
        memory = record(recording, memory, steps, checkpoint_every)
        recording.finish(memory, **(recording.final or {"summary": {}}))


def extend(path, steps):
    """Extend the finished run at `path` to `steps`, or take the extension up again."""
    if unfinished(path):
        recording, memory = Recording.reopen(path)
    else:
        recording, memory = Recording.extend(path, config=config(steps))
    with recording:
        recording.finish(record(recording, memory, steps, 7), {})


def child(work):
    """Fork, work, leave without clean-up; returns the process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def killed_at_random(folder, count):
    chance, run, kills = random.Random(1), 0, 0
    while kills < count:
        path = folder / f"random{run}.h5"
        pid = child(lambda path=path: advance(path, 60, chance.choice((1, 2, 5))))
        time.sleep(chance.uniform(0.0, 0.3))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        kills += os.WIFSIGNALED(status)
        if unfinished(path):
            Trajectory(path).content_hash()  # whatever the instant, what is there can be read
        if kills == count and not path.exists():
            advance(path, 60, 5)
        if path.exists():
            print(Trajectory(path).content_hash(), flush=True)
            run += 1


def die_before(number):
    """From now on the `number`-th durable call is not made: the process is killed instead."""
    calls = iter(range(number))

    def deadly(function):
        def call(*arguments, **keywords):
            if next(calls, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    for name in DURABLE:
        setattr(os, name, deadly(getattr(os, name)))


def killed_everywhere(folder, prepare, work):
    """Kill `work` before its first durable call, its second, …, until it survives; continue and
    print the hash each time.
    """
    for number in range(1000):
        path = folder / f"every{number}.h5"
        prepare(path)
        pid = child(lambda path=path, number=number: (die_before(number), work(path)))
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            assert status == 0
            return
        if path.exists() or unfinished(path):
            Trajectory(path).content_hash()
        if unfinished(path) or not published(path):
            work(path)
        print(Trajectory(path).content_hash(), flush=True)


def published(path, steps=20):
    return path.exists() and Trajectory(path).config == config(steps)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    start()
    if sys.argv[2] == "random":
        killed_at_random(place, int(sys.argv[3]))
    elif sys.argv[2] in ("every", "at_once"):  # at_once: over before its first checkpoint
        cadence = 8 if sys.argv[2] == "every" else 100
        killed_everywhere(place, lambda path: None, lambda path: advance(path, 20, cadence))
    else:
        short = whole(place / "short.h5", steps=10)
        killed_everywhere(
            place, lambda path: shutil.copy(short, path), lambda path: extend(path, 20)
        )
