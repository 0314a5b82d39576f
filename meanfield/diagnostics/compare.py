"""compare: two runs in one table, and a sentence that says which is lazier and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import tables
from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from ..functionals.risk import EmpiricalRisk
from ..limits.finite_volumes import FiniteVolumes
from ..network import Network
from ..scaling import Scaling
from ..state import State
from ..transport.bounds import Interval
from ..transport.distances import displacement, w2_interval
from ..transport.floor import Floor, floor_of_two
from . import defects, seed_scatter, verdicts
from .library.errors import wrong
from .needs import are_labels
from .registry import SAMPLES
from .settings import NOISE_SEED, SEEDS, differing, text

SCALING = ("gamma", "alpha", "d", "K")
NOISY = "noisy"  # the trait of a method
KERNEL_PRODUCTS = 4e9  # m n² K² multiplications, some seconds


@dataclass(frozen=True)
class Comparison:
    """What mf.compare found. rows: name -> (value of a, value of b), None where there is none;
    notes say why.

    Settings that differ (temperature, noise seed, dt, ridge, loss, …) have rows below the seed.
    names: of the two runs. between, starts: W2 of the two end states, and of the two starts, as
    (lower, upper, lower_method, upper_method), or None. Two starts drawn from one law are some way
    apart, and so are the ends then, before anything is learnt. floor: of two runs of one setting (m
    may differ) from different starts, or from one under other noise, how far apart two samples of
    one law would be, by mf.w2_floor of the ends; None elsewhere. verdict: one sentence with
    numbers. print(comparison) shows all of it.
    """

    names: tuple[str, str]
    rows: dict[str, tuple[Any, Any]]
    between: Interval | None
    notes: tuple[str, ...]
    verdict: str
    starts: Interval | None = None
    floor: Floor | None = None

    def __str__(self) -> str:
        table = [
            ("", *self.names),
            *((name, *map(_text, pair)) for name, pair in self.rows.items()),
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        rule = ["-" * width for width in widths]
        lines = [tables.text_table([table[0], rule, *table[1:]])]
        for which, distance in (("starts", self.starts), ("ends", self.between)):
            if distance is not None:
                lines.append(f"W2 between the two {which}: {_text(distance)}")
        if self.floor is not None:
            lines.append(self._of_floor())
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), self.verdict])

    __repr__ = __str__

    def _of_floor(self) -> str:
        """The floor, and what follows for the ends."""
        assert self.floor is not None and self.between is not None
        verdict = self.floor.verdict(self.between.lower, self.between.upper)
        same = self.starts is not None and self.starts.upper == 0.0
        when = " (the same start, other noise: two samples once t is long against relaxation)"
        return f"floor: {self.floor}{when * same}: {verdict}"

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        rows = [(name, *map(_text, pair)) for name, pair in self.rows.items()]
        for which, distance in (("starts", self.starts), ("ends", self.between)):
            if distance is not None:
                rows.append((f"W2 between the two {which}", _text(distance), ""))
        if self.floor is not None:
            rows.append(("floor", self._of_floor(), ""))
        notes = "".join(tables.paragraph(f"note: {note}") for note in self.notes)
        return tables.html_table(rows, ("", *self.names)) + notes + tables.paragraph(self.verdict)


def compare(run_a: Any, run_b: Any, seconds: float = 2.0) -> Comparison:
    """Two runs side by side: scaling, law, how far the neurons travelled, how much the kernel
    drifted,
    errors.

    Parameters
    ----------
    run_a, run_b : paths or Trajectory, finished or not.
    seconds : for each W2; where the exact solve does not fit, bounds with the methods that gave
        them.

    Returns
    -------
    A Comparison; print it.

    Notes
    -----
    The drift ‖H_T - H_0‖/‖H_0‖ is on the first samples of the run's own x. One run is called lazier
    where its drift (or, where that tells nothing, its displacement) is smaller by more than 10 %
    and, from two different starts, by more than two seeds of one setting differ: the factor exp(2.5
    √(r_a² + r_b²)), r the relative standard error of each over seeds, about m^(-1/2), as
    meanfield/diagnostics/seed_scatter.py finds it in each file. Two runs that differ in nothing but
    the seed are said to be that.

    W2 of the ends of two runs that differ in seeds (of the start or of the noise) and m alone is
    held against mf.w2_floor: where it is within 10 % (and three errors) of it they differ by the
    floor alone. Not of densities (mf.limits), nor where particles were replaced (jumps, resample).
    """
    notes: list[str] = []
    with ExitStack() as stack:
        runs = [
            run if isinstance(run, Trajectory) else stack.enter_context(Trajectory(run))
            for run in (run_a, run_b)
        ]
        names = _names(runs[0].path, runs[1].path)
        ends = [run[-1] if len(run) else run.start for run in runs]
        (first, errors_a), (second, errors_b) = (
            _column(*item, seconds, notes) for item in zip(runs, names, ends, strict=True)
        )
        between = _between(ends[0], ends[1], seconds, notes)
        a, b = runs[0].start, runs[1].start
        starts = None if between is None else _between(a, b, seconds, notes)
        settings = differing(runs[0].config, runs[1].config)
        one_start = a.theta.shape == b.theta.shape and np.array_equal(a.theta, b.theta)
        methods = [run.config.get("integrator") or {} for run in runs]
    rows = _with_settings({name: (first[name], second[name]) for name in first}, settings)
    settings = {name: pair for name, pair in settings.items() if name not in SEEDS}
    reaches = (
        {}
        if one_start
        else {what: seed_scatter.reach(errors_a[what], errors_b[what]) for what in errors_a}
    )
    # one start is left by independent noise: after the relaxation two samples of one law
    scattered = not one_start or (NOISE_SEED in rows and NOISY in methods[0].get("traits", ()))
    one_setting = not settings and all(rows[what][0] == rows[what][1] for what in SCALING)
    unlike = verdicts.unlike(rows)
    seeds_alone = (
        scattered
        and one_setting
        and not unlike
        and (one_start or rows["initial law"][0] is not None)
    )
    verdict = verdicts.verdict(names, rows, reaches, seeds_alone, settings, beneath_table=True)
    # neither a density nor a cloud with copies is a sample of neurons
    densities = FiniteVolumes.name in [method.get("name") for method in methods]
    sample = not densities and not any(run.replaces for run in runs)
    # the law of the neurons depends little on m
    drawn = sample and scattered and one_setting and not [n for n in unlike if n != "m"]
    floor = floor_of_two(ends[0], ends[1], seconds) if drawn and between is not None else None
    return Comparison(names, rows, between, tuple(notes), verdict, starts, floor)


def _with_settings(
    rows: dict[str, tuple[Any, Any]], settings: dict[str, tuple[Any, Any]]
) -> dict[str, tuple[Any, Any]]:
    """A row for each setting that differs, below those of the seed."""

    def brief(value: Any) -> Any:
        return value if value is None or isinstance(value, (int, float)) else text(value)

    shown = {name: (brief(a), brief(b)) for name, (a, b) in settings.items()}
    names = list(rows)
    at = names.index("seed") + 1
    return {name: (rows | shown)[name] for name in [*names[:at], *shown, *names[at:]]}


def _column(
    run: Trajectory, name: str, end: State, seconds: float, notes: list[str]
) -> tuple[dict[str, Any], dict[str, float]]:
    """All values of one run, and the relative errors over seeds of those that a verdict is made of."""
    start, config = run.start, run.config

    def attempt(what: str, measure: Callable[[], Any]) -> Any:
        try:
            return measure()
        except ValueError as error:
            notes.append(f"{name} has no {what}: {error}")
            return None

    def last(series: str) -> float | None:
        return float(run.series(series).values[-1]) if series in run.series_names else None

    scaling = Scaling(**config["network"]["scaling"]) if config.get("network") else None
    if (finding := defects.of_run(run)) is not None:
        notes.append(f"{name}: {finding.text}")
    finite = bool(np.isfinite(end.theta).all())
    if not finite:
        notes.append(f"{name} has no distances and no errors: its last frame is not finite.")
    column = {
        "status": run.status,
        "gamma": scaling and scaling.gamma,
        "alpha": scaling and scaling.alpha,
        "output scale s": scaling and scaling.output_scale(start.m),
        "m": start.m,
        "d": start.dim,
        "K": start.outputs,
        "initial law": run.law.describe() if run.law else "given as an array",
        "seed": config.get("seed"),
        "flow time": end.t,
        "RMS displacement": attempt("displacement", lambda: _displacement(run, end))
        if finite
        else None,
        "W2(start, end)": attempt("W2", lambda: w2_interval(start, end, seconds))
        if finite
        else None,
        "path length": last("path"),
    }
    network: Any = attempt("network", lambda: run.network) if scaling else None
    data: Any = attempt("data", lambda: run.data) if config.get("data", True) else None
    known = finite and network is not None and data is not None
    samples = _kernel_samples(start, len(data.x)) if known else None
    found = (
        attempt("kernel drift", lambda: _drift(network, start, end, data.x[:samples]))
        if known
        else None
    )
    drift, drift_error = found or (None, 0.0)
    if run.replaces:  # copies of one neuron are in several of the blocks whose scatter this is
        drift_error = math.inf
    measured = known and config.get("flow")
    errors = (
        attempt("errors", lambda: _errors(config["flow"], network, data, end, run.arrays))
        if measured
        else None
    )
    scatter = {
        "kernel drift": drift_error,
        "RMS displacement": seed_scatter.of_displacement(start, end) if finite else 0.0,
    }
    own = (
        attempt(
            "f_0",
            lambda: _own_output(config["flow"], network, data, start, run.arrays.get("weights")),
        )
        if errors
        else None
    )
    symmetric = bool(run.law and run.law.symmetric)
    scatter = {
        what: math.hypot(max(error, seed_scatter.floor(what, start.m, symmetric)), own or 0.0)
        for what, error in scatter.items()
    }
    values = {
        **column,
        "kernel drift": drift,
        "kernel samples": samples,
        "energy F": last("energy"),
        **(errors or dict.fromkeys(("train risk", "test risk", "train error", "test error"))),
        "energy_defect": last("energy_defect"),
    }
    return values, scatter


def _displacement(run: Trajectory, end: State) -> float:
    if run.replaces:
        raise ValueError(
            "particles are killed and duplicated, so those of two times are not paired."
        )
    if not np.array_equal(run.start.mass, end.mass):
        raise ValueError("the masses have changed; W2(start, end) compares masses, too.")
    return displacement(run.start, end)


def _drift(network: Network, start: State, end: State, x: np.ndarray) -> tuple[float, float]:
    found = seed_scatter.of_drift(network, start, end, x)
    if np.isnan(found[0]):
        raise ValueError("its kernel at the start is 0 on the data, where all units are dead.")
    return found


def _own_output(
    settings: dict[str, Any], network: Network, data: Any, start: State, weights: np.ndarray | None
) -> float:
    functional = _of_samples(settings)
    risk = EmpiricalRisk(
        network, data.x, data.y, functional["loss"], functional["reduction"], weights=weights
    )
    return seed_scatter.of_output(
        risk, GradientFlow(risk, backend=risk.network.home).predict(start)
    )


def _of_samples(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the risk on samples: of mini-batches that of all of them."""
    functional = settings["functional"]
    return functional["risk"] if functional["kind"] == "MiniBatch" else functional


def _kernel_samples(state: State, n: int) -> int:
    affordable = int((KERNEL_PRODUCTS / (state.m * state.outputs**2)) ** 0.5)
    return max(2, min(n, SAMPLES, affordable))


def _errors(
    settings: dict[str, Any],
    network: Network,
    data: Any,
    end: State,
    arrays: Mapping[str, np.ndarray],
) -> dict[str, float | None]:
    """R and, for labels, the share of wrong ones, on the training and on the test set; weights are
    those of training samples.
    """
    found: dict[str, float | None] = {}
    functional = _of_samples(settings)
    if functional["kind"] != "EmpiricalRisk":
        raise ValueError(
            f"the run descends a {functional['kind']}, which its file alone cannot evaluate."
        )
    for kind, x, y in (("train", data.x, data.y), ("test", data.x_test, data.y_test)):
        if x is None:
            found[f"{kind} risk"] = found[f"{kind} error"] = None
            continue
        weights = arrays.get("weights") if kind == "train" else None
        risk = EmpiricalRisk(
            network, x, y, functional["loss"], functional["reduction"], weights=weights
        )
        # a file made on a GPU is read anywhere
        backend = "cpu" if settings["backend"] == "cpu" else "auto"
        f = GradientFlow(risk, backend=backend, dtype=settings["dtype"]).predict(end)
        found[f"{kind} risk"] = risk.value(f)
        found[f"{kind} error"] = wrong(risk.y, f) if are_labels(risk.y) else None
    return {name: found[name] for name in ("train risk", "test risk", "train error", "test error")}


def _between(p: State, q: State, seconds: float, notes: list[str]) -> Interval | None:
    if (p.dim, p.outputs) != (q.dim, q.outputs):
        notes.append(
            f"no W2 between the ends: d = {p.dim}, K = {p.outputs} against d = {q.dim}, K "
            f"= {q.outputs}."
        )
        return None
    if not (np.isfinite(p.theta).all() and np.isfinite(q.theta).all()):
        return None
    return w2_interval(p, q, seconds)


def _names(path_a: Path, path_b: Path) -> tuple[str, str]:
    """The shortest ends of the two paths that tell them apart."""
    a, b = path_a.absolute().parts, path_b.absolute().parts
    for count in range(1, max(len(a), len(b)) + 1):
        if a[-count:] != b[-count:]:
            return "/".join(a[-count:]), "/".join(b[-count:])
    return f"{path_a.name} (a)", f"{path_b.name} (b)"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Interval):
        if value.upper - value.lower <= 1e-6 * value.upper:
            return f"{value.upper:.5g} ({value.upper_method})"
        return f"{value.lower:.4g} … {value.upper:.4g} ({value.lower_method}; {value.upper_method})"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
