"""Random networks with two hidden layers: their law, and how it tends to a Gaussian process."""

import re

import numpy as np
import pytest

pytest.importorskip("torch", reason="its networks are torch modules")

import torch

import ntk
from sims import figures, random_functions
from sims.lab import cells
from sims.random_functions import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = random_functions.Config(widths=(4, 16, 64), networks=16, points=7)
    return random_functions.run(config, tmp_path_factory.mktemp("functions"))


def test_a_function_and_its_covariance_are_those_of_the_module(results):
    """Given h, f = readout of σ(h): K_m = M² σσᵀ + β², by torch's own forward pass."""
    config = results.config
    particle = measures.feature(config, 16)
    module = particle.module(particle.sample(1, seed=3), 0)
    x = torch.from_numpy(measures.points(config))
    with torch.no_grad():
        f, h = module(x)[:, 0].numpy(), module[:-1](x).numpy()
    file = cells.read(cells.of_width(results.folder, 16))[1]
    np.testing.assert_allclose(file["f"][3], f, rtol=1e-12)
    factor, beta = module.readout.factors
    K = measures.covariance(config)
    off = np.linalg.norm(factor**2 * h @ h.T + beta**2 - K) / np.linalg.norm(K)
    assert file["off"][3] == pytest.approx(off, rel=1e-10)


def test_the_covariance_scatters_by_the_inverse_root_of_the_width(results):
    """K_m is a mean over m neurons: rms over 16 networks of ‖K_m - K‖, one direction or two, error 1/√48
    = 14 % at each end, over log 16 a slope one of .07; three of them. Within two standard deviations of
    the limit a normal law has 95 %: 16 functions with some three independent values at m = 64, error
    3 %, and as much for the width.
    """
    widths = results.config.widths
    rows = {m: [row for row in results.rows if row.m == m] for m in widths}
    off = [np.sqrt(np.mean([row.off**2 for row in rows[m]])) for m in widths]
    assert np.polyfit(np.log(widths), np.log(off), 1)[0] == pytest.approx(-0.5, abs=0.21)
    assert np.mean([row.inside for row in rows[64]]) == pytest.approx(0.9545, abs=0.12)
    said = dict(figures.said(random_functions.figure(results)))
    assert list(said) == ["m = 4", "m = 64", "How random the covariance is"]
    assert "a normal law has 95.5%" in said["m = 64"]
    figures.plt.close("all")


def test_the_table_says_what_the_figure_says(results, tmp_path):
    said = dict(figures.said(random_functions.figure(results)))["How random the covariance is"]
    off = [
        float(line.split()[-1])
        for line in random_functions.report(results, tmp_path).splitlines()
        if re.match(r" *\d+ ", line)
    ]
    assert f"is {off[0]:.0%} off" in said and f"{off[-1]:.1%} at m = 64" in said
    figures.plt.close("all")


def test_without_biases_and_with_one_width():
    config = random_functions.Config(b_std=0.0, points=5)
    np.testing.assert_allclose(
        measures.covariance(config), ntk.deep(measures.points(config), depth=2, activation="tanh",
        w_std=1.5, readout_w_std=1.5, normalise=False)[0], rtol=1e-12,
    )  # fmt: skip
    with pytest.raises(ValueError, match="widths needs two different values"):
        random_functions.Config(widths=(8, 8))
