"""EmpiricalRisk: F_s(μ) = R(f_μ)/s² + (λ/2) ∫ |θ|² dμ on a data set; on a device: risk_field.py."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..backends.cpu import losses as loss_kernels
from ..backends.protocol import Backend
from ..checks import is_number
from ..data.dataset import Dataset
from ..formulas import losses
from ..formulas.losses import Loss
from ..network import Network
from ..state import State
from .protocol import Functional
from .risk_field import RiskField as RiskField
from .samples import check_inputs, check_orientation, sample_weights

REDUCTIONS = ("mean", "sum")
SEEN = 64  # samples that a feature is shown for its checks


@dataclass(frozen=True, eq=False)
class EmpiricalRisk(Functional):
    """R(f) = (1/n) Σ_i ℓ(f(x_i), y_i), summed over outputs; plus a ridge.

    Parameters
    ----------
    network : the mf.Network.
    x : inputs, (n, d).
    y : (n,) or (n, K); integer classes 0 … K-1, (n,), for softmax.
    loss : a name or an mf.Loss. squared ½(f-y)², huber (δ = 1), logistic log(1+e^{-yf}) and hinge
        max(0, 1-yf) with y = ±1, softmax -log p_y.
    reduction : "mean", or "sum", which drops the 1/n.
    ridge : λ >= 0 adds (λ/2) ∫ |θ|² dμ over the trainable columns.
    weights : w_i >= 0, (n,): R = Σ_i w_i ℓ_i / Σ_i w_i, without the division for "sum", so whole
        numbers are repetitions of rows. "balanced": n/(C n_c) for each label c of C, n_c times
        there; or {label: weight}. Kept as the array, or None.

    Raises
    ------
    ValueError, TypeError : for wrong shapes, dtypes, NaN and labels, before any work.

    Notes
    -----
    F_s = R/s² + (λ/2) ∫ |θ|² dμ. THEORY.md, section 1.
    """

    network: Network
    x: np.ndarray
    y: np.ndarray = None  # type: ignore[assignment]  # not optional: its absence is explained below
    loss: str | Loss = "squared"
    reduction: str = "mean"
    ridge: float = 0.0
    weights: Any = None

    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "torch")
    terms: ClassVar[tuple[str, ...]] = ("energy", "risk", "regulariser")

    def __post_init__(self) -> None:
        if not isinstance(self.network, Network):
            raise TypeError(f"network must be an mf.Network; got {type(self.network).__name__}.")
        if isinstance(self.x, Dataset):
            raise TypeError(
                "x is a whole data set: write mf.EmpiricalRisk(network, data.x, data.y)."
            )
        if self.y is None:
            raise TypeError(
                "y is missing: write mf.EmpiricalRisk(network, x, y); of a data set, "
                "mf.EmpiricalRisk(network, data.x, data.y)."
            )
        loss = losses.get(self.loss)
        x = check_inputs(self.x)
        if x.shape[0] == 0:
            raise ValueError("x has no rows: the data set is empty.")
        if self.reduction not in REDUCTIONS:
            raise ValueError(f'reduction must be "mean" or "sum"; got {self.reduction!r}.')
        if not is_number(self.ridge) or not 0 <= self.ridge < np.inf:
            raise ValueError(f"ridge must be a finite number >= 0; got {self.ridge!r}.")
        check_orientation(x, self.y)
        y = losses.check_labels(loss, self.y, x.shape[0])
        weights = None if self.weights is None else sample_weights(self.weights, y)
        for array in (x, y) if weights is None else (x, y, weights):
            array.flags.writeable = False
        for name, value in (
            ("loss", loss),
            ("x", x),
            ("y", y),
            ("ridge", float(self.ridge)),
            ("weights", weights),
        ):
            object.__setattr__(self, name, value)

    @property
    def samples(self) -> EmpiricalRisk:
        return self

    @property
    def n(self) -> int:
        return self.x.shape[0]

    @property
    def dim(self) -> int:
        return self.x.shape[1]

    @property
    def factor(self) -> float:
        """1/n (1/Σw with weights) for the mean, 1 for the sum."""
        if self.reduction == "sum":
            return 1.0
        return 1.0 / self.n if self.weights is None else 1.0 / float(self.weights.sum())

    @property
    def curvature(self) -> float:
        """sup ℓ'' of the loss, which bounds the step of an explicit method."""
        return self._loss.curvature

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """x (n, d) and y, of one output as (n,); weights (n,) where there are any."""
        arrays = {
            "x": self.x,
            "y": self.y[:, 0] if self.y.ndim == 2 and self.y.shape[1] == 1 else self.y,
        }
        return arrays if self.weights is None else arrays | {"weights": self.weights}

    @property
    def formulas(self) -> tuple[Callable, ...]:
        return self._loss.value, self._loss.slope

    @property
    def _loss(self) -> Loss:
        assert isinstance(self.loss, Loss)
        return self.loss

    def value(self, predictions: np.ndarray) -> float:
        """R at predictions (n, K)."""
        return self.factor * loss_kernels.total(
            self._loss, predictions, self.y, weights=self.weights
        )

    def slopes(self, predictions: np.ndarray) -> np.ndarray:
        """∂R/∂f(x_i): (n, K)."""
        return self.factor * loss_kernels.slopes(
            self._loss, predictions, self.y, weights=self.weights
        )

    def refuse_weights(self, what: str) -> None:
        """Raise where there are weights, for what is about the kernel H and not W^½HW^½."""
        if self.weights is not None:
            raise ValueError(
                f"{what} takes the tangent kernel H for what drives the flow; with sample "
                "weights W that is W^½HW^½, which it "
                "does not know. Train without weights=, or repeat rows of x and y where "
                "the weights are whole numbers."
            )

    def _outputs_meant(self, state: State) -> str:
        """Of a theta of the user's own whose columns fit with another K, how to say that K."""
        outputs = state.theta.shape[1] - self.dim - 1
        if state.origin is not None or outputs < 1 or outputs == state.outputs:
            return ""
        return f" If theta has {outputs} columns of a, it is mf.State(theta, outputs={outputs})."

    def check_state(self, state: State) -> None:
        """Raise where the state's d or K does not fit the data, or its columns the feature."""
        if self.network.feature is None and state.columns is not None:
            raise ValueError(
                f"the network has neurons {self.network.sigma.name!r}, and the particles the columns "
                f"{', '.join(state.columns.names)} of a feature: write mf.Network(feature, …)."
            )
        if self.network.feature is not None:
            self.network.feature.check_state(state, self.x[:SEEN])
        if state.columns is not None and state.dim != self.dim:
            raise ValueError(
                f"the feature {self.network.sigma.name!r} is of d = {state.dim} inputs (its dim), but "
                f"x is (n, {self.dim})."
            )
        if state.outputs == 0 or state.dim != self.dim:
            raise ValueError(
                f"the particles live in d = {state.dim} input dimensions (theta "
                f"{state.theta.shape}, K = {state.outputs}) but "
                f"x is (n, {self.dim}). Sample them from mf.InitialLaw(dim={self.dim}, "
                "outputs=…) or pass the matching x."
                + (
                    f" Or is x {self.x.shape} one column a sample, (d, n)? Then pass x.T."
                    if state.dim == self.n
                    else ""
                )
                + self._outputs_meant(state)
            )
        if self._loss.labels == "class":
            if state.outputs < 2 or self.y.max() >= state.outputs:
                least, most = int(self.y.min()), int(self.y.max())
                counted = least > 0 and most - least < state.outputs
                raise ValueError(
                    f"loss {self._loss.name!r} with classes 0 … {most} needs outputs K >= "
                    f"{max(2, most + 1)}; "
                    f"the state has K = {state.outputs}."
                    + (
                        f" The labels run from {least} to {most}: counted from 0 they are "
                        f"y - {least}."
                        if counted
                        else ""
                    )
                )
        elif self.y.shape[1] != state.outputs:
            raise ValueError(
                f"y has {self.y.shape[1]} output(s) a sample but the state has K = {state.outputs}."
            )

    def __repr__(self) -> str:
        ridge = f", ridge={self.ridge:g}" if self.ridge else ""
        size = f"n={self.n}, d={self.dim}, {self._loss.name}, {self.reduction}{ridge}"
        return f"EmpiricalRisk({self.network}, {size})"

    def on(self, backend: Backend, state: State) -> RiskField:
        """This risk on a device, for particles of the shape of `state`."""
        return RiskField(self, backend, state)

    def to_dict(self) -> dict[str, Any]:
        """Settings and the data's shape and hash; the arrays themselves travel beside it."""
        digest = hashlib.sha256(self.x.tobytes() + self.y.tobytes()).hexdigest()
        kept = self.weights
        weights = (
            {}
            if kept is None
            else {"weights": {"sha256": hashlib.sha256(kept.tobytes()).hexdigest()}}
        )
        data = {
            "x": list(self.x.shape),
            "y": list(self.y.shape),
            "y_dtype": str(self.y.dtype),
            "sha256": digest,
        }
        return {
            "kind": "EmpiricalRisk", "network": self.network.to_dict(), "loss": self._loss.name,
            "reduction": self.reduction, "ridge": self.ridge, "data": data,
        } | weights  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> EmpiricalRisk:
        settings = data["loss"], data["reduction"], data["ridge"]
        weights = arrays["weights"] if "weights" in data else None
        return cls(Network.from_dict(data["network"]), arrays["x"], arrays["y"], *settings, weights)
