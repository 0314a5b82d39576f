"""What a user sees first: `python -m meanfield`, the texts of objects at a prompt, and their tables
in a notebook.
"""

import html.parser
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
import ntk
from meanfield import __main__ as first

X = np.linspace(-1, 1, 64)[:, None]
NETWORK = mf.Network("relu", scaling=mf.Scaling(0.75, 2.0), trainable=("a", "w"))
RISK = mf.EmpiricalRisk(NETWORK, X, np.abs(X[:, 0]), ridge=0.1)
START = mf.InitialLaw(dim=1).sample(20, seed=0)


class Tables(html.parser.HTMLParser):
    """The cells of the tables of a page, and the tags that it has."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.cells.append(data)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp('a<b>&"c') / "run.h5"
    mf.simulate(mf.GradientFlow(RISK), START, mf.EULER, dt=0.1, n_steps=4,
                observers=[mf.Recorder(path, mf.evenly(3))], progress=False)  # fmt: skip
    return path


def test_python_m_meanfield_says_where_to_start_and_a_file_gets_the_command_that_reads_it():
    run = [sys.executable, "-m", "meanfield"]
    told = subprocess.run(run, capture_output=True, text=True, env=os.environ, check=True).stdout
    assert "help(mf.simulate)" in told and "python -m sims.commands.inspect run.h5" in told
    assert Path(re.search(r"The guide: +(.*)", told)[1]).is_file()
    for module in re.findall(r"python -m (sims[.\w]+)", told):
        place = Path(sys.modules["meanfield"].__file__).parents[1].joinpath(*module.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
    sims = Path(sys.modules["meanfield"].__file__).parents[1] / "sims"
    page = (sims / "README.md").read_text(encoding="utf-8")
    for home in sims.glob("*/__main__.py"):
        assert re.search(rf"\b{home.parent.name}\b", told), home
        assert f"python -m sims.{home.parent.name} " in page or f"sims.{home.parent.name}`" in page
    with pytest.raises(SystemExit) as stop:
        first.main(["run.h5"])
    assert stop.value.code == 2


def test_the_first_run_that_is_shown_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(
        line[2:]
        for line in first.ABOUT.split("\n")
        if line.startswith("  ") and not line.startswith("  python")
    )
    exec(code.split("help(")[0], {})
    assert "Trajectory('run.h5': 50 frames, m=1000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (NETWORK, "Network('relu', gamma=0.75, alpha=2, trains a, w)"),
        (RISK, "EmpiricalRisk(Network('relu', gamma=0.75, alpha=2, trains a, w), n=64, d=1, squared, mean, ridge=0.1)"),
        (mf.GradientFlow(RISK), f"GradientFlow({RISK}, cpu, float64)"),
        (NETWORK.sigma, "Activation('relu')"),
        (RISK.loss, "Loss('squared')"),
        (mf.PopulationRisk(NETWORK, START), f"PopulationRisk({NETWORK}, teacher {START})"),
        (ntk.linearise(NETWORK, START).risk(X, X[:, 0]), "LinearisedRisk(EmpiricalRisk("),
    ],
)  # fmt: skip
def test_what_a_prompt_shows_is_one_short_line(thing, text):
    assert repr(thing).startswith(text) and len(repr(thing)) < 250 and "\n" not in repr(thing)


def test_runs_diagnoses_and_comparisons_are_tables_in_a_notebook_and_their_texts_are_escaped(path):
    with mf.Trajectory(path) as run:
        things = {
            "run": run,
            "nothing": mf.diagnose(run),
            "values": mf.diagnose(run, ["displacement", "w2"]),
            "two": mf.compare(run, run),
        }
        shown = {name: thing._repr_html_() for name, thing in things.items()}
        last = run.series("risk").values[-1]
    for text in shown.values():
        assert "<b>" not in text and set(Tables(text).tags) <= {
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "p",
        }
    assert 'a<b>&"c0/run.h5' in Tables(shown["run"]).cells[0]
    assert "0.75" in Tables(shown["run"]).cells and f"{last:.5g}" in shown["run"]
    assert {"displacement", "w2", "θ"} <= set(Tables(shown["values"]).cells)
    assert (
        "kernel_drift" in Tables(shown["nothing"]).cells and "gamma" in Tables(shown["two"]).cells
    )
