"""What the times depend on: processor, memory, versions; and which commit they are of."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from meanfield.files.provenance import provenance


def machine() -> dict[str, Any]:
    """The same for two measurements that may be compared."""
    found = provenance()
    try:
        jax = version("jax")
    except PackageNotFoundError:
        jax = None
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    )
    where = {name: found["machine"][name] for name in ("architecture", "cpu", "cores", "platform")}
    return {
        **where,
        "memory_gb": round(1e-9 * memory, 1),
        "versions": {**found["versions"], "jax": jax},
    }


def now() -> dict[str, Any]:
    """Date and commit, beside every result."""
    git = provenance()["git"]
    commit = None if git["commit"] is None else git["commit"][:10] + "+" * bool(git["dirty"])
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit}
