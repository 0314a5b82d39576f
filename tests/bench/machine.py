"""What the times depend on: processor, memory, versions; and which commit they are of."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import llvmlite.binding

from meanfield.files.provenance import provenance

VECTORS = {"AVX-512": "avx512f", "AVX2": "avx2", "SVE": "sve", "NEON": "neon"}


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
        "vectors": _vectors(),
        "memory_gb": round(1e-9 * memory, 1),
        "versions": {**found["versions"], "jax": jax},
    }


def _vectors() -> str:
    """The widest that there are: a core of one family may have either."""
    features = llvmlite.binding.get_host_cpu_features()
    return next((name for name, flag in VECTORS.items() if features.get(flag)), "")


def now() -> dict[str, Any]:
    """Date and commit, beside every result."""
    git = provenance()["git"]
    commit = None if git["commit"] is None else git["commit"][:10] + "+" * bool(git["dirty"])
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit}
