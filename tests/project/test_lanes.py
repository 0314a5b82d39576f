"""Which tests run by default, which .ci/run adds, and that naming a test runs it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import conftest, versions

ROOT = Path(__file__).resolve().parents[2]
MARKERS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"][
    "ini_options"
]["markers"]


@pytest.fixture
def project(tmp_path):
    """A project with our conftest and three tests: of the engine, of a figure, and a slow one."""
    for name, mark in (("model/test_engine", "lint"), ("sims/test_figures", "slow")):
        path = tmp_path / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True)
        path.write_text(
            f"import pytest\ndef test_it(): pass\n@pytest.mark.{mark}\ndef test_marked(): pass\n"
        )
    for name in ("tests/conftest.py", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"test_engine.py::test_it"}),
        (("-m", "figure and not slow"), {"test_figures.py::test_it"}),
        (("-m", "slow"), {"test_figures.py::test_marked"}),
        (("-k", "test_it"), {"test_engine.py::test_it", "test_figures.py::test_it"}),
        (("tests/sims",), {"test_figures.py::test_it"}),
        (("tests/model/test_engine.py::test_marked",), {"test_engine.py::test_marked"}),
    ],
    ids=["none", "lane", "slow", "keyword", "folder", "test"],
)
def test_a_test_runs_in_its_lane_or_where_it_is_named(project, options, expected):
    # each worker chooses for itself; no plugin but the one that makes them
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-v", "-p", "xdist", "-n", "1", *options]
    text = subprocess.run(
        command, cwd=project, env=alone, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"PASSED tests/\w+/(test_\w+\.py::\w+)", text)) == expected
    told = set(re.findall(r"^  scripts/test -m (\w+)", text, re.M))
    assert told == (
        set()
        if "-m" in options
        else set(conftest.BY_NAME)
        if options
        else {*conftest.LANES, *conftest.BY_NAME}
    )


def test_ci_runs_every_lane_that_a_contributor_leaves_out():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lanes, by_name = re.search(r'scripts/test -q -m "\((.*?)\) and not \((.*?)\)"', text).groups()
    assert set(lanes.split(" or ")) == set(conftest.LANES)
    assert set(by_name.split(" or ")) == set(conftest.BY_NAME)
    assert "scripts/test -q\n" in text


def test_every_lane_is_a_marker_that_the_page_explains_and_its_files_are_there():
    assert {line.split(":")[0] for line in MARKERS} == {*conftest.LANES, *conftest.BY_NAME}
    page = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == {*conftest.LANES, *conftest.BY_NAME}
    for home in sum(conftest.LANES.values(), ()):
        assert list((ROOT / "tests").glob(f"{home}*")), home


def test_the_sample_for_other_versions_names_tests_that_exist():
    for path in versions.sample():
        file, _, test = path.partition("::")
        assert f"def {test}" in Path(file).read_text(encoding="utf-8")
