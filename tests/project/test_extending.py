"""The recipes of CONTRIBUTING: as many files and lines as it says, and they do what they are for.

The code is taken from the page. A user's own goes into a temporary folder, what belongs into a
package into a copy of it.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
from meanfield.diagnostics import registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
X = np.linspace(-1, 1, 8)[:, None]
RECIPES = {  # (title, 0 or 1 for its first or second way): (files, lines, code)
    (title, number): (int(files), int(lines), code)
    for title, text in re.findall(r"^### An? (.+?)\n(.*?)(?=^##|^Methods|\Z)", PAGE, re.M | re.S)
    for number, (files, lines, code) in enumerate(
        re.findall(r"^(\d+) files?, (\d+) lines.*?```python\n(.*?)```", text, re.M | re.S)
    )
}


def files_of(recipe):
    """path -> text, as the code names them."""
    parts = re.split(r"^# (\S+\.py)\n", RECIPES[recipe][2], flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture
def mine(request, tmp_path):
    """The module mine.py of a recipe, imported from a temporary folder."""
    ((path, text),) = files_of((request.param, 0)).items()
    home = tmp_path / path
    home.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(home.stem, home)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipe(title):
    return pytest.mark.parametrize("mine", [title], indirect=True, ids=[title])


def run_tests(root, *options):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return run(root, command)


def run(root, command):
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=600
    )


def copy(tmp_path, *names):
    """The project, or as much of it as these tests want, in a folder of its own: with what Python
    and numba have compiled of it, but for what another process is writing.
    """
    left_out = shutil.ignore_patterns("*.tmp.*", "*.pyc.*", "*.png", "golden", "bench")
    for name in ("meanfield", "ntk", "sims", "tests/helpers", *names):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=left_out)
        else:
            shutil.copy(source, target)
    return tmp_path


def insert(path, before, text):
    old = path.read_text(encoding="utf-8")
    assert old.count(before) == 1
    path.write_text(old.replace(before, text + before), encoding="utf-8")


def test_each_kind_has_its_recipe():
    kinds = {
        "activation": 2,
        "feature": 1,
        "Butcher tableau": 1,
        "functional": 1,
        "method with noise": 1,
        "observer": 1,
        "series": 1,
        "diagnostic": 1,
        "experiment": 1,
    }
    assert set(RECIPES) == {
        (kind, number) for kind, count in kinds.items() for number in range(count)
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_the_page_counts_files_and_lines_rightly(recipe):
    files, lines, _ = RECIPES[recipe]
    texts = files_of(recipe)
    assert len(texts) == files
    assert sum(bool(line.strip()) for text in texts.values() for line in text.splitlines()) == lines


@recipe("activation")
def test_an_activation_of_ones_own_trains_and_its_run_goes_on(mine, h5_path):
    """σ is compiled as it is written: f of one neuron with a = 1, w = 1, b = 0 is x/(1 + e^(-x)),
    to rounding.
    """
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(mine.SILU), X, X[:, 0]))
    one = mf.State(np.array([[1.0, 1.0, 0.0]]), outputs=1)
    np.testing.assert_allclose(
        flow.predict(one)[:, 0], X[:, 0] / (1 + np.exp(-X[:, 0])), rtol=1e-14
    )
    start = mf.InitialLaw(dim=1).sample(6, seed=0)
    mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=0.1,
        t_end=0.5,
        observers=[mf.Recorder(h5_path, mf.evenly(2))],
        progress=False,
    )
    end = mf.resume(h5_path, t_end=1.0, flow=flow, progress=False)
    assert flow.energy(end) < flow.energy(start)


def test_an_activation_in_the_package_is_taken_up_by_the_tests_from_its_table(tmp_path):
    """In a copy: two functions before TABLE, one line in it, one in the twin's table; gradients of
    PyTorch agree.
    """
    pytest.importorskip("torch", reason="the twin is PyTorch's")
    root = copy(tmp_path, "tests/conftest.py", "tests/model/test_naive.py", "pyproject.toml")
    texts = files_of(("activation", 1))
    ours, twin = texts.values()
    functions, line = re.fullmatch(r"(.*?)(^ +Activation\(.*)", ours, re.M | re.S).groups()
    path, their_path = (root / name for name in texts)
    insert(path, "TABLE: dict[str, Activation]", functions + "\n")
    insert(path, '        Activation("linear"', line)
    insert(their_path, '    "linear":', twin)
    result = run_tests(root, "tests/model/test_naive.py", "-k", "silu or twin", "--no-header")
    assert result.returncode == 0, result.stdout
    # K = 1 and 3, and that the twin knows every name
    assert re.search(r"\b3 passed", result.stdout), result.stdout


@recipe("feature")
def test_a_feature_of_ones_own_trains_and_its_columns_have_names(mine):
    """f of one particle (a, c) = (2, .5) is 2 e^(-(x - .5)²/2), to rounding; F falls."""
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(mine.BUMP), X, X[:, 0]))
    one = mine.BUMP.state([[2.0, 0.5]])
    expected = 2.0 * np.exp(-0.5 * (X[:, 0] - 0.5) ** 2)
    np.testing.assert_allclose(flow.predict(one)[:, 0], expected, rtol=1e-14)
    end = mf.simulate(flow, one, mf.RK4, dt=0.1, t_end=0.5, progress=False)
    assert flow.risk(end) < flow.risk(one) and end["centre"].shape == (1,)


@recipe("Butcher tableau")
def test_a_tableau_of_ones_own_has_its_order_and_its_file_holds_it(mine, h5_path):
    """dθ/dt = -∇V on V = ½|θ|²: a step is 1 - h + h²/2, so the error at t = 1 is h²/6·e^(-1)(1 +
    O(h)).
    """
    flow = mf.GradientFlow(mf.PairwiseEnergy(potential=(half_square, half_square_slope)))
    start = mf.State(np.array([[1.0], [2.0]]), outputs=0)
    errors = [
        abs(march(flow, start, mine.MIDPOINT, 1 / n).theta[0, 0] - np.exp(-1.0)) for n in (50, 100)
    ]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)
    march(flow, start, mine.MIDPOINT, 0.1, mf.Recorder(h5_path, mf.evenly(2)))
    end = mf.resume(h5_path, t_end=2.0, flow=flow, progress=False)
    assert np.array_equal(end.theta, march(flow, start, mine.MIDPOINT, 0.1, t_end=2.0).theta)


def half_square(x):
    return 0.5 * x[0] * x[0]


def half_square_slope(x, out):
    out[0] = x[0]


def march(flow, start, method, dt, *observers, t_end=1.0):
    return mf.simulate(
        flow, start, method, dt=dt, t_end=t_end, observers=list(observers), progress=False
    )


@recipe("functional")
def test_a_functional_of_ones_own_is_descended_recorded_and_goes_on(mine, h5_path):
    """dθ/dt = -θ: θ(2) = θ(0)e^(-2), by RK4 with dt = 0.1 to dt⁴/120·2 = 2e-6 of θ(0)."""
    flow = mf.GradientFlow(mine.Well())
    start = mf.State(np.random.default_rng(0).normal(size=(5, 2)), outputs=0)
    march(
        flow,
        start,
        mf.RK4,
        0.1,
        mf.Recorder(h5_path, mf.evenly(2)),
        mf.Series("energy", mf.every(1)),
    )
    end = mf.resume(h5_path, t_end=2.0, flow=flow, progress=False)
    np.testing.assert_allclose(
        end.theta, np.exp(-2.0) * start.theta, atol=2e-6 * np.abs(start.theta).max()
    )


@recipe("method with noise")
def test_a_method_of_ones_own_draws_its_noise_and_goes_on(mine, h5_path):
    """Without a landscape the variance of each component is t: of 400 numbers the mean is off by 3
    √(2/400) t at most.
    """
    flow = mf.GradientFlow(mf.PairwiseEnergy(potential=(flat, flat_slope)), seed=4)
    start = mf.State(np.zeros((200, 2)), outputs=0)
    method = mine.Wandering()
    end = march(flow, start, method, 0.1, mf.Recorder(h5_path, mf.evenly(2)), t_end=2.0)
    assert np.square(end.theta).mean() == pytest.approx(2.0, rel=3 * np.sqrt(2 / 400))
    on = mf.resume(h5_path, t_end=3.0, flow=flow, progress=False)
    assert np.array_equal(on.theta, march(flow, start, method, 0.1, t_end=3.0).theta)
    assert "noisy" in mf.diagnose(h5_path, flow=flow, progress=False).unavailable["energy_defect"]


def flat(x):
    return 0.0


def flat_slope(x, out):
    out[0] = 0.0


@recipe("observer")
def test_an_observer_of_ones_own_remembers(mine, h5_path):
    largest = mine.Largest(mf.every(5))
    _, end = small_run(mf.Recorder(h5_path, mf.evenly(2)), largest)
    with mf.Trajectory(h5_path) as run:
        values = run.series("largest_so_far").values
    assert len(values) == 5 and np.all(np.diff(values) >= 0)
    again = mine.Largest(mf.every(5))
    mf.resume(h5_path, t_end=1.5, observers=[again], progress=False)
    assert again.most >= np.abs(end.theta).max() and again.most >= values[-1]


def small_run(*observers):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), X, np.abs(X[:, 0])))
    return flow, march(flow, mf.InitialLaw(dim=1).sample(6, seed=0), mf.RK4, 0.05, *observers)


@recipe("series")
def test_a_series_of_ones_own_is_called_when_it_is_due(mine):
    _, end = small_run(mine.HEAVIEST)
    assert len(mine.HEAVIEST.values) == 3  # of 20 steps, 0, 10 and 20
    assert mine.HEAVIEST.values[-1] == np.abs(end.a).max()


@pytest.fixture
def apart(monkeypatch):
    """What is registered here is known here alone."""
    registry.names()
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE))


@recipe("diagnostic")
def test_a_diagnostic_of_ones_own_is_computed_from_a_file_and_along_the_run(apart, mine, h5_path):
    series = mf.Series("mean_output", mf.evenly(2))
    flow, end = small_run(mf.Recorder(h5_path, mf.evenly(2)), series)
    expected = pytest.approx(flow.predict(end).mean(), rel=1e-12)
    assert series.values[-1] == expected
    assert (
        mf.diagnose(h5_path, ["mean_output"], progress=False)["mean_output"].values[-1] == expected
    )


def test_an_experiment_is_found_by_the_tests_and_runs_from_the_command_line(tmp_path):
    root = copy(tmp_path, "tests/conftest.py", "tests/sims/test_sims.py", "pyproject.toml")
    for name, text in files_of(("experiment", 0)).items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    result = run_tests(root, "tests/sims/test_sims.py", "-k", "travel", "--no-header")
    assert result.returncode == 0, result.stdout
    # draws, does not repeat, helps, plans
    assert re.search(r"\b4 passed", result.stdout), result.stdout
    done = run(root, [sys.executable, "-m", "sims.travel", "--demo", "--out", str(root / "out")])
    assert done.returncode == 0, done.stderr
    assert {"m4.h5", "m8.h5", "travel.png", "travel.pdf"} <= {
        path.name for path in (root / "out").iterdir()
    }
