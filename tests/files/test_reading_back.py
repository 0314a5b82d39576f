"""What a new file holds is compared with what it was made of, byte by byte."""

import errno
import os

import h5py
import numpy as np
import pytest
import toy_run

import meanfield as mf
from meanfield.files import hdf5, new_files, publishing, reading_back, schema, sealing
from meanfield.files.pieces import Buffer, Pieces


def held(frames=5, mass_varies=False, m=8):
    """(head, pieces) of so many frames and a series."""
    first, buffer = toy_run.start(m), Buffer()
    for step in range(frames):
        buffer.add_frame(toy_run.state_at(step, first), mass_varies)
    buffer.add_values("energy", [0, 3], [0.0, 0.3], [-0.0, np.nan])
    head = publishing.Head({"m": m}, first, mass_varies, {})
    return head, Pieces([]).held_last(buffer)


def write(path, head, pieces):
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        schema.write_head(file, head.config, head.provenance, head.start, head.mass_varies)
        schema.write_frames(file, pieces, head.start, head.mass_varies, lambda: None)
        schema.write_series(file, "energy", *pieces.series("energy"))
        if not head.mass_varies:
            hdf5.write_array(file["particles/units"], "mass", head.start.mass)


def holds(path, head, pieces):
    try:
        with hdf5.open_hdf5(path) as file, hdf5.reading(path):
            return reading_back.holds_content(file, head, pieces)
    except mf.files.durable.IncompatibleFile:  # HDF5 has found it
        return False


def stored(path, names):
    """(offset, size) of each chunk of these datasets, or of each that lies in one piece."""
    with h5py.File(path, "r") as file:
        for dataset in (file[name].id for name in names):
            if (offset := dataset.get_offset()) is not None:
                yield offset, dataset.get_storage_size()
            for number in range(dataset.get_num_chunks() if offset is None else 0):
                found = dataset.get_chunk_info(number)
                yield found.byte_offset, found.size - hdf5.CHECKSUM


@pytest.mark.parametrize("mass_varies", [False, True])
@pytest.mark.parametrize("largest", [hdf5.LARGEST_CHUNK, 100])
def test_every_piece_of_the_content_is_compared(mass_varies, largest, tmp_path, monkeypatch):
    """Frames in chunks of their own, and cut into rows of which the last ones are padding."""
    monkeypatch.setattr(hdf5, "LARGEST_CHUNK", largest)
    path = tmp_path / "run.h5"
    head, pieces = held(mass_varies=mass_varies)
    write(path, head, pieces)
    assert holds(path, head, pieces)
    content = path.read_bytes()
    found = list(stored(path, reading_back.content_names(head, pieces)))
    assert len(found) > 10
    for offset, size in found:
        for at in (0, size - 1) if largest > 100 else (0,):
            changed = bytearray(content)
            changed[offset + at] ^= 1
            path.write_bytes(changed)
            assert not holds(path, head, pieces)
    path.write_bytes(content)
    assert holds(path, head, pieces)


def test_what_lacks_a_frame_or_is_of_another_shape_is_found(tmp_path):
    path = tmp_path / "run.h5"
    head, pieces = held()
    write(path, head, pieces)
    for other in (held(4), held(6), held(m=7), held(m=9)):
        assert not holds(path, head, other[1])
    wider = mf.State.trusted(np.zeros((8, 5)), 1, head.start.mass, 0, 0.0)
    buffer = Buffer()
    for step in range(5):
        buffer.add_frame(toy_run.state_at(step, wider), False)
    buffer.add_values("energy", [0, 3], [0.0, 0.3], [-0.0, np.nan])
    assert not holds(path, head, Pieces([]).held_last(buffer))
    with h5py.File(path, "r+") as file:  # the last frame was never written
        del file[f"{schema.POSITION}/value"]
        value = hdf5.new_array(file[schema.POSITION], "value", (5, 8, 4), np.float64)
        for number in range(4):
            value[number] = pieces.frame(number, f"{schema.POSITION}/value")
    assert not holds(path, head, pieces)


def test_a_file_that_is_cut_short_does_not_begin_with_its_image(tmp_path):
    path, image = tmp_path / "run.h5", bytes(range(256)) * (sealing.BLOCK // 100)
    for found, same in ((image, True), (image + b"seal", True), (image[:-1], False), (b"", False)):
        path.write_bytes(found)
        assert reading_back.begins_with(path, image) == same
    changed = bytearray(image)
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert not reading_back.begins_with(path, image)


@pytest.mark.parametrize("in_memory", [new_files.IN_MEMORY, 0])
def test_names_and_indices_are_read_back_too(in_memory, tmp_path, monkeypatch):
    """A byte that changes outside all arrays: the run is not published, and its parts are kept."""
    monkeypatch.setattr(new_files, "IN_MEMORY", in_memory)
    real = publishing.begins_with if in_memory else hdf5.open_hdf5

    def spoilt(path, *image):
        content = path.read_bytes()
        if path.name == ".tmp-merged.h5":
            path.write_bytes(content.replace(b"observables", b"observablez"))
        return real(path, *image)

    place = (publishing, "begins_with") if in_memory else (hdf5, "open_hdf5")
    monkeypatch.setattr(*place, spoilt)
    x = np.linspace(-1, 1, 8)[:, None]
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])))
    start, path = mf.InitialLaw(1).sample(8, seed=0), tmp_path / "run.h5"
    with pytest.raises(mf.files.durable.IncompatibleFile):
        mf.simulate(flow, start, mf.EULER, 0.1, n_steps=2, observers=[mf.Recorder(path, mf.every(1))], progress=False)  # fmt: skip
    assert not path.exists() and path.with_name("run.h5.parts").is_dir()


def test_a_disk_that_does_not_read_is_no_damage(tmp_path):
    """h5py raises RuntimeError for a chunk, and says the number in its text."""
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        hdf5.write_array(file, "a", np.arange(10_000.0))
    with h5py.File(path, "r") as file, open("/dev/null", "wb") as unreadable:
        os.dup2(unreadable.fileno(), file.id.get_vfd_handle())
        with pytest.raises(OSError, match="Bad file descriptor") as raised, hdf5.reading(path):
            hdf5.stored(file["a"].id, (0,))
    assert raised.value.errno == errno.EBADF and raised.value.filename == str(path)
