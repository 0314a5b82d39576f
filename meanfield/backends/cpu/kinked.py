"""Source text of the fused pull-back for a σ that is linear on either side of 0, such as ReLU: σ'(z) is `below` or `above`.

    G_w = Σ_i r_i σ'(z_i) x_i = below Σ_i r_i x_i + (above - below) Σ_{i: z_i > 0} r_i x_i,   G_b alike with 1 in place of x_i
    g_w = a G_w,   g_b = a G_b,   g_a = ⟨w, G_w⟩ + b G_b

The first sum is the same for all particles, the second one is half_spaces.py's: it reads (x, r x, r) sample by sample. By the
first, a NaN among the residuals reaches every velocity.
"""

from __future__ import annotations

from ...formulas.activations import Activation
from . import half_spaces


def slopes(sigma: Activation) -> tuple[float, float] | None:
    """(σ'(-1), σ'(1)) where σ is positively homogeneous, σ(z) = z σ'(z), and at 0 has the slope from below; else None."""
    if sigma.homogeneity != 1.0 or sigma.slope(0.0) != sigma.slope(-1.0):
        return None
    return float(sigma.slope(-1.0)), float(sigma.slope(1.0))


def pull_back(dim: int, below: float, above: float) -> str:
    """Text of the kernel pull_back (one output) for this d and these slopes of σ."""
    p = dim + 2
    terms = list(
        enumerate(range(1, dim + 2))
    )  # of a sum: its number and the column of θ, w_0, …, b

    def lines(indent: int, texts: list[str]) -> str:
        return "".join(" " * indent + text + "\n" for text in texts)

    totals = [f"G{c} = T(fma({above - below!r}, g{c}[l], {below!r} * whole{c}))" for c, _ in terms]
    rates = [f"v{j}[l] = fma(a, G{c}, -(decay * t{j}[l])) * trainable{j}" for c, j in terms]
    v_a = "-(decay * a)"
    for c, j in terms:
        v_a = f"fma(G{c}, t{j}[l], {v_a})"
    return f"""

BLOCK = 64  # half_spaces.py {half_spaces.version()}
side_sums, lanes = half_spaces.side_sums({dim}), half_spaces.lanes(T().itemsize)
split, join = half_spaces.transposer({p}), half_spaces.transposer({p}, back=True)


@shard_kernel
def pull_back_shard(start, stop, theta, terms, whole, decay, trainable, out):
    columns, rates, sums = np.empty(({p}, BLOCK), T), np.empty(({p}, BLOCK), T), np.empty(({dim + 1}, BLOCK))
    spare, spare_made = np.zeros({p} * BLOCK, T), np.empty({p} * BLOCK, T)  # for a last block that is not full
{lines(4, [f"t{j}, v{j}, trainable{j} = columns[{j}], rates[{j}], trainable[{j}]" for j in range(p)])}\
{lines(4, [f"g{c}, whole{c} = sums[{c}], whole[{c}]" for c, _ in terms])}\
    for first in range({p} * start, {p} * stop, {p} * BLOCK):
        last = min({p} * stop, first + {p} * BLOCK)
        block, made = theta[first:last], out[first:last]
        full = block.size == spare.size
        if not full:
            for e in range(block.size):  # an assignment of slices would take seconds to compile
                spare[e] = block[e]
        for l in range(0, BLOCK, lanes):
            rows = (block if full else spare)[{p} * l:]
            split(rows.ctypes.data, columns[:, l:].ctypes.data, columns.strides[0], T(0))
        sums[:] = 0.0
        for tile in range(terms.shape[0]):
            for l in range(0, BLOCK, lanes):
                weights, found = columns[1:, l:].ctypes.data, sums[:, l:].ctypes.data
                side_sums(weights, columns.strides[0], terms[tile].ctypes.data, terms.shape[1], found, sums.strides[0], T(0))
        for l in range(BLOCK):
            a = t0[l]
{lines(12, totals)}\
            v0[l] = {v_a} * trainable0
{lines(12, rates)}\
        for l in range(0, BLOCK, lanes):
            rows = (made if full else spare_made)[{p} * l:]
            join(rows.ctypes.data, rates[:, l:].ctypes.data, rates.strides[0], T(0))
        if not full:
            for e in range(made.size):
                made[e] = spare_made[e]


@kernel
def pull_back(theta, x, slopes, decay, trainable, out, shards):
    m, tiles, size = theta.shape[0], x.shape[0], x.shape[2]
    terms, whole = np.empty((tiles, size, {2 * dim + 1}), T), np.zeros({dim + 1})  # of a sample: x_0, …; r x_0, …, r
    for tile in range(tiles):
        for i in range(size):
            r = slopes[tile, 0, i]
            for j in range({dim}):
                terms[tile, i, j] = x[tile, j, i]
                terms[tile, i, {dim} + j] = r * x[tile, j, i]
            terms[tile, i, {2 * dim}] = r
            for c in range({dim + 1}):
                whole[c] += terms[tile, i, {dim} + c]
    for shard in prange(shards):
        start, stop = shard * m // shards, (shard + 1) * m // shards
        pull_back_shard(start, stop, theta.reshape(theta.size), terms, whole, decay, trainable, out.reshape(out.size))
"""
