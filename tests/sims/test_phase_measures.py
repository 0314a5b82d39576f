"""What phase_diagram measures of a run, and the slopes that theory expects."""

import dataclasses

import numpy as np
import pytest

import meanfield as mf
from meanfield.diagnostics.library import condensation
from sims import phase_diagram
from sims.lab import experiment
from sims.phase_diagram.measures import (
    distance_to_critical_line,
    expected_slope,
    measure,
    points,
    table,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The tiny study's plane, two points of it, run short of convergence."""
    out = tmp_path_factory.mktemp("phase")
    config = dataclasses.replace(phase_diagram.tiny(), doublings=0)
    jobs = phase_diagram.plane_jobs(config, out, [(0.5, 0.5), (1.25, -0.25)])
    for path, one in jobs:
        experiment.perform(dataclasses.replace(one, t_end=1.0), path)
    return [measure(path, tol=0.5) for path, _ in jobs], out


def test_a_row_holds_what_the_file_says(small):
    rows, out = small
    for row in rows:
        with mf.Trajectory(out / row.file) as run:
            first, last, risk = run[0], run[-1], run.series("risk").values
        assert row.relative_change == condensation.relative_change(first, last)
        assert row.loss_left == risk[-1] / risk[0] and row.converged == (row.loss_left <= 0.5)
        assert row.displacement == mf.displacement(
            first, last
        ) and row.alignment == condensation.alignment(last)
        assert row.scale == pytest.approx(row.m ** (1 - row.gamma))
        assert 0 < row.neurons <= 1 and row.clusters >= 1 and row.kind == "plane"


def test_the_plane_s_coordinates_are_read_from_the_law(small):
    """κ' = a_std/w_std = m^(-γ'), with the product of the two kept at 1: the engine's γ is the
    paper's.
    """
    rows, out = small
    assert {(row.gamma, row.gamma_prime) for row in rows} == {(0.5, 0.5), (1.25, -0.25)}
    for row in rows:
        law = mf.Trajectory(out / row.file).law
        assert law.a_std / law.w_std == pytest.approx(row.m**-row.gamma_prime, rel=1e-12)
        assert law.a_std * law.w_std == pytest.approx(1.0, rel=1e-12) and law.b_std == law.w_std


def test_the_table_marks_what_did_not_converge(small):
    rows = [dataclasses.replace(row, converged=row.gamma < 1) for row in small[0]]
    lines = table(rows, 0.5).splitlines()
    assert (
        len(lines) == 4 and "not converged" not in lines[1] and lines[2].endswith("not converged")
    )
    assert lines[3].startswith(
        "3 of 6 runs above 0.5 of their first loss, the first plane_gamma1.25_prime-0.25_m8"
    )
    assert [at.converged for at in points(rows)] == [True, False]


def test_expected_slopes_are_those_of_the_published_diagram():
    """TRUTHS.md, section 2: (½, 0): -.50; (¾, 0): -.25; (1, 0): 0; linear for γ < 1 or γ' > γ - 1,
    condensed for γ > 1 and γ' < γ - 1, critical between.
    """
    assert [expected_slope(gamma, 0.0) for gamma in (0.5, 0.75, 1.0)] == [-0.5, -0.25, 0.0]
    for gamma in np.linspace(0.3, 2.1, 37):
        for prime in np.linspace(-1.1, 1.3, 49):
            linear, condensed = gamma < 1 or prime > gamma - 1, gamma > 1 and prime < gamma - 1
            slope = expected_slope(gamma, prime)
            assert (slope < -1e-12) == bool(linear and abs(gamma - 1) + abs(prime) > 1e-9) or abs(
                slope
            ) < 1e-9
            assert (slope > 1e-12) == bool(condensed) or abs(slope) < 1e-9


def test_expected_slopes_are_continuous():
    """Piecewise linear with gradients up to 2: steps of 1e-6 change it by at most 4e-6, across
    every border.
    """
    rng = np.random.default_rng(0)
    for gamma, prime in np.vstack(
        [rng.uniform([0.2, -1], [2, 1], (300, 2)), [(1, 0), (1, 0.5), (1.5, 0.5), (1.5, -0.5)]]
    ):
        for step in rng.normal(size=(4, 2)) * 1e-6:
            near = expected_slope(gamma + step[0], prime + step[1])
            assert abs(near - expected_slope(gamma, prime)) <= 2.1 * np.abs(step).sum()


def test_the_distance_to_the_critical_line():
    gamma = np.array([1.0, 1.0, 1.3, 0.6, 1.5, 1.0, 0.6])
    prime = np.array([-0.4, 0.0, -0.2, -0.2, 0.5, 1.0, 0.3])
    expected = [0, 0, 0.3, 0.4, 0, np.sqrt(0.5), 0.5]
    assert distance_to_critical_line(gamma, prime) == pytest.approx(expected, abs=1e-12)
