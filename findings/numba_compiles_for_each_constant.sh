#!/usr/bin/env bash
# numba compiles a function once for each constant that compiled code passes to it, though nothing in it needs the constant;
# a loop variable, a cast or a signature brings one copy back. (Release notes of 0.50 say that types that are no literals are preferred.)
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check numba==0.68.1 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import numba


def shifted(x, n):
    return x + n


def copies(caller, *signature):
    """How many times the callee is compiled for one call of the caller."""
    callee = numba.njit(*signature)(shifted)
    numba.njit(caller(callee))(1.0)
    print(caller.__name__, "->", callee.signatures)
    return len(callee.signatures)


def constants(f):
    return lambda x: f(x, 1) + f(x, 2) + f(x, 3)


def flags(f):
    return lambda x: f(x, True) + f(x, False)


def casts(f):
    return lambda x: f(x, numba.int64(1)) + f(x, numba.int64(2)) + f(x, numba.int64(3))


def loop(f):
    def total(x):
        found = 0.0
        for n in range(1, 4):
            found += f(x, n)
        return found

    return total


print("numba", numba.__version__)
assert copies(constants) == 3, "numba no longer compiles for each whole number"
assert copies(flags) == 2, "numba no longer compiles for each flag"
assert copies(casts) == 1, "a cast no longer brings one copy back"
assert copies(loop) == 1, "a loop variable no longer brings one copy back"
assert copies(constants, ["float64(float64, int64)"]) == 1, "a signature no longer brings one copy back"
PYTHON
echo "Three constants are three compilations; a cast, a loop variable or a signature makes them one."
