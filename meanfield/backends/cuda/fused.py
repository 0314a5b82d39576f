"""What the fused kernels of a GPU are made with for one d and K: how much a thread has in its
registers.

The kernels are kernels/fused_forward.py and kernels/fused_backward.py.

As compiled for sm_90, ReLU at d = 2 in float32: forward 5.4 instructions a pair (k, i) in the inner
loop, 3 of them FMA; backward, with P = 2, 7.7, 4 of them FMA. Not yet run on a GPU.
"""

from __future__ import annotations

from typing import Any

from .compiler import ALIGN

THREADS = 128  # a block
TERMS = 1024  # of a sum in T
TILE_BYTES = 2**15  # of shared memory: THREADS rows of up to 31 coordinates in float64
FORWARD_GROUPS = 4  # of one warp: a group's lanes hold 32·S samples
# particles in a forward tile, a barrier for every 64 rows of a group; half as many where rows are
# wide
FORWARD_ROWS = 256


def samples_a_thread(dim: int) -> int:
    """S: as many as the registers allow."""
    return 4 if dim <= 5 else 2


def row_width(count: int) -> int:
    """Numbers in a row of a shared tile: a whole number of 16 bytes, for float32 four."""
    return -(-count // 4) * 4


def rows_of_tile(row_bytes: int, groups: int) -> int:
    """Rows of a tile in TILE_BYTES, at most one a thread and at least one a group."""
    rows = THREADS
    while rows > groups and rows * row_bytes > TILE_BYTES:
        rows //= 2
    return rows


def tile(count: int, itemsize: int, groups: int) -> dict[str, Any]:
    """Constants of a kernel whose threads have a target each and meet all sources in rows of `count`
    numbers.
    """
    width = row_width(count)
    rows = rows_of_tile(width * itemsize, groups)
    return {
        "G": groups,
        "L": THREADS // groups,
        "R": rows,
        "SHARE": rows // groups,
        "WIDTH": width,
        "TERMS": TERMS,
        "THREADS": THREADS,
        "ALIGN": ALIGN,
    }


def forward(dim: int, outputs: int, push: bool) -> dict[str, Any]:
    """Constants of the kernel `forward`, for C = `outputs` at a time: mean_feature, or push_forward
    for push.
    """
    width = row_width((dim + 1 + outputs) * (2 if push else 1))
    rows = FORWARD_ROWS // FORWARD_GROUPS
    return {
        "D": dim,
        "C": outputs,
        "S": samples_a_thread(dim),
        "G": FORWARD_GROUPS,
        "L": THREADS // FORWARD_GROUPS,
        "R": rows if width <= 16 else rows // 2,
        "PUSH": push,
        "TERMS": TERMS,
        "WIDTH": width,
        "ALIGN": ALIGN,
    }


def backward(
    dim: int, outputs: int, homogeneous: bool, unroll: int = 1, groups: int = 1
) -> dict[str, Any]:
    """Constants of the kernel `pull_back` for P = `unroll` particles a thread; homogeneous: σ(z) =
    z σ'(z).
    """
    return {
        "D": dim,
        "C": outputs,
        "P": unroll,
        "G": groups,
        "L": THREADS // groups,
        "FREE": homogeneous and outputs == 1,
        "TERMS": TERMS,
        "WIDTH": row_width(dim + outputs),
        "ALIGN": ALIGN,
    }
