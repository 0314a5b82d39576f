"""The seal of a large file is made while its frames are written, and is that of all its bytes."""

import numpy as np
import pytest
import toy_run
from broken_disk import one_write_fails

from meanfield.files import durable, genealogy, hdf5, new_files, sealing
from meanfield.files.following import Followed
from meanfield.files.trajectory import Trajectory

KINDS = {"as it is": {}, "masses that vary": {"mass_varies": True}, "events": {"births": 3}}


def follow(monkeypatch):
    """From now on every frame is a large one, and every file; returns what each seal begins with."""
    begun, real = [], sealing.seal

    def noted(file, content=None, hashed=None):
        begun.append(hashed and hashed._at)
        real(file, content, hashed)

    monkeypatch.setattr(new_files, "IN_MEMORY", 0)
    monkeypatch.setattr(hdf5, "AT_ONCE", 1)
    monkeypatch.setattr(durable, "WRITE_BACK", 1000)
    monkeypatch.setattr(sealing, "seal", noted)
    return begun


def finished(path, births=0, **more):
    recording = toy_run.create(path, **more)
    for born in range(births):
        recording.log(
            genealogy.rows(np.array([0, 1, 2, 3, 4, 5, 6, 6]), born + 1, 0.1 * (born + 1), born + 1)
        )
    recording.finish(toy_run.record(recording, None, 20, 100), {})
    with Trajectory(path) as run:
        return run.content_hash()


@pytest.mark.parametrize("largest", [hdf5.LARGEST_CHUNK, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_file_of_small_frames_with_a_seal(kind, largest, tmp_path, monkeypatch):
    """Frames in chunks of their own, and cut into rows of which the last ones are padding."""
    right = finished(tmp_path / "small.h5", **KINDS[kind])
    begun = follow(monkeypatch)
    monkeypatch.setattr(hdf5, "LARGEST_CHUNK", largest)
    path = tmp_path / "large.h5"
    assert finished(path, **KINDS[kind]) == right
    assert sealing.broken(path) is None
    assert begun[0] is None and begun[1] > path.stat().st_size // 4


def test_what_is_written_again_behind_the_thread_is_hashed_again(tmp_path):
    for again, lost in ((b"head", False), (b"HEAD", True)):
        path = tmp_path / again.decode()
        file = Followed(path)
        file.write(b"head")
        with file.placing(1 << 20):
            for _ in range(12):
                file.write(bytes(1 << 20))
        file.write(b"tail")
        assert path.stat().st_size == 4 + (12 << 20) + 4
        file.follow()
        for number in range(12):
            file.seek(4 + (number << 20))
            file.write(bytes([number]) * (1 << 20))
        file.seek(0)
        file.write(again)
        assert (file._hash is None) == lost
        file.complete(lambda: None)
        file.close()
        assert sealing.broken(path) is None and path.read_bytes().startswith(again + bytes(9))


@pytest.mark.parametrize("written", range(60, 140, 13))
def test_where_the_disk_refuses_a_frame_the_parts_are_tried(written, tmp_path, monkeypatch):
    follow(monkeypatch)
    path, failed = tmp_path / "run.h5", one_write_fails(monkeypatch, written)
    finished(path)
    assert failed and sealing.broken(path) is None
