"""The limit m → ∞ of two-layer networks: the tangent kernel H∞ and the output's covariance, for any
InitialLaw.

    H(x, x') = E[σσ'] (a trained) + ⟨x, x'⟩ E[a²] E[σ̇σ̇'] (w) + E[a²] E[σ̇σ̇'] (b)           THEORY.md, section 3

in which σσ' is σ(⟨w, x⟩ + b) σ(⟨w, x'⟩ + b), and σ̇ the derivative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from meanfield.checks import is_integer
from meanfield.functionals.samples import check_inputs
from meanfield.initial import InitialLaw
from meanfield.network import Network

from ..gaussian import duals, sphere
from . import passes

TINY = 1e-280  # |x|² below this has lost digits, or is about to
WIDE = 1e4  # variance above which inputs that repeat are found, lest rounding part them
BLOCK = 1024  # rows and columns in work at once: 8 MB for each of a handful of temporary arrays


def kernel(network: Network, law: InitialLaw, x1: Any, x2: Any = None, parts: bool = False) -> Any:
    """The tangent kernel of an infinitely wide network, over its trainable parameters.

    Parameters
    ----------
    network : its activation and what trains. With "b" in trainable the part of b is in H, also
        where b_std = 0: "no bias" is trainable=("a", "w").
    law : the mf.InitialLaw. a_std is the deviation of ONE output weight.
    x1, x2 : (n1, d), (n2, d); x2 = None is x1: then exactly symmetric, the diagonal from ρ = 1.
    parts : return {"a": …, "w": …, "b": …}, the trainable ones, which sum to H.

    Returns
    -------
    H∞(x1, x2), (n1, n2) float64, independent of γ and α. Of K outputs the limit is I_K ⊗ H with
    this H: every InitialLaw has that form, because the outputs' weights are independent with mean
    0. A symmetric start has the same H.

    Raises
    ------
    ValueError : where |x|² or an entry overflows, or an expectation cannot be found.

    Notes
    -----
    Closed forms or quadrature: ntk.duals. Entries are right to 1e-10, those of relu at inputs
    antipodal up to rounding to 1e-8: eigenvalues below that are noise. Inputs may have any size up
    to |x| = 1e154, where |x|² ends: at large ones tanh, erf and the like are steps; above |x| w_std
    = 1e4 directions closer than 1e-7 count as one. w on a sphere: by a radial factor for
    homogeneous σ without bias, by a series for smooth σ, else by quadrature for each pair
    (milliseconds; with a bias and an own kinked σ, which is then integrated in three dimensions,
    tenths of a second). THEORY.md, section 3.
    """
    _check(network, law)
    if not network.trainable:
        raise ValueError(
            "the tangent kernel of a network with nothing to train is zero: trainable is ()."
        )
    if not parts:
        return _matrices(network, law, x1, x2, (network.trainable,))[0]
    return dict(
        zip(
            network.trainable,
            _matrices(network, law, x1, x2, tuple((p,) for p in network.trainable)),
            strict=True,
        )
    )


def nngp(network: Network, law: InitialLaw, x1: Any, x2: Any = None) -> np.ndarray:
    """The covariance of the network at the start, of infinite width: E[a²] E[σσ'].

    Parameters
    ----------
    network, law, x1, x2 : as in `kernel`.

    Returns
    -------
    (n1, n2): the limit of m^{2γ-1} α^{-2} Cov(f_0(x), f_0(x')), each output by itself (K outputs:
    I_K ⊗ this). Zero where f_0 is: for a symmetric start and for a = 0 (pass
    dataclasses.replace(law, symmetric=False) for the iid start's).
    """
    _check(network, law)
    result = _matrices(network, law, x1, x2, (("output",),))[0]
    return np.zeros_like(result) if law.symmetric else result


def kernel_blocks(
    network: Network, law: InitialLaw, x1: Any, x2: Any = None, block: int = BLOCK
) -> Iterator[tuple[slice, np.ndarray]]:
    """`kernel` in blocks of rows, (rows, H(x1[rows], x2)), for kernels too large to hold:

        dataset = file.create_dataset("H", (n, n))
        for rows, H in ntk.kernel_blocks(network, law, x):
            dataset[rows] = H

    Memory O(block·(n2 + block)). With x2 = None the whole is exactly symmetric, as from `kernel`.
    """
    _check(network, law)
    if not is_integer(block) or block < 1:
        raise ValueError(
            f"block, the number of rows at a time, must be an integer >= 1; got {block!r}."
        )
    if not network.trainable:
        raise ValueError(
            "the tangent kernel of a network with nothing to train is zero: trainable is ()."
        )
    return _rows(_prepare(network, law, x1, x2, (network.trainable,)), int(block))


class _Task(NamedTuple):
    network: Network
    law: InitialLaw
    x1: np.ndarray
    x2: np.ndarray
    norms1: np.ndarray  # |x|² (n1,)
    norms2: np.ndarray
    sums: tuple[tuple[str, ...], ...]  # which of "a", "w", "b", "output" each matrix adds up
    powers1: np.ndarray | None = (
        None  # (n1,): x1 stands for x1·2^powers1, of inputs whose squares would vanish
    )
    powers2: np.ndarray | None = None


def _check(network: Any, law: Any) -> None:
    if not isinstance(network, Network):
        raise TypeError(f"network must be an mf.Network; got {network!r}.")
    if network.feature is not None:
        raise ValueError(
            f"closed kernels are those of neurons a σ(⟨w, x⟩ + b); {network.feature!r} has none. A wide "
            "ensemble has ntk.empirical(network, state, x)."
        )
    if not isinstance(law, InitialLaw):
        raise TypeError(
            "law must be an mf.InitialLaw, from which the limit is taken (a State has "
            f"ntk.empirical); got {law!r}."
        )


def _prepare(
    network: Network, law: InitialLaw, x1: Any, x2: Any, sums: tuple[tuple[str, ...], ...]
) -> _Task:
    x1 = check_inputs(x1, law.dim)
    x2 = x1 if x2 is None else check_inputs(x2, law.dim)
    with np.errstate(over="ignore"):
        norms1, norms2 = np.square(x1).sum(axis=1), np.square(x2).sum(axis=1)
    with np.errstate(over="ignore"):
        power, offset = np.square([law.w_std, law.b_std])
        variances = [power * norms.max(initial=0.0) + offset for norms in (norms1, norms2)]
    if not np.isfinite([norms1.max(initial=0.0), norms2.max(initial=0.0), *variances]).all():
        largest = max(float(np.abs(x).max(initial=0.0)) for x in (x1, x2))
        raise ValueError(
            "|x|² overflows, or w_std²|x|² + b_std² does: the largest input is "
            f"{largest:.3g}, w_std = {law.w_std:g}; scale the "
            "inputs down, to numbers of order 1 (standardise them)."
        )
    task = _Task(network, law, x1, x2, norms1, norms1 if x2 is x1 else norms2, sums)
    tiny = [
        bool(((norms < TINY) & x.any(axis=1)).any()) for x, norms in ((x1, norms1), (x2, norms2))
    ]
    return _magnified(task) if any(tiny) and not law.b_std else task


def _magnified(task: _Task) -> _Task:
    """Inputs without a bias whose |x|² vanishes or loses digits: for homogeneous σ brought to |x| ~
    1 by powers of two.

    For smooth σ nothing is lost: E[σσ'] and E[σ̇σ̇'] are then those of x = 0 to rounding.
    """
    sigma = task.network.sigma
    degree = sigma.homogeneity
    if degree is None or degree < 1 or degree != int(degree):
        if sigma.smooth:
            return task
        raise ValueError(
            f"|x|² vanishes for some inputs, and {sigma.name} has a kink at 0 without a "
            "bias; scale the inputs up."
        )

    def scaled(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        powers = np.frexp(np.abs(x).max(axis=1))[1]
        x = np.ldexp(x, -powers[:, None])
        return x, np.square(x).sum(axis=1), powers

    x1, norms1, powers1 = scaled(task.x1)
    x2, norms2, powers2 = (x1, norms1, powers1) if task.x2 is task.x1 else scaled(task.x2)
    return task._replace(
        x1=x1, x2=x2, norms1=norms1, norms2=norms2, powers1=powers1, powers2=powers2
    )


def _matrices(
    network: Network, law: InitialLaw, x1: Any, x2: Any, sums: tuple[tuple[str, ...], ...]
) -> list[np.ndarray]:
    task = _prepare(network, law, x1, x2, sums)
    n1, n2 = len(task.x1), len(task.x2)
    results = [np.empty((n1, n2)) for _ in sums]
    for rows in _slices(n1, BLOCK):
        for columns in _slices(n2, BLOCK):
            if task.x2 is task.x1 and columns.start < rows.start:
                continue
            for result, tile in zip(results, _tile(task, rows, columns), strict=True):
                result[rows, columns] = tile
                if task.x2 is task.x1 and columns != rows:
                    result[columns, rows] = tile.T
    return results


def _rows(task: _Task, block: int) -> Iterator[tuple[slice, np.ndarray]]:
    for rows in _slices(len(task.x1), block):
        result = np.empty((rows.stop - rows.start, len(task.x2)))
        for columns in _slices(len(task.x2), block):
            flip = task.x2 is task.x1 and columns.start < rows.start
            tile = _tile(task, columns, rows)[0].T if flip else _tile(task, rows, columns)[0]
            result[:, columns] = tile
        yield rows, result


def _slices(n: int, block: int) -> list[slice]:
    return [slice(first, min(first + block, n)) for first in range(0, n, block)]


def _tile(task: _Task, rows: slice, columns: slice) -> list[np.ndarray]:
    """One tile of each matrix; a tile on the diagonal of a symmetric one is made symmetric, its
    diagonal from ρ = 1.
    """
    inner = task.x1[rows] @ task.x2[columns].T
    norms1, norms2 = task.norms1[rows], task.norms2[columns]
    if max(norms1.max(initial=0.0), norms2.max(initial=0.0)) * task.law.w_std**2 > WIDE:
        _align(task.x1[rows], task.x2[columns], norms1, norms2, inner)
    powers = None
    if task.powers1 is not None and task.powers2 is not None:
        powers = task.powers1[rows, None] + task.powers2[None, columns]
    value, slope = _expectations(task, norms1[:, None], norms2[None, :], inner)
    tiles = _add(task, inner, value, slope, powers)
    if task.x2 is task.x1 and rows == columns:
        value, slope = _expectations(task, norms1, norms1, norms1)
        own = None if powers is None else np.diagonal(powers)
        for tile, diagonal in zip(tiles, _add(task, norms1, value, slope, own), strict=True):
            lower = np.tri(len(tile), k=-1, dtype=bool)
            tile[lower] = tile.T[lower]
            np.fill_diagonal(tile, diagonal)
    if not all(np.isfinite(tile).all() for tile in tiles):
        largest = np.sqrt(max(norms1.max(), norms2.max()))
        raise ValueError(
            f"the kernel of {task.network.sigma.name} overflows for inputs of size "
            f"{largest:.3g}; scale them down, to numbers of "
            "order 1 (standardise them)."
        )
    return tiles


def _align(
    x1: np.ndarray, x2: np.ndarray, norms1: np.ndarray, norms2: np.ndarray, inner: np.ndarray
) -> None:
    """⟨x, x'⟩ = ±|x|² to the last bit where x' = ±x, in place: a product of matrices rounds it
    otherwise than the norms.
    """
    near = np.abs(inner) >= (1.0 - 1e-12) * np.sqrt(norms1)[:, None] * np.sqrt(norms2)
    i, j = np.nonzero(near & (inner != 0.0))
    for sign in (1.0, -1.0):
        same = (x1[i] == sign * x2[j]).all(axis=1)
        inner[i[same], j[same]] = sign * norms1[i[same]]


@np.errstate(over="ignore", invalid="ignore")  # _tile refuses what is not finite
def _add(
    task: _Task,
    inner: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    powers: np.ndarray | None = None,
) -> list[np.ndarray]:
    """powers: inner, value, slope are those of inputs that stand for 2^powers times their product."""
    power = 0.0 if task.law.a == "zero" else float(np.square(task.law.a_std))  # E[a²]
    degree = task.network.sigma.homogeneity
    if powers is not None and degree is not None:
        inner = np.ldexp(inner, powers)
        value = np.ldexp(value, int(degree) * powers)
        slope = np.ldexp(slope, int(degree - 1) * powers)
    results = []
    for names in task.sums:
        total = np.zeros(inner.shape)
        if "a" in names:
            total += value
        if "output" in names:
            total += power * value
        if "w" in names or "b" in names:
            total += (power * slope) * (("w" in names) * inner + ("b" in names))
        results.append(total)
    return results


def _expectations(
    task: _Task, norms1: np.ndarray, norms2: np.ndarray, inner: np.ndarray
) -> duals.Pair:
    """(E[σσ'], E[σ̇σ̇']) for |x|², |x'|² and ⟨x, x'⟩: (n1, 1), (1, n2), (n1, n2), or all (n,)."""
    sigma, law = task.network.sigma, task.law
    degree = sigma.homogeneity
    scaled = degree is not None and degree >= 1 and not law.b_std
    if law.w == "sphere" and not scaled:
        return _on_sphere(task, norms1, norms2, inner)
    variance, offset = law.w_std**2, law.b_std**2
    with np.errstate(over="ignore", invalid="ignore"):
        return _gaussian(task, *(variance * array + offset for array in (norms1, norms2, inner)))


def _gaussian(task: _Task, q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> duals.Pair:
    sigma, law = task.network.sigma, task.law
    degree = sigma.homogeneity
    largest = np.sqrt(q1) * np.sqrt(q2)
    if largest.max(initial=0.0) > WIDE:
        largest = np.where(q1 == q2, q1, largest)
    np.clip(c, -largest, largest, out=c)  # only rounding takes an inner product past Cauchy–Schwarz
    if c.ndim == 2:
        value, slope = passes.one_layer(sigma, q1[:, 0], q2[0], c)
    else:
        # the diagonal, with c = q whatever the roots round to
        value, slope = duals.unchecked(sigma, q1, q1, q1)
    if law.w == "sphere" and degree is not None:
        value, slope = value / _chi(law.dim, 2 * degree), slope / _chi(law.dim, 2 * degree - 2)
    return duals.Pair(value, slope)


def _chi(dim: int, power: float) -> float:
    """E|g|^power, g ~ N(0, I_dim): a Gaussian w is |g| times one on the unit sphere, and σ
    homogeneous lets |g| out.
    """
    return (
        math.exp(power / 2 * math.log(2) + math.lgamma((dim + power) / 2) - math.lgamma(dim / 2))
        if power
        else 1.0
    )


def _on_sphere(
    task: _Task, norms1: np.ndarray, norms2: np.ndarray, inner: np.ndarray
) -> duals.Pair:
    law = task.law
    scale = np.sqrt(norms1) * np.sqrt(norms2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(
            (np.abs(inner) == norms1) & (norms1 == norms2),
            np.sign(inner),
            np.clip(inner / scale, -1.0, 1.0),
        )
    rho = np.where(scale > 0, rho, 0.0)
    p1, p2 = law.w_std * np.sqrt(norms1), law.w_std * np.sqrt(norms2)
    return duals.Pair(*sphere.expectations(task.network.sigma, p1, p2, rho, law.dim, law.b_std)[0])
