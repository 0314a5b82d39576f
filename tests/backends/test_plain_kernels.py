"""Kernel files run as plain Python against what is compiled from them, and the loops that are
written out.
"""

import ast
import functools

import numpy as np
import pair_formulas
import pytest
from small_problem import Problem

import meanfield as mf
from meanfield.backends import compiler, kernel_files, make, plain, unroll
from meanfield.backends.cpu import elementwise, losses
from meanfield.backends.cpu.sharing import run
from meanfield.formulas.losses import TABLE


@pytest.fixture
def both(monkeypatch):
    """A function of no arguments → what it gives compiled, and in plain Python."""

    def run(function):
        compiled = function()
        with monkeypatch.context() as patch:
            patch.setattr(compiler, "kernels", plain.kernels)
            return compiled, function()

    return run


def check(both, function, size, terms, dtype="float64"):
    """Two orders of one sum of `terms` numbers whose absolute values add to `size` differ by
    `terms` roundings of `size` at most; exp, tanh, … of elementary/ are within 4 units of Python's.
    """
    for found, expected in zip(*both(function), strict=True):
        found, expected = np.asarray(found, float), np.asarray(expected, float)
        assert np.abs(expected).max() > 0 and np.abs(expected).max() <= size
        allowed = (terms + 8) * np.finfo(dtype).eps * size
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize(
    ("activation", "d", "K", "dtype"),
    [
        ("tanh", 1, 1, "float32"),
        ("tanh", 3, 1, "float64"),
        ("relu", 2, 1, "float32"),
        ("leaky_relu(0.2)", 5, 1, "float64"),
        ("tanh", 2, 3, "float64"),
        ("tanh", 12, 1, "float32"),
        ("tanh", 12, 2, "float64"),
    ],
)
def test_the_passes_of_a_step_are_their_files_in_plain_python(both, activation, d, K, dtype):
    """Fused, kinked and blocked kernels; m = 67 and n = 21 leave some particles and samples over.
    |a|, |w|, |x| and r are normal: below 5, so a term is below 5·5·(5·5·d + 5).
    """

    def step():
        p = Problem(np.random.default_rng(3), activation, d=d, K=K, m=67, n=21, dtype=dtype)
        return p.mean_feature(), p.pull_back(0.2), p.push_forward()

    check(both, step, 25 * (25 * d + 5) * 67, 67, dtype)


@pytest.mark.parametrize(("d", "K", "activation"), [(2, 1, "relu"), (3, 1, "erf"), (3, 2, "relu"), (13, 1, "erf")])  # fmt: skip
def test_sums_over_pairs_of_neurons_are_their_files_in_plain_python(both, activation, d, K):
    """Of few and of many dimensions. Amplitudes and |w| below 5: a term below 5·5·d²."""
    rng = np.random.default_rng(d)
    theta, factor = rng.normal(size=(20, K + d + 1)), rng.uniform(0.5, 1.5, 20)

    def act():
        backend = make("cpu", mf.Network(activation, trainable=("a", "w")), d, K, "float64")
        pairs = backend.gaussian_pairs
        cloud = pairs.cloud(backend.upload(theta), factor)
        return pairs.act(cloud, [cloud], 0.1)

    check(both, act, 125 * d * d * 20, 20 * d)


@pytest.mark.parametrize(
    ("d", "interaction", "self_pairs"),
    [(1, "GAUSSIAN", True), (3, "GAUSSIAN", False), (26, "GAUSSIAN", True), (26, "GAUSSIAN", False), (2, None, True)],
)  # fmt: skip
def test_energies_of_pairs_are_their_files_in_plain_python(both, d, interaction, self_pairs):
    """Particles in lanes and in rows, and without an interaction. Coordinates below 4."""
    theta = np.random.default_rng(d).normal(size=(35, d))

    def energy():
        backend = make("cpu", None, d, 0, "float64")
        used = interaction and getattr(pair_formulas, interaction)
        pairs = backend.pair_energy(pair_formulas.WELL, used, self_pairs)
        weight = backend.weights(np.full(35, 1 / 35))
        velocity = pairs.velocity(backend.upload(theta), weight)
        return (velocity, *pairs.values(backend.upload(theta), weight)[: 2 if used else 1])

    check(both, energy, 1e3 * d, 35 * d)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("loss", TABLE)
def test_losses_are_their_files_in_plain_python(both, loss, weighted):
    """Predictions below 5, labels 0 and 1: ℓ and ℓ' below 36."""
    rng = np.random.default_rng(0)
    F, weights = rng.normal(size=(9, 3)), rng.uniform(size=9) if weighted else None

    def values():
        chosen = mf.formulas.losses.get(loss)
        y = rng.integers(0, 3, 9) if chosen.coupled else np.where(F > 0.5, 1.0, -1.0)
        kernels = losses.Kernels(chosen)
        return kernels.total(F, y, 1.5, weights), kernels.slopes(F, y, 1.5, 0.5, weights)

    state = rng.bit_generator.state

    def again():
        rng.bit_generator.state = state
        return values()

    check(both, again, 36 * 27, 27)


def test_matrices_are_their_files_in_plain_python(both):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 7))
    sigma = mf.formulas.activations.get("tanh")
    check(both, lambda: elementwise.values_and_slopes(sigma, z), 1.0, 8)

    def dual(c, p1, g1, p2, g2):
        return c * g1 * g2, p1 * p2

    def layers():
        made = compiler.kernels("ntk.infinite.kernels.passes", "float64", {"dual": dual})
        value, slope = np.empty((2, 6, 5))
        given = generator(1).uniform(0.5, 1.5, (4, 6))
        c = generator(2).normal(size=(6, 5))
        run(made.one_layer, 6, 1, c, *given[:2], *given[2:, :5], value, slope)
        half = np.full(2, 0.5)
        twice = [np.stack([row] * 2) for row in given]
        twice[2:] = [row[:, :5].copy() for row in twice[2:]]
        theta = c.copy()
        run(made.all_layers, 6, 1, c, theta, False, half, half, *twice)
        return value, slope, c, theta

    check(both, layers, 50, 8)


def generator(seed):
    return np.random.default_rng(seed)


def written(text, **constants):
    return ast.unparse(unroll.write_out(ast.parse(text), constants))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("for j in each(D):\n    a[j] = j + 1", "a[0] = 1\na[1] = 2"),
        ("w = [x[j] for j in each(D)]\ny = w[1]", "w_0 = x[0]\nw_1 = x[1]\ny = w_1"),
        ("w = [[x[j, u] for j in each(D)] for u in each(1)]\ny = w[0][1]", "w_0_0 = x[0, 0]\nw_0_1 = x[1, 0]\ny = w_0_1"),
        ("y = total(b, *(w(j) for j in each(D)))", "y = b + w(0) + w(1)"),
        ("y = in_pairs(*(w[j] for j in each(2 * D)))", "y = w[0] + w[1] + (w[2] + w[3])"),
        ("y = f(D, key=D)", "y = f(2, key=2)"),
        ("for j in each(1, D):\n    y = j", "y = 1"),
        ("for j in each((4, D)):\n    y = j", "y = 4\ny = 2"),
        ("if D == 2 and more:\n    y = 1\nelse:\n    y = 0", "if more:\n    y = 1\nelse:\n    y = 0"),
        ("if D > 2:\n    y = 1\nelif more:\n    y = 0", "if more:\n    y = 0"),
        ("y = a if D == 3 or D == 1 else b", "y = b"),
        ("for j in range(D):\n    y[j] = D", "for j in range(2):\n    y[j] = 2"),
        ("def f(a, c: each(D), b):\n    return c[0] + c[1]", "def f(a, c_0, c_1, b):\n    return c_0 + c_1"),
    ],
)  # fmt: skip
def test_a_loop_is_written_out(text, expected):
    assert written(text, D=2) == expected


def test_a_list_of_names_has_no_item_that_is_known_only_later():
    with pytest.raises(AssertionError, match="of which turn"):
        written("w = [x[j] for j in each(2)]\nfor j in range(2):\n    y = w[j]")


def test_two_functions_of_one_name_are_not_put_into_one_text(tmp_path, monkeypatch):
    """Files may both import a third."""
    files = {
        "first": "from a.kernels.second import f\nfrom a.kernels.third import g\n",
        "second": "from a.kernels.third import g\ndef f(): return g()\ndef _one(): return 1\n",
        "third": "def g(): return _two()\ndef _two(): return 2\n",
        "wrong": "from a.kernels.second import f\ndef _one(): return f()\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(kernel_files, "path", lambda module: tmp_path / module.split(".")[-1])
    assert "def _two" in kernel_files.text("a.kernels.first")
    with pytest.raises(
        ValueError, match=r"second and a\.kernels\.wrong each define a function _one"
    ):
        kernel_files.text("a.kernels.wrong")


def test_the_text_of_a_kernel_file_keeps_its_lines():
    """So an error of the compiler names the line of the file."""
    file = "meanfield.backends.cpu.kernels.blocked"
    lines = kernel_files.path(file).read_text().splitlines()
    for number, line in enumerate(kernel_files.text(file).splitlines()[: len(lines)]):
        assert line in (lines[number], "# " + lines[number])


def test_a_text_is_kept_and_made_again_where_it_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler, "folder", lambda: tmp_path)
    file = "meanfield.backends.cpu.kernels.fused"
    constants = {"D": 2, "VECTORS": 1, "P": 2, "KEEPS": False}
    asked = functools.partial(compiler._text.__wrapped__, file, **constants)
    text = kernel_files.text
    made = text(file, **constants)
    assert asked() == made
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()

    monkeypatch.setattr(kernel_files, "text", None)
    assert asked() == made
    monkeypatch.setattr(kernel_files, "text", text)
    kept.write_bytes(whole[:-100])
    assert asked() == made
    assert kept.read_bytes() == whole


def test_what_a_text_is_made_of_is_its_file_and_all_that_this_imports(tmp_path, monkeypatch):
    """Also what is imported of others by what it imports."""
    monkeypatch.setattr(kernel_files, "path", lambda name: tmp_path / name.rpartition(".")[2])
    chain = {"first": "meanfield.a.kernels.second", "second": "meanfield.a.third", "third": ""}
    found = set()
    for edited in (None, *chain):
        for name, other in chain.items():
            line = f"from {other} import it\n" if other else ""
            (tmp_path / name).write_text(line + ("# edited\n" if name == edited else ""))
        kernel_files.read.cache_clear()
        found.add(kernel_files.sources("meanfield.a.kernels.first"))
    assert len(found) == 4
    kernel_files.read.cache_clear()


def test_a_text_of_an_edit_that_is_taken_back_is_not_kept_for_what_was_there_before(
    tmp_path, monkeypatch
):
    """A process that began before the edit asks for other constants after it."""
    module, folder = "meanfield.backends.cpu.kernels.edited", tmp_path / "cache"
    file = tmp_path / "edited.py"
    folder.mkdir()
    monkeypatch.setattr(compiler, "folder", lambda: folder)
    monkeypatch.setattr(kernel_files, "path", lambda name: file)
    caches = kernel_files.text, kernel_files._functions, kernel_files.read
    before, edited = "VALUE = D\n", "VALUE = -D\n"
    for content, D in ((before, 2), (edited, 3)):
        file.write_text(content)
        compiler._text.__wrapped__(module, D=D)

    file.write_text(before)
    for cache in caches:  # as in another process
        cache.cache_clear()
    assert compiler._text.__wrapped__(module, D=3).startswith("VALUE = 3\n")
    for cache in caches:
        cache.cache_clear()
