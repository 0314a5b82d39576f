#!/usr/bin/env bash
# numba takes no notice of OMP_NUM_THREADS, and its first parallel kernel sets OpenMP's number of threads for the whole process:
# torch, which had taken OMP_NUM_THREADS=1, computes on more threads from then on. Expected: torch's number stays as it was, and a
# library whose threads are OpenMP's goes by OpenMP's variable. NUMBA_NUM_THREADS is the variable that numba reads.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6 torch==2.13.0 2>/dev/null

cat >"$folder/threads.py" <<'PROGRAM'
import sys

import numba
import numpy as np
import torch


@numba.njit(parallel=True)
def total(x):
    found = 0.0
    for i in numba.prange(x.size):
        found += x[i]
    return found


before = torch.get_num_threads()
total(np.ones(10))
after = torch.get_num_threads()
print(f"numba {numba.__version__} (layer {numba.threading_layer()}), torch {torch.__version__}, OMP_NUM_THREADS=1")
print(f"torch's threads before numba's first parallel kernel: {before}, after: {after}; numba's: {numba.get_num_threads()}")
if numba.threading_layer() != "omp" or numba.config.NUMBA_DEFAULT_NUM_THREADS < 2:
    print("another threading layer, or one core: nothing to see here")
    sys.exit(0)
sys.exit((before, after) != (1, numba.get_num_threads()))
PROGRAM

env -u NUMBA_NUM_THREADS OMP_NUM_THREADS=1 "$python" "$folder/threads.py" || { echo "it has changed" >&2; exit 1; }
