"""How much memory there is, asked before a large allocation: Linux hands out more than it has, and
ends the process that fills it.
"""

from __future__ import annotations

from pathlib import Path

SMALL = 1 << 28  # bytes: nobody asks for less than that


def available() -> int | None:
    """Bytes that can be had without swapping: of the machine, or the limit of the control group (a
    container, a batch job) where that is less; None where the system does not say (no Linux).

    What the group uses already is not taken off, for that has files in it which it would give up.
    """
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
        groups = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return None
    for line in groups:
        _, kinds, path = line.split(":", 2)
        version1 = "memory" in kinds.split(",")
        if kinds and not version1:
            continue
        name = "memory.limit_in_bytes" if version1 else "memory.max"
        group = Path(path.strip("/"))
        for folder in (group, *group.parents):  # a batch system sets the limit above the process
            try:
                limit = Path("/sys/fs/cgroup", "memory" * version1, folder, name).read_text("ascii")
                found.append(int(limit))
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return min(found, default=None)


def ask_memory(needed: int, what: str, advice: str) -> None:
    """Raise MemoryError where `needed` bytes are more than there are. what: whom they are for."""
    if needed < SMALL:
        return
    there = available()
    if there is not None and needed > there:
        raise MemoryError(
            f"{what} needs at least {gigabytes(needed)}; {gigabytes(there)} are available. {advice}"
        )


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
