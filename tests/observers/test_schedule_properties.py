"""Any schedule on any run: what fires, what a checkpoint keeps of it, and what it says lies ahead."""

import math

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
from meanfield.observers import schedules
from meanfield.observers.schedules import Span

numbers = st.integers(1, 40)
times = st.lists(st.floats(-5, 20), min_size=1, max_size=6)
steps = st.lists(st.integers(0, 60), min_size=1, max_size=6)
any_schedule = st.one_of(
    numbers.map(mf.every),
    numbers.map(mf.evenly),
    numbers.map(mf.log_spaced),
    steps.map(mf.at_steps),
    times.map(mf.at_times),
)


@st.composite
def spans(draw):
    """A run of `count` equal steps, perhaps one that goes on."""
    count, step = draw(st.integers(1, 50)), draw(st.integers(0, 9))
    dt, t = draw(st.sampled_from([1e-3, 0.1, 1 / 3])), draw(st.sampled_from([0.0, 2.5]))
    return Span(step, t, t + count * dt, dt), count


def fired(due, span, first, last):
    found = [(span.step + i, span.t + i * span.dt) for i in range(first, last + 1)]
    return [step for step, t in found if due(step, t, span.dt)]


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_schedule_fires_as_asked_also_across_a_checkpoint(count):
    @examples(count)
    @given(any_schedule, spans(), st.floats(0, 1))
    def holds(schedule, drawn, share):
        span, steps = drawn
        whole = fired(schedule.resolve(span), span, 0, steps)
        assert schedules.from_dict(schedules.to_dict(schedule)) == schedule
        if isinstance(schedule, (mf.evenly, mf.log_spaced)):
            assert 1 <= len(whole) <= schedule.count and whole[-1] == span.step + steps
            assert schedule.count == 1 or whole[0] == span.step

        # stopped somewhere: of all it knows the position is enough to go on
        cut = int(share * steps)
        before, after = schedule.resolve(span), schedule.resolve(span)
        first = fired(before, span, 0, cut)
        after.position = before.position
        assert first + fired(after, span, cut + 1, steps) == whole

        # and what it says lies ahead is the next that fires
        ahead = before.ahead(span.step + cut)
        later = [step for step in whole if step > span.step + cut]
        if later and ahead.step < math.inf:
            assert ahead.step == later[0]
        elif later:
            at = span.t + (later[0] - span.step) * span.dt
            assert at - span.dt * (1 + 1e-6) <= ahead.t <= at + 1e-6 * span.dt

    holds()
