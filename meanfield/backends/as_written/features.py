"""φ and ∇φ of kernels compared with the Python functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...formulas.differences import plain
from .. import compiler
from .comparison import ADVICE, PROVED, SUMS, allowed_by_rounding, differing


def prove_feature(backend: Any, what: str, theta: np.ndarray, x: np.ndarray) -> None:
    """Compare φ ("value") or ∇φ ("slope") of a backend's kernels with the Python functions, at some
    particles and inputs (m, p), (n, d) of the run.

    By the kernels of a step, a particle at a time: nothing else is compiled for it.
    """
    feature, dtype = backend.feature, backend.dtype.name
    f = feature.phi if what == "value" else feature.grad_phi
    key = (
        what,
        "feature",
        backend.name,
        dtype,
        theta.shape[1],
        x.shape[1],
        compiler.fingerprint(f),
    )
    rows, inputs = (
        np.ascontiguousarray(given[np.unique(np.linspace(0, len(given) - 1, 3).astype(int))])
        for given in (theta[np.isfinite(theta).all(axis=1)], x)
    )
    if key in PROVED or not len(rows):
        return

    def written(row: np.ndarray, point: np.ndarray) -> list[float]:
        row, point = row.astype(np.float64), point.astype(np.float64)
        if what == "value":
            return [plain(f, row, point)]
        out = np.zeros(row.size)
        return (
            out.tolist() if plain(lambda: f(row, point, out) or 0.0) == 0.0 else [np.nan] * out.size
        )

    def of(scale: float) -> np.ndarray:
        moved = (rows * scale).astype(rows.dtype)
        return np.array([[written(row, point) for point in inputs] for row in moved])

    twin = backend.for_network(replace(backend.network, trainable=feature.columns.names))
    twin.unproved = set()
    samples, weight = [twin.samples(x) for x in inputs[:, None]], twin.weights(np.full(2, 0.5))
    # two of each: their mean is φ of one
    particles = [twin.upload(np.stack([row, row])) for row in rows]
    one = twin.upload(np.ones((1, 1)))

    def compiled(row: Any, x: Any) -> np.ndarray:
        if what == "value":
            return twin.download(twin.mean_feature(row, weight, x))[0]
        return twin.download(twin.pull_back(row, x, one))[0]

    made = [[compiled(row, x) for x in samples] for row in particles]
    found = np.array(made)
    exact = of(1.0)
    near = [of(1.0 + k * np.finfo(dtype).eps) for k in (-1, 1)]
    allowed = SUMS * allowed_by_rounding(
        exact, np.fmax.reduce(np.abs(np.array(near) - exact)), dtype
    )
    if (off := differing((exact.ravel(), allowed.ravel()), found.astype(float).ravel())).size:
        k = off[0]
        raise ValueError(
            f"{f.__name__} at θ = {rows[k // exact[0].size].tolist()[:6]}: Python gives "
            f"{exact.ravel()[k]:.6g}, compiled for {dtype} it gives {found.ravel()[k]:.6g}. {ADVICE}"
        )
    PROVED.add(key)
