"""compare: every number in the table against its definition, and what it says where there is none."""

import numba
import numpy as np
import pytest

import meanfield as mf
from meanfield import tangent
from meanfield.diagnostics import seed_scatter, verdicts


@pytest.fixture(autouse=True)
def one_thread():
    """The runs are tiny: a second thread only waits. Bits do not depend on it."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


DATA = mf.data.kink(n=16, n_test=8, seed=0)
LAW = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True)


def record(
    path,
    scaling,
    data=DATA,
    law=LAW,
    m=40,
    t_end=4.0,
    loss="squared",
    activation="tanh",
    given=True,
    **settings,
):
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation, scaling), data.x, data.y, loss), **settings
    )
    recorder = mf.Recorder(path, mf.evenly(3), data=data if given else None)
    mf.simulate(
        flow,
        law.sample(m, seed=0),
        mf.RK4,
        dt=0.1,
        t_end=t_end,
        observers=[recorder],
        progress=False,
    )
    return flow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    flows = {
        name: record(folder / f"{name}.h5", mf.Scaling(gamma, 2.0))
        for name, gamma in (("rich", 1.0), ("lazy", 0.5))
    }
    return folder, flows


def test_every_row_is_what_it_says(runs):
    folder, flows = runs
    found = mf.compare(folder / "rich.h5", folder / "lazy.h5")
    assert found.names == ("rich.h5", "lazy.h5") and found.notes == ()
    for side, name in enumerate(found.names):
        run, flow = mf.Trajectory(folder / name), flows[name.removesuffix(".h5")]
        start, end = run[0], run[-1]
        row = {what: pair[side] for what, pair in found.rows.items()}
        gamma = flow.network.scaling.gamma
        assert (row["gamma"], row["alpha"], row["output scale s"]) == (
            gamma,
            2.0,
            2.0 * 40 ** (1 - gamma),
        )
        assert (row["m"], row["d"], row["K"], row["flow time"], row["status"]) == (
            40,
            1,
            1,
            4.0,
            "finished",
        )
        assert row["initial law"] == LAW.describe()
        assert row["RMS displacement"] == mf.displacement(start, end)
        assert row["W2(start, end)"].lower_method == "exact"
        assert row["W2(start, end)"].upper == pytest.approx(mf.w2(start, end), rel=1e-9)
        assert row["path length"] == run.series("path").values[-1]
        assert row["energy F"] == run.series("energy").values[-1]
        assert row["energy_defect"] == run.series("energy_defect").values[-1]
        H = [tangent.kernel(flow.network, state, DATA.x) for state in (start, end)]
        assert row["kernel drift"] == pytest.approx(
            np.linalg.norm(H[1] - H[0]) / np.linalg.norm(H[0]), rel=1e-12
        )
        assert row["kernel samples"] == 16
        assert row["train risk"] == pytest.approx(flow.risk(end), rel=1e-12)
        test = np.square(flow.predict(end, DATA.x_test)[:, 0] - DATA.y_test).mean() / 2
        assert row["test risk"] == pytest.approx(test, rel=1e-12)
        assert row["train error"] is None and row["test error"] is None
    between = mf.w2(mf.Trajectory(folder / "rich.h5")[-1], mf.Trajectory(folder / "lazy.h5")[-1])
    assert found.between.upper == pytest.approx(between, rel=1e-9)


def test_the_verdict_names_the_lazier_run_and_the_factors(runs):
    folder, _ = runs
    found = mf.compare(mf.Trajectory(folder / "lazy.h5"), folder / "rich.h5")
    drift, moved = found.rows["kernel drift"], found.rows["RMS displacement"]
    assert drift[0] < drift[1] and moved[0] < moved[1]
    assert found.verdict == (
        f"lazy.h5 is lazier than rich.h5: kernel drift {drift[0]:.3g} against "
        f"{drift[1]:.3g} ({drift[1] / drift[0]:.3g} times "
        f"less), RMS displacement {moved[0]:.3g} against {moved[1]:.3g} "
        f"({moved[1] / moved[0]:.3g} times less)."
    )
    assert mf.compare(folder / "rich.h5", folder / "lazy.h5").verdict == found.verdict


def test_it_prints_one_aligned_table(runs):
    folder, _ = runs
    found = mf.compare(folder / "rich.h5", folder / "lazy.h5")
    lines = str(found).splitlines()
    assert repr(found) == str(found) and lines[0].split() == ["rich.h5", "lazy.h5"]
    column = lines[0].index("lazy.h5")
    assert all(
        line[column - 1] == " " and line[column] != " " for line in lines[2 : 2 + len(found.rows)]
    )
    assert [line.split("  ")[0].strip() for line in lines[2 : 2 + len(found.rows)]] == list(
        found.rows
    )
    assert lines[-2].startswith("W2 between the two ends: ") and "(exact)" in lines[-2]
    assert lines[-1] == found.verdict


def test_bounds_say_that_they_are_bounds(runs):
    folder, _ = runs
    found = mf.compare(folder / "rich.h5", folder / "lazy.h5", seconds=0.0)
    interval = found.rows["W2(start, end)"][0]
    assert (
        interval.lower
        <= mf.compare(folder / "rich.h5", folder / "lazy.h5").rows["W2(start, end)"][0].upper
        <= interval.upper
    )
    assert (
        interval.lower_method in str(found)
        and interval.upper_method in str(found)
        and " … " in str(found)
    )


def test_a_run_compared_with_itself_is_equally_lazy(runs):
    folder, _ = runs
    found = mf.compare(folder / "rich.h5", folder / "rich.h5")
    drift = found.rows["kernel drift"][0]
    assert drift < 0.1 and found.between.upper == 0.0
    assert found.verdict == f"Equally lazy: kernel drift {drift:.3g} and {drift:.3g}, within 10 %."
    assert found.names == ("rich.h5 (a)", "rich.h5 (b)")


@pytest.mark.parametrize(
    ("drift", "moved", "expected"),
    [
        ((2.28, 2.13), (1.0, 1.0), "Equally far from lazy: kernel drift 2.28 and 2.13, within 10 %."),
        ((0.03, 0.03), (1.0, 1.0), "Equally lazy: kernel drift 0.03 and 0.03, within 10 %."),
        ((0.3, 0.3), (1.0, 1.0), "Neither is lazier: kernel drift 0.3 and 0.3, within 10 %."),
        ((0.0, 0.0), (0.0, 0.0), "Equally lazy: kernel drift 0 and 0, within 10 %."),
        ((None, 0.3), (2.0, 2.0), "Neither is lazier: RMS displacement 2 and 2, within 10 %."),
        ((2.0, 1.0), (3.0, 1.5), "b is lazier than a: kernel drift 1 against 2 (2 times less), RMS displacement 1.5 against 3 "
         "(2 times less). Both are far from lazy."),
    ],
)  # fmt: skip
def test_the_verdict_says_what_both_runs_are(drift, moved, expected):
    same = {
        "m": (4, 4),
        "d": (1, 1),
        "K": (1, 1),
        "initial law": ("normal", "normal"),
        "flow time": (1.0, 1.0),
    }
    rows = {"kernel drift": drift, "RMS displacement": moved, **same}
    assert verdicts.verdict(("a", "b"), rows) == expected
    other = rows | {"m": (4, 8), "initial law": ("normal", "sphere"), "flow time": (1.0, 2.0)}
    differ = " They differ in m (4 against 8), initial law, flow time (1 against 2), too."
    assert verdicts.verdict(("a", "b"), other) == expected + differ


def test_where_the_second_is_lazier_the_order_of_what_differs_is_said(tmp_path):
    """The sentence names the lazier first, what differs stands as the columns of the table do."""
    long, short = tmp_path / "long.h5", tmp_path / "short.h5"
    record(long, mf.MEAN_FIELD, m=20)
    record(short, mf.MEAN_FIELD, t_end=1.0)
    found = mf.compare(long, short)
    assert found.verdict.startswith("short.h5 is lazier than long.h5: ")
    assert found.verdict.endswith(
        " less). What follows is long.h5 against short.h5. "
        "They differ in m (20 against 40), flow time (4 against 1), too."
    )
    assert str(found).splitlines()[0].split() == ["long.h5", "short.h5"]
    turned = mf.compare(short, long).verdict
    assert turned.startswith("short.h5 is lazier than long.h5: ") and "What follows" not in turned
    assert turned.endswith(" They differ in m (40 against 20), flow time (1 against 4), too.")


def test_unlike_data_are_said_once(tmp_path):
    """The rows say which arguments; in the sentence they are one item."""
    sets = {
        "one": DATA,
        "more": mf.data.kink(n=20, n_test=9, seed=1),
        "two": mf.data.gaussian_mixture(n=16, n_test=8, dim=1, seed=0),
        "x": mf.data.Dataset(DATA.x, DATA.y, DATA.x_test, DATA.y_test),
        "y": mf.data.Dataset(DATA.x, -DATA.y, DATA.x_test, DATA.y_test),
    }
    for name, data in sets.items():
        record(tmp_path / f"{name}.h5", mf.MEAN_FIELD, data, t_end=0.2)

    def said(a, b):
        return mf.compare(tmp_path / f"{a}.h5", tmp_path / f"{b}.h5")

    found = said("one", "more")
    assert found.verdict.endswith(" They differ in data (other arguments), too.")
    assert found.rows["data.origin.arguments.n"] == (16, 20)
    found = said("one", "two").verdict
    assert found.endswith("They differ in data (kink against gaussian_mixture), too.")
    assert "They differ in data (hash " in said("x", "y").verdict


@pytest.mark.kernel
def test_labels_give_classification_errors(tmp_path):
    data = mf.data.gaussian_mixture(n=40, n_test=20, dim=2, seed=1)
    signs = np.where(data.y > 0, 1.0, -1.0), np.where(data.y_test > 0, 1.0, -1.0)
    signed = mf.data.Dataset(data.x, signs[0], data.x_test, signs[1])
    classes = mf.data.Dataset(
        data.x, (signs[0] > 0).astype(int), data.x_test, (signs[1] > 0).astype(int)
    )
    of = record(tmp_path / "signs.h5", mf.MEAN_FIELD, signed, mf.InitialLaw(dim=2), loss="logistic")
    record(
        tmp_path / "classes.h5",
        mf.MEAN_FIELD,
        classes,
        mf.InitialLaw(dim=2, outputs=2),
        loss="softmax",
    )
    found = mf.compare(tmp_path / "signs.h5", tmp_path / "classes.h5")
    f = of.predict(mf.Trajectory(tmp_path / "signs.h5")[-1], data.x_test)[:, 0]
    assert found.rows["test error"][0] == np.mean(np.sign(f) != signs[1])
    assert all(
        0 <= error <= 0.5 for name in ("train error", "test error") for error in found.rows[name]
    )
    assert found.between is None
    assert "no W2 between the ends: d = 2, K = 1 against d = 2, K = 2." in found.notes
    assert None not in found.rows["kernel drift"]


@pytest.mark.kernel
def test_runs_of_unequal_length_widths_and_dtypes(tmp_path):
    record(tmp_path / "long.h5", mf.MEAN_FIELD, m=20, dtype="float32")
    record(tmp_path / "short.h5", mf.MEAN_FIELD, m=40, t_end=1.0, given=False)
    found = mf.compare(tmp_path / "long.h5", tmp_path / "short.h5")
    assert found.verdict.endswith(
        " They differ in m (20 against 40), flow time (4 against 1), dtype (float32 against float64), too."
    )
    assert found.rows["m"] == (20, 40) and found.between.upper > 0
    assert found.rows["test risk"][0] is not None and found.rows["test risk"][1] is None


def softsign(z):
    return z / (1.0 + abs(z))


def softsign_slope(z):
    return 1.0 / (1.0 + abs(z)) ** 2


@pytest.mark.kernel
def test_what_is_not_to_be_had_is_said(tmp_path):
    """A user-written activation is not in the file; distances need none."""
    record(
        tmp_path / "own.h5",
        mf.MEAN_FIELD,
        activation=mf.Activation("softsign", softsign, softsign_slope),
    )
    record(tmp_path / "known.h5", mf.NTK)
    found = mf.compare(tmp_path / "own.h5", tmp_path / "known.h5")
    assert found.rows["kernel drift"][0] is None is found.rows["train risk"][0]
    assert any("own.h5 has no network: the activation 'softsign'" in note for note in found.notes)
    assert found.verdict.startswith("known.h5 is lazier than own.h5: RMS displacement")
    assert "note: own.h5 has no network" in str(found)


@pytest.mark.kernel
def test_a_run_that_left_the_numbers_has_no_distances(tmp_path, runs):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("linear"), DATA.x, DATA.y))
    recorder = mf.Recorder(tmp_path / "wild.h5", mf.evenly(2))
    with pytest.warns(RuntimeWarning, match="diverged"):
        mf.simulate(
            flow, LAW.sample(40), mf.EULER, dt=1e3, t_end=1e5, observers=[recorder], progress=False
        )
    found = mf.compare(tmp_path / "wild.h5", runs[0] / "rich.h5")
    assert "wild.h5 has no distances and no errors: its last frame is not finite." in found.notes
    assert found.between is None and found.rows["RMS displacement"][0] is None
    assert found.verdict.startswith("Which run is lazier cannot be said")


def test_an_unfinished_run_is_compared_as_far_as_it_went(tmp_path, runs):
    folder, _ = runs

    def stop(flow, state):
        raise KeyboardInterrupt

    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", mf.NTK), DATA.x, DATA.y))
    watch = [
        mf.Recorder(tmp_path / "cut.h5", mf.every(1), checkpoint_seconds=0),
        mf.Series("stop", mf.at_steps([5]), stop),
    ]
    with pytest.raises(KeyboardInterrupt):
        mf.simulate(
            flow, LAW.sample(40), mf.RK4, dt=0.1, t_end=4.0, observers=watch, progress=False
        )
    found = mf.compare(tmp_path / "cut.h5", folder / "rich.h5")
    assert found.rows["status"] == ("unfinished", "finished") and found.rows["flow time"][
        0
    ] == pytest.approx(0.4)
    assert "They differ in flow time (0.4 against 4), too." in found.verdict


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path, runs):
    (tmp_path / "other").mkdir()
    record(tmp_path / "other" / "rich.h5", mf.NTK)
    found = mf.compare(runs[0] / "rich.h5", tmp_path / "other" / "rich.h5")
    assert found.names == (f"{runs[0].name}/rich.h5", "other/rich.h5")


def test_a_path_without_a_run_raises(tmp_path, runs):
    with pytest.raises(FileNotFoundError, match="no run at"):
        mf.compare(runs[0] / "rich.h5", tmp_path / "nothing.h5")


@pytest.mark.filterwarnings("ignore:no particle moves")
def test_runs_of_dead_neurons_have_no_drift_and_say_so_instead_of_dividing_by_zero(
    tmp_path, recwarn
):
    x = np.ones((3, 1))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.ones(3)))
    dead = mf.State(np.c_[np.ones(4), -np.ones(4), -np.ones(4)])
    path = tmp_path / "dead.h5"
    mf.simulate(
        flow,
        dead,
        mf.EULER,
        dt=0.1,
        n_steps=2,
        observers=[mf.Recorder(path, mf.evenly(2))],
        progress=False,
    )
    recwarn.clear()
    found = mf.compare(path, path)
    assert not [item for item in recwarn if "divide" in str(item.message)]
    assert found.rows["kernel drift"] == (None, None)
    assert "no kernel drift: its kernel at the start is 0 on the data" in found.notes[0]


def of_seed(path, seed, gamma=1.0, m=40, symmetric=True, activation="relu"):
    law = mf.InitialLaw(dim=1, b_std=1.0, symmetric=symmetric)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation, mf.Scaling(gamma)), DATA.x, DATA.y)
    )
    watch = [mf.Recorder(path, mf.evenly(3), data=DATA)]
    mf.simulate(
        flow, law.sample(m, seed=seed), mf.RK4, dt=0.2, t_end=10.0, observers=watch, progress=False
    )
    return path


def test_two_seeds_of_one_setting_are_said_to_be_that_and_neither_is_lazier(tmp_path):
    """ReLU, γ = 1, m = 40: the drifts of two seeds differ by half or more; seeds and the distance
    of the starts are shown.
    """
    paths = [of_seed(tmp_path / f"{seed}.h5", seed) for seed in (0, 5)]
    found = mf.compare(*paths)
    assert found.rows["seed"] == (0, 5)
    assert (
        found.verdict.startswith("Two seeds of one setting: kernel drift ")
        and "lazier" not in found.verdict
    )
    starts = [mf.Trajectory(path)[0] for path in paths]
    assert (
        found.starts.upper == pytest.approx(mf.w2(*starts), rel=1e-9) and found.starts.upper > 0.1
    )
    assert "W2 between the two starts: " in str(found)
    floors = [mf.w2_floor(run[-1], seconds=1.0) for run in map(mf.Trajectory, paths)]
    assert found.floor.value == pytest.approx(np.sqrt(np.mean([f.value**2 for f in floors])))
    assert "these two differ by the floor alone" in str(found)
    assert "floor alone" in found._repr_html_()


def test_another_setting_from_another_seed_is_lazier_only_beyond_what_seeds_differ_by(tmp_path):
    """γ = 1/2 against 1 is told from any seeds; γ = 1 against .97, a factor 1.1 of 1/s, is not,
    from different seeds.
    """
    rich, near, lazy = (
        of_seed(tmp_path / f"{g}.h5", seed, g) for g, seed in ((1.0, 0), (0.97, 5), (0.5, 6))
    )
    assert mf.compare(rich, lazy).verdict.startswith("0.5.h5 is lazier than 1.0.h5")
    found = mf.compare(rich, near).verdict
    assert found.startswith(
        ("No difference beyond what two seeds differ by", "Equally", "Neither is")
    ), found


def test_from_one_start_a_small_difference_is_the_settings_own(tmp_path):
    """The same neurons at γ = 1 and .9: nothing but γ differs, and 10 % is enough."""
    one, other = (of_seed(tmp_path / f"{g}.h5", 3, g, activation="tanh") for g in (1.0, 0.9))
    found = mf.compare(one, other)
    assert found.starts.upper == 0.0 and found.verdict.startswith("0.9.h5 is lazier than 1.0.h5")


def test_the_error_over_seeds_is_that_of_a_mean():
    """m neurons that moved independently by d_k: RMS displacement has the relative error ½
    std(d²)/(mean(d²) √m); 16 blocks know it to √(2/15) = .37 of itself, 2 of 3 standard errors are
    taken: factors .4 … 2.
    """
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(4000, 3))
    moved = rng.exponential(size=(4000, 1))
    start, end = mf.State(theta), mf.State(theta + moved * [[1.0, 0.0, 0.0]])
    d2 = moved[:, 0] ** 2
    expected = 0.5 * d2.std() / d2.mean() / np.sqrt(4000)
    assert 0.4 < seed_scatter.of_displacement(start, end) / expected < 2.0
    assert [b.stop - b.start for b in seed_scatter.blocks(7)] == [2, 2, 3] and len(
        seed_scatter.blocks(1000)
    ) == 16
    assert all(b.start % 2 == 0 for b in seed_scatter.blocks(1000))
