"""w2_interval: lower <= W2 <= upper, always. THEORY.md, section 6."""

import numpy as np
from clouds import random_pair, rng, weighted

import meanfield as mf
from meanfield import wasserstein
from meanfield.couplings import centred_pair
from meanfield.w2_bounds import interval


def test_the_interval_holds_the_exact_distance_on_1000_random_pairs():
    """THEORY.md, section 6: no lower bound exceeds W2, no upper bound falls below, without any tolerance: rounding is paid for.

    seconds = 0 gives the first bounds of each kind; every fourth pair also gets bases and block refinement, for 4 ms.
    """
    for seed in range(1000):
        p, q = random_pair(seed)
        exact = mf.w2(p, q)
        found = [mf.w2_interval(p, q, seconds=0)]
        if seed % 4 == 0:
            found.append(interval(centred_pair(p, q), 0.004, wasserstein._network_simplex, expected=np.inf))
        for lower, upper, *methods in found:
            assert lower <= exact <= upper, (seed, methods)


def test_the_interval_is_exact_where_the_solve_fits():
    """Width: the solver's and the masses' 1e-14·diameter² in W2² (diameter² <= 4p = 12), 1e-13 of W2² here, and ulps."""
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


def test_block_refinement_brings_the_upper_bound_near_the_distance():
    """400 + 300 particles: the blocks of 256 entries overlap from sweep to sweep; 5 % is far below the sorted coupling's 50 %."""
    r = rng(26)
    p, q = weighted(r.normal(size=(400, 4)), r.random(400)), r.normal(size=(300, 4)) * 1.5
    exact = mf.w2(p, q)
    sorted_only = interval(centred_pair(p, q), 0.0, wasserstein._network_simplex, expected=np.inf)
    refined = interval(centred_pair(p, q), 0.5, wasserstein._network_simplex, expected=np.inf)
    assert sorted_only.upper > 1.4 * exact
    assert exact <= refined.upper < 1.05 * exact
    assert refined.upper_method == "coupling refined in blocks"
    assert sorted_only.lower <= refined.lower <= exact
