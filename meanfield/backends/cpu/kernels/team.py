"""A job of a stretch, shared among threads none of which waits for another that is not there.

A worker takes a shard by writing the job's number to `claims`, works it into arrays of its own, and
says so in `done`; both by a compare-and-swap, so one worker only takes a shard and one result only
counts. The first worker, who leads, goes on when all shards are done. One that another worker has
taken and has not done within the time that a shard takes, since another process has its core, the
leader does again: it is the same code on the same numbers, so bits do not depend on who was first.
The late one finds its result no longer wanted. Each begins with shards of its own, whose particles
are in its cache, and goes on with what others have left.
"""

from numba import njit, types

from meanfield.backends.cpu.kernels.clock import now
from meanfield.backends.cpu.records import CALL, KNOWN, MOST, NUMBER, ROWS
from meanfield.backends.llvm.addresses import call
from meanfield.backends.llvm.atomics import load, pause, reads_end, store, swap

part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
sched_yield = types.ExternalFunction("sched_yield", types.int32())
SPINS = 10000  # of a helper without a job, before it lets others have its core


@part
def share(kernels, risk, method, work, me):
    """Do the job for all shards, with whoever helps: the part of the leader, me = 0."""
    shards = work.claims.size
    if work.rows.shape[0] == 1:
        call(kernels.work_shards, (kernels, risk, method, work, me, shards, me))
        return

    number, begun = load(work.control, NUMBER) + 1, now(work)
    store(work.control, NUMBER, number)
    made = max(1, _take(kernels, risk, method, work, number, me))
    ended, patient = now(work), True
    for shard in range(shards):
        while load(work.done, shard) // MOST != number:
            pause()
            if patient:
                patient = (now(work) - ended) * made < 1.5 * (ended - begun)
                continue
            before = load(work.done, shard)
            if before // MOST != number:
                work.again[me] = True
                call(kernels.work_shards, (kernels, risk, method, work, shard, shard + 1, me))
                swap(work.done, shard, before, number * MOST + me)
                work.again[me] = False
    _note(method, work)


@part
def assist(kernels, risk, method, work, turn, me):
    """Help with all jobs of this call of the leader."""
    seen, idle = 0, 0
    while load(work.control, CALL) == turn:
        number = load(work.control, NUMBER)
        if number != seen:
            _take(kernels, risk, method, work, number, me)
            seen, idle = number, 0
        elif idle < SPINS:
            idle += 1
            pause()
        else:
            sched_yield()


@part
def _take(kernels, risk, method, work, number, me):
    """Do the shards that nobody has taken, the own ones first; returns how many."""
    shards, workers = work.claims.size, work.rows.shape[0]
    first, last = me * shards // workers, (me + 1) * shards // workers
    made = 0
    for turn in range(shards):  # the own ones upwards, then downwards those of others
        shard = first + turn if turn < last - first else (last - 1 - turn) % shards
        taken = load(work.claims, shard)
        if taken < number and swap(work.claims, shard, taken, number):
            if me:
                _copy(work.job[0], work.job[me])
                reads_end()
            before = load(work.done, shard)
            if before // MOST < number:  # so the leader waits for it, and what was copied is whole
                call(kernels.work_shards, (kernels, risk, method, work, shard, shard + 1, me))
                swap(work.done, shard, before, number * MOST + me)
                made += 1
    return made


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
    for shard in range(work.claims.size):
        who = work.done[shard] % MOST
        owners[rows - 1, shard] = who
        if job.forward:
            owners[rows - 2, shard] = who
        if i >= 0:
            if job.begins != KNOWN:
                owners[ROWS + i, shard] = who
            if method.target[i]:
                owners[(job.now + method.target[i]) % ROWS, shard] = who
            if i < last and method.at[i + 1]:
                owners[(job.now + method.at[i + 1]) % ROWS, shard] = who
