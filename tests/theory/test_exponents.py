"""Exponents of the width by fit_exponent, held to theory. TRUTHS.md, section 2; derivations:
sims/lab/exponents.py.
"""

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import fit_exponent

WIDTHS = (256, 1024, 4096, 16384)


def data(n=16, d=3, seed=5):
    """Unit vectors and a smooth target of order 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]


def study(activation, gamma, widths, seeds, kernels=True, n=16):
    """Displacement, kernel drift and |f - f_lin| on test points of runs from symmetric starts:
    (seeds, widths) each.
    """
    x, y = data(n)
    x_test = data(n=50, seed=6)[0]
    network = mf.Network(activation, scaling=mf.Scaling(gamma))
    risk = mf.EmpiricalRisk(network, x, y)
    flow, law = mf.GradientFlow(risk), mf.InitialLaw(dim=3, symmetric=True)
    found = []
    for seed in range(seeds):
        for m in widths:
            start = law.sample(m, seed=seed)
            end = mf.simulate(flow, start, mf.RK4, dt=0.1, t_end=2.0, progress=False)
            found.append([mf.displacement(start, end), 0.0, 0.0])
            if kernels:
                gap = ntk.linearise(network, start).gap(risk, x_test)(flow, end)
                found[-1][1:] = mf.tangent.drift(network, start, end, x), gap
    return np.array(found).reshape(seeds, len(widths), 3).transpose(2, 0, 1)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("gamma", [1 / 2, 2 / 3, 3 / 4, 1.0])
def test_displacement_is_m_to_the_gamma_minus_one(gamma, activation):
    """Slope within .03 over widths 256 … 16384, 4 seeds, symmetric start, fixed flow time
    (TRUTHS.md, section 2), and of no significant curvature: p > .001.
    """
    fit = fit_exponent(WIDTHS, study(activation, gamma, WIDTHS, 4, kernels=False)[0])
    assert fit.slope == pytest.approx(gamma - 1, abs=0.03), str(fit)
    assert fit.error < 0.01 and fit.curvature_p > 1e-3, str(fit)


@pytest.mark.parametrize("gamma", [1 / 2, 3 / 4, 1.0])
def test_kernel_and_linearisation_of_smooth_networks_change_in_second_order(gamma):
    """From a symmetric start odd orders cancel: slope 2(γ - 1) for kernel drift and |f - f_lin|,
    within .03 and the fit's own 95 % error, over 256 … 4096. At γ = 1/2 the first order would give
    -1/2.
    """
    _, drift, gap = study("tanh", gamma, WIDTHS[:3], 6)
    for values in (drift, gap):
        fit = fit_exponent(WIDTHS[:3], values)
        assert fit.agrees(2 * (gamma - 1), tolerance=0.03), str(fit)
        assert fit.error < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [1 / 2, 0.55])
def test_kinks_crossed_at_random_rule_the_kernel_of_lazy_relu_networks(gamma):
    """m^(γ/2 - 1) wins over m^(2(γ - 1)) for γ < 2/3: kernel drift and |f - f_lin| have the slope
    of the former, within .03 and the fit's own error, and clearly not the latter's; 12 seeds over
    256 … 16384, m^γ <= 208 << n² = 4096.
    """
    _, drift, gap = study("relu", gamma, WIDTHS, 12, n=64)
    for values in (drift, gap):
        fit = fit_exponent(WIDTHS, values)
        assert fit.agrees(gamma / 2 - 1, tolerance=0.03), str(fit)
        assert not fit.agrees(2 * (gamma - 1), tolerance=0.03), str(fit)


@pytest.mark.slow
def test_few_samples_change_the_kernel_of_a_relu_network_in_first_order():
    """m^γ >> n²: at γ = 1/2, n = 4 from m = 1024 on, a sample's own share of the velocity biases
    who crosses its kink, and the drift is O(ε/n): slope γ - 1 = -1/2, where random crossings alone
    would give -3/4.
    """
    widths = (1024, 4096, 16384)
    fit = fit_exponent(widths, study("relu", 0.5, widths, 16, n=4)[1])
    assert fit.agrees(-0.5, tolerance=0.03) and fit.slope > -0.65, str(fit)


@pytest.mark.parametrize("gamma", [1 / 2, 3 / 4, 1.0])
def test_the_untrained_prediction_is_m_to_the_one_half_minus_gamma(gamma):
    """E f_0² = α² m^{1-2γ}/2 for unit x, a and w standard normal, ReLU (TRUTHS.md, section 2):
    slope of the RMS over 200 networks of each width. The mean square of N scatters by √((2 + κ)/N)
    <= .11 (κ = 15/m the excess kurtosis), half its logarithm by .053 at each width: over 64 … 4096
    the slope by .053/√(Σ(log m - mean)²) = .017; 4 of them.
    """
    widths, N, alpha = (64, 256, 1024, 4096), 200, 2.0
    network = mf.Network("relu", scaling=mf.Scaling(gamma, alpha))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, np.array([[0.6, 0.0, 0.8]]), np.zeros(1)))
    law = mf.InitialLaw(dim=3, a="normal")
    # seeds of their own for each width: independent, as the tolerance assumes
    f = np.array(
        [
            [flow.predict(law.sample(m, seed=1000 * i + k))[0, 0] for i, m in enumerate(widths)]
            for k in range(N)
        ]
    )
    fit = fit_exponent(widths, np.sqrt(np.mean(f**2, axis=0)))
    assert fit.slope == pytest.approx(0.5 - gamma, abs=0.068), str(fit)
    exact = alpha**2 * np.array(widths, dtype=float) ** (1 - 2 * gamma) / 2
    assert np.mean(f**2, axis=0) / exact == pytest.approx(
        np.ones(4), abs=4 * np.sqrt((2 + 15 / 64) / N)
    )


@pytest.mark.parametrize("symmetric", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_mean_field_fluctuations_are_one_over_m_on_test_points(symmetric):
    """γ = 1: m E|f_m - f_∞|² is constant. The reference is the network of width M = 8192 = 16 m_max
    with the same first neurons, so E|f_m - f_M|² = (c/m)(1 - m/M): slope -1 ± .15 after division
    (TRUTHS.md, section 2; there the trap: on training points the error dies with the loss). 64
    seeds: the slope's own error is a third of that tolerance.
    """
    widths, M, seeds = (32, 64, 128, 256, 512), 8192, 64
    x, y = data()
    x_test = data(n=100, seed=6)[0]
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, y))
    law = mf.InitialLaw(dim=3, symmetric=symmetric)

    def trained(m, seed):
        return flow.predict(
            mf.simulate(flow, law.sample(m, seed=seed), mf.HEUN, dt=0.2, t_end=3.0, progress=False),
            x_test,
        )

    squares = np.empty((seeds, len(widths)))
    for seed in range(seeds):
        reference = trained(M, seed)
        for i, m in enumerate(widths):
            squares[seed, i] = np.mean((trained(m, seed) - reference) ** 2) / (1 - m / M)
    fit = fit_exponent(widths, squares)
    assert fit.slope == pytest.approx(-1.0, abs=0.15) and fit.error < 0.07, str(fit)
    constant = np.array(widths) * squares.mean(axis=0)
    # means of 64 squares of few modes scatter by an eighth to a fifth
    assert constant.max() / constant.min() < 1.6
