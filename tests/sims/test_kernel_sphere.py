"""The sphere of kernel_spectra: eigenvalues by degree, their multiplicities, learning curves."""

import math

import numpy as np
import pytest

from sims import kernel_spectra
from sims.kernel_spectra import Sphere, measures, sphere

CONFIG = Sphere(dim=3, points=400, targets=(1, 2, 3), samples=(4, 16, 64), repeats=6, test=300)


@pytest.fixture(scope="module")
def found():
    return sphere.measured(CONFIG)


def test_two_dimensions_are_the_circle():
    """Closed form on the circle: 1/8 (k = 1), (k² + 1)/(π²(k² - 1)²) (k even), 0 (k = 3, 5, …): forty
    roundings.
    """
    circle = [measures.eigenvalue(k) for k in range(40)]
    np.testing.assert_allclose(sphere.eigenvalues(2, 40), circle, rtol=1e-14)


@pytest.mark.parametrize("dim", [3, 8, 20])
def test_eigenvalues_are_the_integrals_of_funk_and_hecke(dim):
    """λ_k = ∫ κ P_k sin^(d-2) ψ dψ / ∫ sin^(d-2) ψ dψ by quadrature in ψ, where all is analytic: to the
    rounding of a sum of κ <= ½.
    """
    nodes, weights = np.polynomial.legendre.leggauss(600)
    psi = 0.5 * math.pi * (nodes + 1)
    density = weights * np.sin(psi) ** (dim - 2)
    kernel = np.cos(psi) * (math.pi - psi) / (2 * math.pi)
    found = sphere.zonal(dim, 60, np.cos(psi)) @ (kernel * density) / density.sum()
    np.testing.assert_allclose(sphere.eigenvalues(dim, 60), found, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dim", [3, 5, 8, 50, 1000])
def test_the_trace_is_the_kernel_on_the_diagonal(dim):
    """Σ_k N_k λ_k = κ(1) = ½; λ_k ~ k^(-d) and N_k ~ k^(d - 2) leave 1/k beyond degree k, as
    Σ_{even j > k} j^(-2). In high dimensions N_k is 1e30 and more, and λ_k has to be right beside it.
    """
    values = sphere.eigenvalues(dim, 200)
    sums = np.cumsum([sphere.multiplicity(dim, k) * value for k, value in enumerate(values)])
    left = 0.5 - sums
    assert 0 < left[-1] < 0.01
    # twice as many degrees leave half as much, to the next order in d/k
    assert left[198] / left[98] == pytest.approx(0.5, abs=0.03) or dim > 8
    assert (values[3::2] == 0).all()


@pytest.mark.parametrize("dim", [3, 5])
def test_harmonics_are_counted_and_orthogonal(dim):
    """N_k = C(k + d - 1, d - 1) - C(k + d - 3, d - 1); √N_k P_k(x_1) has variance 1 and those of two degrees
    are uncorrelated, by quadrature in x_1.
    """
    for k in range(2, 8):
        known = math.comb(k + dim - 1, dim - 1) - math.comb(k + dim - 3, dim - 1)
        assert sphere.multiplicity(dim, k) == known
    nodes, weights = np.polynomial.legendre.leggauss(200)
    psi = 0.5 * math.pi * (nodes + 1)
    density = weights * np.sin(psi) ** (dim - 2)
    P = sphere.zonal(dim, 8, np.cos(psi))
    P *= np.sqrt([[sphere.multiplicity(dim, k)] for k in range(8)])
    np.testing.assert_allclose(P * (density / density.sum()) @ P.T, np.eye(8), atol=1e-12)


def test_the_kernel_on_points_has_the_staircase_of_eigenvalues(found):
    """Of n = 400 random points: an eigenvalue of K/n is off by O(κ(1) √(1/n)) in operator norm, here by
    twice ½/20.
    """
    steps = sphere.staircase(3, 12)
    degrees = sphere.eigenvalues(3, 5)
    np.testing.assert_allclose(steps[:9], np.repeat(degrees[[1, 0, 2]], [3, 1, 5]), rtol=1e-12)
    assert np.abs(found["spectrum"][:12] - steps).max() < 0.05
    assert found["spectrum"].sum() == pytest.approx(0.5, abs=1e-10)


def test_kernel_regression_learns_each_degree_as_theory_says(found):
    """Simon et al. (2021), the formula in sims/kernel_spectra/sphere.py. It is exact as the number of
    harmonics grows; with 3 and 5 of them it is right to a third where the error is above .01,
    besides 4 standard errors of six draws. Degree 3 is never learnt: E >= 1.
    """
    for k, by_count in zip(CONFIG.targets, found["error"], strict=True):
        for n, values in zip(CONFIG.samples, by_count, strict=True):
            theory = sphere.expected(3, k, n)
            scatter = 4 * values.std(ddof=1) / np.sqrt(6)
            assert abs(values.mean() - theory) < 0.35 * theory + scatter + 0.003
            if k == 3:
                assert theory > 1 and values.mean() > 0.9
    # more samples than the first degrees have harmonics: these are learnt
    assert found["error"][0, -1].mean() < 0.01 < found["error"][1, 1].mean()


def test_the_files_hold_the_sphere_too(tmp_path):
    results = kernel_spectra.run(kernel_spectra.tiny(), tmp_path)
    assert kernel_spectra.collect(kernel_spectra.Config(), tmp_path) == results
    assert [(row.degree, row.n) for row in results.curves] == [(1, 4), (1, 8), (3, 4), (3, 8)]


def test_samples_without_order_are_refused():
    with pytest.raises(ValueError, match="samples needs values that rise"):
        kernel_spectra.Config(sphere=Sphere(samples=(8, 4)))
    with pytest.raises(ValueError, match="targets must be below"):
        kernel_spectra.Config(sphere=Sphere(targets=(1, 500)))
