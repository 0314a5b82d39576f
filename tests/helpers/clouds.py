"""Clouds of particles for the tests of W2, and its slow twin."""

import numpy as np

import meanfield as mf


def rng(seed=0):
    return np.random.default_rng(seed)


def weighted(theta, mass):
    """A measure on the rows of theta; outputs = 0: whole rows, no columns [a | w | b]."""
    return mf.State(theta, outputs=0, mass=np.asarray(mass, dtype=float) / np.sum(mass))


def pot_w2(p, q):
    """The slow twin: POT's dense network simplex on the uncentred cost matrix."""
    import ot

    x, a = (p.theta, p.mass) if isinstance(p, mf.State) else (p, np.full(len(p), 1 / len(p)))
    y, b = (q.theta, q.mass) if isinstance(q, mf.State) else (q, np.full(len(q), 1 / len(q)))
    cost = np.square(np.asarray(x, float)[:, None] - np.asarray(y, float)[None]).sum(axis=2)
    return float(np.sqrt(ot.emd2(a, b, cost, numItermax=10**8)))


def random_pair(seed):
    """Two measures of 1–40 particles in 1–6 dimensions: normal, heavy-tailed, clustered, on a line,
    on a lattice.
    """
    r = rng(seed)
    dim = int(r.integers(1, 7))

    def points(m):
        kind = r.integers(5)
        x = r.normal(size=(m, dim))
        if kind == 1:
            x = r.standard_cauchy(size=(m, dim))
        elif kind == 2:
            x = 0.01 * x + 3.0 * r.integers(-1, 2, size=(m, dim))
        elif kind == 3:
            x = np.outer(x[:, 0], r.normal(size=dim))
        elif kind == 4:
            x = r.integers(-1, 2, size=(m, dim)).astype(float)
        return x * 10.0 ** r.uniform(-1, 1)

    m1, m2 = r.integers(1, 41, size=2)
    x, y = points(m1), points(m2)
    close = r.random() < 0.3
    if close:  # the same particles a little later
        y, m2 = x + 10.0 ** r.uniform(-8, 0) * r.normal(size=x.shape), m1
    y = y + r.choice([0.0, 1.0, 1e4]) * r.normal(size=dim)
    if r.random() < 0.5:
        return x, y
    a = r.random(m1) * (r.random(m1) < 0.8) + 1e-3
    return weighted(x, a), weighted(y, a if close else r.random(m2) + 1e-6)
