"""What may lie over what: a run of particles over the limit of its own flow."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

import meanfield as mf
from meanfield.limits.hypotheses import starts_differ
from sims import figures

X = np.linspace(-1, 1, 8)[:, None]


@dataclass(frozen=True)
class Case:
    """A run of two steps of a ReLU network on 8 samples; what differs from the limit's flow."""

    sigma: str = "relu"
    gamma: float = 1.0
    alpha: float = 1.0
    factor: float = 1.0
    ridge: float = 0.0
    temperature: float = 0.0
    trainable: tuple = ("a", "w", "b")
    method: mf.Method = mf.RK4

    def record(self, path, start):
        network = mf.Network(self.sigma, mf.Scaling(self.gamma, self.alpha), self.trainable)
        y = self.factor * np.abs(X[:, 0])
        risk = mf.EmpiricalRisk(network, X, y, ridge=self.ridge)
        flow = mf.GradientFlow(risk, temperature=self.temperature, seed=1)
        mf.simulate(flow, start, self.method, dt=0.01, t_end=0.02, progress=False,
                    observers=[mf.Recorder(path, mf.every(1))])  # fmt: skip
        return path


def pairs(m, radius=1.0):
    """± pairs of balanced neurons of uniform directions."""
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, m // 2).repeat(2)
    sign = np.tile([1.0, -1.0], m // 2)
    return mf.State(radius * np.column_stack([sign, np.cos(angle), np.sin(angle)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("overlays")
    Case(method=mf.limits.FINITE_VOLUMES).record(made / "limit.h5", mf.limits.circle(64))
    Case().record(made / "run.h5", pairs(64))
    return made


def test_a_run_over_the_limit_of_its_flow_from_a_sample_of_its_law(folder):
    assert mf.limits.overlay(folder / "run.h5", folder / "limit.h5").gap < 0.05
    run, limit = mf.Trajectory(folder / "run.h5"), mf.Trajectory(folder / "limit.h5")
    assert starts_differ(run, limit) == ""
    words = " ".join(text.get_text() for text in figures.overlay(run, limit).texts)
    assert "At m = 64" in words and "law" not in words


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (Case(gamma=0.5), "γ of the run is 0.5, of the limit 1"),
        (Case(alpha=2.0), "α of the run is 2.0"),
        (Case(sigma="tanh"), "activation of the run is tanh, of the limit relu"),
        (Case(factor=2.0), "data of the run is"),
        (Case(ridge=0.1), "ridge of the run is 0.1"),
        (Case(trainable=("w",)), "trainable of the run is"),
        (Case(temperature=0.1, method=mf.EULER_MARUYAMA), "temperature of the run is"),
    ],
)
def test_a_limit_of_another_flow_is_refused_with_what_differs(folder, tmp_path, case, said):
    other = case.record(tmp_path / "other.h5", pairs(8))
    with pytest.raises(ValueError, match=f"not the limit of .*{said}.* one mf.GradientFlow"):
        mf.limits.overlay(other, folder / "limit.h5")


def test_two_runs_two_limits_and_a_wrong_order_are_refused(folder):
    run, limit = folder / "run.h5", folder / "limit.h5"
    with pytest.raises(ValueError, match="particles by rk4"):
        mf.limits.overlay(run, run)
    with pytest.raises(ValueError, match=r"Write overlay\(run, limit\)"):
        mf.limits.overlay(limit, run)
    known = mf.limits.Quadratic(np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match=r"got Quadratic. Write overlay\(run, limit\)"):
        mf.limits.overlay(known, run)
    with pytest.raises(ValueError, match="activation of the run is relu, of the limit square"):
        mf.limits.overlay(run, known)


def turned(m):
    """Balanced, but all neurons of a > 0 to one side."""
    start = pairs(m).theta.copy()
    start[::2, 1:] = np.array([1.0, 0.0])
    return mf.State(start)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (mf.InitialLaw(dim=1, b_std=1.0).sample(64), "not balanced"),
        (pairs(64, 1.5), r"mean of .a.² is 2.25 in the run and 1 in the limit"),
        (turned(256), "f starts .* from that of the limit"),
    ],
)
def test_starts_of_two_laws_are_named_in_place_of_a_finite_m(folder, tmp_path, start, said):
    """Means of m neurons scatter as m^(-1/2): these are many times farther from the limit's."""
    path = Case().record(tmp_path / "run.h5", start)
    words = " ".join(text.get_text() for text in figures.overlay(path, folder / "limit.h5").texts)
    words = " ".join(words.split())
    assert "The starts differ in law" in words
    assert re.search(said, words)


def test_cells_of_a_line_are_compared_by_their_moments(tmp_path):
    case = Case("linear", trainable=("w",), method=mf.limits.FINITE_VOLUMES)
    cells = mf.limits.line(-2, 2, 80, lambda x: abs(x) < 0.5, a=1.0)
    limit = mf.Trajectory(case.record(tmp_path / "limit.h5", cells))
    for number, shift in enumerate((0.0, 0.5)):
        w = np.random.default_rng(0).uniform(-0.5, 0.5, 64) + shift
        start = mf.State(np.column_stack([np.ones(64), w, np.zeros(64)]))
        run = Case("linear", trainable=("w",)).record(tmp_path / f"{number}.h5", start)
        assert ("column 1" in starts_differ(mf.Trajectory(run), limit)) == (shift > 0)
