"""Thousands of mutated recipe files: each is refused clearly or is a recipe that runs; nothing partial is ever left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import labkit
from labkit.core import registry
from labkit.core.errors import LabkitError, RecipeError
from labkit.core.recipe import Recipe, read_document
from labkit.core.resources import resource
from labkit.lab import Lab, load_recipe

from .mutation import dumped, mutated_documents, mutated_texts, originals

FILES = originals(resource("data/recipes"))
DOCUMENTS = [read_document(content.decode()) for content in FILES]
NOTHING_SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the mutated file lies."""
    return tmp_path_factory.mktemp("mutated") / "recipe.json"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one tool for each process, on which everything runs that is a recipe."""
    with labkit.open(tmp_path_factory.mktemp("shared") / "lab") as lab:
        for process in lab.processes():
            lab.add_tool(process["name"], process["name"])
        yield lab


def _read(path: Path, content: bytes) -> Recipe | None:
    """The recipe in *content*, or None if it is refused in one line that says what to do."""
    path.write_bytes(content)
    try:
        return load_recipe(path)
    except RecipeError as error:
        said = str(error)
        assert "\n" not in said
        assert 0 < len(said) < 20_000
        assert error.problems or error.allowed or error.fix
        for problem in error.problems:
            assert problem.field
            assert problem.allowed
            assert problem.fix
        return None


def _is_understood(recipe: Recipe) -> None:
    """A recipe that was accepted reads back equal, and its process can say what it thinks of it."""
    process = registry.process(recipe.process)
    assert type(recipe).from_json(recipe.to_json()) == recipe
    assert len(recipe.content_hash) == 64
    assert recipe.status == "draft"
    process.family(recipe)
    process.targets(recipe)
    knobs = process.knobs(recipe)
    if not any(finding.blocking for finding in process.findings(recipe)):
        assert all(knob.low < knob.high for knob in knobs)


def test_every_original_is_a_recipe(path: Path) -> None:
    assert len(FILES) >= 7
    for content in FILES:
        recipe = _read(path, content)
        assert recipe is not None
        _is_understood(recipe)


@settings(NOTHING_SLOW, max_examples=1200)
@given(content=mutated_texts(FILES))
def test_a_file_with_mutated_bytes_is_refused_clearly_or_read(path: Path, content: bytes) -> None:
    recipe = _read(path, content)
    if recipe is not None:
        _is_understood(recipe)


@settings(NOTHING_SLOW, max_examples=1200)
@given(document=mutated_documents(DOCUMENTS))
def test_a_file_with_mutated_values_is_refused_clearly_or_read(path: Path, document: dict[str, Any]) -> None:
    recipe = _read(path, dumped(document))
    if recipe is not None:
        _is_understood(recipe)


@settings(NOTHING_SLOW, max_examples=200)
@given(document=mutated_documents(DOCUMENTS))
def test_whatever_is_a_recipe_runs_or_is_refused_and_leaves_nothing_partial(
    shared: Lab, path: Path, document: dict[str, Any]
) -> None:
    recipe = _read(path, dumped(document))
    if recipe is None:
        return
    before = shared.counts()["runs"]
    try:
        run = shared.execute(recipe, tool=recipe.process, progress=False)
    except LabkitError as error:
        assert "\n" not in str(error)
        assert {row["state"] for row in shared.runs(limit=1)} <= {"FAILED"} or shared.counts()["runs"] == before
        return
    assert shared.counts()["runs"] == before + 1
    assert run.state in ("COMPLETED", "ENGINEER_REVIEW", "BLOCKED", "REJECTED")
    assert (run.record["folder"] is None) == (run.state in ("BLOCKED", "REJECTED"))
    assert run.measured if run.record["folder"] else run.reason
    assert [tool["state"] for tool in shared.tools()] == ["standby"] * len(shared.tools())


def test_after_all_of_them_the_lab_is_whole(shared: Lab, whole: Callable[[Lab], None]) -> None:
    whole(shared)
