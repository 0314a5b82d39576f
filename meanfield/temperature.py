"""Temperature of a flow: a number, breakpoints with straight lines between them, or a function of
the flow time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .checks import is_number

LOOKED_AT = 1001  # times at which a function is looked at before a run


@dataclass(frozen=True)
class Temperature:
    """T(t) >= 0. given: a number, breakpoints ((t_0, T_0), (t_1, T_1), …), or a function of t."""

    given: Any

    @classmethod
    def of(cls, given: Any) -> Temperature:
        """What a user writes, checked.

        Raises
        ------
        ValueError : for a negative or infinite temperature, and for breakpoints whose times do not increase.
        TypeError : for what is none of the three.
        """
        if isinstance(given, Temperature):
            return given
        if callable(given):
            return cls(given)
        if is_number(given):
            if not (math.isfinite(given) and given >= 0):
                raise ValueError(f"temperature must be finite and >= 0; got {given!r}.")
            return cls(float(given))
        try:
            points = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            points = np.empty(0)
        if isinstance(given, (str, bytes)) or points.ndim != 2 or points.shape[1:] != (2,):
            raise TypeError(
                "temperature must be a number >= 0, breakpoints [(t, T), …] or a "
                "function of the flow time t; "
                f"got {given!r}."
            )
        if not np.isfinite(points).all() or points[:, 1].min() < 0:
            raise ValueError(
                f"each T of temperature=[(t, T), …] must be finite and >= 0; got {given!r}."
            )
        if not (np.diff(points[:, 0]) > 0).all():
            raise ValueError(f"the times of temperature=[(t, T), …] must increase; got {given!r}.")
        return cls(tuple((float(t), float(T)) for t, T in points))

    @property
    def zero(self) -> bool:
        """Whether it is 0 at all times: a function is not taken for it."""
        if isinstance(self.given, tuple):
            return not any(T for _, T in self.given)
        return not callable(self.given) and self.given == 0.0

    def __call__(self, t: float) -> float:
        """T at the flow time t."""
        if isinstance(self.given, float):
            return self.given
        if isinstance(self.given, tuple):
            times, values = zip(*self.given, strict=True)
            return float(np.interp(t, times, values))
        try:
            found = self.given(t)
        except Exception as error:
            raise ValueError(
                f"temperature(t) raised {type(error).__name__} at t = {t:g}: {error}. It must give a finite "
                "number >= 0 at every time of the run."
            ) from error
        if not (is_number(found) and math.isfinite(found) and found >= 0):
            raise ValueError(
                f"temperature(t) must be a finite number >= 0; at t = {t:g} it is {found!r}."
            )
        return float(found)

    def check_times(self, first: float, last: float) -> None:
        """Raise where it is not known, or no temperature, at some time of a run from `first` to
        `last`.
        """
        if isinstance(self.given, tuple):
            begins, ends = self.given[0][0], self.given[-1][0]
            slack = 1e-9 * (last - first)
            if begins > first + slack or ends < last - slack:
                raise ValueError(
                    f"temperature=[(t, T), …] goes from t = {begins:g} to {ends:g}, but "
                    f"the run from t = {first:g} to "
                    f"{last:g}. Add breakpoints, or change the run's times."
                )
        elif callable(self.given):
            for t in np.linspace(first, last, LOOKED_AT):
                self(float(t))

    def to_dict(self) -> Any:
        """As a file holds it: a number, a list of breakpoints, or the name of a function."""
        if isinstance(self.given, tuple):
            return [list(point) for point in self.given]
        if callable(self.given):
            return {"function": self.name}
        return self.given

    @property
    def function(self) -> Callable[[float], float] | None:
        """The user's own, which no file holds."""
        return self.given if callable(self.given) else None

    @property
    def name(self) -> str:
        return getattr(self.given, "__name__", type(self.given).__name__)

    def __str__(self) -> str:
        if isinstance(self.given, tuple):
            return " → ".join(f"{T:g}" for _, T in self.given)
        return f"{self.name}(t)" if callable(self.given) else f"{self.given:g}"
