"""The panels of `low_rank_jacobian`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import COLOURS, GREY, LINES, MARKERS, Curve, Figure
from ..lab import cells
from . import linear, measures, moment, network_file

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """Two rows of three panels; from the files alone."""
    net = results.config.network
    shares = sorted(net.corrupt)
    wrong = 0.5 if 0.5 in shares else shares[-1]
    files = {share: cells.read(network_file(results.folder, share))[1] for share in shares}
    with figures.house():
        sheet, axes = figures.sheet(2, 1, 3)
        (spectrum, labels, errors), (clean, corrupted, line) = axes[:, 0]
        _draw_spectrum(spectrum, results, {0.0: files[0.0], wrong: files[wrong]})
        _draw_labels(labels, results)
        _draw_errors(errors, results)
        _draw_residual(clean, results, files[0.0], 0.0)
        _draw_residual(corrupted, results, files[wrong], wrong)
        _draw_linear(line, results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
        figures.heading(sheet, axes[1, 0, 0], _about_below(results))
    return sheet


def _about(results: Results) -> str:
    net = results.config.network
    return (
        "Information and nuisance\n"
        f"ReLU, γ = 1, α = 1, m = {net.m}, symmetric start a = ±1, w ~ N(0, I), both trained, squared loss, seed 0; digits 0 … "
        f"{net.classes - 1}, n = {net.n}; information: {net.modes} of {net.n * net.classes} modes"
    )


def _about_below(results: Results) -> str:
    line = results.config.linear
    return (
        "Early and late in training\n"
        "left: the same networks, spaces of J where the test error is least (dashed), flow time t; right: n = "
        f"{line.n}, d = {line.dim}, r = {line.rank}, σ_x = {line.input_noise:g}, σ_y = {line.label_noise:g}, "
        f"{figures.seeds(line.seeds)}"
    )


def _name(share: float) -> str:
    return "clean" if share == 0 else f"{100 * share:g} % wrong"


def _draw_spectrum(ax: Any, results: Results, files: dict[float, dict[str, np.ndarray]]) -> None:
    """Singular values of J/√n at the start, which no label changes, and at the ends."""
    modes = results.config.network.modes
    curves = [("start", files[0.0]["spectrum"][0], 0)]
    curves += [
        (f"end, {_name(share)}", file["spectrum"][1], number)
        for number, (share, file) in enumerate(files.items(), 1)
    ]
    for label, values, number in curves:
        at = np.arange(1, len(values) + 1)
        ax.plot(at, values, color=COLOURS[number], linestyle=LINES[number], label=label)
    ax.axvline(modes + 0.5, color="0.35", linewidth=1.0, linestyle=(0, (4, 3)), gid="threshold")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("mode s")
    ax.set_ylabel("singular value of J/√n")
    ax.legend(loc="lower left")
    start, end = (np.square(files[0.0]["spectrum"][k]) for k in (0, 1))
    verdict = (
        f"The first {modes} of {len(start)} modes hold {start[:modes].sum() / start.sum():.0%} of ‖J‖² at the start and "
        f"{end[:modes].sum() / end.sum():.0%} at the end (clean labels)."
    )
    figures.panel(ax, "Singular values of the Jacobian", verdict)


def _draw_labels(ax: Any, results: Results) -> None:
    """Share of ‖y‖² in the information space, at the start and at the end."""
    rows, width = results.rows, 0.38
    for number, (name, values) in enumerate(
        (
            ("start", [row.labels_start for row in rows]),
            ("end", [row.labels_end for row in rows]),
        )
    ):
        place = np.arange(len(rows)) + width * (number - 0.5)
        ax.bar(place, values, width=width, color=COLOURS[number], label=f"space of J at the {name}")
    net = results.config.network
    ax.axhline(net.modes / (net.n * net.classes), color="0.35", linewidth=1.0, linestyle=LINES[3])
    ax.set_xticks(range(len(rows)), [f"{100 * row.corrupt:g} %" for row in rows])
    ax.set_ylim(0, 1.4)
    ax.set_xlabel("wrong labels")
    ax.set_ylabel("share of ‖y‖² that is information")
    ax.legend(loc="upper right")
    first, last = rows[0], rows[-1]
    verdict = (
        f"Start → end: {first.labels_start:.2f} → {first.labels_end:.2f} clean, {last.labels_start:.2f} → "
        f"{last.labels_end:.2f} with {100 * last.corrupt:g} % wrong; the line is noise alone."
    )
    figures.panel(ax, "How much of the labels is information", verdict)


def _draw_errors(ax: Any, results: Results) -> None:
    """Test error at the end, at the best time, and the bound's terms."""
    rows = results.rows
    at = np.array([row.corrupt for row in rows])
    for number, (label, values) in enumerate(
        (
            ("test error, end", [row.test_end for row in rows]),
            ("test error, stopped in time", [row.test_best for row in rows]),
            ("‖Π_N y‖/√n", [row.bias for row in rows]),
            ("bound, constants left out", [row.bound for row in rows]),
        )
    ):
        look: dict[str, Any] = {"color": COLOURS[number], "linestyle": LINES[number]}
        ax.plot(at, values, marker=MARKERS[number], label=label, **look)
    low, high = min(row.test_best for row in rows), max(row.bound for row in rows)
    ax.set_yscale("log")
    ax.set_ylim(0.6 * max(low, 1e-3), 12 * high)
    ax.set_xlabel("share of wrong labels")
    ax.set_ylabel("share of test images, or bound")
    ax.legend(loc="upper left", fontsize="small")
    last = rows[-1]
    order = np.argsort([row.bound for row in rows])
    same = bool((order == np.argsort([row.test_best for row in rows], kind="stable")).all())
    verdict = (
        f"The bound {'orders' if same else 'does NOT order'} the networks as the test error does, and is "
        f"{last.bound:.2g} where that is {last.test_best:.2g}: vacuous above 1."
    )
    figures.panel(ax, "Test error beside the bound", verdict)


def _draw_residual(ax: Any, results: Results, file: dict[str, np.ndarray], share: float) -> None:
    """‖r‖² in both spaces and the test error, over flow time."""
    t, best = measures.times(results.config.network), int(file["best"])
    for number, (label, name) in enumerate(
        (("information", "information"), ("nuisance", "nuisance"), ("test error", "test"))
    ):
        ax.plot(t[1:], file[name][1:], color=COLOURS[number], linestyle=LINES[number], label=label)
    if best:
        # below the legend
        ax.axvline(
            t[best], 0, 0.88, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), gid="threshold"
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(1e-3, 6)
    ax.set_xlabel("flow time t")
    ax.set_ylabel("‖r‖²/‖y‖², test error")
    ax.legend(loc="upper right", ncols=3, fontsize="small")
    half = [
        t[np.argmax(file[name] < 0.5 * file[name][0])] if (file[name] < 0.5 * file[name][0]).any() else np.inf
        for name in ("information", "nuisance")
    ]  # fmt: skip
    halves = ["never" if np.isinf(value) else f"t = {moment(value)}" for value in half]
    least, end = f"{file['test'][best]:.2g}", f"{file['test'][-1]:.2g} at the end"
    said = f"{least} at t = {moment(t[best])}, {end}" if best < len(t) - 1 else f"least, {end}"
    verdict = f"Half learnt: information {halves[0]}, nuisance {halves[1]}; test error {said}."
    title = "All labels right" if share == 0 else f"{100 * share:g} % of the labels wrong"
    figures.panel(ax, f"Residual, {title[0].lower() + title[1:]}", verdict)


def _draw_linear(ax: Any, results: Results) -> None:
    """Test error of the linear model, and what it were without the nuisance."""
    line = results.config.linear
    file = cells.read(results.folder / "linear.npz")[1]
    steps = linear.counts(line)[1:]
    curves = [
        Curve("test error", steps, file["test"][:, 1:], 0),
        Curve("with the information alone", steps, file["known"][:, 1:], 1),
    ]
    figures.lines(ax, curves, "steps of gradient descent", "E⟨w − β, x⟩² / E⟨β, x⟩²", "xy")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.3)
    ax.legend(loc="upper right")
    test, known = (file[name].mean(axis=0) for name in ("test", "known"))
    best = int(test.argmin())
    least = f"Least {test[best]:.2g} after {linear.counts(line)[best]} steps"
    if best == len(test) - 1:
        verdict = f"{least}, the last: no rise within these steps."
    else:
        whose = "the rise is the nuisance's" if known[-1] <= 1.1 * known.min() else "both rise"
        verdict = f"{least}, {test[-1]:.2g} at the end, where the information alone has {known[-1]:.2g}: {whose}."
    figures.panel(ax, "Linear model, noisy labels", verdict)
