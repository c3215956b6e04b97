"""What the tube can hold, at the bounds that pre-flight states."""

from __future__ import annotations

import pytest

from labkit.core.errors import LabkitError
from labkit.materials.wafers import load
from labkit.processes.cvd import ChemicalVapourDeposition, CVDRecipe

PROCESS = ChemicalVapourDeposition()
OXIDE, POLY = PROCESS.example_recipes()


def blocked(word: str, changes: dict[str, object], recipe: CVDRecipe = OXIDE) -> bool:  # type: ignore[assignment]
    return any(f.blocking and word in f.message for f in PROCESS.findings(recipe.changed(changes)))


def said(word: str, changes: dict[str, object]) -> bool:
    return any(word in f.message for f in PROCESS.findings(OXIDE.changed(changes)))


def zones(*celsius: float) -> dict[str, object]:
    listed = celsius if len(celsius) == 3 else celsius * 3
    return {
        "temperature_profile.zones": [
            {"zone": k + 1, "setpoint": value, "ramp_rate": 10.0} for k, value in enumerate(listed)
        ]
    }


@pytest.mark.parametrize(
    ("celsius", "held"),
    [
        ((1140.0,), True),
        ((1160.0,), False),
        ((310.0,), True),
        ((290.0,), False),
        # Zone 2 draws (3 (T - 25) + 2 x 3 d) W of 6 kW with neighbours d colder: 86 and 91 per cent.
        ((850.0, 1150.0, 850.0), True),
        ((808.0, 1150.0, 808.0), False),
        # Zone 1 draws (3.8 (T - 25) - 3 d) W with a neighbour d hotter: 2.2 and 1.8 per cent.
        ((300.0, 604.0, 700.0), True),
        ((300.0, 613.0, 700.0), False),
    ],
)
def test_zones_hold_from_300_to_1150_degrees_between_2_and_90_per_cent_of_their_power(
    celsius: tuple[float, ...], held: bool
) -> None:
    assert blocked("cannot hold", zones(*celsius)) is not held


@pytest.mark.parametrize(("torr", "works"), [(0.99, True), (1.01, False), (0.0205, True), (0.0195, False)])
def test_tube_works_from_20_millitorr_to_1_torr(torr: float, works: bool) -> None:
    changes = {
        "pressure_setpoints.process_pressure_torr": torr,
        "gas_flows.gases.0.flow_sccm": 80.0 * torr,
        "gas_flows.gases.1.flow_sccm": 160.0 * torr,
    }
    assert blocked("this tube", changes) is False
    assert any("torr" in f.message and "asks for" in f.message for f in PROCESS.findings(OXIDE.changed(changes))) is (
        not works
    )


@pytest.mark.parametrize(("opening", "held"), [(0.94, True), (0.96, False), (0.021, True), (0.019, False)])
def test_throttle_stands_between_2_and_95_per_cent_open(opening: float, held: bool) -> None:
    """Half a torr at 300 K is C S / (C + S) with S = 40 l/s and C = 200 l/s x 100^(u - 1)."""
    conductance = 200.0 * 100.0 ** (opening - 1.0)
    litres_per_second = 1.0 / (1.0 / conductance + 1.0 / 40.0)
    sccm = litres_per_second * 60e3 * 0.5 / 760.0 * 273.15 / 300.0
    changes = {"gas_flows.gases.0.flow_sccm": sccm / 3.0, "gas_flows.gases.1.flow_sccm": 2.0 * sccm / 3.0}
    assert blocked("throttle would stand", changes) is not held


def test_a_flow_too_great_for_the_pump_is_told_the_pressure_it_reaches() -> None:
    found = PROCESS.findings(OXIDE.changed({"gas_flows.gases.1.flow_sccm": 4920.0}))
    speed = 1.0 / (1.0 / 40.0 + 1.0 / 200.0)
    reached = 5000.0 / 60e3 * 760.0 * 300.0 / 273.15 / speed
    assert any(f"it reaches {reached:.2g} torr" in f.fix for f in found), [f.fix for f in found]


@pytest.mark.parametrize(("slots", "diameter", "fits"), [(50, 150.0, True), (51, 150.0, False), (25, 200.0, False)])
def test_the_boat_holds_fifty_wafers_up_to_190_mm_wide(slots: int, diameter: float, fits: bool) -> None:
    wafer = load(slots, diameter_mm=diameter, sites=9)
    if fits:
        assert PROCESS.expected(OXIDE, wafer)["thickness_mean_nm"] > 50.0
        return
    with pytest.raises(LabkitError, match="up to 50 wafers of at most 190 mm"):
        PROCESS.expected(OXIDE, wafer)


def test_small_departures_are_mentioned_from_their_stated_size_on() -> None:
    assert said("zone setpoints rule", {"recipe_steps.1.target_temp_c": 815.5})
    assert not said("zone setpoints rule", {"recipe_steps.1.target_temp_c": 814.5})
    assert said("settle", {"recipe_steps.3.duration_s": 59.0})
    assert not said("settle", {"recipe_steps.3.duration_s": 61.0})
    assert said("stretched", {"recipe_steps.1.duration_s": 479.3})
    assert not said("stretched", {"recipe_steps.1.duration_s": 479.55})
    assert said("15 °C/min", {"temperature_profile.zones.0.ramp_rate": 15.1})
    assert not said("15 °C/min", {"temperature_profile.zones.0.ramp_rate": 15.0})
    assert said("silicon-rich", {"gas_flows.gases.1.flow_sccm": 79.0})
    assert not said("silicon-rich", {"gas_flows.gases.1.flow_sccm": 81.0})
    assert said("extrapolation", zones(905.0))
    assert not said("extrapolation", zones(895.0))
    assert said("extrapolation", zones(695.0))
    assert not said("extrapolation", zones(705.0))


@pytest.mark.parametrize(
    ("law", "low", "high"), [("poly-si-half-order", 580.0, 680.0), ("poly-si-apparent", 580.0, 650.0)]
)
def test_polysilicon_laws_are_used_within_their_published_range(law: str, low: float, high: float) -> None:
    for celsius, outside in ((low - 1.0, True), (low + 1.0, False), (high - 1.0, False), (high + 1.0, True)):
        recipe = POLY.changed({**zones(celsius), "rate_law": law})
        found = [f.message for f in PROCESS.findings(recipe) if "extrapolation" in f.message]
        assert bool(found) is outside, (law, celsius)


def test_steering_and_knobs_span_what_they_are_said_to() -> None:
    knobs = {knob.path: (knob.low, knob.high) for knob in PROCESS.knobs(OXIDE)}
    assert knobs["recipe_steps.3.duration_s"] == pytest.approx((600.0, 2400.0))
    assert knobs["temperature_profile.zones.0.setpoint"] == pytest.approx((785.0, 815.0))
    assert knobs["gas_flows.gases.0.flow_sccm"] == pytest.approx((56.0, 112.0))
    assert knobs["pressure_setpoints.process_pressure_torr"] == pytest.approx((0.3, 0.8))
    targets = {limit.quantity: (limit.low, limit.high) for limit in PROCESS.targets(OXIDE)}
    assert targets["thickness_mean_nm"] == pytest.approx((95.0, 105.0))
