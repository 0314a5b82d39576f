"""Training with a frozen kernel, against matrix exponentials, repeated matrix steps and solvers."""

import numpy as np
import pytest
from scipy.linalg import expm

import meanfield as mf
import ntk
from meanfield.backends.cpu import losses as loss_kernels
from meanfield.formulas import losses


@pytest.fixture
def blocks(rng):
    """K (8, 8) and K_test (3, 8) of one positive definite kernel, labels and starts."""
    J = rng.normal(size=(11, 20))
    whole = J @ J.T / 20
    return whole[:8, :8], whole[8:, :8], rng.normal(size=8), rng.normal(size=8), rng.normal(size=3)


@pytest.mark.parametrize(("reduction", "c"), [("mean", 1 / 8), ("sum", 1.0)])
@pytest.mark.parametrize("t", [0.0, 0.03, 1.0, 20.0])
def test_the_flow_is_the_matrix_exponential(blocks, reduction, c, t):
    """THEORY.md, section 3: u(t) = e^{-cKt} u(0) and f_t(x) = f_0(x) + hᵀ K⁻¹ (I - e^{-cKt}) (y -
    f_0). Rounding, 1e-12.
    """
    K, K_test, y, f0, f0_test = blocks
    flow = ntk.KernelFlow(K, y, f0, K_test, f0_test, reduction)
    decay = expm(-c * K * t)
    found = flow.at(t)
    np.testing.assert_allclose(found.train, y + decay @ (f0 - y), atol=1e-12)
    np.testing.assert_allclose(
        found.test,
        f0_test + K_test @ np.linalg.solve(K, (np.eye(8) - decay) @ (y - f0)),
        atol=1e-12,
    )
    assert flow.risk(t) == pytest.approx(c / 2 * np.sum((decay @ (f0 - y)) ** 2), rel=1e-10)


def test_at_infinity_the_labels_are_met_and_the_prediction_is_kernel_regression(blocks):
    K, K_test, y, f0, f0_test = blocks
    train, test = ntk.KernelFlow(K, y, f0, K_test, f0_test).at(np.inf)
    np.testing.assert_allclose(train, y, atol=1e-13)
    np.testing.assert_allclose(test, f0_test + K_test @ np.linalg.solve(K, y - f0), atol=1e-12)
    assert ntk.KernelFlow(K, y).at(1.0).test is None


def test_an_array_of_times_leads_with_its_axis_and_outputs_are_columns(blocks):
    K, K_test, y, f0, _ = blocks
    Y, F0 = np.stack([y, f0], axis=1), np.stack([f0, y], axis=1)
    times = np.array([0.5, 2.0, np.inf])
    together = ntk.KernelFlow(K, Y, F0, K_test).at(times)
    assert together.train.shape == (3, 8, 2) and together.test.shape == (3, 3, 2)
    for j, (y_j, f_j) in enumerate(((y, f0), (f0, y))):
        one = ntk.KernelFlow(K, y_j, f_j, K_test)
        np.testing.assert_allclose(together.train[:, :, j], one.at(times).train, atol=1e-13)
        np.testing.assert_allclose(together.test[1, :, j], one.at(2.0).test, atol=1e-13)
    assert one.at([]).train.shape == (0, 8) and one.risk(times).shape == (3,)


def test_a_kernel_with_outputs_of_its_own_couples_them(rng, blocks):
    """(n, n, C, C): I_C ⊗ K is K for each column; K_1 and K_2 on the diagonal are two flows."""
    K, K_test, y, f0, _ = blocks
    J = rng.normal(size=(8, 9))
    other = J @ J.T
    four, test = np.zeros((8, 8, 2, 2)), np.zeros((3, 8, 2, 2))
    four[:, :, 0, 0], four[:, :, 1, 1], test[:, :, 0, 0] = K, other, K_test
    Y = np.stack([y, f0], axis=1)
    found = ntk.KernelFlow(four, Y, K_test=test).at([0.0, 3.0])
    np.testing.assert_allclose(found.train[1, :, 0], ntk.KernelFlow(K, y).at(3.0).train, atol=1e-12)
    np.testing.assert_allclose(
        found.train[1, :, 1], ntk.KernelFlow(other, f0).at(3.0).train, atol=1e-12
    )
    np.testing.assert_allclose(
        found.test[1, :, 0], ntk.KernelFlow(K, y, K_test=K_test).at(3.0).test, atol=1e-12
    )
    assert np.all(found.test[:, :, 1] == 0)


def test_the_residual_in_the_null_space_stays_for_ever(rng):
    """THEORY.md, section 3. K of rank 3 on 6 inputs: at t = ∞, and at any t, V_0ᵀ(f - y) is what it
    was.
    """
    J = rng.normal(size=(8, 3))
    K, K_test, y = J[:6] @ J[:6].T, J[6:] @ J[:6].T, rng.normal(size=6)
    Q = np.linalg.svd(J[:6])[0][:, 3:]
    flow = ntk.KernelFlow(K, y, K_test=K_test)
    for t in (1.0, 1e15, np.inf):
        assert np.isfinite(flow.at(t).train).all()
        np.testing.assert_allclose(Q.T @ (flow.at(t).train - y), -Q.T @ y, atol=1e-13)
    np.testing.assert_allclose(
        flow.at(np.inf).test, K_test @ np.linalg.pinv(K, rcond=1e-10) @ y, atol=1e-12
    )
    np.testing.assert_allclose(flow.at(1e15).test, flow.at(np.inf).test, atol=1e-12)
    np.testing.assert_allclose(flow.at(np.inf).train - y, ntk.unlearnable(K, -y), atol=1e-13)


def test_the_loss_never_falls_below_the_floor_of_a_duplicated_input(rng):
    """TRUTHS.md, section 4: labels y1 ≠ y2 on one input: loss (½ sum) >= (y1 - y2)²/4, in the lazy
    and in the other regime.

    The rest of this kernel is positive definite, so that the floor is met at t = ∞.
    """
    x = rng.normal(size=(5, 3))
    x[4], y = x[0], np.array([1.0, 0.3, -0.2, 0.5, -1.0])
    floor = (y[0] - y[4]) ** 2 / 4
    network = mf.Network("tanh", scaling=mf.NTK)
    state = mf.InitialLaw(dim=3, b_std=1.0, symmetric=True).sample(400, seed=0)
    K = ntk.empirical(network, state, x)
    flow = ntk.KernelFlow(K, y, reduction="sum")
    assert flow.risk(np.inf) == pytest.approx(floor, rel=1e-12)
    assert (flow.risk(np.geomspace(1e-3, 1e6, 50)) >= floor * (1 - 1e-12)).all()
    assert ntk.loss_floor(K, -y, "sum") == pytest.approx(floor, rel=1e-12)
    for scaling in (mf.NTK, mf.MEAN_FIELD):
        engine = mf.GradientFlow(
            mf.EmpiricalRisk(mf.Network("tanh", scaling=scaling), x, y, reduction="sum")
        )
        watch = mf.Series("risk", mf.every(5))
        mf.simulate(engine, state, mf.RK4, dt=0.1, t_end=10.0, observers=[watch], progress=False)
        assert watch.values[-1] < watch.values[0] and min(watch.values) >= floor * (1 - 1e-12)


def test_test_inputs_of_another_kernel_grow_in_proportion_to_t_and_have_no_limit():
    """K = diag(1, 0), h = (0, 1): df(x)/dt = -h·u with u_2 constant, so f_t(x) = t y_2: the limit
    of (1 - e^{-λt})/λ is t.
    """
    flow = ntk.KernelFlow(np.diag([1.0, 0.0]), [0.0, 2.0], K_test=[[0.0, 1.0]], reduction="sum")
    np.testing.assert_allclose(flow.at([0.5, 3.0]).test[:, 0], [1.0, 6.0], rtol=1e-15)
    with pytest.raises(ValueError, match="t = ∞ the test predictions diverge"):
        flow.at(np.inf)


@pytest.mark.parametrize("learning_rate", [0.01, 0.4, 1.5])
def test_finite_steps_are_repeated_matrix_steps(blocks, learning_rate):
    """f ← f - η K (f - y), with modes below and above ηλ = ½; the last rate is beyond 2/λ_max and
    grows. Rounding of 12 steps.
    """
    K, K_test, y, f0, f0_test = blocks
    flow = ntk.KernelFlow(K, y, f0, K_test, f0_test, "sum")
    f, g = f0, f0_test
    for _ in range(12):
        f, g = f - learning_rate * K @ (f - y), g - learning_rate * K_test @ (f - y)
    found = flow.after(12, learning_rate)
    np.testing.assert_allclose(found.train, f, atol=1e-12 * max(1, np.abs(f).max()))
    np.testing.assert_allclose(found.test, g, atol=1e-12 * max(1, np.abs(g).max()))
    assert (np.abs(f - y).max() > np.abs(f0 - y).max()) == (learning_rate > flow.max_learning_rate)
    assert flow.after([0, 12], learning_rate).train.shape == (2, 8)
    np.testing.assert_array_equal(flow.after(0, learning_rate).train, f0)


def test_the_residual_of_the_linear_model_is_oymaks_sum(rng):
    """TRUTHS.md, section 4: r̃_τ = Σ_s (1 - ηλ_s²)^τ a_s u_s with the singular values λ_s of J and
    a_s = u_sᵀ r_0, to 1e-12.
    """
    J, y = rng.normal(size=(6, 10)) / 5, rng.normal(size=6)
    U, sizes, _ = np.linalg.svd(J)
    eta, theta = 0.3, np.zeros(10)
    for _ in range(25):
        theta = theta - eta * J.T @ (J @ theta - y)
    by_sum = U @ ((1 - eta * sizes**2) ** 25 * (U.T @ -y))
    found = ntk.KernelFlow(J @ J.T, y, reduction="sum").after(25, eta).train - y
    np.testing.assert_allclose(found, by_sum, atol=1e-12)
    np.testing.assert_allclose(J @ theta - y, by_sum, atol=1e-12)


@pytest.mark.parametrize("loss", ["huber", "logistic", "softmax"])
def test_other_losses_solve_their_equation_in_function_space(rng, blocks, loss):
    """df/dt = -K ℓ'(f, y)/n against RK4 with 400 steps: error (λ dt)^4-ish below 1e-8; LSODA to
    1e-8 a step.
    """
    K, K_test, _, _, _ = blocks
    y = {
        "huber": 3 * rng.normal(size=8),
        "logistic": np.sign(rng.normal(size=8)),
        "softmax": rng.integers(3, size=8),
    }[loss]
    f0 = np.zeros((8, 3)) if loss == "softmax" else np.zeros(8)
    table = losses.TABLE[loss]
    labels = losses.check_labels(table, y, 8)

    def slope(f):
        return (
            loss_kernels.slopes(table, np.ascontiguousarray(f.reshape(8, -1)), labels).reshape(
                f.shape
            )
            / 8
        )

    f, g, dt = f0, np.zeros((3, *f0.shape[1:])), 4.0 / 400
    for _ in range(400):
        k1 = slope(f)
        k2 = slope(f - dt / 2 * K @ k1)
        k3 = slope(f - dt / 2 * K @ k2)
        k4 = slope(f - dt * K @ k3)
        mean = (k1 + 2 * k2 + 2 * k3 + k4) / 6
        f, g = f - dt * K @ mean, g - dt * K_test @ mean
    flow = ntk.KernelFlow(K, y, f0, K_test, loss=loss)
    found = flow.at([4.0, 0.0, 4.0])
    np.testing.assert_allclose(found.train[[0, 2]], [f, f], atol=2e-6)
    np.testing.assert_allclose(found.test[0], g, atol=2e-6)
    np.testing.assert_array_equal(found.train[1], f0)
    assert flow.risk(4.0) < flow.risk(0.0)
    # finite steps of a small rate come within their own first order of the flow
    np.testing.assert_allclose(flow.after(400, dt).train, f, atol=5 * dt)
    with pytest.raises(ValueError, match="t = ∞ is for the squared loss"):
        flow.at(np.inf)


def test_squared_loss_by_the_solver_is_squared_loss_by_modes(blocks):
    """A loss of one's own goes through the solver: ½(f - y)² under another name agrees with the
    closed form to its 1e-8.
    """
    K, K_test, y, f0, _ = blocks
    own = losses.Loss("mine", losses.squared, losses.squared_slope)
    found, expected = (
        ntk.KernelFlow(K, y, f0, K_test, loss=loss).at(5.0) for loss in (own, "squared")
    )
    np.testing.assert_allclose(found.train, expected.train, atol=1e-6)
    np.testing.assert_allclose(found.test, expected.test, atol=1e-6)


def test_the_hinge_takes_finite_steps_only(blocks):
    K, _, y, _, _ = blocks
    flow = ntk.KernelFlow(K, np.sign(y), loss="hinge")
    with pytest.raises(ValueError, match="use .after"):
        flow.at(1.0)
    assert flow.after(500, 0.05).train @ np.sign(y) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": np.ones((3, 4))}, "square kernel"),
        ({"K": np.zeros((0, 0))}, "square kernel"),
        ({"K": np.array([[1.0, 0.5, 0], [0.4, 1, 0], [0, 0, 1]])}, "symmetric to rounding"),
        ({"K": np.diag([1.0, np.nan, 1])}, r"NaN or infinite entries, first at \(1, 1\)"),
        ({"K": np.diag([1.0, 2.0, -0.5])}, "lambda_min = -0.5"),
        ({"y": np.zeros(4)}, r"y must be \(3,\) or \(3, C\)"),
        ({"y": [0.0, np.inf, 0.0]}, "y has NaN or infinite values"),
        ({"f0": np.zeros(4)}, "f0 must be a number or of y's shape"),
        ({"f0": np.nan}, "f0 has NaN"),
        ({"K_test": np.zeros((3, 2))}, r"K_test must be \(n_test, 3\)"),
        ({"K_test": np.zeros((3, 5))}, "Transpose it"),
        ({"K_test": np.full((2, 3), np.nan)}, "K_test or f0_test has NaN"),
        ({"f0_test": 1.0}, "needs K_test"),
        (
            {"K_test": np.zeros((2, 3)), "f0_test": np.zeros(3)},
            r"f0_test must be a number or \(2,\)",
        ),
        ({"reduction": "max"}, "reduction must be"),
        ({"loss": "sqared"}, "Did you mean 'squared'"),
        ({"loss": "logistic"}, "labels -1 and \\+1"),
        ({"loss": "softmax", "y": [0, 1, 2]}, "needs f0 of shape"),
        ({"loss": "softmax", "y": [0, 1, 2], "f0": np.zeros((3, 2))}, "classes 0 … 2"),
        ({"tolerance": -1.0}, "tolerance must be"),
    ],
)
def test_bad_input_is_refused_with_what_was_found(change, message):
    with pytest.raises(ValueError, match=message):
        ntk.KernelFlow(**({"K": np.eye(3), "y": np.zeros(3)} | change))


def test_bad_times_and_steps_are_refused():
    flow = ntk.KernelFlow(np.eye(2), [1.0, 2.0])
    for t in (-1.0, np.nan, [[1.0]]):
        with pytest.raises(ValueError, match="t must be a flow time"):
            flow.at(t)
    for steps in (1.5, -1, [[1]]):
        with pytest.raises(ValueError, match="steps must be an integer"):
            flow.after(steps, 0.1)
    with pytest.raises(ValueError, match="learning_rate"):
        flow.after(3, 0.0)


def test_rounding_that_makes_a_kernel_indefinite_is_forgiven(rng):
    """Eigenvalues of a rank-2 kernel come out as ±1e-16: null, not an error; one of a float32
    kernel as 1e-8.
    """
    J = rng.normal(size=(30, 2))
    for dtype in (np.float64, np.float32):
        K = (J @ J.T).astype(dtype)
        flow = ntk.KernelFlow(K, rng.normal(size=30))
        assert flow.modes.null.sum() == 28 and np.isfinite(flow.at(np.inf).train).all()
