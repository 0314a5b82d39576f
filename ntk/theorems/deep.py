"""The convergence theorem of deep fully connected networks beside what a run measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from meanfield.flow import GradientFlow
from meanfield.functionals.risk import EmpiricalRisk
from meanfield.functionals.samples import check_inputs
from meanfield.network import Network
from meanfield.state import State

from ..finite.kernel import empirical
from ..infinite.recursion import deep
from ..learning.matrices import factor
from ..learning.spectrum import certificate
from .statement import Claim, Hypothesis, Statement

ANALYTIC = ("tanh", "erf", "sigmoid", "softplus", "gelu", "sin")  # and no polynomials


def deep_convergence(
    network: Network, start: State, x: Any, y: Any, later: Iterable[State] = (), *,
    reduction: str = "mean",
) -> Statement:  # fmt: skip
    """Du, Lee, Li, Wang and Zhai (2019), fully connected networks, as a gradient flow.

    With K^(H) the part of the last hidden weights in the kernel of infinite width (ntk.deep(…,
    parts=True)), G^(H) that of the network, λ_0 = λ_min(K^(H)), c = 1 ("sum") or 1/n ("mean"), u = f - y:
    if the width is 2^O(H) times powers of n and 1/λ_0, then with high probability λ_min(G^(H)) >= ¾λ_0 at
    the start and >= ½λ_0 for ever, and so ‖u_t‖² <= e^{-cλ_0 t} ‖u_0‖²: the loss falls by 1 - ηλ_0/2 and
    more a step. The other layers can only add to the rate. The constants of the width are not given in
    numbers: that hypothesis stays open, and the claims are what can be measured.

    Parameters
    ----------
    network : mf.Network(mf.deep(…)) in the parametrisation "ntk" with the standard start, m = 1.
    start : its state at t = 0; later: states of the flow that started there.
    x, y : (n, d), (n,).

    Returns
    -------
    A Statement with the claims "lambda_min", "lambda_min later", "residual" (the largest of e^{cλ_0 t}
    ‖u_t‖²/‖u_0‖²).

    Raises
    ------
    ValueError : for other networks, where the last hidden weights are not trained, and where λ_0 is not
        positive.
    """
    feature: Any = network.feature
    if not hasattr(feature, "limit"):
        raise ValueError(
            f"the theorem is about mf.Network(mf.deep(…)); got {network!r}. Two layers have "
            "ntk.bounds.two_layer_convergence."
        )
    limit, x = feature.limit, check_inputs(x, feature.columns.dim)
    block = f"layer{limit['depth']}.weight"
    if block not in network.trainable:
        raise ValueError(
            f"the theorem goes by what {block} adds to the kernel; trainable is {network.trainable}: "
            f"train {block} too."
        )
    if start.m != 1 or start.outputs != 1 or network.scaling.output_scale(1) != 1:
        raise ValueError(
            "the theorem is about one network with one output and α = 1; got "
            f"m = {start.m}, K = {start.outputs}, s = {network.scaling.output_scale(start.m):g}."
        )
    verdict = certificate(deep(x, parts=True, **limit)[1][block])
    lambda0 = verdict.lambda_min
    if verdict.positive_definite is not True:
        raise ValueError(
            f"lambda_0 = {lambda0:.3g}: the theorem is about a positive definite K^(H). "
            f"{verdict.verdict}"
        )
    flow = GradientFlow(EmpiricalRisk(network, x, y, reduction=reduction), backend="torch")
    target, rate, states = flow.functional.y, factor(reduction, len(x)) * lambda0, list(later)
    size = float(np.linalg.norm(flow.predict(start) - target))
    residuals = [
        math.exp(rate * (state.t - start.t))
        * float(np.linalg.norm(flow.predict(state) - target) / size) ** 2
        for state in states
    ]
    lowest = [smallest(network, state, x, block) for state in (start, *states)]
    return Statement(
        "Du, Lee, Li, Wang, Zhai (2019): a wide deep network fits its data at a linear rate",
        (
            Hypothesis(
                "the activation is analytic and no polynomial",
                limit["activation"] in ANALYTIC, limit["activation"],
            ),
            Hypothesis(
                "no biases, unit scales", not (limit["b_std"] or limit["readout_b_std"])
                and limit["w_std"] == limit["readout_w_std"] == 1 and limit["normalise"],
            ),
            Hypothesis("all layers are trained", set(network.trainable) == set(feature.columns.names)),
            Hypothesis("|x| = 1", bool(np.allclose(np.square(x).sum(axis=1), 1.0, atol=1e-9))),
            Hypothesis("K^(H) is positive definite", True, f"lambda_0 = {lambda0:.3g}"),
            Hypothesis(
                "m is 2^O(H) times powers of n and 1/lambda_0", None,
                f"m = {min(feature.widths)}; its constants are not given",
            ),
        ),
        (
            Claim("lambda_min", 0.75 * lambda0, lowest[0], ">="),
            Claim("lambda_min later", 0.5 * lambda0, min(lowest[1:], default=None), ">="),
            Claim("residual", 1.0, max(residuals, default=None)),
        ),
    )  # fmt: skip


def smallest(network: Network, state: State, x: np.ndarray, block: str) -> float:
    """λ_min of this block's part of the kernel."""
    return float(np.linalg.eigvalsh(empirical(network, state, x, parts=True)[block])[0])
