"""What the functions of the loop need to know about the lab they act in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from labkit.core.identity import Principal
from labkit.core.settings import Settings
from labkit.store.catalogue import Catalogue
from labkit.store.run_folder import RunFolders


@dataclass(frozen=True)
class Workplace:
    """A lab's store, settings and the person acting; ``owner`` marks this process as the executor of its runs."""

    folder: Path
    catalogue: Catalogue
    folders: RunFolders
    settings: Settings
    principal: Principal
    owner: str
    unsettled: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Runs whose failure could not be written yet: kind of error and message, by run."""
