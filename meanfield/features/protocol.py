"""What a network asks of a feature φ(θ; x) that is not a neuron a σ(⟨w, x⟩ + b)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..columns import Columns
from ..state import State

# kind -> the module here that defines the class of that name, whose from_dict(settings) a file is
# enough for
OWN = {"DeepFeature": "deep"}
NAMES = {"DeepFeature": "deep"}  # files once had torch's name for its module, "Sequential"


def of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings in a file, with the name that such a feature has today."""
    return settings | {"name": NAMES.get(settings["kind"], settings["name"])}


def from_dict(settings: dict[str, Any]) -> FeatureMap:
    """The feature of to_dict; ValueError for one that its user wrote, ModuleNotFoundError without the
    torch that it wants.
    """
    kind, name = settings["kind"], settings["name"]
    if kind not in OWN:
        raise ValueError(f"no file holds the feature {name!r}, which its user wrote.")
    try:
        module = importlib.import_module(f".{OWN[kind]}", __package__)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the feature {name!r} wants {error.name}, which is not installed here: pip install "
            f"{error.name}."
        ) from error
    return getattr(module, kind).from_dict(settings)


class FeatureMap:
    """φ: R^p × R^d → R^K, a particle's share of f = s ∫ φ dμ. mf.Feature and mf.ModuleFeature are
    the kinds.

    A Network holds one in place of an activation, and whoever asks an activation whether it is
    `smooth`, homogeneous, or has a Gaussian `pair` gets an answer from it too.

    Attributes
    ----------
    name : in files and messages.
    columns : the blocks of θ, with d and K.
    smooth : whether ∇φ is continuous, so that integrators keep their order.
    devices : the backends that can compute it, the usual one first.
    """

    name: str
    columns: Columns
    smooth: bool = True
    devices: ClassVar[tuple[str, ...]]
    homogeneity: ClassVar[None] = None
    pair: ClassVar[None] = None
    formulas: tuple[Callable, ...] = ()  # scalar functions of its user's

    def state(self, theta: Any, mass: Any = None) -> State:
        """An mf.State of rows θ (m, p); of masses 1/m unless given."""
        return State(theta, mass=mass, columns=self.columns)

    def check_state(self, state: State, x: np.ndarray) -> None:
        """Raise where φ does not fit such particles and inputs x (n, d)."""
        if state.columns != self.columns:
            raise ValueError(
                f"the particles must have the columns {', '.join(self.columns.names)} of the "
                f"feature {self.name!r}; got {state!r}. Make them by feature.state(theta)."
            )

    def written(self, start: State) -> list[tuple[str, Callable, list[tuple[np.ndarray, ...]]]]:
        """(what, function, points to tell it by): what no file holds."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Settings, by which two features are told apart."""
        return {"kind": type(self).__name__, "name": self.name, "columns": self.columns.to_dict()}
