"""Information and nuisance: the linear model's exact residual, projections of labels, the page."""

import numpy as np
import pytest

import meanfield as mf
from sims import figures, low_rank_jacobian
from sims.low_rank_jacobian import Linear, Network, linear, measures

LINE = Linear(n=6, dim=3, rank=2, label_noise=1.0, steps=64, seeds=2)


def test_gradient_descent_on_a_linear_model_leaves_each_mode_by_its_singular_value():
    """TRUTHS.md, section 4 (Oymak et al. 2019): y - Xw_τ = Σ_s (1 - ηλ_s²)^τ a_s u_s exactly, 1e-12. The
    engine's linear neurons with a = 1 all move by the same (1/m)·Xᵀr·m, so f(x) = ⟨mean w, x⟩ is
    the linear model and a step dt its descent with η = dt at γ = 1.
    """
    x, y, _ = linear.sample(LINE, 0)
    U, values, _ = np.linalg.svd(x, full_matrices=False)
    eta, a = 1.0 / values[0] ** 2, U.T @ y
    outside = y - U @ a  # n > d: what no w can fit stays
    network = mf.Network("linear", mf.MEAN_FIELD, trainable=("w",))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, y, reduction="sum"))
    state = mf.State(np.column_stack([np.ones(4), np.zeros((4, 4))]))
    for steps in (1, 7, 40):
        end = mf.simulate(flow, state, mf.EULER, dt=eta, n_steps=steps, progress=False)
        left = (1 - eta * values**2) ** steps * a
        residual = y - flow.predict(end)[:, 0]
        np.testing.assert_allclose(
            residual, U @ left + outside, rtol=0, atol=1e-12 * np.abs(y).max()
        )
    # the sim's curves are those sums
    found = linear.descended(LINE, 0)
    k = int(np.flatnonzero(linear.counts(LINE) == 64)[0])
    energy = ((1 - eta * values**2) ** 64 * a) ** 2 / (y @ y)
    assert found["information"][k] == pytest.approx(energy[:2].sum(), rel=1e-12)
    assert found["nuisance"][k] == pytest.approx(
        energy[2:].sum() + outside @ outside / (y @ y), rel=1e-12
    )


def test_the_test_error_of_the_linear_model_dips_and_all_of_its_rise_is_nuisance():
    """Oymak et al. (2019), the sim's sizes: at the end w has fitted the noise through n - r weak modes.
    Without them the error keeps its least value, to the noise of r of n modes.
    """
    config = Linear(seeds=6)
    found = linear.of_seeds(config)
    test, known = found["test"].mean(axis=0), found["known"].mean(axis=0)
    best = int(test.argmin())
    assert 0 < best < len(test) - 1 and test[-1] > 3 * test[best]
    assert known[-1] < test[best]
    # σ_y² r/n of the strong modes, over E⟨β, x⟩² = 1.04, give or take the seeds' scatter
    assert known[-1] == pytest.approx(4 * 5 / 200 / 1.04, rel=0.5) or known[-1] < 2.5 * 4 * 5 / 200


@pytest.fixture(scope="module")
def trained():
    config = Network(classes=3, n=20, m=16, modes=9, t_end=60.0)
    return config, measures.trained(config, 0.5)


def test_projections_split_the_labels_and_the_residual(trained):
    """f_0 = 0, so r_0 = -y, of which information and nuisance are the whole; ‖J‖² = Σ λ_s²."""
    config, file = trained
    assert file["information"][0] + file["nuisance"][0] == pytest.approx(1.0, rel=1e-12)
    assert (file["nuisance"] > -1e-12).all() and ((file["labels"] > 0) & (file["labels"] < 1)).all()
    data = measures.dataset(config, 0.5)
    assert len(data.corrupted) == 10
    norm2 = np.square(data.y).sum() / data.n
    assert file["nuisance_norm"] ** 2 == pytest.approx((1 - file["labels"][0]) * norm2, rel=1e-10)
    state = measures.start(config, data, 0)
    values, vectors = measures.modes(state, data.x)
    np.testing.assert_allclose(file["spectrum"][0] ** 2, np.maximum(values, 0), atol=1e-10)
    # JJᵀ/n acts on residuals in the order of y.ravel(): it is minus the first change of f
    flow = mf.GradientFlow(mf.EmpiricalRisk(measures.NETWORK, data.x, data.y))
    dt = 1e-6
    end = mf.simulate(flow, state, mf.EULER, dt=dt, n_steps=1, progress=False)
    change = (flow.predict(end) - flow.predict(state)).ravel() / dt
    np.testing.assert_allclose(
        change, vectors @ (values * (vectors.T @ data.y.ravel())), atol=1e-4 * abs(change).max()
    )


def test_information_is_learnt_before_nuisance(trained):
    """Oymak et al. (2019): each space's residual decays by its eigenvalues, those of the first being
    larger, so its share of what is left falls.
    """
    _, file = trained
    share = file["information"] / (file["information"] + file["nuisance"])
    assert share[-1] < 0.5 * share[0]
    assert measures.bound(file, 20) > file["nuisance_norm"] + np.exp(-1)


def test_the_files_hold_all_of_it_and_every_panel_has_a_verdict(tmp_path):
    results = low_rank_jacobian.run(low_rank_jacobian.tiny(), tmp_path)
    assert low_rank_jacobian.collect(low_rank_jacobian.Config(), tmp_path) == results
    said = dict(figures.said(low_rank_jacobian.figure(results)))
    assert len(said) == 6
    # the last look is the flow time that was asked for
    assert measures.times(results.config.network)[[0, 1, -1]].tolist() == [0.0, 0.5, 4.0]
    assert measures.times(Network(t_end=5.0))[-2:] == pytest.approx([4.0, 5.0])
    assert said["Linear model, noisy labels"].startswith("Least")
    figures.plt.close("all")


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="corrupt needs 0 and another share"):
        low_rank_jacobian.Config(network=Network(corrupt=(0.5, 0.25)))
    with pytest.raises(ValueError, match="modes must be less than n·classes = 20"):
        low_rank_jacobian.Config(network=Network(n=10, classes=2, modes=20))
    with pytest.raises(ValueError, match="rank must be less than n = 5"):
        low_rank_jacobian.Config(linear=Linear(n=5))
