"""Every contender of the benchmark computes the same; the sections fit one table, one JSON and the
README.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import naive
import numpy as np
import pytest
from bench import (
    against,
    bench,
    engine,
    gpu_tests,
    interactions,
    kernels,
    limits,
    loops,
    memory,
    peers,
    population,
    readme,
    report,
    runs,
    sections,
    small,
    steps,
    sweeps,
)

import meanfield as mf
from meanfield.backends.cpu import stretch
from meanfield.formulas import activations

QUICK = sections.Effort(rounds=1, seconds=0.0, quick=True)


def starting_point(dtype, m=6, n=5, d=3):
    rng = np.random.default_rng(3)
    return (
        rng.normal(size=(m, d + 2)).astype(dtype),
        rng.normal(size=(n, d)).astype(dtype),
        rng.normal(size=n).astype(dtype),
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", peers.ACTIVATIONS)
@pytest.mark.parametrize(
    "peer",
    [
        steps.Ours,
        *(
            pytest.param(peer, marks=pytest.mark.slow if "compile" in peer.name else ())
            for peer in peers.PEERS
        ),
    ],
    ids=lambda peer: peer.name,
)
def test_a_contender_takes_the_steps_of_the_slow_twin(monkeypatch, peer, activation, dtype):
    if peer in (peers.JaxJit, peers.JaxBlocked):
        pytest.importorskip("jax")
    monkeypatch.setattr(peers, "block_size", lambda *_, **__: 2)  # three blocks
    theta, x, y = starting_point(dtype)
    dt, network = 0.05, mf.Network(activation)
    contender = peer(theta, x, y, activation, dt)
    contender.step(1)
    contender.step(2)
    expected = theta.astype(np.float64)
    for _ in range(3):
        expected = naive.euler_step(
            lambda theta: naive.velocity(network, mf.State(theta), x, y), expected, dt
        )
    # three steps of sums of 30 terms of order one, some units in the last place
    tolerance = {"float64": 1e-13, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(contender.theta(), expected, rtol=tolerance, atol=tolerance)
    assert contender.theta().dtype == dtype


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(peer, marks=pytest.mark.slow if "compile" in peer.name else ())
        for peer in population.PEERS
    ],
    ids=lambda peer: peer.name,
)
def test_a_contender_of_the_pairs_takes_our_steps(monkeypatch, peer, dtype):
    """Sums of 40 terms of order one; ours is held to the slow twin in test_population.py."""
    if peer is population.JaxJit:
        pytest.importorskip("jax")
    monkeypatch.setattr(population, "BLOCK_BYTES", 2000)  # several blocks
    theta, teacher = engine.student(40, 3, dtype)
    ours, contender = (kind(theta, teacher, 0.05) for kind in (population.Ours, peer))
    for one in (ours, contender):
        one.step(1)
        one.step(2)
    tolerance = {"float64": 1e-13, "float32": 2e-5}[dtype]
    np.testing.assert_allclose(contender.theta(), ours.theta(), rtol=tolerance, atol=tolerance)
    assert contender.theta().dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("case", memory.cases()[:2], ids=lambda case: case.name)
def test_a_million_neurons_on_4096_samples_step_within_one_gigabyte(case):
    """An (n, m) array of float32 would be 16 GB; the issue is O(m p + n (d + chunks)), beside 0.2
    GB of libraries.
    """
    assert memory.run(case, QUICK)["peak_gb"] < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("section", bench.ON_GPU)
def test_the_bench_of_the_gpu_can_be_rehearsed_without_one(tmp_path, section):
    """Every goal set for a GPU is there and says whether it was reached."""
    pytest.importorskip("numba_cuda")
    command = [
        sys.executable,
        "-m",
        "tests.bench.bench",
        "--device",
        "cuda",
        "--dry-run",
        "--json",
        str(tmp_path / "out.json"),
        "--only",
        section,
        *(["--tests"] if section == "gpu_crossover" else []),
    ]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = report.read(tmp_path / "out.json")
    assert content["machine"]["gpu"] == "simulator" and "failed" not in content
    if section == "gpu_crossover":
        assert "test_on_a_gpu_a_hundred_million_neurons_step" in done.stdout
        assert content["tests"]["outcomes"] == {}  # they are collected alone
    results = content["results"]
    said = {
        goal["text"].split(" ≥ ")[0].split(" ≤ ")[0]
        for result in results
        for goal in result["goals"]
    }
    goals = {
        "torch eager",
        "the better of torch.compile and JAX",
        "of the FMA peak",
        "over cuBLAS alone",
        "GPU memory",
    }
    assert said == (goals if section == "gpu_steps" else set())
    assert all(
        text in done.stdout
        for result in results
        for text in (result["case"], *(goal["text"] for goal in result["goals"]))
    )


# erf has no formula of its own for both
@pytest.mark.parametrize("activation, dtype", [("tanh", "float32"), ("erf", "float64")])
def test_a_ceiling_is_that_of_every_value_and_slope_of_the_activation(activation, dtype):
    """None is left out: the sums over all rounds are those of the scalar functions. Sums of 15
    terms of at most 1.2.
    """
    module, sigma, rounds = limits.sums(activation, dtype, 2), activations.get(activation), 3
    b, x = np.linspace(-1, 1, module.COUNT).astype(dtype), np.linspace(-3, 3, 5).astype(dtype)
    z = b.astype(np.float64) + x[:, None]
    values, slopes = (
        rounds * np.vectorize(function)(z).sum(axis=0) for function in (sigma.value, sigma.slope)
    )
    # each term some ε, each of 15 partial sums of at most 15 · 1.2 half an ε
    tolerance = 15 * 15 * 1.2 * np.finfo(dtype).eps
    for kernel, expected in ((module.values, [values]), (module.both, [values, slopes])):
        out = np.full((3, len(expected), module.COUNT), np.nan, dtype)
        kernel(b, x, rounds, out)
        np.testing.assert_allclose(
            out, np.broadcast_to(expected, out.shape), rtol=0, atol=tolerance
        )


def test_a_step_is_held_against_its_multiply_adds_and_its_activation(monkeypatch):
    """d = 2: 6 operations a pair forward, 6 again and 6 for the sums backward; at 18 GFLOP/s those
    of 10³ pairs take 10⁻³ ms, 10³ evaluations at 0.5 and at 0.25 · 10⁹ a second 2 and 4 · 10⁻³ ms.
    """
    monkeypatch.setattr(steps, "PEERS", ())
    effort = sections.Effort(1, 0.0, peaks={"float32": 18.0})
    effort.ceilings["tanh", "float32"] = {"value": 0.5, "value_and_slope": 0.25}
    tanh = steps.run(steps.Case("tanh", 100, 10, 2, "float32"), effort)
    assert tanh["share_of_peak"] * tanh["ours_ms"] == pytest.approx(1e-3)
    assert tanh["share_of_limit"] * tanh["ours_ms"] == pytest.approx(7e-3)
    assert tanh["ceilings"] == {"value": 0.5, "value_and_slope": 0.25}
    relu = steps.run(steps.Case("relu", 100, 10, 2, "float32"), effort)
    assert relu["ceilings"] is None and relu["share_of_limit"] is None
    headings = [column.heading for column in steps.COLUMNS]
    table = sections.markdown(steps, [{"case": "", **result} for result in (tanh, relu)])
    cells = [
        line.split(" | ")[headings.index("of limit") + 1]
        for line in table.splitlines()
        if "---" not in line
    ]
    assert cells[0] == "of limit" and cells[1:] == [f"{tanh['share_of_limit']:.0%}", ""]


def test_blocks_divide_the_width():
    for m, n in ((1000, 100), (10**5, 256), (10**6, 64), (7, 3)):
        assert m % peers.block_size(m, n, 4) == 0


def test_cases_are_chosen_by_name():
    assert [case.name for _, case in bench.chosen(["steps"], ["relu-d784*"], quick=False)] == [
        "relu-d784-n1000-m1e4-float32",
        "relu-d784-n1000-m1e4-float64",
    ]
    assert {case.activation for _, case in bench.chosen(["steps"], ["tanh-*"], quick=True)} == {
        "tanh"
    }
    assert len(bench.chosen(["steps"], [], quick=True)) < len(
        bench.chosen(["steps"], [], quick=False)
    )
    names = [case.name for _, case in bench.chosen(bench.SECTIONS, [], quick=False)]
    assert len(set(names)) == len(names)
    with pytest.raises(SystemExit):
        bench.chosen(bench.SECTIONS, ["no-such-case"], quick=False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["empirical", "analytic"])
def test_contenders_for_a_kernel_compute_the_same_matrix(kind, dtype):
    """On 7 samples; `run` itself refuses a contender that differs."""
    if kind == "empirical":
        pytest.importorskip("jax")
    case = kernels.Case(kind, 3, 7, 5, dtype)
    result = kernels.run(case, QUICK)
    assert set(result["ms"]) == {"ours", "numpy"} | (
        {"torch.func", "jax"} if kind == "empirical" else set()
    )
    assert [goal.found for goal in result["goals"]] == [
        result["plain_ratio"] if kind == "analytic" else ANY
    ]


@pytest.mark.parametrize("interaction", interactions.INTERACTIONS)
def test_contenders_for_all_pairs_compute_the_same_velocity(monkeypatch, interaction):
    """`run` itself refuses a contender that differs."""
    pytest.importorskip("jax")
    monkeypatch.setitem(sys.modules, "pykeops", None)
    result = interactions.run(interactions.Case(interaction, 100, 2, "float64"), QUICK)
    assert set(result["ms"]) == {"ours", "torch", "jax"} | (
        {"torch products"} if interaction == "gaussian" else set()
    )
    assert result["absent"]["keops"].startswith("ModuleNotFoundError: ")


@pytest.mark.slow  # compiles by a C++ compiler
@pytest.mark.parametrize("interaction", interactions.INTERACTIONS)
def test_keops_computes_our_velocity(interaction):
    pytest.importorskip("pykeops")
    case = interactions.Case(interaction, 100, 2, "float64")
    x = np.random.default_rng(0).normal(size=(100, 2))
    expected = interactions.ours(case, x)()
    np.testing.assert_allclose(
        interactions.keops(case, x)(),
        expected,
        rtol=0,
        atol=interactions.TOLERANCE["float64"] * np.abs(expected).max(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", loops.WEIGHTS)
def test_torch_compiled_steps_of_small_problems_are_those_of_the_plain_loop(method):
    """Both parts of a count, what is unrolled and the rest: 2 calls of 4 steps and 1. Sums of 40
    terms of order one.
    """
    theta, x, y = starting_point("float64", m=40, n=30, d=2)
    kinds = (loops.TorchLoop, loops.PlainLoop)
    ends = []
    for kind in kinds:
        contender = kind(theta, x, y, "tanh", 0.01, method)
        contender.step(2 * loops.TorchLoop.unrolled + 1)
        ends.append(contender.theta())
    np.testing.assert_allclose(*ends, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("activation", "dtype", "method"), [("relu", "float64", "RK4"), ("tanh", "float32", "EULER")]
)
def test_contenders_for_small_problems_take_our_steps(monkeypatch, activation, dtype, method):
    """Seven steps more, of sums of 40 terms of order one."""
    case = small.Case(activation, 40, 30, dtype, method, 1.0)
    monkeypatch.setattr(loops.JaxScan, "lengths", (2, 1))  # each compiles
    monkeypatch.setattr("torch.compile", lambda steps, **_: steps)  # a minute; the slow test has it
    present, absent = small.contenders(case)
    assert set(present) >= {"ours", "loop", "numpy", "torch.compile"} and set(absent) <= {
        "jax.lax.scan"
    }
    tolerance = {"float64": 1e-13, "float32": 2e-5}[dtype]
    for contender in present.values():
        contender.step(7)
        expected = present["ours"].theta()
        np.testing.assert_allclose(contender.theta(), expected, rtol=tolerance, atol=tolerance)
        assert contender.theta().dtype == dtype


@pytest.mark.parametrize("method", ["EULER", "RK4"])
def test_the_steps_before_the_clock_have_called_all_that_is_compiled(monkeypatch, method):
    """Also where two threads share a stage, and a call of few Euler steps would not pay."""
    called, run = [], stretch.Stretch.run
    monkeypatch.setattr(stretch.Stretch, "run", lambda *all: (called.append(1), run(*all))[1])
    monkeypatch.setattr(stretch, "SHARED", -1)
    monkeypatch.setattr(stretch, "get_num_threads", lambda: 2)
    ours = small.Ours(*starting_point("float64", m=150, d=2), "relu", 0.01, method)
    ours.step(small.WARM)
    assert called
    # peers of several steps a call make single ones, too
    assert 0 < small.WARM % loops.TorchLoop.unrolled


def test_a_contender_that_computes_another_kernel_is_refused(monkeypatch):
    monkeypatch.setattr(kernels, "numpy_deep", lambda depth, dtype: lambda x: 2 * np.eye(len(x)))
    with pytest.raises(ArithmeticError, match="numpy computes another kernel"):
        kernels.run(kernels.Case("analytic", 2, 5, 3, "float64"), QUICK)


def toy_section(value):
    """A section whose one case measures `value`, at most 2 s asked."""
    goal = sections.Goal("time", 2.0, value, ".1f", " s", most=True)
    return SimpleNamespace(
        TITLE="toys",
        COLUMNS=(sections.Column("seconds", "s", ".1f"), sections.Column("peer", "peer", "")),
        cases=lambda quick=False: [sections.Named("toy")],
        run=lambda case, effort: {"seconds": value, "peer": None, "goals": [goal]},
    )


def test_the_exit_code_the_closing_lines_and_the_json_say_which_goals_were_missed(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(bench, "SECTIONS", ("toys",))
    for value, code, said in (
        (1.0, 0, "goals reached: 1, missed: 0"),
        (3.0, 1, "missed  toy: time ≤ 2.0 s: 3.0 s"),
    ):
        monkeypatch.setattr(bench, "section", lambda name, value=value: toy_section(value))
        assert bench.main(["--json", str(tmp_path / "out.json")]) == code
        assert said in capsys.readouterr().out
    # the later one of the two
    (result,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["results"]
    assert (
        result["seconds"] == 3.0
        and {"date", "commit"} <= result.keys()
        and not result["goals"][0]["reached"]
    )


def toys(monkeypatch, *works):
    """A section of cases toy-0, toy-1, … that do these works: functions of no argument."""
    cases = [sections.Named(f"toy-{place}", work) for place, work in enumerate(works)]
    toy = SimpleNamespace(
        TITLE="toys",
        COLUMNS=(sections.Column("seconds", "s", ".1f"),),
        cases=lambda quick=False: cases,
        run=lambda case, effort: {"seconds": case.of(), "goals": []},
    )
    monkeypatch.setattr(bench, "SECTIONS", ("toys",))
    monkeypatch.setattr(bench, "section", lambda name: toy)


def stop():
    raise KeyboardInterrupt


def fail():
    raise ArithmeticError("another step\nin two lines")


def kept(path):
    """({case: seconds}, {case: why it failed}) of a report."""
    content = report.read(path)
    results = {item["case"]: item["seconds"] for item in content["results"]}
    return results, content.get("failed", {})


def test_what_was_measured_before_a_signal_is_kept(monkeypatch, tmp_path, capsys):
    toys(monkeypatch, lambda: 1.0, stop, lambda: 3.0)
    path = tmp_path / "out.json"
    assert bench.main(["--json", str(path)]) == 75
    assert kept(path) == ({"toy-0": 1.0}, {})
    assert "stopped; not measured: toy-1 toy-2" in capsys.readouterr().err


def test_a_case_that_fails_loses_no_other_and_is_named(monkeypatch, tmp_path, capsys):
    """Until it is measured."""
    path = tmp_path / "out.json"
    toys(monkeypatch, fail, lambda: 2.0)
    assert bench.main(["--json", str(path)]) == 1
    assert kept(path) == ({"toy-1": 2.0}, {"toy-0": "ArithmeticError: another step"})
    assert "failed  toy-0: ArithmeticError: another step" in capsys.readouterr().out
    toys(monkeypatch, lambda: 1.0, lambda: 2.0)
    assert bench.main(["--json", str(path)]) == 0
    assert kept(path) == ({"toy-1": 2.0, "toy-0": 1.0}, {})


def test_minutes_are_shared_by_the_sections_and_what_is_left_comes_last(monkeypatch):
    """Ten minutes; a case takes four: one of each section, then one of what was left, at 8."""
    clock = [0.0]
    monkeypatch.setattr(bench.time, "monotonic", lambda: clock[0])
    selected = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5)]
    begun = []
    for pair in bench.in_time(selected, 10.0):
        begun.append(pair)
        clock[0] += 4.0
    assert begun == [("a", 1), ("a", 2), ("b", 4)]
    assert list(bench.in_time(selected, float("inf"))) == selected
    assert not list(bench.in_time(selected, clock[0]))


def test_after_its_minutes_the_bench_names_what_it_has_not_measured(monkeypatch, tmp_path, capsys):
    toys(monkeypatch, lambda: 1.0)
    assert bench.main(["--json", str(tmp_path / "out.json"), "--minutes", "1e-9"]) == 0
    assert "1e-09 minutes are over; not measured: toy-0" in capsys.readouterr().err


@pytest.mark.parametrize("there", ["a folder", "other text", "a list", "no folder"])
def test_a_report_that_cannot_be_kept_is_refused_before_any_work(
    monkeypatch, tmp_path, capsys, there
):
    toys(monkeypatch, lambda: pytest.fail("work was done"))
    path = tmp_path / "out.json"
    if there == "a folder":
        path.mkdir()
    elif there == "no folder":
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "out.json"
    else:
        path.write_text({"other text": "hello", "a list": "[1]"}[there], encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    try:
        code = bench.main(["--json", str(path)])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2 and str(path if there != "no folder" else path.parent) in said, said
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_is_found_before_any_work(monkeypatch, tmp_path, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    toys(monkeypatch, lambda: pytest.fail("work was done"))
    monkeypatch.setattr(Path, "write_text", full)
    assert bench.main(["--json", str(tmp_path / "out.json")]) == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err


def test_a_peer_that_cannot_take_part_is_absent_with_its_reason():
    def lacks_a_compiler():
        raise RuntimeError("InvalidCxxCompiler: no g++\nmore")

    makers = {"ours": lambda: 1, "peer": lacks_a_compiler, "other": lambda: 0}
    present, absent = sections.willing(makers, lambda contender: 1 / contender)
    assert present == {"ours": 1}
    assert absent == {
        "peer": "RuntimeError: InvalidCxxCompiler: no g++",
        "other": "ZeroDivisionError: division by zero",
    }
    with pytest.raises(RuntimeError):
        sections.willing({"ours": lacks_a_compiler})


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc to see processes in")
def test_the_busy_process_ends_with_the_one_that_measures_beside_it():
    program = """
import time
from bench import small
with small.a_busy_process() as process:
    print(process.pid, flush=True)
    time.sleep(60)
"""
    folder = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder.parent}"}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    busy = Path("/proc") / parent.stdout.readline().strip()
    assert busy.exists()
    parent.kill()
    parent.communicate()
    for _ in range(300):
        if not busy.exists() or ") Z " in (busy / "stat").read_text():
            return
        time.sleep(0.1)
    pytest.fail("it goes on alone")


def test_the_page_is_what_the_kept_measurements_make():
    """scripts/bench --readme; no number is typed by hand, and what was not measured says so."""
    page = readme.PAGE.read_text(encoding="utf-8")
    assert readme.filled(page, report.read(readme.STORED)) == page
    blocks = {name for _, name, _ in readme.BLOCK.findall(page)}
    assert blocks == {"machine", *bench.SECTIONS} - {"crossover"}
    empty = {"machine": report.read(readme.STORED)["machine"], "gigaflops": {}, "results": []}
    for result in report.read(readme.STORED)["results"][:1]:
        alone = readme.filled(page, {**empty, "results": [result]})
        assert alone.count("Not yet measured.") == len(blocks) - 2
        assert result["case"] in alone


def test_a_table_is_of_one_machine():
    """What another machine has measured stays where it is the only one that has."""
    stored = report.read(readme.STORED)
    everything = [item for part in readme.reports(stored) for item in part["results"]]
    old = {**stored, "results": everything, "elsewhere": []}

    def results(*sections):
        return [item for item in everything if item["section"] in sections]

    assert readme.merged(old, old) == old
    before = {**old, "results": results("steps", "w2")}
    new = {**before, "machine": {**old["machine"], "vectors": "AVX9"}, "results": results("w2")[:1]}
    both = readme.merged(new, before)
    assert both["results"] == new["results"]
    assert both["elsewhere"] == [{**old, "results": results("steps")}]
    page = readme.filled(readme.PAGE.read_text(encoding="utf-8"), both)
    assert all(
        f"- {A}: {readme.conditions(part)}" in page
        for A, part in zip("AB", readme.reports(both), strict=True)
    )
    assert page.count("Machine A.") == page.count("Machine B.") == 1
    assert ", AVX9, " in page
    assert readme.table(new, "w2") in page and readme.table(before, "steps") in page
    again = readme.merged({**new, "results": results("steps")}, both)
    assert again["results"] == results("steps") + new["results"] and not again["elsewhere"]


def test_a_test_of_a_gpu_leaves_a_line_as_soon_as_it_has_ended(monkeypatch, tmp_path):
    monkeypatch.setenv(gpu_tests.LOG, str(tmp_path / "log"))
    for when, outcome in (("setup", "passed"), ("call", "failed"), ("teardown", "passed")):
        gpu_tests.pytest_runtest_logreport(
            SimpleNamespace(
                when=when,
                outcome=outcome,
                failed=outcome == "failed",
                nodeid="one",
                duration=2.0,
                longreprtext="x" * 10**5 + "assert 1 == 2",
            )
        )
    (line,) = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    line = json.loads(line)
    assert line["said"].endswith("assert 1 == 2") and len(line["said"]) == gpu_tests.LONGEST
    assert (line["test"], line["outcome"], line["seconds"]) == ("one", "failed", 2.0)


def test_tests_of_a_gpu_that_take_too_long_are_ended(monkeypatch):
    monkeypatch.setattr(gpu_tests, "GRACE", 0.5)
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    for program, code in (("pass", 0), ("import time; time.sleep(60)", None), (deaf, None)):
        seconds = 20.0 if code == 0 else 0.5
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        assert gpu_tests.wait(process, seconds) == code
        assert process.poll() is not None


def test_results_of_another_machine_are_not_mixed_with_ours(tmp_path):
    path = tmp_path / "out.json"
    path.write_text(
        json.dumps(
            {
                "machine": {"cpu": "another"},
                "gigaflops": {},
                "results": [{"section": "w2", "case": "old"}],
            }
        )
    )
    report.Report(path).add({"section": "w2", "case": "new"}, {"float32": 1.0})
    assert [item["case"] for item in json.loads(path.read_text(encoding="utf-8"))["results"]] == [
        "new"
    ]
    assert json.loads((tmp_path / "out.other.json").read_text(encoding="utf-8"))["machine"] == {
        "cpu": "another"
    }
    report.Report(path).add({"section": "w2", "case": "newer"}, {})
    assert [item["case"] for item in json.loads(path.read_text(encoding="utf-8"))["results"]] == [
        "new",
        "newer",
    ]


def test_what_is_kept_of_one_machine_is_not_written_over_by_that_of_another(tmp_path):
    path = tmp_path / "out.json"
    for cpu in ("a", "b", "c"):
        path.write_text(json.dumps({"machine": {"cpu": cpu}, "gigaflops": {}, "results": []}))
        report.Report(path)
    kept = ["out.other.json", "out.other-2.json", "out.other-3.json"]
    assert [report.read(tmp_path / name)["machine"]["cpu"] for name in kept] == ["a", "b", "c"]


@pytest.mark.slow  # a time: beside other work it says nothing
def test_watching_a_run_costs_little(monkeypatch):
    """The best of three: measured 7 µs for a value a step (40 µs when BLAS was limited around each)
    and 0.05 s for recording 100 small frames. Generous: 4 times as much.
    """
    names = ("plain", "every step", "recorded")
    monkeypatch.setattr(runs, "WATCHES", {name: runs.WATCHES[name] for name in names})
    best = {
        name: min(row)
        for name, row in runs.seconds(runs.Case(64, 32, "float64", 1000), rounds=3).items()
    }
    assert best["every step"] - best["plain"] < 1000 * 28e-6
    assert best["recorded"] - best["plain"] < 0.2


def test_a_ratio_is_worse_where_the_best_turns_and_three_rounds_of_four_say_so():
    """Turns of 2 s there: the best of (1, 3, 3, 3) is 1 s here, and of (2.1, …) none is below 2 s."""
    there = (2.0, 2.0, 2.0, 2.0)
    one_turn_was_free = against.Compared(there, (1.0, 3.0, 3.0, 3.0))
    assert one_turn_was_free.ratio == 2.0 and not one_turn_was_free.worse
    one_turn_was_held_up = against.Compared(there, (2.1, 2.0, 2.0, 9.0))
    assert one_turn_was_held_up.ratio == 1.0 and not one_turn_was_held_up.worse
    assert against.Compared(there, (2.1, 2.2, 2.3, 2.1)).worse
    assert against.Compared(there, (1.0, 1.0, 1.0, 1.0)).scatter == (2.0, 2.0)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Empty, and of all sections: each compiles what those before have not."""
    return tmp_path_factory.mktemp("caches")


@pytest.mark.parametrize("section", bench.OF_ENGINE)
def test_the_engine_alone_makes_a_small_case_of_every_section(caches, section):
    (_, case), *_ = bench.chosen([section], [], quick=True)
    if section == "memory":
        case = sections.Named("memory-toy", steps.Case("relu", 100, 10, 2, "float32"))
    side = against.Side(against.ROOT, caches)
    side.ask(against.described(section, case))
    assert side.answer() == {}
    assert side.turn(0.0) > 0.0
    side.ask({"section": "of another commit"})
    assert side.answer()["error"].startswith("KeyError")
    side.close()


def test_a_commit_without_a_module_is_not_given_that_of_the_one_installed(tmp_path):
    for package in ("meanfield", "sims"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (case,) = sweeps.cases(quick=True)
    side = against.Side(tmp_path, tmp_path)
    side.ask(against.described("sweeps", case))
    # the name of that command before sims/commands
    assert "-m sims.sweep create" in side.answer()["error"]
    side.close()


def test_a_commit_is_measured_against_itself_and_leaves_no_worktree(capsys):
    if not (against.ROOT / ".git").exists():
        pytest.skip("a copy without its history")
    options = ["--quick", "--cases", "w2-moved-m300-p4", "--rounds", "1"]
    assert bench.main(["--against", "HEAD", *options]) == 0
    said = capsys.readouterr().out
    assert "w2-moved-m300-p4" in said and "worse beyond the scatter: " in said
    assert not [line for line in against.git("worktree", "list").splitlines() if "/tree " in line]
    assert bench.main(["--against", "no-such-commit", *options]) == 2
    assert "no commit of this repository" in capsys.readouterr().err
