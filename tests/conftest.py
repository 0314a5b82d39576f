"""Shared fixtures. Bits must not depend on the number of threads, so every machine has two of them for the tests."""

import importlib.metadata
import os
import platform
import signal

# A suite that a shell starts with & inherits an ignored SIGINT, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Read when numba is first imported; one where two are asked for by name.
os.environ["NUMBA_NUM_THREADS"] = str(max(2, int(os.environ.get("NUMBA_NUM_THREADS", "2"))))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # several tests at once want the cores that waiting threads would hold

import numpy as np
import pytest


def pytest_terminal_summary(terminalreporter):
    """With which versions the tests ran: the lanes differ by them."""
    names = ("numpy", "numba", "scipy", "torch", "POT", "h5py", "pydantic", "tyro", "xarray", "matplotlib", "pandas")
    found = ", ".join(f"{name} {version(name) or 'absent'}" for name in names)
    terminalreporter.write_line(f"Python {platform.python_version()}, {found}")


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore::numba.core.errors.NumbaPerformanceWarning")


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
    """A network of 7 neurons with unequal masses on 5 samples in 3 dimensions, off every kink: (state, x, y)."""
    import meanfield as mf

    mass = rng.uniform(0.5, 1.5, 7)
    state = mf.State(rng.normal(size=(7, 5)), outputs=1, mass=mass / mass.sum())
    return state, rng.normal(size=(5, 3)), rng.normal(size=5)
