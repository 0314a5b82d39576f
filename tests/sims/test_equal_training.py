"""Equal training: the kernel machine and the stopped networks, the published curves, the page."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import meanfield as mf
from sims import equal_training, figures
from sims.equal_training import Training, measures, panels, quadratic

TRAINING = Training(m=16, seeds=2, level=0.3, t_most=40.0, teacher_n=20, teacher_dim=5, test=50)


@pytest.fixture(scope="module")
def networks():
    """(machine, networks at γ = 1/2) on a small teacher."""
    return measures.machine(TRAINING, "teacher"), measures.trained(TRAINING, "teacher", 0.5)


def test_a_network_stops_at_the_first_moment_at_which_its_loss_is_down_to_the_level(networks):
    for train, test in zip(networks[1]["train"], networks[1]["test"], strict=True):
        looked = ~np.isnan(train)
        last = int(looked.sum()) - 1
        assert looked[: last + 1].all() and train[last] <= 0.3 < train[last - 1]
        found = measures.at_level(train, test, 0.3)
        assert min(test[last - 1 : last + 1]) <= found <= max(test[last - 1 : last + 1])
    machine = networks[0]
    assert (np.diff(machine["train"]) < 0).all()
    # a lazy network is near its kernel machine: m^(-1/2) in the kernel at the start, m = 16
    k = 8  # t = 1.6
    assert networks[1]["train"][0, k] == pytest.approx(machine["train"][k], rel=0.5)


def test_at_a_level_the_error_is_linear_in_log_loss_and_nan_where_it_is_not_reached():
    train, test = np.array([1.0, 0.1, 0.01]), np.array([0.9, 0.5, 0.1])
    assert measures.at_level(train, test, 0.1) == pytest.approx(0.5)
    assert measures.at_level(train, test, 10**-1.5) == pytest.approx(0.3)
    assert np.isnan(measures.at_level(train, test, 1e-3))


@pytest.mark.parametrize("kind", ["RF", "NT"])
def test_the_best_of_a_class_is_the_least_square_of_many_samples(kind):
    """The closed forms against linear regression on 20 000 samples of x ~ N(0, I_4) with a constant
    among the columns: the residual's mean square scatters by √((κ + 2)/n) < 4 % (κ < 30, of a
    polynomial of degree 2), five times that.
    """
    dim, N, n = 4, 2, 20_000
    lam, w = quadratic.target(dim, 0), quadratic.directions(N, dim, 0)
    x = np.random.default_rng(5).normal(size=(n, dim))
    y = np.square(x) @ lam - lam.sum()
    columns = (
        (x @ w.T) ** 2 if kind == "RF" else (x[:, :, None] * (x @ w.T)[:, None]).reshape(n, -1)
    )
    columns = np.column_stack([np.ones(n), columns])
    left = y - columns @ np.linalg.lstsq(columns, y)[0]
    exact = quadratic.random_features if kind == "RF" else quadratic.tangent
    assert exact(lam, w) == pytest.approx(np.mean(left**2) / np.mean(y**2), rel=0.2)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_lazy_ways_to_learn_a_quadratic_function_have_the_published_errors(share):
    """TRUTHS.md, section 5 (Ghorbani et al. 2019): d = 200, B = diag Exp(1), ± .02 for the mean of
    eight draws; at ρ = ½ NT .376 and RF .820 at t = ½, which is that of the law Exp(1).
    """
    N, draws = round(share * 200), range(8)
    lams = [quadratic.target(200, draw) for draw in draws]
    for kind, exact in (("RF", quadratic.random_features), ("NT", quadratic.tangent)):
        found = np.mean([exact(lam, quadratic.directions(N, 200, k)) for k, lam in enumerate(lams)])
        known = np.mean([quadratic.theory(kind, lam, N) for lam in lams])
        assert found == pytest.approx(known, abs=0.02)
    if share == 0.5:
        ones = np.array([1.0, 2.0])  # t = 9/10
        assert quadratic.theory("NT", ones, 1) == pytest.approx(0.25 * 0.1 + 0.5 * 0.9)
        assert quadratic.theory("RF", ones, 1) == pytest.approx(1 - 0.9 / 3)


def test_the_distance_of_a_network_s_matrix_moves_by_its_first_variation():
    """v = -∇ δF/δμ and dF/dt = -∫|v|² dμ; central differences of polynomials of degree 4: to 1e-8."""
    lam, w = np.array([2.0, 1.0, 0.5]), np.random.default_rng(0).normal(size=(4, 3))
    flow, state = mf.GradientFlow(quadratic.Distance(lam)), mf.State(w, outputs=0)
    v, h = flow.velocity(state), 1e-5
    for j, e in enumerate(h * np.eye(3)):
        up, down = (flow.first_variation(state, w + sign * e) for sign in (1, -1))
        np.testing.assert_allclose((down - up) / (2 * h), v[:, j], atol=1e-8)
    ends = [flow.energy(mf.State(w + sign * h * v, outputs=0)) for sign in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(-np.square(v).sum() / 4, rel=1e-8)
    M = w.T @ w / 4
    assert flow.energy(state) == pytest.approx(
        np.square(M - np.diag(lam)).sum() - lam @ lam, rel=1e-12
    )


def test_a_trained_network_keeps_the_best_matrix_of_its_rank():
    """Ghorbani et al. (2019), NN: what is left is Σ_{i > N} λ_i²/‖B‖² of this B, reached exponentially.
    The λ differ by .1 at least, so the slowest rate is .4: e^{-2·.4·25} < 1e-8.
    """
    lam = np.array([2.0, 1.5, 1.0, 0.6, 0.3])
    for N in (2, 4):
        found = quadratic.trained(lam, N, draw=0, time=25.0)
        assert found == pytest.approx(quadratic.theory("NN", lam, N), abs=1e-8)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return equal_training.run(equal_training.tiny(), tmp_path_factory.mktemp("equal"))


def test_the_files_hold_all_of_it_and_the_page_says_what_was_compared(results):
    assert equal_training.collect(equal_training.Config(), results.folder).rows == results.rows
    said = dict(figures.said(equal_training.figure(results)))
    assert list(said) == [
        "A teacher of three neurons",
        "Digits, odd against even",
        "Test loss and the size of the start",
        "A quadratic function, d = 6",
    ]
    assert "the kernel at t = ∞" in said["Digits, odd against even"]
    assert "other sizes than the published ones" in said["Test loss and the size of the start"]
    figures.plt.close("all")
    # with the published recipe, deviations in standard errors
    config = equal_training.Config()
    rows = [
        equal_training.Row("start", "", tau, mean + scatter, 0.0, mean)
        for tau, (mean, scatter) in measures.PUBLISHED.items()
    ]
    whole = equal_training.Results(results.folder, tuple(rows), config)
    # 1/√(1/5 + 1/3) standard errors
    assert "at most 1.4 standard errors" in panels._said_of_scale(whole, rows)


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="gammas needs values without repetition"):
        equal_training.Config(training=Training(gammas=(0.5, 0.5)))
    with pytest.raises(ValueError, match="m must be even"):
        equal_training.Config(scale=equal_training.Scale(m=7))


def test_products_of_the_quadratic_function_take_one_thread(monkeypatch):
    seen = []

    def trained(lam, N, draw, time):
        seen.extend(item["num_threads"] for item in threadpool_info())
        return 0.0

    monkeypatch.setattr(quadratic, "trained", trained)
    quadratic.learnt(equal_training.tiny().quadratic, 3)
    assert set(seen) == {1}
