"""W2 from the coupling of each particle with itself: Brenier's theorem, its converse, and SciPy's
assignment as the slow twin."""

import numba
import numpy as np
import pytest
from clouds import rng, weighted
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import meanfield as mf
from meanfield.backends.cpu import assignment as lists
from meanfield.backends.cpu import reduced_costs
from meanfield.transport import exact, optimality
from meanfield.transport.assignment import matched
from meanfield.transport.distances import optimal_plan

# Sums of m squares, each right to some ulp, and a plan that is one of several within the rounding
# of the potentials
ROUNDING = 1e-12


def assigned(x, y):
    """The slow twin: (Σ_k |x_k - y_σ(k)|² / m)^½ of the best permutation σ, by SciPy."""
    cost = cdist(x, y, "sqeuclidean")
    return np.sqrt(cost[linear_sum_assignment(cost)].mean())


def check(x, y):
    """mf.w2 is that of the twin, and its gap bounds what the squared distance has too much."""
    found, truth = mf.w2(x, y, details=True), assigned(x, y)
    assert found.value == pytest.approx(truth, rel=ROUNDING, abs=1e-300)
    assert 0.0 <= found.gap <= optimality.GAP
    return found


# --- Brenier: gradients of convex functions are optimal maps


def _convex_gradients():
    """Name -> (∇φ, its argument's dimension): quadratic, separable, log-sum-exp, max of affine,
    |x|^p, radial."""
    r = rng(0)
    root, planes = r.normal(size=(4, 4)), r.normal(size=(7, 4))
    soft = lambda z: np.exp(z - z.max(axis=1, keepdims=True))
    return {
        "quadratic": lambda x: x @ (root @ root.T) + 1.0,
        "separable": lambda x: x + np.tanh(3 * x) + x**3,
        "log-sum-exp": lambda x: soft(x @ planes.T) / soft(x @ planes.T).sum(1)[:, None] @ planes,
        "max of affine": lambda x: planes[np.argmax(x @ planes.T + np.arange(7) / 5, axis=1)],
        "power": lambda x: np.linalg.norm(x, axis=1)[:, None] ** 2 * x,
        "towards the origin": lambda x: 1e-3 * x,
        "constant": lambda x: np.ones_like(x),
        "a small step": lambda x: x + 1e-6 * np.sin(x),
    }


@pytest.mark.parametrize("name", _convex_gradients())
@pytest.mark.parametrize("masses", ["equal", "unequal"])
@pytest.mark.parametrize("m", [1, 2, 37, 700])
def test_a_gradient_of_a_convex_function_leaves_each_particle_its_own_partner(name, masses, m):
    """Brenier: x ↦ ∇φ(x) with φ convex is optimal between any measure and its image, whatever the
    masses."""
    x = rng(1).normal(size=(m, 4))
    y = _convex_gradients()[name](x)
    mass = np.ones(m) if masses == "equal" else rng(2).uniform(0.2, 2.0, size=m)
    p, q = weighted(x, mass), weighted(y, mass)
    found = mf.w2(p, q, details=True)
    # ties (images in one place) leave more than one optimum, and then the partner may be another
    # one
    assert found.solver in ("own coupling", "augmenting paths" if masses == "equal" else "")
    assert found.value == pytest.approx(mf.displacement(p, q), rel=ROUNDING)
    assert found.gap <= optimality.GAP
    lower, upper, *_ = mf.w2_interval(p, q)
    assert lower <= found.value * (1 + ROUNDING) and found.value <= upper * (1 + ROUNDING)


def test_a_gradient_flow_of_a_network_keeps_the_coupling_of_each_neuron_with_itself():
    """To first order the particles move by a gradient; here until the kink is learned, lazy and
    mean-field."""
    x = np.linspace(-1, 1, 32)[:, None]
    for scaling in (mf.NTK, mf.MEAN_FIELD):
        flow = mf.GradientFlow(
            mf.EmpiricalRisk(mf.Network("relu", scaling=scaling), x, abs(x[:, 0]))
        )
        start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(400, seed=0)
        end = mf.simulate(flow, start, mf.RK4, dt="auto", t_end=2.0, progress=False)
        found = mf.w2(start, end, details=True)
        assert found.solver in ("own coupling", "augmenting paths")
        assert found.value == pytest.approx(assigned(start.theta, end.theta), rel=ROUNDING)
    assert mf.w2(start, start.theta, details=True).solver == "identical"


# --- and its converse: what is better is found


@pytest.mark.parametrize("seed", range(30))
def test_the_own_coupling_is_never_certified_where_a_random_permutation_is_better(seed):
    """A cheaper permutation refutes it, for equal masses; with masses the network simplex is the
    judge."""
    r = rng(seed)
    m, dim = int(r.integers(2, 200)), int(r.integers(2, 8))
    x = r.normal(size=(m, dim))
    y = x + r.uniform(0, 2) * r.normal(size=(m, dim))
    k = int(r.integers(0, m + 1))
    y[:k] = y[r.permutation(k)]
    own = np.square(x - y).sum()
    better = any(np.square(x - y[r.permutation(m)]).sum() < own for _ in range(20))
    found = check(x, y)
    if better or assigned(x, y) < np.sqrt(own / m) * (1 - 1e-9):
        assert found.solver == "augmenting paths"

    mass = r.uniform(0.1, 1.0, size=m)
    p, q = weighted(x, mass), weighted(y, mass)
    simplex = mf.w2(p, q, lazy=False, details=True)
    assert simplex.solver.startswith("network simplex")
    both = mf.w2(p, q, details=True)
    assert both.value == pytest.approx(simplex.value, rel=0.5 * optimality.GAP)
    if both.solver == "own coupling":
        assert simplex.value == pytest.approx(mf.displacement(p, q), rel=0.5 * optimality.GAP)


def test_one_exchanged_pair_is_found_among_many():
    """Two particles that swapped places: the only negative cycle, far below a thousandth of the
    cost."""
    x = rng(3).normal(size=(500, 3))
    near = cdist(x, x) + np.diag(np.full(500, np.inf))
    i, j = np.unravel_index(np.argmin(near), near.shape)
    y = 1.5 * x
    y[[i, j]] = y[[j, i]]
    found = check(x, y)
    assert found.solver == "augmenting paths"
    assert (
        mf.displacement(x, y) > found.value == pytest.approx(mf.displacement(x, 1.5 * x), rel=1e-14)
    )


def _hard_clouds():
    """Clouds of equal masses that each break something: a rule of thumb, the lists, the potentials,
    or the digits."""
    r = rng(4)
    m = 240
    x = r.normal(size=(m, 3))
    lattice = lambda: r.integers(-1, 2, size=(m, 3)).astype(float)
    line = np.array([[1.0, 2.0, 3.0]])
    places = r.normal(size=(4, 3))
    clusters = lambda k: np.where(np.arange(m)[:, None] < k, 0.0, 50.0) + r.normal(size=(m, 3))
    return {
        "moved": (x, x + r.normal(size=x.shape) / 3),
        "independent": (x, r.normal(size=x.shape)),
        "permuted": (x, (x + 1e-6 * r.normal(size=x.shape))[r.permutation(m)]),
        "the same in another order": (x, x[::-1]),
        "lattices: ties": (lattice(), lattice()),
        "duplicates": (np.repeat(x[:40], 6, axis=0), np.repeat(x[40:100], 4, axis=0)),
        "condensed": (x, places[r.integers(0, 4, m)] + 1e-8 * r.normal(size=x.shape)),
        "all in one place": (x, np.zeros_like(x)),
        "clusters of other sizes": (clusters(100), clusters(150)),
        "on a line": (r.normal(size=(m, 1)) * line, r.normal(size=(m, 1)) * line),
        "heavy tails": (r.standard_cauchy(size=x.shape), r.standard_cauchy(size=x.shape)),
        "thin": (x * [1, 1e-4, 1e-8], r.normal(size=x.shape) * [1, 1e-4, 1e-8]),
        "in many dimensions": (r.normal(size=(m, 50)), 2 * r.normal(size=(m, 50))),
        "translated": (x, x + 7.0),
        "two particles": (x[:2], x[2:4]),
        "reflected": (x, -x),
    }


@pytest.mark.parametrize("name", _hard_clouds())
def test_every_kind_of_cloud_has_the_distance_that_scipys_assignment_finds(name):
    x, y = _hard_clouds()[name]
    if name == "the same in another order":  # the means differ by rounding
        assert mf.w2(x, y) < 1e-15
        return
    check(x, y)
    i, j, w = optimal_plan(x, y)
    assert sorted(i) == sorted(j) == list(range(len(x))) and np.ptp(w) == 0


@pytest.mark.parametrize("seed", range(40))
def test_random_moved_clouds_have_the_distance_that_scipys_assignment_finds(seed):
    r = rng([5, seed])
    m, dim = int(r.integers(2, 120)), int(r.integers(2, 12))
    x = r.normal(size=(m, dim)) * 10 ** r.uniform(-3, 3, size=dim)
    y = x * r.uniform(0.5, 2.0) + 10 ** r.uniform(-6, 1) * r.normal(size=x.shape)
    check(x, y)


@pytest.mark.parametrize("far", [1e3, 1e6])
def test_far_particles_do_not_hide_the_others(far):
    r = rng(6)
    x = r.normal(size=(80, 3))
    y = x + 0.4 * r.normal(size=x.shape)
    near = assigned(x[1:], y[1:])
    x[0], y[0] = (far, 0, 0), (far + 1, 0, 0)
    truth = np.sqrt((1 + 79 * near**2) / 80)
    assert mf.w2(x, y) == pytest.approx(truth, rel=0.5 * optimality.GAP)


def test_in_one_dimension_particles_are_sorted():
    x, y = rng(7).normal(size=(2, 300, 1))
    found = mf.w2(x, y, details=True)
    assert found.solver == "sorted" and found.gap == 0.0
    assert found.value == pytest.approx(assigned(x, y), rel=ROUNDING)


# --- the certificate


@pytest.mark.parametrize("seed", range(10))
def test_the_dual_value_is_within_rounding_of_the_primal_one(seed):
    """Kantorovich: no coupling costs less than Σ (u_i + v_j)/m with u_i + v_j <= c_ij; the gap says
    how much more ours costs.

    The gap is a sum of m tolerances of 64 ulp of the potentials, which are of the size of the costs
    they weigh.
    """
    r = rng([8, seed])
    x = r.normal(size=(150, 4))
    y = x + r.uniform(0.01, 1.0) * r.normal(size=x.shape)
    found = matched(x, y, np.full(150, 1 / 150), 150**2)
    cost = cdist(x, y, "sqeuclidean")
    primal = cost[np.arange(150), found.column].mean()
    least = cost[linear_sum_assignment(cost)].mean()
    assert primal - found.gap <= least * (1 + 1e-14)
    assert found.gap <= 1e-11 * primal


def test_what_is_not_finished_goes_to_the_network_simplex(monkeypatch):
    """Without work for augmenting paths, and with masses for which the own coupling is not
    optimal."""
    x, y = rng(9).normal(size=(2, exact.SMALL + 20, 3))  # smaller ones go without lists
    truth = mf.w2(x, y)
    monkeypatch.setattr(exact, "WORK", 0.0)
    found = mf.w2(x, y, details=True)
    assert found.solver == "network simplex"
    assert found.value == pytest.approx(truth, rel=ROUNDING)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    r = rng(10)
    x = r.normal(size=(900, 5))
    clouds = [x * 1.3 + 0.1 * np.tanh(x), x + 0.3 * r.normal(size=x.shape)]
    threads = numba.get_num_threads()
    try:
        values = []
        for count in {1, threads}:
            numba.set_num_threads(count)
            values.append([mf.w2(x, y, details=True) for y in clouds])
    finally:
        numba.set_num_threads(threads)
    assert all(value == values[0] for value in values)


def test_other_methods_name_themselves():
    x, y = rng(11).normal(size=(2, 30, 3))
    for method in ("sliced", "sinkhorn", "bures", "coupled"):
        found = mf.w2(x, y, method, details=True)
        assert found.value == mf.w2(x, y, method)
        assert found.solver == method and np.isnan(found.gap)
    with pytest.raises(TypeError, match="details must be True or False"):
        mf.w2(x, y, details=1)


# --- the kernels and their twins


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("m", [1, 5, 127, 130, 300])
def test_the_least_reduced_costs_are_those_of_a_sorted_matrix(m, dim):
    r = rng([12, m, dim])
    x, y, v = r.normal(size=(m, dim)), r.normal(size=(m + 7, dim)), r.normal(size=m + 7)
    reduced = cdist(x, y, "sqeuclidean") - v
    limit = np.quantile(reduced, 0.7, axis=1)
    i, j, cost = reduced_costs.least(x, y, v, limit, 4)
    assert np.array_equal(i, np.sort(i))
    np.testing.assert_allclose(cost, cdist(x, y, "sqeuclidean")[i, j], rtol=1e-12, atol=1e-14)
    for row in range(m):
        expected = np.argsort(reduced[row])[:4]
        expected = expected[reduced[row, expected] < limit[row]]
        assert np.array_equal(j[i == row], expected)


def test_many_particles_in_one_place_get_different_partners():
    """Of equal costs the first after one's own: 400 copies would else all list the same few, chunk
    by chunk."""
    zeros = np.zeros((4 * reduced_costs.CHUNK, 2))
    m = len(zeros)
    _, j, _ = reduced_costs.least(zeros, zeros, np.zeros(m), np.full(m, np.inf), 1)
    assert np.array_equal(j, np.arange(m) // reduced_costs.CHUNK * reduced_costs.CHUNK)


def test_merged_lists_hold_each_pair_once():
    r = rng(13)
    i, j = r.integers(0, 20, size=(2, 300))
    cost = (100 * i + j).astype(float)
    empty = np.zeros(21, int), np.zeros(0, int), np.zeros(0)
    half = lists.merged(*empty, i[:150], j[:150], cost[:150])
    start, columns, costs = lists.merged(*half, i, j, cost)
    rows = np.repeat(np.arange(20), np.diff(start))
    assert sorted(zip(rows, columns, strict=True)) == sorted(set(zip(i, j, strict=True)))
    assert np.array_equal(costs, 100 * rows + columns)


@pytest.mark.parametrize("seed", range(10))
def test_augmenting_paths_on_full_lists_are_scipys_assignment(seed):
    r = rng([14, seed])
    m = int(r.integers(1, 40))
    cost = r.integers(0, 8, size=(m, m)).astype(float) if seed % 2 else r.random((m, m))
    full = np.arange(m + 1) * m, np.tile(np.arange(m), m), cost.ravel()
    mate, owner = np.full(m, -1), np.full(m, -1)
    state = mate, np.zeros(m), owner, np.zeros(m)
    left = lists.augment(*full, *state, np.arange(m), m * m)
    assert 0 <= left <= m * m and sorted(mate) == list(range(m))
    assert np.array_equal(owner[mate], np.arange(m))
    assert cost[np.arange(m), mate].sum() == pytest.approx(
        cost[linear_sum_assignment(cost)].sum(), rel=1e-13
    )
    assert lists.relax(*full, mate, state[1], np.zeros(m), 2 * m)  # its potentials exist
