"""No built-in chapter goes untested, and none takes another's recipe for its own."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from labkit.core import registry


def built_in() -> list[str]:
    """Names of the processes that labkit itself offers."""
    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return sorted(project["entry-points"]["labkit.processes"])


@pytest.mark.parametrize("name", built_in())
def test_every_built_in_process_has_a_contract_test(name: str) -> None:
    assert f'process_name = "{name}"' in Path(__file__).with_name(f"test_{name}.py").read_text("utf-8")


@pytest.mark.parametrize("name", built_in())
def test_a_document_without_a_process_is_recognised_by_its_own_chapter_only(name: str) -> None:
    for recipe in registry.process(name).example_recipes():
        document = json.loads(recipe.to_json())
        del document["process"]
        assert [other for other in built_in() if registry.process(other).recognises(document)] == [name]
        assert registry.recipe_from(document).content_hash == recipe.content_hash
