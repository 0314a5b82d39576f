"""Mean-field Langevin with linear features: theory's formulas, and a small run against them."""

import pytest

from sims import figures, langevin_law
from sims.langevin_law import measures, panels


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = langevin_law.Config(
        m=500, widths=(8, 32), seeds=4, dt=0.1, thin=10, steps=(0.5, 1.25), looks=10, moments=50
    )
    return langevin_law.run(config, tmp_path_factory.mktemp("langevin"))


@pytest.mark.parametrize("z", [0.1, 0.75, 1.25])
def test_the_inflation_of_the_variance_is_the_fixed_point_of_its_recursion(z):
    """TRUTHS.md, 3.4 and section 6, in units of T/λ: x ← qx + g ξ has the variance g²/(1 - q²), q =
    1 - z and g² = 2z for Euler–Maruyama; q = 1 - z + z²/2, g² = 2z(1 - z/2)² for Heun. With the
    noise averaged, x - g ξ/2 has the memory: v = q²v + g²((1 + q)/2)², and x's is v + g²/4.
    """
    heun = 1 - z + z**2 / 2
    assert measures.inflation("euler_maruyama", z) == pytest.approx(2 * z / (1 - (1 - z) ** 2))
    assert measures.inflation("stochastic_heun", z) == pytest.approx(
        2 * z * (1 - z / 2) ** 2 / (1 - heun**2)
    )
    v = 2 * z * ((2 - z) / 2) ** 2 / (1 - (1 - z) ** 2)
    assert measures.inflation("leimkuhler_matthews", z) == pytest.approx(v + 2 * z / 4)


def test_mean_covariance_variance_and_risk_are_theorys(results):
    """TRUTHS.md, 3.4, 3.6 and section 6. Of 4 seeds: Student's t with 3 degrees of freedom passes 12
    standard errors once in 800; of 15 numbers, once in 50 runs, and the seeds are fixed.
    """
    assert len(results.rows) == 5 + 3 * 2 + 2
    assert max(abs(row.away) for row in results.rows) < 12
    # what must be resolved: Euler–Maruyama's variance at λ dt = 1.25 is 2.67 T/λ, Heun's .49
    found = {row.quantity: row.value for row in results.rows if row.at == 1.25}
    assert found["euler_maruyama"] == pytest.approx(8 / 3, rel=0.05)
    assert found["stochastic_heun"] == pytest.approx(0.4898, rel=0.05)
    assert found["leimkuhler_matthews"] == pytest.approx(1, rel=0.05)


def test_the_verdict_tells_numbers_that_are_off_from_those_that_are_not(results):
    assert panels.within([langevin_law.Row("x", 1, 1.01, 0.01, 1.0, 8)]).startswith("theory holds")
    assert panels.within([langevin_law.Row("x", 1, 1.10, 0.01, 1.0, 8)]).startswith("theory fails")
    sheet = langevin_law.figure(results)
    said = dict(figures.said(sheet))
    assert "c = " in said["Risk of m neurons"] and "theory" in said["Variance against the step"]
    figures.plt.close("all")


def test_steps_that_are_not_stable_are_refused():
    with pytest.raises(ValueError, match="below 2"):
        langevin_law.Config(steps=(0.5, 2.0))
