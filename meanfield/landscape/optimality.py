"""optimality: how far F is above its global minimum, at most, by the lowest point of the first
variation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..checks import flag, integer, number
from ..flow import GradientFlow
from ..functionals.pairwise import PairwiseEnergy
from ..network import PARAMETERS
from ..state import State, column_names
from ..temperature import Temperature
from .heights import Landscape

SAME = 1e-6  # of the minimum: starts that come so near have found it


@dataclass(frozen=True, eq=False)
class Optimality:
    """What mf.optimality found; print it.

    Attributes
    ----------
    minimum : min δF/δμ over the neurons of `space`.
    neuron : θ (p,) where it is.
    mean : ∫ δF/δμ dμ. Moving a small share ε of the mass to the neuron changes F by
        ε (minimum - mean) + O(ε²).
    energy : F(μ).
    bound : F(μ) - inf F is at most this; ∞ where nothing is known, NaN where F may not be convex.
        Where columns are frozen, inf F is that over networks with these frozen values.
    by : where the bound comes from.
    space : the neurons that were searched, in words.
    starts, hits : the number of starts, and of those that ended at the minimum. Where a alone
        trains, one for each frozen (w, b): it has a formula.
    """

    minimum: float
    neuron: np.ndarray
    mean: float
    energy: float
    bound: float
    by: str
    space: str
    starts: int
    hits: int
    _state: State = field(repr=False)
    _gamma: float = field(default=1.0, repr=False)
    _frozen: tuple[str, ...] = field(default=(), repr=False)
    _ray: tuple[float, np.ndarray] | None = field(default=None, repr=False)

    @property
    def longer(self) -> float:
        """How many times as long the neuron must be at least, that a small share of the mass there
        lowers F; 1 where it does so as it is, ∞ where none does.

        Without a ridge δF/δμ is homogeneous of degree q along a ray: r^q minimum < mean from r =
        (mean/minimum)^(1/q) on, where the minimum is negative.
        """
        if self.minimum < self.mean:
            return 1.0
        if self._ray is None or self.minimum >= 0:
            return math.inf
        return (self.mean / self.minimum) ** (1.0 / self._ray[0])

    def inject(self, mass: float, length: float = 1.0) -> State:
        """(1 - mass) μ + mass δ_neuron: the state with that neuron added, at the same step and t; a
        centred network keeps its f_0. To go on, t_end is after the state's t.

        length : the neuron's, in those of `neuron`; see `longer`. Other than 1 where its length is
            free alone: homogeneous σ, no ridge.

        Raises
        ------
        ValueError : for a mass outside (0, 1), and for a network of γ ≠ 1, where one neuron more
            changes s, and with it f.
        """
        if not 0.0 < number("mass", mass) < 1.0:
            raise ValueError(f"mass must be between 0 and 1, a share of the whole; got {mass!r}.")
        state, m = self._state, self._state.m
        if self._gamma != 1.0:
            factor = f"(m/(m + 1))^(1-γ) = {(m / (m + 1)) ** (1.0 - self._gamma):.6g}"
            raise ValueError(
                f"at γ = {self._gamma:g} the output scale is α m^(1-γ), and one neuron more changes f "
                f"everywhere. Make the state by mf.State(np.vstack([state.theta, found.neuron]), "
                f"mass=…), and its flow with α times {factor}."
            )
        neuron = self.neuron.copy()
        if (length := number("length", length)) != 1.0:
            if self._ray is None:
                raise ValueError(
                    f"length={length:g}: the neuron's length is decided; leave it out."
                )
            neuron[self._ray[1]] *= length
        theta = np.vstack([state.theta, neuron.astype(state.theta.dtype)])
        masses = np.append((1.0 - mass) * state.mass, mass)
        return state.moved(theta, masses / masses.sum(), state.step, state.t)

    def __str__(self) -> str:
        names = column_names(self._state.dim, self._state.outputs) if self._state.outputs else None
        neuron = np.array2string(self.neuron, precision=4, threshold=8, separator=", ")
        columns = f" [{' '.join(names)}]" if names and len(names) <= 6 else ""
        slope = self.minimum - self.mean
        gain = f"a share ε moved there changes F by {slope:.3g} ε"
        if slope >= 0:
            gain = "no small share there lowers F"
            if math.isfinite(self.longer):
                gain += f", but at a neuron more than {self.longer:.3g} times as long it does"
        found = f"{self.hits} of {self.starts} starts"
        frozen = ", ".join(self._frozen)
        frozen = f"({frozen})" if len(self._frozen) > 1 else frozen
        over = f" over networks with these frozen {frozen}" if frozen else ""
        return (
            f"min δF/δμ = {self.minimum:.6g} over {self.space}, at θ = {neuron}{columns} ({found}); "
            f"the mean is {self.mean:.6g}: {gain}\n"
            f"F = {self.energy:.6g} is at most {self.bound:.3g} above its infimum{over}: {self.by}"
        )


def optimality(
    flow: GradientFlow,
    state: State,
    size: float | None = None,
    convex: bool | None = None,
    starts: int = 64,
    seed: int = 0,
) -> Optimality:
    """The lowest point of the landscape that neurons feel, and how far F is from its infimum at most.

        F(μ) - F(ν) <= ∫ h dμ - ∫ h dν,   h = δF/δμ(·; μ),   for every ν, where F is convex

    so a lower bound of ∫ h dν is an upper bound of the gap. It comes from the minimum of h, which is
    searched from many starts at once.

    Parameters
    ----------
    flow : its functional is F, in float64; without the entropy, so temperature must be 0.
    state : μ.
    size : M, compares with ν of size at most M alone: ∫ |θ|^q dν over the trainable columns where h is
        homogeneous of degree q in them without its ridge, ∫ |a| dν where it is so in a alone. A
        teacher's, say. None: all ν, as far as the ridge allows; nothing else where h is not
        homogeneous.
    convex : whether F is convex in μ. None: it is for the losses of this package, all of them
        convex; True says it of a loss of your own, or of a PairwiseEnergy whose U is positive
        definite.
    starts : of the search; the state's own neurons, a teacher's and random ones, each with both
        signs where one column alone is on a sphere.
    seed : of the random ones.

    Returns
    -------
    An Optimality: .minimum .neuron .mean .energy .bound .by .space .starts .hits .inject(mass).

    Raises
    ------
    ValueError, TypeError : for noise, features that are frozen (a linearised network), networks that
        train nothing, pair energies without self pairs, functionals whose force at other neurons, or
        whose F, is not known, and for `size` where h is not homogeneous.

    Notes
    -----
    Frozen columns keep the values that they have in the state, and ν is any measure of the same
    frozen values. With g the minimum of h less its ridge over the unit sphere of the trainable columns
    (of a alone, where σ(⟨w, x⟩ + b) is not homogeneous in what trains), λ the ridge:

        q = 2, λ > 0          ∫ h dν >= min(g + λ/2, 0) M and F(ν) >= λM/2, M = ∫ |θ|² dν: worst at M = (F - ∫ h dμ)/|g|
        q < 2, λ > 0          h has a minimum on each ray, (1 - q/2) g (-q g/λ)^(q/(2-q)), taken for each frozen value
        not homogeneous       min h over the plane, for each frozen value
        any, with size=M      ∫ h dν >= min(g, 0) M

    F(μ) itself is a bound too, for no loss of this package is negative, and the least of all is
    given. Without a ridge and without `size` it is the only one, unless g >= 0.

    The bound is a proof where the search has found the minimum, and only as good as the search
    elsewhere: `hits` says how many starts came to it. With ReLU every sample is a kink: on a line of
    inputs 64 starts find the minimum, at d = 10 and n = 40 it is .1 % too high; more starts tell.

    A minimum below the mean is a direction in which F falls: `inject` adds that neuron. Chizat and
    Bach (2018), On the global convergence of gradient descent for over-parameterized models using
    optimal transport, NeurIPS 31. THEORY.md, sections 1 and 4.
    """
    _check(flow, state)
    starts, seed = integer("starts", starts), integer("seed", seed, 0)
    size = None if size is None else number("size", size)
    convex = None if convex is None else flag("convex", convex)
    if flow.network is not None and flow.network.centred:
        state = state.centred()
    landscape = Landscape(replace(flow, dtype="float64"), state)
    if size is not None and not landscape.space.round:
        raise ValueError(landscape.no_size(size))
    return _Bounds(landscape).judge(*landscape.lowest(starts, seed), size, convex)


def _check(flow: Any, state: Any) -> None:
    if not isinstance(flow, GradientFlow):
        raise TypeError(f"flow must be an mf.GradientFlow; got {type(flow).__name__}.")
    if not isinstance(state, State):
        raise TypeError(f"state must be an mf.State; got {type(state).__name__}.")
    if flow.network is not None and flow.network.feature is not None:
        raise ValueError(
            f"mf.optimality searches the space of neurons a σ(⟨w, x⟩ + b); {flow.network.feature!r} has "
            "none. flow.first_variation(state, at=theta) is the landscape at particles of yours."
        )
    if not Temperature.of(flow.temperature).zero:
        raise ValueError(
            "mf.optimality is about F without the entropy, and this flow has temperature "
            f"{Temperature.of(flow.temperature)}: its minimum has δF/δμ + T log μ constant, and not δF/δμ least. "
            "Ask dataclasses.replace(flow, temperature=0)."
        )
    if flow.functional.linearised_at is not None:
        raise ValueError(
            f"the features of a {type(flow.functional).__name__} are frozen: its neurons have no "
            "landscape of their own. Its minimum is that of least squares: see ntk.KernelFlow(…).at(np.inf)."
        )
    if isinstance(flow.functional, PairwiseEnergy) and not flow.functional.self_pairs:
        raise ValueError(
            "mf.optimality is about F(μ), and that of a PairwiseEnergy with self_pairs=False is no "
            "function of μ: a particle cut in two has another. Ask with self_pairs=True, and a U "
            "that is finite at x = y."
        )
    if not np.isfinite(state.theta).all():
        raise ValueError("the state has NaN or infinite particles.")


class _Bounds:
    """What the minimum of h proves of F."""

    def __init__(self, on: Landscape) -> None:
        self.on, self.space = on, on.space
        self.ridge, self.degree = on.ridge, on.degree

    def judge(
        self, points: np.ndarray, heights: np.ndarray, fibre: np.ndarray, size: float | None, convex: bool | None
    ) -> Optimality:  # fmt: skip
        """The minimum, and the bounds that follow from it."""
        state, network = self.on.state, self.on.flow.network
        own = self.on.field.potential(self.on.particles)
        mean, energy = float(state.mass @ own), self.on.field.energy(self.on.particles)
        best = int(np.argmin(heights))
        near = heights <= heights[best] + SAME * max(abs(heights[best]), 1e-300)
        minimum, neuron = float(heights[best]), points[best]
        lowest = np.full(len(self.on.frozen), np.inf)
        np.minimum.at(lowest, fibre, heights)
        np.minimum.at(lowest, self.on.of, own[self.on.heavy] if not self.space.round else np.inf)

        bounds = []
        if self.on.positive:
            bounds.append((energy, "F itself, for F >= 0"))
        if not self.space.round:
            lower = float(state.mass[self.on.heavy] @ lowest[self.on.of])
            bounds.append((mean - lower, f"∫ h dμ - min h, h = δF/δμ{self._each}"))
        elif self.degree is not None:
            bounds += self._of_rays(mean, energy, lowest, size)
        if self.space.round and self._coercive:
            g = minimum - 0.5 * self.ridge
            length = self._length(g)
            minimum = float(self._ray(np.array([g]))[0])
            neuron = np.where(self.on.free, neuron * length, neuron)
        bound, by = min(bounds, default=(math.inf, "nothing is known: give size=, or a ridge"))
        if not (self.on.positive if convex is None else convex):
            bound, by = math.nan, "F is not known to be convex in μ; where it is, say convex=True"
        return Optimality(
            minimum, neuron, mean, energy, max(bound, 0.0), by, self._words, len(points),
            int(near.sum()), state, network.scaling.gamma if network is not None else 1.0,
            self._names_frozen, self._rays(),
        )  # fmt: skip

    def _rays(self) -> tuple[float, np.ndarray] | None:
        """(degree, columns) where h(rθ) = r^degree h(θ) in these columns, of any length r; None where
        the length is decided.
        """
        if self.ridge > 0 or self.degree is None or not self.space.round:
            return None
        return self.degree, self.space.sphere

    @property
    def _coercive(self) -> bool:
        return self.ridge > 0 and self.degree is not None and self.degree < 2

    @property
    def _names_frozen(self) -> tuple[str, ...]:
        network = self.on.flow.network
        return () if network is None else tuple(n for n in PARAMETERS if n not in network.trainable)

    @property
    def _each(self) -> str:
        return ", for each frozen value" if len(self.on.frozen) > 1 else ""

    @property
    def _words(self) -> str:
        names = self.on.flow.network.trainable if self.on.flow.network is not None else ("θ",)
        these = ", ".join(names)
        if not self.space.round or self._coercive:
            return f"all ({these})" if len(names) > 1 else f"all {these}"
        if np.array_equal(self.space.sphere, self.on.free):
            return f"the unit sphere of ({these})"
        return f"|a| = 1 and all ({', '.join(name for name in names if name != 'a')})"

    def _length(self, g: float) -> float:
        """Where t^q g + λt²/2 is least, t >= 0."""
        q = self.degree
        assert q is not None
        return (-q * g / self.ridge) ** (1.0 / (2.0 - q)) if g < 0 else 0.0

    def _ray(self, g: np.ndarray) -> np.ndarray:
        """min over t >= 0 of t^q g + λt²/2, q < 2."""
        q = self.degree
        assert q is not None
        t = (-q * np.minimum(g, 0.0) / self.ridge) ** (1.0 / (2.0 - q))
        return t**q * np.minimum(g, 0.0) + 0.5 * self.ridge * t**2

    def _of_rays(
        self, mean: float, energy: float, lowest: np.ndarray, size: float | None
    ) -> list[tuple[float, str]]:
        """Bounds from the minimum on unit neurons, for each fibre in `lowest`."""
        on_all = np.array_equal(self.space.sphere, self.on.free)
        g = lowest - (0.5 * self.ridge if on_all else 0.0)  # without the ridge
        least, found = float(g.min()), []
        if self._coercive:
            lower = float(self.on.state.mass[self.on.heavy] @ self._ray(g)[self.on.of])
            found.append((mean - lower, f"∫ h dμ - min h, h = δF/δμ{self._each}"))
        if self.degree == 2 and self.ridge and self.on.positive:
            # F(ν) >= λM/2 and F(ν) >= F - mean + (g + λ/2) M: the two meet at the worst M
            worst = max(energy - mean, 0.0) / -least if least < 0 else 0.0
            worst = min(worst, math.inf if size is None else size)
            below = min(least + 0.5 * self.ridge, 0.0)
            found.append(
                (
                    mean - below * worst,
                    f"∫ h dμ - min h ∫ |θ|² dν, of which {worst:.4g} is the worst",
                )
            )
        if least >= 0:
            found.append((mean, "∫ h dμ, for h >= 0 everywhere"))
        elif size is not None:
            found.append((mean - least * size, f"against networks of size {size:g} at most"))
        return found
