"""Limits: how far outside a value lies, and what a violation says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.core.limits import Limit, Severity, violations

number = st.floats(-1e9, 1e9)


@given(number, number, number)
def test_a_value_is_outside_exactly_if_its_excess_is_positive(first: float, second: float, value: float) -> None:
    limit = Limit("x", min(first, second), max(first, second))
    assert (limit.excess(value) > 0.0) == (not limit.low <= value <= limit.high)
    nearest = min(max(value, limit.low), limit.high)
    assert limit.excess(value) == pytest.approx(abs(value - nearest))


def test_bounds_are_inclusive_and_not_a_number_is_outside() -> None:
    limit = Limit("x", 1.0, 2.0)
    assert limit.excess(1.0) == limit.excess(2.0) == 0.0
    assert limit.excess(math.nan) == math.inf


def test_a_limit_says_its_range_in_words() -> None:
    assert Limit("t", 400.0, 1200.0, "degC").allowed == "400 to 1200 degC"
    assert Limit("t", high=5.0).allowed == "at most 5"
    assert Limit("t", low=5.0, units="nm").allowed == "at least 5 nm"


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (math.nan, 1.0), (0.0, math.nan)])
def test_a_range_that_holds_nothing_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="limit on x"):
        Limit("x", low, high)


def test_violations_name_limit_value_and_reason_and_skip_what_was_not_measured() -> None:
    limits = (
        Limit("a", 0.0, 1.0, reason="film cracks"),
        Limit("b", 0.0, 1.0, severity=Severity.SOFT),
        Limit("c", 0.0, 1.0),
    )
    found = violations(limits, {"a": 2.0, "b": 0.5})
    assert [violation.limit.quantity for violation in found] == ["a"]
    assert str(found[0]) == "a = 2: hard limit 0 to 1 (film cracks)"
