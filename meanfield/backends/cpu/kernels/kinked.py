"""The fused pull-back for a σ that is linear on either side of 0, such as ReLU: σ'(z) is `below` or
`above`.

    G_w = Σ_i r_i σ'(z_i) x_i = below Σ_i r_i x_i + (above - below) Σ_{i: z_i > 0} r_i x_i,   G_b alike with 1 in place of x_i
    g_w = a G_w,   g_b = a G_b,   g_a = ⟨w, G_w⟩ + b G_b

The first sum is the same for all particles, the second one is llvm/half_spaces.py's: it reads (x, r
x, r) sample by sample. By the first, a NaN among the residuals reaches every velocity. BELOW and
JUMP are `below` and `above` - `below`.
"""

from numba import njit

from meanfield.backends.bound import BELOW, BY_ADDRESS, FASTMATH, JUMP, D, T
from meanfield.backends.llvm.half_spaces import at_once, lanes, side_sums, transposer
from meanfield.backends.llvm.intrinsics import fma, stack_array
from meanfield.backends.unroll import each

BLOCK = 64
LANES = lanes(T().itemsize)
STEP = at_once(D) * LANES
sums_above = side_sums(D, at_once(D))
split = transposer(D + 2)
join = transposer(D + 2, back=True)
kernel = njit(fastmath=FASTMATH, no_rewrites=True, **BY_ADDRESS)
# r x is rounded before it is added
plain = njit(error_model="numpy", nogil=True, cache=True, no_cfunc_wrapper=True)
block_of = stack_array((D + 2, BLOCK))
sums_of = stack_array((D + 1, BLOCK))
spare_of = stack_array((D + 2) * BLOCK)


@plain
def sides(x, slopes, terms, whole):
    """r x_0, …, r of the terms (tiles, size, 2 D + 1) of the samples, behind x_0, …, and their sums
    over all samples; of padded ones as many as fit.
    """
    added = [0.0 for c in each(D + 1)]
    for tile in range(x.shape[0]):
        for i in range(terms.shape[1]):
            r = slopes[tile, 0, i]
            for j in each(D):
                v = r * x[tile, j, i]
                terms[tile, i, D + j] = v
                added[j] += v
            terms[tile, i, 2 * D] = r
            added[D] += r
    for c in each(D + 1):
        whole[c] = added[c]


@kernel
def pull_back(shard, shards, theta, terms, whole, decay, trainable, out):
    """θ and out as one line of numbers each, whose blocks are cut without a row for each particle."""
    m = theta.size // (D + 2)
    start, stop = shard * m // shards, (shard + 1) * m // shards
    columns, rates = block_of(T(0)), block_of(T(0))
    sums = sums_of(0.0)
    spare, spare_made = spare_of(T(0)), spare_of(T(0))  # for a last block that is not full
    t = [columns[j] for j in each(D + 2)]
    v = [rates[j] for j in each(D + 2)]
    free = [trainable[j] for j in each(D + 2)]
    g = [sums[c] for c in each(D + 1)]
    base = [whole[c] for c in each(D + 1)]
    for first in range((D + 2) * start, (D + 2) * stop, (D + 2) * BLOCK):
        last = first + (D + 2) * BLOCK
        last = last if last < (D + 2) * stop else (D + 2) * stop
        block, made = theta[first:last], out[first:last]
        full = block.size == spare.size
        count = (block.size // (D + 2) + STEP - 1) // STEP * STEP
        if not full:
            for e in range(block.size, spare.size):
                spare[e] = T(0)
            for e in range(block.size):  # an assignment of slices would take seconds to compile
                spare[e] = block[e]
        for l in range(0, count, LANES):
            split((block if full else spare)[(D + 2) * l :], columns[:, l:])

        sums[:] = 0.0
        for tile in range(terms.shape[0]):
            for l in range(0, count, STEP):
                sums_above(columns[1:, l:], terms[tile], sums[:, l:])

        for l in range(count):
            a = t[0][l]
            G = [T(fma(JUMP, g[c][l], BELOW * base[c])) for c in each(D + 1)]
            v_a = -(decay * a)
            for c in each(D + 1):
                v_a = fma(G[c], t[1 + c][l], v_a)
            v[0][l] = v_a * free[0]
            for c in each(D + 1):
                v[1 + c][l] = fma(a, G[c], -(decay * t[1 + c][l])) * free[1 + c]

        for l in range(0, count, LANES):
            join((made if full else spare_made)[(D + 2) * l :], rates[:, l:])
        if not full:
            for e in range(made.size):
                made[e] = spare_made[e]
