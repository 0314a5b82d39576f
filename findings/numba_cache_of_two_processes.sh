#!/usr/bin/env bash
# numba.njit(cache=True) numbers the files of one function's compiled code by its index, which it reads and writes without a lock. Where
# two processes compile the function for different arguments at the same moment, both take the same number: one index is left, whose
# entry may name the code of the other. Every later process that asks for these arguments loads code of the others, again and again,
# without a warning: compile() of one signature leaves the other in .signatures, and f(7) of "return x" is 7.0.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check numba==0.68.1 numpy==2.4.6

COUNT=1200
for ((k = 0; k < COUNT; k++)); do
    printf '@numba.njit(cache=True)\ndef f%d(x):\n    return x\n\n' "$k"
done | cat <(printf 'import numba\n\n') - >functions.py

cat >compile_all.py <<'PYTHON'
import multiprocessing
import sys

import functions
import numba


def work(kind, together, count):
    numba.njit(lambda x: x).compile((kind,))
    for k in range(count):
        together.wait()  # both processes are at the same function
        getattr(functions, f"f{k}").compile((kind,))


if __name__ == "__main__":
    method = multiprocessing.get_context("fork")
    together = method.Barrier(2)
    kinds = numba.int64, numba.float64
    two = [method.Process(target=work, args=(kind, together, int(sys.argv[1]))) for kind in kinds]
    for each in two:
        each.start()
    for each in two:
        each.join()
PYTHON
cat >load_all.py <<'PYTHON'
import sys

import functions
import numba

wrong = []
for k in range(int(sys.argv[1])):
    for kind in (numba.int64, numba.float64):
        function = numba.njit(cache=True)(getattr(functions, f"f{k}").py_func)
        function.compile((kind,))
        if function.signatures != [(kind,)]:
            wrong.append((kind, function.signatures, function(7)))
print("numba", numba.__version__)
print(f"signatures that compile() took another one for: {len(wrong)} of {2 * int(sys.argv[1])}")
assert wrong, "no entry has the code of other arguments any more"
asked, found, value = wrong[0]
print(f"the first: asked for {asked}, found {found}, f(7) = {value!r}")
PYTHON

venv/bin/python compile_all.py "$COUNT"
venv/bin/python load_all.py "$COUNT"
