"""Diagnostics of stored frames against slow twins, known values and the laws of THEORY.md, section
2.
"""

import naive
import numpy as np
import pytest
from diagnosed import problem, record

import meanfield as mf
import ntk
from meanfield import tangent
from meanfield.diagnostics.library import kernels

# Sums of at most 10 · 12 terms of order one in another order, and eigenvalues of matrices of norm
# one: 1e-12 is 1e4 roundings.
RTOL = 1e-12


@pytest.fixture(scope="module", params=["signs", "classes", "real"])
def case(request, tmp_path_factory):
    """(kind, flow, run, diagnosis of all names): 10 relu neurons, 12 samples in 3 dimensions."""
    made = problem(request.param)
    path = record(tmp_path_factory.mktemp("values") / "run.h5", made)
    found = mf.diagnose(path, mf.diagnose(path).available, workers=1)
    with mf.Trajectory(path) as run:
        yield request.param, made, run, found


def one_hot(kind, y):
    return np.eye(3)[y] if kind == "classes" else y.reshape(len(y), -1)


def test_kernel_diagnostics_equal_their_slow_twins(case):
    kind, (flow, _, data), run, found = case
    H = [naive.tangent_kernel(flow.network, state, data.x) for state in run]
    norm = [np.sqrt((h**2).sum()) for h in H]
    y = one_hot(kind, data.y)
    expected = {
        "kernel_drift": [np.sqrt(((h - H[0]) ** 2).sum()) / norm[0] for h in H],
        "kernel_alignment": [naive.centred_alignment(h, y) for h in H],
        "kernel_rank": [naive.effective_rank(h) for h in H],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].values, values, rtol=1e-10, atol=1e-13, err_msg=name)
    # loses digits near 0
    cosine = [1 - (h * H[0]).sum() / norm[0] / n for h, n in zip(H, norm, strict=True)]
    np.testing.assert_allclose(found["kernel_distance"].values, cosine, atol=1e-14)


def test_kernel_diagnostics_are_those_of_ntk_and_of_compare_to_the_bit(case):
    _, (flow, _, data), run, found = case
    states = [run[0], run[-1]]
    H0, H1 = (ntk.empirical(flow.network, state, data.x) for state in states)
    assert (
        found["kernel_drift"].values[-1]
        == ntk.drift(H0, H1)
        == tangent.drift(flow.network, *states, data.x)
    )
    assert found["kernel_distance"].values[-1] == ntk.cosine_distance(H0, H1)
    assert found["kernel_rank"].values[-1] == ntk.effective_rank(H1)
    assert mf.compare(run, run).rows["kernel drift"][0] == found["kernel_drift"].values[-1]


def test_patterns_equal_their_slow_twins(case):
    _, (flow, _, data), run, found = case
    start = run.start
    flips = [naive.sign_flips(start, state, data.x) for state in run]
    np.testing.assert_allclose(found["sign_flips"].values, flips, rtol=RTOL)
    assert flips[0] == 0 and flips[-1] > 0
    dead = [naive.dead_units(state, data.x, flow.network.sigma) for state in run]
    np.testing.assert_allclose(found["dead_units"].values, dead, rtol=RTOL)


def test_a_neuron_far_on_the_other_side_is_dead_and_counts_by_its_mass(h5_path):
    """Biases of -100 turn two of five neurons off: their masses are 0.1 and 0.3. Nothing trains
    them, so they stay dead.
    """
    flow, _, data = problem()
    theta = np.random.default_rng(1).normal(size=(5, 5))
    theta[[1, 3], -1] = -100.0
    theta[[0, 2, 4], -1] = 100.0
    start = mf.State(theta, mass=[0.2, 0.1, 0.2, 0.3, 0.2])
    record(h5_path, (flow, start, data))
    assert mf.diagnose(h5_path, ["dead_units"])["dead_units"].values == pytest.approx(
        [0.4] * 4, rel=1e-15
    )


def test_margins_and_errors_equal_their_slow_twins(case):
    kind, (flow, _, data), run, found = case
    if kind == "real":
        assert {"margin_min", "train_error", "test_error"} <= set(found.unavailable)
        return
    y = data.y if kind == "classes" else data.y[:, None]
    for number, state in enumerate(run):
        margins = naive.margins(naive.predict(flow.network, state, data.x), y)
        # relu: p + 1 = 2
        size = flow.network.scaling.output_scale(10) * float(
            state.mass @ (state.theta**2).sum(axis=1)
        )
        for name, value in {
            "margin_min": min(margins),
            "margin_mean": sum(margins) / len(margins),
            "margin_min_normalised": min(margins) / size,
            "margin_mean_normalised": sum(margins) / len(margins) / size,
            "train_error": sum(margin < 0 for margin in margins) / len(margins),
        }.items():
            assert found[name].values[number] == pytest.approx(value, rel=1e-10, abs=1e-13), name


def test_the_normalised_margin_does_not_see_a_rescaling_of_theta(h5_path):
    """f is 2-homogeneous in θ for relu, 3-homogeneous for z²: f(cθ) = c^(p+1) f(θ), and so is the
    norm's power.
    """
    for activation, power in (("relu", 2), ("square", 3)):
        flow, start, data = problem(activation=activation)
        found = []
        for factor in (1.0, 3.0):
            record(h5_path, (flow, mf.State(factor * start.theta), data), steps=1, every=1, dt=1e-6)
            found.append(
                {
                    name: curve.values[0]
                    for name, curve in mf.diagnose(
                        h5_path, ["margin_min", "margin_min_normalised"]
                    ).items()
                }
            )
        assert found[1]["margin_min"] == pytest.approx(3**power * found[0]["margin_min"], rel=RTOL)
        assert found[1]["margin_min_normalised"] == pytest.approx(
            found[0]["margin_min_normalised"], rel=RTOL
        )


def test_risks_and_errors_on_the_test_set_are_those_of_compare(case):
    kind, (flow, _, data), run, found = case
    rows = mf.compare(run, run).rows
    assert (
        found["risk"].values[-1] == rows["train risk"][0]
        and found["test_risk"].values[-1] == rows["test risk"][0]
    )
    expected = naive.risk(
        flow.network, run[-1], data.x_test, data.y_test, flow.functional.loss.name
    )
    assert found["test_risk"].values[-1] == pytest.approx(expected, rel=RTOL)
    if kind != "real":
        assert found["test_error"].values[-1] == rows["test error"][0]


def test_movement_obeys_its_inequalities_and_equals_its_parts(case):
    """W2 <= displacement <= path (THEORY.md, section 2), between frames too; relabelling is the
    excess of labelled movement.
    """
    _, (flow, _, _), run, found = case
    w2, displacement, step = found["w2"], found["displacement"].values, found["displacement_step"]
    with mf.Trajectory(run.path) as again:
        path = again.series("path").values
    assert np.all(w2.lower <= w2.upper) and np.all(w2.lower <= displacement * (1 + RTOL))
    assert np.all(displacement <= path * (1 + 1e-6))  # the path has the weights of RK4, h⁴ off
    for number in range(1, len(run)):
        exact = mf.w2(run[0], run[number])
        assert w2.lower[number] * (1 - 1e-9) <= exact <= w2.upper[number] * (1 + 1e-9)
        assert displacement[number] == pytest.approx(
            naive.displacement(run[0].theta, run[number].theta, run[0].mass), rel=RTOL
        )
        assert step.values[number - 1] == mf.displacement(run[number - 1], run[number])
        between = mf.w2(run[number - 1], run[number])
        assert found["w2_step"].upper[number - 1] == pytest.approx(between, rel=1e-9)
    assert (
        step.steps.tolist() == run.steps[1:].tolist()
        and found["w2_step"].times.tolist() == run.times[1:].tolist()
    )
    assert np.isnan(found["geodesic_efficiency"].lower[0]) and np.all(
        found["geodesic_efficiency"].upper[1:] <= 1 + 1e-6
    )
    np.testing.assert_allclose(
        found["geodesic_efficiency"].upper[1:], w2.upper[1:] / path[1:], rtol=RTOL
    )
    np.testing.assert_allclose(found["relabelling"].lower, displacement - w2.upper, atol=1e-15)
    speed = [np.sqrt(s.mass @ (flow.velocity(s) ** 2).sum(axis=1)) for s in run]
    np.testing.assert_allclose(found["speed"].values, speed, rtol=RTOL)
    np.testing.assert_allclose(found["speed2"].values, found["speed"].values ** 2, rtol=1e-15)


def test_two_neurons_that_change_places_move_with_labels_only(h5_path):
    """w = ±1 exchanged at the end: W2 = 0, the displacement 2, so all of it is relabelling."""
    flow, _, data = problem("real", "tanh", d=1)
    start = mf.State(np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]))
    from meanfield.files.recording import Recording

    with mf.Trajectory(record(h5_path, (flow, start, data), steps=1, every=1)) as run:
        config, arrays = run.config, {"x": data.x, "y": data.y}
    swapped = h5_path.with_name("swapped.h5")
    recording = Recording.create(
        swapped, "error", config=config, provenance={}, arrays=arrays, start=start
    )
    recording.frame(start)
    recording.frame(mf.State(start.theta[::-1], step=1, t=1.0))
    recording.finish({}, {})
    found = mf.diagnose(swapped, ["displacement", "w2", "relabelling"])
    assert found["displacement"].values[1] == 2.0 and found["w2"].upper[1] <= 1e-15
    assert found["relabelling"].upper[1] == pytest.approx(2.0, rel=1e-15)


def test_condensation_is_that_of_its_functions(case):
    from meanfield.diagnostics.library import condensation

    _, _, run, found = case
    for number, state in enumerate(run):
        assert found["effective_neurons"].values[number] == condensation.effective_neurons(state)
        assert found["direction_order"].values[number] == condensation.alignment(state)
        assert found["direction_clusters"].values[number] == len(condensation.clusters(state).mass)
        assert found["relative_weight_change"].values[number] == condensation.relative_change(
            run.start, state
        )


def test_information_and_nuisance_share_out_the_residual(case):
    """Their sum is ‖∂ℓ/∂f‖² at each frame; at the start H_t is H_0; a cutoff may be given; K_t and
    K_0 agree with ntk.split.
    """
    kind, (flow, _, _), run, found = case
    risk = flow.functional
    for number, state in enumerate(run):
        r = risk.slopes(flow.predict(state)) * risk.n
        for pair in (("information", "nuisance"), ("information_h0", "nuisance_h0")):
            total = sum(found[name].values[number] for name in pair)
            assert total == pytest.approx(np.square(r).sum(), rel=1e-12)
    assert found["information"].values[0] == found["information_h0"].values[0]
    given = mf.diagnose(run.path, ["information", "nuisance_h0"], cutoff=0.5)
    r = r[:, 0] if kind != "classes" else r
    H0, H1 = (ntk.empirical(flow.network, state, risk.x) for state in (run[0], run[-1]))
    assert given["information"].values[-1] == pytest.approx(
        ntk.split(H1, r, 0.5).information_energy, rel=1e-12
    )
    assert given["nuisance_h0"].values[-1] == pytest.approx(
        ntk.split(H0, r, 0.5).nuisance_energy, rel=1e-9, abs=1e-12
    )


def test_the_gap_to_the_linearised_run_is_that_of_its_predictions(tmp_path):
    """Against predictions by hand; a run is no distance from itself; other times and other inputs
    are refused.
    """
    flow, start, data = problem("real", "tanh")
    linear = ntk.linearise(flow.network, start)
    a = record(tmp_path / "a.h5", (flow, start, data))
    b = record(
        tmp_path / "b.h5", (mf.GradientFlow(linear.risk(data.x, data.y)), start, data), test=False
    )
    gap = mf.diagnose(a, ["companion_gap"], companion=b)["companion_gap"]
    with mf.Trajectory(a) as run, mf.Trajectory(b) as companion:
        for number in range(len(run)):
            f, f_lin = flow.predict(run[number]), linear.predict(companion[number], data.x)
            assert gap.values[number] == pytest.approx(
                np.sqrt(np.mean((f - f_lin) ** 2)), rel=1e-10, abs=1e-15
            )
    assert gap.values[0] <= 1e-15 < gap.values[-1]
    assert not mf.diagnose(a, ["companion_gap"], companion=a)["companion_gap"].values.any()
    record(tmp_path / "other.h5", (flow, start, data), every=2)
    with pytest.raises(
        ValueError, match=r"other.h5 has no frame at t = 0.6: record both runs at the same times"
    ):
        mf.diagnose(a, ["companion_gap"], companion=tmp_path / "other.h5")
    record(tmp_path / "inputs.h5", problem("real", "tanh", n=11))
    with pytest.raises(
        ValueError, match="the companion .*inputs.h5 has other training inputs than .*a.h5"
    ):
        mf.diagnose(a, ["companion_gap"], companion=tmp_path / "inputs.h5")


def test_comparisons_of_kernels_have_known_values():
    """The identity has rank n and no alignment with centred y beyond 1/√(n - 1); yyᵀ is aligned; a
    vanishing kernel is NaN.
    """
    y = np.array([1.0, -1.0, 1.0, -1.0])
    assert kernels.effective_rank(np.eye(4)) == pytest.approx(4.0, rel=1e-15)
    assert kernels.effective_rank(np.outer(y, y)) == pytest.approx(1.0, abs=1e-13)
    assert kernels.alignment(np.outer(y, y), y, centred=True) == pytest.approx(1.0, rel=1e-15)
    assert kernels.alignment(np.eye(4), y, centred=True) == pytest.approx(1 / np.sqrt(3), rel=1e-15)
    assert np.isnan(kernels.effective_rank(np.zeros((2, 2)))) and np.isnan(
        kernels.alignment(np.zeros((4, 4)), y, centred=True)
    )
    assert (
        kernels.cosine_distance(np.eye(3), 5 * np.eye(3)) <= 1e-31
        and kernels.drift(np.eye(3), 5 * np.eye(3)) == 4.0
    )


def test_where_masses_change_they_count_and_particles_are_not_paired(tmp_path):
    """A run whose second frame has moved half of its mass: W2 is that of the masses, the risk that
    of the reweighted network.
    """
    from meanfield.files.recording import Recording

    flow, start, data = problem("real", "tanh")
    with mf.Trajectory(
        record(tmp_path / "plain.h5", (flow, start, data), steps=1, every=1, test=False)
    ) as run:
        config, arrays = run.config, {"x": data.x, "y": data.y}
    mass = np.linspace(0.01, 0.19, 10)
    heavy = mf.State(start.theta, mass=mass / mass.sum(), step=1, t=0.2)
    path = tmp_path / "masses.h5"
    recording = Recording.create(
        path, "error", config=config, provenance={}, arrays=arrays, start=start, mass_varies=True
    )
    recording.frame(start)
    recording.frame(heavy)
    recording.finish({}, {})
    found = mf.diagnose(path, ["w2", "risk", "sign_flips", "kernel_rank", "energy"])
    assert found.unavailable["displacement"] == "the masses change, so particles are not paired"
    assert (
        found["w2"].upper[1] == pytest.approx(mf.w2(start, heavy), rel=1e-9)
        and found["w2"].upper[1] > 0.1
    )
    assert found["risk"].values[1] == pytest.approx(
        naive.risk(flow.network, heavy, data.x, data.y), rel=RTOL
    )
    assert found["kernel_rank"].values[1] == pytest.approx(
        naive.effective_rank(naive.tangent_kernel(flow.network, heavy, data.x)), rel=1e-9
    )
    assert not found["sign_flips"].values.any()
    labelled = found.to_xarray()
    assert labelled["risk"].sizes == {"frame": 2}
    with mf.Trajectory(path) as run:
        np.testing.assert_array_equal(run.to_xarray()["mass"], [start.mass, heavy.mass])
