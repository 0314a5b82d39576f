"""Measures meanfield, section by section, and against what else there is: one table style, one
JSON, the goals that were missed.

Absolute times are not stable from run to run; ratios within one are, to about 1.3×. So contenders
take turns, round after round, and medians are compared. Results go to FILE; those of other cases
that are there already, of the same machine and versions, stay, each with its date and commit; the
file is written after every case. Ctrl-C, SIGTERM and --minutes keep what was measured. Exit codes:
1 a goal was missed or a case failed, 2 usage, 75 stopped.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Modules of this folder: see sections.py.
SECTIONS = (
    "steps",
    "small",
    "population",
    "interactions",
    "kernels",
    "w2",
    "runs",
    "sweeps",
    "memory",
    "start",
    "crossover",
)
# --against
OF_ENGINE = tuple(name for name in SECTIONS if name != "crossover")
ON_GPU = ("gpu_steps", "gpu_pairs", "gpu_crossover")  # those of --device cuda
# where preset, NumPy's matrix product runs at half speed and flatters us
SLOWS_BLAS = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
)
ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 75


def section(name: str) -> Any:
    return importlib.import_module(f".{name}", __package__)


def chosen(names: Iterable[str], patterns: Sequence[str], quick: bool) -> list[tuple[str, Any]]:
    """(section, case) of all cases whose name matches one of the patterns, all without patterns;
    the small ones for quick.
    """
    found = [
        (name, case)
        for name in names
        for case in section(name).cases(quick)
        if not patterns or any(fnmatch.fnmatch(case.name, pattern) for pattern in patterns)
    ]
    if not found:
        raise SystemExit(f"no case matches {' '.join(patterns)}; see --list for their names.")
    return found


def in_time(selected: Sequence[tuple[str, Any]], end: float) -> Iterator[tuple[str, Any]]:
    """The cases in their order, begun before `end`: a section has an equal share of the time that is
    left when it begins; what that leaves out comes last.
    """
    names, late = list(dict.fromkeys(name for name, _ in selected)), []
    for place, name in enumerate(names):
        now = time.monotonic()
        until = now + (end - now) / (len(names) - place)
        for pair in (pair for pair in selected if pair[0] == name):
            if time.monotonic() < until:
                yield pair
            else:
                late.append(pair)
    for pair in late:
        if time.monotonic() < end:
            yield pair


def measured(name: str, case: Any, effort: Any) -> dict[str, Any]:
    """One result, as it goes into the JSON."""
    from .machine import now

    begin = time.monotonic()
    result = section(name).run(case, effort)
    took = time.monotonic() - begin
    goals = [
        {
            "what": goal.what,
            "asked": goal.asked,
            "found": goal.found,
            "reached": goal.reached,
            "text": str(goal),
        }
        for goal in ([] if effort.quick else result.pop("goals"))  # they are for full sizes
    ]
    return {
        "section": name,
        "case": case.name,
        **now(),
        "rounds": effort.rounds,
        "took_s": round(took, 1),
        **result,
        "goals": goals,
    }


def options_of(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sections = f"{', '.join(SECTIONS)}; of --device cuda: {', '.join(ON_GPU)}"
    parser.add_argument(
        "--only", nargs="+", choices=(*SECTIONS, *ON_GPU), metavar="SECTION", help=sections
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help='names with wildcards, for example "relu-d2-*" (see --list)',
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small cases and three short rounds: some minutes, rough, no goals judged",
    )
    parser.add_argument(
        "--rounds", type=int, help="turns of every contender in a case (7; 3 for --quick)"
    )
    parser.add_argument("--seconds", type=float, help="length of one turn (0.2; 0.05 for --quick)")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="results/bench.json (of --device cuda: bench-cuda.json)",
    )
    parser.add_argument(
        "--readme",
        action="store_true",
        help="measure nothing: fill tests/bench/README.md from FILE",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda: instead, our CUDA backend and the peers on one GPU",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="with --device cuda: every line of it at toy sizes in CUDA's simulator, without a GPU",
    )
    parser.add_argument(
        "--tests",
        action="store_true",
        help="with --device cuda: first scripts/test -m gpu, in at most half of --minutes",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="begin no case later: the sections share the time, what is left out is named",
    )
    parser.add_argument(
        "--against",
        metavar="REV",
        help="instead, without peers: time the engine here and at another commit, in turns, and "
        "print the ratios; judges no goal",
    )
    options = parser.parse_args(argv)
    if options.against and (options.device == "cuda" or options.readme or options.json):
        parser.error(
            "--against times the CPU's engine and writes no file: no --device cuda, "
            "--readme or --json with it."
        )
    kind, there = f"--device {options.device}", ON_GPU if options.device == "cuda" else SECTIONS
    if options.against:
        kind, there = "--against", OF_ENGINE
    options.only = options.only or there
    if strange := sorted(set(options.only) - set(there)):
        parser.error(f"--only {' '.join(strange)}: {kind} has {', '.join(there)}.")
    if options.json is None:
        options.json = (
            ROOT / "results" / ("bench-cuda.json" if options.device == "cuda" else "bench.json")
        )
    elif not options.json.parent.is_dir():
        parser.error(f"--json: the folder {options.json.parent} does not exist.")
    if options.readme and options.device == "cuda":
        parser.error(
            "--readme fills the tables of the CPU; no table of tests/bench/README.md is the GPU's."
        )
    if options.dry_run and options.device != "cuda":
        parser.error("--dry-run rehearses --device cuda; the CPU's cases have --quick.")
    if options.tests and (options.device != "cuda" or options.readme or options.list):
        parser.error("--tests runs the tests of a GPU before it is measured: with --device cuda.")
    if options.minutes and (options.readme or options.against):
        parser.error("--minutes limits a measurement: not with --readme or --against.")
    for name in ("rounds", "seconds", "minutes"):
        if (value := getattr(options, name)) is not None and not value > 0:
            parser.error(f"--{name} must be positive; got {value}.")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    begin = time.monotonic()
    options = options_of(sys.argv[1:] if argv is None else argv)
    end = begin + 60.0 * (options.minutes or math.inf)
    # read when NumPy is loaded: too late to change here
    if preset := [name for name in SLOWS_BLAS if name in os.environ]:
        print(
            f"{' and '.join(preset)} set: NumPy's matrix product may be slow; "
            "scripts/bench unsets them.",
            file=sys.stderr,
        )
    if options.readme:
        from .readme import fill

        return fill(options.json)
    if options.device == "cuda":
        if options.dry_run:
            os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # read when numba is first imported
        # JAX would take most of the GPU's memory for itself
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        from meanfield import backends

        try:
            backends.check("cuda")
        except ValueError as error:
            print(f"scripts/bench: {error}", file=sys.stderr)
            return 2
    selected = chosen(options.only, options.cases, options.quick)
    if options.list:
        print("\n".join(f"{name:10} {case.name}" for name, case in selected))
        return 0

    from . import gpu_tests, sections
    from .report import Report, goals

    of_machine, make = {}, sections.Effort
    length = (1, 1e-9) if options.dry_run else (3, 0.05) if options.quick else (7, 0.2)
    if options.device == "cuda":
        from . import gpu_limits

        make, of_machine = gpu_limits.Effort, gpu_limits.machine()
    effort = make(options.rounds or length[0], options.seconds or length[1], options.quick)
    try:
        if options.against:
            from . import against

            return against.run(options.against, selected, effort)
        report = Report(options.json, **of_machine)
    except ValueError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED

    results, failed, stopped, last = [], [], False, None
    left = {case.name for _, case in selected}
    try:
        if options.tests:
            failed += gpu_tests.run(report, 0.5 * (end - time.monotonic()), options.dry_run)
        for name, case in in_time(selected, end):
            if name != last:
                print(sections.header(section(name)), flush=True)
            last = name
            try:
                results.append(measured(name, case, effort))
            except Exception as error:  # the other cases are worth their time
                traceback.print_exc()
                failed.append(f"{case.name}: {sections.reason(error)}")
                report.failed(case.name, sections.reason(error))
                print(f"{case.name:36}   failed: {sections.reason(error)}", flush=True)
            else:
                report.add(results[-1], effort.peaks)
                print(sections.row(section(name), results[-1]), flush=True)
            left.discard(case.name)
    except KeyboardInterrupt:
        stopped = True
    for name, why in {
        name: why for result in results for name, why in result.get("absent", {}).items()
    }.items():
        print(f"{name} absent: {why}", file=sys.stderr)
    if left:
        why = "stopped" if stopped else f"{options.minutes:g} minutes are over"
        names = " ".join(case.name for _, case in selected if case.name in left)
        print(f"{why}; not measured: {names}", file=sys.stderr)
    reached, missed = goals(results)
    if options.device == "cuda":
        units = {"copy": "GB/s of a copy"}
        limits = ", ".join(
            f"{value:.0f} {units.get(name, f'GFLOP/s of {name}')}"
            for name, value in effort.peaks.items()
        )
        print(f"\n{of_machine['gpu']}: {limits}{' (a rehearsal)' * options.dry_run}")
    took = (time.monotonic() - begin) / 60
    print(
        f"\ngoals reached: {len(reached)}, missed: {len(missed)}; {took:.1f} minutes; all numbers in "
        f"{options.json}"
    )
    print("".join(f"    missed  {line}\n" for line in missed), end="")
    print("".join(f"    failed  {line}\n" for line in failed), end="")
    return INTERRUPTED if stopped else int(bool(failed or (missed and not options.dry_run)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what timeout(1) sends, as Ctrl-C
    sys.exit(main())
