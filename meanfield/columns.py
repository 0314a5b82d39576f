"""Columns: what the p numbers of a particle are, in blocks with names and shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from .checks import integer
from .once import cached_property

Blocks = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Columns:
    """θ ∈ R^p as named blocks, each an array of its own shape, row after row; d inputs, K outputs.

    Parameters
    ----------
    blocks : (name, shape) of each, in the order of θ.
    dim, outputs : d of the inputs x and K of φ(θ; x), which p does not say.
    """

    blocks: Blocks
    dim: int
    outputs: int = 1

    @classmethod
    def of(cls, given: Any, dim: int, outputs: int = 1) -> Columns:
        """From {"u": 3, "V": (2, 3)}, or names of single numbers, ("u", "v"). ValueError or TypeError
        for what does not say the blocks."""
        if isinstance(given, Mapping):
            blocks = tuple((name, _shape(name, shape)) for name, shape in given.items())
        elif isinstance(given, Sequence) and not isinstance(given, str):
            blocks = tuple((name, ()) for name in given)
        else:
            raise TypeError(
                'columns must be names of single numbers, ("u", "v"), or {name: length}, '
                f'{{"u": 3, "v": 3}}; got {given!r}.'
            )
        names = [name for name, _ in blocks]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"columns need names that differ, one at least; got {names}.")
        if wrong := [name for name in names if not isinstance(name, str) or not name]:
            raise TypeError(f"a column needs a name that is a string; got {wrong[0]!r}.")
        return cls(blocks, integer("dim", dim), integer("outputs", outputs))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.blocks)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each block lies in θ."""
        ends = np.cumsum([0, *(math.prod(shape) for _, shape in self.blocks)]).tolist()
        return {
            name: slice(first, last)
            for name, first, last in zip(self.names, ends[:-1], ends[1:], strict=True)
        }

    @property
    def size(self) -> int:
        """p."""
        return sum(math.prod(shape) for _, shape in self.blocks)

    @property
    def labels(self) -> list[str]:
        """A name for each of the p columns: u for a single number, else u[0], V[1,2]."""
        found = []
        for name, shape in self.blocks:
            for index in product(*map(range, shape)):
                found.append(f"{name}[{','.join(map(str, index))}]" if index else name)
        return found

    def view(self, theta: np.ndarray, name: str) -> np.ndarray:
        """A block of θ (m, p): (m, *shape), no copy."""
        if name not in self.slices:
            raise KeyError(f"no columns {name!r}; there are {', '.join(self.names)}.")
        return theta[:, self.slices[name]].reshape(len(theta), *dict(self.blocks)[name])

    def chosen(self, names: Sequence[str]) -> np.ndarray:
        """Boolean (p,): the columns of these blocks."""
        found = np.zeros(self.size, dtype=bool)
        for name in names:
            found[self.slices[name]] = True
        return found

    def to_dict(self) -> dict[str, Any]:
        blocks = [[name, list(shape)] for name, shape in self.blocks]
        return {"blocks": blocks, "dim": self.dim, "outputs": self.outputs}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Columns:
        blocks = tuple((name, tuple(shape)) for name, shape in data["blocks"])
        return cls(blocks, data["dim"], data["outputs"])


def _shape(name: str, given: Any) -> tuple[int, ...]:
    sizes = given if isinstance(given, (tuple, list)) else (given,)
    return tuple(integer(f"the length of the columns {name!r}", size) for size in sizes)
