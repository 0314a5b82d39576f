"""Two cases with known answers, where nothing moves and F = ∫V dμ, V = x²/2, x ~ N(0, 1): how fast F
falls, and which particle is left.
"""

from __future__ import annotations

import numpy as np

from meanfield import noise
from meanfield.stepping.replacing import kill_and_duplicate, reweighted

# of particles whose death or doubling is the most probable: short steps, so that two events seldom
# meet
SHARE = 0.1
DIRAC = {5: 0.86, 20: 0.74, 100: 0.69}  # of 2·10⁴, 8000, 2000 runs in continuous time


def falls(m: int, seeds: int) -> dict[str, np.ndarray]:
    """ρt (times,), F of masses and of jumps (seeds, times)."""
    times = np.logspace(-1, 2, 25)
    starts = [heights(m, seed) for seed in range(seeds)]
    jumps = [of_jumps(start, times, seed) for seed, start in enumerate(starts)]
    return {
        "times": times,
        "masses": np.array([of_masses(start, times) for start in starts]),
        "jumps": np.array(jumps),
    }


def lowest(m: int, draws: int) -> dict[str, np.ndarray]:
    """Of so many runs, whether the lowest of m particles was left, (draws,)."""
    return {"lowest": np.array([lowest_is_left(m, seed) for seed in range(draws)])}


def heights(m: int, seed: int) -> np.ndarray:
    """V of m particles, (m,), the lowest first."""
    return np.sort(0.5 * noise.normals(seed, noise.INITIAL, m, 1)[:, 0] ** 2)


def of_masses(height: np.ndarray, times: np.ndarray) -> np.ndarray:
    """F at these ρt of masses p ∝ e^{-ρtV}: of the law itself ½/(1 + ρt)."""
    equal = np.full(len(height), 1.0 / len(height))
    return np.array([float((reweighted(equal, height, t) * height).sum()) for t in times])


def of_jumps(height: np.ndarray, times: np.ndarray, seed: int) -> np.ndarray:
    """F at these ρt under birth–death."""
    who, now, found, step = np.arange(len(height)), 0.0, [], 0
    for t in times:
        while now < t:
            who, c = _after(height, who, t - now, seed, step)
            now, step = now + c, step + 1
        found.append(float(height[who].mean()))
    return np.array(found)


def lowest_is_left(m: int, seed: int) -> bool:
    """Whether birth–death ends as m copies of the lowest of m particles."""
    height, who, step = heights(m, seed), np.arange(m), 0
    while (who != who[0]).any():
        who, _ = _after(height, who, np.inf, seed, step)
        step += 1
    return bool(who[0] == 0)


def _after(
    height: np.ndarray, who: np.ndarray, most: float, seed: int, step: int
) -> tuple[np.ndarray, float]:
    """Who is in each place after a step, and its length in ρt, `most` at most."""
    m = len(who)
    above = height[who] - height[who].mean()
    largest = float(np.abs(above).max())
    c = min(most, SHARE / largest) if largest > 0 else most
    expected = m * reweighted(np.full(m, 1.0 / m), above, c)
    u = noise.uniforms(seed, noise.REACTION, m, 2, step)
    return who[kill_and_duplicate(expected, u)], c
