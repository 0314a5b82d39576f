"""The kernel cache on disk: a second process compiles nothing, an edited formula is never mistaken for the old one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A user's activation, so that its constant can be edited, through every kernel of one d. Prints what numba's cache did.
SCRIPT = """
import json, sys
import numpy as np
import meanfield as mf
from meanfield import tangent
from meanfield.backends import cpu, loss_kernels

def value(z):
    return {constant} * z

def slope(z):
    return {constant}

counts, kernels, results = dict(hits=0, misses=0), {{}}, []
for K in {outputs}:
    rng = np.random.default_rng(K)
    state = mf.State(rng.normal(size=(5, K + {d} + 1)), outputs=K)
    network = mf.Network(mf.Activation("own", value, slope), scaling=mf.NTK)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, rng.normal(size=(6, {d})), rng.normal(size=(6, K))))
    before = flow.on_device(state).backend.compiled()
    results += [float(flow.predict(state)[0, 0])]
    if {everything}:
        end = mf.simulate(flow, state, mf.HEUN, dt=0.1, n_steps=2, progress=False)
        field = flow.on_device(state)
        results += [flow.risk(end), tangent.largest_eigenvalue(field, field.backend.upload(state.theta))]
    modules = [vars(flow.on_device(state).backend.kernels), vars(loss_kernels._kernels(flow.functional.loss)), vars(cpu)]
    for kernel in [item for module in modules for item in module.values() if hasattr(getattr(item, "_cache", None), "_impl")]:
        kernels[id(kernel)] = kernel  # those that have a cache of their own; the others are compiled into them
for kernel in kernels.values():
    counts["hits"] += sum(kernel.stats.cache_hits.values())
    counts["misses"] += sum(kernel.stats.cache_misses.values())
print(json.dumps(dict(counts, before=before, results=results)))
"""


def run(folder, constant, d=1, outputs=(1,), everything=True):
    """The script in a fresh process with its own cache folder."""
    text = SCRIPT.format(constant=constant, d=d, outputs=outputs, everything=everything)
    environment = {**os.environ, "MEANFIELD_CACHE": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_process_compiles_nothing_and_an_edited_formula_misses(tmp_path):
    first = run(tmp_path, 2.0)
    assert first["misses"] > 0 and not first["before"]
    again = run(tmp_path, 2.0)
    assert again["misses"] == 0 and again["hits"] == first["hits"] + first["misses"] >= 7 and again["before"]
    assert again["results"] == first["results"]
    edited = run(tmp_path, 3.0, everything=False)
    assert edited["misses"] > 0 and not edited["before"]
    assert edited["results"][0] == pytest.approx(1.5 * first["results"][0], rel=1e-14)  # σ = 3z in place of 2z
    assert run(tmp_path, 2.0)["misses"] == 0  # the old formula is still there


@pytest.mark.slow
@pytest.mark.parametrize(("d", "outputs"), [(3, (3,)), (13, (1, 3))])
def test_kernels_of_several_outputs_and_of_many_dimensions_are_found_too(tmp_path, d, outputs):
    first = run(tmp_path, 2.0, d, outputs)
    again = run(tmp_path, 2.0, d, outputs)
    assert first["misses"] > 0 and again["misses"] == 0 and again["results"] == first["results"]


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    """The reader chose it, so nothing else is used in its place."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    environment = {**os.environ, "MEANFIELD_CACHE": str(blocked), "PYTHONPATH": str(ROOT)}
    code = "from meanfield.backends import formulas; formulas.folder()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert f"MEANFIELD_CACHE={blocked} is not a writable folder" in done.stderr
