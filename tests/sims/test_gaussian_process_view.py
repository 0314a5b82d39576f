"""Ensembles of trained networks against the Gaussian processes of infinite width."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="its networks are torch modules")

import meanfield as mf
import ntk
from sims import figures, gaussian_process_view
from sims.gaussian_process_view import measures

SMALL = gaussian_process_view.Config(widths=(4, 64), networks=4, n=3, points=7, t_end=2.0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return gaussian_process_view.run(SMALL, tmp_path_factory.mktemp("view"))


def test_the_readout_trained_for_ever_gives_the_posterior_and_all_layers_do_not():
    """ntk.regression: with Σ in the place of Θ, t = ∞ is h Σ⁻¹ y and Σ_** - h Σ⁻¹ hᵀ, which on the training
    inputs is y and 0. λ_min t/n is 40 at t = 1e5: to 1e-8. The law of all layers has another variance.
    """
    late = dataclasses.replace(SMALL, t_end=1e5)
    data = measures.dataset(late)
    limit = measures.feature(late, 1).limit
    pairs = ((data.x, None), (data.x_test, data.x), (data.x_test, None))
    K, h, own = (ntk.deep(*pair, **limit)[0] for pair in pairs)
    mean, sd = measures.theory(late, True)
    np.testing.assert_allclose(mean, h @ np.linalg.solve(K, data.y), atol=1e-7)
    variance = np.diag(own - h @ np.linalg.solve(K, h.T))
    np.testing.assert_allclose(sd**2, variance, atol=1e-7)
    assert abs(measures.theory(late, False)[1][0] / sd[0] - 1) > 0.05


def test_a_trained_readout_is_its_own_linearisation(results):
    """f is linear in what is trained: RK4 with dt λ_max/n <= 0.1 against the exact flow, (0.1)⁴/120."""
    start = measures.feature(SMALL, 4).sample(1, seed=1)
    flow, data = measures.flow(SMALL, 4, True), measures.dataset(SMALL)
    end = mf.simulate(flow, start, mf.RK4, dt=0.02, t_end=2.0, progress=False)
    f = flow.predict(end, data.x_test)[:, 0]
    np.testing.assert_allclose(f, measures._linearised(SMALL, flow, start), atol=1e-6)
    assert (end["layer1.weight"] == start["layer1.weight"]).all()


def test_wide_networks_are_nearer_to_their_linearisation(results):
    """Lee et al. (2019), theorem 2.1: m^(-1/2), a quarter from 4 to 64; half of it for four networks that
    scatter by a third. Their weights move by O(1) of a length O(m).
    """
    gap, moved = (
        [np.mean([getattr(row, name) for row in results.rows if row.m == m]) for m in (4, 64)]
        for name in ("gap", "moved")
    )
    assert gap[1] < 0.5 * gap[0] and moved[1] < 0.2 * moved[0]
    assert [item.trained for item in results.ensembles] == ["all", "readout"] * 2
    said = dict(figures.said(gaussian_process_view.figure(results)))
    assert "by chance 0.50" in said["The readout trained"]
    figures.plt.close("all")
