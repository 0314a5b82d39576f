"""Worker processes: fresh interpreters with one thread each that answer the tasks of a job.

Started by their command line rather than by multiprocessing, which would run a user's script
without a __main__ guard again. They end with the process that started them, however that ends.

Why not loky (joblib 1.6). Measured with two workers on two cores:

- SIGKILL of one worker: all six pending answers raise TerminatedWorkerError, and so does every
  later submission. Here five are answered, and the distances of a run go on.
- SIGKILL of the process that started them, during a task of 20 s: loky's four processes were all
  still there after 25 s. Here all are gone within 5 s.
- Ctrl-C: the tasks in hand end with KeyboardInterrupt; here they are answered, which the
  checkpoint after an interruption waits for.
- Start: the first answer of mf.w2 after 8 to 10 s, here after 5 s; and two more processes, 53 MB.

The workers of a sweep (sims/sweeps/local_workers.py) are another idea: they are given no tasks,
they take runs from a folder and stop at a checkpoint. `start_python` is what both share.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import Any

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
PROGRAM = (
    "import os; from meanfield.processes.workers import serve; serve(gone=lambda: os._exit(0))"
)


class NoWorkers(RuntimeError):
    """The worker processes did not start."""


class WorkerDied(RuntimeError):
    """A worker process ended before it had answered."""


def start_python(arguments: Sequence[str], threads: int, **streams: Any) -> subprocess.Popen[bytes]:
    """A fresh interpreter with so many threads that imports what this one can import.

    It has a session of its own: Ctrl-C reaches this process alone, which decides about the other.
    """
    here, path = os.getcwd(), [item or os.getcwd() for item in sys.path]
    # -c and -m put the working folder first once Python has begun; before, a file there that is
    # called as a module which Python begins with (nt, enum) would stand in for it
    path = path[path[:1] == [here] and not sys.flags.safe_path :]
    if arguments[0] == "-c" and path[:1] == [folder := _folder_of_script()]:  # likewise
        path = path[1:]
        arguments = ["-c", f"import sys; sys.path.insert(0, {folder!r}); {arguments[1]}"]
    named = {"PYTHONPATH": os.pathsep.join(path)}
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads)), **named}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, start_new_session=True, **streams
    )


def _folder_of_script() -> str | None:
    """Which Python has put first of sys.path, where it runs a file."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:  # of -c, and of -m
        return None
    return os.path.dirname(os.path.realpath(file))


class Workers:
    """`count` processes for one job: submit(task) -> a Future of job.answer(task), of NoWorkers or
    of WorkerDied.

    They import and are given the job in the background, the caller waits for nothing. The tasks of
    a process that died go to the others; once none is left, each Future raises at once. close()
    kills them, whatever they are doing.
    """

    def __init__(self, job: Any, count: int) -> None:
        payload = pickle.dumps(job)
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        self._workers: list[_Worker] = []
        self._pool = ThreadPoolExecutor(count)
        self.left = count
        self._lock = threading.Lock()
        try:
            for _ in range(count):
                self._workers.append(_Worker(payload))
                self._idle.put(self._workers[-1])
        except BaseException:
            self.close()
            raise

    def submit(self, task: Any) -> Future:
        return self._pool.submit(self._answer, task)

    def close(self) -> None:
        """Kill the processes; what has not been answered never will be."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._idle.put(None)
        for worker in self._workers:
            worker.process.kill()
        self._pool.shutdown()
        for worker in self._workers:
            worker.process.communicate()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _answer(self, task: Any) -> Any:
        worker = self._idle.get()
        if worker is None:
            self._idle.put(None)  # for whoever waits as well
            raise WorkerDied("no worker process is left.")
        try:
            answer, error = worker.ask(task)
        except (NoWorkers, WorkerDied):
            with self._lock:
                self.left -= 1
                if not self.left:
                    self._idle.put(None)
            raise
        self._idle.put(worker)
        if error is not None:
            raise error
        return answer


def spread(job: Any, tasks: Sequence[Any], count: int) -> Iterator[Any]:
    """job.answer(task) for each task, as they are ready, by `count` processes; the first error ends
    them all.
    """
    with Workers(job, count) as workers:
        for future in as_completed([workers.submit(task) for task in tasks]):
            yield future.result()


class _Worker:
    """One process and the pipes to it."""

    def __init__(self, payload: bytes) -> None:
        self._payload: bytes | None = payload
        self.process = start_python(
            ["-c", PROGRAM], threads=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, task: Any) -> tuple[Any, Exception | None]:
        """(answer, None) or (None, error); before the first one, the job."""
        if self._payload is not None:
            try:
                self._send(self._payload)
                error = self._receive()
            except (EOFError, BrokenPipeError, pickle.UnpicklingError):
                error = "it ended at once"
            if error is not None:
                raise NoWorkers(str(error))
            self._payload = None
        try:
            self._send(pickle.dumps(task))
            return self._receive()
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self.process.wait()
            raise WorkerDied(
                f"a worker process ended with code {code} (out of memory?); try fewer "
                "workers, or workers=1."
            ) from None

    def _send(self, payload: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(len(payload).to_bytes(8, "little") + payload)
        self.process.stdin.flush()

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        return pickle.load(self.process.stdout)


def serve(gone: Callable[[], object]) -> None:
    """The worker: a job on standard input, then tasks; answers on standard output; calls gone()
    when the input is closed.

    gone: ends the process, whatever is being computed; the program that the process runs passes it.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed goes to stderr
    received: SimpleQueue[bytes] = SimpleQueue()

    def receive() -> None:
        while len(head := sys.stdin.buffer.read(8)) == 8:
            received.put(sys.stdin.buffer.read(int.from_bytes(head, "little")))
        gone()  # nobody is there to hear the answer: not even the one that is being computed

    def reply(answer: Any) -> None:
        pickle.dump(answer, answers)
        answers.flush()

    threading.Thread(target=receive, daemon=True).start()
    try:
        job = pickle.loads(received.get())
    except Exception as error:  # a module that this process cannot import, say
        reply(f"{type(error).__name__}: {error}")
        return
    reply(None)
    while True:
        try:
            reply((job.answer(pickle.loads(received.get())), None))
        except Exception as error:
            reply((None, _portable(error)))


def _portable(error: Exception) -> Exception:
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
