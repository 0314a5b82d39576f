"""The panels of `kernel_spectra`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import COLOURS, MARKERS, Curve, Figure
from ..lab import cells
from ..lab.fits import ExponentFit, fit_or_refuse
from . import measures, sphere

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """Two rows of three panels, the circle and the sphere; from the files alone."""
    widths = sorted(results.config.widths)
    files = {m: cells.read(results.folder / f"m{m:06}.npz")[1] for m in widths}
    with figures.house():
        sheet, axes = figures.sheet(2, 1, 3)
        _draw_spectrum(axes[0, 0, 0], results)
        _draw_modes(axes[0, 0, 1], files[widths[-1]], widths[-1])
        _draw_error(axes[0, 0, 2], files)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
        _draw_degrees(axes[1, 0, 0], results)
        _draw_points(axes[1, 0, 1], results)
        _draw_learning(axes[1, 0, 2], results)
        figures.heading(sheet, axes[1, 0, 0], _about_sphere(results))
    return sheet


def _about(results: Results) -> str:
    config = results.config
    return (
        "Waves on the circle\n"
        f"ReLU, γ = 1/2, α = 1, symmetric start a = ±1 (fixed), w ~ N(0, I), b = 0; n = {config.n} "
        f"equispaced points, squared loss; {figures.seeds(config.seeds)}; flow time t"
    )


def _draw_spectrum(ax: Any, results: Results) -> None:
    """Theory as bars, the kernel of infinite width on the points, and the widest network."""
    config = results.config
    k = np.arange(config.degrees)
    off = 0.0
    for number, trained in enumerate(measures.TRAINED):
        theory = np.array([measures.eigenvalue(int(degree), trained) for degree in k])
        place = k + 0.4 * number - 0.2
        ax.bar(
            place,
            theory,
            width=0.36,
            color=COLOURS[number],
            alpha=0.3,
            label=f"theory, {trained} trained",
        )
        points = measures.limit(config, trained)
        off = max(off, float(np.abs(points - theory).max()))
        ax.plot(place, np.maximum(points, 0), MARKERS[number], color=COLOURS[number], markersize=5)
    ax.plot([], [], "o", color="0.35", markersize=5, label="kernel on the points")
    ax.set_yscale("log")
    ax.set_ylim(3e-4, 3)
    ax.set_xlabel("degree k")
    ax.set_ylabel("eigenvalue λ_k")
    ax.set_xticks(k)
    ax.legend(loc="upper right")
    verdict = (
        f"Odd degrees from 3 on have λ = 0 unless a bias is trained; {config.n} points are within "
        f"{off:.1g} of theory."
    )
    figures.panel(ax, "Spectrum of the kernel, m = ∞", verdict)


def _draw_modes(ax: Any, file: dict[str, np.ndarray], m: int) -> None:
    """What is left of each wave of the target, over e^(-λ_k t)."""
    t, curves, ends = file["times"], [], []
    for number, k in enumerate(measures.LEARNT):
        ax.plot(t, np.exp(-measures.eigenvalue(k) * t), color="0.85", linewidth=7, zorder=0)
        curves.append(Curve(f"k = {k}", t, file["left"][:, :, number], number))
        ends.append(f"{file['left'][:, -1, number].mean():.2g}")
    figures.lines(ax, curves, "flow time t", "amplitude left in y − f")
    handles, labels = ax.get_legend_handles_labels()
    ax.set_ylim(-0.05, 1.6)
    ax.legend([*handles, ax.lines[0]], [*labels, "e^(−λ_k t)"], loc="upper right", ncols=2)
    verdict = f"At t = {t[-1]:g} there is left of k = 1, 2, 3, 4: {', '.join(ends)}; of k = 3 in theory all, for ever."
    figures.panel(ax, f"Waves while w trains, m = {m}", verdict)


def _draw_error(ax: Any, files: dict[int, dict[str, np.ndarray]]) -> None:
    """‖H - H∞‖/n in operator norm, which bounds the error of every eigenvalue, over m."""
    widths = np.array(sorted(files), dtype=float)
    values = np.array([files[int(m)]["apart"] for m in widths]).T
    curve = Curve("measured", widths, values, 0)
    figures.lines(ax, [curve], "width m", "‖H − H∞‖ / n at the start", "xy", markers=True)
    band = figures.expected_slope(ax, curve, -0.5)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, "slope −1/2"], loc="upper right")
    fit = fit_or_refuse(widths, values)
    slope = f"slope {fit.short}" if isinstance(fit, ExponentFit) else "no slope from so few widths"
    verdict = f"No eigenvalue is farther off than this: {slope}, theory −1/2."
    figures.panel(ax, "The spectrum at finite width", verdict)


def _about_sphere(results: Results) -> str:
    config = results.config.sphere
    return (
        "Harmonics on the sphere\n"
        f"the same network at m = ∞, w trained; d = {config.dim}, x uniform on |x| = 1; targets: one harmonic of degree k and "
        f"variance 1; kernel regression (t = ∞), {config.repeats} draws of the samples"
    )


def _draw_degrees(ax: Any, results: Results) -> None:
    """λ_k of the even degrees for three dimensions, over k^(-d)."""
    dims = sorted({2, 3, results.config.sphere.dim})
    k = np.arange(2, 31, 2)
    ends = []
    for number, dim in enumerate(dims):
        values = sphere.eigenvalues(dim, 31)[k]
        figures.expected_slope(ax, Curve("", k[5:], values[None, 5:], number), -dim)
        look: dict[str, Any] = {"color": COLOURS[number], "marker": MARKERS[number]}
        ax.plot(k, values, linestyle="", markersize=5, label=f"d = {dim}", **look)
        slope = np.polyfit(np.log(k[-4:]), np.log(values[-4:]), 1)[0]
        ends.append(f"{slope:.2f}".replace("-", "−"))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks([2, 4, 8, 16, 30], ["2", "4", "8", "16", "30"])
    ax.minorticks_off()
    ax.set_xlabel("degree k, even")
    ax.set_ylabel("eigenvalue λ_k")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, ax.lines[0]], [*labels, "slope −d"], loc="lower left")
    verdict = (
        f"Slopes from k = {k[-4]} on for d = {', '.join(map(str, dims))}: {', '.join(ends)}, theory −d for k → ∞; odd "
        "degrees from 3 on have 0."
    )
    figures.panel(ax, "Eigenvalues by degree", verdict)


def _draw_points(ax: Any, results: Results) -> None:
    """Eigenvalues of the kernel on points, over the staircase of degrees with their multiplicities."""
    config = results.config.sphere
    found = cells.read(results.folder / "sphere.npz")[1]["spectrum"]
    shown = min(len(found), 1 + sum(sphere.multiplicity(config.dim, k) for k in (1, 2, 4)))
    steps, at = sphere.staircase(config.dim, shown), np.arange(1, shown + 1)
    ax.plot(at, steps, color="0.85", linewidth=7, drawstyle="steps-mid", zorder=0, label="theory")
    ax.plot(
        at,
        found[:shown],
        MARKERS[0],
        color=COLOURS[0],
        markersize=3,
        label=f"{config.points} points",
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("number of the eigenvalue")
    ax.set_ylabel("eigenvalue of K/n")
    ax.legend(loc="lower left")
    off = float(np.abs(found[:shown] - steps).max())
    counts = ", ".join(f"{sphere.multiplicity(config.dim, k)} of degree {k}" for k in (0, 1, 2, 4))
    verdict = f"{counts}; on the points no eigenvalue is off by more than {off:.2g}."
    figures.panel(ax, "Each degree as often as it has harmonics", verdict)


def _draw_learning(ax: Any, results: Results) -> None:
    """Test error against n, over theory."""
    off: list[float] = []
    for number, k in enumerate(results.config.sphere.targets):
        mine = [row for row in results.curves if row.degree == k]
        n, value, error, theory = np.array(
            [(row.n, row.value, row.error, row.theory) for row in mine]
        ).T
        label = "theory" if not number else None
        ax.plot(n, theory, color="0.85", linewidth=7, zorder=0, label=label)
        look: dict[str, Any] = {"color": COLOURS[number % 6], "marker": MARKERS[number % 6]}
        ax.errorbar(
            n, value, error, linestyle="", capsize=2, markersize=5, label=f"k = {k}", **look
        )
        off.extend(abs(value / theory - 1)[theory > 1e-3])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(3e-7, 100)
    ax.set_xlabel("samples n")
    ax.set_ylabel("test error / variance")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, labels, loc="upper right", ncols=3, fontsize="small")
    never = [row for row in results.curves if row.degree % 2 and row.degree > 1]
    said = f"; degree {never[-1].degree} stays, {never[-1].value:.2g} at the end" if never else ""
    far = f"{np.median(off):.0%} off theory in the median, {max(off):.0%} at most"
    verdict = f"Errors above 0.001 are {far}{said}." if off else "No error above 0.001."
    figures.panel(ax, "Learning curves", verdict)
