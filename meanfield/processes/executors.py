"""Executors that a user hands in: the processes of dask, or a pool of concurrent.futures."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager


@contextmanager
def lasting() -> Iterator[None]:
    """Around waiting for answers: ConnectionError where the executor ends before they are there."""
    try:
        yield
    except (CancelledError, BrokenExecutor) as error:
        why = f" ({error})" if str(error) else ""
        raise ConnectionError(
            "the executor has ended before all was computed: its scheduler or its processes have gone"
            f"{why}. Values that are kept beside their run are not computed again: ask once more."
        ) from error
