"""The CUDA kernels compiled without a GPU: to PTX by numba-cuda, and by nvJitLink to machine code
with its report.
"""

import re
import types

import numba.cuda.dispatcher
import numpy as np
import pair_formulas
from numba import cuda, float32, float64, int64

from meanfield.backends.cpu import energies as pair_energy
from meanfield.backends.cuda import (
    compiler,
    pairs,
)
from meanfield.backends.cuda import (
    energies as cuda_pair_energy,
)
from meanfield.backends.cuda import (
    fused as cuda_kernels,
)
from meanfield.formulas import activations, losses

KERNELS = "meanfield.backends.cuda.kernels"


def fused(name, activation, dtype, dim, outputs=1, unroll=1, groups=1):
    """(kernel, signature) of one fused kernel, bound as the backend binds it."""
    sigma = activations.get(activation)
    value, slope = sigma.value, sigma.slope

    def both(z):
        return value(z), slope(z)

    used = {"value": value, "slope": slope, "value_and_slope": sigma.value_and_slope or both}
    if name == "pull_back":
        homogeneous = sigma.homogeneity == 1.0
        constants = cuda_kernels.backward(dim, outputs, homogeneous, unroll, groups)
        kernel = compiler.kernels(f"{KERNELS}.fused_backward", dtype, used, **constants).pull_back
    else:
        constants = cuda_kernels.forward(dim, outputs, name == "push_forward")
        kernel = compiler.kernels(f"{KERNELS}.fused_forward", dtype, used, **constants).forward
    T = {"float32": float32, "float64": float64}[dtype]
    matrix, vector, sums = T[:, ::1], T[::1], float64[:, :, ::1]
    signatures = {
        "mean_feature": (matrix, matrix, vector, matrix, int64, int64, sums),
        "push_forward": (matrix, matrix, vector, matrix, int64, int64, sums),
        "pull_back": (matrix, matrix, matrix, T, vector, matrix),
    }
    return kernel, signatures[name]


def vectors(dtype):
    """[(kernel, signature)] of the kernels on whole arrays and of those around the matrix products."""
    T = {"float32": float32, "float64": float64}[dtype]
    matrix, sums = T[:, ::1], float64[:, :, ::1]
    module = compiler.kernels(f"{KERNELS}.vectors", dtype, {})
    tanh = activations.get("tanh")
    used = {"value": tanh.value, "value_and_slope": tanh.value_and_slope}
    around = compiler.kernels(f"{KERNELS}.activate", dtype, used)
    return [
        (module.add_rows, (sums, float64, int64, float64[:, ::1])),
        (module.squares, (matrix, T[::1], float64[::1], int64, sums)),
        (combine(1, dtype), (matrix, T, matrix, matrix)),
        (combine(7, dtype), (matrix, *[T] * 7, *[matrix] * 7, matrix)),
        (around.values, (matrix, int64, int64)),
        (around.values_and_slopes, (matrix, matrix, int64, int64)),
    ]


def combine(count, dtype):
    """The kernel that adds so many stages."""
    return compiler.kernels(f"{KERNELS}.combine", dtype, {}, COUNT=count).combine


def loss_kernels(name, dtype):
    """[(kernel, signature)] of ℓ and ℓ' of a loss; the slopes are of the dtype, all else is
    float64.
    """
    loss = losses.get(name)
    used = {"value": loss.value, "slope": loss.slope}
    module = compiler.kernels(f"{KERNELS}.losses", "float64", used, WEIGHTED=False)
    F, sums, out = (
        float64[:, ::1],
        float64[:, :, ::1],
        {"float32": float32, "float64": float64}[dtype][:, ::1],
    )
    if loss.coupled:
        return [
            (module.total_coupled, (F, int64[::1], float64[::1], float64, int64, F, sums)),
            (module.slopes_coupled, (F, int64[::1], float64, float64, F, F, out)),
        ]
    return [
        (module.total, (F, F, float64[::1], float64, int64, sums)),
        (module.slopes, (F, F, float64, float64, out)),
    ]


def pair_kernels(interaction, dtype, dim, groups, self_pairs=True):
    """[(kernel, signature)] of a pairwise energy: velocity and values."""
    T = {"float32": float32, "float64": float64}[dtype]
    itemsize = np.dtype(dtype).itemsize
    constants = cuda_pair_energy.constants(dim, itemsize, True, self_pairs, groups)
    used = pair_energy.named(pair_formulas.WELL, interaction)
    module = compiler.kernels(f"{KERNELS}.energies", dtype, used, **constants)
    arrays = T[:, ::1], T[::1]
    return [(module.velocity, (*arrays, T[:, ::1])), (module.values, (*arrays, float64[:, ::1]))]


def feature_kernels(phi, grad_phi, dtype, columns, dim):
    """[(kernel, signature)] of a user's feature: the passes of a step, and heights."""
    T = {"float32": float32, "float64": float64}[dtype]
    used = {"phi": phi, "grad_phi": grad_phi}
    module = compiler.kernels(f"{KERNELS}.features", dtype, used, D=columns, INPUTS=dim)
    rows, line, sums = T[:, ::1], T[::1], float64[:, :, ::1]
    return [
        (module.mean_feature, (rows, line, rows, int64, int64, sums)),
        (module.push_forward, (rows, line, rows, int64, int64, rows, sums)),
        (module.pull_back, (rows, rows, int64, rows, float64, line, rows)),
        (module.heights, (rows, rows, int64, rows, float64[:, ::1])),
    ]


def neuron_sums(activation, dtype, dim, outputs, groups, theta="same"):
    """(kernel, signature) of the sums over pairs of neurons, of which θ may be of another dtype."""
    T = {"float32": float32, "float64": float64}
    formula = activations.get(activation).pair
    constants = pairs.constants(dim, outputs, formula.sums, np.dtype(dtype).itemsize, groups)
    used = {"pair": formula.pair, "finish": formula.finish}
    kernel = compiler.kernels(f"{KERNELS}.pairs", dtype, used, **constants).pair_sums
    rows, sums = T[dtype][:, ::1], float64[:, ::1]
    return kernel, (
        T[dtype if theta == "same" else theta][:, ::1],
        rows,
        float64[::1],
        rows,
        sums,
        int64,
        sums,
        sums,
    )


def neuron_particles(activation, dtype):
    """[(kernel, signature)] of what is prepared of each neuron and what its sums come to."""
    formula = activations.get(activation).pair
    used = {"prepare": formula.prepare, "finish": formula.finish, "linear": formula.linear}
    module = compiler.kernels(f"{KERNELS}.pair_particles", "float64", used)
    theta = {"float32": float32, "float64": float64}[dtype][:, ::1]
    vector, matrix, partial = float64[::1], float64[:, ::1], float64[:, :, ::1]
    return [
        (module.prepare_cloud, (theta, vector, int64, vector, theta)),
        (module.moments, (theta, vector, int64, int64, partial)),
        (module.pairing, (theta, vector, matrix, int64, partial)),
        (
            module.finish_sums,
            (theta, int64, vector, matrix, matrix, float64, vector, matrix, theta),
        ),
    ]


def ptx(kernel, signature, monkeypatch, cc=(9, 0)):
    """PTX text. A device function asks the present GPU for its kind as it is compiled; without one,
    this answers.
    """
    device = types.SimpleNamespace(compute_capability=cc)
    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: device)
    return cuda.compile(kernel.py_func, signature, cc=cc, device=False, abi="numba", output="ptx")[
        0
    ]


def report(text, cc=(9, 0)):
    """What the assembler says of PTX text: registers, spilled bytes, stack bytes, shared bytes."""
    from cuda.bindings import nvjitlink

    options = [f"-arch=sm_{cc[0]}{cc[1]}", "-Xptxas=-v", "-verbose"]
    handle = nvjitlink.create(len(options), options)
    try:
        data = text.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    said = log.decode()
    return {
        "registers": int(re.search(r"Used (\d+) registers", said)[1]),
        "spilled": sum(map(int, re.findall(r"(\d+) bytes spill", said))),
        "stack": sum(map(int, re.findall(r"(\d+) bytes stack frame", said))),
        "shared": int(re.search(r"(\d+) bytes smem", said)[1]),
    }


def innermost_loops(text):
    """The bodies of the loops without a loop inside: lists of instructions."""
    lines = [line.strip() for line in text.splitlines()]
    at = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\$L__BB\d+_\d+:", line)}
    found = []
    for end, line in enumerate(lines):
        target = re.search(r"bra(?:\.uni)?\s+(\$L__BB\d+_\d+);", line)
        if target and at.get(target[1], end) < end:
            found.append((at[target[1]], end))
    inner = [
        loop
        for loop in found
        if not any(loop != other and loop[0] <= other[0] and other[1] <= loop[1] for other in found)
    ]
    return [[line for line in lines[start:end] if line.endswith(";")] for start, end in inner]
