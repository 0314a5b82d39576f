"""What is measured of a network that learns digits some of whose labels are wrong.

The tangent kernel H = JJᵀ/n of n samples and K outputs, (nK, nK), has eigenvalues λ_s²/n, λ_s the
singular values of the Jacobian. Information: the span of its first eigenvectors, `modes` of them;
nuisance: all else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

import meanfield as mf
import ntk
from meanfield.tangent import as_matrix

if TYPE_CHECKING:
    from . import Network

NETWORK = mf.Network("relu", mf.MEAN_FIELD, trainable=("a", "w"))


def dataset(config: Network, corrupt: float) -> mf.data.Dataset:
    """Digits 0 … K - 1, centred one-hot, |x| = 1; test labels are the true ones."""
    return mf.data.digits(
        targets="onehot", classes=tuple(range(config.classes)), normalise="rows",
        test_fraction=0.5, n=config.n, corrupt=corrupt,
    )  # fmt: skip


def start(config: Network, data: mf.data.Dataset, seed: int) -> mf.State:
    """a = ±1 and w ~ N(0, I), symmetric: f_0 = 0, so r_0 = -y."""
    law = mf.InitialLaw(dim=data.d, outputs=data.outputs, symmetric=True)
    return law.sample(config.m, seed=seed)


def times(config: Network) -> np.ndarray:
    """0, then from 0.5 by factors √2, and t_end."""
    count = math.ceil(2 * math.log2(config.t_end / 0.5) - 1e-9)
    return np.array([0.0, *0.5 * 2.0 ** (np.arange(count) / 2), config.t_end])


def trained(config: Network, corrupt: float) -> dict[str, np.ndarray]:
    """One network.

    spectrum (2, nK): singular values of J/√n at the start and at the end. labels (2,): share of ‖y‖²
    in the information of J at the start and at the end. By time: `information` and `nuisance`,
    parts of ‖r_t‖²/‖y‖² in the spaces of J where the test error is least; `train` and `test`,
    misclassified shares, of the labels as they were given and of true ones. best: the index of the
    least test error; nuisance_norm: ‖Π_N y‖/√n at the start; alpha: the least singular value of the
    information at the start, of J/√n.
    """
    data = dataset(config, corrupt)
    flow = mf.GradientFlow(mf.EmpiricalRisk(NETWORK, data.x, data.y))
    assert data.y_test is not None  # half of the images
    state = start(config, data, 0)
    states, residuals, train, test = [], [], [], []
    for t in times(config):
        if t > 0:
            state = mf.simulate(flow, state, mf.RK4, dt="auto", t_end=float(t), progress=False)
        f, f_test = flow.predict(state), flow.predict(state, data.x_test)
        states.append(state)
        residuals.append((f - data.y).ravel())
        train.append(_wrong(f, data.y))
        test.append(_wrong(f_test, data.y_test))
    best = int(np.argmin(test))
    spectra, shares, y = [], [], data.y.ravel()
    for item in (states[0], states[-1]):
        values, vectors = modes(item, data.x)
        spectra.append(np.sqrt(np.maximum(values, 0.0)))
        shares.append(float(np.square(vectors[:, : config.modes].T @ y).sum() / (y @ y)))
    known = modes(states[best], data.x)[1][:, : config.modes]
    all_of_it = np.square(residuals).sum(axis=1) / (y @ y)
    information = np.square(np.array(residuals) @ known).sum(axis=1) / (y @ y)
    return {
        "spectrum": np.array(spectra),
        "labels": np.array(shares),
        "information": information,
        "nuisance": all_of_it - information,
        "train": np.array(train),
        "test": np.array(test),
        "best": np.array(best),
        "nuisance_norm": np.array(np.sqrt((1 - shares[0]) * (y @ y) / data.n)),
        "alpha": np.array(spectra[0][config.modes - 1]),
    }


def modes(state: mf.State, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of JJᵀ/n, largest first, and eigenvectors, (nK,) and (nK, nK)."""
    values, vectors = np.linalg.eigh(as_matrix(ntk.empirical(NETWORK, state, x)) / len(x))
    return values[::-1], vectors[:, ::-1]


def bound(file: dict[str, np.ndarray], n: int, progress: float = 1.0) -> float:
    """‖Π_N y‖/√n + e^{-Γ} + Γ/(α√n): Oymak et al. (2019), theorem 2.2 without its constants and
    logarithms, Γ = `progress`, α the least singular value of the information of J/√n.
    """
    alpha = float(file["alpha"])
    return float(file["nuisance_norm"]) + np.exp(-progress) + progress / (alpha * np.sqrt(n))


def _wrong(f: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(f.argmax(axis=1) != y.argmax(axis=1)))
