"""GradientFlow: the Wasserstein gradient flow of a functional, dθ_k/dt = -∇ δF/δμ(θ_k)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import backends
from .backends.centred import Centred
from .checks import as_array, flag, is_integer, is_number
from .functionals import protocol
from .functionals.samples import check_inputs
from .particles import Particles
from .processes.ranks import ALONE, Ranks
from .state import State
from .temperature import Temperature

# settings that a file names where they are not off
_OF_REACTION = ("jumps", "resample", "jitter")


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The flow of F_s = R/s² + ∫ r dμ, or of ∫V dμ + ½∬U dμdμ, on particles.

        dθ_k = -∇ δF/δμ(θ_k) dt + √(2T) dB_k,  dp_k = -ρ p_k (δF/δμ(θ_k) - ∫ δF/δμ dμ) dt

    Parameters
    ----------
    functional : what it descends: mf.EmpiricalRisk, mf.PopulationRisk, mf.PairwiseEnergy, or
        another such as ntk.linearise(…).risk(…).
    temperature : T >= 0: a number, breakpoints [(t, T), …] with straight lines between them, or a
        function of the flow time. T > 0 is mean-field Langevin, the flow of F_s + T ∫ log μ dμ; it
        wants a method with noise such as mf.EULER_MARUYAMA. The noise moves the trainable columns
        of θ; T does not depend on m, γ or α.
    reaction : ρ >= 0, in units of 1/(F t): the Wasserstein–Fisher–Rao flow, in which mass goes where
        the landscape is low. With any deterministic method of fixed dt or dt="auto"
        (stepping/reaction.py). T = 0.
    backend : "cpu", "cuda", "torch", also "torch:cuda" and "torch:mps", or "auto", which becomes
        "cuda" where a GPU and the functional's kernels for it can be used and "cpu" elsewhere, and
        "torch" for an mf.ModuleFeature.
    dtype : "float64" or "float32".
    seed : of what a method or a functional draws.
    jumps : whether the reaction kills and duplicates particles of equal masses, in place of moving
        masses: birth–death. run.ancestors reads the genealogy from the file.
    resample : in [0, 1): masses are made equal by systematic resampling where the effective sample
        size 1/Σp² falls below this share of m. 0: never.
    jitter : standard deviation of a normal shift of the trainable columns of each copy. 0: none. Not
        with mf.Sphere.

    Notes
    -----
    Mathematics only: `simulate` marches and watches. What the methods take and give is NumPy on the
    host. Energies are without the entropy: F_s alone; the
    diagnostic free_energy has it estimated. THEORY.md, sections 1 and 5. Mei, Montanari,
    Nguyen (2018), A mean field view of the landscape of two-layer neural networks, PNAS 115; Hu, Ren,
    Šiška, Szpruch (2021), Mean-field Langevin dynamics and energy landscape of neural networks,
    Annales de l'Institut Henri Poincaré 57.
    """

    functional: Any  # a table.Functional
    temperature: Any = 0.0
    reaction: float = 0.0
    backend: str = "cpu"
    dtype: str = "float64"
    seed: int = 0
    jumps: bool = False
    resample: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.functional, protocol.Functional):
            raise TypeError(
                "functional must be an mf.EmpiricalRisk, an mf.PopulationRisk or an "
                "mf.PairwiseEnergy; got "
                f"{type(self.functional).__name__}. One of your own derives from mf.Functional."
            )
        object.__setattr__(self, "temperature", Temperature.of(self.temperature).given)
        self._check_reaction()
        if not (is_integer(self.seed) and 0 <= self.seed < 2**32):
            raise ValueError(f"seed must be an integer in 0 … 2³² - 1; got {self.seed!r}.")
        object.__setattr__(self, "dtype", backends.dtype_name(self.dtype))
        object.__setattr__(self, "backend", backends.check(self.backend, self._devices()))

    def _check_reaction(self) -> None:
        for name, least in (("reaction", "a rate >= 0"), ("jitter", "a length >= 0")):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value < np.inf):
                raise ValueError(f"{name} must be {least}, finite; got {value!r}.")
            object.__setattr__(self, name, float(value))
        if not (is_number(self.resample) and 0 <= self.resample < 1):
            raise ValueError(
                "resample must be a share of m in [0, 1), below which the effective sample size does "
                f"not fall; got {self.resample!r}."
            )
        object.__setattr__(self, "resample", float(self.resample))
        object.__setattr__(self, "jumps", flag("jumps", self.jumps))
        if not self.reaction and (self.jumps or self.resample or self.jitter):
            raise ValueError(
                "jumps, resample and jitter are about the reaction, whose rate is 0: pass reaction=ρ, "
                "a number > 0, or leave them out."
            )
        if self.jumps and self.resample:
            raise ValueError(
                "resample is about masses that move, and with jumps they are equal: leave one out."
            )
        if self.jitter and not (self.jumps or self.resample):
            raise ValueError(
                "jitter moves copies, and without jumps or resample there are none: pass one of them."
            )

    def _devices(self) -> tuple[str, ...]:
        """The backends that have both the functional's kernels and those of its network."""
        known, of = self.functional.devices, type(self.functional).__name__
        feature = None if self.network is None else self.network.feature
        if feature is not None:
            common = tuple(name for name in feature.devices if name in known)
            if not common:
                raise ValueError(
                    f"a {of} has kernels for {' and '.join(known)} alone, and {feature!r} for "
                    f"{' and '.join(feature.devices)}: there is no backend for both."
                )
            known, of = common, repr(feature)
        name = self.backend.split(":")[0]
        if name in ("cpu", "cuda", "torch") and name not in known:
            only = {("cpu",): "for the CPU only", ("torch",): "by torch only"}
            where = only.get(known, f"for {' and '.join(known)}")
            raise ValueError(
                f'backend="{self.backend}" was asked for, but {of} has kernels {where}: '
                f'use backend="{known[0]}".'
            )
        return known

    def __repr__(self) -> str:
        more = "".join(f", {item}" for item in beyond_default(self.to_dict()))
        return f"GradientFlow({self.functional}{more}, {self.backend}, {self.dtype})"

    @property
    def network(self) -> Any:
        """The network of the functional; None for an energy of whole rows of θ."""
        return self.functional.network

    def on_device(self, state: State, ranks: Ranks = ALONE) -> Any:
        """The flow bound to its device, for particles of the shape of `state`: what a method steps.

        ranks: the processes that share the particles.
        """
        self.functional.check_state(state)
        network = self.network
        backend = backends.make(self.backend, network, state.dim, state.outputs, self.dtype)
        backend = backends.shared(backend, ranks, state.m)
        if network is not None and network.centred:
            backend = Centred(backend, state.start or state)
        field = self.functional.on(backend, state)
        field.temperature = Temperature.of(self.temperature)
        field.reaction, field.seed = self.reaction, self.seed
        return field

    def _uploaded(self, state: State) -> tuple[Any, Particles]:
        """The field and the particles of a state, on the device."""
        field = self.on_device(state)
        return field, Particles.of(state, field.backend)

    def predict(self, state: State, x: Any = None) -> np.ndarray:
        """f(x) = s ∫ φ(θ; x) dμ: (n, K), at the training inputs or at x (n, d)."""
        self._needs_network("predicts nothing")
        if x is None and "x" not in self.functional.arrays:
            raise ValueError(
                f"a {type(self.functional).__name__} has no training inputs: write "
                "flow.predict(state, x)."
            )
        field, particles = self._uploaded(state)
        if x is None:
            return field.predictions(particles)
        x = check_inputs(x, state.dim)
        if x.shape[0] == 0:
            raise ValueError("x has no rows: there is nothing to predict.")
        backend, weight = field.backend, field.weight(particles)
        features = backend.mean_feature(particles.theta, weight, backend.samples(x))
        return field.s * backend.download(features)

    def risk(self, state: State) -> float:
        """R(f_μ)."""
        self._needs_network("has no risk")
        field, particles = self._uploaded(state)
        return field.value(particles)

    def energy(self, state: State) -> float:
        """F_s(μ) = R/s² + ∫ r dμ, without T ∫ log μ dμ."""
        field, particles = self._uploaded(state)
        return field.energy(particles)

    def first_variation(self, state: State, at: Any = None) -> np.ndarray:
        """δF/δμ(θ; μ), the height of the landscape that a neuron feels, at the state's neurons (m,)
        or at others (q,).

            of a network   s⁻¹ Σ_i ∂R/∂f(x_i)·φ(θ; x_i) + (λ/2)|θ|² over the trainable columns, with the weights of the samples
            of pairs       V(θ) + ∫ U(θ, y) dμ(y)

        F((1 - ε)μ + ε δ_θ) = F(μ) + ε [δF/δμ(θ) - ∫ δF/δμ dμ] + O(ε²) at γ = 1. THEORY.md, sections
        1 and 4.

        Parameters
        ----------
        state : μ, from which f and its slopes come.
        at : None for the neurons of the state; or others, θ (q, p) or an mf.State, whose masses do not count. self_pairs=False is
            about particles of the state: at `at` all of them count, which is infinite where U is singular and θ is one of them.
            A linearised network expands a neuron that is not in it at θ itself, φ(θ; x): of its own it knows where each began.

        Raises
        ------
        ValueError, TypeError : for `at` of another shape than (q, p), NaN; for biases where a functional has none.
        """
        points = None if at is None else _points(at, state)
        field, particles = self._uploaded(state)
        at = None if points is None else field.backend.upload(points)
        return field.potential(particles, at)

    def velocity(self, state: State, at: Any = None) -> np.ndarray:
        """v(θ) = -∇ δF/δμ(θ; μ), zero on frozen columns: at the state's neurons (m, p), or at others
        (q, p), `at` as in first_variation.

        Of samples drawn for the step it is that of the batch at the state's own neurons, and that of
        F at others.
        """
        points = None if at is None else _points(at, state)
        field, particles = self._uploaded(state)
        if points is None:
            return field.backend.download(field.velocity(particles))
        return field.force(particles, field.backend.upload(points))

    def _needs_network(self, lacks: str) -> None:
        if self.network is None:
            kind = type(self.functional).__name__
            raise ValueError(
                f"a {kind} has no network, so it {lacks}. What it minimises is flow.energy(state)."
            )

    def to_dict(self) -> dict[str, Any]:
        return {
            "functional": self.functional.to_dict(),
            "temperature": Temperature.of(self.temperature).to_dict(), "reaction": self.reaction,
            "backend": self.backend, "dtype": self.dtype, "seed": self.seed,
        } | {name: value for name in _OF_REACTION if (value := getattr(self, name))}  # fmt: skip

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray], start: State | None = None
    ) -> GradientFlow:
        """The inverse of to_dict: arrays and start as of the run, `run.arrays` and `run.start` of
        an mf.Trajectory.

        ValueError where they are not enough: for functions that a user wrote, and for kinds of a
        package not imported.
        """
        settings = {
            key: data[key] for key in ("temperature", "reaction", "backend", "dtype", "seed")
        } | {key: data[key] for key in _OF_REACTION if key in data}
        if isinstance(settings["temperature"], Mapping):
            name = settings["temperature"]["function"]
            raise ValueError(f"the temperature is a function, {name}, and no file holds it.")
        return cls(protocol.from_dict(data["functional"], arrays, start), **settings)


def beyond_default(settings: Mapping[str, Any]) -> list[str]:
    """`temperature = 0.02`, `noise seed = 1` for each setting of to_dict that is not the default,
    and the seed of whatever is noisy.
    """
    temperature, seed = settings.get("temperature"), settings.get("seed")
    if isinstance(temperature, Mapping):
        temperature = f"{temperature['function']}(t)"
    values = {"temperature": temperature, "reaction": settings.get("reaction")}
    values |= {name: settings.get(name) for name in _OF_REACTION}
    found = [f"{name} = {value}" for name, value in values.items() if value]
    draws = any(values[name] for name in ("temperature", "jumps", "resample"))
    return [*found, *([f"noise seed = {seed}"] if draws or seed else [])]


def _points(at: Any, state: State) -> np.ndarray:
    """θ (q, p) of neurons like those of the state."""
    p, K = state.theta.shape[1], state.outputs
    theta = at.theta if isinstance(at, State) else as_array("at", at)
    if theta.ndim != 2 or theta.shape[1] != p or (isinstance(at, State) and at.outputs != K):
        found = repr(at) if isinstance(at, State) else str(theta.shape)
        raise ValueError(
            f"at must be (q, {p}), one row a neuron with the columns of the state (d = "
            f"{state.dim}, K = {K}), "
            f"or such an mf.State; got {found}."
        )
    if theta.shape[0] == 0:
        raise ValueError("at has no rows: there is no first variation to compute.")
    if theta.dtype.kind not in "fiu":
        raise TypeError(f"at must be real numbers; got dtype {theta.dtype}.")
    if bad := int((~np.isfinite(theta).all(axis=1)).sum()):
        raise ValueError(f"at has NaN or infinite values in {bad} of {theta.shape[0]} rows.")
    return np.asarray(theta)
