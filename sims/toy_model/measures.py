"""The model with one weight of the lazy-training lesson, as a feature, and its runs.

    f(w) = (w x + w² x + sin e^{w/10}) (w - w_0),   x = 1.5, w_0 = .4, target y

αf starts at 0. Its tangent αf'(w_0)(w - w_0) reaches y at |w - w_0| = |y|/(α |f'|); the relative
change of the slope on that way is κ = |y| |f''|/(α f'²) (Chizat, Oyallon, Bach 2019, section 1;
TRUTHS.md, section 4).
"""

from __future__ import annotations

from math import cos, exp, sin
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

X, START, TARGET = 1.5, 0.4, 1.0
DATA = mf.data.Dataset(np.array([[X]]), np.array([TARGET]), name="one point")


def phi(theta, x):
    w = theta[0]
    return (w * x[0] + w * w * x[0] + sin(exp(0.1 * w))) * (w - 0.4)


def grad_phi(theta, x, out):
    w = theta[0]
    first = w * x[0] + w * w * x[0] + sin(exp(0.1 * w))
    slope = x[0] + 2.0 * w * x[0] + 0.1 * exp(0.1 * w) * cos(exp(0.1 * w))
    out[0] = slope * (w - 0.4) + first


FEATURE = mf.Feature(phi, grad_phi, columns=("w",))


def model(w: np.ndarray) -> np.ndarray:
    """f at weights w, of any shape."""
    return (w * X + w * w * X + np.sin(np.exp(0.1 * w))) * (w - START)


def slope() -> float:
    """f'(w_0): the second factor vanishes there."""
    return float(START * X + START**2 * X + np.sin(np.exp(0.1 * START)))


def root(alpha: float) -> float:
    """w - w_0 at the minimum of the loss next to the start, αf = y, by Brent's method."""
    found = optimize.brentq(lambda d: alpha * model(START + d) - TARGET, 0.0, 1.0, xtol=1e-15)
    return float(found)


def network(alpha: float) -> mf.Network:
    return mf.Network(FEATURE, mf.Scaling(1.0, alpha))


def flow(alpha: float) -> mf.GradientFlow:
    return mf.GradientFlow(mf.EmpiricalRisk(network(alpha), DATA.x, DATA.y))


def start() -> mf.State:
    return FEATURE.state([[START]])


def trained(config: Config) -> dict[str, np.ndarray]:
    """For each α the weight's way under gradient flow, moved, and κ at the start, (alphas,)."""
    moved, kappa = [], []
    for alpha in config.alphas:
        end = mf.simulate(
            flow(alpha), start(), mf.RK4, dt=config.dt, t_end=config.t_end, progress=False
        )
        moved.append(float(end.theta[0, 0]) - START)
        kappa.append(ntk.relative_scale(network(alpha), start(), DATA.x, DATA.y).kappa)
    return {"moved": np.array(moved), "kappa": np.array(kappa)}
