"""Flows whose masses react, for the tests of stepping: a well without a compiler, a small network."""

import numpy as np

import meanfield as mf

RATE = 2.0  # λ of V = λx²/2
X = np.random.default_rng(1).normal(size=(12, 2))
TANH = mf.EmpiricalRisk(mf.Network("tanh"), X, np.sin(X[:, 0]), ridge=0.01)
START = mf.InitialLaw(dim=2, b_std=1.0).sample(30, seed=2)


class Well(mf.Functional):
    """F = ∫V dμ, V = λ|x|²/2; λ = 0 but in the height: only masses move."""

    network = None

    def __init__(self, rate=RATE, height=RATE):
        self.rate, self.height = rate, height

    def on(self, backend, state):
        return WellField(self, backend)


class WellField(mf.Field):
    def __init__(self, well, backend):
        super().__init__(backend)
        self.well = well

    def potential(self, particles, at=None):
        return 0.5 * self.well.height * (particles.theta**2).sum(axis=1)

    def energy(self, particles):
        return float(particles.mass @ self.potential(particles))

    def _velocity(self, particles):
        return -self.well.rate * particles.theta


def march(functional, start, dt, n_steps, method=mf.RK4, observers=(), **flow):
    flow = mf.GradientFlow(functional, **{"reaction": 1.0, **flow})
    settings = {"dt": dt, "n_steps": n_steps, "observers": observers, "progress": False}
    return mf.simulate(flow, start, method, **settings)
