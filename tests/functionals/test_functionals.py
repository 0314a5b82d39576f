"""What a flow asks of a functional: with a network and samples, with a network alone, and with
neither.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield import backends
from meanfield.diagnostics import inspection
from meanfield.functionals import protocol


class Well(mf.Functional):
    """F = ½ ∫|θ|² dμ on whole rows of θ: no network, no samples, nothing in a file but its name."""

    network = None

    def check_state(self, state):
        if state.outputs:
            raise ValueError("a well wants outputs = 0.")

    def on(self, backend, state):
        return WellField(backend)


class WellField(mf.Field):
    def energy(self, particles):
        return 0.5 * float(self.size2(particles))

    def _velocity(self, particles):
        return self.backend.combine(particles.theta, [-2.0], [particles.theta])

    def potential(self, particles, at=None):
        return 0.5 * np.square(self.backend.download(particles.theta)).sum(axis=1)

    def rate(self, particles):
        return 1.0


@dataclass(frozen=True, eq=False)
class Taught(mf.Functional):
    """½ E|f|² over samples that only it knows, so that a flow sees a network and a teacher's array,
    and no x.
    """

    network: mf.Network
    teacher: np.ndarray

    terms: ClassVar[tuple] = ("energy", "risk", "regulariser")

    @property
    def risk(self):
        return mf.EmpiricalRisk(self.network, self.teacher, np.zeros(len(self.teacher)))

    @property
    def arrays(self):
        return {"teacher": self.teacher}

    def check_state(self, state):
        self.risk.check_state(state)

    def on(self, backend, state):
        return self.risk.on(backend, state)

    def to_dict(self):
        return {"kind": "Taught", "network": self.network.to_dict()}

    @classmethod
    def make(cls, settings, arrays, start):
        return cls(mf.Network.from_dict(settings["network"]), arrays["teacher"])


@pytest.fixture
def known(monkeypatch):
    """As another package makes its functionals known."""
    monkeypatch.setitem(protocol.OTHERS, "Well", lambda settings, arrays, start: Well())
    monkeypatch.setitem(protocol.OTHERS, "Taught", Taught.make)


def cloud(m=40, p=2, dtype=np.float64):
    return mf.State(np.random.default_rng(0).normal(size=(m, p)).astype(dtype), outputs=0)


@pytest.mark.parametrize("dtype", sweep(["float64", "float32"]))
@pytest.mark.parametrize("method", [mf.RK4, mf.Adaptive(rtol=1e-6)])
def test_an_energy_without_network_and_data_goes_through_the_whole_engine(
    known, h5_path, dtype, method
):
    """dθ/dt = -θ: θ(1) = θ(0)/e to 1e-5 (RK4: dt⁵/120 a step at dt = 0.1, in all 1e-6; float32:
    1e-7 an operation).
    """
    flow, start = mf.GradientFlow(Well(), dtype=dtype), cloud()
    dt = 0.1 if method is mf.RK4 else None
    observers = [
        mf.Recorder(h5_path, mf.every(2)),
        mf.Series("theta_max", mf.every(1)),
        mf.W2(mf.evenly(2)),
    ]
    end = mf.simulate(flow, start, method, dt=dt, t_end=1.0, observers=observers)
    np.testing.assert_allclose(end.theta, start.theta * np.exp(-1.0), atol=1e-5)
    run = mf.Trajectory(h5_path)
    assert {"energy", "speed2", "displacement", "path", "energy_defect"} <= set(run.series_names)
    assert not {"risk", "regulariser", "balance_defect"} & set(run.series_names)
    assert run.arrays == {} and run.config["network"] is None and run.config["data"] is None
    assert run.series("energy_defect").values[-1] < (1e-5 if dtype == "float64" else 1e-4)
    assert "Well" in "\n".join(inspection.report(run)) and "gamma" not in "\n".join(
        inspection.report(run)
    )
    longer = mf.resume(h5_path, t_end=2.0, progress=False)  # from the file alone
    np.testing.assert_allclose(longer.theta, start.theta * np.exp(-2.0), atol=1e-5)
    d = mf.diagnose(h5_path, ["energy", "displacement", "w2"], progress=False)
    assert d["energy"].values[0] > d["energy"].values[-1]
    with pytest.raises(ValueError, match="'risk' cannot be computed for .*: a Well has no network"):
        mf.diagnose(h5_path, ["risk"])
    with pytest.raises(ValueError, match="the particles are no neurons|a Well has no network"):
        mf.diagnose(h5_path, ["kernel_drift"])
    compared = mf.compare(h5_path, h5_path)
    assert (
        compared.verdict.startswith("Neither moved more: RMS displacement") and compared.notes == ()
    )


def test_dt_auto_asks_the_field(known):
    """rate 1 and RK4's bound 2.78: dt = 0.278."""
    end = mf.simulate(
        mf.GradientFlow(Well()), cloud(), mf.RK4, dt="auto", n_steps=1, progress=False
    )
    assert end.t == pytest.approx(0.278)


def test_what_needs_a_network_says_so():
    flow, start = mf.GradientFlow(Well()), cloud()
    with pytest.raises(
        ValueError,
        match=r"a Well has no network, so it predicts nothing. What it minimises is flow.energy",
    ):
        flow.predict(start)
    with pytest.raises(ValueError, match="has no risk"):
        flow.risk(start)
    with pytest.raises(
        ValueError, match="series 'risk' cannot be recorded in this run: a Well has no network"
    ):
        mf.simulate(
            flow,
            start,
            mf.RK4,
            dt=0.1,
            n_steps=1,
            observers=[mf.Series("risk", mf.every(1))],
            progress=False,
        )
    with pytest.raises(
        ValueError, match="mf.Events watches the neurons of a network; a Well has none"
    ):
        mf.simulate(flow, start, mf.RK4, dt=0.1, n_steps=1, observers=[mf.Events()], progress=False)


def test_a_functional_without_kernels_for_a_gpu_is_refused_there_before_any_work(monkeypatch):
    monkeypatch.setattr(backends, "why_no_cuda", lambda: None)  # as where there is one
    with pytest.raises(
        ValueError,
        match='backend="cuda" was asked for, but Well has kernels for the CPU only: use '
        'backend="cpu"',
    ):
        mf.GradientFlow(Well(), backend="cuda")
    assert mf.GradientFlow(Well(), backend="auto").backend == "cpu"


def test_a_network_without_samples_carries_its_own_arrays_and_resumes_from_its_file(
    known, rng, h5_path
):
    network = mf.Network("tanh", mf.MEAN_FIELD)
    flow = mf.GradientFlow(Taught(network, rng.normal(size=(30, 2))))
    start = mf.InitialLaw(dim=2).sample(50, seed=0)
    straight = mf.simulate(flow, start, mf.RK4, dt=0.1, t_end=2.0, progress=False)
    mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=0.1,
        t_end=1.0,
        observers=[mf.Recorder(h5_path, mf.every(2))],
        progress=False,
    )
    with mf.Trajectory(h5_path) as run:
        np.testing.assert_array_equal(run.arrays["teacher"], flow.functional.teacher)
        assert {"risk", "regulariser", "energy"} <= set(run.series_names) and run.network == network
        with pytest.raises(ValueError, match="has no data set"):
            _ = run.data
    np.testing.assert_array_equal(
        mf.resume(h5_path, t_end=2.0, progress=False).theta, straight.theta
    )
    x = rng.normal(size=(5, 2))
    np.testing.assert_array_equal(
        flow.predict(start, x), mf.GradientFlow(flow.functional.risk).predict(start, x)
    )
    with pytest.raises(
        ValueError, match=r"a Taught has no training inputs: write flow.predict\(state, x\)"
    ):
        flow.predict(start)
    with pytest.raises(
        ValueError, match=r"no training inputs to probe: write mf.Events\(probe=x\)"
    ):
        mf.simulate(flow, start, mf.RK4, dt=0.1, n_steps=1, observers=[mf.Events()], progress=False)
    with pytest.raises(ValueError, match="the flow has no training samples"):
        mf.diagnose(h5_path, ["kernel_drift"])
    assert len(mf.diagnose(h5_path, ["risk"], progress=False)["risk"].values) == 11
