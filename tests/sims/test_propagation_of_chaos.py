"""From m neurons to the mean-field limit: what is 1/m, what is not. TRUTHS.md, sections 2 and 6."""

import dataclasses

import numpy as np
import pytest

import meanfield as mf
from sims import figures, propagation_of_chaos
from sims.lab.fits import fit_exponent
from sims.propagation_of_chaos import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = propagation_of_chaos.Config(
        widths=(8, 16, 32), seeds=16, w2_seeds=4, small=(2, 32), many=40, n=4, test=30, times=(0.0, 4.0, 64.0)
    )  # fmt: skip
    return propagation_of_chaos.run(config, tmp_path_factory.mktemp("chaos"))


@pytest.mark.parametrize("t", [0.0, 4.0, 64.0])
def test_the_squared_distance_to_the_limit_falls_as_one_over_m_on_test_points(results, t):
    """TRUTHS.md, section 2: slope -1 ± .15 with the factor 1 - m/M, M >= 16 m; 4 standard errors of
    16 seeds, and .15 for m = 8 … 32.
    """
    m, values = results.scaled("test", t)
    fit = fit_exponent(m, values / m)
    assert abs(fit.slope + 1) < 4 * fit.error + 0.15


def test_it_stays_on_test_points_and_dies_on_training_points(results):
    """TRUTHS.md, sections 2 and 6, the trap. Squares fall as e^(-2λt): 60 units of flow time are a
    factor of 50 at least for the slowest of the four modes (λ > .033), and nothing on test points.
    """
    late = {name: [results.scaled(name, t)[1].mean() for t in (4.0, 64.0)] for name in ("test", "train")}  # fmt: skip
    assert late["train"][1] < late["train"][0] / 20
    assert late["test"][1] > late["test"][0] / 4
    assert late["test"][1] > 10 * late["train"][1]


def test_neurons_stay_with_themselves_and_w2_sees_only_the_floor(results):
    """The identity couples the first m neurons, so RMS of θ_k - θ_k^M ~ m^(-1/2), while W2(μ_m, μ_M) is
    that of independent neurons, to 20 % over 4 seeds, and far above.
    """
    m, coupled = results.of("coupled", 64.0)
    fit = fit_exponent(m, coupled)
    assert abs(fit.slope + 0.5) < 4 * fit.error + 0.15
    w2, floor = (results.of(name, 64.0)[1].mean(axis=0) for name in ("w2", "floor"))
    np.testing.assert_allclose(w2, floor, rtol=0.2)
    assert (w2 > 2 * coupled.mean(axis=0)).all()


def test_a_narrow_network_is_the_beginning_of_the_wide_one():
    """What `nested` and `coupled` are about: at t = 0 the first m neurons are the same, to the bit."""
    config = dataclasses.replace(propagation_of_chaos.tiny(), times=(0.0, 0.5))
    model = measures.flow(config)
    narrow, wide = (measures._path(config, model, m, 3)[0] for m in (4, 64))
    assert np.array_equal(narrow.theta, wide.theta[:4])
    other = measures._path(config, model, 4, 3 + measures.ANOTHER)[0]
    assert not np.isin(other.w, wide.w).any()
    assert mf.displacement(narrow, mf.State(wide.theta[:4])) == 0.0


def test_the_law_of_the_fluctuations_is_said_for_each_width(results):
    said = dict(figures.said(propagation_of_chaos.figure(results)))
    law = said["Are fluctuations Gaussian?"]
    assert "at m = 2;" in law and law.endswith("at m = 32.") and "Shapiro" in law
    figures.plt.close("all")


def test_more_seeds_with_w2_than_seeds_are_refused():
    with pytest.raises(ValueError, match="w2_seeds must be at most seeds = 3; got 4"):
        propagation_of_chaos.Config(seeds=3, w2_seeds=4)
