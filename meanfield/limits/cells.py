"""Cells: a density on a line or on circles, held as a State whose particles are the centres of
cells and whose masses are what the cells hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..checks import is_integer, is_number
from ..network import Network
from ..state import State

LEAST = 4  # cells of a line or a circle
# Gauss–Legendre points of a cell: its mass is exact for densities of degree 5
NODES, WEIGHTS = np.polynomial.legendre.leggauss(3)
TOLERANCE = 1e-5  # of a cell, for centres


class Cells(NamedTuple):
    """Cells of one size h: `families` lines or circles with `each` cells on one. closed: circles.

    The neurons of a circle are a = ±|u|, u = √r (cos α, sin α) being (w, b) of scalar inputs, or w
    of two inputs; the sign is the family's, and r = |u|² the cell's own.
    """

    families: int
    each: int
    h: float
    closed: bool

    def shape(self, values: Any) -> np.ndarray:
        """One number a cell, (m,), as (families, each)."""
        return np.asarray(values, dtype=np.float64).reshape(self.families, self.each)


class Density(NamedTuple):
    """`density` (families, cells) per unit of length, at the centres `x` (families, cells): angles
    of a circle. Its sum times the size of a cell is 1.
    """

    x: np.ndarray
    density: np.ndarray


def line(
    low: float,
    high: float,
    cells: int,
    density: Callable[[np.ndarray], Any] | None = None,
    a: float | tuple[float, ...] | None = None,
) -> State:
    """A density on [low, high], in cells of equal length: the start of mf.limits.FINITE_VOLUMES.

    Parameters
    ----------
    low, high : ends, through which no mass goes. Leave room for all that moves.
    cells : their number, 4 at least.
    density : x (array) -> density >= 0, up to a factor; None: uniform. A cell holds its integral.
    a : None for particles of an mf.PairwiseEnergy, x itself. A number, or several with a share each
        of the mass: output weights of neurons of one input, w = x and b = 0, in a network that
        trains w alone.

    Returns
    -------
    An mf.State with the centres of the cells as particles.

    Raises
    ------
    ValueError, TypeError : for ends that are not in order, for densities that are negative,
        infinite, or zero everywhere.
    """
    count = _count(cells)
    if not (is_number(low) and is_number(high) and -math.inf < low < high < math.inf):
        raise ValueError(f"line: low < high must be finite numbers; got {low!r}, {high!r}.")
    edges = np.linspace(low, high, count + 1)
    x = 0.5 * (edges[1:] + edges[:-1])
    mass = _masses(x, (high - low) / count, density)
    if a is None:
        return State(x[:, None], outputs=0, mass=mass)

    signs = _signs("a", a)
    theta = [np.column_stack([np.full(count, value), x, np.zeros(count)]) for value in signs]
    return State(np.concatenate(theta), mass=np.tile(mass, len(signs)) / len(signs))


def circle(
    cells: int,
    density: Callable[[np.ndarray], Any] | None = None,
    radius: float = 1.0,
    signs: float | tuple[float, ...] = (1.0, -1.0),
    bias: bool = True,
) -> State:
    """Balanced neurons a = ±|u| of all directions: a density of angles, in cells of equal size.

    For positively homogeneous σ (ReLU) such neurons stay balanced, and all that f knows of them is
    ∫|u|² dμ in each direction. The start of mf.limits.FINITE_VOLUMES.

    Parameters
    ----------
    cells : their number on each circle, 4 at least.
    density : angle (array, in (-π, π)) -> density >= 0, up to a factor; None: uniform.
    radius : |u| of the neurons. For neurons of several lengths it is (E|u|²)^(1/2): √2 for normal u.
    signs : of a, one circle with a share each of the mass; both by default, so that f = 0.
    bias : True: scalar inputs, u = (w, b). False: two inputs, u = w and b = 0.

    Returns
    -------
    An mf.State with one neuron a cell.

    Raises
    ------
    ValueError, TypeError : for a radius that is not positive, for densities that are negative,
        infinite, or zero everywhere.
    """
    count = _count(cells)
    if not is_number(radius) or not 0 < radius < math.inf:
        raise ValueError(f"circle: radius must be a finite number > 0; got {radius!r}.")
    kept = [math.copysign(1.0, value) for value in _signs("signs", signs)]
    if len(set(kept)) < len(kept):
        raise ValueError(
            f"circle: signs must be 1, -1 or (1, -1), one circle of each sign; got {signs!r}."
        )
    h = 2 * math.pi / count
    angles = -math.pi + h * (np.arange(count) + 0.5)
    mass = _masses(angles, h, density)
    u = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    frozen = [] if bias else [np.zeros(count)]
    theta = [np.column_stack([np.full(count, sign * radius), u, *frozen]) for sign in kept]
    return State(np.concatenate(theta), mass=np.tile(mass, len(kept)) / len(kept))


def density(flow: Any, state: State) -> Density:
    """The density that the masses of a state of cells are, of a run by mf.limits.FINITE_VOLUMES.

    flow : its mf.GradientFlow. ValueError where the particles are not centres of such cells.
    """
    cells, where = find(flow.network, state.theta, state.outputs)
    return Density(cells.shape(where), cells.shape(state.mass) / cells.h)


def find(network: Network | None, theta: np.ndarray, outputs: int) -> tuple[Cells, np.ndarray]:
    """(the cells that the particles are centres of, where each is (m,)); ValueError where they are
    none.
    """
    eps = float(np.finfo(np.asarray(theta).dtype).eps)
    theta = np.asarray(theta, dtype=np.float64)
    if network is None:
        if theta.shape[1] != 1:
            raise ValueError(
                f"finite volumes are for one dimension; the particles have {theta.shape[1]}. Follow "
                "them with mf.RK4."
            )
        return _line(theta, 0, eps)
    if network.scaling.gamma != 1:
        raise ValueError(
            "the limit m → ∞ of the density of neurons is that of γ = 1; the network has γ = "
            f"{network.scaling.gamma:g}. Use scaling=mf.MEAN_FIELD; for γ = 1/2, ntk.KernelFlow."
        )
    dim = theta.shape[1] - outputs - 1
    moving = np.flatnonzero(network.trainable_columns(dim, outputs))
    if len(moving) == 1:
        return _line(theta, int(moving[0]), eps)
    on_circle = outputs == 1 and (dim, tuple(moving)) in ((1, (0, 1, 2)), (2, (0, 1, 2)))
    if on_circle and network.sigma.homogeneity == 1:
        return _circle(theta, eps)
    raise ValueError(
        "finite volumes are for neurons that move in one dimension: one trained column of θ (scalar "
        'inputs, trainable=("w",): mf.limits.line), or balanced neurons of a positively homogeneous '
        'σ on a circle (relu: scalar inputs with a, w, b trained, or two inputs with trainable=("a", '
        f'"w"): mf.limits.circle); got {network}, d = {dim}, K = {outputs}. Follow particles with '
        "mf.RK4."
    )


def _line(theta: np.ndarray, column: int, eps: float) -> tuple[Cells, np.ndarray]:
    x, frozen = theta[:, column], np.delete(theta, column, axis=1)
    new = np.flatnonzero(np.any(frozen[1:] != frozen[:-1], axis=1)) + 1
    starts = np.concatenate([[0], new, [len(x)]])
    count = int(starts[1])
    if count >= LEAST and np.all(np.diff(starts) == count):
        positions = x.reshape(-1, count)
        gaps = np.diff(positions, axis=1)
        h = float(positions[0, -1] - positions[0, 0]) / (count - 1)
        if h > 0 and np.all(np.abs(gaps - h) <= _slack(h, eps, float(np.abs(x).max()))):
            return Cells(len(positions), count, h, closed=False), x
    raise ValueError(_not_cells("line(low, high, cells)"))


def _circle(theta: np.ndarray, eps: float) -> tuple[Cells, np.ndarray]:
    a, u = theta[:, 0], theta[:, 1:3]
    radius = np.hypot(u[:, 0], u[:, 1])
    if np.any(np.abs(np.abs(a) - radius) > TOLERANCE * radius) or np.any(theta[:, 3:] != 0):
        raise ValueError(
            "on a circle the neurons are balanced, a² = |w|² + b², and those of two inputs have b = "
            "0: make the start with mf.limits.circle(cells)."
        )
    angles = np.arctan2(u[:, 1], u[:, 0])
    new = np.flatnonzero(np.sign(a[1:]) != np.sign(a[:-1])) + 1
    starts = np.concatenate([[0], new, [len(a)]])
    count = int(starts[1])
    if count >= LEAST and np.all(np.diff(starts) == count) and np.all(radius > 0):
        h = 2 * math.pi / count
        positions = angles.reshape(-1, count)
        gaps = np.remainder(np.roll(positions, -1, axis=1) - positions, 2 * math.pi)
        if np.all(np.abs(gaps - h) <= _slack(h, eps, math.pi)):
            return Cells(len(positions), count, h, closed=True), angles
    raise ValueError(_not_cells("circle(cells)"))


def _slack(h: float, eps: float, size: float) -> float:
    """How far a gap between centres up to `size` may be from h: they are rounded, to eps each."""
    return min(TOLERANCE * h + 4 * eps * size, h / 4)


def _not_cells(maker: str) -> str:
    return (
        "the particles are not the centres of cells of one size, in their order: make the start with "
        f"mf.limits.{maker}. A cloud of particles is followed by mf.RK4."
    )


def _count(cells: Any) -> int:
    if not is_integer(cells) or cells < LEAST:
        raise ValueError(f"cells must be an integer >= {LEAST}; got {cells!r}.")
    return int(cells)


def _signs(name: str, given: Any) -> tuple[float, ...]:
    values = given if isinstance(given, (tuple, list)) else (given,)
    distinct = len(set(values)) == len(values) > 0
    if not distinct or not all(is_number(v) and math.isfinite(v) and v != 0 for v in values):
        raise ValueError(
            f"{name} must be a number that is not 0, or several different ones; got {given!r}."
        )
    return tuple(float(value) for value in values)


def _masses(x: np.ndarray, h: float, density: Callable[[np.ndarray], Any] | None) -> np.ndarray:
    """The integral of the density over each cell, normalised."""
    if density is None:
        return np.full(len(x), 1.0 / len(x))
    points = x[:, None] + 0.5 * h * NODES
    values = np.broadcast_to(np.asarray(density(points), dtype=np.float64), points.shape)
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        at = points[~(np.isfinite(values) & (values >= 0))][0]
        raise ValueError(f"the density must be finite and >= 0; at {at:.6g} it is not.")
    mass = values @ WEIGHTS
    if not mass.sum() > 0:
        raise ValueError("the density is 0 in every cell: there is no mass to follow.")
    return mass / mass.sum()
