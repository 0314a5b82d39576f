"""The call that makes many steps is compiled once runs have lost as much without it as that takes: rent
until the rent paid is the price, then buy.

A Stretch that says it is not compiled stands for an empty cache, a new Ledger for another process.
"""

import numpy as np
import pytest

import meanfield as mf
from meanfield.backends.cpu import stretch
from meanfield.processes import ledger
from meanfield.stepping import stretches

STEPS = 200
LOST = stretches.SAVED * 4 * (STEPS - stretches.ALONE)  # of a run


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Begins a process on a machine that has compiled nothing, of this ledger; returns that."""

    def begin(kept=None):
        kept = kept or ledger.Ledger("kind")
        monkeypatch.setattr(stretch, "_not_compiled", set())
        monkeypatch.setattr(stretch, "_ledger", lambda kind: kept)
        return kept

    monkeypatch.setattr(ledger, "folder", lambda: tmp_path)
    monkeypatch.setattr(stretch.Stretch, "compiled", False)
    return begin


def problem():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20, 2))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.sin(x[:, :1])))
    return flow, mf.InitialLaw(2).sample(50, seed=1)


def half_square(x, y):
    return 0.5 * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2)


def toward(x, y, out):
    out[0] = x[0] - y[0]
    out[1] = x[1] - y[1]


def run(progress=False):
    """θ at the end of one run."""
    return mf.simulate(*problem(), mf.RK4, dt=0.01, n_steps=STEPS, progress=progress).theta


@pytest.fixture
def calls(monkeypatch):
    """The calls of compiled steps so far."""
    made, whole = [], stretch.Stretch.run
    monkeypatch.setattr(stretch.Stretch, "run", lambda *all: (made.append(1), whole(*all))[1])
    return made


def test_the_run_with_which_all_have_lost_the_time_of_the_compiler_compiles_and_says_so(
    process, calls, monkeypatch, capsys
):
    monkeypatch.setattr(stretch, "COMPILING", 2.5 * LOST)
    process()
    ends, lines = [], []
    for _ in range(3):
        assert not calls
        ends.append(run(progress=True).tobytes())
        lines.append(capsys.readouterr().err.count("compiling the loop over steps"))
    assert calls and lines == [0, 0, 1] and len(set(ends)) == 1


def test_what_earlier_processes_have_lost_counts(process, calls, monkeypatch):
    monkeypatch.setattr(stretch, "COMPILING", 10 * LOST)
    runs = 0
    while not calls and runs < 20:
        process()
        run()
        runs += 1
    # of each run less than a unit is forgotten at the end of its process
    assert 10 < runs <= 10 * LOST / ledger.UNIT + 1


def test_a_run_counts_once_however_often_it_looks(process):
    kept, watched = process(), mf.Series("speed2", mf.every(10))
    mf.simulate(*problem(), mf.RK4, dt=0.01, n_steps=STEPS, observers=[watched], progress=False)
    assert len(watched.values) == 1 + STEPS // 10 and kept.add(0.0) == pytest.approx(LOST)


def test_a_sweep_foresees_its_runs_and_adds_nothing_to_what_was_lost(process):
    kept, (flow, state) = process(), problem()
    least = stretch.COMPILING / stretches.SAVED
    assert stretches.worth_compiling(flow, state, mf.RK4, 0.9 * least) is None
    assert stretches.worth_compiling(flow, state, mf.RK4, 1.1 * least) is not None
    assert kept.add(0.0) == 0.0


def test_all_kinds_of_small_problems_that_share_the_call_count_together(process, monkeypatch):
    """A risk, a population risk and points that meet each other."""
    kept, asked = process(), []
    monkeypatch.setattr(stretch, "_ledger", lambda kind: (asked.append(kind), kept)[1])
    run()
    network = mf.Network("relu", trainable=("a", "w"))
    law = mf.InitialLaw(2, b_std=0.0)
    energy = mf.PairwiseEnergy(interaction=(half_square, toward))
    for functional, state in (
        (mf.PopulationRisk(network, law.sample(3, seed=2)), law.sample(20, seed=1)),
        (energy, mf.State(np.random.default_rng(1).normal(size=(20, 2)), outputs=0)),
    ):
        flow = mf.GradientFlow(functional)
        mf.simulate(flow, state, mf.RK4, dt=0.01, n_steps=STEPS, progress=False)
    assert len(asked) == 3 and len(set(asked)) == 1
    assert kept.add(0.0) == pytest.approx(3 * LOST)


def test_what_another_process_has_compiled_meanwhile_is_found_after_a_short_loss(
    process, calls, monkeypatch
):
    monkeypatch.setattr(stretch, "AGAIN", 2.5 * LOST)
    process()
    run()
    monkeypatch.setattr(stretch.Stretch, "compiled", True)
    run()
    run()
    assert not calls
    run()
    assert calls


def test_while_one_process_compiles_another_goes_on_and_counts_anew(process, calls, monkeypatch):
    monkeypatch.setattr(stretch, "COMPILING", 2.5 * LOST)
    first, second = process(), ledger.Ledger("kind")
    first.add(2 * LOST)
    assert second.add(2 * LOST) > stretch.COMPILING and second.clear(stretch.COMPILING)
    for _ in range(2):
        run()
        assert not calls
    monkeypatch.setattr(ledger, "MEANWHILE", -1.0)  # a minute later
    run()
    assert calls


def test_a_risk_with_weights_is_another_kind(process, monkeypatch):
    """The compiled call has arguments of other types."""
    kept, kinds = process(), []
    monkeypatch.setattr(stretch, "_ledger", lambda kind: (kinds.append(kind), kept)[1])
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    made = []
    monkeypatch.setattr(stretch.Stretch, "pays", lambda self, seconds: made.append(self.kind))
    for weights in (None, np.linspace(1, 2, 20)):
        flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, y, weights=weights))
        start = mf.InitialLaw(2).sample(50, seed=1)
        mf.simulate(flow, start, mf.RK4, dt=0.01, n_steps=STEPS, progress=False)
    assert len(set(kinds)) == len(set(made)) == 2


def test_kinds_have_ledgers_of_their_own_by_what_is_compiled():
    names = {stretch._ledger(kind).path for kind in (("float32", True), ("float64", True))}
    assert len(names) == 2


def test_nobody_is_told_of_a_compilation_where_every_look_is_too_near_for_a_call(
    process, calls, monkeypatch, capsys
):
    """Two threads share a stage, and a call has three Euler steps at least."""
    monkeypatch.setattr(stretch, "COMPILING", -1.0)
    monkeypatch.setattr(stretch, "SHARED", -1)
    process()
    for k in (2, 4):
        assert not calls
        watched = [mf.Series("speed2", mf.every(k))]
        mf.simulate(*problem(), mf.EULER, dt=0.01, n_steps=STEPS, observers=watched)
        assert ("compiling the loop" in capsys.readouterr().err) == (k == 4)
    assert calls
