"""Names that kernel files use and `compiler.load` binds: the dtype, the formulas, and what is
constant in one kernel.

Nothing here is ever called: a kernel file imports these names so that a reader, ruff and an editor
know them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

T: Any = np.float64  # the dtype: numbers become T(number)
FASTMATH: Any = False  # compiler.FASTMATH
BY_ADDRESS: Any = {}  # compiler.BY_ADDRESS

# Formulas: σ and σ', or ℓ and ℓ'; a pair of neurons; a pairwise energy; a Gaussian expectation.
value: Any = None
slope: Any = None
value_and_slope: Any = None
slope_of_value: Any = None  # σ(z) -> σ'(z)
prepare: Any = None
pair: Any = None
finish: Any = None
linear: Any = None
U: Any = None
grad_U: Any = None
V: Any = None
grad_V: Any = None
phi: Any = None  # of a particle, and of a sample
grad_phi: Any = None
dual: Any = None
words: Any = None  # of the random numbers, noise.py
normal_pair: Any = None

# Constants, each of one kernel.
D: Any = 2  # inputs, or coordinates
K: Any = 1  # outputs
S: Any = 1  # sums over pairs beside the vector V; samples of a thread of a GPU
C: Any = 1  # outputs worked at once
P: Any = 1  # particles of a thread, or worked at once
G: Any = 1  # groups of threads in a block
L: Any = 1  # threads of a group
R: Any = 1  # rows of a tile of shared memory
WIDTH: Any = 4  # numbers in such a row
TERMS: Any = 1024  # of a sum in T, at most
SHARE: Any = 1  # … that one group works
THREADS: Any = 1  # of a block
COLUMNS: Any = 3  # numbers that a particle sums
ALIGN: Any = None  # bytes, of a tile
PUSH: Any = False  # whether it is a derivative in a direction
FREE: Any = False  # whether one of the gradients follows from the others
INPUTS: Any = 1  # numbers of a sample
COUNT: Any = 1  # how many are worked at once
VECTORS: Any = 1  # of numbers in registers, worked at once
BELOW: Any = 0.0  # σ' below 0 …
JUMP: Any = 1.0  # … and how much more it is above
LOOPS: Any = False  # whether loops over each(…) stay loops (unroll.py)
PAIRED: Any = True  # whether there is an interaction U
SELF_PAIRS: Any = True  # whether a particle meets itself
KEEPS: Any = False  # whether σ of the forward pass may be kept for the pull-back
WEIGHTED: Any = False  # whether samples have weights
