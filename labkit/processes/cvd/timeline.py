"""From recipe steps to setpoints in time: when gas flows, what the zones are asked for, what is stretched."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from labkit.processes.cvd.equipment import TubeFurnace
from labkit.processes.cvd.recipe import CVDRecipe

_ROUNDING_S = 1e-6
"""Ramps that end this late, s, are on time."""


@dataclass(frozen=True)
class Timeline:
    """Setpoints of a run at one sample per second.

    ``edges`` (step + 1,) s; ``stretched`` seconds added to each step; ``zones`` (step, 3) °C asked for;
    ``shares`` (step, sample) fraction of each sample that a step fills; ``step`` (sample,) its position.
    """

    edges: np.ndarray
    stretched: np.ndarray
    zones: np.ndarray
    shares: np.ndarray
    step: np.ndarray

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.step.size)

    def of_steps(self, values: np.ndarray) -> np.ndarray:
        """Mean over each sample of a quantity given per step, shape (sample,)."""
        return np.asarray(values @ self.shares)


def zone_targets(recipe: CVDRecipe, tube: TubeFurnace) -> np.ndarray:
    """Zone setpoints in °C for each step, shape (step, 3).

    The zone setpoints apply at the highest temperature any step asks for; a step that asks for less shifts all zones by
    the difference. Before the first step that asks, and after the last gas step unless that step asks, the tube idles.
    """
    profile, reference = recipe.zone_setpoints(), recipe.reference_temp_c
    idle = np.full(3, tube.standby_c)
    last_gas = max(recipe.gas_steps, default=len(recipe.recipe_steps))
    now = profile if reference is None else idle
    rows = []
    for index, step in enumerate(recipe.recipe_steps):
        if step.target is not None and reference is not None:
            now = profile + (step.target - reference)
        elif index > last_gas:
            now = idle
        rows.append(now)
    return np.array(rows)


def furnace_rates(recipe: CVDRecipe, tube: TubeFurnace) -> tuple[np.ndarray, float]:
    """Ramp up (3,) and down in K/s that the furnace will really follow."""
    return np.minimum(recipe.ramp_rates(), tube.max_ramp_k_per_min) / 60.0, tube.max_cool_k_per_min / 60.0


def stretch(recipe: CVDRecipe, tube: TubeFurnace, zones: np.ndarray) -> np.ndarray:
    """Seconds to add to each step so that every ramp ends before gas is let in, shape (step,)."""
    up, down = furnace_rates(recipe, tube)
    added = np.zeros(len(recipe.recipe_steps))
    now = np.full(3, tube.standby_c)
    asked = 0
    for index, step in enumerate(recipe.recipe_steps):
        if index == 0 or (zones[index] != zones[index - 1]).any():
            asked = index
        if index in recipe.gas_steps:
            missing = float(
                np.max(np.where(zones[index] > now, (zones[index] - now) / up, (now - zones[index]) / down))
            )
            if missing > _ROUNDING_S:
                added[asked if asked < index else index] += missing
                now = zones[index].astype(float)
        move = zones[index] - now
        now = now + np.clip(move, -down * step.duration_s, up * step.duration_s)
    return added


def timeline(recipe: CVDRecipe, tube: TubeFurnace) -> Timeline:
    """Setpoints of *recipe* on *tube*, one sample per second; a fraction of a sample counts by its share."""
    zones = zone_targets(recipe, tube)
    added = stretch(recipe, tube, zones)
    durations = np.array([step.duration_s for step in recipe.recipe_steps]) + added
    edges = np.concatenate([[0.0], np.cumsum(durations)])
    samples = max(1, math.ceil(edges[-1] - 1e-9))
    start = np.arange(samples, dtype=float)
    shares = np.clip(np.minimum(start + 1.0, edges[1:, None]) - np.maximum(start, edges[:-1, None]), 0.0, 1.0)
    return Timeline(edges=edges, stretched=added, zones=zones, shares=shares, step=np.argmax(shares, axis=0))
