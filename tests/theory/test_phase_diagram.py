"""The phase diagram of Luo, Xu, Ma and Zhang (2021): slopes of the relative input-weight change.
TRUTHS.md, section 2.
"""

import numpy as np
import pytest

import meanfield as mf
from meanfield.diagnostics.library import condensation
from sims import phase_diagram
from sims.lab import convergence, experiment
from sims.phase_diagram.measures import expected_slope, measure

# of the first loss: the residual left, 1 % of the first, changes the relative change by about as
# much, at every m alike
TOL = 1e-4


def change(tmp_path, gamma, prime, m, seed):
    """The Row of one run trained to TOL."""
    path = tmp_path / f"plane_{gamma}_{prime}_{m}_{seed}.h5"
    assert convergence.train(
        phase_diagram.settings_of(gamma, m, seed, prime), path, TOL, doublings=10
    )
    return measure(path, TOL)


def slope(tmp_path, gamma, prime, widths, seeds):
    logs = [
        [np.log(change(tmp_path, gamma, prime, m, seed).relative_change) for m in widths]
        for seed in range(seeds)
    ]
    return float(np.polyfit(np.log(widths), np.mean(logs, axis=0), 1)[0])


@pytest.mark.slow
@pytest.mark.parametrize(("gamma", "expected"), [(0.5, -0.5), (0.75, -0.25), (1.0, 0.0)])
def test_the_relative_change_goes_with_the_published_power_of_the_width(tmp_path, gamma, expected):
    """γ' = 0, the last two widths of 2e3 … 1.28e5: slope within .05. One seed of width m scatters
    by about 1/√m, .006 at 3.2e4, and its two widths share a quarter of their neurons: .005 in the
    slope over log 4.
    """
    assert slope(tmp_path, gamma, 0.0, (32_000, 128_000), 1) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("gamma", "prime"),
    [(0.5, 0.0), (0.75, 0.0), (1.0, 0.0), (1.5, 0.0), (1.5, -0.5), (1.5, 0.5), (0.75, -0.5)],
)
def test_narrow_networks_have_the_slopes_of_the_scaling_argument_nearly(tmp_path, gamma, prime):
    """m = 256 … 1024, two seeds that share their neurons between widths: 1/√256 = 6 % of scatter
    over √2 seeds and log 4 = 1.39 is .03; corrections to the limit, of relative order 1/s = m^(γ -
    1), are .25 at γ = 3/4 and change by half: .1.
    """
    assert slope(tmp_path, gamma, prime, (256, 1024), 2) == pytest.approx(
        expected_slope(gamma, prime), abs=0.13
    )


def test_only_the_distance_to_the_critical_line_matters_in_the_condensed_regime(tmp_path):
    """γ' - γ + 1 = 0 at (1.25, .25), (1.5, .5), (1.75, .75). With a = c â, (w, b) = c v̂, c =
    m^(γ'/2), the network is f = m^(1 - γ + γ') ∫ â σ(v̂) dμ, v̂ ~ N(0, I), â(0) ~ m^(-γ'): but for
    â(0), small beside v̂, a function of γ' - γ. The relative changes differ by less than that:
    m^(-1/4) = 18 % at m = 1024.
    """
    found = [
        change(tmp_path, 1 + shift, shift, 1024, 0).relative_change for shift in (0.25, 0.5, 0.75)
    ]
    assert found == pytest.approx([found[-1]] * 3, rel=1024**-0.25)


def test_the_input_weights_align_in_the_condensed_regime_and_stay_isotropic_in_the_linear_one(
    tmp_path,
):
    """At the start S is about 1/m. γ = ½: directions turn by RD = 3 %, and S is second order in it.
    γ = 1.5: more than half of what an isotropic cloud lacks to a line.
    """
    linear, condensed = (change(tmp_path, gamma, 0.0, 1024, 0) for gamma in (0.5, 1.5))
    assert linear.alignment < 0.01 and condensed.alignment > 0.5
    assert condensed.clusters < linear.clusters / 3 and condensed.neurons < linear.neurons


def test_the_automatic_step_gives_the_relative_change_of_an_accurate_one():
    """Near the saddle of a condensed run pairs grow as e^(t/s), faster than the kernel of the start
    tells dt="auto": its first steps are coarse until F does not fall as it should. The relative
    change is that of RK4 with dt = 0.005, 1/12 of s, within 3 %, at each width alike, so that
    slopes over a factor 16 are within .01.
    """
    made = experiment.make(phase_diagram.settings_of(1.5, 256, 0))
    ends = [
        mf.simulate(made.flow, made.start, mf.RK4, dt=dt, t_end=6.0, progress=False)
        for dt in ("auto", 0.005)
    ]
    coarse, fine = (condensation.relative_change(made.start, end) for end in ends)
    assert made.flow.risk(ends[1]) < 1e-6 and coarse == pytest.approx(fine, rel=0.03)
