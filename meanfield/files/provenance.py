"""Where a run comes from: versions, git commit, machine, command line, start time. In its file,
outside the content hash.
"""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "numba", "scipy", "torch", "h5py", "POT")


def provenance() -> dict[str, Any]:
    """A JSON-able dictionary. Packages are looked up, not imported; what cannot be found out is
    None.
    """
    return {
        "author": _user(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([sys.executable, *sys.argv]) if sys.argv and sys.argv[0] else None,
        "versions": dict(_versions()),
        "git": dict(_git()),
        "machine": {
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "architecture": platform.machine(),
            "cpu": _cpu(),
            "cores": os.cpu_count(),
        },
    }


@functools.cache
def _versions() -> tuple[tuple[str, str | None], ...]:
    from .. import __version__

    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    own = (("meanfield", __version__), ("python", platform.python_version()))
    return (*own, *((package, version(package)) for package in PACKAGES))


@functools.cache
def _git() -> tuple[tuple[str, Any], ...]:
    """Commit of the tree that tracks meanfield, and whether its sources differ from it; None for an
    installed copy.
    """
    source = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        return _output("git", "-C", str(source), *arguments)

    # a virtual environment inside some other repository must not lend that repository's commit
    commit = (
        git("rev-parse", "HEAD")
        if git("ls-files", "--error-unmatch", "__init__.py") is not None
        else None
    )
    changes = (
        git("status", "--porcelain", "--untracked-files=normal", "--", str(source))
        if commit
        else None
    )
    return (("commit", commit), ("dirty", None if changes is None else bool(changes)))


@functools.cache
def _cpu() -> str | None:
    """The processor's model name."""
    try:
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    return platform.processor() or None


@functools.cache
def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for the user id
        return "unknown"


def _output(*command: str) -> str | None:
    """What a command prints; None when it is absent, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
