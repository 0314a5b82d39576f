"""The one-weight model: TRUTHS.md's values by the engine, and its verdicts."""

import numpy as np
import pytest

from sims import figures, toy_model
from sims.toy_model import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = toy_model.Config(alphas=(1.0, 10.0, 100.0))
    return toy_model.run(config, tmp_path_factory.mktemp("toy"))


def test_the_weight_ends_where_the_model_meets_its_target(results):
    """TRUTHS.md, section 4, to the digits given: the root of αf = 1. Gradient flow is e^(-2.9·12) from
    it, rounding 1e-12 of a weight of .4 at α = 100.
    """
    for row, known in zip(results.rows, (0.3506220784, 0.0538934501, 0.0058177449), strict=True):
        assert row.minimum == pytest.approx(known, abs=5e-11)
        assert row.moved == pytest.approx(known, abs=5e-11)


def test_kappa_and_the_tangent_are_the_known_ones(results):
    """TRUTHS.md, section 4: f_w = 1.7028143741, κ = 1.8986323553/α; the second derivative by
    differences of the first, to (1e-5)².
    """
    assert measures.slope() == pytest.approx(1.7028143741, abs=1e-10)
    for row in results.rows:
        assert row.kappa == pytest.approx(1.8986323553 / row.alpha, rel=1e-8)
        assert row.tangent == pytest.approx(1 / (1.7028143741 * row.alpha), rel=1e-9)


def test_minima_approach_the_start_as_one_over_alpha_and_the_figure_says_so(results):
    """(w - w_0)α → 1/f_w, the rest O(κ): within κ/2 of it to first order in κ, and less."""
    for row in results.rows[1:]:
        assert abs(row.minimum / row.tangent - 1) < 0.5 * row.kappa
    said = dict(figures.said(toy_model.figure(results)))
    assert "0.351, 0.0539, 0.00582 from the start" in said["The loss"]
    assert "Slope at the end −1.000 for κ" in said["The way of the weight"]
    figures.plt.close("all")


def test_output_scales_that_do_not_grow_are_refused():
    with pytest.raises(ValueError, match="three values at least, growing"):
        toy_model.Config(alphas=(1.0, 10.0))
    with pytest.raises(ValueError, match="growing"):
        toy_model.Config(alphas=(10.0, 1.0, 3.0))
    assert np.isfinite(measures.root(0.5))
