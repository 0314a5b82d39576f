"""mf.deep: fully connected networks in three parametrisations, against two-layer networks of the engine,
plain torch layers and the exponents of Yang and Hu (2021).
"""

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="a deep network is a torch module")

import torch
from torch import nn

import meanfield as mf
import ntk
from meanfield.backends.torch import gram

X = np.random.default_rng(3).normal(size=(6, 2))
Y = np.random.default_rng(4).normal(size=6)
NAMES = ("ntk", "mean-field", "mup")


def flow(feature, x=X, y=Y, **settings):
    return mf.GradientFlow(mf.EmpiricalRisk(mf.Network(feature, **settings), x, y), backend="torch")


def close(found, expected, allowed=1e-12):
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed * scale)


def slope(widths, values):
    return np.polyfit(np.log(widths), np.log(values), 1)[0]


@pytest.mark.parametrize(("name", "gamma"), [("ntk", 0.5), ("mean-field", 1.0), ("mup", 1.0)])
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_one_hidden_layer_is_the_network_of_its_neurons(name, gamma, bias):
    """Same weights: predictions, velocity of W = factor · w and each part of the kernel, in the same
    flow time. THEORY.md, section 1: mean-field is γ = 1, NTK γ = 1/2.
    """
    m = 12
    feature = mf.deep(2, m, activation="tanh", parametrisation=name, b_std=bias, normalise=False)
    module = feature.sample(1, seed=2)
    first, last = (f"{layer}.weight" for layer in ("layer1", "readout"))
    factor = {block.name: block.factor for block in feature.blocks}
    # of the readout, factor · w = a m^(-γ)
    a = module[last][0].T * factor[last] * m**gamma
    b = module["layer1.bias"][0] * factor["layer1.bias"] if bias else np.zeros(m)
    w = module[first][0] * factor[first]
    neurons = mf.State(np.column_stack([a, w, b]))
    trainable = ("a", "w", "b") if bias else ("a", "w")
    network = mf.Network("tanh", mf.Scaling(gamma), trainable=trainable)
    theirs = mf.GradientFlow(mf.EmpiricalRisk(network, X, Y))
    ours = flow(feature)
    close(ours.predict(module), theirs.predict(neurons))

    velocity, expected = module.moved(ours.velocity(module)), theirs.velocity(neurons)
    close(velocity[first][0] * factor[first], expected[:, 1:3])
    close(velocity[last][0, 0] * factor[last] * m**gamma, expected[:, 0])
    if bias:
        close(velocity["layer1.bias"][0] * factor["layer1.bias"], expected[:, 3])

    parts = ntk.empirical(ours.network, module, X, parts=True)
    known = ntk.empirical(network, neurons, X, parts=True)
    for block, column in ((last, "a"), (first, "w"), ("layer1.bias", "b")):
        if block in parts:
            close(parts[block], known[column])


@pytest.mark.parametrize(("name", "power"), [("ntk", 0.0), ("mean-field", -2.0), ("mup", -1.0)])
def test_the_variance_of_the_function_at_the_start_has_its_power_of_the_width(name, power):
    """Linear layers: E f_0² = |x|² Π (factor · std)² · fan-in over the layers but the first, exactly:
    n^0, n^(-1) and, with two hidden layers of 1/n each, n^(-2). By 400 networks of width 16: f is a sum
    of products, E f⁴ <= 9 E f² ² or so, so within 4 √(8/400).
    """

    def variance(n):
        made = mf.deep(2, (n, n), activation="linear", parametrisation=name)
        sizes = [(block.factor * block.std) ** 2 * block.shape[1] for block in made.blocks[1:]]
        return math.prod(sizes) * made.blocks[0].factor ** 2 * made.blocks[0].std ** 2

    assert slope([16, 1024], [variance(16), variance(1024)]) == pytest.approx(power, abs=1e-12)
    feature = mf.deep(2, (16, 16), activation="linear", parametrisation=name)
    drawn = feature.sample(400, seed=1)
    f0 = np.array([_forward(feature, drawn, k, X[:1])[-1].item() for k in range(400)])
    expected = variance(16) * np.square(X[0]).sum()
    assert np.mean(f0**2) / expected == pytest.approx(1.0, abs=4 * math.sqrt(8 / 400))


def _forward(feature, state, k, x):
    """h of every layer, the last of them f."""
    module, found = feature.module(state, k), []
    for layer in module:
        if hasattr(layer, "factors"):
            layer.register_forward_hook(lambda _, __, out: found.append(out))
    with torch.no_grad():
        module(torch.from_numpy(x))
    return found


@pytest.mark.ntk
@pytest.mark.parametrize(
    ("name", "powers"),
    [("ntk", (-0.5, -0.5, 0.0)), ("mean-field", (-0.5, 0.0, 0.0)), ("mup", (0.0, 0.0, 0.0))],
)
def test_a_step_moves_the_features_of_each_layer_by_its_power_of_the_width(name, powers):
    """RMS change of h¹, h² and f by one small step where f - y = -1. Yang and Hu (2021): maximal update
    moves all by O(1), the NTK features by n^(-1/2). Mean-field with centred weights: δ² ~ 1/n, so Δh² ~ 1;
    δ¹ ~ n^(-3/2) times the rate n of the first layer. Twelve seeds: the slope between 32 and 512 has a
    standard error of .04 at most.
    """
    widths, seeds, x = (32, 128, 512), range(12), X[:1]
    changes = np.zeros((3, len(widths)))
    for place, n in enumerate(widths):
        feature = mf.deep(2, (n, n), activation="tanh", parametrisation=name)
        for seed in seeds:
            start = feature.sample(1, seed=seed)
            before = _forward(feature, start, 0, x)
            problem = flow(feature, x, before[-1].numpy() + 1.0)
            end = feature.state(start.theta + 0.01 * problem.velocity(start))
            pairs = zip(_forward(feature, end, 0, x), before, strict=True)
            changes[:, place] += [((u - v) ** 2).mean().item() for u, v in pairs]
    found = [slope(widths, np.sqrt(change)) for change in changes]
    assert found == pytest.approx(powers, abs=0.12)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_how_to_train_the_same_network_of_plain_layers(name):
    """W = factor · w with the rate factor² of each block: five steps by torch.optim, to rounding."""
    feature = mf.deep(
        2, (5, 4), activation="relu", parametrisation=name, b_std=0.5, readout_b_std=0.3
    )
    start = feature.sample(1, seed=0)
    end = mf.simulate(flow(feature), start, mf.EULER, dt=0.05, n_steps=5, progress=False)
    plain = nn.Sequential(
        nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)
    ).double()
    groups = []
    for block, values in zip(feature.blocks, plain.parameters(), strict=True):
        values.data = block.factor * torch.from_numpy(start[block.name][0].copy())
        groups.append({"params": [values], "lr": 0.05 * block.factor**2})
    descent = torch.optim.SGD(groups)
    for _ in range(5):
        descent.zero_grad()
        ((plain(torch.from_numpy(X))[:, 0] - torch.from_numpy(Y)) ** 2).mean().div(2).backward()
        descent.step()
    for block, values in zip(feature.blocks, plain.parameters(), strict=True):
        close(end[block.name][0] * block.factor, values.detach().numpy())
    table = feature.table().splitlines()
    assert len(table) == 2 + len(feature.blocks) and table[0] == repr(feature)
    assert table[-2].split()[0] == "readout.weight" and name in table[0]


@pytest.mark.parametrize("name", NAMES)
def test_published_exponents_are_these_up_to_the_symmetry(name):
    """Yang and Hu (2021): (a, b, c) and (a + θ, b - θ, c - 2θ) train alike. Published: NTK a = 0, ½, ½,
    b = c = 0; maximal update a = -½, 0, ½, b = ½, c = 0; integrable (Hajjar, Chizat and Giraud 2021)
    a = 0, 1, 1, b = 0 with c = -1, -2, -1.
    """
    published = {
        "ntk": [(0, 0, 0), (0.5, 0, 0), (0.5, 0, 0)],
        "mup": [(-0.5, 0.5, 0), (0, 0.5, 0), (0.5, 0.5, 0)],
        "mean-field": [(0, 0, -1), (1, 0, -2), (1, 0, -1)],
    }
    feature = mf.deep(2, (8, 8), parametrisation=name)
    for block, (a, b, c) in zip(feature.blocks, published[name], strict=True):
        assert block.exponents == (a + c / 2, b - c / 2)


def test_the_starts_have_their_laws():
    """torch: |W| <= n^(-1/2) and variance 1/(3n), of b too, those of nn.Linear. LeCun: variance 1/n, b = 0.
    Entries of 40 networks of 20 · 30 weights, standard error of a variance <= √(2/24000) = .9 %.
    """
    for name, share in (("torch", 1 / 3), ("lecun", 1.0)):
        feature = mf.deep(30, 20, initialisation=name, b_std=1.0, readout_b_std=1.0)
        state = feature.sample(40, seed=5)
        factor = {block.name: block.factor for block in feature.blocks}
        W = state["layer1.weight"] * factor["layer1.weight"]
        assert np.var(W) * 30 == pytest.approx(share, rel=0.04)
        b = state["layer1.bias"] * factor["layer1.bias"]
        readout = np.abs(state["readout.weight"]).max() * factor["readout.weight"]
        if name == "torch":
            assert 0.99 < np.abs(W).max() * math.sqrt(30) <= 1
            assert 0.95 < np.abs(b).max() * math.sqrt(30) <= 1
            assert 0.95 < readout * math.sqrt(20) <= 1
        else:
            assert not b.any()
    # c = 2 of relu: He's variance 2/n
    he = mf.deep(30, (20, 20), initialisation="lecun", normalise=True).blocks[1]
    assert (he.factor * he.std) ** 2 == pytest.approx(2 / 20, rel=1e-12)


def test_its_kernel_forms_no_jacobian_and_is_that_of_torch():
    """Layers with factors are linear layers: blocks by a and δ, held against torch's Jacobian. K = 2."""
    feature = mf.deep(
        2, (5, 4), 2, activation="gelu", parametrisation="mup", b_std=0.7, readout_b_std=0.4
    )
    state = feature.sample(2, seed=0)
    problem = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(feature), X, np.stack([Y, Y], axis=1)), backend="torch"
    )
    backend = problem.on_device(state).backend
    assert gram.only_linear(backend)
    parts = ntk.empirical(problem.network, state, X, parts=True)
    expected = dict.fromkeys(parts, 0.0)
    for row in state.theta:
        J = gram._jacobian(backend, torch.from_numpy(row.copy()), torch.from_numpy(X))
        for name, block in J.items():
            expected[name] = expected[name] + 0.5 * torch.einsum("icp,jep->ijce", block, block)
    for name, part in parts.items():
        close(part, expected[name].numpy())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widths": ()}, "one at least"),
        ({"widths": (4, 0)}, "a width must be an integer >= 1; got 0"),
        ({"dim": 0}, "dim must be an integer >= 1"),
        ({"parametrisation": "mu"}, "must be one of 'ntk', 'mean-field', 'mup'; got 'mu'"),
        ({"initialisation": "he"}, "initialisation must be one of 'standard', 'lecun', 'torch'"),
        ({"activation": "tanhh"}, "unknown activation"),
        ({"activation": mf.Activation("mine", abs, math.copysign)}, "mf.ModuleFeature a module"),
        ({"w_std": -1.0}, "w_std must be a finite number >= 0"),
        ({"b_std": math.inf}, "b_std must be"),
    ],
)
def test_what_has_no_sense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        mf.deep(**{"dim": 2, "widths": (4, 4), **given})
    for widths in (None, "64", 8.0):
        with pytest.raises(TypeError, match="widths are integers"):
            mf.deep(2, widths)
    with pytest.raises(TypeError, match="normalise must be True or False"):
        mf.deep(2, 4, normalise=1)


def test_only_the_ntk_with_the_standard_start_has_the_limit_of_the_recursion():
    assert mf.deep(2, (8, 8, 8), w_std=1.2).limit["depth"] == 3
    for given in ({"parametrisation": "mup"}, {"initialisation": "torch"}):
        with pytest.raises(ValueError, match=r"ntk\.deep is the limit of"):
            _ = mf.deep(2, 8, **given).limit


@pytest.mark.parametrize(
    ("given", "vanishes"),
    [({"activation": "tanh"}, True), ({"activation": "sigmoid"}, False), ({"b_std": 1.0}, False)],
)
def test_the_table_says_which_velocities_vanish_in_the_mean_field(given, vanishes):
    """Three hidden layers of mean-field weights: h² ~ n^(-1/2), δ³ ~ 1/n, so the parts of layer3.weight and of the
    readout are ~ mean σ(h²)² and mean σ(h³)²: 1/n where σ(0) = 0, O(1) else; those before them vanish at
    1/n or faster. Between n = 16 and 256 that is a factor 16, and the mean of 4 is right to a factor 3.
    """
    size = []
    for n in (16, 256):
        feature = mf.deep(2, (n, n, n), parametrisation="mean-field", **given)
        starts = [feature.sample(1, seed=seed) for seed in range(4)]
        parts = [ntk.empirical(mf.Network(feature), start, X[:1], parts=True) for start in starts]
        size.append({name: np.mean([part[name] for part in parts]) for name in parts[0]})
    for name in ("layer1.weight", "layer2.weight", "layer3.weight", "readout.weight"):
        gone = vanishes or name < "layer3"
        assert (size[1][name] < size[0][name] / 5) == gone, name
    told = feature.table()
    assert "take mup" in told
    assert ("f_0 and its velocity vanish" in told) == vanishes
    assert ("the velocities of all layers but the last two vanish" in told) != vanishes


SETTINGS = [
    {"activation": "tanh", "parametrisation": "mup", "b_std": 0.3, "w_std": 1.5},
    {"activation": mf.leaky_relu(0.2), "initialisation": "torch", "b_std": 1.0, "readout_b_std": 1.0},
    {"activation": "gelu", "initialisation": "lecun", "normalise": True, "readout_w_std": 0.5},
]  # fmt: skip


def recorded(path, feature, t_end=0.4, exists="error"):
    """Two networks, their output at the start taken off."""
    of = flow(feature, y=np.stack([Y, Y**2], axis=1), scaling=mf.NTK, centred=True)
    mf.simulate(
        of, feature.sample(2, seed=3), mf.RK4, dt=0.1, t_end=t_end,
        observers=[mf.Recorder(path, mf.evenly(2), exists)], progress=False,
    )  # fmt: skip
    return of


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: str(settings["activation"]))
def test_a_file_makes_the_network_again(h5_path, settings):
    """Network, flow and its bits without the feature in hand; it goes on and is measured likewise."""
    feature = mf.deep(2, (5, 3), outputs=2, **settings)
    of = recorded(h5_path, feature)
    with mf.Trajectory(h5_path) as run:
        random = torch.random.get_rng_state()
        again, last = run.network.feature, run[-1]
        assert torch.equal(torch.random.get_rng_state(), random)
        assert again.to_dict() == feature.to_dict() and again.table() == feature.table()
        assert repr(run.flow()) == repr(of)
        x = np.random.default_rng(5).normal(size=(4, 2))
        np.testing.assert_array_equal(run.flow().predict(last, x), of.predict(last, x))
        np.testing.assert_array_equal(again.sample(2, seed=3).theta, run.start.theta)
        with pytest.raises(ValueError, match="by torch only"):
            run.flow("cpu")
        with pytest.raises(ValueError, match="used the feature 'deep'; got deep"):
            mf.Network.from_dict(run.config["network"], mf.deep(2, (5, 4), outputs=2, **settings))
    end = mf.resume(h5_path, t_end=0.8, progress=False)
    whole = mf.simulate(of, feature.sample(2, seed=3), mf.RK4, dt=0.1, t_end=0.8, progress=False)
    np.testing.assert_array_equal(end.theta, whole.theta)
    drift = mf.diagnose(h5_path, ["kernel_drift"])["kernel_drift"].values
    assert drift[-1] > 0


def test_files_that_call_a_deep_network_sequential_are_read_and_go_on(h5_path):
    """As files did at first, after the class of the torch module."""
    old, feature = (mf.deep(2, (5,), outputs=2) for _ in range(2))
    old.name = "Sequential"
    recorded(h5_path, old)
    with mf.Trajectory(h5_path) as run:
        assert run.config["network"]["activation"] == "Sequential"
        assert run.network.feature.name == "deep"
        assert mf.Network.from_dict(run.config["network"], feature).feature is feature
    recorded(h5_path, feature, t_end=0.8, exists="resume")
    assert mf.Trajectory(h5_path).times[-1] == pytest.approx(0.8)
