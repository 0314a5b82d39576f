"""OnlineRisk: fresh samples at every step, against a teacher or any function of the input."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import noise
from ..backends.as_written import by_user
from ..checks import integer
from ..formulas import losses
from ..formulas.losses import Loss
from ..network import Network
from ..once import cached_property
from ..state import State
from .drawn import DrawnField
from .population import PopulationRisk
from .protocol import Functional
from .risk import EmpiricalRisk
from .samples import check_inputs

INPUTS = ("normal", "sphere")
TOLD_BY = 8  # inputs at which a file keeps the values of a user's function


@dataclass(frozen=True, eq=False)
class OnlineRisk(Functional):
    """R = E ℓ(f(x), f*(x)), with the velocity of `batch` fresh samples at each step: one-pass
    stochastic gradient descent.

    Parameters
    ----------
    network : the mf.Network that learns.
    target : f*. An mf.State is a teacher Σ_j p*_j a*_j σ(⟨w*_j, x⟩ + b*_j) with the network's own σ and
        no factor s, as in mf.PopulationRisk; (network, state) is a teacher network of its own σ and
        scaling; a function takes x (batch, d) and gives y (batch,) or (batch, K).
    dim : d, the components of a normal vector that an input is made of; a teacher says it by itself.
    inputs : "normal" x ~ N(0, I_d); "sphere" x uniform on |x| = 1; or a function of normals (batch, dim)
        that gives x (batch, d).
    batch : samples a step.
    seed : of the draws, 0 … 2³² - 1.
    loss, ridge : as in mf.EmpiricalRisk.

    Raises
    ------
    TypeError, ValueError : for a teacher of another dimension, a function whose values have another
        shape or are not finite, an unknown name, batch < 1, a seed out of range; before any work.

    Notes
    -----
    v_k = -s⁻¹ (1/batch) Σ_i ℓ'(f(x_i), f*(x_i)) ∇_θ φ(θ_k; x_i) - λ θ_k. An Euler step dt is SGD with rate
    dt·m/s²; at γ = 1 and dt = t/m one pass has as many samples as neurons, and deviates from the flow
    by O(m^(-1/2)) (Mei, Montanari, Nguyen 2018). Samples are a function of (seed, step) and of their
    number in the batch: Philox, purpose noise.MINIBATCH.

    F and R are known, and recorded, where mf.PopulationRisk has them in closed form: inputs
    "normal", the squared loss, a target State without biases, a network of one of its activations
    that trains no biases. A recorded frame then costs sums over all pairs of neurons. Elsewhere
    nothing is known of them; record a risk of your own, on samples of your own, by mf.Series.

    A file holds a teacher. No file holds a function: `mf.resume(path, flow=…)` wants it again, and
    compares its code and its values on the first samples. Methods as for mf.MiniBatch.
    """

    network: Network
    target: Any
    dim: int | None = None
    inputs: str | Callable[[np.ndarray], Any] = "normal"
    batch: int = 1
    seed: int = 0
    loss: str | Loss = "squared"
    ridge: float = 0.0

    devices: ClassVar[tuple[str, ...]] = EmpiricalRisk.devices
    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.network, Network):
            raise TypeError(f"network must be an mf.Network; got {type(self.network).__name__}.")
        if self.teacher is None and not callable(self.target):
            raise TypeError(
                "target must be an mf.State (a teacher), a pair (mf.Network, mf.State), "
                "or a function of x (batch, d); "
                f"got {self.target!r}."
            )
        if self.inputs not in INPUTS and not callable(self.inputs):
            raise ValueError(
                'inputs must be "normal", "sphere", or a function of normals (batch, '
                f"dim); got {self.inputs!r}."
            )
        object.__setattr__(self, "batch", integer("batch", self.batch))
        if self.network.centred or (
            self.teacher is not None and self.teacher[0].feature is not None
        ):
            raise ValueError(
                "an OnlineRisk is of a network that is not centred, and its teacher is one of "
                "neurons or a function of x."
            )
        object.__setattr__(self, "dim", self._checked_dim())
        loss = losses.get(self.loss)
        if self.teacher is not None and loss.labels != "real":
            raise ValueError(
                f"loss {loss.name!r} wants labels, and a teacher gives real numbers: make "
                "target a function of x that gives the "
                'labels, or take "squared" or "huber".'
            )
        object.__setattr__(self, "loss", loss)
        object.__setattr__(self, "ridge", self.like.ridge)
        object.__setattr__(self, "seed", int(self.seed))

    def _checked_dim(self) -> int:
        """The components of a normal; raises where a teacher has another dimension."""
        if self.dim is not None:
            dim = integer("dim", self.dim)
        elif self.teacher is not None:
            dim = self.teacher[1].dim
        else:
            raise ValueError("dim is missing: of a target that is a function, say the inputs' d.")
        if self.teacher is not None and self.inputs in INPUTS and dim != self.teacher[1].dim:
            raise ValueError(
                f"the teacher has d = {self.teacher[1].dim} inputs, and dim = {dim} was "
                "asked for: leave dim out."
            )
        return dim

    @property
    def teacher(self) -> tuple[Network, State, float] | None:
        """Its network, its state and the scale s*: f* = s* ∫ φ dμ*; None for a function."""
        if isinstance(self.target, State):
            network, state, scale = self.network, self.target, 1.0
        elif (
            isinstance(self.target, tuple)
            and len(self.target) == 2
            and isinstance(self.target[0], Network)
            and isinstance(self.target[1], State)
        ):
            network, state = self.target
            scale = network.scaling.output_scale(state.m)
        else:
            return None
        if state.outputs == 0:
            raise ValueError("the teacher has outputs = 0 (whole rows of θ): it is no network.")
        return network, state, scale

    @cached_property
    def like(self) -> EmpiricalRisk:
        """The risk of the first batch, of a teacher's with y = 0: the shapes and settings that all
        batches share.
        """
        x = self.drawn(0)
        if self.teacher is None:
            return EmpiricalRisk(self.network, x, self._answers(x), self.loss, ridge=self.ridge)
        state = self.teacher[1]
        if x.shape[1] != state.dim:
            raise ValueError(
                f"the teacher has d = {state.dim} inputs, and inputs gives x {x.shape}."
            )
        y = np.zeros((self.batch, state.outputs))
        return EmpiricalRisk(self.network, x, y, self.loss, ridge=self.ridge)

    @cached_property
    def population(self) -> PopulationRisk | None:
        """The same risk in closed form, where there is one."""
        closed = (
            self.inputs == "normal"
            and isinstance(self.target, State)
            and self.loss is losses.TABLE["squared"]
            and self.network.sigma.pair is not None
            and "b" not in self.network.trainable
            and not self.target.b.any()
        )
        return PopulationRisk(self.network, self.target, self.ridge) if closed else None

    @property
    def terms(self) -> tuple[str, ...]:  # type: ignore[override]
        return () if self.population is None else self.population.terms

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """A teacher: θ* (m*, p) and its masses."""
        if self.teacher is None:
            return {}
        names, state = PopulationRisk.arrays_of_teacher, self.teacher[1]
        return {names[0]: state.theta, names[1]: state.mass}

    @property
    def formulas(self) -> tuple[Callable, ...]:
        known = () if self.population is None else self.population.formulas
        return (self.like._loss.value, self.like._loss.slope, *known)

    @property
    def written(self) -> dict[str, tuple[Callable, list[tuple[Any, ...]]]]:
        """The functions of x and of normals, with the first of what they are given; a teacher's σ;
        a loss.
        """
        found: dict[str, tuple[Callable, list[tuple[Any, ...]]]] = {}
        if callable(self.inputs):
            found["the function inputs"] = self.inputs, [(self._normals(0)[:TOLD_BY],)]
        if self.teacher is None:
            found["the function target"] = self.target, [(self.drawn(0)[:TOLD_BY],)]
        elif by_user(self.teacher[0].sigma) and self.teacher[0].sigma is not self.network.sigma:
            found["the teacher's activation"] = self.teacher[0].sigma.value, []
        if self.loss not in losses.TABLE.values():
            found["the loss"] = self.like._loss.value, []
        return found

    def drawn(self, step: int) -> np.ndarray:
        """x of step number `step`, (batch, d)."""
        z = self._normals(step)
        if callable(self.inputs):
            d = self.like.dim if "like" in self.__dict__ else None
            x = check_inputs(self.inputs(z), d)
            if len(x) != self.batch:
                raise ValueError(
                    f"inputs must give ({self.batch}, d), a row a normal; got {x.shape}."
                )
            return x
        return z / np.sqrt((z * z).sum(axis=1, keepdims=True)) if self.inputs == "sphere" else z

    def _normals(self, step: int) -> np.ndarray:
        assert self.dim is not None
        return noise.normals(self.seed, noise.MINIBATCH, self.batch, self.dim, step)

    def _answers(self, x: np.ndarray) -> np.ndarray:
        """What the target function says of x, as the loss wants it."""
        return losses.check_labels(losses.get(self.loss), self.target(x.copy()), self.batch)

    def describe(self, dt: float) -> str:
        known = "" if self.population is None else "; R is that of mf.PopulationRisk"
        return f"fresh samples, {self.batch} a step (seed {self.seed}); that rate is SGD's{known}"

    def check_state(self, state: State) -> None:
        self.like.check_state(state)
        if self.population is not None and state.b.any():
            k = int(np.flatnonzero(state.b)[0])
            raise ValueError(
                "R of this OnlineRisk is that of mf.PopulationRisk, which has no biases, but the "
                f"state's neuron {k} has b = {state.b[k]:g}, frozen. Sample it with b_std = 0; or say the "
                "inputs by a function, inputs=lambda z: z, the same law: R is then not known, and biases may stay."
            )
        if self.population is not None:
            self.population.check_state(state)

    def __repr__(self) -> str:
        target = "a function" if self.teacher is None else f"teacher {self.teacher[1]}"
        inputs = self.inputs if isinstance(self.inputs, str) else "a function of normals"
        return (
            f"OnlineRisk({self.network}, {target}, {inputs}, batch={self.batch}, seed={self.seed})"
        )

    def on(self, backend: Any, state: State) -> OnlineField:
        return OnlineField(self, backend, state)

    def to_dict(self) -> dict[str, Any]:
        target: dict[str, Any] = {"kind": "function"}
        if self.teacher is not None:
            network, state, _ = self.teacher
            digest = hashlib.sha256(state.theta.tobytes() + state.mass.tobytes()).hexdigest()
            own = not isinstance(self.target, State)
            target = {
                "kind": "teacher",
                "network": network.to_dict() if own else None,
                "theta": list(state.theta.shape),
                "outputs": state.outputs,
                "sha256": digest,
            }
        return {
            "kind": "OnlineRisk", "network": self.network.to_dict(), "target": target, "dim": self.dim,
            "inputs": self.inputs if isinstance(self.inputs, str) else "function", "batch": self.batch,
            "seed": self.seed, "loss": self.like._loss.name, "ridge": self.ridge,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> OnlineRisk:
        about, network = data["target"], Network.from_dict(data["network"])
        for name, kind in (("target", about["kind"]), ("inputs", data["inputs"])):
            if kind == "function":
                raise ValueError(
                    f"the {name} of this OnlineRisk is a function that its user wrote."
                )
        theta, mass = (arrays[name] for name in PopulationRisk.arrays_of_teacher)
        state = State(theta, about["outputs"], mass)
        target = (Network.from_dict(about["network"]), state) if about["network"] else state
        settings = {
            name: data[name] for name in ("dim", "inputs", "batch", "seed", "loss", "ridge")
        }
        return cls(network, target, **settings)


class OnlineField(DrawnField):
    """The risk of a step's fresh samples for the velocity; the population risk, where it is known,
    for what is measured.
    """

    def __init__(self, functional: OnlineRisk, backend: Any, state: State) -> None:
        super().__init__(functional.like, backend, state)
        self.functional, self.state = functional, state

    @cached_property
    def whole(self) -> Any:
        population = self.functional.population
        return None if population is None else population.on(self.backend, self.state)

    @cached_property
    def _teacher(self) -> tuple[Any, Any, Any, float]:
        """(backend, θ*, m*·p*, s*)."""
        assert self.functional.teacher is not None
        network, state, scale = self.functional.teacher
        here: Any = self.backend.for_network(network)
        return here, here.upload(state.theta), here.weights(state.mass), scale

    def _check_answers(self, y: np.ndarray, step: int) -> None:
        """Raise for answers that do not fit the K outputs: kernels take them as they are."""
        K = self.backend.outputs
        if y.dtype.kind == "i" and y.max() >= K:
            raise ValueError(
                f"the target says class {int(y.max())} at step {step}, and the state has K = {K} outputs."
            )
        if y.dtype.kind != "i" and y.shape[1:] != (K,):
            raise ValueError(
                f"the target says y {y.shape} at step {step}, and the state has K = {K} outputs."
            )

    def _draw(self, step: int) -> None:
        x = self.functional.drawn(step)
        samples = self.backend.samples(x)
        if self.functional.teacher is None:
            y = self.functional._answers(x)
            self._check_answers(y, step)
        else:
            backend, theta, weight, scale = self._teacher
            y = scale * backend.download(backend.mean_feature(theta, weight, samples))
        self.batch.hold(samples, y, None)
