"""Activations: scalar formulas against torch, their slopes against autograd, and what the table
promises of each.
"""

import math
import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="ours is held against torch")

import torch
from torch_twin import ACTIVATIONS

import meanfield as mf
from meanfield.formulas import activations

# off the kink at 0
Z = np.concatenate([np.linspace(-9.0, 9.0, 181) + 0.013, [-700.0, -30.0, -1e-9, 1e-9, 30.0, 700.0]])


@pytest.mark.parametrize("name", activations.TABLE)
def test_value_and_slope_are_those_of_torch(name):
    """σ and its autograd derivative. Both sides are a few correctly rounded operations; next to σ'
    = 1 - tanh² and to the cancelling tails 1 + erf only the absolute error is that of rounding, so
    8 units of max(1, |value|) are allowed.
    """
    sigma = activations.TABLE[name]
    z = torch.tensor(Z, requires_grad=True)
    values = ACTIVATIONS[name](z)
    values.sum().backward()
    for ours, theirs in ((sigma.value, values.detach().numpy()), (sigma.slope, z.grad.numpy())):
        found = np.array([ours(float(u)) for u in Z])
        assert np.all(
            np.abs(found - theirs) <= 8 * np.finfo(float).eps * np.maximum(1.0, np.abs(theirs))
        )


@pytest.mark.parametrize(
    "name", [name for name, sigma in activations.TABLE.items() if sigma.value_and_slope]
)
def test_the_joint_formula_gives_the_value_and_the_slope(name):
    """Up to the rounding of two different expressions: 4 units, σ' of sigmoid and gelu being
    products of three factors.
    """
    sigma = activations.TABLE[name]
    for z in map(float, Z):
        assert sigma.value_and_slope(z) == pytest.approx(
            (sigma.value(z), sigma.slope(z)), rel=4 * np.finfo(float).eps, abs=0
        )


@pytest.mark.parametrize("name", activations.TABLE)
def test_nan_passes_through_and_no_large_argument_warns_or_raises(name):
    sigma = activations.TABLE[name]
    assert math.isnan(sigma.value(math.nan))
    if sigma.smooth:
        assert math.isnan(sigma.slope(math.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for z in (-1e4, 1e4):
            assert math.isfinite(sigma.value(z)) and math.isfinite(sigma.slope(z))


@pytest.mark.parametrize("name", activations.TABLE)
def test_declared_homogeneity_and_smoothness_are_true(name):
    """THEORY.md, section 2: σ(cz) = c^p σ(z), equivalently z σ'(z) = p σ(z) (Euler). c = 2 is exact
    in binary.
    """
    sigma = activations.TABLE[name]
    doubles = [sigma.value(2.0 * z) for z in map(float, Z)]
    if sigma.homogeneity is not None:
        p = sigma.homogeneity
        assert doubles == [2.0**p * sigma.value(z) for z in map(float, Z)]
        for z in map(float, Z):
            assert z * sigma.slope(z) == pytest.approx(p * sigma.value(z), rel=1e-15)
    else:
        assert not np.allclose(doubles, [2.0 * sigma.value(z) for z in map(float, Z)])
        assert not np.allclose(doubles, [4.0 * sigma.value(z) for z in map(float, Z)])
    jump = abs(sigma.slope(1e-12) - sigma.slope(-1e-12))
    # |σ''| <= 2 in the table, so a smooth slope moves by less than 4e-12
    assert (jump < 1e-11) == sigma.smooth


def test_the_slope_of_relu_at_the_kink_is_zero():
    assert activations.get("relu").slope(0.0) == 0.0
    assert activations.get("relu").slope(-0.0) == 0.0


def test_a_leaky_relu_takes_its_slope_from_its_name():
    for sigma in (activations.get("leaky_relu(0.2)"), mf.leaky_relu(0.2)):
        assert (sigma.name, sigma.value(-2.0), sigma.slope(-2.0), sigma.value(3.0)) == (
            "leaky_relu(0.2)",
            -0.4,
            0.2,
            3.0,
        )
    assert activations.get("leaky_relu").value(-2.0) == -0.02
    with pytest.raises(
        ValueError,
        match=r'the slope in \'leaky_relu\(big\)\' is not a number; write .*"leaky_relu\(0.2\)"',
    ):
        activations.get("leaky_relu(big)")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list():
    with pytest.raises(
        ValueError, match="unknown activation 'tanhh'. Did you mean 'tanh'\\?.*softplus"
    ):
        mf.Network("tanhh")
    with pytest.raises(TypeError, match="activation must be a name or an mf.Activation; got 3"):
        mf.Network(3)


def test_an_activation_says_what_it_wants_of_its_parts():
    own = mf.Activation("own", lambda z: z, lambda z: 1.0)
    assert activations.get(own) is own
    with pytest.raises(TypeError, match="name must be a non-empty string"):
        mf.Activation("", lambda z: z, lambda z: 1.0)
    with pytest.raises(TypeError, match="'own': slope must be a scalar function of z; got 1.0"):
        mf.Activation("own", lambda z: z, 1.0)
