"""W2 and its relatives against closed forms (TRUTHS.md 3.8) and against POT's dense solver."""

import numpy as np
import pytest
from clouds import pot_w2, rng, weighted

import meanfield as mf

# --- closed forms


@pytest.mark.parametrize("method", ["exact", "bures", "coupled", "sinkhorn"])
def test_the_distance_of_a_translate_is_the_length_of_the_shift(method):
    """TRUTHS.md 3.8. Also for a cloud 10⁶ spreads away, where the uncentred cost |x|² + |y|² - 2xy
    keeps four digits.
    """
    x = rng().normal(size=(150, 3))
    shift = np.array([3.0, -4.0, 0.5])
    for far in (0.0, 1e6):
        # x + far + shift is itself rounded: far·eps each, 1e6·2e-16/5 relative to the shift
        assert mf.w2(x + far, x + far + shift, method) == pytest.approx(
            np.linalg.norm(shift), rel=1e-9
        )


def test_the_sliced_distance_of_a_translate_is_the_shift_over_root_p():
    """E⟨u, s⟩² = |s|²/p; the mean part is in closed form, so no statistics enter."""
    x = rng().normal(size=(50, 4))
    assert mf.w2(x, x + [0, 3, 0, 4], "sliced", n_projections=3) == pytest.approx(5 / 2, rel=1e-12)


@pytest.mark.parametrize("method", ["exact", "sliced", "sinkhorn", "bures", "coupled"])
def test_the_distance_to_itself_is_zero(method):
    x = 7.0 + rng().normal(size=(60, 5))
    assert mf.w2(x, x.copy(), method) == 0.0
    # permuted: the means differ by an ulp of 7·√5 at most
    if method not in (
        "coupled",
        "sinkhorn",
    ):
        assert mf.w2(x, x[::-1], method) <= 1e-12


def test_in_one_dimension_it_is_the_distance_of_the_sorted_particles():
    """TRUTHS.md 3.8; against POT's dense solver with masses and unequal numbers of particles."""
    r = rng(1)
    x, y = r.normal(size=(80, 1)), 2.0 + r.standard_t(3, size=(80, 1))
    assert mf.w2(x, y) == pytest.approx(
        np.sqrt(np.mean((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2)), rel=1e-13
    )
    p, q = weighted(x, r.random(80)), weighted(y[:37], r.random(37))
    for method in ("exact", "sliced"):  # p = 1: every direction is ±1
        assert mf.w2(p, q, method) == pytest.approx(pot_w2(p, q), rel=1e-10)


def test_an_affine_image_under_a_symmetric_positive_map_is_at_bures_distance():
    """TRUTHS.md 3.8, Gaussians = Bures, without statistics: x ↦ Ax + b with A symmetric, positive
    is the gradient of a convex function, hence optimal (Brenier), at cost |Δmean|² + tr (A - I) C
    (A - I); and that is Bures of C and ACA.
    """
    r = rng(2)
    x = r.normal(size=(200, 4)) @ r.normal(size=(4, 4))
    root = r.normal(size=(4, 4))
    y = x @ (root @ root.T + 0.1 * np.eye(4)) + r.normal(size=4)
    expected = mf.displacement(x, y)
    assert mf.w2(x, y, "bures") == pytest.approx(expected, rel=1e-12)
    assert mf.w2(x, y) == pytest.approx(expected, rel=1e-12)


def test_bures_of_nearly_equal_covariances_keeps_its_digits():
    """y = (1 + h) x: Bures = h √tr C. The trace formula would have an error √(eps tr C) = 1e-8, a
    hundred times the value.
    """
    x = rng(3).normal(size=(100, 3))
    x -= x.mean(axis=0)
    assert mf.w2(x, (1 + 1e-10) * x, "bures") == pytest.approx(
        1e-10 * np.sqrt(np.square(x).sum() / 100), rel=1e-4
    )


def test_n_uniform_samples_are_at_mean_squared_distance_one_over_six_n_of_the_uniform_law():
    """TRUTHS.md 3.8. On a midpoint grid of N cells, n | N, each quantile is constant on a cell and
    the error is known: W2²(μ_n, U) = W2²(μ_n, grid) + 1/(12 N²). n W2² → ∫B² (Brownian bridge),
    mean 1/6, variance 1/45.
    """
    n, cells, repeats = 25, 500, 600
    grid = (np.arange(cells)[:, None] + 0.5) / cells
    r = rng(4)
    squares = [mf.w2(r.random((n, 1)), grid) ** 2 + 1 / (12 * cells**2) for _ in range(repeats)]
    standard_error = np.sqrt(1 / 45 / repeats) / n
    assert np.mean(squares) == pytest.approx(1 / (6 * n), abs=4 * standard_error)  # ± 15 %
    midpoints = (np.arange(n)[:, None] + 0.5) / n
    assert mf.w2(midpoints, grid) ** 2 == pytest.approx(
        1 / (12 * n**2) - 1 / (12 * cells**2), rel=1e-12
    )


# --- masses, solvers, relations


def test_splitting_a_particle_in_two_of_half_its_mass_changes_nothing():
    """THEORY.md, section 2."""
    r = rng(5)
    x, y, a = r.normal(size=(30, 3)), r.normal(size=(20, 3)), r.random(30)
    a /= a.sum()
    split = weighted(np.concatenate([x, x[:10]]), np.concatenate([a[:10] / 2, a[10:], a[:10] / 2]))
    whole = weighted(x, a)
    for method in ("exact", "sliced", "bures"):
        assert mf.w2(split, y, method) == pytest.approx(mf.w2(whole, y, method), rel=1e-12)
        # slivers of mass an ulp wide would give √eps = 1e-8 here
        assert mf.w2(split, whole, method) <= 1e-12
    # a difference of three values, each right to tolerance² · m / rate = 1e-10 · 30 / 0.01 at
    # worst, under a root
    assert mf.w2(split, whole, "sinkhorn") <= 6e-4


def test_particles_without_mass_do_not_count():
    x, y = rng(6).normal(size=(10, 2)), rng(7).normal(size=(12, 2))
    mass = np.where(np.arange(10) < 6, 1 / 6, 0.0)
    far = x.copy()
    far[6:] = 1e9
    for method in ("exact", "sliced", "sinkhorn", "bures"):
        assert mf.w2(weighted(far, mass), y, method) == pytest.approx(
            mf.w2(x[:6], y, method), rel=1e-12
        )
    assert mf.displacement(weighted(x, mass), weighted(far, mass)) == 0.0


def test_the_lazy_solver_agrees_with_the_dense_one():
    r = rng(8)
    p, q = (
        weighted(r.normal(size=(150, 5)), r.random(150)),
        weighted(1 + r.standard_t(3, size=(90, 5)), r.random(90)),
    )
    assert mf.w2(p, q, lazy=True) == pytest.approx(mf.w2(p, q, lazy=False), rel=1e-12)
    assert mf.w2(p, q) == pytest.approx(pot_w2(p, q), rel=1e-10)


def test_float32_particles_are_compared_in_float64():
    x, y = (rng(s).normal(size=(40, 3)).astype(np.float32) for s in (9, 10))
    assert mf.w2(x, y) == mf.w2(x.astype(float), y.astype(float))
    assert mf.w2(x, y) == pytest.approx(pot_w2(x, y), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-140, 1e-9, 1e9, 1e140])
def test_every_method_is_homogeneous(scale):
    """W2(cμ, cν) = c W2(μ, ν), also where squares would leave the range of float64 or a solver's
    tolerances are absolute.
    """
    x, y = rng(11).normal(size=(40, 3)), 0.3 + 2 * rng(12).normal(size=(40, 3))
    for method in ("exact", "sliced", "sinkhorn", "bures", "coupled"):
        assert mf.w2(scale * x, scale * y, method) == pytest.approx(
            scale * mf.w2(x, y, method), rel=1e-9
        )
    assert mf.w2_interval(scale * x, scale * y, 0).lower == pytest.approx(
        scale * mf.w2_interval(x, y, 0).lower, rel=1e-9
    )


def test_single_particles_and_coinciding_particles_have_the_distances_of_points():
    point, other = np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]])
    for method in ("exact", "bures", "coupled", "sinkhorn"):
        assert mf.w2(point, other, method) == pytest.approx(5.0, rel=1e-14)
        assert mf.w2(
            np.repeat(point, 7, axis=0), np.repeat(other, 7, axis=0), method
        ) == pytest.approx(5.0, rel=1e-14)
    assert mf.w2(np.repeat(point, 7, axis=0), other) == pytest.approx(5.0, rel=1e-14)
    assert mf.w2_interval(point, other)[:2] == pytest.approx((5.0, 5.0), rel=1e-12)


def test_the_distances_stand_in_their_order_and_the_triangle_inequality_holds():
    """bures <= exact <= coupled, sliced <= exact; the slack is the rounding of sums of 20 terms."""
    for seed in range(20):
        x, y, z = (rng([seed, k]).normal(size=(20, 3)) * (1 + k) + k for k in range(3))
        exact = mf.w2(x, y)
        assert mf.w2(x, y, "bures") <= exact * (1 + 1e-13)
        assert mf.w2(x, y, "sliced") <= exact * (1 + 1e-13)
        assert exact <= mf.w2(x, y, "coupled") * (1 + 1e-13)
        assert mf.w2(x, z) <= (exact + mf.w2(y, z)) * (1 + 1e-13)
        assert mf.w2(y, x) == pytest.approx(exact, rel=1e-13)


def test_the_sliced_distance_is_the_mean_over_directions():
    """Against quadrature over the half circle. 2000 orthonormal pairs: the angle is uniform on a
    quarter circle, and the spread of the mean of W2² over a frame is below that of one direction:
    standard error <= std/√2000.
    """
    x, y = rng(13).normal(size=(40, 2)) * [1, 5], rng(14).normal(size=(30, 2)) * [3, 1] + [1, 0]
    angles = (np.arange(720) + 0.5) * np.pi / 720
    squares = [
        mf.w2((x @ [np.cos(t), np.sin(t)])[:, None], (y @ [np.cos(t), np.sin(t)])[:, None]) ** 2
        for t in angles
    ]
    found = mf.w2(x, y, "sliced", n_projections=4000, seed=1)
    assert found**2 == pytest.approx(np.mean(squares), abs=4 * np.std(squares) / np.sqrt(2000))
    assert found == mf.w2(x, y, "sliced", n_projections=4000, seed=1)
    assert found != mf.w2(x, y, "sliced", n_projections=4000, seed=2)


def test_displacement_is_weighted_by_mass():
    x = np.zeros((2, 1))
    p, q = weighted(x, [0.9, 0.1]), weighted(x + [[1.0], [2.0]], [0.9, 0.1])
    assert mf.displacement(p, q) == pytest.approx(np.sqrt(0.9 * 1 + 0.1 * 4), rel=1e-14)
    assert mf.w2(p, q, "coupled") == mf.displacement(p, q)


def test_two_samples_of_one_law_are_not_at_distance_zero():
    """TRUTHS.md, measured laws: W2/rms|θ| of two normal clouds, p = 4, m = 500, is .35; it scatters
    by 2 %.
    """
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 500, 4))
    assert mf.w2(p, q) / 2.0 == pytest.approx(0.35, abs=0.03)
