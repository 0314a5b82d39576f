"""A job of a stretch, shared among threads none of which waits for another that is not there.

A worker takes a shard by writing the job's number to `claims`, works it into arrays of its own, and
says so in `done`; both by a compare-and-swap, so one worker only takes a shard and one result only
counts. The first worker, who leads, goes on when all shards are done. One that another worker has
taken and has not done within the time that a shard takes, since another process has its core, the
leader does again: it is the same code on the same numbers, so bits do not depend on who was first.
The late one finds its result no longer wanted. Each begins with shards of its own, whose particles
are in its cache, and goes on with what others have left.

A line of a cache that another core has read costs its writer, at the next job, as much as hundreds
of operations. So a worker's own shards are those of whole branches of the tree by which mean
features are added: it adds them up itself, and the leader reads one sum for all of them (`folds`).
Each makes the terms of the samples for itself, and what has not changed is not written.
"""

from numba import njit, types

from meanfield.backends.cpu.kernels.clock import now
from meanfield.backends.cpu.records import APART, CALL, KNOWN, MOST, NUMBER, PULL_BACK, ROWS
from meanfield.backends.llvm.addresses import call
from meanfield.backends.llvm.atomics import load, pause, reads_end, store, swap

part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
sched_yield = types.ExternalFunction("sched_yield", types.int32())
PATIENCE = 1 / 8  # of the time that the own shards took, before one takes those of others
REST = 16  # moments between two looks at what another writes
# a helper without a job waits so long before it lets others have its core: longer than the leader works
# alone at a moment that is looked at. A pause takes 9 ns on one machine and 50 on another
SECONDS = 1e-3


@part
def share(kernels, risk, method, work, me):
    """Do the job for all shards, with whoever helps: the part of the leader, me = 0."""
    shards = work.claims.size
    if work.rows.shape[0] == 1:
        _sides(kernels, risk, work, me)
        call(kernels.work_shards, (kernels, risk, method, work, me, shards, me))
        if work.job[0].forward:
            for shard in range(shards):
                _put(work.owners, work.owners.shape[0] - 2, shard, me)
        return

    number, begun = load(work.control, NUMBER) + 1, now(work, me)
    store(work.control, NUMBER, number)
    _sides(kernels, risk, work, me)
    made = max(1, _take(kernels, risk, method, work, number, me))
    ended, patient = now(work, me), True
    for place in range(shards):
        while load(work.done, place) // MOST != number:
            pause()
            if patient:
                patient = (now(work, me) - ended) * made < 1.5 * (ended - begun)
                continue
            before = load(work.done, place)
            if before // MOST != number:
                shard = work.order[place]
                call(kernels.work_shards, (kernels, risk, method, work, shard, shard + 1, me))
                swap(work.done, place, before, number * MOST + me)
    _note(method, work)


@part
def assist(kernels, risk, method, work, turn, me):
    """Help with all jobs of this call of the leader."""
    seen, idle, since = 0, 0, now(work, me)
    while load(work.control, CALL) == turn:
        number = load(work.control, NUMBER)
        if number != seen:
            # Where the leader is at another job already these are no numbers, and nothing is left
            # to be taken.
            _sides(kernels, risk, work, me)
            _take(kernels, risk, method, work, number, me)
            seen, idle, since = number, 0, now(work, me)
        elif idle % REST or now(work, me) - since < SECONDS:
            idle += 1
            pause()
        else:
            sched_yield()


@part
def _take(kernels, risk, method, work, number, me):
    """Do the shards that nobody has taken, the own ones first; returns how many."""
    shards, first, last = work.claims.size, work.first[me], work.first[me + 1]
    own, begun = last - first, now(work, me)
    made = 0
    for turn in range(shards):  # the own ones upwards, then downwards those of others
        if turn == own and _all_taken_soon(work, number, me, begun):
            break
        place = first + turn if turn < own else (last - 1 - turn) % shards
        taken = load(work.claims, place)
        if taken < number and swap(work.claims, place, taken, number):
            if me:
                _copy(work.job[0], work.job[me])
                reads_end()
            before = load(work.done, place)
            if before // MOST < number:  # so the leader waits for it, and what was copied is whole
                shard = work.order[place]
                call(kernels.work_shards, (kernels, risk, method, work, shard, shard + 1, me))
                made += 1
                if made == own == turn + 1 and work.job[me].forward:
                    fold(work, me, me, False)
                    store(work.folded, me * APART, number)
                swap(work.done, place, before, number * MOST + me)
    return made


@part
def _all_taken_soon(work, number, me, begun):
    """Whether the others take all of their shards while one that is ready can wait for it: it would
    have to read their sums, and they to write where it has read.
    """
    workers = work.rows.shape[0]
    ended, other = now(work, me), 0
    latest = ended + PATIENCE * (ended - begun)
    while other < workers:
        last = work.first[other + 1] - 1  # they take them upwards
        if other == me or load(work.claims, last) >= number:
            other += 1
        elif now(work, me) > latest:
            return False
        else:
            for _ in range(REST):
                pause()
    return True


@part
def fold(work, keeper, me, noted):
    """Add up the keeper's branches of the tree: from arrays of its own, or (noted) from those of
    whoever has made them.
    """
    shards, owners = work.claims.size, work.owners[work.owners.shape[0] - 1]
    count = shards
    while count > work.branches:
        half = (count + 1) // 2
        for r in range(half):
            if work.keepers[r] == keeper:
                total = work.folds[me, r]
                if count == shards:
                    one = work.sums[owners[r] if noted else me, r]
                    for e in range(total.size):
                        total[e] = one[e]
                if half + r < count:
                    other = work.folds[me, half + r] if count < shards else one
                    if count == shards:
                        other = work.sums[owners[half + r] if noted else me, half + r]
                    for e in range(total.size):
                        total[e] += other[e]
        count = half


@part
def _sides(kernels, risk, work, me):
    """What kinked.py reads of the samples, for this worker, if the job has a pull-back."""
    if kernels.sides and work.job[0].stage >= 0 and work.job[0].begins == PULL_BACK:
        call(kernels.sides, (risk.x, work.padded, work.terms[me], work.whole[me]))


@part
def _copy(job, own):
    """What a worker reads of a job."""
    own.stage, own.now, own.begins, own.dt = job.stage, job.now, job.begins, job.dt
    own.forward, own.watches_size = job.forward, job.watches_size
    own.ridge, own.error = job.ridge, job.error


@part
def _note(method, work):
    """Whose arrays hold what the job has written."""
    job, owners = work.job[0], work.owners
    i, rows = job.stage, owners.shape[0]
    last = method.b.size - 1
    for place in range(work.claims.size):
        shard, who = work.order[place], work.done[place] % MOST
        _put(owners, rows - 1, shard, who)
        if job.forward:
            _put(owners, rows - 2, shard, who)
        if i >= 0:
            if job.begins != KNOWN:
                _put(owners, ROWS + i, shard, who)
            if method.target[i]:
                _put(owners, (job.now + method.target[i]) % ROWS, shard, who)
            if i < last and method.at[i + 1]:
                _put(owners, (job.now + method.at[i + 1]) % ROWS, shard, who)


@part
def _put(owners, row, shard, who):
    if owners[row, shard] != who:
        owners[row, shard] = who
