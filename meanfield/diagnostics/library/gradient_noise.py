"""How noisy a gradient of a few samples is: the gradient-noise scale, from all samples of a run."""

from __future__ import annotations

import math

import numpy as np

from ... import tangent
from ..frame import Frame
from ..registry import register_diagnostic


@register_diagnostic(unit="samples", needs=("kernel",), blas=True)
def gradient_noise_scale(frame: Frame) -> float:
    """tr Cov(v_i)/|v|² in L2(μ), v_i the velocity of sample i alone and v their mean, on all n
    samples: the batch at which noise and gradient are of one size (B_simple of McCandlish, Kaplan,
    Amodei 2018, equation 2.9).

    v_i = -n w s⁻¹ ∂R/∂f(x_i)·∇φ(θ; x_i) - λθ, so E|v_i + λθ|² = (1/n) Σ_i c_iᵀ H(x_i, x_i) c_i with
    c_i = n s⁻¹ ∂R/∂f(x_i): O(m n K²), no kernel and no gradient of a sample is formed. A batch of
    B, drawn with replacement, has E|v_B|² = |v|² + tr Cov/B; without, tr Cov/B·(n - B)/(n - 1). ∞
    at a critical point.
    """
    risk, state, field = frame.flow.functional.samples, frame.state, frame.field
    s = frame.network.scaling.output_scale(state.m)
    slopes = risk.n * risk.slopes(frame.predictions) / s
    H = tangent.diagonal(frame.network, state, frame.x)
    of_samples = float(np.einsum("ic,ice,ie->", slopes, H, slopes)) / risk.n

    backend, weight = field.backend, field.weight(frame.particles)
    without_ridge = backend.combine(frame.velocity, [risk.ridge], [frame.theta])
    mean = float(backend.norm(without_ridge, weight, trainable_only=True))
    speed2 = float(field.mean_square(frame.velocity, frame.particles))

    covariance = max(of_samples - mean, 0.0)  # 0 for one sample, up to rounding
    if speed2 == 0.0:
        return math.inf if covariance else math.nan
    return covariance / speed2
