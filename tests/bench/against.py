"""The engine of this working tree against that of another commit: `scripts/bench --against REV`.

The other commit is checked out in a temporary folder. Each has a process of its own with its own
empty caches, in this environment; both compile a case, then they take turns, one first in even
rounds, the other in odd ones. A turn's time is the median of a few; of all turns the best counts,
since other work on the machine only ever adds. The scatter of a ratio is that of the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .sections import Effort

ROOT = Path(__file__).resolve().parents[2]
ENGINE = Path(__file__).with_name("engine.py")


def described(section: str, case: Any) -> dict[str, Any]:
    """What engine.py makes a case of."""
    return {**asdict(case), "name": case.name, "section": section}


class Side:
    """One commit's engine: a process that makes a case and takes turns on it."""

    def __init__(self, tree: Path, caches: Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "PYTHONPYCACHEPREFIX": str(caches / "bytecode"),
            "MEANFIELD_CACHE": str(caches / "kernels"),
            "NUMBA_CACHE_DIR": str(caches / "numba"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # imports would compile every time
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(ENGINE)],
            env=environment,
            cwd=caches,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, question: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # then its answer says so
            print(json.dumps(question), file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "its process ended"}

    def turn(self, seconds: float) -> float:
        self.ask({"turn": seconds})
        answer = self.answer()
        if "error" in answer:
            raise ChildProcessError(answer["error"])
        return answer["found"]

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:  # stopped in the middle of a case
            self.process.kill()
            self.process.wait()


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """A git worktree of a commit. ValueError where there is no such commit."""
    found = git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", check=False)
    if not found:
        raise ValueError(f"--against {revision}: no commit of this repository.")
    git("worktree", "add", "--quiet", "--detach", str(folder), found)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def git(*words: str, check: bool = True) -> str:
    run = subprocess.run(["git", *words], cwd=ROOT, check=check, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip()


@dataclass(frozen=True)
class Compared:
    """Seconds of a piece of work, or gigabytes of a process, in each round, there and here."""

    there: Sequence[float]
    here: Sequence[float]

    @property
    def ratio(self) -> float:
        """The best there over the best here: above 1 where we have become faster, or smaller."""
        return min(self.there) / min(self.here)

    @property
    def scatter(self) -> tuple[float, float]:
        """The quartiles of the ratios of single rounds."""
        ratios = [there / here for there, here in zip(self.there, self.here, strict=True)]
        if len(ratios) == 1:
            return ratios[0], ratios[0]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return low, high

    @property
    def worse(self) -> bool:
        """Beyond the scatter: by the best times, and in three of four rounds."""
        return self.ratio < 1.0 and self.scatter[1] < 1.0


def compared(there: Side, here: Side, rounds: int, seconds: float) -> Compared:
    """Turns on the case that both have made."""
    times: dict[Side, list[float]] = {there: [], here: []}
    for number in range(rounds):
        for side in (there, here) if number % 2 == 0 else (here, there):
            times[side].append(side.turn(seconds))
    return Compared(times[there], times[here])


def row(name: str, found: Compared, scale: float) -> str:
    there, here = scale * min(found.there), scale * min(found.here)
    low, high = found.scatter
    mark = "   worse" if found.worse else ""
    return f"{name:40}{there:>11.4g}{here:>11.4g}{found.ratio:>8.2f}   {low:.2f} … {high:.2f}{mark}"


def table(
    sides: tuple[Side, Side], selected: Sequence[tuple[str, Any]], effort: Effort
) -> dict[str, Compared]:
    """Print the rows of the cases (section, case) as they are found; by name."""
    found: dict[str, Compared] = {}
    for section, case in selected:
        for side in sides:  # both compile at once
            side.ask(described(section, case))
        answers = [side.answer() for side in sides]
        if lacking := [answer["error"] for answer in answers if answer]:
            print(f"{case.name:40}   cannot be compared: {lacking[0]}", flush=True)
            continue
        rounds, scale = (1, 1.0) if section == "memory" else (effort.rounds, 1e3)
        try:
            found[case.name] = compared(*sides, rounds, effort.seconds)
        except ChildProcessError as error:
            print(f"{case.name:40}   ended: {error}", flush=True)
            continue
        print(row(case.name, found[case.name], scale), flush=True)
    return found


def run(revision: str, selected: Sequence[tuple[str, Any]], effort: Effort) -> int:
    """The whole table; the exit code: 0, or 2 where there is no such commit."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            tree = stack.enter_context(checked_out(revision, folder / "tree"))
        except ValueError as error:
            print(f"scripts/bench: {error}", file=sys.stderr)
            return 2
        sides = []
        for name, where in (("there", tree), ("here", ROOT)):
            (folder / name).mkdir()
            sides.append(stack.enter_context(closing(Side(where, folder / name))))

        print(
            f"milliseconds, the best of {effort.rounds} turns of {effort.seconds:g} s each; of memory GB"
        )
        print(f"{'case':40}{revision[:10]:>11}{'here':>11}{'ratio':>8}   half the rounds in")
        found = table((sides[0], sides[1]), selected, effort)

    worse = [name for name, case in found.items() if case.worse]
    print(f"\nworse beyond the scatter: {', '.join(worse) or 'none'}")
    return 0
