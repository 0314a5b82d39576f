"""The same network in torch autograd, float64: what "gradient descent on the risk" means to
everybody else.
"""

import numpy as np
import torch
from torch.nn import functional

ACTIVATIONS = {
    "relu": torch.relu,
    "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "softplus": lambda z: torch.logaddexp(
        z, torch.zeros_like(z)
    ),  # functional.softplus turns linear above 20
    "gelu": functional.gelu,
    "sin": torch.sin,
    "square": torch.square,
    "linear": lambda z: z,
}

LOSSES = {  # summed over samples and outputs
    "squared": lambda f, y: 0.5 * (f - y).square().sum(),
    "huber": lambda f, y: functional.huber_loss(f, y, reduction="sum", delta=1.0),
    "logistic": lambda f, y: torch.logaddexp(-y * f, torch.zeros_like(f)).sum(),
    "hinge": lambda f, y: torch.clamp(1.0 - y * f, min=0.0).sum(),
    "softmax": lambda f, y: functional.cross_entropy(f, y, reduction="sum"),
}


def torch_gradient(
    theta, x, y, activation, loss, scaling, trainable=("a", "w", "b"), ridge=0.0, reduction="mean"
):
    """∂/∂θ_k of R + s² (λ/2) mean_k |θ_k|², the ridge over trainable columns; zero in the frozen
    ones. (m, p).
    """
    theta, x = np.asarray(theta, dtype=np.float64), torch.tensor(np.asarray(x, dtype=np.float64))
    m, K = len(theta), theta.shape[1] - x.shape[1] - 1
    s = scaling.output_scale(m)
    blocks = {"a": theta[:, :K], "w": theta[:, K:-1], "b": theta[:, -1]}
    leaves = {
        name: torch.tensor(block, requires_grad=name in trainable) for name, block in blocks.items()
    }

    f = s * ACTIVATIONS[activation](x @ leaves["w"].T + leaves["b"]) @ leaves["a"] / m
    labels = torch.tensor(np.asarray(y))
    objective = LOSSES[loss](
        f, labels.long() if loss == "softmax" else labels.to(torch.float64).reshape(f.shape)
    )
    if reduction == "mean":
        objective = objective / len(x)
    for name in trainable:
        objective = objective + s**2 * (ridge / 2) * leaves[name].square().sum() / m

    if trainable:
        objective.backward()
    columns = [
        (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).reshape(m, -1)
        for leaf in leaves.values()
    ]
    return torch.cat(columns, dim=1).numpy()


def torch_gradient_step(
    theta, x, y, activation, loss, scaling, trainable, ridge, reduction, learning_rate
):
    """θ - η ∂(R + s² (λ/2) mean_k |θ_k|²)/∂θ: one step of torch.optim.SGD. y (n,) or (n, K), for
    softmax classes (n,).
    """
    return np.asarray(theta, dtype=np.float64) - learning_rate * torch_gradient(
        theta, x, y, activation, loss, scaling, trainable, ridge, reduction
    )
