"""The CUDA kernels compiled without a GPU, for sm_80 and sm_90: what the compiler reports, what
their loops hold, their cache.
"""

import sys
import types

import numpy as np
import pytest

from meanfield.formulas import activations, losses

pytest.importorskip("numba_cuda", reason="the CUDA backend needs numba-cuda (Linux only)")

import cuda_parity
import cuda_ptx
import numba
import pair_formulas
from bench import gpu_limits

from meanfield.backends import compiler as formulas
from meanfield.backends.cuda import (
    backend as cuda,
)
from meanfield.backends.cuda import (
    compiler as cuda_formulas,
)
from meanfield.backends.cuda import (
    fused as cuda_kernels,
)
from meanfield.backends.cuda import (
    noise,
)

INTERACTIONS = {"gaussian": pair_formulas.GAUSSIAN, "coulomb": pair_formulas.COULOMB}
# name, outputs, particles a thread, groups: every form the backend launches
FORMS = [
    ("mean_feature", 1, 1, 1),
    ("mean_feature", 4, 1, 1),
    ("push_forward", 1, 1, 1),
    ("push_forward", 4, 1, 1),
    ("pull_back", 1, 1, 4),
    ("pull_back", 1, 1, 1),
    ("pull_back", 1, 2, 1),
    ("pull_back", 4, 1, 4),
    ("pull_back", 4, 1, 1),
]


def check_compiled(monkeypatch, form, activation, dtype, dim, cc=(9, 0)):
    """Compiles; nothing is spilled; with one particle and output a thread, four blocks of 128
    threads (three in float64) find room on a multiprocessor of 65536 registers, two in any case;
    shared memory is below the 48 KB that need no asking; no float64 in a loop of float32.
    """
    name, outputs, unroll, groups = form
    kernel, signature = cuda_ptx.fused(name, activation, dtype, dim, outputs, unroll, groups)
    text = cuda_ptx.ptx(kernel, signature, monkeypatch, cc)
    assert f".target sm_{cc[0]}{cc[1]}" in text
    said = cuda_ptx.report(text, cc)
    # libdevice's sin and cos reduce |x| above 10⁵ on a path of their own, with 2/π on the stack and
    # in float64
    assert (
        said["spilled"] == 0
        and said["stack"] <= (80 if activation == "sin" else 0)
        and said["shared"] <= 48 * 1024
    ), said
    assert said["registers"] <= (
        {"float32": 128, "float64": 168}[dtype] if outputs == unroll == 1 else 255
    ), said
    loops = [
        loop for loop in cuda_ptx.innermost_loops(text) if any("fma.rn" in line for line in loop)
    ]
    if outputs == 1:
        assert loops
    if dtype == "float32" and activation != "sin":
        assert not [line for loop in loops for line in loop if ".f64" in line]
    return text, loops


@pytest.mark.parametrize("form", [form for form in FORMS if form[1] == 1], ids=str)
def test_a_kernel_compiles_for_hopper_without_spills_and_without_float64_in_single_precision(
    monkeypatch, form
):
    check_compiled(monkeypatch, form, "relu", "float32", 2)


@pytest.mark.parametrize(("dtype", "dim", "cc"), [("float32", 10, (8, 0)), ("float64", 1, (9, 0))])
def test_a_kernel_with_elementary_functions_compiles_for_ampere_and_hopper(
    monkeypatch, dtype, dim, cc
):
    check_compiled(monkeypatch, FORMS[4], "gelu", dtype, dim, cc)


def launched(form, dtype, dim):
    """Whether the backend ever launches this form for this dtype and d."""
    backend = backends_form(dtype, dim, form[1])
    return form[0] != "pull_back" or (form[2], form[3]) in {
        backend._shape(m) for m in (1, cuda.FEW, 2 * cuda.FEW)
    }


def backends_form(dtype, dim, outputs):
    backend = object.__new__(cuda.CUDA)
    backend.dim, backend.outputs, backend.dtype = dim, outputs, np.dtype(dtype)
    return backend


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 2, 10])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", activations.TABLE)
def test_every_kernel_of_every_activation_compiles(monkeypatch, activation, dtype, dim):
    for form in FORMS:
        if launched(form, dtype, dim):
            check_compiled(monkeypatch, form, activation, dtype, dim)
    check_compiled(monkeypatch, FORMS[0], activation, dtype, dim, (8, 0))
    check_compiled(monkeypatch, FORMS[4], activation, dtype, dim, (8, 0))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 4])
def test_the_largest_fused_dimension_fits(monkeypatch, dtype, outputs):
    for name in ("mean_feature", "push_forward"):
        # 2: registers up to 255
        check_compiled(monkeypatch, (name, outputs, 2, 1), "relu", dtype, cuda.FUSED_UP_TO)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_on_whole_arrays_compile(monkeypatch, dtype):
    for kernel, signature in cuda_ptx.vectors(dtype)[:: 1 if dtype == "float32" else 5]:
        said = cuda_ptx.report(cuda_ptx.ptx(kernel, signature, monkeypatch))
        assert said["spilled"] == said["stack"] == 0 and said["registers"] <= 64, said


@pytest.mark.parametrize("cc", [(8, 0), (9, 0)], ids=str)
@pytest.mark.parametrize("loss", losses.TABLE)
def test_losses_compile_for_ampere_and_hopper_in_few_registers(monkeypatch, loss, cc):
    """80 registers leave room for six blocks of 128 threads. Shared memory is the tree of 128
    float64 (and 1 KB of Hopper's).
    """
    total, slopes = (
        cuda_ptx.report(cuda_ptx.ptx(kernel, signature, monkeypatch, cc), cc)
        for kernel, signature in cuda_ptx.loss_kernels(loss, "float32")
    )
    for said in (total, slopes):
        assert said["spilled"] == said["stack"] == 0 and said["registers"] <= 80, said
    assert total["shared"] == {(8, 0): 1024, (9, 0): 2048}[cc] and slopes["shared"] == 0


PAIRS = [
    (interaction, dtype, groups)
    for interaction in INTERACTIONS
    for dtype in ("float32", "float64")
    for groups in (4, 1)
]


@pytest.mark.parametrize("cc", [(8, 0), (9, 0)], ids=str)
@pytest.mark.parametrize(
    ("interaction", "dtype", "groups", "dim"),
    [("gaussian", "float32", 4, 2), ("coulomb", "float64", 1, 3)]
    + [pytest.param(*case, dim, marks=pytest.mark.slow) for case in PAIRS for dim in (1, 2, 3, 10)]
    + [pytest.param("gaussian", "float64", 4, 40, marks=pytest.mark.slow)],
)
def test_pairs_compile_for_ampere_and_hopper_with_all_rows_in_registers(
    monkeypatch, interaction, dtype, groups, dim, cc
):
    """Up to ten coordinates nothing is spilled, and the rows that a formula sees are registers,
    their loops unrolled: there is no stack. At forty a thread's sums and rows no longer fit 255
    registers. A tile is below the 48 KB that need no asking.
    """
    for kernel, signature in cuda_ptx.pair_kernels(
        INTERACTIONS[interaction], dtype, dim, groups, interaction == "gaussian"
    ):
        text = cuda_ptx.ptx(kernel, signature, monkeypatch, cc)
        said = cuda_ptx.report(text, cc)
        assert said["shared"] <= 48 * 1024, said
        assert dim > 10 or (
            said["spilled"] == said["stack"] == 0 and said["registers"] <= (96 if dim <= 3 else 168)
        ), said
        if dtype == "float32":
            assert not [
                line for loop in cuda_ptx.innermost_loops(text) for line in loop if ".f64" in line
            ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_of_a_user_s_own_compile_and_spill_nothing(monkeypatch, dtype):
    """A row of three columns and a point of two inputs: in registers or, indexed, on the stack."""
    for kernel, signature in cuda_ptx.feature_kernels(
        cuda_parity.bump, cuda_parity.grad_bump, dtype, 3, 2
    ):
        assert cuda_ptx.report(cuda_ptx.ptx(kernel, signature, monkeypatch))["spilled"] == 0


SUMS = [
    (name, dtype, dim, outputs, groups)
    for name in (name for name, sigma in activations.TABLE.items() if sigma.pair)
    for dtype in ("float32", "float64")
    for dim, outputs in ((1, 1), (2, 1), (10, 1), (3, 2))
    for groups in (4, 1)
]


@pytest.mark.parametrize("cc", [(8, 0), (9, 0)], ids=str)
@pytest.mark.parametrize(
    ("activation", "dtype", "dim", "outputs", "groups"),
    [("relu", "float32", 2, 1, 4), ("gelu", "float64", 3, 2, 1)]
    + [pytest.param(*case, marks=pytest.mark.slow) for case in SUMS],
)
def test_sums_over_neurons_compile_for_ampere_and_hopper_in_registers(
    monkeypatch, activation, dtype, dim, outputs, groups, cc
):
    """Targets and their sums are registers: nothing is spilled and there is no stack. A tile is
    below the 48 KB that need no asking.
    """
    kernel, signature = cuda_ptx.neuron_sums(activation, dtype, dim, outputs, groups)
    text = cuda_ptx.ptx(kernel, signature, monkeypatch, cc)
    said = cuda_ptx.report(text, cc)
    assert said["spilled"] == said["stack"] == 0 and said["shared"] <= 48 * 1024, said
    assert said["registers"] <= (128 if dim <= 3 and outputs == 1 else 200), said
    if dtype == "float32":
        inner = [
            loop
            for loop in cuda_ptx.innermost_loops(text)
            if any("fma.rn" in line for line in loop)
        ]
        assert not [line for loop in inner for line in loop if ".f64" in line]


@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        pytest.param("gelu", marks=pytest.mark.slow),
        pytest.param("erf", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_surrounds_the_sums_over_neurons_compiles(monkeypatch, activation, dtype):
    for kernel, signature in cuda_ptx.neuron_particles(activation, dtype):
        said = cuda_ptx.report(cuda_ptx.ptx(kernel, signature, monkeypatch))
        assert said["spilled"] == said["stack"] == 0 and said["registers"] <= 80, said


@pytest.mark.parametrize(
    ("form", "shared", "instructions", "multiply_adds"),
    [(FORMS[0], 4, 5.5, 3), (FORMS[6], 2, 9, 4)],
    ids=["forward", "backward"],
)
def test_the_inner_loop_of_relu_is_mostly_arithmetic(
    monkeypatch, form, shared, instructions, multiply_adds
):
    """d = 2 in float32. Forward, a pair (particle, sample) is z (2 FMA), σ (compare, select) and c
    σ (FMA), and a load for four pairs; backward, z (2), σ' (compare, select), r σ' and its sum (2),
    times x (2 FMA), and a load for two.
    """
    _, loops = check_compiled(monkeypatch, form, "relu", "float32", 2)
    loop = max(loops, key=len)
    fused, loads = (
        sum(line.startswith(word) for line in loop) for word in ("fma.rn.f32", "ld.shared.v4.f32")
    )
    assert fused == multiply_adds * shared * loads
    assert len(loop) <= instructions * shared * loads + 8  # and the loop's own


def test_philox_compiles_and_its_raw_words_are_integers_throughout(monkeypatch):
    words = [numba.uint32] * 4
    for kernel, T in ((noise.fill_raw, numba.uint32), (noise.fill_uniforms, numba.float64)):
        text = cuda_ptx.ptx(kernel, (T[:, ::1], *words), monkeypatch)
        assert cuda_ptx.report(text)["spilled"] == 0
        assert (".f64" in text) == (T is numba.float64)


def test_machine_code_is_kept_on_disk_and_found_again(monkeypatch, tmp_path):
    """As a second process would: the module is loaded anew. Without a driver the code is made and
    stored, not run.
    """
    present = types.SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: present)
    monkeypatch.setattr(
        numba.cuda.cudadrv.devices,
        "get_context",
        lambda number=None: types.SimpleNamespace(device=present),
    )
    monkeypatch.setattr(formulas, "folder", lambda: tmp_path)
    dispatcher = numba.cuda.dispatcher

    def loaded():
        for name in [name for name in sys.modules if name.startswith("cuda_fused_forward_")]:
            monkeypatch.delitem(sys.modules, name)
        return cuda_ptx.fused("mean_feature", "sigmoid", "float32", 3)

    kernel, signature = loaded()
    assert kernel._cache.load_overload(
        signature, kernel.targetctx
    ) is None and not cuda_formulas.is_compiled(kernel)
    compiled = dispatcher._Kernel(kernel.py_func, signature, **kernel.targetoptions)
    compiled._codelibrary.get_cubin(cc=(9, 0))
    kernel._cache.save_overload(signature, compiled)
    again, _ = loaded()
    assert again is not kernel and cuda_formulas.is_compiled(again)
    assert again._cache.load_overload(signature, again.targetctx) is not None


@pytest.mark.parametrize(("dtype", "name"), [("float32", "f32"), ("float64", "f64")])
def test_the_kernels_that_measure_the_limits_do_nothing_else(monkeypatch, dtype, name):
    """The bench's FMA peak: a loop of independent multiply-adds and no memory. Its copy: one read,
    one write.
    """
    T = {"float32": numba.float32, "float64": numba.float64}[dtype]
    text = cuda_ptx.ptx(gpu_limits.chains(dtype), (T, T, numba.int64, T[::1]), monkeypatch)
    loop = max(cuda_ptx.innermost_loops(text), key=len)
    adds = sum(line.startswith(f"fma.rn.{name}") for line in loop)
    assert (
        adds % gpu_limits.CHAINS == 0
        and adds >= 0.6 * len(loop)
        and not any("ld." in line or "st." in line for line in loop)
    )
    text = cuda_ptx.ptx(gpu_limits.copy, (T[::1], T[::1]), monkeypatch)
    assert text.count("ld.global") == text.count("st.global") == 1


def test_slabs_depend_on_the_width_alone_and_cover_it():
    for m in (1, 255, 256, 257, 10**4, 10**6, 10**8):
        length, count = cuda.slabs(m)
        assert (
            length % cuda_kernels.FORWARD_ROWS == 0
            and (count - 1) * length < m <= count * length
            and count <= cuda.SLABS
        )
