"""PairwiseEnergy: F(μ) = ∫ V dμ + ½ ∬ U dμ dμ of particles that are points, its first variation and
velocity field.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..backends.cpu.backend import tree_sum
from ..backends.protocol import Backend
from ..formulas.differences import check_gradient, check_symmetry, steepest
from ..particles import Particles
from ..state import State
from .protocol import Field, Functional

SAMPLE = 24  # particles of a start that the gradients are checked at
POINTS, COUPLES = 4, 8  # of them, and of their pairs
# of the largest component of a gradient: what small ones may be off by cancellation
ROUNDING = 1e-10

Formulas = tuple[Callable[..., float], Callable[..., None]]


@dataclass(frozen=True, eq=False)
class PairwiseEnergy(Functional):
    """F(μ) = ∫ V dμ + ½ ∬ U dμ dμ on whole rows of θ: velocity_k = -∇V(x_k) - Σ_l p_l ∇_x U(x_k,
    x_l).

    Parameters
    ----------
    potential : (V, grad_V), or None.
    interaction : (U, grad_U), or None. All four are plain Python functions of particles x, y with p
        coordinates each, x[0] … x[p - 1], which call exp, log, sqrt, … from `math`:

            V(x) -> float                grad_V(x, out):     out[j] = ∂V/∂x_j
            U(x, y) -> float, symmetric  grad_U(x, y, out):  out[j] = ∂U/∂x_j, x the first argument

        They are compiled, inlined, for the backend and dtype of the flow. `out` is 0 before each
        call, so a gradient may assign it only where it is not 0 (within a cut-off, say).
    self_pairs : False leaves out l = k (and the diagonal of ∬): for U that are singular there, such
        as -log|x - y|.
    check : False leaves out the comparison with differences.

    Raises
    ------
    TypeError, ValueError : for functions of other arguments at once; at the first states of a
        dimension, until their particles have told, also for a U that is not symmetric and for
        gradients that are not those of V and U, by differences at several steps at a few particles
        and pairs, near and far.

    Notes
    -----
    With ½ before ∬, U = ½|x - y|² contracts a cloud as e^{-t}. Particles are mf.State(theta,
    outputs=0); masses p_k are honoured. O(m²) time and O(m) memory a step. No file holds the
    functions: mf.resume(path, flow=…). THEORY.md, section 4.
    """

    potential: Formulas | None = None
    interaction: Formulas | None = None
    self_pairs: bool = True
    check: bool = field(default=True, repr=False)
    # letters and dimensions
    _checked: set[tuple[str, int]] = field(default_factory=set, init=False, repr=False)

    network: ClassVar[None] = None  # type: ignore[misc]
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def __post_init__(self) -> None:
        if self.potential is None and self.interaction is None:
            raise ValueError(
                "PairwiseEnergy has neither potential nor interaction: give "
                "potential=(V, grad_V), interaction=(U, grad_U)."
            )
        for name in ("self_pairs", "check"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name} must be True or False; got {getattr(self, name)!r}.")
            object.__setattr__(self, name, bool(getattr(self, name)))
        for name, arguments in (("potential", "x"), ("interaction", "x, y")):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _formulas(name, given, arguments))

    @property
    def formulas(self) -> tuple[Callable, ...]:
        return *(self.potential or ()), *(self.interaction or ())

    def check_state(self, state: State) -> None:
        """Raise for neurons, and where V and U do not fit such particles or their gradients are
        wrong.
        """
        if state.outputs:
            raise ValueError(
                "a PairwiseEnergy acts on whole rows of θ; the state has K = "
                f"{state.outputs} outputs. "
                "Write mf.State(theta, outputs=0), theta (m, p) with one row a particle."
            )
        if self.check:
            with np.errstate(over="ignore"):  # of particles beyond 1e154
                self._check_gradients(state.theta)

    def _check_gradients(self, theta: np.ndarray) -> None:
        """Raise where they are wrong; again for later particles where these do not tell: all in one
        place, or V or U flat.
        """
        given = {"V": self.potential, "U": self.interaction}
        V, U = (
            pair and (letter, theta.shape[1]) not in self._checked and pair
            for letter, pair in given.items()
        )
        if not (V or U):
            return
        rows = theta[np.unique(np.linspace(0, len(theta) - 1, SAMPLE).astype(int))].astype(
            np.float64
        )
        rows = rows[np.isfinite(rows).all(axis=1)]
        spread = float(np.sqrt(rows.var(axis=0).sum())) if len(rows) else 0.0
        if V:
            scales = [spread or float(np.abs(rows).max(initial=0.0)) or 1.0]
            alone = [(x,) for x in rows[_spaced(len(rows), POINTS)]]
            floor = ROUNDING * steepest(V[1], alone)
            if any([check_gradient(*V, point, scales, floor) for point in alone]):
                self._checked.add(("V", rows.shape[1]))
        if U:
            couples = _couples(rows)
            floor = ROUNDING * steepest(U[1], [(x, y) for x, y, _ in couples])
            for x, y, _ in couples:
                check_symmetry(U[0], x, y)
            if any([check_gradient(*U, (x, y), [gap, spread], floor) for x, y, gap in couples]):
                self._checked.add(("U", rows.shape[1]))

    def on(self, backend: Backend, state: State) -> PairField:
        """This energy on a device, for particles of the shape of `state`."""
        return PairField(self, backend, state)

    def to_dict(self) -> dict[str, Any]:
        """Settings; of the functions their names alone."""
        names = {
            name: pair[0].__name__ if (pair := getattr(self, name)) else None
            for name in ("potential", "interaction")
        }
        return {"kind": "PairwiseEnergy", **names, "self_pairs": self.self_pairs}

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{name}={value}" for name, value in self.to_dict().items() if name != "kind"
        )
        return f"PairwiseEnergy({settings})"


def _spaced(n: int, count: int) -> np.ndarray:
    """Up to `count` of n indices at equal distances."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(int))


def _couples(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Pairs (x, y, |x - y|) of rows that are not the same, from the nearest two to the farthest: a
    cut-off may lie between.
    """
    first, second = np.triu_indices(len(rows), 1)
    distances = np.sqrt(np.square(rows[first] - rows[second]).sum(axis=1))
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] > 0]
    chosen = order[_spaced(len(order), COUPLES)] if len(order) else order
    return [(rows[first[c]], rows[second[c]], float(distances[c])) for c in chosen]


def _formulas(name: str, given: Any, arguments: str) -> Formulas:
    """(value, gradient), both plain functions of these arguments."""
    letter = "V" if name == "potential" else "U"
    wanted = (
        f"{name} must be ({letter}, grad_{letter}): {letter}({arguments}) -> float and "
        f"grad_{letter}({arguments}, out)"
    )
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{wanted}; got {given!r}.")
    for function, count in zip(
        given, (arguments.count(",") + 1, arguments.count(",") + 2), strict=True
    ):
        if not inspect.isfunction(function):
            raise TypeError(f"{wanted}, plain Python functions; got {function!r}.")
        if (found := len(inspect.signature(function).parameters)) != count:
            raise TypeError(f"{wanted}; {function.__name__} takes {found} arguments, not {count}.")
    return given[0], given[1]


class PairField(Field):
    """The energy bound to a device."""

    def __init__(self, energy: PairwiseEnergy, backend: Backend, state: State) -> None:
        super().__init__(backend)
        self.pair_energy = energy
        self.kernels = backend.pair_energy(energy.potential, energy.interaction, energy.self_pairs)

    def energy(self, particles: Particles) -> float:
        """F = Σ_k p_k [V(x_k) + ½ Σ_l p_l U(x_k, x_l)]."""
        alone, paired = self._values(particles)
        return float(tree_sum(particles.mass * (alone + 0.5 * paired)))

    def _values(self, particles: Particles) -> tuple[np.ndarray, np.ndarray]:
        """V(x_k) and Σ_l p_l U(x_k, x_l), each (m,) on the host."""
        known = self.known(particles)
        if "values" not in known:
            known["values"] = self.kernels.values(particles.theta, self.weight(particles))
        return known["values"]

    def _velocity(self, particles: Particles) -> Any:
        """-∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l): a device array (m, p)."""
        return self.kernels.velocity(particles.theta, self.weight(particles))

    def potential(self, particles: Particles, at: Any = None) -> np.ndarray:
        """δF/δμ(x_k) = V(x_k) + Σ_l p_l U(x_k, x_l): (m,) on the host; of other particles `at`,
        (q,), over all l.
        """
        if at is not None:
            return self._elsewhere(
                particles, at, lambda kernels, *those: sum(kernels.values(*those))
            )
        alone, paired = self._values(particles)
        return alone + paired

    def force(self, particles: Particles, at: Any) -> np.ndarray:
        """-∇V(y) - Σ_l p_l ∇_y U(y, x_l) at other particles y: (q, p) on the host, over all l."""

        def measure(kernels: Any, theta: Any, weight: Any) -> np.ndarray:
            return self.backend.download(kernels.velocity(theta, weight))

        return self._elsewhere(particles, at, measure)

    def _elsewhere(self, particles: Particles, at: Any, measure: Callable) -> np.ndarray:
        """What measure(kernels, θ, weight) says of each row of `at`: they join the particles without
        mass, and none meets itself.

        Each once, for two in one place would meet: 0·U may be 0·∞. As many at a time as there are
        particles, or 1024.
        """
        energy, backend = self.pair_energy, self.backend
        kernels = backend.pair_energy(energy.potential, energy.interaction, False)
        theta = backend.download(particles.theta)
        m = len(theta)
        points, where = np.unique(backend.download(at), axis=0, return_inverse=True)
        size = max(m, 1024)

        found = []
        for first in range(0, len(points), size):
            some = points[first : first + size]
            weight = backend.weights(np.concatenate([particles.mass, np.zeros(len(some))]))
            joined = backend.upload(np.concatenate([theta, some]))
            found.append(measure(kernels, joined, weight)[m:])
        return np.concatenate(found)[where.ravel()]

    def rate(self, particles: Particles) -> float:
        """Not known: the formulas are the user's."""
        raise ValueError(
            'dt="auto" knows no rate of a PairwiseEnergy, whose formulas are yours. Give '
            "dt a number, well below 2 over the "
            "largest curvature of V + ∫U dμ, or let mf.Adaptive(rtol=1e-6) choose."
        )

    def compiled(self) -> bool:
        return self.kernels.compiled()

    @property
    def stretched_by(self) -> Any:
        return self.kernels
