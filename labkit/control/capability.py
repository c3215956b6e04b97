"""Process capability and performance with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import chdtri, ndtri

from labkit.control.charts import D2, moving_ranges
from labkit.control.state import Stored
from labkit.core.errors import LabkitError
from labkit.numerics.statistics import mean, standard_deviation

MOVING_RANGE_EFFICIENCY = 0.605
"""Degrees of freedom per moving range: 1/(2 × 0.8264), from the asymptotic variance 0.8264 σ²/n of MR-bar/d2
(Cryer and Ryan, Journal of Quality Technology 22 (1990) 187)."""


@dataclass(frozen=True)
class Index(Stored):
    """A capability index and its confidence interval; NaN where the specification has no such side."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Capability:
    """Capability (short-term sigma, from moving ranges) and performance (overall sigma) against a specification."""

    cp: Index
    cpk: Index
    pp: Index
    ppk: Index
    mean: float
    sigma_within: float
    sigma_overall: float
    values: int
    level: float


def _spread_index(width: float | None, sigma: float, dof: float, level: float) -> Index:
    if width is None:
        return Index(math.nan, math.nan, math.nan)
    value = width / (6.0 * sigma)
    tail = 0.5 * (1.0 - level)
    return Index(
        value,
        value * math.sqrt(float(chdtri(dof, 1.0 - tail)) / dof),
        value * math.sqrt(float(chdtri(dof, tail)) / dof),
    )


def _centred_index(distance: float, sigma: float, count: int, dof: float, level: float) -> Index:
    value = distance / (3.0 * sigma)
    half = float(ndtri(0.5 * (1.0 + level))) * math.sqrt(1.0 / (9.0 * count) + value**2 / (2.0 * dof))
    return Index(value, value - half, value + half)


def capability(
    values: Sequence[float], *, lower: float | None = None, upper: float | None = None, level: float = 0.95
) -> Capability:
    """Cp, Cpk, Pp and Ppk of *values*, in run order, against the specification *lower* … *upper*.

    ``Cp = (upper − lower)/6σ``, ``Cpk = min(upper − mean, mean − lower)/3σ``; Pp and Ppk with the overall sigma.
    Intervals: χ² for Cp and Pp, Bissell's normal approximation for Cpk and Ppk.

    Raises
    ------
    LabkitError
        If there are fewer than three values, no spread, or no specification.

    Validity: independent normal values from a stable process; Bissell's interval from about 25 values.

    References
    ----------
    NIST/SEMATECH e-Handbook, section 7.1.6; Bissell, Applied Statistics 39 (1990) 331.
    """
    if lower is None and upper is None:
        raise LabkitError("capability without a specification", fix="give lower, upper or both")
    if lower is not None and upper is not None and not lower < upper:
        raise LabkitError(f"specification from {lower:g} to {upper:g}", allowed="lower below upper")
    if len(values) < 3:
        raise LabkitError(f"capability of {len(values)} values", allowed="at least 3")
    centre, overall = mean(values), standard_deviation(values)
    within = mean(moving_ranges(values)) / D2[2]
    if within <= 0.0:
        raise LabkitError("capability of values without spread", allowed="values that differ")
    width = upper - lower if lower is not None and upper is not None else None
    distance = min(math.inf if upper is None else upper - centre, math.inf if lower is None else centre - lower)
    count = len(values)
    short, long = MOVING_RANGE_EFFICIENCY * (count - 1), float(count - 1)
    return Capability(
        cp=_spread_index(width, within, short, level),
        cpk=_centred_index(distance, within, count, short, level),
        pp=_spread_index(width, overall, long, level),
        ppk=_centred_index(distance, overall, count, long, level),
        mean=centre,
        sigma_within=within,
        sigma_overall=overall,
        values=count,
        level=level,
    )
