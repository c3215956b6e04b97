"""Tube pressure: V dp/dt = Q - S p, with a soft start, a throttle valve under pressure control, and a vent.

Amounts are molar, so hot gas in the tube and cold gas at the pump are both right:
dp/dt = (R T_gas / V) (F - p S / (R T_pump)); exact exponential for what is held over a substep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from labkit.core.units import GAS_CONSTANT, SCCM, TORR
from labkit.processes.cvd.equipment import TubeFurnace

SUBSTEPS = 4
"""Controller updates per telemetry sample."""
_TORR_LITRE = TORR * 1e-3
_ATMOSPHERE = 760.0 * TORR


@dataclass(frozen=True)
class VacuumTrace:
    """Vacuum in time, shape ``(sample,)``: ``pressure`` Pa (mean over the sample), ``ending`` Pa (at its end),
    ``valve`` opening 0 to 1, ``throughput`` mol/s leaving the tube."""

    pressure: np.ndarray
    ending: np.ndarray
    valve: np.ndarray
    throughput: np.ndarray


def valve_conductance(tube: TubeFurnace, opening: float) -> float:
    """Conductance in m³/s of the throttle at *opening* 0 to 1: equal percentage, C = C_max R^(u - 1)."""
    return float(tube.valve_conductance * tube.valve_range ** (opening - 1.0))


def valve_opening(tube: TubeFurnace, molar_flow: float, pressure: float, pump_gain: float = 1.0) -> float:
    """Opening that holds *pressure* Pa (true) at *molar_flow* mol/s leaving; clipped to 0 … 1."""
    needed = molar_flow * GAS_CONSTANT * tube.pump_temperature / pressure
    remaining = 1.0 / needed - 1.0 / (tube.pump_speed * pump_gain)
    if remaining <= 0.0:
        return 1.0
    opening = 1.0 - math.log(remaining * tube.valve_conductance) / math.log(tube.valve_range)
    return min(max(opening, 0.0), 1.0)


def effective_speed(tube: TubeFurnace, conductance: float, pump_gain: float) -> float:
    """Pumping speed at the tube in m³/s: pump and *conductance* m³/s in series."""
    return 1.0 / (1.0 / (tube.pump_speed * pump_gain) + 1.0 / conductance)


def background_flow(tube: TubeFurnace, elapsed_s: float, leak_sccm: float, *, pumped: bool = True) -> float:
    """Gas in mol/s that is always there: outgassing falling as 1/t, leak, and the pump's back-flow at its ultimate
    while it runs."""
    per_mole = GAS_CONSTANT * tube.pump_temperature
    outgassing = tube.outgassing_torr_l_s * _TORR_LITRE / max(elapsed_s / tube.outgassing_reference_s, 0.02)
    back = tube.ultimate_torr * TORR * tube.pump_speed if pumped else 0.0
    return (outgassing + back) / per_mole + leak_sccm * SCCM


def base_pressure(
    tube: TubeFurnace, elapsed_s: float, leak_sccm: float, pump_gain: float, *, fed: float = 0.0, filled: bool = True
) -> float:
    """Pressure in Pa of the tube *elapsed_s* after pumping began, without control and with *fed* mol/s let in.

    Soft pumping ends at its mark only: a load that holds a tube *filled* with air above it is pumped softly for good.
    """
    load = (background_flow(tube, elapsed_s, leak_sccm) + fed) * GAS_CONSTANT * tube.pump_temperature
    soft = load / effective_speed(tube, tube.soft_pump_speed, pump_gain)
    main = load / effective_speed(tube, tube.valve_conductance, pump_gain)
    return soft if (soft if filled else main) > tube.soft_pump_until_torr * TORR else main


def settled_pressure(tube: TubeFurnace, leaving: np.ndarray, wanted: np.ndarray, pump_gain: float) -> np.ndarray:
    """Pressure in Pa that the throttle settles at: *wanted* Pa (true), or as near as its travel comes to it.

    *leaving* mol/s, shapes broadcast. Fully open the tube stays above what is wanted, shut it stays below.
    """
    load = leaving * GAS_CONSTANT * tube.pump_temperature
    least = load / effective_speed(tube, valve_conductance(tube, 1.0), pump_gain)
    most = load / effective_speed(tube, valve_conductance(tube, 0.0), pump_gain)
    return np.asarray(np.clip(wanted, least, most))


def first_air(tube: TubeFurnace, trace: VacuumTrace, gas_temperature: np.ndarray) -> np.ndarray:
    """Share (sample,) of the gas in the tube that is air from before the run, at *gas_temperature* K (sample,).

    Well mixed: n_air leaves as n_air/n of the throughput. Nothing is left by the time gas is let in, unless a
    flow controller is stuck open.
    """
    inside = trace.pressure * tube.volume / (GAS_CONSTANT * gas_temperature)
    lost = np.concatenate([[0.0], np.cumsum(trace.throughput / inside)[:-1]])
    return np.asarray(inside[0] / inside * np.exp(-lost))


def run_vacuum(
    tube: TubeFurnace,
    *,
    flow: np.ndarray,
    setpoint: np.ndarray,
    preset: np.ndarray,
    vent: np.ndarray,
    gas_temperature: np.ndarray,
    growth: np.ndarray,
    leak_sccm: float,
    pump_gain: float,
    gauge_gain: float,
    soft_gain: float,
    noise: np.ndarray,
    pump_trip_s: float = math.inf,
    dt: float = 1.0,
) -> VacuumTrace:
    """Advance pressure and throttle.

    Arrays (sample,): true *flow* mol/s of process gas, pressure *setpoint* Pa as reported (0: pump fully open),
    valve *preset* 0 to 1 on entering control, *vent* mol/s of nitrogen with the pump valve shut, *gas_temperature* K,
    relative volume *growth* of the gas by reaction, relative gauge *noise*. From the sample that begins at or after
    *pump_trip_s* the pump stands still behind its shut valve: pressure rises with the gas load, to one atmosphere.
    """
    pressure, opening, controlling = _ATMOSPHERE, 1.0, False
    integral = 0.0
    step = dt / SUBSTEPS
    soft_above = tube.soft_pump_until_torr * TORR
    out = []
    rows = zip(
        flow.tolist(),
        setpoint.tolist(),
        preset.tolist(),
        vent.tolist(),
        gas_temperature.tolist(),
        growth.tolist(),
        noise.tolist(),
        strict=True,
    )
    for index, (feed, wanted, start, nitrogen, gas_k, grow, error) in enumerate(rows):
        pumped = index * dt < pump_trip_s
        background = background_flow(tube, (index + 1) * dt, leak_sccm, pumped=pumped)
        per_pascal = GAS_CONSTANT * gas_k / tube.volume
        mean = leaving = 0.0
        for _ in range(SUBSTEPS):
            if wanted > 0.0:
                reported = max(pressure, 1e-6) / gauge_gain * (1.0 + error)
                deviation = math.log(reported / wanted)
                if not controlling:
                    controlling, integral = True, start
                opening, integral = _throttle(tube, opening, integral, deviation, step)
            else:
                controlling = False
                opening = min(1.0, opening + tube.valve_slew_per_s * step)
            if nitrogen > 0.0 or not pumped:
                speed = 0.0
            elif pressure > soft_above and not controlling:
                speed = effective_speed(tube, tube.soft_pump_speed * soft_gain, pump_gain)
            else:
                speed = effective_speed(tube, valve_conductance(tube, opening), pump_gain)
            source = feed * (1.0 + grow) + background + nitrogen
            before = pressure
            pressure, average = _advance(
                pressure, source * per_pascal, speed * gas_k / (tube.pump_temperature * tube.volume), step
            )
            if speed == 0.0 and pressure > _ATMOSPHERE:
                pressure, average = _ATMOSPHERE, 0.5 * (before + _ATMOSPHERE)
            mean += average / SUBSTEPS
            leaving += average * speed / (GAS_CONSTANT * tube.pump_temperature) / SUBSTEPS
        out.append((mean, pressure, opening, leaving))
    table = np.asarray(out).reshape(len(out), 4)
    return VacuumTrace(pressure=table[:, 0], ending=table[:, 1], valve=table[:, 2], throughput=table[:, 3])


def _advance(pressure: float, source: float, rate: float, step: float) -> tuple[float, float]:
    """Pressure after *step* and its mean over it, for dp/dt = source - rate p: exact."""
    if rate <= 0.0:
        return pressure + source * step, pressure + 0.5 * source * step
    limit = source / rate
    decay = math.exp(-rate * step)
    return limit + (pressure - limit) * decay, limit + (pressure - limit) * (1.0 - decay) / (rate * step)


def _throttle(tube: TubeFurnace, opening: float, integral: float, deviation: float, step: float) -> tuple[float, float]:
    """Throttle and integral after one PI update on the logarithm of pressure, limited in slew and range."""
    gain, reset_s = 0.10, 2.0
    moved = tube.valve_slew_per_s * step
    limited = min(max(deviation, -0.3), 0.3)
    integral = min(max(integral + gain * limited * step / reset_s, 0.0), 1.0)
    wanted = min(max(integral + gain * limited, 0.0), 1.0)
    return min(max(wanted, opening - moved), opening + moved), integral
