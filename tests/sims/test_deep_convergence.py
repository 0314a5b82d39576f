"""The convergence theorem of deep networks: hypotheses apart from claims, and what a run shows."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="a deep network is a torch module")

import meanfield as mf
import ntk
from sims import deep_convergence, figures
from sims.deep_convergence import measures
from sims.lab import cells

SMALL = deep_convergence.Config(widths=(8, 64), seeds=2, n=3, t_end=3.0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return deep_convergence.run(SMALL, tmp_path_factory.mktemp("deep"))


def test_the_residual_falls_at_least_as_fast_as_the_smallest_eigenvalue_says(results):
    """d‖u‖²/dt = -2 uᵀHu <= -2 λ_min(H_t) ‖u‖²: with the lowest of 41 looks, and what λ_min may do between
    them, 2 %. The last hidden layer's part alone gives less.
    """
    for m in SMALL.widths:
        file = cells.read(cells.of_width(results.folder, m))[1]
        for seed in range(SMALL.seeds):
            low = file["lambda_min"][seed].min()
            bound = np.exp(-2 * 0.98 * low * file["times"])
            assert (file["residual"][seed] <= bound + 1e-9).all()
            assert file["lambda_min_layer2.weight"][seed].min() <= low


def test_infinite_width_starts_where_networks_do():
    """E ‖f_0 - y‖² = tr Σ + |y|², and the law of the decay is that of the modes: slope at 0 by hand."""
    times = np.array([0.0, 1e-6])
    left = measures.kernel_flow(SMALL, times)
    data = measures.dataset(SMALL)
    sigma, theta = ntk.deep(data.x, **measures.feature(SMALL, 1).limit)
    size = sigma + np.outer(data.y, data.y)
    assert left[0] == pytest.approx(1.0, rel=1e-12)
    slope = -2 * np.trace(theta @ size) / np.trace(size)
    assert (left[1] - left[0]) / 1e-6 == pytest.approx(slope, rel=1e-4)


def test_hypotheses_stand_apart_from_claims(results):
    """Of the theorem (Du, Lee, Li, Wang and Zhai 2019): five hold here, the width stays open, so it
    is not said that the theorem applies.
    """
    theorem = measures.statement(SMALL, 64)
    assert [item.holds for item in theorem.hypotheses] == [True] * 5 + [None]
    assert theorem.applies is None
    row = next(row for row in results.rows if (row.m, row.seed) == (64, 0))
    assert theorem["lambda_min"].measured == pytest.approx(row.lambda_start, rel=1e-9)
    assert theorem["lambda_min later"].measured is theorem["residual"].measured is None
    told = deep_convergence.report(results, results.folder)
    assert told.index("what the theorem asks") < told.index("what it promises")
    assert "its constants are not given" in told
    said = dict(figures.said(deep_convergence.figure(results)))
    assert "of 2 seeds at m = 64" in said["What is left to learn"]
    figures.plt.close("all")


def test_the_claims_are_measured_on_later_states():
    """‖u‖² e^(λ_0 t) by hand, of a state that is declared to be at t = 0.1."""
    problem, data = measures.flow(SMALL, 8), measures.dataset(SMALL)
    network = problem.functional.network
    start = network.feature.sample(1, seed=0)
    end = mf.simulate(problem, start, mf.EULER, dt=0.01, n_steps=10, progress=False)
    found = ntk.bounds.deep_convergence(
        network, start, data.x, data.y, [start, end], reduction="sum"
    )
    lambda0 = np.linalg.eigvalsh(measures.limit(SMALL)["layer2.weight"])[0]
    left = problem.risk(end) / problem.risk(start)
    expected = max(1.0, left * np.exp(0.1 * lambda0))
    assert found["residual"].measured == pytest.approx(expected, rel=1e-9)
    assert found["lambda_min later"].bound == pytest.approx(lambda0 / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "x", "message"),
    [
        ({"parametrisation": "mup"}, None, r"ntk\.deep is the limit of"),
        ({}, np.array([[1.0, 0, 0], [1.0, 0, 0]]), "positive definite"),
    ],
)
def test_what_the_theorem_is_not_about_is_refused(given, x, message):
    network = mf.Network(mf.deep(3, (4, 4), activation="gelu", **given))
    start = network.feature.sample(2, seed=0)
    data = measures.dataset(SMALL)
    points, labels = (data.x, data.y) if x is None else (x, np.ones(len(x)))
    with pytest.raises(ValueError, match=message):
        one = network.feature.sample(1, seed=0)
        ntk.bounds.deep_convergence(network, one, points, labels)
    if not given:
        with pytest.raises(ValueError, match="about one network"):
            ntk.bounds.deep_convergence(network, start, data.x, data.y)
        readout = mf.Network(network.feature, trainable=("readout.weight",))
        with pytest.raises(ValueError, match=r"train layer2\.weight too"):
            ntk.bounds.deep_convergence(readout, one, data.x, data.y)
        with pytest.raises(ValueError, match="two_layer_convergence"):
            neurons = mf.InitialLaw(dim=3).sample(4)
            ntk.bounds.deep_convergence(mf.Network("gelu"), neurons, data.x, data.y)
