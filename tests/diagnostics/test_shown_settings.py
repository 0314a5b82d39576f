"""inspect, the report and repr show the settings of a flow that are not the default; what cannot be
said of a run is not said.
"""

import numpy as np
import pytest

import meanfield as mf
from meanfield.diagnostics import inspection
from meanfield.diagnostics.library import condensation
from sims.commands import report

DATA = mf.data.kink(n=16, seed=0)
RISK = mf.EmpiricalRisk(mf.Network("tanh"), DATA.x, DATA.y)
START = mf.InitialLaw(dim=1, b_std=1.0).sample(20, seed=0)


def recorded(path, flow, method=mf.EULER):
    watch = [mf.Recorder(path, mf.evenly(2))]
    mf.simulate(flow, START, method, dt=0.1, n_steps=4, observers=watch, progress=False)
    return mf.Trajectory(path)


def lines(run):
    return dict(inspection.sections(run)["configuration"])


def test_what_is_not_the_default_is_shown(tmp_path):
    flow = mf.GradientFlow(mf.MiniBatch(RISK, 8, seed=3), temperature=0.02, seed=7)
    run = recorded(tmp_path / "hot.h5", flow, mf.EULER_MARUYAMA)
    assert lines(run)["flow"] == "temperature = 0.02, noise seed = 7"
    assert lines(run)["functional"] == (
        "MiniBatch: loss = squared, reduction = mean, ridge = 0.0, size = 8, seed = 3"
    )
    assert "temperature = 0.02, noise seed = 7" in repr(run.flow())
    assert repr(mf.GradientFlow(RISK)) == f"GradientFlow({RISK}, cpu, float64)"


@pytest.mark.parametrize("jumps", [True, False])
def test_the_report_claims_the_flow_only_where_energy_defect_tells(tmp_path, jumps):
    flow = mf.GradientFlow(RISK, reaction=0.5, jumps=jumps)
    run = recorded(tmp_path / "run.h5", flow)
    assert lines(run)["flow"].startswith("reaction = 0.5")
    answer = dict(report._verdicts(run))["Is it the flow?"]
    assert ("cannot be said: " in answer) == jumps and not answer.endswith("..")
    assert not jumps or "killed and duplicated" in answer
    if not jumps:
        notes = mf.compare(run, run).notes
        assert any("has no displacement: the masses have changed; W2(start" in n for n in notes)


def test_copies_that_are_still_equal_are_one_effective_neuron(tmp_path):
    """As many effective neurons as distinct rows at most."""
    flow = mf.GradientFlow(RISK, reaction=50.0, jumps=True)
    run = recorded(tmp_path / "copies.h5", flow)
    distinct = len(np.unique(run[-1].theta, axis=0))
    found = mf.diagnose(run, ["effective_neurons"], progress=False)["effective_neurons"].values[-1]
    assert distinct < 10 and found <= distinct + 1e-9
    assert condensation.effective_neurons(run[-1]) > distinct
