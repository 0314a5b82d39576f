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
BLOCK = 1 << 20
UNSEALED = "it has no seal"


def seal(file: int, content: bytes | None = None) -> None:
    """Append the seal to an open file, by its descriptor; content: all of it, where it is in memory."""
    size = os.fstat(file).st_size
    digest = _sha256(file, size) if content is None else hashlib.sha256(content).hexdigest()
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
        found = MARK + _sha256(opened.fileno(), size - LENGTH).encode() + b"\n"
    return None if line == found else "its bytes are not those that were written"


def torn(path: Path) -> bool:
    """Whether a seal begins at the end of the file that is not whole. Reads no more than the end."""
    with open(path, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        end = os.pread(opened.fileno(), LENGTH, max(0, size - LENGTH))
    return end.rfind(MARK[:8]) > 0


def _sha256(file: int, size: int) -> str:
    """Of the first `size` bytes."""
    digest, at = hashlib.sha256(), 0
    while at < size:
        block = os.pread(file, min(BLOCK, size - at), at)
        if not block:
            break
        digest.update(block)
        at += len(block)
    return digest.hexdigest()
