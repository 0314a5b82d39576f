"""A golden file where a test may change it."""

import shutil
from pathlib import Path

import golden_runs


def copied(name, folder):
    """A golden run where it may be written to."""
    source = golden_runs.GOLDEN / name
    if source.exists():
        return Path(shutil.copy(source, folder))
    shutil.copytree(f"{source}.parts", folder / f"{name}.parts")
    return folder / name
