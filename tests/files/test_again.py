"""A small file is written over the one before that was like it: its bytes are those of a file made afresh."""

import threading

import h5py
import numpy as np
import pytest
import toy_run

from meanfield.files import durable, genealogy, hdf5, new_files, publishing
from meanfield.files.recording import Recording
from meanfield.files.trajectory import Trajectory

KINDS = {
    "as it is": {},
    "longer": {"steps": 30},
    "other data": {"arrays": {"x": toy_run.X + 1, "y": toy_run.Y - 1}},
    "more data": {"arrays": {"x": np.ones((9, 2)), "y": np.ones(9), "weights": np.ones(9)}},
    "labels that are the inputs": {"arrays": {"x": toy_run.X, "y": toy_run.X}},
    "no samples": {"arrays": {}},
    "a longer text": {"provenance": {"author": "somebody", "command": "x" * 3000}},
    "a formula": {"identity": {"series": {"mine": "0.0"}}},
    "more neurons": {"first": toy_run.start(11)},
    "float32": {"first": toy_run.start(dtype=np.float32)},
    "masses that vary": {"mass_varies": True},
    "events": {"births": 3},
    "more events": {"births": 5},
}


@pytest.fixture(autouse=True)
def afresh():
    forget()
    yield
    forget()


def forget():
    for kept in list(new_files._kept.values()):
        new_files._close(*kept)
    new_files._kept.clear()


def finished(path, steps=20, status="finished", births=0, **more):
    recording = toy_run.create(path, "replace", steps, **more)
    for born in range(births):
        source = np.arange(8)
        source[born] = 7
        recording.log(genealogy.rows(source, born + 1, 0.1 * (born + 1), born + 1))
    memory = toy_run.record(recording, None, steps, 100)
    recording.finish(memory, {"energy": 1 / (1 + steps)}, status)
    return path


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize(
    "first", ["as it is", "a formula", "more data", "more neurons", "more events"]
)
def test_whatever_was_written_before_a_file_has_the_same_bytes(first, second, tmp_path):
    alone = finished(tmp_path / "alone.h5", **KINDS[second]).read_bytes()
    forget()
    finished(tmp_path / "before.h5", **KINDS[first])
    assert finished(tmp_path / "run.h5", **KINDS[second]).read_bytes() == alone
    assert finished(tmp_path / "run.h5", **KINDS[second]).read_bytes() == alone


def test_nothing_is_made_in_a_file_like_the_one_before(tmp_path, monkeypatch):
    def new(*_, **__):
        raise AssertionError("made again")

    finished(tmp_path / "before.h5")
    monkeypatch.setattr(hdf5, "_new", new)
    monkeypatch.setattr(h5py.h5g, "create", new)
    monkeypatch.setattr(h5py.h5a, "create", new)
    other = {"arrays": {"x": toy_run.X * 2, "y": toy_run.Y}, "provenance": {"author": "nobody"}}
    with Trajectory(finished(tmp_path / "run.h5", status="finished", **other)) as run:
        np.testing.assert_array_equal(run.data.x, toy_run.X * 2)
        assert len(run) == 5


def test_a_file_that_could_not_be_written_is_not_written_over(tmp_path, monkeypatch):
    alone = finished(tmp_path / "alone.h5").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(publishing.schema, "write_views", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finished(tmp_path / "fails.h5")
    assert finished(tmp_path / "run.h5").read_bytes() == alone


def test_larger_files_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(new_files, "KEPT", 1000)
    finished(tmp_path / "run.h5")
    assert not new_files._kept


def test_threads_write_each_their_own(tmp_path):
    alone, found = finished(tmp_path / "alone.h5").read_bytes(), []

    def several(number):
        for turn in range(4):
            found.append(finished(tmp_path / f"{number}-{turn}.h5").read_bytes())

    threads = [threading.Thread(target=several, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and set(found) == {alone}


def test_an_extension_has_the_data_and_formulas_of_its_run(tmp_path):
    path = finished(tmp_path / "run.h5", **KINDS["more data"], **KINDS["a formula"])
    with Trajectory(path) as run:
        before = run.data_sha256, run.identity, run.arrays["weights"].tobytes()
    recording, memory = Recording.extend(path)
    recording.finish(memory, {})
    with Trajectory(path) as run:
        assert (run.data_sha256, run.identity, run.arrays["weights"].tobytes()) == before


def read_again(path, monkeypatch, **kind):
    """What `holds_again` is asked of the third file of a kind: (layout, image, head, pieces, sums)."""
    asked, real = [], publishing.holds_again
    with monkeypatch.context() as patch:
        patch.setattr(
            publishing, "holds_again", lambda *given: (asked.append(given), real(*given))[1]
        )
        for _ in range(3):
            finished(path, **kind)
    return asked[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_the_third_file_is_read_back_without_hdf5(kind, tmp_path, monkeypatch):
    """Of the content, of its checksums and of all that says where it is."""
    layout, image, *made = read_again(tmp_path / "run.h5", monkeypatch, **KINDS[kind])
    if len({*made[2].values()}) < len(made[2]):  # of equal arrays: HDF5 says whose sha256 is which
        assert not publishing.holds_again(layout, image, *made)
        return
    assert publishing.holds_again(layout, image, *made)
    assert (tmp_path / "run.h5").read_bytes().startswith(image)
    names = publishing.content_names(*made[:2])
    with h5py.File(tmp_path / "run.h5") as file:
        places = [place for name in names for place in hdf5.places_of(file[name].id)]
    content = {at for first, size in places for at in (first, first + size - hdf5.CHECKSUM - 1)}
    structure = {at for first, part in layout._rest for at in (first, first + len(part) - 1)}
    structure |= {image.index(word) for word in (b"observables", b"h5md", b"memory", b"TREE")}
    sums = {image.index(text.encode()) for text in made[2].values()}
    assert len(content) > 20 and len(structure) > 20
    for at in content | structure | sums:
        changed = bytearray(image)
        changed[at] ^= 1
        assert not publishing.holds_again(layout, bytes(changed), *made), at
    assert not publishing.holds_again(layout, image[:-1], *made)
    assert not publishing.holds_again(layout, image + b"\0", *made)


def test_a_third_file_of_other_content_is_not_taken_for_what_it_should_be(tmp_path, monkeypatch):
    layout, image, head, pieces, sums = read_again(tmp_path / "run.h5", monkeypatch)
    others = {
        "settings": (head._replace(config={**head.config, "seed": 4}), pieces, sums),
        "masses": (
            head._replace(start=head.start.moved(head.start.theta, np.arange(1.0, 9) / 36)),
            pieces,
            sums,
        ),
        "data": (head, pieces, {**sums, "x": sums["y"]}),
        "one more array": (head, pieces, {**sums, "weights": sums["x"]}),
    }
    for name, other in others.items():
        assert not publishing.holds_again(layout, image, *other), name
    for steps in (15, 25):  # fewer frames, and more
        recording = toy_run.create(tmp_path / f"{steps}.h5", steps=steps)
        toy_run.record(recording, None, steps, 100)
        other = publishing.Pieces([]).held_last(recording._buffer)
        recording.close()
        assert not publishing.holds_again(layout, image, head, other, sums)


def test_hdf5_reads_back_the_first_two_files_of_a_layout(tmp_path, monkeypatch):
    read, real = [], publishing.holds_content
    monkeypatch.setattr(
        publishing, "holds_content", lambda *given: (read.append(1), real(*given))[1]
    )
    counts = []
    for kind in ("as it is", "as it is", "other data", "a longer text", "as it is", "as it is"):
        finished(tmp_path / "run.h5", **KINDS[kind])
        counts.append(len(read))
    assert counts == [1, 2, 2, 3, 4, 5]  # a longer text is another layout


def test_what_changed_in_memory_is_found_by_hdf5(tmp_path, monkeypatch):
    """A file that does not look like those before it is read back name by name, as they were."""
    for _ in range(3):
        finished(tmp_path / "run.h5")
    before, real = (tmp_path / "run.h5").read_bytes(), new_files._image

    def changed(file):
        return real(file).replace(b"observables", b"observablez")

    monkeypatch.setattr(new_files, "_image", changed)
    with pytest.raises(durable.IncompatibleFile):
        finished(tmp_path / "run.h5")
    assert (tmp_path / "run.h5").read_bytes() == before
    assert (tmp_path / "run.h5.parts").is_dir()


def test_data_that_somebody_changes_during_the_run_are_in_its_file_as_they_were(tmp_path):
    arrays = {"x": toy_run.X.copy(), "y": toy_run.Y.copy()}
    recording = toy_run.create(tmp_path / "run.h5", arrays=arrays)
    memory = toy_run.record(recording, None, 20, 100)
    arrays["x"] += 1
    recording.finish(memory, {})
    with Trajectory(tmp_path / "run.h5") as run:
        np.testing.assert_array_equal(run.data.x, toy_run.X)
