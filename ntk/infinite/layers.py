"""The part of each layer in the tangent kernel of an infinitely wide deep network: Du et al.'s Gram
matrices.
"""

from __future__ import annotations

import numpy as np

from meanfield.formulas.activations import Activation

from ..gaussian import duals


def parts(
    sigma: Activation, covariance: np.ndarray, q1: np.ndarray, q2: np.ndarray, scale: np.ndarray,
    shift: np.ndarray, offset: float, symmetric: bool,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
    """(Σ^L, {"layer1.weight": …, "layer1.bias": …, …, "readout.weight": …}), which sum to Θ^L; biases
    where β > 0.

        weights of layer h:  v² c E[σσ] Π_{h' > h} v² c E[σ'σ'],   biases:  β² Π_{h' > h} v² c E[σ'σ']

    covariance : Σ⁰ (n1, n2), with offset = β² of the first layer; q1, q2 (L, n): Σ^{h-1}(x, x), h = 1
    … L; scale, shift (L,): v² c and β² of what follows hidden layer h. Du, Lee, Li, Wang and Zhai
    (2019) and Arora et al. (2019); THEORY.md, section 3.
    """
    names = [*(f"layer{h}" for h in range(1, len(scale) + 1)), "readout"]
    # of each affine map: from its weights, from its biases
    own = [(covariance - offset, offset)]
    slopes = []
    for h, (factor, beta) in enumerate(zip(scale, shift, strict=True)):
        if symmetric:  # ρ = 1 exactly
            np.fill_diagonal(covariance, q1[h])
        value, slope = duals.unchecked(sigma, q1[h][:, None], q2[h][None], covariance)
        own.append((factor * value, beta))
        slopes.append(factor * slope)
        covariance = factor * value + beta

    found: dict[str, np.ndarray] = {}
    after = np.ones_like(covariance)
    for h in reversed(range(len(names))):
        weights, biases = own[h]
        if biases:
            found[f"{names[h]}.bias"] = biases * after
        found[f"{names[h]}.weight"] = weights * after
        after = after * slopes[h - 1] if h else after
    return covariance, dict(reversed(found.items()))
