"""Three coupled heater zones under PI control with thermocouples, and wafers that follow their zone with a lag.

C dT/dt = P u g - a (T - T_amb) - G Σ (T - T_neighbour) for each zone; wafers lag T by one time constant. The zones
are linear, so a sample is advanced exactly, by their normal modes, for the power held over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.processes.cvd.equipment import TubeFurnace

Floats = np.ndarray


@dataclass(frozen=True)
class FurnaceTrace:
    """Zones in time, shape ``(sample, 3)``: ``zone`` and ``wafer`` true temperatures of tube and wafers °C at the
    end of the sample, ``reported`` thermocouple reading °C, ``power`` fraction of full drive."""

    zone: Floats
    wafer: Floats
    reported: Floats
    power: Floats


def steady_power(tube: TubeFurnace, zones_c: Floats, heater_gain: Floats) -> Floats:
    """Fraction of full power that holds *zones_c* (shape (3,), true °C): loss plus exchange with the neighbours."""
    zones = np.asarray(zones_c, dtype=float)
    demand = np.asarray(tube.zone_loss) * (zones - tube.ambient_c)
    step = tube.zone_coupling * np.diff(zones)
    demand[:-1] -= step
    demand[1:] += step
    return demand / (tube.zone_power * np.asarray(heater_gain))


def ramped(target: Floats, start: float, up_per_s: Floats, down_per_s: float) -> Floats:
    """Setpoint trajectories, shape (sample, 3), that follow *target* °C no faster than the given rates (K/s)."""
    trace = np.empty_like(target)
    now = np.full(3, start)
    index = 0
    while index < target.shape[0]:
        goal = target[index]
        end = index + _run_length(target, index)
        steps = np.arange(1, end - index + 1)[:, None]
        move = np.where(
            goal >= now, np.minimum(now + up_per_s * steps, goal), np.maximum(now - down_per_s * steps, goal)
        )
        trace[index:end] = move
        now = move[-1]
        index = end
    return trace


def _run_length(target: Floats, index: int) -> int:
    changed = np.nonzero((target[index:] != target[index]).any(axis=1))[0]
    return int(changed[0]) if changed.size else target.shape[0] - index


def run_furnace(
    tube: TubeFurnace,
    setpoint: Floats,
    offset: Floats,
    heater_gain: Floats,
    noise: Floats,
    *,
    load_c: float = 25.0,
    dt: float = 1.0,
) -> FurnaceTrace:
    """Advance zones, controllers and wafers along *setpoint* (sample, 3) °C, from a tube settled at standby.

    *offset* (3,) is true minus reported temperature K, *heater_gain* (3,) delivered over demanded power, *noise*
    (sample, 3) thermocouple noise K, *load_c* the temperature at which wafers go in.
    """
    transition, drive = _discrete(tube, heater_gain, dt)
    samples = setpoint.shape[0]
    feedforward = _feedforward(tube, setpoint, dt)
    (a00, a01, a02), (a10, a11, a12), (a20, a21, a22) = transition.tolist()
    (b00, b01, b02), (b10, b11, b12), (b20, b21, b22) = drive.tolist()
    idle = np.full(3, tube.standby_c)
    x0, x1, x2 = (float(v) for v in idle + offset - tube.ambient_c)
    r0, r1, r2 = (float(v) for v in idle)
    settled = steady_power(tube, idle + offset, heater_gain) - steady_power(tube, idle, np.ones(3))
    i0, i1, i2 = (float(v) for v in settled)
    off0, off1, off2 = (float(v) - tube.ambient_c for v in offset)
    gain, reset, lag = tube.loop_gain, dt / tube.integral_time_s, 1.0 - float(np.exp(-dt / tube.thermocouple_lag_s))
    zones, reported, power = [], [], []
    for (s0, s1, s2), (f0, f1, f2), (n0, n1, n2) in zip(
        setpoint.tolist(), feedforward.tolist(), noise.tolist(), strict=True
    ):
        r0 += lag * (x0 - off0 - r0)
        r1 += lag * (x1 - off1 - r1)
        r2 += lag * (x2 - off2 - r2)
        m0, m1, m2 = r0 + n0, r1 + n1, r2 + n2
        u0, i0 = _control(f0, s0 - m0, i0, gain, reset)
        u1, i1 = _control(f1, s1 - m1, i1, gain, reset)
        u2, i2 = _control(f2, s2 - m2, i2, gain, reset)
        x0, x1, x2 = (
            a00 * x0 + a01 * x1 + a02 * x2 + b00 * u0 + b01 * u1 + b02 * u2,
            a10 * x0 + a11 * x1 + a12 * x2 + b10 * u0 + b11 * u1 + b12 * u2,
            a20 * x0 + a21 * x1 + a22 * x2 + b20 * u0 + b21 * u1 + b22 * u2,
        )
        zones.append((x0, x1, x2))
        reported.append((m0, m1, m2))
        power.append((u0, u1, u2))
    true = np.asarray(zones) + tube.ambient_c
    return FurnaceTrace(
        zone=true,
        wafer=follow(true, load_c, tube.wafer_lag_s, dt),
        reported=np.asarray(reported),
        power=np.asarray(power).reshape(samples, 3),
    )


def _control(forward: float, error: float, integral: float, gain: float, reset: float) -> tuple[float, float]:
    """Drive between 0 and 1 and the updated integral, which stands still while the drive saturates."""
    wanted = forward + gain * error + integral
    if wanted > 1.0:
        return 1.0, integral
    if wanted < 0.0:
        return 0.0, integral
    return wanted, integral + gain * reset * error


def follow(source: Floats, start: float, lag: float, dt: float) -> Floats:
    """First-order lag of *source* (sample, …) from *start*, exact for a source held over each sample."""
    share = 1.0 - float(np.exp(-dt / lag))
    columns = np.asarray(source, dtype=float).reshape(source.shape[0], -1).T.tolist()
    found = np.empty((len(columns), source.shape[0]))
    for row, column in enumerate(columns):
        now = start
        trace = []
        for level in column:
            now += share * (level - now)
            trace.append(now)
        found[row] = trace
    return found.T.reshape(source.shape)


def _discrete(tube: TubeFurnace, heater_gain: Floats, dt: float) -> tuple[Floats, Floats]:
    """Exact discrete transition and input matrices of the coupled zones about ambient."""
    between = np.diff(np.eye(3), axis=0)
    loss = np.diag(tube.zone_loss) + tube.zone_coupling * between.T @ between
    rates, modes = np.linalg.eigh(loss / tube.zone_capacity)
    decay = (modes * np.exp(-rates * dt)) @ modes.T
    response = (modes * (-np.expm1(-rates * dt) / rates)) @ modes.T
    return decay, response * (tube.zone_power * np.asarray(heater_gain) / tube.zone_capacity)


def _feedforward(tube: TubeFurnace, setpoint: Floats, dt: float) -> Floats:
    """Drive that the nominal tube would need along the trajectory: loss plus heat stored."""
    rate = np.diff(setpoint, axis=0, prepend=np.full((1, 3), tube.standby_c)) / dt
    step = tube.zone_coupling * np.diff(setpoint, axis=1)
    demand = np.asarray(tube.zone_loss) * (setpoint - tube.ambient_c) + tube.zone_capacity * rate
    demand[:, :-1] -= step
    demand[:, 1:] += step
    return demand / tube.zone_power
