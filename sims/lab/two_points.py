"""Networks of two hidden layers on two points: the smallest task on which all of lazy training is seen."""

from __future__ import annotations

import numpy as np

import meanfield as mf

DATA = mf.data.Dataset(np.array([[-3.0], [0.5]]), np.array([2.0, -1.0]), name="two points")


def feature(width: int) -> mf.ModuleFeature:
    """1 – width – width – 1 of ReLU, biases everywhere; feature.sample gives PyTorch's own start."""
    from torch import nn

    return mf.ModuleFeature(
        nn.Sequential(
            nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
    )


def parameters(width: int) -> int:
    """P, the number of its weights and biases."""
    return width * width + 4 * width + 1
