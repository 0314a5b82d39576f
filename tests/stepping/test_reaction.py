"""Masses that follow the landscape, dp_k/dt = -ρ p_k (δF/δμ(θ_k) - ∫ δF/δμ dμ), beside transport:
against exact solutions and the flow's own energy identity.
"""

import numba
import numpy as np
import pytest
from reacting import RATE, START, TANH, Well, march

import meanfield as mf
from meanfield.stepping import reaction
from meanfield.stepping.march import March
from meanfield.stepping.replacing import TINY, reweighted, systematic


def half_square(x):
    return 0.5 * RATE * x[0] * x[0]


def slope(x, out):
    out[0] = RATE * x[0]


def nearness(x, y):
    return 0.5 * (x[0] - y[0]) ** 2


def towards(x, y, out):
    out[0] = x[0] - y[0]


TEACHER = mf.InitialLaw(dim=2, w="sphere").sample(3, seed=1)
FLAT = mf.InitialLaw(dim=2).sample(30, seed=2)
FUNCTIONALS = {
    "empirical": (TANH, START),
    "population": (mf.PopulationRisk(mf.Network("erf", trainable=("a", "w")), TEACHER), FLAT),
    "pairs": (
        mf.PairwiseEnergy((half_square, slope), (nearness, towards)),
        mf.State(np.linspace(-1.0, 2.0, 30)[:, None], outputs=0),
    ),
}
each_functional = pytest.mark.parametrize("name", FUNCTIONALS)


def order(errors):
    """By halved steps."""
    return np.log2(np.array(errors[:-1]) / errors[1:])


def distance(p, q):
    """Of masses and of particles, each in its own size."""
    return np.abs(p.mass - q.mass).max() * p.m + np.abs(p.theta - q.theta).max()


@pytest.mark.parametrize("n_steps", [1, 7])
def test_a_pure_reaction_is_exact_for_any_step(n_steps):
    """TRUTHS.md 3.7: ρ_t ∝ ρ_0 e^{-rate t V}; nothing moves."""
    mass = np.array([0.5, 0.1, 0.4])
    start = mf.State([[0.5], [1.5], [2.5]], outputs=0, mass=mass)
    end = march(Well(rate=0.0), start, 0.7 / n_steps, n_steps, mf.EULER, reaction=1.5)
    exact = mass * np.exp(-1.5 * 0.7 * start.theta[:, 0] ** 2)
    np.testing.assert_allclose(end.mass, exact / exact.sum(), rtol=1e-13)
    assert np.array_equal(end.theta, start.theta)


def test_a_gaussian_in_a_well_has_its_closed_moments():
    """TRUTHS.md 3.7 on characteristics: x = x_0 e^{-λt}, masses times e^{-c x_0²}, c = ρ(1 - e^{-2λt})/4.
    So N(m, s²) stays Gaussian: 1/s² grows by 2c, m falls by 1 + 2cs², then both shrink. The grid is
    a trapezoid rule of a Gaussian, exact to rounding; the splitting has order 2.
    """
    m, s2, rho, t = 0.7, 0.5, 3.0, 0.6
    x = np.linspace(-6.0, 7.0, 300)
    mass = np.exp(-0.5 * (x - m) ** 2 / s2)
    start = mf.State(x[:, None], 0, mass / mass.sum())
    c, shrink = rho * (1 - np.exp(-2 * RATE * t)) / 4, np.exp(-RATE * t)
    exact = np.array([m / (1 + 2 * c * s2) * shrink, s2 / (1 + 2 * c * s2) * shrink**2])
    errors = []
    for n in (8, 16, 32, 64):
        end = march(Well(), start, t / n, n, reaction=rho)
        mean = end.mass @ end.theta[:, 0]
        found = np.array([mean, end.mass @ (end.theta[:, 0] - mean) ** 2])
        errors.append(np.abs(found / exact - 1).max())
    assert errors[-1] < 1e-3
    assert np.abs(order(errors) - 2).max() < 0.15


@pytest.fixture(scope="module")
def errors_at_two():
    """Of a method by steps: on a network, where δF/δμ depends on the masses. The end that they are
    held against errs (1/8)² of the last at order 2: .02 of an order.
    """
    best = march(TANH, START, 2.0 / 512, 512)

    def errors(method):
        return [distance(march(TANH, START, 2.0 / n, n, method), best) for n in (16, 32, 64)]

    return errors


@pytest.mark.parametrize(("method", "expected"), [(mf.RK4, 2), (mf.HEUN, 2), (mf.EULER, 1)])
def test_the_splitting_has_order_two_or_that_of_the_transport(errors_at_two, method, expected):
    assert np.abs(order(errors_at_two(method)) - expected).max() < 0.15


def test_with_the_landscape_frozen_at_the_start_of_a_substep_it_has_order_one(
    errors_at_two, monkeypatch
):
    """TRUTHS.md, section 6: which is why δF/δμ is taken at the masses of the middle."""

    def frozen(self, field, particles, h, half):
        height = field.potential(particles)
        mass = reweighted(particles.mass, height, self.rate * h)
        return particles._replace(mass=mass), 0.0, np.arange(len(mass))

    monkeypatch.setattr(reaction.Reacting, "_react", frozen)
    assert np.abs(order(errors_at_two(mf.HEUN)) - 1).max() < 0.15


@each_functional
def test_f_loses_what_transport_and_reaction_dissipate(name):
    """F(0) - F = ∫(Σp|v|² + ρ Var_p δF/δμ) dt, to order 2."""
    functional, start = FUNCTIONALS[name]
    defects = []
    for n in (20, 40, 80):
        defect = mf.Series("energy_defect", mf.evenly(2))
        end = march(functional, start, 1.0 / n, n, observers=[defect])
        defects.append(defect.values[-1])
    assert defects[-1] < 1e-3
    assert order(defects).min() > 1.75
    assert np.ptp(end.mass) > 0.1 / end.m  # the reaction is seen


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in FUNCTIONALS), ("empirical", "float32")]
)
def test_masses_sum_to_one_and_stay_positive(name, dtype):
    functional, start = FUNCTIONALS[name]
    end = march(functional, start, 0.5, 60, mf.EULER, reaction=300.0, dtype=dtype)
    assert abs(end.mass.sum() - 1) < 1e-14
    assert end.mass.min() >= TINY and end.mass.dtype == np.float64
    assert end.mass.max() > 0.5  # it was a strong reaction


def test_a_particle_without_mass_stays_so_and_no_other_is_lost_for_good():
    mass = reweighted(np.array([0.0, 0.5, 0.5]), np.array([-1e9, 0.0, 1e6]), 1.0)
    assert mass[0] == 0.0 and mass[1] == 1.0 and mass[2] == TINY


def test_the_automatic_step_is_halved_until_f_falls_as_it_should():
    energy, size = mf.Series("energy", mf.every(1)), mf.Series("effective_sample_size", mf.every(1))
    flow = mf.GradientFlow(TANH, reaction=30.0)
    end = mf.simulate(
        flow, START, mf.RK4, dt="auto", t_end=10.0, observers=[energy, size], progress=False
    )
    assert np.diff(energy.values).max() <= 0 and flow.energy(end) < 0.2 * energy.values[0]
    assert size.values[0] == pytest.approx(30.0) and min(size.values) < 25.0
    assert size.values[-1] == pytest.approx(1 / (end.mass**2).sum(), rel=1e-12)


def test_masses_are_recorded_extended_and_made_again_from_the_file(tmp_path):
    paths = [tmp_path / name for name in ("parts.h5", "whole.h5")]
    flow = mf.GradientFlow(TANH, reaction=2.0)
    settings = {"dt": 0.1, "progress": False}
    for path, n in zip(paths, (20, 40), strict=True):
        recorder = mf.Recorder(path, mf.every(10))
        end = mf.simulate(flow, START, mf.HEUN, n_steps=n, observers=[recorder], **settings)
    last = mf.resume(paths[0], t_end=4.0, progress=False)
    assert np.array_equal(last.theta, end.theta) and np.array_equal(last.mass, end.mass)
    with mf.Trajectory(paths[1]) as run:
        assert run.mass_varies and not run.replaces and run.flow().reaction == 2.0
        assert np.array_equal(run.ancestors(), np.arange(30)) and not len(run.births.ids)
        assert {"energy_defect", "effective_sample_size"} <= set(run.series_names)
        assert not {"path", "displacement", "balance_defect"} & set(run.series_names)
    why = mf.diagnose(paths[1], progress=False).unavailable
    assert "masses change" in why["path"] and "masses change" in why["relative_weight_change"]
    found = mf.diagnose(paths[1], ["energy_defect", "effective_sample_size"], progress=False)
    assert found["energy_defect"].values[-1] < 1e-2


@pytest.mark.slow
def test_runs_whose_masses_move_are_compared(tmp_path):
    paths = [tmp_path / name for name in ("one.h5", "other.h5")]
    for path, rate in zip(paths, (1.0, 4.0), strict=True):
        recorder = mf.Recorder(path, mf.evenly(3))
        march(TANH, START, 0.1, 20, observers=[recorder], reaction=rate)
    compared = mf.compare(*paths)
    assert compared.rows["RMS displacement"] == (None, None) and compared.rows["kernel drift"][0]
    assert compared.rows["W2(start, end)"][1].upper > 0


def test_systematic_resampling_is_unbiased_and_errs_less_than_half_as_much_as_multinomial():
    """Each particle has ⌊mp⌋ or ⌈mp⌉ copies, mp in the mean: of variance f(1 - f), f = mp mod 1, on
    average 1/6 against the 1 of a multinomial. So the ratio of errors is √(1/6) = .41, over 200
    functions to 3 %.
    """
    rng = np.random.default_rng(0)
    m, values = 60, rng.normal(size=(60, 200))
    mass = reweighted(np.full(m, 1 / m), 0.5 * rng.normal(size=60) ** 2, 2.0)
    counts = np.array([np.bincount(systematic(mass, u), minlength=m) for u in rng.random(2000)])
    assert np.all((counts == np.floor(m * mass)) | (counts == np.ceil(m * mass)))
    fractions = m * mass % 1
    errors = np.sqrt(fractions * (1 - fractions) / 2000)
    assert np.abs(counts.mean(axis=0) - m * mass).max() < 4.5 * errors.max()
    drawn = rng.multinomial(m, mass, size=2000)
    ratio = np.sqrt((counts @ values).var(axis=0).mean() / (drawn @ values).var(axis=0).mean())
    assert 1 / 3 < ratio < 1 / 2


def test_bits_do_not_depend_on_the_threads():
    start, found = mf.InitialLaw(dim=2, b_std=1.0).sample(2000, seed=2), []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        found.append(march(TANH, start, 0.1, 5, reaction=5.0))
    assert np.array_equal(found[0].theta, found[1].theta)
    assert np.array_equal(found[0].mass, found[1].mass)


BAD = [
    ({"reaction": -1.0}, "reaction must be a rate >= 0"),
    ({"reaction": np.inf}, "reaction must be a rate >= 0"),
    ({"reaction": "fast"}, "reaction must be a rate >= 0"),
    ({"reaction": 1.0, "resample": 1.0}, r"resample must be a share of m in \[0, 1\)"),
    ({"reaction": 1.0, "resample": 0.5, "jitter": -1.0}, "jitter must be a length >= 0"),
    ({"jumps": True}, "whose rate is 0: pass reaction=ρ"),
    ({"resample": 0.5}, "whose rate is 0: pass reaction=ρ"),
    ({"reaction": 1.0, "jumps": True, "resample": 0.5}, "with jumps they are equal: leave one out"),
    ({"reaction": 1.0, "jitter": 0.1}, "without jumps or resample there are none"),
]


@pytest.mark.parametrize(("settings", "said"), BAD)
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        mf.GradientFlow(TANH, **settings)


def test_jumps_is_true_or_false():
    with pytest.raises(TypeError, match="jumps must be True or False; got 1"):
        mf.GradientFlow(TANH, reaction=1.0, jumps=1)


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        (mf.EULER_MARUYAMA, {"temperature": 0.1}, "has T log μ, .* with temperature=0, or leave"),
        (mf.EULER, {"temperature": 0.1}, "has T log μ"),
        (mf.HeavyBall(1.0), {}, "'heavy_ball' has momentum.* Use mf.RK4, mf.HEUN or mf.EULER"),
        (mf.Adaptive(), {}, "knows the error of the transport alone.* number for dt, or with dt="),
    ],
)
def test_methods_that_make_no_sense_with_a_reaction_name_one_that_does(method, settings, said):
    flow = mf.GradientFlow(TANH, reaction=1.0, **settings)
    dt = None if method.controls_error else 0.1
    with pytest.raises(ValueError, match=said):
        mf.simulate(flow, START, method, dt=dt, t_end=1.0, progress=False)


def test_drawn_samples_have_no_reaction():
    flow = mf.GradientFlow(mf.MiniBatch(TANH, 4), reaction=1.0)
    with pytest.raises(ValueError, match=r"a MiniBatch draws its samples.* Use mf\.EmpiricalRisk"):
        mf.simulate(flow, START, mf.EULER, dt=0.1, t_end=1.0, progress=False)


def test_kinks_and_masses_that_change_are_not_taken_for_steps_that_are_too_long():
    """Nothing measures the motion of sliding neurons there."""
    relu = mf.EmpiricalRisk(mf.Network("relu"), TANH.x, np.abs(TANH.x[:, 0]))
    made = March(mf.GradientFlow(relu, reaction=1.0), START, mf.EULER, 0.01, 0.1, None)
    assert made.balances and made.motion is None
