"""Scaling laws and laws of every run. TRUTHS.md, section 2; THEORY.md, section 2; and one published
experiment, section 5.
"""

import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf

WIDTHS = (256, 1024, 4096, 16384)
SEEDS = range(4)


def data(n=16, d=3):
    """Unit vectors and a smooth target of order 1."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]


@pytest.mark.parametrize(("gamma", "alpha"), [(0.5, 1.0), (0.75, 1.0), (1.0, 1.0), (0.5, 4.0)])
def test_neurons_travel_as_m_to_the_gamma_minus_one_over_alpha(gamma, alpha):
    """RMS displacement ~ 1/s at fixed flow time, data and symmetric start: slope γ - 1 within .03
    (TRUTHS.md, section 2). The mean over 4 seeds of a width m scatters by about 1/√(4m), 3 % at
    256, which moves the slope over a factor 64 by .01.
    """
    x, y = data()
    network = mf.Network("relu", scaling=mf.Scaling(gamma, alpha))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, y))
    law = mf.InitialLaw(dim=3, b_std=1.0, symmetric=True)
    lengths = []
    for m in WIDTHS:
        starts = [law.sample(m, seed=seed) for seed in SEEDS]
        ends = [
            mf.simulate(flow, start, mf.HEUN, dt=0.1, t_end=2.0, progress=False) for start in starts
        ]
        lengths.append(
            np.mean([mf.displacement(start, end) for start, end in zip(starts, ends, strict=True)])
        )
    slope = np.polyfit(np.log(WIDTHS), np.log(lengths), 1)[0]
    assert slope == pytest.approx(gamma - 1, abs=0.03)
    # four times α: a quarter of the way, up to the non-linear part, of relative order 1/s < 1/16 ·
    # 1/4
    if alpha != 1.0:
        plain = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu", scaling=mf.NTK), x, y))
        end = mf.simulate(plain, starts[-1], mf.HEUN, dt=0.1, t_end=2.0, progress=False)
        assert mf.displacement(starts[-1], end) == pytest.approx(
            alpha * mf.displacement(starts[-1], ends[-1]), rel=0.02
        )


@pytest.mark.parametrize(
    ("gamma", "alpha", "m"), [(0.5, 1.0, 64), (0.5, 3.0, 16), (0.75, 1.0, 64), (1.0, 2.0, 128)]
)
def test_the_initial_prediction_has_variance_alpha_squared_m_to_the_one_minus_two_gamma_over_two(
    gamma, alpha, m
):
    """a, w ~ N(0, 1), unit x, ReLU, no bias: E f_0² = α² m^{1-2γ}/2 exactly (E σ(z)² = 1/2). The
    mean square of N = 1000 networks scatters by √((2 + κ)/N), κ = 15/m the excess kurtosis of a sum
    of m terms with E φ⁴/(E φ²)² = 18: 4 standard errors.
    """
    N = 1000
    network = mf.Network("relu", scaling=mf.Scaling(gamma, alpha))
    x = np.array([[0.6, 0.0, 0.8]])
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.zeros(1)))
    law = mf.InitialLaw(dim=3, a="normal")
    f = np.array([flow.predict(law.sample(m, seed=seed))[0, 0] for seed in range(N)])
    variance = alpha**2 * m ** (1 - 2 * gamma) / 2
    assert abs(np.mean(f**2) / variance - 1) <= 4 * np.sqrt((2 + 15 / m) / N)
    assert abs(np.mean(f)) <= 4 * np.sqrt(variance / N)


@pytest.mark.parametrize("activation", sweep(["relu", "tanh", "gelu"], "relu", "tanh"))
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_length_bounds_displacement_bounds_w2(activation, gamma):
    """W2(μ_0, μ_t) <= RMS displacement <= path length, up to 1e-9 for the rounding of the transport
    plan.
    """
    x, y = data()
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation, scaling=mf.Scaling(gamma)), x, y)
    )
    start = mf.InitialLaw(dim=3, b_std=1.0).sample(100, seed=1)
    path, displacement = (mf.Series(name, mf.evenly(5)) for name in ("path", "displacement"))
    middles = []
    keep = mf.Series(
        "w2", mf.evenly(5), lambda flow, state: middles.append(state) or mf.w2(start, state)
    )
    end = mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=0.05,
        t_end=3.0,
        observers=[path, displacement, keep],
        progress=False,
    )
    for i, state in enumerate(middles):
        assert keep.values[i] <= displacement.values[i] * (1 + 1e-9) + 1e-12
        assert displacement.values[i] <= path.values[i] * (1 + 1e-9)
        assert displacement.values[i] == pytest.approx(
            mf.displacement(start, state), rel=1e-12, abs=1e-15
        )
    assert 0.01 < displacement.values[-1] == pytest.approx(mf.displacement(start, end), rel=1e-12)
    assert np.all(np.diff(path.values) > 0)


def rk4_defect(z):
    """|1 - dissipated/fall| of one RK4 step on θ' = -λθ, F = λθ²/2, λ dt = z, k_i the stage
    velocities over -λ.
    """
    k = np.array([1.0, 1 - z / 2, 1 - z / 2 + z**2 / 4, 1 - z + z**2 / 2 - z**3 / 4])
    growth = 1 - z + z**2 / 2 - z**3 / 6 + z**4 / 24
    return abs(1 - 2 * z * np.array([1, 2, 2, 1]) / 6 @ k**2 / (1 - growth**2))


@pytest.mark.parametrize("scaling", [mf.MEAN_FIELD, mf.NTK, mf.Scaling(gamma=0.75, alpha=5.0)])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_energy_is_dissipated_at_the_rate_of_the_squared_speed(scaling, ridge):
    """F(0) - F(t) = ∫∫|v|² dμ dt (THEORY.md, section 2), RK4 on a smooth activation, F never rising
    on the way. The defect is at most that of the scalar θ' = -λθ at the stiffest mode: λ dt = 0.278
    at the automatic step, more as the kernel grows.
    """
    x, y = data()
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", scaling=scaling), x, y, ridge=ridge))
    start = mf.InitialLaw(dim=3, b_std=1.0).sample(200, seed=1)
    energy, defect = mf.Series("energy", mf.every(1)), mf.Series("energy_defect", mf.every(1))
    end = mf.simulate(
        flow, start, mf.RK4, dt="auto", t_end=5.0, observers=[energy, defect], progress=False
    )
    fields = [flow.on_device(state) for state in (start, end)]
    top = [
        f.tangent_eigenvalue(mf.Particles.of(s, f.backend))
        for f, s in zip(fields, (start, end), strict=True)
    ]
    assert max(defect.values[1:]) < rk4_defect(0.278 * max(1.0, top[1] / top[0]))
    assert np.all(np.diff(energy.values) < 0)
    # The rate itself: a difference quotient over one step, of relative error dt λ.
    v2 = (flow.velocity(end) ** 2).sum(axis=1).mean()
    later = mf.simulate(flow, end, mf.RK4, dt=1e-4, n_steps=1, progress=False)
    assert (flow.energy(end) - flow.energy(later)) / 1e-4 == pytest.approx(v2, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("tau", "mean", "scatter"), [(0.01, 0.073, 0.018), (1.0, 3.21, 0.58)])
def test_small_initial_weights_generalise_and_large_ones_do_not(tau, mean, scatter):
    """Chizat, Oyallon and Bach (2019), figure 1c, from its recipe (TRUTHS.md, section 5): test loss
    × 1000 after 1e4 steps of gradient descent, mean of 5 trials. Two means of 5 trials each differ
    by less than 3 standard errors, 3 √(2/5) scatter.
    """
    d, n, m, steps, trials = 100, 1000, 50, 10_000, 5
    scaling = mf.Scaling(gamma=0.0)  # f = Σ_k a_k σ(⟨w_k, x⟩)
    dt = scaling.flow_time(min(10.0, 0.1 / tau**2), 1, m)
    losses = []
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        teachers, signs = rng.normal(size=(3, d)), rng.choice([-1.0, 1.0], 3)
        teachers /= np.linalg.norm(teachers, axis=1, keepdims=True)
        x = rng.normal(size=(2 * n, d))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        y = np.maximum(x @ teachers.T, 0.0) @ signs
        flow = mf.GradientFlow(
            mf.EmpiricalRisk(
                mf.Network("relu", scaling=scaling, trainable=("a", "w")), x[:n], y[:n]
            )
        )
        law = mf.InitialLaw(dim=d, a="normal", a_std=tau, w_std=tau, symmetric=True)
        end = mf.simulate(
            flow, law.sample(m, seed=trial), mf.EULER, dt=dt, n_steps=steps, progress=False
        )
        losses.append(1000 * 0.5 * np.mean((flow.predict(end, x[n:])[:, 0] - y[n:]) ** 2))
    assert np.mean(losses) == pytest.approx(mean, abs=3 * np.sqrt(2 / trials) * scatter)
