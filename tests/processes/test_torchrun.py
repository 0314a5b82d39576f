"""Runs of several processes: killed, told to end, and gone on with by another number of them, they have
the content of a run of one process. What ranks add up is in tests/backends/test_part.py.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from started_ranks import environment, started

import meanfield as mf
from meanfield.backends import sharded
from meanfield.files.recording import unfinished
from sims import run
from sims.lab import config as settings
from sims.lab.experiment import Experiment, perform

SETTINGS = """
m = 256
activation = "tanh"
integrator = "euler"
dt = 0.01
t_end = 120
frames = 60
data = { options = { n = 12, dim = 2 } }
"""
OPTIONS = ["--checkpoint-seconds", "0.3", "--timeout", "20"]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """(its file of settings, the content of the run in one process)."""
    file = tmp_path_factory.mktemp("experiment") / "experiment.toml"
    file.write_text(SETTINGS)
    whole = file.with_name("whole.h5")
    perform(settings.load(file, Experiment()), whole)
    with mf.Trajectory(whole) as found:
        return file, found.content_hash()


def ranks(count, file, folders=None, module="sims.run", **more):
    """What torchrun starts, started by hand. folders: in which each works; module: what reads the
    file, None where it is a script; more: variables.
    """
    command = ["-m", module, str(file), *OPTIONS] if module else [str(file)]
    return started(count, command, folders, **more)


def wait_for_checkpoints(file, more, process):
    """Until so many have been published since now; the newest two are kept."""
    folder = file.with_name(f"{file.stem}.h5.parts")
    before, begun = newest(folder), time.monotonic()
    while newest(folder) < before + more and process.poll() is None:
        assert time.monotonic() - begun < 120
        time.sleep(0.02)


def newest(folder):
    names = [path.name for path in folder.glob("checkpoint-*")]
    return max((int(name.split("-")[1]) for name in names), default=0)


@pytest.mark.process
def test_killed_and_told_to_end_a_run_of_several_processes_has_the_content_of_one(experiment):
    """torchrun's two: one is killed by kill -9. Then three: SIGTERM to one of them, which publishes a
    checkpoint. The rest in this process.
    """
    file, content = experiment
    out = file.with_suffix(".h5")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    job = subprocess.Popen(
        [*torchrun, "-m", "sims.run", str(file), *OPTIONS],
        env=environment(OMP_NUM_THREADS="1"), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_checkpoints(file, 2, job)
    children = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    begun = time.monotonic()
    said = job.communicate(timeout=60)[1]
    assert job.returncode and time.monotonic() - begun < 60
    assert "another process of this run has ended" in said
    assert "2 processes share the run, 128 particles and" in said
    assert unfinished(out)

    three = ranks(3, file)
    wait_for_checkpoints(file, 2, three[0])
    three[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=60)[1] for process in three]
    assert [process.returncode for process in three] == [settings.INTERRUPTED] * 3
    assert "interrupted at step" in said[0] and "interrupted" not in said[1] + said[2]

    assert unfinished(out)
    assert run.main([str(file)]) == 0
    with mf.Trajectory(out) as found:
        assert found.content_hash() == content


def two_of_a_long_run(file):
    """Its processes, once there is a checkpoint."""
    file.write_text(SETTINGS.replace("t_end = 120", "t_end = 3000"))
    two = ranks(2, file)
    wait_for_checkpoints(file, 1, two[0])
    return two


@pytest.mark.process
def test_where_the_first_process_is_killed_the_other_says_so_in_one_line(experiment):
    """The store has gone with it, of which torch would tell in fifty."""
    two = two_of_a_long_run(experiment[0].with_name("killed.toml"))
    two[0].kill()
    two[0].communicate()
    said = two[1].communicate(timeout=60)[1]
    assert two[1].returncode == settings.INTERRUPTED
    assert "another process of this run has ended" in said and said.count("\n") == 1, said


@pytest.mark.slow
def test_a_process_that_does_not_answer_is_given_up_after_the_timeout(experiment):
    two = two_of_a_long_run(experiment[0].with_name("stopped.toml"))
    two[1].send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    said = two[0].communicate(timeout=60)[1]
    seconds = time.monotonic() - begun
    two[1].kill()
    two[1].communicate()
    assert two[0].returncode == settings.INTERRUPTED and "has not answered for 20 s" in said
    assert 15 < seconds < 60


@pytest.mark.process
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_process_alone_is_said_once_and_its_code_is_that_of_all(failing, tmp_path):
    """Only one of them finds no data where it works. The other waits for it in a message."""
    folders = [tmp_path / name for name in ("a", "b")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        if number != failing:
            (folder / "table.csv").write_text("x,y\n0,1\n1,2\n2,4\n")
    file = tmp_path / "experiment.toml"
    file.write_text('m = 128\ndata = { name = "table.csv" }')
    two = ranks(2, file, folders)
    said = [process.communicate(timeout=150)[1] for process in two]
    assert [process.returncode for process in two] == [settings.IO] * 2
    assert said[failing].startswith(f"process {failing}: error: ")
    assert "no data file 'table.csv'" in said[failing] and said[failing].count("\n") == 1
    assert said[1 - failing] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "experiment.toml"]


def test_process_0_keeps_the_store_until_all_know_why_another_has_failed():
    """Though it did not fail itself: rank 1 may read later than it."""
    from torch import distributed

    done = threading.Event()

    class OfThree:
        def __init__(self, rank):
            self.get_rank, self.get_world_size = lambda: rank, lambda: 3

    store = distributed.HashStore()
    first, second, third = (sharded.Processes(OfThree(rank), store, 1.0) for rank in range(3))
    store.set("failed/2", '{"code": 5, "line": "error: no data"}')
    assert first.failed(75, "", lost=True) == 5 and third.failures()
    waiting = threading.Thread(target=lambda: (first.wait_for_readers(), done.set()))
    waiting.start()
    assert not done.wait(0.2)
    assert second.failures()[2]["code"] == 5 and done.wait(20)
    waiting.join()


GROUPS = """
import numpy as np, meanfield as mf

x = np.linspace(-1, 1, 8)[:, None]
flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])))
start = mf.InitialLaw(1).sample(128, seed=0)
for _ in range(3):
    with mf.ranks(20) as ranks:
        end = mf.simulate(flow, start, mf.EULER, 0.1, n_steps=2, progress=False)
print(f"rank {ranks.rank} of {ranks.size}: {end.step}\\n", end="")  # one write: whole lines where nothing is buffered
"""


def by_torchrun(script, text):
    """What two processes of torchrun print of a script."""
    script.write_text(text)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return subprocess.run(
        [*torchrun, str(script)], env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True
    )  # fmt: skip


@pytest.mark.process
def test_a_script_shares_one_run_after_the_other(tmp_path):
    """The store of torchrun still has where the processes of the group before were found."""
    done = by_torchrun(tmp_path / "script.py", GROUPS)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", "rank 0 of 2: 2", "rank 1 of 2: 2"]


ALONE = """
import os
import numpy as np, meanfield as mf

x = np.linspace(-1, 1, 8)[:, None]
flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])))
start = mf.InitialLaw(1).sample(128, seed=0)

def mine(flow, state):
    if state.step == 2 and os.environ["RANK"] == "1":
        raise OSError("no space for my notes")
    return 0.0

with mf.ranks(20):
    watch = [mf.Recorder("run.h5", mf.every(1)), mf.Series("mine", mf.every(1), mine)]
    mf.simulate(flow, start, mf.EULER, 0.1, n_steps=4, observers=watch, progress=False)
"""


def two_that_fail(folder, text):
    """What each of two processes of a script says that end with an error."""
    script = folder / "script.py"
    script.write_text(text)
    two = ranks(2, script, [folder] * 2, module=None)
    said = [process.communicate(timeout=150)[1] for process in two]
    assert [process.returncode for process in two] == [1, 1], said
    return said


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:the series 'mine' is written differently")
def test_an_observer_that_raises_in_one_process_alone_says_so_and_ends_all(tmp_path):
    """It sends no message, which the others would take for that of a step: gloo would abort them."""
    said = two_that_fail(tmp_path, ALONE)
    assert "RankLost: process 0: another process of this run has ended" in said[0]
    assert said[0].count("Traceback (most recent call last)") == 1, "none of torch's"
    assert "OSError: no space for my notes" in said[1] and "Only process 1 did" in said[1]
    assert "mf.resume('run.h5', functions={'mine': …})" in said[1]
    assert mf.resume(
        tmp_path / "run.h5", functions={"mine": lambda flow, state: 0.0}, progress=False
    ).step == 4  # fmt: skip


ASKED = """
import os
import numpy as np, meanfield as mf

x = np.linspace(-1, 1, 8)[:, None]
flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])))

class Mine(mf.Observer):
    name = "mine"

    def observe(self, moment):
        if moment.step < 2 or os.environ["RANK"] == "1":
            assert moment.state.m == 128
        return {}

with mf.ranks(10):
    start = mf.InitialLaw(1).sample(128, seed=0)
    mf.simulate(flow, start, mf.EULER, 0.1, n_steps=4, observers=[Mine(mf.every(1))], progress=False)
"""


@pytest.mark.process
def test_a_state_that_one_process_alone_asks_for_is_an_error_and_no_abort(tmp_path):
    """gloo ends a process that is sent what it does not expect."""
    said = two_that_fail(tmp_path, ASKED)
    assert "process 1 asks for moment.state at step 2, and not all 2" in said[1]
    assert "RankLost: process 0: another process of this run has ended" in said[0]


LATE = """
import os, sys, time
from sims import run

time.sleep(2 * (os.environ["RANK"] == "0"))
sys.exit(run.main(["--wrong", "experiment.toml"]))
"""


@pytest.mark.slow
def test_a_wrong_option_is_said_once_whichever_process_sees_it_first(tmp_path):
    """torchrun ends the others when the first has ended."""
    done = by_torchrun(tmp_path / "script.py", LATE)
    assert done.returncode and done.stderr.count("unrecognized arguments: --wrong") == 1


@pytest.mark.slow
def test_two_processes_on_simulated_gpus_have_the_content_of_one(tmp_path):
    """By gloo: 300 particles are two slabs."""
    pytest.importorskip("numba_cuda", reason="the CUDA backend needs numba-cuda (Linux only)")
    contents = []
    for count in (1, 2):
        file = tmp_path / f"{count}.toml"
        file.write_text(
            'm = 300\nbackend = "cuda"\nintegrator = "euler"\ndt = 0.1\nt_end = 0.2\nframes = 2\n'
            "data = { options = { n = 4, dim = 2 } }"
        )
        started = ranks(count, file, NUMBA_ENABLE_CUDASIM="1")
        said = [process.communicate(timeout=600)[1] for process in started]
        assert [process.returncode for process in started] == [0] * count, said
        with mf.Trajectory(file.with_suffix(".h5")) as run:
            assert run.config["flow"]["backend"] == "cuda"
            contents.append(run.content_hash())
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_a_setting_that_does_not_exist_is_said_once(experiment):
    file = experiment[0].with_name("wrong.toml")
    file.write_text("gama = 1")
    two = ranks(2, file)
    said = [process.communicate(timeout=150)[1] for process in two]
    assert [process.returncode for process in two] == [settings.USAGE] * 2
    assert "Did you mean" in said[0] and said[1] == ""


def test_a_wrong_option_is_said_where_no_other_process_comes_to_hear_it(monkeypatch, capsys):
    @contextmanager
    def nobody(timeout):
        raise mf.RankLost("another process of this run has ended")
        yield

    monkeypatch.setattr(mf, "ranks", nobody)
    assert run.main(["--wrong", "experiment.toml"]) == settings.USAGE
    assert "unrecognized arguments: --wrong" in capsys.readouterr().err


def test_a_command_line_says_what_is_wrong(tmp_path, capsys):
    assert run.main([str(tmp_path / "none.toml")]) == settings.IO
    file = tmp_path / "wrong.toml"
    file.write_text("gama = 1")
    assert run.main([str(file)]) == settings.USAGE
    assert run.main([str(file), "--timeout", "0"]) == settings.USAGE
    assert run.main([str(file), "--out", str(file)]) == settings.USAGE
    said = capsys.readouterr().err
    assert "gamma" in said and "timeout must be" in said
    assert list(tmp_path.iterdir()) == [file]


def test_an_interruption_is_said_as_all_else_of_a_run(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise mf.Interrupted("interrupted at step 3, t = 0.1", None)

    file = tmp_path / "experiment.toml"
    file.write_text("m = 64")
    monkeypatch.setattr(run.experiment, "perform", interrupted)
    assert run.main([str(file)]) == settings.INTERRUPTED
    said = "interrupted at step 3, t = 0.1. The same command goes on from here."
    assert capsys.readouterr().err == f"meanfield: {said}\n"


@pytest.mark.parametrize(
    "variables, threads",
    [({}, None), ({"LOCAL_WORLD_SIZE": "1"}, None), ({"LOCAL_WORLD_SIZE": "2"}, 4),
     ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, 4), ({"LOCAL_WORLD_SIZE": "16"}, 1),
     ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3"}, None)],
)  # fmt: skip
def test_processes_share_the_cores_of_their_machine(monkeypatch, variables, threads):
    """torchrun sets OMP_NUM_THREADS=1 unasked; another number was asked for."""
    from meanfield.processes import threads as found

    for name in ("LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(found, "cores", lambda: 8)
    assert found.share_of_rank() == threads


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (
            'data = { name = "digits", options = { corrupt = 2 } }',
            4,
            "data.options: corrupt must be",
        ),
        ('data = { name = "nowhere.csv" }', 5, "no data file 'nowhere.csv'"),
        ("axes.m = [8, 16]", 2, "is the file of a sweep, it has axes: scripts/sweep create"),
        (None, 5, "settings.toml: No such file or directory"),
    ],
)
def test_a_file_of_settings_with_a_mistake_makes_nothing(text, code, words, tmp_path, capsys):
    """Another data set than the default's does not get the options of the default's."""
    file = tmp_path / "settings.toml"
    if text:
        file.write_text(text)
    assert run.main([str(file)]) == code
    line = capsys.readouterr().err
    assert words in line and "[Errno" not in line and line.count("\n") == 1
    assert not list(tmp_path.glob("*.h5*"))
