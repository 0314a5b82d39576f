"""The kernel of a finite network: against autograd, without the matrix, against its infinite width,
and two kernels compared.
"""

import time
import tracemalloc

import numba
import numpy as np
import pytest

pytest.importorskip("torch", reason="ours is held against torch")

import torch
from scipy.sparse.linalg import eigsh
from threadpoolctl import threadpool_limits
from torch_twin import ACTIVATIONS

import meanfield as mf
import ntk
from meanfield import tangent


def jacobian_kernel(network, state, x):
    """(m/s²) J Jᵀ over the trainable blocks by torch.func, (n, n, K, K); uniform masses. THEORY.md,
    section 3.
    """
    s, m, K = network.scaling.output_scale(state.m), state.m, state.outputs
    blocks = {"a": state.a, "w": state.w, "b": state.b}
    frozen = {name: torch.tensor(np.array(block)) for name, block in blocks.items()}
    sigma = ACTIVATIONS[network.sigma.name]

    def f(trained, x_i):
        theta = frozen | trained
        return s / m * sigma(theta["w"] @ x_i + theta["b"]) @ theta["a"]

    trained = {name: frozen[name] for name in network.trainable}
    J = torch.func.vmap(torch.func.jacrev(f), (None, 0))(trained, torch.tensor(x))
    flat = torch.cat([part.reshape(len(x) * K, -1) for part in J.values()], dim=1)
    H = (m / s**2 * (flat @ flat.T)).numpy().reshape(len(x), K, len(x), K).transpose(0, 2, 1, 3)
    return H[:, :, 0, 0] if K == 1 else H


def some_state(rng, m, dim, outputs=1):
    return mf.State(rng.normal(size=(m, outputs + dim + 1)), outputs=outputs)


@pytest.mark.parametrize(
    "trainable", [("a",), ("w",), ("b",), ("a", "w"), ("a", "w", "b")], ids="".join
)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_the_empirical_kernel_is_the_contraction_of_the_jacobian(
    rng, activation, outputs, trainable
):
    """THEORY.md, section 3: H = (m/s²) J Jᵀ, whatever γ and α are. Sums of m·p products in another
    order: far below 1e-10.
    """
    network = mf.Network(activation, scaling=mf.Scaling(gamma=0.7, alpha=3.0), trainable=trainable)
    state, x = some_state(rng, 60, 4, outputs), rng.normal(size=(7, 4))
    expected = jacobian_kernel(network, state, x)
    np.testing.assert_allclose(
        ntk.empirical(network, state, x), expected, atol=1e-10 * np.abs(expected).max()
    )


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_parts_sum_to_the_kernel_between_any_two_sets_of_inputs(rng, outputs):
    network, state = mf.Network("relu", trainable=("a", "w")), some_state(rng, 30, 3, outputs)
    x1, x2 = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    parts = ntk.empirical(network, state, x1, x2, parts=True)
    assert set(parts) == {"a", "w"}
    H = ntk.empirical(network, state, x1, x2)
    assert H.shape == ((5, 4) if outputs == 1 else (5, 4, 2, 2))
    np.testing.assert_allclose(parts["a"] + parts["w"], H, rtol=1e-14)
    np.testing.assert_allclose(
        H, np.swapaxes(ntk.empirical(network, state, x2, x1), 0, 1), atol=1e-13
    )


@pytest.mark.parametrize("outputs", [1, 2])
def test_tiles_change_nothing_beyond_rounding_and_symmetry_is_exact(rng, monkeypatch, outputs):
    network, state, x = (
        mf.Network("tanh"),
        some_state(rng, 50, 3, outputs),
        rng.normal(size=(11, 3)),
    )
    whole, between = ntk.empirical(network, state, x), ntk.empirical(network, state, x, x[:7])
    monkeypatch.setattr(tangent, "TILE", 4 * outputs)
    tiled = ntk.empirical(network, state, x)
    np.testing.assert_allclose(tiled, whole, atol=1e-13)
    np.testing.assert_allclose(ntk.empirical(network, state, x, x[:7]), between, atol=1e-13)
    np.testing.assert_array_equal(
        tiled, tiled.swapaxes(0, 1) if outputs == 1 else tiled.transpose(1, 0, 3, 2)
    )


@pytest.mark.parametrize("outputs", [1, 2])
def test_in_float32_an_entry_is_off_by_the_rounding_of_a_thousand_terms_at_most(rng, outputs):
    """A sum of N <= 1024 terms is off by at most N u Σ|terms|, u = 2⁻²⁴, and Σ|σσ'| <= max H_ii by
    Cauchy and Schwarz; z of d = 3 inputs and σ add a few u, which 16 more terms cover. Across
    blocks float64 adds nothing.
    """
    network, state, x = (
        mf.Network("tanh"),
        some_state(rng, 5000, 3, outputs),
        rng.normal(size=(9, 3)),
    )
    for x2 in (None, x[:5]):
        exact, single = (
            ntk.empirical(network, state, x, x2, dtype=dtype) for dtype in ("float64", "float32")
        )
        assert single.dtype == np.float64 and not np.array_equal(exact, single)
        largest = ntk.empirical(network, state, x).max()
        np.testing.assert_allclose(single, exact, rtol=0, atol=(1024 + 16) * 2.0**-24 * largest)


def test_no_array_of_neurons_times_samples_is_formed(rng, monkeypatch):
    """20 000 neurons on 200 samples: one (m, n) array would be 32 MB, a Jacobian 160 MB; blocks of
    2^15 entries are 0.25 MB.
    """
    network, state, x = mf.Network("relu"), some_state(rng, 20_000, 3), rng.normal(size=(200, 3))
    monkeypatch.setattr(tangent, "BLOCK_ENTRIES", 2**15)
    ntk.empirical(network, state, x[:2])  # compile
    tracemalloc.start()
    ntk.empirical(network, state, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_operator_is_the_kernel_times_a_vector_with_its_masses(rng, outputs):
    mass = rng.uniform(0.5, 1.5, 40)
    state = mf.State(rng.normal(size=(40, outputs + 4)), outputs=outputs, mass=mass / mass.sum())
    network, x = mf.Network("relu", trainable=("a", "w")), rng.normal(size=(6, 3))
    H = (
        ntk.empirical(network, state, x)
        .reshape(6, 6, outputs, outputs)
        .transpose(0, 2, 1, 3)
        .reshape(6 * outputs, -1)
    )
    operator = ntk.operator(network, state, x)
    np.testing.assert_allclose(operator @ np.eye(6 * outputs), H, atol=1e-12)
    np.testing.assert_allclose(operator.H @ np.eye(6 * outputs), H, atol=1e-12)
    largest = np.linalg.eigvalsh(H)[-1]
    assert eigsh(operator, k=1, return_eigenvectors=False, v0=np.ones(len(H)))[0] == pytest.approx(
        largest, rel=1e-10
    )


def test_products_with_a_kernel_of_a_hundred_thousand_inputs(rng):
    """n = 10⁵, where H would be 80 GB: some rows of H·v against rows of the kernel. Sums of 10⁵
    terms: √n ε to 1e-11 relative.
    """
    network, state, x = mf.Network("tanh"), some_state(rng, 64, 5), rng.normal(size=(100_000, 5))
    v = rng.normal(size=100_000)
    Hv = ntk.operator(network, state, x) @ v
    rows = [0, 50_000, 99_999]
    H = ntk.empirical(network, state, x[rows], x)
    np.testing.assert_allclose(Hv[rows], H @ v, atol=1e-11 * np.abs(H).sum(axis=1).max())


def test_the_kernel_approaches_its_limit_like_one_over_root_m():
    """TRUTHS.md, section 1: regular pentagon, trainable=("w",): √m ‖H_m - H∞‖ ≈ .95, mean over 20
    seeds, ± 25 %.
    """
    angles = 2 * np.pi * np.arange(5) / 5
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    psi = np.arccos(np.clip(x @ x.T, -1, 1))
    limit = np.cos(psi) * (np.pi - psi) / (2 * np.pi)
    network, law = mf.Network("relu", scaling=mf.NTK, trainable=("w",)), mf.InitialLaw(dim=2)
    for m in (256, 4096):
        gaps = [
            np.linalg.norm(ntk.empirical(network, law.sample(m, seed=k), x) - limit, 2)
            for k in range(20)
        ]
        assert np.sqrt(m) * np.mean(gaps) == pytest.approx(0.95, rel=0.25)


@pytest.mark.parametrize("m", [100, 1000, 10_000])
def test_the_smallest_eigenvalue_stays_above_three_quarters_of_its_limit(m):
    """TRUTHS.md, section 4 (Du et al.): pentagon, λ_0 = .3, a = ±1 fixed: λ_min(H_0) >= ¾ λ_0 in 20
    of 20 seeds.
    """
    angles = 2 * np.pi * np.arange(5) / 5
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    network, law = mf.Network("relu", scaling=mf.NTK, trainable=("w",)), mf.InitialLaw(dim=2)
    least = [
        np.linalg.eigvalsh(ntk.empirical(network, law.sample(m, seed=k), x))[0] for k in range(20)
    ]
    assert min(least) >= 0.75 * 0.3


def test_drift_sees_a_change_of_scale_and_the_cosine_distance_does_not(rng):
    J = rng.normal(size=(6, 9))
    H = J @ J.T
    assert ntk.drift(H, 1.3 * H) == pytest.approx(0.3, rel=1e-12)
    # ½‖difference of unit vectors‖², each entry to an ulp
    assert ntk.cosine_distance(H, 1.3 * H) < 1e-30
    assert ntk.cosine_distance(np.diag([1.0, 0.0]), np.diag([0.0, 2.0])) == pytest.approx(
        1.0, abs=1e-15
    )
    angle = 1e-9  # 1 - cos is 5e-19: a difference from 1 would give 0
    turned = np.diag([np.cos(angle), np.sin(angle)])
    assert ntk.cosine_distance(np.diag([1.0, 0.0]), turned) == pytest.approx(angle**2 / 2, rel=1e-6)
    network, start, x = mf.Network("relu"), some_state(rng, 30, 3), rng.normal(size=(5, 3))
    end = mf.State(start.theta + 0.1)
    H0, Ht = ntk.empirical(network, start, x), ntk.empirical(network, end, x)
    assert ntk.drift(H0, Ht) == pytest.approx(tangent.drift(network, start, end, x), rel=1e-14)


def test_alignment_is_one_for_the_outer_product_of_the_labels(rng):
    y, J = rng.normal(size=6), rng.normal(size=(6, 9))
    assert ntk.alignment(np.outer(y, y), y) == pytest.approx(1.0, abs=1e-15)
    assert ntk.alignment(np.eye(6), y) == pytest.approx(1 / np.sqrt(6), rel=1e-14)
    K = J @ J.T
    by_hand = np.vdot(K, np.outer(y, y)) / np.linalg.norm(K) / (y @ y)
    assert ntk.alignment(K, y) == pytest.approx(by_hand, rel=1e-13)
    # centred: constants in features and labels do not count. Rounding of numbers of size 100
    # against 1: 1e-12
    shifted = (J + 10.0) @ (J + 10.0).T
    assert ntk.alignment(shifted, y + 7, centred=True) == pytest.approx(
        ntk.alignment(K, y, centred=True), rel=1e-11
    )
    # I_C ⊗ K with C outputs: the labels' columns one below the other
    Y = rng.normal(size=(6, 2))
    four = K[:, :, None, None] * np.eye(2)
    by_hand = np.vdot(Y, K @ Y) / (np.sqrt(2) * np.linalg.norm(K) * np.vdot(Y, Y))
    assert ntk.alignment(four, Y) == pytest.approx(by_hand, rel=1e-13)


def test_the_effective_rank_is_the_exponential_of_the_entropy_of_the_spectrum():
    """Roy and Vetterli (2007): n for I, 1 for rank one; (½, ¼, ¼) has entropy 1.5 log 2."""
    assert ntk.effective_rank(3 * np.eye(5)) == pytest.approx(5.0, rel=1e-13)
    assert ntk.effective_rank(np.ones((4, 4))) == pytest.approx(1.0, abs=1e-12)
    assert ntk.effective_rank(np.diag([2.0, 1.0, 1.0, 0.0])) == pytest.approx(2**1.5, rel=1e-13)


def test_wrong_input_is_refused_with_what_to_do(rng):
    network, state, x = mf.Network("relu"), some_state(rng, 4, 3), rng.normal(size=(5, 3))
    with pytest.raises(TypeError, match="network must be an mf.Network"):
        ntk.empirical("relu", state, x)
    with pytest.raises(TypeError, match="For the infinite width use ntk.kernel"):
        ntk.empirical(network, mf.InitialLaw(dim=3), x)
    with pytest.raises(ValueError, match=r"x must be \(n, 3\)"):
        ntk.empirical(network, state, x, x[:, :2])
    with pytest.raises(ValueError, match="outputs = 0"):
        ntk.empirical(network, mf.State(np.zeros((3, 2)), outputs=0), x)
    with pytest.raises(ValueError, match="dtype must be one of float64, float32; got 'float16'"):
        ntk.empirical(network, state, x, dtype="float16")
    with pytest.raises(ValueError, match="nothing to train"):
        ntk.empirical(mf.Network("relu", trainable=()), state, x)
    with pytest.raises(ValueError, match="NaN"):
        ntk.operator(network, state, np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="one shape"):
        ntk.drift(np.eye(3), np.eye(4))
    with pytest.raises(ValueError, match="first kernel vanishes"):
        ntk.drift(np.zeros((3, 3)), np.eye(3))
    with pytest.raises(ValueError, match=r"y must be \(3,\)"):
        ntk.alignment(np.eye(3), np.ones(4))
    with pytest.raises(ValueError, match="not defined"):
        ntk.alignment(np.eye(3), np.ones(3), centred=True)
    with pytest.raises(ValueError, match="symmetric"):
        ntk.effective_rank(np.array([[1.0, 2.0], [0.0, 1.0]]))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_closed_form_is_ten_times_faster_than_contracting_a_jacobian(rng, activation):
    """PERFORMANCE.md: empirical NTK, m = 10⁴, n = 500, float64, in one run, best of five; one
    thread each, as others may work.
    """
    network, state, x = (
        mf.Network(activation),
        some_state(rng, 10_000, 10),
        rng.normal(size=(500, 10)),
    )
    best = {}
    threads = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    with threadpool_limits(1):
        for name, work in (("ours", ntk.empirical), ("torch.func", jacobian_kernel)):
            seconds = []
            for _ in range(6):
                start = time.perf_counter()
                work(network, state, x)
                seconds.append(time.perf_counter() - start)
            best[name] = min(seconds[1:])
    torch.set_num_threads(threads[0])
    numba.set_num_threads(threads[1])
    print(f"{activation}: {best}")
    assert best["torch.func"] > 10 * best["ours"]
