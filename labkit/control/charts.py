"""Shewhart limits for individuals, moving ranges, subgroups and counts, and the EWMA chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from labkit.control.state import Stored
from labkit.core.errors import LabkitError
from labkit.numerics.statistics import mean, standard_deviation

D2 = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534, 7: 2.704, 8: 2.847, 9: 2.970, 10: 3.078}
"""Expected range of n standard normal values (ASTM E2587-16 table 6; three decimals, as published charts use)."""
D3 = {2: 0.853, 3: 0.888, 4: 0.880, 5: 0.864, 6: 0.848, 7: 0.833, 8: 0.820, 9: 0.808, 10: 0.797}
"""Standard deviation of the range of n standard normal values (same table)."""
MOVING_RANGE_UPPER = 3.267
"""Upper limit of a moving range of two over its mean, D4(2) (same table)."""


@dataclass(frozen=True)
class Limits(Stored):
    """Centre line and control limits; a value *on* a limit is in control."""

    centre: float
    lower: float
    upper: float

    def beyond(self, value: float) -> bool:
        """Whether *value* lies strictly outside the limits; a missing value (NaN) does not."""
        return value > self.upper or value < self.lower


def c4(size: int) -> float:
    """Expected standard deviation of *size* standard normal values.

    ``c4 = sqrt(2/(n-1)) Gamma(n/2) / Gamma((n-1)/2)``
    """
    return math.sqrt(2.0 / (size - 1)) * math.exp(math.lgamma(size / 2) - math.lgamma((size - 1) / 2))


def moving_ranges(values: Sequence[float]) -> list[float]:
    """Absolute differences of successive *values*."""
    return [abs(b - a) for a, b in pairwise(values)]


def individuals(values: Sequence[float]) -> tuple[Limits, Limits]:
    """Three-sigma limits of an individuals chart and of its moving-range chart.

    ``x-bar ± 3 MR-bar / d2`` with ``d2 = 1.128``; the range's limits are 0 and ``D4 MR-bar``.

    Raises
    ------
    LabkitError
        If there are fewer than two values.

    References
    ----------
    NIST/SEMATECH e-Handbook of Statistical Methods, section 6.3.2.2.
    """
    if len(values) < 2:
        raise LabkitError(f"an individuals chart from {len(values)} values", allowed="at least 2")
    centre, spread = mean(values), mean(moving_ranges(values))
    width = 3.0 * spread / D2[2]
    return Limits(centre, centre - width, centre + width), Limits(spread, 0.0, MOVING_RANGE_UPPER * spread)


def subgroups_by_range(groups: Sequence[Sequence[float]]) -> tuple[Limits, Limits]:
    """Three-sigma limits of the x-bar chart and of the R chart of equally sized *groups* (2 to 10 values each).

    References
    ----------
    NIST/SEMATECH e-Handbook of Statistical Methods, section 6.3.2.1.
    """
    size = _group_size(groups, allowed=tuple(D2))
    centre = mean([mean(g) for g in groups])
    spread = mean([max(g) - min(g) for g in groups])
    width = 3.0 * spread / (D2[size] * math.sqrt(size))
    swing = 3.0 * D3[size] / D2[size]
    return (
        Limits(centre, centre - width, centre + width),
        Limits(spread, max(0.0, 1.0 - swing) * spread, (1.0 + swing) * spread),
    )


def subgroups_by_deviation(groups: Sequence[Sequence[float]]) -> tuple[Limits, Limits]:
    """Three-sigma limits of the x-bar chart and of the s chart of equally sized *groups* (two or more values each).

    References
    ----------
    NIST/SEMATECH e-Handbook of Statistical Methods, section 6.3.2.1.
    """
    size = _group_size(groups, allowed=None)
    centre = mean([mean(g) for g in groups])
    spread = mean([standard_deviation(g) for g in groups])
    unbiased = c4(size)
    width = 3.0 * spread / (unbiased * math.sqrt(size))
    swing = 3.0 * math.sqrt(1.0 - unbiased**2) / unbiased
    return (
        Limits(centre, centre - width, centre + width),
        Limits(spread, max(0.0, 1.0 - swing) * spread, (1.0 + swing) * spread),
    )


def _group_size(groups: Sequence[Sequence[float]], allowed: tuple[int, ...] | None) -> int:
    sizes = {len(g) for g in groups}
    if len(sizes) != 1 or min(sizes) < 2 or (allowed is not None and not sizes <= set(allowed)):
        bounds = f"{allowed[0]} to {allowed[-1]}" if allowed else "at least 2"
        raise LabkitError(f"subgroups of sizes {sorted(sizes)}", allowed=f"one common size of {bounds}")
    return sizes.pop()


def counts(values: Sequence[float]) -> Limits:
    """Three-sigma limits of a c chart: ``c ± 3 sqrt(c)``, the lower one never negative.

    Validity: Poisson counts on equal areas with a mean of about 5 or more; below that the normal limits miss.

    References
    ----------
    NIST/SEMATECH e-Handbook of Statistical Methods, section 6.3.3.1.
    """
    if not values or min(values) < 0:
        raise LabkitError("a c chart needs counts", allowed="at least one value, none negative")
    centre = mean(values)
    width = 3.0 * math.sqrt(centre)
    return Limits(centre, max(0.0, centre - width), centre + width)


@dataclass(frozen=True)
class EwmaState(Stored):
    """Where an EWMA chart stands: its statistic and how many runs it has seen."""

    statistic: float
    runs: int = 0


@dataclass(frozen=True)
class EwmaChart(Stored):
    """Exponentially weighted moving average against limits.

    ``E_t = λ x_t + (1 − λ) E_{t−1}``, out of control beyond ``centre ± width σ sqrt(λ/(2 − λ))``.

    Parameters
    ----------
    centre, sigma
        In-control mean and standard deviation of a run, in the unit of the measurement.
    weight
        λ, above 0 and at most 1.
    width
        Limits in standard deviations of the statistic.

    References
    ----------
    NIST/SEMATECH e-Handbook of Statistical Methods, section 6.3.2.4; false-alarm rates from
    :func:`labkit.control.run_length.ewma_average_run_length`.
    """

    centre: float
    sigma: float
    weight: float = 0.3
    width: float = 3.0

    def __post_init__(self) -> None:
        if not (0.0 < self.weight <= 1.0 and self.sigma > 0.0 and self.width > 0.0):
            raise LabkitError(
                f"EWMA chart with weight {self.weight:g}, sigma {self.sigma:g}, width {self.width:g}",
                allowed="weight above 0 and at most 1, sigma and width above 0",
            )

    @property
    def limits(self) -> Limits:
        """Asymptotic control limits."""
        half = self.width * self.sigma * math.sqrt(self.weight / (2.0 - self.weight))
        return Limits(self.centre, self.centre - half, self.centre + half)

    def start(self) -> EwmaState:
        """The state before the first run."""
        return EwmaState(self.centre)

    def update(self, state: EwmaState, measurement: float) -> tuple[EwmaState, bool]:
        """The next state and whether the chart signals; a missing measurement (NaN) counts but changes nothing."""
        if math.isnan(measurement):
            return EwmaState(state.statistic, state.runs + 1), False
        statistic = self.weight * measurement + (1.0 - self.weight) * state.statistic
        return EwmaState(statistic, state.runs + 1), self.limits.beyond(statistic)
