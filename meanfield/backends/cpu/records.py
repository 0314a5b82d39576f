"""What a stretch of steps works on, as compiled code reads it: kernels/stretch.py, team.py and
shards.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

FIXED, HALVING, ERROR_CONTROL = range(3)  # clocks
PULL_BACK, KNOWN, LAST = range(3)  # where a stage comes from: LAST, of a step whose last point is θ
SPEED, SIZE, RIDGE, ERROR = range(4)  # norms of a shard: of its stage, of θ, of what a ridge sees
MOST = 64  # workers
CALL, NUMBER = 0, 8  # in Work.control, apart: the call that helpers belong to, its last job
APART = 8  # int64 of a line of a cache
ROWS = 5  # θ of now; the new one as it grows, at two places in turn; a stage's point, likewise

# What a stretch goes on with, and when it stops. Names are those of the clocks and of March. known,
# given: whether Work.features, and the first row of Work.stage_rows, are those of the first θ, or of
# the last. looked: moments seen on the way; next_step, next_time: how many of Notes.steps and times
# are behind; speed2: of the first stage of the last step. Of motion.py: half, window: the steps at
# which the window has its middle and its end (-1: there are no windows); before: the steps before it;
# least: those of half of one at least; windows: those that have ended.
STATE = np.dtype(
    [
        *((name, np.int64) for name in ("clock", "step", "last_step", "leg_step", "leg_count", "traced")),
        *((name, np.int64) for name in ("half", "window", "before", "least", "windows")),
        *((name, np.int64) for name in ("looked", "next_step", "next_time")),
        *((name, np.bool_) for name in ("traces", "watches_size", "kinked", "still", "sound", "refused", "known", "given")),
        *((name, np.float64) for name in ("t", "dt", "leg_t", "t_end", "target", "until", "span", "seconds")),
        *((name, np.float64) for name in ("path", "path_half", "dissipated", "energy", "energy_least", "size2", "speed2")),
        *((name, np.float64) for name in ("noise", "chatter", "rtol", "atol")),
    ],
    align=True,
)  # fmt: skip

# What is to be done with each shard. first: stage of the step; -1: the mean features of now alone.
# known: whether Work.features are those of now.
JOB = np.dtype(
    [
        *((name, np.int64) for name in ("first", "stage", "now", "begins")),
        *(
            (name, np.bool_)
            for name in ("known", "forward", "watches_size", "ridge", "error", "energy")
        ),
        ("dt", np.float64),
        ("apart", np.int64, 10),  # from the job of the next worker, who has another core's cache
    ],
    align=True,
)


class Look(NamedTuple):
    """A moment that was seen on the way. windows: those of motion.py that had ended; total: Σ_i ℓ_i;
    ridge2: ∫|θ|² dμ over what a ridge sees; way2, moved2: ∫|Δθ|² dμ since the start of the run, and
    since that of the window; largest: |component of θ|.
    """

    step: int
    windows: int
    t: float
    dt: float
    path: float
    path_half: float
    dissipated: float
    energy: float
    total: float
    ridge2: float
    speed2: float
    way2: float
    moved2: float
    largest: float


COUNTS = ("step", "windows")
LOOK = np.dtype(
    [(name, np.int64 if name in COUNTS else np.float64) for name in Look._fields], align=True
)

# What is behind Risk.places (kernels/stretched_pairs.py): addresses of kernels and of float64 arrays,
# but for those of a cloud (pairs.py), which are in the dtype of the sums; numbers. A teacher's cloud
# has its θ; velocity: the kernel, where the sums are in another dtype than the stages, else 0.
CLOUD = np.dtype(
    [(name, np.int64) for name in (
        "count", "tiles", "size", "blocks", "theta", "directions", "amplitudes", "parameters", "factor",
        "squares", "sums", "potential", "finish",
    )]
)  # fmt: skip
POPULATION = np.dtype(
    [
        *((name, np.int64) for name in ("prepare", "pair_sums", "velocity", "shards", "totals", "total")),
        *((name, np.int64) for name in ("of_teacher", "of_itself", "trainable", "spare")),
        *(("decay", np.float64), ("own", CLOUD), ("teacher", CLOUD)),
    ]
)  # fmt: skip
POINTS = np.dtype(
    [(name, np.int64) for name in ("values", "shards", "weight", "mass", "alone", "paired")]
)


class Kernels(NamedTuple):
    """Addresses of the kernels of a step, for one shard; sides: 0 where the pull-back needs none;
    velocity: of all shards at once, where there is one; energy: of points that meet each other.

    Called by address they are no part of what calls them, which the compiler would work through
    again at each level: a third of its time.
    """

    stage: int
    work_shards: int
    advance: int
    add_scaled: int
    mean_feature: int
    pull_back: int
    sides: int
    total: int
    slopes: int
    velocity: int
    energy: int


class Risk(NamedTuple):
    """The samples and the loss as the kernels read them. importance: of the samples; empty without
    weights.
    """

    x: np.ndarray
    transposed: np.ndarray  # empty for fused kernels
    labels: np.ndarray
    importance: np.ndarray
    trainable: np.ndarray
    decay: Any  # λ in the dtype
    coupled: bool
    blocked: bool
    pairs: bool  # no samples: velocities are sums over pairs of particles, which one worker has
    s: float
    s_squared: float
    factor: float
    ridge: float
    # addresses of what kernels.velocity and kernels.energy need besides: stretched_pairs.py
    places: int
    energy_places: int


class Method(NamedTuple):
    """A tableau. gaps: b - b_embedded, none without an embedded pair, and the first that is not 0;
    last_is_new: θ_{n+1} is the last stage's point.

    Places of θ in Work.rows, counted from that of now; 0 also for none: `at` of the stages' points
    and of the new θ, and for each stage the `source` to which it is added and its `target`; fresh:
    whether its job writes at[i + 1].
    """

    a: np.ndarray
    b: np.ndarray
    gaps: np.ndarray
    leading: int
    last_is_new: bool
    at: np.ndarray
    source: np.ndarray
    target: np.ndarray
    fresh: np.ndarray


class Work(NamedTuple):
    """Arrays that are written to; a first index is that of the worker whose own they are. rows and
    lines, stage_rows and stage_lines, partial and sums are two views of the same.
    """

    weight: np.ndarray
    alike: np.ndarray  # whether those of a shard are equal: (shards,)
    everything: np.ndarray
    rows: np.ndarray  # (workers, ROWS, m, p)
    lines: np.ndarray
    stage_rows: np.ndarray  # (workers, stages, m, p)
    stage_lines: np.ndarray
    partial: np.ndarray  # (workers, shards, tiles, K, size)
    sums: np.ndarray
    kept: np.ndarray  # z of the blocked kernels, σ(z) of the fused: (workers, tiles, m, size)
    nothing: np.ndarray  # kept, where it is not: (0, 0, 0)
    norms: np.ndarray  # (workers, SPEED …, shards)
    scratch: np.ndarray  # (workers, …)
    column: np.ndarray  # (shards,)
    means: np.ndarray  # the norms of all shards: (SPEED …)
    features: np.ndarray  # F, s F and -s⁻¹ ∂R/∂f of the samples: (n, K)
    predictions: np.ndarray
    slopes: np.ndarray
    padded: np.ndarray  # (tiles, K, size) in the dtype
    terms: np.ndarray  # kinked.py: (workers, tiles, size, 2 d + 1)
    whole: np.ndarray  # (workers, d + 1)
    job: np.ndarray  # of JOB: (workers,); the first is the leader's, others are helpers' copies
    owners: np.ndarray  # whose rows hold it: (ROWS + stages, then kept and the job before; shards)
    order: np.ndarray  # shards by the worker who begins with them: (shards,)
    first: np.ndarray  # where those of a worker begin: (workers + 1,)
    claims: np.ndarray  # in this order: the last job for which a shard was taken …
    done: np.ndarray  # … and was done: number · MOST + worker
    branches: int  # nodes of a level of the tree of sums: each has shards of one worker alone
    keepers: np.ndarray  # whose the r-th of them is, and the shards below it: (shards,)
    folds: np.ndarray  # its sums: (workers, …, as in sums)
    folded: np.ndarray  # for which job a worker has made those of all its nodes, APART
    control: np.ndarray
    clock: np.ndarray


class Notes(NamedTuple):
    """What a call writes down on its way. Apart from Work, which kernels pass on."""

    trace: np.ndarray  # t, Σ_i ℓ_i and F after each step: (as many steps as a call makes, 3)
    start: np.ndarray  # θ at the start of the window: (m p,)
    windows: np.ndarray  # t, the path, that at the middle, |Δθ|² of those that ended: (WINDOWS, 4)
    origin: np.ndarray  # θ at the start of the run: (m p,)
    steps: np.ndarray  # moments to be seen, each list with one that never comes
    times: np.ndarray
    looks: np.ndarray  # of LOOK: those that were
    seen: np.ndarray  # … and their θ: (as many as there is room for, m p)
