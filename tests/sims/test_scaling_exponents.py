"""Exponents beside theory: the formulas, the verdicts, and a study whose numbers are those of its
files.
"""

import csv
import dataclasses

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import scaling_exponents
from sims.lab import exponents
from sims.scaling_exponents import panels

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
    """THEORY.md, section 1; TRUTHS.md, section 2; the module's own derivation for kernel and
    linearisation.
    """
    for activation, expected in (("tanh", smooth), ("relu", kinked)):
        found = exponents.theory(quantity, gamma, activation)
        assert found is expected is None or found == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("quantity", "gamma", "activation", "slope", "verdict"),
    [
        ("displacement", 0.5, "tanh", -0.5, "agrees"),
        ("displacement", 0.5, "tanh", -0.52, "within 0.03 of theory, but not within errors"),
        ("displacement", 0.5, "tanh", -0.56, "−0.060 off"),
        ("kernel_drift", 0.75, "relu", -0.51, "within 0.03 of theory, but not within errors"),
        ("kernel_drift", 0.75, "relu", -0.549, "between −0.625 and −0.500"),
        ("kernel_drift", 0.75, "relu", -0.58, "between −0.625 and −0.500"),
        ("kernel_drift", 0.75, "relu", -0.64, "between −0.625 and −0.500 to within 0.03"),
        ("kernel_drift", 0.75, "relu", -0.70, "−0.200 off"),
        ("kernel_drift", 0.75, "tanh", -0.58, "−0.080 off"),
        ("kernel_drift", 1.25, "tanh", 0.4, "no theory"),
    ],
)
def test_a_measured_exponent_gets_its_verdict(quantity, gamma, activation, slope, verdict):
    """Values without scatter, so that the tolerance .03 alone decides."""
    one = exponents.measured(
        quantity, activation, gamma, WIDTHS, np.array([[2.0], [3.0]]) * WIDTHS**slope
    )
    assert (
        one.verdict == verdict and one.slope == pytest.approx(slope, abs=1e-12) and one.seeds == 2
    )
    assert f"  {verdict}\n" in exponents.table([one]) and one.tolerance == 0.03
    assert f"{slope:.3f}".replace("-", "−") in exponents.table([one])


def test_agreement_is_by_the_interval_and_curvature_is_told():
    """Scatter of 3 % makes the slope -.52 one that agrees with -.5; a slope that changes by .2 is
    told to do so.
    """
    widths, rng = 2.0 ** np.arange(8, 13), np.random.default_rng(0)
    scatter, x = np.exp(0.03 * rng.normal(size=(4, 5))), np.log(widths / 1024)
    assert (
        exponents.measured("displacement", "tanh", 0.5, widths, widths**-0.5 * scatter).verdict
        == "agrees"
    )
    one = exponents.measured(
        "displacement", "tanh", 0.5, widths, np.exp(-0.5 * x - 0.05 * x**2) * scatter
    )
    assert one.curvature_p < 0.05 and one.verdict.endswith(", but curved")


def test_a_panel_counts_what_agrees_apart_from_what_is_near():
    """Exact slopes -1, .02 off, .1 off; one that agrees and is curved."""
    exact = [
        exponents.measured("kernel_drift", "tanh", 0.5, WIDTHS, WIDTHS[None] ** slope)
        for slope in (-1.0, -0.98, -0.9)
    ]
    bent = dataclasses.replace(exact[0], verdict="agrees, but curved")
    said = panels._verdict([*exact, bent], "")
    assert (
        said == "2 of 4 agree within errors (1 curved), 1 only to within 0.03; farthest tanh at "
        "1/2, −0.900 for −1.000."
    )
    assert (
        panels._verdict(exact[:2], "a remark")
        == "1 of 2 agree within errors, 1 only to within 0.03; a remark."
    )


def test_an_end_of_the_interval_is_not_rounded_onto_the_exponent_it_leaves_out():
    one = exponents.measured(
        "displacement", "tanh", 1.0, WIDTHS, np.array([[2.0], [3.0]]) * WIDTHS**-0.007
    )
    one = dataclasses.replace(one, low=-0.014, high=-0.0004)
    assert "−0.0140 … −0.0004  " in exponents.table([one])


def test_the_table_says_what_its_verdicts_mean():
    text = exponents.table(
        [exponents.measured("displacement", "tanh", 0.5, WIDTHS, WIDTHS[None] ** -0.5)]
    )
    assert (
        "agrees: the 95 % interval" in text
        and "off by 0.03 at most, the tolerance" in text
        and "curved: p" in text
    )


def test_too_few_widths_are_a_line_of_the_table_with_the_reason():
    one = exponents.measured("displacement", "tanh", 0.5, WIDTHS[:2], WIDTHS[None, :2])
    assert one.slope is None and one.miss is None
    assert "refused: no exponent from 2 widths" in exponents.table([one])


def test_a_row_holds_what_the_file_says(study):
    """Displacement and W2 of its frames, kernel drift on training inputs, f against the closed form
    with the start's kernel.
    """
    assert len(study.rows) == 2 * 2 * 3 * 2
    for row in study.rows[::5]:
        with mf.Trajectory(study.folder / row.file) as run:
            first, last, data, network = run[0], run[-1], run.data, run.network
        assert (row.m, row.t_end, row.activation) == (last.m, 0.5, network.sigma.name)
        assert row.displacement == mf.displacement(first, last) and row.w2 == pytest.approx(
            mf.w2(first, last), rel=1e-12
        )
        H0, H, h = (
            ntk.empirical(network, s, x, data.x)
            for s, x in ((first, data.x), (last, data.x), (first, data.x_test))
        )
        assert row.kernel_drift == pytest.approx(
            np.linalg.norm(H - H0) / np.linalg.norm(H0), rel=1e-9
        )
        # f_0 = 0, the start is symmetric
        expected = ntk.KernelFlow(H0, data.y, K_test=h).at(last.t).test
        f = mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y)).predict(last, data.x_test)[
            :, 0
        ]
        assert row.linear_gap == pytest.approx(np.sqrt(np.mean((f - expected) ** 2)), rel=1e-6)


def test_exponents_are_of_every_quantity_activation_and_gamma(study):
    keys = [(one.quantity, one.activation, one.gamma) for one in study.exponents]
    assert len(set(keys)) == len(keys) == 5 * 2 * 2
    f0 = {
        one.gamma: one
        for one in study.exponents
        if one.quantity == "f0" and one.activation == "tanh"
    }
    # γ enters f_0 as a factor alone
    assert f0[0.5].slope - f0[1.0].slope == pytest.approx(0.5, abs=1e-12)


def test_the_untrained_prediction_has_the_exact_mean_square(study):
    """Unit x, w ~ N(0, I), ReLU, E a² = 1, γ = 1/2: E f_0² = 1/2 at each m (TRUTHS.md, section 2);
    64 draws, of squares whose relative scatter is at most √(2 + 15/m): 4 standard errors are 1.0 at
    m = 8 and .8 at m = 32.
    """
    for m in (8, 32):
        squares = [
            start.f0**2 for start in study.starts if start.activation == "relu" and start.m == m
        ]
        assert np.mean(squares) == pytest.approx(0.5, rel=4 * np.sqrt((2 + 15 / m) / 64))


def test_studies_that_differ_do_not_share_a_figure(tmp_path):
    small = {"activations": ("tanh",), "gammas": (1.0,), "seeds": 1, "n": 6, "dim": 3, "test": 5}
    for m, t_end in ((4, 0.5), (6, 1.0)):
        scaling_exponents.run(
            scaling_exponents.Config(widths=(m, 2 * m, 4 * m), t_end=t_end, **small), tmp_path
        )
    with pytest.raises(ValueError, match="differ in data or in their end"):
        scaling_exponents.collect(tmp_path.glob("*.h5"))
    with pytest.raises(ValueError, match="there are no runs to measure"):
        scaling_exponents.collect([])


def test_the_command_line_writes_both_tables_and_the_figure(tmp_path, capsys):
    options = [
        "--activations",
        "tanh",
        "--gammas",
        "0.5",
        "1.25",
        "--widths",
        "8",
        "16",
        "32",
        "--seeds",
        "1",
        "--t-end",
        "0.5",
    ]
    assert (
        scaling_exponents.main([*options, "--n", "6", "--test", "5", "--out", str(tmp_path)]) == 0
    )
    text = capsys.readouterr().out
    assert "the tolerance for finite widths" in text and "scaling_exponents.png" in text
    with open(tmp_path / "scaling_exponents.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["quantity"] for row in rows} == set(exponents.QUANTITIES) and {
        row["tolerance"] for row in rows
    } == {"0.03"}
    with open(tmp_path / "scaling_exponents_runs.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6
    made = (tmp_path / "scaling_exponents.png").read_bytes()
    assert scaling_exponents.main(["--redraw", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "scaling_exponents.png").read_bytes() == made


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--widths", "8", "9", "16"], "must be even"),
        (
            ["--widths", "256", "512"],
            "needs 3 widths or more, the largest 4 times the smallest or more; got [256, "
            "512]. Use 256 512",
        ),
        (["--widths", "256", "300", "512"], "got [256, 300, 512]"),
        (["--gammas", "1", "1"], "without repetition"),
        (["--dt", "0"], "dt"),
        (["--redraw", "--out", "absent"], "no runs"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_writes_nothing(
    tmp_path, monkeypatch, capsys, options, said
):
    monkeypatch.chdir(tmp_path)
    assert scaling_exponents.main(options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0] and not list(tmp_path.iterdir())
