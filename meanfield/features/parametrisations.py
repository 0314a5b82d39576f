"""How the weights of a deep network depend on its widths: parametrisations and initialisations as data.

A weight matrix is W = n^(-a) w, the entries of w start with standard deviation ~ n^(-b), and train at
the rate η n^(-c) (Yang and Hu 2021, their abc-parametrisations). Training is the same for (a + θ, b - θ,
c - 2θ) whatever θ, so each layer is written here with c = 0: the flow of the engine has one rate for
all of θ. What a layer's W feels is the rate η n^(-2a).

    ntk         Jacot et al. (2018): a = 0, 1/2 … 1/2, b = 0. Features move by n^(-1/2).
    mup         maximal update, Yang and Hu (2021): a = -1/2, 0 … 0, 1/2, b = 1/2. Every layer's
                features move by O(1), the most that is stable.
    mean-field  integrable, Hajjar, Chizat and Giraud (2021): usually a = 0, 1 … 1, b = 0 with the
                rates c = -1, -2 … -2, -1, which is mup with b = 1 in the layers between. With one
                hidden layer the two are one, that of mf.MEAN_FIELD. From three on f_0 and the velocities
                of all layers but the last two vanish as n → ∞, because centred weights average out;
                of these too where σ(0) = 0 and hidden layers have no biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import quad

from ..checks import hint
from ..formulas.activations import Activation


class Exponents(NamedTuple):
    """a and b of one kind of layer, at c = 0."""

    a: float
    b: float


@dataclass(frozen=True)
class Parametrisation:
    """The exponents of weights from the inputs, between hidden layers and to the outputs, and of the
    biases of hidden layers; those of the outputs have none.
    """

    first: Exponents
    between: Exponents
    last: Exponents
    bias: Exponents


@dataclass(frozen=True)
class Initialisation:
    """The law of W at the start in the parametrisation "ntk": gain/√(fan-in) times entries of a law.

    by_fan_in : whether the weights from the inputs are divided by √d; "standard" does not.
    spread, uniform : of the entries of w, N(0, spread²) or uniform with that standard deviation.
    bias : the standard deviation of a bias at the start, a function of the fan-in.
    normalise : whether c_σ = 1/E[σ(z)²] multiplies W² unless the user says so.
    """

    by_fan_in: bool
    spread: float
    uniform: bool
    bias: Any
    normalise: bool


PARAMETRISATIONS = {
    "ntk": Parametrisation(Exponents(0, 0), Exponents(0.5, 0), Exponents(0.5, 0), Exponents(0, 0)),
    "mean-field": Parametrisation(
        Exponents(-0.5, 0.5), Exponents(0, 1), Exponents(0.5, 0.5), Exponents(-0.5, 0.5)
    ),
    "mup": Parametrisation(
        Exponents(-0.5, 0.5), Exponents(0, 0.5), Exponents(0.5, 0.5), Exponents(-0.5, 0.5)
    ),
}
INITIALISATIONS = {
    "standard": Initialisation(False, 1.0, False, lambda fan_in: 1.0, True),
    "lecun": Initialisation(True, 1.0, False, lambda fan_in: 0.0, False),
    "torch": Initialisation(True, 3**-0.5, True, lambda fan_in: (3 * fan_in) ** -0.5, False),
}


@dataclass(frozen=True)
class Block:
    """Weights or biases of a layer: factor · w, entries of w of standard deviation std at the start.

    n : the width that the exponents are about: the fan-in, of the first layer and of biases the
        fan-out.
    """

    name: str
    shape: tuple[int, ...]
    n: int
    exponents: Exponents
    factor: float
    std: float

    @property
    def row(self) -> tuple[str, ...]:
        a, b = (_half(value) for value in self.exponents)
        numbers = (self.factor, self.std, self.factor * self.std, self.factor**2)
        shape = " × ".join(map(str, self.shape))
        return (self.name, shape, f"{self.n}", a, b, "0", *(f"{value:.4g}" for value in numbers))


HEAD = ("block", "shape", "n", "a", "b", "c", "factor", "std of w", "std of W", "rate of W")


def chosen(what: str, name: Any, known: dict[str, Any]) -> Any:
    """The entry of that name, or ValueError with the nearest."""
    if name not in known:
        near = hint(name, known) if isinstance(name, str) else ""
        raise ValueError(
            f"{what} must be one of {', '.join(map(repr, known))}; got {name!r}.{near}"
        )
    return known[name]


def blocks(
    sizes: Sequence[int], parametrisation: str, initialisation: str, gains: Sequence[float],
    bias: Sequence[float], normalise: bool | None, sigma: Activation,
) -> list[Block]:  # fmt: skip
    """Weights and biases of every layer, in the order of θ.

    sizes : d, the widths, K. gains, bias : v and β of each layer; no biases where β is 0.
    """
    exponents = chosen("parametrisation", parametrisation, PARAMETRISATIONS)
    start = chosen("initialisation", initialisation, INITIALISATIONS)
    normal = start.normalise if normalise is None else normalise
    c = 1.0 / second_moment(sigma) if normal else 1.0
    made = []
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        first, last = number == 0, number == len(sizes) - 2
        name = "readout" if last else f"layer{number + 1}"
        ab = exponents.first if first else exponents.last if last else exponents.between
        n = fan_out if first else fan_in
        size = gains[number] * (1.0 if first else math.sqrt(c))
        # "ntk" has the 1/√(fan-in) of hidden weights in n^(-a), the others take it from a or b
        if first and start.by_fan_in:
            size /= math.sqrt(fan_in)
        made.append(
            Block(
                f"{name}.weight", (fan_out, fan_in), n, ab, size * n**-ab.a, start.spread * n**-ab.b
            )
        )
        if bias[number]:
            ab = Exponents(0, 0) if last else exponents.bias
            factor, std = bias[number] * fan_out**-ab.a, start.bias(fan_in) * fan_out**-ab.b
            made.append(Block(f"{name}.bias", (fan_out,), fan_out, ab, factor, std))
    return made


def second_moment(sigma: Activation) -> float:
    """E[σ(z)²], z ~ N(0, 1), to 1e-12: on each side of a kink at 0."""

    def density(z: float) -> float:
        return sigma.value(z) ** 2 * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    found = sum(
        quad(density, *ends, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
        for ends in ((-12.0, 0.0), (0.0, 12.0))
    )
    if not (np.isfinite(found) and found > 0):
        raise ValueError(f"E[σ(z)²] of {sigma.name!r} is {found}: pass normalise=False.")
    return float(found)


def _half(value: float) -> str:
    return {0: "0", 1: "1", 0.5: "1/2", -0.5: "-1/2"}[value]
