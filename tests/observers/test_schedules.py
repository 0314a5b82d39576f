"""Schedules: which steps of a run each of them picks."""

import numpy as np
import pytest

import meanfield as mf
from meanfield.observers import schedules
from meanfield.observers.schedules import Span


def due_steps(schedule, span, steps, dt=None):
    """The steps at which a schedule fires on a run of `steps` equal steps."""
    dt = dt or (span.t_end - span.t) / steps
    due = schedule.resolve(span)
    return [span.step + i for i in range(steps + 1) if due(span.step + i, span.t + i * dt, dt)]


SPAN = Span(step=0, t=0.0, t_end=10.0, dt=0.1)


def test_every_counts_accepted_steps_from_zero():
    assert due_steps(mf.every(30), SPAN, 100) == [0, 30, 60, 90]
    assert due_steps(mf.every(30), Span(50, 5.0, 10.0, 0.1), 50) == [60, 90]


def test_evenly_is_linspace_of_the_flow_time_with_both_ends():
    """evenly(count): np.linspace(t, t_end, count); a moment between two steps is seen at the later
    one.
    """
    assert due_steps(mf.evenly(5), SPAN, 100) == [0, 25, 50, 75, 100]
    assert due_steps(mf.evenly(4), SPAN, 100) == [0, 34, 67, 100]
    assert due_steps(mf.evenly(1), SPAN, 100) == [100]
    assert due_steps(mf.evenly(3), Span(7, 2.0, 4.0, 0.2), 10) == [7, 12, 17]


def test_several_requests_within_one_step_fire_once():
    assert due_steps(mf.evenly(1000), SPAN, 10) == list(range(11))
    assert due_steps(mf.at_times([1.01, 1.02, 1.03]), SPAN, 10) == [2]


def test_log_spaced_begins_with_the_start_and_one_step_and_ends_at_the_end():
    """The start, then np.geomspace(dt, t_end - t, count - 1) after it."""
    assert due_steps(mf.log_spaced(4), Span(0, 0.0, 100.0, 1.0), 100) == [0, 1, 10, 100]
    assert due_steps(mf.log_spaced(4), Span(0, 50.0, 150.0, 1.0), 100) == [0, 1, 10, 100]
    assert due_steps(mf.log_spaced(1), SPAN, 100) == [100]
    assert due_steps(mf.log_spaced(2), SPAN, 1) == [0, 1]
    assert due_steps(mf.log_spaced(2), SPAN, 100) == [0, 100]
    assert due_steps(mf.log_spaced(3), SPAN, 100) == [0, 1, 100]


def test_at_steps_are_absolute_steps_and_those_before_the_start_do_not_come_back():
    assert due_steps(mf.at_steps([40, 3, 3]), SPAN, 100) == [3, 40]
    # what was missed is seen at once
    assert due_steps(mf.at_steps([3, 55]), Span(50, 5.0, 10.0, 0.1), 50) == [
        50,
        55,
    ]


def test_at_times_takes_the_first_step_not_before_the_request_up_to_rounding():
    """t >= requested - 1e-9 dt: 0.1·3 = 0.30000000000000004 and its likes must not slip by a step."""
    times = [0.1 * 3, 0.7, 1 / 3]
    assert due_steps(mf.at_times(times), Span(0, 0.0, 1.0, 0.1), 10) == [3, 4, 7]
    assert due_steps(mf.at_times([0.3 + 1e-12]), Span(0, 0.0, 1.0, 0.1), 10) == [3]
    assert due_steps(mf.at_times([0.3 + 1e-9]), Span(0, 0.0, 1.0, 0.1), 10) == [4]
    assert due_steps(mf.at_times([2.0]), Span(0, 0.0, 1.0, 0.1), 10) == []


@pytest.mark.parametrize(
    "schedule",
    [mf.every(3), mf.evenly(7), mf.log_spaced(5), mf.at_steps([2, 4]), mf.at_times([0.5, 0.25])],
)
def test_a_schedule_survives_its_dictionary_and_a_checkpoint_in_the_middle(schedule):
    assert schedules.from_dict(schedules.to_dict(schedule)) == schedule
    span, dt = Span(0, 0.0, 2.0, 0.1), 0.1
    whole, first, second = (schedule.resolve(span) for _ in range(3))
    expected = [whole(i, i * dt, dt) for i in range(21)]
    found = [first(i, i * dt, dt) for i in range(9)]
    second.position = first.position
    assert found + [second(i, i * dt, dt) for i in range(9, 21)] == expected


@pytest.mark.parametrize("kind", [mf.every, mf.evenly, mf.log_spaced])
def test_counts_that_are_not_positive_integers_raise(kind):
    for value in (0, -1, 2.5, True, "3"):
        with pytest.raises(ValueError, match=f"{kind.__name__}: (k|count) must be an integer >= 1"):
            kind(value)


def test_moments_that_are_none_raise():
    for steps in ([], [-1], [0.5], [True]):
        with pytest.raises(ValueError, match="at_steps: a non-empty list of integers >= 0"):
            mf.at_steps(steps)
    for times in ([], [np.nan], [[0.1]]):
        with pytest.raises(ValueError, match="at_times: a non-empty list of finite times"):
            mf.at_times(times)
    with pytest.raises(TypeError, match=r"a schedule is one of mf.every\(…\), .*; got 10"):
        mf.Series("energy", 10)


def test_the_number_of_moments_is_known_unless_the_steps_are_not():
    span = Span(0, 0.0, 10.0, 0.1)
    assert [
        schedule.resolve(span).count(100)
        for schedule in (mf.every(10), mf.evenly(7), mf.at_steps([3, 5]))
    ] == [10, 7, 2]
    assert (
        mf.every(10).resolve(span).count(None) is None
        and mf.at_times([1.0]).resolve(span).count(None) == 1
    )
