"""Control charts against the NIST/SEMATECH e-Handbook, to the digit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from labkit.control import charts
from labkit.control.charts import EwmaChart, EwmaState, Limits
from labkit.core.errors import LabkitError


def _column(path: Path, name: str) -> list[float]:
    with path.open() as stream:
        return [float(row[name]) for row in csv.DictReader(stream)]


def test_individuals_limits_are_those_of_nist(spc_nist: Path) -> None:
    limits, ranges = charts.individuals(_column(spc_nist / "nist_6_3_2_2_individuals_flowrate.csv", "x"))
    assert round(limits.centre, 2) == 50.81
    assert round(limits.upper, 4) == 55.8041
    assert round(limits.lower, 4) == 45.8159
    assert round(ranges.centre, 4) == 1.8778
    # The handbook prints no range limit; sources that do (6.1349, 6.1347) round D4 differently in the fifth digit.
    assert ranges.upper == pytest.approx(6.1349, abs=3e-4)
    assert ranges.lower == 0.0


def test_ewma_values_and_limits_are_those_of_nist(spc_nist: Path) -> None:
    path = spc_nist / "nist_6_3_2_4_ewma.csv"
    chart = EwmaChart(centre=50.0, sigma=2.0539, weight=0.3)
    assert round(chart.limits.upper, 4) == 52.5884
    assert round(chart.limits.lower, 4) == pytest.approx(47.4115, abs=1.01e-4)
    state = chart.start()
    for x, published in zip(_column(path, "x"), _column(path, "ewma_published_2dp"), strict=True):
        state, signal = chart.update(state, x)
        assert state.statistic == pytest.approx(published, abs=0.00501)
        assert not signal
    assert state.runs == 20


def test_c_chart_of_nist_finds_wafer_24_and_spares_wafer_3_on_the_limit(spc_nist: Path) -> None:
    defects = _column(spc_nist / "nist_6_3_3_1_wafer_defects_c_chart.csv", "defects")
    limits = charts.counts(defects)
    assert (limits.centre, limits.upper, limits.lower) == (16.0, 28.0, 4.0)
    assert defects[2] == limits.upper
    assert [i + 1 for i, d in enumerate(defects) if limits.beyond(d)] == [24]


def test_lower_limit_of_rare_counts_is_not_negative() -> None:
    assert charts.counts([1, 2, 0, 1]).lower == 0.0


def test_limits_are_strict_on_both_sides_and_missing_values_are_not_beyond() -> None:
    limits = Limits(0.0, -1.0, 1.0)
    assert [limits.beyond(v) for v in (-1.0, 1.0, math.nan)] == [False, False, False]
    assert limits.beyond(math.nextafter(1.0, 2.0))
    assert limits.beyond(math.nextafter(-1.0, -2.0))


@pytest.mark.parametrize(
    ("size", "a2", "d3", "d4"),
    [
        (2, 1.880, 0.0, 3.267),
        (3, 1.023, 0.0, 2.574),
        (4, 0.729, 0.0, 2.282),
        (5, 0.577, 0.0, 2.114),
        (6, 0.483, 0.0, 2.004),
        (7, 0.419, 0.076, 1.924),
        (8, 0.373, 0.136, 1.864),
        (9, 0.337, 0.184, 1.816),
        (10, 0.308, 0.223, 1.777),
    ],
)
def test_range_chart_factors_are_the_published_ones(size: int, a2: float, d3: float, d4: float) -> None:
    means, ranges = charts.subgroups_by_range([list(np.linspace(-0.5, 0.5, size))])
    assert means.upper == pytest.approx(a2, abs=0.0011)
    assert means.lower == pytest.approx(-a2, abs=0.0011)
    assert ranges.upper == pytest.approx(d4, abs=0.0025)
    assert ranges.lower == pytest.approx(d3, abs=0.0015)


@pytest.mark.parametrize(
    ("size", "a3", "b3", "b4"),
    [
        (2, 2.659, 0.0, 3.267),
        (3, 1.954, 0.0, 2.568),
        (5, 1.427, 0.0, 2.089),
        (6, 1.287, 0.030, 1.970),
        (10, 0.975, 0.284, 1.716),
        (25, 0.606, 0.565, 1.435),
    ],
)
def test_deviation_chart_factors_are_the_published_ones(size: int, a3: float, b3: float, b4: float) -> None:
    group = np.linspace(-1.0, 1.0, size)
    means, deviations = charts.subgroups_by_deviation([list(group / group.std(ddof=1))])
    assert means.upper == pytest.approx(a3, abs=6e-4)
    assert (deviations.lower, deviations.upper) == (pytest.approx(b3, abs=6e-4), pytest.approx(b4, abs=6e-4))


def test_range_constants_agree_with_simulated_ranges() -> None:
    spans = np.ptp(np.random.default_rng(0).normal(size=(60000, 10)).reshape(60000, 10), axis=1)
    assert spans.mean() == pytest.approx(charts.D2[10], abs=0.012)
    assert spans.std() == pytest.approx(charts.D3[10], abs=0.012)


def test_a_shift_moves_the_ewma_beyond_its_limit_and_a_missing_run_does_not() -> None:
    chart = EwmaChart(0.0, 1.0, 0.2, 2.5)
    state, signals = chart.start(), []
    for x in [0.0, math.nan, 2.0, 2.0, 2.0, 2.0]:
        state, signal = chart.update(state, x)
        signals.append(signal)
    assert signals == [False] * 4 + [True, True]
    below = chart.update(EwmaState(-0.83), -1.0)
    assert below[1]


def test_states_and_charts_survive_json() -> None:
    for thing in (EwmaChart(1.0, 2.0), EwmaState(0.3, 4), Limits(0.0, -1.0, 1.0)):
        assert type(thing).from_dict(json.loads(json.dumps(thing.to_dict(), allow_nan=False))) == thing


def test_stored_state_with_a_strange_field_is_refused() -> None:
    with pytest.raises(LabkitError, match="surprise"):
        EwmaState.from_dict({"statistic": 1.0, "runs": 1, "surprise": 2})
    with pytest.raises(LabkitError, match="infinite"):
        Limits(0.0, -math.inf, 1.0).to_dict()


@pytest.mark.parametrize(
    "call",
    [
        lambda: charts.individuals([1.0]),
        lambda: charts.counts([]),
        lambda: charts.counts([-1.0]),
        lambda: charts.subgroups_by_range([[1.0, 2.0], [1.0]]),
        lambda: charts.subgroups_by_range([[1.0] * 11]),
        lambda: charts.subgroups_by_deviation([[1.0]]),
        lambda: EwmaChart(0.0, 0.0),
        lambda: EwmaChart(0.0, 1.0, 1.2),
    ],
)
def test_impossible_charts_are_refused(call: object) -> None:
    with pytest.raises(LabkitError):
        call()  # type: ignore[operator]
