"""What the tube's instruments would read in a settled deposition, without noise, and what the tube does not reach."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from labkit.core.units import GAS_CONSTANT, TORR
from labkit.processes.cvd.batch import Batch, heater_gains, idle_flow, true_offsets
from labkit.processes.cvd.equipment import TubeCondition
from labkit.processes.cvd.furnace import steady_power
from labkit.processes.cvd.indicators import PUMPED_DOWN_TORR
from labkit.processes.cvd.load import Growth
from labkit.processes.cvd.vacuum import (
    background_flow,
    base_pressure,
    effective_speed,
    settled_pressure,
    valve_opening,
)
from labkit.processes.cvd.wafer_stack import radial_profile

_OFF_TARGET = 1e-3
"""Relative departure of pressure from its setpoint that is worth a word."""
_HALVINGS = 50


def steady_telemetry(batch: Batch, condition: TubeCondition, growth: Growth) -> dict[str, tuple[float, str]]:
    """Telemetry indicators as ``name: (value, unit)`` for the last gas step, from its steady *growth*.

    With them the pressure that the gauge reports there, which is its setpoint unless the throttle is at the end of its
    travel. ``pumpdown_time_s`` is NaN when the mark is not reached before gas is let in. A drive beyond 100 % says that
    the zone cannot be held.
    """
    tube, step = batch.tube, int(batch.gas_steps[-1])
    middle = 0.5 * float(batch.timeline.edges[step] + batch.timeline.edges[step + 1])
    leaving = float(growth.solution.outflow[-1]) + background_flow(tube, middle, condition.leak_sccm)
    pressure = float(batch.pressure[step]) * condition.pressure_gauge_gain
    settled = float(settled_pressure(tube, np.asarray(leaving), np.asarray(pressure), condition.pump_gain))
    zones = batch.timeline.zones[step] + true_offsets(condition)
    power = 100.0 * steady_power(tube, zones, heater_gains(condition))
    foreline = leaving * GAS_CONSTANT * tube.pump_temperature / tube.foreline_speed / TORR
    centre = growth.edge[-1] * radial_profile(growth.modulus[-1], np.zeros(1))
    start = float(batch.timeline.edges[batch.gas_steps[0]])
    base = base_pressure(
        tube, max(start - 5.0, 1.0), condition.leak_sccm, condition.pump_gain, fed=idle_flow(condition)
    )
    found = {
        "insitu_rate_nm_per_min": (float(centre[batch.load.slots // 2]) * condition.insitu_gain, "nm/min"),
        "throttle_valve_pct": (100.0 * valve_opening(tube, leaving, pressure, condition.pump_gain), "percent"),
        "chamber_pressure_torr": (settled / condition.pressure_gauge_gain / TORR, "torr"),
        "base_pressure_torr": (base / TORR, "torr"),
        "pumpdown_time_s": (pumpdown_time(batch, condition), "s"),
        "foreline_pressure_torr": (foreline, "torr"),
    }
    return found | {f"heater_power_zone_{k + 1}_pct": (float(power[k]), "percent") for k in range(3)}


def unreached(batch: Batch, condition: TubeCondition, readings: dict[str, tuple[float, str]]) -> tuple[str, ...]:
    """What a tube in *condition* with the *readings* of :func:`steady_telemetry` does not reach, in words."""
    value = {name: number for name, (number, _) in readings.items()}
    asked = float(batch.pressure[batch.gas_steps[-1]]) / TORR
    wanted = batch.recipe.pressure_setpoints.base_pressure_torr
    found = []
    if math.isnan(value["pumpdown_time_s"]):
        found.append(f"the tube is not pumped down to {PUMPED_DOWN_TORR:g} torr before gas is let in")
    if value["base_pressure_torr"] > wanted:
        found.append(f"base pressure is {value['base_pressure_torr']:.2g} torr, not {wanted:g} torr")
    if abs(value["chamber_pressure_torr"] / asked - 1.0) > _OFF_TARGET:
        end = "fully open" if value["throttle_valve_pct"] > 50.0 else "shut"
        found.append(
            f"pressure settles at {value['chamber_pressure_torr']:.3g} torr, not {asked:g} torr: the throttle is {end}"
        )
    for zone in (1, 2, 3):
        drive = value[f"heater_power_zone_{zone}_pct"]
        if not 0.0 <= drive <= 100.0:
            found.append(
                f"zone {zone} would need a drive of {drive:.3g} %: its temperature is not held, and film there is not "
                "what is predicted"
            )
    if 0.0 < condition.pump_trip_s < float(batch.timeline.edges[-1]):
        found.append(f"the pump stands still from {condition.pump_trip_s:g} s on: what follows is not predicted")
    return tuple(found)


def pumpdown_time(batch: Batch, condition: TubeCondition) -> float:
    """Time in s from atmosphere to the pump-down mark, NaN if that is not reached before gas is let in.

    Two exponentials, soft start and open throttle, with the gas load at the end of the soft start; where that would
    keep the tube from its mark, with the load falling as outgassing does. The gas is taken at the standby temperature,
    which it nears within minutes; the pump-down time shows pumping speed.
    """
    tube = batch.tube
    kelvin = tube.standby_c + 273.15
    volume = tube.volume * tube.pump_temperature / kelvin
    soft = effective_speed(tube, tube.soft_pump_speed, condition.pump_gain)
    main = effective_speed(tube, tube.valve_conductance, condition.pump_gain)
    until = tube.soft_pump_until_torr

    def load(seconds: float) -> float:
        moles = background_flow(tube, seconds, condition.leak_sccm) + idle_flow(condition)
        return moles * (GAS_CONSTANT * tube.pump_temperature / TORR)

    early = load(volume / soft * math.log(760.0 / until))
    if early >= soft * until:
        return math.nan
    first = volume / soft * math.log((760.0 - early / soft) / (until - early / soft))
    gas, lag = early / main, volume / main
    mark = PUMPED_DOWN_TORR * condition.pressure_gauge_gain
    limit = float(batch.timeline.edges[batch.gas_steps[0]])
    if gas < mark:
        found = first + lag * math.log((until - gas) / (mark - gas))
    else:
        found = _falls_to(mark, lambda t: load(t - lag) / main + (until - gas) * math.exp((first - t) / lag), limit)
    return found if found <= limit else math.nan


def _falls_to(mark: float, pressure: Callable[[float], float], limit: float) -> float:
    """Time in s at which falling *pressure* reaches *mark*, by bisection; infinite when not by *limit*."""
    low, high = 0.0, limit
    if pressure(high) > mark:
        return math.inf
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if pressure(middle) > mark else (low, middle)
    return high
