"""Adaptive refinement on synthetic functions whose zero line is known."""

import numpy as np
import pytest

from sims.phase_diagram.refinement import disagree, refine, zero_line

FIRST, SECOND = (0.5, 1.0, 1.5), (-0.5, 0.0, 0.5)


def circle(points):
    """< 0 within 0.4 of (1.05, 0.02), > 0 outside."""
    return [(x - 1.05) ** 2 + (y - 0.02) ** 2 - 0.16 for x, y in points]


def test_without_levels_it_is_the_grid():
    assert refine(circle, FIRST, SECOND, 0) == {
        (x, y): circle([(x, y)])[0] for x in FIRST for y in SECOND
    }


def test_every_point_is_measured_once_and_a_level_is_one_call():
    calls = []
    found = refine(lambda points: calls.append(points) or circle(points), FIRST, SECOND, 3)
    seen = [point for points in calls for point in points]
    assert len(calls) == 4 and len(seen) == len(set(seen)) == len(found)
    assert all(points == sorted(points) for points in calls)
    assert found == {point: circle([point])[0] for point in seen}


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_refined_points_stand_along_the_zero_line_and_their_number_grows_with_its_length(levels):
    """A cell of side h that is cut holds a point of the line: what the last level adds is within
    its diagonal √2 h of the line, h = 0.5/2^(levels - 1); there are about length/h such cells with
    at most 5 new points each, the full grid has 1/h².
    """
    before, after = (set(refine(circle, FIRST, SECOND, count)) for count in (levels - 1, levels))
    new = np.array(sorted(after - before))
    h = 0.5 / 2 ** (levels - 1)
    distance = np.abs(np.hypot(new[:, 0] - 1.05, new[:, 1] - 0.02) - 0.4)
    assert before <= after and distance.max() <= np.sqrt(2) * h
    # a curve meets at most so many cells as its box has columns and rows, twice
    assert len(new) <= 5 * (2 * 4 * 0.8 / h + 4)


def test_the_zero_line_comes_closer_with_every_level():
    """Linear interpolation on edges of length <= √2 h: the circle's second derivative 2 gives an
    error <= 2 (√2 h)²/8 in the value, over a gradient of at least 2·0.32 between the line and what
    is taken for it: 0.8 h².
    """
    for levels in (1, 3, 5):
        line = zero_line(refine(circle, FIRST, SECOND, levels))
        miss = np.abs(np.hypot(line[:, 0] - 1.05, line[:, 1] - 0.02) - 0.4)
        assert len(line) > 4 and miss.max() <= 0.8 * (0.5 / 2**levels) ** 2 + 1e-12


def test_a_function_of_one_sign_is_not_refined_and_has_no_zero_line():
    found = refine(lambda points: [1.0 + x for x, _ in points], FIRST, SECOND, 5)
    assert len(found) == 9 and zero_line(found).shape == (0, 2)


def test_a_step_between_values_of_one_sign_is_refined_where_it_is_larger_than_the_jump():
    step = lambda points: [2.0 if x > 1.2 else 1.0 for x, _ in points]
    assert len(refine(step, FIRST, SECOND, 1)) == 9
    new = refine(step, FIRST, SECOND, 1, jump=0.5).keys() - refine(step, FIRST, SECOND, 0).keys()
    assert new == {
        (1.0, -0.25),
        (1.0, 0.25),
        *((1.25, y) for y in (-0.5, -0.25, 0.0, 0.25, 0.5)),
        (1.5, -0.25),
        (1.5, 0.25),
    }


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((1, 2, 3, 4), False),
        ((-1, -2, -3, 0), False),
        ((0, 0, 0, 1), True),
        ((-1, 1, 1, 1), True),
        ((1, 2, 3, 9), True),
    ],
)
def test_corners_disagree_by_sign_or_by_jump(corners, expected):
    assert disagree(corners, jump=5.0) is expected


def test_what_is_no_grid_is_said():
    with pytest.raises(ValueError, match=r"rising order; got \[1\.0, 0\.5\]"):
        refine(circle, (1.0, 0.5), SECOND, 1)
    with pytest.raises(ValueError, match=r"levels must be >= 0.*got -1"):
        refine(circle, FIRST, SECOND, -1)
