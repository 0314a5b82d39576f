"""The fused passes: arcsin and arccos in units of the last place, agreement with NumPy's formulas,
bits, the cache.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numba import njit

from meanfield.backends import compiler
from meanfield.formulas import activations
from ntk.gaussian import duals
from ntk.infinite import passes, recursion

ROOT = Path(__file__).resolve().parents[2]


def covariance_of(rng, n, dtype):
    """Inner products of n inputs in R⁵ and their squared lengths, with a zero, a copy and an
    antipode among them.
    """
    x = rng.normal(size=(n, 5)).astype(dtype)
    x[1], x[2], x[3] = 0.0, x[0], -x[0]
    return x @ x.T, np.square(x.astype(np.float64)).sum(axis=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("which", ["asin", "acos"])
def test_arc_functions_are_right_to_three_units_of_the_last_place(which, dtype, rng):
    """asin: truncation 1/4 unit, a root, a square, two products and a sum of half a unit each; acos
    the same. Ends are exact.
    """
    function = compiler.bind(passes.arc_functions(dtype)[which == "acos"], dtype)

    @njit(error_model="numpy", fastmath=compiler.FASTMATH)
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    spacing = np.concatenate(
        [
            10.0 ** rng.uniform(-12, 0, 2000),
            1 - 10.0 ** rng.uniform(-15, 0, 2000),
            rng.uniform(0, 1, 4000),
        ]
    )
    x = np.concatenate([spacing, -spacing, [0.0, 0.5, -0.5, 1.0, -1.0]]).astype(dtype)
    y = np.empty_like(x)
    loop(x, y)
    with mpmath.workprec(100):
        exact = [getattr(mpmath, which)(mpmath.mpf(float(v))) for v in x]
        unit = np.spacing(np.abs(np.array([float(e) for e in exact])).astype(dtype))
        error = [
            float(abs(mpmath.mpf(float(found)) - e)) for found, e in zip(y, exact, strict=True)
        ]
    assert (np.array(error) / unit).max() <= 3
    assert np.isnan(function(np.dtype(dtype).type(np.nan)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", passes.FORMULAS)
def test_a_fused_layer_is_the_closed_form(name, dtype, rng):
    """To 8 roundings of the largest entry; slopes at |ρ| = 1 to the root of that, for arccos there."""
    sigma = activations.get(name)
    c, q = covariance_of(rng, 140, dtype)
    assert passes.covers(sigma, c.size)
    fused = passes.one_layer(sigma, q, q, c)
    largest = np.sqrt(np.outer(q, q))
    exact = duals.unchecked(
        sigma, q[:, None], q[None, :], np.clip(c.astype(np.float64), -largest, largest)
    )
    eps = np.finfo(dtype).eps
    rho = np.abs(c) / np.where(largest > 0, largest, 1)
    generic = rho < 0.99
    for found, expected in zip(fused, exact, strict=True):
        assert found.dtype == dtype
        assert np.abs(found - expected)[generic].max() < 8 * eps * max(1, np.abs(expected).max())
        assert np.abs(found - expected).max() < 8 * np.sqrt(eps) * max(1, np.abs(expected).max())


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_fused_and_plain_layers_agree_through_the_depth(name, rng, monkeypatch):
    """Four layers, scales and shifts of their own: 1e-13 away from copies and antipodes, 1e-7
    there.
    """
    sigma = activations.get(name)
    c, q = covariance_of(rng, 130, np.float64)
    scale, shift = np.array([1.2, 1.0, 0.9, 1.1]), np.array([0.1, 0.0, 0.2, 0.0])
    variances = recursion._diagonal(sigma, q, scale, shift)[0]
    fused = passes.all_layers(sigma, c.copy(), variances, variances, scale, shift, triangle=False)
    monkeypatch.setattr(passes, "SMALL", np.inf)
    monkeypatch.setattr(passes, "BLOCK_ENTRIES", 130 * 17)
    plain = passes.all_layers(sigma, c.copy(), variances, variances, scale, shift, triangle=False)
    apart = np.ix_(np.arange(4, 130), np.arange(4))
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a[apart], b[apart], atol=1e-13 * b.max())
        np.testing.assert_allclose(a, b, atol=1e-7 * b.max())


def test_bits_do_not_depend_on_the_threads(threads, rng):
    c, q = covariance_of(np.random.default_rng(3), 200, np.float64)
    sigma = activations.get("relu")
    one, half = np.ones(3), np.zeros(3)
    variances = recursion._diagonal(sigma, q, one, half)[0]
    results = passes.all_layers(sigma, c.copy(), variances, variances, one, half, triangle=True)
    known = test_bits_do_not_depend_on_the_threads.__dict__.setdefault("results", results)
    for a, b in zip(results, known, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_second_process_finds_the_compiled_kernels(tmp_path):
    program = """
import json, numpy as np, ntk
from meanfield import activations
from ntk.infinite import passes
ntk.deep(np.random.default_rng(0).normal(size=(150, 3)), depth=2)
kernel = passes.compiled(activations.get("relu"), np.dtype("float64")).all_layers
print(json.dumps([sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values())]))
"""
    environment = {**os.environ, "MEANFIELD_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    counts = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program], env=environment, capture_output=True, check=True
            ).stdout
        )
        for _ in range(2)
    ]
    assert counts == [[0, 1], [1, 0]]


def test_functions_that_share_a_module_s_name_stay_functions():
    """`ntk.runs.laziness` is a module; `ntk.laziness` is the public function, before and after its
    import.
    """
    program = """
import types
import ntk
assert callable(ntk.laziness) and not isinstance(ntk.laziness, types.ModuleType)
import ntk.runs.laziness
import ntk.runs.budget
for name in ("laziness", "budget", "empirical", "deep", "kernel"):
    assert callable(getattr(ntk, name)) and not isinstance(getattr(ntk, name), types.ModuleType)
assert "deep" in dir(ntk)
try:
    ntk.kernels_of_truth
except AttributeError as error:
    assert "kernels_of_truth" in str(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
