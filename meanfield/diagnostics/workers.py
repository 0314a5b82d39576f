"""Worker processes: fresh interpreters with one thread each that open the run themselves and answer one frame at a time.

Started by their command line rather than by multiprocessing, which would run a user's script without a __main__ guard anew.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PROGRAM = "from meanfield.diagnostics.workers import serve; serve()"


class NoWorkers(RuntimeError):
    """The worker processes did not start."""


def spread(job: Any, tasks: Sequence[Any], count: int) -> Iterator[Any]:
    """job.answer(task) for each task, as they are ready, by `count` processes; the first error ends them all."""
    payload = pickle.dumps(job)
    environment = {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),
        "PYTHONPATH": os.pathsep.join(item or os.getcwd() for item in sys.path),
    }
    command = [sys.executable, "-c", PROGRAM]
    processes = [
        subprocess.Popen(  # in a session of its own: an interruption of this process is not theirs, they are killed by it
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        for _ in range(count)
    ]
    idle: SimpleQueue[subprocess.Popen] = SimpleQueue()

    def ask(task: Any) -> Any:
        process = idle.get()
        try:
            return _asked(process, task)
        finally:
            idle.put(process)

    try:
        for process in processes:
            with suppress(BrokenPipeError):
                _send(process.stdin, payload)
        for process in processes:
            _ready(process)
            idle.put(process)
        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(ask, task) for task in tasks]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in processes:
                    process.kill()
                raise
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _ready(process: subprocess.Popen) -> None:
    try:
        error = pickle.load(process.stdout)  # type: ignore[arg-type]
    except (EOFError, pickle.UnpicklingError):
        error = "it ended at once"
    if error is not None:
        raise NoWorkers(str(error))


def _asked(process: subprocess.Popen, task: Any) -> Any:
    try:
        _send(process.stdin, pickle.dumps(task))
        answer, error = pickle.load(process.stdout)  # type: ignore[arg-type]
    except (EOFError, BrokenPipeError):
        code = process.wait()
        raise RuntimeError(
            f"a worker process ended with code {code} (out of memory?); try fewer workers, or workers=1."
        ) from None
    if error is not None:
        raise error
    return answer


def _send(stream: Any, payload: bytes) -> None:
    stream.write(len(payload).to_bytes(8, "little") + payload)
    stream.flush()


def serve() -> None:
    """The worker: a job on standard input, then tasks until it is closed; answers on standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed goes to stderr

    def receive() -> Any:
        size = int.from_bytes(sys.stdin.buffer.read(8), "little")
        return pickle.loads(sys.stdin.buffer.read(size)) if size else None

    def reply(answer: Any) -> None:
        pickle.dump(answer, answers)
        answers.flush()

    try:
        job = receive()
    except Exception as error:  # a module that this process cannot import, say
        reply(f"{type(error).__name__}: {error}")
        return
    reply(None)
    while (task := receive()) is not None:
        try:
            reply((job.answer(task), None))
        except Exception as error:
            reply((None, _portable(error)))


def _portable(error: Exception) -> Exception:
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
