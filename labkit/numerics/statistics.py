"""Mean and standard deviation that keep their digits when the mean is huge beside the spread."""

from __future__ import annotations

import math
from collections.abc import Iterable


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean of *values*, summed without rounding error.

    Raises
    ------
    ValueError
        If there are no values.
    """
    numbers = [float(v) for v in values]
    if not numbers:
        raise ValueError("the mean of no values does not exist")
    return math.fsum(numbers) / len(numbers)


def standard_deviation(values: Iterable[float]) -> float:
    """Sample standard deviation (divisor n − 1) of *values*.

    Two passes, both summed without rounding error; what rounding of the mean leaves is below one part in 10¹⁵.

    Raises
    ------
    ValueError
        If there are fewer than two values.

    References
    ----------
    Chan, Golub, LeVeque, The American Statistician 37 (1983) 242, doi:10.1080/00031305.1983.10483115.
    """
    numbers = [float(v) for v in values]
    if len(numbers) < 2:
        raise ValueError(f"a standard deviation needs at least 2 values, not {len(numbers)}")
    centre = mean(numbers)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in numbers) / (len(numbers) - 1))
