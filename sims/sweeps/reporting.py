"""What is said of a sweep: how its runs stand, who is at work, how long the rest may take, which
runs are not to be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meanfield.diagnostics.defects import LIMIT

from .folders import STATES, SweepFolder

WORST = 5  # badly integrated runs that `status` names
MEANINGS = """\
what the rows count, each run in one of them:

  finished     trained to its end; its file is in runs/
  diverged     numbers became infinite: a result too, its file is in runs/
  failed       could not be made, and why; the next `work` tries again
  running      a worker holds it, and was heard of lately
  interrupted  nobody is at work on it: whoever was has stopped after a checkpoint, or was killed; the next `work` goes on there
  waiting      nobody is at work on it, and it has no checkpoint
"""


def status(sweep: SweepFolder) -> str:
    """How many runs are in each state; a line for each that runs, was interrupted or failed; what
    is left to do.
    """
    states = sweep.states()
    total = len(states)
    lines = [f"{sweep.path}: {sweep.plan.describe()}\n"]
    for name in STATES:
        count = sum(state == name for state, _ in states.values())
        lines.append(f"{name:>11} {count:7d} {count / total:7.1%}")
    judged = [
        digest
        for digest, (state, _) in states.items()
        if state == "finished" and not sweep.sliding(digest)
    ]
    defects = {digest: sweep.energy_defect(digest) for digest in judged}
    worst = sorted(
        (name for name in defects if defects[name] > LIMIT), key=defects.__getitem__, reverse=True
    )[:WORST]
    for digest, (state, holder) in states.items():
        said = ""
        if holder and state == "running":
            said = f"{holder.host} pid {holder.pid}, heartbeat {holder.age:.0f} s ago"
        elif state == "interrupted":
            gone = "stopped after a checkpoint"
            if holder:
                gone = (
                    f"{holder.host} pid {holder.pid} is gone, no heartbeat for {holder.age:.0f} s"
                )
            said = f"{gone}; the next worker goes on with it"
        elif state == "failed":
            said = str(sweep.failure(digest).get("message"))
        elif digest in worst:
            said = f"energy_defect {defects[digest]:.3g}"
        if said:
            lines.append(f"{state:<11} {digest} {_point(sweep, digest)}: {said}")
    return "\n".join(
        filter(None, [*lines, mark(list(defects.values())), _remaining(sweep, states)])
    )


def mark(defects: Sequence[float]) -> str:
    """What is said of finished runs whose energy_defect is above LIMIT; "" where there is none."""
    above = [value for value in defects if value > LIMIT]
    if not above:
        return ""
    runs, they = ("runs", "they") if len(above) != 1 else ("run", "it")
    return (
        f"{len(above)} finished {runs} lost or gained energy that {they} did not "
        f"dissipate (energy_defect > {LIMIT:g}, "
        f'up to {max(above):.3g}): steps too long; use a smaller dt or integrator = "adaptive"'
    )


def counts(sweep: SweepFolder) -> str:
    """For example "5 finished, 1 waiting"."""
    states = [state for state, _ in sweep.states().values()]
    return ", ".join(f"{states.count(name)} {name}" for name in STATES if name in states)


def _point(sweep: SweepFolder, digest: str) -> str:
    """For example "gamma 0.5, m 64"."""
    index = sweep.plan.runs[digest].index
    pairs = [
        pair
        for axis, i in zip(sweep.plan.axes, index, strict=True)
        for pair in zip(axis.names, axis.points[i], strict=True)
    ]
    return ", ".join(f"{name} {value}" for name, value in pairs)


def _remaining(sweep: SweepFolder, states: dict[str, Any]) -> str:
    """What is left, from the mean time of the runs that are there and the workers that are at it."""
    left = sum(state in ("running", "interrupted", "waiting") for state, _ in states.values())
    seconds = [
        float(note["seconds"]) for digest in states if "seconds" in (note := sweep.note(digest))
    ]
    workers = sum(state == "running" for state, _ in states.values())
    if not left:
        return "nothing is left to do"
    if not seconds:
        return f"{left} left; nothing is finished yet to tell how long they take"
    mean = sum(seconds) / len(seconds)
    rate = f"{workers} at work" if workers else "one worker; nobody is at work"
    return (
        f"{left} left, {mean:.3g} s each so far: about "
        f"{_duration(left * mean / max(1, workers))} with {rate}"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
