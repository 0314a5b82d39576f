"""The floor: W2 between two independent samples of one law is not 0. From the law, or from one
cloud, split in halves.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import noise
from ..checks import integer, is_integer, number
from ..initial import InitialLaw
from ..processes.threads import one_thread
from ..state import State
from . import exact
from .couplings import centred_pair, cloud, coupling_distance, root_mean_square, sorted_distance
from .solvers import simplex_seconds

PAIRS, MOST = 4, 16  # of samples, or of halves: at least, and where they cost little
LEAST = 8  # draws in a cloud that is split: its quarters have two
STEEPEST = 0.5  # exponent of m, that of p = 1
REACH = 0.1  # of the floor, and three errors: as near are two samples of one law


class Floor(NamedTuple):
    """How far apart two independent samples of m particles of one law are, by mf.w2_floor.

    Attributes
    ----------
    value : (E W2²)^½, in units of θ.
    error : its standard error.
    relative : value/rms|θ|.
    m : particles in a sample.
    method : where it comes from.
    """

    value: float
    error: float
    relative: float
    m: int
    method: str

    def __str__(self) -> str:
        return (
            f"two samples of one law at m = {self.m} are {self.value:.4g} ± {self.error:.1g} apart, "
            f"{self.relative:.3g} of rms |θ| ({self.method})"
        )

    def verdict(self, lower: float, upper: float) -> str:
        """What follows for two clouds of lower <= W2 <= upper."""
        width = REACH * self.value + 3.0 * self.error
        reach = self.value + width
        if upper < self.value - width:
            return (
                f"these two are nearer than the floor, which is too high at m = {self.m}: neurons "
                "trained together are no independent draws"
            )
        if upper <= reach:
            return "these two differ by the floor alone"
        if lower <= reach:
            return "whether they differ by more than the floor is not known: W2 is given by bounds"
        times = f", {lower / self.value:.3g} times it" if self.value > 0 else ""
        return f"these two differ by more than the floor{times}"


def w2_floor(
    p: Any,
    m: int | None = None,
    seed: int = 0,
    seconds: float = 2.0,
    together: int | None = None,
) -> Floor:
    """(E W2²(μ_m, ν_m))^½ of two independent samples of m particles of one law: what W2 is between
    two runs of different seeds that differ in nothing else.

    Parameters
    ----------
    p : an mf.InitialLaw, of which pairs of samples are drawn; or one cloud, an mf.State or an
        array, that is cut in halves and quarters at random.
    m : the width; of a cloud by default the number of its particles with mass.
    seed : of the samples, or of the cuts.
    seconds : for all solves, about; above it smaller samples stand for those of m.
    together : neighbours of a cloud that were drawn together: 2 of a symmetric start, by default
        where a State's `origin`, which runs keep, says so, else 1.

    Returns
    -------
    Floor(value, error, relative, m, method); print it.

    Raises
    ------
    ValueError, TypeError : for a law without m, a symmetric law with an odd m, fewer than 8
        particles with mass to cut, bad input.

    Notes
    -----
    It falls as m^(-1/max(4, p)) or so for p columns that vary, so hardly at all in many dimensions:
    relative to rms|θ| of normal points it is .38 and .27 at m = 500 and 2000 for p = 4, .91 and .83
    for p = 20, 1.13 and 1.09 for p = 60. Of uniform points on [0, 1] it is (3(m + 1))^(-½).

    Samples smaller than m are of two sizes, n and n/2, whose exponent is carried on to m: from
    halves, n = m/2, by one factor of 2. The error is that of the scatter over pairs and, of a
    cloud, of its draws, which all cuts share; the exponent itself falls slowly with m.

    A cloud with copies, of a run with jumps or resample, is no sample of a law: its halves share
    copies, and are nearer than two seeds are.

    Of a run's end, the halves have seen one f: the floor is that of neurons that are independent
    given f, and f differs by O(m^(-½)) from seed to seed (propagation of chaos). Of independent
    draws it has no bias to be seen from m = 16 on, ± 10 to 25 % there. Neurons trained together are
    no such draws: they make up one f together, so the halves are further apart than two ends. In 2
    to 4 columns it is 5 to 35 % above W2 of two ends at m = 16 and 32, and 10 to 15 % from m = 128
    on (symmetric starts still at 1024); in 12 columns 5 % at m = 32, and 1 % from 128 on.
    """
    if not is_integer(seed) or not 0 <= seed < 2**32 - 2 * MOST:
        raise ValueError(f"seed must be an integer in 0 … 2³² - {2 * MOST + 1}; got {seed!r}.")
    seconds = number("seconds", seconds)
    if isinstance(p, InitialLaw):
        if m is None:
            raise ValueError("m is missing: of a law, say how many particles a sample has.")
        m = integer("m", m)
        if p.symmetric and m % 2:
            raise ValueError(f"m must be even, a symmetric law draws pairs; got {m}. Use {m + 1}.")
        with one_thread():
            return _of_law(p, m, int(seed), seconds)

    theta, mass = cloud(p, "p")
    law = p.origin[0] if isinstance(p, State) and p.origin is not None else None
    if together is None:
        together = 2 if getattr(law, "symmetric", False) and len(theta) % 2 == 0 else 1
    together, given = integer("together", together), len(theta)
    if given % together == 0:  # a part without mass is no measure
        kept = np.repeat(mass.reshape(-1, together).any(axis=1), together)
        theta, mass = theta[kept], mass[kept]
    if len(theta) % together or len(theta) < LEAST * together:
        found = f"{given}" if len(theta) == given else f"{len(theta)} with mass among {given}"
        raise ValueError(
            f"a cloud needs {LEAST * together} particles or more, a multiple of {together}, to be cut in "
            f"quarters; got {found}. Of the law that it comes from, mf.w2_floor(law, m)."
        )
    m = len(theta) if m is None else integer("m", m)
    with one_thread():
        return _of_cloud(theta, mass, together, m, int(seed), seconds)


def floor_of_two(p: State, q: State, seconds: float) -> Floor | None:
    """What W2 of two states is where their neurons come from one law, each of its own m: the mean of
    their floors², as in one dimension. None for clouds too small to be cut.
    """
    try:
        first, second = (w2_floor(state, seconds=seconds / 2) for state in (p, q))
    except ValueError:
        return None
    value, relative = (
        math.sqrt(0.5 * (a * a + b * b))
        for a, b in ((first.value, second.value), (first.relative, second.relative))
    )
    error = 0.5 * math.hypot(first.error * first.value, second.error * second.value)
    error = error / value if value > 0 else 0.0
    return Floor(value, error, relative, min(p.m, q.m), first.method)


def _affordable(size: int, seconds: float) -> tuple[int, int]:
    """(particles, pairs) whose solves take so long; at least 32 and PAIRS."""
    while size >= 64 and PAIRS * simplex_seconds(size, size, 1) > seconds:
        size //= 2
    return size, int(min(max(PAIRS, seconds / simplex_seconds(size, size, 1)), MOST))


def _of_law(law: InitialLaw, m: int, seed: int, seconds: float) -> Floor:
    size, pairs = _affordable(m, seconds)
    size -= size % 2 if law.symmetric else 0

    def measured(count: int) -> np.ndarray:
        clouds = [law.sample(count, seed + k).theta for k in range(2 * pairs)]
        weight = np.full(count, 1.0 / count)
        return np.array([_squared(x, weight, y, weight) for x, y in zip(*[iter(clouds)] * 2)])  # noqa: B905

    at_size = measured(size)
    large = law.sample(size, seed)
    rms = root_mean_square(large.theta, large.mass)
    if size == m:
        return _floor(at_size, None, m, m, rms, f"{pairs} pairs of samples of the law")
    half = measured(size // 2 - (size // 2 % 2 if law.symmetric else 0))
    return _floor(at_size, half, size, m, rms, f"from samples of {size} and {size // 2}")


def _of_cloud(
    theta: np.ndarray, mass: np.ndarray, together: int, m: int, seed: int, seconds: float
) -> Floor:
    draws = len(theta) // together
    size, pairs = _affordable(draws // 2 * together, seconds)
    size //= together
    quarter = size // 2

    halves, quarters = [], []
    for cut in range(pairs):
        order = np.argsort(noise.normals(seed, noise.BOOTSTRAP, draws, 1, cut)[:, 0], kind="stable")
        rows = (order[:, None] * together + np.arange(together)).ravel()

        def apart(first: int, count: int, rows: np.ndarray = rows) -> float:
            p, q = (
                rows[(first + i) * together : (first + i + count) * together] for i in (0, count)
            )
            return _squared(theta[p], mass[p] / mass[p].sum(), theta[q], mass[q] / mass[q].sum())

        halves.append(apart(0, size))
        quarters.append((apart(0, quarter), apart(2 * quarter, quarter)))
    rms = root_mean_square(theta, mass)
    name = "halves" if size == draws // 2 else f"parts of {size * together}"
    return _floor(
        np.array(halves), np.array(quarters), size * together, m, rms, f"from {name} of the cloud"
    )


def _squared(x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray) -> float:
    """W2², exact."""
    pair = centred_pair(State.trusted(x, 0, a, 0, 0.0), State.trusted(y, 0, b, 0, 0.0))
    if pair.x.shape[1] == 1 and pair.uniform:
        return sorted_distance(pair) ** 2
    return coupling_distance(pair, exact.solve(pair).coupling) ** 2


def _floor(
    at_size: np.ndarray, at_half: np.ndarray | None, size: int, m: int, rms: float, method: str
) -> Floor:
    """From W2² at `size` and at half of it, carried on to m."""
    value, error = _root_mean(at_size)
    factor, steps = 1.0, 0.0
    smaller, its_error = (0.0, 0.0) if at_half is None else _root_mean(at_half.ravel())
    if value > 0 and smaller > 0:
        exponent = min(max(math.log2(smaller / value), 0.0), STEEPEST)
        steps = math.log2(m / size)
        factor = 2.0 ** (-exponent * steps)
        share = math.hypot((1.0 + steps) * error / value, steps * its_error / smaller)
        error = share * value
    if at_half is not None and at_half.ndim == 2:
        error = math.hypot(error, _of_draws(at_half) * value)
    value *= factor
    relative = value / rms if rms > 0 else math.nan
    return Floor(value, error * factor, relative, m, method)


def _of_draws(quarters: np.ndarray) -> float:
    """The relative error that all cuts of one cloud share, as they share its draws.

    quarters (cuts, 2): W2² of two pairs of quarters without a common draw. What a draw adds by
    itself cancels in the sum of the two, not in their difference, which has the variance that the
    sum has from cloud to cloud; how the draws are paired scatters both alike.
    """
    first, second = quarters.T
    shared = np.square(first - second).mean() - np.var(first + second, ddof=1)
    mean = quarters.mean()
    return 0.25 * math.sqrt(max(shared, 0.0)) / mean if mean > 0 else 0.0


def _root_mean(squares: np.ndarray) -> tuple[float, float]:
    """(mean)^½ of squared distances, and its standard error."""
    value = math.sqrt(squares.mean())
    error = float(squares.std(ddof=1)) / math.sqrt(len(squares))
    return value, error / (2.0 * value) if value > 0 else 0.0
