"""cached_property: made once and kept, and no lock that threads could wait for each other in."""

import re
import threading
from pathlib import Path

from meanfield.once import cached_property

ROOT = Path(__file__).resolve().parents[2]


class Slow:
    def __init__(self, work):
        self.work, self.made = work, 0

    @cached_property
    def value(self):
        self.made += 1
        return self.work()


def test_a_value_is_made_once_and_may_be_set():
    item = Slow(list)
    assert item.value is item.value and item.made == 1
    item.value = 3
    assert item.value == 3 and isinstance(Slow.value, cached_property)


def test_threads_that_wait_for_each_other_inside_are_no_deadlock():
    """Each comes to the meeting only while the other is in its own value; so on Python 3.11 too."""
    both = threading.Barrier(2, timeout=20)
    items = [Slow(both.wait), Slow(both.wait)]
    threads = [threading.Thread(target=getattr, args=(item, "value")) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item.__dict__.get("value") for item in items) == [0, 1]


def test_two_threads_get_the_same_object():
    both = threading.Barrier(2, timeout=20)
    item, found = Slow(lambda: [both.wait()]), []
    threads = [threading.Thread(target=lambda: found.append(item.value)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert item.made == 2 and found[0] is found[1] is item.value


def test_nobody_takes_the_one_with_the_lock():
    locked = re.compile(r"from functools import.*\bcached_property|functools\.cached_property")
    files = [path for room in ("meanfield", "ntk", "sims") for path in (ROOT / room).rglob("*.py")]
    found = [path.name for path in files if locked.search(path.read_text(encoding="utf-8"))]
    assert found == ["once.py"]
