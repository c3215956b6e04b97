"""Run-to-run scatter of a healthy tube: what differs between two runs before either has begun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.core.arrays import namespace
from labkit.processes.cvd.engine import PLUMBED
from labkit.processes.cvd.equipment import Repeatability, TubeCondition

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RunScatter:
    """What differs between two runs of a healthy tube: the condition it really has, and gains of its gauges."""

    condition: TubeCondition
    valve_pct: float
    base_gauge: float
    foreline_gauge: float
    soft_pump: float


def draw_scatter(rng: np.random.Generator, condition: TubeCondition, size: Repeatability) -> RunScatter:
    """Run-to-run scatter of size *size* on top of *condition*."""
    draws = rng.standard_normal(20)
    xp = namespace(draws)
    zone = {
        str(k + 1): condition.zone_offset_k.get(str(k + 1), 0.0) + size.temperature_zone_k * draws[k] for k in range(3)
    }
    heater = {
        str(k + 1): condition.heater_gain.get(str(k + 1), 1.0) * xp.exp(size.heater * draws[3 + k]) for k in range(3)
    }
    mfc = {name: condition.mfc_gain.get(name, 1.0) * xp.exp(size.flow * draws[6 + k]) for k, name in enumerate(PLUMBED)}
    scattered = condition.model_copy(
        update={
            "zone_offset_k": zone,
            "heater_gain": heater,
            "mfc_gain": mfc,
            "temperature_offset_k": condition.temperature_offset_k + size.temperature_common_k * draws[9],
            "pressure_gauge_gain": condition.pressure_gauge_gain * xp.exp(size.pressure * draws[10]),
            "rate_gain": condition.rate_gain * xp.exp(size.activity * draws[11]),
            "insitu_gain": condition.insitu_gain * xp.exp(size.insitu * draws[12]),
        }
    )
    return RunScatter(
        condition=scattered,
        valve_pct=size.valve_pct * draws[13],
        base_gauge=float(xp.exp(size.base_pressure * draws[14])),
        foreline_gauge=float(xp.exp(size.foreline * draws[15])),
        soft_pump=float(xp.exp(size.soft_pump * draws[16])),
    )
