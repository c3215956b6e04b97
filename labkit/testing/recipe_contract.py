"""What a recipe type must keep: JSON in and out, a stable hash, and a clear refusal of everything else."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.core.errors import LabkitError, RecipeError, SchemaError
from labkit.core.recipe import Recipe, RecipeStatus
from labkit.core.units import same_dimension
from labkit.testing.documents import mutated, nodes, nudged, parent
from labkit.testing.subject import Subject


class RecipeContract(Subject):
    """Documents become a recipe that can be run, or a refusal that says what to change."""

    mutated_simulations: ClassVar[int] = 40

    def test_there_is_an_example_recipe_and_each_is_a_draft_of_this_process(self) -> None:
        assert self.examples
        for recipe in self.examples:
            assert isinstance(recipe, self.process.recipe_type)
            assert recipe.status is RecipeStatus.DRAFT

    def test_recipes_survive_a_round_trip_through_json(self) -> None:
        for recipe in self.examples:
            back = self.process.recipe_type.from_json(recipe.to_json())
            assert back == recipe
            assert back.content_hash == recipe.content_hash
            assert back.to_json() == recipe.to_json()

    def test_the_hash_does_not_depend_on_the_order_of_keys(self) -> None:
        for recipe in self.examples:
            assert self.process.parse(_reversed(json.loads(recipe.to_json()))).content_hash == recipe.content_hash

    def test_the_hash_covers_every_knob_but_neither_status_nor_notes(self) -> None:
        for recipe in self.examples:
            assert recipe.model_copy(update={"status": RecipeStatus.APPROVED}).content_hash == recipe.content_hash
            assert recipe.changed({"metadata": {"remark": "seen"}}).content_hash == recipe.content_hash
            for knob in self.process.knobs(recipe):
                middle = (knob.low + knob.high) / 2.0
                other = middle if middle != recipe.value(knob.path) else (middle + knob.high) / 2.0
                try:
                    moved = recipe.changed({knob.path: other})
                except RecipeError:
                    continue
                assert moved.content_hash != recipe.content_hash, f"{knob.path} does not shape the hash"

    def test_an_imported_approval_becomes_a_draft_with_a_note(self) -> None:
        for recipe in self.examples:
            imported = self.process.parse({**json.loads(recipe.to_json()), "status": "approved"})
            assert imported.status is RecipeStatus.DRAFT
            assert any("approved" in note for note in imported.notes)
            assert imported.content_hash == recipe.content_hash

    def test_every_number_in_the_json_schema_has_a_unit_and_a_description(self) -> None:
        schema = self.process.recipe_type.model_json_schema()
        lacking = []
        for where, field in _numeric_properties(schema):
            if not field.get("description"):
                lacking.append(f"{where} has no description")
            if "units" not in field:
                lacking.append(f"{where} has no units")
            else:
                same_dimension(field["units"], field["units"])
        assert not lacking, "declare these with labkit.core.recipe.knob: " + "; ".join(lacking)

    def test_unknown_fields_are_refused_by_name(self) -> None:
        for recipe in self.examples:
            with pytest.raises(RecipeError, match="no_such_knob"):
                self.process.parse({**json.loads(recipe.to_json()), "no_such_knob": 1.0})

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(self, value: float) -> None:
        for recipe in self.examples:
            for path in nodes(json.loads(recipe.to_json())):
                document = json.loads(recipe.to_json())
                holder, key = parent(document, path), path[-1]
                if isinstance(holder[key], float):
                    holder[key] = value
                    with pytest.raises(RecipeError):
                        self.process.parse(document)

    def test_a_refusal_says_field_value_allowed_range_and_fix(self) -> None:
        for recipe in self.examples:
            document = json.loads(recipe.to_json())
            document["safety_hazard_level"] = 99
            with pytest.raises(RecipeError) as refused:
                self.process.parse(document)
            [problem] = refused.value.problems
            assert problem.field == "safety_hazard_level"
            assert problem.value == 99
            assert "5" in problem.allowed
            assert problem.fix

    def test_a_recipe_of_another_process_is_refused(self) -> None:
        with pytest.raises(RecipeError, match="no_such_process"):
            self.process.parse({**json.loads(self.examples[0].to_json()), "process": "no_such_process"})

    def test_a_recipe_has_no_difference_from_itself_and_names_the_one_it_has(self) -> None:
        for recipe in self.examples:
            assert recipe.diff(recipe) == ()
            renamed = recipe.changed({"name": recipe.name + " b"})
            assert [change.path for change in recipe.diff(renamed)] == ["name"]

    def test_a_mutated_document_is_refused_clearly_or_runs(self) -> None:
        documents = [json.loads(recipe.to_json()) for recipe in self.examples]
        accepted: dict[str, Recipe] = {}
        known = {_physics(recipe) for recipe in self.examples}

        @settings(max_examples=500, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
        @given(document=mutated(documents) | nudged(documents))
        def a_recipe_or_a_refusal(document: dict[str, Any]) -> None:
            try:
                recipe = self.process.parse(document)
            except RecipeError as refusal:
                assert str(refusal)
            else:
                assert self.process.recipe_type.from_json(recipe.to_json()) == recipe
                accepted[_physics(recipe)] = recipe

        a_recipe_or_a_refusal()
        assert accepted, "no mutated document was accepted: are the bounds of the knobs too narrow?"
        new = [recipe for physics, recipe in accepted.items() if physics not in known]
        for recipe in new[:: max(1, -(-len(new) // self.mutated_simulations))]:
            self._exercise(recipe)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        document=st.dictionaries(
            st.text(max_size=8), st.none() | st.integers() | st.floats() | st.text(max_size=8), max_size=6
        )
    )
    def test_a_document_of_something_else_is_refused_clearly(self, document: dict[str, Any]) -> None:
        self.process.recognises(document)
        with pytest.raises(RecipeError):
            self.process.parse({**document, "name": 0})

    def _exercise(self, recipe: Recipe) -> None:
        """Everything an accepted recipe may be asked for works, or is refused in labkit's own words."""
        process = self.process
        process.findings(recipe)
        process.knobs(recipe)
        process.targets(recipe)
        try:
            wafer = process.incoming_wafers(recipe)
            result = process.simulate(recipe, wafer)
            departures = process.schema.problems(result)
            assert not departures, f"{departures} from {recipe.to_json(indent=None)}"
            process.summarise(recipe, result)
            process.twin(recipe, wafer, seed=0).advance(5)
        except SchemaError:
            raise
        except LabkitError as refusal:
            assert str(refusal)


def _physics(recipe: Recipe) -> str:
    """A hash of what shapes the wafers, so that recipes that differ in name only count once."""
    administrative = {"name": "", "version": 1, "safety_hazard_level": 1, "required_interlocks": ()}
    return recipe.model_copy(update=administrative).content_hash


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def _numeric_properties(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    models = {schema.get("title", "recipe"): schema, **schema.get("$defs", {})}
    for model, definition in models.items():
        for name, field in definition.get("properties", {}).items():
            if _is_numeric(field):
                found.append((f"{model}.{name}", field))
    return found


def _is_numeric(field: dict[str, Any]) -> bool:
    if field.get("type") in ("number", "integer"):
        return True
    inner = [
        *field.get("anyOf", ()),
        *field.get("prefixItems", ()),
        field.get("items"),
        field.get("additionalProperties"),
    ]
    return any(_is_numeric(part) for part in inner if isinstance(part, dict))
