"""The relative scale κ against dense derivatives and published values; the gap to the linearised
run against its bound.
"""

import math
import signal

import numpy as np
import pytest
from diagnosed import problem, record

import meanfield as mf
import ntk
from meanfield.formulas import activations
from ntk.finite import curvature
from ntk.runs.laziness import Laziness, scale


def dense_derivatives(network, state, x):
    """Twin of ntk.curvature by differences of the scalar formulas: J (n K, P) and ∇²f (n K, P, P)
    in √p_k θ_k.
    """
    sigma, K, s = network.sigma, state.outputs, network.scaling.output_scale(state.m)
    columns = np.flatnonzero(network.trainable_columns(state.dim, K))
    m, P = state.m, len(columns)
    J, hessian = np.zeros((len(x) * K, m * P)), np.zeros((len(x) * K, m * P, m * P))
    for k, i in np.ndindex(m, len(x)):
        theta, xt = state.theta[k], np.append(x[i], 1.0)
        z = theta[K:] @ xt
        h = 1e-4
        first, second = sigma.slope(z), (sigma.slope(z + h) - sigma.slope(z - h)) / (2 * h)
        for c in range(K):
            g, H = np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
            g[c], g[K:] = sigma.value(z), theta[c] * first * xt
            H[c, K:] = H[K:, c] = first * xt
            H[K:, K:] = theta[c] * second * np.outer(xt, xt)
            block = slice(k * P, (k + 1) * P)
            J[i * K + c, block] = s * math.sqrt(state.mass[k]) * g[columns]
            hessian[i * K + c, block, block] = s * H[np.ix_(columns, columns)]
    return J, hessian


def largest_over_many_starts(hessian, rng, starts=200):
    """sup |∇²f[v, v]| by the same alternation on the dense array, from many random starts."""
    best = 0.0
    for _ in range(starts):
        v = rng.normal(size=hessian.shape[1])
        for _ in range(60):
            g = np.einsum("ipq,p,q->i", hessian, v, v)
            A = np.einsum("i,ipq->pq", g / max(np.linalg.norm(g), 1e-300), hessian)
            values, vectors = np.linalg.eigh(A)
            v = vectors[:, np.abs(values).argmax()]
        best = max(best, float(np.linalg.norm(np.einsum("ipq,p,q->i", hessian, v, v))))
    return best


@pytest.mark.parametrize("alpha", [1.0, 10.0, 100.0])
def test_the_relative_scale_of_the_one_parameter_toy(alpha):
    """TRUTHS.md, section 4: f_w = 1.7028143741, f_ww = 5.5052303148, κ = 1.8986323553 |y|/α, f(.4)
    = 0; to the digits given.
    """
    x, w, y = 1.5, 0.4, 1.0
    g = w * x + w**2 * x + math.sin(math.exp(0.1 * w))
    g_w = x + 2 * w * x + 0.1 * math.exp(0.1 * w) * math.cos(math.exp(0.1 * w))
    f, f_w, f_ww = g * (w - 0.4), g, 2 * g_w  # the factor w - .4 vanishes
    assert (f_w, f_ww) == pytest.approx((1.7028143741, 5.5052303148), abs=1e-10)
    assert scale(alpha * f - y, alpha * f_w, alpha * f_ww) == pytest.approx(
        1.8986323553 / alpha, rel=1e-10
    )


@pytest.mark.parametrize("trainable", [("a", "w", "b"), ("a", "w"), ("w", "b"), ("w",)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_norms_are_those_of_the_dense_derivatives(rng, trainable, outputs):
    """tanh, unequal masses. Differences of σ' err by 1e-8 in the twin; alternation may stop 1e-6
    short of a maximum.
    """
    mass = rng.uniform(0.5, 1.5, 4)
    state = mf.State(rng.normal(size=(4, outputs + 3)), outputs=outputs, mass=mass / mass.sum())
    network = mf.Network("tanh", scaling=mf.Scaling(0.7, 2.0), trainable=trainable)
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, outputs))
    J, hessian = dense_derivatives(network, state, x)
    found = ntk.relative_scale(network, state, x, y)
    f = mf.GradientFlow(mf.EmpiricalRisk(network, x, y)).predict(state)
    assert found.residual == pytest.approx(np.linalg.norm(f - y), rel=1e-12)
    assert found.jacobian == pytest.approx(np.linalg.norm(J, 2), rel=1e-7)
    assert found.hessian == pytest.approx(largest_over_many_starts(hessian, rng), rel=1e-5)
    assert found.kappa == pytest.approx(found.residual * found.hessian / found.jacobian**2)
    assert found.kappa <= found.upper


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_upper_bound_is_reached_by_one_sample_and_by_relu(rng, activation):
    """n = 1: ∇²φ lives on the plane of a and ⟨w, x̃⟩. relu: no σ'', so ∇²φ is diag(σ') X̃ off the
    diagonal.
    """
    x = rng.normal(size=(1 if activation == "tanh" else 6, 3))
    state = mf.InitialLaw(dim=3, a="normal", b_std=0.5).sample(50, seed=1)
    lower, upper = curvature.hessian_norm(mf.Network(activation), state, x)
    assert lower == pytest.approx(upper, rel=1e-6)


def test_second_derivatives_by_differences_look_away_from_kinks():
    """σ'' of relu and leaky_relu is 0 beside the kink too; of the smooth ones to 1e-9."""
    z = np.array([[-1.0, -1e-7, 0.0, 1e-7, 1.0]])
    for name in ("relu", "leaky_relu"):
        assert not curvature._second_derivative(activations.get(name), z).any()
    exact = -2 * np.tanh(z) / np.cosh(z) ** 2
    assert np.abs(curvature._second_derivative(activations.get("tanh"), z) - exact).max() < 1e-9
    assert np.abs(curvature._second_derivative(activations.get("square"), z) - 2.0).max() < 1e-9


def test_kappa_falls_as_one_over_alpha_and_as_one_over_root_m_in_the_ntk_scaling():
    """Symmetric start, f_0 = 0: 1/α exactly. The largest of m Gaussian a makes it m^(-1/2)
    log^(1/2) m: slope in (-.5, -.35).
    """
    x = np.linspace(-1, 1, 8)[:, None]
    y = np.cos(3 * x[:, 0])
    law = mf.InitialLaw(dim=1, a="normal", b_std=1.0, symmetric=True)
    state = law.sample(100, seed=0)
    one, ten = (
        ntk.relative_scale(mf.Network("tanh", mf.Scaling(0.5, alpha)), state, x, y).kappa
        for alpha in (1.0, 10.0)
    )
    assert ten == pytest.approx(one / 10, rel=1e-6)
    widths = [64, 256, 1024, 4096]
    network = mf.Network("tanh", mf.NTK)
    kappa = [
        np.mean([ntk.relative_scale(network, law.sample(m, seed), x, y).kappa for seed in range(8)])
        for m in widths
    ]
    assert -0.52 < np.polyfit(np.log(widths), np.log(kappa), 1)[0] < -0.3


def test_kappa_of_a_one_hidden_layer_tanh_net_without_prefactor_falls_as_one_over_m():
    """TRUTHS.md, section 4: f = Σ_k b_k tanh(w_k x), b ~ N(0, 1/m), is γ = 0 with a_std = m^(-1/2).

    ‖∇f‖² = Σ_k (tanh² + …) ~ m, ‖∇²f‖ = O(1). |f_0 - y| scatters by a third, over 40 seeds by 5 %:
    slope ± .07 / log 64.
    """
    widths, x, y = [64, 256, 1024, 4096], np.ones((1, 1)), np.array([2.0])
    network = mf.Network("tanh", mf.Scaling(0.0), trainable=("a", "w"))
    kappa = [
        np.mean(
            [
                ntk.relative_scale(
                    network, mf.InitialLaw(dim=1, a="normal", a_std=m**-0.5).sample(m, seed), x, y
                ).kappa
                for seed in range(40)
            ]
        )
        for m in widths
    ]
    assert np.polyfit(np.log(widths), np.log(kappa), 1)[0] == pytest.approx(-1.0, abs=0.05)


def recorded(
    path,
    gamma,
    activation="tanh",
    reduction="mean",
    t_end=20.0,
    outputs=1,
    frames=40,
    m=400,
    **options,
):
    x = np.linspace(-1, 1, 10)[:, None]
    y = np.stack([np.sin(3 * x[:, 0] + c) for c in range(outputs)], axis=1)
    network = mf.Network(activation, scaling=mf.Scaling(gamma))
    state = mf.InitialLaw(dim=1, outputs=outputs, b_std=1.0, symmetric=True).sample(m, seed=0)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, y, reduction=reduction, **options))
    observers = [mf.Recorder(path, mf.evenly(frames))]
    mf.simulate(flow, state, mf.RK4, dt="auto", t_end=t_end, observers=observers, progress=False)
    return path


@pytest.mark.parametrize(
    ("gamma", "activation", "reduction", "outputs"),
    [
        (0.5, "tanh", "mean", 1),
        (0.75, "relu", "mean", 1),
        (1.0, "erf", "mean", 2),
        (1.0, "tanh", "sum", 1),
    ],
)
def test_the_bound_lies_above_the_measured_gap(h5_path, gamma, activation, reduction, outputs):
    """Grönwall, mode by mode, and what the frames and the run's own steps miss of it: 1e-12 is
    rounding.
    """
    path = recorded(
        h5_path, gamma, activation, reduction, 20.0 if reduction == "mean" else 2.0, outputs
    )
    found = ntk.laziness(path)
    assert np.all(found.gap <= found.bound + 1e-12 * found.start)
    assert found.gap[0] < 1e-12 and found.bound[0] < 1e-12 and found.drift[0] == 0
    # the triangle inequality under the integral loses little here: the bound is of the gap's size
    assert found.bound.max() < 5 * found.gap.max() + 1e-3 * found.start


def test_the_verdict_tells_the_lazy_run_from_the_rich_one(tmp_path):
    lazy = ntk.laziness(recorded(tmp_path / "lazy.h5", 0.5, m=4000))
    rich = ntk.laziness(mf.Trajectory(recorded(tmp_path / "rich.h5", 1.0, t_end=200.0)))
    assert lazy.regime == "lazy" and rich.regime == "rich"
    assert (
        lazy.verdict.startswith("Lazy, certified by the bound: sup |f - f_lin| is ")
        and "kernel drift" in lazy.verdict
    )
    assert rich.verdict.startswith("Rich: ") and "kappa = " in rich.verdict
    assert lazy.kappa.kappa < 0.2 < rich.kappa.kappa


def student(
    path,
    gamma,
    schedule,
    activation="relu",
    t_end=200.0,
    dt=0.05,
    method=mf.RK4,
    watch=(),
    **options,
):
    """Of three neurons in two dimensions: 300 relu neurons to t = 200, or something near it."""
    data = mf.data.teacher_student(20, 2)
    network = mf.Network(
        activation, scaling=mf.Scaling(gamma), trainable=options.pop("trainable", ("a", "w", "b"))
    )
    start = mf.InitialLaw(dim=2, b_std=1.0, symmetric=True).sample(options.pop("m", 300), seed=0)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y), **options)
    observers = [mf.Recorder(path, schedule, exists="replace"), *watch]
    mf.simulate(flow, start, method, dt=dt, t_end=t_end, observers=observers, progress=False)
    return path


@pytest.mark.parametrize(
    ("gamma", "count"),
    [(0.5, 3), (0.5, 8), (0.5, 20), (0.5, 100), (1.0, 3), (1.0, 8), (1.0, 20), (1.0, 100)],
)
def test_nothing_is_certified_where_even_frames_miss_the_start(h5_path, gamma, count):
    """H_t moves, and f_t with it, in the first few units of time: evenly(100) has two frames there.

    The integral from such frames alone lies below the gap; what they miss is measured, so that the
    bound does not.
    """
    found = ntk.laziness(student(h5_path, gamma, mf.evenly(count)))
    integral = found.bound - found.resolution
    assert (integral < found.gap).any() and np.all(found.gap <= found.bound + 1e-12 * found.start)
    assert not found.resolved and not found.certified
    text = str(found)
    assert "certified" not in text and "(bound" not in text and f"at its {count} frames" in text
    assert f"the frames are too few for one; record mf.log_spaced({max(50, count)}) frames" in text


@pytest.mark.parametrize(("gamma", "largest"), [(0.5, 0.005451), (1.0, 0.27148)])
@pytest.mark.parametrize(
    "schedule", [mf.evenly(400), mf.log_spaced(30), mf.log_spaced(50)], ids=str
)
def test_what_the_advice_records_is_resolved_and_the_bound_holds_between_frames_too(
    h5_path, gamma, largest, schedule
):
    """largest: sup |f - f_lin|/|f_0 - y| over every step of the run, 4001 frames. A unit in its
    last digit is 2e-4 of it.
    """
    found = ntk.laziness(student(h5_path, gamma, schedule))
    assert found.resolved and "No bound" not in found.verdict
    assert 1.0002 * found.bound.max() >= largest * found.start
    assert (
        found.certified
        == (gamma == 0.5)
        == found.verdict.startswith("Lazy, certified by the bound: ")
    )


@pytest.mark.parametrize("count", [8, 20, 100])
def test_the_first_example_of_the_readme_is_never_certified_and_rich_by_its_drift_alone(
    h5_path, count
):
    """relu on |x|, γ = 1, m = 1000, t = 200, dt = "auto": gap .06, below even the threshold of
    lazy; drift .86.
    """
    x = np.linspace(-1, 1, 64)[:, None]
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu", scaling=mf.MEAN_FIELD), x, np.abs(x[:, 0]))
    )
    start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(1000, seed=0)
    recorder = mf.Recorder(h5_path, mf.evenly(count))
    mf.simulate(flow, start, mf.RK4, dt="auto", t_end=200, observers=[recorder], progress=False)
    found = ntk.laziness(h5_path)
    assert (
        np.all(found.gap <= found.bound + 1e-12 * found.start) and "certified" not in found.verdict
    )
    assert ("(bound" in found.verdict) == found.resolved == ("too few" not in found.verdict)
    assert found.verdict.startswith("Rich: sup |f - f_lin| is 0.06")
    assert "on the training inputs, kernel drift" in found.verdict
    # both have less than 4 % of |f_0 - y| left: two fits of the same labels
    assert found.gap[-1] < 0.05 * found.start and "Both fit the labels at the end" in found.note
    assert (
        "the drift alone, above 0.5, makes it rich: features move, and yet the linearised "
        "network describes f closely"
        in found.verdict
        and "on the training inputs f hardly needs their motion" in found.verdict
    )


def test_an_unfinished_run_is_not_certified_either(h5_path):
    def stop(flow, state):
        if state.t > 60:
            signal.raise_signal(signal.SIGINT)
        return 0.0

    with pytest.raises(mf.Interrupted):
        student(h5_path, 0.5, mf.evenly(100), watch=[mf.Series("stop", mf.every(100), stop)])
    found = ntk.laziness(h5_path)
    assert 3 < len(found.times) < 40 and np.all(found.gap <= found.bound + 1e-12 * found.start)
    assert not found.resolved and "too few for one; record mf.log_spaced(50)" in found.verdict


@pytest.mark.parametrize("count", [8, 20, 100])
def test_even_frames_that_miss_what_the_steps_do_at_the_start_certify_nothing(h5_path, count):
    """Euler's steps make a gap of .027 of |f_0 - y| at t < 2, and forget it; the kernel hardly
    moves.
    """
    found = ntk.laziness(
        student(h5_path, 0.5, mf.evenly(count), "tanh", m=4000, dt="auto", method=mf.EULER)
    )
    assert np.all(found.gap <= found.bound + 1e-12 * found.start)
    assert not found.certified and "too few for one; record mf.log_spaced(" in found.verdict


@pytest.mark.parametrize(
    "settings",
    [
        {"method": mf.EULER, "dt": "auto"},
        {"trainable": ("a",)},
        {"dtype": "float32"},
        {"method": mf.Adaptive(), "dt": None},
    ],
    ids=str,
)
def test_what_the_steps_of_a_lazy_run_do_is_not_blamed_on_its_frames(h5_path, settings):
    """Euler's steps make a gap many times the kernel's; a kernel that cannot move leaves nothing
    else.
    """
    found = ntk.laziness(
        student(h5_path, 0.5, mf.log_spaced(50), "tanh", 20.0, m=4000, **{"dt": 0.2, **settings})
    )
    assert found.certified and np.all(found.gap <= found.bound + 1e-12 * found.start)


CLOSELY, ROUGHLY = (
    "the linearised network describes f closely",
    "the linearised network describes f roughly",
)
NOT = "the linearised network does not describe f"


@pytest.mark.parametrize(
    ("gap", "drift", "regime", "said"),
    [
        (0.05, 0.05, "lazy", f"both are below 0.1: {CLOSELY}"),
        (
            0.05,
            0.3,
            "intermediate",
            f"the drift alone, not below 0.1, makes it intermediate: {CLOSELY}",
        ),
        (0.2, 0.3, "intermediate", f"both, not below 0.1, make it intermediate: {ROUGHLY}"),
        (0.7, 0.3, "rich", f"the gap alone, above 0.5, makes it rich: {NOT}"),
        (
            0.06,
            0.9,
            "rich",
            f"the drift alone, above 0.5, makes it rich: features move, and yet {CLOSELY}: on the "
            "training inputs f hardly needs their motion, on others it may (linearise(…).gap)",
        ),
        (
            0.2,
            0.9,
            "rich",
            f"the drift alone, above 0.5, makes it rich: features move, and {ROUGHLY} (",
        ),
        (0.7, 0.9, "rich", f"both, above 0.5, make it rich: features move, and {NOT}"),
    ],
)
def test_the_verdict_says_which_quantity_made_the_regime(gap, drift, regime, said):
    times, zero = np.array([0.0, 1.0, 2.0]), np.zeros(3)
    values = [np.array([0.0, 0.0, 2.0 * value]) for value in (gap, gap + 0.01, 0.0)]
    found = Laziness(times, *values, zero + drift, True, 2.0, None, "")
    assert found.regime == regime and said in found.verdict
    assert found.verdict.startswith(
        f"{regime.capitalize()}{', certified by the bound' * found.certified}: sup |f - "
        f"f_lin| is {gap:g}"
    )
    assert (
        found.certified == (regime == "lazy")
        and "< 0.1" in ntk.laziness.__doc__
        and "> 0.5" in ntk.laziness.__doc__
    )


def test_the_gap_is_that_of_the_linearised_network_run_by_the_engine(h5_path):
    """f_lin by KernelFlow with H_0 and by RK4 on ntk.linearise: the same to RK4's error."""
    path = recorded(h5_path, 1.0)
    with mf.Trajectory(path) as run:
        network, data, end = run.network, run.data, run[-1]
        start = run[0]
    linear = mf.GradientFlow(ntk.linearise(network, start).risk(data.x, data.y))
    last = mf.simulate(linear, start, mf.RK4, dt="auto", t_end=end.t, progress=False)
    f = mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y)).predict(end)
    gap = np.sqrt(np.mean(np.square(f - linear.predict(last))))
    assert ntk.laziness(path).gap[-1] == pytest.approx(gap, rel=1e-4)


def test_without_a_hessian_there_is_no_kappa_and_a_note_says_why(h5_path):
    network = mf.Network("relu", scaling=mf.NTK, trainable=("w",))
    x = np.eye(3)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.ones(3)))
    state = mf.InitialLaw(dim=3).sample(50, seed=0)
    mf.simulate(
        flow,
        state,
        mf.RK4,
        dt="auto",
        t_end=5.0,
        observers=[mf.Recorder(h5_path, mf.evenly(5))],
        progress=False,
    )
    found = ntk.laziness(h5_path)
    assert (
        found.kappa is None
        and "jumps" in found.note
        and "No kappa" in str(found)
        and "kappa =" not in found.verdict
    )
    # linear in a
    assert (
        ntk.relative_scale(mf.Network("relu", trainable=("a",)), state, x, np.ones(3)).kappa == 0.0
    )


def test_runs_that_the_theory_is_not_about_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"ridge 0.1; the bound is for the squared loss without ridge"
    ):
        ntk.laziness(recorded(tmp_path / "ridge.h5", 1.0, ridge=0.1))
    with pytest.raises(ValueError, match=r"has loss 'huber'"):
        ntk.laziness(recorded(tmp_path / "huber.h5", 1.0, loss="huber"))
    with pytest.raises(
        ValueError,
        match=r"frame\(s\); record three at least, as with mf.Recorder\(path, mf.log_spaced",
    ):
        ntk.laziness(recorded(tmp_path / "short.h5", 1.0, frames=2))
    with pytest.raises(TypeError, match="needs an mf.Network and an mf.State"):
        ntk.relative_scale(mf.Network(), np.ones((3, 3)), np.ones((1, 1)), np.ones(1))
    with pytest.raises(ValueError, match="nothing to train"):
        state = mf.InitialLaw(dim=1).sample(4)
        ntk.relative_scale(mf.Network(trainable=()), state, np.ones((1, 1)), np.ones(1))


def test_a_float32_run_is_measured_in_float64(h5_path):
    """Its own rounding is in the gap, and in the bound."""
    x = np.linspace(-1, 1, 6)[:, None]
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("erf"), x, np.cos(x[:, 0])), dtype="float32")
    state = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(64, seed=0)
    mf.simulate(
        flow,
        state,
        mf.RK4,
        dt="auto",
        t_end=5.0,
        observers=[mf.Recorder(h5_path, mf.evenly(20))],
        progress=False,
    )
    found = ntk.laziness(h5_path)
    assert np.all(found.gap <= found.bound + 1e-12 * found.start) and found.gap.max() > 1e-3


def test_a_run_that_starts_at_its_labels_is_refused(h5_path):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), np.ones((1, 1)), np.zeros(1)))
    state = mf.InitialLaw(dim=1, symmetric=True).sample(4, seed=0)
    mf.simulate(
        flow,
        state,
        mf.RK4,
        dt=0.1,
        t_end=1.0,
        observers=[mf.Recorder(h5_path, mf.evenly(5))],
        progress=False,
    )
    with pytest.raises(ValueError, match="starts with f_0 = y"):
        ntk.laziness(h5_path)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_diagnostic_laziness_ends_at_the_larger_of_gap_and_drift_that_ntk_laziness_goes_by(
    tmp_path, gamma
):
    """sup max(|f - f_lin|/|f_0 - y|, ‖H_t - H_0‖/‖H_0‖) over the frames. The same float64 formulas:
    to 1e-12.
    """
    path = record(tmp_path / "run.h5", problem("real", "tanh", gamma=gamma))
    found, known = mf.diagnose(path, ["laziness", "departure"], progress=False), ntk.laziness(path)
    largest = np.maximum(known.gap / known.start, known.drift)
    np.testing.assert_allclose(found["departure"].values, largest, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        found["laziness"].values, np.maximum.accumulate(largest), rtol=1e-12, atol=1e-15
    )
    assert found["laziness"].values[-1] == pytest.approx(
        max(known.gap.max() / known.start, known.drift.max()), rel=1e-12
    )


def test_laziness_is_not_measured_where_f_lin_has_no_closed_form(tmp_path):
    path = record(tmp_path / "run.h5", problem("signs"))
    with pytest.raises(
        ValueError, match="squared loss without ridge; the run has loss 'logistic' and ridge 0"
    ):
        mf.diagnose(path, ["laziness"], progress=False)
