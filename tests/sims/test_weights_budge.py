"""The relative weight change of networks with two hidden layers: by hand, and its law."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="its particles are torch modules")

import torch
from threadpoolctl import threadpool_info

from sims import figures, weights_budge
from sims.lab import two_points
from sims.weights_budge import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = weights_budge.Config(widths=(8, 32, 128), seeds=2, steps=40, thin=20, rate=5e-3)
    return weights_budge.run(config, tmp_path_factory.mktemp("budge"))


def test_a_run_is_gradient_descent_of_the_mean_squared_error_in_torch(results):
    """THEORY.md, section 1: dt = 2η on ½ mean (f - y)². 40 steps of it by torch on
    the same module, in float64: rounding alone.
    """
    particle = measures.feature(8)
    start = particle.sample(1, seed=1)
    module = particle.module(start, 0).double()
    before = torch.cat([p.detach().flatten() for p in module.parameters()]).clone()
    x, y = torch.tensor(measures.DATA.x), torch.tensor(measures.DATA.y)[:, None]
    for _ in range(40):
        module.zero_grad()
        ((module(x) - y) ** 2).mean().backward()
        with torch.no_grad():
            for p in module.parameters():
                p -= 5e-3 * p.grad
    after = torch.cat([p.detach().flatten() for p in module.parameters()])
    expected = float((after - before).norm() / before.norm())
    row = next(row for row in results.rows if (row.m, row.seed) == (8, 1))
    assert row.moved == pytest.approx(expected, rel=1e-9)
    with torch.no_grad():
        left = float(((module(x) - y) ** 2).mean())
    assert row.loss == pytest.approx(left, rel=1e-9)
    assert row.parameters == len(before)


def test_wider_networks_move_less(results):
    """TRUTHS.md, section 5: .035 … .062 at width 100, .0048 … .0068 at 1000, so about 1/m. From 8 to
    128 in less than a fifth: narrow networks are far from the law.
    """
    moved = [np.mean([row.moved for row in results.rows if row.m == m]) for m in (8, 32, 128)]
    assert moved[2] < 0.5 * moved[1] < 0.5 * moved[0] and moved[2] < 0.2 * moved[0]
    said = dict(figures.said(weights_budge.figure(results)))
    assert "theory −1" in said["Relative weight change"] and "m = 128" in said["Loss"]
    figures.plt.close("all")


def test_one_width_is_no_comparison():
    with pytest.raises(ValueError, match="two different values"):
        weights_budge.Config(widths=(10, 10))


def test_layers_this_small_take_one_thread(monkeypatch):
    """Two waited for each other: 60 steps at width 100 took three seconds on two busy cores, .3 with one."""
    seen = []

    def feature(width):
        seen.extend(item["num_threads"] for item in threadpool_info())
        return two_points.feature(width)

    monkeypatch.setattr(measures, "feature", feature)
    measures.trained(weights_budge.tiny(), 4)
    assert set(seen) == {1}
