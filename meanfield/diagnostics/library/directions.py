"""Condensation of the input weights, as diagnostics: the formulas are those of
meanfield/diagnostics/library/condensation.py.
"""

from __future__ import annotations

import numpy as np

from ...particles import REPLACES
from ...state import State
from ..frame import Frame
from ..registry import register_diagnostic
from . import condensation


@register_diagnostic(unit="1", needs=("neurons", "equal masses"))
def relative_weight_change(frame: Frame) -> float:
    """‖v_t - v_0‖/‖v_0‖ in L2(μ), v_k = (w_k, b_k): RD(θ_w) of Luo et al. (2021); NaN where v_0 =
    0.
    """
    anything = frame.start.theta[:, frame.start.outputs :].any()
    return condensation.relative_change(frame.start, frame.state) if anything else float("nan")


@register_diagnostic(unit="neurons", needs=("neurons",))
def effective_neurons(frame: Frame) -> float:
    """1/Σ_k ρ_k², ρ_k the share of neuron k in Σ_k p_k |a_k||(w_k, b_k)|: how many neurons carry
    the output; NaN where none does. Copies that are still equal are one neuron where particles
    are killed and duplicated.
    """
    state = frame.state
    if REPLACES in frame.problem.traits:
        theta, copies = np.unique(state.theta, axis=0, return_inverse=True)
        mass = np.bincount(copies.ravel(), state.mass)
        state = State(theta, state.outputs, mass, columns=state.columns)
    return condensation.effective_neurons(state)


@register_diagnostic(unit="1", needs=("neurons",))
def direction_order(frame: Frame) -> float:
    """S = (D ∬⟨u, u'⟩² dρ dρ' - 1)/(D - 1), D = d + 1, of the directions u of (w, b): 0 isotropic,
    1 all on one line; NaN where no neuron has an amplitude.
    """
    return condensation.alignment(frame.state)


@register_diagnostic(unit="directions", needs=("neurons",))
def direction_clusters(frame: Frame, *, degrees: float = 10.0, share: float = 0.99) -> float:
    """How many cones of `degrees` around input directions hold `share` of the amplitude |a_k||(w_k,
    b_k)|, by leader clustering.
    """
    return float(len(condensation.clusters(frame.state, degrees, share).mass))
