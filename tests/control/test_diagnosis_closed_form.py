"""The diagnosis of one run against a long baseline of independent indicators: every figure has a closed form."""

from __future__ import annotations

import math

import pytest
from scipy.stats import chi2, f

from labkit.control.baseline import Baseline
from labkit.control.diagnosis import diagnose

LONG = 10**9
BASELINE = Baseline(("a", "b"), (0.0, 0.0), (1.0, 1.0), (LONG,) * 2, (1e9,) * 2, ((1.0, 0.0), (0.0, 1.0)))


def test_amplitude_fit_and_weight_of_one_fault_have_their_closed_forms() -> None:
    found = diagnose([{"a": 3.0, "b": 1.5}], {"tilt": {"a": 1.0}}, BASELINE, tolerance=0.0)
    (candidate,) = found.candidates
    assert candidate.amplitude == pytest.approx(3.0, rel=1e-6)
    assert (candidate.low, candidate.high) == pytest.approx((3.0 - 1.959964, 3.0 + 1.959964), rel=1e-5)
    assert candidate.misfit == pytest.approx(chi2.sf(1.5**2, 1), rel=1e-4)
    assert candidate.significance == pytest.approx(chi2.sf(9.0, 1), rel=1e-3)
    gain = 0.5 * 9.0 - 0.5 * math.log(1 * 2)
    assert candidate.weight == pytest.approx(1.0 / (1.0 + math.exp(-gain)), rel=1e-4)


def test_rivals_share_the_weight_by_their_likelihood() -> None:
    faults = {"first": {"a": 1.0}, "second": {"a": 1.0, "b": 1.0}}
    found = diagnose([{"a": 3.0, "b": 1.0}], faults, BASELINE, tolerance=0.0)
    weight = {candidate.fault: candidate.weight for candidate in found.candidates}
    assert weight["first"] / weight["second"] == pytest.approx(math.exp(0.5 * (9.0 - 8.0)), rel=1e-4)


@pytest.mark.parametrize(("other", "isolated"), [(2.56, "a"), (2.59, "")])
def test_an_indicator_stands_alone_while_the_others_pass_their_test_at_one_per_cent(
    other: float, isolated: str
) -> None:
    """The 99 % point of |z| is 2.576."""
    found = diagnose([{"a": 9.0, "b": other}], {"wrong": {"b": 1.0}}, BASELINE, tolerance=0.0)
    assert found.verdict == "unknown"
    assert found.isolated == isolated


def test_misfit_is_an_f_test_with_the_degrees_of_freedom_of_the_baseline() -> None:
    """The estimated covariance widens it by the root of the inverse-Wishart factor, 9/8 for two indicators."""
    few = Baseline(("a", "b"), (0.0, 0.0), (1.0, 1.0), (LONG,) * 2, (8.0,) * 2, ((1.0, 0.0), (0.0, 1.0)))
    (candidate,) = diagnose([{"a": 9.0, "b": 2.0}], {"tilt": {"a": 1.0}}, few, tolerance=0.0).candidates
    assert candidate.misfit == pytest.approx(f.sf(4.0 * (8.0 / 9.0) ** 0.5, 1, 8), rel=1e-4)


def test_levels_are_one_per_cent_and_one_to_twenty_unless_asked_otherwise() -> None:
    found = diagnose([{"a": 9.0, "b": 0.0}], {"tilt": {"a": 1.0}}, BASELINE, tolerance=0.0)
    assert (found.level, found.verdict) == (0.01, "tilt")
    # Turned by 0.3 rad, the runner-up explains less by half the square of the departure's part across it.
    turned = {"first": {"a": 1.0}, "second": {"a": math.cos(0.3), "b": math.sin(0.3)}}
    for odds, named in ((19.0, 2), (21.0, 1)):
        size = (2.0 * math.log(odds)) ** 0.5 / math.sin(0.3)
        found = diagnose([{"a": size, "b": 0.0}], turned, BASELINE, level=1e-9, tolerance=0.0)
        assert len(found.faults) == named, odds
