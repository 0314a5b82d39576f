"""Two processes on one run: the first is stopped (SIGSTOP) at a random instant, the second tries to
write the same run, the first goes on.

`python two_writers.py folder 8` prints for each trial "what-the-second-asked code state changed
hash": its exit code; whether the first held the lock or was away; how many files were changed
meanwhile; the content hash in the end. With `toy` they write the run of toy_run.py, without a
simulation.
"""

import fcntl
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

import dying_run
import toy_run
from toy_run import child

import meanfield as mf
from meanfield.files.recording import Recording, unfinished
from sims.lab.config import code_of

KIND = "fixed"
RUNS = {
    "error": lambda path: dying_run.simulate(path, KIND, exists="error"),
    "resume": lambda path: dying_run.simulate(path, KIND, exists="resume"),
    "replace": lambda path: dying_run.simulate(path, KIND, exists="replace"),
    "mf.resume": lambda path: mf.resume(path, progress=False),
}
TOYS = {
    "error": lambda path: toy_run.whole(path, 60),
    "replace": lambda path: toy_run.whole(path, 60, exists="replace"),
    "reopen": lambda path: Recording.reopen(path),
    "either": lambda path: toy_run.advance(path, 60, 6),
}


def coded(work):
    """A process that ends with the exit code of the commands."""

    def run():
        try:
            work()
        except Exception as error:
            os._exit(code_of(error) or 1)

    return child(run)


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def held(path):
    try:
        with open(path.with_name("run.h5.parts") / "lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def code_at_end(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def trial(folder, first_writes, second_writes, wait):
    folder.mkdir()
    path = folder / "run.h5"
    first = coded(lambda: first_writes(path))
    begun = time.monotonic()
    while not held(path) and time.monotonic() - begun < 30:
        time.sleep(0.001)
    time.sleep(wait)
    os.kill(first, signal.SIGSTOP)
    before, owned = content(folder), held(path)
    code = code_at_end(coded(lambda: second_writes(path)))
    changed = sum(before.get(file) != now for file, now in content(folder).items())
    changed += len(before.keys() - content(folder).keys())
    os.kill(first, signal.SIGCONT)
    end = code_at_end(first)
    if end not in (0, 5) or (owned and end) or unfinished(path):
        print("wrong: the first ended with", end)
    print(
        code, "held" if owned else "away", changed, mf.Trajectory(path).content_hash(), flush=True
    )


if __name__ == "__main__":
    place, count, *toy = sys.argv[1:]
    chance, seconds, longest = random.Random(3), TOYS if toy else RUNS, 0.05 if toy else 0.5
    turns = itertools.cycle(seconds.items())
    toy_run.start()
    dying_run.load_kernels(() if toy else (KIND,))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def write(path):
        if toy:
            toy_run.advance(path, 60, 6)
        else:
            dying_run.simulate(path, KIND, checkpoint_seconds=0.02)

    for number in range(int(count)):
        asked, second = next(turns)
        print(asked, end=" ")
        trial(Path(place) / str(number), write, second, chance.uniform(0.0, longest))
