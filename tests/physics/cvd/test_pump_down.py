"""Pump-down of the tube: V dp/dt = Q - S p, solved by a general integrator, against the closed form in use."""

from __future__ import annotations

import math

import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from labkit.core import registry
from labkit.core.units import GAS_CONSTANT, SCCM, TORR
from labkit.processes.cvd.batch import prepare
from labkit.processes.cvd.equipment import TubeCondition
from labkit.processes.cvd.indicators import PUMPED_DOWN_TORR
from labkit.processes.cvd.steady_telemetry import pumpdown_time
from labkit.processes.cvd.vacuum import background_flow, effective_speed

CVD = registry.process("cvd")
OXIDE = CVD.example_recipes()[0]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("pump_gain", [0.6, 1.0])
def test_pump_down_takes_as_long_as_the_gas_balance_says_also_with_a_big_leak(share: float, pump_gain: float) -> None:
    """A leak takes *share* of what keeps the tube from its mark; the gas load is that at the end of soft pumping."""
    batch = prepare(OXIDE, CVD.incoming_wafers(OXIDE))
    tube = batch.tube
    soft, main = (effective_speed(tube, c, pump_gain) for c in (tube.soft_pump_speed, tube.valve_conductance))
    volume = tube.volume * tube.pump_temperature / (tube.standby_c + 273.15)
    soft_end = volume / soft * math.log(760.0 / tube.soft_pump_until_torr)
    per_mole = GAS_CONSTANT * tube.pump_temperature / TORR
    room = PUMPED_DOWN_TORR * main - background_flow(tube, soft_end, 0.0) * per_mole
    assert room > 0.0
    leak_sccm = share * room / per_mole / SCCM
    load = background_flow(tube, soft_end, leak_sccm) * per_mole
    at, torr = 0.0, 760.0
    for speed, mark in ((soft, tube.soft_pump_until_torr), (main, PUMPED_DOWN_TORR)):
        part = solve_ivp(
            lambda seconds, p, speed: [(load - speed * p[0]) / volume],
            (0.0, 1e4),
            [torr],
            args=(speed,),
            dense_output=True,
            rtol=1e-10,
            atol=1e-13,
            method="LSODA",
        )
        at, torr = at + brentq(lambda t, part=part, mark=mark: float(part.sol(t)[0]) - mark, 0.0, 1e4), mark
    assert pumpdown_time(batch, TubeCondition(leak_sccm=leak_sccm, pump_gain=pump_gain)) == pytest.approx(at, rel=1e-5)
