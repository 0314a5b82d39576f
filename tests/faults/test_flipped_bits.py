"""A bit that flips in the manifest of a sweep, or in a lease, is found, or changes nothing. (Those
of runs: tests/files/test_verification.py.)
"""

import errno
import json
import os

import numpy as np
import pytest

from meanfield.files.durable import IncompatibleFile
from sims.sweeps import folders, leases, plans

BASE = {"m": 8, "t_end": 0.4, "data": {"name": "teacher_student", "options": {"n": 6, "dim": 2}}}
COUNTS = [100, pytest.param(1000, marks=pytest.mark.slow)]


def flips(content, count):
    """The bytes with one bit flipped, for so many bits."""
    for bit in np.random.default_rng(count).integers(8 * len(content), size=count):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The bytes of a manifest."""
    plan = plans.plan({"base": BASE, "axes": {"seed": [0, 1], "gamma": [0.5, 1.0]}})
    folder, _ = folders.create(plan, tmp_path_factory.mktemp("sweep") / "sweep")
    return plan, folder.manifest.read_bytes()


@pytest.mark.parametrize("count", COUNTS)
def test_a_manifest_with_a_flipped_bit_is_refused_or_says_the_same(made, count, tmp_path):
    """It says the same where the bit is of a space, or of the name of the checksum."""
    plan, content = made
    found = 0
    for changed in flips(content, count):
        (tmp_path / "manifest.json").write_bytes(changed)
        try:
            assert folders.SweepFolder(tmp_path).plan == plan
        except IncompatibleFile:
            found += 1
    assert found > 0.8 * count


def test_a_manifest_of_before_the_checksum_is_read_and_a_changed_one_is_not(made, tmp_path):
    plan, content = made
    there = json.loads(content)
    there["runs"][0]["config"]["seed"] += 7
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(there), encoding="utf-8")
    with pytest.raises(IncompatibleFile, match="has not its sha256"):
        folders.SweepFolder(tmp_path).plan  # noqa: B018
    there = json.loads(content)
    del there["sha256"]
    path.write_text(json.dumps(there), encoding="utf-8")
    assert folders.SweepFolder(tmp_path).plan == plan


@pytest.mark.parametrize("count", COUNTS)
def test_a_lease_with_a_flipped_bit_is_nobody_s_until_it_is_stale(count, tmp_path):
    """Its owner finds out before it publishes; nobody is told another owner, timeout or count."""
    lease = leases.claim(tmp_path / "run", 60.0)
    content = lease.path.read_bytes()
    for changed in flips(content, count):
        lease.path.write_bytes(changed)
        holder = leases.look(lease.path, 30.0)
        assert (holder.token, holder.timeout, holder.deaths) == ("", 30.0, 0)
        assert not lease.held() and leases.claim(lease.path, 30.0) is None
        with pytest.raises(leases.LeaseLost):
            lease.check()
    lease.path.write_bytes(content)
    lease.check()
    lease.release()


@pytest.mark.parametrize("text", ["[]", "0", "null", '"text"', "", "{}", '{"deaths": []}'])
def test_what_is_no_lease_is_nobody_s(text, tmp_path):
    (tmp_path / "run").write_text(text)
    holder = leases.look(tmp_path / "run", 30.0)
    assert (holder.token, holder.timeout, holder.deaths) == ("", 30.0, 0)
    assert leases.claim(tmp_path / "run", 30.0) is None


def test_a_lease_that_a_full_disk_refuses_is_not_left_behind(monkeypatch, tmp_path):
    def refused(file, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refused)
        with pytest.raises(OSError, match="No space left"):
            leases.claim(tmp_path / "run", 60.0)
    assert before is None or len(os.listdir("/proc/self/fd")) == before
    leases.claim(tmp_path / "run", 60.0).release()


@pytest.mark.parametrize("count", COUNTS)
def test_a_note_with_a_flipped_bit_is_none_or_says_the_same(made, count, tmp_path):
    """What it says of the steps, the status and the time goes into tables; the run itself is asked
    where it says nothing.
    """
    folder, _ = folders.create(made[0], tmp_path / "sweep")
    note = {"status": "finished", "seconds": 1.25, "energy_defect": 0.01, "defect": "none"}
    path, found = folder.runs / "abc.json", 0
    folders.write_note(path, note)
    assert folder.note("abc") == note
    for changed in flips(path.read_bytes(), count):
        path.write_bytes(changed)
        assert folder.note("abc") in (note, {})
        found += folder.note("abc") == {}
    assert found > 0.8 * count
    path.write_text(json.dumps(note), encoding="utf-8")  # as they were before the checksum
    assert folder.note("abc") == note


@pytest.mark.parametrize("text", [b"\xff", b"[]", b"null", b"[" * 10**5, b"{", b""])
def test_a_damaged_note_counts_as_none(made, text, tmp_path):
    folder, _ = folders.create(made[0], tmp_path / "sweep")
    (folder.runs / "abc.json").write_bytes(text)
    assert folder.note("abc") == {}
    with pytest.raises(FileNotFoundError):  # the run itself is asked
        folder.status("abc")
    (folder.runs / "abc.json").write_text('{"status": "finiqhed"}')
    with pytest.raises(FileNotFoundError):
        folder.status("abc")


@pytest.mark.parametrize("digest", ["../../elsewhere", "/tmp/elsewhere", "", 3, None])
def test_a_manifest_never_names_a_file_outside_the_sweep(made, digest, tmp_path):
    content = json.loads(made[1])
    del content["sha256"]
    content["runs"][0]["digest"] = digest
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(IncompatibleFile, match="is the digest of no run"):
        folders.SweepFolder(tmp_path).plan  # noqa: B018


def test_a_manifest_of_deep_brackets_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 10**5)
    with pytest.raises(IncompatibleFile, match="is damaged"):
        folders.SweepFolder(tmp_path).plan  # noqa: B018
