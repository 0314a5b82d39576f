"""One run from a file of settings: python -m sims.run experiment.toml --out run.h5

The file names any setting of sims.lab.experiment.Experiment, the same that a sweep varies; the rest has
its default. What was interrupted goes on, what is complete is left as it is: give the same command again. A
larger t_end in the file extends a complete run from where it ended.

Several processes share the particles of the run, on one machine or many that see one folder, with the
bits of one process:

    torchrun --nproc-per-node 2 -m sims.run experiment.toml
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path

import meanfield as mf
from meanfield.backends.sharded import TIMEOUT
from meanfield.observers.progress import say
from meanfield.processes.interruption import signals
from meanfield.processes.ranks import current

from .lab import config as settings
from .lab import experiment, terminal

SETTINGS = f"""settings, with their defaults:

{experiment.table()}

exit codes: 2 usage or configuration, 3 diverged, 4 bad data, 5 input/output, 6 in use by another
process, 7 incompatible file, 75 interrupted or a process lost, and resumable; torchrun's own is 1. An error
of one process alone is said with its number, and ends all of them with its code."""


def parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    made = argparse.ArgumentParser(
        "python -m sims.run",
        description=__doc__,
        epilog=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("file", type=Path, help="TOML file of settings")
    made.add_argument("--out", type=Path, help="file of the run; its name with .h5 unless given")
    made.add_argument(
        "--timeout", type=float, default=60.0,
        help="seconds after which a process that does not answer is given up (60); more than a checkpoint takes",
    )  # fmt: skip
    made.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        help="wall time between checkpoints (30)",
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options, wrong = _options(argv)
    codes: list[int] = []

    def join() -> None:
        with mf.ranks(options.timeout if options else TIMEOUT) as ranks:
            code, line, lost = wrong
            if options:
                code, line, lost = settings.outcome(lambda: _make(options))
                line = f"meanfield: {line}" if code == settings.INTERRUPTED else line
            codes.append(ranks.failed(code, line, lost) if code else 0)

    terminal.accept_all()
    with signals():  # the same: what came in between is not to cut off the last word
        failed = settings.exit_code(join)
    if failed and options is None:  # the others have not come to hear it
        code, line, _ = wrong
        print(line, file=sys.stderr)
        return code
    return failed or codes[0]


def _options(argv: list[str] | None) -> tuple[argparse.Namespace | None, tuple[int, str, bool]]:
    """What the command asks for; or None and what is wrong with it, as settings.outcome: of several
    processes the first to know would end the others before one has said it.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser().parse_args(argv), (0, "", False)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        return None, (settings.USAGE, said.getvalue().rstrip(), False)


def _make(options: argparse.Namespace) -> None:
    config = current().first(lambda: experiment.load(options.file))
    out = options.out or options.file.with_suffix(".h5")
    if out == options.file:
        raise settings.BadSettings(f"{out} is the file of settings: name another with --out.")
    end = experiment.perform(config, out, True, options.checkpoint_seconds)
    if current().rank == 0:
        say(f"{out} is complete: step {end.step}, t = {end.t:g}")


if __name__ == "__main__":
    sys.exit(main())
