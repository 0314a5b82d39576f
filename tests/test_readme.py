"""The README's code runs as it stands, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_blocks_run_in_order_in_an_empty_folder(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 2
    program = "\n".join(blocks) + "\nassert theta.shape == (100, 1000, 3), theta.shape\n"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**_environment()}, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    distance, risk = map(float, result.stdout.split()[-2:])
    # The mean-field fit of |x|: the neurons travel a distance of the size of their own spread, and the risk falls below
    # a ten-thousandth of its start, (1/n) Σ ½x² = 0.172.
    assert 0.3 < distance < 3 and risk < 1.7e-5


def test_every_path_the_readme_names_exists():
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(r"^(scripts/\w+)", README, re.M)
    assert named
    for path in named:
        assert (ROOT / path).exists(), f"the README names {path}"


def test_the_table_is_filled_between_its_marks_and_nowhere_else(tmp_path):
    from sims import readme

    head, rows = "task,gamma,m,seed,displacement,w2_upper", []
    for gamma in (0.5, 1.0):
        rows += [f"digits,{gamma},{m},0,{m ** (gamma - 1)},{m ** (gamma - 1)}" for m in (100, 400)]
    (tmp_path / "t.csv").write_text("\n".join([head, *rows]))
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table:begin -->\nold\n<!-- table:end -->\nafter\n")
    assert readme.main([str(tmp_path / "t.csv"), str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| RMS displacement at γ = 0.5 | 0.1, W2 0.1 | 0.05, W2 0.05 | -0.50 | -0.5 |" in text
    assert "| 0.00 | 0 |" in text


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
