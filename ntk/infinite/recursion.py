"""Infinitely wide fully connected networks of any depth: the covariance Σ^L of the output and its
tangent kernel Θ^L.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from meanfield.checks import flag, is_integer, is_number
from meanfield.formulas import activations
from meanfield.formulas.activations import Activation
from meanfield.functionals.samples import check_inputs

from ..gaussian import duals
from . import layers, passes

OVERFLOW = (
    "the kernel overflows: the inputs or the scales w_std, readout_w_std are too large "
    "for this depth."
)


def deep(
    x1: Any,
    x2: Any = None,
    *,
    depth: int,
    activation: str | Activation = "relu",
    w_std: float = 1.0,
    b_std: float = 0.0,
    readout_w_std: float = 1.0,
    readout_b_std: float = 0.0,
    normalise: bool = True,
    parts: bool = False,
) -> tuple[np.ndarray, Any]:
    """(nngp, ntk) = (Σ^L, Θ^L) of L = depth hidden layers, all weights and biases trained.

    Parameters
    ----------
    x1, x2 : (n1, d), (n2, d); x2 = None is x1.
    depth : L >= 1.
    activation : a name or an mf.Activation.
    w_std, b_std : v and β of the hidden layers; readout_w_std, readout_b_std those of the last.
    normalise : c = 1/E[σ(z)²], z ~ N(0, 1); without it c = 1.
    parts : give Θ^L as {"layer1.weight": …, "layer1.bias": …, …, "readout.weight": …}, which sum to
        it: blocks of mf.deep(…), whose `limit` has these settings. float64.

    Returns
    -------
    Σ^L and Θ^L, each (n1, n2). float64; float32 when x1 and x2 are: entries of nearly parallel
    inputs are then right to about 3e-4 (arccos near 1), others to 1e-6. For x2 = None the diagonal
    is computed in float64 from ρ = 1, and both are exactly symmetric.

    Notes
    -----

        Σ⁰ = Θ⁰ = w_std² ⟨x, x'⟩ + b_std²
        Σ^h = v² c E[σ(u)σ(v)] + β²
        Θ^h = Σ^h + v² c Θ^{h-1} E[σ'(u)σ'(v)],   (u, v) ~ N(0, Σ^{h-1} of x, x')

    ⟨x, x'⟩ is not divided by d: with w_std/√d at the first layer it would be, so scale x by
    d^{-1/2} to compare with texts that do. K outputs: the kernel is I_K ⊗ Θ, with Θ as here if each
    readout weight has variance readout_w_std²·c/m, m the width of the last HIDDEN layer (not the
    number of classes). The part of the weights of hidden layer h is the limit of Du et al.'s G^(h),
    that of the last one their K^(H), whose smallest eigenvalue is the λ_0 of their theorem. Du et
    al. (2019), Arora et al. (2019), Jacot et al. (2018); THEORY.md, section 3.
    """
    sigma = activations.get(activation)
    if not is_integer(depth) or depth < 1:
        raise ValueError(f"depth is the number of hidden layers, an integer >= 1; got {depth!r}.")
    scales = {
        "w_std": w_std,
        "b_std": b_std,
        "readout_w_std": readout_w_std,
        "readout_b_std": readout_b_std,
    }
    for name, value in scales.items():
        number = is_number(value)
        if not number or not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number >= 0; got {value!r}.")
    w_std, b_std, readout_w_std, readout_b_std = (float(value) for value in scales.values())
    single = not flag("parts", parts) and all(
        getattr(x, "dtype", None) == np.float32 for x in ((x1,) if x2 is None else (x1, x2))
    )
    dtype = np.dtype(np.float32 if single else np.float64)
    symmetric = x2 is None
    x1 = check_inputs(x1)
    x2 = x1 if symmetric else check_inputs(x2, x1.shape[1])

    with np.errstate(over="ignore"):
        power, offset, last_power, last_offset = np.square(
            [float(value) for value in scales.values()]
        )
        squares = [
            power * np.square(x).sum(axis=1) + offset for x in ((x1,) if symmetric else (x1, x2))
        ]
    if not all(np.isfinite(q).all() for q in squares):
        raise ValueError(
            "|x|² overflows, or w_std²|x|² + b_std² does: the largest input is "
            f"{max(np.abs(x1).max(), np.abs(x2).max()):.3g}, "
            f"w_std = {w_std:g}; scale the inputs down, to numbers of order 1 (standardise them)."
        )
    if dtype == np.float32 and max(q.max(initial=0.0) for q in squares) > np.finfo(np.float32).max:
        raise ValueError(
            "|x|² overflows in float32: scale the inputs down, or pass them as float64."
        )
    unit = np.ones(1)
    c = (
        1.0 / float(duals.unchecked(sigma, unit, unit, unit).value[0])
        if flag("normalise", normalise)
        else 1.0
    )
    scale = c * np.array([power] * (depth - 1) + [last_power])
    shift = np.array([offset] * (depth - 1) + [last_offset])
    q1, nngp_diagonal, ntk_diagonal = _diagonal(sigma, squares[0], scale, shift)
    q2 = q1 if symmetric else _diagonal(sigma, squares[1], scale, shift)[0]

    rows = (w_std * x1).astype(dtype, copy=False)
    covariance = rows @ (rows if symmetric else (w_std * x2).astype(dtype, copy=False)).T
    covariance += dtype.type(offset)
    if parts:
        with np.errstate(over="ignore", invalid="ignore"):
            nngp, each = layers.parts(
                sigma, covariance, q1, q2, scale, shift, float(offset), symmetric
            )
        if not all(np.isfinite(part).all() for part in (nngp, *each.values())):
            raise ValueError(OVERFLOW)
        for matrix in (nngp, *each.values()) if symmetric else ():
            mirror(matrix)
        return nngp, each
    with np.errstate(over="ignore", invalid="ignore"):
        nngp, ntk = passes.all_layers(sigma, covariance, q1, q2, scale, shift, triangle=symmetric)
    if symmetric:
        for matrix, diagonal in ((nngp, nngp_diagonal), (ntk, ntk_diagonal)):
            np.fill_diagonal(matrix, diagonal)
            mirror(matrix)
    if not (np.isfinite(nngp).all() and np.isfinite(ntk).all()):
        raise ValueError(OVERFLOW)
    return nngp, ntk


def _diagonal(
    sigma: Activation, q: np.ndarray, scale: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Σ^{h-1}(x, x) for h = 1 … L as (L, n), Σ^L(x, x), Θ^L(x, x)): the recursion at ρ = 1, in
    float64.
    """
    entering, theta = [], q
    for factor, offset in zip(scale, shift, strict=True):
        entering.append(q)
        with np.errstate(over="ignore", invalid="ignore"):
            value, slope = duals.unchecked(sigma, q, q, q)
            q = factor * value + offset
            theta = q + factor * slope * theta
    if not np.isfinite(theta).all():
        raise ValueError(OVERFLOW)
    return np.array(entering), q, theta


def mirror(matrix: np.ndarray, block: int = 128) -> None:
    """Copy what stands right of the diagonal to its left, in place, square by square."""
    n = len(matrix)
    below = np.tri(min(block, n), k=-1, dtype=bool)
    for i in range(0, n, block):
        rows = slice(i, i + block)
        square = matrix[rows, rows]
        mask = below[: len(square), : len(square)]
        square[mask] = square.T[mask]
        for j in range(i + block, n, block):
            columns = slice(j, j + block)
            matrix[columns, rows] = matrix[rows, columns].T
