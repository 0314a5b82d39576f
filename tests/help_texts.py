"""scripts/help: what `scripts/sweep --help` and the like print before anything is installed.

    .venv/bin/python -m tests.help_texts

writes the texts as the programs say them now; tests/project/test_setup.py holds them to that.
"""

import argparse
import contextlib
import importlib
import io
import os
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).resolve().parents[1] / "scripts" / "help"
# The module of each script, and the options that the script adds.
SCRIPTS = {
    "sweep": ("sims.commands.sweep", []),
    "inspect": ("sims.commands.inspect", []),
    "demo": ("sims.lazy_vs_mean_field", ["--demo"]),
    "bench": ("tests.bench.bench", []),
}


def commands(script):
    """The commands that the program of a script has."""
    module = importlib.import_module(SCRIPTS[script][0])
    if script == "inspect":
        return tuple(module.COMMANDS)
    if script == "sweep":
        (found,) = (
            action
            for action in module.parser()._actions
            if isinstance(action, argparse._SubParsersAction)
        )
        return tuple(found.choices)
    return ()


def text(script, command=None):
    """What the program says for --help, at a width of 100."""
    module, added = SCRIPTS[script]
    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(out),
    ):
        with contextlib.suppress(SystemExit):
            importlib.import_module(module).main(
                [*added, *([command] if command else []), "--help"]
            )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def names():
    """(script, command) of every text; command None: of the script itself."""
    return [(script, command) for script in SCRIPTS for command in (None, *commands(script))]


def path(script, command):
    return FOLDER / f"{script}{f'.{command}' if command else ''}.txt"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for known in names():
        path(*known).write_text(text(*known), encoding="utf-8")
