"""What is made when it is first asked for, and kept: functools.cached_property without its lock.

Up to Python 3.11 that holds one lock while a value is made, for all instances of the class. Whoever waits in
there for another thread that asks the same of another instance waits for ever.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functools import cached_property as cached_property
else:

    class cached_property(functools.cached_property):
        """Of two threads that come at once both make the value, and both get the first one kept."""

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            try:
                return instance.__dict__[self.attrname]
            except KeyError:
                pass
            return instance.__dict__.setdefault(self.attrname, self.func(instance))
