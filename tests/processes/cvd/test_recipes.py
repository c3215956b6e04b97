"""Recipes: field names, defaults, what is refused, and how steps become setpoints in time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from labkit.core import registry
from labkit.core.errors import LabkitError, RecipeError
from labkit.core.recipe import read_document
from labkit.processes.cvd import ChemicalVapourDeposition, CVDRecipe
from labkit.processes.cvd.equipment import TUBES
from labkit.processes.cvd.timeline import timeline

PROCESS = ChemicalVapourDeposition()
OXIDE, POLY = PROCESS.example_recipes()
RECIPES = Path(__file__).resolve().parents[3] / "data" / "recipes"


def seed(name: str) -> CVDRecipe:
    found = registry.recipe_from(read_document(RECIPES / f"{name}.json"))
    assert isinstance(found, CVDRecipe)
    return found


@pytest.mark.parametrize("name", ["lpcvd_sio2_100nm", "pecvd_si3n4_50nm", "mocvd_gan_2um", "lpcvd_poly_si"])
def test_recipes_that_come_with_labkit_are_recognised_and_survive_a_round_trip(name: str) -> None:
    recipe = seed(name)
    assert CVDRecipe.from_json(recipe.to_json()) == recipe
    assert recipe.status == "draft"


def test_files_and_examples_describe_the_same_runs() -> None:
    for name, example in (("lpcvd_sio2_100nm", OXIDE), ("lpcvd_poly_si", POLY)):
        assert [c for c in example.diff(seed(name)) if c.path != "process_mode_id"] == []


def test_absent_fields_take_their_documented_defaults() -> None:
    gan = seed("mocvd_gan_2um")
    assert gan.pressure_setpoints.process_pressure_torr == 76.0
    assert gan.pressure_setpoints.base_pressure_torr == 0.001
    assert gan.pressure_setpoints.pumpdown_time_s == 300.0
    assert gan.temperature_profile.zones[0].ramp_rate == 10.0
    assert gan.uniformity_target_pct == 5.0
    assert gan.gas_flows.gases[0].metal_organic
    assert gan.value("recipe_steps.1.TMGa_flow") == 20
    assert seed("pecvd_si3n4_50nm").plasma_settings.dc_bias_v == -100.0  # type: ignore[union-attr]


def test_foreign_bookkeeping_becomes_metadata() -> None:
    document = {
        **json.loads(OXIDE.to_json()),
        "approved_by_id": "x",
        "created_at": "2025-01-01",
        "required_interlocks": None,
    }
    recipe = CVDRecipe.parse(document)
    assert recipe.metadata == {"approved_by_id": "x", "created_at": "2025-01-01"}
    assert recipe.content_hash == OXIDE.content_hash


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"thickness_target_nm": -1.0}, "above 0"),
        ({"recipe_steps.3.duration_s": 0.0}, "above 0"),
        ({"gas_flows.gases.0.flow_sccm": -5.0}, "at least 0"),
        ({"temperature_profile.zones.1.zone": 1}, "each zone number once"),
        ({"gas_flows.gases.1.name": "SiH4"}, "each gas name once"),
        ({"rate_law": "magic"}, "sio2-sih4-n2o"),
        ({"temperature_profile.zones.0.ramp_rate": 0.0}, "at least 1"),
        ({"recipe_steps.0.SiH4_flow": "much"}, "flow in sccm"),
        ({"recipe_steps.0.target_temp_c": 300, "recipe_steps.0.temp_c": 400}, "not both"),
        ({f"recipe_steps.{k}.duration_s": 30_000 for k in range(5)}, "at most 100000"),
    ],
)
def test_bad_values_are_refused_with_what_is_allowed(changes: dict[str, object], word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        OXIDE.changed(changes)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(RecipeError, match="no such field"):
        CVDRecipe.parse({**json.loads(OXIDE.to_json()), "presure": 1})


@pytest.mark.parametrize(("name", "word"), [("pecvd_si3n4_50nm", "plasma"), ("mocvd_gan_2um", "MOCVD")])
def test_modes_without_engine_say_so_once_and_block(name: str, word: str) -> None:
    recipe = seed(name)
    (finding,) = PROCESS.findings(recipe)
    assert finding.blocking
    assert word in finding.message
    with pytest.raises(LabkitError, match="no engine"):
        PROCESS.simulate(recipe, PROCESS.incoming_wafers(recipe))
    with pytest.raises(LabkitError, match="no engine"):
        PROCESS.twin(recipe, PROCESS.incoming_wafers(recipe))
    assert PROCESS.knobs(recipe) == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"film_target": "unobtainium"}, "unobtainium"),
        ({"film_target": "poly-Si"}, "grown from"),
        ({"gas_flows.gases.1.name": "O2"}, "grown from"),
        ({"recipe_steps.3.flows_active": False}, "no step lets gas"),
        ({"gas_flows.gases.0.flow_sccm": 0.0}, "without SiH4"),
        ({"pressure_setpoints.process_pressure_torr": 10.0}, "10 torr"),
        ({"gas_flows.gases.1.flow_sccm": 5000.0}, "throttle"),
        ({"rate_law": "poly-si-apparent"}, "grows poly-Si"),
        ({"temperature_profile.zones.0.setpoint": 1300.0}, "cannot hold"),
        ({"gas_flows.gases.0.timing": "pulse"}, "pulsed"),
        ({"filament_settings": {"filament_temp_c": 1800}}, "hot wire"),
        ({"laser_settings": {"laser_power_w": 3}}, "laser"),
    ],
)
def test_recipes_that_the_tube_cannot_run_are_blocked(changes: dict[str, object], word: str) -> None:
    recipe = OXIDE.changed(changes)
    blocking = [f.message for f in PROCESS.findings(recipe) if f.blocking]
    assert any(word in message for message in blocking), blocking
    with pytest.raises(LabkitError):
        PROCESS.simulate(recipe, PROCESS.incoming_wafers(recipe))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"recipe_steps.1.duration_s": 300.0}, "stretched by 180 s"),
        ({"temperature_profile.zones.0.ramp_rate": 40.0}, "15 °C/min"),
        ({"recipe_steps.1.target_temp_c": 850.0}, "zone setpoints rule"),
        (
            {"temperature_profile.zones.0.setpoint": 910.0, "temperature_profile.zones.1.setpoint": 910.0},
            "extrapolation",
        ),
        ({"gas_flows.gases.1.flow_sccm": 40.0}, "silicon-rich"),
        ({"recipe_steps.3.duration_s": 5.0}, "settle"),
    ],
)
def test_what_the_tube_does_differently_is_said_and_does_not_block(changes: dict[str, object], word: str) -> None:
    found = PROCESS.findings(OXIDE.changed(changes))
    assert any(word in f.message for f in found), found
    assert not any(f.blocking for f in found)


def test_shipped_oxide_and_polysilicon_need_no_remark() -> None:
    assert PROCESS.findings(OXIDE) == ()
    assert PROCESS.findings(POLY) == ()


def test_two_recipe_zones_are_interpolated_onto_three_furnace_zones() -> None:
    tilted = OXIDE.changed(
        {"temperature_profile.zones.0.setpoint": 790.0, "temperature_profile.zones.1.setpoint": 810.0}
    )
    assert tilted.zone_setpoints() == pytest.approx([790.0, 800.0, 810.0])
    assert seed("pecvd_si3n4_50nm").zone_setpoints() == pytest.approx([300.0] * 3)
    assert POLY.zone_setpoints() == pytest.approx([619.0, 620.0, 621.0])


def test_reference_run_takes_52_minutes_with_its_ramp_just_followed() -> None:
    line = timeline(OXIDE, TUBES["SiO2"])
    assert line.samples == 3120
    assert not line.stretched.any()
    assert line.zones[:, 0].tolist() == [700.0, 800.0, 800.0, 800.0, 700.0]


def test_a_step_that_asks_for_less_shifts_every_zone_by_the_difference() -> None:
    graded = OXIDE.changed(
        {
            "temperature_profile.zones.0.setpoint": 790.0,
            "temperature_profile.zones.1.setpoint": 810.0,
            "recipe_steps.0.target_temp_c": 760.0,
        }
    )
    zones = timeline(graded, TUBES["SiO2"]).zones
    assert zones[0].tolist() == pytest.approx([750.0, 760.0, 770.0])
    assert zones[3].tolist() == pytest.approx([790.0, 800.0, 810.0])


def test_a_ramp_cut_short_is_stretched_until_gas_may_flow() -> None:
    hurried = OXIDE.changed({"recipe_steps.1.duration_s": 300.0})
    line = timeline(hurried, TUBES["SiO2"])
    assert line.stretched.tolist() == pytest.approx([0.0, 180.0, 0.0, 0.0, 0.0])
    assert line.samples == 3000


def test_fractions_of_a_sample_count_by_their_share() -> None:
    line = timeline(OXIDE.changed({"recipe_steps.3.duration_s": 1200.4}), TUBES["SiO2"])
    assert line.shares[3].sum() == pytest.approx(1200.4)
    assert line.shares.sum(axis=0)[:-1] == pytest.approx(np.ones(line.samples - 1))


def test_a_step_may_set_a_flow_of_its_own() -> None:
    own = OXIDE.changed({"recipe_steps.3.SiH4_flow": 60.0})
    assert own.recipe_steps[3].flow(own.gas_flows.gases[0]) == 60.0
    assert own.recipe_steps[3].flow(own.gas_flows.gases[1]) == 160.0
    assert own.gas_steps == (3,)


def test_every_field_says_what_it_is() -> None:
    def fields(model: type[BaseModel]) -> list[str]:
        return [name for name, field in model.model_fields.items() if not field.description]

    assert fields(CVDRecipe) == []
