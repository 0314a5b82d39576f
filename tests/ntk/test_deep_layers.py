"""The tangent kernel of deep networks layer by layer: of infinite width, and how finite ones tend to it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import meanfield as mf
import ntk

SCALES = {"w_std": 1.3, "b_std": 0.3, "readout_w_std": 0.9, "readout_b_std": 0.2}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("square", [True, False])
def test_layers_sum_to_the_kernel(activation, square, rng):
    """THEORY.md, section 3: Θ^L = Σ_h Σ^(h-1) Π Σ̇, with v² and β²; twenty roundings of the largest."""
    x1, x2 = rng.normal(size=(7, 3)), None if square else rng.normal(size=(4, 3))
    given = {"depth": 3, "activation": activation, **SCALES}
    nngp, whole = ntk.deep(x1, x2, **given)
    same, parts = ntk.deep(x1, x2, parts=True, **given)
    np.testing.assert_allclose(same, nngp, rtol=1e-14)
    np.testing.assert_allclose(sum(parts.values()), whole, rtol=0, atol=4e-15 * whole.max())
    layers = ("layer1", "layer2", "layer3", "readout")
    assert list(parts) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    if square:
        assert all((part == part.T).all() for part in parts.values())


def test_the_part_of_the_last_hidden_weights_is_the_gram_matrix_of_du_et_al():
    """TRUTHS.md, section 0: H = 2, ρ = .3: .3188, with the wrong index .2882. Without biases none has a
    part; with ρ = 1 each layer has Σ(x, x) = 1.
    """
    x = np.array([[1.0, 0.0], [0.3, math.sqrt(1 - 0.09)]])
    parts = ntk.deep(x, depth=2, parts=True)[1]
    assert list(parts) == ["layer1.weight", "layer2.weight", "readout.weight"]
    assert parts["layer2.weight"][0, 1] == pytest.approx(0.3188, abs=5e-5)
    for part in parts.values():
        np.testing.assert_allclose(np.diag(part), 1.0, rtol=1e-14)


def test_overflow_and_a_flag_that_is_none_are_refused():
    with pytest.raises(ValueError, match="overflows"):
        ntk.deep(np.ones((2, 3)), depth=400, w_std=10.0, parts=True)
    with pytest.raises(TypeError, match="parts must be True or False"):
        ntk.deep(np.ones((2, 3)), depth=1, parts=1)


@pytest.mark.ntk
def test_kernels_of_finite_width_tend_to_them_as_the_inverse_root():
    """RMS over 24 starts of ‖H_n - Θ‖/‖Θ‖, whole and of each layer, falls as n^(-1/2) (Jacot et al. 2018;
    TRUTHS.md, section 1, for one hidden layer). The rms of 24 with some three independent directions has
    an error of 1/√(2·24·3) = 8 %, over log(256/16) = 2.8 a slope one of .04; three of them, and .04 for
    the next order at n = 16, 1/n against n^(-1/2).
    """
    pytest.importorskip("torch", reason="a deep network is a torch module")
    x = np.random.default_rng(0).normal(size=(5, 3)) / 2
    widths, errors = (16, 64, 256), []
    for n in widths:
        feature = mf.deep(3, (n, n), activation="tanh", b_std=0.3, readout_b_std=0.2)
        expected = ntk.deep(x, parts=True, **feature.limit)[1]
        network, square = mf.Network(feature), []
        for seed in range(24):
            found = ntk.empirical(network, feature.sample(1, seed=seed), x, parts=True)
            assert list(found) == list(expected)
            gaps = {name: found[name] - part for name, part in expected.items()}
            gaps["whole"] = sum(gaps.values())
            square.append([np.square(gap).sum() for gap in gaps.values()])
        sizes = [*expected.values(), sum(expected.values())]
        norms = np.array([np.linalg.norm(size) for size in sizes])
        errors.append(np.sqrt(np.mean(square, axis=0)) / norms)
    slopes = {
        name: np.polyfit(np.log(widths), np.log(error), 1)[0]
        for name, error in zip([*expected, "whole"], np.transpose(errors), strict=True)
        if not name == "readout.bias"  # exactly β² at every width
    }
    assert all(found == pytest.approx(-0.5, abs=0.16) for found in slopes.values()), slopes
    np.testing.assert_allclose(found["readout.bias"], 0.04, rtol=1e-6)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """(run's file, observer, flow, x): five steps of a deep network whose layers are watched."""
    pytest.importorskip("torch", reason="a deep network is a torch module")
    x = np.random.default_rng(1).normal(size=(4, 3))
    feature = mf.deep(3, (6, 6), activation="tanh")
    network = mf.Network(feature, trainable=("layer1.weight", "layer2.weight"))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.ones(4)), backend="torch")
    layers, path = ntk.LayerMinima(mf.every(5)), tmp_path_factory.mktemp("layers") / "run.h5"
    mf.simulate(
        flow, feature.sample(1, seed=0), mf.EULER, dt=0.1, n_steps=5, progress=False,
        observers=[mf.Recorder(path, mf.every(5)), layers],
    )  # fmt: skip
    return path, layers, flow, x


@pytest.mark.ntk
def test_the_smallest_eigenvalues_along_a_run_are_those_of_its_frames(watched):
    """By ntk.empirical of the stored states, trainable blocks alone; Weyl: λ_min of a sum is at least the
    sum of the λ_min.
    """
    path, layers, flow, x = watched
    with mf.Trajectory(path) as run:
        for k, state in enumerate(run):
            parts = ntk.empirical(flow.functional.network, state, x, parts=True)
            each = {name: np.linalg.eigvalsh(part)[0] for name, part in parts.items()}
            for name, value in each.items():
                assert layers.values[f"lambda_min_{name}"][k] == pytest.approx(value, abs=1e-14)
            whole = run.series("lambda_min").values[k]
            assert whole == layers.values["lambda_min"][k] >= sum(each.values()) - 1e-14
        assert (layers.times == run.series("lambda_min").times).all() and len(layers.times) == 2
        assert list(layers.values) == [
            "lambda_min", "lambda_min_layer1.weight", "lambda_min_layer2.weight",
        ]  # fmt: skip


@pytest.mark.ntk
def test_layers_of_what_has_no_network_or_no_inputs_are_refused():
    def begin(functional, start):
        march = SimpleNamespace(flow=SimpleNamespace(functional=functional), start=start)
        ntk.LayerMinima(mf.every(1)).begin(march, None, None)

    gas = mf.PairwiseEnergy(potential=(lambda x: x[0], lambda x, out: None))
    with pytest.raises(ValueError, match="functional is a PairwiseEnergy without one"):
        begin(gas, mf.State(np.zeros((2, 1)), outputs=0))
    start = mf.InitialLaw(dim=2).sample(2, seed=1)
    teacher = mf.PopulationRisk(mf.Network("relu", trainable=("a", "w")), start)
    with pytest.raises(ValueError, match="say of which the kernel is"):
        begin(teacher, start)
