"""The tangent kernel of modules, block by block: H = Σ_k p_k J_k(x) J_k(x')ᵀ.

Of a linear layer the Jacobian of output c is δ_c ⊗ a, a the layer's input and δ_c the derivative of
f_c in its output, so its part of H is (a·a')(δ_c·δ'_e) and nothing of the size of θ is formed: one
forward and K backward passes, and products of (n, width) arrays. Other modules have their Jacobians
formed, for as many samples at once as fit; and so have linear layers whose weights serve elsewhere,
too, which is seen from the gradient at two samples.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from .backend import BYTES, Samples

# of each feature, whether its modules are linear layers only: asked for every kernel, found once
_KNOWN: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


class _Layer(NamedTuple):
    """Of a linear layer: its parameters' names, inputs a (n, in), and δ (n, K, out); the factors of
    weights and biases of a layer that has them (mf.deep), of which a has its own.
    """

    weight: str
    bias: str | None
    a: torch.Tensor
    delta: torch.Tensor
    beta: float


def is_linear(layer: nn.Module) -> bool:
    """Whether a is the input of W a, times a factor: nn.Linear and the layers of mf.deep."""
    return type(layer) is nn.Linear or (isinstance(layer, nn.Linear) and hasattr(layer, "factors"))


def parts(
    backend: Any, theta: torch.Tensor, mass: np.ndarray, x1: Samples, x2: Samples, outputs: str
) -> dict[str, np.ndarray]:
    """{name: (n1, n2, K, K)} float64 of each trainable block; outputs "trace": (n1, n2, 1, 1)
    summed over outputs, "diagonal": (n1, n2, K, 1).
    """
    names = backend.network.trainable
    K = backend.outputs
    last = {"full": (K, K), "trace": (1, 1), "diagonal": (K, 1)}[outputs]
    found = {name: np.zeros((x1.n, x2.n, *last)) for name in names}
    linear = only_linear(backend)
    side = _side(backend, linear)
    for first in range(0, x1.n, side):
        rows = slice(first, min(x1.n, first + side))
        for start in range(first if x1 is x2 else 0, x2.n, side):
            columns = slice(start, min(x2.n, start + side))
            same = x1 is x2 and first == start
            for k in range(len(theta)):
                left = _derivatives(backend, theta[k], x1.x[rows], linear)
                right = left if same else _derivatives(backend, theta[k], x2.x[columns], linear)
                for name, tile in _products(left, right, outputs, names).items():
                    made = mass[k] * tile.double().cpu().numpy().reshape(*tile.shape[:2], *last)
                    found[name][rows, columns] += made
                    if x1 is x2 and not same:
                        found[name][columns, rows] += made.transpose(
                            1, 0, *((3, 2) if last[0] == last[1] else (2, 3))
                        )
    return found


def only_linear(backend: Any) -> bool:
    """Whether all parameters belong to linear layers that are each used once, on rows (n, in), and
    a and δ make the gradients: not where a weight is used outside its layer, too.
    """
    if backend.architecture is None:
        return False
    feature = backend.network.feature
    if feature not in _KNOWN:
        _KNOWN[feature] = _found_linear(backend)
    return _KNOWN[feature]


def _found_linear(backend: Any) -> bool:
    """`only_linear` by one call of the module that is watched, and one gradient."""
    module = backend.architecture
    layers = [layer for layer in module.modules() if is_linear(layer)]
    theirs = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
    count = sum(1 for layer in layers for _ in layer.parameters(recurse=False))
    if len(theirs) != count or {id(p) for p in module.parameters()} != theirs:
        return False

    calls: dict[int, list[tuple[int, ...]]] = {}
    hooks = [
        layer.register_forward_hook(
            lambda layer, given, out: calls.setdefault(id(layer), []).append(given[0].shape[:-1])
        )
        for layer in layers
    ]
    row, x = _probe(backend)
    try:
        backend.network.feature.phi(row, x, module)
    finally:
        for hook in hooks:
            hook.remove()
    once = all(calls.get(id(layer)) == [(len(x),)] for layer in layers)
    return once and _gradients_agree(backend, row, x)


def _probe(backend: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A random θ of the size of torch's initialisations, (P,), and two samples."""
    columns = backend.network.feature.columns
    draw = torch.Generator().manual_seed(0)
    row = [
        torch.randn(math.prod(shape), generator=draw) / math.sqrt(shape[-1])
        for _, shape in columns.blocks
    ]
    x = torch.randn((2, columns.dim), generator=draw)
    return torch.cat(row).to(backend.trainable), x.to(backend.trainable)


def _gradients_agree(backend: Any, row: torch.Tensor, x: torch.Tensor) -> bool:
    """Whether Σ_ic v_ic ∇φ_c(θ; x_i) of a and δ is torch's, v random, to half the digits."""
    leaf = row.detach().requires_grad_(True)
    with torch.enable_grad():
        out = backend.network.feature.phi(leaf, x, backend.architecture)
    v = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    theirs = torch.autograd.grad(out, leaf, v)[0]
    made = {}
    for layer in _layers(backend, row, x):
        delta = torch.einsum("icq,ic->iq", layer.delta, v)
        made[layer.weight] = delta.T @ layer.a
        if layer.bias is not None:
            made[layer.bias] = layer.beta * delta.sum(dim=0)
    allowed = math.sqrt(torch.finfo(row.dtype).eps)
    for name, piece in backend.network.feature.columns.slices.items():
        expected = theirs[piece]
        gap = (made[name].flatten() - expected).abs().max()
        if not gap <= allowed * expected.abs().max():  # nor where it is NaN
            return False
    return True


def _side(backend: Any, linear: bool) -> int:
    """Samples whose derivatives fit at once, on each side of a tile of H."""
    K = backend.outputs
    size = (
        backend._work * (2 + K)  # forward, the copies, and backward K times
        if linear
        else K * backend.network.trainable_columns(backend.dim, K).size
    )
    return max(1, BYTES // (2 * size * backend.dtype.itemsize))


def _derivatives(backend: Any, row: torch.Tensor, x: torch.Tensor, linear: bool) -> Any:
    return _layers(backend, row, x) if linear else _jacobian(backend, row, x)


def _layers(backend: Any, row: torch.Tensor, x: torch.Tensor) -> list[_Layer]:
    """a and δ of all layers, by one pass forward and one backward for each output."""
    module, feature = backend.architecture, backend.network.feature
    seen: list[tuple[str, nn.Module, torch.Tensor, torch.Tensor]] = []

    def keep(name: str, layer: nn.Module, given: Any, out: torch.Tensor) -> torch.Tensor:
        seen.append((name, layer, given[0].detach().clone(), out))
        return out.clone()  # what follows may change it in place

    hooks = [
        layer.register_forward_hook(partial(keep, name))
        for name, layer in module.named_modules()
        if is_linear(layer)
    ]
    try:
        with torch.enable_grad():
            out = feature.phi(row.detach().requires_grad_(True), x, module)
    finally:
        for hook in hooks:
            hook.remove()
    ends = [end for *_, end in seen]
    deltas = [
        torch.autograd.grad(
            out[:, c].sum(), ends, retain_graph=c + 1 < out.shape[1], allow_unused=True
        )
        for c in range(out.shape[1])
    ]
    made = []
    for j, (name, layer, a, end) in enumerate(seen):
        delta = torch.stack([torch.zeros_like(end) if of[j] is None else of[j] for of in deltas], 1)
        prefix = f"{name}." if name else ""
        bias = None if layer.bias is None else f"{prefix}bias"
        scale, beta = getattr(layer, "factors", (1.0, 1.0))
        a = a if scale == 1 else scale * a
        made.append(_Layer(f"{prefix}weight", bias, a, delta.detach(), beta))
    return made


def _jacobian(backend: Any, row: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """∇φ_c(θ; x_i) of each block, {name: (n, K, size)}."""
    feature = backend.network.feature
    if feature is None:
        K, d = backend.outputs, backend.dim
        slices = {"a": slice(0, K), "w": slice(K, K + d), "b": slice(K + d, K + d + 1)}
    else:
        slices = feature.columns.slices

    def of(row: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        return backend.many(row[None], point[None])[0, 0]

    try:
        J = torch.func.vmap(torch.func.jacrev(of), (None, 0))(row, x)
    except RuntimeError:  # a layer that vmap cannot map
        leaf = row.detach().requires_grad_(True)
        with torch.enable_grad():
            values = backend.many(leaf[None], x)[0]
        each = [
            torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in values.flatten()
        ]
        J = torch.stack(each).reshape(*values.shape, -1)
    return {name: J[:, :, piece].detach() for name, piece in slices.items()}


def _products(
    left: Any, right: Any, outputs: str, names: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """The tile of each block's part of H."""
    if isinstance(left, dict):
        return {name: _meet(left[name], right[name], outputs) for name in names}
    found = {}
    for one, other in zip(left, right, strict=True):
        if one.weight not in names and one.bias not in names:
            continue
        inner = _meet(one.delta, other.delta, outputs)
        if one.bias is not None and one.bias in names:
            found[one.bias] = inner if one.beta == 1 else one.beta**2 * inner
        if one.weight in names:
            found[one.weight] = (one.a @ other.a.T).reshape(
                *inner.shape[:2], *[1] * (inner.dim() - 2)
            ) * inner
    return found


def _meet(u: torch.Tensor, v: torch.Tensor, outputs: str) -> torch.Tensor:
    """⟨u_ic, v_je⟩ of (n, K, q) and (n', K, q): all c and e, their trace, or c = e alone."""
    if outputs == "trace":
        return u.reshape(len(u), -1) @ v.reshape(len(v), -1).T
    if outputs == "diagonal":
        return torch.einsum("icq,jcq->ijc", u, v)
    flat = u.reshape(-1, u.shape[2]) @ v.reshape(-1, v.shape[2]).T
    return flat.reshape(len(u), u.shape[1], len(v), v.shape[1]).transpose(1, 2)
