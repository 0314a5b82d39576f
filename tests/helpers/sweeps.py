"""A sweep over activations, shapes or dtypes: one case of it, or some, for a contributor, and all
of it for .ci/run.
"""

import pytest


def sweep(cases, *kept, lane="kernel"):
    """The cases for @pytest.mark.parametrize: those `kept`, the first where none is named, and the
    others in `lane`.
    """
    cases = list(cases)
    if strange := [case for case in kept if case not in cases]:
        raise ValueError(f"no case of this sweep: {strange}; it has {cases}.")
    return [case if case in (kept or cases[:1]) else _in(lane, case) for case in cases]


def _in(lane, case):
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=getattr(pytest.mark, lane))
