"""Birth–death: particles of equal masses killed and duplicated, in the mean as their masses would
react; and the genealogy that the file keeps of it.
"""

import h5py
import numba
import numpy as np
import pytest
from reacting import START, TANH, Well, march

import meanfield as mf
from meanfield.files import publishing
from meanfield.files.genealogy import BIRTH
from meanfield.stepping.replacing import kill_and_duplicate, reweighted

LAW = mf.InitialLaw(dim=2, b_std=1.0)
ERRORS = 4.0  # standard errors; seeds are fixed
M = 400
CLOUD = mf.State(np.random.default_rng(5).normal(size=(M, 1)), outputs=0)


def copies(source):
    return np.bincount(source, minlength=len(source))


@pytest.mark.parametrize("c", [0.05, 0.5, 5.0])
def test_each_particle_has_in_the_mean_as_many_copies_as_its_mass_says(c):
    """Exactly, for short steps and for those that are so long that deaths at random are left out."""
    rng = np.random.default_rng(1)
    expected = 20 * reweighted(np.full(20, 1 / 20), 0.5 * rng.normal(size=20) ** 2, c)
    found = np.array(
        [copies(kill_and_duplicate(expected, rng.random((20, 2)))) for _ in range(4000)]
    )
    assert (found.sum(axis=1) == 20).all()
    errors = np.maximum(found.std(axis=0), 0.1) / np.sqrt(len(found))
    assert np.abs((found.mean(axis=0) - expected) / errors).max() < ERRORS


def test_nothing_dies_where_the_landscape_is_flat():
    place = np.arange(5)
    assert np.array_equal(kill_and_duplicate(np.ones(5), np.full((5, 2), 1e-9)), place)


@pytest.fixture(scope="module")
def four_hundred():
    """∫x²dμ at t = .5 of as many seeds, from one start."""
    ends = [march(Well(), CLOUD, 0.1, 5, mf.EULER, jumps=True, seed=k) for k in range(400)]
    return np.array([(end.theta**2).mean() for end in ends])


def test_the_mean_of_400_seeds_is_the_mass_flow(four_hundred):
    """Within four standard errors; the bias of order 1/m, m = 400, is a quarter of one."""
    end = march(Well(), CLOUD, 0.1, 5, mf.EULER)
    exact = float(end.mass @ end.theta[:, 0] ** 2)
    error = four_hundred.std() / np.sqrt(len(four_hundred))
    assert abs(four_hundred.mean() - exact) < ERRORS * error
    alone = mf.GradientFlow(Well())
    without = mf.simulate(alone, CLOUD, mf.EULER, dt=0.1, n_steps=5, progress=False)
    assert (without.theta**2).mean() > exact + 10 * error  # the reaction is seen


def dirac(m, rng):
    """Whether the particle that is left is the lowest of m; V = x²/2, nothing moves."""
    height = np.sort(0.5 * rng.normal(size=m) ** 2)
    who = np.arange(m)
    while np.ptp(who):
        above = height[who] - height[who].mean()
        expected = m * reweighted(np.full(m, 1 / m), above, 0.2 / np.abs(above).max())
        who = who[kill_and_duplicate(expected, rng.random((m, 2)))]
    return who[0] == 0


def test_five_particles_end_as_one_dirac_on_the_lowest_in_86_of_100_runs():
    """Issue 14's figure at N = 5; 600 runs tell it to .014."""
    rng = np.random.default_rng(2)
    share = np.mean([dirac(5, rng) for _ in range(600)])
    assert abs(share - 0.86) < ERRORS * np.sqrt(0.86 * 0.14 / 600)


@pytest.fixture(scope="module")
def jumped(tmp_path_factory):
    """(path, end) of a run with births in most of its steps."""
    path = tmp_path_factory.mktemp("jumps") / "run.h5"
    start = mf.State(CLOUD.theta[:50], outputs=0)
    recorder = mf.Recorder(path, mf.every(8))
    end = march(Well(), start, 1 / 16, 40, mf.EULER, [recorder], reaction=4.0, jumps=True, seed=3)
    return path, end


def test_the_genealogy_is_read_from_the_file(jumped):
    """Transport is x ← (1 - λdt)x: a particle is where its ancestor was, so much nearer to 0."""
    path, _ = jumped
    with mf.Trajectory(path) as run:
        assert run.replaces and not run.mass_varies
        for frame in range(len(run)):
            for at in range(frame + 1):
                shrunk = 0.875 ** (run.steps[frame] - run.steps[at]) * run[at].theta
                expected = shrunk[run.ancestors(frame, at)]
                np.testing.assert_allclose(run[frame].theta, expected, rtol=1e-12)
        assert 10 < len(np.unique(run.ancestors())) < 45
        with pytest.raises(ValueError, match="ancestors are earlier: frame 0 is at step 0"):
            run.ancestors(0, 2)
        with pytest.raises(IndexError, match="frame 9 was asked for"):
            run.ids(9)


def test_ids_and_parents_are_in_the_file(jumped):
    """A copy has a new id; following the parents of the last ids leads to the ancestors."""
    path, _ = jumped
    with mf.Trajectory(path) as run:
        births, ids = run.births, run.ids()
        assert np.array_equal(births.ids, 50 + np.arange(len(births.ids)))
        assert (births.parents < births.ids).all() and (np.diff(births.steps) >= 0).all()
        parent = {int(i): int(p) for i, p in zip(births.ids, births.parents, strict=True)}
        first = []
        for name in map(int, ids):
            while name in parent:
                name = parent[name]
            first.append(name)
        assert np.array_equal(first, run.ancestors())
        assert np.array_equal(run.ids(0), np.arange(50)) and len(np.unique(ids)) == 50
    with h5py.File(path) as file:
        assert np.array_equal(file["particles/units/id/value"][-1], ids)
        assert (file["events/kind"][()] == BIRTH).all()


@pytest.mark.slow
def test_labelled_arrays_say_who_is_where(jumped):
    pytest.importorskip("xarray")
    with mf.Trajectory(jumped[0]) as run:
        assert np.array_equal(run.to_xarray().id[-1], run.ids())


def test_what_pairs_particles_of_two_times_says_that_it_cannot(jumped):
    path, _ = jumped
    with mf.Trajectory(path) as run:
        assert not {"path", "displacement", "energy_defect"} & set(run.series_names)
        assert not len(run.events)
    why = mf.diagnose(path, progress=False).unavailable
    assert "killed and duplicated" in why["displacement_step"]
    assert "masses are constant" in why["effective_sample_size"]
    network = mf.GradientFlow(TANH, reaction=1.0, jumps=True)
    for name in ("displacement", "sign_flips", "relative_weight_change"):
        with pytest.raises(
            ValueError, match=f"{name!r} cannot be recorded.* killed and duplicated"
        ):
            series = mf.Series(name, mf.every(1))
            mf.simulate(
                network, START, mf.EULER, dt=0.1, n_steps=1, observers=[series], progress=False
            )
    with pytest.raises(ValueError, match="mf.Events follows each neuron"):
        observers = [mf.Events()]
        mf.simulate(
            network, START, mf.EULER, dt=0.1, n_steps=1, observers=observers, progress=False
        )


def test_an_extended_run_goes_on_with_its_ids(jumped, tmp_path):
    path, end = jumped
    start = mf.State(CLOUD.theta[:50], outputs=0)
    flow = mf.GradientFlow(Well(), reaction=4.0, jumps=True, seed=3)
    recorder = mf.Recorder(tmp_path / "run.h5", mf.every(8))
    mf.simulate(flow, start, mf.EULER, dt=1 / 16, n_steps=16, observers=[recorder], progress=False)
    last = mf.resume(tmp_path / "run.h5", t_end=2.5, flow=flow, progress=False)
    assert np.array_equal(last.theta, end.theta)
    with mf.Trajectory(path) as one, mf.Trajectory(tmp_path / "run.h5") as other:
        assert all(map(np.array_equal, one.births, other.births))


def test_resampling_makes_masses_equal_and_jitters_its_copies_alone(tmp_path):
    path = tmp_path / "run.h5"
    start = mf.State(CLOUD.theta[:50], outputs=0)
    for jitter in (0.0, 0.3):
        recorder = mf.Recorder(path, mf.every(1), exists="replace")
        settings = {"reaction": 4.0, "resample": 0.7, "jitter": jitter}
        march(Well(rate=0.0), start, 0.05, 12, mf.EULER, [recorder], **settings)
        with mf.Trajectory(path) as run:
            sizes = run.series("effective_sample_size").values
            assert sizes.min() >= 0.7 * 50 and (np.diff(sizes) > 0).any()
            moment = int(np.flatnonzero(np.diff(sizes) > 0)[0]) + 1
            assert np.ptp(run[moment].mass) == 0.0
            new = run.ids(moment) != run.ids(moment - 1)
            moved = (run[moment].theta - run[moment - 1].theta[run.ancestors(moment, moment - 1)])[
                :, 0
            ]
            assert new.any() and not moved[~new].any()
            assert moved[new].all() if jitter else not moved.any()


@pytest.mark.parametrize("copies", [{}, {"jumps": True}, {"resample": 0.7}], ids=str)
def test_the_space_that_is_asked_for_holds_the_masses_and_ids_of_frames(
    copies, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(publishing, "check_space", lambda needed, *_: asked.append(needed))
    recorder = mf.Recorder(tmp_path / "run.h5", mf.every(1))
    march(Well(), CLOUD, 1 / 16, 12, mf.EULER, [recorder], reaction=4.0, **copies)
    with h5py.File(tmp_path / "run.h5") as file:
        units, found = file["particles/units"], []
        units.visititems(lambda _, item: found.append(getattr(item, "nbytes", 0)))
    assert sum(found) < asked[0] < 1.5 * sum(found)


def test_a_cloud_with_copies_is_not_held_against_the_floor(tmp_path):
    """Copies are no independent draws of a law, so two such ends have no floor; two starts have."""
    starts, ends, paths = [LAW.sample(30, seed=seed) for seed in (0, 1)], [], []
    for start in starts:
        paths.append(tmp_path / f"{len(paths)}.h5")
        recorder = mf.Recorder(paths[-1], mf.every(2))
        ends += [march(TANH, start, 0.1, 2, mf.EULER, [recorder], reaction=50.0, jumps=True)]
    assert mf.w2(*starts, details=True).floor and not mf.w2(*ends, details=True).floor
    found = mf.compare(*paths)
    assert found.floor is None and found.starts.lower > 0
    with mf.Trajectory(paths[0]) as run:
        assert run[0].origin == (LAW, 0) and run[-1].origin is None
    with pytest.raises(ValueError, match="copies are no independent draws of a law"):
        mf.diagnose(paths[0], ["w2_floor"], progress=False)


def test_frozen_columns_of_copies_are_not_jittered():
    risk = mf.EmpiricalRisk(mf.Network("tanh", trainable=("a", "w")), TANH.x, TANH.y)
    settings = {"reaction": 200.0, "jumps": True, "jitter": 0.1}
    end = march(risk, START, 0.05, 4, mf.EULER, **settings)
    assert np.isin(end.b, START.b).all() and len(np.unique(end.b)) < len(end.b)
    assert len(np.unique(end.w[:, 0])) == len(end.b)


def test_masses_of_the_users_own_are_refused_with_jumps():
    mass = np.full(30, 1 / 30) + np.linspace(-0.01, 0.01, 30)
    start = mf.State(START.theta, 1, mass)
    with pytest.raises(ValueError, match=r"keeps equal masses 1/m .* Leave jumps out"):
        march(TANH, start, 0.1, 1, jumps=True)


def test_bits_do_not_depend_on_the_threads():
    start, found = mf.InitialLaw(dim=2, b_std=1.0).sample(2000, seed=2), []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        found.append(march(TANH, start, 0.1, 5, reaction=5.0, jumps=True).theta)
    assert np.array_equal(*found) and len(np.unique(found[0], axis=0)) < 2000
