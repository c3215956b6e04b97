"""Capability indices against the handbook and their intervals against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labkit.control.capability import MOVING_RANGE_EFFICIENCY, capability
from labkit.control.charts import D2
from labkit.core.errors import LabkitError


def test_indices_are_those_of_the_nist_example() -> None:
    """NIST/SEMATECH e-Handbook, section 7.1.6: USL 20, LSL 8, mean 16, s 2 give Cp = 1.0 and Cpk = 0.6667."""
    values = 16.0 + 2.0 * np.array([1.0, -1.0, 1.0, -1.0]) * math.sqrt(3.0 / 4.0)
    found = capability(list(values), lower=8.0, upper=20.0)
    assert found.pp.value == pytest.approx(1.0)
    assert found.ppk.value == pytest.approx(0.6667, abs=5e-5)


def test_short_term_sigma_is_the_mean_moving_range_over_its_constant() -> None:
    found = capability([1.0, 2.128, 1.0, 2.128], lower=-2.0, upper=4.0)
    assert found.sigma_within == pytest.approx(1.0)
    assert found.cp.value == pytest.approx(1.0)
    assert found.cpk.value == pytest.approx((4.0 - 1.564) / 3.0)


def test_a_drifting_process_performs_worse_than_it_is_capable_of() -> None:
    values = list(0.1 * np.arange(30) + 0.05 * (-1.0) ** np.arange(30))
    found = capability(values, lower=-2.0, upper=5.0)
    assert found.cp.value > 3.0 * found.pp.value


def test_one_sided_specification_has_no_cp_and_the_right_side_of_cpk() -> None:
    upper = capability([0.0, 1.0, 0.0, 1.0], upper=5.0)
    lower = capability([0.0, 1.0, 0.0, 1.0], lower=-1.0)
    assert math.isnan(upper.cp.value)
    assert math.isnan(lower.pp.low)
    assert upper.ppk.value == pytest.approx(4.5 / (3.0 * math.sqrt(1.0 / 3.0)))
    assert lower.ppk.value == pytest.approx(1.5 / (3.0 * math.sqrt(1.0 / 3.0)))


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_intervals_cover_the_true_index_as_often_as_stated(level: float) -> None:
    rng, trials = np.random.default_rng(2), 1200
    hits = {"cp": 0, "cpk": 0, "pp": 0, "ppk": 0}
    true = {"cp": 8.0 / 6.0, "pp": 8.0 / 6.0, "cpk": 1.0, "ppk": 1.0}
    for _ in range(trials):
        found = capability(rng.normal(1.0, 1.0, size=50).tolist(), lower=-4.0, upper=4.0, level=level)
        for name, value in true.items():
            index = getattr(found, name)
            hits[name] += index.low <= value <= index.high
    for name, count in hits.items():
        assert count / trials == pytest.approx(level, abs=0.03), name


def test_interval_of_pp_is_the_chi_square_one() -> None:
    """χ² quantiles for 9 degrees of freedom at 2.5 % and 97.5 %: 2.700 and 19.023."""
    values = np.random.default_rng(0).normal(size=10)
    found = capability(values.tolist(), lower=-3.0, upper=3.0)
    assert found.pp.low / found.pp.value == pytest.approx(math.sqrt(2.700 / 9.0), rel=1e-4)
    assert found.pp.high / found.pp.value == pytest.approx(math.sqrt(19.023 / 9.0), rel=1e-4)


def test_interval_of_ppk_has_its_two_exact_limits() -> None:
    """At Ppk = 0 only the mean errs, by sigma/√n; far from the limit only sigma errs, by a share 1/√(2(n − 1))."""
    values = [-1.0, 1.0] * 8
    at_limit = capability(values, upper=0.0).ppk
    assert at_limit.high == pytest.approx(1.959964 / (3.0 * 4.0))
    far = capability(values, upper=1e6).ppk
    assert far.low / far.value == pytest.approx(1.0 - 1.959964 / math.sqrt(30.0))


def test_moving_ranges_are_worth_the_stated_degrees_of_freedom() -> None:
    x = np.random.default_rng(1).normal(size=(4000, 201))
    sigma = np.abs(np.diff(x, axis=1)).mean(axis=1) / D2[2]
    assert 1.0 / (2.0 * sigma.var() * 200.0) == pytest.approx(MOVING_RANGE_EFFICIENCY, rel=0.06)


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([1.0, 2.0, 3.0], {}),
        ([1.0, 2.0], {"upper": 3.0}),
        ([1.0, 1.0, 1.0], {"upper": 3.0}),
        ([1.0, 2.0, 3.0], {"lower": 2.0, "upper": 2.0}),
    ],
)
def test_impossible_questions_are_refused(values: list[float], limits: dict[str, float]) -> None:
    with pytest.raises(LabkitError):
        capability(values, **limits)
