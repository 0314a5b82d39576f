"""Order parameters: the overlaps of a few neurons with each other and with a teacher's follow
ordinary differential equations, in any dimension and as d → ∞.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..checks import as_array, is_number
from ..formulas.gaussian_pairs import GaussianPair
from ..functionals.population import PopulationRisk
from ..state import State

MOST = 64  # neurons, of the student and of the teacher together


class Overlaps(NamedTuple):
    """At one time, or with a leading axis: output weights `a` (m,), Q = ⟨w_k, w_l⟩ (m, m), R =
    ⟨w_k, w*_j⟩ (m, m*), and `risk` = ½ E (f - f*)².
    """

    a: np.ndarray
    Q: np.ndarray
    R: np.ndarray
    risk: Any


@dataclass(frozen=True, eq=False)
class OrderParameters:
    """The flow of an mf.PopulationRisk in the overlaps Q = ⟨w_k, w_l⟩ and R = ⟨w_k, w*_j⟩ alone.

        dw_k/dt = Σ_l A_kl w_l + Σ_j B_kj w*_j,   dQ/dt = AQ + BRᵀ + transposed + η N,   dR/dt = AR + BT
        N_kl = a_k a_l s⁻² E[(f - f*)² σ'(⟨w_k, x⟩) σ'(⟨w_l, x⟩)],   T = ⟨w*_i, w*_j⟩

    A and B have the derivatives of E[σσ] in the overlaps. With rate = 0 it is the gradient flow, in
    every dimension. With rate > 0 it is one-pass gradient descent, mf.OnlineRisk with mf.EULER, as
    d → ∞ at fixed η = dt·d/batch: |x|² = d makes the noise of the steps count in Q.

    Parameters
    ----------
    population : an mf.PopulationRisk with one output; its network, scaling, teacher and ridge.
    start : the initial mf.State.
    rate : η >= 0; more than 0 for σ = erf alone, for which N is known in closed form.

    Raises
    ------
    ValueError, TypeError : for other risks and states, for more than 64 neurons, for a rate with
        another σ.

    Notes
    -----
    Saad and Solla (1995), On-line learning in soft committee machines, Physical Review E 52, 4225
    (erf, a fixed); Goldt, Advani, Saxe, Krzakala, Zdeborová (2019), Dynamics of stochastic gradient
    descent for two-layer neural networks in the teacher-student setup, NeurIPS (a trained too).
    Solved by SciPy's DOP853 with relative tolerance 1e-10. THEORY.md, section 7.
    """

    population: PopulationRisk
    start: State
    rate: float = 0.0
    _pair: GaussianPair = field(init=False, repr=False)

    def __post_init__(self) -> None:
        risk = self.population
        if not isinstance(risk, PopulationRisk):
            raise TypeError(
                "OrderParameters takes the mf.PopulationRisk whose flow it follows; got "
                f"{type(risk).__name__}."
            )
        if not isinstance(self.start, State):
            raise TypeError(f"start must be an mf.State; got {type(self.start).__name__}.")
        risk.check_state(self.start)
        if self.start.outputs != 1:
            raise ValueError(f"OrderParameters is for one output; got K = {self.start.outputs}.")
        if (m := self.start.m + risk.teacher_state.m) > MOST:
            raise ValueError(
                f"OrderParameters is for a few neurons, {MOST} at most with the teacher's; got {m}. "
                "Follow particles with mf.RK4."
            )
        if not is_number(self.rate) or not 0 <= self.rate < np.inf:
            raise ValueError(f"rate must be a finite number >= 0; got {self.rate!r}.")
        if self.rate > 0 and risk.network.sigma.name != "erf":
            raise ValueError(
                "the noise of one-pass steps is known in closed form for erf alone; the network has "
                f"{risk.network.sigma.name!r}. Use rate=0, its flow, or run mf.OnlineRisk."
            )
        object.__setattr__(self, "rate", float(self.rate))
        object.__setattr__(self, "_pair", risk.network.sigma.pair)

    def at(self, t: Any) -> Overlaps:
        """Overlaps at time t after the start; an array t adds a leading axis. ValueError for t < 0,
        RuntimeError where the equations cannot be solved that far.
        """
        made = solved(
            lambda flat: self._pack(*self._slope(*self._unpack(flat))),
            self._pack(*self._begin()), check_times(t), rtol=1e-10, atol=1e-12,
        )  # fmt: skip
        found = [self._unpack(flat) for flat in made]
        risks = [self._pairs(*one)[0] for one in found]
        a, Q, R = (np.array(part) for part in zip(*found, strict=True))
        if np.ndim(t):
            return Overlaps(a, Q, R, np.array(risks))
        return Overlaps(a[0], Q[0], R[0], risks[0])

    def risk(self, t: Any) -> np.ndarray:
        """½ E (f - f*)² at these times, of t's shape."""
        return self.at(t).risk

    def _begin(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        w, taught = (state.w.astype(np.float64) for state in (self.start, self._teacher))
        return self.start.a[:, 0].astype(np.float64), w @ w.T, w @ taught.T

    @property
    def _teacher(self) -> State:
        return self.population.teacher_state

    def _pack(self, a: np.ndarray, Q: np.ndarray, R: np.ndarray) -> np.ndarray:
        return np.concatenate([a, Q.ravel(), R.ravel()])

    def _unpack(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        m, taught = self.start.m, self._teacher.m
        return flat[:m], flat[m : m + m * m].reshape(m, m), flat[m + m * m :].reshape(m, taught)

    def _pairs(
        self, a: np.ndarray, Q: np.ndarray, R: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """(R, weights c of all neurons in f - f*, their overlaps C, E[σσ] and its two derivatives
        for each student's neuron and every other one).
        """
        s = self.population.network.scaling.output_scale(self.start.m)
        T = self._teacher.w.astype(np.float64) @ self._teacher.w.T
        C = np.block([[Q, R], [R.T, T]])
        c = np.concatenate([s * self.start.mass * a, -self._teacher.mass * self._teacher.a[:, 0]])
        found = np.array(
            [[_pair(self._pair, C[i, i], C[j, j], C[i, j]) for j in range(len(C))] for i in range(len(C))]
        )  # fmt: skip
        return 0.5 * float(c @ found[:, :, 0] @ c), c, C, found

    def _slope(
        self, a: np.ndarray, Q: np.ndarray, R: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        m, network = self.start.m, self.population.network
        s = network.scaling.output_scale(m)
        _, c, C, found = self._pairs(a, Q, R)
        c = c / s
        slope_a, slope_Q, slope_R = np.zeros(m), np.zeros_like(Q), np.zeros_like(R)
        if "a" in network.trainable:
            slope_a = -found[:m, :, 0] @ c - self.population.ridge * a
        if "w" in network.trainable:
            by = -a[:, None] * c * found[:m, :, 2]  # of the other neuron's w
            by[np.arange(m), np.arange(m)] -= a * (found[:m, :, 1] @ c) + self.population.ridge
            slope_R = by @ C[:, m:]
            slope_Q = by @ C[:, :m]
            slope_Q = slope_Q + slope_Q.T
            if self.rate > 0:
                slope_Q = slope_Q + self.rate * np.outer(a, a) * _erf_noise(c, C, m)
        return slope_a, slope_Q, slope_R


def check_times(t: Any) -> np.ndarray:
    """Times >= 0, at least one dimension."""
    times = np.atleast_1d(np.asarray(as_array("t", t), dtype=np.float64))
    if times.ndim != 1 or not times.size or not np.all(np.isfinite(times)) or np.any(times < 0):
        raise ValueError(f"t must be finite times >= 0, one or an array of them; got {t!r}.")
    return times


def solved(
    slope: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    times: np.ndarray,
    rtol: float,
    atol: float,
) -> np.ndarray:
    """y (T, n) at these times >= 0, in any order, of dy/dt = slope(y), y(0) = start, by DOP853.
    RuntimeError where it stops before the last of them.
    """
    from scipy.integrate import solve_ivp

    points, back = np.unique(times, return_inverse=True)
    span = (0.0, max(float(points[-1]), 1e-300))
    made = solve_ivp(
        lambda _, y: slope(y), span, start, "DOP853", t_eval=points, rtol=rtol, atol=atol
    )
    if not made.success:
        raise RuntimeError(
            f"the equations could not be solved to t = {points[len(made.t)]:g}: {made.message} Ask "
            "for earlier times, or start from smaller numbers."
        )
    return made.y.T[back]


def _pair(pair: GaussianPair, q: float, q_v: float, c: float) -> tuple[float, float, float]:
    """(K, g, h) of K = E[σ(⟨w,x⟩)σ(⟨v,x⟩)] and ∇_w K = g w + h v, from q = |w|², q_v = |v|², c =
    ⟨w, v⟩: gaussian_pairs.py with one source.
    """
    mu, _, x = pair.prepare(q)
    mu_v, weight, x_v = pair.prepare(q_v)
    rho = mu * mu_v * c
    along, first, second = (weight * value for value in pair.pair(rho, x, x_v))
    value, on_w, on_v = pair.finish(q, along * rho, first, second)
    kappa = pair.linear(q)
    return value + kappa * c, on_w * mu, on_v * along * mu_v + kappa


def _erf_noise(c: np.ndarray, C: np.ndarray, m: int) -> np.ndarray:
    """E[(Σ_i c_i erf(z_i))² erf'(z_k) erf'(z_l)], (m, m), z ~ N(0, C).

    Saad and Solla (1995): their g(z) = erf(z/√2) is erf of covariances twice as large, and g' half
    as large a square.
    """
    found = np.empty((m, m))
    S = 2.0 * C
    for k in range(m):
        for j in range(m):
            p, q, r = 1 + S[k, k], 1 + S[j, j], S[k, j]
            det = p * q - r * r
            u, v = S[k], S[j]
            # covariances under the weight erf'(z_k) erf'(z_j): less what z_k and z_j explain
            less = (q * np.outer(u, u) + p * np.outer(v, v) - r * (np.outer(u, v) + np.outer(v, u))) / det  # fmt: skip
            left = S - less
            width = np.sqrt(1 + np.diag(left))
            angle = np.arcsin(np.clip(left / np.outer(width, width), -1.0, 1.0))
            found[k, j] = 8 / (np.pi**2 * np.sqrt(det)) * (c @ angle @ c)
    return found
