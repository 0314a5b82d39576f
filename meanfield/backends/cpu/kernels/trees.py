"""The tree by which numbers of shards are added, as backend.tree_sum does it."""

from numba import njit

part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)


@part
def tree_sum(column):
    """The sum of a column, which is written to."""
    left = column.size
    while left > 1:
        half = (left + 1) // 2
        for r in range(left - half):
            column[r] += column[half + r]
        left = half
    return column[0]
