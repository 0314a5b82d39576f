"""MiniBatch: stochastic gradients, the velocity of some of the samples at each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from .. import noise
from ..checks import flag, integer
from ..once import cached_property
from ..particles import Particles
from ..state import State
from .drawn import DrawnField
from .of_risk import OfRisk
from .risk import EmpiricalRisk, RiskField


@dataclass(frozen=True, eq=False)
class MiniBatch(OfRisk):
    """A risk whose velocity is, at each step, that of `size` of its samples: stochastic gradient
    descent.

    Parameters
    ----------
    risk : the mf.EmpiricalRisk of all n samples.
    size : samples in a batch, 1 … n.
    seed : of the draws, 0 … 2³² - 1. They do not depend on the seed of the flow or of the start.
    replace : False: the samples come in the order of one random permutation after another, `size` of
        them at each step, so n consecutive draws, an epoch, have each sample once. Where size does not
        divide n, a batch takes the last samples of one permutation and the first of the next: all
        batches have one size and all samples one weight. True: each is drawn among all n.

    Raises
    ------
    TypeError, ValueError : for what is no mf.EmpiricalRisk, size < 1 or > n, a seed out of range.

    Notes
    -----
    With B the batch of a step and c the 1/n of the mean (1 for reduction="sum"),

        v_k = -s⁻¹ c (n/size) Σ_{i∈B} w_i ℓ'(f(x_i), y_i) ∇_θ φ(θ_k; x_i) - λ θ_k,

    whose mean over B is the full velocity, sample weights w included: a sample of weight 2 counts
    twice where it is drawn, and is drawn as often as any other. A step costs what its batch costs.
    An Euler step dt is torch.optim.SGD with rate dt·m/s² on the mean loss of the batch; size = n is
    the full step, bit for bit. At fixed t the deviation from the flow is of order √dt with
    replacement, dt without (Mei, Montanari, Nguyen 2018; Gürbüzbalaban, Ozdaglar, Parrilo 2021).

    What is measured (energy, risk, speed2, kernels, first variations) is that of all samples: each
    recorded frame costs two passes over the data, the start of a run one. `flow.velocity(state)` is
    that of the batch of step state.step. There is no energy_defect: F does not fall as |v|² says.

    Methods: mf.EULER, mf.HeavyBall, and those with noise. Runge–Kutta methods of
    higher order and error control want the same velocity at the same particles, and raise; so does
    dt="auto".

    Batches are a function of (seed, step): Philox, purpose noise.MINIBATCH; `rows(step)` gives
    them.
    """

    risk: EmpiricalRisk
    size: int
    seed: int = 0
    replace: bool = False

    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.risk, EmpiricalRisk):
            more = " Fresh samples against a teacher are mf.OnlineRisk(network, teacher)."
            raise TypeError(
                "risk must be an mf.EmpiricalRisk, whose samples are drawn; got "
                f"{type(self.risk).__name__}.{more}"
            )
        size = integer("size", self.size)
        if size > self.risk.n:
            raise ValueError(
                f"size must be at most n = {self.risk.n}, the samples there are; got {size}. "
                "With size = n each step is that of all samples."
            )
        noise.raw(self.seed, noise.MINIBATCH, 0, 0)  # raises for a seed that is none
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "replace", flag("replace", self.replace))

    def rows(self, step: int) -> np.ndarray:
        """The rows of x that step number `step` sees, (size,), in the order of x."""
        n, size = self.risk.n, self.size
        if self.replace:
            return np.sort(_among(n, self.seed, size, step))
        if size == n:
            return _all(n)

        epoch, first = divmod(step * size, n)
        rows = permutation(n, self.seed, epoch)[first : first + size]
        if len(rows) < size:
            rows = np.append(rows, permutation(n, self.seed, epoch + 1)[: size - len(rows)])
        return np.sort(rows)

    def describe(self, dt: float) -> str:
        n, steps = self.risk.n, self.risk.n / self.size
        how = "with replacement" if self.replace else "each sample once an epoch"
        epoch = f"n = {n} draws are {steps:.6g} steps, t = {steps * dt:.6g}"
        return f"mini-batches of {self.size}, {how} (seed {self.seed}): {epoch}; that rate is SGD's"

    def __repr__(self) -> str:
        replace = ", replace=True" if self.replace else ""
        return f"MiniBatch({self.risk}, size={self.size}, seed={self.seed}{replace})"

    def on(self, backend: Any, state: State) -> MiniBatchField:
        return MiniBatchField(self, backend, state)

    def to_dict(self) -> dict[str, Any]:
        draws = {"size": self.size, "seed": self.seed, "replace": self.replace}
        return {"kind": "MiniBatch", **draws, "risk": self.risk.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> MiniBatch:
        risk = EmpiricalRisk.from_dict(data["risk"], arrays)
        return cls(risk, data["size"], data["seed"], data["replace"])


@lru_cache(maxsize=4)  # the epoch of now and the next, of two runs
def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """0 … n-1 in the order of n random words of 64 bits: each order as likely as any other, up to
    n²/2⁶⁵.
    """
    order = np.argsort(_words(seed, n, epoch), kind="stable")
    order.flags.writeable = False
    return order


@lru_cache(maxsize=2)
def _all(n: int) -> np.ndarray:
    rows = np.arange(n)
    rows.flags.writeable = False
    return rows


def _among(n: int, seed: int, count: int, step: int) -> np.ndarray:
    """⌊n u⌋ of uniform u, count times: each of 0 … n-1 as likely as any other, up to n/2⁵³."""
    uniform = (_words(seed, count, step) >> np.uint64(11)) * 2.0**-53
    return np.minimum((uniform * n).astype(np.int64), n - 1)


def _words(seed: int, count: int, step: int) -> np.ndarray:
    """Random words of 64 bits, (count,)."""
    high, low = noise.raw(seed, noise.MINIBATCH, count, 2, step).astype(np.uint64).T
    return (high << np.uint64(32)) | low


class MiniBatchField(DrawnField):
    """The risk of a step's batch for the velocity, and that of all samples for what is measured,
    made when first asked for.
    """

    def __init__(self, functional: MiniBatch, backend: Any, state: State) -> None:
        super().__init__(functional.risk, backend, state)
        self.functional, self.state = functional, state
        self._rows: np.ndarray | None = None

    @cached_property
    def whole(self) -> RiskField:
        return self.functional.risk.on(self.backend, self.state)

    @property
    def samples(self) -> Any:
        """All inputs on the device."""
        return self.whole.samples

    def predictions(self, particles: Particles) -> np.ndarray:
        """f(x_i) on all training inputs: (n, K)."""
        return self.whole.predictions(particles)

    def _draw(self, step: int) -> None:
        risk, rows = self.functional.risk, self.functional.rows(step)
        if rows is self._rows:  # all of them
            return
        weights = None if risk.weights is None else risk.weights[rows]
        self.batch.hold(self.backend.samples(risk.x[rows]), risk.y[rows], weights)
        self._rows = rows
