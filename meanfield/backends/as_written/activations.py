"""σ and σ' of kernels, and the formulas of a pair of neurons, compared with the Python functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...formulas.activations import Activation
from ...formulas.differences import UNABLE, number, plain
from ...formulas.slopes import (
    POINTS,
    check_activation,
    refuse_other_arguments,
    written_here,
)
from ...network import PARAMETERS
from .. import compiler, whole_numbers
from ..compile_errors import explained
from ..protocol import Backend
from .comparison import ADVICE, NEIGHBOURS, PROVED, RELATIVE, SUMS, allowed_by_rounding, differing

SINGLE = [(z,) for z in POINTS]  # arguments of σ


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
            if differing(_expected(parts[name], dtype), values).size
        ]

    if wrong():
        joint = [sigma.value_and_slope] if what == "slope" and sigma.value_and_slope else []
        if any([_mended(f, sigma, dtype) for f in (*(parts[name] for name in wrong()), *joint)]):
            backend.forget()
            found = _at_points(backend, what)
    for name in wrong():
        values = found[list(parts).index(name)]
        expected = _expected(parts[name], dtype)
        k = differing(expected, values)[0]
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
    return values, allowed_by_rounding(values, np.fmax.reduce(np.abs(near - values)), dtype)


def _mended(f: Callable, sigma: Activation, dtype: str) -> bool:
    parts = [sigma.value, sigma.slope] if f is sigma.value_and_slope else [f]

    def agrees(results: list) -> bool:
        columns = np.array(results, dtype=np.float64).reshape(len(POINTS), -1).T
        return not any(
            differing(_expected(part, dtype), found).size
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
    allowed = SUMS * RELATIVE[dtype] * np.abs(values) + NEIGHBOURS * np.fmax.reduce(
        np.abs(np.array(near) - values)
    )

    def off(results: Any) -> np.ndarray:
        found = np.array(results, dtype=np.float64).reshape(len(calls), -1)
        return differing((values.ravel(), allowed.ravel()), found.ravel())

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
