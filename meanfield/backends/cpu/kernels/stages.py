"""A stage of a step: what concerns all particles is done here, the rest by a team, shard by shard."""

from numba import njit

from meanfield.backends.bound import T
from meanfield.backends.cpu.kernels.team import assist, fold, share
from meanfield.backends.cpu.kernels.trees import tree_sum
from meanfield.backends.cpu.records import APART, NUMBER, PULL_BACK, ROWS
from meanfield.backends.llvm.addresses import call
from meanfield.backends.llvm.atomics import load

# the wrapper of Python is what helpers are called by
compiled = njit(error_model="numpy", cache=True, nogil=True, no_cfunc_wrapper=True, _nrt=False)
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)


@compiled
def stage(kernels, risk, method, work, turn, me):
    """The stage that work.job names, by the leader; one with me > 0 helps with all of call `turn`.

    Mean features are those of the job before; job.energy: after the last stage those of the new θ
    are made, too.
    """
    if me:
        assist(kernels, risk, method, work, turn, me)
        return
    job = work.job[0]
    i, last = job.stage, method.b.size - 1
    at_end = i == last and job.energy and not risk.pairs
    turns = 2 if at_end and not method.last_is_new else 1
    for again in range(turns):
        pulls_back = i >= 0 and job.begins == PULL_BACK and not risk.pairs
        if again or (pulls_back and not (i == 0 and job.known)):
            _features(work)
        if again == 0:
            if pulls_back:
                _slopes(kernels, risk, work)
            elif i >= 0 and job.begins == PULL_BACK and kernels.velocity:
                theta = work.rows[0, (job.now + method.at[i]) % ROWS]
                call(kernels.velocity, (theta, work.stage_rows[0, i], risk.places))
            share(kernels, risk, method, work, me)
            _means(work, 1 if i < last else work.means.size)
    if i == last:
        job.known = at_end or method.last_is_new


@part
def _features(work):
    """F(x_i) of the job before, into work.features: RiskField.features."""
    owners = work.owners[work.owners.shape[0] - 1]
    outputs, tiles, size = work.partial.shape[3], work.partial.shape[2], work.partial.shape[4]
    number, shards = load(work.control, NUMBER), owners.size
    for keeper in range(work.rows.shape[0]):
        if load(work.folded, keeper * APART) != number:
            fold(work, keeper, 0, True)
    for r in range(work.branches):
        keeper = work.keepers[r]
        if work.branches == shards or (keeper and load(work.folded, keeper * APART) == number):
            total = work.folds[0, r]
            other = work.folds[keeper, r] if work.branches < shards else work.sums[owners[r], r]
            for e in range(total.size):
                total[e] = other[e]
    count = work.branches
    while count > 1:  # backend.tree_sum
        half = (count + 1) // 2
        for r in range(count - half):
            total, other = work.folds[0, r], work.folds[0, half + r]
            for e in range(total.size):
                total[e] += other[e]
        count = half

    n, m = work.features.shape[0], work.weight.size
    total = work.folds[0, 0]
    if outputs == 1:  # tiles follow one another
        features = work.features.reshape(n)
        for i in range(n):
            features[i] = total[i] / m
        return
    for tile in range(tiles):
        for c in range(outputs):
            for i in range(min(size, n - tile * size)):
                place = (tile * outputs + c) * size + i
                work.features[tile * size + i, c] = total[place] / m


@part
def _means(work, count):
    """∫|…|² dμ of the job before, the first `count` of SPEED, …: CPU.norm."""
    owners, column = work.owners[work.owners.shape[0] - 1], work.column
    for kind in range(count):
        for shard in range(column.size):
            column[shard] = work.norms[owners[shard], kind, shard]
        work.means[kind] = tree_sum(column) / work.weight.size


@part
def _slopes(kernels, risk, work):
    """-s⁻¹ ∂R/∂f(x_i) of work.features, into work.padded: RiskField.slopes."""
    n, outputs = work.features.shape
    size = work.padded.shape[2]
    factor = -1.0 * risk.factor
    if risk.coupled:
        for i in range(n):
            for c in range(outputs):
                work.slopes[i, c] = 0.0
                work.predictions[i, c] = risk.s * work.features[i, c]
        call(kernels.slopes, (work.predictions, risk.labels, work.slopes))
        for i in range(n):
            for c in range(outputs):
                work.slopes[i, c] = factor * work.slopes[i, c] / risk.s
    else:
        call(kernels.slopes, (work.features, risk.labels, risk.s, factor, work.slopes))
    if risk.importance.size:
        for i in range(n):
            for c in range(outputs):
                work.slopes[i, c] = risk.importance[i] * work.slopes[i, c]

    if outputs == 1:
        slopes, padded = work.slopes.reshape(n), work.padded.reshape(work.padded.size)
        for i in range(n):
            padded[i] = T(slopes[i])
    else:
        for i in range(n):
            for c in range(outputs):
                work.padded[i // size, c, i % size] = work.slopes[i, c]
