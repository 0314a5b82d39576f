"""The solvers behind W2: convergence, announcements, memory, imports, and what they refuse."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from clouds import rng, weighted

import meanfield as mf
from meanfield.transport import distances, exact

# --- sinkhorn


def test_the_sinkhorn_divergence_goes_to_the_exact_distance_as_the_regularisation_vanishes():
    """OT_ε - OT_0 is O(ε log 1/ε) before debiasing; the divergence stays between 0 and the exact
    cost on these clouds.
    """
    x, y = rng(15).normal(size=(40, 2)), rng(16).normal(size=(40, 2)) * 1.5 + 0.5
    exact = mf.w2(x, y)
    errors = [abs(mf.w2(x, y, "sinkhorn", reg=reg) - exact) / exact for reg in (0.3, 0.05, 0.01)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02


def test_a_sinkhorn_iteration_that_did_not_converge_raises():
    x, y = rng(17).normal(size=(30, 2)), rng(18).normal(size=(30, 2)) + 1
    with pytest.raises(distances.NotConverged, match="Raise numItermax or reg"):
        mf.w2(x, y, "sinkhorn", numItermax=5, reg=0.01)


def test_the_lazy_sinkhorn_agrees_with_the_dense_one(monkeypatch):
    """Both stop at a marginal error of 1e-5 (in different norms); potentials make the value's error
    its square.
    """
    x, y = rng(19).normal(size=(60, 3)), rng(20).normal(size=(50, 3)) + 1
    dense = mf.w2(x, y, "sinkhorn")
    monkeypatch.setattr(distances, "EXACT_DENSE_LIMIT", 0)
    assert mf.w2(x, y, "sinkhorn") == pytest.approx(dense, rel=1e-6)


# --- the exact solver's limits


def test_a_network_simplex_that_did_not_converge_raises_and_names_the_interval():
    x, y = rng(21).normal(size=(100, 3)), rng(22).normal(size=(100, 3))
    for lazy in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # POT's own warning is replaced by the error
            with pytest.raises(distances.NotConverged, match=r"numItermax = 3 .*mf\.w2_interval"):
                mf.w2(x, y, numItermax=3, lazy=lazy)


def test_a_long_solve_says_so_before_it_starts(monkeypatch):
    """PERFORMANCE.md: 35–51 s for 10 000 particles; 2000 take about a second and say nothing."""
    started = []

    def solve(pair, lazy, numItermax, twin):
        started.append(len(pair.a))
        return exact.Solution((np.zeros(1, int), np.zeros(1, int), np.ones(1)), "none", 0.0)

    monkeypatch.setattr(exact, "_by_simplex", solve)
    x = rng(23).normal(size=(10_001, 2))
    with pytest.warns(
        distances.SlowSolve, match=r"10001 .* s \(within a factor of 2\); mf\.w2_interval"
    ) as caught:
        mf.w2(x, x[1:])
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mf.w2(x[:2000], x[:1999])
        with pytest.raises(distances.SlowSolve, match="lazy=False would take .* GB"):
            mf.w2(x, x[1:])
        with pytest.raises(distances.SlowSolve, match="the sinkhorn W2"):
            mf.w2(x, x + x**3, "sinkhorn")
    assert started == [10_001, 2000]  # the third was stopped by its warning: that comes first
    assert 35 < distances.expected_seconds(10_000, 10_000, 10, lazy=False) < 51


MEMORY = """
import resource, numpy as np, meanfield as mf
x, y = np.random.default_rng(0).normal(size=(2, {m}, 2)); y = 1.5 * y
mf.w2(x[:50], y[:50], lazy=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mf.w2(x, y{lazy})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def resident_growth(m, lazy):
    """MB by which the resident memory's peak grows (ru_maxrss: kB on Linux, bytes on macOS)."""
    code = MEMORY.format(m=m, lazy=", lazy=True" if lazy else "")
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=with_path()
    ).stdout
    return int(out) / (2**20 if sys.platform == "darwin" else 2**10)


def with_path():
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(["." if path == "" else path for path in sys.path]),
    }


@pytest.mark.process
def test_the_lazy_solver_needs_memory_in_proportion_to_the_particles():
    """m = 2000: 2 MB measured; the dense solver's 39 bytes a pair are 156 MB."""
    assert resident_growth(2000, lazy=True) < 20


@pytest.mark.slow
def test_above_its_limit_the_exact_distance_takes_the_lazy_solver_by_itself():
    """m = 5200, 2.7e7 pairs: dense would take 1.05 GB; 8 MB measured."""
    assert resident_growth(5200, lazy=False) < 60


@pytest.mark.process
def test_neither_the_package_nor_its_first_exact_distance_loads_torch_or_jax():
    """POT imports every backend it finds; ours needs NumPy's only. The environment is left as it
    was.
    """
    code = (
        "import sys, os, numpy as np, meanfield as mf; mf.w2; before = dict(os.environ); "
        "assert 'ot' not in sys.modules;"
        "mf.w2(np.eye(3), np.eye(4)[:, :3]); assert 'ot' in sys.modules; assert "
        "dict(os.environ) == before;"
        "print([name for name in ('torch', 'jax') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=with_path()
    ).stdout
    assert out.strip() == "[]"


# --- bad input


@pytest.mark.parametrize(
    ("p", "q", "error", "message"),
    [
        (
            np.zeros(3),
            np.zeros((3, 1)),
            ValueError,
            r"p must be \(m, p\).*got \(3,\).*p\[:, None\]",
        ),
        (np.zeros((3, 1)), np.zeros(3), ValueError, r"q must be .*q\[:, None\]"),
        (
            np.zeros((3, 2)),
            np.zeros((3, 4)),
            ValueError,
            r"same number of columns; got \(3, 2\) and \(3, 4\)",
        ),
        (np.zeros((0, 2)), np.zeros((3, 2)), ValueError, "m >= 1"),
        (np.zeros((2, 2, 2)), np.zeros((3, 2)), ValueError, "m >= 1"),
        (
            np.array([[0.0], [np.nan]]),
            np.zeros((3, 1)),
            ValueError,
            "p has NaN or infinite values in 1 of 2 particles, first in particle 1",
        ),
        (np.zeros((3, 1)), np.array([[np.inf]]), ValueError, "q has NaN or infinite"),
        (
            np.zeros((3, 1)),
            np.array([["a"]]),
            TypeError,
            "q must be a State or an array of real numbers; got ndarray",
        ),
        (object(), np.zeros((3, 1)), TypeError, "p must be a State .* got object"),
        (np.zeros((3, 1), complex), np.zeros((3, 1)), TypeError, "complex"),
        (
            mf.State(np.zeros((2, 5)), 1),
            mf.State(np.zeros((2, 5)), 2),
            ValueError,
            "K = 1 outputs and q has K = 2",
        ),
    ],
)
def test_bad_clouds_are_refused_with_what_was_found_and_what_to_do(p, q, error, message):
    for distance in (mf.w2, mf.displacement, mf.w2_interval, lambda p, q: mf.w2(p, q, "coupled")):
        with pytest.raises(error, match=message):
            distance(p, q)


def test_bad_masses_of_a_trusted_state_are_refused():
    """State checks masses; State.trusted, which the engine uses inside a run, does not."""
    good = np.zeros((2, 3))
    for mass, message in (
        ([0.6, 0.6], "sum to 1; got 1.2"),
        ([1.5, -0.5], "non-negative"),
        ([np.nan, 1.0], "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            mf.w2(mf.State.trusted(good.copy(), 1, np.array(mass), 0, 0.0), good)


def test_bad_options_are_refused_by_name():
    x, y = np.zeros((3, 2)), np.ones((4, 2))
    with pytest.raises(ValueError, match=r"got 'sinkhrn'. Did you mean 'sinkhorn'\?"):
        mf.w2(x, y, "sinkhrn")
    with pytest.raises(
        TypeError, match="method='exact' has no keyword 'reg'; it takes: lazy, numItermax"
    ):
        mf.w2(x, y, reg=0.1)
    with pytest.raises(TypeError, match="method='coupled' has no keyword 'seed'; it takes: none"):
        mf.w2(x, x, "coupled", seed=1)
    with pytest.raises(ValueError, match="n_projections must be an integer >= 1; got 0"):
        mf.w2(x, y, "sliced", n_projections=0)
    with pytest.raises(ValueError, match="numItermax must be an integer >= 1; got -5"):
        mf.w2(x, y, numItermax=-5)
    for reg in (0, -1.0, np.nan):
        with pytest.raises(ValueError, match="reg must be a number > 0"):
            mf.w2(x, y, "sinkhorn", reg=reg)
    for seconds in (-1, np.nan, "1"):
        with pytest.raises(ValueError, match="seconds must be a finite number >= 0"):
            mf.w2_interval(x, y, seconds)
    with pytest.raises(ValueError, match="equal numbers of particles; got m = 3 and m = 4"):
        mf.displacement(x, y)
    with pytest.raises(ValueError, match="equal masses; particle 0 has 0.5 and 0.25"):
        mf.displacement(weighted(x[:2], [1, 1]), weighted(x[:2], [1, 3]))
