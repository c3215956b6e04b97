"""Whatever state a tube may be in: a prediction, a run and indicators come out, and say what the tube did not reach."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit.core.recipe import Recipe
from labkit.materials.wafers import load
from labkit.processes.cvd import ChemicalVapourDeposition
from labkit.processes.cvd.dynamics import TubeTwin
from labkit.processes.cvd.engine import PLUMBED
from labkit.processes.cvd.equipment import QUIET, TubeCondition
from labkit.runs.judge import fault_signatures

PROCESS = ChemicalVapourDeposition()
OXIDE, POLY = PROCESS.example_recipes()
WAFERS = PROCESS.incoming_wafers(OXIDE)
FEW = load(3, diameter_mm=150.0, sites=9)
ZONES = ("1", "2", "3")


def within_bounds(name: str) -> st.SearchStrategy[float]:
    """Any number that the condition's field *name* admits, its bounds often among them."""
    field = TubeCondition.model_json_schema()["properties"][name]
    low, high = field["minimum"], field["maximum"]
    return st.sampled_from([low, high, field["default"]]) | st.floats(low, high)


def by_key(name: str, keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, float]]:
    low, high = TubeCondition.bounds[name]
    return st.dictionaries(st.sampled_from(keys), st.sampled_from([low, high]) | st.floats(low, high))


SCALARS = tuple(name for name, field in TubeCondition.model_fields.items() if field.annotation is float)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        **{name: within_bounds(name) for name in SCALARS},
        "mfc_gain": by_key("mfc_gain", PLUMBED),
        "mfc_stuck": by_key("mfc_stuck", PLUMBED),
        "zone_offset_k": by_key("zone_offset_k", ZONES),
        "heater_gain": by_key("heater_gain", ZONES),
    },
)


def recorded(twin: TubeTwin) -> xr.Dataset:
    block = twin.advance(twin.samples)
    return xr.Dataset({k: ("time", v) for k, v in block.items() if k != "time"}, coords={"time": block["time"]})


def indicators(recipe: Recipe, **condition: object) -> dict[str, float]:
    return PROCESS.expected(recipe, WAFERS, TubeCondition.model_validate(condition))


def run_quietly(recipe: Recipe, **condition: object) -> dict[str, float]:
    twin = TubeTwin(recipe, WAFERS, condition=TubeCondition.model_validate(condition), repeatability=QUIET)  # type: ignore[arg-type]
    telemetry = recorded(twin)
    return PROCESS.summarise(recipe, twin.finish(), telemetry)


def test_every_field_of_a_condition_is_searched() -> None:
    assert set(TubeCondition.model_fields) == {*SCALARS, *TubeCondition.bounds}


ANYTHING = {"recipe": st.sampled_from([OXIDE, POLY]), "condition": CONDITIONS, "seed": st.integers(0, 3)}


def survives(recipe: Recipe, condition: dict[str, object], seed: int) -> None:
    """Neither labkit's own error is raised nor any other: a faulty tube is simulated, not refused."""
    state = TubeCondition.model_validate(condition)
    predicted = PROCESS.simulate(recipe, FEW, condition=state)
    assert PROCESS.schema.problems(predicted) == []
    twin = PROCESS.twin(recipe, FEW, condition=state, seed=seed)
    telemetry, wafers = recorded(twin), twin.finish()
    assert PROCESS.schema.problems(wafers) == []
    assert [name for name in telemetry if not np.isfinite(telemetry[name].values).all()] == []
    names = {indicator.name for indicator in PROCESS.indicators}
    for found in (
        PROCESS.summarise(recipe, predicted),
        PROCESS.summarise(recipe, PROCESS.measure(wafers, seed=seed), telemetry),
    ):
        assert set(found) == names
        assert not any(np.isinf(value) for value in found.values())


@settings(max_examples=10)
@given(**ANYTHING)
@example(recipe=OXIDE, condition={"leak_sccm": 60.0}, seed=0)
@example(recipe=POLY, condition={"pump_gain": 0.05, "leak_sccm": 100.0}, seed=0)
@example(recipe=POLY, condition={"mfc_stuck": {"SiH4": 1e-9}}, seed=0)
@example(recipe=POLY, condition={"mfc_stuck": {"SiH4": 5e-324}, "mfc_gain": {"SiH4": 0.01}}, seed=0)
@example(recipe=OXIDE, condition={"mfc_stuck": {"SiH4": 1e4, "N2O": 1e-300}, "pump_gain": 0.05}, seed=0)
def test_no_state_of_a_tube_breaks_prediction_or_run(recipe: Recipe, condition: dict[str, object], seed: int) -> None:
    survives(recipe, condition, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=500)
@given(**ANYTHING)
def test_no_state_of_many_breaks_prediction_or_run(recipe: Recipe, condition: dict[str, object], seed: int) -> None:
    survives(recipe, condition, seed)


@pytest.mark.parametrize("recipe", [OXIDE, POLY], ids=lambda r: r.name)
@pytest.mark.parametrize("condition", [{"leak_sccm": 60.0}, {"mfc_stuck": {"SiH4": 120.0}}], ids=str)
def test_a_tube_that_gas_keeps_from_its_mark_has_no_pump_down_time_in_prediction_and_run(
    recipe: Recipe, condition: dict[str, object]
) -> None:
    predicted, found = indicators(recipe, **condition), run_quietly(recipe, **condition)
    assert np.isnan(predicted["pumpdown_time_s"])
    assert np.isnan(found["pumpdown_time_s"])
    assert predicted["base_pressure_torr"] == pytest.approx(found["base_pressure_torr"], rel=5e-3)
    result = PROCESS.simulate(recipe, WAFERS, condition=TubeCondition.model_validate(condition))
    assert "not pumped down" in result.attrs["unreached"]
    assert "base pressure is" in result.attrs["unreached"]


@pytest.mark.parametrize("recipe", [OXIDE, POLY], ids=lambda r: r.name)
@pytest.mark.parametrize("pump_gain", [0.05, 0.1, 0.15])
def test_a_weak_pump_takes_as_long_as_it_takes_in_the_run(recipe: Recipe, pump_gain: float) -> None:
    assert indicators(recipe, pump_gain=pump_gain)["pumpdown_time_s"] == pytest.approx(
        run_quietly(recipe, pump_gain=pump_gain)["pumpdown_time_s"], rel=0.02
    )


@pytest.mark.parametrize(
    ("condition", "opening"),
    [({"pump_gain": 0.05}, 100.0), ({"mfc_gain": {"SiH4": 0.05}}, 0.0)],
    ids=["too weak a pump", "too little gas"],
)
def test_pressure_that_the_throttle_cannot_hold_is_the_gas_over_the_speed_it_leaves(
    condition: dict[str, object], opening: float
) -> None:
    state = TubeCondition.model_validate(condition)
    result = PROCESS.simulate(POLY, WAFERS, condition=state)
    speed = 1.0 / (1.0 / (0.040 * state.pump_gain) + 1.0 / (0.002 * 100.0 ** (opening / 100.0)))
    through = float(result["foreline_pressure_torr"]) * 2.5e-3
    assert float(result["throttle_valve_pct"]) == opening
    assert float(result["chamber_pressure_torr"]) == pytest.approx(through / speed, rel=0.01)
    assert "the throttle is" in result.attrs["unreached"]
    predicted, found = PROCESS.summarise(POLY, result), run_quietly(POLY, **condition)
    assert predicted["thickness_mean_nm"] == pytest.approx(found["thickness_mean_nm"], rel=0.015)
    assert predicted["throttle_valve_pct"] == pytest.approx(found["throttle_valve_pct"], abs=0.1)


def test_a_sound_tube_reaches_everything_and_a_lost_heater_or_pump_is_told() -> None:
    assert PROCESS.simulate(OXIDE, FEW).attrs["unreached"] == ""
    for condition, words in (
        ({"heater_gain": {"2": 0.0}}, "zone 2 would need"),
        ({"pump_trip_s": 1500.0}, "the pump stands still from 1500 s on"),
    ):
        result = PROCESS.simulate(OXIDE, FEW, condition=TubeCondition.model_validate(condition))
        assert words in result.attrs["unreached"]


def test_signatures_of_faults_stay_numbers_when_the_faults_are_as_large_as_a_tube_can_have() -> None:
    sizes = {mode.name: 1e3 for mode in PROCESS.fault_modes} | {"leak": 450.0, "pump": 19.0, "sih4_mfc": -98.0}
    found = fault_signatures(PROCESS, OXIDE, FEW, PROCESS.expected(OXIDE, FEW), sizes)
    assert set(found) == set(sizes)
    assert all(np.isfinite(list(signature.values())).all() for signature in found.values())
    assert "pumpdown_time_s" not in found["leak"]
    assert found["leak"]["base_pressure_torr"] > 0.0
    assert found["pump"]["pumpdown_time_s"] > 0.0


STUCK = [
    (OXIDE, {"mfc_stuck": {"SiH4": 40.0}}),
    (OXIDE, {"mfc_stuck": {"SiH4": 60.0}, "mfc_gain": {"SiH4": 1.2}}),
    (OXIDE, {"mfc_stuck": {"N2": 100.0}}),
    (OXIDE, {"mfc_stuck": {"SiH4": 60.0, "N2O": 100.0}}),
    (POLY, {"mfc_stuck": {"SiH4": 200.0}}),
    (POLY, {"mfc_stuck": {"SiH4": 120.0}}),
    (POLY, {"mfc_stuck": {"N2": 60.0}}),
]


@pytest.mark.parametrize(("recipe", "condition"), STUCK, ids=lambda x: str(getattr(x, "name", x)))
def test_run_and_prediction_agree_on_a_stuck_flow_controller(recipe: Recipe, condition: dict[str, object]) -> None:
    """The tolerance is that of healthy runs; both see the film that grows while the recipe has the gas shut."""
    found, predicted = run_quietly(recipe, **condition), indicators(recipe, **condition)
    assert all(np.isnan(found[name]) == np.isnan(predicted[name]) for name in predicted)
    for name, value in predicted.items():
        allowed = pytest.approx(value, rel=5e-3 if name != "pumpdown_time_s" else 0.02, abs=0.03, nan_ok=True)
        assert found[name] == allowed, name


def test_silane_that_is_never_shut_adds_film_outside_the_gas_step_and_oxide_needs_its_oxidant_too() -> None:
    healthy = indicators(POLY)["thickness_mean_nm"]
    assert indicators(POLY, mfc_stuck={"SiH4": 200.0})["thickness_mean_nm"] > 1.3 * healthy
    shut, weak = (indicators(OXIDE, **c) for c in ({"mfc_stuck": {"SiH4": 40.0}}, {"mfc_gain": {"SiH4": 0.5}}))
    assert shut["thickness_mean_nm"] == pytest.approx(weak["thickness_mean_nm"], rel=1e-6)


@pytest.mark.parametrize("gas", ["SiH4", "N2O"])
def test_oxide_without_one_of_its_gases_is_none(gas: str) -> None:
    predicted, found = (f(OXIDE, mfc_stuck={gas: 1e-9}) for f in (indicators, run_quietly))
    assert predicted["thickness_mean_nm"] == found["thickness_mean_nm"] == 0.0
    assert np.isnan(predicted["refractive_index"])
    assert np.isnan(found["refractive_index"])


def test_nothing_grows_while_nitrogen_vents_the_tube() -> None:
    steps = [step.model_dump(exclude_none=True) for step in POLY.recipe_steps]  # type: ignore[attr-defined]
    document = {**POLY.model_dump(exclude_none=True), "recipe_steps": [*steps, {"name": "vent", "duration_s": 900.0}]}
    vented = PROCESS.parse(document)
    stuck = {"mfc_stuck": {"SiH4": 100.0}}
    assert indicators(vented, **stuck)["thickness_mean_nm"] == pytest.approx(
        indicators(POLY, **stuck)["thickness_mean_nm"], rel=5e-3
    )
    assert run_quietly(vented, **stuck)["thickness_mean_nm"] == pytest.approx(
        indicators(vented, **stuck)["thickness_mean_nm"], rel=5e-3
    )
