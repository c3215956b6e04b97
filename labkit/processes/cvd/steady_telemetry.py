"""What the tube's instruments would read in a settled deposition, without noise."""

from __future__ import annotations

import math

import numpy as np

from labkit.core.units import GAS_CONSTANT, TORR
from labkit.processes.cvd.batch import Batch, heater_gains, true_offsets
from labkit.processes.cvd.equipment import TubeCondition
from labkit.processes.cvd.furnace import steady_power
from labkit.processes.cvd.indicators import PUMPED_DOWN_TORR
from labkit.processes.cvd.load import Growth
from labkit.processes.cvd.vacuum import background_flow, base_pressure, effective_speed, valve_opening
from labkit.processes.cvd.wafer_stack import radial_profile


def steady_telemetry(batch: Batch, condition: TubeCondition, growth: Growth) -> dict[str, tuple[float, str]]:
    """Telemetry indicators as ``name: (value, unit)`` for the last gas step, from its steady *growth*."""
    tube, step = batch.tube, int(batch.gas_steps[-1])
    middle = 0.5 * float(batch.timeline.edges[step] + batch.timeline.edges[step + 1])
    leaving = float(growth.solution.outflow[-1]) + background_flow(tube, middle, condition.leak_sccm)
    pressure = float(batch.pressure[step]) * condition.pressure_gauge_gain
    zones = batch.timeline.zones[step] + true_offsets(condition)
    power = 100.0 * steady_power(tube, zones, heater_gains(condition))
    foreline = leaving * GAS_CONSTANT * tube.pump_temperature / tube.foreline_speed / TORR
    centre = growth.edge[-1] * radial_profile(growth.modulus[-1], np.zeros(1))
    start = float(batch.timeline.edges[batch.gas_steps[0]])
    found = {
        "insitu_rate_nm_per_min": (float(centre[batch.load.slots // 2]) * condition.insitu_gain, "nm/min"),
        "throttle_valve_pct": (100.0 * valve_opening(tube, leaving, pressure, condition.pump_gain), "percent"),
        "base_pressure_torr": (
            base_pressure(tube, max(start - 5.0, 1.0), condition.leak_sccm, condition.pump_gain) / TORR,
            "torr",
        ),
        "pumpdown_time_s": (pumpdown_time(batch, condition), "s"),
        "foreline_pressure_torr": (foreline, "torr"),
    }
    return found | {f"heater_power_zone_{k + 1}_pct": (float(power[k]), "percent") for k in range(3)}


def pumpdown_time(batch: Batch, condition: TubeCondition) -> float:
    """Time in s from atmosphere to the pump-down mark: two exponentials, soft start and open throttle.

    The gas is taken at the standby temperature, which it nears within minutes; the pump-down time shows pumping speed.
    """
    tube = batch.tube
    kelvin = tube.standby_c + 273.15
    volume = tube.volume * tube.pump_temperature / kelvin
    soft = effective_speed(tube, tube.soft_pump_speed, condition.pump_gain)
    main = effective_speed(tube, tube.valve_conductance, condition.pump_gain)
    until = tube.soft_pump_until_torr
    load = background_flow(tube, volume / soft * math.log(760.0 / until), condition.leak_sccm)
    load *= GAS_CONSTANT * tube.pump_temperature / TORR
    first = volume / soft * math.log((760.0 - load / soft) / (until - load / soft))
    gas = load / main
    mark = PUMPED_DOWN_TORR * condition.pressure_gauge_gain
    return first + volume / main * math.log((until - gas) / (mark - gas))
