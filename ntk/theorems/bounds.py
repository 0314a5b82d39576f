"""What theorems promise of wide networks, beside what a run measured: bounds with their constants,
hypotheses checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.special

from meanfield.flow import GradientFlow
from meanfield.functionals.risk import EmpiricalRisk
from meanfield.functionals.samples import check_inputs
from meanfield.network import Network
from meanfield.state import State
from meanfield.transport.distances import displacement

from ..finite.kernel import drift, empirical
from ..infinite.analytic import kernel
from ..learning.matrices import Modes, columns, factor
from ..learning.spectrum import certificate, split
from .deep import deep_convergence as deep_convergence
from .statement import Claim, Hypothesis, Statement


def two_layer_convergence(
    network: Network, start: State, x: Any, y: Any, later: Iterable[State] = (), *,
    reduction: str = "mean", delta: float = 0.1, epsilon: float = 1e-3, law: Any = None,
) -> Statement:  # fmt: skip
    """Du, Zhai, Póczos and Singh (2019), gradient flow of the input weights of a two-layer ReLU
    network (theorem 3.2).

    With λ_0 = λ_min(H∞), C = max|x_i|, c = 1 ("sum") or 1/n ("mean"), s the output scale and u = f
    - y:
    - λ_min(H_0) >= ¾λ_0 with probability 1 - δ if m >= 8 C⁴n² log(n(n+1)/δ)/λ_0²: Hoeffding's inequality for the n(n+1)/2
      entries, each within λ_0/4n (their lemma 3.1).
    - λ_min(H) >= ½λ_0 while no neuron is farther than R = √(2π) δ λ_0 w_std/(16 C²n²) from its start, with probability 1 - δ
      (lemma 3.2: a sign at x_i changes with probability <= 2R/(√(2π) w_std); Markov's inequality).
    - As long as that holds ‖u_t‖² <= e^{-cλ_0 t} ‖u_0‖², hence (lemma 3.3) |w_k(t) - w_k(0)| <= C√n/s ∫ c‖u‖ dt is at most
      2C√n ‖u_0‖/(s λ_0), for s = √m 2C √(n/m) ‖u_0‖/λ_0: the factors 1/λ_0 and 2 of TRUTHS.md, section 0.
    - It holds for ever if that is at most R: from a width on that grows like n⁶/(λ_0⁴δ³) at γ = 1/2, never at γ >= 1.
    - ‖u_t‖² <= ε ‖u_0‖² from t = log(1/ε)/(cλ_0) on.
    start: the state at t = 0, whose law it remembers (or law=); later: states of the flow that started there, an
    mf.Trajectory say. x (n, d), y (n,). Claims: "lambda_min", "movement", "residual" (the largest of
    e^{cλ_0 t} ‖u_t‖²/‖u_0‖²), "time to epsilon". The widths that are asked for and R are no claims: they are among the
    hypotheses (`asked`). Raises ValueError where λ_0 is zero or no law is known.
    """
    law = law or (start.origin[0] if start.origin else None)
    if law is None:
        raise ValueError(
            "H∞ needs the law of the start: pass law=mf.InitialLaw(…), or a state that "
            "was sampled from one."
        )
    for name, value in (("delta", delta), ("epsilon", epsilon)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie in (0, 1); got {value!r}.")
    x = check_inputs(x, start.dim)
    flow = GradientFlow(EmpiricalRisk(network, x, y, reduction=reduction))
    target = flow.functional.y
    n, m, c, s = len(x), start.m, factor(reduction, len(x)), network.scaling.output_scale(start.m)
    limit = certificate(kernel(network, law, x))
    lambda0 = limit.lambda_min
    if limit.positive_definite is not True:
        raise ValueError(
            f"lambda_0 = {lambda0:.3g}: the theorem is about positive definite limits. "
            f"{limit.verdict}"
        )
    C = float(np.linalg.norm(x, axis=1).max())
    size = float(np.linalg.norm(flow.predict(start) - target))
    movement = 2 * C * math.sqrt(n) * size / (s * lambda0)
    radius = math.sqrt(2 * math.pi) * delta * lambda0 * law.w_std / (16 * C**2 * n**2)
    at_start = 8 * C**4 * n**2 * math.log(n * (n + 1) / delta) / lambda0**2
    slower = 1.0 - network.scaling.gamma  # s grows like m to this power
    throughout = m * (movement / radius) ** (1.0 / slower) if slower > 0 else math.inf
    states = list(later)
    moved = max((_largest_move(start, state) for state in states), default=None)
    residuals = [
        (state.t - start.t, float(np.linalg.norm(flow.predict(state) - target)) ** 2)
        for state in states
    ]
    worst = max((math.exp(c * lambda0 * t) * left / size**2 for t, left in residuals), default=None)
    reached = next((t for t, left in residuals if left <= epsilon * size**2), None)
    return Statement(
        "Du, Zhai, Póczos, Singh (2019): a wide two-layer ReLU network fits its data at a linear rate",
        (
            *_form(network, start, law),
            Hypothesis("m is enough for lambda_min(H_0) >= 3/4 lambda_0", m >= at_start, f"m = {m}, asked {at_start:.3g}", at_start),
            Hypothesis(
                "m is enough for the neurons to stay", movement <= radius,
                f"m = {m}, asked {throughout:.3g}, where they move by R = {radius:.3g} at most", throughout,
            ),
        ),
        (
            Claim("lambda_min", 0.75 * lambda0, float(np.linalg.eigvalsh(empirical(network, start, x))[0]), ">="),
            Claim("movement", movement, moved),
            Claim("residual", 1.0, worst),
            Claim("time to epsilon", math.log(1 / epsilon) / (c * lambda0), reached),
        ),
    )  # fmt: skip


def _form(network: Network, start: State, law: Any) -> tuple[Hypothesis, ...]:
    """The hypotheses on network and start."""
    a = np.abs(start.a)
    return (
        Hypothesis("the activation is relu", network.sigma.name == "relu", network.sigma.name),
        Hypothesis(
            "only w is trained", network.trainable == ("w",), f"trainable = {network.trainable}"
        ),
        Hypothesis(
            "one output, |a| = 1",
            start.outputs == 1 and bool((a == 1).all()),
            f"|a| in [{a.min():g}, {a.max():g}]",
        ),
        Hypothesis("no biases", not start.b.any()),
        Hypothesis("equal masses", bool(np.ptp(start.mass) <= 1e-12 / start.m)),
        Hypothesis(
            "w ~ N(0, w_std² I), neurons independent",
            law.w == "normal" and law.w_std > 0 and not law.symmetric,
        ),
    )


def _largest_move(start: State, state: State) -> float:
    return float(np.linalg.norm(state.theta - start.theta.astype(np.float64), axis=1).max())


def fine_grained(
    K: Any,
    y: Any,
    network: Network | None = None,
    start: State | None = None,
    end: State | None = None,
    x: Any = None,
) -> Statement:
    """Arora, Du, Hu, Li and Wang (2019), theorem 5.1: the complexity √(2 yᵀK^{-1}y/n), K = H∞, of
    labels for a kernel.

    For f_0 = 0 and any 1-Lipschitz loss in [0, 1] that vanishes at f = y, the expected loss of the
    trained network is at most the complexity + O(√(log(n/(λ_0 δ))/n)), with probability 1 - δ. The
    same number measures the way: the lazy limit trained to t = ∞ moves by s (∫|θ_∞ - θ_0|² dμ)^½ =
    √(yᵀK^{-1}y) (in their parametrisation ‖W_∞ - W_0‖_F, lemma 5.3). K (n, n); y (n,). Labels with
    a part in the null space of K have complexity ∞. Measured with network, start and end: s times
    the RMS displacement. x (n, d), the inputs of K: f_0 is measured on them; without x it is judged
    by the law that the start remembers. A start with f_0 ≠ 0 has to go another way, that of y -
    f_0: neither claim is about it. Claims: "complexity", the root alone, and "movement".
    """
    modes = Modes(K)
    n = len(modes.kernel)
    y = columns(y, modes.kernel, "y")
    parts = np.square(modes.vectors.T @ y).sum(axis=1)
    lost = math.sqrt(float(parts[modes.null].sum()))
    fits = lost <= 1e-9 * float(np.linalg.norm(y))
    cost = float((parts[~modes.null] / modes.values[~modes.null]).sum()) if fits else math.inf
    moved = None
    if network is not None and start is not None and end is not None:
        moved = network.scaling.output_scale(start.m) * displacement(start, end)
    verdict = certificate(K)
    return Statement(
        "Arora, Du, Hu, Li, Wang (2019): labels along the large eigenvalues of the "
        "kernel are learnt from few samples",
        (
            _starts_at_zero(network, start, x, y),
            Hypothesis(
                "the kernel is positive definite",
                verdict.positive_definite,
                f"lambda_min = {verdict.lambda_min:.3g}",
            ),
            Hypothesis("|y| <= 1", bool(np.abs(y).max() <= 1), f"max |y| = {np.abs(y).max():.3g}"),
            Hypothesis("no label lies in the null space", fits, f"norm of that part {lost:.3g}"),
        ),
        (Claim("complexity", math.sqrt(2 * cost / n)), Claim("movement", math.sqrt(cost), moved)),
    )


def _starts_at_zero(
    network: Network | None, start: State | None, x: Any, y: np.ndarray
) -> Hypothesis:
    """f_0 = 0: measured on x to rounding, else from the law of the start, else not known."""
    name = "f_0 = 0"
    if start is None:
        return Hypothesis(name, None, "no start given")
    if network is not None and x is not None:
        found = float(np.abs(GradientFlow(EmpiricalRisk(network, x, y)).predict(start)).max())
        # THEORY.md, section 2: 1e-14 s for weights of size 1
        rounding = 1e-12 * network.scaling.output_scale(start.m)
        return Hypothesis(name, found <= rounding, f"max |f_0| = {found:.3g}")
    if start.origin is None:
        return Hypothesis(name, None, "not measured: pass network= and x=, the inputs of K")
    law = start.origin[0]
    zero = bool(law.symmetric or law.a == "zero" or law.a_std == 0)
    return Hypothesis(
        name,
        zero,
        "by the law of the start" if zero else "the neurons of the start are independent",
    )


def information(
    K: Any,
    residual: Any,
    cutoff: float,
    later: Any = None,
    t: float | None = None,
    reduction: str = "mean",
    K_t: Any = None,
) -> Statement:
    """Oymak, Fabian, Li and Soltanolkotabi (2019): fit the information modes λ >= cutoff, stop
    before the nuisance.

    With r = f_0 - y split at the cutoff (ntk.split), r = r_I + r_N, and q = e^{-c·cutoff·t}, for the linearised flow
        ‖f_t - y‖² <= q² ‖r_I‖² + ‖r_N‖²,     s²∫|θ_t - θ_0|² dμ <= ‖r_I‖²/cutoff + B²ct ‖r_N‖², B² = max (1 - e^{-z})²/z = .4073
    because mode λ leaves e^{-cλt} of itself and moves θ by (1 - e^{-cλt})/√λ. t: the stopping time of ntk.split unless given.
    residual: f_0 - y, (n,) or (n, C); later: f_t - y as measured. K_t: the kernel at t; the hypothesis that the kernel
    stands still is tested on it (drift below .1). Claims: "residual", "movement".
    """
    parts = split(K, residual, cutoff, reduction)
    t = parts.stopping_time if t is None else float(t)
    c = factor(reduction, len(np.asarray(K)))
    left = math.exp(-2 * c * cutoff * t) * parts.information_energy + parts.nuisance_energy
    moved = parts.information_energy / cutoff + 0.4073 * c * t * parts.nuisance_energy
    drifted = None if K_t is None else drift(K, K_t)
    measured = None if later is None else float(np.linalg.norm(later))
    total = parts.information_energy + parts.nuisance_energy
    share = parts.information_energy / total if total else 1.0
    found = "not given" if drifted is None else f"drift {drifted:.2g}"
    return Statement(
        "Oymak, Fabian, Li, Soltanolkotabi (2019): information is learnt before nuisance",
        (
            Hypothesis(
                "the kernel stands still (drift < 0.1)",
                None if drifted is None else drifted < 0.1,
                found,
            ),
            Hypothesis(
                "most of the residual is information",
                share > 0.5,
                f"{share:.1%} in {parts.rank} modes",
            ),
        ),
        (Claim("residual", math.sqrt(left), measured), Claim("movement", math.sqrt(moved))),
    )


def random_features(
    dim: int, m: int, delta: float = 0.05, features: Any = None, target: Any = None
) -> Statement:
    """The mean squared error that m random features leave of x ↦ ⟨β, x⟩, |β| = 1, x ~ N(0, I_d),
    whatever is put on top.

    Σ_k a_k σ(⟨w_k, x⟩ + b_k) has the linear part ⟨Σ_k a_k E[σ'] w_k, x⟩ (Stein's lemma, for any σ),
    so its error is at least the SQUARED distance of β to span(w_1 … w_m), reached for linear σ. For
    isotropic w_k this is Beta((d-m)/2, m/2), of mean 1 - m/d (TRUTHS.md, sections 0 and 4). 0 for m
    >= d. features (m, d), or a State's w, and target β (d,): that distance itself. Claims: "error",
    which a fraction 1 - delta of the draws exceeds; "mean error"; both >=.
    """
    if not (dim >= 1 and m >= 0):
        raise ValueError(f"dim must be >= 1 and m >= 0; got {dim} and {m}.")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1); got {delta!r}.")
    below = (
        1.0
        if m == 0
        else 0.0
        if m >= dim
        else float(scipy.special.betaincinv((dim - m) / 2, m / 2, delta))
    )
    measured = None if features is None else distance2(features, target)
    return Statement(
        "Random features leave at least the part of a linear target that is orthogonal to them",
        (Hypothesis("fewer features than dimensions", m < dim, f"m = {m}, d = {dim}"),
         Hypothesis("the directions of the features are isotropic", None, "a property of their law")),
        (Claim("error", below, measured, ">="), Claim("mean error", max(0.0, 1 - m / dim), None, ">=")),
    )  # fmt: skip


def distance2(features: Any, target: Any) -> float:
    """min_c |β - Wᵀc|² for unit β (d,) and the rows of W (m, d): a squared distance to a subspace."""
    W, beta = check_inputs(features), np.asarray(target, dtype=np.float64)
    if beta.shape != (W.shape[1],) or abs(np.linalg.norm(beta) - 1) > 1e-9:
        raise ValueError(
            f"target must be a unit vector ({W.shape[1]},); got shape {beta.shape}, norm "
            f"{np.linalg.norm(beta):.6g}."
        )
    c = np.linalg.lstsq(W.T, beta, rcond=None)[0]
    return float(np.square(beta - W.T @ c).sum())
