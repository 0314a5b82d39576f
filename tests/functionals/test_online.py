"""mf.OnlineRisk: fresh samples at every step, from a teacher or a function."""

import numpy as np
import pytest

import meanfield as mf

TEACHER = mf.InitialLaw(dim=2, w="sphere").sample(3, seed=3)
START = mf.InitialLaw(dim=2, symmetric=True).sample(40, seed=1)
NETWORK = mf.Network("relu", trainable=("a", "w"))


def bent(x):
    return np.abs(x[:, 0]) - x[:, 1]


def answers(x):
    """The teacher written out: Σ_j p*_j a*_j σ(⟨w*_j, x⟩)."""
    return np.maximum(x @ TEACHER.w.T, 0.0) @ (TEACHER.a[:, 0] * TEACHER.mass)


@pytest.mark.parametrize("inputs", ["normal", "sphere", np.tanh], ids=["normal", "sphere", "own"])
@pytest.mark.parametrize("kind", ["state", "network", "function"])
def test_a_step_is_that_of_fresh_samples(kind, inputs):
    """θ + dt v of an EmpiricalRisk on the samples written out here: equal up to the rounding of
    sums over 40 neurons.
    """
    scaled = mf.Network("relu", mf.Scaling(1.0, 2.0))
    target = {"state": TEACHER, "network": (scaled, TEACHER), "function": bent}[kind]
    says = {"state": answers, "network": lambda x: 2 * answers(x), "function": bent}[kind]
    online = mf.OnlineRisk(NETWORK, target, 2, inputs, batch=5, seed=9)
    theta = START.theta
    for step in range(3):
        z = mf.noise.normals(9, mf.noise.MINIBATCH, 5, 2, step)
        x = {"normal": z, "sphere": z / np.linalg.norm(z, axis=1)[:, None]}.get(inputs, np.tanh(z))
        risk = mf.EmpiricalRisk(NETWORK, x, says(x))
        theta = theta + 0.1 * mf.GradientFlow(risk).velocity(mf.State(theta))
    flow = mf.GradientFlow(online)
    end = mf.simulate(flow, START, mf.EULER, dt=0.1, n_steps=3, progress=False)
    np.testing.assert_allclose(end.theta, theta, rtol=0, atol=1e-14 * np.abs(theta).max())


def test_where_the_population_risk_is_known_it_is_what_is_measured(h5_path):
    online = mf.OnlineRisk(NETWORK, TEACHER, batch=4)
    flow, known = mf.GradientFlow(online), mf.GradientFlow(mf.PopulationRisk(NETWORK, TEACHER))
    recorder = mf.Recorder(h5_path, mf.every(5))
    end = mf.simulate(
        flow, START, mf.EULER, dt=0.05, n_steps=10, observers=[recorder], progress=False
    )
    with mf.Trajectory(h5_path) as run:
        assert run.series("risk").values[-1] == known.risk(end)
        assert "energy_defect" not in run.series_names
        assert run.flow().to_dict() == flow.to_dict()
    longer = mf.resume(h5_path, t_end=1.0, progress=False)  # from the file alone
    whole = mf.simulate(flow, START, mf.EULER, dt=0.05, n_steps=20, progress=False)
    np.testing.assert_allclose(longer.theta, whole.theta, rtol=1e-13)


def test_a_function_is_needed_again_and_known_by_its_values(h5_path):
    def made(slope):
        return mf.GradientFlow(mf.OnlineRisk(NETWORK, lambda x: slope * x[:, 0], dim=2))

    recorder = mf.Recorder(h5_path, mf.every(5))
    mf.simulate(
        made(1.0), START, mf.EULER, dt=0.05, n_steps=10, observers=[recorder], progress=False
    )
    with mf.Trajectory(h5_path) as run:
        assert not {"energy", "risk"} & set(run.series_names)
    with pytest.raises(ValueError, match="target of this OnlineRisk is a function.* flow="):
        mf.resume(h5_path, t_end=1.0, progress=False)
    with pytest.raises(ValueError, match="the function target"):
        mf.resume(h5_path, t_end=1.0, flow=made(2.0), progress=False)
    assert mf.resume(h5_path, t_end=1.0, flow=made(1.0), progress=False).step == 20


ERF = mf.Network("erf", trainable=("a", "w"))
BIASED = mf.State([[1.0, 1.0, 0.5, 0.3]])


def test_frozen_biases_may_stay_where_the_inputs_are_a_function():
    """The way out that the error names: the same law, R not known."""
    teacher = mf.State([[1.0, 1.0, 0.5, 0.0]])
    known, own = mf.OnlineRisk(ERF, teacher), mf.OnlineRisk(ERF, teacher, inputs=lambda z: z)
    assert np.array_equal(own.drawn(3), known.drawn(3))
    assert own.population is None
    assert np.isfinite(mf.GradientFlow(own).velocity(BIASED)).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mf.OnlineRisk(NETWORK, bent), "dim is missing"),
        (lambda: mf.OnlineRisk(NETWORK, TEACHER, dim=3), "the teacher has d = 2"),
        (lambda: mf.OnlineRisk(NETWORK, TEACHER, inputs="cube"), "inputs must be"),
        (lambda: mf.OnlineRisk(NETWORK, TEACHER, batch=0), "batch must be an integer"),
        (lambda: mf.OnlineRisk(NETWORK, TEACHER, seed=-1), "seed must lie in"),
        (lambda: mf.OnlineRisk(NETWORK, TEACHER, loss="logistic"), "wants labels"),
        (lambda: mf.OnlineRisk(NETWORK, "relu"), "target must be an mf.State"),
        (lambda: mf.OnlineRisk(NETWORK, lambda x: np.nan * x[:, 0], 2), "y has NaN"),
        (lambda: mf.OnlineRisk(NETWORK, lambda x: x[0], 3, batch=2), "y must be"),
        (
            lambda: mf.GradientFlow(mf.OnlineRisk(NETWORK, bent, 3)).velocity(START),
            "input dimensions",
        ),
        (
            lambda: mf.GradientFlow(mf.OnlineRisk(ERF, mf.State([[1.0, 1.0, 0.5, 0.0]]))).velocity(
                BIASED
            ),
            r"b = 0.3, frozen.*b_std = 0.*inputs=lambda z: z",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_a_class_that_the_outputs_do_not_have_is_named_at_its_step():
    """It goes into a compiled loss, which takes it as it is."""

    def target(x):
        target.calls += 1
        return np.full(len(x), 7 if target.calls > 3 else 0)

    target.calls = 0
    risk = mf.OnlineRisk(mf.Network("tanh"), target, dim=2, batch=3, loss="softmax")
    start = mf.InitialLaw(2, outputs=2).sample(10, 0)
    with pytest.raises(ValueError, match="class 7 at step .*K = 2 outputs"):
        mf.simulate(mf.GradientFlow(risk), start, mf.EULER, dt=0.1, n_steps=20, progress=False)
