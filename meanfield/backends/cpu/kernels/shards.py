"""One job of a stretch for one shard of particles: a stage's velocity, what it adds to θ, the point
of the next stage, and that point's mean features.

The particles of a shard stay in a cache meanwhile, and threads meet once a stage. A worker writes
to its own arrays alone and reads those of the worker who did the shard before (`owners`), so that a
job can be done twice, and the one who is late does no harm: team.py. What a job reads it does not
write. A helper reads the job in a copy of its own, since the leader may have gone on to another.
"""

from numba import njit

from meanfield.backends.bound import T
from meanfield.backends.cpu.records import ERROR, KNOWN, PULL_BACK, RIDGE, ROWS, SIZE, SPEED
from meanfield.backends.llvm.addresses import call

compiled = njit(error_model="numpy", cache=True, no_cfunc_wrapper=True, _nrt=False)
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)


@compiled
def work_shards(kernels, risk, method, work, first, last, me):
    """The job for the shards from first to last, by worker `me`."""
    job, owners = work.job[me], work.owners
    shards = owners.shape[1]
    i = job.stage
    for shard in range(first, last):
        at, who = job.now, owners[job.now, shard]
        if i >= 0:
            _stage(kernels, risk, method, work, shard, me)
            at = (job.now + method.at[i + 1]) % ROWS
            who = me if method.fresh[i] else owners[at, shard]
            if i == method.b.size - 1:
                _of_new(kernels, risk, method, work, work.lines[who, at], shard, me)

        if job.forward:
            given = shard, shards, work.rows[who, at], work.weight, risk.x, work.partial[me]
            call(kernels.mean_feature, (*given, work.kept[me]))


@part
def _advance(kernels, work, base, coefficient, stage, out, columns, kind, shard, me):
    given = shard, work.claims.size, base, coefficient, stage, out, work.weight, work.alike
    call(kernels.advance, (*given, columns, work.scratch[me], work.norms[me, kind]))


@part
def _stage(kernels, risk, method, work, shard, me):
    """k_i, the new θ as far as it has grown, the point of the next stage."""
    job, owners, p = work.job[me], work.owners, work.everything.size
    m, shards = work.weight.size, work.claims.size
    i, now, dt = job.stage, job.now, job.dt
    keeper = me
    if job.begins == PULL_BACK:
        at = (now + method.at[i]) % ROWS
        _pull_back(kernels, risk, work, owners[at, shard], at, i, shard, me)
    elif job.begins == KNOWN:
        keeper = owners[ROWS + i, shard]
    else:
        last = method.b.size - 1
        before = work.stage_lines[owners[ROWS + last, shard], last]
        for e in range(shard * m // shards * p, (shard + 1) * m // shards * p):
            work.stage_lines[me, i, e] = before[e]
    stage = work.stage_lines[keeper, i]

    source, target = (now + method.source[i]) % ROWS, (now + method.target[i]) % ROWS
    base, out = work.lines[owners[source, shard], source], work.lines[me, target]
    out = out if method.target[i] else out[:0]
    coefficient, columns = T(dt * method.b[i]), work.everything
    _advance(kernels, work, base, coefficient, stage, out, columns, SPEED, shard, me)

    if i < method.b.size - 1 and method.at[i + 1]:
        point = work.lines[me, (now + method.at[i + 1]) % ROWS]
        base = work.lines[owners[now, shard], now]
        for j in range(i + 1):
            if method.a[i + 1, j] != 0.0:
                whose = keeper if j == i else owners[ROWS + j, shard]
                coefficient = T(dt * method.a[i + 1, j])
                stage = work.stage_lines[whose, j]
                call(kernels.add_scaled, (shard, shards, p, base, coefficient, stage, point))
                base = point


@part
def _pull_back(kernels, risk, work, who, at, i, shard, me):
    """v of θ at this place, as stage i."""
    if kernels.velocity:
        return  # made by stage
    if risk.pairs:
        given = shard, work.claims.size, work.rows[who, at], work.weight, work.stage_rows[me, i]
        call(kernels.pull_back, (*given, 0, work.claims.size))
    elif kernels.sides:
        given = shard, work.claims.size, work.lines[who, at], work.terms[me], work.whole[me]
        out = work.stage_lines[me, i]
        call(kernels.pull_back, (*given, risk.decay, risk.trainable, out))
    else:
        # what another worker keeps, who may do this job too, may be that of the next point already
        own = work.owners[work.owners.shape[0] - 2, shard] == me
        kept = work.kept[me] if own else work.nothing
        given = shard, work.claims.size, work.rows[who, at], risk.x
        last = work.padded, risk.decay, risk.trainable, work.stage_rows[me, i], kept
        if risk.blocked:
            call(kernels.pull_back, (*given, risk.transposed, *last))
        else:
            call(kernels.pull_back, (*given, *last))


@part
def _of_new(kernels, risk, method, work, new, shard, me):
    """∫|…|² dμ of the new θ, and of its error by an embedded pair."""
    job, p = work.job[me], work.everything.size
    error = new
    if job.error:
        last = method.b.size - 1
        spare = work.lines[me, (job.now + 3 + (last + 1) % 2) % ROWS]
        first = method.leading
        scale = job.dt * method.gaps[first]
        error = work.stage_lines[work.owners[ROWS + first, shard], first]
        for j in range(first + 1, last + 1):
            if method.gaps[j] != 0.0:
                whose = me if j == last else work.owners[ROWS + j, shard]
                ratio, stage = T(job.dt * method.gaps[j] / scale), work.stage_lines[whose, j]
                call(kernels.add_scaled, (shard, work.claims.size, p, error, ratio, stage, spare))
                error = spare
    for kind in range(SIZE, ERROR + 1):
        wanted = job.watches_size if kind == SIZE else job.ridge if kind == RIDGE else job.error
        if wanted:
            line = error if kind == ERROR else new
            columns = risk.trainable if kind == RIDGE else work.everything
            _advance(kernels, work, line, T(0), line, line[:0], columns, kind, shard, me)
