"""Leases: which of many processes, on any machine that sees the folder, is at work on what. Files,
and nothing else.

A lease is a file made with O_CREAT | O_EXCL, so one process has it. Its owner touches it every
fifth of the timeout; one that has not been touched for longer than its timeout may be taken over.
Ages are differences of the folder's own file times: the clocks of the machines do not matter.

Taking over is a rename, which one process wins. What was renamed is then looked at again: it may
not be the lease that was stale, for the owner may have touched it, or a third process may have
replaced it, between the look and the rename. Then it is linked back, unless somebody has claimed
the free name meanwhile. In every order of events one file at most has the name, and it holds the
token of the one owner; whoever does not find its own token there has lost, and `check` says so
before anything is published.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEATS = 5  # of the heart within one timeout
SIZE = 400  # of a lease's file, padded: it is rewritten in place


class LeaseLost(RuntimeError):
    """Another process has taken over what this one was working on."""


@dataclass(frozen=True)
class Holder:
    """What a lease's file says. age: seconds since its last heartbeat, by the folder's clock;
    deaths: owners lost in a row.
    """

    token: str
    host: str
    pid: int
    timeout: float
    deaths: int
    mtime_ns: int
    age: float

    @property
    def stale(self) -> bool:
        """Not touched within its timeout; a time in the future is that of a file server whose clock
        was set back.
        """
        return abs(self.age) > self.timeout

    @property
    def gone(self) -> bool:
        """Stale; or its heart has missed two beats; or it was a process of this machine, which is
        there no more.
        """
        if self.stale or self.age > 2.5 * self.timeout / BEATS:
            return True
        if self.host != socket.gethostname() or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's process
            return False
        return False


class Lease:
    """A lease that this process has claimed; `deaths` owners before it, one after the other, died
    without getting anywhere.
    """

    def __init__(self, path: Path, file: int, content: dict[str, Any]) -> None:
        self.path, self._file, self._content = path, file, content
        self.token: str = content["token"]
        self.deaths: int = content["deaths"]

    def held(self) -> bool:
        """Whether the name still belongs to this token."""
        with suppress(FileNotFoundError):
            return _read(self.path)[0].get("token") == self.token
        return False

    def check(self) -> None:
        """Raises LeaseLost when it does not."""
        if not self.held():
            raise LeaseLost(
                f"the lease {self.path} was taken over by another process; this one stops."
            )

    def beat(self) -> None:
        """Touch the file by its handle: whoever has the name now, no other lease is kept alive."""
        os.utime(self._file)

    def progressed(self) -> None:
        """Those who died before count no more."""
        if self._content["deaths"]:
            self._content["deaths"] = 0
            os.pwrite(self._file, _written(self._content), 0)

    @property
    def period(self) -> float:
        """Seconds from one heartbeat to the next."""
        return self._content["timeout"] / BEATS

    @contextmanager
    def beating(self) -> Iterator[Lease]:
        """Touch it from a thread until the block ends."""
        _heart.add(self)
        try:
            yield self
        finally:
            _heart.remove(self)

    def release(self) -> None:
        """Give the name back, if it is ours still."""
        _withdraw(self.path, self.token, None)
        os.close(self._file)


class Heart:
    """The one thread of this process that touches its leases: to start one for each run of a sweep, and
    to wait for its end, takes as long as a tenth of a small run.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Lease, float] = {}  # when to touch it next
        self._wakes = math.inf
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        """Touch it from now on."""
        due = time.monotonic() + lease.period
        with self._changed:
            self._due[lease] = due
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, daemon=True)
                self._thread.start()
            elif due < self._wakes:
                self._changed.notify()

    def remove(self, lease: Lease) -> None:
        """No longer: when this returns no beat is under way."""
        with self._changed:
            del self._due[lease]

    def _beat(self) -> None:
        with self._changed:
            while self._due:
                now = time.monotonic()
                for lease, due in self._due.items():
                    if due <= now:
                        # a file server that is away for a moment; the next beat may succeed
                        with suppress(OSError):
                            lease.beat()
                        self._due[lease] = now + lease.period
                self._wakes = min(self._due.values())
                self._changed.wait(self._wakes - now)
            self._thread = None


_heart = Heart()


def claim(path: Path, timeout: float) -> Lease | None:
    """The lease at `path`, if it is free or its owner has not touched it for longer than the
    timeout it was claimed with.
    """
    deaths = 0
    if (holder := look(path, timeout)) is not None:
        if not holder.stale or not _withdraw(path, holder.token, holder.mtime_ns):
            return None
        deaths = holder.deaths + 1
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return None
    content = {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "timeout": timeout,
        "deaths": deaths,
    }
    try:
        os.write(file, _written(content))
    except OSError:  # a full disk: nobody waits for a lease that says nothing
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return Lease(path, file, content)


def look(path: Path, default_timeout: float = 120.0) -> Holder | None:
    """Who holds the lease; None where nobody does. A file cut off while it was written has an empty
    token.
    """
    try:
        content, mtime_ns = _read(path)
    except FileNotFoundError:
        return None
    age = (now_ns(path.parent) - mtime_ns) / 1e9
    token, host, pid = content.get("token", ""), content.get("host", "?"), content.get("pid", 0)
    return Holder(
        token,
        host,
        pid,
        content.get("timeout", default_timeout),
        content.get("deaths", 0),
        mtime_ns,
        age,
    )


def now_ns(folder: Path) -> int:
    """The time by the clock that dates the files of this folder."""
    file = os.open(folder / ".clock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        os.utime(file)
        return os.fstat(file).st_mtime_ns
    finally:
        os.close(file)


def remove_remains(folder: Path, older_than: float) -> None:
    """Remove what processes that were killed in the middle of a take-over have set aside."""
    now = now_ns(folder)
    for aside in folder.glob(".aside-*"):
        with suppress(FileNotFoundError):
            if now - aside.stat().st_mtime_ns > older_than * 1e9:
                aside.unlink()


def _withdraw(path: Path, token: str, mtime_ns: int | None) -> bool:
    """Free the name if it is that of this token (last touched then); exactly one of those who try
    it succeeds.
    """
    aside = path.with_name(f".aside-{path.name}-{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    try:
        content, touched = _read(aside)
    except FileNotFoundError:  # this process slept here for so long that another has tidied up
        return False
    ours = content.get("token", "") == token and mtime_ns in (None, touched)
    if not ours:
        with suppress(FileExistsError, FileNotFoundError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return ours


def _read(path: Path) -> tuple[dict[str, Any], int]:
    # opening asks a file server for the times as they are now
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text, mtime_ns = os.read(file, SIZE), os.fstat(file).st_mtime_ns
    finally:
        os.close(file)
    try:
        content = json.loads(text)
        ours = isinstance(content, dict) and text == _written(content)
        return (content if ours else {}), mtime_ns
    except ValueError:
        return {}, mtime_ns


def _written(content: dict[str, Any]) -> bytes:
    """With a checksum: a lease that is damaged is nobody's."""
    plain = {name: value for name, value in content.items() if name != "crc32"}
    check = zlib.crc32(json.dumps(plain).encode())
    return json.dumps({**plain, "crc32": check}).ljust(SIZE).encode()
