"""Learning from a judged run: a training row for the tool's residual model, and a correction that people may
approve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.control.run_to_run import ControllerState, EwmaController
from labkit.core.process import Process, Steering
from labkit.core.recipe import Recipe
from labkit.runs.judge import Judgement
from labkit.runs.predict import settings_of

if TYPE_CHECKING:
    import xarray as xr

WEIGHT = 0.4
"""EWMA weight of run-to-run correction: least mean square error for IMA(1,1) disturbances with θ = 0.6."""
DEADBAND_SIGMAS = 1.0
"""A correction smaller than this many standard deviations of the indicator is noise and is not suggested."""
_GAIN_STEP = 0.01
"""Finite-difference step for a knob's effect, as a fraction of its range."""


@dataclass(frozen=True)
class Lesson:
    """What a run teaches: knob settings, residuals, and whether (and why) it must not be learned from."""

    inputs: Mapping[str, float]
    outputs: Mapping[str, float]
    excluded: bool
    reason: str | None


@dataclass(frozen=True)
class Correction:
    """A recipe change that run-to-run control proposes; it acts only once people have approved the changed recipe."""

    path: str
    before: float
    after: float
    reason: str

    @property
    def changes(self) -> dict[str, float]:
        """The change by recipe path."""
        return {self.path: self.after}


def lesson(process: Process, recipe: Recipe, judgement: Judgement) -> Lesson:
    """The training row of a run; one that was flagged is kept but excluded, so that a fault is not learned as
    normal."""
    paths = [knob.path for knob in process.knobs(recipe)]
    inputs = dict(zip(paths, settings_of(process, recipe), strict=True))
    flagged = judgement.verdict == "anomaly"
    return Lesson(inputs, dict(judgement.residuals), flagged, judgement.headline if flagged else None)


def knob_gain(process: Process, recipe: Recipe, wafer: xr.Dataset, steering: Steering, physics: float) -> float:
    """Change of the steered indicator per unit of its knob, from physics."""
    now = float(recipe.value(steering.knob.path))
    step = _GAIN_STEP * (steering.knob.high - steering.knob.low)
    step = step if now + step <= steering.knob.high else -step
    moved = process.expected(recipe.changed({steering.knob.path: now + step}), wafer)
    return (moved[steering.indicator] - physics) / step


def steer(
    process: Process,
    recipe: Recipe,
    wafer: xr.Dataset,
    judgement: Judgement,
    physics: Mapping[str, float],
    state: Mapping[str, Any] | None,
) -> tuple[dict[str, Any] | None, Correction | None]:
    """Update the run-to-run controller with one run; returns its next state and a correction worth proposing, if any.

    The controller tracks the offset between measurement and physics, so it keeps its knowledge when the recipe moves.
    A flagged run neither teaches it nor moves the recipe: a fault is repaired, not compensated.
    """
    steering = process.steering(recipe)
    if steering is None or judgement.verdict == "anomaly" or steering.indicator not in judgement.residuals:
        return (dict(state) if state is not None else None), None
    indicator = next(i for i in process.indicators if i.name == steering.indicator)
    expected = physics[steering.indicator]
    measured = indicator.restore(judgement.residuals[steering.indicator], expected)
    sigma = indicator.sigma * (1.0 if indicator.residual == "difference" else expected)
    knob = steering.knob
    controller = EwmaController(target=0.0, gain=1.0, weight=WEIGHT)
    before = ControllerState.from_dict(state) if state is not None else ControllerState()
    following, _ = controller.update(before, measured - expected, action=0.0)
    predicted = expected + following.offset
    now = float(recipe.value(knob.path))
    if abs(predicted - steering.target) <= DEADBAND_SIGMAS * sigma or following.runs < 3:
        return following.to_dict(), None
    gain = knob_gain(process, recipe, wafer, steering, expected)
    if gain == 0.0:
        return following.to_dict(), None
    wanted = min(max(now + (steering.target - predicted) / gain, knob.low), knob.high)
    after = float(f"{wanted:.5g}")
    if after == now:
        return following.to_dict(), None
    reason = (
        f"{steering.indicator} is expected at {predicted:.5g} {indicator.units}, "
        f"{predicted - steering.target:+.3g} from target, after {following.runs} runs"
    )
    return following.to_dict(), Correction(knob.path, now, after, reason)
