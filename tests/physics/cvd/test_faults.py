"""Each fault of the tube against the closed form of what it does to heat, gas and vacuum as time goes on."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from labkit.core.process import Telemetry
from labkit.core.recipe import Recipe
from labkit.processes.cvd import ChemicalVapourDeposition
from labkit.processes.cvd.dynamics import TubeTwin
from labkit.processes.cvd.equipment import QUIET, TUBES, TubeCondition
from labkit.processes.cvd.furnace import run_furnace
from labkit.processes.cvd.vacuum import run_vacuum

PROCESS = ChemicalVapourDeposition()
OXIDE, POLY = PROCESS.example_recipes()
WAFERS = PROCESS.incoming_wafers(OXIDE)
TUBE = TUBES["SiO2"]
PASCAL_PER_TORR = 101325.0 / 760.0
OPEN_SPEED = 1.0 / (1.0 / 0.040 + 1.0 / 0.200)
"""Pump of 40 l/s behind an open throttle of 200 l/s, m³/s."""
GAS_ON, SETTLED = 1020, 2200
"""First sample of the oxide recipe with gas, and one near the end of its deposition."""


def run(recipe: Recipe, samples: int = 100_000, **condition: object) -> tuple[Telemetry, xr.Dataset]:
    """Telemetry and wafers of the first *samples* samples without noise, on equipment in *condition*."""
    state = TubeCondition.model_validate(condition)
    twin = TubeTwin(recipe, WAFERS, condition=state, repeatability=QUIET)  # type: ignore[arg-type]
    telemetry = twin.advance(samples)
    return {name: values.astype(float) for name, values in telemetry.items()}, twin.finish()


def film(wafers: xr.Dataset) -> float:
    return float(wafers["thickness"].mean())


def gas_load(sccm: float, kelvin: float) -> float:
    """Q p0 T / T0: what *sccm* of gas carry at *kelvin*, Pa m³/s."""
    return sccm * 1e-6 / 60.0 * 101325.0 * kelvin / 273.15


def test_a_drifted_flow_controller_reports_its_setpoint_and_delivers_another_flow() -> None:
    healthy, _ = run(OXIDE)
    drifted, _ = run(OXIDE, mfc_gain={"N2O": 1.10})
    assert np.array_equal(healthy["gas_flow_N2O_sccm"], drifted["gas_flow_N2O_sccm"])
    more = drifted["foreline_pressure_torr"][SETTLED] - healthy["foreline_pressure_torr"][SETTLED]
    assert more * PASCAL_PER_TORR == pytest.approx(gas_load(16.0, 300.0) / 2.5e-3, rel=0.02)


def test_a_stuck_flow_controller_keeps_its_flow_whatever_is_asked_for() -> None:
    telemetry, _ = run(OXIDE, mfc_stuck={"SiH4": 40.0})
    assert telemetry["gas_flow_SiH4_sccm"] == pytest.approx(np.full(telemetry["time"].size, 40.0))
    assert telemetry["gas_flow_N2O_sccm"][GAS_ON - 1] == 0.0
    assert telemetry["gas_flow_N2O_sccm"][SETTLED] == pytest.approx(160.0)


def test_a_controller_stuck_open_raises_the_base_pressure_by_its_flow_over_the_pumping_speed() -> None:
    healthy, stuck = run(OXIDE)[0], run(OXIDE, mfc_stuck={"SiH4": 5.0})[0]
    rise = stuck["base_gauge_torr"][GAS_ON - 2] - healthy["base_gauge_torr"][GAS_ON - 2]
    assert rise * PASCAL_PER_TORR == pytest.approx(gas_load(5.0, 300.0) / OPEN_SPEED, rel=1e-3)


def test_a_controller_stuck_at_half_its_flow_grows_the_film_of_one_that_delivers_half() -> None:
    stuck, weak = run(OXIDE, mfc_stuck={"SiH4": 40.0})[1], run(OXIDE, mfc_gain={"SiH4": 0.5})[1]
    assert film(stuck) == pytest.approx(film(weak), rel=2e-3)


def test_a_stuck_controller_that_reads_wrong_delivers_its_reading_times_the_gain() -> None:
    both, plain = (
        run(OXIDE, mfc_stuck={"SiH4": 40.0}, mfc_gain={"SiH4": 1.5})[1],
        run(OXIDE, mfc_stuck={"SiH4": 60.0})[1],
    )
    assert film(both) == pytest.approx(film(plain), rel=1e-6)


def test_a_controller_stuck_shut_grows_no_film() -> None:
    assert film(run(OXIDE, mfc_stuck={"SiH4": 1e-3})[1]) < 0.01


def test_silane_that_is_never_shut_grows_silicon_before_and_after_its_step_and_no_oxide_without_its_oxidant() -> None:
    assert film(run(POLY, 1400)[1]) == 0.0
    assert film(run(POLY, 1400, mfc_stuck={"SiH4": 200.0})[1]) > 100.0
    assert film(run(OXIDE, GAS_ON - 20, mfc_stuck={"SiH4": 80.0})[1]) == 0.0


def test_while_the_tube_still_holds_its_first_air_a_stuck_controller_grows_next_to_nothing() -> None:
    # Neat silane at one atmosphere would grow 10 nm/min (0.225 torr, 620 degC, 1.7 eV, half order): several nm by then.
    assert film(run(POLY, 70, mfc_stuck={"SiH4": 200.0})[1]) < 0.01


def test_a_gas_that_the_recipe_does_not_use_flows_from_a_stuck_controller_and_dilutes_the_others() -> None:
    telemetry, wafers = run(OXIDE, mfc_stuck={"N2": 240.0})
    assert telemetry["gas_flow_N2_sccm"].min() == pytest.approx(240.0)
    assert 0.3 * film(run(OXIDE)[1]) < film(wafers) < 0.6 * film(run(OXIDE)[1])


def test_a_leak_raises_the_base_pressure_by_its_flow_over_the_pumping_speed() -> None:
    tight, leaking = run(OXIDE)[0], run(OXIDE, leak_sccm=2.0)[0]
    rise = leaking["base_gauge_torr"][GAS_ON - 2] - tight["base_gauge_torr"][GAS_ON - 2]
    assert rise * PASCAL_PER_TORR == pytest.approx(gas_load(2.0, 300.0) / OPEN_SPEED, rel=1e-3)


def test_a_leak_up_test_shows_the_leak_as_its_flow_over_the_volume() -> None:
    """The pump stands still from 950 s, gas is not yet on: what rises then is the leak and the outgassing."""
    tight, leaking = (run(OXIDE, pump_trip_s=950.0, leak_sccm=leak)[0]["base_gauge_torr"] for leak in (0.0, 2.0))
    rate = np.diff(leaking - tight)[955 : GAS_ON - 2] * PASCAL_PER_TORR
    assert rate == pytest.approx(np.full(rate.size, gas_load(2.0, 1073.15) / 0.040), rel=5e-3)


def test_pressure_rises_with_the_gas_load_once_the_pump_has_failed() -> None:
    samples = 120
    feed = np.full(samples, 240.0e-6 / 60.0 * 101325.0 / (8.314462618 * 273.15))
    zero = np.zeros(samples)
    trace = run_vacuum(
        TUBE, flow=feed, setpoint=zero + 66.66, preset=zero + 0.3, vent=zero, gas_temperature=zero + 973.15,
        growth=zero, leak_sccm=0.0, pump_gain=1.0, gauge_gain=1.0, soft_gain=1.0, noise=zero, pump_trip_s=60.0,
    )  # fmt: skip
    outgassing = 4.0e-3 * 1e-3 * PASCAL_PER_TORR * 600.0 / np.arange(61.0, 121.0) * 973.15 / 300.0
    assert np.diff(trace.ending)[59:] == pytest.approx((gas_load(240.0, 973.15) + outgassing) / 0.040, rel=1e-6)
    assert trace.throughput[60:].max() == 0.0


def test_a_pump_that_fails_during_deposition_takes_the_pressure_from_its_controller() -> None:
    telemetry, wafers = run(OXIDE, pump_trip_s=1500.0)
    pressure = telemetry["chamber_pressure_torr"]
    assert pressure[1498] == pytest.approx(0.5, rel=1e-3)
    rate = np.diff(pressure)[1510:2200] * PASCAL_PER_TORR
    # Reaction adds up to a third of its volume to the gas: SiH4 + 2 N2O -> SiO2 + 2 H2 + 2 N2.
    assert np.all(rate > gas_load(240.0, 1073.15) / 0.040)
    assert np.all(rate < 4.0 / 3.0 * gas_load(240.0, 1073.15) / 0.040)
    assert telemetry["throttle_valve_pct"][1600] == pytest.approx(100.0)
    assert film(wafers) == pytest.approx(film(run(OXIDE, 1500)[1]), rel=0.01)


def test_a_pump_that_never_starts_leaves_the_tube_at_atmosphere_and_the_wafers_bare() -> None:
    telemetry, wafers = run(OXIDE, pump_trip_s=0.5)
    assert np.all(telemetry["chamber_pressure_torr"] > 670.0)
    assert np.all(telemetry["chamber_pressure_torr"] < 760.0 * (1 + 1e-6))
    assert film(wafers) == 0.0


def test_a_zone_without_power_falls_to_what_its_neighbours_give() -> None:
    samples = 12_000
    setpoint = np.full((samples, 3), 700.0)
    trace = run_furnace(TUBE, setpoint, np.zeros(3), np.array([1.0, 1e-6, 1.0]), np.zeros((samples, 3)))
    # C dT/dt = -3.0 (T - 25) - 3.0 (2 T - T1 - T3) with neighbours held at 700: 475 degC, in 1.2e4 / 9.0 s.
    assert trace.zone[-1] == pytest.approx([700.0, 475.0, 700.0], abs=0.5)
    assert trace.zone[1332, 1] == pytest.approx(475.0 + 225.0 / np.e, abs=1.0)
    assert np.all(trace.power[:, 1] == 1.0)


def test_a_lost_heater_zone_keeps_the_heat_balance_of_its_neighbours_alone() -> None:
    telemetry, wafers = run(OXIDE, heater_gain={"2": 0.0})
    first, lost, third = (telemetry[f"temperature_zone_{k}_c"] for k in (1, 2, 3))
    window = slice(100, SETTLED)
    flow = -3.0 * (lost - 25.0) - 3.0 * (2.0 * lost - first - third)
    assert 1.2e4 * (lost[SETTLED] - lost[100]) == pytest.approx(flow[window].sum(), rel=0.01)
    assert np.all(telemetry["heater_power_zone_2_pct"] == pytest.approx(100.0))
    by_wafer = wafers["thickness"].mean("site").values
    assert by_wafer[12] < 0.1 * by_wafer[0]


@pytest.mark.parametrize("error", [-4.0, 4.0])
def test_a_thermocouple_that_reads_wrong_moves_the_true_temperature_the_other_way(error: float) -> None:
    """Reading error of zone 2: the loop holds the reading, and the heaters give what the true temperatures need."""
    healthy, off = run(OXIDE)[0], run(OXIDE, zone_offset_k={"2": -error})[0]
    assert off["temperature_zone_2_c"][SETTLED] == pytest.approx(800.0, abs=0.05)
    drive = [off[f"heater_power_zone_{k}_pct"] - healthy[f"heater_power_zone_{k}_pct"] for k in (1, 2, 3)]
    assert drive[1][SETTLED] == pytest.approx(-error * (3.0 + 2 * 3.0) / 60.0, abs=0.02)
    assert drive[0][SETTLED] == pytest.approx(error * 3.0 / 60.0, abs=0.02)


def test_a_free_controller_and_a_running_pump_are_the_nominal_tube() -> None:
    plain, stated = run(OXIDE)[0], run(OXIDE, mfc_stuck={"SiH4": 0.0}, pump_trip_s=0.0)[0]
    assert all(np.array_equal(plain[name], stated[name]) for name in plain)
