"""Limits on a recipe's parameters, a run's signals and its results, and what breaking one is called."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """A hard limit blocks a run (or fails its result); a soft one is stored and shown."""

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True)
class Limit:
    """An allowed range of one quantity.

    ``quantity`` is a recipe path (``"pressure_setpoints.process_pressure_torr"``) or the name of an
    indicator; ``low`` and ``high`` are inclusive and may be infinite; ``reason`` says where the range comes from.
    """

    quantity: str
    low: float = -math.inf
    high: float = math.inf
    units: str = "1"
    severity: Severity = Severity.HARD
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"limit on {self.quantity}: low {self.low} is above high {self.high}")

    @property
    def allowed(self) -> str:
        """The range in words, e.g. ``"400 to 1200 degC"``."""
        unit = "" if self.units == "1" else f" {self.units}"
        if math.isinf(self.low):
            return f"at most {self.high:g}{unit}"
        if math.isinf(self.high):
            return f"at least {self.low:g}{unit}"
        return f"{self.low:g} to {self.high:g}{unit}"

    def excess(self, value: float) -> float:
        """How far *value* lies outside, in the limit's units; 0 inside; infinite when it is not a number."""
        if math.isnan(value):
            return math.inf
        return max(self.low - value, value - self.high, 0.0)


@dataclass(frozen=True)
class Violation:
    """A limit and the value that broke it."""

    limit: Limit
    value: float

    def __str__(self) -> str:
        reason = f" ({self.limit.reason})" if self.limit.reason else ""
        return f"{self.limit.quantity} = {self.value:.4g}: {self.limit.severity} limit {self.limit.allowed}{reason}"


def violations(limits: Iterable[Limit], values: Mapping[str, float]) -> tuple[Violation, ...]:
    """Every limit in *limits* that *values* breaks; quantities without a value are not judged here."""
    return tuple(
        Violation(limit, values[limit.quantity])
        for limit in limits
        if limit.quantity in values and limit.excess(values[limit.quantity]) > 0.0
    )
