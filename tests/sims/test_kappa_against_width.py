"""κ before training: the relative scale by hand, its slopes, and what the kernel did."""

import numpy as np
import pytest

from sims import figures, kappa_against_width
from sims.kappa_against_width import measures
from sims.lab import cells


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = kappa_against_width.Config(widths=(32, 128, 512), seeds=3, alphas=(1.0, 10.0, 1000.0))
    return kappa_against_width.run(config, tmp_path_factory.mktemp("kappa"))


def test_kappa_is_the_quotient_of_norms_by_hand(results):
    """‖f - y‖ ‖∇²f‖/‖∇f‖² in operator norms, from matrices of f = Σ_k c a_k tanh(w_k x), c = m^(-γ):
    ∇²f of a direction of outputs is the block (0, c σ'x; c σ'x, c a σ''x²) of each neuron. Its
    largest norm over unit directions u by a fine search is below that of ntk.relative_scale, and
    within 1e-3 of it.
    """
    x, config = measures.X[:, 0], results.config
    start = measures.law("γ = 1/2", 32).sample(32, seed=0)
    a, w, c = start.a[:, 0], start.w[:, 0], 32**-0.5
    t = np.tanh(np.outer(w, x))
    J = c * np.concatenate([t, a[:, None] * (1 - t**2) * x])
    cross = c * (1 - t**2) * x
    curve = -2 * c * a[:, None] * t * (1 - t**2) * x**2

    def norm(u):
        p, q = cross @ u, curve @ u
        return np.abs(q / 2 + np.sign(q) * np.sqrt((q / 2) ** 2 + p**2)).max()

    rng, best = np.random.default_rng(0), 0.0
    for u in rng.normal(size=(8, len(x))):
        for size in np.geomspace(1.0, 1e-4, 400):
            trial = u + size * rng.normal(size=len(x)) * np.linalg.norm(u)
            u = max(u, trial, key=lambda v: norm(v / np.linalg.norm(v)))
        best = max(best, norm(u / np.linalg.norm(u)))
    residual = np.linalg.norm(c * (a @ t) - measures.DATA.y)
    by_hand = residual * best / np.linalg.norm(J, 2) ** 2
    found = measures.kappa(config, "γ = 1/2", start)
    assert by_hand <= found * (1 + 1e-9) and by_hand == pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize("name", list(measures.SLOPES))
def test_kappa_falls_with_the_width_as_theory_says(results, name):
    """m^(γ-1), and 1/m of LeCun's start (TRUTHS.md, section 4). Sums over m neurons scatter by
    m^(-1/2), 18 % at m = 32, 10 % over three seeds: .035 of a slope over a factor 16, twice that
    for the two ends and the largest of the neurons; LeCun's a is normal, its corrections 1/m.
    """
    widths = (32, 512)
    rows = kappa_against_width.of(results, name)
    means = [np.mean([row.kappa for row in rows if row.m == m]) for m in widths]
    slope = np.log(means[1] / means[0]) / np.log(16)
    assert slope == pytest.approx(measures.SLOPES[name], abs=0.07)


def test_kappa_is_one_over_alpha_where_training_starts_at_zero_and_a_constant_where_not(results):
    """f_0 = 0: κ ∝ 1/α to rounding. Else κ → ‖f_0‖ ‖∇²f‖/‖∇f‖² of the network without α; from α = 10
    to 1000 it would fall by 100, and falls by less than 3.
    """
    scaled = cells.read(cells.of_width(results.folder, 512))[1]["scaled"].mean(axis=1)
    alphas = np.array(results.config.alphas)
    for values in scaled[:-1]:
        np.testing.assert_allclose(values * alphas, values[0], rtol=1e-6)
    assert scaled[-1, 1] < 3 * scaled[-1, 2]


def test_the_kernel_changes_by_the_square_of_kappa_and_the_figure_says_so(results, tmp_path):
    """A symmetric start of smooth neurons has no first order in 1/s (TRUTHS.md, section 6: tanh
    m^(-1) at γ = 1/2, so κ²): slope 2 ± .15 at κ <= .3.
    """
    rows = kappa_against_width.of(results, "γ = 1/2")
    means = np.array([
        [np.mean([getattr(row, what) for row in rows if row.m == m]) for m in (32, 512)]
        for what in ("kappa", "drift")
    ])  # fmt: skip
    kappa, drift = np.log(means[:, 1] / means[:, 0])
    assert drift / kappa == pytest.approx(2.0, abs=0.15)
    said = dict(figures.said(kappa_against_width.figure(results)))
    assert "f₀ = 0: slope −1.000" in said["κ against the output scale, m = 512"]
    assert "theory 2 for small κ" in said["What the kernel did"]
    assert "LeCun" in kappa_against_width.report(results, tmp_path)
    figures.plt.close("all")


def test_kinked_neurons_and_odd_widths_are_refused():
    with pytest.raises(ValueError, match="activation"):
        kappa_against_width.Config(activation="relu")
    with pytest.raises(ValueError, match="must be even"):
        kappa_against_width.Config(widths=(7, 16))
    with pytest.raises(ValueError, match="growing"):
        kappa_against_width.Config(alphas=(10.0, 1.0))
