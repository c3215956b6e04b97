"""Recipes: JSON in and out, a hash with meaning, changes and differences, and refusals that help."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from labkit.core.errors import RecipeError
from labkit.core.recipe import Recipe, RecipeStatus, Strict, knob, leaves, read_document


class Step(Strict):
    """One step."""

    duration_s: float = knob(units="s", description="Duration", gt=0, le=3600)
    flows_sccm: dict[str, float] = knob({}, units="sccm", description="Flows")


class Etch(Recipe):
    """An etch."""

    process: ClassVar[str] = "etching"
    power_w: float = knob(300.0, units="W", description="Power", ge=0, le=1000)
    steps: tuple[Step, ...] = knob((Step(duration_s=10.0, flows_sccm={"CF4": 20.0}),), description="Steps")


recipes = st.builds(
    Etch,
    name=st.text(min_size=1, max_size=20).filter(str.isprintable),
    power_w=st.floats(0, 1000),
    steps=st.lists(st.builds(Step, duration_s=st.floats(0.1, 3600)), min_size=1, max_size=3).map(tuple),
)


@given(recipes)
def test_json_reads_back_equal(recipe: Etch) -> None:
    assert Etch.from_json(recipe.to_json()) == recipe
    assert Etch.from_json(recipe.to_json(indent=None)).content_hash == recipe.content_hash


@given(recipes, st.randoms())
def test_the_hash_does_not_depend_on_the_order_of_keys(recipe: Etch, random: Any) -> None:
    items = list(json.loads(recipe.to_json()).items())
    random.shuffle(items)
    assert Etch.parse(dict(items)).content_hash == recipe.content_hash


@given(recipes, recipes)
def test_two_recipes_differ_exactly_if_their_hashes_do(first: Etch, second: Etch) -> None:
    assert (first.diff(second) == ()) == (first.content_hash == second.content_hash)


@given(recipes, recipes)
def test_applying_a_difference_of_values_gives_the_other_recipe(first: Etch, second: Etch) -> None:
    if len(first.steps) == len(second.steps):
        moved = first.changed({change.path: change.after for change in first.diff(second)})
        assert moved.content_hash == second.content_hash


def test_the_hash_is_sha256_of_the_canonical_json() -> None:
    # Spelled out, so that a change of the canonical form, which would void every approval, is noticed.
    text = (
        '{"name":"a","power_w":300.0,"process":"etching","required_interlocks":[],"safety_hazard_level":1,'
        '"steps":[{"duration_s":10.0,"flows_sccm":{"CF4":20.0}}],"version":1}'
    )
    assert Etch(name="a").content_hash == hashlib.sha256(text.encode()).hexdigest()


def test_status_metadata_and_notes_are_outside_the_hash_and_everything_else_is_inside() -> None:
    recipe = Etch(name="a")
    for outside in ({"metadata": {"k": 1}}, {"notes": ("x",)}, {"status": RecipeStatus.APPROVED}):
        assert recipe.model_copy(update=outside).content_hash == recipe.content_hash
    for inside in (
        {"name": "b"},
        {"version": 2},
        {"power_w": 301.0},
        {"safety_hazard_level": 2},
        {"required_interlocks": ["door"]},
        {"steps.0.duration_s": 11.0},
        {"steps.0.flows_sccm.CF4": 21.0},
    ):
        assert recipe.changed(inside).content_hash != recipe.content_hash


def test_an_integer_and_its_float_are_the_same_recipe() -> None:
    assert Etch.parse({"name": "a", "power_w": 300}).content_hash == Etch(name="a").content_hash


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        Etch(name="a").power_w = 5.0  # type: ignore[misc]


def test_changed_validates_and_leaves_the_original() -> None:
    recipe = Etch(name="a")
    assert recipe.changed({"power_w": 5.0}).power_w == 5.0
    assert recipe.power_w == 300.0
    with pytest.raises(RecipeError, match="at most 1000"):
        recipe.changed({"power_w": 5000.0})
    for path in ("steps.9.duration_s", "steps.x", "power_w.deep", "nowhere.deep", "steps.9"):
        with pytest.raises(RecipeError):
            recipe.changed({path: 1.0})


def test_changed_does_not_carry_an_approval_along() -> None:
    approved = Etch(name="a").model_copy(update={"status": RecipeStatus.APPROVED})
    assert approved.changed({"power_w": 1.0}).status is RecipeStatus.DRAFT


def test_value_finds_fields_and_list_positions() -> None:
    recipe = Etch(name="a")
    assert recipe.value("power_w") == 300.0
    assert recipe.value("steps.0.flows_sccm.CF4") == 20.0
    for path in ("steps.1", "steps.0.nothing", "power_w.x", "", "steps.one"):
        with pytest.raises(RecipeError, match="has no field"):
            recipe.value(path)


def test_diff_names_each_field_with_both_values() -> None:
    recipe = Etch(name="a")
    longer = recipe.changed({"steps": [{"duration_s": 10.0, "flows_sccm": {"CF4": 25.0}}, {"duration_s": 3.0}]})
    lines = [str(change) for change in recipe.diff(longer)]
    assert "steps.0.flows_sccm.CF4: 20.0 → 25.0" in lines
    assert "steps.1.duration_s: None → 3.0" in lines


def test_an_imported_approval_becomes_a_draft_with_one_note() -> None:
    once = Etch.parse({"name": "a", "status": "approved"})
    assert once.status is RecipeStatus.DRAFT
    assert len(once.notes) == 1
    again = Etch.parse({**json.loads(once.to_json()), "status": "approved"})
    assert again.notes == once.notes


def test_comments_are_tolerated_outside_strings_only() -> None:
    text = '{ // a remark\n "name": "http://x /* kept */", /* another\n one */ "power_w": 5 }'
    recipe = Etch.from_json(text)
    assert recipe.name == "http://x /* kept */"
    assert recipe.power_w == 5.0


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"name": "a"}')
    assert Etch.from_json(path).name == "a"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON at line 1"),
        (b"[1]", "a recipe is a JSON object, not list"),
        (b'{"name": NaN}', "NaN is not a number"),
        (b'{"power_w": -Infinity}', "-Infinity is not a number"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"[" * 100_000, "nested"),
        (b'{"name": ', "not JSON at line 1"),
        (b'{"power_w": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=words) as refused:
        read_document(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RecipeError, match="cannot be read"):
            read_document(path)


def test_a_huge_document_is_refused() -> None:
    with pytest.raises(RecipeError, match="at most 4000000"):
        read_document('{"name": "' + "x" * 4_000_001 + '"}')


@pytest.mark.parametrize(
    ("document", "field", "allowed"),
    [
        ({"name": "a", "power_w": 1001}, "power_w", "at most 1000"),
        ({"name": "a", "power_w": -1}, "power_w", "at least 0"),
        ({"name": "a", "steps": [{"duration_s": 0}]}, "steps.0.duration_s", "above 0"),
        ({}, "name", "a value"),
        ({"name": "a", "powr_w": 1}, "powr_w", "no such field"),
        ({"name": ""}, "name", "at least 1"),
        ({"name": "a", "power_w": "many"}, "power_w", "a number"),
        ({"name": "a", "power_w": math.inf}, "power_w", "finite"),
        ({"name": "a", "power_w": 10**400}, "power_w", ""),
        ({"name": "a", "version": 1.5}, "version", "a whole number"),
    ],
)
def test_a_refusal_names_field_value_range_and_fix(document: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Etch.parse(document)
    [problem] = [found for found in refused.value.problems if found.field == field]
    assert allowed in problem.allowed
    assert problem.fix
    assert field in str(refused.value)


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(RecipeError) as refused:
        Etch.parse({"power_w": -1, "extra": 1})
    assert {problem.field for problem in refused.value.problems} == {"name", "power_w", "extra"}


@pytest.mark.parametrize("metadata", [{"a": math.nan}, {"a": [1, {"b": math.inf}]}])
def test_numbers_that_are_not_finite_are_refused_in_free_metadata_too(metadata: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="metadata"):
        Etch.parse({"name": "a", "metadata": metadata})


def test_overflowing_numbers_in_a_file_are_refused_in_free_metadata_too() -> None:
    with pytest.raises(RecipeError, match="metadata"):
        Etch.from_json('{"name": "a", "metadata": {"a": 1e999}}')


def test_text_that_cannot_be_stored_is_refused() -> None:
    for document in (
        {"name": "\ud800"},
        {"name": "a", "metadata": {"k": "\ud800"}},
        {"name": "a", "metadata": {"\ud800": 1}},
    ):
        with pytest.raises(RecipeError):
            Etch.parse(document)


def test_a_deeply_nested_document_is_refused_wherever_it_is_deep() -> None:
    deep: Any = 1.0
    for _ in range(900):
        deep = [deep]
    for document in ({"name": deep}, {"name": "a", "metadata": {"k": deep}}, {"name": "a", "steps": deep}):
        with pytest.raises(RecipeError, match="nested") as refused:
            Etch.parse(document)
        assert str(refused.value)


def test_metadata_keeps_what_json_holds_and_refuses_objects() -> None:
    kept = {"text": "µ", "list": [1, 2.5, None, True], "object": {"k": []}}
    assert Etch(name="a", metadata=kept).metadata == kept
    assert Etch.from_json(Etch(name="a", metadata={"k": (1, 2)}).to_json()) == Etch(name="a", metadata={"k": (1, 2)})
    with pytest.raises(RecipeError, match="as JSON holds them"):
        Etch.parse({"name": "a", "metadata": {"k": object()}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["name", "power_w", "steps", "status", "metadata", "notes", "version", "process", "x"]),
        json_values,
    )
)
def test_any_document_is_a_recipe_that_round_trips_or_a_refusal(document: dict[str, Any]) -> None:
    try:
        recipe = Etch.parse(document)
    except RecipeError as refusal:
        assert str(refusal)
    else:
        assert Etch.from_json(recipe.to_json()) == recipe
        recipe.to_json().encode("utf-8")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(read_document(text), dict)
    except RecipeError as refusal:
        assert str(refusal)


def test_leaves_are_every_scalar_with_its_path() -> None:
    assert dict(leaves({"a": [1, {"b": 2}], "c": {}, "d": []})) == {"a.0": 1, "a.1.b": 2, "c": {}, "d": []}


def test_the_json_schema_carries_unit_bounds_and_meaning() -> None:
    power = Etch.model_json_schema()["properties"]["power_w"]
    assert power == {
        "default": 300.0,
        "description": "Power",
        "maximum": 1000,
        "minimum": 0,
        "title": "Power W",
        "type": "number",
        "units": "W",
    }
