"""The frozen baseline: shrinkage, honest widths, storage."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from labkit.control.baseline import Baseline
from labkit.core.errors import LabkitError


def test_sigma_mixes_the_data_with_two_runs_of_the_declared_one() -> None:
    found = Baseline.qualify({"rate": [1.0, 2.0, 3.0]}, {"rate": 2.0})
    assert found.centre == (2.0,)
    assert found.sigma[0] ** 2 == pytest.approx((2.0 * 4.0 + 2.0) / 4.0)
    assert (found.runs, found.dof) == ((3,), (4.0,))


def test_two_equal_runs_do_not_claim_a_sigma_of_zero() -> None:
    found = Baseline.qualify({"rate": [1.0, 1.0]}, {"rate": 0.3})
    assert found.sigma[0] == pytest.approx(0.3 * math.sqrt(2.0 / 3.0))


def test_many_runs_forget_the_declared_sigma() -> None:
    values = np.random.default_rng(0).normal(5.0, 0.1, size=4000)
    found = Baseline.qualify({"rate": values.tolist()}, {"rate": 1.0})
    assert found.sigma[0] == pytest.approx(0.1, rel=0.06)


@pytest.mark.parametrize("runs", [5, 10, 20])
@pytest.mark.parametrize("false_alarm", [0.0027, 0.05])
def test_next_healthy_run_is_beyond_the_width_as_often_as_stated(runs: int, false_alarm: float) -> None:
    rng, trials, beyond = np.random.default_rng(runs), 6000, 0
    for _ in range(trials):
        sigma = math.sqrt(2.0 / rng.chisquare(2.0))
        x = sigma * rng.normal(size=runs + 1)
        centre = x[:-1].mean()
        spread = math.sqrt((2.0 + ((x[:-1] - centre) ** 2).sum()) / (runs + 1.0))
        beyond += abs(x[-1] - centre) > spread * _width(runs, false_alarm)
    assert abs(beyond - trials * false_alarm) < 3.5 * math.sqrt(trials * false_alarm)


def _width(runs: int, false_alarm: float) -> float:
    key = (runs, false_alarm)
    if key not in _WIDTHS:
        baseline = Baseline.qualify({"a": np.linspace(0.0, 1.0, runs).tolist()}, {"a": 1.0})
        _WIDTHS[key] = baseline.shewhart_width("a", false_alarm)
    return _WIDTHS[key]


_WIDTHS: dict[tuple[int, float], float] = {}


def test_width_approaches_three_sigma_for_a_long_baseline() -> None:
    values = np.random.default_rng(0).normal(size=5000).tolist()
    assert Baseline.qualify({"a": values}, {"a": 1.0}).shewhart_width("a") == pytest.approx(3.0, abs=0.005)


def test_width_of_five_runs_is_student_with_six_degrees() -> None:
    """Student t table: 99.5 % quantile for 6 degrees of freedom is 3.7074."""
    found = Baseline.qualify({"a": [1.0, 2.0, 3.0, 4.0, 5.0]}, {"a": 1.0})
    assert found.shewhart_width("a", 0.01) == pytest.approx(3.7074 * math.sqrt(1.2), rel=1e-4)


def test_correlation_is_shrunk_towards_independence_and_stays_positive_definite() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=5)
    table = {f"i{j}": (shared + 0.01 * rng.normal(size=5)).tolist() for j in range(8)}
    matrix = np.array(Baseline.qualify(table, dict.fromkeys(table, 1.0)).correlation)
    assert np.diag(matrix) == pytest.approx(np.ones(8))
    assert matrix[0, 1] == pytest.approx(4.0 / 14.0, abs=0.001)
    assert np.linalg.eigvalsh(matrix).min() > 0.5


def test_correlation_of_many_runs_is_the_true_one_with_its_sign() -> None:
    z = np.random.default_rng(2).normal(size=(4000, 2))
    table = {"a": z[:, 0].tolist(), "b": (0.6 * z[:, 1] - 0.8 * z[:, 0]).tolist()}
    found = Baseline.qualify(table, {"a": 1.0, "b": 1.0})
    assert found.correlation[0][1] == pytest.approx(-0.8, abs=0.02)


def test_unmeasured_qualification_runs_count_for_the_others_only() -> None:
    found = Baseline.qualify({"a": [1.0, math.nan, 3.0], "b": [1.0, 2.0, 3.0]}, {"a": 1.0, "b": 1.0})
    assert found.runs == (2, 3)
    assert found.centre == (2.0, 2.0)
    assert found.pooled_dof == 3.0


def test_residuals_are_standardised_with_their_sign() -> None:
    found = Baseline(("a", "b"), (1.0, 0.0), (0.5, 2.0), (9, 9), (10.0, 10.0), ((1.0, 0.0), (0.0, 1.0)))
    z = found.standardised({"a": 0.0})
    assert z["a"] == -2.0
    assert math.isnan(z["b"])


def test_cusum_of_a_baseline_knows_how_short_it_is() -> None:
    found = Baseline(("a",), (0.0,), (1.0,), (16,), (17.0,), ((1.0,),))
    chart = found.cusum("a", 500.0, charts=2)
    assert (chart.baseline_runs, chart.dof, chart.reference) == (16, 17.0, 0.75)
    assert 1.0 / chart.false_alarm_rate == pytest.approx(1000.0, rel=0.002)


def test_baseline_is_frozen_and_survives_json() -> None:
    found = Baseline.qualify({"a": [1.0, 2.0, 4.0], "b": [0.1, 0.3, 0.1]}, {"a": 1.0, "b": 0.1})
    assert Baseline.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.centre = (0.0, 0.0)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("residuals", "prior"),
    [
        ({"a": [1.0]}, {"a": 1.0}),
        ({"a": [1.0, 2.0]}, {}),
        ({"a": [1.0, 2.0]}, {"a": 0.0}),
        ({"a": [1.0, math.nan]}, {"a": 1.0}),
    ],
)
def test_too_little_to_qualify_with_is_refused(residuals: dict[str, list[float]], prior: dict[str, float]) -> None:
    with pytest.raises(LabkitError, match="no baseline for a"):
        Baseline.qualify(residuals, prior)


def test_unknown_indicator_is_refused_with_the_known_ones() -> None:
    found = Baseline.qualify({"a": [1.0, 2.0]}, {"a": 1.0})
    with pytest.raises(LabkitError, match="Allowed: a"):
        found.shewhart_width("b")
