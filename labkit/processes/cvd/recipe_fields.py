"""The parts of a CVD recipe: temperature profile, pressures, gases, energy sources, pulses and steps."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from labkit.core.recipe import Strict, knob
from labkit.materials.gases import METAL_ORGANICS

Scalar = bool | int | float | str | None
_MAX_KEYS = 40


class Zone(Strict):
    """One zone of the temperature profile, numbered from the gas inlet."""

    zone: int = knob(description="Zone number from the gas inlet", ge=1, le=20)
    setpoint: float = knob(units="degC", description="Temperature setpoint", ge=20, le=1400)
    ramp_rate: float = knob(
        10.0,
        units="K/min",
        ge=1,
        le=6000,
        description="Ramp rate in °C per minute; a hot-wall tube follows up to about 15 °C/min",
    )


class TemperatureProfile(Strict):
    """Zone setpoints. Fewer zones than the furnace has are interpolated linearly from inlet to pump end."""

    zones: tuple[Zone, ...] = Field(description="Zones, each number once", min_length=1, max_length=20)
    profile_type: Literal["isothermal", "graded", "ramped"] = Field("isothermal", description="How the zones are meant")

    @model_validator(mode="after")
    def _numbered_once(self) -> Self:
        numbers = [zone.zone for zone in self.zones]
        if len(set(numbers)) != len(numbers):
            raise ValueError("each zone number once")
        return self


class PressureSetpoints(Strict):
    """Pressures of the run."""

    base_pressure_torr: float = knob(
        0.001, units="torr", description="Base pressure to reach before gas is let in", gt=0, le=760
    )
    process_pressure_torr: float = knob(units="torr", description="Pressure while gas flows", gt=0, le=1600)
    pumpdown_time_s: float = knob(300.0, units="s", description="Time allowed for pump-down", ge=0, le=100_000)


class GasFlow(Strict):
    """One gas line."""

    name: str = Field(description="Gas by formula, e.g. SiH4", min_length=1, max_length=40)
    flow_sccm: float = knob(
        units="sccm",
        ge=0,
        le=200_000,
        description="Flow; for a metal-organic precursor the carrier flow through its bubbler, not vapour",
    )
    timing: str = Field(
        "continuous", description="When it flows: continuous with the active steps, or a named pulse", max_length=40
    )
    carrier: str | None = Field(
        None, description="Carrier gas, where the precursor comes from a bubbler", max_length=40
    )

    @property
    def metal_organic(self) -> bool:
        """Whether the flow is carrier through a bubbler."""
        return self.name in METAL_ORGANICS or self.carrier is not None


class GasFlows(Strict):
    """The gas lines in use, each once."""

    gases: tuple[GasFlow, ...] = Field(description="Gases, each name once", min_length=1, max_length=20)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [gas.name for gas in self.gases]
        if len(set(names)) != len(names):
            raise ValueError("each gas name once")
        return self


class PlasmaSettings(Strict):
    """Radio-frequency plasma."""

    rf_power_w: float = knob(units="W", description="Forward power", ge=0, le=100_000)
    frequency_mhz: float = knob(13.56, units="MHz", description="Frequency", gt=0, le=10_000)
    dc_bias_v: float = knob(0.0, units="V", description="Self-bias of the driven electrode", ge=-5000, le=5000)
    duty_cycle: float = knob(1.0, description="On-time fraction", gt=0, le=1)
    matching_network: Literal["auto", "manual", "fixed"] = Field("auto", description="Matching network mode")


class FilamentSettings(Strict):
    """Hot wire."""

    filament_temp_c: float = knob(units="degC", description="Filament temperature", ge=20, le=3400)
    filament_current_a: float | None = knob(None, units="A", description="Filament current", ge=0, le=1000)
    material: str = Field("W", description="Filament material", max_length=40)


class LaserSettings(Strict):
    """Laser."""

    laser_power_w: float = knob(units="W", description="Mean power", ge=0, le=100_000)
    laser_energy_mj: float | None = knob(None, units="mJ", description="Pulse energy", ge=0, le=1e6)
    wavelength_nm: float | None = knob(None, units="nm", description="Wavelength", gt=0, le=20_000)


class Pulse(Strict):
    """One pulse of a cycle."""

    gas: str = Field(description="Gas by formula", min_length=1, max_length=40)
    on_s: float = knob(units="s", description="Open time", gt=0, le=10_000)
    purge_s: float = knob(0.0, units="s", description="Purge after it", ge=0, le=10_000)


class PulsingScheme(Strict):
    """Cycles of gas pulses (ALD, pulsed CVD)."""

    cycles: int = knob(1, description="Number of cycles", ge=1, le=1_000_000)
    pulses: tuple[Pulse, ...] = Field((), description="Pulses in order", max_length=100)


class Step(Strict):
    """One step. Further keys are kept when they are plain numbers, texts or truth values; ``<gas>_flow`` is read as the
    flow of that gas in sccm during the step."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar]

    name: str = Field(description="Step name; names with 'vent' let nitrogen in", min_length=1, max_length=80)
    duration_s: float = knob(units="s", description="Duration", gt=0, le=100_000)
    flows_active: bool | None = Field(None, description="Whether process gas flows; absent means no")
    target_pressure_torr: float | None = knob(None, units="torr", description="Pressure asked for", gt=0, le=1600)
    target_temp_c: float | None = knob(None, units="degC", description="Temperature asked for", ge=20, le=1400)
    temp_c: float | None = knob(None, units="degC", description="Same as target_temp_c", ge=20, le=1400)
    plasma_power_w: float | None = knob(None, units="W", description="Plasma power in this step", ge=0, le=100_000)

    @model_validator(mode="after")
    def _plain_extras(self) -> Self:
        extras = self.__pydantic_extra__ or {}
        if len(extras) > _MAX_KEYS or any(not key.isidentifier() or len(key) > 80 for key in extras):
            raise ValueError(f"at most {_MAX_KEYS} further keys, each a plain name")
        for key, number in extras.items():
            if key.endswith("_flow") and not (isinstance(number, int | float) and 0 <= number <= 200_000):
                raise ValueError(f"{key} is a flow in sccm from 0 to 200000")
        if self.temp_c is not None and self.target_temp_c is not None and self.temp_c != self.target_temp_c:
            raise ValueError("one of target_temp_c and temp_c, not both")
        return self

    @property
    def target(self) -> float | None:
        """Temperature asked for, °C, under either of its names."""
        return self.target_temp_c if self.target_temp_c is not None else self.temp_c

    def flow(self, gas: GasFlow) -> float:
        """Setpoint in sccm of *gas* in this step: its own ``<gas>_flow`` or the recipe's, 0 without gas."""
        own = (self.__pydantic_extra__ or {}).get(f"{gas.name}_flow")
        if own is not None and not isinstance(own, str):
            return float(own)
        return gas.flow_sccm if self.flows_active else 0.0
