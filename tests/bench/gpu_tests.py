"""scripts/test -m gpu, within a time, for scripts/bench --device cuda --tests.

A line of JSON a test goes beside the report as soon as it ends, with what it said if it failed, so
that a run which is cut off leaves what it knew; the report gets the counts and the failures.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .report import Report

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
LOG = "MEANFIELD_BENCH_TESTS"  # the file of lines, for the hook below
LONGEST = 4000  # characters kept of a failure, its end
GRACE = 20.0  # seconds between asking pytest to end and ending it


def pytest_runtest_logreport(report: Any) -> None:
    """pytest's hook, in the process of the tests."""
    if report.when == "call" or report.outcome != "passed":
        said = report.longreprtext[-LONGEST:] if report.failed else ""
        line = {"test": report.nodeid, "outcome": report.outcome, "seconds": report.duration}
        with open(os.environ[LOG], "a", encoding="utf-8") as log:
            log.write(json.dumps({**line, "said": said}) + "\n")


def run(report: Report, seconds: float, rehearsal: bool) -> list[str]:
    """Run them, a rehearsal only collects; a line for each that failed, and for an early end."""
    log = report.path.with_suffix(".tests.jsonl")
    log.unlink(missing_ok=True)
    # of all files, collecting takes as long as some tests
    files = [path for path in TESTS.rglob("test_*.py") if "mark.gpu" in path.read_text("utf-8")]
    words = [
        *map(str, files),
        "-m",
        "gpu",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.bench.gpu_tests",
    ]
    environment = {**os.environ, LOG: str(log.resolve()), "PYTHONPATH": str(ROOT)}
    environment.pop("NUMBA_ENABLE_CUDASIM", None)
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *words, *(["--collect-only"] * rehearsal)],
        cwd=ROOT,
        env=environment,
    )
    try:
        code = wait(process, seconds)
    finally:
        process.kill()
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        found = [json.loads(line) for line in lines]
        failed = [item for item in found if item["outcome"] == "failed"]
        report.tests(
            {
                "seconds": round(time.monotonic() - begin, 1),
                "outcomes": Counter(item["outcome"] for item in found),
                "failed": failed,
            }
        )
    early = {None: [f"tests: not done after {seconds:.0f} s"], 0: [], 1: []}
    return [f"{item['test']}" for item in failed] + early.get(
        code, [f"tests: pytest ended with {code}"]
    )


def wait(process: subprocess.Popen, seconds: float) -> int | None:
    """The exit code; None where it was ended after that time."""
    try:
        return process.wait(None if seconds == math.inf else max(seconds, 0.0))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # pytest then says what it has found
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return None
