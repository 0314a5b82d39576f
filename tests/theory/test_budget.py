"""Lazy share of the change of f: the linear network's closed form, and both ends of the γ axis on a
kink.
"""

import numpy as np
import pytest

import meanfield as mf
import ntk

S0, B_STAR, D, M = 0.7, 1.5, 3, 64


def whitened(rng, m, columns, second_moment):
    """(m, columns) with (1/m) Σ rows rowsᵀ = second_moment · I exactly, up to rounding."""
    q, _ = np.linalg.qr(rng.normal(size=(m, columns)))
    return q * np.sqrt(m * second_moment)


@pytest.mark.parametrize(
    "scaling", [mf.Scaling(0.5), mf.Scaling(0.75), mf.Scaling(1.0), mf.Scaling(1.0, 0.25)]
)
def test_the_lazy_share_of_the_linear_network_is_asinh_z_over_z(h5_path, scaling):
    """TRUTHS.md, 3.1: b' = 2√(s0² + ε²b²)(b* - b), so lazy = ∫2 s0 (b* - b) dt = s0 ∫ db/√(s0² +
    ε²b²) = (s0/ε) asinh(εb/s0).

    z = εb/s0 up to 8.6 (share 0.33) at every frame, both parts along β*; ± 1e-3 as asked, and
    within the error reported.
    """
    rng = np.random.default_rng(11)
    x = whitened(rng, 12, D, 1.0)
    direction = np.array([0.6, 0.0, 0.8])
    start = mf.State(np.column_stack([whitened(rng, M, 1 + D, S0), np.zeros(M)]))
    network = mf.Network("linear", scaling=scaling, trainable=("a", "w"))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, B_STAR * x @ direction))
    mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=0.01,
        t_end=2.0,
        observers=[mf.Recorder(h5_path, mf.evenly(41))],
        progress=False,
    )
    found = ntk.budget(h5_path)
    b = found.observed[1:, :, 0] @ x @ direction / 12
    z = b / (scaling.output_scale(M) * S0)
    np.testing.assert_allclose(found.share[1:], np.arcsinh(z) / z, rtol=0, atol=1e-3)
    lazy = found.lazy[1:, :, 0] @ x @ direction / 12
    # RMS over the samples of x·v is |v| for whitened x
    assert (np.abs(lazy - b * np.arcsinh(z) / z) <= found.error[1:]).all()
    assert (found.residual <= found.error).all() and found.error[-1] < 0.02


def kink(path, gamma, m, t_end, dt, frames):
    """relu on y = 5|x|, 12 points, all trained, symmetric start with b ~ N(0, 1)."""
    data = mf.data.kink(12, 5.0)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu", mf.Scaling(gamma)), data.x, data.y))
    start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(m, seed=0)
    end = mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=dt,
        t_end=t_end,
        observers=[mf.Recorder(path, mf.log_spaced(frames))],
        progress=False,
    )
    return ntk.budget(path), flow.risk(end) / flow.risk(start)


def test_at_gamma_one_most_of_the_change_comes_from_the_kernels_evolution(h5_path):
    found, left = kink(h5_path, 1.0, 1024, t_end=20.0, dt=0.02, frames=200)
    assert left < 1e-4
    assert found.share[-1] + found.share_error[-1] < 0.6
    assert (found.residual <= found.error).all()


@pytest.mark.slow
def test_at_gamma_one_half_the_kernel_of_the_start_makes_all_of_it(h5_path):
    """m = 2¹⁴: the kernel drifts by m^(-1/2) times a constant."""
    found, left = kink(h5_path, 0.5, 2**14, t_end=100.0, dt=0.1, frames=60)
    assert left < 0.03
    assert found.share[-1] - found.share_error[-1] > 0.99
    assert (found.residual <= found.error).all()
