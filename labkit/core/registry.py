"""Plug-ins through one door: entry-point groups, loaded on demand; a broken one warns and is skipped."""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from labkit.core.errors import PluginError, RecipeError
from labkit.core.process import Process
from labkit.core.recipe import Recipe

GROUPS = ("labkit.processes", "labkit.devices", "labkit.models", "labkit.controllers", "labkit.stores")


class PluginWarning(UserWarning):
    """A plug-in could not be used and was skipped."""


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    if group not in GROUPS:
        raise PluginError(f"no plug-in group {group!r}", allowed=", ".join(GROUPS))
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: (not e.value.startswith("labkit."), e.name)):
        if entry.name in found:
            if found[entry.name].value != entry.value:
                warnings.warn(
                    f"plug-in {entry.value!r} also calls itself {entry.name!r} in {group}; it is skipped",
                    PluginWarning,
                    stacklevel=3,
                )
            continue
        found[entry.name] = entry
    return found


def names(group: str) -> tuple[str, ...]:
    """Names of the plug-ins installed in *group*, loaded or not."""
    return tuple(sorted(_entries(group)))


@cache
def load(group: str, name: str) -> Any:
    """The object that plug-in *name* of *group* provides.

    Raises
    ------
    PluginError
        If there is no such plug-in, or it cannot be imported.
    """
    entries = _entries(group)
    if name not in entries:
        raise PluginError(
            f"no {group.removeprefix('labkit.').rstrip('s')} called {name!r}",
            allowed=", ".join(sorted(entries)) or "none installed",
            fix="install the package that provides it",
        )
    try:
        return entries[name].load()
    except Exception as error:
        raise PluginError(
            f"plug-in {name!r} ({entries[name].value}) cannot be loaded: {type(error).__name__}: {error}",
            fix="repair or uninstall the package that provides it",
        ) from error


def available(group: str) -> dict[str, Any]:
    """Every plug-in of *group* that loads; each one that does not is a warning."""
    loaded: dict[str, Any] = {}
    for name in names(group):
        try:
            loaded[name] = load(group, name)
        except PluginError as error:
            warnings.warn(str(error), PluginWarning, stacklevel=2)
    return loaded


@cache
def process(name: str) -> Process:
    """The process called *name* (one stateless instance).

    Raises
    ------
    PluginError
        If there is none, it does not load, or it is not a :class:`~labkit.core.process.Process`.
    """
    found = load("labkit.processes", name)
    instance = found() if isinstance(found, type) else found
    if not isinstance(instance, Process):
        raise PluginError(f"plug-in {name!r} is a {type(instance).__name__}, not a labkit.core.process.Process")
    if instance.name != name or instance.recipe_type.process != name:
        raise PluginError(
            f"plug-in {name!r} calls itself {instance.name!r} and its recipes {instance.recipe_type.process!r}",
            allowed="one name in the entry point, the process and the recipe type",
        )
    return instance


def processes() -> dict[str, Process]:
    """Every process that loads, by name; broken ones warn."""
    loaded: dict[str, Process] = {}
    for name in names("labkit.processes"):
        try:
            loaded[name] = process(name)
        except PluginError as error:
            warnings.warn(str(error), PluginWarning, stacklevel=2)
    return loaded


def recipe_from(document: dict[str, Any]) -> Recipe:
    """A recipe of whichever process *document* names or, without a ``process`` key, resembles.

    Raises
    ------
    RecipeError
        If no process or more than one recognises it, or the process refuses it.
    """
    named = document.get("process")
    if named is not None:
        if not isinstance(named, str) or named not in names("labkit.processes"):
            raise RecipeError(
                f"recipe names process {str(named)[:80]!r}, which is not installed",
                allowed=", ".join(names("labkit.processes")),
                fix='correct "process" in the file',
            )
        return process(named).parse(document)
    candidates = [p for p in processes().values() if p.recognises(document)]
    if len(candidates) == 1:
        return candidates[0].parse(document)
    seen = "no process recognises" if not candidates else f"{', '.join(p.name for p in candidates)} all recognise"
    raise RecipeError(
        f"{seen} this recipe", allowed=", ".join(names("labkit.processes")), fix='add "process": "<name>" to the file'
    )
