"""Runs on the population risk of a teacher, with and without help.

The flow of F(μ) = ½ E|f_μ - f*|² over all measures has no local minima of full support (Chizat and Bach 2018), but m neurons
are no full support: where δF/δμ is negative at a neuron that is not there, none of those that are goes there. A reaction
moves mass to where δF/δμ is low among the neurons; an injection adds the neuron where it is lowest of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import meanfield as mf

if TYPE_CHECKING:
    from . import Config

MODES = ("plain", "reaction", "injection")
NETWORK = mf.Network("relu", mf.MEAN_FIELD, trainable=("a", "w"))
TEACHERS = 1000  # the first seed of the teachers
STARTS = 16  # of the search for a neuron


def teacher(config: Config, count: int, seed: int) -> mf.State:
    """a* = ±1, |w*| = 1, masses 1/m*."""
    return mf.InitialLaw(dim=config.dim, w="sphere").sample(count, TEACHERS + seed)


def risks(config: Config, count: int, m: int, mode: str) -> dict[str, np.ndarray]:
    """R/R(f = 0) at the end, by seed: risk (seeds,)."""
    found = np.empty(config.seeds)
    for seed in range(config.seeds):
        risk = mf.PopulationRisk(NETWORK, teacher(config, count, seed))
        flow = mf.GradientFlow(risk, reaction=config.reaction if mode == "reaction" else 0.0)
        nothing = mf.State(np.zeros((1, config.dim + 2)))
        end = trained(config, flow, m, seed, config.injections if mode == "injection" else 0)
        found[seed] = flow.risk(end) / flow.risk(nothing)
    return {"risk": found}


def trained(config: Config, flow: mf.GradientFlow, m: int, seed: int, injections: int) -> mf.State:
    """The end of a run from m neurons, a = ±1 and |w| = 1, with so many more on the way, each of mass
    1/(m + 1).
    """
    state = mf.InitialLaw(dim=config.dim, w="sphere").sample(m, seed)
    for part in range(injections + 1):
        t_end = config.t_end * (part + 1) / (injections + 1)
        state = mf.simulate(flow, state, mf.HEUN, dt=config.dt, t_end=t_end, progress=False)
        if part < injections:
            state = mf.optimality(flow, state, starts=STARTS).inject(1.0 / (state.m + 1))
    return state
