"""Which part of the labels does a network learn first, and where do wrong labels go? Information and
nuisance spaces of the Jacobian, after Oymak, Fabian, Li and Soltanolkotabi (2019). python -m
sims.low_rank_jacobian --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import meanfield as mf
from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import linear, measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "low_rank_jacobian"
QUESTION = (
    "Which part of the labels does a network learn first, and what do wrong labels change about it?"
)


@settings.settings
class Network:
    """ReLU networks at γ = 1 on digits, centred one-hot targets, |x| = 1; symmetric starts a = ±1,
    w ~ N(0, I), both trained, squared loss.
    """

    corrupt: tuple[Annotated[float, settings.between(0, 1)], ...] = (0.0, 0.25, 0.5, 0.75)
    """Shares of the training labels that are replaced by another class; 0 among them."""
    classes: Annotated[int, settings.between(2, 10)] = 5
    """Digits 0 … classes - 1, as many outputs K."""
    n: Annotated[int, settings.at_least(4)] = 120
    """Training images."""
    m: Annotated[int, settings.at_least(2)] = 128
    """Neurons, even."""
    modes: Annotated[int, settings.at_least(1)] = 25
    """Dimensions of the information space, of nK."""
    t_end: Annotated[float, settings.at_least(1)] = 1000.0
    """Flow time."""


@settings.settings
class Linear:
    """A linear model: r strong directions of x that the labels depend on, weak ones besides."""

    n: Annotated[int, settings.at_least(2)] = 200
    """Samples."""
    dim: Annotated[int, settings.at_least(2)] = 500
    """Inputs d."""
    rank: Annotated[int, settings.at_least(1)] = 5
    """Strong directions r."""
    input_noise: Annotated[float, settings.above(0)] = 0.2
    """Standard deviation σ_x of x in every direction, besides 1 in the strong ones."""
    label_noise: Annotated[float, settings.at_least(0)] = 2.0
    """Standard deviation σ_y of what is added to y = ⟨β, x⟩, |β| = 1."""
    steps: Annotated[int, settings.at_least(2)] = 4096
    """Steps of gradient descent with the rate 1/λ_1²."""
    seeds: Annotated[int, settings.at_least(2)] = 20
    """Draws."""


@settings.settings
class Config:
    """Networks with more and more wrong labels, and a linear model."""

    network: Network = Network()
    """ReLU networks on digits."""
    linear: Linear = Linear()
    """The linear model."""

    def __post_init__(self) -> None:
        net, line = self.network, self.linear
        if len(net.corrupt) < 2 or len(set(net.corrupt)) < len(net.corrupt) or 0 not in net.corrupt:
            raise ValueError(
                f"corrupt needs 0 and another share, without repetition; got {list(net.corrupt)}."
            )
        if net.m % 2:
            raise ValueError(f"m must be even, symmetric starts pair neurons; got {net.m}.")
        if net.modes >= net.n * net.classes:
            raise ValueError(
                f"modes must be less than n·classes = {net.n * net.classes}, or nothing is "
                f"nuisance; got {net.modes}."
            )
        if line.rank >= min(line.n, line.dim):
            raise ValueError(
                f"rank must be less than n = {line.n} and dim = {line.dim}; got {line.rank}."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(
        network=Network(corrupt=(0.0, 0.5), classes=3, n=12, m=8, modes=6, t_end=4.0),
        linear=Linear(n=10, dim=15, rank=2, steps=16, seeds=2),
    )


def demo() -> Config:
    """Two of the four networks."""
    return Config(network=Network(corrupt=(0.0, 0.5)))


@dataclass(frozen=True)
class Row:
    """One network."""

    corrupt: float
    labels_start: float  # share of ‖y‖² in the information of the Jacobian at the start
    labels_end: float  # at the end
    test_best: float  # misclassified share of the test set at the best time
    t_best: float
    test_end: float
    bias: float  # ‖Π_N y‖/√n at the start
    bound: float  # with e^{-Γ} + Γ/(α√n), Γ = 1, no constants


Results = batched.Results[Row, Config]


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each."""
    found: list[cells.Batch] = []
    for share in sorted(config.network.corrupt):
        about = cells.about(config.network, ("corrupt",), kind="network", corrupt=share)
        work = partial(measures.trained, config.network, share)
        found.append((network_file(out, share), about, work))
    about = cells.about(config.linear, (), kind="linear")
    found.append((out / "linear.npz", about, partial(linear.of_seeds, config.linear)))
    return found


def network_file(out: Path, share: float) -> Path:
    return out / f"network_corrupt{share:.4g}.npz"


def config_of(out: Path) -> Config:
    """The settings of the files in `out`."""
    abouts = [about for about, _ in cells.found(out, "network_*.npz")]
    lines = [about for about, _ in cells.found(out, "linear.npz")]
    shares = tuple(sorted(about["corrupt"] for about in abouts))
    network = {**cells.shared(abouts, ("kind", "corrupt")), "corrupt": shares}
    return settings.from_dict(
        Config, {"network": network, "linear": cells.shared(lines, ("kind",))}
    )


def _results(config: Config, out: Path) -> Results:
    rows, moments = [], measures.times(config.network)
    for share in sorted(config.network.corrupt):
        file = cells.read(network_file(out, share))[1]
        best, labels = int(file["best"]), file["labels"]
        rows.append(
            Row(
                share, float(labels[0]), float(labels[1]), float(file["test"][best]),
                float(moments[best]), float(file["test"][-1]), float(file["nuisance_norm"]),
                measures.bound(file, config.network.n),
            )
        )  # fmt: skip
    return Results(out, tuple(rows), config)


def figure(results: Results) -> Figure:
    """Spectra, labels in the information space, errors beside the bound; residuals along training of
    clean and wrong labels, and the linear model.
    """
    from . import panels

    return panels.page(results)


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    net = config.network
    data = measures.dataset(net, 0.0)
    first = measures.start(net, data, 0)
    flow = mf.GradientFlow(mf.EmpiricalRisk(measures.NETWORK, data.x, data.y))
    trained = sum(about["kind"] == "network" for about in left)
    job = planning.Job(
        name="digits", data=data, widths=(net.m,) * trained, widest=net.m, t_end=net.t_end, frames=0, dtype="float64",
        steps=planning.steps(measures.NETWORK, first, data.x, net.t_end), filed=False,
        compiled=flow.on_device(first).backend.compiled(),
        decomposed=(net.n * net.classes,) * 3 * trained,
    )  # fmt: skip
    return planning.describe([job], out)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [
        (
            "corrupt",
            "labels in I",
            "at the end",
            "test, best",
            "at t",
            "at the end",
            "bias",
            "bound",
        )
    ]
    for row in results.rows:
        first = (row.corrupt, row.labels_start, row.labels_end, row.test_best)
        last = (row.test_end, row.bias, row.bound)
        texts = [[f"{value:.3g}" for value in part] for part in (first, last)]
        lines.append((*texts[0], moment(row.t_best), *texts[1]))
    return f"{text_table(lines, '>')}\n\ntable       {out / NAME}.csv"


def moment(t: float) -> str:
    """A flow time in three digits, without a power of ten."""
    return f"{t:.0f}" if t >= 100 else f"{t:.3g}"


ABOUT = f"""{QUESTION}

The Jacobian of a network has few large singular values. What of the labels lies in their space (the information) is
learnt soon, the rest (the nuisance) late. Wrong labels are mostly nuisance: a network that stops early has not learnt
them yet. Oymak, Fabian, Li and Soltanolkotabi (2019) bound the test error by what of the labels is nuisance.

Examples:
  python -m sims.{NAME} --demo                              two shares of wrong labels, thirty seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --network.modes 50 --linear.label-noise 1 --out results/modes50"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: two shares of wrong labels, thirty seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
