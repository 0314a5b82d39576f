"""What is in a trajectory file, finished or not, line by line; and a series of it as CSV.
scripts/inspect prints it.
"""

from __future__ import annotations

import csv
import json
import sys
import textwrap
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from ..files.recording import unfinished
from ..files.remaking import needed_by
from ..files.tables import text_table
from ..files.trajectory import Trajectory
from ..flow import beyond_default
from ..scaling import Scaling
from . import defects

# of a functional, shown in words
SETTINGS = (
    "loss",
    "reduction",
    "ridge",
    "size",
    "seed",
    "potential",
    "interaction",
    "self_pairs",
)
SHOWN_FRAMES = 12  # of more than these, the first and the last few


def export(run: Trajectory, name: str, out: str | None = None) -> None:
    """The series `name` as step,time,name: to the screen, or into a new file. Floats read back
    exactly.
    """
    series = run.series(name)
    with open(out, "x", newline="", encoding="utf-8") if out else nullcontext(sys.stdout) as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(("step", "time", name))
        writer.writerows(zip(*(column.tolist() for column in series), strict=True))


def report(run: Trajectory, content_hash: bool = False) -> Iterator[str]:
    """Line by line what the file holds."""
    yield headline(run)
    if "message" in run.summary:
        yield run.summary["message"]
    if run.status == "unfinished":
        path = str(run.path).removesuffix(".parts")
        yield f"Still running, or to be continued with mf.resume({path!r})."
        if more := needed_by(run):
            yield f"No file holds what its user wrote, so with it: mf.resume({path!r}{more})."
    elif unfinished(run.path):
        yield f"Another run is about to replace or extend it: inspect {run.path}.parts."
    if content_hash:
        yield f"content hash {run.content_hash()}"
    for title, lines in sections(run).items():
        yield from _section(title, lines)
    if (finding := defects.of_run(run)) is not None:
        yield ""
        yield f"note: {finding.text}"
    rows: list[tuple[str, ...]] = [
        ("series", "values", "first", "last", "from t", "to t"),
        *series_rows(run),
    ]
    yield ""
    yield text_table(rows, "<>") if len(rows) > 1 else "series: none"
    rows = [("frame", "step", "t")]
    rows += [
        (str(k), str(step), _text(t))
        for k, (step, t) in enumerate(zip(run.steps, run.times, strict=True))
    ]
    if len(rows) > SHOWN_FRAMES + 1:
        half = SHOWN_FRAMES // 2
        rows = [*rows[: half + 1], ("…", "…", "…"), *rows[-half:]]
    yield ""
    yield text_table(rows, "<>") if len(rows) > 1 else "frames: none before the first checkpoint"


def headline(run: Trajectory) -> str:
    """Which file it is, its status and its size, in one line."""
    start = run.start
    frames = (
        f"{len(run)} frames of {start.m} particles, d = {start.dim}, K = {start.outputs}, "
        f"{start.theta.dtype}"
    )
    return f"{run.path}: {run.status}, {frames}, {_bytes(_size(run.path))}"


def sections(run: Trajectory) -> dict[str, list[tuple[str, str]]]:
    """Configuration, provenance and summary in words: title -> (name, text)."""
    return {
        "configuration": _configuration(run, run.start.m),
        "provenance": _provenance(run.provenance),
        "summary": [
            (name, _text(value)) for name, value in run.summary.items() if name != "message"
        ],
    }


def series_rows(run: Trajectory) -> list[tuple[str, ...]]:
    """(name, number of values, first, last, from t, to t) of each series."""
    rows: list[tuple[str, ...]] = []
    for name in run.series_names:
        _, times, values = run.series(name)
        rows.append(
            (name, str(len(values)), *map(_text, (values[0], values[-1], times[0], times[-1])))
        )
    return rows


def _configuration(run: Trajectory, m: int) -> list[tuple[str, str]]:
    """Every setting in words; what this code has no words for, as JSON."""
    left = dict(run.config)
    lines: list[tuple[str, str]] = []
    flow, network = left.pop("flow", None), left.pop("network", None)
    dt = run.summary.get("dt", left.get("dt"))
    if network:
        scaling = Scaling(**network["scaling"])
        s = (
            f"gamma = {scaling.gamma:g}, alpha = {scaling.alpha:g}, m = {m}, s = "
            f"{scaling.output_scale(m):.6g}"
        )
        lines += [
            (
                "network",
                f"{network['activation']}; trained: {', '.join(network['trainable']) or 'nothing'}",
            ),
            ("scaling", scaling.describe(m, dt) if isinstance(dt, float) else s),
        ]
    law, seed = run.law, left.pop("seed", None)
    left.pop("law", None)
    lines.append(
        ("initial law", f"{law.describe()}; seed {seed}" if law else "particles given as an array")
    )
    if flow:
        functional = flow["functional"].get("risk", {}) | flow["functional"]
        settings = ", ".join(
            f"{name} = {functional[name]}" for name in SETTINGS if name in functional
        )
        lines += [
            ("functional", f"{functional['kind']}: {settings}"),
            *([("flow", ", ".join(more))] if (more := beyond_default(flow)) else []),
            ("backend", f"{flow['backend']}, {flow['dtype']}"),
        ]
    data = left.pop("data", None)
    if data:
        shapes = flow["functional"].get("data", {}) if flow else {}
        arrays = ", ".join(f"{name} {tuple(shapes[name])}" for name in ("x", "y") if name in shapes)
        origin = f"; {_json(data['origin'])}" if data.get("origin") else ""
        lines.append(("data", f"{data['name']}: {arrays}{origin}"))
    if "integrator" in left:
        method = left.pop("integrator")
        extra = ", ".join(f"{name} = {value}" for name, value in method.items() if name != "name")
        lines.append(
            (
                "integrator",
                f"{method['name']}{f' ({extra})' * bool(extra)}, dt = {left.pop('dt', None)}",
            )
        )
    if "t_end" in left:
        begin = f"t = {left.pop('t_start', 0.0):g} (step {left.pop('step_start', 0)})"
        lines.append(("flow time", f"from {begin} to t = {left.pop('t_end'):g}"))
    if "observers" in left:
        watch = left.pop("observers")
        seen = [f"frames {_schedule(watch['recorder'])}"] if watch["recorder"] else []
        seen += [
            f"{item['name']} {_schedule(item['schedule'])}{' (user-written)' * item['user']}"
            for item in watch["series"]
        ]
        seen += [f"events {_schedule(watch['events']['schedule'])}"] if "events" in watch else []
        seen += [f"w2 {_schedule(watch['w2']['schedule'])}"] if "w2" in watch else []
        seen += [
            f"{item['name']} {_schedule(item['schedule'])} (user-written)"
            for item in watch.get("others", ())
        ]
        lines.append(
            (
                "observers",
                "; ".join([*seen, *["stops when not finite"] * watch["stop_on_nonfinite"]]),
            )
        )
    for name in ("m", "dim", "outputs"):  # in the first line
        left.pop(name, None)
    return [
        *lines,
        *(
            (name.replace("_", " "), value if isinstance(value, str) else _json(value))
            for name, value in left.items()
        ),
    ]


def _schedule(settings: dict[str, Any]) -> str:
    return f"{settings['kind']}({', '.join(_json(value) for name, value in settings.items() if name != 'kind')})"


def _provenance(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for name, value in provenance.items():
        if name == "continued":
            value = f"{len(value)} times, last {value[-1].get('started', 'at a time unknown')}"
        elif isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        lines.append((name, str(value)))
    return lines


def _section(title: str, lines: list[tuple[str, str]]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield textwrap.indent(text_table(lines), "  ")


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    total = 0
    for item in (path if path.is_dir() else path.with_name(path.name + ".parts")).iterdir():
        with suppress(FileNotFoundError):  # a run that is going on replaces its checkpoints
            total += item.stat().st_size
    return total


def _bytes(size: int) -> str:
    power = min((len(str(size)) - 1) // 3, 4)
    return f"{size / 1000**power:.3g} {('bytes', 'KB', 'MB', 'GB', 'TB')[power]}"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
