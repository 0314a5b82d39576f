#!/usr/bin/env bash
# torch.func.functional_call puts the given parameters into the module while it runs. Of two calls of one module that overlap in two
# threads the first computes with the second's parameters, the second with the module's own, and the first's stay in the module
# for good; no error, no warning. Expected of a call that is functional: each its own parameters, and the module as it was. (Its
# page says "by replacing the module parameters", and nothing about threads.) A copy of the module for each thread is right.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 2>/dev/null

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import copy
import threading

import torch
from torch import nn
from torch.func import functional_call


class Scale(nn.Module):
    """x -> w x; says that it is inside, and waits until it may go on."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        mine = threading.current_thread().name
        inside[mine].set()
        go_on[mine].wait()
        return self.w * x


def overlapping(modules):
    """(results of threads "first" and "second", w of the first module afterwards)."""
    global inside, go_on
    inside, go_on = ({name: threading.Event() for name in ("first", "second")} for _ in range(2))
    found = {}

    def call(module, w):
        found[threading.current_thread().name] = functional_call(module, {"w": torch.tensor(w)}, (torch.tensor(1.0),)).item()

    threads = [
        threading.Thread(target=call, args=(module, w), name=name)
        for name, module, w in zip(("first", "second"), modules, (10.0, 20.0))
    ]
    for thread in threads:  # the second enters while the first is inside
        thread.start()
        inside[thread.name].wait()
    for thread in threads:  # and the first leaves before the second
        go_on[thread.name].set()
        thread.join()
    return found["first"], found["second"], modules[0].w.item()


module = Scale()
own = overlapping([copy.deepcopy(module) for _ in range(2)])
shared = overlapping([module, module])
print(f"torch {torch.__version__}: w x at x = 1, w = 10 and 20; then the module's w, which was 1")
print("one module:        ", *shared)
print("a copy each:       ", *own)
assert own == (10.0, 20.0, 1.0), "copies are no way out any more"
assert shared == (20.0, 1.0, 10.0), "two threads are another matter than they were"
PYTHON
echo "Each of two overlapping calls computed with parameters that it was not given, and the module kept a caller's."
