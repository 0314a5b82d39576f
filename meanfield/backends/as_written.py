"""What is compiled compared with what was written: kernels with a user's formulas at a few points,
and the same in plain Python.

The kernels themselves are asked, once in a process for each formula, dtype and device and just
before their first use, so nothing is compiled that is not needed anyway, a constant that went stale
in the cache on disk is seen too, and the same lines serve all devices. Formulas of this package are
not looked at: tests compare them.

`allowed` is rounding: some units of the dtype, and what the formula itself makes of neighbouring
numbers of the dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..formulas.activations import Activation
from ..formulas.differences import UNABLE, number, plain
from ..formulas.losses import Loss
from ..formulas.slopes import (
    POINTS,
    check_activation,
    check_loss,
    label_points,
    refuse_other_arguments,
    written_here,
)
from ..network import PARAMETERS
from . import compiler, whole_numbers
from .compile_errors import explained
from .protocol import Backend

SINGLE = [(z,) for z in POINTS]  # arguments of σ
# (what, device, dtype, …, fingerprints) already compared in this process
PROVED: set[tuple] = set()
RELATIVE = {"float64": 1e-11, "float32": 1e-5}
# of the typical value: what cancels near 1 leaves that much of a tail
OF_ALL = {
    "float64": 1e-13,
    "float32": 1e-6,
}
# looked at of a pairwise energy; and how much more its sums may be off than one formula
PARTICLES, PAIRS = (
    6,
    10,
)
NEIGHBOURS = 64  # times what neighbouring numbers change
ADVICE = (
    "Write its constants as floats, 10.0**k and not 10**k, and numbers beyond 9.2e18 as floats too."
)


def by_user(sigma: Activation) -> bool:
    return not written_here(sigma.value, sigma.slope, sigma.value_and_slope)


def prove_activation(backend: Backend, what: str) -> None:
    """Compare σ ("value": mean_feature) or σ and σ' ("slope": pull_back) of a backend's kernels
    with the Python functions.

    The first use of an Activation: σ' is compared with differences of σ here, too.
    """
    assert backend.network is not None
    sigma, dtype = backend.network.sigma, backend.dtype.name
    backend.unproved.discard(what)
    if _key(sigma, what, backend) in PROVED:
        return
    used = {"σ": sigma.value, "σ'": sigma.slope, "value_and_slope": sigma.value_and_slope}
    for part, f in used.items():
        if f is not None:
            refuse_other_arguments(f"activation {sigma.name!r}: {part}", f, (0.5,))
    with explained(f"activation {sigma.name!r}", used, (np.dtype(dtype).type(0.5),), dtype):
        found = _at_points(backend, what)
    check_activation(sigma)
    parts = {"σ": sigma.value, "σ'": sigma.slope} if what == "slope" else {"σ": sigma.value}

    def wrong() -> list[str]:
        return [
            name
            for name, values in zip(parts, found, strict=True)
            if _differing(_expected(parts[name], dtype), values).size
        ]

    if wrong():
        joint = [sigma.value_and_slope] if what == "slope" and sigma.value_and_slope else []
        if any([_mended(f, sigma, dtype) for f in (*(parts[name] for name in wrong()), *joint)]):
            backend.forget()
            found = _at_points(backend, what)
    for name in wrong():
        values = found[list(parts).index(name)]
        expected = _expected(parts[name], dtype)
        k = _differing(expected, values)[0]
        raise ValueError(
            f"{name} of activation {sigma.name!r} at z = {POINTS[k]:g}: Python gives "
            f"{expected[0][k]:.6g}, "
            f"compiled for {dtype} it gives {values[k]:.6g}. {ADVICE}"
        )
    PROVED.add(_key(sigma, what, backend))


def _key(sigma: Activation, what: str, backend: Backend) -> tuple:
    used = compiler.of_activation(sigma)
    return (
        what,
        backend.name,
        backend.dtype.name,
        backend.dim,
        min(backend.outputs, 2),
        *map(compiler.fingerprint, used.values()),
    )


def _at_points(backend: Backend, what: str) -> list[np.ndarray]:
    """[σ] or [σ, σ'] at POINTS, by the backend's own kernels: one neuron on many samples, or many
    neurons on one.
    """
    assert backend.network is not None
    twin = backend.for_network(replace(backend.network, trainable=PARAMETERS))
    twin.unproved = set()
    z, d, K = np.array(POINTS), backend.dim, backend.outputs
    if what == "value":
        theta, x = np.zeros((1, K + d + 1)), np.zeros((z.size, d))
        theta[:, : K + 1] = 1.0
        x[:, 0] = z
        made = twin.mean_feature(twin.upload(theta), twin.weights(np.ones(1)), twin.samples(x))
        return [twin.download(made)[:, 0].astype(np.float64)]
    theta, x, slopes = np.zeros((z.size, K + d + 1)), np.zeros((1, d)), np.zeros((1, K))
    theta[:, 0], theta[:, K] = 1.0, z
    x[0, 0] = slopes[0, 0] = 1.0
    g = twin.download(
        twin.pull_back(twin.upload(theta), twin.samples(x), twin.upload(slopes))
    ).astype(np.float64)
    return [g[:, 0], g[:, K + d]]


def _differing(expected: tuple[np.ndarray, np.ndarray], found: np.ndarray) -> np.ndarray:
    """Where Python has a number and the kernel another one, or none; expected: (values, allowed)."""
    values, allowed = expected
    known = np.isfinite(values) & np.isfinite(allowed)
    return np.flatnonzero(
        known & ~(np.abs(found - np.where(known, values, 0.0)) <= np.where(known, allowed, 0.0))
    )


def _expected(
    f: Callable, dtype: str, points: Sequence[tuple] = SINGLE
) -> tuple[np.ndarray, np.ndarray]:
    """(f at the points in plain Python, what rounding in the dtype may change there)."""
    values = np.array([plain(f, *point) for point in points])
    eps, T = float(np.finfo(dtype).eps), np.dtype(dtype).type
    near = np.array(
        [
            [plain(f, T(z * (1.0 + k * eps)), *more) for z, *more in points]
            for k in (-2, -1, 0, 1, 2)
        ]
    )
    return values, _allowed(values, np.fmax.reduce(np.abs(near - values)), dtype)


def _allowed(values: np.ndarray, noise: np.ndarray, dtype: str) -> np.ndarray:
    finite = np.abs(values[np.isfinite(values)])
    typical = float(np.median(finite)) if finite.size else 0.0
    return RELATIVE[dtype] * np.abs(values) + OF_ALL[dtype] * typical + NEIGHBOURS * noise


def _mended(f: Callable, sigma: Activation, dtype: str) -> bool:
    parts = [sigma.value, sigma.slope] if f is sigma.value_and_slope else [f]

    def agrees(results: list) -> bool:
        columns = np.array(results, dtype=np.float64).reshape(len(POINTS), -1).T
        return not any(
            _differing(_expected(part, dtype), found).size
            for part, found in zip(parts, columns, strict=True)
        )

    return whole_numbers.mend(f, [(np.dtype(dtype).type(z),) for z in POINTS], agrees, dtype)


def prove_gaussian_pair(sigma: Activation, dtype: str) -> None:
    """Compare the four formulas of a closed kernel, Activation.pair, compiled alone, with the
    Python functions.

    Particles are prepared and sums finished in float64; the formula of a pair is used in the flow's
    dtype.
    """
    pair = sigma.pair
    assert pair is not None
    parts = {name: getattr(pair, name) for name in ("prepare", "pair", "finish", "linear")}
    if written_here(*parts.values()):
        return
    squares = [(z * z,) for z in POINTS if z > 0]
    ready = [_numbers(pair.prepare, q) for q in squares]
    calls: dict[str, list[tuple]] = {
        "prepare": [*squares],
        "linear": [*squares],
        "pair": [],
        "finish": [],
    }
    for (q,), (mu, _, x), (r,), (nu, _, y) in zip(
        squares, ready, squares[1:], ready[1:], strict=False
    ):
        for cosine in (0.3, -0.6):
            rho = mu * nu * (q * r) ** 0.5 * cosine
            calls["pair"].append((rho, x, y))
            calls["finish"].append((q, rho, *_numbers(pair.pair, (rho, x, y))[1:]))
    for name, f in parts.items():
        _prove_alone(
            f"{name} of the pair of activation {sigma.name!r}",
            f,
            calls[name],
            dtype if name == "pair" else "float64",
        )


def _prove_alone(who: str, f: Callable, calls: list[tuple], dtype: str) -> None:
    key = ("alone", dtype, compiler.fingerprint(f))
    if key in PROVED:
        return
    T = np.dtype(dtype).type
    given = [tuple(map(T, call)) for call in calls]
    values = np.array([_numbers(f, call) for call in given])
    near = [
        [_numbers(f, tuple(T(z * (1.0 + k * np.finfo(dtype).eps)) for z in call)) for call in given]
        for k in (-1, 1)
    ]
    allowed = PAIRS * RELATIVE[dtype] * np.abs(values) + NEIGHBOURS * np.fmax.reduce(
        np.abs(np.array(near) - values)
    )

    def off(results: Any) -> np.ndarray:
        found = np.array(results, dtype=np.float64).reshape(len(calls), -1)
        return _differing((values.ravel(), allowed.ravel()), found.ravel())

    with explained(who, {who: f}, given[0], dtype):
        compiled = compiler.bind(f, dtype)
        found = [compiled(*call) for call in given]
    if off(found).size and not whole_numbers.mend(
        f, given, lambda results: not off(results).size, dtype
    ):
        k = off(found)[0] // values.shape[1]
        raise ValueError(
            f"{who} at {calls[k]}: Python gives {values[k].tolist()}, compiled it gives "
            f"{found[k]}. {ADVICE}"
        )
    PROVED.add(("alone", dtype, compiler.fingerprint(f)))


def _numbers(f: Callable, point: tuple) -> list[float]:
    """What f(*point), a number or a tuple of numbers, is in plain Python; NaN outside its domain."""
    try:
        with np.errstate(all="ignore"):
            made = f(*map(float, point))
    except UNABLE:
        return [np.nan] * 3
    return [number(value) for value in (made if isinstance(made, tuple) else (made,))]


def prove_loss(loss: Loss, what: str, y: np.ndarray, outputs: int, kernels: Any) -> None:
    """Compare ℓ ("value") or ℓ' ("slope") of a device's kernels with the Python functions, some of
    the labels y at hand.

    kernels: .total(f, y) and .slopes(f, y) of predictions f (n, K), .unproved, .forget(). The first
    use of a Loss: ℓ' is compared with differences of ℓ here, too.
    """
    kernels.unproved.discard(what)
    f, gradient = (loss.value, False) if what == "value" else (loss.slope, loss.coupled)
    if (what, kernels.device, compiler.fingerprint(f)) in PROVED:
        return
    points = label_points(loss, y, outputs)
    refuse_other_arguments(f"loss {loss.name!r}: ℓ", loss.value, points[0])
    refuse_other_arguments(
        f"loss {loss.name!r}: ℓ'", loss.slope, (*points[0], None) if loss.coupled else points[0]
    )
    with explained(
        f"loss {loss.name!r}",
        {"ℓ": loss.value, "ℓ'": loss.slope},
        points[0],
        "float64",
        coupled=loss.coupled,
    ):
        found = _loss_at(kernels, loss, what, points)
    check_loss(loss, points)
    if gradient:
        values = np.array([_plain_slope(loss, *point) for point in points])
    else:
        values = np.array([[plain(f, *point)] for point in points])
    allowed = _allowed(values, _noise(f, points, values, gradient), "float64")

    def agrees(results: Any) -> bool:
        return not _differing(
            (values.ravel(), allowed.ravel()), np.array(results, dtype=np.float64).ravel()
        ).size

    if not agrees(found) and whole_numbers.mend(f, points, agrees, "float64", gradient):
        kernels.forget()
        found = _loss_at(kernels, loss, what, points)
    if not agrees(found):
        k = _differing((values.ravel(), allowed.ravel()), found.ravel())[0]
        at, label = points[k // values.shape[1]]
        raise ValueError(
            f"{'ℓ' if what == 'value' else chr(0x2113) + chr(0x27)} of loss {loss.name!r} "
            f"at f = {at}, y = {label}: Python gives "
            f"{values.ravel()[k]:.6g}, compiled it gives {found.ravel()[k]:.6g}. {ADVICE}"
        )
    PROVED.add((what, kernels.device, compiler.fingerprint(f)))


def _loss_at(kernels: Any, loss: Loss, what: str, points: list[tuple]) -> np.ndarray:
    """ℓ (points, 1) or ℓ' (points, K) by the kernels."""
    made = []
    for f, label in points:
        row = np.array(f, dtype=np.float64).reshape(1, -1)
        y = np.array([label], dtype=np.int64 if loss.labels == "class" else np.float64)
        y = y if loss.coupled else y.reshape(1, 1)
        made.append([kernels.total(row, y)] if what == "value" else kernels.slopes(row, y)[0])
    return np.array(made, dtype=np.float64)


def _plain_slope(loss: Loss, row: np.ndarray, label: Any) -> np.ndarray:
    out = np.zeros(row.size)
    return out if plain(lambda: loss.slope(row, label, out) or 0.0) == 0.0 else out * np.nan


def _noise(f: Callable, points: list[tuple], values: np.ndarray, gradient: bool) -> np.ndarray:
    """What neighbouring predictions change."""
    if not gradient:
        eps = np.finfo(np.float64).eps
        near = [
            [plain(f, at * (1.0 + k * eps), label) for at, label in points] for k in (-2, -1, 1, 2)
        ]
        return np.fmax.reduce(np.abs(np.array(near) - values[:, 0]))[:, None]
    return np.zeros_like(values)


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
    allowed = PAIRS * _allowed(exact, np.fmax.reduce(np.abs(np.array(near) - exact)), dtype)
    if (off := _differing((exact.ravel(), allowed.ravel()), found.astype(float).ravel())).size:
        k = off[0]
        raise ValueError(
            f"{f.__name__} at θ = {rows[k // exact[0].size].tolist()[:6]}: Python gives "
            f"{exact.ravel()[k]:.6g}, compiled for {dtype} it gives {found.ravel()[k]:.6g}. {ADVICE}"
        )
    PROVED.add(key)


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
    allowed = PAIRS * RELATIVE[dtype] * size + NEIGHBOURS * noise
    expected = exact.ravel(), allowed.ravel()

    def mended() -> bool:
        return any([_mended_pair(f, rows, what == "velocity", len(rows) > 1) for f in given])

    found = kernels.of_few(what, rows)
    if _differing(expected, found.ravel()).size and mended():
        kernels.forget()
        found = kernels.of_few(what, rows)
    if (off := _differing(expected, found.ravel())).size:
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
        return not _differing(
            (values.ravel(), allowed.ravel()), np.array(results, dtype=np.float64).ravel()
        ).size

    return bool(calls) and whole_numbers.mend(f, calls, agrees, rows.dtype.name, gradient)
