"""Threads that others set, and processes that are started from one in which runs have been made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meanfield.processes.workers import start_python

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import multiprocessing, os, sys
import numpy as np, meanfield as mf

x = np.linspace(-1, 1, 8)[:, None]
flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])))

def run(seed):
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(100, seed=seed)
    return flow.risk(mf.simulate(flow, start, mf.RK4, dt=0.1, n_steps=2, progress=False))
"""


def said(program, folder, **changes):
    """What a fresh process prints that runs this program; None takes a variable away."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


THREADS = RUN + "run(0); import numba; print(numba.get_num_threads())"


@pytest.mark.parametrize(
    ("openmp", "numba", "threads", "first"),
    [("1", None, "1", ""), ("1,4", None, "1", ""), ("1", "2", "2", ""), ("2", "1", "1", ""),
     ("none", "2", "2", ""), ("1", None, "1", "import numba\n"), ("1", "2", "2", "import numba\n")],
)  # fmt: skip
def test_numba_takes_openmp_s_number_of_threads_where_it_has_none_of_its_own(
    tmp_path, openmp, numba, threads, first
):
    """Two numbers are told apart on a machine with at least two cores alone; NUMBA_NUM_THREADS
    wins. Imported before, numba has settled for a number by then.
    """
    assert said(first + THREADS, tmp_path, OMP_NUM_THREADS=openmp, NUMBA_NUM_THREADS=numba) == [
        threads
    ]


@pytest.mark.parametrize("numba", ["1", "2"])
def test_torch_keeps_its_number_of_threads_when_a_run_starts_numba_s(tmp_path, numba):
    """The OpenMP layer of numba sets the number for the whole process; torch set another one."""
    pytest.importorskip("torch")
    program = (
        "import torch; torch.set_num_threads(3)\n" + RUN + "run(0); print(torch.get_num_threads())"
    )
    assert said(program, tmp_path, NUMBA_NUM_THREADS=numba) == ["3"]


def test_torch_that_is_imported_after_a_run_has_the_number_of_threads_that_it_has_alone(tmp_path):
    pytest.importorskip("torch")
    after = said(
        RUN + "run(0); import torch; print(torch.get_num_threads())",
        tmp_path,
        NUMBA_NUM_THREADS="1",
    )
    assert after == said(
        "import torch; print(torch.get_num_threads())", tmp_path, NUMBA_NUM_THREADS="1"
    )


# A pool waits for ever for children that are ended from without, hence the limit.
POOL = """
with multiprocessing.get_context("{method}").Pool(2) as pool:
    try:
        print(len(pool.map_async(run, [1, 2]).get(timeout=60)))
    except RuntimeError as error:
        print(error)
"""
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.mark.parametrize("first", ["", "{}"], ids=["-c", "-m"])
def test_a_file_of_the_working_folder_stands_in_for_nothing_that_python_begins_with(
    tmp_path, monkeypatch, first
):
    """sitecustomize is looked for by every interpreter. What else the folder holds can be imported."""
    (tmp_path / "sitecustomize.py").write_text("open('begun', 'w').close()")
    (tmp_path / "beside.py").write_text("open('imported', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [first.format(os.getcwd()), *sys.path])
    assert start_python(["-c", "import beside"], 1).wait(60) == 0
    assert (tmp_path / "imported").exists() and not (tmp_path / "begun").exists()


def test_nor_does_a_file_beside_a_script_that_is_run_from_another_folder(tmp_path):
    """It is imported as the script itself would import it, before a package of that name."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    # The script itself is begun without a look at it: its folder is put first after that.
    (there / "sitecustomize.py").write_text("open('begun', 'w').close()")
    (there / "numpy.py").write_text("open('imported', 'w').close()")
    (there / "script.py").write_text(
        "from meanfield.processes.workers import start_python\n"
        "print(start_python(['-c', 'import numpy'], 1).wait(60))"
    )
    done = subprocess.run(
        [sys.executable, str(there / "script.py")], cwd=here, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["0"]
    assert [path.name for path in here.iterdir()] == ["imported"]


@forks
def test_a_child_of_a_fork_after_a_run_says_why_it_cannot_run(tmp_path):
    (line,) = said(RUN + "run(0)\n" + POOL.format(method="fork"), tmp_path)
    assert (
        line == "2"
        or "this process is a fork of one in which compiled kernels have already run" in line
    )
    # 2 where numba's threads are those of its workqueue
    assert line == "2" or 'multiprocessing.get_context("spawn")' in line


@forks
def test_a_child_of_a_fork_before_any_run_runs(tmp_path):
    assert said(RUN + POOL.format(method="fork"), tmp_path) == ["2"]


@forks
@pytest.mark.parametrize(
    "work",
    [
        "ntk.kernel(flow.functional.network, law, x)",
        "mf.Events()",
        "flow.predict(law.sample(9), x)",
        "pair.energy(free)",
    ],
)
def test_every_kind_of_kernel_says_so(tmp_path, work):
    """Those of networks, of kernels and of pairs: none ends its process."""
    if "Events" in work:
        work = (
            "mf.simulate(flow, law.sample(9), mf.EULER, dt=0.1, n_steps=40, "
            "observers=[mf.Events()], progress=False)"
        )
    program = (
        RUN
        + f"""
import ntk
law = mf.InitialLaw(dim=1, b_std=1.0)
def U(x, y):
    return (x[0] - y[0]) ** 2
def grad_U(x, y, out):
    out[0] = 2.0 * (x[0] - y[0])
pair = mf.GradientFlow(mf.PairwiseEnergy(interaction=(U, grad_U)))
free = mf.State(np.linspace(0.0, 1.0, 9)[:, None], outputs=0)
run(0)
{work}
if (child := os.fork()) == 0:
    try:
        {work}
        os.write(1, b"done\\n")
    except RuntimeError as error:
        os.write(1, str(error).encode() + b"\\n")
    finally:
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child was ended"
"""
    )
    (line,) = said(program, tmp_path)
    assert line == "done" or "this process is a fork" in line


def test_seeds_run_in_parallel_as_the_guide_says(tmp_path):
    """spawn: a script of its own, with a __main__ guard."""
    script = tmp_path / "seeds.py"
    script.write_text(
        RUN
        + """
if __name__ == "__main__":
    before = run(0)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(pool.map(run, [0, 1])[0] == before)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "True\n"


def test_two_threads_of_a_program_may_run_where_numba_s_threads_take_one_caller_at_a_time(tmp_path):
    """numba's workqueue, its layer where there is no OpenMP, ends a process in which two call it."""
    program = """
import threading
import numba, numpy as np
from meanfield.backends.cpu.backend import CPU

theta = np.random.default_rng(0).normal(size=(20000, 4))

def work(made):
    backend = CPU(None, 4, 0, "float64")
    for step in range(300):
        made.append(backend.diffuse(theta, 0.1, theta, 0.1, 0, step).sum())

found = [[], []]
threads = [threading.Thread(target=work, args=(made,)) for made in found]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(numba.threading_layer(), len(found[0]), found[0] == found[1])
"""
    settings = {"NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": "workqueue"}
    assert said(program, tmp_path, **settings) == ["workqueue 300 True"]
