"""The lowest points of a function of many variables, from many starts at once: on a plane, or with
some of the variables on their unit sphere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STEPS = 300  # of descent, at most
SHRINK, GROW = 0.25, 10.0  # of a step that did not descend, and of one that did, at most
ARMIJO = 1e-4  # of the descent that the slope promises: what a step has to make
STILL = 1e-13  # of a point's length: a shorter step is none
SLIDES = 200  # steps along kinks
FIRST, LAST = 0.3, 1e-6  # of the length of the point: that of the first step, and of the last
TRIES, ROUNDS = 16, 80  # points around each of the best, and how often

Height = Callable[[np.ndarray], np.ndarray]  # (q, p) -> (q,)
Force = Callable[[np.ndarray], np.ndarray]  # (q, p) -> (q, p), minus the gradient


@dataclass(frozen=True)
class Space:
    """Where points may go. free, sphere: bool (p,), the columns that move, and those of them whose
    norm stays 1; no columns of `sphere`: a plane.
    """

    free: np.ndarray
    sphere: np.ndarray

    @property
    def round(self) -> bool:
        return bool(self.sphere.any())

    def onto(self, points: np.ndarray) -> np.ndarray:
        """Each point with the columns of the sphere divided by their norm."""
        if not self.round:
            return points
        points = points.copy()
        length = np.linalg.norm(points[:, self.sphere], axis=1, keepdims=True)
        points[:, self.sphere] /= np.where(length > 0, length, 1.0)
        return points

    def along(self, points: np.ndarray, force: np.ndarray) -> np.ndarray:
        """The part of a force that is tangent to the space, 0 on the columns that do not move."""
        force = np.where(self.free, force, 0.0)
        if self.round:
            on = points[:, self.sphere]
            force[:, self.sphere] -= on * (on * force[:, self.sphere]).sum(axis=1, keepdims=True)
        return force


def descend(
    height: Height, force: Force, points: np.ndarray, space: Space
) -> tuple[np.ndarray, np.ndarray]:
    """(points, heights) after gradient descent from each start, with steps of Barzilai and Borwein
    that are cut until the height falls.
    """
    x = space.onto(points.astype(np.float64))
    h, v = height(x), space.along(x, force(x))
    size = np.linalg.norm(x[:, space.free], axis=1) + 1e-3
    dt = 0.1 * size / np.maximum(np.linalg.norm(v, axis=1), 1e-300)
    on = np.isfinite(h) & (np.abs(v).max(axis=1) > 0)

    for _ in range(STEPS):
        rows = np.flatnonzero(on)
        if not rows.size:
            break
        there = space.onto(x[rows] + dt[rows, None] * v[rows])
        found = height(there)
        promised = dt[rows] * (v[rows] ** 2).sum(axis=1)
        lower = found < h[rows] - ARMIJO * promised
        dt[rows[~lower]] *= SHRINK
        moved, there = rows[lower], there[lower]
        if moved.size:
            now = space.along(there, force(there))
            way, turn = there - x[moved], v[moved] - now
            curved = (way * turn).sum(axis=1)
            square = (way**2).sum(axis=1)
            guess = np.divide(square, curved, out=np.full(len(moved), np.inf), where=curved > 0)
            dt[moved] = np.minimum(guess, GROW * dt[moved])
            x[moved], h[moved], v[moved] = there, found[lower], now
        length = dt[rows] * np.linalg.norm(v[rows], axis=1)
        on[rows] = length > STILL * (1.0 + np.linalg.norm(x[rows][:, space.free], axis=1))
    return x, h


def slide(
    height: Height, force: Force, points: np.ndarray, heights: np.ndarray, space: Space
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest point on the way of steps of given length along the force, shorter and shorter: on
    a kink they zigzag along the valley, where descent stops.
    """
    x, best, lowest = points.copy(), points.copy(), heights.copy()
    size = np.linalg.norm(x[:, space.free], axis=1, keepdims=True) + 1e-3
    for step in range(SLIDES):
        v = space.along(x, force(x))
        length = np.linalg.norm(v, axis=1, keepdims=True)
        reach = FIRST * (LAST / FIRST) ** (step / (SLIDES - 1)) * size
        x = space.onto(x + reach * v / np.maximum(length, 1e-300))
        h = height(x)
        lower = h < lowest
        best[lower], lowest[lower] = x[lower], h[lower]
    return best, lowest


def refine(
    height: Height, points: np.ndarray, heights: np.ndarray, space: Space, noise: Callable
) -> tuple[np.ndarray, np.ndarray]:
    """The points, moved to the lowest of a few around each as long as there is a lower one, nearer
    and nearer: for kinks, at which descent stops. noise(round, (…)) -> standard normals.
    """
    x, h = points.copy(), heights.copy()
    q, p = x.shape
    reach = np.full(q, 0.1)
    scale = np.linalg.norm(x[:, space.free], axis=1) / np.sqrt(space.free.sum()) + 1e-3
    for step in range(ROUNDS):
        normals = np.where(space.free, noise(step, (q * TRIES, p)).reshape(q, TRIES, p), 0.0)
        there = x[:, None] + (reach * scale)[:, None, None] * normals
        there = space.onto(there.reshape(-1, p)).reshape(q, TRIES, p)
        found = height(there.reshape(-1, p)).reshape(q, TRIES)
        best = found.argmin(axis=1)
        rows = np.arange(q)
        lower = found[rows, best] < h
        x[lower], h[lower] = there[rows, best][lower], found[rows, best][lower]
        reach[~lower] *= 0.6
    return x, h
