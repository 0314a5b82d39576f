"""No garbage is collected while anything compiles, or is loaded."""

import gc

import numba
import pytest
from numba.core import event
from numba.core.compiler_lock import global_compiler_lock

from meanfield.backends import compiler  # noqa: F401  it says so to numba


class Watching(event.Listener):
    def __init__(self):
        self.seen = []

    def on_start(self, _):
        self.seen.append(gc.isenabled())

    def on_end(self, _):
        pass


def compiled(function):
    watching = Watching()
    with event.install_listener("numba:run_pass", watching):
        numba.njit(function).compile((numba.float64,))
    return watching.seen


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_rests_while_a_function_compiles_and_is_as_it_was_afterwards(on):
    inner = numba.njit(lambda z: 2.0 * z)
    (gc.enable if on else gc.disable)()
    try:
        assert not any(compiled(lambda z: inner(z) + 1.0))
        assert gc.isenabled() == on
    finally:
        gc.enable()


def test_the_collector_works_again_after_a_function_that_does_not_compile():
    with pytest.raises(numba.core.errors.TypingError):
        compiled(lambda z: z.nothing)
    assert gc.isenabled()


def test_the_collector_rests_until_the_last_that_holds_the_lock_of_the_compiler_lets_it_go():
    """What loads compiled code from the cache holds it, too."""
    with global_compiler_lock:
        with global_compiler_lock:
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
