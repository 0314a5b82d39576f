"""Certificates: eigenvalues with a bound that holds, verdicts that claim no more than they know,
and what is never learnt.
"""

import warnings

import mpmath
import numpy as np
import pytest

import meanfield as mf
import ntk


def circle(n):
    """First-layer ReLU kernel cos ψ (π - ψ)/2π of n equispaced points on the circle."""
    i = np.arange(n)
    steps = np.abs(i[:, None] - i)
    psi = 2 * np.pi * np.minimum(steps, n - steps) / n
    return np.cos(psi) * (np.pi - psi) / (2 * np.pi)


def network_kernel(x, activation="relu", trainable=("a", "w"), m=60, b_std=0.0):
    state = mf.InitialLaw(dim=x.shape[1], b_std=b_std).sample(m, seed=0)
    return ntk.empirical(mf.Network(activation, trainable=trainable), state, x)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(3, [1 / 3, 7 / 12, 7 / 12]), (4, [0.5] * 4), (5, [0.3, 0.3, 0.523607, 0.688197, 0.688197])],
)
def test_points_on_the_circle_have_a_positive_definite_kernel(n, expected):
    """TRUTHS.md, section 1, to the six digits given."""
    found = ntk.certificate(circle(n))
    np.testing.assert_allclose(found.eigenvalues, expected, atol=5e-7)
    assert found.positive_definite is True
    assert found.rank == n and found.null_space.shape == (n, 0)
    assert found.lambda_min == found.eigenvalues[0] and found.lambda_max == found.eigenvalues[-1]
    assert (
        "Positive definite" in found.verdict
        and f"tolerance = {found.tolerance:.2g}" in found.verdict
    )
    assert str(found) == found.verdict


@pytest.mark.parametrize("n", [4, 8, 12])
def test_the_error_bound_holds_for_the_hilbert_matrix(n):
    """Condition 1e4, 1e10, 1e16: eigenvalues in 60 digits of the same float64 entries lie within
    the bound of those computed.

    The bound is no excuse: below 1e-13 λ_max.
    """
    H = 1.0 / (np.arange(n)[:, None] + np.arange(n) + 1)
    with mpmath.workdps(60):
        exact = sorted(mpmath.eigsy(mpmath.matrix(H.tolist()), eigvals_only=True))
        found = ntk.certificate(H)
        errors = [
            abs(mpmath.mpf(float(value)) - true)
            for value, true in zip(found.eigenvalues, exact, strict=True)
        ]
    assert max(errors) <= found.error_bound < 1e-13 * found.lambda_max
    assert found.positive_definite is (True if n < 12 else None)


def test_the_bound_includes_the_asymmetry_that_was_averaged_away():
    K = np.diag([1.0, 2.0, 3.0])
    K[0, 1] = 1e-10
    assert ntk.certificate(K).error_bound >= 0.5e-10
    with pytest.raises(ValueError, match="symmetric to rounding"):
        ntk.certificate(np.array([[1.0, 1e-3], [0.0, 1.0]]))


def test_float32_is_judged_by_its_own_precision(rng):
    K = np.diag([1.0, 1e-8]).astype(np.float32)
    assert ntk.certificate(K).positive_definite is None and ntk.certificate(K).rank == 1
    assert ntk.certificate(K.astype(np.float64)).positive_definite is True
    assert ntk.certificate(K.astype(np.float64), tolerance=1e-6).positive_definite is None


def test_a_repeated_input_proves_the_kernel_singular(rng):
    """TRUTHS.md, section 0: p > n does not make a kernel positive definite; duplicates break it,
    whatever rounding says.
    """
    x = rng.normal(size=(5, 3))
    x[3] = x[1]
    K = network_kernel(x, trainable=("a", "w", "b"), b_std=1.0, m=500)
    with pytest.warns(RuntimeWarning, match="Repeated inputs make K singular: 1 and 3"):
        found = ntk.certificate(K, x)
    assert found.positive_definite is False and found.rank == 4
    direction = np.array([0, 1, 0, -1, 0]) / np.sqrt(2)
    assert abs(found.null_space[:, 0] @ direction) == pytest.approx(1.0, abs=1e-8)
    assert "Singular" in found.verdict and "1 and 3" in found.verdict
    exact = np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert ntk.certificate(exact).positive_definite is False  # equal rows, without inputs


def test_distinct_inputs_are_no_proof_of_anything(rng):
    """TRUTHS.md, section 0: four directions in the plane, no two alike, and a linear network: rank
    2. No cause, no claim.
    """
    x = rng.normal(size=(4, 2))
    K = network_kernel(x, "linear", trainable=("w",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ntk.certificate(K, x)
    assert found.positive_definite is None and found.rank == 2 and found.causes == ()
    assert "Undecided" in found.verdict and "ingular" not in found.verdict


@pytest.mark.parametrize(
    ("activation", "x", "message"),
    [
        ("relu", [[1.0, 2.0], [0.0, 1.0], [2.5, 5.0]], "Parallel inputs make K singular: 0 and 2"),
        ("relu", [[1.0, 2.0], [0.0, 0.0], [2.5, 1.0]], "Zero inputs, with zero features: 1"),
        (
            "tanh",
            [[1.0, 2.0], [0.0, 1.0], [-1.0, -2.0]],
            "Antipodal inputs make K singular: 0 and 2",
        ),
        (
            "square",
            [[1.0, 2.0], [0.0, 1.0], [-3.0, -6.0]],
            "Antipodal inputs make K singular: 0 and 2",
        ),
        (
            "relu",
            [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -2.0], [1.0, 1.0], [-1.0, -1.0]],
            "Antipodal pairs in 2 dimensions make K singular: 0 and 1, 2 and 3, 4 and 5",
        ),
    ],
)
def test_inputs_that_a_network_without_bias_cannot_tell_apart_are_named(activation, x, message):
    """φ(θ; cx) = cᵖ φ(θ; x) and oddness or evenness make two rows proportional; for ReLU φ(x) -
    φ(-x) is linear in x. That decides: no "undecided" stands beside the cause.
    """
    x = np.array(x)
    with pytest.warns(RuntimeWarning, match=message):
        found = ntk.certificate(network_kernel(x, activation), x)
    assert found.positive_definite is False and found.rank == len(x) - 1
    assert found.verdict.startswith("Singular: the part of the labels in its null space is never")


def test_a_hexagon_is_singular_by_its_antipodal_pairs_and_decided():
    """Three pairs ±x in the plane and ReLU without bias: e_i - e_j of three pairs are linear in x,
    so of rank 2. cos and sin of 60° are rounded, the pairs antipodal to rounding all the same. A
    trained bias decides the other way; a pair that is 1e-9 off antipodal decides nothing.
    """
    angles = np.pi / 3 * np.arange(6)
    hexagon = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    law, free = mf.InitialLaw(dim=2), mf.Network("relu", mf.NTK, trainable=("a", "w"))
    with pytest.warns(RuntimeWarning, match="Antipodal pairs in 2 dimensions"):
        found = ntk.certificate(ntk.kernel(free, law, hexagon), hexagon)
    assert found.positive_definite is False and found.rank == 5
    assert found.verdict.startswith("Singular: ") and "ndecided" not in found.verdict
    biased = ntk.kernel(mf.Network("relu", mf.NTK), law, hexagon)
    assert ntk.certificate(biased, hexagon).positive_definite is True
    x = np.array([[1.0, 2.0], [0.0, 1.0], [-1.0, -2.0 - 1e-9]])
    with pytest.warns(RuntimeWarning, match="Antipodal inputs make K singular: 0 and 2"):
        near = ntk.certificate(network_kernel(x, "tanh"), x)
    assert near.positive_definite is None
    assert near.verdict.startswith("Singular as far as rounding shows")


@pytest.mark.parametrize(
    "x", [[[1.0, 2.0], [0.0, 1.0], [2.0, 4.0]], [[1.0, 2.0], [0.0, 1.0], [-1.0, -2.0]]]
)
def test_with_a_bias_parallel_and_antipodal_inputs_are_innocent(x):
    x = np.array(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ntk.certificate(network_kernel(x, trainable=("a", "w", "b"), b_std=1.0), x)
    assert found.positive_definite is True and found.causes == ()


def test_the_pair_that_deep_returns_and_the_parts_of_a_kernel_are_named_where_one_kernel_is_asked(
    rng,
):
    both = ntk.deep(rng.normal(size=(3, 2)), depth=2)
    for work in (
        lambda: ntk.certificate(both),
        lambda: ntk.loss_floor(both, np.ones(3)),
        lambda: ntk.KernelFlow(both, np.ones(3)),
        lambda: ntk.KernelFlow(both[1], np.ones(3), K_test=both),
        lambda: ntk.regression(both[1], np.ones(3), both),
        lambda: ntk.drift(both, both),
        lambda: ntk.alignment(both, np.ones(3)),
    ):
        with pytest.raises(
            TypeError,
            match=r"must be one kernel; got a tuple .*ntk.deep returns \(nngp, ntk\): write "
            r"nngp, H =",
        ):
            work()
    with pytest.raises(
        TypeError, match=r"got a dict of a, w, b. Parts sum to it: sum\(K.values\(\)\)"
    ):
        ntk.certificate({"a": both[0], "w": both[1], "b": both[1]})
    # nested lists stay a kernel
    assert ntk.certificate([[2.0, 1.0], [1.0, 2.0]]).positive_definite is True


def test_an_indefinite_matrix_is_refused_by_all_but_the_certificate():
    K = np.diag([1.0, -0.25])
    found = ntk.certificate(K)
    assert (
        found.positive_definite is False
        and "Not positive semi-definite" in found.verdict
        and found.rank == 2
    )
    for work in (
        lambda: ntk.unlearnable(K, [1.0, 1.0]),
        lambda: ntk.split(K, [1.0, 1.0], 0.1),
        lambda: ntk.mode_times(K, 0.1),
    ):
        with pytest.raises(ValueError, match=r"lambda_min = -0.25"):
            work()


def test_what_is_unlearnable_is_the_projection_on_the_null_space(rng):
    """K = J Jᵀ of rank 3: the projection on the orthogonal complement of J's columns; eigenvectors
    to n ε/gap: 1e-12.
    """
    J, r = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    part = ntk.unlearnable(J @ J.T, r)
    np.testing.assert_allclose(part, r - J @ np.linalg.lstsq(J, r, rcond=None)[0], atol=1e-12)
    assert ntk.loss_floor(J @ J.T, r, "sum") == pytest.approx(0.5 * np.sum(part**2), rel=1e-14)
    assert ntk.loss_floor(J @ J.T, r) == pytest.approx(np.sum(part**2) / 14, rel=1e-14)
    assert ntk.loss_floor(J @ J.T, r) == pytest.approx(
        ntk.KernelFlow(J @ J.T, -r).risk(np.inf), rel=1e-12
    )
    assert np.all(ntk.unlearnable(np.eye(3), np.ones(3)) == 0)
    with pytest.raises(ValueError, match=r"residual must be \(7,\)"):
        ntk.unlearnable(J @ J.T, np.zeros(6))


def test_each_mode_falls_to_epsilon_in_its_own_time(rng):
    J = rng.normal(size=(5, 8))
    K = J @ J.T
    times = ntk.mode_times(K, 0.01, reduction="sum")
    V = np.linalg.eigh(K)[1]
    for i, t in enumerate(times):
        left = ntk.KernelFlow(K, np.zeros(5), V[:, i], reduction="sum").at(t).train
        np.testing.assert_allclose(left, 0.01 * V[:, i], atol=1e-12)
    np.testing.assert_allclose(ntk.mode_times(K, 0.01), 5 * times, rtol=1e-14)
    assert ntk.mode_times(np.diag([0.0, 1.0]), 0.5)[0] == np.inf
    with pytest.raises(ValueError, match="epsilon must be the share"):
        ntk.mode_times(K, 1.0)


def test_information_is_learnt_by_the_stopping_time_and_nuisance_is_not(rng):
    """Oymak et al. (2019): at T = log(1/left)/(c λ_I) at most left·‖information‖ + ‖nuisance‖
    remains.
    """
    Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    values = np.array([5.0, 3.0, 1.0, 0.01, 0.002, 0.0])
    K, r = Q * values @ Q.T, rng.normal(size=6)
    found = ntk.split(K, r, cutoff=0.5, left=0.1)
    assert found.rank == 3
    np.testing.assert_allclose(found.information, Q[:, :3] @ (Q[:, :3].T @ r), atol=1e-13)
    np.testing.assert_allclose(found.information + found.nuisance, r, atol=1e-15)
    assert found.information_energy + found.nuisance_energy == pytest.approx(r @ r, rel=1e-13)
    assert found.stopping_time == pytest.approx(6 * np.log(10) / 1.0, rel=1e-12)
    remaining = ntk.KernelFlow(K, np.zeros(6), r).at(found.stopping_time).train
    assert np.linalg.norm(remaining) <= found.residual_bound
    assert np.linalg.norm(Q[:, :3].T @ remaining) <= 0.1 * np.linalg.norm(Q[:, :3].T @ r) * (
        1 + 1e-12
    )
    kept = np.abs(Q[:, 3:].T @ remaining) / np.abs(Q[:, 3:].T @ r)
    assert (kept >= 0.1 ** (0.01 / 1.0) - 1e-12).all()
    nothing = ntk.split(K, r, cutoff=9.0)
    assert nothing.rank == 0 and nothing.stopping_time == 0.0 and nothing.information_energy == 0.0
    np.testing.assert_array_equal(nothing.nuisance, r)


def test_outputs_of_their_own_are_unfolded(rng):
    J = rng.normal(size=(4, 2, 30))
    K = np.einsum("icp,jep->ijce", J, J)
    found = ntk.certificate(K)
    flat = J.reshape(8, 30)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(flat @ flat.T), rtol=1e-10)
    assert found.positive_definite is True
    assert ntk.unlearnable(K, np.ones((4, 2))).shape == (4, 2)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: ntk.certificate(np.ones((2, 3))), "square kernel"),
        (lambda: ntk.certificate([[np.nan]]), "NaN or infinite"),
        (lambda: ntk.certificate(np.eye(2), np.zeros((3, 2))), r"x must be \(2, d\)"),
        (lambda: ntk.certificate(np.eye(2), tolerance=-1), "tolerance must be"),
        (lambda: ntk.split(np.eye(2), [1, 2], cutoff=0.0), "cutoff must be"),
        (lambda: ntk.split(np.eye(2), [1, 2], cutoff=0.5, left=1.0), "left must be"),
        (lambda: ntk.split(np.eye(2), [1, np.nan], cutoff=0.5), "residual has NaN"),
        (lambda: ntk.loss_floor(np.eye(2), [1, 2], "max"), "reduction must be"),
    ],
)
def test_bad_input_is_refused(work, message):
    with pytest.raises(ValueError, match=message):
        work()
    with pytest.raises(TypeError, match="K must be real numbers"):
        ntk.certificate(np.eye(2, dtype=complex))
