"""The time of a step in several processes: the model that is fitted, what is refused, a process that is gone."""

import numpy as np
import pytest

from sims import figures, many_processes
from sims.lab import cells
from sims.many_processes import Config, measures


def test_the_model_is_found_again_and_predicts_four_processes():
    """Times that are exactly a + c m n / cores + b (R - 1), of one process and two."""
    widths, n, working = (2**14, 2**17, 2**20), 256, 2
    model = measures.Model(start=2e-4, message=3e-4, work=5e-10)
    m = np.array(widths)
    times = np.array([model.step(m, n, working, R) for R in (1, 2, 4)])
    found = measures.fitted(times[:2], widths, n, working)
    assert (found.start, found.message, found.work) == pytest.approx((2e-4, 3e-4, 5e-10), rel=1e-9)
    np.testing.assert_allclose(found.step(m, n, working, 4), times[2], rtol=1e-9)
    # two processes that are quicker do not make a message last less than nothing
    assert measures.fitted(times[:2] * [[1.0], [0.7]], widths, n, working).message == 0.0


def test_messages_between_machines_grow_with_samples_and_machines():
    """(R - 1)(latency + bytes / R / bandwidth), twice a step; 64 partial sums of n float64."""
    alone, two, four = measures.messages_between([1, 2, 4], 256)
    assert alone == 0.0
    size = 64 * 256 * 8
    assert two == pytest.approx(2 * (measures.LATENCY + size / 2 / measures.BANDWIDTH), rel=1e-12)
    assert four == pytest.approx(6 * (measures.LATENCY + size / 4 / measures.BANDWIDTH), rel=1e-12)


def test_the_page_says_how_far_the_model_is_off_where_it_was_not_fitted(tmp_path):
    """A file of times by the model of one process and two, and a fifth more of four; nothing is timed."""
    config = Config(rounds=2)
    model, m = measures.Model(start=2e-4, message=3e-4, work=5e-10), np.array(config.widths)
    times = np.array([model.step(m, config.n, 2, R) for R in config.processes])
    times[2] *= 1.2
    numbers = {"seconds": np.array([2 * times, times]), "cores": 2, "load": 0.5}
    cells.write(tmp_path / "timed.npz", cells.about(config), numbers)

    results = many_processes.run(config, tmp_path)
    assert many_processes.collect(Config(), tmp_path) == results
    assert [(row.processes, row.m) for row in results.rows[3:5]] == [(2, 2**14), (2, 2**17)]
    assert results.rows[5].speed == pytest.approx(times[0, 2] / times[1, 2])
    said = dict(figures.said(many_processes.figure(results)))
    steps = said["A step, and a + c m n / cores + b (R − 1)"]
    assert "1.00 … 1.00 of R = 1, 2" in steps and "1.20, 1.20, 1.20 of R = 4" in steps
    assert said["10⁹ particles, by the model"].startswith("Predicted, not run: n = 256, 1.3e+02 s")
    assert "c = 5e-10 s" in many_processes.report(results, tmp_path)


def test_a_process_that_ends_is_no_hang(capfd):
    """Its inputs have no dimension: it ends, and the caller is told."""
    with pytest.raises(RuntimeError, match="has ended; its error is above"):
        measures.Group(1, 0, 4).timed(4096, 1)
    assert "Error" in capfd.readouterr().err


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"processes": (1, 4)}, "must grow from 1, 2"),
        ({"processes": (2, 1)}, "must grow from 1, 2"),
        ({"widths": (4096,)}, "must be two or more"),
        ({"widths": (4096, 5000)}, "multiples of 64"),
    ],
)
def test_settings_from_which_no_model_comes_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Config(**settings)
