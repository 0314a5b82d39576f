"""A stretch of steps in one compiled call is the march made step by step, to the last bit: θ, the sums along the way, the clock.

The twin is the march itself with stretches switched off. THEORY.md has nothing to say here: the claim is about bits.
"""

import numpy as np
import pytest

import meanfield as mf
from meanfield.backends.cpu import stretch
from meanfield.stepping import stretches
from meanfield.stepping.march import March
from meanfield.stepping.stretches import Ahead

RALSTON = mf.RungeKutta("ralston", order=2, a=((), (2 / 3,)), b=(1 / 4, 3 / 4))
LAST_IS_NEW = mf.RungeKutta("last is new", order=1, a=((), (1.0,)), b=(1.0, 0.0))


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """Stretches whatever they save."""
    monkeypatch.setattr(stretch, "COMPILING", -1.0)


def problem(
    activation="relu", dim=2, dtype="float64", loss="squared", outputs=1, masses=False, **settings
):
    """(flow, start) of a network on random samples."""
    rng = np.random.default_rng(3)
    m, n = settings.pop("m", 150), settings.pop("n", 40)
    network = mf.Network(activation, settings.pop("scaling", mf.MEAN_FIELD), **settings.pop("of_network", {}))
    x = rng.normal(size=(n, dim)) / dim**0.5
    y = np.sin(3 * x[:, [0] * outputs])
    y = {"class": rng.integers(0, outputs, n), "sign": np.sign(y)}.get(
        mf.EmpiricalRisk(network, x, np.sign(y), loss=loss).loss.labels if loss != "softmax" else "class", y
    )
    state = mf.InitialLaw(dim, outputs=outputs, b_std=0.5).sample(m, seed=1)
    if masses:
        weights = rng.uniform(0.5, 1.5, m)
        state = mf.State(state.theta, outputs=outputs, mass=weights / weights.sum())
    if settings.pop("weighted", False):
        settings["weights"] = rng.uniform(0.5, 1.5, n)
    risk = mf.EmpiricalRisk(network, x, y, loss=loss, **settings)
    return mf.GradientFlow(risk, dtype=dtype), state


def marched(flow, state, method, dt, t_end, moments=(), stops=None, watches=False):
    """The memory of a march at each of these steps and at its end, and in how many calls it was made."""
    n_steps = None
    march = March(flow, state, method, dt, t_end, n_steps, watches)
    steps, found, calls = iter([*moments, 2**40]), [], 0
    wanted = next(steps)
    while not march.done:
        march.advance(stops, Ahead(step=wanted))
        calls += 1
        if march.step >= wanted:
            found.append(march.memory() | {"energy": march.energy, "moved": march.moved})
            wanted = next(steps)
    return [*found, march.memory() | {"energy": march.energy, "moved": march.moved}], calls


def the_same(a, b):
    """Whether two nested dicts hold the same bits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(the_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(the_same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


def compared(monkeypatch, *arguments, **settings):
    """Both ways of marching; returns (calls, steps) of the compiled one."""
    together, calls = marched(*arguments, **settings)
    monkeypatch.setattr(stretches, "FEW", np.inf)
    alone, steps = marched(*arguments, **settings)
    assert the_same(together, alone)
    assert steps == alone[-1]["particles"]["step"]
    return calls, steps


PROBLEMS = {
    "relu": {},
    "relu float32": {"dtype": "float32"},
    "leaky_relu, one shard": {"activation": "leaky_relu", "m": 50},
    "tanh": {"activation": "tanh", "dim": 1},
    "tanh float32 in tiles": {"activation": "tanh", "dtype": "float32", "n": 2100},
    "gelu, masses": {"activation": "gelu", "dim": 3, "masses": True},
    "relu, masses, ridge, frozen b": {"masses": True, "ridge": 0.1, "of_network": {"trainable": ("a", "w")}},
    "softmax": {"activation": "tanh", "outputs": 3, "loss": "softmax"},
    "softmax, weighted, sum": {"outputs": 3, "loss": "softmax", "weighted": True, "reduction": "sum"},
    "two outputs": {"outputs": 2, "dtype": "float32"},
    "logistic, weighted": {"loss": "logistic", "weighted": True},
    "huber, ridge": {"loss": "huber", "ridge": 0.01, "scaling": mf.NTK},
    "hinge": {"loss": "hinge", "activation": "tanh"},
    "wide": {"activation": "tanh", "dim": 13},
    "wide relu float32": {"dim": 64, "dtype": "float32", "outputs": 2},
}  # fmt: skip
METHODS = [mf.EULER, mf.HEUN, mf.RK4, RALSTON, LAST_IS_NEW]


@pytest.mark.parametrize("name", PROBLEMS)
def test_fixed_steps_have_the_same_bits_in_one_call(name, monkeypatch):
    flow, state = problem(**PROBLEMS[name])
    calls, steps = compared(monkeypatch, flow, state, mf.RK4, 0.03, 3.0)
    assert calls < steps / 3


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_tableau_has_the_same_bits_in_one_call(method, monkeypatch):
    flow, state = problem()
    compared(monkeypatch, flow, state, method, 0.05, 5.0, moments=(3, 17, 60), watches=True)


@pytest.mark.parametrize("name", ["relu", "tanh", "relu float32", "huber, ridge", "wide"])
def test_steps_with_the_test_of_descent_have_the_same_bits_in_one_call(name, monkeypatch):
    flow, state = problem(**PROBLEMS[name])
    compared(monkeypatch, flow, state, mf.RK4, "auto", 30.0, moments=(50,))


def test_a_step_that_is_halved_is_halved_at_the_same_place(monkeypatch):
    """H grows while a steep network learns, so the first dt becomes too long on the way."""
    flow, state = problem("tanh", dim=1)
    scale = mf.State(np.asarray(state.theta) * [0.05, 0.05, 0.05], outputs=1)
    memory, _ = marched(flow, scale, mf.EULER, "auto", 400.0)
    assert memory[-1]["clock"]["halvings"]
    compared(monkeypatch, flow, scale, mf.EULER, "auto", 400.0)


@pytest.mark.parametrize("name", ["relu", "tanh", "softmax", "relu float32", "wide"])
def test_steps_of_error_control_have_the_same_bits_in_one_call(name, monkeypatch):
    flow, state = problem(**PROBLEMS[name])
    stops = np.array([0.5, 0.7, 3.1])
    calls, steps = compared(
        monkeypatch, flow, state, mf.Adaptive(1e-5, 1e-8), None, 200.0, moments=(40,), stops=stops
    )
    assert calls < steps / 2
