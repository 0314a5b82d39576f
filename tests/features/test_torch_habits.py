"""What users of torch do in modules: freeze parameters, compute in place, use a weight twice."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="a particle is a torch module")

import torch
from torch import nn

import meanfield as mf
import ntk
from meanfield.backends.torch import backend as blocks
from meanfield.backends.torch import gram


def test_parameters_that_the_user_froze_are_refused_and_the_network_is_told_what_trains():
    layers = [nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1)]
    module = nn.Sequential(*layers)
    module[0].requires_grad_(False)
    wanted = (
        r"0\.weight, 0\.bias\. .*trainable=\('2\.weight', '2\.bias', '4\.weight', '4\.bias'\)\)"
    )
    with pytest.raises(ValueError, match=wanted):
        mf.ModuleFeature(module)
    with pytest.raises(ValueError, match=r"trainable=\(\)\)"):
        mf.ModuleFeature(module.requires_grad_(False))


class Tied(nn.Module):
    """The decoder is the encoder, transposed: one linear layer, called once."""

    def __init__(self):
        super().__init__()
        self.enc = nn.Linear(2, 5)

    def forward(self, x):
        return nn.functional.linear(torch.tanh(self.enc(x)), self.enc.weight.t())


class Doubled(nn.Module):
    """h *= 2 in place, of what a layer gave."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 5), nn.Linear(5, 2)

    def forward(self, x):
        h = self.one(x)
        h *= 2
        return self.two(torch.tanh(h))


class Folded(nn.Module):
    """Each input is two rows of a linear layer."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(1, 2)

    def forward(self, x):
        return self.one(x.reshape(-1, 1)).tanh().reshape(len(x), 2, 2).sum(dim=1)


@pytest.mark.parametrize(
    ("module", "by_layers"),
    [
        (nn.Sequential(nn.Linear(2, 5), nn.ReLU(inplace=True), nn.Linear(5, 2)), True),
        (Doubled(), True),
        (Tied(), False),
        (Folded(), False),
    ],
    ids=["relu", "doubled", "tied", "folded"],
)
def test_what_a_module_does_in_place_or_twice_is_in_its_kernel(module, by_layers):
    """H = J Jᵀ, J row by row by torch, of a module by itself: to rounding."""
    module = module.double()
    feature, x = mf.ModuleFeature(module, inputs=(2,)), np.random.default_rng(5).normal(size=(4, 2))
    rows = []
    for value in module(torch.tensor(x)).flatten():
        grads = torch.autograd.grad(value, [*module.parameters()], retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in grads]).numpy())
    expected = (np.array(rows) @ np.array(rows).T).reshape(4, 2, 4, 2).transpose(0, 2, 1, 3)
    network = mf.Network(feature)
    found = ntk.empirical(network, feature.state([module]), x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    assert gram.only_linear(blocks.Torch(network, 2, 2, "float64")) is by_layers
