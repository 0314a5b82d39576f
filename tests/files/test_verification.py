"""What is damaged on the disk is found, and a damaged run is made again to the same bits."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from golden_copies import copied

import meanfield as mf
from meanfield.files import sealing, verification
from meanfield.files.durable import IncompatibleFile
from meanfield.files.recording import Recording
from sims.commands import inspect

X = np.linspace(-1, 1, 8)[:, None]


def flow():
    return mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, np.abs(X[:, 0])))


def recorded(path, stop=None):
    """A run; stopped after a checkpoint at that step, it stays unfinished."""

    def look(flow, state):
        if state.step == stop:
            raise KeyError("the end of this process")
        return float(state.theta.max())

    observers = [mf.Recorder(path, mf.every(2)), mf.Series("largest", mf.every(1), look)]
    start = mf.InitialLaw(dim=1).sample(6, seed=0)
    mf.simulate(flow(), start, mf.RK4, dt=0.1, n_steps=20, observers=observers, progress=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run without functions of its user's."""
    path = tmp_path_factory.mktemp("finished") / "run.h5"
    observers = [mf.Recorder(path, mf.every(2)), mf.Series("risk", mf.every(1))]
    start = mf.InitialLaw(dim=1).sample(6, seed=0)
    mf.simulate(flow(), start, mf.RK4, dt=0.1, n_steps=20, observers=observers, progress=False)
    return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The folder of an unfinished one, with a segment and a checkpoint."""
    path = tmp_path_factory.mktemp("parts") / "run.h5"
    with pytest.raises(KeyError):
        recorded(path, stop=12)
    return path.with_name("run.h5.parts")


def flipped(source, target, bit):
    content = bytearray(Path(source).read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    Path(target).write_bytes(content)
    return target


def bits_of(path, count, seed):
    return np.random.default_rng(seed).integers(8 * Path(path).stat().st_size, size=count).tolist()


def test_a_sound_run_is_sound(finished, parts):
    found = verification.verify(finished)
    assert found.sound and "11 frames" in str(found) and not found.notes
    found = verification.verify(parts)
    assert found.sound and found.status == "unfinished" and "goes on from" in str(found)
    assert verification.verify(parts.with_suffix("")).sound


def test_files_of_earlier_layouts_have_no_seal(tmp_path):
    found = verification.verify(copied("relu-schema1.1.h5", tmp_path))
    assert found.sound and "without a seal" in str(found)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_a_finished_file_is_found(finished, tmp_path, count):
    for bit in bits_of(finished, count, seed=count):
        assert not verification.verify(flipped(finished, tmp_path / "run.h5", bit)).sound, bit


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_an_unfinished_run_is_found(parts, tmp_path, count):
    """start.h5, checkpoints and segments."""
    folder = tmp_path / parts.name
    folder.mkdir()
    files = [item for item in parts.iterdir() if item.suffix == ".h5"]
    assert {item.name.split("-")[0] for item in files} == {"start.h5", "segment", "checkpoint"}
    for item in files:
        (folder / item.name).write_bytes(item.read_bytes())
    for item in files:
        for bit in bits_of(item, count, seed=count):
            flipped(item, folder / item.name, bit)
            assert not verification.verify(folder).sound, (item.name, bit)
        (folder / item.name).write_bytes(item.read_bytes())
    assert verification.verify(folder).sound


def test_a_truncated_file_and_a_longer_one_are_found(finished, tmp_path):
    content = finished.read_bytes()
    for other in (content[:-1], content[: len(content) // 2], content + b"\n", b""):
        (tmp_path / "run.h5").write_bytes(other)
        assert not verification.verify(tmp_path / "run.h5").sound


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_what_is_left_to_do_with_a_file_that_was_cut_off_is_said(finished, tmp_path, capsys, left):
    """By verify and by repair, which promises nothing, touches nothing and sets nothing aside."""
    content, path = finished.read_bytes(), tmp_path / "run.h5"
    path.write_bytes(content[: int(left * len(content))])
    before = path.read_bytes()
    assert inspect.main(["verify", str(path)]) == 7
    said = capsys.readouterr().out
    assert "nothing can be read of it. Put a copy" in said and "repair" not in said
    assert inspect.main(["repair", str(path)]) == 7
    assert "make the run again with its own script" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["run.h5"] and path.read_bytes() == before


def test_a_file_without_its_seal_alone_may_still_be_read(finished, tmp_path):
    """Its end is missing, and nothing of what HDF5 reads."""
    (tmp_path / "run.h5").write_bytes(finished.read_bytes()[: -sealing.LENGTH])
    assert "may still read much of it" in str(verification.verify(tmp_path / "run.h5"))


def test_nothing_goes_on_from_a_damaged_file(finished, parts, tmp_path):
    path = flipped(finished, tmp_path / "run.h5", 8 * 3000)
    with pytest.raises(IncompatibleFile, match="its bytes are not those that were written"):
        mf.resume(path, t_end=3.0, progress=False)
    folder = tmp_path / "other.h5.parts"
    folder.mkdir()
    flipped(parts / "start.h5", folder / "start.h5", 8 * 3000)
    with pytest.raises(IncompatibleFile, match=r"start\.h5 is damaged"):
        Recording.reopen(tmp_path / "other.h5")


def test_a_seal_with_a_flipped_bit_is_damage_and_a_torn_one_is_a_power_cut(parts, tmp_path):
    """Before the first checkpoint: what a power cut has torn may be begun again, nothing else."""
    folder, whole = tmp_path / "run.h5.parts", (parts / "start.h5").read_bytes()
    folder.mkdir()
    end = len(whole) - sealing.LENGTH
    for at in (end, end + 5, end + len(sealing.MARK), len(whole) - 2):
        flipped(parts / "start.h5", folder / "start.h5", 8 * at)
        with pytest.raises(IncompatibleFile, match="its bytes are not those that were written"):
            Recording.reopen(tmp_path / "run.h5")
    (folder / "start.h5").write_bytes(whole[:end] + bytes(sealing.LENGTH))
    with pytest.raises(ValueError, match="killed before it began"):
        Recording.reopen(tmp_path / "run.h5")


def test_a_run_that_is_not_there_keeps_none_of_the_others_from_being_verified(
    finished, tmp_path, capsys
):
    names = [str(finished), str(tmp_path / "none.h5"), str(finished), str(tmp_path / "nor.h5")]
    assert inspect.main(["verify", *names]) == 5
    out, error = capsys.readouterr()
    assert out.count(str(finished)) == 2 and error.count("no run at") == 2


def test_a_damaged_run_is_made_again_to_the_same_bits(finished, tmp_path, capsys):
    """A frame in the middle: none of settings, data and start."""
    with mf.Trajectory(finished) as run:
        wanted = run.content_hash()
        frame = run[5].theta.tobytes()
    at = finished.read_bytes().index(frame)
    path = flipped(finished, tmp_path / "run.h5", 8 * at + 5)
    damaged = path.read_bytes()
    assert frame not in damaged and inspect.main(["verify", str(path)]) == 7
    assert inspect.main(["repair", str(path)]) == 0
    assert "10 of 11 frames can be read" in capsys.readouterr().out
    with mf.Trajectory(path) as run:
        assert run.content_hash() == wanted
    assert path.with_name("run.h5.damaged").read_bytes() == damaged
    assert inspect.main(["verify", str(path)]) == 0 and inspect.main(["repair", str(path)]) == 0
    path.write_bytes(damaged)
    assert inspect.main(["repair", str(path)]) == 5  # one was set aside already
    assert path.read_bytes() == damaged


def test_parts_without_a_whole_checkpoint_begin_again(parts, tmp_path):
    folder = tmp_path / parts.name
    folder.mkdir()
    for item in parts.iterdir():
        damaged = item.name.startswith("segment")
        (folder / item.name).write_bytes(item.read_bytes()[: -50 if damaged else None])
    found = verification.verify(folder)
    assert not found.sound and "no checkpoint is whole" in str(found)
    aside = verification.begin_again(tmp_path / "run.h5")
    assert {item.name.split("-")[0] for item in aside.iterdir()} == {"segment", "checkpoint"}
    functions = {"largest": lambda flow, state: float(state.theta.max())}
    mf.resume(tmp_path / "run.h5", functions=functions, progress=False)
    recorded(tmp_path / "whole.h5")
    with mf.Trajectory(tmp_path / "run.h5") as run, mf.Trajectory(tmp_path / "whole.h5") as whole:
        assert run.content_hash() == whole.content_hash()


def test_settings_that_are_damaged_are_not_begun_from(finished, tmp_path, capsys):
    content = finished.read_bytes()
    path = tmp_path / "run.h5"
    path.write_bytes(content.replace(b'"ridge":0.0', b'"ridge":0.5'))  # another run, as good as any
    before = path.read_bytes()
    assert before != content and inspect.main(["repair", str(path)]) == 7
    assert [item.name for item in tmp_path.iterdir()] == ["run.h5"]
    assert path.read_bytes() == before


def test_what_is_left_of_a_run_with_a_damaged_start_is_said(finished, parts, tmp_path, capsys):
    """Finished or not: how many frames can be read, and what to do; nothing is touched."""
    with mf.Trajectory(finished) as run:
        start, series = run.start.theta.tobytes(), len(run.series_names)
    damaged = tmp_path / "run.h5"
    damaged.write_bytes(finished.read_bytes().replace(start, start[::-1]))
    folder = tmp_path / "other.h5.parts"
    shutil.copytree(parts, folder)
    flipped(parts / "start.h5", folder / "start.h5", 8 * 3000)
    with mf.Trajectory(parts) as run:
        left = f"{len(run)} of {len(run)} frames and {len(run.series_names)} of"
    known = {
        damaged: f"0 of 11 frames and {series} of {series} series",  # frames are of the start's kind
        tmp_path / "other.h5": left,
    }
    for path, text in known.items():
        assert inspect.main(["repair", str(path)]) == 7
        said = capsys.readouterr()
        assert f"mf.Trajectory still reads {text}" in said.err
        assert "make the run again with its own script" in said.err
        # a segment without its start counts for nothing: a new run of that name removes it
        assert ("move the whole folder other.h5.parts away" in said.err) == (path != damaged)
    assert "and repair" not in said.out and folder.is_dir() and damaged.is_file()


def test_an_extension_beside_a_finished_run_is_looked_at_too(parts, finished, tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(finished.read_bytes())
    folder = tmp_path / parts.name
    folder.mkdir()
    for item in parts.iterdir():
        (folder / item.name).write_bytes(item.read_bytes())
    assert verification.verify(path).sound
    (checkpoint,) = folder.glob("checkpoint-*")
    flipped(checkpoint, checkpoint, 8 * 2000)
    found = verification.verify(path)
    assert not found.sound and "no checkpoint is whole" in str(found)


def test_an_extended_run_is_made_again_with_its_extensions(tmp_path):
    """evenly(5) spreads its frames over each stretch."""
    path = tmp_path / "run.h5"
    start = mf.InitialLaw(dim=1).sample(6, seed=0)
    record = mf.Recorder(path, mf.evenly(5))
    mf.simulate(flow(), start, mf.RK4, dt=0.1, t_end=1.0, observers=[record], progress=False)
    mf.resume(path, t_end=1.9, progress=False)
    mf.resume(path, t_end=3.0, progress=False)
    with mf.Trajectory(path) as run:
        wanted, ends = run.content_hash(), verification.ends(run)
        frame = run[3].theta.tobytes()
    assert ends == [1.0, 1.9, 3.0]
    flipped(path, path, 8 * path.read_bytes().index(frame))
    assert inspect.main(["repair", str(path)]) == 0
    with mf.Trajectory(path) as run:
        assert run.content_hash() == wanted and verification.ends(run) == ends


def test_a_run_that_is_begun_again_goes_on_with_no_checkpoint_of_another(finished, parts, tmp_path):
    """A kill while that was given up has left them: its start.h5 is gone, and nothing else."""
    path = shutil.copy(finished, tmp_path / "run.h5")
    shutil.copytree(parts, tmp_path / parts.name)
    (tmp_path / parts.name / "start.h5").unlink()
    verification.begin_again(path)
    assert {item.name for item in (tmp_path / parts.name).iterdir()} == {"start.h5", "lock"}
    mf.resume(path, progress=False)
    assert mf.Trajectory(path).content_hash() == mf.Trajectory(finished).content_hash()
