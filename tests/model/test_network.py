"""Network, State and InitialLaw: the description of a network, its particles as a value, and the
law they are drawn from.
"""

import numpy as np
import pytest

import meanfield as mf


def test_trainable_names_select_columns_of_theta():
    assert mf.Network(trainable=("b", "a")).trainable == ("a", "b")  # in the order of the columns
    assert mf.Network(trainable=("w",)).trainable_columns(dim=2, outputs=3).tolist() == [
        False
    ] * 3 + [True] * 2 + [False]
    assert not mf.Network(trainable=()).trainable_columns(2, 1).any()


def test_a_network_survives_its_dictionary():
    network = mf.Network("leaky_relu(0.2)", scaling=mf.Scaling(0.75, 2.0), trainable=("w", "b"))
    again = mf.Network.from_dict(network.to_dict())
    assert again.to_dict() == network.to_dict() and again.sigma.value(-1.0) == -0.2
    own = mf.Activation("own", lambda z: z, lambda z: 1.0)
    stored = mf.Network(own).to_dict()
    assert mf.Network.from_dict(stored, activation=own).sigma is own
    with pytest.raises(ValueError, match="this network used the activation 'own'; got 'other'"):
        mf.Network.from_dict(stored, activation=mf.Activation("other", own.value, own.slope))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"trainable": "a"}, TypeError, r"got the string 'a'. For one name use \('a',\)"),
        ({"trainable": ("a", "v")}, ValueError, r'must be a subset of \("a", "w", "b"\)'),
        ({"trainable": ("a", "a")}, ValueError, "without repetition"),
        ({"scaling": 1.0}, TypeError, "scaling must be an mf.Scaling such as mf.MEAN_FIELD"),
    ],
)
def test_a_network_refuses_what_makes_no_sense(settings, error, message):
    with pytest.raises(error, match=message):
        mf.Network(**settings)


def test_a_state_is_a_read_only_copy_with_views_of_its_blocks(rng):
    theta = rng.normal(size=(4, 6))
    state = mf.State(theta, outputs=2)
    theta[0, 0] = 99.0
    assert state.theta[0, 0] != 99.0
    assert (state.m, state.dim, state.a.shape, state.w.shape, state.b.shape) == (
        4,
        3,
        (4, 2),
        (4, 3),
        (4,),
    )
    assert np.array_equal(np.column_stack([state.a, state.w, state.b]), state.theta)
    assert np.array_equal(state.mass, np.full(4, 0.25)) and (state.step, state.t, state.origin) == (
        0,
        0.0,
        None,
    )
    for array in (state.theta, state.mass, state.a):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_a_state_keeps_single_precision_and_makes_integers_double():
    assert mf.State(np.ones((2, 3), np.float32)).theta.dtype == np.float32
    assert mf.State(np.ones((2, 3), np.int64)).theta.dtype == np.float64


def test_without_outputs_the_rows_are_points_and_have_no_blocks():
    state = mf.State(np.ones((3, 2)), outputs=0)
    assert state.dim == 2
    with pytest.raises(ValueError, match="it has no a, w, b"):
        _ = state.a


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"theta": np.ones(5)},
            ValueError,
            r"theta must be \(m, p\), one row a particle; got \(5,\).*theta\[:, None\]",
        ),
        ({"theta": np.ones((0, 4))}, ValueError, "theta has no particles"),
        (
            {"theta": np.ones((3, 2))},
            ValueError,
            r"needs p = K \+ d \+ 1 >= 3 columns .* for K = 1; got p = 2",
        ),
        (
            {"theta": np.ones((3, 4), complex)},
            TypeError,
            "theta must be real numbers; got dtype complex128",
        ),
        (
            {"theta": np.array([[1.0, 2, 3], [1, np.nan, 3]])},
            ValueError,
            "1 of 2 particles, first in particle 1",
        ),
        (
            {"theta": np.ones((3, 4)), "outputs": -1},
            ValueError,
            "outputs must be an integer K >= 1",
        ),
        (
            {"theta": np.ones((3, 4)), "outputs": 1.5},
            ValueError,
            "outputs must be an integer K >= 1",
        ),
        (
            {"theta": np.ones((3, 4)), "mass": np.ones(3)},
            ValueError,
            r"masses must sum to 1; got 3. Divide by mass.sum\(\)",
        ),
        (
            {"theta": np.ones((3, 4)), "mass": [0.5, 0.5]},
            ValueError,
            r"mass must be \(3,\), one for each particle; got \(2,\)",
        ),
        (
            {"theta": np.ones((3, 4)), "mass": [1.5, -0.5, 0.0]},
            ValueError,
            "masses must be finite and non-negative",
        ),
        (
            {"theta": np.ones((3, 4)), "mass": [np.nan, 0.5, 0.5]},
            ValueError,
            "masses must be finite and non-negative",
        ),
    ],
)
def test_a_state_refuses_what_is_not_a_cloud_of_particles(arguments, error, message):
    with pytest.raises(error, match=message):
        mf.State(**arguments)


LAWS = [
    mf.InitialLaw(dim=3, b_std=0.5),
    mf.InitialLaw(dim=2, outputs=3, a="normal", a_std=2.0, w="sphere", w_std=1.5, b_std=0.3),
    mf.InitialLaw(dim=1, a="zero", w_std=0.7),
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_narrower_sample_is_a_prefix_of_a_wider_one(law, symmetric):
    """Particle k depends on (seed, k) only: decision 4."""
    law = mf.InitialLaw(**{**law.to_dict(), "symmetric": symmetric})
    wide = law.sample(1000, seed=7)
    assert np.array_equal(law.sample(10, seed=7).theta, wide.theta[:10])
    assert not np.array_equal(law.sample(10, seed=8).theta, wide.theta[:10])
    assert wide.origin == (law, 7) and (wide.outputs, wide.dim) == (law.outputs, law.dim)


@pytest.mark.parametrize("law", LAWS)
def test_neighbours_of_a_symmetric_start_differ_in_the_sign_of_a_and_pair_j_uses_draw_j(law):
    pairs = mf.InitialLaw(**{**law.to_dict(), "symmetric": True}).sample(40, seed=1)
    assert np.array_equal(pairs.theta[::2], law.sample(20, seed=1).theta)
    assert np.array_equal(pairs.a[1::2], -pairs.a[::2])
    assert np.array_equal(pairs.w[1::2], pairs.w[::2]) and np.array_equal(
        pairs.b[1::2], pairs.b[::2]
    )


@pytest.mark.parametrize("law", LAWS)
def test_the_blocks_have_the_moments_of_their_laws(law):
    """Means and variances of N = 20000 independent draws: 5 standard errors, σ/√N for a mean and
    σ²√(2/N) for a variance (normal; smaller for Rademacher, and exactly 0 for the length on the
    sphere).
    """
    N = 20_000
    state = law.sample(N, seed=3)
    a, w, b = state.a, state.w, state.b[:, None]
    a_std = 0.0 if law.a == "zero" else law.a_std
    w_std = law.w_std / np.sqrt(law.dim) if law.w == "sphere" else law.w_std
    for block, std in ((a, a_std), (w, w_std), (b, law.b_std)):
        assert np.all(np.abs(block.mean(axis=0)) <= 5 * std / np.sqrt(N))
        assert np.all(np.abs(block.var(axis=0) - std**2) <= 5 * std**2 * np.sqrt(2 / N))
    correlation = np.atleast_2d(np.corrcoef(state.theta[:, state.theta.std(axis=0) > 0].T))
    assert np.abs(correlation - np.eye(len(correlation))).max() <= 5 / np.sqrt(N)
    if law.a == "rademacher":
        assert set(np.unique(a)) == {-law.a_std, law.a_std}
    if law.w == "sphere":
        np.testing.assert_allclose(np.linalg.norm(w, axis=1), law.w_std, rtol=1e-15)
    else:  # fourth moment of a normal, 3σ⁴, of standard error σ⁴√(96/N)
        assert np.all(np.abs((w**4).mean(axis=0) - 3 * w_std**4) <= 5 * w_std**4 * np.sqrt(96 / N))


def test_the_law_says_itself_in_one_line_and_in_a_dictionary():
    law = mf.InitialLaw(dim=2, w="sphere", b_std=0.5, symmetric=True)
    assert law.describe() == "a = ±1, w uniform on |w| = 1 in R^2, b ~ N(0, 0.5²), symmetric start"
    assert mf.InitialLaw.from_dict(law.to_dict()) == law


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim must be an integer >= 1; got 0"),
        ({"dim": 2, "outputs": 1.5}, ValueError, "outputs must be an integer >= 1"),
        (
            {"dim": 2, "a": "uniform"},
            ValueError,
            "a must be one of rademacher, normal, zero; got 'uniform'",
        ),
        ({"dim": 2, "w": "cube"}, ValueError, "w must be one of normal, sphere; got 'cube'"),
        ({"dim": 2, "b_std": -1.0}, ValueError, "b_std must be a finite number >= 0"),
        ({"dim": 2, "w_std": np.nan}, ValueError, "w_std must be a finite number >= 0"),
        ({"dim": 2, "symmetric": "yes"}, TypeError, "symmetric must be True or False"),
    ],
)
def test_a_law_refuses_what_is_not_a_law(settings, error, message):
    with pytest.raises(error, match=message):
        mf.InitialLaw(**settings)


def test_widths_that_cannot_be_drawn_raise():
    law = mf.InitialLaw(dim=2, symmetric=True)
    with pytest.raises(ValueError, match=r"m must be even; got 7. Use 8"):
        law.sample(7)
    for m in (0, -2, 2.5, True):
        with pytest.raises(ValueError, match="the width m must be an integer >= 1"):
            law.sample(m)
