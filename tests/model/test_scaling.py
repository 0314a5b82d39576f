"""Scaling: s = α m^(1-γ), and what a step of flow time means in gradient-descent terms."""

import math

import pytest

import meanfield as mf


def test_the_output_scale_is_alpha_times_m_to_the_one_minus_gamma():
    """THEORY.md, section 1: s = 1 in the mean-field scaling, √m in the NTK scaling."""
    assert mf.MEAN_FIELD.output_scale(1000) == 1.0
    assert mf.NTK.output_scale(64) == 8.0
    assert mf.Scaling(gamma=0.75, alpha=3.0).output_scale(16) == 6.0
    assert mf.Scaling(gamma=0.0).output_scale(50) == 50.0  # no prefactor at all: f = Σ_k φ
    assert mf.Scaling(gamma=1.5).output_scale(4) == 0.5


def test_an_euler_step_is_gradient_descent_with_rate_dt_m_over_s_squared():
    """THEORY.md, section 1: γ = 1 gives η = dt·m, γ = 1/2 gives η = dt."""
    assert mf.MEAN_FIELD.learning_rate(0.1, 500) == pytest.approx(50.0, rel=1e-15)
    assert mf.NTK.learning_rate(0.1, 500) == pytest.approx(0.1, rel=1e-14)
    assert mf.Scaling(gamma=0.5, alpha=10.0).learning_rate(0.1, 500) == pytest.approx(
        0.001, rel=1e-14
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.7, 1.0, 1.2])
def test_flow_time_undoes_the_learning_rate(gamma):
    scaling = mf.Scaling(gamma=gamma, alpha=2.5)
    eta = scaling.learning_rate(0.01, 300)
    assert scaling.flow_time(eta, 700, 300) == pytest.approx(7.0, rel=1e-14)


def test_the_description_says_regime_scale_and_rate():
    line = mf.NTK.describe(m=400, dt=0.5)
    assert "\n" not in line
    for part in (
        "gamma = 0.5 (NTK)",
        "alpha = 1",
        "m = 400",
        "s = 20",
        "dt = 0.5",
        "learning rate 0.5 on R",
    ):
        assert part in line
    assert "mean-field" in mf.MEAN_FIELD.describe(10, 1.0)
    assert "intermediate" in mf.Scaling(0.7).describe(10, 1.0)
    assert "outside [1/2, 1]" in mf.Scaling(1.2).describe(10, 1.0)


def test_it_is_a_value():
    scaling = mf.Scaling(gamma=0.75, alpha=2)
    assert scaling == mf.Scaling.from_dict(scaling.to_dict()) and hash(scaling) == hash(
        mf.Scaling(0.75, 2.0)
    )
    with pytest.raises(AttributeError):
        scaling.gamma = 1.0


@pytest.mark.parametrize("value", ["1", None, math.nan, math.inf, True])
def test_exponents_and_scales_that_are_not_finite_numbers_raise(value):
    with pytest.raises(TypeError, match="Scaling: gamma must be a finite number"):
        mf.Scaling(gamma=value)
    with pytest.raises(TypeError, match="Scaling: alpha must be a finite number"):
        mf.Scaling(alpha=value)


def test_a_scale_that_is_not_positive_raises_and_so_does_a_width_of_zero():
    for alpha in (0.0, -1.0):
        with pytest.raises(ValueError, match="alpha must be positive"):
            mf.Scaling(alpha=alpha)
    with pytest.raises(ValueError, match="the width m must be at least 1; got 0"):
        mf.NTK.output_scale(0)
