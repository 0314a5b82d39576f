"""Disks that refuse, as a process sees them: from some call on, or one call alone, what would change
the disk raises an OSError; and disks that take their time.
"""

import builtins
import errno
import io
import os
import time
from contextlib import contextmanager
from unittest import mock

from disk_model import CALLS, WRITES

REFUSALS = {name: getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO")}


@contextmanager
def refusing(first, number, last=None):
    """Calls first, first + 1, … (last) fail with this errno. Removing is let through where a full
    disk would, and a read-only one would not.
    """
    count = [-1]

    def refuse(name):
        if number in (errno.ENOSPC, errno.EDQUOT) and name in ("unlink", "remove", "rmdir"):
            return False
        count[0] += 1
        return count[0] >= first and (last is None or count[0] <= last)

    with _each_call(lambda name: _raise(number) if refuse(name) else None):
        yield count


def one_write_fails(monkeypatch, number):
    """os.pwrite finds the disk full once, after so many calls; returns what is true once it has."""
    real, left, failed = os.pwrite, iter(range(number)), []

    def full(*arguments):
        if next(left, None) is None and not failed:
            failed.append(True)
            _raise(errno.ENOSPC)
        return real(*arguments)

    monkeypatch.setattr(os, "pwrite", full)
    return failed


@contextmanager
def slow(chance, seconds):
    """Every call takes up to so many seconds longer."""
    with _each_call(lambda name: time.sleep(chance.uniform(0, seconds))):
        yield


def _raise(number):
    raise OSError(number, os.strerror(number))


@contextmanager
def _each_call(before):
    def changed(name, real):
        def call(*arguments, **keywords):
            if name != "open" or _changes(*arguments, **keywords):
                before(name)
            return real(*arguments, **keywords)

        return call

    names = (*CALLS, *WRITES, "fsync")
    opened = changed("open", builtins.open)
    with (
        mock.patch.multiple(os, **{name: changed(name, getattr(os, name)) for name in names}),
        mock.patch.object(builtins, "open", opened),
        mock.patch.object(io, "open", opened),
    ):
        yield


def _changes(path, how=0, *more, **keywords):
    how = keywords.get("mode", keywords.get("flags", how))
    return bool(how & os.O_CREAT if isinstance(how, int) else set(how) & set("wax+"))
