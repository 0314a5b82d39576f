"""The options that say whose processes do the work: this program's, or those of dask."""

from __future__ import annotations

import argparse

from ..lab.config import BadSettings


def add(command: argparse.ArgumentParser) -> None:
    """--engine and --scheduler."""
    command.add_argument(
        "--engine",
        choices=("processes", "dask"),
        default="processes",
        help="whose processes do the work: this program's, or those of dask (the extra cluster)",
    )
    command.add_argument(
        "--scheduler",
        default="",
        metavar="tcp://HOST:PORT",
        help="of dask's, where one is there (default: one that is started on this machine)",
    )


def check(options: argparse.Namespace) -> None:
    """BadSettings for options that do not go together."""
    if options.scheduler and options.engine != "dask":
        raise BadSettings("--scheduler is an address of dask's; say --engine dask too.")
    if options.scheduler and getattr(options, "workers", None) is not None:
        raise BadSettings(
            "--workers counts processes of this machine; how many a scheduler has, is said where "
            "they are started (dask worker --nworkers). Leave one of the two out."
        )
