"""A pairwise energy on the CPU: Σ_l p_l ∇_x U(x_k, x_l) and Σ_l p_l U(x_k, x_l) of all k in O(m²)
time and O(m) memory.

Up to ROWS_FROM coordinates formulas work on vectors of particles, from there on on rows of θ:
kernels/energies.py. Sums depend neither on threads nor on shards.

No fast-math flag, in the kernels or in the formulas, but one fma that is asked for: where products
may be contracted, a² + b² is fma(a, a, b²) or fma(b, b, a²) as it comes, and a kernel from the
cache had other bits than a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from ...once import cached_property
from .. import as_written, compile_errors, compiler
from .sharing import run

# coordinates from which formulas unrolled in registers spill more than they gain (measured: 24
# gains, 64 loses)
ROWS_FROM = 25


def nowhere(x):
    return 0.0


def nowhere_gradient(x, out):
    for j in range(x.size):
        out[j] = 0.0


Formulas = tuple[Callable[..., float], Callable[..., None]]  # value and gradient


def named(potential: Formulas | None, interaction: Formulas | None) -> dict[str, Callable]:
    """What a kernel's text calls by name."""
    used: dict[str, Callable] = dict(
        zip(("V", "grad_V"), potential or (nowhere, nowhere_gradient), strict=True)
    )
    return used | dict(zip(("U", "grad_U"), interaction, strict=True)) if interaction else used


@contextmanager
def explained(
    potential: Formulas | None, interaction: Formulas | None, dtype: Any
) -> Iterator[None]:
    """Say of formulas that do not compile what they must be."""
    try:
        yield
    except NumbaError as error:
        names = ", ".join(f.__name__ for f in (*(potential or ()), *(interaction or ())))
        raise TypeError(
            f"the formulas {names} do not compile for {dtype}: they are plain Python on "
            "the numbers of a row, x[0], x[1], … or a "
            "loop over range(x.size), with constants written as floats (2.0, not 2). "
            f"Compiler: {compile_errors.reason(error)}."
        ) from error


class PairEnergy:
    """The kernels of one potential (V, grad_V) or None, one interaction (U, grad_U) or None, p and
    dtype, on a CPU backend.
    """

    def __init__(
        self,
        backend: Any,
        potential: Formulas | None,
        interaction: Formulas | None,
        self_pairs: bool,
    ) -> None:
        self.backend = backend
        self.potential = potential
        self.interaction = interaction
        self.self_pairs = self_pairs
        self.rows = backend.dim >= ROWS_FROM
        self.unproved = {"velocity", "values"}

    def forget(self) -> None:
        """Compile the formulas again when they are used next."""
        self.__dict__.pop("kernels", None)

    def of_few(self, what: str, rows: np.ndarray) -> np.ndarray:
        """-∇V - Σ ∇U/m (m, p) or (V, Σ U/m) (m, 2) of some particles of equal masses, on the host."""
        weight = self.backend.weights(np.full(len(rows), 1.0 / len(rows)))
        if what == "velocity":
            return self.velocity(np.ascontiguousarray(rows), weight).astype(np.float64)
        return np.stack(self.values(np.ascontiguousarray(rows), weight), axis=1)

    @cached_property
    def kernels(self) -> Any:
        """The module of compiled kernels for these formulas."""
        dim = self.backend.dim
        return compiler.kernels(
            f"{__package__}.kernels.energies",
            self.backend.dtype.name,
            named(self.potential, self.interaction),
            D=dim,
            SELF_PAIRS=self.self_pairs,
        )

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on
        disk.
        """
        return compiler.is_compiled(self.kernel("velocity"))

    def kernel(self, name: str) -> Any:
        """That of "velocity" or "values"."""
        how = "alone" if self.interaction is None else "in_rows" if self.rows else "in_lanes"
        return getattr(self.kernels, f"{name}_{how}")

    def velocity(self, theta: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """-∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l): (m, p)."""
        out = self.backend.pool.take(theta.shape, theta.dtype)
        self.call("velocity", theta, weight, out)
        return out

    def values(self, theta: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """V(x_k) and Σ_l p_l U(x_k, x_l): (m,) float64 each."""
        alone, paired = np.empty((2, theta.shape[0]))
        self.call("values", theta, weight, alone, paired)
        return alone, paired

    def stretch(self, field: Any, particles: Any, tableau: Any, seconds: float) -> Any:
        """What makes many steps in one compiled call, or None where that would not be faster:
        stretched_pairs.py.
        """
        from . import stretched_pairs

        return stretched_pairs.of_energy(field, particles, tableau, seconds)

    def call(
        self, name: str, theta: np.ndarray, *arguments: np.ndarray, shards: range | None = None
    ) -> None:
        """A kernel on all particles, or on those of some shards, which all meet all."""
        if name in self.unproved:
            with explained(self.potential, self.interaction, theta.dtype):
                as_written.prove_pairs(self, name, theta)
        m, count = theta.shape[0], self.backend.shards(theta.shape[0])
        some = range(count) if shards is None else shards
        work = m * theta.size * len(some) // count if count > 1 else 0
        with explained(self.potential, self.interaction, theta.dtype):
            given = theta, *arguments, some.start, count
            run(self.kernel(name), len(some), work, *given)
