"""Processes that compile one function for different arguments at the same moment keep both apart."""

import errno
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import broken_disk
from numba.core.caching import IndexDataCacheFile

import meanfield.backends.cpu.launch  # noqa: F401  which makes numba's cache write in turn
from meanfield.backends import compiler


def test_two_that_save_at_once_find_their_own_code_afterwards(tmp_path, monkeypatch):
    """Each stands for a process: it has read the index before the other has written it, unless they
    take turns.
    """
    read = IndexDataCacheFile._load_index

    def slowly(self):
        found = read(self)
        time.sleep(0.2)
        return found

    def saved(key):
        file = IndexDataCacheFile(str(tmp_path), "function", "stamp")
        file.save(key, f"the code for {key}")

    keys = ["float32", "float64", "int64"]
    with monkeypatch.context() as patched, ThreadPoolExecutor() as threads:
        patched.setattr(IndexDataCacheFile, "_load_index", slowly)
        list(threads.map(saved, keys))
    file = IndexDataCacheFile(str(tmp_path), "function", "stamp")
    assert [file.load(key) for key in keys] == [f"the code for {key}" for key in keys]


def test_code_that_a_full_disk_does_not_take_is_not_kept_and_stops_nobody(tmp_path):
    file = IndexDataCacheFile(str(tmp_path), "function", "stamp")
    for call in range(8):
        with broken_disk.refusing(call, errno.ENOSPC):
            file.save("float64", "the code for float64")
        assert file.load("float64") in (None, "the code for float64")
    file.save("float64", "the code for float64")
    assert file.load("float64") == "the code for float64"


def test_an_index_without_its_code_is_no_compiled_kernel(tmp_path):
    kernel = SimpleNamespace(signatures=[])
    locator = SimpleNamespace(get_cache_path=lambda: str(tmp_path))
    kernel._cache = SimpleNamespace(
        _impl=SimpleNamespace(locator=locator, filename_base="rows.advance-25.py311")
    )
    assert not compiler.is_compiled(kernel)
    (tmp_path / "rows.advance-25.py311.nbi").touch()
    assert not compiler.is_compiled(kernel)
    (tmp_path / "rows.advance-25.py311.1.nbc").touch()
    assert compiler.is_compiled(kernel)
