"""Two outputs and the ellipse of their kernel: steepest descent, the limit of large α, the animation."""

import itertools

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="its particles are torch modules")

import meanfield as mf
import ntk
from sims import figures, kernel_regime
from sims.kernel_regime import measures, panels
from sims.lab import cells


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = kernel_regime.Config(
        alphas=(0.03, 30.0, 300.0), width=30, seeds=2, rate=2e-3, steps=400, looks=10
    )
    return kernel_regime.run(config, tmp_path_factory.mktemp("regime"))


def file_of(results, alpha):
    return cells.read(kernel_regime.path_of(results.folder, alpha))[1]


def test_outputs_descend_the_steepest_way_on_the_ellipse_of_their_kernel():
    """u̇ = -½ H u (n = 2), whatever α: half of minus the gradient ½ H u of ¼ uᵀHu. A step of Euler
    is that to O(dt): half the step, half the error, ± 10 % for the next order.
    """
    config, errors = kernel_regime.Config(width=20, steps=3, looks=3), []
    of = measures.flow(config, 0.7)
    start = measures.feature(20).sample(1, seed=3)
    start = mf.simulate(of, start, mf.EULER, dt=2e-3, n_steps=3, progress=False)
    u = of.predict(start)[:, 0] - measures.DATA.y
    H = ntk.empirical(of.network, start, measures.DATA.x)
    for dt in (4e-5, 2e-5):
        end = mf.simulate(of, start, mf.EULER, dt=dt, n_steps=1, progress=False)
        speed = (of.predict(end) - of.predict(start))[:, 0] / dt
        errors.append(np.linalg.norm(speed + 0.5 * H @ u))
    assert errors[0] < 1e-2 * np.linalg.norm(0.5 * H @ u)
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_a_large_output_scale_takes_the_way_of_the_first_kernel(results):
    """Chizat, Oyallon, Bach (2019): f_α - its linearisation is O(1/α), and so is the change of the
    kernel, from α = 30 to 300 by 10, ± 40 % for kinks crossed one by one. Euler is off by half
    of dt λ_max/2 of e^{-z} at most, z e^{-z}/2 <= .19 of it.
    """
    rows = {alpha: [row for row in results.rows if row.alpha == alpha] for alpha in (30.0, 300.0)}
    drift = {alpha: np.mean([row.drift for row in found]) for alpha, found in rows.items()}
    assert 10 / 1.4 < drift[30.0] / drift[300.0] < 10 * 1.4
    for row in rows[300.0]:
        assert row.apart < 0.19 * row.stiffness + 5 * row.drift


def test_a_small_output_scale_leaves_it_and_its_kernel_grows(results):
    """TRUTHS.md, section 5: 108.5 at α = .01, width 100, and falling in α."""
    mean = [
        np.mean([row.drift for row in results.rows if row.alpha == alpha])
        for alpha in results.config.alphas
    ]
    assert all(first > second for first, second in itertools.pairwise(mean))
    assert mean[0] > 5 and all(row.stiffness < 2 for row in results.rows if row.alpha >= 1)
    lazy, rich = (
        np.mean([row.apart for row in results.rows if row.alpha == alpha])
        for alpha in (300.0, 0.03)
    )
    assert rich > 5 * lazy


def test_the_short_axis_is_reached_first(results):
    """e^{-λt/2} along each eigenvector of a kernel that stands still: the larger λ, the shorter the
    half axis 1/√λ, and the less is left.
    """
    file = file_of(results, 300.0)
    values, vectors = np.linalg.eigh(file["kernels"][0, 0])
    left = np.abs((file["outputs"][0] - measures.DATA.y) @ vectors) / np.abs(
        vectors.T @ measures.DATA.y
    )
    middle = int(np.argmin(np.abs(file["times"] * values[1] - 4)))
    assert values[1] > 2 * values[0] and left[middle, 1] < left[middle, 0]


def test_the_contour_is_the_level_set_about_the_target():
    H = np.array([[3.0, 1.0], [1.0, 2.0]])
    v = panels.contour(H, 0.7) - measures.DATA.y[:, None]
    np.testing.assert_allclose(np.einsum("ik,ij,jk->k", v, H, v), 0.7, rtol=1e-12)
    longest = np.sqrt(panels.level_of(H) / np.linalg.eigvalsh(H)[0])
    assert longest == pytest.approx(0.25 * np.sqrt(5.0), rel=1e-12)


def test_figure_and_animation_show_all_scales(results, tmp_path):
    said = dict(figures.said(kernel_regime.figure(results)))
    assert "theory −1" in said["The change of the kernel"]
    assert "at α = 300" in said["The way of the two outputs"]
    assert "dt λ_max/2" in said["Ellipses of the kernel, α = 0.03"]
    assert "300" in kernel_regime.report(results, tmp_path)
    figures.plt.close("all")
    path = kernel_regime.movie(results, tmp_path)
    with Image.open(path) as gif:
        assert gif.n_frames == len(measures.looks(results.config))


def test_scales_that_do_not_grow_and_too_many_looks_are_refused():
    with pytest.raises(ValueError, match="growing"):
        kernel_regime.Config(alphas=(1.0, 0.1, 10.0))
    with pytest.raises(ValueError, match="looks must be at most steps.* --looks 10"):
        kernel_regime.Config(steps=10, looks=11)
