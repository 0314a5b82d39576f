"""The first figure's comparison at equal training: what is read between frames, and the kernel machine."""

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import figures, lazy_vs_mean_field
from sims.lab import equal_training


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = lazy_vs_mean_field.Config(
        tasks=("teacher",), gammas=(0.5, 1.0), widths=(8, 16), seeds=1, frames=5,
        teacher=lazy_vs_mean_field.Teacher(n=20, dim=15, n_test=30, t_end=2.0),
    )  # fmt: skip
    return lazy_vs_mean_field.run(config, tmp_path_factory.mktemp("equal"))


def test_the_level_is_where_the_slowest_network_ends_and_there_equal_time_is_equal_training(
    results,
):
    """A run asked at its own last loss says its last test error; at the loss of a frame, that
    frame's; a loss it never had has none.
    """
    levels = equal_training.levels(list(results.rows))
    for row in results.rows:
        assert levels[row.m, row.seed] >= row.train_loss
        path = results.folder / row.file
        assert equal_training.error_at(path, row.train_loss) == pytest.approx(
            row.test_error, rel=1e-6
        )
        with mf.Trajectory(path) as run:
            flow, data = run.flow(), run.data
            loss = [flow.risk(state) for state in run]
            f = flow.predict(run[2], data.x_test)[:, 0]
        expected = np.mean((f - data.y_test) ** 2) / np.mean(data.y_test**2)  # f_0 = 0
        assert equal_training.error_at(path, loss[2]) == pytest.approx(expected, rel=1e-5)
        assert np.isnan(equal_training.error_at(path, 0.5 * row.train_loss))
        between = equal_training.error_at(path, np.sqrt(loss[2] * loss[3]))
        ends = [equal_training.error_at(path, value) for value in loss[2:4]]
        assert between == pytest.approx(np.mean(ends), rel=1e-5)


def test_the_kernel_machine_interpolates_with_the_limit_of_the_runs_law(results):
    """THEORY.md, section 3: at t = ∞ f(x) = h(x)ᵀ H∞⁻¹ y from f_0 = 0. float64 both: conditioning
    leaves 1e-8.
    """
    path = results.folder / results.rows[0].file
    with mf.Trajectory(path) as run:
        network, law, data = run.network, run.law, run.data
    f = ntk.kernel(network, law, data.x_test, data.x) @ np.linalg.solve(
        ntk.kernel(network, law, data.x), data.y
    )
    expected = np.mean((f - data.y_test) ** 2) / np.mean(data.y_test**2)
    assert equal_training.kernel_machine(path) == pytest.approx(expected, rel=1e-8)


def test_the_figure_says_both_and_calls_lazy_what_its_drift_shows(results):
    said = figures.said(lazy_vs_mean_field.figure(results))
    words = dict(said)["Test loss"]
    for part in ("% at γ = 1, ", "at equal training loss", "kernel at t = ∞"):
        assert part in words
    for (title, verdict), gamma in zip(said[:2], (0.5, 1.0), strict=True):
        row = next(row for row in results.rows if row.gamma == gamma and row.m == 16)
        assert "lazy" not in title.lower()
        assert (
            f"drift {row.kernel_drift:.2g}, {'lazy' if row.kernel_drift < 0.1 else 'not lazy'}"
            in verdict
        )
    figures.plt.close("all")
