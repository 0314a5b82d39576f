"""One run as settings: what a sweep varies by dotted name, and what makes flow, neurons and file of
it.

Experiment ──make──▶ (flow, neurons, data) ──perform──▶ run.h5, an ordinary trajectory
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import itertools
import json
import operator
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import meanfield as mf
from meanfield.stepping import runge_kutta

from . import config as settings

METHODS: dict[str, Any] = {"euler": mf.EULER, "heun": mf.HEUN, "rk4": mf.RK4}


@settings.settings
class Data:
    """The training and test samples: mf.data.get(name, **options)."""

    name: str = "teacher_student"
    """A name of mf.data.names(), or the path of a .npz, .csv, .tsv, .h5 or .hdf5 file."""
    options: dict[str, Any] = field(default_factory=lambda: {"n": 100, "dim": 5})
    """Its options, for example {n = 100, dim = 5, seed = 3}."""


@settings.settings
class Law:
    """The law of the neurons at the start: the arguments of mf.InitialLaw, at γ' = 0."""

    a: Literal["rademacher", "normal", "zero"] = "rademacher"
    """Output weights: rademacher ±a_std, normal N(0, a_std²), or zero."""
    w: Literal["normal", "sphere"] = "normal"
    """Input weights: normal N(0, w_std² I), or uniform on the sphere |w| = w_std."""
    a_std: Annotated[float, settings.at_least(0)] = 1.0
    """Scale of the output weights."""
    w_std: Annotated[float, settings.at_least(0)] = 1.0
    """Scale of the input weights."""
    b_std: Annotated[float, settings.at_least(0)] = 0.0
    """Scale of the biases."""
    symmetric: bool = True
    """Neighbours (a, w, b), (-a, w, b), so that f = 0 at the start; m must be even."""


@settings.settings
class Experiment:
    """One run: a network f(x) = α m^(-γ) Σ_k a_k σ(⟨w_k, x⟩ + b_k), its data, its start, and how
    long to train it.

    At the start a has the scale a_std·m^(-γ'/2), and (w, b) the scales (w_std, b_std)·m^(γ'/2).
    """

    gamma: float = 1.0
    """Exponent γ of the output scale α m^(-γ): 1/2 is the NTK scaling, 1 mean-field."""
    alpha: Annotated[float, settings.above(0)] = 1.0
    """Scale α of the output."""
    gamma_prime: float = 0.0
    """Exponent γ' of Luo et al. (2021): a_std·m^(-γ'/2), (w_std, b_std)·m^(γ'/2) at the start, so
    that products are kept.
    """
    m: Annotated[int, settings.between(1, 2**32)] = 1024
    """Number of neurons."""
    seed: Annotated[int, settings.at_least(0)] = 0
    """Seed of the neurons; a narrower network has the first neurons of a wider one."""
    activation: str = "relu"
    """relu, leaky_relu, tanh, erf, sigmoid, softplus, gelu, sin, square or linear."""
    trainable: tuple[Literal["a", "w", "b"], ...] = ("a", "w", "b")
    """What of a, w and b is trained; the rest keeps its initial values."""
    loss: Literal["squared", "huber", "logistic", "hinge", "softmax"] = "squared"
    """The loss ℓ(f, y): squared, huber, logistic, hinge or softmax."""
    reduction: Literal["mean", "sum"] = "mean"
    """mean: R = (1/n) Σ_i ℓ; or sum."""
    ridge: Annotated[float, settings.at_least(0)] = 0.0
    """λ of the regulariser (λ/2) ∫ |θ|² dμ."""
    integrator: Literal["euler", "heun", "rk4", "adaptive"] = "rk4"
    """The method: euler (gradient descent), heun, rk4 or adaptive."""
    dt: float | Literal["auto"] = "auto"
    """Step of flow time; auto: a stable one from the tangent kernel."""
    t_end: Annotated[float, settings.above(0)] = 10.0
    """Flow time to train for."""
    frames: Annotated[int, settings.at_least(2)] = 11
    """Moments at which all neurons are written to the file."""
    spacing: Literal["evenly", "log"] = "evenly"
    """How frames lie in flow time: evenly, or log."""
    dtype: Literal["float32", "float64"] = "float64"
    """Number format of the neurons: float64 or float32."""
    backend: Literal["cpu", "cuda", "auto"] = "cpu"
    """The device: cpu, cuda or auto."""
    law: Law = Law()
    """The law of the neurons at the start: the arguments of mf.InitialLaw, at γ' = 0."""
    data: Data = Data()
    """The training and test samples: mf.data.get(name, **options)."""

    def __post_init__(self) -> None:
        if self.law.symmetric and self.m % 2:
            raise ValueError(
                f"m must be even, a symmetric start pairs neurons; got {self.m}. Use {self.m + 1}."
            )
        if not self.trainable:
            raise ValueError(
                'trainable must name what is trained: "a", "w" and "b", or some of them.'
            )
        if self.dt != "auto" and not self.dt > 0:
            raise ValueError(f'dt must be positive or "auto"; got {self.dt!r}.')
        mf.Network(self.activation)


@functools.cache
def meanings(kind: type = Experiment, prefix: str = "") -> dict[str, str]:
    """What each setting means, by its dotted name: the text below its line in this file."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    found: dict[str, str] = {}
    for line, text in itertools.pairwise(body):
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            name = ast.unparse(line.target)
            tables = {"law": Law, "data": Data}
            found |= (
                meanings(tables[name], f"{name}.")
                if name in tables
                else {f"{prefix}{name}": " ".join(str(text.value.value).split())}
            )
    return found


def defaults() -> dict[str, str]:
    """What each setting is when nothing is said, by its dotted name, as JSON."""
    values = settings.to_dict(Experiment())
    return {
        name: json.dumps(functools.reduce(operator.getitem, name.split("."), values))
        for name in meanings()
    }


def table() -> str:
    """Every setting with its default and its meaning, a line each."""
    given = {name: f"{name} = {value}" for name, value in defaults().items()}
    width = max(map(len, given.values()))
    return "\n".join(f"{given[name]:{width}}  {text}" for name, text in meanings().items())


Experiment.__doc__ = (
    f"{inspect.getdoc(Experiment)}\n\nSettings, with their defaults:\n\n{table()}\n"
)


def load(path: Path) -> Experiment:
    """The Experiment of a TOML file; another data set than the default's has its own options.

    Raises
    ------
    BadSettings : what is wrong in the file, by its name.
    OSError : where it cannot be read.
    """
    found, base = settings.read_toml(path), Experiment()
    if sweep := [name for name in ("base", "axes", "zipped") if name in found]:
        raise settings.BadSettings(
            f"{path} is the file of a sweep, it has {' and '.join(sweep)}: scripts/sweep create {path} FOLDER."
        )
    data = found.get("data")
    if isinstance(data, dict) and data.get("name", base.data.name) != base.data.name:
        base = replace(base, data=Data(base.data.name, {}))
    return settings.load(path, base)


@dataclass(frozen=True)
class Made:
    """What an Experiment stands for."""

    flow: mf.GradientFlow
    start: mf.State
    data: mf.data.Dataset


def make(config: Experiment) -> Made:
    """Flow, neurons and data; raises BadData where the data do not fit the loss."""
    data = dataset(config)
    network = mf.Network(
        config.activation, mf.Scaling(config.gamma, config.alpha), config.trainable
    )
    try:
        risk = mf.EmpiricalRisk(
            network, data.x, data.y, config.loss, config.reduction, config.ridge
        )
    except (TypeError, ValueError) as error:
        raise settings.BadData(str(error)) from error
    flow = mf.GradientFlow(risk, backend=config.backend, dtype=config.dtype)
    outputs = int(risk.y.max()) + 1 if config.loss == "softmax" else risk.y.shape[1]
    law = initial_law(config, data.d, outputs)
    return Made(flow, law.sample(config.m, seed=config.seed), data)


def dataset(config: Experiment) -> mf.data.Dataset:
    """The samples."""
    name = config.data.name
    try:
        if name in mf.data.names():
            return _made(name, json.dumps(config.data.options, sort_keys=True))
        return mf.data.get(name, **config.data.options)
    except (TypeError, ValueError) as error:
        if Path(name).suffix.lower() in mf.data.EXTENSIONS or name in (*mf.data.names(), "load"):
            raise settings.BadData(f"data.options: {error}") from error
        raise settings.BadData(f"data.name: {_nearest(str(error), name)}") from error


@functools.lru_cache(8)
def _made(name: str, options: str) -> mf.data.Dataset:
    """A data set without a file, kept: the runs of a sweep share theirs."""
    return mf.data.get(name, **json.loads(options))


def _nearest(message: str, name: str) -> str:
    """The message about an unknown data set, with the one that has a word near to its name:
    "techer", teacher_student.
    """
    words = {word: known for known in mf.data.names() for word in known.split("_")}
    near = difflib.get_close_matches(name, words, n=1)
    return (
        message
        if "Did you mean" in message or not near
        else message.replace(".", f". Did you mean {words[near[0]]!r}?", 1)
    )


def initial_law(config: Experiment, dim: int, outputs: int = 1) -> mf.InitialLaw:
    """The law with γ' in it: a_std·m^(-γ'/2), (w_std, b_std)·m^(γ'/2)."""
    law, ratio = config.law, float(config.m) ** (config.gamma_prime / 2)
    scales = {"a_std": law.a_std / ratio, "w_std": law.w_std * ratio, "b_std": law.b_std * ratio}
    return mf.InitialLaw(
        dim=dim, outputs=outputs, a=law.a, w=law.w, symmetric=law.symmetric, **scales
    )


def method(config: Experiment) -> Any:
    """The integrator."""
    return runge_kutta.Adaptive() if config.integrator == "adaptive" else METHODS[config.integrator]


def perform(
    config: Experiment, path: Path, progress: bool = False, checkpoint_seconds: float = 30.0,
    guard: Callable[[], None] | None = None, summary: dict[str, Any] | None = None,
) -> mf.State:  # fmt: skip
    """Train to `path`; an interrupted run goes on where it stopped, a finished one is left as it
    is.

    The file has frames, the standard series at each frame, and the risk at every step. Raises
    mf.Interrupted, mf.Diverged. guard: as in mf.Recorder. summary: what the file says of the run's end is
    put into it, where that end is reached here.
    """
    made = make(config)
    schedule = (
        mf.evenly(config.frames) if config.spacing == "evenly" else mf.log_spaced(config.frames)
    )
    recorder = mf.Recorder(
        path,
        schedule,
        exists="resume",
        data=made.data,
        checkpoint_seconds=checkpoint_seconds,
        guard=guard,
    )
    dt = None if config.integrator == "adaptive" and config.dt == "auto" else config.dt
    try:
        return mf.simulate(
            made.flow,
            made.start,
            method(config),
            dt=dt,
            t_end=config.t_end,
            observers=[recorder, mf.Series("risk", mf.every(1)), mf.StopOnNonFinite()],
            progress=progress,
        )
    finally:
        if summary is not None:
            summary |= recorder.summary or {}
