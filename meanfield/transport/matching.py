"""Which neuron of one network is which of another: optimal transport between neurons up to the
symmetries of the activation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import real
from ..files.trajectory import Trajectory
from ..formulas.activations import Activation
from ..network import Network
from ..state import State
from .distances import optimal_plan

PROBES = (0.3, 0.7, 1.1, 1.9, 3.1)  # where σ(-z) is compared with ±σ(z)


@dataclass(frozen=True, eq=False)
class Matching:
    """An optimal plan between the neurons of two networks. `match` makes it.

    first, second: the States that were compared (balanced, in output units, as asked), in their own
    order. The plan: mass[l] of neuron i[l] of `first` goes to neuron j[l] of `second`, (pairs,)
    each; flipped[l]: to its twin under the activation's sign symmetry. twin: ±1 for each column,
    what flipping does, or None. units: what the distances are in, in words: the symmetries that
    were divided out and the unit of a; empty for θ as it is, where `distance` is mf.w2 of the two.
    """

    first: State
    second: State
    i: np.ndarray
    j: np.ndarray
    mass: np.ndarray
    flipped: np.ndarray
    twin: np.ndarray | None
    units: str = ""

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """θ of the first and of the second network's neuron of each pair, signs aligned: (pairs, p)
        each, float64."""
        x, y = (
            state.theta.astype(np.float64)[which]
            for state, which in ((self.first, self.i), (self.second, self.j))
        )
        return x, y if self.twin is None else np.where(self.flipped[:, None], y * self.twin, y)

    @property
    def plan(self) -> Any:
        """The plan as a sparse matrix (m, m'), scipy.sparse.coo_array: entry (i, j) is the mass
        that goes from i to j."""
        from scipy.sparse import coo_array

        return coo_array((self.mass, (self.i, self.j)), shape=(self.first.m, self.second.m))

    @property
    def lengths(self) -> np.ndarray:
        """How far apart the two neurons of each pair are, (pairs,)."""
        x, y = self.ends
        return np.linalg.norm(y - x, axis=1)

    @property
    def distance(self) -> float:
        """(Σ_l mass_l length_l²)^½: W2 of `first` and `second`, in the quotient by the sign
        symmetry.

        Of a canonical match it is no more mf.w2 of the two networks, nor what mf.compare shows:
        balanced weights that compute the same functions are compared, not the weights as the flow
        moves them. `units` says which.
        """
        return float(np.sqrt(self.mass @ np.square(self.lengths)))

    @property
    def same(self) -> float:
        """The fraction of the mass whose partner has the same index."""
        return float(self.mass[self.i == self.j].sum())

    def moved(self, *distances: float) -> np.ndarray:
        """The fraction of the mass that moved farther than each of the distances."""
        return np.array([self.mass[self.lengths > distance].sum() for distance in distances])

    def quantiles(self, *fractions: float) -> np.ndarray:
        """The distances that these fractions of the mass do not exceed: quantiles(0.5) is the
        median."""
        if any(not 0 <= fraction <= 1 for fraction in fractions):
            raise ValueError(f"fractions must lie in [0, 1]; got {fractions}.")
        order = np.argsort(self.lengths)
        reached = np.cumsum(self.mass[order])
        found = np.searchsorted(reached, np.asarray(fractions) * reached[-1] * (1 - 1e-12))
        return self.lengths[order][np.minimum(found, len(order) - 1)]

    @property
    def permutation(self) -> np.ndarray:
        """(m,): neuron k of the first network is neuron permutation[k] of the second. Raises where
        a neuron was split."""
        if (
            len(self.i) != self.first.m
            or self.first.m != self.second.m
            or len(set(self.j.tolist())) != self.second.m
        ):
            raise ValueError(
                f"the plan is no permutation: {len(self.i)} pairs between m = {self.first.m} and m "
                f"= {self.second.m} neurons. "
                "Its pairs are in .i, .j, .mass; .at(t) has a particle for each of them."
            )
        return self.j

    def apply(self, state: State) -> State:
        """A State of the second network's neurons, any frame of it, in the order of the first's,
        twins flipped; scales stay.

        The function is the same. Raises where the plan is no permutation.
        """
        order = self.permutation
        if not isinstance(state, State) or state.theta.shape != self.second.theta.shape:
            raise ValueError(
                f"apply needs a State of the second network, {self.second!r}; got {state!r}."
            )
        theta = state.theta[order]
        if self.twin is not None:
            theta = np.where(self.flipped[:, None], theta * self.twin.astype(theta.dtype), theta)
        return state.moved(theta, state.mass[order], state.step, state.t)

    def at(self, t: float) -> State:
        """((1 - t) Id + t T)_# μ, 0 <= t <= 1: a particle for each pair, State.t = t. McCann
        (1997); THEORY.md, section 6."""
        if not 0 <= t <= 1:
            raise ValueError(f"times of a displacement interpolation lie in [0, 1]; got {t!r}.")
        x, y = self.ends
        return self.first.moved((1.0 - t) * x + t * y, self.mass, t=float(t))

    @property
    def verdict(self) -> str:
        """One sentence with numbers."""
        median, most, farthest = self.quantiles(0.5, 0.9, 1.0)
        flips = (
            f", {self.mass[self.flipped].sum():.1%} of it with the sign turned"
            if self.flipped.any()
            else ""
        )
        return (
            f"{self.same:.1%} of the mass has a partner of the same index{flips}; half of it lies "
            f"within {median:.3g} of its "
            f"partner, 90 % within {most:.3g}, all within {farthest:.3g}; "
            f"W2{self.units and f' {self.units}'} = {self.distance:.4g} "
            f"({len(self.i)} pairs, m = {self.first.m} and {self.second.m})."
        )

    def __str__(self) -> str:
        return self.verdict

    __repr__ = __str__


def match(
    p: Any,
    q: Any,
    canonical: bool = True,
    network: Network | None = None,
    output_units: bool = False,
) -> Matching:  # fmt: skip
    """Match the neurons of two networks by the optimal plan of W2, after weights that say the same
    are
    made the same.

    Parameters
    ----------
    p, q : State, or Trajectory or path (its last frame); any widths and masses, the same d and K.
    canonical : up to what leaves φ = a σ(⟨w, x⟩ + b) as it is; False: θ as it is.
    network : of States, and of activations written by the user: where σ comes from.
    output_units : a is multiplied by each network's own s = α m^(1-γ) first, so that f = ∫φ dμ: for
        different γ, α, or widths at γ < 1, where equal weights do not mean equal outputs. Without
        it θ is compared as the flow moves it.

    Returns
    -------
    A Matching.

    Raises
    ------
    ValueError, TypeError : for other inputs.
    NotConverged : where a solver did not reach its optimum.

    Notes
    -----
    Canonical:

        σ(cz) = c^p σ(z)  (a, w, b) ~ (a/c^p, c w, c b)  balanced: |w|² + b² = p|a|²; 0 where φ = 0
        σ odd             (a, w, b) ~ (-a, -w, -b)       a pair is as far apart as the nearer sign
        σ even            (a, w, b) ~ (a, -w, -b)        likewise

    Exact; at worst O(m^2.5): 8 s at m = 5000.
    """
    with ExitStack() as stack:
        ends, networks = zip(
            *(_end(measure, name, network, stack) for measure, name in ((p, "p"), (q, "q"))),
            strict=True,
        )
    known = [found for found in networks if found is not None]
    twin: np.ndarray | None = None
    first, second = ends
    if canonical or output_units:
        if first.columns is not None or second.columns is not None:
            raise ValueError(
                "particles of an mf.Feature have no a, w, b: pass canonical=False, "
                "output_units=False."
            )
        if 0 in (first.outputs, second.outputs):
            raise ValueError(
                "particles with outputs = 0, whole rows of θ, have no a, w, b: pass "
                "canonical=False."
            )
        if not known:
            raise ValueError(
                "States do not say what σ and s are: pass network=mf.Network(…), or "
                "canonical=False."
            )
        if canonical and len({found.sigma.name for found in known}) > 1:
            names = " and ".join(sorted({found.sigma.name for found in known}))
            raise ValueError(
                f"the networks have the activations {names}: their neurons are different "
                "functions. canonical=False."
            )
        own = [found or known[0] for found in networks]
        if output_units:
            first, second = _in_output_units(first, own[0]), _in_output_units(second, own[1])
        if canonical:
            first, second = balanced(first, own[0].sigma), balanced(second, own[0].sigma)
            twin = _twin(own[0].sigma, first)
    i, j, mass = optimal_plan(first, second, twin)
    units = (
        _units(own[0].sigma if canonical else None, output_units)
        if canonical or output_units
        else ""
    )
    plain = Matching(first, second, i, j, mass, np.zeros(len(i), bool), twin, units)
    if twin is None:
        return plain
    x, y = plain.ends
    flipped = np.square(x - y * twin).sum(axis=1) < np.square(x - y).sum(axis=1)
    return Matching(first, second, i, j, mass, flipped, twin, units)


def interpolate(
    p: Any,
    q: Any,
    times: Sequence[float],
    canonical: bool = False,
    network: Network | None = None,
    output_units: bool = False,
) -> list[State]:
    """Displacement interpolation t ↦ μ_t = ((1 - t) Id + tT)_# μ between two networks.

    Parameters
    ----------
    p, q, canonical, network, output_units : as in `match`, whose plan T is.
    times : 0 <= t <= 1.

    Returns
    -------
    A list of State, with a particle for each pair of the plan: at most m + m' - 1. Their number
    enters s = α m^(1-γ): for γ ≠ 1 and a number other than m the function of an interpolant is that
    of a Scaling with the s you mean.

    Notes
    -----
    The constant-speed geodesic: W2(μ_s, μ_t) = |t - s| W2(p, q). With the sign symmetry of a
    canonical match it is that of the quotient space.
    """
    matching = match(p, q, canonical, network, output_units)
    return [matching.at(real("a time of interpolate", t)) for t in times]


def balanced(state: State, sigma: Activation) -> State:
    """The same function with |w|² + b² = p|a|² for each neuron, where σ is positively homogeneous
    of degree p > 0; 0 where φ = 0.

    c^(2 + 2p) = p|a|²/(|w|² + b²) in (a/c^p, c w, c b). Other activations: the state in float64,
    unchanged.
    """
    p, K = sigma.homogeneity, state.outputs
    theta = state.theta.astype(np.float64)
    if p is not None and p > 0:
        a, v = np.linalg.norm(theta[:, :K], axis=1), np.linalg.norm(theta[:, K:], axis=1)
        alive = (a > 0) & (v > 0)
        c = np.ones(state.m)
        c[alive] = (np.sqrt(p) * a[alive] / v[alive]) ** (1.0 / (1.0 + p))
        theta[:, :K] /= (c**p)[:, None]
        theta[:, K:] *= c[:, None]
        theta[~alive] = 0.0
    return state.moved(theta, step=state.step, t=state.t)


def parity(sigma: Activation) -> int:
    """1 for an even σ, -1 for an odd one, 0 for neither: from its values at a few points, to
    rounding."""
    pairs = [(float(sigma.value(z)), float(sigma.value(-z))) for z in PROBES]
    for sign in (1, -1):
        if all(
            abs(there - sign * here) <= 1e-14 * max(abs(here), abs(there)) for here, there in pairs
        ):
            return sign
    return 0


def _twin(sigma: Activation, state: State) -> np.ndarray | None:
    """The signs (p,) that turn a neuron into its twin of the same φ, or None."""
    sign = parity(sigma)
    if sign == 0:
        return None
    twin = np.full(state.theta.shape[1], -1.0)
    twin[: state.outputs] = sign
    return twin


def _units(sigma: Activation | None, output_units: bool) -> str:
    """In words, what the distances of a match are up to, and in which unit a is."""
    symmetries = []
    if sigma is not None and sigma.homogeneity is not None and sigma.homogeneity > 0:
        symmetries.append("rescaling")
    if sigma is not None and parity(sigma):
        symmetries.append("sign")
    upto = f"up to {' and '.join(symmetries)}" if symmetries else ""
    return ", ".join(part for part in (upto, "in output units" if output_units else "") if part)


def _in_output_units(state: State, network: Network) -> State:
    theta = state.theta.astype(np.float64)
    theta[:, : state.outputs] *= network.scaling.output_scale(state.m)
    return state.moved(theta, step=state.step, t=state.t)


def _end(
    measure: Any, name: str, network: Network | None, stack: ExitStack
) -> tuple[State, Network | None]:
    """The State meant, and its network: that of its file, or the one given."""
    if isinstance(measure, State):
        return measure, network
    if isinstance(measure, (str, Path)):
        measure = stack.enter_context(Trajectory(measure))
    if not isinstance(measure, Trajectory):
        raise TypeError(
            f"{name} must be an mf.State, an mf.Trajectory or the path of a run; got "
            f"{type(measure).__name__}."
        )
    own = None
    settings = measure.config.get("network")
    if settings and "feature" not in settings:
        if network is not None and network.sigma.name != settings["activation"]:
            raise ValueError(
                f"{measure.path} has the activation {settings['activation']!r}; network= has "
                f"{network.sigma.name!r}."
            )
        own = Network.from_dict(settings, network.sigma if network else None)
    return measure[-1] if len(measure) else measure.start, own
