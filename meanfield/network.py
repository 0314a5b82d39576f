"""Network: the map μ ↦ f_μ(x) = s ∫ a σ(⟨w, x⟩ + b) dμ(a, w, b), and which of a, w, b train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .formulas import activations
from .formulas.activations import Activation
from .scaling import MEAN_FIELD, Scaling

PARAMETERS = ("a", "w", "b")


@dataclass(frozen=True)
class Network:
    """A two-layer network as a functional of the measure μ of its neurons.

    Parameters
    ----------
    activation : σ, a name (relu leaky_relu tanh erf sigmoid softplus gelu sin square linear) or an
        mf.Activation.
    scaling : mf.MEAN_FIELD, mf.NTK or mf.Scaling(gamma, alpha).
    trainable : any subset of ("a", "w", "b"); frozen columns keep their initial values. "No bias"
        means b_std = 0 in the law and "b" not in trainable.

    Notes
    -----
    f(x) = s ∫ φ(θ; x) dμ(θ), φ(θ; x) = a σ(⟨w, x⟩ + b), θ = (a, w, b) ∈ R^(K + d + 1). THEORY.md,
    section 1.
    """

    activation: str | Activation = "relu"
    scaling: Scaling = MEAN_FIELD
    trainable: tuple[str, ...] = PARAMETERS

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activations.get(self.activation))
        if not isinstance(self.scaling, Scaling):
            raise TypeError(
                "scaling must be an mf.Scaling such as mf.MEAN_FIELD, mf.NTK or "
                f"mf.Scaling(gamma=0.75); got {self.scaling!r}."
            )
        if isinstance(self.trainable, str):
            advice = f"For one name use ({self.trainable!r},)."
            raise TypeError(
                'trainable must be a tuple such as ("a", "w"); got the string '
                f"{self.trainable!r}. {advice}"
            )
        names = tuple(self.trainable)
        unknown = [name for name in names if name not in PARAMETERS]
        if unknown or len(set(names)) != len(names):
            raise ValueError(
                f'trainable must be a subset of ("a", "w", "b") without repetition; got {names}.'
            )
        object.__setattr__(self, "trainable", tuple(name for name in PARAMETERS if name in names))

    def __repr__(self) -> str:
        scaling = f"gamma={self.scaling.gamma:g}, alpha={self.scaling.alpha:g}"
        return (
            f"Network({self.sigma.name!r}, {scaling}, trains "
            f"{', '.join(self.trainable) or 'nothing'})"
        )

    @property
    def sigma(self) -> Activation:
        """The Activation (the field `activation` after look-up)."""
        assert isinstance(self.activation, Activation)
        return self.activation

    def trainable_columns(self, dim: int, outputs: int) -> np.ndarray:
        """Boolean (p,): which columns of θ = [a | w | b] the flow moves."""
        return np.concatenate(
            [
                np.full(count, name in self.trainable)
                for name, count in zip(PARAMETERS, (outputs, dim, 1), strict=True)
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "activation": self.sigma.name,
            "scaling": self.scaling.to_dict(),
            "trainable": list(self.trainable),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], activation: Activation | None = None) -> Network:
        """The inverse of to_dict; a user-written activation must be handed in again."""
        name = data["activation"]
        if activation is not None and activation.name != name:
            raise ValueError(f"this network used the activation {name!r}; got {activation.name!r}.")
        return cls(activation or name, Scaling.from_dict(data["scaling"]), tuple(data["trainable"]))
