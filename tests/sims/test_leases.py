"""Leases: one owner in every order of events; stale ones are taken over by one; ages by the
folder's clock; losers find out.
"""

import os
import time

import pytest
from toy_run import child

from sims.sweeps import leases
from sims.sweeps.leases import LeaseLost, claim, look

HOUR = 3600 * 10**9  # in ns


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


def age(path, seconds):
    """Make the lease look as if it had been touched that long ago."""
    then = leases.now_ns(path.parent) - int(seconds * 1e9)
    os.utime(path, ns=(then, then))


def stale(path, timeout=60.0):
    lease = claim(path, timeout)
    age(path, 2 * timeout)
    return lease


def just_before(monkeypatch, name, action):
    """Once, do `action` before the next call of os.<name>: what another process might do at that
    moment.
    """
    real, todo = getattr(os, name), [action]

    def call(*arguments, **keywords):
        if todo:
            todo.pop()()
        return real(*arguments, **keywords)

    monkeypatch.setattr(leases.os, name, call)


def test_one_process_has_a_lease_and_another_can_see_who(path):
    lease = claim(path, 60.0)
    assert lease.held() and claim(path, 60.0) is None
    holder = look(path)
    assert (holder.pid, holder.timeout, holder.deaths, holder.stale) == (
        os.getpid(),
        60.0,
        0,
        False,
    ) and 0 <= holder.age < 5
    lease.release()
    assert look(path) is None and claim(path, 60.0).held()


def test_a_stale_lease_is_taken_over_and_its_owner_finds_out_before_it_publishes(path):
    old = stale(path)
    new = claim(path, 60.0)
    assert new.held() and not old.held()
    new.check()
    with pytest.raises(
        LeaseLost, match=r"the lease .*run was taken over by another process; this one stops\."
    ):
        old.check()


def test_a_lease_is_judged_by_the_timeout_it_was_claimed_with(path):
    claim(path, 600.0)
    age(path, 120.0)
    assert claim(path, 60.0) is None


def test_a_loser_neither_keeps_the_winner_alive_nor_frees_its_lease(path):
    """Its heartbeat goes to the file that was its own; giving back what is not its own changes
    nothing.
    """
    old = stale(path)
    new = claim(path, 60.0)
    age(path, 30.0)
    before = look(path).mtime_ns
    old.beat()
    old.release()
    assert new.held() and look(path).mtime_ns == before


def test_an_owner_that_wakes_up_between_the_look_and_the_rename_keeps_its_lease(path, monkeypatch):
    owner = stale(path)
    just_before(monkeypatch, "rename", owner.beat)
    assert claim(path, 60.0) is None
    assert owner.held() and sorted(os.listdir(path.parent)) == [".clock", "run"]


def test_a_lease_taken_over_between_the_look_and_the_rename_stays_with_who_was_first(
    path, monkeypatch
):
    stale(path)
    first = []
    just_before(monkeypatch, "rename", lambda: first.append(claim(path, 60.0)))
    assert claim(path, 60.0) is None
    assert first[0].held() and sorted(os.listdir(path.parent)) == [".clock", "run"]


def test_a_lease_released_between_the_look_and_the_rename_is_left_to_the_next_look(
    path, monkeypatch
):
    owner = stale(path)
    just_before(monkeypatch, "rename", owner.release)
    assert claim(path, 60.0) is None
    assert claim(path, 60.0).held()


def test_a_name_claimed_while_a_wrongly_taken_lease_is_put_back_belongs_to_the_claimer(
    path, monkeypatch
):
    """The owner wakes up, its lease is renamed all the same, a third claims the free name: the
    third has it, the others know.
    """
    owner, third = stale(path), []
    just_before(monkeypatch, "rename", owner.beat)
    just_before(monkeypatch, "link", lambda: third.append(claim(path, 60.0)))
    assert claim(path, 60.0) is None
    assert third[0].held() and not owner.held()
    with pytest.raises(LeaseLost):
        owner.check()
    assert sorted(os.listdir(path.parent)) == [".clock", "run"]


def test_two_who_see_the_same_stale_lease_do_not_both_get_it_even_when_its_inode_is_used_again(
    path, monkeypatch
):
    """The first frees the name and makes its own file, perhaps of the same inode number, before the
    second's rename.
    """
    stale(path)
    winners = []

    def takes_over():
        winners.append(claim(path, 60.0))
        winners[0].beat()

    just_before(monkeypatch, "rename", takes_over)
    assert claim(path, 60.0) is None and winners[0].held()


@pytest.mark.parametrize("skew", [-HOUR, HOUR])
def test_the_clocks_of_the_machines_do_not_matter(path, monkeypatch, skew):
    """The file server's clock is an hour off ours. Ages are differences of its times alone."""
    real = leases.now_ns
    owner = claim(path, 60.0)
    monkeypatch.setattr(leases, "now_ns", lambda folder: real(folder) + skew)
    os.utime(path, ns=(leases.now_ns(path.parent),) * 2)  # as its heartbeat would be dated there
    assert abs(look(path).age) < 5 and claim(path, 60.0) is None
    age(path, 61.0)
    assert claim(path, 60.0) is not None and not owner.held()


def test_no_clock_of_our_own_is_read(path, monkeypatch):
    def no_clock():
        raise AssertionError("a local clock")

    stale(path)
    for name in ("time", "time_ns", "monotonic"):
        monkeypatch.setattr(time, name, no_clock)
    assert claim(path, 60.0).held()


def test_a_lease_from_the_far_future_is_stale(path):
    """A file server whose clock was set back: a living owner's next heartbeat has the new time, a
    dead owner's has none.
    """
    claim(path, 60.0)
    age(path, -61.0)
    assert claim(path, 60.0) is not None


def test_a_beating_lease_does_not_get_stale_and_one_that_no_longer_beats_does(path):
    """A heart beats five times in the timeout of 0.5 s."""
    lease = claim(path, 0.5)
    with lease.beating():
        ages = []
        for _ in range(25):
            time.sleep(0.04)
            ages.append(look(path).age)
        assert max(ages) < 0.5
    time.sleep(0.55)
    assert look(path).stale and claim(path, 0.5).held()


def test_a_lease_whose_owner_was_killed_while_it_wrote_is_taken_over_like_any_other(path):
    path.touch()
    assert claim(path, 60.0) is None and look(path, 60.0).token == ""
    age(path, 61.0)
    assert claim(path, 60.0).held()


def test_deaths_are_counted_until_somebody_gets_further(path):
    for deaths in range(3):
        lease = stale(path)
        assert lease.deaths == deaths == look(path).deaths
    lease.progressed()
    assert look(path).deaths == 0 and lease.held()
    age(path, 121.0)
    assert claim(path, 60.0).deaths == 1


def test_what_a_killed_take_over_has_set_aside_is_removed_later(path):
    aside = path.with_name(".aside-run-0")
    aside.touch()
    leases.remove_remains(path.parent, 60.0)
    assert aside.exists()
    age(aside, 61.0)
    leases.remove_remains(path.parent, 60.0)
    assert not aside.exists()


@pytest.mark.parametrize("state", ["free", "stale"])
def test_of_many_processes_that_want_the_same_leases_each_goes_to_one(tmp_path, state):
    """Six processes, forty names, all at once. In the end the file of each name has the token of
    one of those who claimed it.

    A free name is won once. Of a stale one two may think so for a moment, when a third renames the
    new lease by mistake and the name is claimed before it is put back: then one of the two is told
    by `held`.
    """
    names = [f"run{number}" for number in range(40)]
    if state == "stale":
        for name in names:
            stale(tmp_path / name)
    results, begin = tmp_path.parent / f"{tmp_path.name}-results", time.monotonic() + 0.3
    results.mkdir()

    def race(number):
        while time.monotonic() < begin:
            pass
        won = {name: lease.token for name in names if (lease := claim(tmp_path / name, 60.0))}
        (results / str(number)).write_text(repr(won))

    for pid in [child(lambda number=number: race(number)) for number in range(6)]:
        assert os.waitpid(pid, 0)[1] == 0
    won = [eval(path.read_text(encoding="utf-8")) for path in results.iterdir()]
    claims = [(name, token) for one in won for name, token in one.items()]
    held = [name for name, token in claims if look(tmp_path / name).token == token]
    assert sorted(held) == sorted(names)
    assert len(claims) == len(names) or state == "stale"
