"""w2_interval: lower <= W2 <= upper, always. THEORY.md, section 6."""

from time import perf_counter

import numpy as np
from clouds import random_pair, rng, weighted

import meanfield as mf
from meanfield.transport import distances
from meanfield.transport.bounds import interval, refined
from meanfield.transport.couplings import (
    NotConverged,
    centred_pair,
    coupling_distance,
    monotone_coupling,
)
from meanfield.transport.potentials import dual_bound

SOLVERS = distances._plan, distances.listed_simplex


def test_the_interval_holds_the_exact_distance_on_1000_random_pairs():
    """THEORY.md, section 6: no lower bound exceeds W2, no upper bound falls below, without any
    tolerance: rounding is paid for.

    seconds = 0 gives the first bounds of each kind; every fourth pair also gets bases and block
    refinement, for 4 ms.
    """
    for seed in range(1000):
        p, q = random_pair(seed)
        exact = mf.w2(p, q)
        found = [mf.w2_interval(p, q, seconds=0)]
        if seed % 4 == 0:
            found.append(interval(centred_pair(p, q), 0.004, *SOLVERS, expected=np.inf))
        for lower, upper, *methods in found:
            assert lower <= exact <= upper, (seed, methods)


def test_the_interval_is_exact_where_the_solve_fits():
    """Width: the solver's and the masses' 1e-14·diameter² in W2² (diameter² <= 4p = 12), 1e-13 of
    W2² here, and ulps.
    """
    r = rng(27)
    for m2 in (30, 20):
        p, q = weighted(r.normal(size=(30, 3)), r.random(30)), 2 + r.standard_t(3, size=(m2, 3))
        found = mf.w2_interval(p, q, seconds=5)
        assert found.lower <= mf.w2(p, q) <= found.upper <= found.lower * (1 + 1e-11)
        assert found.lower_method == found.upper_method == "exact"
    x = rng(24).normal(size=(100, 3))
    assert mf.w2_interval(x, x) == (0.0, 0.0, "identical", "identical")


def test_the_interval_closes_on_translates_and_on_gradients_of_convex_functions():
    """Gelbrich from below meets the identity coupling from above, at any m, without a solve."""
    r = rng(25)
    x, root = r.normal(size=(20_000, 6)), r.normal(size=(6, 6))
    y = x @ (root @ root.T) + 1
    found = mf.w2_interval(x, y, seconds=0.5)
    assert found.upper_method == "identity coupling" and found.lower_method == "gelbrich"
    assert found.lower <= mf.displacement(x, y) <= found.upper <= found.lower * (1 + 1e-9)


def test_block_refinement_brings_a_coupling_near_the_optimum():
    """400 + 300 particles: the blocks of 256 entries overlap from sweep to sweep; 5 % is far below
    the sorted coupling's 50 %.
    """
    r = rng(26)
    p, q = weighted(r.normal(size=(400, 4)), r.random(400)), r.normal(size=(300, 4)) * 1.5
    pair, exact = centred_pair(p, q), mf.w2(p, q)
    start = monotone_coupling(pair.x[:, 0], pair.a, pair.y[:, 0], pair.b)
    end = refined(pair, start, SOLVERS[0], perf_counter() + 0.5, r)
    assert coupling_distance(pair, start) > 1.4 * exact
    assert exact * (1 - 1e-12) <= coupling_distance(pair, end) < 1.05 * exact
    # every stage is a coupling: marginals to an ulp for each of some hundred blocks
    np.testing.assert_allclose(np.bincount(end[0], end[2], 400), pair.a, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.bincount(end[1], end[2], 300), pair.b, rtol=0, atol=1e-14)


def test_any_potential_gives_a_lower_bound_and_the_optimal_one_gives_the_distance():
    """Kantorovich duality; pairs listed by a sample's potentials and the coupling close the gap in
    a few rounds.
    """
    r = rng(28)
    p, q = weighted(r.normal(size=(600, 5)), r.random(600)), 1 + r.normal(size=(500, 5)) * 1.5
    pair, exact = centred_pair(p, q), mf.w2(p, q)
    for psi in (np.zeros(500), r.normal(size=500), -np.square(pair.y).sum(axis=1)):
        value, error, _, _ = dual_bound(pair, psi)
        assert pair.distance(value - error) <= exact
    found = interval(pair, 5.0, *SOLVERS, expected=np.inf)
    assert found.lower <= exact <= found.upper <= found.lower * (1 + 1e-6)
    assert found.lower_method == "potentials of listed pairs"


def test_a_solver_that_fails_only_leaves_the_interval_wider():
    def fails(*arguments):
        raise NotConverged("no optimum")

    x, y = rng(31).normal(size=(60, 3)), rng(32).normal(size=(60, 3))
    found = interval(centred_pair(x, y), 0.5, fails, fails, expected=0.0)
    assert 0 < found.lower <= mf.w2(x, y) <= found.upper < np.inf


def test_the_interval_keeps_to_its_time():
    """4000 particles: 0.3 s asked for; first bounds and one block may come on top, and a loaded
    machine.
    """
    x, y = rng(29).normal(size=(4000, 8)), rng(30).normal(size=(4000, 8)) + 1
    mf.w2_interval(x[:50], y[:50])  # imports POT
    start = perf_counter()
    found = mf.w2_interval(x, y, seconds=0.3)
    assert perf_counter() - start < 3
    assert 0 < found.lower < found.upper
