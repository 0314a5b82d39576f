"""The manifest of any sweep gives its plan back, whoever makes it again makes the same one, and every
run has its own digest.
"""

import shutil

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from sims.lab import config
from sims.lab.experiment import Experiment
from sims.sweeps import folders, plans

AXES = {
    "gamma": st.floats(0.0, 2.0),
    "alpha": st.floats(1e-3, 1e3),
    "m": st.integers(1, 500).map(lambda half: 2 * half),
    "seed": st.integers(0, 2**32 - 1),
    "activation": st.sampled_from(["relu", "tanh", "erf"]),
}
axes = st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.lists(AXES[name], min_size=1, max_size=3, unique=True) for name in names}
    )
)


@pytest.mark.parametrize("count", [15, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_manifest_gives_its_plan_back(count, tmp_path):
    path = tmp_path / "sweep"

    @examples(count)
    @given(axes, st.floats(1e-3, 1e3))
    def holds(axes, t_end):
        shutil.rmtree(path, ignore_errors=True)
        plan = plans.plan({"base": {"t_end": t_end}, "axes": axes})
        _, new = folders.create(plan, path)
        there = folders.SweepFolder(path).plan
        assert new and there == plan and not folders.create(plan, path)[1]
        for digest, run in there.runs.items():
            assert config.digest(run.config) == digest
            assert config.from_dict(Experiment, config.to_dict(run.config)) == run.config
            assert all(getattr(run.config, k) == v for k, v in there.at(digest).items())

    holds()
