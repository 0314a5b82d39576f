"""Jobs of a cluster: started for real on this machine; for SLURM the script and the pickled jobs,
by an sbatch that takes notes.

No SLURM cluster is at hand: that its own signal reaches the job, and its own queue takes the job
again, is submitit's promise.
"""

import os
import re
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
import submitit

from sims.commands import sweep
from sims.sweeps import folders, leases, plans, reporting, submission
from sims.sweeps.submission import Job, Request
from sims.sweeps.workers import Terms

DATA = {"name": "teacher_student", "options": {"n": 12, "dim": 3}}


def made(folder, **base):
    settings = {"m": 8, "t_end": 0.5, "dt": 0.1, "frames": 2, "data": DATA, **base}
    return folders.create(plans.plan({"base": settings, "axes": {"gamma": [0.5, 1]}}), folder)[0]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A PATH on which srun is found, and an sbatch that prints what sbatch prints and keeps the
    script.
    """
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (
        ("srun", "exit 1"),
        ("sbatch", f'cp "$1" "{tmp_path}/script.sh"\necho "Submitted batch job 4711"'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "script.sh"


def test_local_jobs_make_a_sweep(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    made_sweep = made(tmp_path / "sweep")
    jobs = submission.submit(made_sweep, Request("local", workers=2, minutes=5), Terms())
    assert [job.result() for job in jobs] == ["2 of 2 runs are there"] * 2
    assert made_sweep.published() == set(made_sweep.plan.runs)
    assert any((made_sweep.logs / "jobs").iterdir())


@pytest.mark.skipif(not os.path.exists("/proc"), reason="finds the job's process in /proc")
def test_the_warning_before_the_end_checkpoints_and_the_job_goes_on_in_a_new_one(
    tmp_path, monkeypatch
):
    """The signal that the controller sends signal_delay_s before the time is up; the run is
    endless.
    """
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    made_sweep = made(tmp_path / "sweep", t_end=1e6)
    (job,) = submission.submit(
        made_sweep, Request("local", workers=1, minutes=30), Terms(checkpoint_seconds=0.0)
    )
    try:
        worker = until(
            lambda: next(
                (h.pid for p in made_sweep.leases.glob("[0-9a-f]*") if (h := leases.look(p))), None
            )
        )
        until(lambda: any(made_sweep.work.glob("*/run.h5.parts/checkpoint-*")))
        fields = Path(f"/proc/{worker}/status").read_text(encoding="utf-8").splitlines()
        parent = next(int(line.split()[1]) for line in fields if line.startswith("PPid:"))
        os.kill(parent, signal.SIGUSR2)
        log = until(lambda: text if "from checkpoint" in (text := logs(made_sweep)) else None)
        assert log.index("interrupted") < log.index("from checkpoint")
        assert "Requeued job" in job.stdout()
    finally:
        job.cancel()
    until(lambda: not any(made_sweep.leases.glob("[0-9a-f]*")))
    job._process.wait(30)


def logs(made_sweep):
    """Of the workers, in the order in which they were started."""
    files = sorted(made_sweep.logs.glob("*.log"), key=lambda path: path.stat().st_ctime_ns)
    return "".join(path.read_text(encoding="utf-8") for path in files)


def until(condition):
    end = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_the_slurm_script_asks_for_what_was_asked(tmp_path, slurm, capsys):
    folder = made(tmp_path / "sweep").path
    options = [
        "--partition",
        "cpu",
        "--account",
        "theory",
        "--cpus",
        "4",
        "--memory",
        "2.5",
        "--sbatch",
        "gres=gpu:1",
        "qos=long",
    ]
    words = [
        "submit",
        str(folder),
        "--engine",
        "slurm",
        "--workers",
        "3",
        "--time",
        "240",
        *options,
    ]
    assert sweep.main(words) == 0
    assert "started 3 jobs (4711_0, 4711_1, 4711_2)" in capsys.readouterr().out
    script = slurm.read_text(encoding="utf-8")
    asked = ("job-name=sweep", "time=240", "signal=USR2@120", "partition=cpu", "account=theory", "cpus-per-task=4", "mem=2560MB",
             "gres=gpu:1", "qos=long", "array=0-2%3", "open-mode=append")  # fmt: skip
    for line in asked:
        assert f"#SBATCH --{line}\n" in script
    assert (
        f"{sys.executable} -u -m submitit.core._submit" in script
        and str(folder / "logs/jobs") in script
    )


def test_what_slurm_starts_makes_the_sweep_and_can_be_queued_again(tmp_path, slurm):
    """The pickled job is loaded and called as on a node; its checkpoint is a job with the same
    settings.
    """
    made_sweep = made(tmp_path / "sweep")
    submission.submit(
        made_sweep, Request("slurm", workers=1, minutes=60), Terms(checkpoint_seconds=5.0)
    )
    (pickled,) = (made_sweep.logs / "jobs").glob("*submitted.pkl")
    delayed = submitit.core.utils.DelayedSubmission.load(pickled)
    job = delayed.function
    again = job.checkpoint().function
    assert again == Job(made_sweep.path.resolve(), Terms(checkpoint_seconds=5.0), 96.0, None) == job
    assert delayed.result() == "2 of 2 runs are there"


def test_without_slurm_the_message_names_the_other_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        ValueError, match="srun.*--engine local starts the same jobs on this machine"
    ):
        submission.executor(made(tmp_path / "sweep"), Request("slurm", 1, 60))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (("pbs", 1, 60), "--engine must be one of slurm, local; got 'pbs'."),
        (("local", 0, 60), "--workers must be at least 1; got 0."),
        (
            ("local", 1, 2.01),
            "--time is in minutes and must leave a job 60 s of work before the 120 s "
            "that are kept for its last checkpoint: "
            "at least 3; got 2.01.",
        ),
        (
            ("slurm", 1, 3),
            "--time is in minutes and must leave a job 60 s of work before the 120 s "
            "that are kept for its last checkpoint, "
            "for which slurm may send its signal 60 s early: at least 4; got 3.",
        ),
        (
            ("local", 1, float("inf")),
            "--time is in minutes and must leave a job 60 s of work before the 120 s "
            "that are kept for its last checkpoint: "
            "at least 3; got inf.",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(request_, words):
    with pytest.raises(ValueError) as refused:
        Request(*request_)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("engine", "minutes", "seconds"),
    [
        ("local", 3, 60),
        ("local", 3.999, 119),
        ("slurm", 4, 60),
        ("slurm", 3.01, 60),
        ("slurm", 240, 14220),
    ],
)
def test_the_work_of_a_job_is_counted_as_submitit_and_slurm_round_its_time(
    engine, minutes, seconds
):
    """Local jobs of submitit: whole seconds, int(60 · 3.999) = 239. SLURM: the next whole minute,
    240 - 120 - 60 s.
    """
    assert Request(engine, 1, minutes).work_seconds == seconds


@pytest.mark.parametrize("minutes", ["1e-9", "2.01", "2.9", "-5", "nan"])
def test_a_time_that_leaves_no_work_is_refused_before_any_job(tmp_path, capsys, minutes):
    folder = made(tmp_path / "sweep").path
    assert (
        sweep.main(
            ["submit", str(folder), "--engine", "local", "--workers", "1", f"--time={minutes}"]
        )
        == 2
    )
    assert "--time is in minutes and must leave a job 60 s of work" in capsys.readouterr().err
    assert not (folder / "logs" / "jobs").exists()


def test_status_goes_by_the_runs_and_not_by_what_submitit_says_of_its_jobs(tmp_path):
    """submitit calls a local job FINISHED whether it did its work, raised, or ran out of time."""
    made_sweep = made(tmp_path / "sweep")
    engine = submission.executor(made_sweep, Request("local", 1, 60))
    job = engine.submit(_raise)
    with pytest.raises(submitit.core.utils.FailedJobError):
        job.result()
    assert job.state == "FINISHED"
    assert "finished       0" in reporting.status(made_sweep)
    sources = [
        path.read_text(encoding="utf-8") for path in Path(submission.__file__).parent.glob("*.py")
    ]
    assert not [text for text in sources if re.search(r"job\w*\.(state|done|get_info)", text)]


def _raise():
    raise ValueError("it went wrong")


def test_without_submitit_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        ImportError, match=r'jobs of a cluster need submitit: pip install -e "\.\[cluster\]"'
    ):
        submission.executor(made(tmp_path / "sweep"), Request("local", 1, 60))
