"""The figure of phase_diagram: what its panels say of rows that follow the theory exactly, and of
runs that did not converge.
"""

import dataclasses
import math
import re

import numpy as np
import pytest

from sims import phase_diagram
from sims.lab import config, experiment
from sims.phase_diagram import collapse_panels, panels
from sims.phase_diagram.measures import Row, expected_slope

GAMMAS, PRIMES = (0.5, 0.75, 1.0, 1.25, 1.5), (-0.5, -0.25, 0.0, 0.25, 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With one file, which names data and law."""
    out = tmp_path_factory.mktemp("phase")
    experiment.perform(
        dataclasses.replace(phase_diagram.settings_of(0.5, 8, 0), t_end=0.1), out / "plane_first.h5"
    )
    return out


def row(kind, gamma, prime, m, seed, change, alpha=1.0, **other):
    known = {
        "t_end": 1.0, "steps": 1, "loss_left": 1e-6, "converged": True, "kernel_drift": change**2, "displacement": change,
        "alignment": 0.6 if expected_slope(gamma, prime) > 0 else 0.1, "alignment_start": 0.0, "neurons": 0.5, "clusters": 3,
        "energy_defect": 0.0, "file": "plane_first.h5",
    }  # fmt: skip
    return Row(
        kind=kind,
        gamma=gamma,
        gamma_prime=prime,
        alpha=alpha,
        m=m,
        seed=seed,
        relative_change=change,
        **{**known, **other},
    )


def exact(folder, **other):
    """A study whose relative changes are those of the scaling argument at every width, with a
    factor of the seed.
    """
    widths, seeds = (256, 1024, 4096), range(3)
    plane = [
        row("plane", gamma, prime, m, seed, (1 + seed) * m ** expected_slope(gamma, prime), **other)
        for gamma in GAMMAS for prime in PRIMES for m in widths for seed in seeds
    ]  # fmt: skip
    scan = [
        row("scan", gamma, 0.0, m, seed, (1 + seed) * m ** expected_slope(gamma, 0.0))
        for gamma in (0.8, 0.9, 1.1, 1.2) for m in widths for seed in seeds
    ]  # fmt: skip
    scale = [
        row("scale", 0.5, 0.0, m, seed, (1 + seed) / s if s > 1 else (1 + seed) / math.sqrt(s), s / math.sqrt(m))
        for s in (1 / 64, 1 / 16, 1 / 4, 1.0, 4.0, 16.0, 64.0) for m in widths for seed in seeds
    ]  # fmt: skip
    return phase_diagram.Results(folder, (*plane, *scan, *scale), 1e-5)


def said(figure):
    """All annotations of a figure, one string a panel, wrapped lines joined."""
    return [
        " | ".join(text.get_text().replace("\n", " ") for text in ax.texts) for ax in figure.axes
    ]


def test_the_verdicts_of_exact_rows_are_those_of_theory(folder):
    """Slopes up to rounding. The line of slope 0 up to the grid: an edge of length √2/4 from slope
    -1/2 to 1/8 crosses theory's line half-way and is cut at 4/5, .11 off.
    """
    text = said(phase_diagram.figure(exact(folder)))
    assert (
        "within 0.11 of theory" in text[0]
        and "0.00 off the scaling argument in the median, 0.00 at most" in text[0]
    )
    assert "all 324 runs to R/R(0) ≤ 1e-05" in text[0]
    assert "0.60 in the condensed and 0.10 in the linear" in text[1]
    assert "Slopes within 0.000" in text[2] and "γ = 1/2: slope −0.500" in text[2]
    assert (
        "At most 0.00 off theory; 9 of 9 95 % intervals hold it" in text[3]
        and "at γ = 1" not in text[3]
    )
    centre = float(re.search(r"γ_c = (\d\.\d+)", text[4])[1])
    # the interpolation rounds the kink at γ = 1 off, between .9 and 1.1
    assert centre == pytest.approx(1.0, abs=0.03)
    assert (
        "Relative spread 0.000, 0.000" in text[5]
        and "Exponent −1.00 at s ≥ 4, −0.50 at s ≤ ¼" in text[5]
    )


def test_runs_that_have_not_converged_are_counted_and_marked(folder):
    figure = phase_diagram.figure(exact(folder, converged=False, loss_left=0.2))
    assert "324 runs, 225 of them above R/R(0) = 1e-05 (up to 0.2), marked ×" in said(figure)[0]
    for ax in figure.axes[:2]:
        crosses = [line for line in ax.lines if line.get_marker() == "x"]
        assert sum(len(line.get_xdata()) for line in crosses) == len(GAMMAS) * len(PRIMES)


def test_curves_that_never_cross_are_said_not_to(folder):
    results = exact(folder)
    rows = [
        dataclasses.replace(one, relative_change=one.m**-0.5 * (1 + one.gamma))
        if one.kind == "scan"
        else one
        for one in results.rows
    ]
    assert "do not cross" in said(panels.page(dataclasses.replace(results, rows=tuple(rows))))[4]


def test_tables_against_the_scale_hold_every_seed(folder):
    s, values = collapse_panels.against_scale(
        [one for one in exact(folder).of("scale") if one.m == 1024], "relative_change"
    )
    assert np.allclose(s, [1 / 64, 1 / 16, 1 / 4, 1, 4, 16, 64]) and values.shape == (3, 7)
    assert np.allclose(values[:, -1] * 64, [1, 2, 3])


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            {"plane": {"gammas": (1.0, 0.5)}},
            "plane.gammas must be 2 values at least, in rising order",
        ),
        ({"plane": {"widths": (8, 16)}}, "plane.widths must be 3 values"),
        ({"scan": {"gammas": (0.9, 1.0, 1.1)}}, "scan.gammas must be 4 values"),
        ({"scan": {"widths": (8, 9)}}, "scan.widths must be even.*got 9. Use 10"),
        ({"tol": 1.0}, "tol"),
        ({"plane": {"level": 1}}, "Did you mean 'levels'"),
    ],
)
def test_a_wrong_setting_is_named(part, said):
    with pytest.raises(config.BadSettings, match=said):
        phase_diagram.Config(**part)


def test_redrawing_an_empty_folder_is_an_error_of_one_line(tmp_path, capsys):
    assert phase_diagram.main(["--redraw", "--out", str(tmp_path)]) == 2
    assert "there are no runs to measure" in capsys.readouterr().err
