"""The shape of the project: who may import whom, where each heavy dependency lives, what an import
costs, lint and types.
"""

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The rooms in the order of the story: a file imports from its own room and from those before it.
ROOMS = {
    "meanfield": """once checks scaling temperature formulas columns state particles processes noise initial features
        network backends data functionals flow landscape tangent files transport stepping limits diagnostics observers
        resuming run simulation""",
    "ntk": "gaussian infinite learning finite theorems runs",
    "sims": "figures lab QUESTIONS sweeps commands",  # a question is any other room
}

# Where a dependency may be imported: files, or folders ending in a slash.
HOMES = {
    "numba": ("meanfield/backends/", "meanfield/noise.py", "ntk/infinite/kernels/"),
    "llvmlite": ("meanfield/backends/",),
    "ot": ("meanfield/transport/solvers.py",),
    "h5py": (
        "meanfield/files/hdf5.py",
        "meanfield/files/new_files.py",
        "meanfield/data/__init__.py",
    ),
    "torch": (
        "sims/lab/two_points.py",
        "meanfield/features/",
        "meanfield/backends/torch/",
        "meanfield/backends/sharded.py",
        "meanfield/backends/cuda/wide.py",
    ),
    "matplotlib": ("sims/figures/",),
    "pydantic": ("sims/lab/config.py",),
    "tyro": ("sims/lab/config.py",),
    "sklearn": ("meanfield/data/bundled.py",),
    "jax": (),
    "xarray": ("meanfield/files/labelled.py", "sims/sweeps/indexing.py"),
    "h5netcdf": ("sims/sweeps/indexing.py",),
    "submitit": ("sims/sweeps/submission.py",),
    "distributed": ("sims/sweeps/dask_engine.py", "sims/sweeps/dask_tasks.py"),
    "dask": ("sims/sweeps/dask_engine.py",),
}

MAY_IMPORT = {
    "meanfield": {"meanfield"},
    "ntk": {"meanfield", "ntk"},
    "sims": {"meanfield", "ntk", "sims"},
}
HEAVY = ("torch", "matplotlib", "ot", "h5py", "pydantic", "dask", "distributed")
TOP_LEVEL = {"pyproject.toml", "meanfield", "ntk", "sims", "tests", "scripts", "README.md"}
TOP_LEVEL |= {"LICENSE", "findings"}  # and dot-files
NAMED = re.compile(r"(?<![\w/.*{}])(?:\w+/)*\w+\.py\b")  # a file, not the end of a pattern


def sources() -> list[str]:
    """Every Python file of the three packages, relative to the root."""
    return sorted(
        path.relative_to(ROOT).as_posix()
        for package in MAY_IMPORT
        for path in (ROOT / package).rglob("*.py")
    )


def module_name(source: str) -> str:
    return source.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def imports(source: str) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of everything a file imports, wherever in the file, importlib
    with a literal included.

    `from package import name` gives package.name: a module where there is one, an attribute of the
    package otherwise.
    """
    package = module_name(source).split(".")
    if not source.endswith("/__init__.py"):
        package = package[:-1]
    found = []
    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"), source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{stem}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in (
            "import_module",
            "__import__",
        ):
            literal = node.args[0] if node.args else None
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                name = literal.value
                found.append(
                    (node.lineno, ".".join(package) + name if name.startswith(".") else name)
                )
    return found


def place(package: str, room: str) -> int:
    """Where a room stands in its package; what is named nowhere stands where a question does, or
    last.
    """
    order = ROOMS[package].split()
    return (
        order.index(room if room in order else "QUESTIONS")
        if {room, "QUESTIONS"} & set(order)
        else len(order)
    )


def broken_layers(source: str, imported: list[tuple[int, str]]) -> list[str]:
    """What a file imports against ROOMS and MAY_IMPORT, one message each."""
    package, room = [*module_name(source).split("."), ""][:2]
    broken = []
    for line, name in imported:
        there, theirs = [*name.split("."), ""][:2]
        if there in MAY_IMPORT and there not in MAY_IMPORT[package]:
            broken.append(f"{source}:{line}: {package} must not import {name}.")
        elif (
            there == package
            and room
            and theirs not in (room, "__version__")
            and place(package, theirs) >= place(package, room)
        ):
            broken.append(
                f"{source}:{line}: {room} must not import {name}, whose room comes later."
            )
    return broken


def broken_homes(source: str, imported: list[tuple[int, str]]) -> list[str]:
    """Dependencies imported outside their home, one message each."""
    return [
        f"{source}:{line}: {name.split('.')[0]} belongs in "
        f"{', '.join(homes) or 'no package'}; go through what stands there."
        for line, name in imported
        if (homes := HOMES.get(name.split(".")[0])) is not None
        and not any(
            source.startswith(home) if home.endswith("/") else source == home for home in homes
        )
    ]


@pytest.mark.parametrize("source", sources())
def test_a_file_imports_only_from_its_own_room_and_those_before_it(source):
    broken = broken_layers(source, imports(source))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("source", sources())
def test_a_heavy_dependency_is_imported_only_in_its_home(source):
    broken = broken_homes(source, imports(source))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("meanfield/network.py", "meanfield.flow.GradientFlow"),
        ("meanfield/backends/cpu/backend.py", "meanfield.functionals.risk.EmpiricalRisk"),
        ("meanfield/flow.py", "ntk.empirical"),
        ("meanfield/flow.py", "meanfield.simulate"),
        ("meanfield/flow.py", "meanfield"),
        ("ntk/finite/kernel.py", "sims.lab.config"),
    ],
)
def test_the_layer_check_sees_what_it_should(source, name):
    assert len(broken_layers(source, [(1, name)])) == 1


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("meanfield/flow.py", "numba.njit"),
        ("meanfield/simulation.py", "h5py"),
        ("sims/bench.py", "torch.nn"),
        ("sims/lazy.py", "matplotlib.pyplot"),
    ],
)
def test_the_home_check_sees_what_it_should(source, name):
    assert len(broken_homes(source, [(1, name)])) == 1


@pytest.mark.parametrize("package", ["meanfield", "ntk"])
def test_an_import_is_quick_and_loads_no_heavy_dependency(package):
    """In a fresh process, the least of three times of its processor: the first may compile byte
    code, and other tests want the processors too.
    """
    program = (
        "import json, sys, time; start = time.process_time(); "
        f"import {package}; "
        f"print(json.dumps([time.process_time() - start, sorted(set({HEAVY}) & set(sys.modules))]))"
    )
    seconds, loaded = zip(
        *(json.loads(run([sys.executable, "-c", program]).stdout) for _ in range(3)), strict=True
    )
    assert loaded[0] == []
    assert min(seconds) < 0.5


def test_a_sweep_begins_without_what_makes_the_command_lines_of_the_sims():
    """It takes as long to load as two small runs."""
    program = "import sys, sims.commands.sweep; print('tyro' in sys.modules)"
    assert run([sys.executable, "-c", program]).stdout == "False\n"


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.lint
def test_ruff_finds_nothing():
    result = run([sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."])
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.lint
def test_the_types_are_consistent():
    result = run([sys.executable, "-m", "mypy"])
    assert result.returncode == 0, result.stdout + result.stderr


def tracked() -> list[str]:
    """What git knows of the repository, new files included and ignored ones left out."""
    result = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"])
    if result.returncode:
        pytest.skip("not a git checkout")
    return [name for name in result.stdout.splitlines() if (ROOT / name).exists()]


def test_files_that_comments_and_docstrings_name_are_there():
    """By name, or by the end of their path."""
    there = [f"/{source}" for source in sources()]
    there += [f"/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "tests").rglob("*.py")]
    gone = [
        f"{source} names {name}"
        for source in sources()
        for name in NAMED.findall((ROOT / source).read_text(encoding="utf-8"))
        if not any(path.endswith(f"/{name}") for path in there)
    ]
    assert not gone, "\n".join(gone)


def test_the_top_level_stays_as_it_is():
    found = {name.split("/")[0] for name in tracked()}
    assert {name for name in found if not name.startswith(".")} <= TOP_LEVEL


def test_scripts_are_executable_and_thin():
    """Entry points: a header, set-up, one call. Logic belongs in a module; _setup is what they
    share.
    """
    scripts = [ROOT / name for name in tracked() if name.startswith("scripts/")]
    for script in scripts:
        if script.suffix in (".txt", ".md") or script.name == "_setup":
            continue
        text = script.read_text(encoding="utf-8")
        assert os.access(script, os.X_OK), (
            f"{script.name} is not executable: chmod +x scripts/{script.name}"
        )
        assert text.startswith("#!/usr/bin/env "), (
            f"{script.name} needs a #! line with /usr/bin/env"
        )
        assert len(text.splitlines()) <= 20, f"{script.name} is longer than an entry point"
        logic = re.search(r"^\s*(def |class |function |\w+\s*\(\)\s*\{)", text, re.MULTILINE)
        assert not logic, (
            f"{script.name} defines {logic and logic[0].strip()!r}; put it into a module"
        )
