"""Network: the map μ ↦ f_μ(x) = s ∫ φ(θ; x) dμ(θ), φ = a σ(⟨w, x⟩ + b) unless a feature is given,
and what trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .checks import flag
from .features import protocol as features
from .features.protocol import FeatureMap
from .formulas import activations
from .formulas.activations import Activation
from .scaling import MEAN_FIELD, Scaling

PARAMETERS = ("a", "w", "b")


@dataclass(frozen=True)
class Network:
    """A network as a functional of the measure μ of its particles: two layers, or any feature φ.

    Parameters
    ----------
    activation : σ, a name (relu leaky_relu tanh erf sigmoid softplus gelu sin square linear) or an
        mf.Activation; or a feature, mf.Feature or mf.ModuleFeature, in place of a σ(⟨w, x⟩ + b).
    scaling : mf.MEAN_FIELD, mf.NTK or mf.Scaling(gamma, alpha).
    trainable : any subset of ("a", "w", "b"), of the blocks of a feature; all of them unless given.
        Frozen columns keep their initial values. "No bias" means b_std = 0 in the law and "b" not in
        trainable.
    centred : f - f_0 in place of f, f_0 the function at the start of the run, frozen: a state whose
        `start` is None stands at its own. So f = 0 there for any width and γ.

    Notes
    -----
    f(x) = s ∫ φ(θ; x) dμ(θ), φ(θ; x) = a σ(⟨w, x⟩ + b), θ = (a, w, b) ∈ R^(K + d + 1). THEORY.md,
    section 1.
    """

    activation: str | Activation | FeatureMap = "relu"
    scaling: Scaling = MEAN_FIELD
    trainable: tuple[str, ...] = None  # type: ignore[assignment]
    centred: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.activation, FeatureMap):
            object.__setattr__(self, "activation", activations.get(self.activation))
        object.__setattr__(self, "centred", flag("centred", self.centred))
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
        known = PARAMETERS if self.feature is None else self.feature.columns.names
        names = known if self.trainable is None else tuple(self.trainable)
        unknown = [name for name in names if name not in known]
        if unknown or len(set(names)) != len(names):
            wanted = ", ".join(f'"{name}"' for name in known)
            raise ValueError(
                f"trainable must be a subset of ({wanted}) without repetition; got {names}."
            )
        object.__setattr__(self, "trainable", tuple(name for name in known if name in names))

    def __repr__(self) -> str:
        scaling = f"gamma={self.scaling.gamma:g}, alpha={self.scaling.alpha:g}"
        return (
            f"Network({self.sigma.name!r}, {scaling}, trains "
            f"{', '.join(self.trainable) or 'nothing'}{', centred' * self.centred})"
        )

    @property
    def feature(self) -> FeatureMap | None:
        """φ, where particles are no neurons; else None."""
        return self.activation if isinstance(self.activation, FeatureMap) else None

    @property
    def home(self) -> str:
        """The backend that every machine has for it."""
        return "cpu" if self.feature is None else self.feature.devices[0]

    @property
    def sigma(self) -> Activation:
        """The Activation (the field `activation` after look-up). A feature stands in for one where a
        name and traits are asked: smooth, homogeneity, pair.
        """
        assert not isinstance(self.activation, str)
        return self.activation  # type: ignore[return-value]

    @property
    def formulas(self) -> tuple[Any, ...]:
        """The scalar functions that it computes with: σ and σ', or those of a feature."""
        if self.feature is not None:
            return self.feature.formulas
        return self.sigma.value, self.sigma.slope

    def trainable_columns(self, dim: int, outputs: int) -> np.ndarray:
        """Boolean (p,): which columns of θ, [a | w | b] or a feature's, the flow moves."""
        if self.feature is not None:
            return self.feature.columns.chosen(self.trainable)
        return np.concatenate(
            [
                np.full(count, name in self.trainable)
                for name, count in zip(PARAMETERS, (outputs, dim, 1), strict=True)
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        found = {
            "activation": self.sigma.name,
            "scaling": self.scaling.to_dict(),
            "trainable": list(self.trainable),
        }
        if self.feature is not None:
            found["feature"] = self.feature.to_dict()
        return found | ({"centred": True} if self.centred else {})

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], activation: Activation | FeatureMap | None = None
    ) -> Network:
        """The inverse of to_dict; a user-written activation or feature must be handed in again."""
        name = data["activation"]
        if "feature" in data and activation is None:
            activation = features.from_dict(data["feature"])
        elif "feature" in data:
            own = features.of_today(data["feature"])
            if getattr(activation, "to_dict", dict)() != own:
                raise ValueError(f"this network used the feature {name!r}; got {activation!r}.")
        elif activation is not None and activation.name != name:
            raise ValueError(f"this network used the activation {name!r}; got {activation.name!r}.")
        settings = Scaling.from_dict(data["scaling"]), tuple(data["trainable"])
        return cls(activation or name, *settings, data.get("centred", False))
