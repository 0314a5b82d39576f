"""mf.Sphere: particles that stay on a sphere, against exact solutions of the flow along it."""

import math

import numpy as np
import pytest

import meanfield as mf
from meanfield.stepping import methods, reaction

X = np.random.default_rng(1).normal(size=(12, 2))
SMOOTH = mf.GradientFlow(
    mf.EmpiricalRisk(mf.Network("tanh", trainable=("a", "w")), X, np.sin(X[:, 0]))
)
START = mf.InitialLaw(dim=2, w="sphere").sample(30, seed=2)


def height(x):
    return -x[0]


def slope(x, out):
    out[0] = -1.0


def repulsion(x, y):
    total = 0.0
    for j in range(x.size):
        total += (x[j] - y[j]) * (x[j] - y[j])
    return 1.0 / total**0.5


def grad_repulsion(x, y, out):
    total = 0.0
    for j in range(x.size):
        total += (x[j] - y[j]) * (x[j] - y[j])
    for j in range(x.size):
        out[j] = -(x[j] - y[j]) / total**1.5


PULL = mf.PairwiseEnergy(potential=(height, slope))
COULOMB = mf.PairwiseEnergy(interaction=(repulsion, grad_repulsion), self_pairs=False)


def march(flow, start, method, dt, n_steps, *observers):
    return mf.simulate(
        flow, start, method, dt=dt, n_steps=n_steps, observers=observers, progress=False
    )


def points(m, p, seed=0):
    x = np.random.default_rng(seed).normal(size=(m, p))
    return mf.State(x / np.linalg.norm(x, axis=1, keepdims=True), outputs=0)


@pytest.mark.parametrize("method", [mf.EULER, mf.HEUN, mf.RK4], ids=lambda m: m.name)
def test_a_linear_potential_turns_points_as_tanh_and_the_method_keeps_its_order(method):
    """V = -x_1 on |x| = 1: x_1' = 1 - x_1², so x_1 = tanh(t + artanh x_1(0)); the others shrink
    together. Orders 1, 2, 4.
    """
    start, flow = points(6, 2), mf.GradientFlow(PULL)
    exact = np.tanh(1.0 + np.arctanh(start.theta[:, 0]))
    errors = []
    for n in (8, 16, 32):
        end = march(flow, start, mf.Sphere(method), 1.0 / n, n)
        errors.append(np.abs(end.theta[:, 0] - exact).max())
        assert np.abs(np.linalg.norm(end.theta, axis=1) - 1.0).max() < 4e-16
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(orders - method.order).max() < 0.3


@pytest.mark.kernel
def test_four_charges_end_as_a_tetrahedron():
    """Six edges of length √(8/3): Σ_{k<l} 1/|x_k - x_l| = 6/√(8/3), F = that times 1/m² = 1/16."""
    end = march(mf.GradientFlow(COULOMB), points(4, 3), mf.Sphere(mf.RK4), 0.2, 400)
    energy = mf.GradientFlow(COULOMB).energy(end)
    assert energy == pytest.approx(6.0 / math.sqrt(8.0 / 3.0) / 16.0, abs=1e-12)


def test_noise_is_brownian_motion_on_the_sphere():
    """Noise alone: E⟨x_t, x_0⟩ = e^(-(p-1)Tt), the first eigenvalue of the Laplacian.
    dt = 1/50 leaves a bias of order dt, T²dt (p-1)/2 = 2 %; the error of the mean is below m^(-½).
    """
    T, t, m = 1.0, 0.5, 40_000
    start = mf.State(np.tile([0.0, 1.0, 0.0, 0.0], (m, 1)))  # a = 0, so no neuron feels a force
    risk = mf.EmpiricalRisk(mf.Network("tanh", trainable=("w",)), X[:1], [0.0])
    flow = mf.GradientFlow(risk, temperature=T, seed=1)
    end = march(flow, start, mf.Sphere(mf.EULER_MARUYAMA), t / 50, 50)
    assert end.w[:, 0].mean() == pytest.approx(math.exp(-T * t), abs=0.02 + 4.5 * m**-0.5)


def test_a_network_keeps_the_length_of_w_and_F_loses_the_motion_along_the_sphere(h5_path):
    """d/dt F = -∫|Pv|² dμ; energy_defect of RK4 falls with dt⁴. a moves freely, b stays."""
    defects = []
    for n in (20, 40):
        defect = mf.Series("energy_defect", mf.evenly(2))
        end = march(SMOOTH, START, mf.Sphere(mf.RK4), 2.0 / n, n, defect)
        defects.append(defect.values[-1])
    assert np.abs(np.linalg.norm(end.w, axis=1) - 1.0).max() < 4e-16
    assert np.abs(end.a - START.a).max() > 0.01
    assert SMOOTH.energy(end) < SMOOTH.energy(START)
    assert np.log2(defects[0] / defects[1]) > 3.5
    assert defects[-1] < 1e-7


def test_for_a_homogeneous_network_the_minimum_is_no_higher():
    """ReLU, a trains: φ(a, w) = φ(a|w|, w/|w|), so what a run off the sphere ends at is a state on
    it of the same f.
    """
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu", trainable=("a", "w")), X, np.abs(X[:, 0]))
    )
    end = mf.simulate(flow, START, mf.RK4, dt=0.05, n_steps=200, progress=False)
    length = np.linalg.norm(end.w, axis=1, keepdims=True)
    moved = mf.State(np.hstack([end.a * length, end.w / length, end.b[:, None]]))
    np.testing.assert_allclose(flow.predict(moved), flow.predict(end), atol=1e-14)
    on = march(flow, moved, mf.Sphere(mf.RK4), 0.05, 100)
    assert flow.risk(on) < flow.risk(end)


def test_it_is_recorded_extended_and_made_again_from_its_file(tmp_path):
    recorders = [mf.Recorder(tmp_path / name, mf.every(5)) for name in ("parts.h5", "whole.h5")]
    sphere = mf.Sphere(mf.HEUN)
    march(SMOOTH, START, sphere, 0.125, 24, recorders[0])
    end = mf.resume(tmp_path / "parts.h5", t_end=6.0, progress=False)
    whole = march(SMOOTH, START, sphere, 0.125, 48, recorders[1])
    assert np.array_equal(end.theta, whole.theta)
    with mf.Trajectory(tmp_path / "whole.h5") as run:
        assert run.config["integrator"]["radius"] == 1.0
        assert {"energy_defect", "path", "speed2"} <= set(run.series_names)
        assert "balance_defect" not in run.series_names
    for method in (sphere, mf.Sphere(mf.EULER_MARUYAMA, radius=2.0)):
        assert methods.from_dict(methods.to_dict(method)) == method


@pytest.mark.parametrize(
    "copies", [{"jumps": True}, {"resample": 0.9}], ids=lambda c: next(iter(c))
)
def test_copies_stay_on_the_sphere_and_jitter_is_refused(copies):
    """Jitter after the projection would leave |w| = 1, by as much as the jitter."""
    flow = mf.GradientFlow(SMOOTH.functional, reaction=200.0, **copies)
    end = march(flow, START, mf.Sphere(), 0.05, 5)
    np.testing.assert_allclose(np.linalg.norm(end.w, axis=1), 1.0, rtol=1e-14)
    assert len(np.unique(end.w[:, 0])) < 30
    assert "projects" in reaction.of(mf.Sphere(), flow).traits
    shaken = mf.GradientFlow(SMOOTH.functional, reaction=200.0, jitter=0.1, **copies)
    with pytest.raises(ValueError, match=r"jitter 0.1, which moves copies off .* Leave jitter out"):
        march(shaken, START, mf.Sphere(), 0.05, 5)


def test_bits_do_not_depend_on_the_threads():
    import numba

    start, ends = mf.InitialLaw(dim=2, w="sphere").sample(2000, seed=2), []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        ends.append(march(SMOOTH, start, mf.Sphere(mf.RK4), 0.1, 5).theta)
    assert np.array_equal(*ends)


@pytest.mark.kernel
def test_dt_auto_and_single_precision_stay_on_the_sphere():
    flow = mf.GradientFlow(SMOOTH.functional, dtype="float32")
    end = mf.simulate(flow, START, mf.Sphere(mf.RK4), dt="auto", t_end=1.0, progress=False)
    assert np.abs(np.linalg.norm(end.w.astype(float), axis=1) - 1.0).max() < 2e-7


OFF = mf.InitialLaw(dim=2).sample(30, seed=2)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: mf.Sphere(mf.Adaptive()), TypeError, "method must be an mf.RungeKutta.*got 'adaptive'"),
        (lambda: mf.Sphere(mf.HeavyBall(1.0)), TypeError, "got 'heavy_ball'"),
        (lambda: mf.Sphere(radius=0.0), ValueError, "radius must be a finite number > 0"),
        (lambda: march(SMOOTH, OFF, mf.Sphere(), 0.1, 2), ValueError, r'InitialLaw\(w="sphere", w_std=1\)'),
        (
            lambda: march(
                mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", trainable=("a",)), X, X[:, 0])),
                START, mf.Sphere(), 0.1, 2,
            ),
            ValueError,
            'the network does not train "w"',
        ),
        (
            lambda: march(mf.GradientFlow(SMOOTH.functional, 0.1), START, mf.Sphere(), 0.1, 2),
            ValueError,
            r"draws no noise: use mf.EULER_MARUYAMA",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
