"""Finite volumes: the continuity equation of the limit m → ∞ in one dimension, as a method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..checks import is_number
from ..particles import Particles
from ..stepping.clocks import Diverged
from ..stepping.methods import Method, Step, register_method
from .cells import Cells, find

ROUNDING = 1e-13  # of F and ∫|δF/δμ| dμ: a rise of F below it is none
SHORTEST = 1e-9  # of a step: no part of it is shorter


class Faces(NamedTuple):
    """What the present density makes happen between the cells.

    u: velocities at the right faces, height: δF/δμ of a cell (per unit of |u|² on a circle).
    """

    u: np.ndarray
    height: np.ndarray
    energy: float
    least: float  # a rise of F that is rounding


@dataclass(frozen=True)
class FiniteVolumes(Method):
    """∂_t ρ = ∂_x(ρ ∂_x δF/δμ) in cells of size h: masses move, particles do not.

        u_(i+½) = -(ψ_(i+1) - ψ_i)/h,  ψ = δF/δμ;   dp_i/dt = -(Φ_(i+½) - Φ_(i-½)),   Φ = ρ_face u

    ρ_face comes from the side that the mass comes from, from straight lines in the cells, whose
    slopes are limited. On a circle, ν = r ρ is what f knows of the balanced neurons of a direction
    (r = a² = |u|²); it is carried along and grows, dν/dt = … - 2ψν, ψ of a neuron with r = 1.

    Parameters
    ----------
    courant : no part of a step moves mass by more than this share of a cell, in (0, ½].

    Raises
    ------
    ValueError : for particles that are not centres of cells (mf.limits.line, mf.limits.circle), for
        γ other than 1. mf.Diverged where no part of a step, however short, lowers F.

    Notes
    -----
    The scheme of Carrillo, Chertock and Huang (2015), A finite-volume method for nonlinear nonlocal
    equations with a gradient flow structure, Communications in Computational Physics 17. Between
    cells dF/dt = -Σ p_face u² <= 0. A step is cut into parts by Heun's method, the mean of two
    Euler steps; a part that makes a mass negative, or raises F, is done again with half the length.
    So masses are >= 0, their sum is kept to rounding, and F does not rise. Order 2 in h where the
    density is smooth, 1 where mass gathers at a kink or a minimum of ψ. THEORY.md, section 7.
    """

    courant: float = 0.4

    name: ClassVar[str] = "finite_volumes"  # type: ignore[misc]
    stages: ClassVar[int] = 2  # type: ignore[misc]
    order: ClassVar[int] = 2  # type: ignore[misc]
    needs: ClassVar[tuple[str, ...]] = ("energy", "deterministic")
    moves_masses: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_number(self.courant) or not 0 < self.courant <= 0.5:
            raise ValueError(f"courant must be a number in (0, 0.5]; got {self.courant!r}.")
        object.__setattr__(self, "courant", float(self.courant))

    def start(self, field: Any, particles: Particles) -> Particles:
        backend = field.backend
        theta = backend.download(particles.theta)
        cells, _ = find(backend.network, theta, backend.outputs)
        lengths = np.abs(theta[:, :1]) if cells.closed else np.ones((len(theta), 1))
        unit = backend.upload(theta / lengths) if cells.closed else particles.theta
        return particles._replace(memory={"unit": unit, **cells._asdict()})

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        memory = particles.memory
        cells = Cells(*(memory[name] for name in Cells._fields))
        made, faces = particles, _look(field, particles, cells)
        left, longest = dt, dt
        weights: list[float] = []
        speeds: list[float] = []
        while left > 0:
            fastest = float(np.abs(faces.u).max())
            short = min(longest, self.courant * cells.h / fastest if fastest else math.inf)
            parts = max(1, math.ceil(left / short - 1e-9))
            tau = left / parts
            part = _heun(field, made, cells, faces, tau)
            if part is None:
                longest = tau / 2
                if longest < SHORTEST * dt:
                    raise Diverged(
                        f"step {particles.step}, t = {particles.t:g}: F does not fall even with "
                        f"parts of {longest:.3g}: δF/δμ is not the slope of F, or not finite."
                    )
                continue
            made, faces, lost = part
            weights += [0.5 * tau / dt] * 2
            speeds += lost
            left, longest = (left - tau if parts > 1 else 0.0), 2 * tau
        return Step(made, dt, tuple(weights), speeds)


def _heun(
    field: Any, particles: Particles, cells: Cells, faces: Faces, tau: float
) -> tuple[Particles, Faces, list[float]] | None:
    """One part of a step, with what it dissipated per time at its ends; None where it is too long."""
    mass, size = cells.shape(particles.mass), _sizes(field, particles, cells)
    slope, growth, first = _slopes(cells, faces, mass, size)
    ahead = _moved(field, particles, cells, mass + tau * slope, mass * size + tau * growth, size)
    if ahead is None:
        return None

    there = _look(field, ahead, cells)
    mass1, size1 = cells.shape(ahead.mass), _sizes(field, ahead, cells)
    slope1, growth1, second = _slopes(cells, there, mass1, size1)
    if np.any(mass1 + tau * slope1 < 0):
        return None
    mass2 = 0.5 * (mass + mass1 + tau * slope1)
    carried2 = 0.5 * (mass * size + mass1 * size1 + tau * growth1)
    made = _moved(field, particles, cells, mass2, carried2, size1)
    if made is None:
        return None

    after = _look(field, made, cells)
    if not after.energy <= faces.energy + faces.least:
        return None
    return made, after, [first, second]


def _look(field: Any, particles: Particles, cells: Cells) -> Faces:
    at = particles.memory["unit"] if cells.closed else None
    height = cells.shape(field.potential(particles, at))
    u = -_across(height, cells) / cells.h
    energy = float(field.energy_kept(particles))
    carried = cells.shape(particles.mass) * _sizes(field, particles, cells)
    least = ROUNDING * (abs(energy) + float((carried * np.abs(height)).sum()))
    return Faces(u, height, energy, least)


def _slopes(
    cells: Cells, faces: Faces, mass: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """(dp/dt, dν/dt, -dF/dt) of the density with these masses p, ν = r p."""
    u, right = faces.u, faces.u > 0
    at_face = _upwind(mass, cells, right)
    flow = u * at_face / cells.h
    slope = np.roll(flow, 1, axis=1) - flow
    if not cells.closed:
        return slope, slope, float((at_face * u**2).sum())

    size_face = _upwind(size, cells, right)
    carried = flow * size_face
    reaction = 2.0 * faces.height * mass * size
    growth = np.roll(carried, 1, axis=1) - carried - reaction
    lost = (at_face * size_face * u**2).sum() + (reaction * faces.height).sum()
    return slope, growth, float(lost)


def _moved(
    field: Any,
    particles: Particles,
    cells: Cells,
    mass: np.ndarray,
    carried: np.ndarray,
    size: np.ndarray,
) -> Particles | None:
    """The particles with these p and ν = r p; None where either is negative. An empty cell keeps
    its r, `size`.
    """
    if not (np.all(mass >= 0) and np.all(carried >= 0)):
        return None
    if not cells.closed:
        return particles._replace(mass=mass.ravel())
    size = np.divide(carried, mass, out=size.copy(), where=mass > 0)
    size = np.maximum(size, np.finfo(np.float64).tiny)
    unit = field.backend.download(particles.memory["unit"])
    theta = field.backend.upload(np.sqrt(size).reshape(-1, 1) * unit)
    return particles._replace(theta=theta, mass=mass.ravel())


def _sizes(field: Any, particles: Particles, cells: Cells) -> np.ndarray:
    """r = a² of the neurons of a circle; 1 on a line."""
    if not cells.closed:
        return np.ones((cells.families, cells.each))
    a = field.backend.download(particles.theta)[:, 0].astype(np.float64)
    return cells.shape(a * a)


def _across(values: np.ndarray, cells: Cells) -> np.ndarray:
    """Differences over the right face of each cell; nothing passes the end of a line."""
    found = np.roll(values, -1, axis=1) - values
    if not cells.closed:
        found[:, -1] = 0.0
    return found


def _upwind(values: np.ndarray, cells: Cells, right: np.ndarray) -> np.ndarray:
    """Values at the right faces, from the cell that the flow comes from: its straight line, with
    the least of twice the differences to the neighbours and their mean as slope.
    """
    ahead = _across(values, cells)
    behind = np.roll(ahead, 1, axis=1)
    size = np.minimum(2.0 * np.minimum(np.abs(ahead), np.abs(behind)), 0.5 * np.abs(ahead + behind))
    half = 0.5 * np.where(ahead * behind > 0, np.copysign(size, ahead), 0.0)
    return np.where(right, values + half, np.roll(values - half, -1, axis=1))


FINITE_VOLUMES = FiniteVolumes()
register_method(FiniteVolumes)
