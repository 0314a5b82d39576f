"""Exponents beside theory: the formulas, the verdicts, and a study whose numbers are those of its files."""

import csv

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import exponents, scaling_exponents

WIDTHS = np.array([256.0, 1024.0, 4096.0])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    return scaling_exponents.run(scaling_exponents.tiny(), out)


@pytest.mark.parametrize(
    ("quantity", "gamma", "smooth", "kinked"),
    [
        ("displacement", 0.5, -0.5, -0.5),
        ("w2", 0.75, -0.25, -0.25),
        ("kernel_drift", 0.5, -1.0, -0.75),
        ("kernel_drift", 2 / 3, -2 / 3, -2 / 3),  # where the two powers are one
        ("linear_gap", 0.875, -0.25, -0.25),
        ("linear_gap", 1.0, 0.0, 0.0),
        ("kernel_drift", 1.25, None, None),
        ("displacement", 1.25, None, None),
        ("f0", 0.5, 0.0, 0.0),
        ("f0", 1.25, -0.75, -0.75),
    ],
)
def test_theory(quantity, gamma, smooth, kinked):
    """THEORY.md, section 1; TRUTHS.md, section 2; the module's own derivation for kernel and linearisation."""
    for activation, expected in (("tanh", smooth), ("relu", kinked)):
        found = exponents.theory(quantity, gamma, activation)
        assert found is expected is None or found == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("quantity", "gamma", "activation", "slope", "verdict"),
    [
        ("displacement", 0.5, "tanh", -0.52, "agrees"),
        ("displacement", 0.5, "tanh", -0.56, "−0.060 off"),
        ("kernel_drift", 0.75, "relu", -0.51, "agrees"),
        ("kernel_drift", 0.75, "relu", -0.58, "between −0.625 and −0.500"),
        ("kernel_drift", 0.75, "relu", -0.64, "between −0.625 and −0.500"),  # the smaller power, within the tolerance
        ("kernel_drift", 0.75, "relu", -0.70, "−0.200 off"),
        ("kernel_drift", 0.75, "tanh", -0.58, "−0.080 off"),
        ("kernel_drift", 1.25, "tanh", 0.4, "no theory"),
    ],
)
def test_a_measured_exponent_gets_its_verdict(quantity, gamma, activation, slope, verdict):
    """Values without scatter, so that the tolerance .03 alone decides."""
    one = exponents.measured(quantity, activation, gamma, WIDTHS, np.array([[2.0], [3.0]]) * WIDTHS**slope)
    assert one.verdict == verdict and one.slope == pytest.approx(slope, abs=1e-12) and one.seeds == 2
    assert verdict in exponents.table([one]) and f"{slope:.3f}".replace("-", "−") in exponents.table([one])


def test_too_few_widths_are_a_line_of_the_table_with_the_reason():
    one = exponents.measured("displacement", "tanh", 0.5, WIDTHS[:2], WIDTHS[None, :2])
    assert one.slope is None and one.miss is None
    assert "refused: no exponent from 2 widths" in exponents.table([one])


def test_a_row_holds_what_the_file_says(study):
    """Displacement and W2 of its frames, kernel drift on training inputs, f against the closed form with the start's kernel."""
    assert len(study.rows) == 2 * 2 * 3 * 2
    for row in study.rows[::5]:
        with mf.Trajectory(study.folder / row.file) as run:
            first, last, data, network = run[0], run[-1], run.data, run.network
        assert (row.m, row.t_end, row.activation) == (last.m, 0.5, network.sigma.name)
        assert row.displacement == mf.displacement(first, last) and row.w2 == pytest.approx(mf.w2(first, last), rel=1e-12)
        H0, H, h = (ntk.empirical(network, s, x, data.x) for s, x in ((first, data.x), (last, data.x), (first, data.x_test)))
        assert row.kernel_drift == pytest.approx(np.linalg.norm(H - H0) / np.linalg.norm(H0), rel=1e-9)
        expected = ntk.KernelFlow(H0, data.y, K_test=h).at(last.t).test  # f_0 = 0, the start is symmetric
        f = mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y)).predict(last, data.x_test)[:, 0]
        assert row.linear_gap == pytest.approx(np.sqrt(np.mean((f - expected) ** 2)), rel=1e-6)


def test_exponents_are_of_every_quantity_activation_and_gamma(study):
    keys = [(one.quantity, one.activation, one.gamma) for one in study.exponents]
    assert len(set(keys)) == len(keys) == 5 * 2 * 2
    f0 = {one.gamma: one for one in study.exponents if one.quantity == "f0" and one.activation == "tanh"}
    assert f0[0.5].slope - f0[1.0].slope == pytest.approx(0.5, abs=1e-12)  # γ enters f_0 as a factor alone


def test_the_untrained_prediction_has_the_exact_mean_square(study):
    """Unit x, w ~ N(0, I), ReLU, E a² = 1, γ = 1/2: E f_0² = 1/2 at each m (TRUTHS.md, section 2); 64 draws, of squares whose
    relative scatter is at most √(2 + 15/m): 4 standard errors are 1.0 at m = 8 and .8 at m = 32."""
    for m in (8, 32):
        squares = [start.f0**2 for start in study.starts if start.activation == "relu" and start.m == m]
        assert np.mean(squares) == pytest.approx(0.5, rel=4 * np.sqrt((2 + 15 / m) / 64))


def test_studies_that_differ_do_not_share_a_figure(tmp_path):
    small = {"activations": ("tanh",), "gammas": (1.0,), "seeds": 1, "n": 6, "dim": 3, "test": 5}
    for m, t_end in ((8, 0.5), (16, 1.0)):
        scaling_exponents.run(scaling_exponents.Config(widths=(m,), t_end=t_end, **small), tmp_path)
    with pytest.raises(ValueError, match="differ in data or in their end"):
        scaling_exponents.collect(tmp_path.glob("*.h5"))
    with pytest.raises(ValueError, match="there are no runs to measure"):
        scaling_exponents.collect([])


def test_the_command_line_writes_both_tables_and_the_figure(tmp_path, capsys):
    """Also of widths that give no exponent: then the table says why."""
    options = ["--activations", "tanh", "--gammas", "0.5", "1.25", "--widths", "8", "16", "--seeds", "1", "--t-end", "0.5"]
    assert scaling_exponents.main([*options, "--n", "6", "--test", "5", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "refused: no exponent from 2 widths" in text and "scaling_exponents.png" in text
    with open(tmp_path / "scaling_exponents.csv", newline="", encoding="utf-8") as file:
        assert {row["quantity"] for row in csv.DictReader(file)} == set(exponents.QUANTITIES)
    with open(tmp_path / "scaling_exponents_runs.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 4
    made = (tmp_path / "scaling_exponents.png").read_bytes()
    assert scaling_exponents.main(["--redraw", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "scaling_exponents.png").read_bytes() == made


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--widths", "8", "9", "16"], "must be even"),
        (["--gammas", "1", "1"], "without repetition"),
        (["--dt", "0"], "dt"),
        (["--redraw", "--out", "absent"], "no runs"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    assert scaling_exponents.main(options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0] and not list(tmp_path.iterdir())
