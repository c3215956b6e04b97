"""What the functions of the loop need to know about the lab they act in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from labkit.core.identity import Principal
from labkit.core.settings import Settings
from labkit.runs.gate import Forecasts
from labkit.runs.tool_room import ToolRoom
from labkit.store.catalogue import Catalogue
from labkit.store.journal import Journals
from labkit.store.run_folder import RunFolders


@dataclass(frozen=True)
class Workplace:
    """A lab's store, tools, settings and the person acting; ``owner`` marks this process as the executor of its
    runs."""

    folder: Path
    catalogue: Catalogue
    folders: RunFolders
    journals: Journals
    tools: ToolRoom
    settings: Settings
    principal: Principal
    owner: str
    forecasts: Forecasts = field(default_factory=Forecasts)
    unsettled: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Runs whose end could not be written yet: kind of error and message, by run."""
    active: set[str] = field(default_factory=set)
    """Runs that a thread of this process is working on."""
    relieved: set[str] = field(default_factory=set)
    """Tools that this process knows to keep no run that is committed."""
    admitting: set[str] = field(default_factory=set)
    """Runs that a thread of this process is letting into the queue."""
