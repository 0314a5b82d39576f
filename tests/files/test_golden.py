"""Golden files: what earlier versions wrote is opened, has the content it had, is diagnosed, and
goes on.
"""

import json

import golden_runs
import numpy as np
import pytest
from golden_copies import copied
from sweeps import sweep

import meanfield as mf

EXPECTED = json.loads((golden_runs.GOLDEN / "expected.json").read_text(encoding="utf-8"))
FLOWS = {
    "relu": None,
    "softmax": None,
    "single": None,
    "pairwise": golden_runs.pairwise_flow,
    "population": None,
    "jumps": None,
}


@pytest.fixture(params=sorted(EXPECTED))
def golden(request, tmp_path):
    """(path of a copy, what is known of it)."""
    return copied(request.param, tmp_path), EXPECTED[request.param]


def test_a_golden_file_has_the_content_that_it_was_written_with(golden):
    path, expected = golden
    with mf.Trajectory(path) as run:
        assert run.content_hash() == expected["content_hash"] and run.status == expected["status"]
        assert run.times.tolist() == expected["times"]
        assert [*run[-1].theta.shape, run[-1].outputs] == expected["shape"] and str(
            run[-1].theta.dtype
        ) == expected["dtype"]
        assert [float(frame.mass[0]) for frame in run] == expected["mass_first"]
        sums = [float(frame.theta.sum(dtype=float)) for frame in run]
        rounding = 1e-13 * np.abs(run[-1].theta).sum()  # a sum may be taken in another order
        np.testing.assert_allclose(sums, expected["theta_sum"], rtol=0, atol=rounding)
        assert {name: len(run.series(name).values) for name in run.series_names} == expected[
            "series"
        ]
        births = len(run.births.steps)
        assert run.event_count == expected["events"] == len(run.events) + births
        assert ("jumps" in path.name) == bool(births)


def test_a_golden_file_is_diagnosed_and_labelled(golden):
    path, expected = golden
    if "masses" not in path.name:  # recorded by hand, without a flow
        flow = golden_runs.pairwise_flow() if "pairwise" in path.name else None
        name = "risk" if "jumps" in path.name else "displacement"  # copies are not paired
        found = mf.diagnose(path, [name], flow=flow)[name].values
        assert len(found) == len(expected["times"]) and (name == "risk" or found[0] == 0)
    pytest.importorskip("xarray")
    with mf.Trajectory(path) as run:
        assert run.to_xarray()["theta"].shape == (len(run), *run[0].theta.shape)


@pytest.mark.parametrize("kind", sweep(FLOWS, "relu", "softmax"))
def test_a_golden_file_is_extended_from_where_it_ended(kind, tmp_path):
    for name in [name for name in EXPECTED if name.startswith(f"{kind}-")]:
        path = copied(name, tmp_path)
        with mf.Trajectory(path) as run:
            before = [state.theta.copy() for state in run]
        functions = {"mean_a": golden_runs.mean_a} if kind == "relu" else {}
        flow = FLOWS[kind] and FLOWS[kind]()
        mf.resume(path, t_end=1.6, flow=flow, functions=functions, progress=False)
        with mf.Trajectory(path) as run:
            assert run.status == "finished" and run.times[-1] == pytest.approx(1.6)
            for frame, old in zip(run, before, strict=False):
                np.testing.assert_array_equal(frame.theta, old)
            # RK4 with dt = 0.1 on a flow that has run 12 steps: four more move θ, and by little
            assert 0 < mf.displacement(run[-1], run[len(before) - 1]) < 1


def test_a_golden_unfinished_run_is_resumed_to_its_end(tmp_path):
    for name in [name for name in EXPECTED if name.startswith("unfinished-")]:
        path = copied(name, tmp_path)
        mf.resume(path, functions={"zero": lambda flow, state: 0.0}, progress=False)
        with mf.Trajectory(path) as run:
            assert run.status == "finished" and run.steps.tolist() == [0, 4, 8, 12]
            assert run.series("zero").steps.tolist() == list(range(13))
