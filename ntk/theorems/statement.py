"""A theorem as data: its hypotheses, each checked, and its claims, each a bound beside what was
measured.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """One condition of a theorem. holds: True, False, or None where it cannot be decided from what
    was given; asked: the least number that would do, where it is one.
    """

    name: str
    holds: bool | None
    found: str = ""
    asked: float | None = None


@dataclass(frozen=True)
class Claim:
    """measured <= bound (or >=, as sense says). measured: None where no state or run was given to
    measure.
    """

    name: str
    bound: float
    measured: float | None = None
    sense: str = "<="

    @property
    def holds(self) -> bool | None:
        """Whether what was measured keeps to the bound, up to 1e-9 of it for rounding; None without
        a measurement.
        """
        if self.measured is None:
            return None
        slack = 1e-9 * abs(self.bound)
        return bool(
            self.measured <= self.bound + slack
            if self.sense == "<="
            else self.measured >= self.bound - slack
        )


@dataclass(frozen=True)
class Statement:
    """A theorem applied to one case: theorem (its source), hypotheses, claims; statement["name"] is
    the claim of that name.

    applies: True if all hypotheses hold, False if one fails, else None. A claim may hold although a
    hypothesis fails: what theorems ask for is sufficient, and mostly far from necessary.
    """

    theorem: str
    hypotheses: tuple[Hypothesis, ...]
    claims: tuple[Claim, ...]

    @property
    def applies(self) -> bool | None:
        held = [hypothesis.holds for hypothesis in self.hypotheses]
        return False if False in held else None if None in held else True

    def __getitem__(self, name: str) -> Claim:
        for claim in self.claims:
            if claim.name == name:
                return claim
        raise KeyError(
            f"no claim {name!r}; there are: {', '.join(claim.name for claim in self.claims)}."
        )

    def __str__(self) -> str:
        """The theorem, then one line for each hypothesis and claim."""
        mark = {True: "yes", False: "NO", None: "?"}
        lines = [self.theorem]
        for hypothesis in self.hypotheses:
            found = f" ({hypothesis.found})" if hypothesis.found else ""
            lines.append(f"  {mark[hypothesis.holds]:>3}  {hypothesis.name}{found}")
        for claim in self.claims:
            measured = "" if claim.measured is None else f"measured {claim.measured:.5g} "
            kept = "" if claim.holds is None else f": {mark[claim.holds]}"
            lines.append(f"       {claim.name}: {measured}{claim.sense} {claim.bound:.5g}{kept}")
        return "\n".join(lines)
