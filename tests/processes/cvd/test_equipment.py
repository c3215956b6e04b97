"""Furnace, gas and vacuum against the closed forms of their equations."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.core.units import SCCM, TORR
from labkit.materials.wafers import load
from labkit.processes.cvd.equipment import FAULT_MODES, TUBES, TubeCondition, TubeFurnace
from labkit.processes.cvd.furnace import follow, ramped, run_furnace, steady_power
from labkit.processes.cvd.insitu import fitted_rate, reported_rate, reported_thickness
from labkit.processes.cvd.load import END_CELLS, arrange
from labkit.processes.cvd.mass_flow import delivered
from labkit.processes.cvd.metrology import measure
from labkit.processes.cvd.vacuum import base_pressure, effective_speed, run_vacuum, valve_conductance, valve_opening

TUBE = TUBES["SiO2"]


def furnace(setpoint: np.ndarray, *, offset: tuple[float, ...] = (0, 0, 0), gain: tuple[float, ...] = (1, 1, 1)):  # type: ignore[no-untyped-def]
    return run_furnace(TUBE, setpoint, np.array(offset, float), np.array(gain, float), np.zeros(setpoint.shape))


def test_middle_zone_at_800_degrees_draws_2325_watts_of_6_kilowatts() -> None:
    assert steady_power(TUBE, np.full(3, 800.0), np.ones(3))[1] == pytest.approx(2325.0 / 6000.0)
    assert steady_power(TUBE, np.full(3, 800.0), np.ones(3))[[0, 2]] == pytest.approx([2945.0 / 6000.0] * 2)


def test_exchange_between_zones_takes_no_heat_away() -> None:
    flat, tilted = (steady_power(TUBE, np.array(z), np.ones(3)).sum() for z in ([800.0] * 3, [790.0, 800.0, 810.0]))
    assert flat == pytest.approx(tilted)
    hot_end = steady_power(TUBE, np.array([790.0, 800.0, 810.0]), np.ones(3))
    assert hot_end[2] - hot_end[0] == pytest.approx((20 * 3.8 + 2 * 10 * 3.0) / 6000.0)


def test_settled_furnace_holds_reported_setpoints_at_the_power_of_the_balance() -> None:
    trace = furnace(np.full((4000, 3), 800.0), offset=(1.0, 0.0, -2.0), gain=(1.0, 0.95, 1.0))
    assert trace.reported[-1] == pytest.approx([800.0] * 3, abs=1e-3)
    assert trace.wafer[-1] == pytest.approx([801.0, 800.0, 798.0], abs=1e-3)
    balance = steady_power(TUBE, np.array([801.0, 800.0, 798.0]), np.array([1.0, 0.95, 1.0]))
    assert trace.power[-1] == pytest.approx(balance, abs=1e-5)


def test_heat_put_in_is_heat_stored_and_lost() -> None:
    setpoint = ramped(np.full((900, 3), 800.0), 700.0, np.full(3, 1 / 6), 1 / 12)
    trace = furnace(setpoint)
    before = np.vstack([np.full((1, 3), 700.0), trace.zone[:-1]])
    lost = (np.array([3.8, 3.0, 3.8]) * (0.5 * (before + trace.zone) - 25.0)).sum()
    stored = 1.2e4 * (trace.zone[-1] - 700.0).sum()
    assert 6000.0 * trace.power.sum() == pytest.approx(lost + stored, rel=1e-4)


def test_ramp_is_followed_within_three_kelvin_and_wafers_lag_by_rate_times_time_constant() -> None:
    setpoint = ramped(np.full((550, 3), 800.0), 700.0, np.full(3, 1 / 6), 1 / 12)
    trace = furnace(setpoint)
    assert np.abs(trace.zone[100:] - setpoint[100:]).max() < 3.0
    assert trace.zone[500, 1] - trace.wafer[500, 1] == pytest.approx(45.0 / 6.0, rel=0.07)


def test_setpoints_move_no_faster_than_the_ramp_in_either_direction() -> None:
    target = np.vstack([np.full((50, 3), 720.0), np.full((100, 3), 690.0)])
    trace = ramped(target, 700.0, np.full(3, 0.5), 0.1)
    assert trace[9] == pytest.approx([705.0] * 3)
    assert trace[45] == pytest.approx([720.0] * 3)
    assert trace[59] == pytest.approx([719.0] * 3)
    assert trace[-1] == pytest.approx([710.0] * 3)


def test_drive_stays_between_nothing_and_everything() -> None:
    trace = furnace(
        ramped(np.vstack([np.full((300, 3), 1100.0), np.full((300, 3), 600.0)]), 700.0, np.full(3, 5.0), 5.0)
    )
    assert trace.power.min() == 0.0
    assert trace.power.max() == 1.0


def test_first_order_lag_reaches_63_per_cent_after_one_time_constant() -> None:
    assert follow(np.ones(45), 0.0, 45.0, 1.0)[-1] == pytest.approx(1.0 - np.exp(-1.0))


def test_gas_delivered_by_a_pulse_is_setpoint_times_duration() -> None:
    setpoint = np.concatenate([np.zeros(5), np.full(60, 80.0), np.zeros(60)])
    flow = delivered(setpoint, 1.5)
    assert flow.sum() == pytest.approx(80.0 * 60.0, rel=1e-9)
    assert flow[5] < 40.0
    assert flow[60] == pytest.approx(80.0)


def test_240_sccm_at_half_a_torr_needs_6_7_litres_per_second() -> None:
    opening = valve_opening(TUBE, 240 * SCCM, 0.5 * TORR)
    speed = effective_speed(TUBE, valve_conductance(TUBE, opening), 1.0)
    assert speed * 1e3 == pytest.approx(240 / 60 * 1e-3 * 760 / 0.5 * 300 / 273.15, rel=1e-6)
    assert 0.25 < opening < 0.4


def test_throttle_opens_for_more_gas_and_for_a_weaker_pump_and_closes_for_more_pressure() -> None:
    nominal = valve_opening(TUBE, 240 * SCCM, 0.5 * TORR)
    assert valve_opening(TUBE, 250 * SCCM, 0.5 * TORR) > nominal
    assert valve_opening(TUBE, 240 * SCCM, 0.5 * TORR, 0.9) > nominal
    assert valve_opening(TUBE, 240 * SCCM, 0.55 * TORR) < nominal
    assert valve_opening(TUBE, 3000 * SCCM, 0.5 * TORR) == 1.0


def test_one_per_cent_of_conductance_is_a_fifth_of_a_per_cent_of_travel() -> None:
    assert valve_conductance(TUBE, 1.0) == pytest.approx(0.2)
    assert valve_conductance(TUBE, 0.302170) / valve_conductance(TUBE, 0.30) == pytest.approx(1.01, rel=1e-4)


def vacuum(samples: int, **changes: object):  # type: ignore[no-untyped-def]
    zero = np.zeros(samples)
    arguments = {
        "flow": zero,
        "setpoint": zero,
        "preset": zero + 0.3,
        "vent": zero,
        "gas_temperature": zero + 973.15,
        "growth": zero,
        "leak_sccm": 0.0,
        "pump_gain": 1.0,
        "gauge_gain": 1.0,
        "soft_gain": 1.0,
        "noise": zero,
    }
    return run_vacuum(TUBE, **{**arguments, **changes})  # type: ignore[arg-type]


def test_soft_pumping_is_exponential_in_the_volume_over_the_speed() -> None:
    trace = vacuum(30)
    speed = 1.0 / (1.0 / 0.040 + 1.0 / 0.0015)
    decay = speed * 973.15 / (300.0 * 0.040)
    assert np.log(trace.ending[4] / trace.ending[24]) == pytest.approx(20.0 * decay, rel=1e-3)


def test_open_tube_settles_at_gas_load_over_speed() -> None:
    trace = vacuum(900)
    speed = 1e3 / (1.0 / 0.040 + 1.0 / 0.200) * 1e-3
    load_torr_l_s = 4.0e-3 * 600.0 / 900.0 + 3.0e-4 * 40.0
    assert trace.ending[-1] / TORR == pytest.approx(load_torr_l_s / (speed * 1e3), rel=1e-3)
    assert base_pressure(TUBE, 900.0, 0.0, 1.0) == pytest.approx(trace.ending[-1], rel=1e-4)


def test_a_leak_raises_base_pressure_by_its_flow_over_the_speed() -> None:
    rise = base_pressure(TUBE, 900.0, 0.2, 1.0) - base_pressure(TUBE, 900.0, 0.0, 1.0)
    assert rise / TORR == pytest.approx(0.2 / 60e3 * 760 * 300 / 273.15 / (1e3 / 30.0), rel=1e-3)


def test_pressure_is_controlled_at_what_the_gauge_reports_and_the_outflow_is_the_inflow() -> None:
    samples = 400
    on = np.arange(samples) >= 300
    trace = vacuum(samples, flow=np.where(on, 240 * SCCM, 0.0), setpoint=np.where(on, 0.5 * TORR, 0.0), gauge_gain=1.05)
    assert trace.pressure[-1] == pytest.approx(0.525 * TORR, rel=1e-3)
    assert trace.throughput[-1] == pytest.approx(240 * SCCM, rel=0.01)
    assert trace.pressure[on].max() < 0.8 * TORR
    assert np.abs(trace.pressure[330:] / TORR / 0.525 - 1.0).max() < 5e-3


def test_venting_brings_the_tube_to_atmosphere_and_no_further() -> None:
    trace = vacuum(400, vent=np.where(np.arange(400) > 200, 0.5, 0.0))
    assert trace.ending[200] < 1.0
    assert trace.ending[-1] == pytest.approx(101325.0)


def test_rate_display_and_fit_agree_on_a_steady_rate() -> None:
    time = np.arange(300.0)
    film = reported_thickness(time * 5.0 / 60.0, 1.02, np.zeros(300))
    assert fitted_rate(time, film) == pytest.approx(5.1)
    assert reported_rate(film)[-1] == pytest.approx(5.1, rel=1e-5)
    assert np.isnan(fitted_rate(time[:2], film[:2]))


def test_zone_weights_are_a_partition_and_peak_at_their_zone() -> None:
    for position in np.linspace(-0.4, 0.4, 33):
        assert sum(TUBE.zone_weights(float(position))) == pytest.approx(1.0)
    assert TUBE.zone_weights(-0.3) == (1.0, 0.0, 0.0)
    assert TUBE.zone_weights(0.0)[1] == 1.0
    assert TUBE.zone_weights(0.07) == pytest.approx((0.0, 0.5, 0.5))


def test_film_grows_on_both_faces_of_every_wafer_on_the_boat_and_on_the_wall() -> None:
    tube = TubeFurnace(standby_c=700.0)
    charge = arrange(tube, 25, 150.0)
    wall = np.pi * 0.22 * (25 * 9.525e-3 + 2 * 0.15)
    assert charge.area.sum() == pytest.approx(wall + 25 * 2 * np.pi * 0.075**2 * 1.05)
    assert charge.area.size == 25 + 2 * END_CELLS
    assert charge.gap == pytest.approx(9.525e-3 - 0.675e-3)
    assert charge.annulus == pytest.approx(np.pi * (0.11**2 - 0.075**2))


def test_faults_are_told_apart_by_name_and_lead_to_a_field() -> None:
    assert len({mode.name for mode in FAULT_MODES}) == len(FAULT_MODES) == 13
    for mode in FAULT_MODES:
        assert TubeCondition().shifted(mode.path, mode.step) != TubeCondition()


@pytest.mark.parametrize(
    "bad", [{"mfc_gain": {"SiH4": 0.0}}, {"zone_offset_k": {"1": 80.0}}, {"heater_gain": {"1": 9.0}}]
)
def test_a_condition_that_no_tube_can_have_is_refused(bad: dict[str, dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        TubeCondition(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "low", "high"), [("mfc_gain", 0.01, 5.0), ("zone_offset_k", -50.0, 50.0), ("heater_gain", 1e-6, 2.0)]
)
def test_a_condition_may_go_to_its_bounds_and_no_further(field: str, low: float, high: float) -> None:
    beyond = -0.01 if field == "heater_gain" else low - 0.02 * abs(low)
    for number, allowed in ((low, True), (high, True), (beyond, False), (1.02 * high, False)):
        if allowed:
            assert getattr(TubeCondition.model_validate({field: {"1": number}}), field) == {"1": number}
        else:
            with pytest.raises(ValueError, match="lies outside"):
                TubeCondition.model_validate({field: {"1": number}})


def test_a_heater_may_be_lost_altogether_and_its_drive_stays_a_number() -> None:
    lost = TubeCondition().shifted("heater_gain.2", -1.0)
    assert 0.0 < lost.value("heater_gain.2") < 1e-5


def test_ellipsometer_error_is_a_tenth_of_a_nanometre_per_site() -> None:
    wafer = load(25, diameter_mm=150.0)
    truth = wafer.assign(
        thickness=(("slot", "site"), np.full((25, 49), 100.0)), refractive_index=("slot", np.full(25, 1.46))
    )
    errors = np.array([(measure(truth, seed=s)["thickness"] - 100.0).values for s in range(30)])
    within = (errors - errors.mean(axis=(1, 2), keepdims=True)).std()
    assert within == pytest.approx(np.hypot(0.10, 0.05), rel=0.02)
    assert 0.02 < errors.mean(axis=(1, 2)).std() < 0.09


def test_thermocouple_lags_the_zone_by_rate_times_its_time_constant() -> None:
    setpoint = ramped(np.full((550, 3), 800.0), 700.0, np.full(3, 1 / 6), 1 / 12)
    trace = furnace(setpoint)
    assert trace.zone[500, 1] - trace.reported[500, 1] == pytest.approx(5.5 / 6.0, rel=0.05)
