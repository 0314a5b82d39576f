"""A model of a disk: the folders that a kill, or a power cut, can leave at each instant of a work.

`Disk(root).watched()` follows the calls of `os` and `open` that change what is under root. Before
each of them, and at the end, it notes a `Cut`, which says

killed()    what is there at that instant: a process that is killed leaves that, to the byte;
power()     what a power cut may leave. Of a file: what it held when it was last fsynced, or, of
            what was written since, nothing, half or all. Of a folder: the names that it had when it
            was last fsynced, with any choice of the changes since. A change is one rename, link
            or removal, whole or not at all; of two under one name the later one wins.

POSIX promises no more of fsync. File systems with a journal keep more of the order.
"""

import builtins
import io
import itertools
import os
import random
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

CALLS = ("open", "replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir")
WRITES = ("write", "pwrite", "ftruncate")
ALL_CHOICES_OF = 6  # changes; of more, some choices of them
_open = os.open


class File(NamedTuple):
    """What a file held when it was last fsynced, and what it holds now."""

    synced: bytes
    now: bytes

    @property
    def torn(self):
        """Half of what was written since, or what was synced where nothing was."""
        half = len(self.now) // 2
        torn = self.now[:half] + bytes(len(self.now) - half)
        return torn if self.now != self.synced else self.now


class Tree(NamedTuple):
    """Names and bytes of a folder; None is a folder in it. keys: which names are one file."""

    content: dict
    keys: dict

    def laid_out(self, at):
        """Written into a new folder."""
        made = {}
        at.mkdir()
        for name, content in self.content.items():
            first = made.setdefault(self.keys[name], at / name)
            if content is None:
                (at / name).mkdir()
            elif first == at / name:
                first.write_bytes(content)
            else:
                os.link(first, at / name)
        return at


class Cut(NamedTuple):
    """An instant: the call that was not made, the disk, and what was `promised` by then.

    Files and folders go by keys. now, synced: of each folder {name: key}, now and when it was last
    fsynced; changes: what has been done to it since, as {name: key, or None where it is removed}.
    """

    call: str
    root: int
    now: dict
    synced: dict
    changes: dict
    files: dict
    promised: object

    def killed(self):
        return self._tree(self.now, {key: file.now for key, file in self.files.items()})

    def power(self, chance, most):
        """At most so many different ones; the likeliest first, the others at random."""
        kept = itertools.chain([self._all(False), self._all(True)], self._choices(chance))
        seen = set()
        for names, what in itertools.product(kept, ("synced", "torn", "now")):
            contents = {key: getattr(file, what) for key, file in self.files.items()}
            tree = self._tree(self._left(names), contents)
            if (known := hash(tuple(tree.content.items()))) not in seen and len(seen) < most:
                seen.add(known)
                yield tree

    def _all(self, flag):
        return {folder: (flag,) * len(done) for folder, done in self.changes.items()}

    def _choices(self, chance):
        """Which changes of which folder are on the disk."""
        counts = {folder: len(done) for folder, done in self.changes.items()}
        total = sum(counts.values())
        if total <= ALL_CHOICES_OF:
            flags = list(itertools.product((False, True), repeat=total))
            chance.shuffle(flags)
        else:
            shares = (0.9, 0.5, 0.1) * 20
            flags = [[chance.random() < share for _ in range(total)] for share in shares]
        for each in flags:
            rest = iter(each)
            yield {folder: tuple(itertools.islice(rest, n)) for folder, n in counts.items()}

    def _left(self, kept):
        left = {}
        for folder, names in self.synced.items():
            left[folder] = dict(names)
            for change, on_disk in zip(self.changes[folder], kept[folder], strict=True):
                left[folder].update(change if on_disk else {})
        return left

    def _tree(self, names, contents):
        """What can be reached from the top."""
        content, keys = {}, {}
        walk = [(self.root, "")]
        for folder, at in walk:
            for name, key in sorted(names[folder].items()):
                if key is not None:
                    path = f"{at}{name}"
                    content[path], keys[path] = contents.get(key), key
                    if key in names:
                        walk.append((key, f"{path}/"))
        return Tree(content, keys)


def folders_left(cuts, place, most, seed=0):
    """(cut, folder) of each different folder that a cut can leave: by a kill, and `most` by a power
    cut. It is laid out in place, and removed before the next.
    """
    chance, seen = random.Random(seed), set()
    for cut in cuts:
        for tree in (cut.killed(), *cut.power(chance, most)):
            if (known := hash(tuple(tree.content.items()))) in seen:
                continue
            seen.add(known)
            try:
                yield cut, tree.laid_out(place)
            except BaseException as error:
                error.add_note(f"cut before {cut.call}, which has left {sorted(tree.content)}")
                raise
            shutil.rmtree(place)


class Disk:
    """Watches what is under root while it is changed. `promised` is noted in every cut."""

    def __init__(self, root):
        self.root, self.cuts, self.promised = Path(root), [], None
        self._handles = {}  # of every file seen, so that no inode's number is given twice
        self._files, self._now, self._synced, self._changes = {}, {}, {}, {}
        self._look()
        # what was there before is on the disk
        self._files = {key: File(file.now, file.now) for key, file in self._files.items()}
        self._synced = {folder: dict(names) for folder, names in self._now.items()}
        self._changes = {folder: [] for folder in self._now}

    @contextmanager
    def watched(self):
        replaced = {name: self._followed(name, getattr(os, name)) for name in (*CALLS, *WRITES)}
        opened = self._followed("open", builtins.open)
        try:
            with (
                mock.patch.multiple(os, fsync=self._fsync(os.fsync), **replaced),
                mock.patch.object(builtins, "open", opened),
                mock.patch.object(io, "open", opened),
            ):
                yield self
            self._note("the end")
        finally:
            for handle in self._handles.values():
                os.close(handle)

    def _followed(self, name, real):
        def call(*arguments, **keywords):
            if name == "open" and not self._makes(*arguments, **keywords):
                return real(*arguments, **keywords)
            words = [Path(word).name for word in arguments if isinstance(word, (str, os.PathLike))]
            self._note(" ".join([name, *words]))
            try:
                return real(*arguments, **keywords)
            finally:
                self._look()

        return call

    def _makes(self, path, how=0, *more, **keywords):
        """Whether a call of either open may make a file, under root."""
        how = keywords.get("mode", how) if isinstance(how, str) or how == 0 else how
        making = how & os.O_CREAT if isinstance(how, int) else set(how) & set("wax+")
        return bool(making) and str(path).startswith(str(self.root))

    def _fsync(self, real):
        def fsync(descriptor):
            self._note("fsync")
            real(descriptor)
            self._look()
            key = os.fstat(descriptor).st_ino
            if key in self._now:
                self._synced[key], self._changes[key] = dict(self._now[key]), []
            elif key in self._files:
                self._files[key] = File(self._files[key].now, self._files[key].now)

        return fsync

    def _note(self, call):
        self._look()
        root = self.root.stat().st_ino
        copies = [
            {folder: dict(names) for folder, names in each.items()}
            for each in (self._now, self._synced)
        ]
        changes = {folder: list(done) for folder, done in self._changes.items()}
        self.cuts.append(Cut(call, root, *copies, changes, dict(self._files), self.promised))

    def _look(self):
        """Read what is there. All that differs in a folder's names since the last look is one
        change.
        """
        before, self._now = self._now, {}
        walk = [(str(self.root), self.root.stat().st_ino)]
        for path, folder in walk:
            names = self._now[folder] = {}
            for entry in os.scandir(path):
                key = names[entry.name] = entry.inode()
                if key not in self._handles:
                    self._handles[key] = _open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
                if entry.is_dir():
                    walk.append((entry.path, key))
                else:
                    self._read(key)
        for folder, names in self._now.items():
            old = before.get(folder, {})
            change = {name: key for name, key in names.items() if old.get(name) != key}
            change |= {name: None for name in old if name not in names}
            self._synced.setdefault(folder, {})
            self._changes.setdefault(folder, []).extend([change] if change else [])

    def _read(self, key):
        handle = self._handles[key]
        now = os.pread(handle, os.fstat(handle).st_size, 0)
        synced = self._files[key].synced if key in self._files else b""
        self._files[key] = File(synced, now)
