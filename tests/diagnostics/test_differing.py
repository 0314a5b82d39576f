"""compare: settings that differ have rows and are in the verdict; what is said of seeds is said of
runs that differ in seeds alone.
"""

import pytest

import meanfield as mf
from meanfield.diagnostics import verdicts
from meanfield.diagnostics.settings import differing

DATA = mf.data.kink(n=16, n_test=8, seed=0)
LAW = mf.InitialLaw(dim=1, b_std=1.0)


def record(
    path, seed=0, method=mf.EULER_MARUYAMA, dt=0.1, ridge=0.1, batch=0, steps=4, noise=0, **settings
):
    risk = mf.EmpiricalRisk(mf.Network("tanh"), DATA.x, DATA.y, ridge=ridge)
    flow = mf.GradientFlow(
        mf.MiniBatch(risk, batch, seed=0) if batch else risk, seed=noise, **settings
    )
    mf.simulate(
        flow, LAW.sample(40, seed=seed), method, dt=dt, n_steps=steps, progress=False,
        observers=[mf.Recorder(path, mf.evenly(2), data=DATA)],
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def hot(tmp_path_factory):
    return record(tmp_path_factory.mktemp("hot") / "hot.h5", temperature=0.02)


def test_every_setting_that_differs_has_a_row_and_is_in_the_verdict(tmp_path, hot):
    """T, dt, ridge and the batch differ; the seeds do, too, which is no difference of settings."""
    other = record(
        tmp_path / "b.h5", dt=0.2, steps=2, ridge=0.0, batch=8, temperature=0.002, seed=3
    )
    found = mf.compare(hot, other)
    expected = {"temperature": (0.02, 0.002), "dt": (0.1, 0.2), "ridge": (0.1, 0.0)}
    assert {name: found.rows[name] for name in expected} == expected
    assert found.rows["functional"] == ("EmpiricalRisk", "MiniBatch")
    assert found.rows["batch size"] == (None, 8)
    for name in (
        "temperature (0.02 against 0.002)",
        "dt (0.1 against 0.2)",
        "batch size (- against 8)",
    ):
        assert name in found.verdict and name.split()[0] in str(found)
    assert (
        "loss" not in found.rows
        and found.floor is None
        and "of one setting:" not in found.verdict[:25]
    )


def test_equal_settings_have_no_rows(hot):
    config = mf.Trajectory(hot).config
    assert differing(config, config) == {}
    assert differing(config, config | {"t_end": 9.0, "data": None}) == {}


def test_names_are_those_that_a_user_knows(hot):
    config = mf.Trajectory(hot).config
    flow = config["flow"] | {"jumps": True, "reaction": 0.5}
    flow["functional"] = flow["functional"] | {
        "loss": "huber",
        "network": flow["functional"]["network"] | {"trainable": ["a"]},
        "data": flow["functional"]["data"] | {"sha256": "0123456789"},
    }
    network = flow["functional"]["network"]
    other = config | {"flow": flow, "network": network, "integrator": {"name": "rk4"}}
    found = differing(config, other)
    names = {"jumps", "reaction", "loss", "trainable", "data", "integrator"}
    assert set(found) == names
    assert found["data"][1] == "hash 01234567" and found["jumps"] == (False, True)


def test_the_same_start_under_other_noise_is_held_against_the_floor(tmp_path, hot):
    found = mf.compare(hot, record(tmp_path / "same.h5", temperature=0.02))
    assert found.floor is None and found.between.upper == 0.0  # the same noise: the same bits
    found = mf.compare(hot, record(tmp_path / "other.h5", noise=1, temperature=0.02))
    assert found.rows["noise seed"] == (0, 1) and found.floor is not None
    assert "(the same start, other noise: " in str(found)
    assert found.verdict.startswith("Two seeds of one setting: ")


def test_another_rate_of_reaction_is_no_other_seed(tmp_path):
    """The scatter of a run that copies neurons is not known: no factor 10³⁰⁴ is printed."""
    plain = record(tmp_path / "plain.h5", method=mf.EULER)
    copies = record(tmp_path / "copies.h5", 3, mf.EULER, reaction=2.0, jumps=True)
    found = mf.compare(plain, copies)
    assert found.rows["reaction"] == (0.0, 2.0) and found.rows["jumps"] == (False, True)
    assert found.floor is None and "reaction (0 against 2)" in found.verdict
    assert "e+" not in found.verdict
    assert "not known" in verdicts._scatter(float("inf"))
    assert verdicts._scatter(1.5) == "two seeds of one setting: up to a factor 1.5"
