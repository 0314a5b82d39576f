"""V, U and their gradients, of kernels, compared with the Python functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...formulas.differences import plain
from .. import compiler, whole_numbers
from .comparison import ADVICE, NEIGHBOURS, PROVED, RELATIVE, SUMS, differing

PARTICLES = 6  # looked at


def prove_pairs(kernels: Any, what: str, theta: np.ndarray) -> None:
    """Compare V and U ("values") or their gradients ("velocity") of a device's kernels with the
    Python functions.

    theta (m, p): particles of the run, of which a few are taken. kernels: .of_few(what, rows),
    .unproved, .forget().
    """
    rows = np.unique(
        theta[np.unique(np.linspace(0, len(theta) - 1, PARTICLES).astype(int))], axis=0
    )
    rows = rows[np.isfinite(rows).all(axis=1)]
    dtype = kernels.backend.dtype.name
    if not len(rows):
        return
    given = [pair[what == "velocity"] for pair in (kernels.potential, kernels.interaction) if pair]

    def key() -> tuple:  # a formula that was mended has another fingerprint
        prints = map(compiler.fingerprint, given)
        return (what, kernels.backend.name, dtype, theta.shape[1], *prints)

    kernels.unproved.discard(what)  # of_few comes here again
    if key() in PROVED:
        return
    exact, size = _pair_sums(kernels, what, rows.astype(np.float64))
    noise = np.zeros_like(exact)
    for k in (-1, 0, 1):
        near = (rows * (1.0 + k * np.finfo(dtype).eps)).astype(dtype)
        noise = np.fmax(noise, np.abs(_pair_sums(kernels, what, near)[0] - exact))
    allowed = SUMS * RELATIVE[dtype] * size + NEIGHBOURS * noise
    expected = exact.ravel(), allowed.ravel()

    def mended() -> bool:
        return any([_mended_pair(f, rows, what == "velocity", len(rows) > 1) for f in given])

    found = kernels.of_few(what, rows)
    if differing(expected, found.ravel()).size and mended():
        kernels.forget()
        found = kernels.of_few(what, rows)
    if (off := differing(expected, found.ravel())).size:
        k = off[0] // found.shape[1]
        raise ValueError(
            f"{', '.join(f.__name__ for f in given)} among {len(rows)} of the particles, "
            f"at x = {rows[k][:6].tolist()}: "
            f"Python gives {exact[k][:6].tolist()}, compiled for {dtype} they give "
            f"{found[k][:6].tolist()}. {ADVICE}"
        )
    if not np.isfinite(exact).any():
        kernels.unproved.add(what)  # these particles do not tell
        return
    PROVED.add(key())


def _pair_sums(kernels: Any, what: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, Σ U/m) (m, 2), or -∇V - Σ ∇U/m (m, p), in plain Python; and the sums of absolute values."""
    m = len(rows)
    rows.flags.writeable = False
    found = np.zeros((m, 2 if what == "values" else rows.shape[1]))
    size = np.zeros_like(found)
    for k in range(m):
        if kernels.potential:
            _add(kernels.potential, what, 0, (rows[k],), 1.0, found[k], size[k])
        for l in range(m) if kernels.interaction else ():  # noqa: E741
            if kernels.self_pairs or l != k:
                _add(kernels.interaction, what, 1, (rows[k], rows[l]), 1.0 / m, found[k], size[k])
    return found, size


def _add(
    pair: Any,
    what: str,
    column: int,
    point: tuple,
    weight: float,
    found: np.ndarray,
    size: np.ndarray,
) -> None:
    if what == "values":
        value = weight * plain(pair[0], *point)
        found[column] += value
        size[column] += abs(value)
        return
    out = np.zeros(found.size)
    worked = plain(lambda: pair[1](*point, out) or 0.0) == 0.0
    found -= weight * out if worked else np.nan
    size += weight * np.abs(out)


def _mended_pair(f: Callable, rows: np.ndarray, gradient: bool, paired: bool) -> bool:
    count = f.__code__.co_argcount - gradient
    calls = (
        [(x,) for x in rows] if count == 1 else [(x, y) for x in rows for y in rows if x is not y]
    )

    def reference(call: tuple) -> Any:
        if not gradient:
            return plain(f, *(row.astype(np.float64) for row in call))
        out = np.zeros(call[0].size)
        return (
            out
            if plain(lambda: f(*(row.astype(np.float64) for row in call), out) or 0.0) == 0.0
            else out * np.nan
        )

    values = np.array([reference(call) for call in calls], dtype=np.float64)

    def agrees(results: list) -> bool:
        allowed = (1e-3 if rows.dtype == np.float32 else 1e-9) * np.abs(values)
        return not differing(
            (values.ravel(), allowed.ravel()), np.array(results, dtype=np.float64).ravel()
        ).size

    return bool(calls) and whole_numbers.mend(f, calls, agrees, rows.dtype.name, gradient)
