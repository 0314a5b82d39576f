"""The kernel cache on disk: a second process compiles nothing, an edited formula is never mistaken
for the old one.
"""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numba
import numpy as np
import pytest

import meanfield as mf
from meanfield.backends import compiler
from meanfield.formulas.activations import TABLE

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = types.ModuleType("parameters")  # of a user, whose numbers a formula reads

# A user's activation, so that its constant can be edited, through every kernel of one d. Prints
# what numba's cache did.
SCRIPT = """
import json, sys
import numpy as np
import meanfield as mf
from meanfield import tangent
from meanfield.backends.cpu import losses as loss_kernels

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
        results += [flow.risk(end), field.tangent_eigenvalue(mf.Particles.of(state, field.backend))]
    backend = flow.on_device(state).backend
    modules = backend.kernels, backend.rows, loss_kernels.Kernels(flow.functional.loss).module()
    for kernel in [one for module in modules for one in vars(module).values()]:
        if hasattr(getattr(kernel, "_cache", None), "_impl"):  # those that have a cache of their own
            kernels[id(kernel)] = kernel
for kernel in kernels.values():
    counts["hits"] += sum(kernel.stats.cache_hits.values())
    counts["misses"] += sum(kernel.stats.cache_misses.values())
print(json.dumps(dict(counts, before=before, results=results)))
"""


def run(folder, constant, d=1, outputs=(1,), everything=True):
    """The script in a fresh process with its own cache folder."""
    text = SCRIPT.format(constant=constant, d=d, outputs=outputs, everything=everything)
    environment = {**os.environ, "MEANFIELD_CACHE": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_process_compiles_nothing_and_an_edited_formula_misses(tmp_path):
    first = run(tmp_path, 2.0)
    assert first["misses"] > 0 and not first["before"]
    again = run(tmp_path, 2.0)
    assert (
        again["misses"] == 0
        and again["hits"] == first["hits"] + first["misses"] >= 7
        and again["before"]
    )
    assert again["results"] == first["results"]
    edited = run(tmp_path, 3.0, everything=False)
    assert edited["misses"] > 0 and not edited["before"]
    # σ = 3z in place of 2z
    assert edited["results"][0] == pytest.approx(1.5 * first["results"][0], rel=1e-14)
    assert run(tmp_path, 2.0)["misses"] == 0  # the old formula is still there


@pytest.mark.slow
@pytest.mark.parametrize(("d", "outputs"), [(3, (3,)), (13, (1, 3))])
def test_kernels_of_several_outputs_and_of_many_dimensions_are_found_too(tmp_path, d, outputs):
    first = run(tmp_path, 2.0, d, outputs)
    again = run(tmp_path, 2.0, d, outputs)
    assert first["misses"] > 0 and again["misses"] == 0 and again["results"] == first["results"]


BITS = """
import math
import sys
import numpy as np
import meanfield as mf

mine = mf.Activation("mine", lambda z: 0.3 * z * z + z * math.tanh(z), lambda z: z * z + 0.6 * math.sin(z) * z, check=False)
cases = (mine, 2, 1, "float32"), ("relu", 2, 2, "float64"), ("leaky_relu", 2, 1, "float32"), ("relu", 13, 1, "float64")
for sigma, d, K, dtype in cases[: int(sys.argv[1])]:
    rng = np.random.default_rng(d)
    state = mf.State(rng.normal(size=(300, K + d + 1)), outputs=K)
    risk = mf.EmpiricalRisk(mf.Network(sigma, scaling=mf.NTK), rng.normal(size=(50, d)), rng.normal(size=(50, K)))
    field = mf.GradientFlow(risk, dtype=dtype).on_device(state)
    particles = mf.Particles.of(state, field.backend)
    theta, weight = particles.theta, field.weight(particles)
    made = (
        field.backend.mean_feature(theta, weight, field.samples),
        field.backend.pull_back(theta, field.samples, rng.normal(size=(50, K)), decay=0.3),
        field.backend.push_forward(theta, weight, field.samples, field.backend.upload(state.theta[::-1])),
    )
    print([array.tobytes().hex() for array in made])
"""


@pytest.mark.parametrize("cases", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_process_that_compiles_a_kernel_and_a_later_one_have_the_same_bits(tmp_path, cases):
    """What a kernel calls is compiled twice, and only the second copy is on disk: sums that the
    compiler were free to reorder ("reassoc"), and a b + c d, of which it may fuse either product
    ("contract"), would differ between the two, and a resumed run from one that was never
    interrupted.
    """
    environment = {**os.environ, "MEANFIELD_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BITS, str(cases)]
    fresh, cached = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert fresh.stdout == cached.stdout and len(fresh.stdout) > 1e4 * cases


BROUGHT_TOGETHER = """
import sys
import numba
import numpy as np
import meanfield as mf

for _ in range(int(sys.argv[1])):
    numba.njit(lambda: 0)()  # takes a number of those by which numba tells functions of one name apart
for sigma in sys.argv[2:]:
    rng = np.random.default_rng(0)
    risk = mf.EmpiricalRisk(mf.Network(sigma), rng.normal(size=(56, 17)), rng.normal(size=56))
    print(mf.GradientFlow(risk).velocity(mf.State(rng.normal(size=(90, 19)))).tobytes().hex())
"""


def test_kernels_that_several_processes_have_cached_work_together_in_one(tmp_path):
    """Of matrix products for one vector of columns and for several, each process compiles both,
    under numbers of its own.
    """
    environment = {**os.environ, "MEANFIELD_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def velocities(*words):
        command = [sys.executable, "-c", BROUGHT_TOGETHER, *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    alone = velocities("0", "relu") + velocities("1", "square") + velocities("2", "linear")
    assert velocities("0", "relu", "square", "linear") == alone


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    """The reader chose it, so nothing else is used in its place."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    environment = {**os.environ, "MEANFIELD_CACHE": str(blocked), "PYTHONPATH": str(ROOT)}
    code = "from meanfield.backends import compiler; compiler.folder()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert f"MEANFIELD_CACHE={blocked} is not a writable folder" in done.stderr


def test_an_activation_computes_with_the_default_it_was_made_with():
    """Two formulas of one text that differ in a default, or in a number of another module, are two
    kernels.
    """
    rng = np.random.default_rng(0)
    state, x = mf.State(rng.normal(size=(5, 3))), rng.normal(size=(6, 1))
    a, w, b = state.theta.T
    for scale in (1.0, 3.0):
        PARAMETERS.scale = scale

        def by_default(z, scale=scale):
            return scale * z

        def by_module(z):
            return PARAMETERS.scale * z

        def slope(z, scale=scale):
            return scale

        for value in (by_default, by_module):
            network = mf.Network(mf.Activation("own", value, slope))
            found = mf.GradientFlow(mf.EmpiricalRisk(network, x, x[:, 0]), dtype="float32").predict(
                state
            )[:, 0]
            expected = (a * scale * (x * w + b)).mean(axis=1)
            np.testing.assert_allclose(
                found, expected, rtol=0, atol=30 * np.finfo(np.float32).eps * scale
            )


def test_the_fingerprint_sees_what_a_compiler_takes_as_a_constant():
    def made(table, compiled_value):
        helper = numba.njit(eval(f"lambda z: {compiled_value} * z"))

        def formula(z):
            return helper(z) + table[1000]

        return compiler.fingerprint(formula)

    one, other = np.zeros(2000), np.zeros(2000)
    other[1000] = 1.0  # in the middle, which repr leaves out
    assert made(one, 2.0) == made(one.copy(), 2.0)
    assert len({made(one, 2.0), made(other, 2.0), made(one, 3.0)}) == 3


def test_a_number_of_a_users_slope_that_changes_is_compiled_anew_beside_our_value():
    """Also where kernels are given σ, and both at once, and no slope by itself."""
    around = {"rate": 1.0, "__name__": "mine"}
    exec("def slope(z): return rate * z", around)
    sigma = mf.Activation("mine", TABLE["tanh"].value, around["slope"], check=False)
    used = compiler.of_activation(sigma)
    for names in (("value", "slope"), ("value", "value_and_slope")):
        made = []
        for around["rate"] in (1.0, 2.0, 1.0):
            given = {name: used[name] for name in names}
            made.append(compiler.load("users_slope", "", "float64", given))
        assert made[0] is made[2] and made[0] is not made[1]


def test_kernels_whose_text_does_not_run_to_its_end_are_not_kept():
    """As when Ctrl-C comes while they are loaded: the next call tries again, and does not find half
    of them.
    """
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compiler.load("interrupted", "first = 1\nraise KeyboardInterrupt\n", "float64", {})
