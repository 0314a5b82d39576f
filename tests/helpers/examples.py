"""Properties that hold for whatever hypothesis comes up with: the same examples in every run."""

import hypothesis


def examples(count):
    """Decorator for @given: so many examples, no deadline, no data base of failures.

    To use inside a test, whose parameter says how many: few in CI, many in `-m slow`.
    """
    return hypothesis.settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
