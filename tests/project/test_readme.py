"""The code of the README and of the rooms' pages runs as it stands, and what they name exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("meanfield", "ntk", "sims", "scripts", "tests", "tests/bench")
PAGES = [
    ROOT / "README.md",
    *(ROOT / room / "README.md" for room in ROOMS),
    ROOT / ".github" / "CONTRIBUTING.md",
]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
# its code is parts of files: test_extending.py runs it
EXTENDING = PAGES[-1].read_text(encoding="utf-8")
BLOCKS = [
    text
    for text in re.findall(r"```python\n(.*?)```", TEXT.replace(EXTENDING, ""), re.S)
    if "dask_jobqueue" not in text  # it needs a cluster, and is none of our dependencies
]


def run(program, folder):
    script = folder / "example.py"  # as a user has it: processes that it starts import it
    script.write_text(program, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result


def block(start):
    """The one example that holds this text."""
    (found,) = [text for text in BLOCKS if start in text]
    return found


EXAMPLES = (
    *("torch.optim.SGD(", "mf.diagnose(", "np.vstack([x, x[:1]])", "h5py.File", "fit_exponent("),
    *("mf.PairwiseEnergy(potential", "mf.PopulationRisk("),
)
FIRST, SGD, LATER, KERNEL, BARE, FIT, GAS, TEACHER = map(block, ('kink.h5", mf.evenly', *EXAMPLES))


OTHERS = [
    text for text in BLOCKS if text not in (FIRST, SGD, LATER, KERNEL, BARE, FIT, GAS, TEACHER)
]


@pytest.mark.parametrize(
    "example", OTHERS, ids=[text.strip().splitlines()[-1][:40] for text in OTHERS]
)
def test_every_other_example_runs_by_itself(example, tmp_path):
    run(example, tmp_path)


def test_the_first_example_runs_in_an_empty_folder_and_bare_h5py_reads_its_file(tmp_path):
    result = run(FIRST + BARE + "\nassert theta.shape == (100, 1000, 3), theta.shape\n", tmp_path)
    distance, risk = map(float, result.stdout.split()[-2:])
    # The mean-field fit of |x|: the neurons travel a distance of the size of their own spread, and
    # the risk falls below a ten-thousandth of its start, (1/n) Σ ½x² = 0.172.
    assert 0.3 < distance < 3 and risk < 1.7e-5


def test_the_example_on_files_runs_after_the_first_and_prints_what_its_comments_say(tmp_path):
    printed = run(FIRST + LATER, tmp_path).stdout
    assert "kernel_drift" in printed and "The kernel of the start makes" in printed
    share = next(float(line) for line in printed.splitlines() if line.startswith("0.9"))
    assert share > 0.985  # of Δf; the comment says .99
    assert {"evolution.png", "evolution.pdf", "rich.gif", "rich.h5.diagnostics"} <= {
        item.name for item in tmp_path.iterdir()
    }


def test_the_teacher_is_learned_as_the_comment_says(tmp_path):
    printed = run(TEACHER, tmp_path).stdout.splitlines()
    found = [
        [float(word) for word in line.split()]
        for line in printed
        if line.startswith(("1.0 ", "0.5 "))
    ]
    assert [f"{risk:.1e}, {distance:.2g}" for _, risk, distance in found] == [
        "8.5e-05, 0.79",
        "5.1e-04, 0.048",
    ]


def test_the_pytorch_run_is_reproduced_exactly(tmp_path):
    """100 steps, each with rounding of sums of 200 terms of size .1: 1e-13 of f of size 1."""
    pytest.importorskip("torch", reason="the example trains with torch")
    assert float(run(SGD, tmp_path).stdout.split()[-1]) < 1e-13


def test_the_fit_prints_what_its_comments_say(tmp_path):
    printed = run(FIT, tmp_path).stdout
    assert "curvature" in printed and "agrees with −0.500" in printed


def test_the_kernel_example_runs_and_prints_what_its_comments_say(tmp_path):
    lines = run(KERNEL, tmp_path).stdout.splitlines()
    assert "rank 20 of 21" in lines[0]
    floors = [float(number) for number in lines[1].split()]
    # (y1 - y2)²/4 over n: TRUTHS.md, section 4
    assert floors[0] == floors[1] or abs(floors[0] - floors[1]) < 1e-12
    assert float(lines[3]) < 0.05 and "Lazy" in lines[-1] + lines[-2]


def test_the_gas_comes_to_rest_where_its_comment_says(tmp_path):
    """TRUTHS.md, 3.5: the slowest mode has e^{-25} = 1e-11 left, of a start at most 1 away."""
    assert float(run(GAS, tmp_path).stdout) < 5e-11


def test_the_sweep_of_the_readme_is_one(tmp_path):
    (text,) = re.findall(r"```toml\n(# widths.toml.*?)```", TEXT, re.S)
    (tmp_path / "widths.toml").write_text(text)
    program = (
        "from sims.commands.sweep import main; raise SystemExit(main(['create', "
        "'widths.toml', 'out']))"
    )
    assert "36 runs" in run(program, tmp_path).stdout


def test_the_readme_fits_a_screen_or_two():
    assert (ROOT / "README.md").stat().st_size <= 8 * 1024


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    linked = [page.parent / path for path in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
    called = [ROOT / path for path in re.findall(r"(?:^|`)(scripts/\w+)", text, re.M)]
    missing = [str(path) for path in linked + called if not path.exists()]
    assert not missing


def test_the_table_is_filled_between_its_marks_and_nowhere_else(tmp_path):
    from sims.commands import readme

    head, rows = "task,gamma,m,seed,displacement,w2_upper", []
    for gamma in (0.5, 1.0):
        rows += [f"digits,{gamma},{m},0,{m ** (gamma - 1)},{m ** (gamma - 1)}" for m in (100, 400)]
    (tmp_path / "t.csv").write_text("\n".join([head, *rows]))
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table:begin -->\nold\n<!-- table:end -->\nafter\n")
    assert readme.main([str(tmp_path / "t.csv"), str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| RMS displacement at γ = 0.5 | 0.1, W2 0.1 | 0.05, W2 0.05 | -0.50 | -0.5 |" in text
    assert "| 0.00 | 0 |" in text
