"""The product and its tests work in the environments that users have, and no code of ours ends or
replaces a process.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A run that is recorded, its exact distance and a diagnostic: what writes to the home, to TMPDIR
# and to the terminal.
PROGRAM = """
import sys, numpy as np, meanfield as mf
x = np.linspace(-1, 1, 8)[:, None]
flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])))
start = mf.InitialLaw(dim=1, b_std=1.0).sample(100, seed=0)
end = mf.simulate(flow, start, mf.RK4, dt=0.1, n_steps=20, observers=[mf.Recorder(sys.argv[1], mf.evenly(4))], progress=False)
run = mf.Trajectory(sys.argv[1])
print(run.content_hash(), float(mf.w2(start, end)).hex(), mf.diagnose(run, ["displacement"])["displacement"].values[-1].hex())
"""
# A folder in which nobody can make anything, root neither.
UNWRITABLE = "/proc" if sys.platform == "linux" else "/dev/null"
ENVIRONMENTS = {
    "as it is": {},
    "OpenBLAS preset": {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"},
    "one OpenMP thread": {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": None},
    "one numba thread": {"NUMBA_NUM_THREADS": "1"},
    "a home that cannot be written": {"HOME": UNWRITABLE, "XDG_CACHE_HOME": None},
    "no home": {"HOME": None, "XDG_CACHE_HOME": None},
    "a TMPDIR with a space": {"TMPDIR": "{folder}/with a space"},
    "LANG=C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def environment(changes, folder):
    """os.environ with these changes; None takes a variable away."""
    found = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name, value in changes.items():
        found.pop(name, None)
        if value is not None:
            found[name] = value.format(folder=folder)
    if "TMPDIR" in changes:
        Path(found["TMPDIR"]).mkdir(parents=True)
    return found


def start(program, changes, folder, *arguments, **more):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    around = environment(changes, folder) | more
    return subprocess.Popen(
        command,
        env=around,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_a_run_has_the_same_bits_in_every_environment_and_two_at_once(tmp_path):
    """Threads, OpenBLAS's kernels, the home, TMPDIR and the language change no bit, and nothing is
    said on stderr.
    """
    waiting, said = list(ENVIRONMENTS.items()), {}
    while waiting:
        pair, waiting = waiting[:2], waiting[2:]
        folders = [tmp_path / name.replace(" ", "_") for name, _ in pair]
        for folder in folders:
            folder.mkdir()
        at_once = [
            start(PROGRAM, changes, folder, folder / "run.h5")
            for (_, changes), folder in zip(pair, folders, strict=True)
        ]
        for (name, _), process in zip(pair, at_once, strict=True):
            out, error = process.communicate(timeout=300)
            assert (process.returncode, error) == (0, ""), f"{name}: {error}"
            said[name] = out
    assert set(said.values()) == {said["as it is"]}, said


@pytest.mark.parametrize(
    "home", [UNWRITABLE, None], ids=["a home that cannot be written", "no home"]
)
def test_where_neither_the_package_nor_a_home_can_be_written_kernels_are_kept_for_the_process(
    tmp_path, home
):
    """As in a container with a user id of its own; numba raises there by itself. A file for
    __pycache__ stops root too.
    """
    shutil.copytree(
        ROOT / "meanfield", tmp_path / "meanfield", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in (tmp_path / "meanfield", tmp_path / "meanfield" / "backends"):
        (folder / "__pycache__").touch()
    program = """
import pathlib
if not {home!r}:
    def unknown(*_): raise RuntimeError("Could not determine home directory.")
    pathlib.Path.home = unknown
import meanfield as mf, meanfield.backends.cpu, numba
print(mf.__file__, mf.InitialLaw(dim=1).sample(2, seed=0).m, numba.config.CACHE_DIR)
"""
    changes = {
        "HOME": home or UNWRITABLE,
        "XDG_CACHE_HOME": None,
        "NUMBA_CACHE_DIR": None,
        "MEANFIELD_CACHE": None,
    }
    process = start(
        program.format(home=home), changes, tmp_path, PYTHONPATH=str(tmp_path), TMPDIR=str(tmp_path)
    )
    out, error = process.communicate(timeout=300)
    assert error == "" and out.startswith(
        f"{tmp_path}/meanfield/__init__.py 2 {tmp_path}/meanfield-"
    ), (out, error)


def test_the_command_line_reaches_a_terminal_that_knows_ascii_alone(tmp_path):
    """σ and ± are written as escapes there; by itself Python raises UnicodeEncodeError."""
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    record, error = start(PROGRAM, {}, tmp_path, "run.h5").communicate(timeout=300)
    assert record, error
    for program in (
        "inspect as c; c.main(['run.h5'])",
        "sweep as c; c.main(['create', '--settings'])",
    ):
        out, error = start(
            f"from sims.commands import {program}", ascii_only, tmp_path
        ).communicate(timeout=300)
        assert error == "" and "\\" in out, (out, error)  # \xb1 and the like


def test_the_bench_in_a_process_with_preset_openblas_leaves_that_process_as_it_is(tmp_path):
    program = """
import os, sys
from tests.bench import bench
before = os.getpid(), os.environ["OPENBLAS_CORETYPE"]
assert bench.main(["--list"]) == 0
assert (os.getpid(), os.environ["OPENBLAS_CORETYPE"]) == before
print("still here")
"""
    preset = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}
    out, error = start(program, preset, tmp_path).communicate(timeout=120)
    assert out.endswith("still here\n"), error
    assert error.startswith("OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE set:")


REPLACING = {f"os.{name}" for name in dir(os) if name.startswith(("exec", "posix_spawn"))}
ENDING = {"os._exit", "os.abort", "sys.exit", "exit", "quit"}
# Functions that only a child process of a test runs; each ends that child as a crash would.
CHILDREN = {
    ("tests/helpers/dying_run.py", "go_on"),
    ("tests/helpers/two_writers.py", "run"),
    ("tests/helpers/toy_run.py", "child"),
    ("tests/helpers/watched_run.py", "answer"),
    ("tests/diagnostics/test_diagnostics.py", "answer"),
    ("tests/stepping/test_resume.py", "_endless"),
}


def endings(path):
    """(function, call) of each call that ends or replaces the process, but for a module's own `if
    __name__ == "__main__":`.
    """
    found = []

    def walk(node, function):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            return
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.Call) and ast.unparse(node.func) in REPLACING | ENDING:
            found.append((function, ast.unparse(node.func)))
        for child in ast.iter_child_nodes(node):
            walk(child, function)

    walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), "")
    return found


@pytest.mark.parametrize("package", ["meanfield", "ntk", "sims", "tests"])
def test_no_code_replaces_or_ends_the_process_it_is_called_in(package):
    """A test that calls it would end the test runner, with exit code 0 and no word: only the
    outermost script may.
    """
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for function, call in endings(path):
            assert call == "os._exit" and (name, function) in CHILDREN, (
                f"{name}: {function or 'the module'} calls {call}"
            )


def test_the_search_for_endings_sees_what_it_should(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        'import os, sys\ndef f():\n    os.execve("a", [], {})\n\nif __name__ == '
        '"__main__":\n    sys.exit(0)\n'
    )
    assert endings(module) == [("f", "os.execve")]
