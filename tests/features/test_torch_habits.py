"""What users of torch do in modules."""

import pytest

pytest.importorskip("torch", reason="a particle is a torch module")

from torch import nn

import meanfield as mf


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
