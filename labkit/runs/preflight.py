"""The gate before a run: is it allowed, can the tool follow, will the result be in limits — and if not, what would
be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.optimize import least_squares

from labkit.core.errors import LabkitError
from labkit.core.limits import Limit, Severity, Violation
from labkit.core.process import Finding, Knob, Process
from labkit.core.recipe import Change, Recipe
from labkit.operations.limits import recipe_violations
from labkit.runs.predict import Prediction

_MARGIN = 0.2
"""A better recipe aims this fraction of a one-sided limit inside it, so that noise does not push it out again."""
_STAY = 0.03
"""Weight of moving a knob over its whole range, against breaking a limit by its own scale."""
_STEP = 0.02
"""Finite-difference step of the search, as a fraction of each knob's range."""
_MOST_STEPS = 10
"""Evaluations of the search direction; the offer is checked afterwards, so an unfinished search only offers less."""


@dataclass(frozen=True)
class Preflight:
    """Outcome of the gate. ``offer`` is a recipe that is predicted to pass, with what changes in it."""

    allowed: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    violations: tuple[Violation, ...]
    offer: Recipe | None = None
    changes: tuple[Change, ...] = ()

    def document(self) -> dict[str, object]:
        """The outcome as JSON for the run's record."""
        return {
            "allowed": self.allowed,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "violations": [str(v) for v in self.violations],
            "offer": [{"path": c.path, "before": c.before, "after": c.after} for c in self.changes],
        }


def preflight(
    process: Process,
    recipe: Recipe,
    prediction: Prediction,
    limits: Iterable[Limit],
    offer: Callable[[], Recipe | None] = lambda: None,
) -> Preflight:
    """Judge *recipe* before it runs.

    Hard limits on parameters, blocking findings and hard limits on predicted results stop it; soft ones and other
    findings are warnings. *offer* is called only for a stopped recipe and may return a better one.
    """
    limits = tuple(limits)
    broken = (*recipe_violations(recipe, limits), *result_violations(prediction.values, limits))
    hard = [v for v in broken if v.limit.severity is Severity.HARD]
    blocking = [f for f in prediction.findings if f.blocking]
    reasons = (*(str(v) for v in hard), *(_words(f) for f in blocking))
    warnings = (
        *(str(v) for v in broken if v.limit.severity is Severity.SOFT),
        *(_words(f) for f in prediction.findings if not f.blocking),
    )
    if not reasons:
        return Preflight(True, (), warnings, broken)
    better = offer()
    return Preflight(False, reasons, warnings, broken, better, () if better is None else recipe.diff(better))


def result_violations(values: Mapping[str, float], limits: Iterable[Limit]) -> tuple[Violation, ...]:
    """Limits on indicators that *values* break (parameters are judged from the recipe itself)."""
    return tuple(
        Violation(limit, values[limit.quantity])
        for limit in limits
        if limit.quantity in values and limit.excess(values[limit.quantity]) > 0.0
    )


def better_recipe(
    process: Process,
    recipe: Recipe,
    wafer: xr.Dataset,
    limits: Iterable[Limit],
    correct: Callable[[dict[str, float]], dict[str, float]] = lambda values: values,
) -> Recipe | None:
    """A recipe near by, within its knobs' ranges, that is predicted to keep every hard limit; None if none is found.

    One knob is tried at a time, since a person would rather change one thing, and the smallest move that works wins;
    only if none does are all knobs moved together. Limits on parameters bound the search; it minimises, by least
    squares, how far predicted results are from the middle of their limits, in units of each limit's own scale, plus a
    small cost for leaving the recipe. *correct* turns physics into what the
    tool itself is expected to give.
    """
    if any(f.blocking for f in process.findings(recipe)):
        return None
    hard = tuple(limit for limit in limits if limit.severity is Severity.HARD)
    knobs = tuple(kept for knob in process.knobs(recipe) if (kept := _within(knob, hard)) is not None)
    search = _Search(process, recipe, wafer, hard, correct)
    singles = [found for knob in knobs if (found := search.near((knob,))) is not None]
    if singles:
        return min(singles, key=lambda found: found[0])[1]
    together = search.near(knobs) if len(knobs) > 1 else None
    return None if together is None else together[1]


@dataclass(frozen=True)
class _Search:
    process: Process
    recipe: Recipe
    wafer: xr.Dataset
    limits: tuple[Limit, ...]
    correct: Callable[[dict[str, float]], dict[str, float]]

    def near(self, knobs: tuple[Knob, ...]) -> tuple[float, Recipe] | None:
        """How far *knobs* have to move (fraction of their ranges) for the limits to be kept, and the recipe there."""
        start = np.clip([_position(knob, float(self.recipe.value(knob.path))) for knob in knobs], 0.0, 1.0)
        try:
            found = least_squares(
                self._shortfall,
                start,
                bounds=(0.0, 1.0),
                diff_step=[_STEP] * len(knobs),
                max_nfev=_MOST_STEPS,
                args=(knobs, start),
            )
            candidate = _rounded(self.recipe, knobs, found.x)
            values = self.correct(self.process.expected(candidate, self.wafer))
        except LabkitError:
            return None
        kept = not result_violations(values, self.limits) and not recipe_violations(candidate, self.limits)
        distance = float(np.linalg.norm(found.x - start))
        return (distance, candidate) if kept and self.recipe.diff(candidate) else None

    def _shortfall(self, position: np.ndarray, knobs: tuple[Knob, ...], start: np.ndarray) -> np.ndarray:
        candidate = self.recipe.changed({k.path: _value(k, float(u)) for k, u in zip(knobs, position, strict=True)})
        values = self.correct(self.process.expected(candidate, self.wafer))
        missed = [_approach(limit, values[limit.quantity]) for limit in self.limits if limit.quantity in values]
        return np.array([*missed, *(_STAY * (position - start))])


def _within(knob: Knob, limits: Iterable[Limit]) -> Knob | None:
    """*knob* with its range cut to the limits on its own path; None if nothing is left of it."""
    low, high = knob.low, knob.high
    for limit in limits:
        if limit.quantity in (knob.path, ".".join("*" if part.isdigit() else part for part in knob.path.split("."))):
            low, high = max(low, limit.low), min(high, limit.high)
    return replace(knob, low=low, high=high) if low < high else None


def _approach(limit: Limit, value: float) -> float:
    """Distance of *value* from where it is wanted, in units of the limit's scale.

    Between two ends that is the middle, which keeps the search smooth; below or above one end it is the end less a
    margin, and further inside nothing is gained.
    """
    if np.isfinite(limit.high - limit.low):
        return (value - 0.5 * (limit.low + limit.high)) / _scale(limit)
    margin = _MARGIN * _scale(limit)
    return max(limit.low + margin - value, value - limit.high + margin, 0.0) / _scale(limit)


def _scale(limit: Limit) -> float:
    width = limit.high - limit.low
    if np.isfinite(width) and width > 0.0:
        return width / 2.0
    edge = limit.high if np.isfinite(limit.high) else limit.low
    return max(abs(edge), 1e-12)


def _position(knob: Knob, value: float) -> float:
    if knob.log:
        return float(np.log(value / knob.low) / np.log(knob.high / knob.low))
    return (value - knob.low) / (knob.high - knob.low)


def _value(knob: Knob, position: float) -> float:
    if knob.log:
        return float(knob.low * (knob.high / knob.low) ** position)
    return knob.low + (knob.high - knob.low) * position


def _rounded(recipe: Recipe, knobs: tuple[Knob, ...], position: np.ndarray) -> Recipe:
    """The recipe at *position* with values a person would type; knobs that hardly moved stay as they were."""
    changes: dict[str, float] = {}
    for knob, u in zip(knobs, position, strict=True):
        before = float(recipe.value(knob.path))
        if abs(u - _position(knob, before)) > 0.002:
            changes[knob.path] = float(f"{_value(knob, float(u)):.4g}")
    return recipe.changed(changes)


def _words(finding: Finding) -> str:
    return f"{finding.message} ({finding.fix})" if finding.fix else finding.message
