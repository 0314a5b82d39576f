"""mf.ModuleFeature: particles that are whole torch modules, against the engine's own two-layer networks,
torch's derivatives and the theory.
"""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("torch", reason="a particle is a torch module")

import torch
from sweeps import sweep
from torch import nn

import meanfield as mf
import ntk
from meanfield.backends.torch import backend as blocks
from meanfield.backends.torch import functions, gram


class TwoLayers(nn.Module):
    """(1/m) Σ_k a_k tanh(⟨w_k, x⟩ + b_k), K outputs: mf.Network("tanh") at γ = 1."""

    def __init__(self, m, d, K):
        super().__init__()
        self.w, self.a = nn.Linear(d, m), nn.Linear(m, K, bias=False)

    def forward(self, x):
        return self.a(torch.tanh(self.w(x))) / self.a.in_features


def mlp(width=8, d=2, K=1, sigma=nn.Tanh):
    layers = [nn.Linear(d, width), sigma(), nn.Linear(width, width), sigma(), nn.Linear(width, K)]
    return nn.Sequential(*layers)


def data(d=2, K=1, n=9):
    rng = np.random.default_rng(5)
    return rng.normal(size=(n, d)), rng.normal(size=(n, K))


def flow(network, x, y, **settings):
    return mf.GradientFlow(mf.EmpiricalRisk(network, x, y, **settings), backend="torch")


def close(found, expected, allowed=1e-12):
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=allowed * max(1.0, np.abs(expected).max())
    )


@pytest.fixture(scope="module")
def twins():
    """40 neurons as particles, and as one module: (flow, state) of each, K = 2."""
    m, K, (x, y) = 40, 2, data(K=2)
    neurons = mf.State(np.random.default_rng(1).normal(size=(m, K + 3)), outputs=K)
    module = TwoLayers(m, 2, K).double()
    with torch.no_grad():
        module.w.weight.copy_(torch.tensor(neurons.w))
        module.w.bias.copy_(torch.tensor(neurons.b))
        module.a.weight.copy_(torch.tensor(neurons.a.T))
    feature = mf.ModuleFeature(module)
    one = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, y, ridge=0.1))
    return (one, neurons), (flow(mf.Network(feature), x, y, ridge=0.1 / m), feature.state([module]))


def test_a_two_layer_module_is_the_network_of_its_neurons(twins):
    """Predictions, kernel and velocity; a module's metric is the sum over neurons, theirs the mean:
    H_module = H/m, and t_module = m t."""
    (one, neurons), (other, module) = twins
    m, x = neurons.m, one.functional.x
    close(other.predict(module), one.predict(neurons))
    close(other.risk(module), one.risk(neurons))

    velocity = one.velocity(neurons) / m
    at = module.moved(other.velocity(module))
    for name, block in (("a.weight", velocity[:, :2].T), ("w.weight", velocity[:, 2:4])):
        close(at[name][0], block)
    close(at["w.bias"][0], velocity[:, 4])

    parts = ntk.empirical(other.network, module, x, x[:4], parts=True)
    expected = ntk.empirical(one.network, neurons, x, x[:4], parts=True)
    for name, neuron in (("a.weight", "a"), ("w.weight", "w"), ("w.bias", "b")):
        close(parts[name], expected[neuron] / m)
    close(sum(parts.values()), ntk.empirical(other.network, module, x, x[:4]))


def test_a_run_of_it_is_theirs(twins):
    """RK4 on the same vector field, in the time of each: 1e-10."""
    (one, neurons), (other, module) = twins
    m = neurons.m
    end = mf.simulate(one, neurons, mf.RK4, dt=0.05, t_end=2.0, progress=False)
    same = mf.simulate(other, module, mf.RK4, dt=0.05 * m, t_end=2.0 * m, progress=False)
    close(same["w.weight"][0], end.w, 1e-10)
    close(other.predict(same), one.predict(end), 1e-10)


@pytest.mark.ntk
def test_its_relative_scale_is_theirs(twins):
    """κ = ‖f - y‖ ‖∇²f‖/‖∇f‖² of one function of the same parameters: ∇² over all of them at once is
    that of the neurons one by one, which do not meet.
    """
    (one, neurons), (other, module) = twins
    x, y = one.functional.x, one.functional.y
    theirs = ntk.relative_scale(one.network, neurons, x, y)
    found = ntk.relative_scale(other.network, module, x, y)
    # alternating maximisation ends where a step gains 1e-7
    np.testing.assert_allclose(found.kappa, theirs.kappa, rtol=1e-4)
    assert found.upper == np.inf


@pytest.mark.parametrize(
    "activation", sweep(["tanh", "relu", "gelu", "softplus", "erf", "leaky_relu(0.2)"])
)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_torch_backend_is_a_second_engine_for_neurons(activation, outputs):
    """Written apart from the kernels of the CPU: to ten roundings of sums of 70 terms."""
    x, y = data(K=outputs)
    state = mf.State(np.random.default_rng(0).normal(size=(70, outputs + 3)), outputs=outputs)
    network = mf.Network(activation, mf.Scaling(0.7, 1.3), trainable=("a", "w"))
    risk = mf.EmpiricalRisk(network, x, y, ridge=0.1)
    one, other = mf.GradientFlow(risk), mf.GradientFlow(risk, backend="torch")
    for of in ("predict", "velocity", "first_variation", "energy"):
        close(getattr(other, of)(state), getattr(one, of)(state), 1e-12)


def test_the_threads_of_torch_change_no_more_than_rounding():
    """Products and sums of torch may be cut otherwise by two or three threads than by one: 64 terms each in
    the order of another tree, in 12 velocities of a step that does not amplify. The same number of
    threads gives the same bits.
    """
    x, y = data(d=5, n=200)
    modules = mf.Network(mf.ModuleFeature(mlp(64, 5)))
    neurons = mf.InitialLaw(dim=5).sample(300, seed=1)
    before = torch.get_num_threads()
    try:
        for net, start in (
            (modules, modules.feature.sample(2, seed=1)),
            (mf.Network("tanh"), neurons),
        ):
            ends = []
            for threads in (1, 2, 2, 3):
                torch.set_num_threads(threads)
                settings = {"dt": 0.05, "n_steps": 3, "progress": False}
                ends.append(mf.simulate(flow(net, x, y), start, mf.RK4, **settings).theta)
            np.testing.assert_array_equal(ends[1], ends[2])
            for end in ends[1:]:
                close(end, ends[0], 64 * 12 * np.finfo(float).eps)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("method", [mf.EULER_MARUYAMA, mf.HEUN], ids=["noise", "reaction"])
def test_noise_and_reactions_are_those_of_the_cpu(method):
    """The same random numbers and masses: ten steps whose rounding grows by no more than ten."""
    x, y = data()
    risk = mf.EmpiricalRisk(mf.Network("tanh", trainable=("a", "w")), x, y)
    given = {"temperature": 0.1} if method.noisy else {"reaction": 1.0}
    start = mf.InitialLaw(dim=2).sample(70, seed=1)
    ends = [
        mf.simulate(
            mf.GradientFlow(risk, backend=backend, seed=3, **given),
            start, method, dt=0.1, n_steps=10, progress=False,
        )
        for backend in ("cpu", "torch")
    ]  # fmt: skip
    close(ends[1].theta, ends[0].theta)
    close(ends[1].mass, ends[0].mass)


def test_batches_and_fresh_samples_are_those_of_the_cpu():
    """A teacher, too, is computed where the student is."""
    x, y = data()
    network = mf.Network("tanh", trainable=("a", "w"))
    teacher, start = (mf.InitialLaw(dim=2).sample(m, seed=m) for m in (3, 70))
    batches = mf.MiniBatch(mf.EmpiricalRisk(network, x, y), 4, seed=1)
    for functional in (batches, mf.OnlineRisk(network, teacher, batch=3, seed=2)):
        of = [mf.GradientFlow(functional, backend=backend) for backend in ("cpu", "torch")]
        ends = [mf.simulate(f, start, mf.EULER, dt=0.2, n_steps=7, progress=False) for f in of]
        close(ends[1].theta, ends[0].theta)


@pytest.fixture(scope="module")
def ensemble():
    feature = mf.ModuleFeature(mlp(K=2))
    return feature, feature.sample(3, seed=2), *data(K=2)


def test_kernels_are_torch_s_jacobians(ensemble):
    """By layers, by Jacobians, in tiles, and H·v without either: H = (m/s²) J Jᵀ of the ensemble."""
    feature, state, x, _ = ensemble
    network = mf.Network(feature, mf.NTK)
    J = []
    for k in range(3):
        module = feature.module(state, k)
        for i in range(len(x)):
            out = module(torch.tensor(x[i : i + 1]))[0]
            for c in range(2):
                grads = torch.autograd.grad(out[c], [*module.parameters()], retain_graph=True)
                J.append(torch.cat([g.flatten() for g in grads]).numpy())
    J = np.array(J).reshape(3, len(x), 2, -1)
    expected = np.einsum("kicp,kjep->ijce", J, J) / 3
    H = ntk.empirical(network, state, x)
    close(H, expected)
    close(ntk.empirical(network, state, x, outputs="trace"), np.einsum("ijcc->ij", expected))
    close(ntk.empirical(network, state, x, outputs="diagonal"), np.einsum("ijcc->ijc", expected))
    v = np.cos(np.arange(18.0))
    close(ntk.operator(network, state, x) @ v, H.transpose(0, 2, 1, 3).reshape(18, 18) @ v)


def test_no_bound_of_memory_changes_what_is_computed(ensemble, monkeypatch):
    feature, state, x, y = ensemble
    network = mf.Network(feature, mf.NTK, trainable=("0.weight", "4.bias"), centred=True)
    of = flow(network, x, y)
    moved = state.moved(state.theta + 0.1)
    whole = of.predict(moved), of.velocity(moved), ntk.empirical(network, moved, x)
    assert not whole[1][:, 16:-2].any()
    for module in (blocks, gram):
        monkeypatch.setattr(module, "BYTES", 20_000)
    for found, expected in zip(
        (of.predict(moved), of.velocity(moved), ntk.empirical(network, moved, x)),
        whole,
        strict=True,
    ):
        close(found, expected)
    monkeypatch.setattr(gram, "only_linear", lambda backend: False)
    close(ntk.empirical(network, moved, x), whole[2])


def test_float32_is_float64_to_its_rounding(ensemble):
    """θ, x and φ in float32, sums over particles in float64: some units of 2⁻²³."""
    feature, state, x, y = ensemble
    risk = mf.EmpiricalRisk(mf.Network(feature, mf.NTK), x, y)
    exact, narrow = (
        mf.GradientFlow(risk, backend="torch", dtype=dtype) for dtype in ("float64", "float32")
    )
    close(narrow.predict(state), exact.predict(state), 1e-5)
    close(narrow.velocity(state), exact.velocity(state), 1e-5)
    end = mf.simulate(narrow, state, mf.RK4, dt=0.2, n_steps=5, progress=False)
    same = mf.simulate(exact, state, mf.RK4, dt=0.2, n_steps=5, progress=False)
    assert end.theta.dtype == np.float32
    close(end.theta, same.theta, 1e-5)


def test_convolutions_classify_and_start_at_zero(tmp_path):
    """Any layers, softmax, dt="auto", a file: the frozen start makes all classes equally likely."""
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
    feature = mf.ModuleFeature(module, inputs=(1, 4, 4))
    x, classes = data(d=16)[0], np.arange(9) % 3
    of = flow(mf.Network(feature, mf.NTK, centred=True), x, classes, loss="softmax")
    start = feature.sample(4, seed=1)
    recorder = mf.Recorder(tmp_path / "run.h5", mf.evenly(3))
    end = mf.simulate(
        of, start, mf.HEUN, dt="auto", t_end=20.0, observers=[recorder], progress=False
    )
    assert of.risk(start) == pytest.approx(np.log(3), rel=1e-12) and of.risk(end) < 0.9 * np.log(3)
    run = mf.Trajectory(tmp_path / "run.h5")
    np.testing.assert_array_equal(run[-1]["0.weight"], end["0.weight"])
    assert run[-1]["0.weight"].shape == (4, 2, 1, 3, 3)
    np.testing.assert_array_equal(of.predict(run[-1]), of.predict(end))


def test_the_linearised_module_is_the_kernel_flow_to_the_order_of_the_method():
    """THEORY.md, section 3: u(t) = e^{-H_0 t/n} u(0); RK4's error falls by 2⁴ with the step."""
    feature = mf.ModuleFeature(mlp())
    state, (x, y) = feature.sample(3, seed=0), data()
    network = mf.Network(feature, mf.Scaling(0.5, 2.0), centred=True)
    of = mf.GradientFlow(ntk.linearise(network, state).risk(x, y), backend="torch")
    exact = ntk.KernelFlow(ntk.empirical(network, state, x), y).at(8.0).train
    errors = [
        np.abs(
            of.predict(mf.simulate(of, state, mf.RK4, dt=dt, t_end=8.0, progress=False)) - exact
        ).max()
        for dt in (0.4, 0.2)
    ]
    assert 3.7 < np.log2(errors[0] / errors[1]) < 4.3


@pytest.mark.ntk
def test_what_made_a_module_s_run_lazy_is_told_layer_by_layer(h5_path):
    feature = mf.ModuleFeature(mlp(width=30))
    x, y = data()
    of = flow(mf.Network(feature, mf.Scaling(0.5, 10.0), centred=True), x, y)
    observers = [mf.Recorder(h5_path, mf.log_spaced(16))]
    mf.simulate(
        of, feature.sample(2), mf.RK4, dt=0.2, t_end=6.0, observers=observers, progress=False
    )
    found = ntk.laziness(h5_path, flow=of)
    assert found.regime == "lazy" and 0 < found.kappa.kappa < 0.1
    budget = ntk.budget(h5_path, flow=of)
    assert set(budget.blocks) == set(feature.columns.names) and budget.share[-1] > 0.9
    with pytest.raises(ValueError, match="pass flow="):
        ntk.laziness(h5_path)
    with pytest.raises(ValueError, match="Pass flow="):
        mf.resume(h5_path, t_end=7.0, progress=False)
    mf.resume(h5_path, t_end=6.4, flow=of, progress=False)
    assert mf.Trajectory(h5_path).times[-1] == pytest.approx(6.4)


def test_the_diagonal_network_as_a_module_is_the_one_by_a_formula():
    """TRUTHS.md 3.9: β = u² - v² from u = v = α keeps u v = α², so β = 2α² sinh of one vector in the
    span of the data: here for one sample, where it is a root of one equation.
    """

    class Diagonal(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.v = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x @ (self.u**2 - self.v**2)

    X, y, alpha = np.array([[0.3, -0.7, 1.1, 0.5]]), np.array([0.8]), 0.2
    feature = mf.ModuleFeature(Diagonal(), inputs=(4,))
    of = flow(mf.Network(feature), X, y)
    start = feature.state(np.full((1, 8), alpha))
    end = mf.simulate(of, start, mf.RK4, dt=0.02, t_end=12.0, progress=False)
    low, high = 0.0, 60.0
    for _ in range(200):
        nu = 0.5 * (low + high)
        low, high = (nu, high) if X[0] @ (2 * alpha**2 * np.sinh(X[0] * nu)) < y[0] else (low, nu)
    close((end["u"] ** 2 - end["v"] ** 2)[0], 2 * alpha**2 * np.sinh(X[0] * nu), 1e-6)


def test_module_k_of_a_sample_depends_on_seed_and_k_only_and_comes_back_as_a_module():
    feature = mf.ModuleFeature(mlp())
    before = torch.random.get_rng_state()
    wide, narrow = feature.sample(5, seed=7), feature.sample(2, seed=7)
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(wide.theta[:2], narrow.theta)
    assert np.abs(wide["0.weight"]).max() <= 1 / np.sqrt(
        2
    )  # torch's own law: uniform on ±1/√fan-in
    assert wide["2.weight"].shape == (5, 8, 8)
    modules = [feature.module(wide, k) for k in range(5)]
    np.testing.assert_array_equal(feature.state(modules).theta, wide.theta)
    x = torch.tensor(data()[0])
    mean = torch.stack([module(x) for module in modules]).mean(dim=0).detach().numpy()
    close(flow(mf.Network(feature), *data()).predict(wide), mean)


def test_what_is_no_function_of_theta_and_one_input_is_refused():
    for layer, why in (
        (nn.BatchNorm1d(2), "depends on the others of its batch"),
        (nn.Dropout(0.5), "random"),
    ):
        with pytest.raises(ValueError, match=f"{type(layer).__name__}.*{why}"):
            mf.ModuleFeature(nn.Sequential(nn.Linear(2, 2), layer))

    class Centring(nn.Linear):
        def forward(self, x):
            return super().forward(x - x.mean(dim=0))

    with pytest.raises(ValueError, match="a function of one x"):
        mf.ModuleFeature(Centring(2, 1))
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        mf.ModuleFeature("tanh")
    with pytest.raises(ValueError, match="inputs="):
        mf.ModuleFeature(nn.Conv2d(1, 2, 3))
    feature, (x, y) = mf.ModuleFeature(mlp()), data()
    with pytest.raises(ValueError, match=r'by torch only: use backend="torch"'):
        mf.GradientFlow(mf.EmpiricalRisk(mf.Network(feature), x, y))
    assert mf.GradientFlow(mf.EmpiricalRisk(mf.Network(feature), x, y), backend="auto").backend
    teacher = mf.InitialLaw(dim=2).sample(2)
    gaussian = mf.PopulationRisk(mf.Network("erf", trainable=("a", "w")), teacher)
    with pytest.raises(ValueError, match="kernels for cpu and cuda"):
        mf.GradientFlow(gaussian, backend="torch")
    with pytest.raises(ValueError, match="other parameters"):
        feature.state([mlp(width=9)])
    with pytest.raises(ValueError, match="no activation 'mine'"):
        mine = mf.Activation("mine", lambda z: z, lambda z: 1.0)
        flow(mf.Network(mine), x, y).predict(mf.InitialLaw(dim=2).sample(4))
    assert mf.ModuleFeature(mlp(sigma=nn.ReLU)).smooth is False


@pytest.mark.ntk
@pytest.mark.parametrize(("gamma", "slope"), [(1.0, 0.0), (0.5, -0.5)])
def test_ensembles_of_modules_move_as_m_to_the_gamma_minus_1(gamma, slope):
    """TRUTHS.md, section 2, for particles that are networks: RMS displacement ~ 1/s at fixed time."""
    feature = mf.ModuleFeature(mlp(width=6, d=1))
    x = np.linspace(-1, 1, 8)[:, None]
    widths, moved = [128, 512, 2048], []
    for m in widths:
        start = feature.sample(m, seed=0)
        of = flow(mf.Network(feature, mf.Scaling(gamma), centred=True), x, np.sin(3 * x[:, 0]))
        end = mf.simulate(of, start, mf.RK4, dt=0.5, t_end=4.0, progress=False)
        moved.append(mf.displacement(start, end))
    assert abs(np.polyfit(np.log(widths), np.log(moved), 1)[0] - slope) < 0.03


@pytest.mark.slow
def test_the_kernel_of_the_post_s_network_changes_with_alpha_as_the_post_says():
    """TRUTHS.md, section 5: two hidden layers of 100 ReLU, two points, rate 3e-4 on MSE/α² for 4000
    steps (dt = 2·rate, for ½ MSE; s = α), mean of five seeds: within a factor 1.4, the last 1.8.
    """
    x, y = np.array([[-3.0], [0.5]]), np.array([2.0, -1.0])
    feature = mf.ModuleFeature(mlp(100, 1, 1, nn.ReLU))
    for alpha, expected, factor in (
        (0.01, 108.5, 1.4),
        (0.0681, 26.6, 1.4),
        (0.464, 2.63, 1.4),
        (3.16, 0.101, 1.8),
    ):
        network = mf.Network(feature, mf.Scaling(1.0, alpha), centred=True)
        of, drifts = flow(network, x, y), []
        for seed in range(5):
            start = feature.sample(1, seed)
            end = mf.simulate(of, start, mf.EULER, dt=6e-4, n_steps=4000, progress=False)
            H0, H = (ntk.empirical(network, state, x) for state in (start, end))
            drifts.append(ntk.drift(H0, H))
        assert 1 / factor < np.mean(drifts) / expected < factor


@pytest.mark.slow
@pytest.mark.parametrize(("width", "least", "most"), [(100, 0.035, 0.062), (1000, 0.0048, 0.0068)])
def test_the_weights_of_the_post_s_network_budge_as_the_post_says(width, least, most):
    """TRUTHS.md, section 5: ‖w(n) - w_0‖/‖w_0‖ over all parameters, rate 1e-3 on MSE, 1000 steps."""
    x, y = np.array([[-3.0], [0.5]]), np.array([2.0, -1.0])
    feature = mf.ModuleFeature(mlp(width, 1, 1, nn.ReLU))
    start = feature.sample(1)
    end = mf.simulate(
        flow(mf.Network(feature), x, y), start, mf.EULER, dt=2e-3, n_steps=1000, progress=False
    )
    assert least < mf.displacement(start, end) / np.linalg.norm(start.theta) < most


def test_a_module_is_copied_to_a_device_once_and_not_between_threads():
    """A prediction makes no copy of the module but the first of its thread and dtype, and none of
    them outlives the feature. Predictions of many threads at once are those of one alone.
    """
    feature = mf.ModuleFeature(nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)))
    x = np.cos(np.arange(12.0)).reshape(6, 2)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(feature), x, x[:, 0]), backend="torch")
    states = [feature.sample(3, seed=seed) for seed in range(4)]
    alone = [flow.predict(state) for state in states]
    made = functions.of_module(feature, torch.float64, "cpu")
    assert functions.of_module(feature, torch.float64, "cpu") is made
    assert functions.of_module(feature, torch.float32, "cpu") is not made
    with ThreadPoolExecutor(4) as pool:
        other = pool.submit(functions.of_module, feature, torch.float64, "cpu").result()
        found = list(pool.map(flow.predict, states * 25))
    assert other[1] is not made[1]
    for k, values in enumerate(found):
        np.testing.assert_array_equal(values, alone[k % 4])
    kept = weakref.ref(made[1])
    del feature, flow, made, other
    gc.collect()
    assert kept() is None
