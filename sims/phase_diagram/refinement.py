"""Adaptive refinement of a plane: cells whose corners disagree are cut in four, so that runs go
where a line is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import Delaunay

Point = tuple[float, float]
Cell = tuple[float, float, float, float]


def refine(
    measure: Callable[[list[Point]], Sequence[float]], first: Sequence[float], second: Sequence[float], levels: int,
    jump: float = math.inf,
) -> dict[Point, float]:  # fmt: skip
    """{point: measure} on the grid first × second, and around the line where the measure changes
    sign.

    A cell is cut in four, by the middles of its sides and its centre, where the measure is > 0 at
    some of its corners and <= 0 at others, or differs by more than `jump` between two; its quarters
    are looked at on the next of `levels`. `measure` is called once a level with all new points of
    it, sorted; every point is measured once.
    """
    if levels < 0:
        raise ValueError(
            f"levels must be >= 0, the number of times a cell may be cut; got {levels}."
        )
    for values in (first, second):
        if len(values) < 2 or np.any(np.diff(values) <= 0):
            raise ValueError(
                f"a grid needs two values at least, in rising order; got {list(values)}."
            )
    found: dict[Point, float] = {}

    def look(points: set[Point]) -> None:
        new = sorted(points - found.keys())
        found.update(zip(new, (float(value) for value in measure(new)), strict=True) if new else ())

    look({(x, y) for x in first for y in second})
    cells: list[Cell] = [
        (*x, *y) for x in itertools.pairwise(first) for y in itertools.pairwise(second)
    ]
    for _ in range(levels):
        cut = [
            cell for cell in cells if disagree([found[corner] for corner in _corners(cell)], jump)
        ]
        cells = [quarter for cell in cut for quarter in _quarters(cell)]
        look({corner for cell in cells for corner in _corners(cell)})
    return found


def disagree(corners: Sequence[float], jump: float = math.inf) -> bool:
    """Whether some values are > 0 and some are not, or two of them differ by more than `jump`."""
    values = np.asarray(corners)
    return bool((values > 0).any() and (values <= 0).any()) or bool(np.ptp(values) > jump)


def zero_line(values: dict[Point, float]) -> np.ndarray:
    """Points (n, 2) where the measure is 0: by linear interpolation along those edges of the
    Delaunay triangulation on which its sign changes; (0, 2) where it never does.
    """
    points = np.array(sorted(values))
    z = np.array([values[x, y] for x, y in points.tolist()])
    scaled = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    triangles = Delaunay(scaled).simplices
    edges = np.unique(
        np.sort(
            np.vstack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]]), axis=1
        ),
        axis=0,
    )
    one, other = edges[(z[edges[:, 0]] > 0) != (z[edges[:, 1]] > 0)].T
    share = z[one] / (z[one] - z[other])
    return points[one] + share[:, None] * (points[other] - points[one])


def _corners(cell: Cell) -> list[Point]:
    x0, x1, y0, y1 = cell
    return [(x0, y0), (x0, y1), (x1, y0), (x1, y1)]


def _quarters(cell: Cell) -> list[Cell]:
    x0, x1, y0, y1 = cell
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return [(*side_x, *side_y) for side_x in ((x0, x), (x, x1)) for side_y in ((y0, y), (y, y1))]
