"""What a run says on its way: very long runs and saturated units before the first step, a line
every ten seconds, a bar.
"""

import contextlib
import io
import re
import sys
import types
import warnings

import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield.observers import progress
from meanfield.observers.saturation import saturation
from meanfield.stepping.runge_kutta import Adaptive

RNG = np.random.default_rng(3)
RAW = RNG.normal(size=(50, 3)) * [300.0, 1e5, 6.0]  # columns as a table of measurements has them
Y = RNG.normal(size=50)
LAW = mf.InitialLaw(dim=3, b_std=1.0)


class Enough(Exception):
    pass


def stops(after):
    """A series that ends the run once it has been asked so often."""
    calls = []

    def function(flow, state):
        calls.append(state.step)
        if len(calls) > after:
            raise Enough
        return 0.0

    return mf.Series("stops", mf.every(1), function)


def go(
    x=RAW, activation="relu", method=mf.RK4, dt="auto", t_end=1.0, after=0, progress=False, m=20
):
    """A run that is left after some steps; what the series raises comes in an error that names it."""
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), x, Y))
    with contextlib.suppress(Enough):
        mf.simulate(
            flow,
            LAW.sample(m, seed=0),
            method,
            dt=dt,
            t_end=t_end,
            observers=[stops(after)],
            progress=progress,
        )


def messages(caught):
    return [str(item.message) for item in caught if issubclass(item.category, RuntimeWarning)]


# ---- before the first step


def test_unscaled_inputs_are_told_with_the_steps_the_time_and_standardise_before_the_first_step():
    with pytest.warns(RuntimeWarning) as caught:
        go()
    (said,) = messages(caught)
    assert re.match(
        r"this run takes \d(\.\d)?e\+\d+ steps of dt = \S+ to t = 1, about \S+ "
        r"(min|hours|days|years)\. ",
        said,
    )
    assert "The inputs are not scaled (root mean squares of the columns of x: " in said
    assert "mf.data.load(…, standardise=True) or mf.data.prepare(data, standardise=True)" in said
    sizes = [float(size) for size in re.search(r"of x: (\S+) … (\S+)\)", said).groups()]
    np.testing.assert_allclose(
        sizes, [np.sqrt((RAW[:, 2] ** 2).mean()), np.sqrt((RAW[:, 1] ** 2).mean())], rtol=1e-2
    )
    assert caught[0].filename == __file__


def test_what_the_message_advises_exists_and_helps():
    data = mf.data.prepare(mf.data.Dataset(RAW, Y), standardise=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(x=data.x)
        go(x=data.x, activation="tanh")


def test_a_run_of_many_steps_on_scaled_inputs_is_not_told_to_scale_them():
    with pytest.warns(RuntimeWarning) as caught:
        go(x=RAW / [300.0, 1e5, 6.0], dt=1e-8)
    assert re.match(
        r"this run takes 1e\+08 steps of dt = 1e-08 to t = 1, about .*\. Use a larger dt",
        messages(caught)[0],
    )


@pytest.mark.parametrize("activation", sweep(["tanh", "erf", "sigmoid"]))
def test_saturated_units_of_a_bounded_activation_are_told(activation):
    with pytest.warns(RuntimeWarning) as caught:
        go(activation=activation, dt=0.1)
    said = [text for text in messages(caught) if "saturated" in text]
    assert len(said) == 1 and re.match(
        r"\d+% of the units are saturated at the start: \|σ'\(z\)\| of \w+ is below", said[0]
    )
    assert "standardise=True" in said[0]


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu", "gelu", "softplus", "sin", "square", "linear"]
)
def test_an_unbounded_or_periodic_activation_is_not_called_saturated(activation):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), RAW, Y))
    assert saturation(flow, LAW.sample(20, seed=0)) == ""


def test_a_user_written_bounded_activation_is_looked_at_and_one_that_overflows_is_left_alone():
    from math import exp

    bump = mf.Activation("bump", lambda z: exp(-z * z), lambda z: -2.0 * z * exp(-z * z))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(bump), RAW, Y))
    assert "units are saturated" in saturation(flow, LAW.sample(20, seed=0))
    steep = mf.Activation("steep", lambda z: exp(z), lambda z: exp(z))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(steep), RAW, Y))
    assert saturation(flow, LAW.sample(20, seed=0)) == ""


def test_units_that_see_scaled_inputs_are_not_called_saturated_nor_a_few_that_are():
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), RAW / [300.0, 1e5, 6.0], Y))
    assert saturation(flow, LAW.sample(100, seed=0)) == ""
    theta = LAW.sample(100, seed=0).theta.copy()
    theta[:50, 4] = 40.0  # biases
    assert saturation(flow, mf.State(theta)) == ""
    theta[:, 4] = 40.0
    assert "Scale the start down" in saturation(flow, mf.State(theta))


# ---- on the way


def test_adaptive_on_a_stiff_flow_says_how_many_steps_it_is_going_to_take():
    """Columns of 3·10³ make the fastest rate about 10⁷, and dt stays at 3.3/rate: more than 10⁷
    steps to t = 30.
    """
    x = RNG.normal(size=(50, 3)) * 3e3
    with pytest.warns(RuntimeWarning) as caught:
        go(x=x, method=mf.Adaptive(1e-6), dt=None, t_end=300.0, after=progress.SETTLED + 400)
    said = messages(caught)
    assert len(said) == 1 and re.match(
        r"this run takes \S+ steps of dt = \S+ to t = 300, about", said[0]
    )
    scaled = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x / 3e3, Y))
    march = types.SimpleNamespace(flow=scaled, method=Adaptive())
    assert "stability of a stiff flow" in progress._advice(
        march
    ) and "a larger rtol" in progress._advice(march)


def test_halvings_to_very_many_steps_are_told():
    """The first dt that dt="auto" finds is fit; later H has grown so much that it is halved to 10⁻⁸
    of the time left.
    """
    said, left = [], [90]
    march = types.SimpleNamespace(
        step=10, t=0.1, dt=0.01, t_end=1.0, start=types.SimpleNamespace(t=0.0), particles=None, method=mf.RK4,
        clock=types.SimpleNamespace(steps_left=lambda particles: left[0]),
        halvings=[], flow=mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), RAW / [300.0, 1e5, 6.0], Y)),
    )  # fmt: skip
    watched = progress.Progress(march, False, lambda kind, text: said.append(text))
    with watched.watching():
        left[0] = 9 * 10**8
        march.step, march.dt, march.halvings = 11, 1e-9, [{}] * 23
        watched.step()
        march.step = 12
        watched.step()
    assert len(said) == 1 and said[0].startswith(
        "this run takes 9e+08 steps of dt = 1e-09 to t = 1, about"
    )
    assert said[0].endswith(
        "dt was halved 23 times: the flow has become that stiff. End at an earlier t, or "
        "stop it here."
    )


def clock(monkeypatch, seconds):
    """time.monotonic of progress advances by so much whenever it is asked for."""
    now = iter(np.arange(1, 10**6) * seconds)
    monkeypatch.setattr(
        progress,
        "time",
        types.SimpleNamespace(monotonic=lambda: next(now), perf_counter=lambda: next(now)),
    )


def test_a_line_every_ten_seconds_where_stderr_is_no_terminal(monkeypatch, capsys):
    clock(monkeypatch, 4.0)
    go(x=RAW / [300.0, 1e5, 6.0], dt=0.1, t_end=2.0, after=99, progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "left" in line]
    # 20 steps of 4 s: said after steps 3, 6, …, with so many steps to go
    assert len(lines) == 6
    assert re.fullmatch(r"meanfield: t = 0.3 of 2 \(15%\), risk \d\S*, about \d+ s left", lines[0])
    left = [int(re.search(r"about (\d+) s left", line)[1]) for line in lines]
    assert left == [4 * (20 - step) for step in range(3, 20, 3)]


def test_a_first_step_that_compiles_for_twenty_seconds_is_not_taken_for_the_time_of_a_step(
    monkeypatch, capsys
):
    """Begin at 1, the first step ends at 21, each other takes 1 s: the first line is after the
    second, 18 s from the end.
    """
    now = iter([0.0, 1.0, *np.arange(21.0, 10**4)])
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(x=RAW / [300.0, 1e5, 6.0], dt=0.1, t_end=2.0, after=99, progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "left" in line]
    assert re.fullmatch(r"meanfield: t = 0.2 of 2 \(10%\), risk \d\S*, about 18 s left", lines[0])


def test_a_call_that_was_compiled_for_an_hour_is_not_taken_for_the_time_of_its_steps(
    monkeypatch, capsys
):
    """Two steps of 1 s, then 100 in one call that took an hour to compile; 10 in each of 1 s after it."""
    now = iter([0.0, 0.0, 1.0, 2.0, 3602.0, *np.arange(3603.0, 4000.0)])
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    march = types.SimpleNamespace(
        step=0, t=0.0, dt=0.01, t_end=1.0, start=types.SimpleNamespace(t=0.0), particles=None, compiled=None,
        method=mf.Adaptive(), clock=types.SimpleNamespace(steps_left=lambda particles: 10**4),
    )  # fmt: skip
    watched = progress.Progress(march, False, lambda kind, text: pytest.fail(text), values=False)
    with watched.watching():
        watched.bar.disable = watched.shown = True
        for march.step in (1, 2, 102, *range(112, 200, 10)):
            march.compiled = march.step > 2 or None
            watched.step()
    assert capsys.readouterr().err.splitlines() == ["meanfield: t = 0 of 1 (0%), about 17 min left"]


def test_progress_false_draws_and_says_nothing_on_the_way(monkeypatch, capsys):
    clock(monkeypatch, 4.0)
    go(x=RAW / [300.0, 1e5, 6.0], dt=0.1, t_end=2.0, after=99)
    assert capsys.readouterr() == ("", "")


def test_a_run_of_more_than_an_hour_that_nobody_watches_warns_once_before_its_first_step(
    monkeypatch,
):
    """2000 steps of 4 stages, of which each velocity takes 11 s by this clock: 88 000 s."""
    clock(monkeypatch, 11.0)
    with pytest.warns(RuntimeWarning) as caught:
        go(x=RAW / [300.0, 1e5, 6.0], dt=1e-3, t_end=2.0, after=0)
    (said,) = messages(caught)
    assert said.startswith(
        "this run takes 2e+03 steps of dt = 0.001 to t = 2, about 24 hours. Use a larger "
        "dt if the flow"
    )
    with pytest.warns(RuntimeWarning, match="standardise=True"):
        go(dt=1e-3, t_end=2.0)


def test_adaptive_whose_steps_turn_out_to_take_an_hour_warns_once_under_way(monkeypatch):
    clock(monkeypatch, 2000.0)
    with pytest.warns(RuntimeWarning) as caught:
        go(x=RAW / [300.0, 1e5, 6.0], method=mf.Adaptive(1e-8), dt=1e-3, t_end=20.0, after=20)
    (said,) = messages(caught)
    assert re.match(
        r"this run takes \S+ steps of dt = \S+ to t = 20, about \d+ (min|hours|days)", said
    )


def test_on_a_terminal_the_bar_says_it_and_no_line_or_warning_does(monkeypatch, capsys):
    clock(monkeypatch, 11.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(x=RAW / [300.0, 1e5, 6.0], dt=1e-3, t_end=2.0, after=5, progress=True)
    err = capsys.readouterr().err
    assert "%|" in err and " left" not in err


def test_in_a_notebook_the_bar_is_that_of_tqdm_auto(monkeypatch):
    """tqdm.auto gives the notebook's widget there, which is drawn whether or not stderr is a
    terminal.
    """
    import tqdm.auto

    made = []

    class Widget(tqdm.std.tqdm):
        def __init__(self, *args, **settings):
            made.append(settings)
            super().__init__(
                *args, **{**settings, "disable": bool(settings["disable"]), "file": io.StringIO()}
            )

    monkeypatch.setattr(tqdm.auto, "tqdm", Widget)
    go(x=RAW / [300.0, 1e5, 6.0], dt=0.5, after=9, progress=True)
    assert len(made) == 1 and made[0]["disable"] is None and made[0]["total"] == 1.0
    go(x=RAW / [300.0, 1e5, 6.0], dt=0.5, after=9)
    assert made[1]["disable"] is True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (121, "2 min"),
        (7300, "2 hours"),
        (3e5, "3 days"),
        (4e9, "127 years"),
    ],
)
def test_durations_have_the_unit_that_fits(seconds, text):
    assert progress.duration(seconds) == text
