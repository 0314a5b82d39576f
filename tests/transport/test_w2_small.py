"""W2 of small clouds and of clouds on a line: nothing but the solve takes time there, and the answer
is that of SciPy's assignment solver and of sorting. TRUTHS.md, section 3.8.
"""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import meanfield as mf
from meanfield.backends.cpu import dense_assignment
from meanfield.transport import assignment, exact

EPS = np.finfo(np.float64).eps


def clouds(kind, m, p):
    rng = np.random.default_rng(m + p)
    x = rng.normal(size=(m, p))
    return {
        "close": lambda: (x, x + 0.01 * rng.normal(size=(m, p))),
        "moved": lambda: (x, x + rng.normal(size=(m, p)) / 3),
        "shifted": lambda: (x, rng.normal(size=(m, p)) + 2),
        "far away": lambda: (x + 1e6, rng.normal(size=(m, p)) + 1e6),
        "on a grid": lambda: (np.round(x), np.round(x[::-1] + 0.3)),
        "in few places": lambda: (np.round(x / 2), np.round(rng.normal(size=(m, p)) / 2)),
    }[kind]()


KINDS = ["close", "moved", "shifted", "far away", "on a grid", "in few places"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 2, 3, 17, 80])
@pytest.mark.parametrize("p", [2, 5])
def test_all_pairs_at_once_are_matched_as_by_scipy_and_potentials_prove_it(kind, m, p):
    """Σ of m costs, each of p squares: equal to m p ulp of the largest. Coordinates of 1e6 are right
    to an ulp of that, so their costs to 4 · 1e6 · ulp times the length of the way.
    """
    x, y = clouds(kind, m, p)
    found = dense_assignment.solve(x, y)
    cost = cdist(x, y, "sqeuclidean")
    expected = cost[linear_sum_assignment(cost)].mean()
    far = 4e6 * p * 10 if kind == "far away" else 0.0
    tolerance = EPS * (m * p * cost.max() + far)
    assert sorted(found.mate) == list(range(m))
    assert abs(found.square - expected) <= tolerance
    assert 0 <= found.gap <= 64 * EPS * 4 * max(cost.max(), 1.0) + tolerance
    assert found.own == (list(found.mate) == list(range(m)))


@pytest.mark.parametrize("kind", KINDS[:4])
def test_arrays_have_the_distance_of_states_of_the_same_particles(kind):
    """Those go the long way. An ulp of each of m p squares, and the root halves it."""
    x, y = clouds(kind, 60, 3)
    short = mf.w2(x, y, details=True)
    long = mf.w2(mf.State(x, outputs=0), mf.State(y, outputs=0), details=True)
    assert short.value == pytest.approx(long.value, rel=60 * 3 * EPS)
    assert short.solver == long.solver and 0 <= short.gap <= 1e-9
    assert mf.w2(x, y) == short.value


def test_between_small_and_large_close_clouds_go_all_at_once_and_others_by_lists(monkeypatch):
    calls = []
    real = dense_assignment.solve
    monkeypatch.setattr(
        dense_assignment, "solve", lambda x, y: (calls.append(len(x)), real(x, y))[1]
    )
    m = exact.SMALL + 50
    assert m < assignment.FEW
    for kind, dense in (("close", [m]), ("moved", [])):
        x, y = clouds(kind, m, 2)
        cost = cdist(x, y, "sqeuclidean")
        expected = np.sqrt(cost[linear_sum_assignment(cost)].mean())
        calls.clear()
        assert mf.w2(x, y) == pytest.approx(expected, rel=1e-9)
        assert calls == dense


@pytest.mark.parametrize("m", [1, 2, 1000])
def test_on_a_line_it_is_the_distance_of_what_is_sorted(m):
    rng = np.random.default_rng(m)
    x, y = rng.normal(size=(m, 1)), rng.normal(size=(m, 1)) + 0.5
    before = x.copy(), y.copy()
    expected = np.sqrt(np.square(np.sort(x[:, 0]) - np.sort(y[:, 0])).mean())
    found = mf.w2(x, y, details=True)
    assert found.value == pytest.approx(expected, rel=4 * EPS) and found.solver == "sorted"
    assert found.value == pytest.approx(
        mf.w2(mf.State(x, outputs=0), mf.State(y, outputs=0)), rel=m * EPS
    )
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("size", [1e-190, 1e190])
def test_distances_whose_squares_leave_the_numbers_go_the_long_way(p, size):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20, p))
    assert mf.w2(size * x, size * y) == pytest.approx(size * mf.w2(x, y), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_still_named(p, bad):
    x, y = np.zeros((2, 5, p))
    y[3, 0] = bad
    with pytest.raises(ValueError, match=r"q has NaN or infinite values in 1 of 5 .* particle 3"):
        mf.w2(x, y)


@pytest.mark.parametrize("p", [1, 2])
def test_a_cloud_is_at_no_distance_from_itself_and_says_so(p):
    x = np.random.default_rng(0).normal(size=(9, p))
    assert mf.w2(x, x.copy(), details=True)[:3] == (0.0, "identical", 0.0)
    assert mf.w2(x, x[::-1].copy()) == 0.0


def test_a_common_place_far_away_hides_no_way():
    """Clusters at 1e6 and -1e6, ways of 1e-3: each pair's cost is right to an ulp of itself, where
    those of centred positions were right to 1e-10 of 1e-3.
    """
    rng = np.random.default_rng(4)
    x = 1e6 * np.sign(rng.normal(size=(11, 1))) + rng.normal(size=(11, 3))
    y = x + 1e-3 * rng.normal(size=x.shape)
    expected = np.sqrt(np.square(x - y).sum(axis=1).mean())
    found = mf.w2(x, y, details=True)
    assert found.value == pytest.approx(expected, rel=1e-13) and found.solver == "own coupling"
    assert 0 <= found.gap <= 1e-13
    assert mf.w2(mf.State(x, outputs=0), mf.State(y, outputs=0)) == pytest.approx(
        expected, rel=1e-13
    )
