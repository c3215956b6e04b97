"""False-alarm probabilities of the run rules, exactly: every pattern of zones is enumerated with its chance."""

from __future__ import annotations

import itertools
import math

import pytest
from scipy.special import euler
from scipy.stats import norm

from labkit.control.rules import NELSON, WESTERN_ELECTRIC, Rule

EDGES = {
    "1 beyond 3σ": (-3.0, 3.0),
    "2 of 3 beyond 2σ": (-2.0, 2.0),
    "4 of 5 beyond 1σ": (-1.0, 1.0),
    "8 on one side": (0.0,),
    "9 on one side": (0.0,),
    "8 outside 1σ": (-1.0, 1.0),
}


ZONED = [rule for rule in dict.fromkeys((*WESTERN_ELECTRIC, *NELSON)) if rule.name in EDGES]


@pytest.mark.parametrize("rule", ZONED, ids=lambda rule: rule.name)
def test_probability_is_the_sum_over_all_patterns_that_break_the_rule(rule: Rule) -> None:
    edges = (-math.inf, *EDGES[rule.name], math.inf)
    zones = [
        (max(low, high - 0.5) if low == -math.inf else min(high, low + 0.5), float(norm.cdf(high) - norm.cdf(low)))
        for low, high in itertools.pairwise(edges)
    ]
    total = 0.0
    for pattern in itertools.product(zones, repeat=rule.window):
        if rule.broken_by([value for value, _ in pattern]):
            total += math.prod(chance for _, chance in pattern)
    assert rule.false_alarm == pytest.approx(total, rel=1e-12)


def test_rare_patterns_have_the_published_counts_and_powers() -> None:
    named = {rule.name: rule.false_alarm for rule in NELSON}
    assert named["6 trending"] == pytest.approx(2.0 / 720.0, rel=1e-12)
    assert named["14 alternating"] == pytest.approx(2.0 * abs(euler(14)[14]) / math.factorial(14), rel=1e-12)
    assert named["15 within 1σ"] == pytest.approx(0.682689492137086**15, rel=1e-12)
    assert named["1 beyond 3σ"] == pytest.approx(0.0026997960632602, rel=1e-9)
