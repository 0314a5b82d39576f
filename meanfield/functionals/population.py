"""PopulationRisk: R = ½ E|f(x) - f*(x)|², x ~ N(0, I), in closed form: no samples, no noise.
THEORY.md, section 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import noise
from ..backends.protocol import Backend, PairSums
from ..checks import is_number
from ..formulas import activations
from ..network import Network
from ..once import cached_property
from ..particles import Particles
from ..state import State
from .protocol import Functional, NetworkField
from .risk import EmpiricalRisk

SAMPLES = 1024  # Gaussian inputs, and four times d, on which dt="auto" looks at the tangent kernel


@dataclass(frozen=True, eq=False)
class PopulationRisk(Functional):
    """R = ½ E|f - f*|² over x ~ N(0, I_d), summed over outputs, for the teacher f*(x) = Σ_j p*_j
    a*_j
    σ(⟨w*_j, x⟩).

    Parameters
    ----------
    network : activation relu, leaky_relu, erf, gelu, sin, square or linear, or an mf.Activation
        with a `pair`; trainable without "b", for there are no biases.
    teacher_state : an mf.State with b = 0, its masses the p*_j (so 1/m* unless given; no factor s).
    ridge : λ >= 0 adds (λ/2) ∫ |θ|² dμ over the trainable columns.

    Raises
    ------
    ValueError, TypeError : for activations without a closed form, biases and wrong shapes, before
        any work.

    Notes
    -----
    With the signed measure ν = Σ_k p_k a_k δ_{w_k} - s⁻¹ Σ_j p*_j a*_j δ_{w*_j} and K_σ(w, v) =
    E[σ(⟨w,x⟩)σ(⟨v,x⟩)],

        R/s² = ½ ∬ K_σ dν dν,   δF/δμ(θ) = a·∫ K_σ(w, v) dν(v) + r(θ),   v_k = -∇_θ of that at θ_k.

    One velocity is a sum over m (m + m*) pairs in O(m + m*) memory. Errors are relative to ∬|K dν
    dν|, not to R: in float64 about 1e-16, so R is resolved down to 1e-16 (E f² + E f*²) times the
    square of a large α. In float32 θ moves by float32 kernels, but R and F are computed in float64
    from it.

    dt="auto" takes λ_max of the tangent kernel's operator on 1024 + 4d fixed Gaussian samples
    (noise.normals, seed 0): within a few per cent of, or above, that under N(0, I). Deterministic,
    and a step that raises F is done again at half dt anyway. THEORY.md, section 4.
    """

    network: Network
    teacher_state: State
    ridge: float = 0.0

    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    terms: ClassVar[tuple[str, ...]] = ("energy", "risk", "regulariser")
    arrays_of_teacher: ClassVar[tuple[str, str]] = ("teacher", "teacher_mass")

    def __post_init__(self) -> None:
        if not isinstance(self.network, Network):
            raise TypeError(f"network must be an mf.Network; got {type(self.network).__name__}.")
        if not isinstance(self.teacher_state, State):
            raise TypeError(
                "teacher_state must be an mf.State, its rows [a* | w* | 0]; got "
                f"{type(self.teacher_state).__name__}. "
                "For a target that is no such network, draw samples and use "
                "mf.EmpiricalRisk(network, x, y)."
            )
        if self.network.centred:
            raise ValueError("a PopulationRisk knows no f_0: take a network that is not centred.")
        if self.network.sigma.pair is None:
            known = ", ".join(name for name, sigma in activations.TABLE.items() if sigma.pair)
            raise ValueError(
                "PopulationRisk needs E[σ(⟨w,x⟩)σ(⟨v,x⟩)] in closed form, which "
                f"{self.network.sigma.name!r} does not have here. "
                f"Use one of {known}; or draw x ~ N(0, I) and minimise "
                "mf.EmpiricalRisk(network, x, f*(x))."
            )
        if "b" in self.network.trainable:
            raise ValueError(
                'PopulationRisk has no biases, and the network trains "b": '
                "make it with "
                f"trainable={tuple(name for name in self.network.trainable if name != 'b')}."
            )
        if self.teacher_state.outputs == 0:
            raise ValueError(
                "the teacher has outputs = 0 (whole rows of a pairwise energy): it is no network."
            )
        self._refuse_biases("teacher", self.teacher_state)
        if not is_number(self.ridge) or not 0 <= self.ridge < np.inf:
            raise ValueError(f"ridge must be a finite number >= 0; got {self.ridge!r}.")
        object.__setattr__(self, "ridge", float(self.ridge))

    @staticmethod
    def _refuse_biases(who: str, state: State) -> None:
        if state.b.any():
            k = int(np.flatnonzero(state.b)[0])
            raise ValueError(
                f"PopulationRisk has no biases, but the {who}'s neuron {k} has b = {state.b[k]:g}. "
                "Sample it with b_std = 0, or put the bias into w and draw samples with "
                "a constant input for mf.EmpiricalRisk."
            )

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The teacher: θ* (m*, p) and its masses."""
        return dict(
            zip(
                self.arrays_of_teacher,
                (self.teacher_state.theta, self.teacher_state.mass),
                strict=True,
            )
        )

    @property
    def formulas(self) -> tuple[Callable, ...]:
        pair = self.network.sigma.pair
        assert pair is not None
        return pair.prepare, pair.pair, pair.finish, pair.linear

    def check_state(self, state: State) -> None:
        """Raise where the state's d or K is not the teacher's, or where it has biases."""
        if (state.dim, state.outputs) != (self.teacher_state.dim, self.teacher_state.outputs):
            raise ValueError(
                f"the particles have d = {state.dim} inputs and K = {state.outputs} "
                "outputs but the teacher has "
                f"d = {self.teacher_state.dim} and K = {self.teacher_state.outputs}."
            )
        self._refuse_biases("state", state)

    def __repr__(self) -> str:
        ridge = f", ridge={self.ridge:g}" if self.ridge else ""
        return f"PopulationRisk({self.network}, teacher {self.teacher_state}{ridge})"

    def on(self, backend: Backend, state: State) -> PopulationField:
        """This risk on a device, for particles of the shape of `state`."""
        return PopulationField(self, backend, state)

    def to_dict(self) -> dict[str, Any]:
        """Settings and the teacher's shape and hash; its arrays travel beside it."""
        digest = hashlib.sha256(
            self.teacher_state.theta.tobytes() + self.teacher_state.mass.tobytes()
        ).hexdigest()
        teacher = {
            "theta": list(self.teacher_state.theta.shape),
            "outputs": self.teacher_state.outputs,
            "sha256": digest,
        }
        return {
            "kind": "PopulationRisk",
            "network": self.network.to_dict(),
            "ridge": self.ridge,
            "teacher": teacher,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> PopulationRisk:
        theta, mass = (arrays[name] for name in cls.arrays_of_teacher)
        return cls(
            Network.from_dict(data["network"]),
            State(theta, data["teacher"]["outputs"], mass),
            data["ridge"],
        )


class PopulationField(NetworkField):
    """The risk bound to a device. In float64 F after a step and the next velocity share one sum
    over pairs.
    """

    def __init__(self, risk: PopulationRisk, backend: Backend, state: State) -> None:
        super().__init__(backend)
        self.risk, self.state = risk, state
        self.s = risk.network.scaling.output_scale(state.m)
        self.sums = _SignedMeasure(risk, backend.gaussian_pairs, self.s)

    @cached_property
    def exact(self) -> _SignedMeasure:
        """The same sums in float64: R is a small difference of large ones."""
        if self.backend.dtype == np.float64:
            return self.sums
        return _SignedMeasure(self.risk, self.backend.exact_gaussian_pairs, self.s)

    def value(self, particles: Particles) -> float:
        """R(f)."""
        return self.s**2 * self.exact.energy(particles)

    def regulariser(self, particles: Particles) -> float:
        """(λ/2) ∫ |θ|² dμ over trainable columns."""
        return 0.5 * self.risk.ridge * float(self._size2(particles))

    def energy(self, particles: Particles) -> float:
        """F_s = R/s² + (λ/2) ∫ |θ|² dμ."""
        size2 = self._size2(particles)
        energy = self.exact.energy(particles)  # brings size2, already started, to the host too
        return energy + 0.5 * self.risk.ridge * float(size2)

    def _size2(self, particles: Particles) -> Any:
        """∫ |θ|² dμ over trainable columns where there is a ridge: a number of the backend, which
        float() waits for.
        """
        if not self.risk.ridge:
            return 0.0
        weight = self.weight(particles)
        return self.backend.norm(particles.theta, weight, trainable_only=True)

    def _velocity(self, particles: Particles) -> Any:
        """v_k = -∇_θ (a_k·∫ K_σ(w_k, v) dν(v)) - λ θ_k on trainable columns: a device array (m, p)."""
        return self.sums.at(particles)[1]

    def potential(self, particles: Particles, at: Any = None) -> np.ndarray:
        """δF/δμ(θ_k) = a_k·∫ K_σ(w_k, v) dν(v) + (λ/2)|θ_k|²: (m,) on the host; of other neurons
        `at`, (q,).
        """
        K = self.backend.outputs
        points = self.backend.download(particles.theta if at is None else at)
        if at is not None:
            self.risk._refuse_biases("argument `at`", State(points, K))

        exact = self.exact
        if at is None:
            sums = exact.at(particles)[0]
        else:
            sums = exact.elsewhere(particles, at, len(points))[0]
        potential = exact.pairs.potentials(sums)

        host = points.astype(np.float64)
        columns = self.risk.network.trainable_columns(self.backend.dim, K)
        decay = 0.5 * self.risk.ridge * (host[:, columns] ** 2).sum(axis=1)
        return (host[:, :K] * potential).sum(axis=1) + decay

    def force(self, particles: Particles, at: Any) -> np.ndarray:
        """-∇ δF/δμ at other neurons `at`: (q, p) on the host."""
        points = self.backend.download(at)
        self.risk._refuse_biases("argument `at`", State(points, self.backend.outputs))
        return self.backend.download(self.sums.elsewhere(particles, at, len(points))[1])

    def rate(self, particles: Particles) -> float:
        """λ_max + λ: λ_max of the tangent kernel's operator on fixed samples of N(0, I), λ the
        ridge.
        """
        d = self.backend.dim
        x = noise.normals(0, noise.DATA, SAMPLES + 4 * d, d)
        y = np.zeros((len(x), self.backend.outputs))
        sampled = EmpiricalRisk(self.risk.network, x, y, ridge=self.risk.ridge)
        return sampled.on(self.backend, self.state).rate(particles)

    def compiled(self) -> bool:
        return self.sums.pairs.compiled()

    @property
    def stretched_by(self) -> Any:
        return self.sums.pairs


class _SignedMeasure:
    """ν = Σ_k p_k a_k δ_{w_k} - s⁻¹ Σ_j p*_j a*_j δ_{w*_j} on one device in one dtype, by the
    backend's sums over pairs.
    """

    def __init__(self, risk: PopulationRisk, pairs: PairSums, s: float) -> None:
        self.pairs, self.ridge = pairs, risk.ridge
        teacher = risk.teacher_state
        self.teacher = pairs.cloud(pairs.hold(teacher.theta), pairs.hold(-teacher.mass / s))
        self._mass: tuple[Any, Any] = (None, None)
        self._last: tuple[Any, Any, Any, tuple[Any, Any]] | None = None

    def at(self, particles: Particles) -> tuple[Any, Any]:
        """(∫ K_σ(w_k, v) dν(v) in float64, the velocity), both on the device."""
        return self._at(particles)[3]

    def elsewhere(self, particles: Particles, at: Any, count: int) -> tuple[Any, Any]:
        """The same at so many neurons `at`."""
        massless = self.pairs.hold(np.zeros(count))  # as sources they do not count
        targets = self.pairs.cloud(at, massless)
        return self.pairs.act(targets, (self.teacher, self._at(particles)[2]), self.ridge)

    def energy(self, particles: Particles) -> float:
        """½ ∬ K_σ dν dν."""
        _, _, cloud, (potential, _) = self._at(particles)
        of_teacher, _ = self.pairs.act(self.teacher, (self.teacher, cloud))
        student = self.pairs.pairing(cloud, potential)
        teacher = self.pairs.pairing(self.teacher, of_teacher)
        return 0.5 * (float(student) + float(teacher))

    def _at(self, particles: Particles) -> tuple[Any, Any, Any, tuple[Any, Any]]:
        last, theta, mass = self._last, particles.theta, particles.mass
        if last is None or last[0] is not theta or last[1] is not mass:
            if self._mass[0] is not mass:
                self._mass = mass, self.pairs.hold(mass)
            cloud = self.pairs.cloud(theta, self._mass[1])
            sums = self.pairs.act(cloud, (self.teacher, cloud), self.ridge)
            self._last = last = theta, mass, cloud, sums
        return last
