"""Synthetic tasks: determinism, prefixes, and moments within five standard errors."""

import itertools
import math

import numpy as np
import pytest

from meanfield import data

SYNTHETIC = {
    "teacher_student": {"dim": 5, "outputs": 2, "noise": 0.1},
    "single_index": {"dim": 3, "noise": 0.1},
    "parity": {"dim": 6, "k": 3},
    "gaussian_mixture": {"dim": 4},
}


def standard_error(values):
    return values.std() / math.sqrt(len(values))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_smaller_synthetic_set_is_a_prefix_of_a_larger_one_bit_for_bit(name):
    large = data.get(name, n=67, n_test=33, seed=5, **SYNTHETIC[name])
    for n, n_test in itertools.product((1, 8, 66), (1, 5)):
        small = data.get(name, n=n, n_test=n_test, seed=5, **SYNTHETIC[name])
        assert np.array_equal(small.x, large.x[:n]) and np.array_equal(small.y, large.y[:n])
        assert np.array_equal(small.x_test, large.x_test[:n_test]) and np.array_equal(
            small.y_test, large.y_test[:n_test]
        )


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_synthetic_set_is_decided_by_its_seed_and_its_test_samples_are_new(name):
    options = {"n": 30, "n_test": 30, **SYNTHETIC[name]}
    first, again, other = (data.get(name, seed=seed, **options) for seed in (1, 1, 2))
    assert first.sha256() == again.sha256() != other.sha256()
    if name != "parity":  # 64 different inputs: they do meet
        assert not np.isin(first.x_test, first.x).any() and not np.isin(other.x, first.x).any()


@pytest.mark.parametrize("name", [*SYNTHETIC, "kink", "two_points", "luo_points"])
def test_a_synthetic_set_can_be_made_again_from_its_origin(name):
    made = data.get(
        name,
        **(
            {}
            if name in ("two_points", "luo_points")
            else {"n": 9, "n_test": 2, **SYNTHETIC.get(name, {})}
        ),
    )
    assert data.get(made.origin["maker"], **made.origin["arguments"]).sha256() == made.sha256()
    assert made.name == name


@pytest.mark.parametrize("inputs", ["normal", "sphere"])
def test_a_teacher_is_a_sum_of_signed_unit_neurons(inputs):
    n, d, width = 40_000, 8, 4
    made = data.teacher_student(n, d, teacher_width=width, outputs=2, a_std=0.5, inputs=inputs)
    a, w = (np.array(made.origin["teacher"][key]) for key in ("a", "w"))
    assert a.shape == (width, 2) and set(abs(a).ravel()) == {0.5}
    assert np.allclose(np.linalg.norm(w, axis=1), 1.0, rtol=1e-15)
    # a sum of width terms of dot products of length d, all O(1): some d·width·ε
    assert np.allclose(made.y, np.maximum(made.x @ w.T, 0.0) @ a, rtol=0, atol=1e-13)
    squares = (made.x**2).sum(axis=1)
    if inputs == "sphere":
        assert np.allclose(squares, 1.0, rtol=1e-14)
    else:
        assert abs(squares.mean() - d) < 5 * standard_error(squares)
    scale = 1.0 if inputs == "normal" else 1.0 / d  # variance of one coordinate
    for j, k in itertools.combinations_with_replacement(range(3), 2):
        products = made.x[:, j] * made.x[:, k]
        assert abs(products.mean() - scale * (j == k)) < 5 * standard_error(products)
    # E y² = Σ a_i a_j K_relu(w_i, w_j) scale (TRUTHS.md, section 1), K = (sin ψ + (π - ψ) cos ψ)/2π
    psi = np.arccos(np.clip(w @ w.T, -1.0, 1.0))
    kernel = (np.sin(psi) + (np.pi - psi) * np.cos(psi)) / (2.0 * np.pi)
    for k in range(2):
        y2 = made.y[:, k] ** 2
        assert abs(y2.mean() - scale * (a[:, k] @ kernel @ a[:, k])) < 5 * standard_error(y2)


def test_a_wider_teacher_contains_the_narrower_one():
    narrow, wide = (
        data.teacher_student(2, 3, teacher_width=width).origin["teacher"] for width in (2, 5)
    )
    assert wide["w"][:2] == narrow["w"] and wide["a"][:2] == narrow["a"]


def test_label_noise_leaves_inputs_and_test_labels_alone_and_has_its_standard_deviation():
    clean, noisy = (data.teacher_student(20_000, 2, noise=noise, n_test=5) for noise in (0.0, 0.3))
    assert np.array_equal(clean.x, noisy.x) and np.array_equal(clean.y_test, noisy.y_test)
    z = noisy.y - clean.y
    assert abs(z.mean()) < 5 * standard_error(z) and abs((z**2).mean() - 0.09) < 5 * standard_error(
        z**2
    )
    # independent of the inputs: the covariance with each column vanishes
    for column in clean.x.T:
        assert abs((z * column).mean()) < 5 * standard_error(z * column)


def test_hermite_links_are_orthogonal_with_norm_k_factorial():
    made = {k: data.single_index(50_000, 4, link=f"he{k}") for k in (1, 2, 3)}
    z = made[1].x @ np.array(made[1].origin["direction"])
    assert np.linalg.norm(made[1].origin["direction"]) == pytest.approx(1.0, rel=1e-15)
    for k, formula in ((1, z), (2, z**2 - 1), (3, z**3 - 3 * z)):
        # |z|³ < 6.8³ = 314, a few ε each
        assert np.allclose(made[k].y, formula, rtol=0, atol=1e-11)
    for j, k in itertools.combinations_with_replacement(made, 2):
        products = made[j].y * made[k].y
        assert abs(products.mean() - math.factorial(k) * (j == k)) < 5 * standard_error(products)


def test_a_link_may_be_an_activation_or_a_function():
    named, written = data.single_index(50, 2, link="tanh"), data.single_index(50, 2, link=np.tanh)
    assert np.allclose(named.y, written.y, rtol=1e-14)
    assert written.origin["arguments"]["link"] == "function tanh"
    with pytest.raises(ValueError, match="unknown link 'function tanh'"):
        data.get("single_index", **written.origin["arguments"])


def test_parity_is_the_product_of_k_fair_signs():
    made = data.parity(20_000, 5, 3)
    assert np.array_equal(made.y, made.x[:, 0] * made.x[:, 1] * made.x[:, 2]) and set(
        made.x.ravel()
    ) == {-1.0, 1.0}
    # the target is uncorrelated with every smaller product: each mean of signs is 0 ± 1/√n
    for subset in ((0,), (0, 1), (2, 4)):
        assert abs((made.y * made.x[:, subset].prod(axis=1)).mean()) < 5 / math.sqrt(20_000)
    assert abs(made.x.mean(axis=0)).max() < 5 / math.sqrt(20_000)


def test_the_kink_is_slope_times_abs_on_equispaced_points():
    made = data.kink(5, slope=-2.0, n_test=4)
    assert np.array_equal(made.x, [[-1.0], [-0.5], [0.0], [0.5], [1.0]]) and np.array_equal(
        made.y, [-2.0, -1.0, 0.0, -1.0, -2.0]
    )
    assert np.array_equal(made.x_test[:, 0], [-0.75, -0.25, 0.25, 0.75]) and np.array_equal(
        made.y_test, -2.0 * abs(made.x_test[:, 0])
    )


def test_gaussian_mixtures_have_the_moments_they_promise():
    n, delta = 20_000, 0.4
    isotropic = data.gaussian_mixture(n, 3, delta=delta)
    shifted = data.gaussian_mixture(n, 3, delta=delta, kind="means")
    assert np.array_equal(isotropic.y, shifted.y) and abs(isotropic.y.mean()) < 5 / math.sqrt(n)
    for sign in (-1.0, 1.0):
        x = isotropic.x[isotropic.y == sign]
        for j in range(3):
            assert abs(x[:, j].mean()) < 5 * standard_error(x[:, j])
            assert abs((x[:, j] ** 2).mean() - (1 + sign * delta) ** 2) < 5 * standard_error(
                x[:, j] ** 2
            )
        x = shifted.x[shifted.y == sign] - [sign * delta, 0.0, 0.0]
        for j in range(3):
            assert abs(x[:, j].mean()) < 5 * standard_error(x[:, j])
            assert abs((x[:, j] ** 2).mean() - 1.0) < 5 * standard_error(x[:, j] ** 2)


def test_two_points_are_those_of_the_published_experiment():
    """TRUTHS.md, section 5: x = {-3, ½}, y = {2, -1}."""
    made = data.two_points()
    assert np.array_equal(made.x, [[-3.0], [0.5]]) and np.array_equal(made.y, [2.0, -1.0])


def test_luo_points_are_those_of_the_published_phase_diagram():
    """TRUTHS.md, section 2: x = {-.5, 0, .5}, y = {-.5, 0, 1}."""
    made = data.get("luo_points")
    assert np.array_equal(made.x, [[-0.5], [0.0], [0.5]]) and np.array_equal(
        made.y, [-0.5, 0.0, 1.0]
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: data.teacher_student(0, 2), ValueError, "n must be an integer >= 1; got 0"),
        (lambda: data.teacher_student(2.0, 2), ValueError, "n must be an integer >= 1; got 2.0"),
        (lambda: data.teacher_student(2, 0), ValueError, "dim must be an integer >= 1; got 0"),
        (lambda: data.teacher_student(2, 2, teacher_width=0), ValueError, "teacher_width must be"),
        (lambda: data.teacher_student(2, 2, outputs=True), ValueError, "outputs must be"),
        (lambda: data.teacher_student(2, 2, activation="rellu"), ValueError, "Did you mean 'relu'"),
        (
            lambda: data.teacher_student(2, 2, inputs="ball"),
            ValueError,
            'inputs must be "normal" or "sphere"',
        ),
        (lambda: data.teacher_student(2, 2, noise=-0.1), ValueError, "noise .* must be >= 0"),
        (
            lambda: data.teacher_student(2, 2, noise=math.nan),
            ValueError,
            "noise must be a finite number",
        ),
        (
            lambda: data.teacher_student(2, 2, a_std="1"),
            ValueError,
            "a_std must be a finite number",
        ),
        (
            lambda: data.teacher_student(2, 2, n_test=-1),
            ValueError,
            "n_test must be an integer >= 0",
        ),
        (lambda: data.teacher_student(2, 2, seed=-1), ValueError, "seed must lie in"),
        (lambda: data.teacher_student(2, 2, seed=None), ValueError, "seed must be an integer"),
        (lambda: data.single_index(2, 2, link="tanhh"), ValueError, "Did you mean 'tanh'"),
        (lambda: data.single_index(2, 2, link="he0"), ValueError, "unknown link 'he0'"),
        (lambda: data.single_index(2, 2, link=3), TypeError, "link must be a function or one of"),
        (
            lambda: data.single_index(2, 2, link=np.sum),
            ValueError,
            r"must map an array \(n,\) to \(n,\)",
        ),
        (lambda: data.parity(2, 2, 3), ValueError, "k = 3 factors need k <= dim; got dim = 2"),
        (lambda: data.parity(2, 2, 0), ValueError, "k must be an integer >= 1"),
        (lambda: data.kink(1), ValueError, "n must be at least 2; got 1"),
        (lambda: data.kink(3, slope=math.inf), ValueError, "slope must be a finite number"),
        (lambda: data.gaussian_mixture(2, 2, delta=0.0), ValueError, "delta must be positive"),
        (lambda: data.gaussian_mixture(2, 2, delta=1.0), ValueError, "below 1"),
        (
            lambda: data.gaussian_mixture(2, 2, kind="mean"),
            ValueError,
            'kind must be "variances" or "means"',
        ),
        (
            lambda: data.gaussian_mixture(2, 2, n_test=1.5),
            ValueError,
            "n_test must be an integer >= 0",
        ),
    ],
)
def test_wrong_arguments_of_a_synthetic_task_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
