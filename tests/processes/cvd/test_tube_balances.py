"""Balances of the tube in time: heat between zones, gas while venting and throttling, film and readings."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from labkit.core.units import SCCM, TORR
from labkit.processes.cvd import ChemicalVapourDeposition, CVDRecipe
from labkit.processes.cvd.equipment import TUBES
from labkit.processes.cvd.furnace import ramped, run_furnace
from labkit.processes.cvd.indicators import from_telemetry, from_wafers
from labkit.processes.cvd.insitu import reported_rate
from labkit.processes.cvd.load import arrange
from labkit.processes.cvd.vacuum import background_flow, run_vacuum, valve_conductance

TUBE = TUBES["SiO2"]
OXIDE = ChemicalVapourDeposition().example_recipes()[0]
assert isinstance(OXIDE, CVDRecipe)
ATMOSPHERE = 101325.0


def test_each_zone_keeps_its_heat_balance_with_its_neighbours() -> None:
    target = np.tile([720.0, 800.0, 755.0], (700, 1))
    setpoint = ramped(target, 700.0, np.full(3, 1 / 6), 1 / 12)
    gain = np.array([1.0, 0.9, 1.05])
    trace = run_furnace(TUBE, setpoint, np.zeros(3), gain, np.zeros(setpoint.shape))
    before = np.vstack([np.full((1, 3), 700.0), trace.zone[:-1]])
    mean = 0.5 * (before + trace.zone)
    heater = 6000.0 * gain * trace.power
    lost = np.array([3.8, 3.0, 3.8]) * (mean - 25.0)
    across = 3.0 * np.diff(mean, axis=1)
    received = np.stack([across[:, 0], across[:, 1] - across[:, 0], -across[:, 1]], axis=1)
    stored = 1.2e4 * (trace.zone[-1] - 700.0)
    assert (heater - lost + received).sum(axis=0) == pytest.approx(stored, rel=2e-3)


def test_a_zone_takes_a_step_with_little_overshoot_and_rests_without_one() -> None:
    step = np.full((3000, 3), 700.0)
    step[10:] = 705.0
    quiet, setpoint = np.zeros((3000, 3)), ramped(step, 700.0, np.full(3, 0.25), 1 / 12)
    trace = run_furnace(TUBE, setpoint, np.zeros(3), np.ones(3), quiet)
    assert trace.zone[:, 1].max() < 706.0
    assert np.abs(trace.zone[600:, 1] - 705.0).max() < 0.1
    weak = run_furnace(TUBE, np.full((3000, 3), 700.0), np.zeros(3), np.ones(3), quiet)
    assert weak.zone == pytest.approx(np.full((3000, 3), 700.0), abs=1e-6)
    assert weak.power[:, 1] == pytest.approx(np.full(3000, 3.0 * 675.0 / 6000.0), abs=1e-9)


def test_drive_is_fed_forward_with_loss_exchange_and_heat_to_store() -> None:
    setpoint = np.tile([700.0, 700.0, 700.2], (3, 1))
    drive = 6000.0 * run_furnace(TUBE, setpoint, np.zeros(3), np.ones(3), np.zeros((3, 3))).power[0]
    outer = 3.8 * 675.2 + 3.0 * 0.2 + 1.2e4 * 0.2 + 6000.0 * 0.04 * 0.2
    assert drive == pytest.approx([3.8 * 675.0, 3.0 * 675.0 - 3.0 * 0.2, outer], rel=1e-9, abs=0.04)
    mirrored = 6000.0 * run_furnace(TUBE, setpoint[:, ::-1], np.zeros(3), np.ones(3), np.zeros((3, 3))).power[0]
    assert mirrored == pytest.approx(drive[::-1])


def test_drive_is_proportional_to_the_reading_and_to_its_sum_over_the_reset_time() -> None:
    noise = np.zeros((160, 3))
    noise[100:, 1] = 1.0
    trace = run_furnace(TUBE, np.full((160, 3), 700.0), np.zeros(3), np.ones(3), noise)
    error = 700.0 - trace.reported[:, 1]
    assert trace.power[100, 1] - trace.power[99, 1] == pytest.approx(-0.04, abs=2e-4)
    added = 0.04 * error[159] + 0.04 / 90.0 * error[100:159].sum()
    assert trace.power[159, 1] - trace.power[99, 1] == pytest.approx(added, rel=1e-3)
    assert abs(0.04 / 90.0 * error[100:159].sum()) > 0.2 * abs(added)


def vacuum(samples: int, **changes: object):  # type: ignore[no-untyped-def]
    zero = np.zeros(samples)
    usual = {
        "flow": zero, "setpoint": zero, "preset": zero + 0.3, "vent": zero, "gas_temperature": zero + 973.15,
        "growth": zero, "leak_sccm": 0.0, "pump_gain": 1.0, "gauge_gain": 1.0, "soft_gain": 1.0, "noise": zero,
    }  # fmt: skip
    return run_vacuum(TUBE, **{**usual, **changes})  # type: ignore[arg-type]


def test_a_shut_tube_fills_evenly_and_stops_at_one_atmosphere() -> None:
    vent = np.where(np.arange(400) > 250, 0.02, 0.0)
    trace = vacuum(400, vent=vent)
    rising = np.nonzero((vent > 0) & (trace.ending < 0.999 * ATMOSPHERE))[0][1:]
    per_second = 8.31446 * 973.15 / 0.040 * 0.02
    assert np.diff(trace.ending[rising]) == pytest.approx(np.full(rising.size - 1, per_second), rel=1e-3)
    assert trace.pressure[rising] == pytest.approx(0.5 * (trace.ending[rising - 1] + trace.ending[rising]), rel=1e-9)
    assert trace.throughput[rising] == pytest.approx(np.zeros(rising.size))
    long = vacuum(600, vent=np.where(np.arange(600) > 250, 0.5, 0.0))
    assert long.pressure[-1] == pytest.approx(ATMOSPHERE, rel=1e-12)
    assert long.pressure.max() <= ATMOSPHERE * (1 + 1e-12)


def test_gas_that_came_in_is_gas_in_the_tube_and_gas_pumped_away() -> None:
    samples = 500
    on = (np.arange(samples) >= 200) & (np.arange(samples) < 400)
    trace = vacuum(
        samples, flow=np.where(on, 300 * SCCM, 0.0), setpoint=np.where(on, 0.5 * TORR, 0.0), growth=np.where(on, 0.2, 0)
    )
    window = slice(180, 480)
    fed = 1.2 * 300 * SCCM * 200 + sum(background_flow(TUBE, second + 1.0, 0.0) for second in range(180, 480))
    stored = (trace.ending[479] - trace.ending[179]) * 0.040 / (8.31446 * 973.15)
    assert trace.throughput[window].sum() + stored == pytest.approx(fed, rel=1e-6)


def test_pumping_goes_over_from_soft_to_open_at_one_torr_with_the_valve_open() -> None:
    trace = vacuum(200)
    fall = -np.diff(np.log(trace.ending))
    soft = 973.15 / 300.0 / 0.040 / (1.0 / 0.040 + 1.0 / 0.0015)
    open_valve = 973.15 / 300.0 / 0.040 / (1.0 / 0.040 + 1.0 / 0.200)
    before, after = trace.ending[:-1] > 100.0 * TORR, trace.ending[:-1] < 0.9 * TORR
    assert fall[before] == pytest.approx(np.full(before.sum(), soft), rel=2e-3)
    assert fall[after][0] == pytest.approx(open_valve, rel=0.12)
    assert np.all(trace.valve == 1.0)
    crossing = np.nonzero(fall > 1.5 * soft)[0][0]
    assert trace.ending[crossing] < 1.05 * TORR
    assert trace.ending[crossing - 1] > 0.95 * TORR


def test_throttle_moves_a_quarter_of_its_travel_per_second_and_settles_within_half_a_minute() -> None:
    samples = 120
    on = np.arange(samples) >= 60
    trace = vacuum(samples, flow=np.where(on, 240 * SCCM, 0.0), setpoint=np.where(on, 0.5 * TORR, 0.0))
    assert trace.valve[59] == 1.0
    assert np.diff(trace.valve).min() == pytest.approx(-0.25, rel=1e-6)
    assert np.abs(np.diff(trace.valve)).max() <= 0.25 * (1 + 1e-9)
    assert np.abs(trace.ending[86:] / (0.5 * TORR) - 1.0).max() < 0.01
    assert trace.pressure[-1] == pytest.approx(0.5 * TORR, rel=2e-3)


def test_pressure_settles_with_the_pole_of_its_controller() -> None:
    """Gain 0.10 of travel per e-fold of pressure and reset in 2 s on a tube that responds with V T_pump / (T S)."""
    samples = 140
    flow = np.full(samples, 240 * SCCM)
    flow[100:] *= 1.15
    trace = vacuum(samples, flow=flow, setpoint=np.full(samples, 0.5 * TORR))
    speed = 1.15 * 240 / 60e3 * 760.0 / 0.5 * 300.0 / 273.15 * 1e-3
    lag, steepness = 0.040 * 300.0 / 973.15 / speed, np.log(100.0) * (1.0 - speed / 0.040)
    loop = 0.10 * steepness
    slow = (1.0 + loop - np.sqrt((1.0 + loop) ** 2 - 4.0 * lag * loop / 2.0)) / (2.0 * lag)
    left = np.log(trace.ending / trace.ending[99])
    assert left.max() > 0.03
    assert np.log(left[108] / left[116]) / 8.0 == pytest.approx(slow, rel=0.03)


def test_background_falls_as_one_over_time_to_what_the_pump_gives_back() -> None:
    per_mole = 8.31446 * 300.0
    torr_litre = 133.322e-3
    back = 3.0e-4 * 40.0 * torr_litre / per_mole
    for seconds in (60.0, 600.0, 3600.0):
        assert background_flow(TUBE, seconds, 0.0) == pytest.approx(
            4.0e-3 * torr_litre / per_mole * 600.0 / seconds + back, rel=1e-4
        )
    assert background_flow(TUBE, 1.0, 0.0) == background_flow(TUBE, 12.0, 0.0)
    assert background_flow(TUBE, 11.0, 0.0) > 1.05 * background_flow(TUBE, 13.0, 0.0)
    leak = background_flow(TUBE, 600.0, 0.5) - background_flow(TUBE, 600.0, 0.0)
    assert leak == pytest.approx(0.5 * 7.4358e-7, rel=1e-4)


def test_valve_has_equal_percentage_from_two_to_two_hundred_litres_per_second() -> None:
    found = [1e3 * valve_conductance(TUBE, opening) for opening in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([2.0, 20.0, 200.0])


def test_cells_of_a_load_lie_where_wafers_and_ends_are() -> None:
    charge = arrange(TUBE, 25, 150.0)
    end, pitch = 0.15 / 4, 9.525e-3
    steps = [end] * 3 + [(end + pitch) / 2] + [pitch] * 24 + [(end + pitch) / 2] + [end] * 3
    assert charge.spacing == pytest.approx(steps)
    assert charge.weights[4 + 12] == pytest.approx([0.0, 1.0, 0.0])
    assert charge.weights[4 + 12 + 7] == pytest.approx([0.0, 1.0 - 7 * pitch / 0.14, 7 * pitch / 0.14])
    assert charge.weights[0] == pytest.approx([1.0, 0.0, 0.0])
    assert charge.weights[::-1] == pytest.approx(charge.weights[:, ::-1])


def test_rate_display_follows_with_twenty_seconds() -> None:
    film = np.concatenate([np.zeros(10), np.arange(1.0, 61.0)])
    shown = reported_rate(film)
    assert shown[9] == 0.0
    assert shown[29] == pytest.approx(60.0 * (1.0 - np.exp(-1.0)), rel=1e-6)


def telemetry(before: int, gas: int, *, step: float = 3.0) -> xr.Dataset:
    samples = before + gas
    place = np.arange(samples, dtype=float)
    rising = np.where(place >= before, place - before, 0.0)
    channels = dict.fromkeys(
        ("throttle_valve_pct", "foreline_pressure_torr", *(f"heater_power_zone_{k}_pct" for k in (1, 2, 3))), rising
    )
    return xr.Dataset(
        {
            "step": ("time", np.where(place >= before, step, 0.0)),
            **{name: ("time", values) for name, values in channels.items()},
            "qcm_thickness_nm": ("time", 0.1 * rising),
            "base_gauge_torr": ("time", 1e-3 * (place + 1.0)),
            "chamber_pressure_torr": ("time", 10.0 ** (-place / 10.0)),
        },
        coords={"time": place + 1.0},
    )


def test_deposition_values_leave_out_the_first_three_tenths_of_the_gas_step() -> None:
    found = from_telemetry(OXIDE, telemetry(50, 100))
    assert found["throttle_valve_pct"] == pytest.approx((30 + 99) / 2)
    assert found["insitu_rate_nm_per_min"] == pytest.approx(6.0)
    assert found["base_pressure_torr"] == pytest.approx(1e-3 * np.mean(np.arange(41, 51)))
    assert found["pumpdown_time_s"] == pytest.approx(21.0, rel=1e-6)


@pytest.mark.parametrize(("before", "gas", "known"), [(10, 10, True), (9, 10, False)])
def test_base_pressure_needs_ten_samples_before_the_gas(before: int, gas: int, known: bool) -> None:
    assert np.isfinite(from_telemetry(OXIDE, telemetry(before, gas))["base_pressure_torr"]) == known


@pytest.mark.parametrize(("gas", "known"), [(4, True), (3, True), (2, False)])
def test_deposition_values_need_three_settled_samples(gas: int, known: bool) -> None:
    assert np.isfinite(from_telemetry(OXIDE, telemetry(20, gas))["throttle_valve_pct"]) == known


def test_pumpdown_time_is_interpolated_where_pressure_falls_exponentially() -> None:
    found = telemetry(50, 20)
    found["chamber_pressure_torr"] = ("time", 10.0 ** (-(np.arange(70) + 0.37) / 7.0))
    assert from_telemetry(OXIDE, found)["pumpdown_time_s"] == pytest.approx(1.0 + 14.0 - 0.37, rel=1e-6)


def test_slope_curvature_and_radial_figure_are_those_of_the_film_that_has_them() -> None:
    place = np.linspace(-1.0, 1.0, 9)
    radius = np.array([0.0, 37.5, 75.0, 75.0])
    axial = 100.0 * (1.0 + 0.02 * place + 0.03 * (place**2 - np.mean(place**2)))
    thickness = axial[:, None] + 4.0 * ((radius / 75.0) ** 2 - np.mean((radius / 75.0) ** 2))[None, :]
    film = xr.Dataset(
        {"thickness": (("slot", "site"), thickness), "refractive_index": ("slot", np.full(9, 1.46))},
        coords={"x": ("site", radius * [0, 1, 1, 0]), "y": ("site", radius * [0, 0, 0, 1])},
        attrs={"diameter_mm": 150.0},
    )
    found = from_wafers(film)
    assert found["thickness_slope_pct"] == pytest.approx(4.0)
    assert found["thickness_curvature_pct"] == pytest.approx(3.0)
    assert found["within_wafer_pct"] == pytest.approx(4.0)
    assert found["thickness_mean_nm"] == pytest.approx(100.0)
    pair = from_wafers(film.isel(slot=[0, 8]))
    assert pair["thickness_slope_pct"] == pytest.approx(100 * 4.0 / 101.75, rel=1e-2)
    assert pair["thickness_curvature_pct"] == 0.0


def test_a_tube_idles_settled_whatever_its_thermocouples_and_heaters() -> None:
    offset, gain = np.array([1.5, -1.0, 0.5]), np.array([0.95, 1.05, 1.0])
    trace = run_furnace(TUBE, np.full((200, 3), 700.0), offset, gain, np.zeros((200, 3)))
    assert trace.zone == pytest.approx(np.tile(700.0 + offset, (200, 1)), abs=1e-6)
    assert trace.reported == pytest.approx(np.full((200, 3), 700.0), abs=1e-6)


def test_wafers_go_in_at_room_temperature_and_warm_with_forty_five_seconds() -> None:
    trace = run_furnace(TUBE, np.full((200, 3), 700.0), np.zeros(3), np.ones(3), np.zeros((200, 3)))
    assert trace.wafer[0] == pytest.approx(np.full(3, 25.0 + 675.0 * (1.0 - np.exp(-1.0 / 45.0))), rel=1e-6)
    assert trace.wafer[44] == pytest.approx(np.full(3, 700.0 - 675.0 / np.e), rel=1e-6)
