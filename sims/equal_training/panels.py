"""The panels of `equal_training`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ntk.runs.laziness import LAZY

from .. import figures
from ..figures import COLOURS, LINES, MARKERS, Figure
from ..lab import cells
from . import machine_file, measures, quadratic, training_file

if TYPE_CHECKING:
    from . import Results, Row

NAMES = {"RF": "random features", "NT": "linearised", "NN": "trained"}
ERRORS = {"teacher": "test loss / start's", "digits": "wrong test images"}


def page(results: Results) -> Figure:
    """A panel for each task, and two; from the files alone."""
    tasks = sorted(results.config.training.tasks, reverse=True)
    with figures.house():
        sheet, axes = figures.sheet(1, 1, len(tasks) + 2)
        for ax, task in zip(axes[0, 0], tasks, strict=False):
            _draw_training(ax, results, task)
        _draw_scale(axes[0, 0, -2], results)
        _draw_quadratic(axes[0, 0, -1], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    training = results.config.training
    scale = results.config.scale
    squares = results.config.quadratic
    return (
        "Lazy and rich networks at equal training\n"
        f"ReLU, α = 1, a and w trained, squared loss, symmetric starts; left: m = {training.m}, {figures.seeds(training.seeds)}, "
        f"stopped at {training.level:g} of the start's loss; right: γ = 0, m = {scale.m}, d = {scale.dim}, n = {scale.n}, "
        f"{scale.trials} trials; σ(z) = z², d = {squares.dim}, γ = 1, {squares.draws} draws"
    )


def _draw_training(ax: Any, results: Results, task: str) -> None:
    """Test error against training loss, which falls to the right; the kernel machine dashed."""
    config, folder = results.config.training, results.folder
    machine = cells.read(machine_file(folder, task))[1]
    words = []
    for number, gamma in enumerate(sorted(config.gammas)):
        file = cells.read(training_file(folder, task, gamma))[1]
        drift = float(file["drift"].mean())
        for seed, (train, test) in enumerate(zip(file["train"], file["test"], strict=True)):
            label = f"γ = {gamma:g}, drift {drift:.2g}" if seed == 0 else None
            ax.plot(train, test, color=COLOURS[number], linestyle=LINES[number], label=label)
        value = _value(results, task, f"γ = {gamma:g}")
        kind = "lazy" if drift < LAZY else "not lazy"
        words.append(f"γ = {gamma:g} ({kind}) {_number(task, value)}")
    shown = machine["train"] > 0.5 * config.level
    ax.plot(
        machine["train"][shown], machine["test"][shown], color="0.35", linestyle=(0, (4, 3)),
        linewidth=1.2, label="kernel, m = ∞",
    )  # fmt: skip
    figures.threshold(ax, float(machine["end"]))
    ax.set_xscale("log")
    ax.set_xlim(1.2, 0.5 * config.level)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low * (low / high) ** 0.45, high)  # room for the legend
    ax.set_xlabel("training loss / start's")
    ax.set_ylabel(ERRORS[task])
    ax.legend(loc="lower left")
    figures.name_threshold(ax, float(machine["end"]), "kernel, t = ∞")
    end = _number(task, float(machine["end"]))
    verdict = f"At training loss {config.level:g}: {', '.join(words)}; the kernel at t = ∞ {end}."
    title = {"teacher": "A teacher of three neurons", "digits": "Digits, odd against even"}[task]
    figures.panel(ax, title, verdict)


def _numbers(rows: list[tuple[float | None, ...]]) -> np.ndarray:
    """Columns, NaN for None."""
    return np.array(rows, dtype=np.float64).T


def _value(results: Results, panel: str, curve: str) -> float | None:
    return next(r.value for r in results.rows if (r.panel, r.curve) == (panel, curve))


def _number(task: str, value: float | None) -> str:
    if value is None:
        return "not there in time"
    return f"{100 * value:.2g} %" if task == "digits" else f"{value:.2g}"


def _draw_scale(ax: Any, results: Results) -> None:
    """Test loss against τ, over what is published."""
    rows = [row for row in results.rows if row.panel == "start"]
    rows.sort(key=lambda row: row.at)
    tau, value, error = _numbers([(row.at, row.value, row.error) for row in rows])
    known = sorted(measures.PUBLISHED.items())
    at = np.array([tau for tau, _ in known])
    mean, scatter = np.array([pair for _, pair in known]).T
    ax.fill_between(
        at, mean - scatter, mean + scatter, color="0.85", linewidth=0, label="published"
    )
    ax.errorbar(
        tau, value, error, color=COLOURS[0], marker=MARKERS[0], capsize=2, label="measured ± s.e."
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("size τ of the start (as an output scale: τ²)")
    ax.set_ylabel("test loss × 1000")
    ax.legend(loc="lower right")
    figures.panel(ax, "Test loss and the size of the start", _said_of_scale(results, rows), 54)


def _said_of_scale(results: Results, rows: list[Row]) -> str:
    """What the published recipe gives, in standard errors of the difference; other settings are not
    compared.
    """
    first, last = rows[0], rows[-1]
    ends = ", ".join(f"{row.value or np.nan:.2g} at τ = {row.at:.2g}" for row in (first, last))
    theirs = type(results.config.scale)(
        taus=results.config.scale.taus, trials=results.config.scale.trials
    )
    if theirs != results.config.scale or not any(row.at in measures.PUBLISHED for row in rows):
        return f"{ends}; other sizes than the published ones."
    off = [
        abs((row.value or np.nan) - mean) / (scatter * np.sqrt(1 / 5 + 1 / theirs.trials))
        for row in rows
        for mean, scatter in [measures.PUBLISHED.get(row.at, (np.nan, 1.0))]
    ]
    return f"{ends}; at most {np.nanmax(off):.1f} standard errors from the published values."


def _draw_quadratic(ax: Any, results: Results) -> None:
    """The three errors against N/d, over theory."""
    squares = results.config.quadratic
    worst = {}
    for number, kind in enumerate(quadratic.KINDS):
        rows = sorted(
            (row for row in results.rows if (row.panel, row.curve) == ("quadratic", kind)),
            key=lambda row: row.at,
        )
        share, value, error, known = _numbers(
            [(row.at, row.value, row.error, row.theory) for row in rows]
        )
        ax.plot(
            share,
            known,
            color="0.85",
            linewidth=7,
            zorder=0,
            label="theory" if not number else None,
        )
        ax.errorbar(
            share, value, error, color=COLOURS[number], linestyle=LINES[number], marker=MARKERS[number],
            capsize=2, label=NAMES[kind],
        )  # fmt: skip
        worst[kind] = float(np.abs(value - known).max())
    ax.set_ylim(-0.03, 1.35)
    ax.set_xlabel("neurons per dimension N/d")
    ax.set_ylabel("error / that of a constant")
    ax.legend(loc="upper right", ncols=2)
    said = ", ".join(f"{NAMES[kind]} {value:.1g}" for kind, value in worst.items())
    figures.panel(ax, f"A quadratic function, d = {squares.dim}", f"Farthest from theory: {said}.")
