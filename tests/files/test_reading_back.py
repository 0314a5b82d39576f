"""What a new file holds is compared with what it was made of, byte by byte, where HDF5 has put it."""

import h5py
import numpy as np
import pytest
import toy_run

import meanfield as mf
from meanfield.files import new_files, publishing, reading_back, schema
from meanfield.files.pieces import Buffer, Pieces


def written(path, mass_varies):
    """A file of five frames and a series: (head, pieces, places)."""
    first, held = toy_run.start(), Buffer()
    for step in range(5):
        held.add_frame(toy_run.state_at(step, first), mass_varies)
    held.add_values("energy", [0, 3], [0.0, 0.3], [-0.0, np.nan])
    head = publishing.Head({"m": 8}, first, mass_varies, {})
    pieces = Pieces([]).held_last(held)
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        schema.write_head(file, *head[:1], head.provenance, first, mass_varies)
        schema.write_frames(file, pieces, first, mass_varies, lambda: None)
        schema.write_series(file, "energy", *pieces.series("energy"))
        if not mass_varies:
            schema.write_array(file["particles/units"], "mass", first.mass)
        places = new_files.places_of(file, reading_back.content_names(head, pieces))
    return head, pieces, places


@pytest.mark.parametrize("mass_varies", [False, True])
@pytest.mark.parametrize("largest", [schema.LARGEST_CHUNK, 100])
def test_every_byte_of_the_content_is_compared(mass_varies, largest, tmp_path, monkeypatch):
    """Frames in chunks of their own, and cut into rows of which the last ones are padding."""
    monkeypatch.setattr(schema, "LARGEST_CHUNK", largest)
    schema._layout.cache_clear()
    path = tmp_path / "run.h5"
    head, pieces, places = written(path, mass_varies)
    assert reading_back.holds_content(path, head, pieces, places)
    content = path.read_bytes()
    for found in places.values():
        place = found.places[0]
        changed = bytearray(content)
        changed[place.offset] ^= 1
        path.write_bytes(changed)
        assert not reading_back.holds_content(path, head, pieces, places)
    path.write_bytes(content)
    assert reading_back.holds_content(path, head, pieces, places)


def test_a_dataset_that_lacks_a_frame_or_is_of_another_shape_is_found(tmp_path):
    head, pieces, places = written(tmp_path / "run.h5", False)
    name = f"{schema.POSITION}/value"
    shape, found = places[name]
    for other in ((shape, found[:-1]), ((4, *shape[1:]), found[:-1])):
        wrong = {**places, name: new_files.Places(*other)}
        assert not reading_back.holds_content(tmp_path / "run.h5", head, pieces, wrong)
    longer = mf.State.trusted(head.start.theta, 1, head.start.mass, 5, 0.5)
    held = Buffer()
    for frame in (*(toy_run.state_at(step, head.start) for step in range(5)), longer):
        held.add_frame(frame, False)
    held.add_values("energy", [0, 3], [0.0, 0.3], [-0.0, np.nan])
    more = Pieces([]).held_last(held)
    assert not reading_back.holds_content(tmp_path / "run.h5", head, more, places)


@pytest.mark.parametrize("in_memory", [new_files.IN_MEMORY, 0])
def test_names_and_indices_are_read_back_too(in_memory, tmp_path, monkeypatch):
    """A byte that changes outside all arrays: the run is not published, and its parts are kept."""
    monkeypatch.setattr(new_files, "IN_MEMORY", in_memory)
    real = publishing.begins_with if in_memory else schema.open_hdf5

    def spoilt(path, *image):
        content = path.read_bytes()
        if path.name == ".tmp-merged.h5":
            path.write_bytes(content.replace(b"observables", b"observablez"))
        return real(path, *image)

    place = (publishing, "begins_with") if in_memory else (schema, "open_hdf5")
    monkeypatch.setattr(*place, spoilt)
    x = np.linspace(-1, 1, 8)[:, None]
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])))
    start, path = mf.InitialLaw(1).sample(8, seed=0), tmp_path / "run.h5"
    with pytest.raises(mf.files.durable.IncompatibleFile):
        mf.simulate(flow, start, mf.EULER, 0.1, n_steps=2, observers=[mf.Recorder(path, mf.every(1))], progress=False)  # fmt: skip
    assert not path.exists() and path.with_name("run.h5.parts").is_dir()
