"""mf.deep: fully connected networks by their widths, in a parametrisation and with a start that have
names.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..checks import flag, integer, is_integer, number
from ..columns import Columns
from ..formulas import activations
from ..formulas.activations import Activation
from ..state import State
from . import parametrisations, torch_activations
from .modules import ModuleFeature, Overflows
from .parametrisations import HEAD, Block


class Scaled(nn.Linear):
    """h = M_w w x + M_b b: a linear layer whose factors depend on its widths. kernels of its
    parameters know `factors`.
    """

    factors = (1.0, 1.0)
    stds = (1.0, 1.0)
    uniform = False

    def __init__(self, weight: Block, bias: Block | None, uniform: bool) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=bias is not None)
        both = [weight, bias or weight]
        self.factors = tuple(block.factor for block in both)  # type: ignore[assignment]
        self.stds = tuple(block.std for block in both)  # type: ignore[assignment]
        self.uniform = uniform
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for values, std in zip(self.parameters(), self.stds, strict=False):
            if self.uniform:
                nn.init.uniform_(values, -math.sqrt(3) * std, math.sqrt(3) * std)
            else:
                nn.init.normal_(values, 0.0, std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.factors[0] * functional.linear(x, self.weight)
        return h if self.bias is None else h + self.factors[1] * self.bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, factors={self.factors}, stds={self.stds}"


class Sigma(nn.Module):
    """An activation, by its name here."""

    def __init__(self, sigma: Activation, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.name, self.function = sigma.name, function

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.function(z)

    def extra_repr(self) -> str:
        return self.name


class DeepFeature(ModuleFeature):
    """What mf.deep gives: an mf.ModuleFeature whose layers say how they scale.

    Attributes
    ----------
    widths : of the hidden layers.
    blocks : weights and biases of every layer: name, shape, n, (a, b), factor, std.
    settings : what mf.deep was asked for, by name.
    """

    def __init__(self, module: nn.Module, sigma: Activation, blocks: Any, settings: Any) -> None:
        super().__init__(module, smooth=sigma.smooth)
        self.name = "deep"
        self.blocks: tuple[Block, ...] = tuple(blocks)
        self.widths: tuple[int, ...] = settings["widths"]
        self.settings: dict[str, Any] = settings
        self._sigma = sigma

    def __repr__(self) -> str:
        sizes = (self.columns.dim, *self.widths, self.columns.outputs)
        told = self.settings
        return (
            f"deep({' – '.join(map(str, sizes))}, {told['activation']}, {told['parametrisation']}, "
            f"{told['initialisation']}, P = {self.columns.size})"
        )

    def table(self) -> str:
        """Exponents and factors of each layer, as text: W = factor · w, entries of w with standard
        deviation std ~ n^(-b) at the start, factor ~ n^(-a), one rate for all of w (c = 0).

        The same training with plain layers W: the standard deviation factor · std at the start, and the
        learning rate of the layer times factor².
        """
        rows = [HEAD, *(block.row for block in self.blocks)]
        wide = [max(len(row[j]) for row in rows) for j in range(len(HEAD))]
        lines = [
            "  ".join(
                cell.ljust(wide[j]) if j < 2 else cell.rjust(wide[j]) for j, cell in enumerate(row)
            ).rstrip()
            for row in rows
        ]
        if self.settings["parametrisation"] == "mean-field" and len(self.widths) > 2:
            centred = self._sigma.value(0.0) == 0 and not self.settings["b_std"]
            what = "its velocity" if centred else "the velocities of all layers but the last two"
            lines.append(f"f_0 and {what} vanish as the widths grow: take mup for deep networks.")
        return "\n".join([repr(self), *lines])

    @property
    def limit(self) -> dict[str, Any]:
        """What ntk.deep is asked for this network at infinite width: ntk.deep(x, **feature.limit).

        Raises
        ------
        ValueError : but for parametrisation "ntk" with the standard initialisation, where alone kernel
            and law have the limit of that recursion.
        """
        told = self.settings
        if (told["parametrisation"], told["initialisation"]) != ("ntk", "standard"):
            raise ValueError(
                "ntk.deep is the limit of parametrisation 'ntk' with initialisation 'standard'; got "
                f"{told['parametrisation']!r}, {told['initialisation']!r}. LeCun's without biases is "
                "that of normalise=False with the inputs divided by √d."
            )
        names = ("activation", "w_std", "b_std", "readout_w_std", "readout_b_std", "normalise")
        return {"depth": len(self.widths), **{name: told[name] for name in names}}

    def written(self, start: State) -> list[Any]:
        return []  # a file has all that mf.deep was asked for

    def to_dict(self) -> dict[str, Any]:
        settings = self.settings | {"widths": list(self.widths)}
        return super().to_dict() | {"settings": settings}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DeepFeature:
        """The inverse of to_dict."""
        columns = Columns.from_dict(data["columns"])
        with torch.random.fork_rng(devices=[]):  # who reads a file has the random numbers as before
            made = deep(columns.dim, outputs=columns.outputs, **data["settings"])
        if made.columns != columns:
            raise ValueError(
                f"{made!r} has the parameters {made.columns.blocks}, and in the file they are "
                f"{columns.blocks}."
            )
        return made


def deep(
    dim: int, widths: Sequence[int], outputs: int = 1, *, activation: str | Activation = "relu",
    parametrisation: str = "ntk", initialisation: str = "standard", w_std: float = 1.0, b_std: float = 0.0,
    readout_w_std: float = 1.0, readout_b_std: float = 0.0, normalise: bool | None = None,
) -> DeepFeature:  # fmt: skip
    """A fully connected network as a particle: an mf.ModuleFeature whose widths may grow.

    Parameters
    ----------
    dim, widths, outputs : d, the widths n_1 … n_L of the hidden layers, K.
    activation : a name, or mf.leaky_relu(slope).
    parametrisation : "ntk", "mean-field" or "mup" (maximal update): see `.table()`.
    initialisation : the law of the weights, below; of which a parametrisation changes the size.
    w_std, b_std : v and β of the hidden layers; readout_w_std, readout_b_std those of the last. A β of
        0: no biases.
    normalise : whether c = 1/E[σ(z)²], z ~ N(0, 1), keeps the size of what passes a layer (2 of relu,
        He's); unless given, for "standard" alone.

    Returns
    -------
    A feature: feature.sample(1, seed) is a network, feature.sample(m, seed) an ensemble; its blocks are
    "layer1.weight", "layer1.bias", … "readout.weight". feature.table() prints the exponents,
    feature.limit is what ntk.deep wants. A file is enough to make it again: run.network.

    Raises
    ------
    ValueError, TypeError : for unknown names, widths below 1, scales that are no finite numbers >= 0.

    Notes
    -----
    In the parametrisation "ntk"

        h¹ = v W¹x + β b¹,   h^(l+1) = v √(c/n_l) W^(l+1) σ(h^l) + β b^(l+1)

    with the scales of the last layer for f = h^(L+1). "standard": all W and b standard normal, the
    network of ntk.deep and of THEORY.md, section 3. "lecun": W¹ divided by √d too, b = 0 at the start.
    "torch": the same with entries uniform on (-1, 1) and b uniform on (-n^(-1/2), n^(-1/2)), n the
    fan-in: f_0 has the law of nn.Linear layers (β = 1). With one hidden layer, normalise=False and no
    biases "ntk" is mf.Network at γ = 1/2, "mup" and "mean-field" at γ = 1, in the same flow time.
    Parametrisations: Jacot et al. (2018); Yang and Hu (2021); Hajjar, Chizat and Giraud (2021);
    meanfield/features/parametrisations.py.
    """
    sigma = activations.get(activation)
    function = torch_activations.of(sigma)
    if function is None:
        raise ValueError(
            f"mf.deep knows the activations {', '.join(torch_activations.ACTIVATIONS)} and "
            f"leaky_relu; got {sigma!r}. For another one pass mf.ModuleFeature a module with it."
        )
    if isinstance(widths, str) or not (is_integer(widths) or isinstance(widths, Iterable)):
        raise TypeError(f"widths are integers, those of the hidden layers; got {widths!r}.")
    given = (widths,) if is_integer(widths) else tuple(widths)
    if not given:
        raise ValueError("widths are those of the hidden layers, one at least: got none.")
    hidden = tuple(integer("a width", width) for width in given)
    sizes = (integer("dim", dim), *hidden, integer("outputs", outputs))
    v, beta, last_v, last_beta = (
        number(name, value)
        for name, value in (
            ("w_std", w_std), ("b_std", b_std),
            ("readout_w_std", readout_w_std), ("readout_b_std", readout_b_std),
        )
    )  # fmt: skip
    if normalise is not None:
        normalise = flag("normalise", normalise)
    gains = [*[v] * len(hidden), last_v]
    biases = [*[beta] * len(hidden), last_beta]
    blocks = parametrisations.blocks(
        sizes, parametrisation, initialisation, gains, biases, normalise, sigma
    )

    start = parametrisations.INITIALISATIONS[initialisation]
    named = {block.name: block for block in blocks}
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number_ in range(1, len(hidden) + 1):
        name = f"layer{number_}"
        layers[name] = Scaled(named[f"{name}.weight"], named.get(f"{name}.bias"), start.uniform)
        layers[f"sigma{number_}"] = Sigma(sigma, function)
    layers["readout"] = Scaled(named["readout.weight"], named.get("readout.bias"), start.uniform)
    settings = {
        "widths": hidden, "activation": sigma.name, "parametrisation": parametrisation,
        "initialisation": initialisation, "w_std": v, "b_std": beta, "readout_w_std": last_v,
        "readout_b_std": last_beta, "normalise": start.normalise if normalise is None else normalise,
    }  # fmt: skip
    try:
        return DeepFeature(nn.Sequential(layers), sigma, blocks, settings)
    except Overflows:
        raise ValueError(
            f"φ is not finite at the start with w_std = {w_std:g}, b_std = {b_std:g}, readout_w_std = "
            f"{readout_w_std:g}, readout_b_std = {readout_b_std:g}: take smaller scales."
        ) from None
