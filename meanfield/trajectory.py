"""Trajectory: a run, read from its HDF5 file, or from its parts while it is unfinished."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, overload

import h5py
import numpy as np

from . import layout
from .dataset import Dataset
from .durable import IncompatibleFile, InUse, canonical_json, feed
from .initial import InitialLaw
from .network import Network
from .parts import Parts
from .state import State
from .stored_data import checksums, read_data

__all__ = ["InUse", "IncompatibleFile", "SeriesData", "Trajectory"]


class SeriesData(NamedTuple):
    """A dense scalar series: steps (r,) int64, times (r,), values (r,)."""

    steps: np.ndarray
    times: np.ndarray
    values: np.ndarray


class _Piece(NamedTuple):
    """A file that holds frames and series of the run: the finished file, or a segment."""

    path: Path
    frames: int
    series: dict[str, int]


class Trajectory:
    """A sequence of State: len(run), run[-1], run[2:5], iteration; read lazily, one frame at a time.

    path: the finished file `run.h5`; where only `run.h5.parts/` exists, the unfinished run up to its last checkpoint
    (name the folder itself to look into a run that is about to replace or extend a finished file).
    Errors: FileNotFoundError; IncompatibleFile (a ValueError) for foreign, truncated or newer files.

    | in the file (H5MD 1.1)                     | what                                                                        |
    |--------------------------------------------|-----------------------------------------------------------------------------|
    | /h5md                                      | version [1, 1], author, creator                                             |
    | /particles/units/position/value            | θ (frames, m, p), columns [a | w | b]; one chunk a frame, fletcher32        |
    | /particles/units/position/step, time       | (frames,) int64, flow time float64                                          |
    | /particles/units/mass                      | p_k (m,), or step, time, value (frames, m) where masses change              |
    | /particles/units/id, box                   | 0 … m-1; dimension p, boundary "none"                                       |
    | /particles/units attributes                | columns "a0 w0 w1 b", outputs, gamma, alpha, time_unit                      |
    | /particles/trajectory                      | three columns of the same as a virtual (frames, m, 3), for 3-D viewers      |
    | /series/<name>/step, time, value           | dense scalars, each with its own clock                                      |
    | /observables/<name>                        | links to the series whose steps are the frames' steps                       |
    | /parameters/config, provenance, summary    | JSON; attributes schema_version, status, mass_varies, checkpoint            |
    | /parameters/data/<name>                    | x, y, x_test, y_test with sha256; beyond 64 MB only sha256 and shape        |
    | /parameters/start, checkpoint              | the initial State; what the loop needs to go on                             |
    """

    def __init__(self, path: Any) -> None:
        given = Path(path)
        is_parts = given.is_dir() and given.name.endswith(".parts")
        parts = Parts(given.with_name(given.name.removesuffix(".parts")) if is_parts else given)
        self.path = given
        if given.is_file():
            self._head = layout.open_hdf5(given)
            try:
                layout.check_schema(self._head, given)
                with layout.reading(given):
                    parameters = self._head["parameters"]
                    self.status = layout.get_text(parameters.attrs, "status")
                    self.summary: dict[str, Any] = layout.read_json(parameters, "summary")
                    provenance = layout.read_json(parameters, "provenance")
                    series = {name: len(group["step"]) for name, group in self._head["series"].items()}
                    self._pieces = [_Piece(given, len(self._head[layout.POSITION]["step"]), series)]
            except BaseException:
                self._head.close()
                raise
        elif parts.begun():
            checkpoint = parts.newest(thorough=False)
            self._head = layout.open_hdf5(parts.start)
            layout.check_schema(self._head, parts.start)
            provenance = layout.read_json(self._head["parameters"], "provenance")
            self.status, self.summary, self._pieces = "unfinished", {}, []
            if checkpoint is not None:
                provenance = with_continuations(provenance, checkpoint.continued)
                self._pieces = [_Piece(parts.locate(item), item.frames, item.series) for item in checkpoint.segments]
                self.summary = (checkpoint.final or {}).get("summary", {})
        elif given.is_dir():
            raise IncompatibleFile(f"{given} is a folder, not a run.")
        else:
            raise FileNotFoundError(
                f"no run at {given}: neither the file nor {parts.folder.name}/ with an unfinished run is there."
            )
        with layout.reading(given):
            parameters = self._head["parameters"]
            self.config: dict[str, Any] = layout.read_json(parameters, "config")
            self.mass_varies = bool(parameters.attrs["mass_varies"])
            self.start: State = layout.read_start(parameters, self._origin())
        self.provenance: dict[str, Any] = provenance
        self._first = np.cumsum([0] + [piece.frames for piece in self._pieces])
        self._open: tuple[int, h5py.File] | None = None
        self._clock: tuple[np.ndarray, np.ndarray] | None = None

    def close(self) -> None:
        """Close the files; the run cannot be read any more."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
        self._head.close()

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        scaling = (self.config.get("network") or {}).get("scaling")
        scale = f", gamma={scaling['gamma']:g}, alpha={scaling['alpha']:g}" if scaling else ""
        span = f", t={self.times[0]:g} … {self.times[-1]:g}" if len(self) else ""
        size = f"{len(self)} frames, m={self.start.m}, d={self.start.dim}, K={self.start.outputs}"
        return f"Trajectory({str(self.path)!r}: {size}{scale}{span}, {self.status})"

    def __len__(self) -> int:
        return int(self._first[-1])

    def __iter__(self) -> Iterator[State]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> list[State]: ...
    def __getitem__(self, index: int | slice) -> State | list[State]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        asked, count = operator.index(index), len(self)
        number = asked + count if asked < 0 else asked
        if not 0 <= number < count:
            raise IndexError(
                f"frame {asked} was asked for; {self.path} has {count} frames" + f" (0 … {count - 1})." * bool(count)
            )
        piece = int(np.searchsorted(self._first, number, side="right")) - 1
        local = number - int(self._first[piece])
        file = self._file(piece)
        with layout.reading(self._pieces[piece].path):
            theta = file[layout.POSITION]["value"][local]
            mass = file["particles/units/mass/value"][local] if self.mass_varies else self.start.mass
        return State.trusted(theta, self.start.outputs, mass, int(self.steps[number]), float(self.times[number]), self._origin())

    @property
    def steps(self) -> np.ndarray:
        """Step of each frame, (frames,) int64."""
        return self._frame_clock()[0]

    @property
    def times(self) -> np.ndarray:
        """Flow time of each frame, (frames,)."""
        return self._frame_clock()[1]

    @property
    def series_names(self) -> list[str]:
        return sorted({name for piece in self._pieces for name in piece.series})

    def series(self, name: str) -> SeriesData:
        """(steps, times, values) of a dense series; its own clock, not that of the frames."""
        if name not in self.series_names:
            raise ValueError(f"no series {name!r} in {self.path}; it has: {', '.join(self.series_names) or 'none'}.")
        columns = [self._read(i, f"series/{name}") for i, piece in enumerate(self._pieces) if name in piece.series]
        return SeriesData(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    @property
    def network(self) -> Network:
        """The Network of the configuration. User-written activations are not in a file: the error says how to hand one in."""
        if not self.config.get("network"):
            raise ValueError(f"{self.path} has no network in its configuration (a flow on whole rows of theta).")
        try:
            return Network.from_dict(self.config["network"])
        except ValueError as error:
            name = self.config["network"].get("activation")
            raise ValueError(
                f"the activation {name!r} of {self.path} was written by its user and is not in the file ({error}) Hand it in: "
                "mf.Network.from_dict(run.config['network'], activation=...)."
            ) from error

    @property
    def law(self) -> InitialLaw | None:
        """The law the initial particles were drawn from, with the seed config["seed"]; None for particles from an array."""
        return InitialLaw.from_dict(self.config["law"]) if self.config.get("law") else None

    @property
    def data(self) -> Dataset:
        """The Dataset of the run: its arrays from the file, or, if they were too large for it, made again and compared."""
        return read_data(self._head["parameters"], self.config, self.path)

    def content_hash(self) -> str:
        """sha256 over configuration, data, particles (id, step, time, mass, θ), observables and series, in this order.

        The same for the parts and for the file made of them; blind to provenance, wall times, checkpoints and layout.
        """
        digest = hashlib.sha256(f"meanfield {layout.SCHEMA_VERSION}\n{canonical_json(self.config)}\n".encode())
        for name, checksum in checksums(self._head["parameters"]).items():
            digest.update(f"data {name} {checksum}\n".encode())
        feed(digest, "id", np.arange(self.start.m))
        feed(digest, "step", self.steps)
        feed(digest, "time", self.times)
        if not self.mass_varies:
            feed(digest, "mass", self.start.mass)
        for frame in self:
            feed(digest, "position", frame.theta)
            if self.mass_varies:
                feed(digest, "mass", frame.mass)
        digest.update(f"observables {' '.join(self.aligned())}\n".encode())
        for name in self.series_names:
            for kind, column in zip(SeriesData._fields, self.series(name), strict=True):
                feed(digest, f"{name} {kind}", column)
        return digest.hexdigest()

    def aligned(self) -> list[str]:
        """Names of the series with one value for each frame: H5MD's observables."""
        counts = {name: sum(piece.series.get(name, 0) for piece in self._pieces) for name in self.series_names}
        candidates = [name for name, count in counts.items() if count == len(self) > 0]
        return [name for name in candidates if np.array_equal(self.series(name).steps, self.steps)]

    def _origin(self) -> tuple[InitialLaw, int] | None:
        law = self.config.get("law")
        return (InitialLaw.from_dict(law), int(self.config["seed"])) if law and self.config.get("seed") is not None else None

    def _file(self, piece: int) -> h5py.File:
        """The piece's file; one is open at a time, for a long run has more segments than a process may open."""
        if self._open is None or self._open[0] != piece:
            if not self._head:
                raise ValueError(f"{self.path} was closed; open it again with mf.Trajectory.")
            try:
                opened = layout.open_hdf5(self._pieces[piece].path)
            except FileNotFoundError:
                gone = self._pieces[piece].path
                raise FileNotFoundError(f"{gone} is gone: the run was published meanwhile; open it again.") from None
            if self._open is not None:
                self._open[1].close()
            self._open = (piece, opened)
        return self._open[1]

    def _read(self, piece: int, group: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        file = self._file(piece)
        with layout.reading(self._pieces[piece].path):
            return tuple(file[group][name][()] for name in ("step", "time", "value"))

    def _frame_clock(self) -> tuple[np.ndarray, np.ndarray]:
        if self._clock is None:
            clock: list[list[np.ndarray]] = [[np.empty(0, np.int64)], [np.empty(0)]]
            for i, piece in enumerate(self._pieces):
                if piece.frames:
                    file = self._file(i)
                    with layout.reading(piece.path):
                        for column, name in zip(clock, ("step", "time"), strict=True):
                            column.append(file[layout.POSITION][name][()])
            self._clock = (np.concatenate(clock[0]), np.concatenate(clock[1]))
        return self._clock


def with_continuations(provenance: dict[str, Any], continued: list[dict[str, Any]]) -> dict[str, Any]:
    """The provenance of the start, and of each process that took the run up again."""
    return {**provenance, "continued": [*provenance.get("continued", []), *continued]} if continued else provenance
