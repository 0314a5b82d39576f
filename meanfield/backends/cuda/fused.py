"""Source text of the fused CUDA kernels for small d: every pre-activation lives and dies in a register.

THREADS threads a block. Forward, a thread holds S samples and all of them read the same particle; backward, a thread holds P
particles and all of them read the same sample. What is read by all is staged through shared memory, a tile of rows at a time, one
row [inputs | amplitudes] padded to 16 bytes, so that a warp needs one broadcast of four numbers where S or P use it. The
block is cut into groups of threads with rows of their own, whose sums meet at the end in a fixed order.

θ lies as (p, m), x as (d, n): neighbouring threads read neighbouring numbers. Sums run in T over at most 1024 terms and in
float64 across them; there are no atomics, so the bits are those of the last run. K outputs are worked C at a time (C = 1 for one
output, at most 4), z being computed again for the next C. Rows past the end repeat the last one with amplitude zero.

As compiled for sm_90, ReLU at d = 2 in float32: forward 5.4 instructions a pair (k, i) in the inner loop, 3 of them FMA;
backward, with P = 2, 7.7, 4 of them FMA. Not yet run on a GPU.
"""

from __future__ import annotations

THREADS = 128
TERMS = 1024  # of a sum in T
FORWARD_GROUPS = 4  # of one warp: a group's lanes hold 32·S samples
FORWARD_ROWS = 256  # particles in a forward tile, a barrier for every 64 rows of a group; half as many where rows are wide

_HEAD = '''"""Written by meanfield/backends/cuda/fused.py; bound here: T, value, slope, value_and_slope."""
import numpy as np
from numba import cuda

from meanfield.backends.cuda.compiler import ALIGN
'''


def samples_a_thread(dim: int) -> int:
    """S: as many as the registers allow."""
    return 4 if dim <= 5 else 2


def _width(count: int) -> int:
    """Numbers in a row of a shared tile: a whole number of 16 bytes, for float32 four."""
    return -(-count // 4) * 4


def _lines(indent: int, lines: list[str]) -> str:
    return "".join(" " * indent + line + "\n" for line in lines)


def _z(dim: int, row: str, x: str) -> str:
    """b + ⟨w, x⟩ with w0 … b at the start of a shared row."""
    return f"{row}{dim}] + " + " + ".join(f"{row}{j}] * {x.format(j=j)}" for j in range(dim))


def forward(dim: int, outputs: int, push: bool) -> str:
    """mean_feature, or push_forward for push: partial[slab, c, i] = Σ_{k in slab} weight_k φ_c(θ_k; x_i), or of its change.

    Grid: (tiles of 32·S samples, slabs of `length` particles, outputs by C). first: the first sample of this launch.
    """
    C, S, L, G = outputs, samples_a_thread(dim), THREADS // FORWARD_GROUPS, FORWARD_GROUPS
    amplitudes = dim + 1 + push * (dim + 1)  # a row is [w b | u_w u_b | a_c | u_c]
    width = _width(amplitudes + C * (1 + push))
    R = FORWARD_ROWS // G if width <= 16 else FORWARD_ROWS // G // 2
    row = "tile[group, q, "
    load = ["scale = weight[k] if k < stop else T(0)", "k = min(k, stop - 1)"]
    load += [f"tile[group, r, {j}] = theta[K + {j}, k]" for j in range(dim + 1)]
    load += [f"tile[group, r, {dim + 1 + j}] = move[K + {j}, k]" for j in range(dim + 1) if push]
    for c in range(C):
        load += [
            f"tile[group, r, {amplitudes + c}] = theta[c0 + {c}, k] * scale if c0 + {c} < K else T(0)"
        ]
        load += [
            f"tile[group, r, {amplitudes + C + c}] = move[c0 + {c}, k] * scale if c0 + {c} < K else T(0)"
        ] * push
    loop = []
    for s in range(S):
        if push:
            loop += [f"v, change = value_and_slope({_z(dim, row, f'x{{j}}_{s}')})", "v = T(v)"]
            change = f"{row}{2 * dim + 1}] + " + " + ".join(
                f"{row}{dim + 1 + j}] * x{j}_{s}" for j in range(dim)
            )
            loop += [f"change = T(change) * ({change})"]
            loop += [
                f"f{c}_{s} += {row}{amplitudes + C + c}] * v + {row}{amplitudes + c}] * change"
                for c in range(C)
            ]
        else:
            loop += [f"v = T(value({_z(dim, row, f'x{{j}}_{s}')}))"]
            loop += [f"f{c}_{s} += {row}{amplitudes + c}] * v" for c in range(C)]
    name, moved = ("push_forward", "move, ") if push else ("mean_feature", "")
    text = f"""

@cuda.jit(cache=True)
def {name}(theta, {moved}weight, x, first, length, partial):
    tile = cuda.shared.array(({G}, {R}, {width}), T, ALIGN)
    sums = cuda.shared.array(({G}, {L}), np.float64)
    lane, group = cuda.threadIdx.x % {L}, cuda.threadIdx.x // {L}
    K, m = partial.shape[1], theta.shape[1]
    i0, slab, c0 = cuda.blockIdx.x * {L * S} + lane, cuda.blockIdx.y, cuda.blockIdx.z * {C}
    start = slab * length
    stop = min(m, start + length)
"""
    text += _lines(
        4, [f"x{j}_{s} = x[{j}, first + i0 + {s * L}]" for s in range(S) for j in range(dim)]
    )
    text += _lines(4, [f"total{c}_{s} = 0.0" for s in range(S) for c in range(C)])
    text += _lines(4, ["block = start", "while block < stop:"])
    text += _lines(8, [f"f{c}_{s} = T(0)" for s in range(S) for c in range(C)])
    text += _lines(8, [f"end = min(stop, block + {TERMS})", "while block < end:"])
    for r in range(0, R, L):
        text += _lines(12, [f"r = lane + {r}", f"k = block + group * {R} + r", *load])
    text += _lines(12, ["cuda.syncthreads()", "q = 0", f"while q < {R}:"])
    text += _lines(16, [*loop, "q += 1"])
    text += _lines(12, ["cuda.syncthreads()", f"block += {G * R}"])
    text += _lines(8, [f"total{c}_{s} += np.float64(f{c}_{s})" for s in range(S) for c in range(C)])
    tree = _tree([f"sums[{g}, lane]" for g in range(G)])
    for s in range(S):
        for c in range(C):
            text += _lines(4, [f"sums[group, lane] = total{c}_{s}", "cuda.syncthreads()"])
            text += _lines(
                4, [f"if group == 0 and i0 + {s * L} < partial.shape[2] and c0 + {c} < K:"]
            )
            text += _lines(8, [f"partial[slab, c0 + {c}, i0 + {s * L}] = {tree}"])
            text += _lines(4, ["cuda.syncthreads()"])
    return text


def _tree(terms: list[str]) -> str:
    """A sum in pairs."""
    while len(terms) > 1:
        terms = [f"({a} + {b})" for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


def backward(dim: int, outputs: int, homogeneous: bool, unroll: int, groups: int) -> str:
    """pull_back: out_k = Σ_i slopes_i · ∇φ(θ_k; x_i) - decay θ_k on trainable columns, P = `unroll` particles a thread.

    Grid: blocks of THREADS/groups·P particles. With several groups each takes its share of the samples: for few particles.
    homogeneous: σ(z) = z σ'(z), so the gradient in a follows from those in w and b.
    """
    C, P, G, L = outputs, unroll, groups, THREADS // groups
    free = homogeneous and C == 1
    width, row = _width(dim + C), "tile[group, q, "
    gradients = [f"b{u}" for u in range(P)] + [f"w{j}_{u}" for u in range(P) for j in range(dim)]
    amplitudes = [] if free else [f"a{c}_{u}" for u in range(P) for c in range(C)]
    text = f"""

@cuda.jit(cache=True)
def pull_back(theta, x, slopes, decay, trainable, out):
    tile = cuda.shared.array(({G}, {L}, {width}), T, ALIGN)
"""
    if G > 1:
        text += f"    sums = cuda.shared.array(({G}, {L}), np.float64)\n"
    text += f"""    lane, group = cuda.threadIdx.x % {L}, cuda.threadIdx.x // {L}
    K, m, n, samples = slopes.shape[0], theta.shape[1], x.shape[1], slopes.shape[1]
    k0 = cuda.blockIdx.x * {L * P} + lane
"""
    for u in range(P):
        text += _lines(
            4,
            [
                f"k{u} = min(k0 + {u * L}, m - 1)",
                f"b{u} = theta[K + {dim}, k{u}]",
                f"total_b{u} = 0.0",
            ],
        )
        text += _lines(4, [f"w{j}_{u} = theta[K + {j}, k{u}]" for j in range(dim)])
        text += _lines(4, [f"total_w{j}_{u} = 0.0" for j in range(dim)])
    text += _lines(4, ["c0 = 0", "while c0 < K:"])
    for u in range(P):
        text += _lines(
            8, [f"c{c}_{u} = theta[c0 + {c}, k{u}] if c0 + {c} < K else T(0)" for c in range(C)]
        )
    text += _lines(8, [f"total_{name} = 0.0" for name in amplitudes])
    text += _lines(8, ["block = 0", "while block < n:"])
    text += _lines(12, [f"s{name} = T(0)" for name in [*amplitudes, *gradients]])
    text += _lines(
        12,
        [
            f"end = min(n, block + {TERMS})",
            "while block < end:",
            "    i = block + cuda.threadIdx.x",
        ],
    )
    text += _lines(16, [f"tile[group, lane, {j}] = x[{j}, i]" for j in range(dim)])
    text += _lines(
        16,
        [
            f"tile[group, lane, {dim + c}] = slopes[c0 + {c}, i] if c0 + {c} < K and i < samples else T(0)"
            for c in range(C)
        ],
    )
    text += _lines(16, ["cuda.syncthreads()", "q = 0", f"while q < {L}:"])
    for u in range(P):
        z = f"b{u} + " + " + ".join(f"w{j}_{u} * {row}{j}]" for j in range(dim))
        if free:
            text += _lines(20, [f"r = {row}{dim}] * T(slope({z}))"])
        else:
            # One output: a is common to all terms of its particle, so it is taken out of the sum.
            common = (
                f"{row}{dim}]"
                if C == 1
                else " + ".join(f"c{c}_{u} * {row}{dim + c}]" for c in range(C))
            )
            text += _lines(
                20, [f"v, r = value_and_slope({z})", "v = T(v)", f"r = T(r) * ({common})"]
            )
            text += _lines(20, [f"sa{c}_{u} += {row}{dim + c}] * v" for c in range(C)])
        text += _lines(20, [f"sb{u} += r", *(f"sw{j}_{u} += r * {row}{j}]" for j in range(dim))])
    text += _lines(20, ["q += 1"])
    text += _lines(16, ["cuda.syncthreads()", f"block += {THREADS}"])
    text += _lines(
        12, [f"total_{name} += np.float64(s{name})" for name in [*amplitudes, *gradients]]
    )

    def meet(names: list[str], indent: int) -> str:
        """The sums of the groups, added in a tree, in every group's hands."""
        if G == 1:
            return ""
        together = _tree([f"sums[{g}, lane]" for g in range(G)])
        steps = [
            [
                f"sums[group, lane] = {name}",
                "cuda.syncthreads()",
                f"{name} = {together}",
                "cuda.syncthreads()",
            ]
            for name in names
        ]
        return "".join(_lines(indent, step) for step in steps)

    def store(u: int, c: str, column: str, value: str, condition: str = "") -> list[str]:
        here = ("group == 0 and " if G > 1 else "") + f"k0 + {u * L} < m" + condition
        return [
            f"if {here}:",
            f"    out[{column}, k{u}] = T({value} - decay * {c}) * trainable[{column}]",
        ]

    if not free:
        text += meet([f"total_{name}" for name in amplitudes], 8)
        for u in range(P):
            for c in range(C):
                text += _lines(
                    8, store(u, f"c{c}_{u}", f"c0 + {c}", f"total_a{c}_{u}", f" and c0 + {c} < K")
                )
    text += _lines(8, [f"c0 += {C}"])
    text += meet([f"total_{name}" for name in gradients], 4)
    for u in range(P):
        factor = f"theta[0, k{u}] * " if C == 1 else ""
        if free:
            sigma = (
                f"(total_b{u} * b{u} + "
                + " + ".join(f"total_w{j}_{u} * w{j}_{u}" for j in range(dim))
                + ")"
            )
            text += _lines(4, store(u, f"theta[0, k{u}]", "0", sigma))
        for j in range(dim):
            text += _lines(4, store(u, f"w{j}_{u}", f"K + {j}", f"{factor}total_w{j}_{u}"))
        text += _lines(4, store(u, f"b{u}", f"K + {dim}", f"{factor}total_b{u}"))
    return text


def source(
    kernel: str, dim: int, outputs: int, homogeneous: bool = False, unroll: int = 1, groups: int = 1
) -> str:
    """The text of one kernel: "mean_feature", "push_forward" or "pull_back", for this d and C = min(K, 4) outputs at a time."""
    if kernel == "pull_back":
        return _HEAD + backward(dim, outputs, homogeneous, unroll, groups)
    return _HEAD + forward(dim, outputs, kernel == "push_forward")
