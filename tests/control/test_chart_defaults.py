"""Charts and baselines where nothing is asked for, at their bounds, and in other units."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from labkit.control.baseline import Baseline
from labkit.control.capability import MOVING_RANGE_EFFICIENCY, capability
from labkit.control.charts import EwmaChart, subgroups_by_deviation, subgroups_by_range
from labkit.control.cusum import Cusum
from labkit.control.moderation import declaration_dof
from labkit.control.run_length import cusum_average_run_length, cusum_interval, ewma_average_run_length
from labkit.control.run_to_run import EwmaController
from labkit.core.errors import LabkitError


def test_an_ewma_chart_weighs_three_tenths_with_limits_at_three_sigma() -> None:
    limits = EwmaChart(10.0, 2.0).limits
    half = 6.0 * math.sqrt(3 / 17)
    assert (limits.lower, limits.upper) == pytest.approx((10.0 - half, 10.0 + half))
    state, _ = EwmaChart(10.0, 2.0).update(EwmaChart(10.0, 2.0).start(), 11.0)
    assert state.statistic == pytest.approx(10.3)


def test_weights_up_to_one_make_an_ewma_chart() -> None:
    assert EwmaChart(0.0, 1.0, 1.0).limits.upper == 3.0
    for weight in (0.0, 1.05):
        with pytest.raises(LabkitError):
            EwmaChart(0.0, 1.0, weight)


def test_every_run_counts_measured_or_not() -> None:
    chart = EwmaChart(0.0, 1.0)
    missing, _ = chart.update(chart.start(), math.nan)
    again, _ = chart.update(missing, 0.5)
    assert (missing.runs, again.runs) == (1, 2)


def test_a_baseline_keeps_one_chart_at_the_rate_asked_for() -> None:
    found = Baseline(("a",), (0.0,), (1.0,), (16,), (17.0,), ((1.0,),))
    assert 1.0 / found.cusum("a", 500.0).false_alarm_rate == pytest.approx(500.0, rel=0.002)
    assert 1.0 / found.cusum("a").false_alarm_rate == pytest.approx(370.0, rel=0.002)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_baseline_does_not_depend_on_units(factor: float) -> None:
    rng = np.random.default_rng(3)
    table = {f"i{k}": (0.7 * rng.normal(size=8)).tolist() for k in range(9)}
    plain = Baseline.qualify(table, dict.fromkeys(table, 1.0))
    scaled = Baseline.qualify(
        {name: [factor * v for v in values] for name, values in table.items()}, dict.fromkeys(table, factor)
    )
    assert scaled.dof == pytest.approx(plain.dof, rel=1e-9)
    assert scaled.sigma == pytest.approx([factor * s for s in plain.sigma], rel=1e-9)


def test_run_lengths_have_their_published_values() -> None:
    """Lucas and Crosier 1982, Crowder 1987 (weight 0.5, 3 sigma: 397.5; 0.25: 502.9)."""
    assert cusum_average_run_length(0.5, 4.0) == pytest.approx(168.0, rel=0.005)
    assert cusum_average_run_length(0.5, 4.0, shift=1.0) == pytest.approx(8.38, rel=0.005)
    assert ewma_average_run_length(0.5, 3.0) == pytest.approx(397.46, rel=0.001)
    assert ewma_average_run_length(0.25, 3.0) == pytest.approx(502.90, rel=0.001)
    assert ewma_average_run_length(1.0, 3.0) == pytest.approx(370.4, rel=0.001)
    assert ewma_average_run_length(0.25, 3.0, shift=1.0) == pytest.approx(11.11, rel=0.01)


def test_run_lengths_asked_for_are_above_two() -> None:
    assert 1.0 / cusum_average_run_length(0.5, cusum_interval(2.1)) == pytest.approx(1.0 / 2.1, rel=1e-3)
    with pytest.raises(LabkitError):
        cusum_interval(1.95)


def test_tests_of_several_indicators_have_two_degrees_of_freedom_more_than_runs() -> None:
    found = Baseline(("a", "b"), (0.0,) * 2, (1.0,) * 2, (9, 7), (20.0, 30.0), ((1.0, 0.0), (0.0, 1.0)))
    assert found.pooled_dof == 9.0


def test_declared_sigmas_that_scatter_like_a_chi_square_are_worth_its_degrees_of_freedom() -> None:
    """True variances v chi2(6)/6 around the declared ones, measured well: the declaration is worth about 6 runs."""
    rng = np.random.default_rng(7)
    for dof in (3.0, 12.0):
        true = 6.0 / rng.chisquare(6.0, size=40_000)
        measured = true * rng.chisquare(dof, size=40_000) / dof
        worth = declaration_dof(measured.tolist(), [dof] * 40_000, [1.0] * 40_000)
        assert worth == pytest.approx(6.0, rel=0.06)


def test_a_controller_takes_up_four_tenths_of_an_error_and_bounds_its_weight_by_one() -> None:
    controller = EwmaController(10.0, 2.0)
    _, action = controller.update(controller.start(5.0), 11.0)
    assert action == pytest.approx(5.0 - 0.4 * 1.0 / 2.0)
    with pytest.raises(LabkitError):
        EwmaController(10.0, 2.0, 1.05)
    assert EwmaController(10.0, 2.0, 1.0).weight == 1.0


def test_subgroup_limits_lie_on_either_side_of_the_centre() -> None:
    """Groups of five with mean range 2.326: sigma is one, so three sigma of a mean are 3/sqrt(5)."""
    groups = [[10.0 + m, 10.0 + m, 10.0 + m, 10.0 + m + 1.163, 10.0 + m - 1.163] for m in (-0.5, 0.0, 0.5)]
    for chart in (subgroups_by_range(groups)[0],):
        assert (chart.centre, chart.lower, chart.upper) == pytest.approx(
            (10.0, 10.0 - 3.0 / 5**0.5, 10.0 + 3.0 / 5**0.5), rel=1e-6
        )
    by_deviation = subgroups_by_deviation(groups)[0]
    spread = 1.163 / 2**0.5
    half = 3.0 * spread / (0.9400 * 5**0.5)
    assert (by_deviation.lower, by_deviation.upper) == pytest.approx((10.0 - half, 10.0 + half), rel=1e-4)


def test_within_its_deadband_a_controller_leaves_the_action_alone() -> None:
    controller = EwmaController(10.0, 2.0, 1.0, deadband=0.5)
    for measurement, action in ((10.4, 5.0), (9.6, 5.0), (10.6, 4.7), (9.4, 5.3)):
        assert controller.update(controller.start(5.0), measurement)[1] == pytest.approx(action)


def test_runs_without_measurement_count_towards_a_change_on_either_side() -> None:
    chart = Cusum(0.5, 5.0)
    for side in (1.0, -1.0):
        state, _ = chart.update(chart.start(), 3.0 * side)
        state, _ = chart.update(state, math.nan)
        assert (state.high_runs, state.low_runs) == ((2, 0) if side > 0 else (0, 2))
        assert state.runs == 2


def test_interval_of_capability_has_the_degrees_of_freedom_of_ten_moving_ranges() -> None:
    values = [10.0, 10.4, 9.7, 10.1, 10.6, 9.9, 10.2, 9.5, 10.3, 10.0, 9.8]
    found = capability(values, lower=8.0, upper=12.0)
    dof = 10.0 * MOVING_RANGE_EFFICIENCY
    assert found.cp.low / found.cp.value == pytest.approx((chi2.ppf(0.025, dof) / dof) ** 0.5, rel=1e-6)
    half = 1.959964 * (1.0 / 99.0 + found.cpk.value**2 / (2.0 * dof)) ** 0.5
    assert found.cpk.high - found.cpk.value == pytest.approx(half, rel=1e-6)
    overall = 1.959964 * (1.0 / 99.0 + found.ppk.value**2 / 20.0) ** 0.5
    assert found.ppk.value - found.ppk.low == pytest.approx(overall, rel=1e-6)
