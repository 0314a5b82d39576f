"""The continuity equation without particles: mass, sign and energy; order; exact and stationary
densities; the particles' own flow. THEORY.md, section 7.
"""

import subprocess
import sys

import numpy as np
import pytest
from pair_formulas import KINK

import meanfield as mf
from meanfield.limits import FINITE_VOLUMES

RIDGE = 0.8
T = 0.5
X = np.linspace(-1, 1, 12)[:, None]
RELU = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), X, 3 * np.abs(X[:, 0])))


def linear():
    """f(x) = x ∫w dμ on one sample x = 1, y = 1: ψ(w) = (mean - 1) w + ½ λ w². The mean goes to
    1/(1 + λ) as e^(-(1+λ)t), and w - mean shrinks as e^(-λt).
    """
    network = mf.Network("linear", trainable=("w",))
    return mf.GradientFlow(mf.EmpiricalRisk(network, [[1.0]], [1.0], ridge=RIDGE))


def bump(x):
    return np.where(np.abs(x) < 1, np.cos(0.5 * np.pi * x) ** 4, 0.0)


def exact(t):
    """(mean, factor of w - mean) from a bump about 0."""
    rest = 1 / (1 + RIDGE)
    return rest * (1 - np.exp(-(1 + RIDGE) * t)), np.exp(-RIDGE * t)


def march(flow, start, t_end=T, dt=0.05, observers=()):
    return mf.simulate(
        flow, start, FINITE_VOLUMES, dt=dt, t_end=t_end, observers=observers, progress=False
    )


def test_the_order_is_two_where_the_density_is_smooth():
    """Error in L1 against the exact density, dt = 0.4 of a cell's crossing: Heun and straight lines
    are of order 2. The limiter is of order 1 in the one cell at the maximum, whose share of L1 is h:
    2 is approached from below.
    """
    flow, errors = linear(), []
    mean, factor = exact(T)
    for cells in (64, 128, 256, 512):
        end = march(flow, mf.limits.line(-1.2, 1.6, cells, bump, a=1.0))
        solution = mf.limits.line(-1.2, 1.6, cells, lambda w: bump((w - mean) / factor), a=1.0)
        errors.append(np.abs(end.mass - solution.mass).sum())
        assert float(end.mass @ end.w[:, 0]) == pytest.approx(mean, abs=0.1 / cells)
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(2.0, abs=0.15) and np.all(orders > 1.3)


def test_the_order_is_one_where_mass_gathers():
    """All mass goes to 1/(1 + λ), and by t = 8 is there up to e^(-λt) = .002 of its width. The scheme
    holds it in the two cells next to it, which lie alike at each size: W1 to the Dirac is c h, c < 1.
    """
    flow, distances = linear(), []
    rest = 1 / (1 + RIDGE)
    for cells in (16, 32, 64):
        start = mf.limits.line(rest - 1.8, rest + 0.9, cells, bump, a=1.0)
        end = march(flow, start, 8.0, 0.25)
        distances.append(float(end.mass @ np.abs(end.w[:, 0] - rest)))
        assert distances[-1] < 2.7 / cells
    slope = np.polyfit(np.log([16, 32, 64]), np.log(distances), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.1)


def tilted(angle):
    return 1.2 + np.sin(angle)


@pytest.fixture(scope="module")
def kinked(tmp_path_factory):
    """ReLU neurons of both signs on the circle of (w, b): 24 kinks at which mass gathers."""
    path = tmp_path_factory.mktemp("limits") / "circle.h5"
    march(
        RELU,
        mf.limits.circle(96, tilted),
        4.0,
        observers=[mf.Recorder(path, mf.every(1))],
    )
    return path


def test_mass_is_kept_none_is_negative_and_f_never_rises(kinked):
    """Mass moves by differences of fluxes: to rounding. Every part of a step is checked for sign
    and F, so what is recorded is too.
    """
    with mf.Trajectory(kinked) as run:
        masses = np.array([frame.mass for frame in run])
        assert run.mass_varies and len(masses) == 81
        assert np.abs(masses.sum(axis=1) - 1).max() <= 1e-14
        assert masses.min() >= 0 and masses.max() > 5 * masses[0].max()
        energies, risks = run.series("energy").values, run.series("risk").values
        assert np.all(np.diff(energies) <= 1e-13 * energies[0]) and risks[-1] < 0.25 * risks[0]
        # of the parts of a step, Heun: third order each
        assert run.series("energy_defect").values[-1] < 1e-3
        for state in (run[0], run[-1]):  # neurons stay balanced, in their directions
            np.testing.assert_allclose(np.abs(state.a[:, 0]), np.hypot(state.w[:, 0], state.b))
        np.testing.assert_allclose(
            np.arctan2(run[-1].b, run[-1].w[:, 0]), np.arctan2(run[0].b, run[0].w[:, 0])
        )


def test_the_function_is_that_of_the_particles_of_the_same_start():
    """4096 neurons with the masses of the density, by RK4, err by less than 3e-4. The cells err by a
    share of h where mass gathers at the 24 kinks: order 1, with a scatter from where the kinks lie
    in the cells, which over a factor of 16 moves the slope by .3.
    """
    angles = (np.arange(2048) + 0.5) / 2048 * 2 * np.pi - np.pi
    start = np.concatenate(
        [np.column_stack([s * np.ones(2048), np.cos(angles), np.sin(angles)]) for s in (1, -1)]
    )
    weights = np.tile(tilted(angles), 2)
    state = mf.State(start, mass=weights / weights.sum())
    end = mf.simulate(RELU, state, mf.RK4, dt=0.05, t_end=4.0, progress=False)
    x = np.linspace(-1, 1, 41)[:, None]
    wanted, sizes, errors = RELU.predict(end, x), (24, 48, 96, 192, 384), []
    for cells in sizes:
        found = RELU.predict(march(RELU, mf.limits.circle(cells, tilted), 4.0), x)
        errors.append(np.sqrt(np.mean((found - wanted) ** 2)))
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(-1.0, abs=0.3)
    assert errors[-1] < 0.003


def test_neurons_of_several_lengths_count_by_their_mean_square():
    """THEORY.md, section 7: f depends on ν = ∫|u|² dμ alone. Half of the neurons with |u|² = ½, half
    with 3.5, at 512 angles and both signs, are the circle of radius √2: the cells' error, order 1.
    """
    angles = (np.arange(512) + 0.5) / 512 * 2 * np.pi - np.pi
    start = [
        r * np.column_stack([s * np.ones(512), np.cos(angles), np.sin(angles)])
        for s in (1, -1)
        for r in np.sqrt([0.5, 3.5])
    ]
    end = mf.simulate(RELU, mf.State(np.concatenate(start)), mf.RK4, dt=0.05, t_end=2.0, progress=False)  # fmt: skip
    cells = march(RELU, mf.limits.circle(256, radius=np.sqrt(2)), 2.0)
    x = np.linspace(-1, 1, 41)[:, None]
    wanted = RELU.predict(end, x)
    assert np.abs(RELU.predict(cells, x) - wanted).max() < 0.005 * np.abs(wanted).max()


def test_attraction_that_turns_into_repulsion_ends_in_a_uniform_density():
    """TRUTHS 3.5, N → ∞: W = ½x² - |x| rests at x_i = (2i - N - 1)/N, the density ½ on [-1, 1] about
    the mean. The relaxation is e^(-t); the edges are smeared over some cells of h = 0.05.
    """
    flow = mf.GradientFlow(mf.PairwiseEnergy(interaction=KINK))
    start = mf.limits.line(-2, 2, 80, lambda x: np.exp(-8 * (x - 0.3) ** 2))
    mean = float(start.mass @ start.theta[:, 0])
    end = march(flow, start, 14.0, 0.5)
    assert float(end.mass @ end.theta[:, 0]) == pytest.approx(mean, abs=1e-12)  # forces are mutual
    x, rho = mf.limits.density(flow, end)
    inside, outside = np.abs(x - mean) < 0.85, np.abs(x - mean) > 1.2
    assert np.abs(rho[inside] - 0.5).max() < 0.02 and rho[outside].max() < 1e-3


def test_a_run_that_goes_on_has_the_bits_of_a_whole_one_for_any_threads(tmp_path, threads):
    start = mf.limits.circle(32, tilted)
    for name, ends in (("parts", (0.5, 1.0)), ("whole", (1.0,))):
        recorder = mf.Recorder(tmp_path / f"{name}.h5", mf.every(5))
        march(RELU, start, ends[0], observers=[recorder])
        if len(ends) > 1:
            mf.resume(tmp_path / f"{name}.h5", t_end=1.0, progress=False)
    with mf.Trajectory(tmp_path / "parts.h5") as one, mf.Trajectory(tmp_path / "whole.h5") as two:
        np.testing.assert_array_equal(one[-1].mass, two[-1].mass)
        np.testing.assert_array_equal(one[-1].theta, two[-1].theta)
        mass = two[-1].mass
    np.testing.assert_array_equal(BITS.setdefault("mass", mass), mass)


@pytest.mark.process
def test_a_file_names_the_method_to_who_has_not_imported_the_limits():
    """resume alone registers it; the room of methods knows nothing of this one."""
    program = (
        "from meanfield.stepping import methods; assert 'finite_volumes' not in methods.known(); "
        "from meanfield import resume; "
        "print(methods.from_dict({'name': 'finite_volumes', 'courant': 0.3}))"
    )
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert made.stdout == "FiniteVolumes(courant=0.3)\n", made.stderr


BITS = {}  # of the first number of threads


def test_a_step_that_is_found_holds_too():
    """dt="auto" knows the rate of the risk; parts of a step take care of what moves fast."""
    end = mf.simulate(
        RELU, mf.limits.circle(32), FINITE_VOLUMES, dt="auto", t_end=1.0, progress=False
    )
    assert end.t == 1.0 and abs(end.mass.sum() - 1) < 1e-14


def test_two_inputs_without_bias_are_a_circle_too():
    """(x, 1) as two inputs with w on the circle is the network of one input with bias."""
    both = np.column_stack([X[:, 0], np.ones(12)])
    network = mf.Network("relu", trainable=("a", "w"))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, both, 3 * np.abs(X[:, 0])))
    one = march(flow, mf.limits.circle(24, bias=False), 0.5)
    other = march(RELU, mf.limits.circle(24), 0.5)
    np.testing.assert_allclose(one.mass, other.mass, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.a, other.a, rtol=1e-10)


def test_cells_in_float32_are_cells():
    """Centres are rounded to 6e-8 of their size, more than 1e-5 of a cell of a line or circle of 1000.
    At 1e6 they are .06 apart, two cells of 1/32: no cells are left.
    """
    for flow, start in (
        (linear(), mf.limits.line(-4, 4, 1000, bump, a=1.0)),
        (RELU, mf.limits.circle(1000, tilted)),
    ):
        single = mf.State(start.theta.astype(np.float32), mass=start.mass)
        x, rho = mf.limits.density(flow, single)
        wanted = mf.limits.density(flow, start)
        np.testing.assert_allclose(x, wanted.x, rtol=0, atol=5e-7)
        np.testing.assert_allclose(rho, wanted.density, rtol=1e-5)
    far = mf.limits.line(1e6, 1e6 + 1, 32, a=1.0).theta.astype(np.float32)
    with pytest.raises(ValueError, match="not the centres of cells"):
        mf.limits.density(linear(), mf.State(far))


LINE = mf.limits.line(-1, 1, 8, a=1.0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: mf.limits.line(1, -1, 8), "low < high must be finite numbers; got 1, -1"),
        (lambda: mf.limits.line(-1, 1, 2), "cells must be an integer >= 4; got 2"),
        (lambda: mf.limits.line(-1, 1, 8, lambda x: x), "must be finite and >= 0; at -0.97"),
        (lambda: mf.limits.line(-1, 1, 8, lambda x: 0 * x), "is 0 in every cell"),
        (lambda: mf.limits.line(-1, 1, 8, a=(1.0, 1.0)), "several different ones"),
        (lambda: mf.limits.circle(8, signs=(1.0, 2.0)), r"one circle of each sign; got \(1.0, 2.0\)"),
        (lambda: mf.limits.circle(8, radius=0.0), "radius must be a finite number > 0"),
        (lambda: mf.limits.FiniteVolumes(0.7), r"courant must be a number in \(0, 0.5\]"),
        (lambda: march(RELU, mf.InitialLaw(dim=1).sample(8)), "balanced, a² = "),
        (lambda: march(RELU, mf.State(mf.limits.circle(8).theta[::-2])), "not the centres of cells"),
        (lambda: march(linear(), mf.State(LINE.theta**3)), r"make the start with mf.limits.line"),
        (lambda: march(_flow("relu", mf.NTK), mf.limits.circle(8)), "that of γ = 1; the network has γ = 0.5"),
        (lambda: march(_flow("tanh"), mf.limits.circle(8)), "neurons that move in one dimension"),
        (lambda: march(_flow("linear", temperature=0.1), LINE), "draws no noise"),
        (lambda: march(mf.GradientFlow(mf.PairwiseEnergy(interaction=KINK)), mf.State(np.ones((8, 2)), 0)), "for one dimension"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_any_work(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def _flow(activation, scaling=mf.MEAN_FIELD, temperature=0.0):
    trainable = ("w",) if activation == "linear" else ("a", "w", "b")
    network = mf.Network(activation, scaling, trainable)
    return mf.GradientFlow(mf.EmpiricalRisk(network, X, X[:, 0]), temperature)
