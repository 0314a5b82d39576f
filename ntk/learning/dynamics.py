"""KernelFlow: training in function space with a frozen kernel, df/dt = -c K ℓ'(f, y), by eigenmodes
or by an ODE solver.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from meanfield.backends.cpu import losses as loss_kernels
from meanfield.checks import is_number
from meanfield.formulas import losses
from meanfield.formulas.losses import Loss
from meanfield.once import cached_property
from meanfield.tangent import as_matrix

from .matrices import Modes, columns, factor, one_kernel

RTOL, ATOL = 1e-8, 1e-10  # of the ODE solver; ATOL in units of f


class Prediction(NamedTuple):
    """f on the training and on the test inputs (None without K_test), in y's shape; an array of
    times leads with its axis.
    """

    train: np.ndarray
    test: np.ndarray | None


class KernelFlow:
    """The lazy limit: f on n training inputs and on test inputs under flow time t.

    Parameters
    ----------
    K : (n, n), one kernel for all outputs, or (n, n, C, C).
    y : (n,) or (n, C); for the loss "softmax" classes, (n,).
    f0 : f at the start, a number or of y's shape; for "softmax" (n, C), which says how many classes
        there are.
    K_test : h, (n_test, n) or (n_test, n, C, C).
    f0_test : a number, (n_test,) or (n_test, C).
    reduction : c = 1/n for "mean", 1 for "sum".
    loss : a name of meanfield's losses.
    tolerance : eigenvalues up to it count as zero; n·ε·λ_max unless given.

    Raises
    ------
    ValueError : for a K that is not square, symmetric, finite and positive semi-definite (with
        λ_min), and for shapes that do not match.

    Notes
    -----

        df_t/dt = -c K ℓ'(f_t, y),   df_t(x)/dt = -c h(x)ᵀ ℓ'(f_t, y)

    Squared loss, with K = VΛVᵀ:

        f_t - y = V e^{-cΛt} Vᵀ (f_0 - y)
        f_t(x) = f_0(x) + h(x)ᵀ V (1 - e^{-cΛt})/Λ Vᵀ (y - f_0)

    The component of f_0 - y in the null space of K stays, at t = ∞ too. THEORY.md, section 3.
    """

    def __init__(
        self, K: Any, y: Any, f0: Any = 0.0, K_test: Any = None, f0_test: Any = None,
        reduction: str = "mean", loss: str | Loss = "squared", tolerance: float | None = None,
    ) -> None:  # fmt: skip
        self.modes = Modes(K, tolerance=tolerance)
        self.kernel = kernel = self.modes.kernel
        self.loss, self.factor = losses.get(loss), factor(reduction, len(kernel))
        self.y = self._labels(y)
        self.shape = np.shape(f0) if self.loss.labels == "class" else np.shape(y)
        if np.ndim(f0) and np.shape(f0) != self.shape:
            raise ValueError(
                f"f0 must be a number or of y's shape {self.shape}; got {np.shape(f0)}."
            )
        if self.loss.labels == "class" and (len(self.shape) != 2 or self.y.max() >= self.shape[1]):
            raise ValueError(
                f"loss {self.loss.name!r} with classes 0 … {self.y.max()} needs f0 of "
                f"shape ({len(kernel)}, C), "
                f"C >= {max(2, self.y.max() + 1)}; got {self.shape}. Try np.zeros."
            )
        self.f0 = columns(f0 if np.ndim(f0) else np.full(self.shape, f0), kernel, "f0")
        self._start = np.zeros(0)
        if self._modal:
            self._start = self.modes.vectors.T @ (self.y.reshape(self.f0.shape) - self.f0)
        self._set_test(K_test, f0_test)

    @property
    def max_learning_rate(self) -> float:
        """2/(c L λ_max), L = sup ℓ'': finite steps of gradient descent diverge beyond it; ∞ for a
        kernel that vanishes.
        """
        rate = self.factor * self.loss.curvature * float(self.modes.values[-1])
        return 2.0 / rate if rate > 0 else math.inf

    def at(self, t: Any) -> Prediction:
        """f at flow time t >= 0: (train, test) in y's shape; an array t adds a leading axis.

        t = ∞ for the squared loss only. Other losses: LSODA to 1e-8; not for a slope that jumps
        (hinge), along which a flow slides: `after` takes finite steps.
        """
        times, axis = _times(t)
        if self._modal:
            return self._by_modes(-np.expm1(-self._exponents(times)), times, axis)
        return self._by_slopes(self._integrals(times), axis)

    def after(self, steps: Any, learning_rate: float) -> Prediction:
        """f after that many steps of gradient descent, f ← f - η c K ℓ'(f, y): Euler steps of flow
        time η.

        Squared loss: mode i is left with (1 - ηcλ_i)^steps. An array of steps adds a leading axis.
        The rate of the parameters is mf.Scaling.learning_rate(η, m).
        """
        counts = np.asarray(steps)
        if counts.ndim > 1 or counts.dtype.kind not in "iu" or (counts.size and counts.min() < 0):
            raise ValueError(
                f"steps must be an integer >= 0, or a one-dimensional array of them; got {steps!r}."
            )
        if not is_number(learning_rate) or not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a positive number; got {learning_rate!r}.")
        learning_rate = float(learning_rate)
        if not self._modal:
            return self._by_slopes(self._descents(counts.ravel(), learning_rate), counts.shape)
        x = learning_rate * self.factor * self.modes.values
        power = counts.reshape(-1, 1).astype(np.float64)
        # beyond max_learning_rate it diverges, and infinity is the answer
        with np.errstate(over="ignore"):
            grown = np.where(
                x < 0.5, -np.expm1(power * np.log1p(-np.minimum(x, 0.5))), 1.0 - (1.0 - x) ** power
            )
        return self._by_modes(grown, learning_rate * counts.ravel(), counts.shape)

    def risk(self, t: Any) -> Any:
        """R(f_t) = c Σ_i ℓ(f_t(x_i), y_i): a number, or one for each of an array of times.

        Squared loss: ½c Σ_i e^{-2cλ_i t} (v_iᵀ(f_0 - y))², whose digits do not end where f_t
        reaches y to rounding.
        """
        times, axis = _times(t)
        if self._modal:
            risks = (
                0.5
                * self.factor
                * (np.exp(-2.0 * self._exponents(times)) @ np.square(self._start).sum(axis=1))
            )
        else:
            f = self.at(times).train.reshape(len(times), len(self.kernel), -1)
            risks = self.factor * np.array(
                [loss_kernels.total(self.loss, row, self.y) for row in f]
            )
        return risks.reshape(axis) if axis else float(risks[0])

    @property
    def _modal(self) -> bool:
        return self.loss.name == "squared"

    def _exponents(self, times: np.ndarray) -> np.ndarray:
        """c λ t, (times, N): 0 in the null space, at t = ∞ too."""
        with np.errstate(invalid="ignore"):
            return np.where(
                self.modes.null, 0.0, np.multiply.outer(times, self.factor * self.modes.values)
            )

    def _by_modes(self, grown: np.ndarray, times: np.ndarray, axis: tuple[int, ...]) -> Prediction:
        """From the share by which each mode has grown from f_0 to y, (times, N)."""
        train = self.f0 + self.modes.vectors @ (grown[:, :, None] * self._start)
        if self._test is None:
            return self._shaped(train, None, axis)
        h, null = self._test_modes, self.modes.null
        # (1 - e^{-cλt})/λ, in the limit c t; but blocks of one kernel leave only rounding there,
        # which is not to be magnified.
        limit = self.factor * times if self._strays(h[:, null]) else np.zeros(times.shape)
        if np.isinf(limit).any():
            raise ValueError(
                "at t = ∞ the test predictions diverge: K_test has a component in the "
                "null space of K, so the two are not "
                "blocks of one positive semi-definite kernel. Ask for a finite t."
            )
        gain = np.where(null, limit[:, None], grown / np.where(null, 1.0, self.modes.values))
        return self._shaped(train, self._test[1] + h @ (gain[:, :, None] * self._start), axis)

    @cached_property
    def _test_modes(self) -> np.ndarray:
        """h(x)ᵀ V."""
        assert self._test is not None
        return self._test[0] @ self.modes.vectors

    def _strays(self, h: np.ndarray) -> bool:
        """Whether |hᵀv_0|² exceeds λ_0 λ_max(K_test,test), what blocks of one kernel allow where
        λ_0 is within the tolerance.
        """
        scale = float(self.modes.values[-1]) * max(1.0, len(h) / len(self.kernel))
        return bool(
            h.size
            and np.linalg.norm(h, axis=0).max() > 10.0 * math.sqrt(self.modes.tolerance * scale)
        )

    def _by_slopes(self, sums: np.ndarray, axis: tuple[int, ...]) -> Prediction:
        """From c ∫ ℓ'(f, y) dt, (times, N, columns): f = f_0 - K times that."""
        train = self.f0 - as_matrix(self.kernel) @ sums
        test = None if self._test is None else self._test[1] - self._test[0] @ sums
        return self._shaped(train, test, axis)

    def _slopes(self, sums: np.ndarray) -> np.ndarray:
        f = (self.f0 - as_matrix(self.kernel) @ sums.reshape(self.f0.shape)).reshape(
            len(self.kernel), -1
        )
        return self.factor * loss_kernels.slopes(self.loss, f, self.y)

    def _integrals(self, times: np.ndarray) -> np.ndarray:
        """c ∫_0^t ℓ'(f, y) by LSODA, (times, N, columns)."""
        if self.loss.curvature == 0:
            raise ValueError(
                f"the slope of {self.loss.name!r} jumps, and a flow slides along the "
                "jump: use .after(steps, learning_rate)."
            )
        if np.isinf(times).any():
            raise ValueError(
                f"t = ∞ is for the squared loss; with {self.loss.name!r} ask for a finite t."
            )
        from scipy.integrate import solve_ivp

        ends, place = np.unique(times, return_inverse=True)
        if not ends.size or ends[-1] == 0:
            return np.zeros((len(times), *self.f0.shape))
        solution = solve_ivp(
            lambda t, sums: self._slopes(sums).ravel(), (0.0, ends[-1]), np.zeros(self.f0.size), "LSODA", ends, rtol=RTOL,
            atol=ATOL / max(float(self.modes.values[-1]), np.finfo(float).tiny),
        )  # fmt: skip
        if not solution.success:
            raise ArithmeticError(
                f"the function-space flow stopped before t = {ends[-1]:g}: {solution.message}"
            )
        return solution.y.T[place].reshape(len(times), *self.f0.shape)

    def _descents(self, counts: np.ndarray, learning_rate: float) -> np.ndarray:
        """η c Σ_τ ℓ'(f_τ, y) over the first steps, (counts, N, columns)."""
        sums, found = np.zeros(self.f0.shape), np.zeros((len(counts), *self.f0.shape))
        for step in range(1, int(counts.max(initial=0)) + 1):
            sums = sums + learning_rate * self._slopes(sums).reshape(sums.shape)
            found[counts == step] = sums
        return found

    def _labels(self, y: Any) -> np.ndarray:
        if self.loss.labels != "class":
            y = columns(y, self.kernel, "y").reshape(np.shape(y))
        return losses.check_labels(self.loss, y, len(self.kernel))

    def _set_test(self, K_test: Any, f0_test: Any) -> None:
        self._test: tuple[np.ndarray, np.ndarray] | None = None
        self._n_test = 0
        if K_test is None:
            if f0_test is not None:
                raise ValueError(
                    "f0_test needs K_test, the kernel between the test and the training inputs."
                )
            return
        K_test = np.asarray(one_kernel(K_test, "K_test"), dtype=np.float64)
        if K_test.ndim != self.kernel.ndim or K_test.shape[1:] != self.kernel.shape[1:]:
            wanted = "(n_test, " + ", ".join(map(str, self.kernel.shape[1:])) + ")"
            turned = (
                " Transpose it." if K_test.ndim == 2 and K_test.shape[0] == len(self.kernel) else ""
            )
            raise ValueError(
                f"K_test must be {wanted}, test inputs by training inputs; got "
                f"{K_test.shape}.{turned}"
            )
        self._n_test = len(K_test)
        shape = (self._n_test, *self.shape[1:])
        f0 = np.asarray(0.0 if f0_test is None else f0_test, dtype=np.float64)
        if f0.ndim and f0.shape != shape:
            raise ValueError(f"f0_test must be a number or {shape}; got {f0.shape}.")
        if not (np.isfinite(K_test).all() and np.isfinite(f0).all()):
            raise ValueError("K_test or f0_test has NaN or infinite values.")
        matrix = as_matrix(K_test)
        self._test = matrix, np.broadcast_to(f0, shape).reshape(len(matrix), -1)

    def _shaped(
        self, train: np.ndarray, test: np.ndarray | None, axis: tuple[int, ...]
    ) -> Prediction:
        shaped = None if test is None else test.reshape(*axis, self._n_test, *self.shape[1:])
        return Prediction(train.reshape(*axis, *self.shape), shaped)


def _times(t: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """Flow times as (times,) and the axes they came with."""
    times = np.asarray(t)
    if times.ndim > 1 or times.dtype.kind not in "fiu" or not (times >= 0).all():
        raise ValueError(
            "t must be a flow time >= 0 (np.inf allowed), or a one-dimensional array of "
            f"them; got {t!r}."
        )
    return times.astype(np.float64).ravel(), times.shape
