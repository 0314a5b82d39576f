"""Modules under the names they had before the rooms."""

import importlib
import subprocess
import sys

import pytest

from meanfield.old_names import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_module_answers_under_its_old_name_and_says_the_new_one(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]}"):
        module = importlib.import_module(old)
    new = importlib.import_module(MOVED[old])
    public = [name for name in vars(new) if not name.startswith("_")]
    assert public and all(getattr(module, name) is getattr(new, name) for name in public)


def test_names_can_be_imported_from_an_old_module():
    program = (
        "from meanfield.schedules import Span, every; from meanfield.integrators import "
        "RK4; print(RK4.name)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "rk4\n"
