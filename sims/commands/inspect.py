"""scripts/inspect: what is in a trajectory file; its diagnostics, two runs compared, figures and
animations of it.
"""

from __future__ import annotations

import argparse
import csv
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import meanfield as mf
from meanfield.diagnostics import inspection, registry
from meanfield.files import verification
from meanfield.files.durable import IncompatibleFile, InUse, replacing

from ..lab import terminal
from . import engines, inspect_help

USAGE, IO, IN_USE, INCOMPATIBLE = 2, 5, 6, 7  # exit codes


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    terminal.accept_all()
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        code = command(arguments[1:]) if command else show(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except IncompatibleFile as error:
        sweeps = [name for name in arguments if (Path(name) / "manifest.json").is_file()]
        more = f" {sweeps[0]} holds a sweep: scripts/sweep status {sweeps[0]}" if sweeps else ""
        return _fail(INCOMPATIBLE, f"{error}{more}")
    except InUse as error:
        return _fail(IN_USE, error)
    except FileExistsError as error:
        if arguments[0] == "repair":
            return _fail(IO, error)
        return _fail(
            IO,
            f"{error.filename} exists: choose another name for "
            f"--{'out' if not command else _option(arguments)}.",
        )
    except OSError as error:
        return _fail(IO, error)
    return 0


def show(arguments: Sequence[str]) -> int:
    """The report of a file, or a series of it as CSV."""
    parser = _parser(
        "",
        inspect_help.HELP,
        inspect_help.EXAMPLES,
        usage="inspect FILE [--hash] [--csv NAME [--out CSV]]",
    )
    parser.add_argument(
        "file", metavar="FILE", help="the trajectory, as named in mf.Recorder, or its .parts folder"
    )
    parser.add_argument(
        "--hash", action="store_true", help="compute the content hash: reads every frame"
    )
    parser.add_argument(
        "--csv", metavar="NAME", help="write this series as CSV instead, to the screen or to --out"
    )
    parser.add_argument(
        "--out",
        metavar="CSV",
        help="with --csv: the file to make; one that exists is not overwritten",
    )
    options = parser.parse_args(arguments)
    if options.csv and options.hash:
        parser.error("--csv and --hash are two questions: ask them one after the other")
    if options.out and not options.csv:
        parser.error("--out says where --csv NAME goes; name a series, for example --csv risk")
    with mf.Trajectory(options.file) as run:
        if options.csv and options.csv not in run.series_names:
            return _fail(
                USAGE,
                f"no series {options.csv!r} in {run.path}; it has: "
                f"{', '.join(run.series_names) or 'none'}.",
            )
        if options.csv:
            inspection.export(run, options.csv, options.out)
        else:
            print("\n".join(inspection.report(run, options.hash)))
    return 0


def diagnose(arguments: Sequence[str]) -> int:
    """Diagnostics of a run: listed, or computed and printed or written as CSV."""
    parser = _parser("diagnose", inspect_help.DIAGNOSE, inspect_help.DIAGNOSE_EXAMPLES)
    parser.add_argument("file", metavar="RUN", help="the trajectory")
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="what to compute; without names the list of what there is",
    )
    parser.add_argument(
        "--csv",
        metavar="CSV",
        help="write the values here, a line for each frame; no file is overwritten",
    )
    parser.add_argument(
        "--companion", metavar="RUN", help="another run, for diagnostics that compare two"
    )
    engines.add(parser)
    options = parser.parse_intermixed_args(_named("diagnose", arguments, parser))
    if options.csv and not options.names:
        parser.error(
            "--csv needs the names of what to write; `scripts/inspect diagnose RUN` lists them"
        )

    import ntk as ntk  # registers its diagnostics

    def work() -> None:
        engines.check(options)
        if options.csv:
            _absent(Path(options.csv))
        names, more = options.names or None, {"companion": options.companion}
        if options.engine == "dask" and names:
            from ..sweeps import dask_engine

            mf.diagnose(options.file, **more)  # before a scheduler is started, as the names
            for name in names:
                registry.get(name)
            with dask_engine.connected(options.scheduler) as client:
                hands = dask_engine.hands(client)
                found = mf.diagnose(options.file, names, executor=hands, **more)
        else:
            found = mf.diagnose(options.file, names, **more)
        if options.csv:
            write_csv(found, Path(options.csv))
        else:
            print(found)

    return _work(work)


def write_csv(found: Any, path: Path) -> None:
    """step,time and a column for each diagnostic, two for bounds; a line for each frame, empty
    where there is no value.
    """
    columns: dict[str, dict[int, float]] = {}
    for name, curve in found.items():
        parts = (
            {name: curve.values}
            if hasattr(curve, "values")
            else {f"{name}_lower": curve.lower, f"{name}_upper": curve.upper}
        )
        for label, values in parts.items():
            columns[label] = dict(zip(curve.steps.tolist(), values.tolist(), strict=True))
    with replacing(path) as new, open(new, "w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(("step", "time", *columns))
        for step, time in zip(found.steps.tolist(), found.times.tolist(), strict=True):
            writer.writerow((step, time, *(values.get(step, "") for values in columns.values())))


def compare(arguments: Sequence[str]) -> int:
    """mf.compare, printed."""
    parser = _parser("compare", inspect_help.COMPARE, inspect_help.COMPARE_EXAMPLES)
    parser.add_argument("a", metavar="A", help="one trajectory")
    parser.add_argument("b", metavar="B", help="the other")
    options = parser.parse_args(_named("compare", arguments, parser))
    return _work(lambda: print(mf.compare(options.a, options.b)))


def plot(arguments: Sequence[str]) -> int:
    """One figure as PNG and PDF."""
    parser = _parser(
        "plot", inspect_help.PLOT, inspect_help.PLOT_KINDS + "\n" + inspect_help.PLOT_EXAMPLES
    )
    parser.add_argument("file", metavar="RUN", help="the trajectory")
    kinds = ("paths", "function", "kernel", "ellipse", "phase", "risk")
    parser.add_argument(
        "--kind", choices=kinds, default="paths", help="what to draw: see below; paths unless given"
    )
    parser.add_argument(
        "--out",
        metavar="OUT",
        help="name of the files without ending; RUN_KIND unless given; none is overwritten",
    )
    _look(parser)
    options = parser.parse_args(_named("plot", arguments, parser))
    stem = (
        (options.out or f"{Path(options.file).stem}_{options.kind}")
        .removesuffix(".png")
        .removesuffix(".pdf")
    )

    def work() -> None:
        for ending in (".png", ".pdf"):
            _absent(Path(stem + ending))

        from .. import figures

        draw: dict[str, Callable[[Any], Any]] = {
            "paths": figures.paths, "function": figures.function_evolution, "kernel": lambda run: figures.kernel_change(run)[0],
            "ellipse": figures.kernel_ellipse, "phase": figures.phase_portrait, "risk": figures.series,
        }  # fmt: skip
        with figures.house(options.style, options.bare):
            figure = draw[options.kind](options.file).figure
        for path in figures.save(figure, stem):
            print(path)
        for title, verdict in (
            figures.said(figure) if options.bare or options.style == "paper" else ()
        ):
            print(f"{title}: {verdict}")

    return _work(work)


def animate(arguments: Sequence[str]) -> int:
    """An animation as GIF or MP4."""
    parser = _parser(
        "animate", inspect_help.ANIMATE, inspect_help.KINDS + "\n" + inspect_help.ANIMATE_EXAMPLES
    )
    parser.add_argument("file", metavar="RUN", help="the trajectory")
    kinds = ("paths", "function", "kernel", "ellipse")
    parser.add_argument(
        "--kind", choices=kinds, default="paths", help="what to show: see below; paths unless given"
    )
    parser.add_argument(
        "--out",
        metavar="OUT",
        required=True,
        help="the .gif or .mp4 to make; one that exists is not overwritten",
    )
    parser.add_argument("--fps", type=float, default=12.0, help="frames a second, 12 unless given")
    _look(parser)
    options = parser.parse_args(_named("animate", arguments, parser))

    def work() -> None:
        _absent(Path(options.out))

        from .. import figures

        look = {"style": options.style, "bare": options.bare}
        print(figures.animate(options.file, options.kind, options.out, fps=options.fps, **look))

    return _work(work)


def report(arguments: Sequence[str]) -> int:
    """One HTML page of a run or a sweep."""
    parser = _parser("report", inspect_help.REPORT, inspect_help.REPORT_EXAMPLES)
    parser.add_argument("path", metavar="PATH", help="the trajectory, or the folder of a sweep")
    parser.add_argument(
        "--out",
        metavar="HTML",
        help="the page to make; PATH.html unless given; none is overwritten",
    )
    options = parser.parse_args(_named("report", arguments, parser))
    path = Path(options.path)
    out = Path(options.out or f"{path.name.removesuffix('.h5')}.html")
    if out.suffix.lower() not in (".html", ".htm"):
        parser.error(f"--out is a page, so it must end in .html; got {out}")

    def work() -> None:
        _absent(out)

        from . import report as pages

        print(pages.write(path, out))

    return _work(work)


def verify(arguments: Sequence[str]) -> int:
    """All of some runs, read and compared with their checksums."""
    parser = _parser("verify", inspect_help.VERIFY, inspect_help.VERIFY_EXAMPLES)
    parser.add_argument("files", metavar="RUN", nargs="+", help="a trajectory, finished or not")
    options = parser.parse_args(_named("verify", arguments, parser))
    found, missing = [], []
    for file in options.files:
        try:
            found.append(verification.verify(file))
        except FileNotFoundError as error:
            missing.append(str(error))
    if found:
        print(*found, sep="\n")
    if missing:
        raise FileNotFoundError("\n".join(missing))
    return 0 if all(item.sound for item in found) else INCOMPATIBLE


def repair(arguments: Sequence[str]) -> int:
    """A damaged run set aside and made again."""
    parser = _parser("repair", inspect_help.REPAIR, inspect_help.REPAIR_EXAMPLES)
    parser.add_argument("file", metavar="RUN", help="the trajectory, as named in mf.Recorder")
    options = parser.parse_args(_named("repair", arguments, parser))
    path = Path(options.file.removesuffix(".parts"))
    verification.check_free(path)
    cut_off = verification.cut_off(path)
    if not cut_off:
        found = verification.verify(path)
        print(found)
        if found.sound or any("mf.resume goes on" in note for note in found.notes):
            here = "" if found.sound else " here: mf.resume goes on"
            print(f"nothing to repair{here}")
            return 0

    def work() -> None:
        aside = verification.begin_again(path)
        print(f"set aside: {aside}" + ", by a repair that was cut off" * cut_off, flush=True)
        damaged = aside.is_file()
        with mf.Trajectory(aside if damaged else path) as run:
            ends = verification.ends(run)
        begun = verification.reaching(path)
        ends = [t_end for t_end in ends if t_end >= begun]
        try:
            for t_end in ends:
                mf.resume(path, t_end=t_end)
        except ValueError as error:
            ways = ", then ".join(f"mf.resume({str(path)!r}, t_end={t:g}, …)" for t in ends)
            raise ValueError(f"{error} The run has begun again; go on with {ways}.") from error
        if damaged:
            print(verification.compared(path, aside))

    return _work(work)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "diagnose": diagnose, "compare": compare, "plot": plot, "animate": animate,
    "report": report, "verify": verify, "repair": repair,
}  # fmt: skip


def _parser(command: str, about: str, examples: str, **settings: Any) -> argparse.ArgumentParser:
    prog = f"inspect {command}".strip()
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        prog, description=about, epilog=examples, formatter_class=layout, **settings
    )


def _look(parser: argparse.ArgumentParser) -> None:
    """The options of a picture's look."""
    parser.add_argument(
        "--bare", action="store_true", help="without title and verdict, which are printed here only"
    )
    text = (
        "paper, for print: bare, letters of 7 points, 300 dpi, 3.4 inches wide; house unless given"
    )
    parser.add_argument("--style", choices=("house", "paper"), default="house", help=text)


def _named(
    command: str, arguments: Sequence[str], parser: argparse.ArgumentParser
) -> Sequence[str]:
    """The arguments of a command; without any, a file of that name may have been meant."""
    if not arguments and os.path.exists(command):
        parser.error(f"{command} is a command here; the file of that name is ./{command}")
    return arguments


def _absent(path: Path) -> None:
    """Raise before anything is computed where the file is there, or its folder is not."""
    if path.exists():
        raise FileExistsError(errno.EEXIST, "exists", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))


def _option(arguments: Sequence[str]) -> str:
    return "csv" if arguments[0] == "diagnose" else "out"


def _work(work: Callable[[], None]) -> int:
    """Do it; what was asked wrongly, or what this machine lacks, becomes one line and the exit code
    for usage.
    """
    try:
        work()
    except (IncompatibleFile, InUse):
        raise
    except (TypeError, ValueError, RuntimeError, ImportError) as error:
        return _fail(USAGE, error)
    return 0


def _fail(code: int, message: Any) -> int:
    print(f"inspect: {' '.join(str(message).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
