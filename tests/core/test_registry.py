"""The registry: one door, clear refusals, nothing broken gets in its neighbour's way."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from labkit.core import registry
from labkit.core.errors import PluginError, RecipeError

GROUP = "labkit.models"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points that seem to be installed."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry for entry in entries if entry.group == group])
    caches = (registry._entries, registry.load, registry.process)
    for cache in caches:
        cache.cache_clear()
    yield entries
    for cache in caches:
        cache.cache_clear()


def test_a_plug_in_is_loaded_by_name_when_it_is_asked_for(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("root", "math:sqrt", GROUP))
    assert registry.names(GROUP) == ("root",)
    assert registry.load(GROUP, "root")(9.0) == 3.0
    assert set(registry.available(GROUP)) == {"root"}


def test_an_unknown_group_and_an_unknown_name_are_refused_with_those_that_exist(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("root", "math:sqrt", GROUP))
    with pytest.raises(PluginError, match=r"labkit\.processes"):
        registry.names("labkit.nothing")
    with pytest.raises(PluginError, match=r"no model called 'tree'.*root"):
        registry.load(GROUP, "tree")


def test_a_broken_plug_in_warns_and_its_neighbours_load(installed: list[EntryPoint]) -> None:
    installed += [
        EntryPoint("root", "math:sqrt", GROUP),
        EntryPoint("broken", "math:no_such_thing", GROUP),
        EntryPoint("absent", "no_such_module:x", GROUP),
    ]
    with pytest.warns(registry.PluginWarning) as caught:
        assert set(registry.available(GROUP)) == {"root"}
    assert len(caught) == 2
    with pytest.raises(PluginError, match="cannot be loaded: AttributeError"):
        registry.load(GROUP, "broken")


def test_a_built_in_keeps_its_name(installed: list[EntryPoint]) -> None:
    installed += [EntryPoint("root", "aaa:x", GROUP), EntryPoint("root", "labkit.core.units:convert", GROUP)]
    with pytest.warns(registry.PluginWarning, match="'aaa:x' also calls itself 'root'"):
        assert registry.load(GROUP, "root").__name__ == "convert"


def test_the_same_plug_in_seen_twice_is_no_clash(installed: list[EntryPoint]) -> None:
    installed += [EntryPoint("root", "math:sqrt", GROUP), EntryPoint("root", "math:sqrt", GROUP)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.names(GROUP) == ("root",)


def test_what_is_no_process_is_refused_and_skipped(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("etching", "fractions:Fraction", "labkit.processes"))
    with pytest.raises(PluginError, match=r"not a labkit\.core\.process\.Process"):
        registry.process("etching")
    with pytest.warns(registry.PluginWarning):
        assert registry.processes() == {}


def test_a_document_that_names_no_installed_process_is_refused_with_those_that_are(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("etching", "fractions:Fraction", "labkit.processes"))
    for named in ("milling", 7, ["etching"], {"a": 1}):
        with pytest.raises(RecipeError, match=r"is not installed.*etching"):
            registry.recipe_from({"process": named})


def test_a_document_that_nobody_recognises_is_refused(installed: list[EntryPoint]) -> None:
    assert installed == []
    with pytest.raises(RecipeError, match="no process recognises this recipe"):
        registry.recipe_from({"name": "a"})
