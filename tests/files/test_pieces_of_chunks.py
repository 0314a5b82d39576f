"""A chunk may hold many frames of masses or ids, or all events. What comes and goes in pieces is
written, and read, once for all that: HDF5 by itself takes the whole chunk for each piece of a large one.
"""

import h5py
import numpy as np
import pytest
import toy_run

import meanfield as mf
from meanfield.files import durable, hdf5, new_files
from meanfield.files.pieces import Block

FRAMES, M = 40, 60_000  # 19 MB: more than any version of HDF5 keeps


@pytest.mark.parametrize("together", [1, 7])
@pytest.mark.parametrize("shape", [(FRAMES, M), (FRAMES * M,)], ids=["masses", "events"])
def test_rows_of_a_large_chunk_are_written_once(shape, together, tmp_path, monkeypatch):
    moved, write, read = [], durable.Scratch.write, durable.Scratch.readinto

    def written(self, data):
        moved.append(len(data))
        return write(self, data)

    def taken(self, buffer):
        moved.append(len(buffer))
        return read(self, buffer)

    monkeypatch.setattr(durable.Scratch, "write", written)
    monkeypatch.setattr(durable.Scratch, "readinto", taken)
    array = np.random.default_rng(0).random(shape)
    step = together * len(array) // FRAMES
    path = tmp_path / "large.h5"
    with new_files.new_hdf5(path, new_files.IN_MEMORY + 1) as (file, _):
        made = hdf5.new_array(file, "value", shape, array.dtype)
        for first in range(0, len(array), step):
            hdf5.write_rows(made, first, array[first : first + step])
    assert array.nbytes < sum(moved) < 1.1 * array.nbytes
    with hdf5.open_hdf5(path) as file:
        np.testing.assert_array_equal(hdf5.whole(file["value"]), array)


class Counted:
    """Frames in chunks of some, and which were asked for."""

    def __init__(self, frames, chunk):
        self._frames, self.nbytes = frames, frames.nbytes
        self.chunks, self.asked = (chunk, *frames.shape[1:]), []

    def __len__(self):
        return len(self._frames)

    def __getitem__(self, which):
        self.asked.append(which)
        return self._frames[which].copy()


@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_frames_of_one_chunk_are_read_together(chunk, monkeypatch):
    monkeypatch.setattr(hdf5, "AT_ONCE", 1)  # all frames are large
    frames = np.arange(40.0).reshape(10, 4)
    counted = Counted(frames, chunk)
    block = Block(0, counted)
    for number in range(10):
        np.testing.assert_array_equal(block.frame(number), frames[number])
        rows = block.frames(number, 2)
        np.testing.assert_array_equal(rows, frames[number : number + len(rows)])
    assert chunk == 1 or len(counted.asked) == -(-10 // chunk)
    kept = block.frame(0)
    kept[:] = -1  # whose it is
    np.testing.assert_array_equal(block.frame(0), frames[0])


def test_a_run_that_another_program_has_copied_without_chunks_is_read(h5_path, tmp_path):
    """As h5repack lays arrays out where it is asked for contiguous ones."""
    toy_run.whole(h5_path)
    copy, name = tmp_path / "copy.h5", "particles/units/position/value"
    with h5py.File(h5_path) as file, h5py.File(copy, "w") as other:
        for group in file:
            file.copy(group, other)
        frames = other[name][()]
        del other[name]
        other[name] = frames
    with mf.Trajectory(h5_path) as run, mf.Trajectory(copy) as again:
        assert again.content_hash() == run.content_hash()
