"""scripts/sweep: many runs that differ in a few settings, made by any number of processes and
machines, collected and drawn.
"""

from __future__ import annotations

import argparse
import gc
import math
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meanfield.processes.threads import cores

from ..lab import config as settings
from ..lab import experiment, terminal
from ..lab.config import BadSettings
from ..sweeps import folders, leases, local_workers, plans, reporting, workers
from ..sweeps.folders import SweepFolder
from ..sweeps.workers import Terms
from . import engines

ABOUT = """\
Trains the network of sims.lab.experiment at every point of a grid of settings. A sweep is a folder: a manifest that never
changes, and one ordinary trajectory file a run. Any number of workers, on any machines that share the folder, pull runs from it;
one that is killed loses at most the time since its last checkpoint, and another goes on with its run.

  scripts/sweep create widths.toml results/widths       check everything, write the manifest; trains nothing
  scripts/sweep work results/widths --workers 4         make the runs; on other machines too, at the same time
  scripts/sweep work results/widths --engine dask       the same with dask's scheduler; work --help says how on a cluster
  scripts/sweep status results/widths                   what is done, who is at work, how long it may take
  scripts/sweep collect results/widths                  index.csv and index.h5 from the runs; --diagnose kernel_drift w2: more
  scripts/sweep plot results/widths --x m --by gamma --y displacement test_risk
  scripts/sweep collect results/widths --diagnose laziness
  scripts/sweep plot results/widths --x gamma --by m --y laziness kernel_drift     at which γ it leaves the lazy regime
  scripts/sweep submit results/widths --engine slurm --workers 20 --time 240 --partition cpu
"""
EXAMPLE = """\
a sweep, widths.toml:

  [base]                                              # any setting of sims.lab.experiment.Experiment
  t_end = 20
  data = { name = "teacher_student", options = { n = 300, dim = 20, n_test = 1000 } }

  [axes]                                              # all combinations; dotted names reach into tables
  gamma = [0.5, 0.75, 1.0]
  m = { from = 64, to = 1024, count = 5, log = true } # whole numbers, and even where the start is symmetric
  seed = { from = 0, to = 3, count = 4 }
  "law.b_std" = [0, 1]

  [[zipped]]                                          # settings that change together are one axis
  alpha = [1, 10]
  ridge = [0, 1e-3]

settings, with what they are when nothing is said (scripts/sweep create --settings says what they mean):

{settings}

in Python: data = sims.open_sweep("results/widths"); data.test_risk.mean("seed")      an xarray.Dataset over the axes
           sims.Sweep("results/widths")[0]                                            an mf.Trajectory

exit codes: 0 done, 2 wrong usage or settings, or runs that failed, 4 bad data, 5 input/output, 7 damaged or too new,
75 interrupted: the same command goes on. A diverged run is a result, its status says so.
"""

ENGINES = """\
--engine dask: each run is a task. Without --scheduler this machine is used, one process of one thread a core. On a cluster:

  dask scheduler                                               prints its address, tcp://HOST:8786
  dask worker tcp://HOST:8786 --nthreads 1 --nworkers 16       on each machine, from the environment of scripts/sweep
  scripts/sweep work FOLDER --engine dask --scheduler tcp://HOST:8786

All of them see FOLDER under one name. Workers may come and go at any time, and be killed: their runs go on elsewhere from
the last checkpoint, at once where a worker was asked to end, after --lease-seconds where it was killed. A scheduler that is
killed ends this command with 5; with a new one it goes on. Jobs of SLURM, PBS or SGE: scripts/README.md.
"""
UNBROKEN = "\N{NO-BREAK SPACE}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    terminal.accept_all()
    options = parser().parse_args(argv)
    return settings.exit_code(lambda: options.command(options))


def create(options: argparse.Namespace) -> None:
    """Check a TOML file and write the manifest of its sweep."""
    plan = plans.load(options.file)
    plans.check(plan)
    if without := plans.without_gpu(plan):
        print(f"warning: {without}", file=sys.stderr)
    if options.dry_run:
        print(f"{plan.describe()}; nothing was written\n{plan.values()}")
        return
    sweep, new = folders.create(plan, options.folder)
    found = "" if new else "; it was there already"
    print(f"{plan.describe()}{found}\n{plan.values()}\nnext: scripts/sweep work {sweep.path}")


def work(options: argparse.Namespace) -> None:
    """Make the runs with workers on this machine, or as tasks of dask."""
    sweep = SweepFolder(options.folder)
    left = len(workers.waiting(sweep, leases.now_ns(sweep.leases)))
    count = max(1, min(cores(), left)) if options.workers is None else options.workers
    if count < 1 or options.lease_seconds <= 0 or options.checkpoint_seconds < 0:
        raise BadSettings(
            "--workers must be at least 1, --lease-seconds above 0, --checkpoint-seconds "
            "at least 0."
        )
    engines.check(options)
    there = len(sweep.plan.runs) - left
    if left:
        runs, hands = "run" + "s" * (left != 1), "worker" + "s" * (count != 1)
        by = f"dask at {options.scheduler}" if options.scheduler else f"{count} {hands}"
        print(f"{left} {runs} to do, {there} there already; {by}", flush=True)
        terms = Terms(options.lease_seconds, options.checkpoint_seconds)
        if options.engine == "dask":
            from ..sweeps import dask_engine

            with dask_engine.connected(options.scheduler, count) as client:
                dask_engine.supervise(sweep, client, terms)
        else:
            local_workers.supervise(sweep, count, terms)
    else:
        print(
            f"nothing to do: {'all ' * (there > 1)}{there} "
            f"run{'s are' if there != 1 else ' is'} there"
        )
        workers.tidy(sweep, options.lease_seconds)
    print(f"{reporting.counts(sweep)}\nnext: scripts/sweep collect {sweep.path}")


def status(options: argparse.Namespace) -> None:
    """Print one table."""
    print(reporting.status(SweepFolder(options.folder)))


def collect(options: argparse.Namespace) -> None:
    """Write index.csv and index.h5."""
    from ..sweeps import indexing

    sweep = SweepFolder(options.folder)
    engines.check(options)
    if options.engine == "dask":
        from ..sweeps import dask_engine, quantities

        quantities.known(options.diagnose)  # before a scheduler is started
        with dask_engine.connected(options.scheduler) as client:
            hands = dask_engine.executor(sweep, client)
            rows = indexing.collect(sweep, True, options.diagnose, hands)
    else:
        rows = indexing.collect(sweep, progress=True, diagnose=options.diagnose)
    there = sum(row["content_hash"] != "" for row in rows)
    print(f"{there} of {len(rows)} runs in {sweep.path / 'index.csv'} and index.h5")
    judged = [row for row in rows if row["status"] == "finished" and row.get("sliding") != 1]
    if mark := reporting.mark([row.get("energy_defect", math.nan) for row in judged]):
        print(mark)
    print(f"in Python: sims.open_sweep({str(sweep.path)!r})")


def plot(options: argparse.Namespace) -> None:
    """Draw collected quantities."""
    from ..sweeps import indexing, plotting

    pairs = [item.partition("=") for item in options.where]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise BadSettings(f"--where takes AXIS=VALUE; got {bad[0]!r}.")
    if not SweepFolder(options.folder).published():
        work = f"scripts/sweep work {options.folder}"
        raise BadSettings(f"no run is finished yet: make them with {work}")
    data = indexing.open_sweep(options.folder)
    where = {name: value for name, _, value in pairs}
    from .. import figures

    with figures.house(options.style, options.bare):
        figure = plotting.figure(data, options.y, options.x, options.by, where, options.log)
    stem = options.out or options.folder / _stem(options, where)
    if not stem.parent.is_dir():
        raise FileNotFoundError(f"the folder of --out does not exist; make it first: {stem.parent}")
    print(*figures.save(figure, stem))
    for title, verdict in figures.said(figure):
        print(f"{title}: {verdict}")


def _stem(options: argparse.Namespace, where: dict[str, str]) -> str:
    """The name of a figure, of all that it shows: displacement_against_m_by_gamma_seed=0."""
    parts = [*options.y, "against", options.x, *(["by", options.by] if options.by else [])]
    parts += [f"{name}={value}" for name, value in where.items()]
    parts += [] if options.log is None else [f"log={options.log or 'none'}"]
    return re.sub(r"[^\w.=+-]+", "-", "_".join(parts))


def submit(options: argparse.Namespace) -> None:
    """Start workers as jobs."""
    from ..sweeps import submission

    sweep = SweepFolder(options.folder)
    more = dict(item.partition("=")[::2] for item in options.sbatch)
    request = submission.Request(
        options.engine,
        options.workers,
        options.time,
        options.cpus,
        options.memory,
        options.partition,
        options.account,
        more,
    )
    jobs = submission.submit(
        sweep, request, Terms(options.lease_seconds, options.checkpoint_seconds)
    )
    names = ", ".join(job.job_id for job in jobs[:4]) + ", …" * (len(jobs) > 4)
    print(
        f"started {len(jobs)} jobs ({names}); logs in {sweep.logs / 'jobs'}\nnext: "
        f"scripts/sweep status {sweep.path}"
    )


def parser() -> argparse.ArgumentParser:
    """Of the whole command line."""
    layout: Any = argparse.RawDescriptionHelpFormatter
    known = ", ".join(
        " = ".join(pair).replace(" ", UNBROKEN) for pair in experiment.defaults().items()
    )
    known = textwrap.fill(known, 126, initial_indent="  ", subsequent_indent="  ")
    top = argparse.ArgumentParser(
        "scripts/sweep",
        None,
        ABOUT,
        EXAMPLE.replace("{settings}", known.replace(UNBROKEN, " ")),
        formatter_class=layout,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Any, text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(function.__name__, help=text, description=text)
        found.set_defaults(command=function)
        if function is create:
            found.add_argument(
                "file",
                type=Path,
                metavar="FILE.toml",
                help="base settings and axes; sweep --help shows one",
            )
        found.add_argument("folder", type=Path, metavar="FOLDER", help="the folder of the sweep")
        return found

    made = command(
        create, "Check a TOML file, every run and its data, and write the manifest. Trains nothing."
    )
    made.add_argument(
        "--settings",
        action=Settings,
        help="print every setting with its default and its meaning, and end",
    )
    made.add_argument(
        "--dry-run", action="store_true", help="check, say how many runs it would be, write nothing"
    )

    _terms(
        worked := command(
            work,
            "Make the runs that are missing, and try again those that failed. Ctrl-C "
            "loses nothing.",
        )
    )
    worked.add_argument(
        "--workers",
        type=int,
        help="processes on this machine, which share its cores (default: one a core, each of one thread)",
    )

    engines.add(worked)
    worked.epilog, worked.formatter_class = ENGINES, layout

    asked = command(status, "What is done, who is at work on what, and how long the rest may take.")
    asked.epilog, asked.formatter_class = reporting.MEANINGS, layout
    collected = command(
        collect,
        "Measure every run from its file and write index.csv and index.h5; needs the extra xarray.",
    )
    text = (
        "diagnostics of mf.diagnose and ntk at the last frame, as columns: laziness w2 "
        "kernel_alignment; kept beside the runs. "
        "laziness: the larger of the gap to the linearised network and the kernel drift, "
        "so far; lazy below 0.1 (ntk.laziness)"
    )
    collected.add_argument("--diagnose", nargs="+", default=[], metavar="NAME", help=text)
    engines.add(collected)

    drawn = command(
        plot,
        "Draw quantities of the index: means over the axis seed, ± standard errors; "
        "slopes on log-log axes.",
    )
    drawn.add_argument(
        "--x", default="m", metavar="AXIS", help="the axis to draw against (default m)"
    )
    drawn.add_argument("--by", metavar="AXIS", help="a line for each of its values")
    drawn.add_argument(
        "--y",
        nargs="+",
        default=["displacement"],
        metavar="NAME",
        help="columns of the index, one panel each",
    )
    drawn.add_argument(
        "--where",
        nargs="+",
        default=[],
        metavar="AXIS=VALUE",
        help="where to stay on the other axes",
    )
    drawn.add_argument(
        "--log",
        choices=("", "x", "y", "xy"),
        help="logarithmic axes (default: xy against m, y for laziness and drift)",
    )
    drawn.add_argument(
        "--bare",
        action="store_true",
        help="without heading, titles and verdicts, which are printed here only",
    )
    drawn.add_argument(
        "--style",
        choices=("house", "paper"),
        default="house",
        help="paper: bare, letters of 7 points, 300 dpi, one or two columns",
    )
    drawn.add_argument(
        "--out", type=Path, help="the figure's name, without .png (default: in the sweep's folder)"
    )

    _terms(
        jobs := command(
            submit, "Start workers as jobs of a cluster, by submitit; needs the extra cluster."
        )
    )
    jobs.add_argument(
        "--engine",
        required=True,
        choices=("slurm", "local"),
        help="local: jobs on this machine, to try it out",
    )
    jobs.add_argument("--workers", type=int, required=True, help="jobs, one worker process each")
    jobs.add_argument(
        "--time",
        type=float,
        required=True,
        help="minutes; 2 before the end a job checkpoints and is queued again",
    )
    jobs.add_argument(
        "--cpus", type=int, help="cores, and threads, of each (default: 1 under SLURM)"
    )
    jobs.add_argument("--memory", type=float, help="GB of each")
    jobs.add_argument("--partition")
    jobs.add_argument("--account")
    jobs.add_argument(
        "--sbatch",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="others of sbatch: gres=gpu:1 qos=long",
    )
    return top


def _terms(command: argparse.ArgumentParser) -> None:
    text = (
        "a worker that gave no sign of life for so long has lost its run; longer than "
        "any one step (default %(default)g)"
    )
    command.add_argument("--lease-seconds", type=float, default=Terms.lease_seconds, help=text)
    text = "time between the checkpoints of a run (default %(default)g)"
    command.add_argument(
        "--checkpoint-seconds", type=float, default=Terms.checkpoint_seconds, help=text
    )


class Settings(argparse.Action):
    """--settings: as --help does, it prints and ends, whatever else is missing."""

    def __init__(self, option_strings: Sequence[str], dest: str, **about: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **about)

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        print(experiment.Experiment.__doc__)
        parser.exit()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    gc.freeze()  # else Python looks through all that is there, three times, before it ends
    sys.exit(code)
