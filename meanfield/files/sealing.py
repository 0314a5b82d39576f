"""The seal: sha256 of all bytes of a file that we wrote, in its last line, behind what HDF5 reads.

HDF5's own checksums cover arrays alone. A bit that flips in a name, an attribute or an index is
found by the seal, or not at all. HDF5 ends where its first block says; programs that read a sealed
file never see the seal, and one that opens it for writing cuts it off.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

MARK = b"\nmeanfield sha256 "
LENGTH = len(MARK) + 64 + 1
DIGEST = re.compile(rb"[0-9a-f]{64}\n")
BLOCK = 1 << 20  # bytes at once
UNSEALED = "it has no seal"


class Hash:
    """sha256 of the bytes of an open file, from the first to the last that was asked for."""

    def __init__(self, file: int) -> None:
        self._file, self._sha256, self._at = file, hashlib.sha256(), 0
        self._block = memoryview(bytearray(BLOCK))

    def upto(self, end: int) -> str:
        while self._at < end:
            count = os.preadv(self._file, [self._block[: end - self._at]], self._at)
            if not count:
                break
            self._sha256.update(self._block[:count])
            self._at += count
        return self._sha256.hexdigest()


def seal(file: int, content: bytes | None = None, begun: Hash | None = None) -> None:
    """Append the seal to an open file, by its descriptor. content: all of it, where it is in memory;
    begun: of its first bytes.
    """
    size = os.fstat(file).st_size
    if content is None:
        digest = (begun or Hash(file)).upto(size)
    else:
        digest = hashlib.sha256(content).hexdigest()
    line = MARK + digest.encode() + b"\n"
    done = 0
    while done < LENGTH:
        done += os.pwrite(file, line[done:], size + done)


def broken(path: Path) -> str | None:
    """None where the file is as it was written; otherwise what is wrong: it is not sealed, or has
    changed.
    """
    with open(path, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        line = os.pread(opened.fileno(), LENGTH, max(0, size - LENGTH))
        # a bit that flips leaves one or the other; what a power cut has torn has neither
        if not (line.startswith(MARK) or DIGEST.fullmatch(line, len(MARK))):
            return UNSEALED
        found = MARK + Hash(opened.fileno()).upto(size - LENGTH).encode() + b"\n"
    return None if line == found else "its bytes are not those that were written"


def torn(path: Path) -> bool:
    """Whether a seal begins at the end of the file that is not whole. Reads no more than the end."""
    with open(path, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        end = os.pread(opened.fileno(), LENGTH, max(0, size - LENGTH))
    return end.rfind(MARK[:8]) > 0
