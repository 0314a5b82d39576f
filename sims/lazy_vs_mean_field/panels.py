"""The panels of a study over γ, m and seeds, each with its verdict: numbers from `runs`, drawn by
`figures`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import meanfield as mf
from ntk.runs.laziness import LAZY

from .. import figures
from ..figures import Curve, Figure
from ..lab import equal_training, exponents
from ..lab.crossings import find_crossing
from ..lab.fits import ExponentFit, Refused, different
from ..lab.runs import Results, Row, against_width, exponent, loss_curves

SIGMAS = {"relu": "ReLU", "leaky_relu": "leaky ReLU", "gelu": "GELU"}


def page(results: Results) -> Figure:
    """A block for each task: neurons at the smallest and largest γ, displacement and kernel drift
    against m, the training loss, and the test error, or for real targets the test loss.
    """
    tasks = sorted({row.task for row in results.rows})
    with figures.house():
        sheet, axes = figures.sheet(len(tasks))
        for task, block in zip(tasks, axes, strict=True):
            rows = [row for row in results.rows if row.task == task]
            by_gamma = {
                gamma: [row for row in rows if row.gamma == gamma]
                for gamma in sorted({row.gamma for row in rows})
            }
            _draw_particles(block[0, :2], results, by_gamma)
            _draw_displacement(block[0, 2], by_gamma)
            _draw_loss(block[1, 0], results, by_gamma)
            _draw_test_error(block[1, 1], results, by_gamma)
            _draw_drift(block[1, 2], results, by_gamma)
            figures.heading(sheet, block[0, 0], _about(results, rows[0]))
    return sheet


def _about(results: Results, row: Row) -> str:
    """Data, initial law and time of one task, from one of its files."""
    with mf.Trajectory(results.folder / row.file) as run:
        law, data, sigma = run.law, run.data, run.network.sigma.name
    assert law is not None
    what = {"digits": "Real images: handwritten digits, odd against even"}.get(
        row.task, f"Data: {row.task}"
    )
    if "teacher" in data.origin:
        what = f"Teacher–student: a teacher of {len(data.origin['teacher']['w'])} neurons"
    w = (
        f"I/{data.d}"
        if math.isclose(law.w_std**2 * data.d, 1.0)
        else "I"
        if law.w_std == 1
        else f"{law.w_std**2:.3g} I"
    )
    return (
        f"{what}\nn = {data.n} training and {data.n_test} test samples, d = "
        f"{data.d}{_prepared(data)}; "
        f"{SIGMAS.get(sigma, sigma)}, squared loss; symmetric start a = ±{law.a_std:g}, w "
        f"~ N(0, {w}), b = 0; α = 1; "
        f"t = 0 … {row.t_end:g} for every γ and m"
    )


def _prepared(data: mf.data.Dataset) -> str:
    """What was done to the inputs and targets, for it is another problem without."""
    record = data.origin.get("preparation", {})
    did = ["standardised"] * ("mean" in record)
    did += {"rows": ["|x| = 1"], "sqrt_d": ["x/√d"]}.get(str(record.get("normalise")), [])
    did += ["y standardised"] * ("y_mean" in record)
    return f" ({', '.join(did)})" if did else ""


def _draw_particles(
    axes: Sequence[Any], results: Results, by_gamma: dict[float, list[Row]]
) -> None:
    widest = {
        gamma: max(rows, key=lambda row: (row.m, -row.seed)) for gamma, rows in by_gamma.items()
    }
    ends = [widest[min(widest)], widest[max(widest)]]
    with mf.Trajectory(results.folder / ends[1].file) as run:
        basis, rays, xlabel = _plane(run)
    clouds = []
    for row in ends:
        with mf.Trajectory(results.folder / row.file) as run:
            clouds.append(figures.projected(run, basis))
    limit = 1.1 * max(
        float(np.quantile(np.abs(frames).max(axis=(0, 2)), 0.99)) for frames, _ in clouds
    )
    for ax, row, (frames, positive) in zip(axes, ends, clouds, strict=True):
        figures.particles(ax, frames, positive, limit, rays)
        ax.set_xlabel(xlabel)
        ax.set_ylabel("⟨w, e₂⟩")
        part = row.relative_displacement
        does = "stay put" if part < 0.1 else "travel" if part > 0.25 else "move a little"
        lazy = "lazy" if row.kernel_drift < LAZY else "not lazy"
        verdict = (
            f"RMS displacement {row.displacement:.2g}, {part:.0%} of their length: they {does}; "
            f"kernel drift {row.kernel_drift:.2g}, {lazy}. "
        )
        verdict += f"{frames.shape[1]} of {row.m} are shown."
        figures.panel(ax, f"{figures.regime(row.gamma)}, m = {row.m}", verdict)
    axes[0].legend(loc="lower left", handletextpad=0.1, borderpad=0.2, markerscale=1.6)


def _plane(run: mf.Trajectory) -> tuple[np.ndarray, np.ndarray | None, str]:
    """The plane to look at w in: where the teacher's directions spread most, else the plane of most
    movement.
    """
    teacher = run.data.origin.get("teacher")
    if teacher is None or len(teacher["w"]) < 2:
        return (
            figures.movement(run[0], run[-1]),
            None,
            "⟨w, e₁⟩, e₁ and e₂ the main directions of movement",
        )
    w = np.array(teacher["w"])
    basis = np.zeros((run.start.dim + 1, 2))
    basis[:-1] = np.linalg.svd(w - w.mean(axis=0) if len(w) > 2 else w)[2][:2].T
    return basis, w @ basis[:-1], "⟨w, e₁⟩; dashed: the teacher's neurons"


def _draw_displacement(ax: Any, by_gamma: dict[float, list[Row]]) -> None:
    curves, misses = [], []
    for number, (gamma, rows) in enumerate(by_gamma.items()):
        fit = exponent(rows, "displacement")
        curves.append(
            Curve(_label(gamma, fit, gamma - 1), *against_width(rows, "displacement"), number)
        )
        misses.append((_miss(fit, gamma - 1), gamma))
    figures.power_laws(ax, curves, [gamma - 1 for gamma in by_gamma], "width m", "RMS displacement")
    worst, gamma = max(misses)
    if worst == math.inf:
        text = "The widths are too few or too close for a slope"
    elif worst <= 0.05:
        text = f"All slopes are within {math.ceil(1000 * worst) / 1000:.3f} of the theory's γ − 1"
    else:
        text = f"At γ = {figures.fraction(gamma)} the slope is {worst:.2f} off the theory's γ − 1"
    share = min(row.w2_lower / row.displacement for rows in by_gamma.values() for row in rows)
    distance = (
        "W2 from start to end is as long"
        if share > 0.999
        else f"W2 from start to end is at least {share:.0%} of it"
    )
    figures.panel(ax, "RMS displacement of the neurons", f"{text}; {distance}.")


def _draw_loss(ax: Any, results: Results, by_gamma: dict[float, list[Row]]) -> None:
    left = {}
    for number, (gamma, rows) in enumerate(by_gamma.items()):
        t, values = loss_curves(results, rows)
        left[gamma] = float(values[:, -1].mean() / values[:, 0].mean())
        figures.lines(
            ax,
            [Curve(figures.regime(gamma), t, values, number)],
            "flow time t",
            "training loss",
            log="y",
        )
    low, high = min(left), max(left)
    names = figures.fraction(high), figures.fraction(low)
    faster = "travel" if left[high] < left[low] else "stay put"
    verdict = (
        f"Left at t = {t[-1]:g}: {left[high]:.1%} at γ = {names[0]}, {left[low]:.1%} at γ "
        f"= {names[1]}: "
    )
    verdict += f"neurons that {faster} learn faster."
    figures.panel(ax, f"Training loss, m = {max(row.m for row in by_gamma[low])}", verdict)
    ax.legend(loc="upper right")


def _draw_test_error(ax: Any, results: Results, by_gamma: dict[float, list[Row]]) -> None:
    """At the last flow time against m; open markers where all networks of one width and seed have
    the training loss that the slowest ends at; the line is the kernel machine at t = ∞.
    """
    rows = [row for some in by_gamma.values() for row in some]
    signs = rows[0].error_kind == "wrong signs"
    loss = equal_training.levels(rows)
    last: dict[float, np.ndarray] = {}
    equal: dict[float, float] = {}
    for number, (gamma, some) in enumerate(by_gamma.items()):
        widths, values = against_width(some, "test_error")
        last[gamma] = 100 * values[:, -1]
        curve = Curve(f"γ = {figures.fraction(gamma)}", widths, 100 * values, number)
        what = "test error, % wrong" if signs else "test loss, % of the start's"
        figures.lines(ax, [curve], "width m", what, "x", markers=True)
        at = {
            (row.m, row.seed): equal_training.error_at(results.folder / row.file, loss[row.m, row.seed])
            for row in some
        }  # fmt: skip
        means = [np.mean([100 * at[key] for key in at if key[0] == m]) for m in widths]
        equal[gamma] = float(means[-1])
        look = {"color": figures.COLOURS[number], "marker": figures.MARKERS[number]}
        ax.plot(widths, means, linestyle="", markerfacecolor="none", markersize=9, **look)
    machine = equal_training.kernel_machine(results.folder / rows[0].file)
    if machine is not None:
        ax.axhline(100 * machine, color="0.35", linewidth=1.2, linestyle=figures.LINES[3])
    ax.plot(
        [],
        [],
        "o",
        color="0.35",
        markerfacecolor="none",
        markersize=9,
        label="at equal training loss",
    )
    ax.plot(
        [],
        [],
        color="0.35",
        linewidth=1.2,
        linestyle=figures.LINES[3],
        label="kernel, m = ∞, t = ∞",
    )
    figures.panel(ax, "Test error" if signs else "Test loss", _compared(last, equal, machine))
    ax.set_ylim(0, 1.6 * max(ax.get_ylim()))
    ax.legend(loc="upper right", ncols=2)


def _compared(
    last: dict[float, np.ndarray], equal: dict[float, float], machine: float | None
) -> str:
    """The largest and the smallest γ at equal time, whether the seeds tell them apart, the same at
    equal training, and the kernel machine.
    """
    (low, still), (high, moving) = min(last.items()), max(last.items())
    p = different(still, moving)
    known = "one seed" if p is None else f"p = {p:.2g}"
    limit = "" if machine is None else f"; kernel at t = ∞ {100 * machine:.1f}%"
    return (
        f"{moving.mean():.1f}% at γ = {figures.fraction(high)}, {still.mean():.1f}% at "
        f"{figures.fraction(low)} ({known}); at equal training loss {equal[high]:.1f}%, "
        f"{equal[low]:.1f}%{limit}."
    )


def _draw_drift(ax: Any, results: Results, by_gamma: dict[float, list[Row]]) -> None:
    """First orders cancel in symmetric pairs: m^(2(γ - 1)). Of the m·O(1/s) kinks of a ReLU that
    cross a sample each changes H by ±O(1/m), at random: m^(γ/2 - 1), which decays slower for γ <
    2/3 (as long as m^γ << n²: sims/lab/exponents.py).

    The widest networks leave the lazy regime at the γ where the drift passes LAZY, by interpolation
    between the γ there are.
    """
    with mf.Trajectory(results.folder / next(iter(by_gamma.values()))[0].file) as run:
        sigma = run.network.sigma.name
    theory = [exponents.theory("kernel_drift", gamma, sigma) for gamma in by_gamma]
    curves, misses = [], []
    for number, (gamma, rows) in enumerate(by_gamma.items()):
        fit = exponent(rows, "kernel_drift")
        curves.append(
            Curve(_label(gamma, fit, theory[number]), *against_width(rows, "kernel_drift"), number)
        )
        misses.append((_miss(fit, theory[number]), gamma))
    figures.threshold(ax, LAZY)
    figures.power_laws(ax, curves, theory, "width m", "‖H_T − H_0‖ / ‖H_0‖")
    figures.name_threshold(ax, LAZY, f"lazy below {LAZY:g}")
    worst, gamma = max(misses)
    text = f"slopes within {worst:.2f} of the theory's"
    if worst == math.inf:
        text = (
            "too few widths for a slope"
            if len(curves[0].x) < 3
            else "no theory for the slope at each γ"
        )
    elif worst > 0.05:
        text = f"at γ = {figures.fraction(gamma)} the slope is {worst:.2f} off theory"
    drifts = np.column_stack([curve.values[:, -1] for curve in curves])
    crossing = find_crossing(list(by_gamma), drifts, LAZY)
    left = f"drift passes {LAZY:g} at γ = {crossing.brief}"
    if crossing.at is None:
        side = "below" if drifts.mean() < LAZY else "above"
        left = f"where drift passes {LAZY:g} is not bracketed ({side} at all γ)"
    figures.panel(ax, "Change of the tangent kernel", f"At m = {curves[0].x[-1]:g} {left}; {text}.")


def _label(gamma: float, fit: ExponentFit | Refused, theory: float | None) -> str:
    slope = "no slope" if isinstance(fit, Refused) else f"slope {fit.short}"
    return (
        f"γ = {figures.fraction(gamma)}: {slope}, "
        f"{'no theory' if theory is None else f'theory {figures.fraction(theory)}'}"
    )


def _miss(fit: ExponentFit | Refused, theory: float | None) -> float:
    return math.inf if theory is None or isinstance(fit, Refused) else abs(fit.slope - theory)
