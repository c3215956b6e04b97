"""The tube furnace: its geometry and dynamics as data, the ways its condition can depart, and the faults that follow.

All figures of the tube are illustrative for a small three-zone production tube; they are not a particular maker's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from labkit.core.process import Condition, FaultMode
from labkit.core.recipe import knob


@dataclass(frozen=True)
class TubeFurnace:
    """A three-zone hot-wall tube, SI units unless the name says otherwise.

    ``zone_loss`` W/K and ``zone_capacity`` J/K per zone; ``zone_coupling`` W/K between neighbours; ``loop_gain`` and
    ``integral_time`` belong to the zone controllers; ``standby_c`` is where the tube idles between loads.
    """

    standby_c: float
    inner_diameter: float = 0.22
    wafer_pitch: float = 0.009525
    end_length: float = 0.15
    boat_area_fraction: float = 0.05
    zone_centres: tuple[float, float, float] = (-0.14, 0.0, 0.14)
    zone_loss: tuple[float, float, float] = (3.8, 3.0, 3.8)
    zone_capacity: float = 1.2e4
    zone_coupling: float = 3.0
    zone_power: float = 6000.0
    wafer_lag_s: float = 45.0
    thermocouple_lag_s: float = 5.0
    ambient_c: float = 25.0
    max_ramp_k_per_min: float = 15.0
    max_cool_k_per_min: float = 5.0
    loop_gain: float = 0.04
    integral_time_s: float = 90.0
    volume: float = 0.040
    pump_speed: float = 0.040
    pump_temperature: float = 300.0
    soft_pump_speed: float = 0.0015
    soft_pump_until_torr: float = 1.0
    valve_conductance: float = 0.200
    valve_range: float = 100.0
    valve_slew_per_s: float = 0.25
    foreline_speed: float = 0.0025
    ultimate_torr: float = 3.0e-4
    outgassing_torr_l_s: float = 4.0e-3
    outgassing_reference_s: float = 600.0
    mfc_lag_s: float = 1.5
    vent_flow_sccm: float = 2.0e4

    def slot_positions(self, slots: int) -> list[float]:
        """Axial position of each slot, m from the centre of the furnace, inlet end first."""
        return [self.wafer_pitch * (index - 0.5 * (slots - 1)) for index in range(slots)]

    def zone_weights(self, position: float) -> tuple[float, float, float]:
        """Weights of the three zones at *position* m: linear between zone centres, constant beyond; they sum to one."""
        first, middle, last = self.zone_centres
        at = min(max(position, first), last)
        if at <= middle:
            share = (at - first) / (middle - first)
            return (1.0 - share, share, 0.0)
        share = (at - middle) / (last - middle)
        return (0.0, 1.0 - share, share)

    @property
    def cross_section(self) -> float:
        """Open cross-section of the empty tube, m²."""
        return math.pi * self.inner_diameter**2 / 4.0


TUBES: dict[str, TubeFurnace] = {"SiO2": TubeFurnace(standby_c=700.0), "poly-Si": TubeFurnace(standby_c=560.0)}
"""The tube dedicated to each film; tubes are not shared between films."""


@dataclass(frozen=True)
class Repeatability:
    """Run-to-run standard deviations that the twin draws once per run, and sample noise of its sensors.

    Illustrative but of the size that instrument makers state: flow 0.2 % of reading, capacitance gauge 0.15 %,
    spike-thermocouple 0.1 K. Condition-independent, so that a fault is the only thing that moves the mean.
    """

    temperature_common_k: float = 0.15
    temperature_zone_k: float = 0.10
    flow: float = 0.002
    pressure: float = 0.0015
    activity: float = 0.002
    heater: float = 0.004
    valve_pct: float = 0.05
    insitu: float = 0.003
    base_pressure: float = 0.03
    foreline: float = 0.004
    soft_pump: float = 0.005
    thermocouple_sample_k: float = 0.03
    pressure_sample: float = 0.0008
    flow_sample: float = 0.001
    insitu_sample_nm: float = 0.05
    heater_sample_pct: float = 0.05
    valve_sample_pct: float = 0.02
    gauge_sample: float = 0.01


NOMINAL_REPEATABILITY = Repeatability()
QUIET = Repeatability(**dict.fromkeys(Repeatability.__dataclass_fields__, 0.0))
"""No noise at all."""


DEAD_HEATER = 1e-6
"""Share of its power that a dead heater still gives: nothing, but the drive that it would need stays a number."""
SHUT_SCCM = 1e-6
"""Flow that a controller stuck shut still lets through, sccm: no valve seals better, and gas remains a number."""


class TubeCondition(Condition):
    """State of a hot-wall tube; defaults are nominal. Gains are true over reported, offsets true minus reported."""

    mfc_gain: dict[str, float] = Field(default_factory=dict, description="True over reported flow by gas (absent: 1)")
    mfc_stuck: dict[str, float] = Field(
        default_factory=dict,
        description="Controller stuck: the flow it reports by gas, sccm, whatever is asked for, shut included "
        "(absent or 0: it is free)",
    )
    temperature_offset_k: float = knob(
        0.0, units="K", ge=-50, le=50, description="All zones: true minus reported temperature"
    )
    zone_offset_k: dict[str, float] = Field(
        default_factory=dict, description="Zone by number: true minus reported temperature, K (absent: 0)"
    )
    heater_gain: dict[str, float] = Field(
        default_factory=dict, description="Zone by number: delivered over demanded heater power (absent: 1)"
    )
    leak_sccm: float = knob(
        0.0,
        units="sccm",
        ge=-0.5,
        le=100,
        description="Air leaking in beyond the usual rate; below zero only for sensitivities",
    )
    pump_gain: float = knob(1.0, ge=0.05, le=2, description="Pumping speed over nominal")
    pump_trip_s: float = knob(
        0.0, units="s", ge=0, le=1e6, description="Time into the run from which the pump stands still (0: it runs)"
    )
    pressure_gauge_gain: float = knob(1.0, ge=0.2, le=5, description="True over reported process pressure")
    rate_gain: float = knob(1.0, ge=0.05, le=5, description="Surface activity over nominal (ageing, seasoning)")
    insitu_gain: float = knob(1.0, ge=0.2, le=5, description="Reported over true in-situ thickness")

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "mfc_gain": (0.01, 5.0),
        "mfc_stuck": (0.0, 1e4),
        "zone_offset_k": (-50.0, 50.0),
        "heater_gain": (0.0, 2.0),
    }

    @field_validator("heater_gain")
    @classmethod
    def _dead_at_least(cls, gains: dict[str, float]) -> dict[str, float]:
        return {zone: DEAD_HEATER if 0.0 <= gain < DEAD_HEATER else gain for zone, gain in gains.items()}

    @field_validator("mfc_stuck")
    @classmethod
    def _shut_at_best(cls, flows: dict[str, float]) -> dict[str, float]:
        return {gas: SHUT_SCCM if 0.0 < flow < SHUT_SCCM else flow for gas, flow in flows.items()}

    @model_validator(mode="after")
    def _conceivable(self) -> Self:
        for name, (low, high) in self.bounds.items():
            for key, number in getattr(self, name).items():
                if not low <= number <= high:
                    raise ValueError(f"{name}.{key} = {number:g} lies outside {low:g} to {high:g}")
        return self


def _zone_fault(zone: int, where: str) -> FaultMode:
    return FaultMode(
        f"zone_{zone}_thermocouple",
        f"zone_offset_k.{zone}",
        1.0,
        f"Zone {zone} thermocouple reads low",
        f"Film is off at the {where} while zone {zone} reports its setpoint. Compare the spike and profile "
        f"thermocouples of zone {zone} and re-profile the tube.",
        opposite=f"Zone {zone} thermocouple reads high",
    )


def _heater_fault(zone: int) -> FaultMode:
    return FaultMode(
        f"zone_{zone}_heater",
        f"heater_gain.{zone}",
        -0.02,
        f"Zone {zone} heater delivers less power",
        f"Zone {zone} needs more drive for the same temperature. Measure the element's resistance and the "
        "power controller's output before it saturates during a ramp.",
        opposite=f"Zone {zone} heater delivers more power",
    )


FAULT_MODES: tuple[FaultMode, ...] = (
    FaultMode(
        "sih4_mfc",
        "mfc_gain.SiH4",
        0.01,
        "SiH4 mass-flow controller delivers more than it reports",
        "Verify the SiH4 controller against the flow verifier or by rate of rise; replace or re-zero it if it is "
        "out by more than 1 %.",
        opposite="SiH4 mass-flow controller delivers less than it reports",
    ),
    FaultMode(
        "n2o_mfc",
        "mfc_gain.N2O",
        0.01,
        "N2O mass-flow controller delivers more than it reports",
        "Verify the N2O controller by rate of rise; check its inlet pressure and look for a clogged bypass.",
        opposite="N2O mass-flow controller delivers less than it reports",
    ),
    FaultMode(
        "surface_activity",
        "rate_gain",
        0.02,
        "Surfaces take up more film than they did",
        "Film is off along the whole load while heaters, throttle and foreline stay. Compare with the last tube clean, "
        "season the tube, and check wafer surface and gas bottle against the lots before.",
        opposite="Surfaces take up less film than they did",
    ),
    FaultMode(
        "thermocouple_all",
        "temperature_offset_k",
        1.0,
        "All thermocouples read low",
        "The whole load is off target and all zones draw other power. Check the cold-junction reference and the "
        "profile thermocouple's calibration.",
        opposite="All thermocouples read high",
    ),
    _zone_fault(1, "gas inlet end"),
    _zone_fault(2, "middle of the load"),
    _zone_fault(3, "pump end"),
    _heater_fault(1),
    _heater_fault(2),
    _heater_fault(3),
    FaultMode(
        "leak",
        "leak_sccm",
        0.2,
        "Air leaks into the tube",
        "Base pressure is up and film is not. Do a leak-up test, then helium-test door seal, gas fittings and valve.",
    ),
    FaultMode(
        "pump",
        "pump_gain",
        -0.05,
        "Pumping speed has dropped",
        "The throttle stands elsewhere for the same pressure. Check booster belt, exhaust trap and foreline powder.",
        opposite="Pumping speed has risen",
    ),
    FaultMode(
        "pressure_gauge",
        "pressure_gauge_gain",
        0.01,
        "Process pressure gauge reads low",
        "Film is off and the throttle moves while the foreline stays. Re-zero the capacitance gauge at base pressure.",
        opposite="Process pressure gauge reads high",
    ),
)
"""What can go wrong with a tube, in the words of the shift engineer."""
