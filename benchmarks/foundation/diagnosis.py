"""The judge's and the prediction's figures: false alarms, coverage, and a confusion matrix of simulated faults."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from scipy.stats import binom

from labkit.core import registry
from labkit.core.tool import Fault
from labkit.runs.judge import Charts, ChartState, judge
from tests.runs.rehearsal import FALSE_ALARM_RATE, QUALIFICATION, Called, Physics, Rehearsal, call, residual_table

Row = dict[str, Any]
TOOLS, BATCHES = 20, 20
SEVERITIES = (0.5, 1.0, 2.0)
"""Drift per run, in the fault's steps."""
PAIRS = (
    (("sih4_mfc", 4), ("pump", 3)),
    (("sih4_mfc", -4), ("zone_2_heater", 3)),
    (("leak", 2), ("zone_1_thermocouple", 1)),
    (("n2o_mfc", 4), ("pressure_gauge", -3)),
    (("thermocouple_all", 2), ("leak", 2)),
    (("sih4_mfc", 4), ("n2o_mfc", 4)),
    (("zone_1_heater", 2), ("zone_2_heater", 2)),
    (("pump", 3), ("pressure_gauge", 3)),
    (("zone_1_thermocouple", 1), ("zone_3_thermocouple", 1)),
)


def diagnosis_figures() -> list[Row]:
    """Measure everything; the confusion matrix goes to stderr."""
    began, physics = time.perf_counter(), Physics(registry.process("cvd"))
    lives = [Rehearsal.of(physics, seed=6000 + seed) for seed in range(TOOLS)]
    for life in lives:
        life.play(BATCHES)
    rows = [
        *_healthy(lives),
        *_coverage(lives),
        _long_run(physics, lives),
        *_confusion(physics, [v.charts for v in lives]),
        *_confusion(scanner := Physics(registry.process("lithography")), _scanners(scanner)),
    ]
    rows.append(_row("diagnosis_suite", time.perf_counter() - began, "s", "< 240", time.perf_counter() - began < 240.0))
    return rows


def _row(name: str, value: float, unit: str, reference: str, ok: bool) -> Row:
    return {"name": name, "value": round(value, 5), "unit": unit, "reference": reference, "ok": bool(ok)}


def _healthy(lives: list[Rehearsal]) -> list[Row]:
    judged = sum(len(life.batches) - QUALIFICATION for life in lives)
    first = sum(any(b.flagged for b in life.batches) for life in lives)
    most = int(binom.ppf(0.999, judged, FALSE_ALARM_RATE))
    return [
        _row(
            f"tools with an alarm in {judged} healthy batches",
            first,
            "1",
            f"≤ {most} (99.9 % of binomial)",
            first <= most,
        )
    ]


def _coverage(lives: list[Rehearsal]) -> list[Row]:
    rows = []
    for title, only in (("all indicators", None), ("thickness", "thickness_mean_nm")):
        shares = np.array(
            [
                np.mean(
                    [
                        e.contains(b.measured[e.name])
                        for b in life.batches
                        for e in b.estimates
                        if only in (None, e.name)
                    ]
                )
                for life in lives
            ]
        )
        slack = 3.0 * max(float(shares.std(ddof=1)), 0.01) / np.sqrt(len(shares))
        rows.append(
            _row(
                f"coverage of 95 % intervals, {title}",
                float(shares.mean()),
                "1",
                f"0.95 ± {slack:.3f} (by tool)",
                abs(float(shares.mean()) - 0.95) <= slack,
            )
        )
    return rows


def _long_run(physics: Physics, lives: list[Rehearsal], tools: int = 60, runs: int = 200) -> Row:
    """Alarms per healthy run over many tools with the covariance that the twin showed; charts restart after each."""
    indicators, recipe = physics.process.indicators, lives[0].recipe
    names, expected = [i.name for i in indicators], physics.expected(recipe)
    seen = np.concatenate([residual_table(life.batches) for life in lives])
    root, random, alarms = np.linalg.cholesky(np.cov(seen.T)), np.random.default_rng(1), 0
    for _ in range(tools):
        table = random.standard_normal((QUALIFICATION + runs, len(names))) @ root.T
        charts = Charts.design(
            physics.process, {n: table[:QUALIFICATION, j].tolist() for j, n in enumerate(names)}, FALSE_ALARM_RATE
        )
        state = ChartState()
        for row in table[QUALIFICATION:]:
            measured = {i.name: i.restore(float(r), expected[i.name]) for i, r in zip(indicators, row, strict=True)}
            found, state = judge(
                physics.process,
                recipe,
                measured,
                expected,
                (),
                charts,
                state,
                lambda sizes: physics.signatures(recipe, sizes),
            )
            if found.verdict == "anomaly":
                alarms, state = alarms + 1, ChartState()
    return _row(
        f"false alarms per run, {tools} tools × {runs} runs",
        alarms / (tools * runs),
        "1",
        f"≤ {FALSE_ALARM_RATE}",
        alarms <= binom.ppf(0.999, tools * runs, FALSE_ALARM_RATE),
    )


def _scanners(physics: Physics) -> list[Charts]:
    lives = [Rehearsal.of(physics, seed=6500 + seed, predicting=False) for seed in range(5)]
    for life in lives:
        life.play(QUALIFICATION)
    return [life.charts for life in lives if life.charts is not None]


def _confusion(physics: Physics, charts: list[Any]) -> list[Row]:
    matrix: dict[str, Counter[str]] = defaultdict(Counter)
    delays, known, number = [], Counter[str](), 0
    steps = {mode.name: mode.step for mode in physics.process.fault_modes}
    for mode in physics.process.fault_modes:
        for severity in SEVERITIES:
            for sign in (1.0, -1.0) if mode.opposite else (1.0,):
                number += 1
                drift = sign * severity * mode.step
                found = call(
                    physics,
                    charts[number % len(charts)],
                    seed=8000 + number,
                    batches=12,
                    faults=(Fault(mode=mode.name, magnitude=drift, per_run=drift),),
                )
                matrix[mode.name][_short(found.settled)] += 1
                known[_kind(found, mode.name)] += 1
                delays.append(found.delay or 12)
    unseen: Counter[str] = Counter()
    for title, faults in _strangers(physics.process.name, steps).items():
        number += 1
        found = call(physics, charts[number % len(charts)], seed=8000 + number, batches=6, faults=faults)
        matrix[title][_short(found.settled)] += 1
        unseen[
            "wrong"
            if found.settled not in ("unknown", "healthy") and not found.settled.startswith("ambiguous")
            else "right"
        ] += 1
    _print(physics.process.name, matrix)
    name, total = physics.process.name, sum(known.values())
    rows = [
        _row(f"{name}: drifts named", known["named"] / total, "1", "≥ 0.9", known["named"] >= 0.9 * total),
        _row(
            f"{name}: drifts named, or ambiguous with the right one",
            (known["named"] + known["ambiguous"]) / total,
            "1",
            "≥ 0.95",
            known["named"] + known["ambiguous"] >= 0.95 * total,
        ),
        _row(
            f"{name}: drifts called by a wrong name",
            known["wrong"] / total,
            "1",
            "≤ 0.02",
            known["wrong"] <= 0.02 * total,
        ),
        _row(
            f"{name}: median runs to the alarm",
            float(np.median(delays)),
            "runs",
            "≤ 5",
            float(np.median(delays)) <= 5.0,
        ),
    ]
    if unseen:
        share = unseen["wrong"] / sum(unseen.values())
        rows.append(_row(f"{name}: unseen causes called by one known name", share, "1", "≤ 0.1", share <= 0.1))
    return rows


def _strangers(process: str, steps: dict[str, float]) -> dict[str, tuple[Fault, ...]]:
    """Causes that the process declares no fault mode for, and two faults at once."""
    if process != "cvd":
        return {}
    found = {
        f"in-situ gauge {gain:+.0%}": (Fault(path="insitu_gain", magnitude=gain),) for gain in (-0.1, -0.04, 0.04, 0.1)
    }
    return found | {
        " and ".join(m for m, _ in pair): tuple(Fault(mode=m, magnitude=a * steps[m]) for m, a in pair)
        for pair in PAIRS
    }


def _kind(found: Called, truth: str) -> str:
    if found.settled == truth:
        return "named"
    if found.settled.startswith("ambiguous: "):
        return "ambiguous" if truth in found.settled.removeprefix("ambiguous: ").split(" | ") else "wrong"
    return found.settled if found.settled in ("unknown", "healthy") else "wrong"


def _short(verdict: str) -> str:
    return verdict.replace("ambiguous: ", "? ")


def _print(title: str, matrix: dict[str, Counter[str]]) -> None:
    print(f"\n{title}: what is the matter → what the judge said two runs after its first alarm", file=sys.stderr)
    for truth, said in matrix.items():
        print(
            f"  {truth:44} " + ", ".join(f"{verdict} ×{count}" for verdict, count in said.most_common()),
            file=sys.stderr,
        )


if __name__ == "__main__":
    for figure in diagnosis_figures():
        print(figure)
