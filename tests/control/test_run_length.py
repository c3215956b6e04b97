"""Average run lengths against published tables and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.control.run_length import (
    cusum_average_run_length,
    cusum_false_alarm_rate,
    cusum_interval,
    ewma_average_run_length,
)
from labkit.core.errors import LabkitError


@pytest.mark.parametrize(
    ("interval", "shift", "published"),
    [
        (4.0, 0.0, 168.0),
        (4.0, 0.25, 74.2),
        (4.0, 0.5, 26.6),
        (4.0, 0.75, 13.3),
        (4.0, 1.0, 8.38),
        (4.0, 1.5, 4.75),
        (4.0, 2.0, 3.34),
        (4.0, 3.0, 2.19),
        (5.0, 0.0, 465.0),
        (5.0, 0.25, 139.0),
        (5.0, 0.5, 38.0),
        (5.0, 1.0, 10.4),
        (5.0, 2.0, 4.01),
        (5.0, 4.0, 2.01),
    ],
)
def test_cusum_run_lengths_are_those_of_the_published_table(interval: float, shift: float, published: float) -> None:
    """Lucas and Crosier, Technometrics 24 (1982) 199, as tabulated by Montgomery (k = 0.5)."""
    assert cusum_average_run_length(0.5, interval, shift=shift) == pytest.approx(published, rel=0.004)


def test_one_sided_run_length_and_head_start_are_the_published_ones() -> None:
    """Lucas and Crosier (1982): k = 0.5, h = 5 has 930.9 one-sided and 896 with a head start of h/2."""
    assert cusum_average_run_length(0.5, 5.0, two_sided=False) == pytest.approx(930.9, abs=0.2)
    assert cusum_average_run_length(0.5, 5.0, two_sided=False, head_start=2.5) == pytest.approx(896.0, abs=1.0)
    primed = cusum_average_run_length(0.5, 4.0, shift=1.0, two_sided=False, head_start=2.0)
    assert primed == pytest.approx(5.29, abs=0.01)


@pytest.mark.parametrize(("weight", "width"), [(0.4, 3.054), (0.25, 2.998), (0.1, 2.814), (0.05, 2.615)])
def test_ewma_designs_of_lucas_and_saccucci_have_arl_500(weight: float, width: float) -> None:
    """Lucas and Saccucci, Technometrics 32 (1990) 1."""
    assert ewma_average_run_length(weight, width) == pytest.approx(500.0, rel=0.003)


def test_ewma_with_weight_one_is_a_shewhart_chart() -> None:
    assert ewma_average_run_length(1.0, 3.0) == pytest.approx(370.398, rel=1e-4)
    assert ewma_average_run_length(0.1, 2.814, shift=1.0) == pytest.approx(10.3, abs=0.05)


def test_interval_for_370_runs_is_the_published_one() -> None:
    """Hawkins (1993): k = 0.5 takes h = 4.77 for ARL 370, k = 1 takes 2.52."""
    assert cusum_interval(370.0, 0.5) == pytest.approx(4.77, abs=0.01)
    assert cusum_interval(370.0, 1.0) == pytest.approx(2.52, abs=0.01)


def _simulated_rate(reference: float, interval: float, baseline: int, dof: int, seed: int, tools: int) -> float:
    """Alarms per healthy run over many tools, each with its own baseline; sums restart after an alarm."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=tools) / np.sqrt(baseline)
    sigma = np.sqrt(rng.chisquare(dof, size=tools) / dof)
    high, low, alarms, runs = np.zeros(tools), np.zeros(tools), 0, 600
    for _ in range(runs):
        z = (rng.normal(size=tools) - centre) / sigma
        high, low = np.maximum(0.0, high + z - reference), np.maximum(0.0, low - z - reference)
        alarm = (high > interval) | (low > interval)
        alarms += int(alarm.sum())
        high[alarm], low[alarm] = 0.0, 0.0
    return alarms / (tools * runs)


@pytest.mark.parametrize(("baseline", "reference"), [(10, 1.0), (20, 0.5)])
def test_stated_rate_holds_for_an_estimated_baseline(baseline: int, reference: float) -> None:
    interval = cusum_interval(200.0, reference, baseline_runs=baseline, dof=baseline - 1)
    found = _simulated_rate(reference, interval, baseline, baseline - 1, seed=baseline, tools=6000)
    assert found == pytest.approx(1.0 / 200.0, rel=0.12)


def test_textbook_interval_cries_wolf_when_the_baseline_is_short() -> None:
    textbook = cusum_interval(370.0, 0.5)
    stated = cusum_false_alarm_rate(0.5, textbook, baseline_runs=10, dof=9.0)
    assert stated > 5.0 / 370.0
    assert _simulated_rate(0.5, textbook, 10, 9, seed=1, tools=6000) == pytest.approx(stated, rel=0.1)


def test_long_baselines_approach_the_known_one() -> None:
    rates = [cusum_false_alarm_rate(0.5, 5.0, baseline_runs=n) for n in (20, 100, 1000, 100000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1.0 / 465.44, rel=0.01)


def test_a_baseline_too_short_for_the_rate_is_refused_with_advice() -> None:
    with pytest.raises(LabkitError, match="more runs"):
        cusum_interval(1e5, 0.25, baseline_runs=8)
    with pytest.raises(LabkitError, match="at least 2 runs"):
        cusum_false_alarm_rate(0.5, 5.0, baseline_runs=1)
    with pytest.raises(LabkitError, match="above 2"):
        cusum_interval(1.0)
    with pytest.raises(LabkitError, match="head start"):
        cusum_average_run_length(0.5, 5.0, head_start=1.0)
