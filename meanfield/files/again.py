"""Again: a file in memory that is written more than once. Runs of a sweep differ in what their arrays and
texts hold, and not in which there are: to make fifty datasets takes longer than to fill them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .layout import Layout, written


class Another(Exception):
    """A file is not like the one before."""


class Again:
    """Groups, datasets and attributes of a file, in the order in which they were made. The next time
    the same ones are asked for, and get other bytes; `Another` is raised where they are not the same.
    """

    # of the file, once it has been written a second time
    layout: Layout | None = None

    def __init__(self) -> None:
        self._made: list[tuple[Any, Any]] = []
        self._at = 0
        self._whole = False

    def made(self, what: Any, make: Callable[[], Any]) -> Any:
        """What make() gives, or has given. what: all that it depends on."""
        if not self._whole:
            self._made.append((what, make()))
            return self._made[-1][1]
        known, found = self._made[self._at] if self._at < len(self._made) else (None, None)
        if known != what:
            raise Another
        self._at += 1
        return found

    def ends(self) -> None:
        """All of the file is written."""
        if self._whole and self._at < len(self._made):
            raise Another
        self._at, self._whole = 0, True

    def find(self, image: bytes, image_now: Callable[[], bytes]) -> None:
        """Where the file has what. image: all its bytes; image_now(): those of this moment."""
        made = [item for _, item in self._made]
        self.layout = Layout(image, written(made, image, image_now))

    def forget(self) -> None:
        self._made.clear()  # they lead back to this
