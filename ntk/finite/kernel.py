"""The kernel of a finite network at one time: H_t, the products H·v that never form it, and how two
kernels compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield import tangent
from meanfield.diagnostics.library import kernels
from meanfield.flow import GradientFlow
from meanfield.functionals.risk import EmpiricalRisk
from meanfield.functionals.samples import check_inputs
from meanfield.network import Network
from meanfield.particles import Particles
from meanfield.state import State

from ..learning.matrices import checked, one_kernel

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


def empirical(
    network: Network,
    state: State,
    x1: Any,
    x2: Any = None,
    parts: bool = False,
    dtype: str = "float64",
    outputs: str = "full",
) -> Any:
    """The tangent kernel of a state, over the trainable columns.

    Parameters
    ----------
    network, state : of finite width; masses are honoured.
    x1, x2 : (n1, d), (n2, d); x2 = None is x1.
    parts : return {"a": …, "w": …, "b": …}, the trainable ones, which sum to H; of a feature one
        for each of its blocks, each layer's weights and biases of a module.
    dtype : "float32" is twice as fast and good to about 1e-6 of the diagonal: for drifts and
        pictures, not for small eigenvalues.
    outputs : "full"; of K > 1, "trace" is Σ_c H_cc, (n1, n2), and "diagonal" the H_cc, (n1, n2, K).

    Returns
    -------
    H_t(x, x') = ∫ ∇_θφ(θ; x)·∇_θφ(θ; x') dμ_t, (n1, n2), of K > 1 outputs (n1, n2, K, K), float64,
    independent of γ and α. In terms of the Jacobian of f: H = (m/s²) J Jᵀ.

    Raises
    ------
    ValueError, TypeError : for wrong inputs, a state without outputs, a network with nothing to
        train.

    Notes
    -----
    THEORY.md, section 1.
    """
    _check(network, state)
    if outputs not in ("full", "trace", "diagonal"):
        raise ValueError(f'outputs must be "full", "trace" or "diagonal"; got {outputs!r}.')
    with np.errstate(over="ignore", invalid="ignore"):
        pieces = tangent.kernel_parts(network, state, x1, x2, dtype, outputs) if parts else {}
        whole = np.zeros(()) if parts else tangent.kernel(network, state, x1, x2, dtype, outputs)
    if not all(np.isfinite(part).all() for part in (whole, *pieces.values())):
        largest = max(
            float(np.abs(np.asarray(x)).max(initial=0.0)) for x in (x1, x2) if x is not None
        )
        raise ValueError(
            "the kernel overflows, or the state is not finite: inputs up to "
            f"{largest:.3g}, weights up to "
            f"{np.abs(state.theta).max(initial=0.0):.3g} in {dtype}; scale the inputs "
            "down to order 1 (standardise them)."
        )
    return pieces if parts else whole


def operator(
    network: Network, state: State, x: Any, backend: str | None = None, dtype: str = "float64"
) -> LinearOperator:
    """v -> H·v on x without forming H, for scipy.sparse.linalg.eigsh, cg and their like.

    Parameters
    ----------
    network, state, backend, dtype : as in `empirical` and mf.GradientFlow; None: the backend that
        every machine has for the network.
    x : (n, d).

    Returns
    -------
    A LinearOperator, (nK, nK), row i·K + c for output c of sample i: one pull-back and one
    push-forward of the engine, O(m n (d + K)) a product and O(m p + n) memory.
    """
    from scipy.sparse.linalg import LinearOperator

    _check(network, state)
    x = check_inputs(x, state.dim)
    n, K = len(x), state.outputs
    field = GradientFlow(
        EmpiricalRisk(network, x, np.zeros((n, K))), backend=backend or network.home, dtype=dtype
    ).on_device(state)
    particles = Particles.of(state, field.backend)

    def product(v: np.ndarray) -> np.ndarray:
        v = np.asarray(v, dtype=np.float64).reshape(n, K)
        return field.tangent_product(particles, v).ravel()

    return LinearOperator((n * K, n * K), matvec=product, rmatvec=product, dtype=np.float64)


def drift(H0: Any, Ht: Any) -> float:
    """‖H_t - H_0‖_F / ‖H_0‖_F: how far the kernel has moved; 0 in the lazy limit. Kernels of one
    shape.
    """
    return kernels.drift(*_pair(H0, Ht))


def cosine_distance(H0: Any, Ht: Any) -> float:
    """1 - ⟨H_0, H_t⟩_F/(‖H_0‖_F ‖H_t‖_F): the drift that no rescaling of H explains, in [0, 2], for
    kernels in [0, 1].

    Computed as ½‖H_0/‖H_0‖ - H_t/‖H_t‖‖², which keeps its digits where the two are close. Fort et
    al. (2020).
    """
    return kernels.cosine_distance(*_pair(H0, Ht))


def alignment(K: Any, y: Any, centred: bool = False) -> float:
    """How much of a kernel points along the labels: ⟨K, yyᵀ⟩_F/(‖K‖_F ‖yyᵀ‖_F) in [0, 1].

    Parameters
    ----------
    K : (n, n) with y (n,) or (n, C), or (n, n, C, C) with y (n, C).
    y : the labels.
    centred : K and y with their means over the samples taken out, CKC and Cy with C = I - 11ᵀ/n.

    Notes
    -----
    Cristianini et al. (2001); centred: Cortes, Mohri, Rostamizadeh (2012).
    """
    K, y = checked(K), np.asarray(y, dtype=np.float64)
    n = K.shape[0]
    if y.ndim not in (1, 2) or len(y) != n or (K.ndim == 4 and y.shape != (n, K.shape[2])):
        wanted = f"({n}, {K.shape[2]})" if K.ndim == 4 else f"({n},) or ({n}, C)"
        raise ValueError(f"y must be {wanted} beside a kernel {K.shape}; got {y.shape}.")
    if not np.isfinite(y).all():
        raise ValueError("y has NaN or infinite values.")
    value = kernels.alignment(K, y, centred)
    if np.isnan(value):
        raise ValueError(
            "the alignment of a kernel, or of labels, that vanish is not defined; "
            "constant labels vanish if centred."
        )
    return value


def effective_rank(K: Any) -> float:
    """exp(-Σ_i p_i log p_i), p_i = λ_i/tr K: from 1 (rank one) to n (a multiple of I). Roy and
    Vetterli (2007).

    Eigenvalues negative by rounding count as zero. Other texts mean (tr K)²/‖K‖_F² or tr K/λ_max,
    which lie below this one.
    """
    rank = kernels.effective_rank(checked(K))
    if np.isnan(rank):
        raise ValueError("the effective rank of a kernel that vanishes is not defined.")
    return rank


def _check(network: Any, state: Any) -> None:
    if not isinstance(network, Network):
        raise TypeError(f"network must be an mf.Network; got {type(network).__name__}.")
    if not isinstance(state, State):
        raise TypeError(
            f"state must be an mf.State; got {type(state).__name__}. For the infinite "
            "width use ntk.kernel."
        )


def _pair(H0: Any, Ht: Any) -> tuple[np.ndarray, np.ndarray]:
    H0, Ht = (
        np.asarray(one_kernel(H, name), dtype=np.float64) for name, H in (("H0", H0), ("Ht", Ht))
    )
    if H0.shape != Ht.shape or H0.ndim not in (2, 4):
        raise ValueError(
            "the two kernels must have one shape, (n1, n2) or (n1, n2, K, K); got "
            f"{H0.shape} and {Ht.shape}."
        )
    for name, H in (("first", H0), ("second", Ht)):
        if not np.isfinite(H).all():
            raise ValueError(f"the {name} kernel has NaN or infinite values.")
        if not H.any():
            raise ValueError(f"the {name} kernel vanishes: there is nothing to compare with.")
    return H0, Ht
