"""Western Electric and Nelson rules: what just breaks them, what just does not, and how often chance does."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from labkit.control.rules import NELSON, WESTERN_ELECTRIC, Rule, RuleSet, RuleState, violations


def _named(rules: Sequence[Rule], name: str) -> Rule:
    return next(rule for rule in rules if rule.name == name)


ZIGZAG = [0.1 * (-1) ** i for i in range(14)]
CASES = [
    (WESTERN_ELECTRIC, "1 beyond 3σ", [0.0, 3.001], [0.0, 3.0]),
    (WESTERN_ELECTRIC, "1 beyond 3σ", [-3.001], [-3.0]),
    (WESTERN_ELECTRIC, "2 of 3 beyond 2σ", [2.1, 0.0, 2.1], [2.1, 0.0, 0.0, 2.1]),
    (WESTERN_ELECTRIC, "2 of 3 beyond 2σ", [-2.1, -2.1], [-2.1, 2.1]),
    (WESTERN_ELECTRIC, "2 of 3 beyond 2σ", [0.0, 2.001, 2.001], [0.0, 2.001, 2.0]),
    (WESTERN_ELECTRIC, "4 of 5 beyond 1σ", [1.1, 1.1, -0.5, 1.1, 1.1], [1.1, 1.1, -0.5, -0.5, 1.1, 1.1]),
    (WESTERN_ELECTRIC, "4 of 5 beyond 1σ", [-1.1] * 4, [-1.1, -1.1, -1.1, -1.0]),
    (WESTERN_ELECTRIC, "8 on one side", [0.1] * 8, [0.1] * 7),
    (WESTERN_ELECTRIC, "8 on one side", [-0.1] * 8, [-0.1] * 4 + [0.0] + [-0.1] * 4),
    (NELSON, "9 on one side", [0.1] * 9, [0.1] * 8),
    (NELSON, "6 trending", [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2], [-0.2, -0.1, 0.0, 0.1, 0.2]),
    (NELSON, "6 trending", [0.3, 0.2, 0.1, 0.0, -0.1, -0.2], [0.3, 0.2, 0.1, 0.1, -0.1, -0.2]),
    (NELSON, "14 alternating", ZIGZAG, ZIGZAG[:13]),
    (NELSON, "14 alternating", [z + 5.0 for z in ZIGZAG], [*ZIGZAG[:7], 0.2, *ZIGZAG[7:13]]),
    (NELSON, "15 within 1σ", [0.9, -0.9] * 7 + [0.9], [0.9, -0.9] * 7),
    (NELSON, "15 within 1σ", [0.0] * 15, [0.0] * 14 + [1.0]),
    (NELSON, "8 outside 1σ", [1.1, -1.1] * 4, [1.1, -1.1] * 3 + [1.1]),
    (NELSON, "8 outside 1σ", [1.1] * 7 + [-1.1], [1.1] * 8),
    (NELSON, "8 outside 1σ", [-1.1] * 7 + [1.1], [-1.1] * 6 + [1.0, 1.1]),
]


@pytest.mark.parametrize(("rules", "name", "breaking", "sparing"), CASES)
def test_rule_is_broken_by_the_last_point_of_the_pattern_and_not_before(
    rules: tuple[Rule, ...], name: str, breaking: list[float], sparing: list[float]
) -> None:
    rule = _named(rules, name)
    assert violations(breaking, (rule,)) == [(len(breaking) - 1, rule)]
    assert violations(sparing, (rule,)) == []


def test_rule_sets_are_the_published_ones() -> None:
    zones = ["2 of 3 beyond 2σ", "4 of 5 beyond 1σ"]
    assert [r.name for r in WESTERN_ELECTRIC] == ["1 beyond 3σ", *zones, "8 on one side"]
    assert [r.name for r in NELSON] == [
        "1 beyond 3σ",
        "9 on one side",
        "6 trending",
        "14 alternating",
        *zones,
        "15 within 1σ",
        "8 outside 1σ",
    ]


@pytest.mark.parametrize("rule", [*WESTERN_ELECTRIC, *NELSON[1:4], *NELSON[6:]], ids=lambda r: r.name)
def test_stated_false_alarm_probability_is_that_of_chance(rule: Rule) -> None:
    count = 60_000 if rule.false_alarm > 5e-4 else 400_000
    windows = np.random.default_rng(rule.window).normal(size=(count, rule.window))
    if rule.name == "8 outside 1σ":  # rare: draw outside 1σ and weight by the chance of that
        magnitude = 2.0 * np.sign(windows)
        share = np.mean([rule.broken_by(list(w)) for w in magnitude[:20_000]]) * 0.31731**8
        assert share == pytest.approx(rule.false_alarm, rel=0.01)
        return
    found = sum(rule.broken_by(w) for w in windows.tolist())
    expected = count * rule.false_alarm
    assert abs(found - expected) < 4.0 * math.sqrt(expected)


@pytest.mark.parametrize(
    ("names", "published"),
    [
        (["1 beyond 3σ", "2 of 3 beyond 2σ"], 225.44),
        (["1 beyond 3σ", "4 of 5 beyond 1σ"], 166.05),
        (["1 beyond 3σ", "8 on one side"], 152.73),
        (["1 beyond 3σ", "2 of 3 beyond 2σ", "4 of 5 beyond 1σ", "8 on one side"], 91.75),
    ],
)
def test_run_lengths_are_those_of_champ_and_woodall(names: list[str], published: float) -> None:
    """Champ and Woodall, Technometrics 29 (1987) 393: exact in-control average run lengths."""
    chart = RuleSet(tuple(_named(WESTERN_ELECTRIC, n) for n in names))
    z = np.random.default_rng(len(names)).normal(size=60_000).tolist()
    state, alarms = RuleState(), 0
    for value in z:
        state, broken = chart.update(state, value)
        if broken:
            alarms, state = alarms + 1, RuleState()
    assert len(z) / alarms == pytest.approx(published, rel=4.0 / math.sqrt(alarms))


def test_zigzags_are_counted_by_the_boustrophedon() -> None:
    row = [1]
    for _ in range(14):  # Seidel's triangle: each row is the running sum of the one before, reversed
        running, following = 0, [0]
        for entry in reversed(row):
            running += entry
            following.append(running)
        row = following
    assert _named(NELSON, "14 alternating").false_alarm == pytest.approx(2.0 * row[-1] / math.factorial(14), rel=1e-12)


def test_missing_points_are_passed_over() -> None:
    rule = _named(WESTERN_ELECTRIC, "2 of 3 beyond 2σ")
    assert violations([2.1, math.nan, math.nan, 2.1], (rule,)) == [(3, rule)]


def test_state_remembers_no_more_than_the_longest_rule_and_survives_json() -> None:
    state = RuleState()
    for value in range(20):
        state, _ = RuleSet(WESTERN_ELECTRIC).update(state, 0.01 * value)
    assert state.recent == pytest.approx([0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.19])
    assert RuleState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
