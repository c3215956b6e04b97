"""Every built-in chapter keeps the process contract."""

from __future__ import annotations

import json

import pytest

from labkit.core import registry
from labkit.testing import ProcessTests

BUILT_IN = ("cvd", "lithography")


class TestChemicalVapourDeposition(ProcessTests):
    process_name = "cvd"


class TestLithography(ProcessTests):
    process_name = "lithography"


def test_every_built_in_process_is_tested_here() -> None:
    assert {
        name for name, entry in registry._entries("labkit.processes").items() if entry.value.startswith("labkit.")
    } == set(BUILT_IN)
    tested = {case.process_name for case in (TestChemicalVapourDeposition, TestLithography)}
    assert tested == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_document_without_a_process_is_recognised_by_its_own_chapter_only(name: str) -> None:
    for recipe in registry.process(name).example_recipes():
        document = json.loads(recipe.to_json())
        del document["process"]
        recognised = [other for other in BUILT_IN if registry.process(other).recognises(document)]
        assert recognised == [name]
        assert registry.recipe_from(document).content_hash == recipe.content_hash
