"""A stored run as diagnostics read it: frames one at a time, keys of their values, values kept.

A key is the digest of all that a value depends on, so no kept value can be out of date. They are in
run.h5.diagnostics/: one JSON file for each diagnostic, {key: value}, replaced atomically. They are not
synced: where the power goes one may be missing or cut off, and its values are computed again. The folder
may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.compiler import fingerprint
from ..data.dataset import Dataset
from ..files.durable import canonical_json, feed, temporary
from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from ..once import cached_property
from ..state import State
from .frame import Frame, Problem
from .registry import NEEDS, Diagnostic

# bytes of frames: so many are read once, for their keys, and not again for their values
KEPT = 1 << 25


def folder_of(path: Path) -> Path:
    """run.h5.diagnostics, for run.h5 and for run.h5.parts."""
    return path.with_name(path.name.removesuffix(".parts") + ".diagnostics")


def names_kept(path: Path) -> list[str]:
    """The diagnostics of which values are kept beside a run."""
    return [item.stem for item in folder_of(path).glob("*.json")]


class Cache:
    """The values of one run. A folder that cannot be written is said once, in a warning; the values
    are then not kept.
    """

    def __init__(self, path: Path) -> None:
        self.folder, self.writable = folder_of(path), True

    def read(self, name: str) -> dict[str, Any]:
        """All stored values of a diagnostic; none where the file is missing or unreadable, for they
        can be computed again.
        """
        try:
            content = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        values = content.get("values") if isinstance(content, dict) else None
        return values if isinstance(values, dict) else {}

    def write(self, diagnostic: Diagnostic, values: dict[str, Any]) -> None:
        """Add values to what is stored by now."""
        if not values or not self.writable:
            return
        about = {
            "name": diagnostic.name,
            "unit": diagnostic.unit,
            "version": diagnostic.version,
            "meaning": diagnostic.meaning,
        }
        target = self.folder / f"{diagnostic.name}.json"
        try:
            self.folder.mkdir(exist_ok=True)
            text = canonical_json({**about, "values": {**self.read(diagnostic.name), **values}})
            with temporary(target) as new:
                new.write_text(text, encoding="utf-8")
                os.replace(new, target)
        except OSError as error:
            self.writable = False
            warnings.warn(
                f"diagnostics are computed but not kept: {self.folder} cannot be written "
                f"({error.strerror}).",
                stacklevel=5,
            )


class Stored:
    """A Trajectory, the Problem of its frames, and what identifies them. flow: as in diagnose;
    companion: another run.
    """

    def __init__(
        self, run: Trajectory, flow: GradientFlow | None = None, companion: Stored | None = None
    ) -> None:
        self.run, self.given, self.companion = run, flow, companion
        self.steps, self.times = run.steps, run.times
        data, without = _data(run)
        if flow is None:
            flow, without = _flow(run)
        elif run.config.get("flow") and flow.to_dict() != {
            **run.config["flow"],
            "backend": flow.backend,
        }:
            raise ValueError(f"flow= is not the flow of {run.path}; it needs {run.config['flow']}.")
        beside = companion.at_time if companion else None
        traits = tuple((run.config.get("integrator") or {}).get("traits", ()))
        self.problem = Problem(flow, run.start, data, without, run.mass_varies, beside, traits)
        self._last: list[tuple[int, Frame]] = []
        self._states: dict[int, State] = {}

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self, number: int) -> Frame:
        """Frame `number`; the last two are kept, for a step needs the one before."""
        for kept, frame in self._last:
            if kept == number:
                return frame
        frame = Frame(self.problem, partial(self._state, number), dt=self.step_length(number))
        self._last = [*self._last[-1:], (number, frame)]
        return frame

    def _state(self, number: int) -> State:
        """As the file has it."""
        if (kept := self._states.get(number)) is not None:
            return kept
        state = self.run[number]
        if (len(self._states) + 1) * state.theta.nbytes <= KEPT:
            self._states[number] = state
        return state

    def step_length(self, number: int) -> float:
        """dt around frame `number`: the mean since the frame before it (of the first, to the next);
        NaN for a frame alone.
        """
        last = max(number, 1)
        if last >= len(self):
            return float(self.run.summary.get("dt", float("nan")))
        return float(
            (self.times[last] - self.times[last - 1]) / (self.steps[last] - self.steps[last - 1])
        )

    def at_time(self, t: float) -> Frame:
        """The frame at this time, to 1e-9 of the run's length; ValueError where there is none."""
        return self.frame(self._number_at(t))

    def _number_at(self, t: float) -> int:
        near = int(np.argmin(np.abs(self.times - t))) if len(self) else -1
        if near < 0 or abs(self.times[near] - t) > 1e-9 * max(abs(self.times[-1]), abs(t)):
            raise ValueError(
                f"the companion {self.run.path} has no frame at t = {t:.9g}: record both "
                "runs at the same times, "
                "for example by mf.evenly(count) or mf.at_times([...]) with equal t_end."
            )
        return near

    @property
    def recorded(self) -> tuple[str, ...]:
        """Of the series that diagnostics need those that have a value at every frame."""
        asked = {need.removeprefix("recorded ") for need in NEEDS if need.startswith("recorded ")}
        there = sorted(asked.intersection(self.run.series_names))
        return tuple(name for name in there if self.at_frames(name) is not None)

    def at_frames(self, name: str) -> np.ndarray | None:
        """The recorded values of a series at the frames' steps, or None where one is missing."""
        series = self.run.series(name)
        found = np.searchsorted(series.steps, self.steps)
        if (
            len(self) == 0
            or np.max(found) >= len(series.steps)
            or not np.array_equal(series.steps[found], self.steps)
        ):
            return None
        return series.values[found]

    @cached_property
    def digest(self) -> str:
        """Of what all frames share: network and flow with their formulas, the data, the start."""
        flow, config = self.problem.flow, self.run.config
        settings = {
            "network": config.get("network"),
            "flow": flow.to_dict() if flow else config.get("flow"),
        }
        digest = hashlib.sha256(canonical_json(settings).encode())
        if flow is not None:
            network = () if flow.network is None else flow.network.formulas
            digest.update("".join(map(fingerprint, (*network, *flow.functional.formulas))).encode())
        data = self.problem.data
        digest.update((data.sha256() if data is not None else "no data").encode())
        _feed_state(digest, self.problem.start)
        return digest.hexdigest()

    def frame_digest(self, number: int) -> str:
        """Of the content of a frame: θ, masses, step, time."""
        if number not in self._digests:
            digest = hashlib.sha256()
            _feed_state(digest, self.frame(number).state)
            self._digests[number] = digest.hexdigest()
        return self._digests[number]

    @cached_property
    def _digests(self) -> dict[int, str]:
        return {}

    def key(self, diagnostic: Diagnostic, parameters: dict[str, Any], number: int) -> str:
        """The digest of all that this value depends on."""
        parts: list[Any] = [
            diagnostic.name,
            diagnostic.version,
            parameters,
            self.digest,
            self.frame_digest(number),
        ]
        if not diagnostic.own:
            parts.append(fingerprint(diagnostic.function))
        if "steps" in diagnostic.needs:
            parts.append(self.step_length(number))
        if diagnostic.kind == "step":
            parts.append(self.frame_digest(number - 1))
        if "companion" in diagnostic.needs:
            assert self.companion is not None
            at = self.companion._number_at(float(self.times[number]))
            parts += [self.companion.digest, self.companion.frame_digest(at)]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _feed_state(digest: Any, state: State) -> None:
    digest.update(f"{state.step} {state.t!r} {state.outputs}\n".encode())
    feed(digest, "theta", state.theta)
    feed(digest, "mass", state.mass)


def _data(run: Trajectory) -> tuple[Dataset | None, str]:
    try:
        return run.data, ""
    except ValueError as error:
        return None, f"the data cannot be loaded ({error})"


def _flow(run: Trajectory) -> tuple[GradientFlow | None, str]:
    """The flow that the file describes, or the reason why there is none."""
    if not run.config.get("flow"):
        return None, "the run's configuration names no flow"
    try:
        return run.flow(), ""
    except (ValueError, TypeError) as error:
        return None, f"the file alone does not make its flow: {str(error).removesuffix('.')}"
