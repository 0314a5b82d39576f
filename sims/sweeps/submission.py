"""Workers as jobs of a cluster: submitit starts them, asks for a checkpoint before the time is up,
and queues them again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .folders import SweepFolder
from .local_workers import Crew, compile_kernels, share, supervise
from .workers import Terms

WARNING_SECONDS = (
    120  # from the signal to the end of the job: a step in hand, and a checkpoint, must fit
)
# by how much a signal may come before that; SLURM looks once a minute
EARLY_SECONDS = {
    "slurm": 60,
    "local": 0,
}
LEAST_SECONDS = 60  # of work in a job, from its start to the signal
REQUEUES = 100
ENGINES = ("slurm", "local")


@dataclass
class Job:
    """What one job does: one worker process on the sweep, until every run is there or the time is
    nearly up.
    """

    folder: Path
    terms: Terms
    patience: float  # seconds for the worker's checkpoint
    threads: int | None  # None: as many as the job has cores
    crew: Crew | None = field(default=None, repr=False)

    def __call__(self) -> str:
        """Runs on the node."""
        sweep = SweepFolder(self.folder)
        print(f"starts a worker on {sweep.path}", flush=True)
        supervise(sweep, 1, self.terms, progress=False, threads=self.threads, hired=self._hired)
        return f"{len(sweep.published())} of {len(sweep.plan.runs)} runs are there"

    def checkpoint(self) -> Any:
        """Called by submitit when its signal comes: the worker publishes a checkpoint and ends.
        Returns the job to queue.
        """
        from submitit.helpers import DelayedSubmission

        if self.crew is None:
            print("the warning came before a worker was started: nothing to checkpoint", flush=True)
        else:
            print("the time is nearly up: the worker is asked for a checkpoint", flush=True)
            self.crew.stop(self.patience)
        return DelayedSubmission(Job(self.folder, self.terms, self.patience, self.threads))

    def _hired(self, crew: Crew) -> None:
        self.crew = crew


@dataclass(frozen=True)
class Request:
    """What is asked of the cluster: `workers` jobs of `minutes` each, with `cpus` cores and
    `memory_gb`; partition and account as the cluster names them; more: other options of sbatch,
    {"gres": "gpu:1"}. Raises ValueError for what makes no sense.
    """

    engine: str
    workers: int
    minutes: float
    cpus: int | None = None
    memory_gb: float | None = None
    partition: str | None = None
    account: str | None = None
    more: dict[str, str] = field(default_factory=dict)
    warning_seconds: int = WARNING_SECONDS

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"--engine must be one of {', '.join(ENGINES)}; got {self.engine!r}.")
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1; got {self.workers}.")
        if not math.isfinite(self.minutes) or self.work_seconds < LEAST_SECONDS:
            early = EARLY_SECONDS[self.engine]
            least = math.ceil((LEAST_SECONDS + self.warning_seconds + early) / 60)
            sent = f", for which {self.engine} may send its signal {early} s early" * bool(early)
            raise ValueError(
                f"--time is in minutes and must leave a job {LEAST_SECONDS} s of work "
                f"before the {self.warning_seconds} s "
                f"that are kept for its last checkpoint{sent}: at least {least}; got "
                f"{self.minutes:g}."
            )

    @property
    def work_seconds(self) -> int:
        """From the start of a job to the warning, at the earliest; with minutes as submitit and
        SLURM round them.
        """
        seconds = 60 * math.ceil(self.minutes) if self.engine == "slurm" else int(60 * self.minutes)
        return seconds - self.warning_seconds - EARLY_SECONDS[self.engine]


def submit(sweep: SweepFolder, request: Request, terms: Terms) -> list[Any]:
    """Start the jobs; returns submitit's Job objects. The kernels are compiled here first, once."""
    engine = executor(sweep, request)
    compile_kernels(sweep, progress=True)
    shared = share(request.workers) if request.engine == "local" else None
    job = Job(
        sweep.path.resolve(),
        terms,
        patience=0.8 * request.warning_seconds,
        threads=request.cpus or shared,
    )
    if request.engine == "local":
        return [engine.submit(job) for _ in range(request.workers)]
    with engine.batch():  # one array
        return [engine.submit(job) for _ in range(request.workers)]


def executor(sweep: SweepFolder, request: Request) -> Any:
    """submitit's executor, told what was asked. Raises ImportError without submitit, ValueError
    without SLURM.
    """
    submitit = _submitit()
    kind = submitit.SlurmExecutor if request.engine == "slurm" else submitit.LocalExecutor
    try:
        engine = kind(folder=sweep.logs.resolve() / "jobs", max_num_timeout=REQUEUES)
    except RuntimeError as error:
        raise ValueError(f"{error} --engine local starts the same jobs on this machine.") from error
    engine.update_parameters(**parameters(request))
    return engine


def parameters(request: Request) -> dict[str, Any]:
    """In submitit's words. The signal comes signal_delay_s before the end; the job is then queued
    again.
    """
    if request.engine == "local":
        return {"timeout_min": request.minutes, "signal_delay_s": request.warning_seconds}
    asked = {
        "job_name": "sweep",
        "time": math.ceil(request.minutes),
        "signal_delay_s": request.warning_seconds,
        "cpus_per_task": request.cpus or 1,
        "mem": None if request.memory_gb is None else f"{math.ceil(1024 * request.memory_gb)}MB",
        "partition": request.partition,
        "account": request.account,
        "additional_parameters": request.more or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ImportError(
            f'jobs of a cluster need submitit: pip install -e ".[cluster]" ({error}).'
        ) from error
    return submitit
