"""Where the change of f came from: what the kernel of the start learns, and what the kernel's
evolution adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from meanfield import tangent
from meanfield.files.trajectory import Trajectory
from meanfield.flow import GradientFlow
from meanfield.functionals.risk import EmpiricalRisk
from meanfield.functionals.samples import check_inputs
from meanfield.tangent import as_matrix

from .frames import Seen, check_frames, look, rounding
from .time_quadrature import Interval, denser, intervals

SAFETY = 2.0  # on what is predicted of quadrature and time steps
HINT, REFUSE = 0.1, 0.5  # shares this uncertain come with advice; more uncertain ones are not told
# where two rules differ by a tenth of the change itself, neither is near the truth: twice as much
# again
CAUTION = 10.0


class Parts(NamedTuple):
    """The two parts of the change that one block of parameters makes, (frames, n, K) each."""

    lazy: np.ndarray
    evolution: np.ndarray


@dataclass(frozen=True, eq=False)
class Budget:
    """What ntk.budget found: f_t - f_0 = lazy + evolution (+ decay) on n inputs, (frames, n, K)
    each; 0 at the first frame.

    times (frames,); observed: f_t - f_0 itself; blocks: "a", "w", "b" -> Parts, which sum to lazy
    and evolution; decay: the ridge's part, None without one. error (frames,): the quadrature's, as
    predicted from the frames, for each of the parts and for their sum; root mean square over inputs
    and outputs, like residual, which is what the sum misses of `observed`. every_step: whether each
    step of the run is a frame.
    """

    times: np.ndarray
    lazy: np.ndarray
    evolution: np.ndarray
    decay: np.ndarray | None
    blocks: dict[str, Parts]
    observed: np.ndarray
    error: np.ndarray
    every_step: bool = False

    @property
    def residual(self) -> np.ndarray:
        """RMS of observed - (lazy + evolution + decay), (frames,). Above `error`: the run's own
        time steps (Euler's, say).
        """
        return _rms(
            self.observed - self.lazy - self.evolution - (0.0 if self.decay is None else self.decay)
        )

    @property
    def share(self) -> np.ndarray:
        """⟨lazy, Δf⟩/⟨Δf, Δf⟩ at each frame, Δf = observed: 1 in the lazy limit; NaN where f has
        not changed.
        """
        return self.share_of(self.lazy)

    def share_of(self, part: np.ndarray) -> np.ndarray:
        """⟨part, Δf⟩/⟨Δf, Δf⟩ at each frame, for any of the parts: (frames,)."""
        size = np.square(self.observed).sum(axis=(1, 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(size > 0, (part * self.observed).sum(axis=(1, 2)) / size, np.nan)

    @property
    def share_error(self) -> np.ndarray:
        """How far off a share may be: max(error, residual)/RMS(Δf), by Cauchy and Schwarz;
        (frames,).
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.maximum(self.error, self.residual) / _rms(self.observed)

    @property
    def verdict(self) -> str:
        """One sentence with numbers, about the last frame. share_error above 0.1: with advice;
        above 0.5: no shares, why not.
        """
        span = f"t = {self.times[0]:g} … {self.times[-1]:g}"
        if not np.isfinite(self.share[-1]):
            return f"f has not changed on these inputs ({span}): there is nothing to account for."
        change, error = f"RMS change {_rms(self.observed)[-1]:.3g}, {span}", self.share_error[-1]
        remedy = denser(self.times, self.every_step)
        if not error <= REFUSE:
            by = f"{100 * error:.2g} %" if error <= 1 else "more than the change itself"
            return (
                f"The {len(self.times)} frames do not resolve where the change of f came "
                f"from: shares would be uncertain by {by} "
                f"({change}). To tell them, {remedy}."
            )
        shares = {name: self.share_of(parts.evolution)[-1] for name, parts in self.blocks.items()}
        blocks = ", ".join(f"{name} {_percent(value)}" for name, value in shares.items())
        decay = (
            ""
            if self.decay is None
            else f", the ridge's decay {_percent(self.share_of(self.decay)[-1])}"
        )
        return (
            f"The kernel of the start makes {_percent(self.share[-1])} of the change of "
            "f, the kernel's evolution "
            f"{_percent(self.share_of(self.evolution)[-1])} ({blocks}){decay}; ± "
            f"{100 * error:.2g} % ({change})."
            + (f" To tell them better, {remedy}." if error > HINT else "")
        )

    def __str__(self) -> str:
        missed, predicted = self.residual[-1], self.error[-1]
        if missed <= predicted:
            return self.verdict
        why = (
            "more happened between frames than they show, as with a loss that has a "
            f"kink; {'take shorter steps' if self.every_step else 'record more of them'}"
        )
        return (
            f"{self.verdict} The parts miss the change by {missed:.2g}, more than the "
            f"{predicted:.2g} predicted: {why}."
        )

    __repr__ = __str__


def budget(run: Any, x: Any = None, flow: GradientFlow | None = None) -> Budget:
    """Split the change of f along a recorded run into what H_0 learns and what H_t - H_0 adds.

    Parameters
    ----------
    run : path or mf.Trajectory. Every loss, K outputs, masses.
    x : (n', d), where to look; the training inputs by default.
    flow : only for an activation, feature or loss written by the user, which no file holds: the
        flow that was run.

    Returns
    -------
    A Budget, with an error for each part.

    Raises
    ------
    ValueError : for other functionals, for noise and reaction, under three frames, and runs that
        ended in NaN.

    Notes
    -----
    Along the flow df_t/dt = -c H_t ℓ'(f_t, y) - λ s ∫∇φ·θ dμ_t on any input, c = 1/n or 1
    (THEORY.md, section 1), so with ∫ = ∫_0^t … dτ from the first frame on

        f_t - f_0 = -c ∫ H_0 ℓ'(f_τ, y)          lazy
                    -c ∫ (H_τ - H_0) ℓ'(f_τ, y)  evolution
                    -λ s ∫ ∫∇φ·θ dμ              decay, with a ridge only

    the integrals along the run itself, not along its linearisation: `lazy` is no prediction.

    Quadrature: f between frames by its values and its exact rates there (Hermite, O(h⁴)), H by a
    cubic through the frames around. `error`, made without the residual: twice the differences to
    the same from every second frame, each part's added up in absolute value, more where they are
    large; twice what the run's own time steps miss, from a step and two halves of it taken at each
    frame; and rounding. What happens between frames and leaves no trace in them is not seen: record
    more of them until the error is as small as you need. ReLU neurons that slide along a kink (⟨w,
    x_i⟩ + b = 0) chatter across it, and a frame shows one side: where most weight rests on kinks,
    as at γ = 1 in one dimension after a while, an error of some per cent stays, and is reported.
    O(frames m n n' K²) time; one kernel of one frame in memory at a time.
    """
    if not isinstance(run, Trajectory):
        with Trajectory(run) as opened:
            return budget(opened, x, flow)
    flow = _flow(run, flow)
    risk = flow.functional
    assert isinstance(risk, EmpiricalRisk)
    risk.refuse_weights("a budget")
    x = risk.x if x is None else check_inputs(x, risk.dim)
    times = run.times - run.times[0]
    seen = look(run, flow, x)
    every = np.arange(len(times))
    second = np.unique([*every[::2], every[-1]])
    fine, coarse = (
        intervals(times, seen.f, seen.rate, risk.slopes, chosen) for chosen in (every, second)
    )
    pieces, pieces_coarse = _pieces(run, flow, x, [fine, coarse])
    decays = [np.stack([-risk.ridge * np.tensordot(part.weights, seen.pulled[part.frames], axes=1) for part in rule])
              for rule in (fine, coarse)]  # fmt: skip
    blocks = {
        name: Parts(_summed(pair.lazy), _summed(pair.evolution)) for name, pair in pieces.items()
    }
    parts = [
        (
            sum(getattr(pair, kind) for pair in pieces.values()),
            sum(getattr(pair, kind) for pair in pieces_coarse.values()),
        )
        for kind in Parts._fields
    ]
    return Budget(
        times=run.times,
        lazy=np.sum([parts.lazy for parts in blocks.values()], axis=0),
        evolution=np.sum([parts.evolution for parts in blocks.values()], axis=0),
        decay=_summed(decays[0]) if risk.ridge else None,
        blocks=blocks,
        observed=seen.at_x - seen.at_x[0],
        error=rounding(run, flow, x)
        + _predicted(run, seen, second, [*parts, (decays[0], decays[1])]),
        every_step=bool((np.diff(run.steps) == 1).all()),
    )


def _flow(run: Trajectory, given: GradientFlow | None) -> GradientFlow:
    """The run's flow in float64 on this machine's CPU; raises where f does not follow its tangent
    kernel.
    """
    settings: dict[str, Any] = run.config.get("flow") or {}
    kind = (settings.get("functional") or {}).get("kind")
    wrong = ""
    if kind != "EmpiricalRisk":
        wrong = (
            f"descends {kind or 'no functional'}; a budget is about full-batch gradient "
            "flows of mf.EmpiricalRisk"
        )
    elif settings["temperature"] or settings["reaction"] or run.mass_varies:
        wrong = "is noisy or changes its masses: then f does not follow its tangent kernel alone"
    elif "friction" in run.config["integrator"]:
        wrong = "has momentum: then f does not follow its tangent kernel alone"
    elif given is None and run.config["network"].get("feature"):
        wrong = "has a feature that no file holds: pass flow=, the flow that was run"
    elif not run.network.trainable if given is None else not given.network.trainable:
        wrong = "trains nothing: there is no change to account for"
    check_frames(run, wrong)
    if given is not None:
        if given.to_dict()["functional"] != settings["functional"]:
            raise ValueError(
                f"flow= is not the flow of {run.path}; it needs {settings['functional']}."
            )
        return replace(given, backend=given.network.home, dtype="float64")
    return run.flow("cpu", "float64")


def _pieces(
    run: Trajectory, flow: GradientFlow, x: np.ndarray, rules: Sequence[list[Interval]]
) -> list[dict[str, Parts]]:
    """For each rule the lazy part and the evolution over each of its intervals, block by block:
    (intervals, n', K).

    -H_0 ∫ℓ' and -Σ_k (H_k - H_0) vectors_k; each frame's kernels meet the vectors of all intervals
    that lean on the frame.
    """
    train, found = flow.functional.x, []
    # frame -> (interval, vectors) that lean on it
    leaning: list[dict[int, list[tuple[int, np.ndarray]]]] = [{} for _ in rules]
    for users, rule in zip(leaning, rules, strict=True):
        for j, interval in enumerate(rule):
            for k, vectors in zip(interval.frames.tolist(), interval.vectors, strict=True):
                users.setdefault(k, []).append((j, vectors))
    for number, state in enumerate(run):
        parts = tangent.kernel_parts(flow.network, state, x, None if x is train else train)
        for which, rule in enumerate(rules):
            if number == 0:
                whole = np.stack([interval.whole for interval in rule])
                start = {name: _apply(H, whole) for name, H in parts.items()}
                found.append({name: Parts(-first, first.copy()) for name, first in start.items()})
            if number in leaning[which]:
                which_ones, stacked = zip(*leaning[which][number], strict=True)
                for name, H in parts.items():
                    found[which][name].evolution[list(which_ones)] -= _apply(H, np.stack(stacked))
    return found


def _apply(H: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """H·v for each of vectors (J, n, K), H (n', n) or (n', n, K, K) -> (J, n', K)."""
    if H.ndim == 2:
        return np.matmul(H, vectors)
    moved = as_matrix(H) @ vectors.reshape(len(vectors), -1).T
    return np.ascontiguousarray(moved.T).reshape(len(vectors), H.shape[0], H.shape[2])


def _predicted(
    run: Trajectory, seen: Seen, second: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """What quadrature and time steps do to the parts, at most, up to each frame: (frames,), RMS
    over the inputs.

    parts: each over the intervals between all frames, and between the frames `second`, (intervals,
    n', K).
    """
    change = np.maximum(_rms(np.diff(seen.at_x[second], axis=0)), 1e-300)
    steps = np.diff(run.steps) * 0.5 * (seen.missed[:-1] + seen.missed[1:])
    error = np.cumsum(steps)
    for fine, coarse in parts:
        apart = _rms(np.add.reduceat(fine, second[:-1], axis=0) - coarse)
        error += np.repeat(np.cumsum(apart * (1.0 + CAUTION * apart / change)), np.diff(second))
    return SAFETY * np.concatenate([[0.0], error])


def _summed(pieces: np.ndarray) -> np.ndarray:
    """The integral from the first frame to each: a zero, and running sums."""
    return np.concatenate([np.zeros_like(pieces[:1]), np.cumsum(pieces, axis=0)])


def _rms(values: np.ndarray) -> np.ndarray:
    """Root mean square over inputs and outputs, (frames,)."""
    return np.sqrt(np.square(values).mean(axis=(1, 2)))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
