"""mf.Feature: a φ(θ; x) of the user's own, against neurons, closed forms and differences."""

from math import cos, exp, sin, tanh

import numpy as np
import pytest
from scipy.optimize import minimize

import meanfield as mf
import ntk


def neuron(theta, x):
    return theta[0] * tanh(theta[1] * x[0] + theta[2] * x[1] + theta[3])


def grad_neuron(theta, x, out):
    t = tanh(theta[1] * x[0] + theta[2] * x[1] + theta[3])
    out[0] = t
    out[1] = theta[0] * (1.0 - t * t) * x[0]
    out[2] = theta[0] * (1.0 - t * t) * x[1]
    out[3] = theta[0] * (1.0 - t * t)


def bump(theta, x):
    return theta[0] * exp(-0.5 * (x[0] - theta[1]) ** 2)


def grad_bump(theta, x, out):
    height = exp(-0.5 * (x[0] - theta[1]) ** 2)
    out[0] = height
    out[1] = theta[0] * height * (x[0] - theta[1])


def diagonal(theta, x):
    total = 0.0
    for j in range(x.size):
        total += (theta[j] ** 2 - theta[x.size + j] ** 2) * x[j]
    return total


def grad_diagonal(theta, x, out):
    for j in range(x.size):
        out[j] = 2.0 * theta[j] * x[j]
        out[x.size + j] = -2.0 * theta[x.size + j] * x[j]


BUMP = mf.Feature(bump, grad_bump, columns=("a", "c"))
NEURON = mf.Feature(neuron, grad_neuron, columns={"a": 1, "w": 2, "b": ()}, dim=2)


@pytest.fixture(scope="module")
def twins():
    """The same 70 neurons, in two shards with unequal masses, as neurons and as a feature: (flow,
    state) each."""
    rng = np.random.default_rng(4)
    theta, x, y = rng.normal(size=(70, 4)), rng.normal(size=(9, 2)), rng.normal(size=9)
    mass = rng.uniform(0.5, 1.5, 70)
    mass /= mass.sum()
    made = {}
    for dtype in ("float64", "float32"):
        for name, sigma, state in (
            ("neurons", "tanh", mf.State(theta, mass=mass)),
            ("feature", NEURON, NEURON.state(theta, mass)),
        ):
            network = mf.Network(sigma, mf.Scaling(0.7, 1.3), trainable=("a", "w"))
            risk = mf.EmpiricalRisk(network, x, y, ridge=0.1)
            made[name, dtype] = mf.GradientFlow(risk, dtype=dtype), state
    return made


@pytest.mark.parametrize(
    ("dtype", "allowed"),
    [("float64", 1e-13), pytest.param("float32", 1e-5, marks=pytest.mark.kernel)],
)
def test_a_neuron_written_as_a_feature_is_the_neuron(twins, dtype, allowed):
    """THEORY.md, section 1, whatever φ is. Two orders of sums of 70 terms of order 1: ten units."""
    (flow, state), (other, same) = twins["neurons", dtype], twins["feature", dtype]
    at = state.theta[:3] + 0.1
    for of in (
        lambda f, s: f.predict(s),
        lambda f, s: f.predict(s, np.array([[0.3, -1.0]])),
        lambda f, s: f.velocity(s),
        lambda f, s: f.first_variation(s),
        lambda f, s: f.first_variation(s, at=at),
        lambda f, s: f.energy(s),
    ):
        expected = of(flow, state)
        size = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(of(other, same), expected, rtol=0, atol=allowed * size)


def test_its_kernel_and_its_linearisation_are_those_of_the_neuron(twins):
    (flow, state), (other, same) = twins["neurons", "float64"], twins["feature", "float64"]
    x = flow.functional.x
    parts = ntk.empirical(other.network, same, x, x[:4], parts=True)
    expected = ntk.empirical(flow.network, state, x, x[:4], parts=True)
    assert parts.keys() == expected.keys() == {"a", "w"}
    for name, part in parts.items():
        np.testing.assert_allclose(part, expected[name], rtol=0, atol=1e-13 * np.abs(part).max())
    np.testing.assert_allclose(
        ntk.empirical(other.network, same, x), ntk.empirical(flow.network, state, x), atol=1e-13
    )

    moved = [s.moved(s.theta + 0.3) for s in (state, same)]
    found = [
        ntk.linearise(f.network, s).predict(to, x)
        for f, s, to in ((flow, state, moved[0]), (other, same, moved[1]))
    ]
    np.testing.assert_allclose(*found, rtol=0, atol=1e-12)


def test_the_diagonal_network_ends_where_its_implicit_bias_says():
    """TRUTHS.md 3.9 (Woodworth et al. 2020): f = ⟨u² - v², x⟩ from u = v = α ends at β = 2α²
    sinh(Xᵀν), Xβ = y; RK4 conserves u v = α² to its order.
    """
    rng, d = np.random.default_rng(1), 5
    X, y = rng.normal(size=(2, d)), np.array([0.6, -0.4])
    network = mf.Network(mf.Feature(diagonal, grad_diagonal, {"u": d, "v": d}, dim=d))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, X, y))
    for alpha in (0.1, 1.0):
        start = network.feature.state(np.full((1, 2 * d), alpha))
        end = mf.simulate(flow, start, mf.RK4, dt=0.02, t_end=60.0 / alpha, progress=False)
        beta = (end["u"] ** 2 - end["v"] ** 2)[0]
        nu = minimize(  # a convex function of ν whose gradient is Xβ - y
            lambda nu, a=alpha: 2 * a**2 * np.cosh(X.T @ nu).sum() - nu @ y,
            np.zeros(2),
            jac=lambda nu, a=alpha: X @ (2 * a**2 * np.sinh(X.T @ nu)) - y,
            hess=lambda nu, a=alpha: (X * (2 * a**2 * np.cosh(X.T @ nu))) @ X.T,
            method="trust-exact",
            options={"gtol": 1e-12},
        ).x
        np.testing.assert_allclose(beta, 2 * alpha**2 * np.sinh(X.T @ nu), rtol=0, atol=1e-6)


def test_bumps_interpolate_and_centred_they_start_at_zero(threads):
    """f - f_0 by the frozen start is 0 there, its velocity that of φ; a file gives the same f."""
    rng = np.random.default_rng(2)
    x = np.linspace(-2, 2, 300)[:, None]
    state = BUMP.state(rng.normal(size=(200, 2)))
    network = mf.Network(BUMP, mf.NTK, centred=True)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.sin(2 * x[:, 0])))
    assert not flow.predict(state).any()
    end = mf.simulate(flow, state, mf.RK4, dt=1.0, t_end=60.0, progress=False)
    raw = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(BUMP, mf.NTK), x, np.sin(2 * x[:, 0])))
    np.testing.assert_allclose(
        flow.predict(end), raw.predict(end) - raw.predict(state), rtol=0, atol=1e-13
    )
    assert flow.risk(end) < 0.5 * flow.risk(state)
    # one set of bits, for one thread and two
    assert float(
        np.sum(end.theta * np.cos(np.arange(400).reshape(200, 2)))
    ).hex() == BITS.setdefault(
        "end", float(np.sum(end.theta * np.cos(np.arange(400).reshape(200, 2)))).hex()
    )


BITS: dict[str, str] = {}


def test_centred_neurons_are_f_minus_f_0_too():
    x, y = np.linspace(-1, 1, 6)[:, None], np.ones(6)
    state = mf.InitialLaw(dim=1, a="normal").sample(30)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", mf.NTK, centred=True), x, y))
    end = mf.simulate(flow, state, mf.EULER, dt=0.1, n_steps=5, progress=False)
    raw = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", mf.NTK), x, y))
    assert not flow.predict(state).any()
    np.testing.assert_allclose(flow.predict(end), raw.predict(end) - raw.predict(state), atol=1e-14)
    # a run that goes on from another one is centred where that began
    on = mf.simulate(flow, end, mf.EULER, dt=0.1, n_steps=5, progress=False)
    whole = mf.simulate(flow, state, mf.EULER, dt=0.1, n_steps=10, progress=False)
    np.testing.assert_array_equal(on.theta, whole.theta)


def test_a_file_keeps_columns_and_start_and_wants_the_functions_again(h5_path):
    x, y = np.linspace(-1, 1, 5)[:, None], np.ones(5)
    state = BUMP.state(np.random.default_rng(0).normal(size=(6, 2)))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(BUMP, centred=True), x, y))
    recorder = mf.Recorder(h5_path, mf.evenly(3))
    end = mf.simulate(flow, state, mf.RK4, dt=0.1, n_steps=6, observers=[recorder], progress=False)
    run = mf.Trajectory(h5_path)
    np.testing.assert_array_equal(run[-1]["c"], end.theta[:, 1])
    np.testing.assert_array_equal(flow.predict(run[-1]), flow.predict(end))
    assert list(run.to_xarray().column.values) == ["a", "c"]
    found = mf.diagnose(run, ["kernel_drift", "displacement", "risk"], flow=flow)
    assert np.isfinite([found[name][-1] for name in ("kernel_drift", "risk")]).all()
    with pytest.raises(ValueError, match="bump"):
        mf.resume(h5_path, t_end=1.0, progress=False)
    longer = mf.resume(h5_path, t_end=1.0, flow=flow, progress=False)
    assert longer.t == 1.0 and np.abs(flow.predict(longer) - flow.predict(end)).max() > 0

    def other(theta, x):
        return theta[0] * exp(-0.6 * (x[0] - theta[1]) ** 2)

    other.__name__ = "bump"
    unlike = mf.Feature(other, grad_bump, columns=("a", "c"), check=False)
    risk = mf.EmpiricalRisk(mf.Network(unlike, centred=True), x, y)
    with pytest.raises(ValueError, match="feature 'bump'"):
        mf.resume(h5_path, t_end=1.5, flow=mf.GradientFlow(risk), progress=False)


def toy(theta, x):
    w = theta[0]
    return (w * x[0] + w * w * x[0] + sin(exp(0.1 * w))) * (w - 0.4)


def grad_toy(theta, x, out):
    w = theta[0]
    first = w * x[0] + w * w * x[0] + sin(exp(0.1 * w))
    slope = x[0] + 2.0 * w * x[0] + 0.1 * exp(0.1 * w) * cos(exp(0.1 * w))
    out[0] = slope * (w - 0.4) + first


@pytest.mark.ntk
def test_kappa_of_the_toy_model_is_known():
    """TRUTHS.md, section 4: at x = 1.5, w = .4, where f = 0, κ = 1.8986323553 |y|/α. ∇² by differences of
    ∇, to (1e-5)².
    """
    feature = mf.Feature(toy, grad_toy, columns=("w",))
    state = feature.state([[0.4]])
    for alpha, y in ((1.0, 1.0), (100.0, -3.0)):
        network = mf.Network(feature, mf.Scaling(1.0, alpha))
        found = ntk.relative_scale(network, state, [[1.5]], [y])
        assert found.kappa == pytest.approx(1.8986323553 * abs(y) / alpha, rel=1e-8)
    assert found.jacobian == pytest.approx(100.0 * 1.7028143741, rel=1e-10)


@pytest.mark.figure
def test_paths_of_features_are_drawn_as_whole_rows(h5_path):
    from sims import figures

    rng = np.random.default_rng(3)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(BUMP), [[0.1], [0.6]], [1.0, -1.0]))
    state = BUMP.state(rng.normal(size=(5, 2)))
    recorder = mf.Recorder(h5_path, mf.evenly(4))
    mf.simulate(flow, state, mf.HEUN, dt=0.1, n_steps=9, observers=[recorder], progress=False)
    drawn = figures.paths(h5_path)
    texts = {
        text.get_text() for text in drawn.figure.findobj(lambda item: hasattr(item, "get_text"))
    }
    assert drawn.get_xlabel() == "θ₁" and any("Particles at γ = 1" in text for text in texts)
    matched = mf.match(h5_path, mf.Trajectory(h5_path)[0], canonical=False)
    assert matched.distance == pytest.approx(mf.w2(mf.Trajectory(h5_path)[-1], state))
    with pytest.raises(ValueError, match="canonical=False"):
        mf.match(h5_path, h5_path)


def test_what_does_not_fit_is_said_before_any_work():
    x, y = np.zeros((3, 1)) + [[0.1], [0.2], [0.7]], np.ones(3)
    state = BUMP.state([[1.0, 0.5]])

    def minus(theta, x, out):
        grad_bump(theta, x, out)
        out[1] = -out[1]

    def flow(feature, **settings):
        return mf.GradientFlow(mf.EmpiricalRisk(mf.Network(feature), x, y), **settings)

    wrong = mf.Feature(bump, minus, columns=("a", "c"))
    with pytest.raises(
        ValueError, match=r"minus is not the gradient of bump: out\[1\].*θ = .*Feature\("
    ):
        flow(wrong).velocity(state)
    with pytest.raises(ValueError, match="columns a, c of the feature"):
        flow(BUMP).predict(mf.State([[1.0, 0.5, 0.0]]))
    with pytest.raises(ValueError, match="neurons 'tanh'"):
        flow("tanh").predict(state)
    with pytest.raises(ValueError, match='kernels for cpu and cuda: use backend="cpu"'):
        flow(BUMP, backend="torch")
    with pytest.raises(ValueError, match="d = 2 inputs"):
        flow(NEURON).predict(NEURON.state(np.ones((2, 4))))
    with pytest.raises(ValueError, match='subset of ."a", "c".'):
        mf.Network(BUMP, trainable=("w",))
    with pytest.raises(TypeError, match="takes 3 arguments"):
        mf.Feature(grad_bump, grad_bump, columns=("a", "c"))
    with pytest.raises(ValueError, match="names that differ"):
        mf.Feature(bump, grad_bump, columns=("a", "a"))
    with pytest.raises(ValueError, match="write state"):
        _ = state.w
    with pytest.raises(ValueError, match=r"theta must be \(m, 2\)"):
        BUMP.state(np.ones((3, 3)))
    with pytest.raises(ValueError, match="closed kernels are those of neurons"):
        ntk.kernel(mf.Network(BUMP), mf.InitialLaw(dim=1), x)
    with pytest.raises(ValueError, match="mf.optimality searches"):
        mf.optimality(flow(BUMP), state)
    with pytest.raises(ValueError, match="has none"):
        mf.simulate(
            flow(BUMP), state, mf.EULER, dt=0.1, n_steps=1, progress=False,
            observers=[mf.Events()],
        )  # fmt: skip


def test_a_run_that_diverges_names_the_columns_of_its_feature():
    """φ = u² v: with a huge step θ explodes."""

    def phi(theta, x):
        return theta[0] * theta[0] * theta[1] * x[0]

    def grad(theta, x, out):
        out[0] = 2.0 * theta[0] * theta[1] * x[0]
        out[1] = theta[0] * theta[0] * x[0]

    cube = mf.Feature(phi, grad, columns={"u": 1, "v": 1}, dim=1)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(cube), np.ones((2, 1)), np.ones(2)))
    start = cube.state(np.full((3, 2), 2.0))
    with pytest.raises(mf.Diverged, match="(u|v|velocity).* is not finite at step"):
        mf.simulate(flow, start, mf.EULER, dt=1e3, n_steps=99, observers=[mf.StopOnNonFinite()])
