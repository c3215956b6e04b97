"""Prediction: intervals that cover what they say, from the first run on, and a correction that follows the tool."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from labkit.core import registry
from labkit.runs.predict import Prediction, correct, history_from, predict, settings_of
from tests.runs.rehearsal import Physics, Rehearsal

CVD = Physics(registry.process("cvd"))
LITHOGRAPHY = Physics(registry.process("lithography"))
RECIPE = LITHOGRAPHY.process.example_recipes()[0]


@pytest.fixture(scope="module")
def lots() -> list[Rehearsal]:
    """Twenty healthy scanners, eight lots each."""
    played = [Rehearsal.of(LITHOGRAPHY, seed=200 + seed, qualification=99) for seed in range(20)]
    for life in played:
        life.play(8)
    return played


def covered(lots: list[Rehearsal], names: set[str] | None = None, first: int = 1) -> np.ndarray:
    """Share of intervals that contain the measured value, per tool."""
    return np.array(
        [
            np.mean(
                [
                    e.contains(b.measured[e.name])
                    for b in life.batches[first:]
                    for e in b.estimates
                    if names is None or e.name in names
                ]
            )
            for life in lots
        ]
    )


@pytest.mark.parametrize(
    "names", [None, {"cd_mean_nm"}, {"stage_vibration_nm"}], ids=["all", "line width", "vibration"]
)
def test_ninety_five_per_cent_intervals_cover_ninety_five_per_cent_of_healthy_lots(
    lots: list[Rehearsal], names: set[str] | None
) -> None:
    shares = covered(lots, names)
    # Lots of one tool share what was learned, so the error is that of twenty tools, not of their lots.
    error = max(shares.std(ddof=1), math.sqrt(0.95 * 0.05 / 19)) / math.sqrt(len(shares))
    assert abs(shares.mean() - 0.95) < 3.0 * error


def test_the_first_interval_covers_tools_as_unlike_as_the_prior_says(lots: list[Rehearsal]) -> None:
    random, inside, tools = np.random.default_rng(1), [], 4000
    first = lots[0].batches[0]
    for indicator, estimate in zip(LITHOGRAPHY.process.indicators, first.estimates, strict=True):
        # The stated prior: sigma known as if from three runs; bias three, knobs' effect one and noise one of those
        # sigmas.
        sigma = indicator.sigma * np.sqrt(3.0 / random.chisquare(3, tools))
        residuals = sigma * math.sqrt(9.0 + 1.0 + 1.0) * random.standard_normal(tools)
        expected = first.physics[indicator.name]
        inside += [estimate.contains(indicator.restore(float(r), expected)) for r in residuals]
        assert not estimate.covered
    assert np.mean(inside) == pytest.approx(0.95, abs=0.005)


def test_intervals_are_not_wider_than_a_known_tool_deserves(lots: list[Rehearsal]) -> None:
    ratios = [
        (e.high - e.low) / 2.0 / (1.96 * i.sigma * (1.0 if i.residual == "difference" else e.value))
        for life in lots
        for i, e in zip(LITHOGRAPHY.process.indicators, life.batches[-1].estimates, strict=True)
    ]
    assert 0.9 < np.median(ratios) < 1.4
    first = lots[0].batches[0].estimates[0]
    last = lots[0].batches[-1].estimates[0]
    assert (first.high - first.low) > 2.5 * (last.high - last.low)


def test_prediction_learns_how_a_tool_differs_from_nominal() -> None:
    condition = LITHOGRAPHY.process.condition_type().shifted("dose_gain", 0.01)
    life = Rehearsal.of(LITHOGRAPHY, seed=5, condition=condition, qualification=99)
    batches = life.play(15)
    estimate = batches[-1].estimates[0]
    own = LITHOGRAPHY.process.expected(RECIPE, LITHOGRAPHY.wafers(RECIPE), condition)["cd_mean_nm"]
    sigma = 0.0019 * own
    assert abs(own - estimate.physics) > 3.0 * sigma
    assert abs(estimate.value - own) < 1.0 * sigma
    assert sum(b.estimates[0].contains(b.measured["cd_mean_nm"]) for b in batches) >= 12


def test_an_indicator_that_was_not_measured_leaves_the_others_learned() -> None:
    life = Rehearsal.of(LITHOGRAPHY, seed=6, qualification=99)
    life.play(6, lambda number, measured: {**measured, "flare_monitor_pct": math.nan})
    estimates = {e.name: e for e in life.play(1)[0].estimates}
    assert not estimates["flare_monitor_pct"].covered
    assert estimates["cd_mean_nm"].covered
    assert math.isfinite(estimates["flare_monitor_pct"].low)


def test_a_prediction_reads_back_from_its_document() -> None:
    found = predict(LITHOGRAPHY.process, RECIPE, LITHOGRAPHY.wafers(RECIPE), Rehearsal.of(LITHOGRAPHY, seed=1).history)
    assert Prediction.from_document(json.loads(json.dumps(found.document()))) == found
    assert found.physics == LITHOGRAPHY.expected(RECIPE)


def test_history_leaves_out_rows_of_other_knobs_and_reads_null_as_not_measured() -> None:
    process = LITHOGRAPHY.process
    inputs = dict(zip([k.path for k in process.knobs(RECIPE)], settings_of(process, RECIPE), strict=True))
    rows = [
        {"inputs": inputs, "outputs": {"cd_mean_nm": 0.001, "flare_monitor_pct": None}},
        {"inputs": {"other": 1.0}, "outputs": {"cd_mean_nm": 0.5}},
    ]
    history = history_from(rows, process, RECIPE)
    assert len(history) == 1
    assert history.residuals["cd_mean_nm"] == (0.001,)
    assert math.isnan(history.residuals["flare_monitor_pct"][0])
    assert len(correct(process, RECIPE, LITHOGRAPHY.expected(RECIPE), history, 0.95)) == len(process.indicators)
