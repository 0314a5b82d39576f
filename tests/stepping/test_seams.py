"""What a new method or a new observer has to be: one class. Two toys, written here alone, go
through the whole engine.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from killed import killed

import meanfield as mf
from meanfield.files.recording import unfinished
from meanfield.stepping import methods

X = np.linspace(-1, 1, 12)[:, None]
START = mf.InitialLaw(dim=1, b_std=1.0).sample(40, seed=3)
FLOW = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), X, np.abs(X[:, 0])), seed=5)


@mf.register_method
@dataclass(frozen=True)
class Toy(mf.Method):
    """Momentum, noise, and masses that follow the height of the landscape: v ← v/2 + u, θ ← θ + dt
    v + √dt s ξ, p ← p exp(-dt δF/δμ), normalised.
    """

    size: float = 0.01

    name: ClassVar[str] = "toy"
    noisy: ClassVar[bool] = True
    moves_masses: ClassVar[bool] = True
    balances: ClassVar[bool] = False

    def start(self, field, particles):
        nothing = field.backend.upload(np.zeros(particles.theta.shape))
        return particles._replace(memory={"momentum": nothing, "sum": 0.0})

    def step(self, field, particles, dt):
        m, p = particles.theta.shape
        backend, memory = field.backend, particles.memory
        velocity, height = field.velocity(particles), field.potential(particles)
        momentum = backend.combine(velocity, [0.5], [memory["momentum"]])
        xi = backend.upload(mf.noise.normals(field.seed, mf.noise.DIFFUSION, m, p, particles.step))
        theta = backend.combine(particles.theta, [dt, np.sqrt(dt) * self.size], [momentum, xi])
        mass = particles.mass * np.exp(-dt * (height - height.min()))
        made = particles._replace(
            theta=theta,
            mass=mass / mass.sum(),
            memory={"momentum": momentum, "sum": memory["sum"] + float(xi[0, 0])},
        )
        return mf.Step(made, dt)


class Watcher(mf.Observer):
    """The largest component so far, and the masses' effective number: it remembers."""

    name, series = "watcher", ("largest_so_far", "effective_number")

    def begin(self, march, problem, path):
        self.most, self.looks = 0.0, 0

    def observe(self, moment):
        self.most = max(self.most, float(abs(moment.state.theta).max()))
        self.looks += 1
        mass = moment.state.mass
        return {"largest_so_far": self.most, "effective_number": 1.0 / float(mass @ mass)}

    def memory(self):
        return {"most": self.most, "looks": self.looks}

    def restore(self, memory):
        self.most, self.looks = memory["most"], memory["looks"]


def run(path, n_steps=300, method=None, **settings):
    watch = [mf.Recorder(path, mf.every(20), **settings), Watcher(mf.every(7))]
    given = {"dt": 0.02, "n_steps": n_steps, "observers": watch, "progress": False}
    return mf.simulate(FLOW, START, method or Toy(), **given)


def same_run(one, other):
    with mf.Trajectory(one) as first, mf.Trajectory(other) as second:
        assert first.content_hash() == second.content_hash()


def test_the_step_is_the_one_written_down(h5_path):
    """Two steps by hand from the public flow: velocity, first variation and the noise of each step."""
    end, theta, mass, momentum = run(h5_path, 2), START.theta, START.mass, 0.0
    for step in range(2):
        state = mf.State(theta, 1, mass)
        momentum = FLOW.velocity(state) + 0.5 * momentum
        height = FLOW.first_variation(state)
        xi = mf.noise.normals(5, mf.noise.DIFFUSION, 40, 3, step)
        theta = theta + 0.02 * momentum + np.sqrt(0.02) * 0.01 * xi
        mass = mass * np.exp(-0.02 * (height - height.min()))
        mass = mass / mass.sum()
    np.testing.assert_allclose(end.theta, theta, rtol=0, atol=1e-14 * np.abs(theta).max())
    np.testing.assert_allclose(end.mass, mass, rtol=1e-13)
    assert not np.array_equal(end.mass, START.mass)


def test_it_is_recorded_and_what_does_not_apply_says_so(h5_path):
    end = run(h5_path)
    with mf.Trajectory(h5_path) as stored:
        assert stored.mass_varies and np.array_equal(stored[-1].mass, end.mass)
        assert {"energy", "risk", "speed2", "effective_number"} <= set(stored.series_names)
        gone = {"path", "energy_defect", "energy_defect_motion", "displacement", "balance_defect"}
        assert not gone & set(stored.series_names)
        assert stored.config["integrator"]["traits"] == [
            "noisy",
            "moves masses",
            "does not balance",
        ]
        assert stored.config["observers"]["others"][0]["class"] == "Watcher"
        assert len(stored.series("effective_number").values) == 300 // 7 + 1
        risks = stored.series("risk").values
    why = mf.diagnose(h5_path, progress=False).unavailable
    assert "masses change" in why["displacement"] and "noisy" in why["balance_defect"]
    live = np.array(mf.diagnose(h5_path, ["risk"], progress=False)["risk"].values)
    assert np.array_equal(live, risks)  # the masses of each frame are its own, live and stored
    with pytest.raises(ValueError, match=r"'energy_defect' cannot be recorded .* noisy"):
        mf.simulate(
            FLOW,
            START,
            Toy(),
            dt=0.1,
            n_steps=2,
            observers=[mf.Series("energy_defect", mf.every(1))],
            progress=False,
        )


def go_on(path):
    if path is None:
        mf.simulate(FLOW, START, Toy(), dt=0.02, n_steps=2, progress=False)
    elif unfinished(path):
        mf.resume(path, observers=[Watcher(mf.every(7))], progress=False, checkpoint_seconds=0.01)
    else:
        run(path, 4000, checkpoint_seconds=0.01)


@pytest.mark.process
def test_killed_and_resumed_it_has_the_same_bits(tmp_path):
    """kill -9 three times, wherever the run is; each process knows the file, this module and the
    toys alone.
    """
    whole, path = tmp_path / "whole.h5", tmp_path / "killed.h5"
    run(whole, 4000)
    killed(3, go_on, path)
    same_run(whole, path)


def test_extended_it_goes_on_as_if_it_had_never_stopped(tmp_path):
    """Legs of equal dt: 100 + 100 steps are 200, and the observer remembers."""
    watcher = Watcher(mf.every(7))
    run(tmp_path / "parts.h5", 100)
    end = mf.resume(tmp_path / "parts.h5", t_end=4.0, observers=[watcher], progress=False)
    whole = run(tmp_path / "whole.h5", 200)
    np.testing.assert_array_equal(end.theta, whole.theta)
    np.testing.assert_array_equal(end.mass, whole.mass)
    assert watcher.looks == 200 // 7 + 1


def test_an_observer_that_raises_is_asked_again(tmp_path):
    class Frail(Watcher):
        broken = True

        def observe(self, moment):
            if self.broken and moment.step == 14:
                raise RuntimeError("not today")
            return super().observe(moment)

    path = tmp_path / "run.h5"
    frail = Frail(mf.every(7))
    with pytest.raises(RuntimeError, match="not today") as caught:
        mf.simulate(
            FLOW,
            START,
            Toy(),
            dt=0.02,
            n_steps=40,
            observers=[mf.Recorder(path, mf.every(20)), frail],
            progress=False,
        )
    assert "observer 'watcher' raised this at step 14" in "".join(caught.value.__notes__)
    assert "observers=[Frail(…)]" in "".join(caught.value.__notes__)
    mended = Watcher(mf.every(7))
    mf.resume(path, observers=[mended], progress=False)
    assert mended.looks == 6
    run(tmp_path / "whole.h5", 40)
    with mf.Trajectory(path) as one, mf.Trajectory(tmp_path / "whole.h5") as other:
        assert np.array_equal(
            one.series("largest_so_far").values, other.series("largest_so_far").values
        )


def test_resuming_says_what_is_missing(h5_path, monkeypatch):
    run(h5_path, 20)
    with pytest.raises(ValueError, match=r"pass observers=\[…\] with one named 'watcher'"):
        mf.resume(h5_path, t_end=1.0, progress=False)
    monkeypatch.delitem(methods.TABLE, "toy")
    with pytest.raises(ValueError, match="the method 'toy' is not registered here: import"):
        mf.resume(h5_path, t_end=1.0, observers=[Watcher(mf.every(7))], progress=False)


def test_another_observer_of_the_name_is_refused(h5_path):
    run(h5_path, 20)

    class Other(Watcher):
        pass

    for observer, differs in (
        (Watcher(mf.every(3)), "k 3, in the file 7"),
        (Other(mf.every(7)), "class"),
    ):
        with pytest.raises(ValueError, match=f"observer 'watcher' is not that of .*{differs}"):
            mf.resume(h5_path, t_end=1.0, observers=[observer], progress=False)
    more = [Watcher(mf.every(7)), mf.Series("risk", mf.every(1))]
    with pytest.raises(ValueError, match="has no observer 'risk'"):
        mf.resume(h5_path, t_end=1.0, observers=more, progress=False)


class Wrong(mf.Method):
    """A step of one's own that goes wrong as told."""

    name, balances = "wrong", False

    def __init__(self, made, moves_masses=False):
        self.made, self.moves_masses = made, moves_masses

    def step(self, field, particles, dt):
        return self.made(particles, dt)


@pytest.mark.parametrize(
    ("made", "moves", "error", "said"),
    [
        (lambda p, dt: None, False, TypeError, "must return mf.Step.* got NoneType"),
        (lambda p, dt: p, False, TypeError, "must return mf.Step.* got Particles"),
        (
            lambda p, dt: mf.Step(p, -dt),
            False,
            ValueError,
            "asked for dt = 0.1 and made a step of -0.1",
        ),
        (
            lambda p, dt: mf.Step(p._replace(theta=p.theta[:5]), dt),
            False,
            ValueError,
            r"keep the shape of θ, \(40, 3\); got \(5, 3\)",
        ),
        (
            lambda p, dt: mf.Step(p._replace(mass=2 * p.mass), dt),
            False,
            ValueError,
            "declare moves_masses",
        ),
        (lambda p, dt: mf.Step(p._replace(mass=2 * p.mass), dt), True, ValueError, "of sum 2"),
        (
            lambda p, dt: mf.Step(p, dt, source=np.zeros(40, int)),
            False,
            ValueError,
            "declare replaces",
        ),
    ],
)
def test_a_step_that_makes_no_sense_is_named(made, moves, error, said):
    with pytest.raises(error, match=said):
        mf.simulate(FLOW, START, Wrong(made, moves), dt=0.1, n_steps=1, progress=False)


def test_start_must_return_particles():
    class Bad(Toy):
        def start(self, field, particles):
            return {"momentum": 0.0}

    with pytest.raises(
        TypeError, match=r"start\(field, particles\) of the method 'toy' must return"
    ):
        mf.simulate(FLOW, START, Bad(), dt=0.1, n_steps=1, progress=False)


@pytest.mark.parametrize(
    ("returned", "error", "said"),
    [
        (1.0, TypeError, "must return a dictionary, series -> number, or None; got float"),
        ({"risk": -1.0}, ValueError, r"a value of 'risk', which is not in its .series"),
        ({"largest_so_far": [1.0, 2.0]}, TypeError, "must return a number for 'largest_so_far'"),
    ],
)
def test_what_an_observer_returns_is_looked_at(returned, error, said):
    class Loose(Watcher):
        def observe(self, moment):
            return returned

    with pytest.raises(error, match=said):
        mf.simulate(
            FLOW, START, Toy(), dt=0.1, n_steps=1, observers=[Loose(mf.every(1))], progress=False
        )


def test_a_moment_that_is_kept_stays_that_moment():
    class Keeper(Watcher):
        def observe(self, moment):
            moments.append(moment)

    moments = []
    observers = [Keeper(mf.every(1))]
    mf.simulate(FLOW, START, mf.EULER, dt=0.1, n_steps=3, observers=observers, progress=False)
    assert [moment.state.step for moment in moments] == [0, 1, 2, 3]
    assert moments[0].measure("risk") == FLOW.risk(START)


class Walk(mf.Functional):
    """A velocity without an energy, another at each step: v = noise."""

    network, terms, deterministic = None, (), False

    def on(self, backend, state):
        return WalkField(backend, deterministic=False)


class WalkField(mf.Field):
    def _velocity(self, particles):
        m, p = particles.theta.shape
        drawn = mf.noise.normals(self.seed, mf.noise.MINIBATCH, m, p, particles.step)
        return self.backend.upload(drawn)


def test_a_functional_without_an_energy_runs_and_its_velocity_is_that_of_its_step(h5_path):
    flow = mf.GradientFlow(Walk(), seed=2)
    start = mf.State(np.zeros((6, 2)), outputs=0)
    recorder = mf.Recorder(h5_path, mf.every(1))
    end = mf.simulate(
        flow, start, mf.EULER, dt=0.5, n_steps=3, observers=[recorder], progress=False
    )
    drawn = [mf.noise.normals(2, mf.noise.MINIBATCH, 6, 2, step) for step in range(3)]
    np.testing.assert_allclose(end.theta, 0.5 * sum(drawn), rtol=1e-15)
    with mf.Trajectory(h5_path) as run:
        assert not {"energy", "path", "energy_defect"} & set(run.series_names)
        squares = [float((v**2).sum(axis=1).mean()) for v in drawn]
        np.testing.assert_allclose(run.series("speed2").values[:3], squares, rtol=1e-13)
    for method, dt in ((mf.EULER, "auto"), (mf.Adaptive(), None)):
        with pytest.raises(ValueError, match="not deterministic|does not promise"):
            mf.simulate(flow, start, method, dt=dt, t_end=1.0, progress=False)
