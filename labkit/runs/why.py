"""Why a run came out as it did: causes, contributions, what flagged runs have in common, which knob moves what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import hypergeom

from labkit.core import registry
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.runs.judge import fault_signatures
from labkit.runs.workplace import Workplace
from labkit.store import browse
from labkit.store import runs as rows

ATTRIBUTES = ("tool", "chamber", "product", "lot", "operator", "recipe_hash")
"""Columns in which flagged runs may have something in common."""
LOOK_BACK = 500
"""Newest runs of the process among which a common attribute is looked for."""
CHANCE = 0.01
"""A common attribute is reported if chance alone would give it with less than this probability, over all that is
tried."""
_STEP = 0.01


@dataclass(frozen=True)
class Contribution:
    """An indicator's departure: measured against expected, and z in standard deviations (NaN without a baseline)."""

    indicator: str
    measured: float
    expected: float
    z: float


@dataclass(frozen=True)
class Common:
    """A value that flagged runs share more often than chance: *flagged* of *all_flagged* have it, *others* of the
    rest."""

    attribute: str
    value: str
    flagged: int
    all_flagged: int
    others: int
    chance: float


@dataclass(frozen=True)
class Sensitivity:
    """What one hundredth of a knob's range changes, by indicator, in the indicator's unit."""

    path: str
    move: float
    units: str
    changes: Mapping[str, float]


@dataclass(frozen=True)
class Explanation:
    """Everything known about why a run came out as it did; see :func:`explain`."""

    run: int
    headline: str
    causes: tuple[Mapping[str, Any], ...]
    contributions: tuple[Contribution, ...]
    common: tuple[Common, ...]
    sensitivities: tuple[Sensitivity, ...]
    next_step: str

    def __repr__(self) -> str:
        lines = [f"run {self.run}: {self.headline}"]
        lines += [
            f"  cause       {c['title']}, weight {c['weight']:.2f}, explains {100 * c['explained']:.0f} %"
            for c in self.causes[:3]
        ]
        lines += [
            f"  departs     {c.indicator}: {c.measured:.4g}, expected {c.expected:.4g} (z {c.z:+.1f})"
            for c in self.contributions[:3]
        ]
        lines += [
            f"  in common   {c.attribute} {c.value}: {c.flagged} of {c.all_flagged} flagged runs, {c.others} others "
            f"(chance {c.chance:.1g})"
            for c in self.common[:3]
        ]
        return "\n".join([*lines, f"  next        {self.next_step}"])


def explain(place: Workplace, run: str | int) -> Explanation:
    """Explain a finished run from its record, the runs around it, and the physics of its recipe."""
    with place.catalogue.read() as tx:
        row = rows.get(tx, run)
        measured = {name: found for name, found in rows.results(tx, row["id"]).items() if found["value"] is not None}
        recent = browse.page(tx, process=row["process"], origin=row["origin"], limit=LOOK_BACK).rows
    process = registry.process(row["process"])
    recipe = process.parse({**row["recipe"], "status": "draft"})
    judgement = row["judgement"] or {}
    z = judgement.get("z", {})
    contributions = sorted(
        (
            Contribution(name, found["value"], _number(found["expected"]), _number(z.get(name)))
            for name, found in measured.items()
        ),
        key=lambda c: -abs(c.z) if math.isfinite(c.z) else 0.0,
    )
    diagnosis = judgement.get("diagnosis") or {"verdict": "", "candidates": []}
    causes = tuple(diagnosis["candidates"])
    return Explanation(
        run=row["seq"],
        headline=judgement.get("headline") or row["error_message"] or f"it is {row['state']}",
        causes=causes,
        contributions=tuple(contributions),
        common=commonality([r for r in recent if r["kind"] == "run"]),
        sensitivities=sensitivities(process, recipe) if measured else (),
        next_step=_next_step(process, recipe, diagnosis["verdict"], causes, contributions),
    )


def commonality(runs: Sequence[Mapping[str, Any]], chance: float = CHANCE) -> tuple[Common, ...]:
    """What flagged runs (verdict ``anomaly`` or ``fail``) have in common, likeliest not by chance first.

    For each value of each attribute the hypergeometric probability that so many or more of the flagged runs have it,
    times the number of values tried (Bonferroni). An attribute in which all runs agree says nothing.
    """
    judged = [run for run in runs if run["verdict"] is not None]
    flagged = [run for run in judged if run["verdict"] in ("anomaly", "fail")]
    tried = [(name, Counter(str(run[name]) for run in judged if run[name] is not None)) for name in ATTRIBUTES]
    values = [(name, value, count) for name, counted in tried if len(counted) > 1 for value, count in counted.items()]
    found = []
    for name, value, count in values:
        hits = sum(str(run[name]) == value for run in flagged)
        probability = min(1.0, float(hypergeom.sf(hits - 1, len(judged), count, len(flagged))) * len(values))
        if hits and probability < chance:
            found.append(Common(name, value, hits, len(flagged), count - hits, probability))
    return tuple(sorted(found, key=lambda c: c.chance))


def sensitivities(process: Process, recipe: Recipe) -> tuple[Sensitivity, ...]:
    """Effect of a hundredth of each knob's range on every indicator from metrology, by finite difference of the
    physics."""
    wafer = process.incoming_wafers(recipe)
    watched = [i.name for i in process.indicators if i.source == "metrology"]
    now = process.expected(recipe, wafer)
    found = []
    for knob in process.knobs(recipe):
        value = float(recipe.value(knob.path))
        move = _STEP * (knob.high - knob.low) * (1.0 if value + _STEP * (knob.high - knob.low) <= knob.high else -1.0)
        moved = process.expected(recipe.changed({knob.path: value + move}), wafer)
        found.append(Sensitivity(knob.path, move, knob.units, {name: moved[name] - now[name] for name in watched}))
    return tuple(found)


def _next_step(
    process: Process,
    recipe: Recipe,
    verdict: str,
    causes: Sequence[Mapping[str, Any]],
    contributions: Sequence[Contribution],
) -> str:
    if verdict.startswith("ambiguous: "):
        rivals = [c for c in causes if c["fault"] in verdict.removeprefix("ambiguous: ").split(" | ")][:2]
        indicator = _telling(process, recipe, rivals)
        return (
            f"measure {indicator} again, with repeats: {rivals[0]['title']!r} and {rivals[1]['title']!r} "
            f"differ most there; then: {rivals[0]['advice']}"
        )
    if causes and verdict == causes[0]["fault"]:
        return str(causes[0]["advice"])
    if verdict == "unknown" and contributions:
        leading = contributions[0].indicator
        return f"no declared fault looks like this: begin with {leading}, and repeat the run with a test load"
    return "nothing to do" if contributions else "look at the run's transitions and reason"


def _telling(process: Process, recipe: Recipe, rivals: Sequence[Mapping[str, Any]]) -> str:
    """The indicator on which two rival causes, each at its fitted size, differ most in its own repeatability."""
    steps = {mode.name: mode.step for mode in process.fault_modes}
    sizes = {rival["fault"]: float(rival["amplitude"]) / steps[rival["fault"]] for rival in rivals}
    wafer = process.incoming_wafers(recipe)
    signatures = fault_signatures(process, recipe, wafer, process.expected(recipe, wafer), sizes)
    sigma = {i.name: i.sigma for i in process.indicators}

    def effect(rival: Mapping[str, Any], name: str) -> float:
        return signatures[rival["fault"]].get(name, 0.0) * sizes[rival["fault"]]

    return max(sigma, key=lambda name: abs(effect(rivals[0], name) - effect(rivals[1], name)) / sigma[name])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
