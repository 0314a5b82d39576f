"""Synthetic tasks with a known target: sample i depends on (seed, i) only, so a smaller set is a
prefix of a larger one.

Numbers come from noise.py with purpose DATA; its `step` keeps the streams apart: 0 training
samples, 1 test samples, 2 the target's own parameters (3 is preparation.py's split). Test samples
do not change with n. Label noise is added to the training labels only: test labels are the target
f* itself, so that the test error is the distance to f*.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermeval

from ..checks import hint, is_integer, is_number
from ..formulas import activations
from ..formulas.activations import Activation
from ..noise import DATA, normals
from .dataset import Dataset

TRAIN, TEST, TARGET = 0, 1, 2
Target = Callable[[np.ndarray], np.ndarray]


def teacher_student(
    n: int,
    dim: int,
    *,
    teacher_width: int = 3,
    activation: str = "relu",
    outputs: int = 1,
    a_std: float = 1.0,
    inputs: str = "normal",
    noise: float = 0.0,
    n_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """f*(x) = Σ_j a_j σ(⟨w_j, x⟩), j < M = teacher_width, w_j uniform on the unit sphere, a_j =
    ±a_std for each output.

    inputs: "normal" x ~ N(0, I_d), or "sphere" x uniform on |x| = 1. Without prefactor, as in
    Chizat, Oyallon and Bach (2019), section 3 (M = 3, inputs="sphere"): E f*² ≈ M a_std² E[σ(z)²]
    for normal inputs, so a_std = M^(-1/2) keeps it O(1) for any M. Prefix property in M too. y
    (n,), or (n, K) for outputs = K > 1; origin["teacher"] = {"a": (M, K), "w": (M, d)}.
    """
    _positive(dim=dim, teacher_width=teacher_width, outputs=outputs)
    _real(a_std=a_std)
    sigma = activations.get(activation)
    if inputs not in ("normal", "sphere"):
        raise ValueError(f'teacher_student: inputs must be "normal" or "sphere"; got {inputs!r}.')
    # signs first, so that they don't move with dim
    z = _normals(seed, teacher_width, outputs + dim, TARGET)
    a = np.copysign(a_std, z[:, :outputs])
    w = _unit_rows(z[:, outputs:])

    def target(x: np.ndarray) -> np.ndarray:
        f = np.zeros((len(x), outputs))
        for a_j, w_j in zip(a, w, strict=True):
            f += a_j * _evaluate(sigma, _inner(x, w_j))[:, None]
        return f if outputs > 1 else f[:, 0]

    def sample(count: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        z = _normals(seed, count, dim + outputs, step)
        return (_unit_rows(z[:, :dim]) if inputs == "sphere" else z[:, :dim]), z[:, dim:]

    arguments = {
        "n": n,
        "dim": dim,
        "teacher_width": teacher_width,
        "activation": sigma.name,
        "outputs": outputs,
        "a_std": a_std,
    }
    arguments |= {"inputs": inputs, "noise": noise, "n_test": n_test, "seed": seed}
    return _dataset(
        "teacher_student",
        arguments,
        sample,
        target,
        noise,
        teacher={"a": a.tolist(), "w": w.tolist()},
    )


def single_index(
    n: int,
    dim: int,
    *,
    link: str | Callable[[np.ndarray], np.ndarray] = "he2",
    noise: float = 0.0,
    n_test: int = 0,
    seed: int = 0,
) -> Dataset:
    """f*(x) = g(⟨u, x⟩), x ~ N(0, I_d), u uniform on the unit sphere (origin["direction"]), so ⟨u,
    x⟩ ~ N(0, 1).

    link g: "he1" … "he9", the probabilists' Hermite polynomials (He_2 = z² - 1, He_3 = z³ - 3z; E
    He_k² = k!, information exponent k); the name of an activation; or a function of an array z (n,)
    -> (n,), which the file can name but not rebuild.
    """
    _positive(dim=dim)
    g, link_name = _link(link)
    u = _unit_rows(_normals(seed, 1, dim, TARGET))[0]

    def target(x: np.ndarray) -> np.ndarray:
        z = _inner(x, u)
        y = np.asarray(g(z), dtype=np.float64)
        if y.shape != z.shape:
            raise ValueError(
                "single_index: the link must map an array (n,) to (n,); it mapped "
                f"{z.shape} to {y.shape}."
            )
        return y

    def sample(count: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        z = _normals(seed, count, dim + 1, step)
        return z[:, :dim], z[:, dim:]

    arguments = {
        "n": n,
        "dim": dim,
        "link": link_name,
        "noise": noise,
        "n_test": n_test,
        "seed": seed,
    }
    return _dataset("single_index", arguments, sample, target, noise, direction=u.tolist())


def parity(n: int, dim: int, k: int = 2, *, n_test: int = 0, seed: int = 0) -> Dataset:
    """f*(x) = Π_{j<k} x_j, x uniform in {-1, 1}^d; y = ±1 (n,) float64."""
    _positive(dim=dim, k=k)
    if k > dim:
        raise ValueError(f"parity: k = {k} factors need k <= dim; got dim = {dim}.")

    def sample(count: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        return np.copysign(1.0, _normals(seed, count, dim, step)), np.zeros((count, 1))

    arguments = {"n": n, "dim": dim, "k": k, "n_test": n_test, "seed": seed}
    return _dataset("parity", arguments, sample, lambda x: x[:, :k].prod(axis=1), 0.0)


def kink(
    n: int,
    slope: float = 1.0,
    *,
    noise: float = 0.0,
    n_test: int = 0,
    seed: int = 0,
    constant: bool = False,
) -> Dataset:
    """f*(x) = slope·|x| on n >= 2 equispaced points of [-1, 1], both ends included; x (n, 1).

    constant=True adds a second input that is 1 and does what a bias does, x (n, 2): such networks
    have neurons on the circle of w, whose limit mf.limits.circle is.

    Test points are the centres of n_test equal cells of [-1, 1]. The seed matters to the label
    noise only, and this set alone has no prefix property.
    """
    _real(slope=slope)
    _positive(n=n)
    if n < 2:
        raise ValueError("kink: both ends of [-1, 1] are points, so n must be at least 2; got 1.")

    def sample(count: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        x = (
            np.linspace(-1.0, 1.0, count)
            if step == TRAIN
            else (2.0 * np.arange(count) + 1.0) / count - 1.0
        )
        inputs = np.stack([x, np.ones(count)], axis=1) if constant else x[:, None]
        return inputs, _normals(seed, count, 1, step)

    arguments = {"n": n, "slope": slope, "noise": noise, "n_test": n_test, "seed": seed}
    if constant:  # left out otherwise: what files hold stays the same
        arguments["constant"] = True
    return _dataset("kink", arguments, sample, lambda x: slope * abs(x[:, 0]), noise)


def gaussian_mixture(
    n: int, dim: int, *, delta: float = 0.4, kind: str = "variances", n_test: int = 0, seed: int = 0
) -> Dataset:
    """y = ±1 with probability ½ each, (n,) float64; given y, x is Gaussian in R^d:

    kind "variances": x ~ N(0, (1 + yΔ)² I), 0 < Δ < 1: the isotropic Gaussians of Mei, Montanari and Nguyen (2018);
    kind "means":     x ~ N(yΔ e_1, I), Δ > 0: the best classifier, sign x_1, errs with probability Φ(-Δ).
    """
    _positive(n=n, dim=dim)
    _count(n_test)
    _real(delta=delta)
    if kind not in ("variances", "means"):
        raise ValueError(f'gaussian_mixture: kind must be "variances" or "means"; got {kind!r}.')
    if delta <= 0 or (kind == "variances" and delta >= 1):
        raise ValueError(
            'gaussian_mixture: delta must be positive, and below 1 for kind="variances"; '
            f"got {delta!r}."
        )

    def sample(count: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        z = _normals(seed, count, 1 + dim, step)
        y = np.copysign(1.0, z[:, :1])
        return (
            z[:, 1:] * (1.0 + delta * y)
            if kind == "variances"
            else z[:, 1:] + delta * y * np.eye(1, dim)
        ), y[:, 0]

    x, y = sample(n, TRAIN)
    x_test, y_test = sample(n_test, TEST) if n_test else (None, None)
    arguments = {"n": n, "dim": dim, "delta": delta, "kind": kind, "n_test": n_test, "seed": seed}
    return Dataset(x, y, x_test, y_test, "gaussian_mixture", _origin("gaussian_mixture", arguments))


def two_points() -> Dataset:
    """x = {-3, ½}, y = {2, -1}: two samples in one dimension, whose 2 × 2 tangent kernel can be
    drawn.
    """
    return Dataset(
        np.array([[-3.0], [0.5]]),
        np.array([2.0, -1.0]),
        name="two_points",
        origin=_origin("two_points", {}),
    )


def luo_points() -> Dataset:
    """x = {-½, 0, ½}, y = {-½, 0, 1}: three samples in one dimension, those of the phase diagram of
    Luo et al. (2021).
    """
    x = np.array([[-0.5], [0.0], [0.5]])
    return Dataset(
        x, np.array([-0.5, 0.0, 1.0]), name="luo_points", origin=_origin("luo_points", {})
    )


def _dataset(
    maker: str,
    arguments: dict[str, Any],
    sample: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    target: Target,
    noise_std: float,
    **origin: Any,
) -> Dataset:
    """Draw n training and n_test test samples; sample(count, step) -> (x, standard label noise of
    y's width).
    """
    n, n_test = arguments["n"], arguments["n_test"]
    _positive(n=n)
    _count(n_test)
    _real(noise=noise_std)
    if noise_std < 0:
        raise ValueError(
            "noise is the standard deviation of the label noise and must be >= 0; got "
            f"{noise_std!r}."
        )
    x, z = sample(n, TRAIN)
    y = target(x)
    x_test = sample(n_test, TEST)[0] if n_test else None
    y_test = None if x_test is None else target(x_test)
    return Dataset(
        x,
        y + noise_std * z.reshape(y.shape),
        x_test,
        y_test,
        maker,
        _origin(maker, arguments) | origin,
    )


def _origin(maker: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"maker": maker, "arguments": arguments}


def _normals(seed: int, count: int, components: int, step: int) -> np.ndarray:
    return normals(seed, DATA, count, components, step=step)


def _inner(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """⟨w, x_i⟩ for each row. Not BLAS: there the bits of row i depend on the number of rows."""
    return (x * w).sum(axis=1)


def _unit_rows(z: np.ndarray) -> np.ndarray:
    return z / np.sqrt((z * z).sum(axis=1, keepdims=True))


def _evaluate(sigma: Activation, z: np.ndarray) -> np.ndarray:
    """The scalar function σ on each entry of z (n,)."""
    return np.fromiter(map(sigma.value, z.tolist()), dtype=np.float64, count=len(z))


def _link(link: Any) -> tuple[Target, str]:
    if callable(link):
        return link, f"function {getattr(link, '__name__', type(link).__name__)}"
    if isinstance(link, str) and (match := re.fullmatch(r"he([1-9])", link.lower())):
        coefficients = [0.0] * int(match[1]) + [1.0]
        return lambda z: hermeval(z, coefficients), link.lower()
    known = [*(f"he{k}" for k in range(1, 10)), *activations.TABLE]
    if not isinstance(link, str):
        raise TypeError(
            f"single_index: link must be a function or one of {', '.join(known)}; got {link!r}."
        )
    try:
        sigma = activations.get(link)
    except ValueError:
        raise ValueError(
            f"single_index: unknown link {link!r}.{hint(link, known)} Known: "
            f"{', '.join(known)}; or pass a function."
        ) from None
    return lambda z: _evaluate(sigma, z), link


def _positive(**values: Any) -> None:
    for name, value in values.items():
        if not is_integer(value) or value < 1:
            raise ValueError(f"{name} must be an integer >= 1; got {value!r}.")


def _count(n_test: Any) -> None:
    if not is_integer(n_test) or n_test < 0:
        raise ValueError(f"n_test must be an integer >= 0; got {n_test!r}.")


def _real(**values: Any) -> None:
    for name, value in values.items():
        if not is_number(value) or not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number; got {value!r}.")
