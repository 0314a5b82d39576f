"""A lane of other versions: `oldest` has the lower bounds of pyproject.toml, `newest` what the
index has today.

    scripts/versions oldest|newest [pytest options]

makes .venv-oldest or .venv-newest and runs a sample of the tests there (all that pytest's options
name, where there are any); the last lines say with which versions. Standard library alone: it runs
before anything is installed.

oldest runs on the Python that is given, newest on the newest that is found. torch is pinned in
both: other builds bring the whole of CUDA, gigabytes. Where the pinned one has no build for
processors alone for this Python, the lane goes without torch, and tests that hold ours against
torch are skipped. Neither has the extra cuda.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0+cpu"
# Of each dependency the tests that call most of it: a file, or one test of it. Two minutes on a
# quiet machine.
SAMPLE = (
    *("activations", "euler_is_autograd", "flow", "noise"),  # numba, NumPy, torch
    *("wasserstein", "spectrum"),  # POT, SciPy
    *("recording", "trajectory", "labelled", "sweep_indexing"),  # h5py, xarray, h5netcdf
    *(
        "sims::test_help_teaches",
        "sims::test_a_dry_run_says_what_it_would_cost_and_writes_nothing",
    ),  # tyro, pydantic
    *("submission", "bundled", "figures"),  # submitit, scikit-learn, matplotlib
)


def sample():
    """The paths of SAMPLE, from the top of the repository."""
    for name in SAMPLE:
        file, _, test = name.partition("::")
        (path,) = ROOT.glob(f"tests/*/test_{file}.py")
        yield f"{path}::{test}" if test else str(path)


def requirements():
    """What pyproject.toml asks for, with all extras but those of CUDA and the bench; without torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (
        items
        for name, items in project["optional-dependencies"].items()
        if name not in ("cuda", "bench")
    )
    asked = [*project["dependencies"], *(item for items in extras for item in items)]
    return [item for item in asked if not item.startswith("torch")]


def run(*command, check=True, **more):
    return subprocess.run([str(word) for word in command], check=check, **more).returncode


def install(lane, venv):
    """Make the environment; where it is there already, bring it up to date."""
    python = venv / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", venv)
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
    how = (
        ("--constraint", ROOT / "scripts" / "constraints-oldest.txt")
        if lane == "oldest"
        else ("--upgrade",)
    )
    run(*pip, *how, *requirements(), stdin=subprocess.DEVNULL)
    if run(*pip, *how, TORCH, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        print(f"no {TORCH} for this Python: without torch", flush=True)
    return python


def main(lane, options):
    venv = ROOT / f".venv-{lane}"
    python = install(lane, venv)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MEANFIELD_CACHE": str(
            venv / "cache"
        ),  # numba keeps one version's kernels and drops another's
        "NUMBA_CACHE_DIR": str(venv / "cache" / "numba"),
    }
    (venv / "cache").mkdir(exist_ok=True)
    named = any((ROOT / option.partition("::")[0]).exists() for option in options)
    files = () if named else ("-m", "not (kernel or slow or gpu or readers)", *sample())
    workers = ("-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
    # types: the stubs of NumPy 2.1 are those of older tools; newest checks with the newest
    left_out = ("--deselect", "tests/project/test_project.py::test_the_types_are_consistent")
    failed = run(
        python,
        "-m",
        "pytest",
        *workers,
        *left_out,
        *files,
        *options,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    if lane == "newest":
        failed = run(python, "-m", "mypy", cwd=ROOT, check=False) or failed
    return failed


if __name__ == "__main__":
    if sys.argv[1:2] not in (["oldest"], ["newest"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
