"""What tells two flows of the same names apart: values of their formulas in plain Python, kept in a
run's file.
"""

import json

import numpy as np
import pair_formulas
import pytest

import meanfield as mf
from meanfield.functionals import probes

START = mf.InitialLaw(2).sample(6, seed=0)
X = np.random.default_rng(1).normal(size=(9, 2))


def swish(beta):
    from math import exp

    def value(z):
        return z / (1.0 + exp(-beta * z))

    def slope(z):
        e = 1.0 / (1.0 + exp(-beta * z))
        return e + beta * z * e * (1.0 - e)

    return mf.Activation("swish", value, slope)


def of_swish(beta, y=X[:, 0], loss="squared"):
    return probes.probe_values(mf.EmpiricalRisk(mf.Network(swish(beta)), X, y, loss=loss), START)


def test_another_constant_in_an_activation_is_seen_and_named():
    before = json.loads(json.dumps(of_swish(1.5)))
    assert probes.changed(before, of_swish(1.5)) == []
    phrases = probes.changed(before, of_swish(2.5))
    assert [phrase.split(":")[0] for phrase in phrases] == ["σ", "σ'"]
    assert "before" in phrases[0] and "now, and another at" in phrases[0]


@pytest.mark.parametrize(
    ("loss", "y"),
    [("squared", X[:, 0]), ("logistic", np.sign(X[:, 0])), ("softmax", np.arange(9) % 3)],
)
def test_values_of_a_loss_are_finite_and_its_own(loss, y):
    start = mf.InitialLaw(2, outputs=3 if loss == "softmax" else 1).sample(6, seed=0)
    found = probes.probe_values(mf.EmpiricalRisk(mf.Network(), X, y, loss=loss), start)
    assert len(found["ℓ"]) >= 9 and None not in found["ℓ"] + found["ℓ'"]


def test_an_interaction_is_seen_at_the_particles_of_the_start():
    """At the scale of the cloud: a Gaussian of width 1e-9 is 0, and blind, at points of order 1. Of
    p = 1000 no more is kept.
    """
    for p in (2, 1000):
        start = mf.State(np.random.default_rng(0).normal(size=(20, p)), outputs=0)
        before = probes.probe_values(
            mf.PairwiseEnergy(pair_formulas.WELL, pair_formulas.COULOMB), start
        )
        now = probes.probe_values(
            mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.SPRING), start
        )
        assert [phrase.split(":")[0] for phrase in probes.changed(before, now)] == [
            "V",
            "∇V",
            "U",
            "∇U",
        ]
        assert {name: len(values) for name, values in before.items()} == {
            "V": 4,
            "∇V": 4,
            "U": 12,
            "∇U": 12,
        }


def test_the_closed_form_of_a_population_risk_is_that_of_its_activation():
    """relu: √(qr)(sin ψ + (π - ψ) cos ψ)/2π with cos ψ = 1/3 (TRUTHS.md, section 1), to rounding."""
    teacher = mf.State(np.array([[1.0, 1.0, 0.0, 0.0]]))
    found = probes.probe_values(
        mf.PopulationRisk(mf.Network(trainable=("a", "w")), teacher), START
    )["K_σ"]
    psi = np.arccos(1 / 3)
    shape = (np.sin(psi) + (np.pi - psi) / 3) / (2 * np.pi)
    z = np.abs(probes.POINTS)
    np.testing.assert_allclose(found, np.sqrt(z[:-1] * z[1:]) * shape, rtol=1e-13)
