"""The tabular CUSUM: NIST's sums, alarms at the right run, change points, stated rates."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from labkit.control.cusum import Cusum, CusumState
from labkit.core.errors import LabkitError


def _run(chart: Cusum, values: list[float]) -> list[tuple[int, object]]:
    state, found = chart.start(), []
    for index, z in enumerate(values, start=1):
        state, signal = chart.update(state, z)
        if signal.alarm:
            found.append((index, signal))
    return found


def test_sums_are_those_of_nist_and_group_14_alarms_first(spc_nist: Path) -> None:
    with (spc_nist / "nist_6_3_2_3_cusum.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    chart = Cusum(reference=0.3175, interval=4.1959)
    state, first = chart.start(), None
    for row in rows:
        state, signal = chart.update(state, float(row["mean"]) - 325.0)
        assert state.high == pytest.approx(float(row["S_hi_k0.3175"]), abs=0.0051)
        assert state.low == pytest.approx(float(row["S_lo"]), abs=0.0051)
        if signal.alarm and first is None:
            first = (int(row["group"]), signal.side, signal.first_run)
    assert first == (14, "high", 13)


def test_alarm_is_strictly_above_the_interval() -> None:
    chart = Cusum(0.5, 4.0)
    assert _run(chart, [2.5, 2.5]) == []
    assert [run for run, _ in _run(chart, [2.5, 2.5, 1.0])] == [3]


@pytest.mark.parametrize(("sign", "side"), [(1.0, "high"), (-1.0, "low")])
def test_change_point_side_and_size_of_a_clean_step_are_found(sign: float, side: str) -> None:
    values = [-0.2 * sign, 0.3 * sign, -0.4 * sign] + [2.0 * sign] * 4
    (run, signal), *_ = _run(Cusum(0.5, 4.0), values)
    assert (run, signal.side, signal.first_run) == (6, side, 4)
    assert signal.shift == pytest.approx(2.0 * sign)


def test_a_missing_run_counts_but_says_nothing() -> None:
    chart = Cusum(0.5, 4.0)
    assert [(run, s.first_run) for run, s in _run(chart, [0.0, 2.5, math.nan, 2.5, 2.5])] == [(5, 2)]
    state, signal = chart.update(CusumState(9.0, 0.0, 3, 2, 0), math.nan)
    assert not signal.alarm
    assert state.high == 9.0


def test_head_start_finds_an_initial_shift_sooner() -> None:
    plain = Cusum(0.5, 5.0)
    primed = Cusum(0.5, 5.0, head_start=2.5)
    assert _run(plain, [1.5] * 9)[0][0] == 6
    assert _run(primed, [1.5] * 9)[0][0] == 3


def test_restart_keeps_counting_runs() -> None:
    assert Cusum(0.5, 4.0, head_start=1.0).start(7) == CusumState(1.0, 1.0, 7, 0, 0)


def test_stated_rate_of_a_known_baseline_is_one_over_the_published_arl() -> None:
    assert 1.0 / Cusum(0.5, 5.0).false_alarm_rate == pytest.approx(465.0, rel=0.002)
    assert 1.0 / Cusum(0.5, 4.0).false_alarm_rate == pytest.approx(168.0, rel=0.003)


def test_design_keeps_the_rate_over_several_charts() -> None:
    one, many = Cusum.designed(370.0), Cusum.designed(370.0, charts=4)
    assert one.reference == 0.5
    assert 1.0 / one.false_alarm_rate == pytest.approx(370.0, rel=0.002)
    assert 1.0 / many.false_alarm_rate == pytest.approx(1480.0, rel=0.002)


def test_short_baseline_raises_reference_and_interval() -> None:
    chart = Cusum.designed(370.0, baseline_runs=9, dof=10.0)
    assert chart.reference == pytest.approx(1.0)
    assert chart.interval > 1.5 * Cusum.designed(370.0, reference=1.0).interval
    assert 1.0 / chart.false_alarm_rate == pytest.approx(370.0, rel=0.002)
    assert Cusum.designed(370.0, baseline_runs=100).reference == 0.5


def test_two_hundred_healthy_runs_alarm_no_more_often_than_stated() -> None:
    """Alarms over 150 tools, each qualified with 12 runs and then watched for 200 healthy ones."""
    chart = Cusum.designed(370.0, baseline_runs=12, dof=11.0)
    rng, counts = np.random.default_rng(5), []
    for _ in range(150):
        qualification = rng.normal(size=12)
        state, alarms = chart.start(), 0
        for x in rng.normal(size=200):
            z = float((x - qualification.mean()) / qualification.std(ddof=1))
            state, signal = chart.update(state, z)
            if signal.alarm:
                alarms, state = alarms + 1, chart.start(state.runs)
        counts.append(alarms)
    stated = 200.0 / 370.0
    assert np.mean(counts) < stated + 2.6 * np.std(counts) / np.sqrt(150)
    assert np.mean(counts) > 0.3 * stated


def test_chart_and_state_survive_json() -> None:
    for thing in (Cusum.designed(100.0), Cusum(1.0, 3.0, 1.5, 10, 9.0), CusumState(1.0, 0.0, 5, 2, 0)):
        assert type(thing).from_dict(json.loads(json.dumps(thing.to_dict(), allow_nan=False))) == thing


@pytest.mark.parametrize("arguments", [(0.0, 4.0), (0.5, 0.0), (0.5, 4.0, 4.0), (0.5, 4.0, -1.0)])
def test_impossible_charts_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(LabkitError):
        Cusum(*arguments)
