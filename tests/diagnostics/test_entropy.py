"""The entropy of a cloud by nearest neighbours, and the free energy of Langevin dynamics, against
Gaussian laws.
"""

import math

import numpy as np
import pytest

import meanfield as mf
from meanfield.diagnostics.frame import Problem
from meanfield.diagnostics.library.entropy import of_cloud
from meanfield.diagnostics.needs import reason
from meanfield.diagnostics.registry import get

RATE, T = 2.0, 0.5  # V = λ|x|²/2


def half_square(x):
    return 0.5 * RATE * (x[0] * x[0] + x[1] * x[1])


def gradient(x, out):
    out[0] = RATE * x[0]
    out[1] = RATE * x[1]


def of_normal(variance, p):
    return 0.5 * p * math.log(2.0 * math.pi * math.e * variance)


@pytest.mark.parametrize("p", [1, 2, 4])
def test_of_normal_points_it_is_known_to_its_error(p):
    """S = (p/2) log(2πe σ²); twelve clouds, each within 4 errors, which fall by at least 2 from
    m = 300 to 4800: as m^(-½), as m^(-2/p) where the bias is more.
    """
    errors = []
    for m in (300, 4800):
        found = [of_cloud(np.random.default_rng(s).normal(0, 1.5, (m, p))) for s in range(6)]
        gaps = [abs(one.value - of_normal(2.25, p)) / one.error for one in found]
        assert max(gaps) < 4.0
        errors.append(np.mean([one.error for one in found]))
    assert errors[1] < 0.5 * errors[0]


def test_it_moves_as_the_logarithm_of_scale_and_not_with_a_shift():
    x = np.random.default_rng(0).normal(size=(500, 3))
    S = of_cloud(x).value
    assert of_cloud(2.0 * x + 5.0).value == pytest.approx(S + 3 * math.log(2.0), abs=1e-9)
    assert of_cloud(np.vstack([x, x[:1]])).value == -math.inf


@pytest.fixture(scope="module")
def langevin(tmp_path_factory):
    """A run from N(0, 4 I_2) to the stationary law N(0, T/λ I_2), with its series."""
    path = tmp_path_factory.mktemp("run") / "run.h5"
    flow = mf.GradientFlow(mf.PairwiseEnergy(potential=(half_square, gradient)), temperature=T)
    start = mf.State(np.random.default_rng(3).normal(0, 2.0, (4000, 2)), outputs=0)
    names = ("energy", "entropy", "entropy_error", "free_energy")
    series = {name: mf.Series(name, mf.every(8)) for name in names}
    observers = [mf.Recorder(path, mf.every(8)), *series.values()]
    mf.simulate(
        flow,
        start,
        mf.LEIMKUHLER_MATTHEWS,
        dt=0.05,
        n_steps=64,
        observers=observers,
        progress=False,
    )
    return path, flow, {name: np.array(one.values) for name, one in series.items()}


def test_along_ornstein_and_uhlenbeck_entropy_and_free_energy_are_those_of_the_normal_law(langevin):
    """Variance v = T/λ + (v_0 - T/λ) e^(-2λt), p = 2: S = log(2πe v), F = λ v, F - T S. TRUTHS.md
    3.4. F is a mean over m p = 8000 squares, √(2/8000) = 1.6 %, and the step of dt = .05 is off by
    order (λ dt)² = 1 % on the way.
    """
    _, _, found = langevin
    t = 0.4 * np.arange(9)
    v = T / RATE + (4.0 - T / RATE) * np.exp(-2 * RATE * t)
    S, F = of_normal(v[-1], 2), RATE * v
    S = np.array([of_normal(one, 2) for one in v])
    assert (np.abs(found["entropy"] - S) < 4.0 * found["entropy_error"] + 0.03).all()
    np.testing.assert_allclose(found["energy"], F, rtol=0.1)
    np.testing.assert_allclose(
        found["free_energy"], found["energy"] - T * found["entropy"], rtol=0, atol=1e-12
    )
    least = -T * math.log(2.0 * math.pi * T / RATE)  # -T log Z
    assert found["free_energy"][-1] == pytest.approx(least, abs=4 * T * found["entropy_error"][-1])
    assert (np.diff(found["free_energy"][:3]) < 0.0).all()


def test_after_the_run_it_is_the_same(langevin):
    path, flow, found = langevin
    curves = mf.diagnose(path, ["entropy", "free_energy"], flow=flow)
    for name in ("entropy", "free_energy"):
        np.testing.assert_array_equal(curves[name].values, found[name])


def test_frozen_columns_count_by_their_values():
    """a = ±1 and b = 0 frozen, w ~ N(0, I_2): S = log(2πe) + log 2. Frozen at normal numbers no
    value has a neighbour: NaN.
    """
    risk = mf.EmpiricalRisk(mf.Network("tanh", trainable=("w",)), np.eye(2), [0.0, 0.0])
    flow = mf.GradientFlow(risk)

    def measured(state, name="entropy"):
        series = mf.Series(name, mf.evenly(1))
        mf.simulate(flow, state, mf.EULER, dt=1e-9, n_steps=1, observers=[series], progress=False)
        return series.values[0]

    state = mf.InitialLaw(dim=2).sample(3000, seed=0)
    expected = of_normal(1.0, 2) + math.log(2.0)
    assert measured(state) == pytest.approx(expected, abs=4 * measured(state, "entropy_error"))
    assert measured(state, "free_energy") == pytest.approx(flow.energy(state), rel=1e-6)  # T = 0
    assert math.isnan(measured(mf.InitialLaw(dim=2, a="normal").sample(50, seed=0)))
    heavy = np.append(np.full(15, 1.0), 17.0) / 32
    assert math.isnan(measured(mf.State(state.theta[:16], mass=heavy)))


def test_particles_on_a_sphere_and_cells_have_no_entropy():
    """Neither is a sample of a density in θ. Without noise the free energy is F all the same."""
    well = mf.PairwiseEnergy(potential=(half_square, gradient))
    x = np.random.default_rng(0).normal(size=(40, 2))
    on_circle = mf.State(x / np.linalg.norm(x, axis=1, keepdims=True), outputs=0)
    warm = mf.GradientFlow(well, temperature=T)
    ways = mf.Sphere(mf.EULER_MARUYAMA), mf.Sphere(), mf.limits.FINITE_VOLUMES
    for flow, method, names, why in (
        (warm, ways[0], ("entropy", "entropy_error", "free_energy"), "on a manifold"),
        (mf.GradientFlow(well), ways[1], ("entropy",), "on a manifold"),
        (mf.GradientFlow(well), ways[2], ("entropy",), "the density of equal ones alone"),
    ):
        problem = Problem(flow, on_circle, mass_varies=method.moves_masses, traits=method.traits)
        for name in names:
            assert why in reason(get(name), problem)
        assert not flow.temperature == 0 or not reason(get("free_energy"), problem)
    with pytest.raises(ValueError, match="'entropy' cannot be recorded.*on a manifold"):
        series = mf.Series("entropy", mf.evenly(1))
        mf.simulate(warm, on_circle, ways[0], dt=0.1, n_steps=1, observers=[series], progress=False)
