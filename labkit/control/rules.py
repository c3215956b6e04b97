"""Western Electric and Nelson rules: patterns in a run of standardised measurements that chance rarely makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labkit.control.state import Stored


@dataclass(frozen=True)
class Rule:
    """One rule: it looks at the last *window* standardised measurements and holds or not.

    ``false_alarm`` is the probability that a full window of independent standard normal values, newest last, breaks
    the rule. A rule is broken by the measurement that completes the pattern: two of three need not wait for a third
    point, so *needed* points are enough.
    """

    name: str
    description: str
    window: int
    needed: int
    false_alarm: float
    broken_by: Callable[[Sequence[float]], bool]


def _beyond(needed: int, sigmas: float) -> Callable[[Sequence[float]], bool]:
    """*needed* of the window, the newest among them, beyond *sigmas* on one side."""

    def check(z: Sequence[float]) -> bool:
        return any(side * z[-1] > sigmas and sum(side * v > sigmas for v in z) >= needed for side in (1.0, -1.0))

    return check


def _one_side(z: Sequence[float]) -> bool:
    return all(v > 0.0 for v in z) or all(v < 0.0 for v in z)


def _trend(z: Sequence[float]) -> bool:
    steps = [b - a for a, b in pairwise(z)]
    return all(s > 0.0 for s in steps) or all(s < 0.0 for s in steps)


def _alternating(z: Sequence[float]) -> bool:
    steps = [b - a for a, b in pairwise(z)]
    return all(a * b < 0.0 for a, b in pairwise(steps))


def _hugging(z: Sequence[float]) -> bool:
    return all(abs(v) < 1.0 for v in z)


def _mixture(z: Sequence[float]) -> bool:
    return all(abs(v) > 1.0 for v in z) and min(z) < 0.0 < max(z)


def _tail(sigmas: float) -> float:
    return 0.5 * math.erfc(sigmas / math.sqrt(2.0))


def _beyond_probability(window: int, needed: int, sigmas: float) -> float:
    p = _tail(sigmas)
    others = range(needed - 1, window)
    return 2.0 * p * sum(math.comb(window - 1, j) * p**j * (1.0 - p) ** (window - 1 - j) for j in others)


_INSIDE = math.erf(1.0 / math.sqrt(2.0))
_ALTERNATING_PERMUTATIONS_OF_14 = 2 * 199360981
"""Permutations of 14 that zigzag: twice the Euler zigzag number E14 (OEIS A000111)."""

_ONE_BEYOND_3 = Rule("1 beyond 3σ", "one point beyond 3σ", 1, 1, 2.0 * _tail(3.0), _beyond(1, 3.0))
_TWO_OF_THREE = Rule(
    "2 of 3 beyond 2σ",
    "two of three points beyond 2σ on one side",
    3,
    2,
    _beyond_probability(3, 2, 2.0),
    _beyond(2, 2.0),
)
_FOUR_OF_FIVE = Rule(
    "4 of 5 beyond 1σ",
    "four of five points beyond 1σ on one side",
    5,
    4,
    _beyond_probability(5, 4, 1.0),
    _beyond(4, 1.0),
)
_EIGHT_ONE_SIDE = Rule("8 on one side", "eight points in a row on one side of the centre", 8, 8, 2.0**-7, _one_side)

WESTERN_ELECTRIC = (_ONE_BEYOND_3, _TWO_OF_THREE, _FOUR_OF_FIVE, _EIGHT_ONE_SIDE)
"""Western Electric, Statistical Quality Control Handbook (1956). All four together: in-control average run length
91.75 (Champ and Woodall, Technometrics 29 (1987) 393, doi:10.1080/00401706.1987.10488266)."""

NELSON = (
    _ONE_BEYOND_3,
    Rule("9 on one side", "nine points in a row on one side of the centre", 9, 9, 2.0**-8, _one_side),
    Rule("6 trending", "six points in a row rising or falling", 6, 6, 2.0 / math.factorial(6), _trend),
    Rule(
        "14 alternating",
        "fourteen points in a row going up and down in turn",
        14,
        14,
        _ALTERNATING_PERMUTATIONS_OF_14 / math.factorial(14),
        _alternating,
    ),
    _TWO_OF_THREE,
    _FOUR_OF_FIVE,
    Rule("15 within 1σ", "fifteen points in a row within 1σ of the centre", 15, 15, _INSIDE**15, _hugging),
    Rule(
        "8 outside 1σ",
        "eight points in a row, on both sides, none within 1σ of the centre",
        8,
        8,
        (1.0 - _INSIDE) ** 8 * (1.0 - 2.0**-7),
        _mixture,
    ),
)
"""Nelson, Journal of Quality Technology 16 (1984) 237, doi:10.1080/00224065.1984.11978921."""


@dataclass(frozen=True)
class RuleState(Stored):
    """The last standardised measurements, oldest first, as many as the longest rule looks at."""

    recent: tuple[float, ...] = ()


@dataclass(frozen=True)
class RuleSet:
    """Rules applied together."""

    rules: tuple[Rule, ...] = WESTERN_ELECTRIC

    def update(self, state: RuleState, measurement: float) -> tuple[RuleState, tuple[Rule, ...]]:
        """The next state and the rules that *measurement* (standardised) breaks; a missing one (NaN) is passed over."""
        if math.isnan(measurement):
            return state, ()
        recent = (*state.recent, float(measurement))[-max(r.window for r in self.rules) :]
        broken = tuple(r for r in self.rules if len(recent) >= r.needed and r.broken_by(recent[-r.window :]))
        return RuleState(recent), broken


def violations(measurements: Sequence[float], rules: tuple[Rule, ...] = WESTERN_ELECTRIC) -> list[tuple[int, Rule]]:
    """Index and rule of every violation in a sequence of standardised *measurements*."""
    found: list[tuple[int, Rule]] = []
    chart, state = RuleSet(rules), RuleState()
    for index, z in enumerate(measurements):
        state, broken = chart.update(state, z)
        found.extend((index, rule) for rule in broken)
    return found
