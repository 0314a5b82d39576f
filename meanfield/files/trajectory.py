"""Trajectory: a run, read from its HDF5 file, or from its parts while it is unfinished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..checks import is_integer
from ..data.dataset import Dataset
from ..initial import InitialLaw
from ..network import Network
from ..once import cached_property
from ..state import State
from . import hdf5, schema, tables
from .content import content_hash
from .durable import IncompatibleFile, InUse
from .event_table import KINDS, EventTable
from .genealogy import BIRTH, Births, Genealogy, replaces
from .hdf5 import Group
from .opening import check_texts, opened, settings_of
from .pieces import Pieces, SeriesData
from .remaking import flow_of, network_of
from .stored_data import checksums, read_arrays, read_data

if TYPE_CHECKING:
    from ..flow import GradientFlow

IDENTITY = (
    "identity"  # of /parameters: what tells user-written formulas of one name apart (identity.py)
)

__all__ = ["InUse", "IncompatibleFile", "SeriesData", "Trajectory"]


class Trajectory:
    """A sequence of State: len(run), run[-1], run[2:5], iteration; read lazily, one frame at a
    time.

    path: the finished file `run.h5`; where only `run.h5.parts/` exists, the unfinished run up to
    its last checkpoint (name the folder itself to look into a run that is about to replace or
    extend a finished file). Errors: FileNotFoundError; IncompatibleFile (a ValueError) for foreign,
    truncated or newer files. run.flow() is the run's mf.GradientFlow, made again from the file:
    run.flow().predict(run[-1], x).

    | in the file (H5MD 1.1)                     | what                                                                        |
    |--------------------------------------------|-----------------------------------------------------------------------------|
    | /h5md                                      | version [1, 1], author, creator                                             |
    | /particles/units/position/value            | θ (frames, m, p), columns [a | w | b]; one chunk a frame, fletcher32        |
    | /particles/units/position/step, time       | (frames,) int64, flow time float64                                          |
    | /particles/units/mass                      | p_k (m,), or step, time, value (frames, m) where masses change              |
    | /particles/units/id, box                   | 0 … m-1, or step, time, value (frames, m) where particles are replaced;     |
    |                                            | dimension p, boundary "none"                                                |
    | /particles/units/columns                   | (p,) texts "a0", "w0", "w1", "b"                               (minor 1)    |
    | /particles/units attributes                | columns "a0 w0 w1 b" (up to 4096 bytes), outputs, gamma, alpha, time_unit   |
    | /particles/trajectory                      | three columns of the same as a virtual (frames, m, 3), for 3-D viewers;     |
    |                                            | NaN in readers that do not follow it to its source             (minor 1)    |
    | /series/<name>/step, time, value           | dense scalars, each with its own clock                                      |
    | /events/step, time, kind, neuron, …        | the log of mf.Events: other, value; kind is a code (event_table.KINDS).     |
    |                                            | kind 5, a birth: place neuron holds a copy of place other, with id value    |
    | /observables/<name>                        | links to the series whose steps are the frames' steps                       |
    | /parameters/config, provenance, summary    | JSON; attributes schema_version 1, schema_minor, status, mass_varies 0 or 1,|
    |                                            | checkpoint                                                                  |
    | /parameters/identity                       | JSON, where formulas or series are user-written: values and code of them    |
    | /parameters/data/<name>                    | x, y, x_test, y_test with sha256; beyond 64 MB only sha256 and shape        |
    |                                            | without training samples: the functional's own arrays, or none              |
    | /parameters/start, checkpoint              | the initial State; what the loop needs to go on                             |

    All versions read one another's files. Since minor 1 texts are ASCII with JSON's escapes, flags
    are whole numbers, no clock is a link to another's, and what would be an attribute beyond 4096
    bytes (box/boundary from p = 1025 on) is a data set of that name. Before: UTF-8, an enumeration,
    links, columns as an attribute only. Since minor 2 the last line of a file, behind what HDF5
    reads, is its seal, a sha256 of all bytes before it (files/sealing.py): mf.resume asks it before
    it goes on, and scripts/inspect verify. /parameters has settings_sha256 besides. Texts that are JSON
    end with spaces.
    meanfield/README.md says which programs read what.
    """

    def __init__(self, path: Any) -> None:
        self.path = Path(path)
        try:
            found = opened(self.path)
        except FileNotFoundError:
            if not self.path.is_file():
                raise
            # published between our looking for the file and for its parts
            found = opened(self.path)
        self._head, self._pieces = found.head, Pieces(found.pieces)
        self.status: str = found.status
        self.summary: dict[str, Any] = found.summary
        self.provenance: dict[str, Any] = found.provenance
        try:
            with hdf5.reading(self.path):
                parameters = self._head["parameters"]
                self.config: dict[str, Any] = hdf5.read_json(parameters, "config")
                self.mass_varies = bool(parameters.attrs["mass_varies"])
                self._start: Group = parameters["start"]
                self._mass: np.ndarray = schema.read_mass(self._start)
                check_texts(self.config, self.summary, self.provenance)
        except IncompatibleFile:
            self._head.close()
            raise

    def close(self) -> None:
        """Close the files; the run cannot be read any more."""
        self._pieces.close()
        self._head.close()

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        scaling = (self.config.get("network") or {}).get("scaling")
        scale = f", gamma={scaling['gamma']:g}, alpha={scaling['alpha']:g}" if scaling else ""
        span = f", t={self.times[0]:g} … {self.times[-1]:g}" if len(self) else ""
        like = self._like
        size = f"{len(self)} frames, m={like.m}, d={like.dim}, K={like.outputs}"
        return f"Trajectory({str(self.path)!r}: {size}{scale}{span}, {self.status})"

    def _repr_html_(self) -> str:
        """What a notebook shows: size, scaling, law, times and the last values."""
        scaling = (self.config.get("network") or {}).get("scaling")
        rows: list[tuple[str, Any]] = [("status", self.status), ("frames", len(self))]
        like = self._like
        rows += [("neurons m, inputs d, outputs K", f"{like.m}, {like.dim}, {like.outputs}")]
        rows += [(name, f"{scaling[name]:g}") for name in ("gamma", "alpha")] if scaling else []
        rows += [("initial law", self.law.describe() if self.law else "given as an array")]
        rows += [("flow time", f"{self.times[0]:g} … {self.times[-1]:g}")] if len(self) else []
        for name in ("risk", "energy", "displacement", "energy_defect"):
            if name in self.series_names and len(values := self.series(name).values):
                rows.append((f"{name}, first and last", f"{values[0]:.5g}, {values[-1]:.5g}"))
        return tables.html_table(rows, caption=str(self.path))

    def __len__(self) -> int:
        return self._pieces.frames

    def __iter__(self) -> Iterator[State]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> list[State]: ...
    def __getitem__(self, index: int | slice) -> State | list[State]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not is_integer(index):
            raise TypeError(
                f"a frame is taken by its number, an integer; got {index!r}. By flow "
                "time: run.at(t)."
            )
        asked, count = int(index), len(self)
        number = asked + count if asked < 0 else asked
        if not 0 <= number < count:
            raise IndexError(
                f"frame {asked} was asked for; {self.path} has {count} frames"
                + f" (0 … {count - 1})." * bool(count)
            )
        if not self._head:
            raise ValueError(f"{self.path} was closed; open it again with mf.Trajectory.")
        theta = self._pieces.frame(number, f"{schema.POSITION}/value")
        mass = (
            self._pieces.frame(number, "particles/units/mass/value")
            if self.mass_varies
            else self._mass
        )
        like, step, t = self._like, int(self.steps[number]), float(self.times[number])
        if theta.shape != like.theta.shape or theta.dtype != like.theta.dtype:
            raise IncompatibleFile(
                f"{self.path} is damaged: frame {asked} is {theta.shape} {theta.dtype}, the start "
                f"{like.theta.shape} {like.theta.dtype}."
            )
        what = like.origin, like.columns, like.start
        state = State.trusted(theta, like.outputs, mass, step, t, *what)
        return state.without_origin() if self.replaces and step > like.step else state

    @overload
    def at(self, t: float) -> State: ...
    @overload
    def at(self, t: Sequence[float] | np.ndarray) -> list[State]: ...
    def at(self, t: Any) -> Any:
        """The frame nearest to flow time t: a State that was recorded, nothing between two; of two
        as near the earlier one.

        Its .t says when it was. t: a number, or several in one dimension, for which a list comes
        back. Raises ValueError outside the times of the frames (beyond rounding, 1e-9 of the
        largest), and for NaN.
        """
        asked = np.asarray(t)
        if asked.dtype.kind not in "iuf" or asked.ndim > 1:
            raise TypeError(
                f"t must be a flow time, or several of them in one dimension; got {t!r}."
            )
        if not len(self):
            raise ValueError(f"{self.path} has no frames{', yet' * (self.status == 'unfinished')}.")
        first, last = float(self.times[0]), float(self.times[-1])
        rounding = 1e-9 * max(abs(first), abs(last))
        outside = ~((asked >= first - rounding) & (asked <= last + rounding))
        if outside.any():
            wrong = float(asked[outside][0] if asked.ndim else asked)
            so_far = " so far" * (self.status == "unfinished")
            raise ValueError(
                f"t = {wrong:g} was asked for; the frames of {self.path}{so_far} are from "
                f"t = {first:g} to {last:g}."
            )
        found = [self[int(np.abs(self.times - moment).argmin())] for moment in np.atleast_1d(asked)]
        return found if asked.ndim else found[0]

    @property
    def steps(self) -> np.ndarray:
        """Step of each frame, (frames,) int64."""
        return self._pieces.clock()[0]

    @property
    def times(self) -> np.ndarray:
        """Flow time of each frame, (frames,)."""
        return self._pieces.clock()[1]

    @property
    def start(self) -> State:
        """The initial State, whether or not it is a frame."""
        with hdf5.reading(self.path):
            found = schema.read_start(self._start, self._origin)
            said = self.config.get("outputs", found.outputs)
            if said != found.outputs or (self.config.get("network") and not found.outputs):
                raise ValueError(f"its start has {found.outputs} outputs, its settings {said}")
            return found

    @property
    def series_names(self) -> list[str]:
        return sorted(self._pieces.counts)

    def series(self, name: str) -> SeriesData:
        """(steps, times, values) of a dense series; its own clock, not that of the frames."""
        if name not in self._pieces.counts:
            raise ValueError(
                f"no series {name!r} in {self.path}; it has: "
                f"{', '.join(self.series_names) or 'none'}."
            )
        return self._pieces.series(name)

    @property
    def events(self) -> EventTable:
        """What mf.Events has logged: flips, deaths, merges …; empty, and it says so, for a run that
        was not watched.
        """
        columns = {name: self._pieces.event_column(name) for name in schema.EVENT_COLUMNS}
        listed = columns["kind"] != BIRTH
        columns = {name: column[listed] for name, column in columns.items()}
        if not (self.config.get("observers") or {}).get("events"):
            return EventTable(columns, None)
        return EventTable(
            columns,
            {
                kind: self.series(name)
                for kind, name in KINDS.items()
                if name in self._pieces.counts
            },
        )

    @property
    def replaces(self) -> bool:
        """Whether its steps killed and duplicated particles: then place k of one frame and of another
        need not be the same particle.
        """
        return replaces(self.config)

    @property
    def births(self) -> Births:
        """Who is a copy of whom, in the order of births: named columns steps, times, places, ids and
        parents. Empty for a run without jumps and resampling.
        """
        return self._genealogy.births()

    def ids(self, frame: int = -1) -> np.ndarray:
        """The particles of a frame by name, (m,) int64: 0 … m-1 are those of the start, a copy has the
        next number that is free when it is made. A place whose id has changed holds another particle.
        """
        return next(self._genealogy.ids([self._step_of(frame)]))

    def ancestors(self, frame: int = -1, at: int = 0) -> np.ndarray:
        """For each particle of a frame the place of its ancestor in an earlier one, (m,) int64: particle
        k of run[frame] descends from run[at].theta[run.ancestors(frame, at)[k]].

        len(np.unique(run.ancestors())) is the number of particles of the first frame that have
        descendants in the last. Without jumps and resampling it is 0 … m-1. ValueError for a frame
        before `at`, IndexError for one that is not there.
        """
        last, first = self._step_of(frame), self._step_of(at)
        if first > last:
            raise ValueError(
                f"ancestors are earlier: frame {frame} is at step {last}, at = {at} at step {first}."
            )
        return self._genealogy.ancestors(first, last)

    def each_ids(self) -> Iterator[np.ndarray]:
        """ids(frame) of one frame after the other."""
        return self._genealogy.ids(self.steps)

    def _step_of(self, frame: int) -> int:
        if not is_integer(frame):
            raise TypeError(f"a frame is taken by its number, an integer; got {frame!r}.")
        if not -len(self) <= frame < len(self):
            raise IndexError(f"frame {frame} was asked for; {self.path} has {len(self)} frames.")
        return int(self.steps[frame])

    @cached_property
    def _genealogy(self) -> Genealogy:
        columns = {name: self._pieces.event_column(name) for name in schema.EVENT_COLUMNS}
        with hdf5.reading(self.path):  # columns of other lengths
            return Genealogy(columns, self._like.m)

    @property
    def event_count(self) -> int:
        """How many rows /events has: what mf.Events lists, and births."""
        return self._pieces.events

    def event_blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of the events in blocks that need not fit into memory together."""
        return self._pieces.event_blocks()

    def flow(self, backend: str = "auto", dtype: Any = None) -> GradientFlow:
        """The GradientFlow of the run, made again from the file: network, functional with its
        arrays and weights, settings.

        run.flow().predict(run[-1], x) is f of the last frame; risk, energy, velocity and
        first_variation go the same way. A linearised risk (`import ntk` makes it from a file) is
        linearised at run.start.

        Parameters
        ----------
        backend : where it computes. "auto": the run's own backend, or the one without a GPU where this
            machine has none; "cpu", "cuda", "torch".
        dtype : "float64" or "float32"; None: the run's own.

        Raises
        ------
        ValueError : for "cuda" where it cannot be used; where the file is not enough. No file holds functions that a user wrote
            (activation, loss, V, U): make the mf.GradientFlow again from them, and pass it as flow= to what takes a run.
        """
        return flow_of(self, backend, dtype)

    @property
    def network(self) -> Network:
        """The Network of the configuration. User-written activations are not in a file: the error
        says how to hand one in.
        """
        return network_of(self)

    @property
    def law(self) -> InitialLaw | None:
        """The law the initial particles were drawn from, with the seed config["seed"]; None for
        particles from an array.
        """
        with settings_of(self.path):
            return InitialLaw.from_dict(self.config["law"]) if self.config.get("law") else None

    @property
    def identity(self) -> dict[str, Any]:
        """Values and code of the formulas and series that the run's user wrote, by which a resume
        knows them; {} without any.
        """
        with hdf5.reading(self.path):
            parameters = self._head["parameters"]
            return hdf5.read_json(parameters, IDENTITY) if IDENTITY in parameters else {}

    @property
    def settings_sha256(self) -> str | None:
        """The checksum of the settings as they were written; None in files before schema 1.2."""
        with hdf5.reading(self.path):
            found = self._head["parameters"].attrs
            return hdf5.get_text(found, schema.SETTINGS) if schema.SETTINGS in found else None

    @property
    def data_sha256(self) -> dict[str, str]:
        """sha256 of each array of the data set, by name."""
        with hdf5.reading(self.path):
            return checksums(self._head["parameters"])

    @property
    def data(self) -> Dataset:
        """The Dataset of the run: its arrays from the file, or, if they were too large for it, made
        again and compared.
        """
        return read_data(self._head["parameters"], self.config, self.path)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the functional needs beside its settings: x and y of the training samples, a
        teacher's particles, or nothing.
        """
        return read_arrays(self._head["parameters"], self.config, self.path)

    def to_xarray(self) -> Any:
        """An xarray.Dataset: theta (frame, neuron, column) with t, step and the columns' names,
        mass, and each series.

        A series of the frames' steps and times is over `frame` too, so that run.to_xarray().risk /
        .displacement has one value a frame; any other is over <name>_t, its own times, with
        <name>_step; series that share a clock share the first one's. What two clocks have makes a
        table of all pairs: ds.risk.sel(risk_t=ds.t) is first brought to the frames. An mf.Series
        of a measure that the Recorder writes too is one series of both, the frames' moments and its
        own, and so not over `frame`. A series whose name is taken
        (mass, or risk_t where there is risk) is series_<name>. Variables have long_name, and units
        ("θ", "R", "F", "t" for flow time, "1" …) but for a user's series; attributes gamma, alpha,
        law, time_unit, run, status. All frames in memory at once. Needs xarray.
        """
        from .labelled import run_to_xarray

        return run_to_xarray(self)

    def to_netcdf(self, path: Any, exists: str = "error") -> Path:
        """Write to_xarray() as one netCDF-4 file (dimension scales, units, attributes); returns its
        path. Needs h5netcdf.

        xarray.open_dataset(path) reads the same bits without this package. exists: "error", or
        "replace" for a file of that name, which stays until the new one is complete; a recorded run
        is never replaced. Raises FileExistsError, ValueError, and OSError where the disk is full,
        before anything is written.
        """
        from .exporting import to_netcdf

        return to_netcdf(self, path, exists)

    def to_zarr(self, path: Any, exists: str = "error") -> Path:
        """Write to_xarray() as a Zarr store (format 2, a folder), read back by
        xarray.open_zarr(path) to the same bits.

        As `to_netcdf`; only a Zarr store is ever replaced. Needs xarray and zarr: pip install -e
        ".[zarr]".
        """
        from .exporting import to_zarr

        return to_zarr(self, path, exists)

    def content_hash(self) -> str:
        """sha256 over configuration, data, particles (id, step, time, mass, θ), observables, series
        and events, in this order.

        The same for the parts and for the file made of them; blind to provenance, wall times,
        checkpoints and layout.
        """
        return content_hash(self, self._mass, self._pieces)

    @property
    def parameters(self) -> Group:
        """The group of that name, for who copies it."""
        return self._head["parameters"]

    def aligned(self) -> list[str]:
        """Names of the series with one value for each frame: H5MD's observables."""
        return self._pieces.aligned()

    @cached_property
    def _like(self) -> State:
        """The initial State, for what all frames share: columns, origin, and of a centred network
        where f_0 is.
        """
        start = self.start
        if start.start is None and (self.config.get("network") or {}).get("centred"):
            return start.centred()
        return start

    @cached_property
    def _origin(self) -> tuple[InitialLaw, int] | None:
        law, seed = self.law, self.config.get("seed")
        with settings_of(self.path):
            return (law, int(seed)) if law and seed is not None else None
