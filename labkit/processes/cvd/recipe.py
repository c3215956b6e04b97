"""The CVD recipe, with the field names of the deposition data model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from labkit.core.recipe import Recipe, knob
from labkit.processes.cvd.kinetics import LAWS
from labkit.processes.cvd.recipe_fields import (
    FilamentSettings,
    GasFlows,
    LaserSettings,
    PlasmaSettings,
    PressureSetpoints,
    PulsingScheme,
    Step,
    TemperatureProfile,
)

MAX_DURATION_S = 100_000.0
"""Longest run, s: a little over a day."""
_BOOKKEEPING = ("id", "org_id", "approval_date", "approved_by_id", "created_by_id", "created_at", "updated_at")


class CVDRecipe(Recipe):
    """One chemical vapour deposition run.

    Fields that a file leaves out take the defaults given here. Bookkeeping columns of another system (``id``,
    ``approved_by_id``, ``created_at`` …) are kept in ``metadata``: approval is given in this lab.
    """

    process: ClassVar[str] = "cvd"

    process_mode_id: str | None = Field(None, description="Process mode in the system the recipe comes from")
    film_target: str = Field(description="Film, e.g. SiO2", min_length=1, max_length=100)
    thickness_target_nm: float = knob(units="nm", description="Target mean thickness", gt=0, le=1e6)
    uniformity_target_pct: float = knob(
        5.0,
        units="percent",
        gt=0,
        le=100,
        description="Allowed 1σ of thickness over all sites of the load, % of the mean",
    )
    temperature_profile: TemperatureProfile = Field(description="Zone setpoints and ramps")
    pressure_setpoints: PressureSetpoints = Field(description="Base and process pressure")
    gas_flows: GasFlows = Field(description="Gas lines")
    plasma_settings: PlasmaSettings | None = Field(None, description="Plasma, where there is one")
    filament_settings: FilamentSettings | None = Field(None, description="Hot wire, where there is one")
    laser_settings: LaserSettings | None = Field(None, description="Laser, where there is one")
    pulsing_scheme: PulsingScheme | None = Field(None, description="Gas pulses, where there are any")
    recipe_steps: tuple[Step, ...] = Field(description="Steps in order", min_length=1, max_length=100)
    rate_law: str | None = Field(None, description="Rate law by name; absent takes the film's default")

    @model_validator(mode="after")
    def _of_finite_length(self) -> Self:
        if sum(step.duration_s for step in self.recipe_steps) > MAX_DURATION_S:
            raise ValueError(f"steps of at most {MAX_DURATION_S:g} s together")
        return self

    @field_validator("rate_law")
    @classmethod
    def _known_law(cls, name: str | None) -> str | None:
        if name is not None and name not in LAWS:
            raise ValueError(f"one of {', '.join(LAWS)}")
        return name

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """A recipe from decoded JSON; a null counts as absent, foreign bookkeeping goes to ``metadata``."""
        fields = {
            key: value
            for key, value in document.items()
            if value is not None or (key in cls.model_fields and cls.model_fields[key].is_required())
        }
        foreign = {key: fields.pop(key) for key in _BOOKKEEPING if key in fields}
        metadata = fields.get("metadata", {})
        if foreign and isinstance(metadata, dict):
            fields["metadata"] = {**metadata, **foreign}
        return super().parse(fields)

    @property
    def gas_steps(self) -> tuple[int, ...]:
        """Positions of the steps in which gas flows."""
        return tuple(
            index
            for index, step in enumerate(self.recipe_steps)
            if any(step.flow(gas) > 0.0 for gas in self.gas_flows.gases)
        )

    @property
    def reference_temp_c(self) -> float | None:
        """The highest temperature that a step asks for: there the zone setpoints apply as they stand."""
        asked = [step.target for step in self.recipe_steps if step.target is not None]
        return max(asked) if asked else None

    def zone_setpoints(self, zones: int = 3) -> np.ndarray:
        """Setpoints in °C of *zones* equally spaced furnace zones, linear between the recipe's, shape (zones,)."""
        return self._over_zones([zone.setpoint for zone in self._ordered], zones)

    def ramp_rates(self, zones: int = 3) -> np.ndarray:
        """Ramp rates in K/min of *zones* equally spaced furnace zones, shape (zones,)."""
        return self._over_zones([zone.ramp_rate for zone in self._ordered], zones)

    @property
    def _ordered(self) -> list[Any]:
        return sorted(self.temperature_profile.zones, key=lambda zone: zone.zone)

    def _over_zones(self, values: list[float], zones: int) -> np.ndarray:
        numbers = np.array([zone.zone for zone in self._ordered], dtype=float)
        if numbers.size == 1:
            return np.full(zones, float(values[0]))
        where = (numbers - numbers[0]) / (numbers[-1] - numbers[0])
        return np.asarray(np.interp(np.linspace(0.0, 1.0, zones), where, np.asarray(values, dtype=float)))
