"""A run, or a sweep, as one HTML page: figures, an animation, verdicts, configuration, provenance.

The page holds everything that it shows and opens from a disk without a network: pictures are data
inside it, there is no script, and its own policy forbids whatever else a browser might load.
"""

from __future__ import annotations

import base64
import errno
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import meanfield as mf
import ntk
from meanfield.diagnostics import defects, inspection
from meanfield.files.durable import creating
from meanfield.files.tables import escaped, html_table, paragraph

from .. import figures
from ..sweeps import indexing, plotting, reporting
from ..sweeps.folders import SweepFolder

FRAMES = 60  # of the animation: about a megabyte
DPI = 110  # of a picture, twice as many dots as it takes on the page
QUANTITIES = ("displacement", "kernel_drift", "risk", "test_risk", "test_error", "energy_defect")
# said on the page, which has the rest all the same
NOT_DRAWN = (
    ValueError,
    RuntimeError,
    ImportError,
)

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1c1c1c; background: #fff;
       max-width: 68rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ccc; }
p { margin: .3rem 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.2rem; }
.wide { grid-column: 1 / -1; }
figure { margin: 0; min-width: 0; }
img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; color: #444; }
.scroll { overflow-x: auto; max-height: 34rem; overflow-y: auto; }
table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; font-weight: 600; }
th, td { text-align: left; vertical-align: top; padding: .2rem .9rem .2rem 0;
         border-bottom: 1px solid #e6e6e6; }
tbody th { font-weight: 500; white-space: nowrap; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll td { overflow-wrap: normal; white-space: nowrap; }
thead th { position: sticky; top: 0; background: #fff; border-bottom: 1px solid #999; }
.note { color: #8a3b00; }
@media print { .scroll { max-height: none; } figure { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def write(path: Any, out: Any) -> Path:
    """The report of a trajectory file, or of a sweep's folder, as one HTML page at `out`; returns
    its path.

    The page is complete or not there. FileExistsError where `out` is there; what cannot be drawn of
    a run (a figure for scalar inputs, say) is said on the page with the reason.
    """
    path, out = Path(path), Path(out)
    if out.exists():
        raise FileExistsError(errno.EEXIST, "exists", str(out))
    is_sweep = path.is_dir() and (path / "manifest.json").is_file()
    page = of_sweep(path) if is_sweep else of_run(path)
    with creating(out) as new:
        new.write_text(page, encoding="utf-8")
    return out


def of_run(path: Any) -> str:
    """The page of one run, finished or not."""
    with mf.Trajectory(path) as run:
        sections = inspection.sections(run)
        body = [
            paragraph(inspection.headline(run)),
            "<h2>Verdicts</h2>", html_table(_verdicts(run), ("question", "answer")),
            "<h2>Figures</h2>", '<div class="figures">', *_pictures(run), "</div>",
            *_sections({"Recorded": inspection.series_rows(run)}, ("series", "values", "first", "last", "from t", "to t")),
            *_sections(sections),
        ]  # fmt: skip
    return _page(Path(path).name, body)


def of_sweep(path: Any) -> str:
    """The page of a sweep: what is done, every run in a table, quantities over the axes, one run
    shown moving.
    """
    folder = SweepFolder(path)
    data = indexing.open_sweep(path)
    plan, there = folder.plan, folder.published()
    names = [name for axis in plan.axes for name in axis.names]
    shown = [digest for digest in plan.runs if digest in there]
    rows = [
        (digest, *plan.at(digest).values(), *_cells(data, plan.at(digest), names))
        for digest in plan.runs
    ]
    columns = ("run", *names, "status", *(name.replace("_", " ") for name in _measured(data)))
    body = [
        paragraph(f"{plan.describe()}: {reporting.counts(folder)}"),
        "<h2>Verdicts</h2>",
        html_table(_sweep_verdicts(folder, shown), ("question", "answer")),
        "<h2>Over the axes</h2>",
        *_safely("the quantities over the axes", lambda: _over_axes(data, names)),
        "<h2>Runs</h2>",
        f'<div class="scroll">{html_table(rows, columns)}</div>',
    ]
    if shown:
        with mf.Trajectory(folder.run(shown[0])) as run:
            body += [
                f"<h2>{escaped(f'One run, {shown[0]}: {_point(plan.at(shown[0]))}')}</h2>",
                '<div class="figures">',
                *_pictures(run),
                "</div>",
            ]
            body += _sections({"Provenance of that run": inspection.sections(run)["provenance"]})
    common = [(name, value) for name, value in _base(plan).items() if name not in names]
    body += _sections({"Settings common to all": common})
    return _page(folder.path.name, body)


def _verdicts(run: mf.Trajectory) -> list[tuple[str, str]]:
    """What can be said of a run in a sentence."""
    finding = defects.of_run(run)
    ended = {
        "finished": "yes",
        "unfinished": "not yet; these are its frames up to the last checkpoint",
    }
    rows = [
        ("Did it reach its end?", ended.get(run.status, run.summary.get("message", run.status)))
    ]
    defect = run.series("energy_defect").values[-1] if "energy_defect" in run.series_names else None
    sound = (
        f"cannot be said: {_without_defect(run)}."
        if defect is None
        else f"yes: the energy lost was dissipated, but for {defect:.2g} of it (energy_defect)"
    )
    rows.append(("Is it the flow?", sound if finding is None else finding.text))
    if run.config.get("network"):
        rows.append(("Lazy or rich?", _or_why(lambda: str(ntk.laziness(run).verdict))))
    return rows


def _without_defect(run: mf.Trajectory) -> str:
    """Why a run has no energy_defect, which would tell."""
    found = mf.diagnose(run, progress=False).unavailable.get("energy_defect")
    return found or "no energy_defect was recorded"


def _sweep_verdicts(folder: SweepFolder, shown: Sequence[str]) -> list[tuple[str, str]]:
    values = [folder.energy_defect(digest) for digest in shown if not folder.sliding(digest)]
    failed = [
        f"{digest} {folder.failure(digest).get('message', '')}" for digest in folder.failures()
    ]
    return [
        ("Is it complete?", f"{len(shown)} of {len(folder.plan.runs)} runs are there"),
        ("Did runs fail?", "; ".join(failed) or "no"),
        ("Are they the flow?", reporting.mark([v for v in values if np.isfinite(v)]) or "yes, all with energy_defect below 0.1"),
    ]  # fmt: skip


def _or_why(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except NOT_DRAWN as error:
        return f"cannot be said: {error}"


def _pictures(run: mf.Trajectory) -> list[str]:
    """The animation and the still figures of a run, or why one is missing."""
    scalar = run.start.dim == 1 and run.start.outputs > 0
    stills: list[tuple[str, Callable[[], Any]]] = [
        ("risk along the run" if run.config.get("network") else "energy along the run",
         lambda: figures.series(run, "risk" if run.config.get("network") else "energy")),
        ("paths of the neurons", lambda: figures.paths(run)),
        ("phase portrait: which way the neurons set out", lambda: figures.phase_portrait(run)),
    ]  # fmt: skip
    if scalar:
        stills.insert(1, ("the function at several times", lambda: figures.function_evolution(run)))
    kernel = ("the kernel before and after", lambda: figures.kernel_change(run)[0])
    return [
        *_safely("animation of the neurons", lambda: [_animation(run)]),
        *(part for name, draw in stills for part in _safely(name, _drawn(name, draw))),
        *(_safely(kernel[0], _drawn(*kernel, wide=True)) if run.config.get("network") else []),
    ]


def _drawn(name: str, draw: Callable[[], Any], wide: bool = False) -> Callable[[], list[str]]:
    return lambda: [_figure(_png(draw().figure), "png", name, wide)]


def _safely(name: str, draw: Callable[[], list[str]]) -> list[str]:
    try:
        return draw()
    except NOT_DRAWN as error:
        return [f'<p class="note">{escaped(f"Not drawn, {name}: {error}")}</p>']


def _over_axes(data: Any, names: Sequence[str]) -> list[str]:
    """The collected quantities against one axis of numbers, a line for each value of a second."""
    axes = [
        str(n)
        for n in data.dims
        if str(n) in names and data.sizes[n] > 1 and data[n].dtype.kind in "iuf"
    ]
    axes = sorted((name for name in axes if name != plotting.REPEATS), key=lambda name: name != "m")
    if not axes:
        raise ValueError("no axis of the sweep has several numbers, apart from seeds.")
    x, by = axes[0], axes[1] if len(axes) > 1 else None
    others = [str(n) for n in data.dims if str(n) not in (x, by, plotting.REPEATS)]
    where = {name: data[name].values.tolist()[0] for name in others}
    page = plotting.figure(data, _measured(data), x, by, where)
    return [_figure(_png(page), "png", f"the measured quantities against {x}", wide=True)]


def _measured(data: Any) -> list[str]:
    return [name for name in QUANTITIES if name in data and np.isfinite(data[name].values).any()]


def _cells(data: Any, point: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Status and measured quantities of the run at a point of the axes."""
    here = data.sel({str(name): point[str(name)] for name in data.dims if str(name) in point})
    return [
        str(here["status"].values),
        *(f"{float(here[name].values):.4g}" for name in _measured(data)),
    ]


def _point(point: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in point.items())


def _base(plan: Any) -> dict[str, Any]:
    return {name: getattr(plan.base, name) for name in plan.base.__dataclass_fields__}


def _animation(run: mf.Trajectory) -> str:
    with tempfile.TemporaryDirectory() as folder:
        made = figures.animate(run, "paths", Path(folder) / "run.gif", most=FRAMES, progress=False)
        return _figure(made.read_bytes(), "gif", "animation of the neurons, one picture a frame")


def _png(figure: Any) -> bytes:
    pixels = io.BytesIO()
    with figures.house():
        figure.savefig(pixels, format="png", dpi=DPI)
    figures.plt.close(figure)
    return pixels.getvalue()


def _figure(data: bytes, kind: str, caption: str, wide: bool = False) -> str:
    """A picture whose bytes stand in the page."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    words = escaped(caption[0].upper() + caption[1:])
    opening = '<figure class="wide">' if wide else "<figure>"
    return f'{opening}<img alt="{words}" src="{source}"><figcaption>{words}</figcaption></figure>'


def _sections(sections: dict[str, Any], head: Sequence[str] = ()) -> list[str]:
    found = []
    for title, rows in sections.items():
        if rows:
            found += [f"<h2>{escaped(title[0].upper() + title[1:])}</h2>", html_table(rows, head)]
    return found


def _page(title: str, body: Sequence[str]) -> str:
    return PAGE.substitute(title=escaped(title), body="\n".join(body))
