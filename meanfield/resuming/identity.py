"""Which run this is, where its configuration cannot say it: what user-written formulas compute.

A file knows formulas and series by their names. So it keeps, outside the content hash, the values
of each formula at fixed points, and of formulas and series the code (function_code.py). Who resumes
with others of the same names is told what differs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..backends.compiler import fingerprint
from ..diagnostics import registry
from ..features import protocol as features
from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from ..formulas import activations, losses
from ..functionals import probes, protocol
from ..observers.health import callers
from ..state import State
from . import function_code

SCHEME = 2  # of the points of probes.py and below: values at other points are not compared
CLOSE = 1e-9  # relative: another machine's exp has other last bits, and formulas may cancel digits
SMALL = 1e-12  # of the formula's typical value: below it a difference is rounding
# in cloud sizes
DISTANCES = (
    1e-3,
    0.01,
    0.03,
    0.1,
    0.2,
    0.4,
    0.7,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
)
TIMES = (0.0, *DISTANCES, 100.0, 1000.0)  # of a temperature
COORDINATES = 200_000  # of all points of V or U together: plain Python reads some millions a second
COMPONENTS = 8  # of a gradient that are kept

AGAIN = 4  # stored frames at which a series that is written differently is computed again

Point = tuple[Any, ...]


def of(flow: GradientFlow, series: Mapping[str, Callable | None], start: State) -> dict[str, Any]:
    """What a file keeps: {"scheme", "written": {what: {"code", "values"}}}; {} for built-ins alone.

    series: name -> function, None for a diagnostic; of these, those that the user registered count.
    """
    written: dict[str, dict[str, Any]] = {}
    formulas = _formulas(flow, start)
    measured = (
        probes.probe_values(flow.functional, start) if any(name for *_, name, _ in formulas) else {}
    )
    for what, function, name, points in formulas:
        written[what] = {"code": function_code.describe(function)}
        if name in measured:
            written[what]["probes"] = measured[name]
        if points:
            written[what]["values"] = [[_text(point), _kept(function, point)] for point in points]
    for what, settings in _settings(flow):
        constants = [[name, repr(value)] for name, value in settings.items()]
        written[what] = {
            "code": {"python": function_code.PYTHON, "shape": "", "constants": constants}
        }
    for name, given in series.items():
        if given is not None:
            written[f"the series {name!r}"] = {
                "code": function_code.describe(given),
                "series": name,
            }
        elif name in registry.names() and not (diagnostic := registry.get(name)).own:
            written[f"the diagnostic {name!r}"] = {
                "code": function_code.describe(diagnostic.function)
            }
    return {"scheme": SCHEME, "written": written} if written else {}


def differing(
    ours: dict[str, Any], run: Trajectory, flow: GradientFlow, functions: Mapping[str, Callable | None],
    mended: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """What differs from the file, a phrase each; one that kept nothing of a formula is believed.

    Formulas are the same where the values at all points are, and no constant of an unchanged text
    is another; series where the recorded values come out again at stored frames. A text that is
    another gives a warning then. functions: as `series` in `of`; mended: series that may be others.
    """
    theirs, found = run.identity, []
    written_differently = (
        "{} is written differently than when the run began; {}, so the run goes on."
    )
    for what, mine in ours.get("written", {}).items():
        other = theirs.get("written", {}).get(what)
        if other is None or mine.get("series") in mended:
            continue
        same = function_code.same_shape(mine["code"], other["code"])
        constants = function_code.constants_that_differ(mine["code"], other["code"])
        if same is not False and not constants and "probes" not in mine:
            continue
        points = len(mine.get("values", [])) + len(mine.get("probes", []))
        values = _difference(mine, other) if ours["scheme"] == theirs.get("scheme") else ""
        if (name := mine.get("series")) is not None:
            points, values = _recorded_again(run, flow, name, functions[name])
        elif not points and same is False:
            values = "its code is another"
        if values or (constants and same is not False and (name is None or not points)):
            found.append(f"{what}: {', '.join(constants) or values}")
        elif same is False or constants:
            seen = f"its values at the {points} points compared are the same"
            how = written_differently.format(
                what, seen if points else "no value of it can be compared"
            )
            warnings.warn(
                f"{how} {'; '.join(constants)}".strip(), RuntimeWarning, stacklevel=callers()
            )
    return found


def _recorded_again(
    run: Trajectory, flow: GradientFlow, name: str, function: Any
) -> tuple[int, str]:
    """How many recorded values were computed again, and, in words, the first that came out
    differently.
    """
    if name not in run.series_names:
        return 0, ""
    steps, _, values = run.series(name)
    frames = np.flatnonzero(np.isin(run.steps, steps))
    frames = (
        frames[np.unique(np.linspace(0, len(frames) - 1, AGAIN).astype(int))]
        if len(frames)
        else frames
    )
    for frame in frames.tolist():
        state, recorded = run[frame], float(values[np.searchsorted(steps, run.steps[frame])])
        try:
            found = float(np.asarray(function(flow, state)).item())
        except Exception as error:  # the user's own, of a function that did give a value here
            return len(
                frames
            ), f"it raises {error!r} at t = {state.t:g}, in the file {recorded:.6g}"
        least = SMALL * float(np.abs(values).max())
        same = math.isclose(found, recorded, rel_tol=CLOSE, abs_tol=least) or found == recorded
        if not (same or (math.isnan(found) and math.isnan(recorded))):
            return len(frames), f"{found:.6g} at t = {state.t:g}, in the file {recorded:.6g}"
    return len(frames), ""


def _formulas(flow: GradientFlow, start: State) -> list[tuple[str, Callable, str, list[Point]]]:
    """(what it is, the function, its name in probes.py, more points) of each user-written formula."""
    functional: Any = flow.functional
    kind = type(functional).__name__
    found: list[tuple[str, Callable, str, list[Point]]] = []
    sigma = _activation(flow)
    if sigma is not None and not _built_in(sigma, activations.get):
        found.append((f"the activation {sigma.name!r}", sigma.value, "σ", []))
        found.append((f"the slope of {sigma.name!r}", sigma.slope, "σ'", []))
        if sigma.value_and_slope is not None:
            found.append((f"value_and_slope of {sigma.name!r}", sigma.value_and_slope, "", []))
        parts = ("prepare", "pair", "finish", "linear") if sigma.pair is not None else ()
        for part in parts:
            if callable(function := getattr(sigma.pair, part, None)):
                found.append((f"the pair of {sigma.name!r}: {part}", function, "K_σ", []))
    if flow.network is not None and (feature := flow.network.feature) is not None:
        found += [(what, f, "", list(points)) for what, f, points in feature.written(start)]
    loss = None if functional.samples is None else functional.samples.loss
    if isinstance(loss, losses.Loss) and not _built_in(loss, losses.get):
        found.append((f"the loss {loss.name!r}", loss.value, "ℓ", []))
        found.append((f"the slope of the loss {loss.name!r}", loss.slope, "ℓ'", []))
    pairs = (functional.potential, functional.interaction) if kind == "PairwiseEnergy" else ()
    for formulas, (name, letter, paired) in zip(
        pairs, (("potential", "V", False), ("interaction", "U", True)), strict=False
    ):
        if formulas:
            points = _particles(start, paired)
            found.append((f"the {name} {letter}", formulas[0], letter, points))
            found.append((f"the gradient of {letter}", formulas[1], f"∇{letter}", points))
    if callable(flow.temperature):
        found.append(("the temperature", flow.temperature, "", [(float(t),) for t in TIMES]))
    for what, (function, points) in functional.written.items():
        found.append((what, function, "", points))
    if kind not in protocol.OWN and kind not in protocol.OTHERS and kind != "PairwiseEnergy":
        found = [(what, function, "", []) for what, function, *_ in found]
        found.append((f"the functional {kind}", type(functional), "", []))
    return found


def _settings(flow: GradientFlow) -> list[tuple[str, dict[str, Any]]]:
    """The numbers beside user-written formulas, which a configuration does not hold."""
    found = []
    sigma = _activation(flow)
    if sigma is not None and not _built_in(sigma, activations.get):
        found.append(
            (
                f"mf.Activation({sigma.name!r})",
                {"homogeneity": sigma.homogeneity, "smooth": sigma.smooth},
            )
        )
    loss = None if flow.functional.samples is None else flow.functional.samples.loss
    if isinstance(loss, losses.Loss) and not _built_in(loss, losses.get):
        found.append(
            (
                f"mf.Loss({loss.name!r})",
                {name: getattr(loss, name) for name in ("labels", "curvature", "coupled")},
            )
        )
    return found


def _activation(flow: GradientFlow) -> Any:
    return None if flow.network is None or flow.network.feature else flow.network.sigma


def _built_in(formula: Any, get: Callable[[str], Any]) -> bool:
    try:
        get(formula.name)
    except ValueError:
        return False
    return True


def _particles(start: State, paired: bool) -> list[Point]:
    """Points x of the cloud and around it; with paired, a second one y at distances near and far."""
    p = start.theta.shape[1]
    rows = start.theta[np.unique(np.linspace(0, start.m - 1, 5).astype(int))].astype(np.float64)
    centre = rows.mean(axis=0)
    size = (
        float(np.sqrt(np.square(rows - centre).sum(axis=1).mean()))
        or float(np.linalg.norm(centre))
        or 1.0
    )
    count = max(2, min(len(DISTANCES), COORDINATES // (2 * p)))
    distances = [
        DISTANCES[k] for k in np.unique(np.linspace(0, len(DISTANCES) - 1, count).astype(int))
    ]
    j = np.arange(p)
    directions = [np.cos(1.0 + 2.4 * j + 0.7 * k) for k in range(len(distances))]
    moves = [size * r * u / np.linalg.norm(u) for r, u in zip(distances, directions, strict=True)]
    if not paired:
        return [(x,) for x in (*rows, *(centre + move for move in moves))]
    near = [
        (rows[k % len(rows)] + move, rows[k % len(rows)].copy()) for k, move in enumerate(moves)
    ]
    return [
        *(
            (x, y)
            for x, y in zip(rows, np.roll(rows, 1, axis=0), strict=True)
            if not np.array_equal(x, y)
        ),
        *near,
    ]


def _kept(function: Callable, point: Point) -> list[float] | None:
    """The value, or the first components of what it writes into its last argument; None where it
    has none.
    """
    given = [item.copy() if isinstance(item, np.ndarray) else item for item in point]
    out = np.zeros(given[0].size) if isinstance(given[0], np.ndarray) else None
    wants_out = out is not None and function_code.arguments(function) > len(given)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = function(*given, out) if wants_out else function(*given)
        numbers = np.atleast_1d(np.asarray(out if wants_out else value, dtype=np.float64)).ravel()[
            :COMPONENTS
        ]
    except Exception:  # outside of where it is defined: whatever the user's function raises there says no more than that
        return None
    return [float(number) for number in numbers] if np.isfinite(numbers).all() else None


def _difference(mine: dict[str, Any], other: dict[str, Any]) -> str:
    """Where the values differ, in words; "" where they do not."""
    before, now = ({"": item["probes"]} if "probes" in item else {} for item in (other, mine))
    if phrases := probes.changed(before, now):
        return phrases[0].removeprefix(": ")
    pairs = zip(mine.get("values", []), other.get("values", []), strict=False)
    known = [
        (where, *both)
        for (where, here), (_, there) in pairs
        for both in zip(here or (), there or (), strict=False)
    ]
    sizes = [abs(there) for _, _, there in known if there]
    least = SMALL * float(np.median(sizes)) if sizes else 0.0
    apart = [
        item
        for item in known
        if abs(item[1] - item[2]) > CLOSE * max(abs(item[1]), abs(item[2])) + least
    ]
    if not apart:
        return ""
    # one of a size that is read easily
    where, here, there = min(apart, key=lambda item: abs(math.log(abs(item[2]) or 1e-300)))
    return f"{here:.6g} at {where}, in the file {there:.6g}"


def _text(point: Point) -> str:
    """The point as a message shows it."""
    parts = []
    for item in point:
        numbers = np.atleast_1d(item).ravel()
        shown = ", ".join(f"{number:.4g}" for number in numbers[:3])
        parts.append(
            f"({shown}{', …' if numbers.size > 3 else ''})"
            if isinstance(item, np.ndarray)
            else shown
        )
    return ", ".join(parts)


def user_written(flow: GradientFlow) -> list[str]:
    """The formulas of a flow that no file can hold; ValueError for one that goes by the name of
    another, a built-in.
    """
    functional = flow.functional
    kind = type(functional).__name__
    names = [] if kind in protocol.OWN else [kind]
    names += ["temperature"] if callable(flow.temperature) else []
    names += list(functional.written)
    feature = None if flow.network is None else flow.network.feature
    if feature is not None and type(feature).__name__ not in features.OWN:
        names.append(feature.name)
    sigma = _activation(flow)
    formulas: list[Any] = [] if sigma is None else [(sigma, activations.get)]
    formulas += [(functional.samples.loss, losses.get)] if functional.samples is not None else []
    for given, get in formulas:
        try:
            known = get(given.name)
        except ValueError:
            names.append(given.name)
            continue
        parts = [(getattr(given, part), getattr(known, part)) for part in ("value", "slope")]
        if any(a is not b and fingerprint(a) != fingerprint(b) for a, b in parts):
            raise ValueError(
                f"{given.name!r} is a built-in, and this is another formula: give it a "
                "name of its own."
            )
    return names
