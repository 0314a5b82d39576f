"""Lanes of tests, and shared fixtures.

Bits must not depend on the number of threads, so every machine has two of them for the tests.
"""

import importlib.metadata
import os
import platform
import signal
from pathlib import Path

# A suite that a shell starts with & inherits an ignored SIGINT, and so would the processes that
# tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Read when numba is first imported; one where two are asked for by name.
os.environ["NUMBA_NUM_THREADS"] = str(max(2, int(os.environ.get("NUMBA_NUM_THREADS", "2"))))
# several tests at once want the cores that waiting threads would hold
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import pytest

TESTS = Path(__file__).parent

# Whole files, or folders ending in a slash, of a lane; the first that fits counts. Single tests
# have a decorator.
LANES = {
    "figure": ("sims/test_figures", "sims/test_phase_panels.py"),
    "sim": ("sims/",),
    "cuda": ("backends/test_cuda",),
    "process": (
        "processes/",
        "backends/test_kernel_cache.py",
        "diagnostics/test_diagnostics.py",
        "faults/test_disturbed_runs.py",
        "faults/test_failing_disks.py",
        "faults/test_flipped_bits.py",
        "faults/test_fuzzed_readers.py",
        "faults/test_power_cuts",
        "observers/test_w2_beside.py",
        "project/test_extending.py",
        "project/test_first_look.py",
        "project/test_lanes.py",
        "project/test_readme.py",
        "project/test_setup.py",
        "stepping/test_resume.py",
    ),
    "kernel": ("backends/",),
    "ntk": ("ntk/",),
    "lint": (),
    "bench": ("project/test_bench.py",),
}
BY_NAME = ("slow", "gpu", "readers")  # run where -m names them, and nowhere else


def pytest_configure(config):
    """Where neither -m, -k nor a path says what to run: what a contributor needs, the mathematics
    and the engine.
    """
    config.addinivalue_line("filterwarnings", "ignore::numba.core.errors.NumbaPerformanceWarning")
    if config.option.markexpr:
        return

    named = (
        config.option.keyword
        or config.getoption("lf", False)
        or config.args_source is config.ArgsSource.ARGS
    )
    config.option.left_out = BY_NAME if named else (*LANES, *BY_NAME)
    config.option.markexpr = " and ".join(f"not {lane}" for lane in config.option.left_out)


def left_out(config):
    return getattr(config.option, "left_out", ())


def pytest_ignore_collect(collection_path, config):
    """Whole files that are left out are not imported: that would take the time of some tests."""
    return True if lane_of(collection_path) in left_out(config) else None


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    for item in items:
        if (lane := lane_of(item.path)) is not None:
            item.add_marker(lane)


def lane_of(path):
    """The lane of a whole file; None for the contributor's."""
    name = path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else ""
    return next((lane for lane, homes in LANES.items() if name.startswith(homes or "/")), None)


def pytest_terminal_summary(terminalreporter, config):
    """With which versions the tests ran, and what was left out."""
    names = (
        "numpy",
        "numba",
        "scipy",
        "torch",
        "POT",
        "h5py",
        "pydantic",
        "tyro",
        "xarray",
        "matplotlib",
        "pandas",
    )
    found = ", ".join(f"{name} {version(name) or 'absent'}" for name in names)
    terminalreporter.write_line(f"Python {platform.python_version()}, {found}")

    meaning = dict(line.split(": ", 1) for line in config.getini("markers") if ": " in line)
    if left_out(config):
        terminalreporter.write_line(
            "Left out (.ci/run runs all but gpu and readers, and of slow a sample):"
        )
    for lane in left_out(config):
        terminalreporter.write_line(f"  scripts/test -m {lane:8} {meaning[lane]}")


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@pytest.fixture
def rng():
    """The same numbers in every run, others in every test that asks for rng.spawn."""
    return np.random.default_rng(20)


@pytest.fixture
def h5_path(tmp_path):
    """Where a test may write its trajectory."""
    return tmp_path / "run.h5"


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    """Runs the test with one numba thread and with two."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(request.param)
    yield request.param
    numba.set_num_threads(before)


@pytest.fixture
def small_problem(rng):
    """A network of 7 neurons with unequal masses on 5 samples in 3 dimensions, off every kink:
    (state, x, y).
    """
    import meanfield as mf

    mass = rng.uniform(0.5, 1.5, 7)
    state = mf.State(rng.normal(size=(7, 5)), outputs=1, mass=mass / mass.sum())
    return state, rng.normal(size=(5, 3)), rng.normal(size=5)
