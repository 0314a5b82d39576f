"""`python -m meanfield`: what this is, and where to start."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from . import __version__

ABOUT = """\
meanfield {version}: the neurons of wide two-layer networks as particles, their training as a
Wasserstein gradient flow.

A first run, in Python:

  import numpy as np, meanfield as mf

  x = np.linspace(-1, 1, 64)[:, None]
  flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.abs(x[:, 0])))
  neurons = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(1000, seed=0)
  mf.simulate(flow, neurons, mf.RK4, dt="auto", t_end=20, observers=[mf.Recorder("run.h5", mf.evenly(50))])
  print(mf.Trajectory("run.h5"), mf.diagnose("run.h5"))

Then:

  help(mf.GradientFlow)                       the model; also mf.Network, mf.EmpiricalRisk, mf.InitialLaw
  help(mf.simulate), help(mf.Trajectory)      running, and the file that a run leaves
  python -m sims.commands.inspect run.h5      what is in a file; --help shows reports, figures, comparisons
  python -m sims.lazy_vs_mean_field --help    a whole experiment; others, each with its question in --help:
{others}

The guide:  {guide}
Theory:     {theory}
"""
INDENT = " " * 46


def main(argv: Sequence[str] | None = None) -> int:
    """Print where to start; whoever names a file is told which command reads it."""
    layout = argparse.RawDescriptionHelpFormatter
    folder = Path(__file__).parent
    sims = sorted(path.parent.name for path in (folder.parent / "sims").glob("*/__main__.py"))
    others = ", ".join(name for name in sims if name != "lazy_vs_mean_field")
    about = ABOUT.format(
        version=__version__, guide=folder / "README.md", theory=folder / "THEORY.md",
        others=textwrap.fill(others, 100, initial_indent=INDENT, subsequent_indent=INDENT),
    )  # fmt: skip
    parser = argparse.ArgumentParser(
        "python -m meanfield", description=about, formatter_class=layout
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("file", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.file:
        parser.error(f"to look into a file: python -m sims.commands.inspect {options.file[0]}")
    print(about, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
