"""ModuleFeature: a particle is a whole torch module, φ(θ; x) = module(x), θ all its parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from .. import noise
from ..checks import integer, is_integer
from ..columns import Columns
from ..state import State
from .protocol import FeatureMap

KINKED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardsigmoid,
          nn.Hardswish, nn.Threshold, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)  # fmt: skip
COUPLED = (nn.modules.batchnorm._BatchNorm,)
RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)


class Overflows(ValueError):
    """φ is not finite at the start."""


class ModuleFeature(FeatureMap):
    """f(x) = s ∫ module(x; θ) dμ(θ): of one particle a deep network, of many an ensemble.

    Parameters
    ----------
    module : a torch.nn.Module, whose architecture is taken and copied. It maps (n, …) to (n, K) or
        (n,), a sample at a time.
    inputs : the shape of one input, (3, 32, 32) say; x is (n, d), d = 3·32·32, and each row is
        reshaped. The in_features of the first linear layer unless given.
    smooth : False where ∇φ jumps; found from the layers (ReLU, max-pooling, …) unless given.

    Attributes
    ----------
    columns : a block for each parameter, by torch's name: state["0.weight"] is (m, *shape).

    Raises
    ------
    TypeError, ValueError : for what is no module; with batch norm, which makes the output of a
        sample depend on others; with dropout, whose output is random; where outputs of two calls
        differ, or a sample's with its neighbours; for parameters with requires_grad False: what
        trains is said by mf.Network(feature, trainable=(…)).

    Notes
    -----
    α in front of one module (m = 1) is the output scale of Chizat, Oyallon and Bach (2019). f and
    its flow are those of THEORY.md, section 1: one Euler step dt is gradient descent with rate dt·m/s² on all
    parameters of each module. GradientFlow(…, backend="torch"), "torch:cuda" or "torch:mps". No file
    holds the module: mf.resume(path, flow=…); of mf.deep it holds the settings, which are enough.

        feature = mf.ModuleFeature(nn.Sequential(nn.Linear(1, 100), nn.Tanh(), nn.Linear(100, 1)))
        network = mf.Network(feature, mf.NTK, centred=True)
        state = feature.sample(20, seed=0)
    """

    devices: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(
        self, module: Any, inputs: Sequence[int] | None = None, smooth: bool | None = None
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(f"module must be a torch.nn.Module; got {type(module).__name__}.")
        _refuse_frozen(module)
        self.architecture = copy.deepcopy(module).cpu().double().requires_grad_(False)
        self.name = type(module).__name__
        _refuse(self.architecture)
        self.inputs = self._inputs(inputs)
        kinked = any(isinstance(layer, KINKED) for layer in self.architecture.modules())
        self.smooth = not kinked if smooth is None else smooth
        blocks = tuple((name, tuple(p.shape)) for name, p in self.architecture.named_parameters())
        if not blocks:
            raise ValueError(f"the module {self.name} has no parameters: there is no θ.")
        dim = math.prod(self.inputs)
        self.columns = Columns(blocks, dim, 1)
        self.columns = Columns(blocks, dim, self._outputs())
        self.work = self._work()

    def __repr__(self) -> str:
        return f"ModuleFeature({self.name}, P = {self.columns.size})"

    def _inputs(self, given: Sequence[int] | None) -> tuple[int, ...]:
        if given is not None:
            sizes = (given,) if is_integer(given) else tuple(given)
            return tuple(integer("a size of inputs", size) for size in sizes)
        for layer in self.architecture.modules():
            if isinstance(layer, nn.Linear):
                return (layer.in_features,)
        raise ValueError(
            f"the module {self.name} does not say the shape of an input: write "
            "mf.ModuleFeature(module, inputs=(1, 28, 28))."
        )

    def _outputs(self) -> int:
        """K; raises where a sample's output is not a function of θ and that sample."""
        x = torch.cos(1.0 + 2.4 * torch.arange(3 * self.columns.dim, dtype=torch.float64))
        x, row = x.reshape(3, -1), self._row(self.architecture)
        try:
            found, again = self.phi(row, x), self.phi(row, x)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ValueError(
                f"the module {self.name} does not take inputs (n, {', '.join(map(str, self.inputs))}): "
                f"{error}. Say the shape of one input by inputs=."
            ) from error
        if not torch.isfinite(found).all():
            raise Overflows(
                f"what the module {self.name} gives is not finite with the parameters that it has: start it "
                "from smaller ones."
            )
        if not torch.equal(found, again):
            raise ValueError(
                f"two calls of the module {self.name} differ: φ must be no random one."
            )
        alone = torch.cat([self.phi(row, x[i : i + 1]) for i in range(3)])
        if not torch.allclose(found, alone, rtol=1e-9, atol=1e-12):
            raise ValueError(
                f"what the module {self.name} gives for a sample depends on the others of its "
                "batch: φ(θ; x) must be a function of one x."
            )
        return int(found.shape[1])

    def _work(self) -> int:
        """Numbers that one particle and one sample make on their way: outputs of all layers."""
        sizes = [self.columns.dim]
        hooks = [
            layer.register_forward_hook(lambda _, __, out: sizes.append(_numel(out)))
            for layer in self.architecture.modules()
        ]
        try:
            self.phi(
                self._row(self.architecture), torch.zeros(1, self.columns.dim, dtype=torch.float64)
            )
        finally:
            for hook in hooks:
                hook.remove()
        return sum(sizes)

    def phi(self, row: torch.Tensor, x: torch.Tensor, module: nn.Module | None = None) -> Any:
        """φ(θ; x): θ (P,), x (n, d) -> (n, K). module: the architecture on another device."""
        pieces = {
            name: row[piece].reshape(shape)
            for (name, shape), piece in zip(
                self.columns.blocks, self.columns.slices.values(), strict=True
            )
        }
        found = functional_call(module or self.architecture, pieces, (x.reshape(-1, *self.inputs),))
        return found.reshape(len(x), -1)

    def sample(self, m: int, seed: int = 0) -> State:
        """m modules, each with the module's own initialisation: module k depends on (seed, k) only.

        Raises
        ------
        ValueError : where a layer has parameters but no reset_parameters: feature.state([modules]).
        """
        m = integer("the width m", m)
        for name, layer in self.architecture.named_modules():
            own = [*layer.parameters(recurse=False)]
            if own and not hasattr(layer, "reset_parameters"):
                raise ValueError(
                    f"the layer {name or self.name!r} has parameters and no reset_parameters(), so no "
                    "initialisation is known: make the modules and pass feature.state([modules])."
                )
        words = noise.raw(seed, noise.INITIAL, m, 2).astype(np.uint64)
        fresh = copy.deepcopy(
            self.architecture
        ).float()  # torch's own numbers, those of its default dtype
        rows = []
        with torch.random.fork_rng(devices=[]):
            for low, high in words.tolist():
                torch.manual_seed(int(low) + (int(high) << 32) & (2**63 - 1))
                for layer in fresh.modules():
                    if hasattr(layer, "reset_parameters"):
                        layer.reset_parameters()
                rows.append(self._row(fresh).numpy())
        return self.state(np.array(rows, dtype=np.float64))

    def state(self, theta: Any, mass: Any = None) -> State:
        """An mf.State of modules of this architecture, [module, …], or of rows θ (m, P)."""
        if isinstance(theta, Sequence) and theta and isinstance(theta[0], nn.Module):
            for number, module in enumerate(theta):
                shapes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters())
                if shapes != self.columns.blocks:
                    raise ValueError(
                        f"module {number} has other parameters than the feature: "
                        f"{_first_difference(shapes, self.columns.blocks)}."
                    )
            theta = np.array([self._row(module).double().cpu().numpy() for module in theta])
        return super().state(theta, mass)

    def module(self, state: State, k: int) -> nn.Module:
        """Particle k as a module of its own, in the dtype of the state."""
        if not is_integer(k) or not -state.m <= k < state.m:
            raise IndexError(f"particle {k!r} was asked for; the state has {state.m}.")
        made = copy.deepcopy(self.architecture).to(torch.from_numpy(state.theta[:1].copy()).dtype)
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                parameter.copy_(torch.from_numpy(state[name][k].copy()))
        return made.requires_grad_(True)

    @staticmethod
    def _row(module: nn.Module) -> torch.Tensor:
        return torch.cat([p.detach().reshape(-1) for p in module.parameters()])

    def written(self, start: State) -> list[tuple[str, Callable, list[tuple[np.ndarray, ...]]]]:
        def value(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return self.phi(torch.from_numpy(theta), torch.from_numpy(x[None])).numpy().ravel()

        x = np.cos(1.0 + 2.4 * np.arange(2 * self.columns.dim)).reshape(2, -1)
        row = start.theta[0].astype(np.float64)
        return [(f"the module {self.name!r}", value, [(row, point) for point in x])]

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"inputs": list(self.inputs), "module": repr(self.architecture)}


def _refuse_frozen(module: nn.Module) -> None:
    """Raise for parameters that the user froze: θ is all of them, and the network says what trains."""
    trains = {name: p.requires_grad for name, p in module.named_parameters()}
    if not all(trains.values()):
        frozen = ", ".join(name for name, flag in trains.items() if not flag)
        names = tuple(name for name, flag in trains.items() if flag)
        raise ValueError(
            f"parameters of the module {type(module).__name__} have requires_grad False: {frozen}. "
            "A feature does not look at it. Call module.requires_grad_(True) and write "
            f"mf.Network(feature, trainable={names})."
        )


def _refuse(module: nn.Module) -> None:
    """Raise for layers that are no function of θ and one sample."""
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if isinstance(layer, COUPLED):
            raise ValueError(
                f"the layer {name!r} is a {kind}: what it gives for a sample depends on the others of "
                "its batch, and its running statistics are no part of θ. Take LayerNorm or GroupNorm."
            )
        if isinstance(layer, RANDOM) and getattr(layer, "p", 1) > 0:
            raise ValueError(
                f"the layer {name!r} is a {kind}: its output is random, no function of θ and x. "
                "Leave it out."
            )
        if any(nn.parameter.is_lazy(p) for p in layer.parameters(recurse=False)):
            raise ValueError(
                f"the layer {name!r} is a {kind} without shapes yet: call it once first."
            )


def _numel(out: Any) -> int:
    items = out if isinstance(out, (tuple, list)) else (out,)
    return sum(item.numel() for item in items if isinstance(item, torch.Tensor))


def _first_difference(found: tuple, wanted: tuple) -> str:
    for one, other in zip(found, wanted, strict=False):
        if one != other:
            return f"{one[0]} {one[1]} in the place of {other[0]} {other[1]}"
    return f"{len(found)} of them, not {len(wanted)}"
