"""Setting up: what the scripts install and refuse, what help needs, which distributions our texts
name, which versions hold.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import help_texts
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS, EXTRAS = PROJECT["name"], PROJECT["optional-dependencies"]
needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="the scripts are bash")


def normal(name):
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required():
    """{name: lower bound} of everything that pyproject.toml asks for."""
    asked = [*PROJECT["dependencies"], *(item for extra in EXTRAS.values() for item in extra)]
    found = [re.match(r"([\w.-]+)(?:\[\w+\])?>=([\w.]+)", item) for item in asked]
    assert all(found), asked
    return {normal(item[1]): item[2] for item in found}


def pinned(file):
    lines = (
        line.partition("#")[0].strip()
        for line in (ROOT / "scripts" / file).read_text(encoding="utf-8").splitlines()
    )
    return {
        normal(name): version
        for name, _, version in (line.partition("==") for line in lines if line)
    }


# ---- the names of distributions


def wrong_names(text):
    """What a text tells to install that is neither this folder, by an extra that there is, nor a
    dependency of ours.
    """
    wrong = []
    for told in re.findall(r"pip install ([^`\n()]*)", text):
        for word in re.findall(r"""(?:"[^"]*"|'[^']*'|[^\s"',;]+)""", told):
            word = word.strip("\"'")
            if word == "." or re.fullmatch(r"\.\[[\w,]+\]\.?", word):
                extras = set(re.findall(r"\w+", word))
                wrong += [] if extras <= set(EXTRAS) else [word]
            elif word.startswith("-"):
                continue
            elif name := re.match(r"[A-Za-z][\w.-]*(?=$|[\[<>=~!])", word):
                wrong += [] if normal(name[0].rstrip(".")) in required() else [word]
            if word.endswith((".", "\\", ":")):
                break  # the sentence ends
    return wrong + re.findall(r"\bmeanfield\[\w+\]", text)


def texts():
    """Every text of ours that may tell somebody to install something; findings/ install the foreign
    packages they are about.
    """
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    kinds = (".py", ".md", ".toml", ".sh", ".txt")
    names = [
        name
        for name in done.stdout.splitlines()
        if name.endswith(kinds) or name.startswith(("scripts/", ".ci/"))
    ]
    return [
        ROOT / name
        for name in names
        if not name.startswith("findings/") and (ROOT / name).is_file()
    ]


def test_no_text_of_ours_tells_to_install_a_distribution_that_is_not_ours_or_a_dependency():
    """The package `meanfield` on the index is another's."""
    found = {
        path.relative_to(ROOT).as_posix(): wrong_names(path.read_text(encoding="utf-8"))
        for path in texts()
    }
    found.pop("tests/project/test_setup.py", None)
    assert not {name: wrong for name, wrong in found.items() if wrong}
    assert normal(OURS) != "meanfield"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('pip install "meanfield[cuda]".', ["meanfield[cuda]", "meanfield[cuda]"]),
        ("pip install meanfield", ["meanfield"]),
        ('pip install -e ".[cuda]" (Linux)', []),
        ('pip install -e ".[nonsense]"', [".[nonsense]"]),
        ("`pip install matplotlib`, then", []),
        ("pip install submitit==1.5.4 foreign", ["foreign"]),
    ],
)
def test_the_search_for_names_sees_what_it_should(text, wrong):
    assert wrong_names(text) == wrong


# ---- versions


def test_the_oldest_lane_runs_the_lower_bounds():
    """But for torch: the oldest build for processors alone that the index of this project's
    machines has.
    """
    oldest, bounds = pinned("constraints-oldest.txt"), required()
    for name in set(bounds) - {
        "torch",
        "jax",
        "pykeops",
        "ruff",
        "mypy",
    }:  # tools, and peers of the bench
        assert (name, oldest.get(name, "no line")) == (
            name,
            full(bounds[name], oldest.get(name, "")),
        )


def full(bound, version):
    """The bound with as many places as the version has: 2.1 is 2.1.0."""
    return ".".join([*bound.split("."), *["0"] * version.count(".")][: version.count(".") + 1])


@pytest.mark.parametrize(
    ("name", "bound"),
    [("matplotlib", (3, 10)), ("tyro", (0, 9, 14)), ("submitit", (1, 5, 4)), ("xarray", (2025, 8))],
)
def test_a_version_that_lacks_what_we_call_is_not_allowed(name, bound):
    """get_figure(root=), FlagCreatePairsOff; submitit before needs pkg_resources, xarray before
    fails with pandas 3.
    """
    assert tuple(map(int, required()[name].split("."))) >= bound


def block():
    """The first block of the pins, {name: version}: what every environment of the scripts holds."""
    lines = (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").split("\n\n")[0]
    pins = (line.partition("==") for line in lines.splitlines() if not line.startswith("#"))
    return {name: version for name, _, version in pins}


def needed(name, extra=""):
    """The names of a distribution and of all that it needs here, as they are installed."""
    found, asked = set(), [(name, extra)]
    while asked:
        name, extra = asked.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for item in map(Requirement, distribution(name).requires or ()):
            if item.marker is None or item.marker.evaluate({"extra": extra}):
                asked += [(normal(item.name), wanted) for wanted in ("", *item.extras)]
    return {name for name, _ in found}


def test_the_first_block_of_the_pins_is_what_the_dependencies_and_the_extra_data_need():
    """But for setuptools, and the libraries of a torch for GPUs."""
    try:
        names = needed(OURS, "data") | needed(OURS)
    except PackageNotFoundError as error:
        pytest.skip(f"not installed here: {error}")
    pins = {normal(name) for name in block()}
    every = set(pinned("constraints.txt"))
    assert pins <= names and (names & every) - pins <= {
        name for name in every if name.startswith(("cuda-", "nvidia-"))
    }


# ---- help


@pytest.fixture(scope="module")
def known():
    return help_texts.names()


def test_the_kept_help_is_what_the_programs_say(known):
    """Word by word; lines are broken by argparse and tyro, each version in its way."""
    kept = {path.name for path in help_texts.FOLDER.iterdir()}
    assert kept == {help_texts.path(*name).name for name in known}, (
        "python -m tests.help_texts writes them"
    )
    for name in known:
        if name[0] == "demo" and not same_tyro():
            continue
        text = help_texts.path(*name).read_text(encoding="utf-8")
        assert text.split() == help_texts.text(*name).split(), (
            f"{name}: python -m tests.help_texts writes it"
        )


def same_tyro():
    """Whether tyro is of the version that wrote the text of the demo: its boxes and words differ
    between versions.
    """
    from importlib.metadata import version

    return version("tyro") == pinned("constraints.txt")["tyro"]


def clone(folder):
    """The scripts and what they read, without anything installed."""
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def call(folder, *words, path=None, **settings):
    """A script called where no Python is found: whatever would install fails."""
    tools = folder / "tools"
    if not tools.exists():
        tools.mkdir()
        for name in ("bash", "env", "cat", "dirname", "mkdir", "rm", "cmp", "mv", "find", "sleep"):
            (tools / name).symlink_to(shutil.which(name))
    environment = {"PATH": path or str(tools), "HOME": str(folder), **settings}
    command = [str(folder / "scripts" / words[0]), *words[1:]]
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


@needs_bash
@pytest.mark.parametrize("wish", ["", "1"])
def test_what_a_script_starts_keeps_its_bytecode_in_the_environment_where_none_is_wanted_elsewhere(
    wish,
):
    """Each of its processes would compile again all that it imports."""
    script = 'source "$1"; installed() { :; }; setup data; exec "$2" -c "$3"'
    asked = "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"
    command = ["bash", "-c", script, "bash", ROOT / "scripts" / "_setup", sys.executable, asked]
    environment = {key: value for key, value in os.environ.items() if "PYCACHE" not in key}
    environment["PYTHONDONTWRITEBYTECODE"] = wish
    said = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert said == f"False {f'{ROOT}/.venv/bytecode' if wish else None}\n"


@needs_bash
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep", "--help"), "usage: scripts/sweep"),
        (("sweep", "work", "-h"), "usage: scripts/sweep work"),
        (("inspect", "--help"), "usage: inspect FILE"),
        (("inspect", "plot", "run.h5", "--help"), "usage: inspect plot"),
        (("demo", "--help"), "usage: python -m sims.lazy_vs_mean_field"),
        (("bench", "--help"), "usage: scripts/bench"),
        (("test", "--help"), "usage: scripts/test"),
        (("figures", "-h"), "usage: scripts/figures"),
    ],
)
def test_help_needs_no_installation(tmp_path, words, said):
    folder = clone(tmp_path)
    done = call(folder, *words)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(said)
    assert not (folder / ".venv").exists()


@needs_bash
def test_without_help_a_script_installs_first(tmp_path):
    """That the calls above would have failed."""
    done = call(clone(tmp_path), "sweep", "status", "folder")
    assert (
        done.returncode == 2 and "Python 3.11 to 3.14 with its venv module is needed" in done.stderr
    )


@needs_bash
def test_the_bench_takes_the_presets_of_openblas_away(tmp_path):
    """Before Python starts: NumPy reads them when it is loaded, and they flatter us."""
    folder = clone(tmp_path)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\necho "${OPENBLAS_CORETYPE-} ${OPENBLAS_L2_SIZE-} $*"\n')
    python.chmod(0o755)
    of = [folder / "pyproject.toml", folder / "scripts" / "constraints.txt"]
    for extra in ("data", "bench", "cuda", "dev"):  # installed, so that nothing is
        text = "".join(path.read_text(encoding="utf-8") for path in of)
        (folder / ".venv" / f"installed.{extra}").write_text(
            f"{folder} [{extra}]\n{text}", encoding="utf-8"
        )
    preset = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}
    done = call(folder, "bench", "--list", **preset)
    assert (done.stdout, done.stderr) == ("  -m tests.bench.bench --list\n", "")


# ---- what is installed, and where


@needs_bash
@pytest.mark.parametrize("script", ["sweep", "inspect", "demo"])
def test_cuda_is_installed_where_a_driver_is_and_nowhere_else(tmp_path, script):
    """A Python that takes notes instead of pip's; nvidia-smi is what a driver brings."""
    folder = clone(tmp_path)
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is a driver")
    (folder / ".venv" / "bin").mkdir(parents=True)
    notes = folder / "notes"
    program = f'#!/usr/bin/env bash\ncase "$*" in *install*) echo "$*" >>"{notes}" ;; esac\n'
    for place in (folder / ".venv/bin/python", folder / "python3"):
        place.write_text(program)
        place.chmod(0o755)
    call(folder, script)  # makes the folder of tools
    tools = f"{folder / 'tools'}{os.pathsep}{folder}"
    text = (ROOT / "scripts" / script).read_text(encoding="utf-8")
    extras = re.search(r'^setup "?([\w,]+)', text, re.M)[1]
    assert not {"cuda", "dev", "bench"} & set(extras.split(","))
    assert call(folder, script, path=tools).returncode == 0
    assert notes.read_text(encoding="utf-8").endswith(f"{folder}[{extras}]\n")

    notes.unlink()
    (folder / "tools" / "nvidia-smi").symlink_to(shutil.which("true"))
    assert call(folder, script, path=tools).returncode == 0
    if script == "sweep":
        assert notes.read_text(encoding="utf-8").endswith(f"{folder}[{extras},cuda]\n")
    else:
        assert not notes.exists()  # nothing to do


@needs_bash
@pytest.mark.parametrize("failing", [False, True])
def test_a_new_environment_gets_the_first_block_at_once_and_then_what_is_missing(tmp_path, failing):
    """Whatever happens to the four pips, one that looks at everything has the last word."""
    folder, notes = clone(tmp_path), tmp_path / "notes"
    program = f"""#!/usr/bin/env bash
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cat "$0" >"$3/bin/python" && chmod +x "$3/bin/python" ;;
*install*) echo "$*" >>"{notes}" ;;
esac
case "$*" in *torch*) exit {int(failing)} ;; esac
"""
    (folder / "python3").write_text(program)
    (folder / "python3").chmod(0o755)
    call(folder, "demo")  # makes the folder of tools
    for name in ("xargs", "chmod"):
        (folder / "tools" / name).symlink_to(shutil.which(name))
    path = f"{folder / 'tools'}{os.pathsep}{folder}"
    done = call(folder, "demo", path=path)
    assert done.returncode == 0 and (folder / ".venv" / "installed.data").exists(), done.stderr

    *most, last = notes.read_text(encoding="utf-8").splitlines()
    assert all("--no-deps" in line for line in most) and "--no-deps" not in last
    words = [word for line in most for word in line.split() if "==" in word]
    assert sorted(words) == sorted(f"{name}=={version}" for name, version in block().items())
    assert sum(f"--editable {folder}" in line for line in most) == 1
    assert last.endswith(f" --editable {folder}[data]" if failing else f" {OURS}[data]")

    notes.unlink()
    (folder / ".venv" / "installed.data").unlink()
    assert call(folder, "demo", path=path).returncode == 0  # the environment is there
    assert notes.read_text(encoding="utf-8").endswith(f" --editable {folder}[data]\n")
    assert "--no-deps" not in notes.read_text(encoding="utf-8")


@needs_bash
def test_an_environment_that_is_a_link_into_another_clone_is_refused(tmp_path):
    """pip would re-point that clone's environment to this one, without a word."""
    other, here = tmp_path / "other", tmp_path / "here"
    (other / ".venv" / "bin").mkdir(parents=True)
    here.mkdir()
    clone(here)
    (here / ".venv").symlink_to(other / ".venv")
    done = call(here, "inspect", "run.h5")
    assert done.returncode == 2
    assert (
        f"{here / '.venv'} is a link to {other / '.venv'}" in done.stderr
        and "Remove the link" in done.stderr
    )
    assert [item.name for item in (other / ".venv").iterdir()] == ["bin"]


def test_the_python_of_the_tests_is_one_that_is_allowed():
    assert sys.version_info >= (3, 11) and PROJECT["requires-python"] == ">=3.11"
