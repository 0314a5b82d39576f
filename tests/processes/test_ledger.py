"""A ledger is the sum of what all processes have added to it, and a process that cannot write it, or finds
rubbish there, counts by itself.
"""

import subprocess
import sys
import time

import broken_disk
import pytest

from meanfield.processes import ledger
from meanfield.processes.ledger import UNIT, Ledger

ADD = """
import sys
from pathlib import Path
from meanfield.processes import ledger

ledger.folder = lambda: Path(sys.argv[1])
kept = ledger.Ledger("runs")
sys.stdin.read(1)
for _ in range(1000):
    found = kept.add(0.013)
sys.stdin.read(1)
print(found, kept.clear(20.0))
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "folder", lambda: tmp_path)
    return tmp_path


def test_processes_that_add_at_once_lose_nothing_and_one_of_them_clears(place):
    """13 s each, in steps of which none is a whole number of bytes."""
    command = [sys.executable, "-c", ADD, str(place)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for word in ("go", "on"):
        for process in started:
            process.stdin.write(word[0])
            process.stdin.flush()
        while word == "go" and _sum(place) < 26 - 3 * UNIT:
            assert all(process.poll() is None for process in started)
            time.sleep(0.01)
    said = [process.communicate()[0].split() for process in started]
    assert max(float(total) for total, _ in said) == pytest.approx(26, abs=2 * UNIT)
    assert sorted(cleared for _, cleared in said) == ["False", "True"]
    assert Ledger("runs").add(UNIT) == pytest.approx(UNIT)


def _sum(place):
    path = place / "runs.ledger"
    return UNIT * path.stat().st_size if path.exists() else 0.0


def test_a_later_process_goes_on_with_what_others_have_added(place):
    Ledger("runs").add(2.5)
    assert Ledger("runs").add(0.5) == pytest.approx(3.0)
    assert Ledger("others").add(0.5) == pytest.approx(0.5)
    assert sorted(path.name for path in place.iterdir()) == ["others.ledger", "runs.ledger"]


def test_less_than_a_unit_waits_and_does_not_touch_the_disk(place):
    kept = Ledger("runs")
    for _ in range(4):
        kept.add(UNIT / 5)
    assert not list(place.iterdir())
    assert kept.add(UNIT / 2) == pytest.approx(1.3 * UNIT)
    assert (place / "runs.ledger").stat().st_size == 1


@pytest.mark.parametrize("trouble", ["full", "read-only", "a folder", "no place"])
def test_a_process_that_cannot_write_counts_by_itself(place, trouble, monkeypatch):
    if trouble == "a folder":
        (place / "runs.ledger").mkdir()
    if trouble == "no place":
        monkeypatch.setattr(ledger, "folder", lambda: place / "gone")
    one, other = Ledger("runs"), Ledger("runs")
    code = broken_disk.REFUSALS["EROFS" if trouble == "read-only" else "ENOSPC"]
    with broken_disk.refusing(0 if trouble in ("full", "read-only") else 10**9, code):
        for kept in (one, other):
            assert [kept.add(0.4) for _ in range(3)] == pytest.approx([0.4, 0.8, 1.2])
            assert kept.clear(1.0)
            assert kept.add(0.4) == pytest.approx(0.4)


def test_no_byte_of_it_is_a_wrong_one(place):
    (place / "runs.ledger").write_text("rubbish\n")
    assert Ledger("runs").add(UNIT) == pytest.approx(9 * UNIT)


def test_while_one_process_does_what_the_sum_was_kept_for_no_other_begins(place, monkeypatch):
    one, *others = (Ledger("runs") for _ in range(4))
    one.add(7.0)
    assert one.clear(6.0)
    for kept in others:
        kept.add(7.0)
        assert not kept.clear(6.0)
    monkeypatch.setattr(ledger, "MEANWHILE", -1.0)  # it was killed, a minute ago
    assert others[0].clear(6.0)
