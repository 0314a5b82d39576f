"""Mixture and displacement: curvatures in closed form, speeds, first variations, the factor 2."""

import numpy as np
import pytest

from sims import figures, wasserstein_geometry
from sims.lab import cells
from sims.wasserstein_geometry import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = wasserstein_geometry.Config(n=40, looks=11, dt=0.1)
    return wasserstein_geometry.run(config, tmp_path_factory.mktemp("geometry"))


@pytest.fixture(scope="module")
def file(results):
    return cells.read(results.folder / "geometry.npz")[1]


def test_second_derivatives_are_the_closed_forms(results):
    """Quadratic in t, so that second differences are d²F/dt² to rounding, 1e-15 F/dt²: ∬U dσdσ along
    mixtures, mean (f_1 - f_0)² of the squared loss; W2² and W2² - |Δ mean|² along displacements.
    """
    known = [row for row in results.rows if not np.isnan(row.theory)]
    assert len(known) == 6
    for row in known:
        assert row.least == pytest.approx(row.theory, abs=1e-10)
        assert row.most == pytest.approx(row.theory, abs=1e-10)


def test_a_risk_is_convex_along_mixtures_and_a_convex_potential_along_displacements(results):
    verdicts = {(row.functional, row.way): row.verdict for row in results.rows}
    assert verdicts["potential", "mixture"] == "linear"
    assert verdicts["attraction", "mixture"] == "concave"
    assert verdicts["repulsion", "mixture"] == verdicts["risk", "mixture"] == "convex"
    assert (
        verdicts["potential", "displacement"] == verdicts["attraction", "displacement"] == "convex"
    )
    assert verdicts["repulsion", "displacement"] == verdicts["risk", "displacement"] == "neither"


def test_the_displacement_is_a_geodesic_and_the_mixture_has_no_speed(file):
    """W2(μ_0, μ_t) = t W2(μ_0, μ_1), 1e-9 of the exact solver. While t is below the mass 1/n of a
    particle the mixture's plan is that of smallest cost for each particle of μ_1: W2² ∝ t exactly.
    """
    t, (mixture, geodesic) = file["fine"], file["distances"]
    np.testing.assert_allclose(geodesic, t * file["w2"], rtol=1e-9)
    early = t < 1 / (4 * 40)
    np.testing.assert_allclose((mixture**2 / t)[early], mixture[0] ** 2 / t[0], rtol=1e-6)
    assert mixture[-1] == pytest.approx(float(file["w2"]), rel=1e-9)


def test_difference_quotients_tend_to_the_first_variation_as_epsilon(file):
    """TRUTHS.md, section 0: δ∬W = 2∫W dμ, of ½∬W half of it. F is quadratic in ε: the error is
    ε times half of d²F/dt², and rounding 1e-16 F/ε = 1e-11.
    """
    attraction, risk, whole = file["quotients"]
    np.testing.assert_allclose(whole, 2 * attraction, rtol=1e-9)
    for row, bend in ((attraction, -(float(file["apart"]) ** 2)), (risk, float(file["gap2"]))):
        np.testing.assert_allclose(row[:-1] - row[-1], measures.EPSILONS * bend / 2, atol=1e-10)


def test_the_flow_without_one_half_is_twice_as_fast(file):
    """TRUTHS.md, section 0: e^{-2t} and e^{-t}; RK4 with λdt = .2 is 5e-6 of a unit of time off."""
    for rate, values in zip((1, 2), file["stds"], strict=True):
        np.testing.assert_allclose(values, np.exp(-rate * file["times"]), rtol=1e-4)


def test_the_figure_says_so(results, tmp_path):
    said = dict(figures.said(wasserstein_geometry.figure(results)))
    assert said["Along the mixture"].startswith("Linear: potential; concave: attraction; convex")
    assert "neither: repulsion, risk" in said["Along the displacement"]
    assert "Slopes 1.00, 1.00, 1.00" in said["First variation by difference quotients"]
    assert "slope 0.500, theory 1/2" in said["The way in W2"]
    assert "concave" in wasserstein_geometry.report(results, tmp_path)
    figures.plt.close("all")


def test_clouds_without_extent_are_refused():
    with pytest.raises(ValueError, match="spread"):
        wasserstein_geometry.Config(spread=0.0)


def test_half_way_is_looked_at():
    with pytest.raises(ValueError, match="looks must be odd.* Use 9"):
        wasserstein_geometry.Config(looks=8)
