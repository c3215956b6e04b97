"""The judge: what it may see, what it remembers, and what it says of healthy, moved, broken and unmeasured runs."""

from __future__ import annotations

import ast
import inspect
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from labkit.core import registry
from labkit.core.tool import Fault
from labkit.runs import judge as judge_module
from labkit.runs.judge import UNREADABLE, Charts, ChartState, fault_signatures, judge
from tests.runs.rehearsal import FALSE_ALARM_RATE, QUALIFICATION, Physics, Rehearsal, residual_table

CVD = Physics(registry.process("cvd"))
LITHOGRAPHY = Physics(registry.process("lithography"))
SIGMA = {i.name: i.sigma for i in CVD.process.indicators}
RECIPE = CVD.process.example_recipes()[0]


def charts(seed: int = 0) -> Charts:
    """Charts of ten synthetic healthy runs with the declared scatter."""
    draw = np.random.default_rng(seed).standard_normal((QUALIFICATION, len(SIGMA)))
    return Charts.design(
        CVD.process, {name: (SIGMA[name] * draw[:, j]).tolist() for j, name in enumerate(SIGMA)}, FALSE_ALARM_RATE
    )


def run(frozen: Charts | None, state: ChartState, **departures: float):
    """Judge a run whose residuals are the baseline's centre plus *departures* in declared sigmas."""
    physics = CVD.expected(RECIPE)
    centre = dict.fromkeys(SIGMA, 0.0) if frozen is None else dict(zip(SIGMA, frozen.baseline.centre, strict=True))
    measured = {
        i.name: i.restore(centre[i.name] + departures.get(i.name, 0.0) * i.sigma, physics[i.name])
        for i in CVD.process.indicators
    }
    return judged(measured, frozen, state)


def judged(measured, frozen, state):
    return judge(
        CVD.process,
        RECIPE,
        measured,
        CVD.expected(RECIPE),
        CVD.process.targets(RECIPE),
        frozen,
        state,
        lambda sizes: CVD.signatures(RECIPE, sizes),
    )


def test_the_judge_cannot_reach_the_ground_truth(checkout: Path) -> None:
    for folder in ("runs", "control", "models", "lab"):
        for file in (checkout / "labkit" / folder).glob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            reached = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not reached & {"ground_truth", "condition_at", "_truth", "_faults", "_condition"}, file
    tree = ast.parse(Path(judge_module.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {m for m in imported if m and (m.startswith("labkit.devices") or m == "labkit.core.tool")}
    assert list(inspect.signature(judge).parameters) == [
        "process",
        "recipe",
        "measured",
        "physics",
        "limits",
        "charts",
        "state",
        "signatures",
    ]


def test_signatures_are_taken_from_nominal_equipment_and_not_from_a_tool() -> None:
    assert "condition" not in inspect.signature(fault_signatures).parameters
    one = CVD.signatures(RECIPE, {"sih4_mfc": 1.0})["sih4_mfc"]
    # A flow 1 % up gives more film but, at fixed pressure, less than 1 % of it is new silane share; N2O is in excess.
    assert 0.0 < one["thickness_mean_nm"] < 0.012
    assert one["foreline_pressure_torr"] > 0.0
    assert abs(one["base_pressure_torr"]) < 1e-6


def test_a_signature_per_step_is_the_secant_at_the_size_asked_for() -> None:
    small, large = (
        CVD.signatures(RECIPE, {"zone_1_thermocouple": size})["zone_1_thermocouple"]["thickness_uniformity_pct"]
        for size in (1.0, -4.0)
    )
    moved = CVD.process.expected(
        RECIPE, CVD.wafers(RECIPE), CVD.process.condition_type().shifted("zone_offset_k.1", -4.0)
    )
    change = moved["thickness_uniformity_pct"] - CVD.expected(RECIPE)["thickness_uniformity_pct"]
    assert large == pytest.approx(change / -4.0, rel=1e-12)
    assert abs(large / small - 1.0) > 0.1


def test_a_signature_of_an_impossible_size_falls_back_on_one_step() -> None:
    assert CVD.signatures(RECIPE, {"leak": -9.0})["leak"] == CVD.signatures(RECIPE, {"leak": 1.0})["leak"]


@pytest.mark.parametrize("physics", [CVD, LITHOGRAPHY], ids=["cvd", "lithography"])
def test_healthy_tools_alarm_no_more_often_than_stated_averaged_over_tools(physics: Physics) -> None:
    qualified = Rehearsal.of(physics, seed=3, predicting=False, qualification=99)
    residuals = residual_table(qualified.play(24))
    indicators, recipe = physics.process.indicators, qualified.recipe
    correlation = 0.9 * np.corrcoef(residuals.T) + 0.1 * np.eye(len(indicators))
    root = np.linalg.cholesky(correlation)
    sigma = np.array([i.sigma for i in indicators])
    expected, random, alarms, tools, runs = physics.expected(recipe), np.random.default_rng(11), 0, 30, 150
    for _ in range(tools):
        table = sigma * (random.standard_normal((QUALIFICATION + runs, len(indicators))) @ root.T)
        frozen = Charts.design(
            physics.process,
            {i.name: table[:QUALIFICATION, j].tolist() for j, i in enumerate(indicators)},
            FALSE_ALARM_RATE,
        )
        state = ChartState()
        for row in table[QUALIFICATION:]:
            measured = {i.name: i.restore(float(r), expected[i.name]) for i, r in zip(indicators, row, strict=True)}
            verdict, state = judge(
                physics.process,
                recipe,
                measured,
                expected,
                (),
                frozen,
                state,
                lambda sizes: physics.signatures(recipe, sizes),
            )
            if verdict.verdict == "anomaly":
                alarms, state = alarms + 1, ChartState()
    assert alarms <= binom.ppf(0.999, tools * runs, FALSE_ALARM_RATE)


def test_nothing_is_flagged_on_two_hundred_healthy_exposures() -> None:
    first = 0
    for seed in range(4):
        lot = Rehearsal.of(LITHOGRAPHY, seed=40 + seed, predicting=False)
        first += any(b.flagged for b in lot.play(60))
    assert first <= binom.ppf(0.999, 200, FALSE_ALARM_RATE)


def test_without_a_baseline_only_limits_are_judged() -> None:
    verdict, state = run(None, ChartState(), thickness_mean_nm=4.0)
    assert verdict.verdict == "pass"
    assert "no baseline" in verdict.headline
    assert (state, verdict.z, verdict.alarms) == (ChartState(), {}, ())
    assert run(None, ChartState(), thickness_mean_nm=40.0)[0].verdict == "fail"


def test_a_shift_of_three_sigmas_is_found_by_the_cusum_and_dated_back() -> None:
    frozen, state = charts(), ChartState()
    for _ in range(3):
        verdict, state = run(frozen, state)
        assert verdict.verdict == "pass"
    verdicts = []
    while not verdicts or verdicts[-1].verdict == "pass":
        verdict, state = run(frozen, state, foreline_pressure_torr=3.0)
        verdicts.append(verdict)
    alarm = verdicts[-1].alarms[0]
    assert 3 <= len(verdicts) <= 9
    assert (alarm.indicator, alarm.chart, alarm.runs_back) == ("foreline_pressure_torr", "cusum", len(verdicts))
    assert f"for {len(verdicts)} runs (cusum)" in verdicts[-1].evidence


def test_a_single_outlier_is_found_by_the_individuals_chart_and_not_named() -> None:
    verdict, _ = run(charts(), ChartState(), insitu_rate_nm_per_min=12.0)
    assert verdict.alarms[0].chart == "individuals"
    assert verdict.diagnosis.verdict == "unknown"
    assert "insitu_rate_nm_per_min departs alone" in verdict.headline


def test_one_sided_faults_are_never_named_for_the_other_side() -> None:
    assert run(charts(), ChartState(), base_pressure_torr=12.0)[0].diagnosis.verdict == "leak"
    assert run(charts(), ChartState(), base_pressure_torr=-12.0)[0].diagnosis.verdict == "unknown"


def test_a_tool_in_control_with_a_recipe_off_limits_fails_and_says_that_the_recipe_is_wrong() -> None:
    frozen = charts()
    frozen = replace(frozen, baseline=replace(frozen.baseline, centre=(0.08, *frozen.baseline.centre[1:])))
    verdict, _ = run(frozen, ChartState())
    assert verdict.verdict == "fail"
    assert "recipe" in verdict.advice


def test_restarted_charts_forget_a_repaired_fault_and_charts_left_alone_do_not() -> None:
    frozen, state = charts(), ChartState()
    for _ in range(8):
        verdict, state = run(frozen, state, throttle_valve_pct=4.0)
    assert verdict.verdict == "anomaly"
    assert run(frozen, state)[0].verdict == "anomaly"
    restarted, following = run(frozen, ChartState())
    assert restarted.verdict == "pass"
    assert following.runs == 1


def test_state_and_charts_kept_as_json_give_the_identical_next_judgement() -> None:
    frozen, state = charts(), ChartState()
    for k in range(6):
        _, state = run(
            frozen, state, heater_power_zone_1_pct=1.0 + 0.5 * k, within_wafer_pct=math.nan if k == 2 else 0.0
        )
    kept = json.loads(json.dumps(_nulls(state.document()), allow_nan=False))
    again = Charts.from_document(json.loads(json.dumps(frozen.document(), allow_nan=False)))
    before, after = (
        run(c, s, heater_power_zone_1_pct=5.0) for c, s in ((frozen, state), (again, ChartState.from_document(kept)))
    )
    assert before[0] == after[0]
    assert before[0].verdict == "anomaly"
    assert _nulls(before[1].document()) == _nulls(after[1].document())
    json.dumps(_nulls(before[0].document()), allow_nan=False)


def _nulls(value):
    if isinstance(value, dict):
        return {k: _nulls(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_nulls(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def test_a_lost_channel_is_said_and_the_rest_is_still_judged() -> None:
    frozen = charts()
    quiet, state = run(frozen, ChartState(), base_pressure_torr=math.nan)
    assert quiet.verdict == "pass"
    assert "not measured: base_pressure_torr" in quiet.headline
    assert state.cusums["base_pressure_torr"].high == 0.0
    assert run(frozen, state, base_pressure_torr=math.nan, throttle_valve_pct=9.0)[0].verdict == "anomaly"


def test_a_run_of_which_nothing_was_measured_is_not_passed() -> None:
    verdict, _ = judged({}, charts(), ChartState())
    assert (verdict.verdict, verdict.headline) == ("anomaly", "no indicator was measured")


def test_a_load_without_film_and_a_dead_gauge_are_flagged() -> None:
    verdict, _ = judged(
        dict.fromkeys(SIGMA, 0.0) | {n: math.nan for n in SIGMA if "pct" in n or "index" in n}, charts(), ChartState()
    )
    assert verdict.verdict == "anomaly"
    assert {a.chart for a in verdict.alarms} == {UNREADABLE}
    assert "reads 0" in verdict.headline
    dead = dict(CVD.expected(RECIPE)) | {"foreline_pressure_torr": 0.0}
    verdict, _ = judged(dead, charts(), ChartState())
    assert (verdict.verdict, verdict.headline) == ("anomaly", "foreline_pressure_torr reads 0")


def test_an_indicator_that_stood_still_in_qualification_keeps_part_of_its_declared_scatter() -> None:
    draw = np.random.default_rng(2).standard_normal((QUALIFICATION, len(SIGMA)))
    residuals = {name: (SIGMA[name] * draw[:, j]).tolist() for j, name in enumerate(SIGMA)}
    residuals["refractive_index"] = [0.0] * QUALIFICATION
    frozen = Charts.design(CVD.process, residuals, FALSE_ALARM_RATE)
    at = list(SIGMA).index("refractive_index")
    assert 0.2 < frozen.baseline.sigma[at] / SIGMA["refractive_index"] < 1.0
    assert run(frozen, ChartState(), refractive_index=1.0)[0].verdict == "pass"


def test_fewer_runs_in_the_baseline_make_wider_charts() -> None:
    draw = np.random.default_rng(4).standard_normal((30, len(SIGMA)))
    designs = [
        Charts.design(
            CVD.process, {name: (SIGMA[name] * draw[:n, j]).tolist() for j, name in enumerate(SIGMA)}, FALSE_ALARM_RATE
        )
        for n in (5, 10, 30)
    ]
    widths = [d.widths["thickness_mean_nm"] for d in designs]
    references = [d.cusums["thickness_mean_nm"].reference for d in designs]
    assert widths == sorted(widths, reverse=True)
    assert references == sorted(references, reverse=True)


def test_an_approved_recipe_move_is_not_taken_for_a_fault() -> None:
    life = Rehearsal.of(CVD, seed=6, predicting=False)
    life.play(QUALIFICATION + 1)
    knob = CVD.process.steering(life.recipe).knob
    before = life.batches[-1].measured["thickness_mean_nm"]
    life.recipe = life.recipe.changed({knob.path: 1.05 * float(life.recipe.value(knob.path))})
    moved = life.play(8)
    assert moved[0].measured["thickness_mean_nm"] / before > 1.03
    assert not any(b.flagged for b in moved)


def test_a_flagged_run_teaches_nothing_and_learning_cannot_absorb_a_slow_drift() -> None:
    fault = Fault(mode="focus_offset", per_run=1.5, first_run=12)
    life = Rehearsal.of(LITHOGRAPHY, seed=8, faults=(fault,))
    batches = life.play(50)
    flagged = [b for b in batches if b.flagged]
    first = flagged[0].number
    assert 12 < first < 40
    assert len(life.history) == len(batches) - len(flagged)
    assert all(b.flagged for b in batches[first - 1 :])
    assert flagged[-1].named == "focus_offset"
    learned = next(e for e in batches[first - 1].estimates if e.name == "focus_monitor_nm")
    assert abs(learned.value - learned.physics) > 0.3 * next(
        i.sigma for i in LITHOGRAPHY.process.indicators if i.name == "focus_monitor_nm"
    )
