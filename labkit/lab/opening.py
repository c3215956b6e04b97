"""Opening a lab: a folder with a catalogue, run folders and settings; created on first use."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from labkit.core import registry
from labkit.core.errors import NotFound, StoreError
from labkit.core.identity import Principal
from labkit.core.recipe import Recipe, read_document
from labkit.core.settings import load_settings
from labkit.lab.workbench import Lab
from labkit.runs.housekeeping import put_right
from labkit.runs.tool_room import ToolRoom
from labkit.runs.workplace import Workplace
from labkit.store import backup
from labkit.store.catalogue import Catalogue
from labkit.store.identifiers import new_id
from labkit.store.journal import Journals
from labkit.store.run_folder import RunFolders
from labkit.store.transfer import require_no_migration

CATALOGUE = "catalogue.db"
MARKER = "labkit.toml"
_EMPTY_SETTINGS = "# Settings of this lab. See labkit.core.settings for what may stand here; every one has a default.\n"


def open(
    folder: str | os.PathLike[str] = "mylab",
    *,
    principal: Principal | None = None,
    create: bool = True,
    start_worker: bool = True,
) -> Lab:
    """Open the lab in *folder*, creating it if there is none (and *create*).

    Opening also puts right what a crash left behind: half-written run folders are removed, and runs whose process died
    end as their tool's ledger says. A worker is started for what waits in the queue, unless *start_worker* is false.

    Raises
    ------
    NotFound
        If there is no lab and *create* is false.
    StoreError
        If the folder holds something else, cannot be written, or the lab was made by a newer labkit.
    """
    try:
        root = Path(folder).expanduser()
        if not (root / MARKER).exists():
            _found(root, create)
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(
            f"{str(folder)[:200]!r} cannot be a lab ({getattr(error, 'strerror', None) or error})",
            fix="choose a folder you may write",
        ) from None
    owner = new_id()
    lock = FileLock(root / "locks" / f"{owner}.lock")
    try:
        (root / "locks").mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except (OSError, Timeout) as error:
        raise _unwritable(root, error) from None
    try:
        require_no_migration(root)
        place = _workplace(root, principal, owner)
    except BaseException:
        _give_back(lock)
        raise
    try:
        put_right(place, start_worker=start_worker)
    except OSError as error:
        place.catalogue.close()
        _give_back(lock)
        raise _unwritable(root, error) from None
    except BaseException:
        place.catalogue.close()
        _give_back(lock)
        raise
    return Lab(place, lock)


def _workplace(root: Path, principal: Principal | None, owner: str) -> Workplace:
    settings = load_settings(root)
    acting = principal or Principal.local(settings.organisation)
    catalogue = Catalogue(settings.database_url or root / CATALOGUE, acting, folder=root)
    try:
        return Workplace(
            root,
            catalogue,
            RunFolders(settings.storage_url or root),
            Journals(catalogue),
            ToolRoom(catalogue, root, mode=settings.tools, block=settings.telemetry_block),
            settings,
            acting,
            owner,
        )
    except BaseException:
        catalogue.close()
        raise


def _give_back(lock: FileLock) -> None:
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def _unwritable(root: Path, error: Exception) -> StoreError:
    return StoreError(f"lab {root} cannot be written ({error})", fix="make the folder writable, or open a copy")


def _found(root: Path, create: bool) -> None:
    """Turn *root* into an empty lab."""
    if root.exists() and not root.is_dir():
        raise StoreError(f"{root} is a file, not a folder", fix="choose another folder")
    if not create:
        raise NotFound(
            f"no lab in {root}",
            fix=f'create one with labkit.open("{root}"), or run a recipe: labkit --lab {root} run …',
        )
    if root.exists() and any(root.iterdir()) and not (root / CATALOGUE).exists():
        raise StoreError(f"{root} holds other files and is not a lab", fix="choose a new or empty folder")
    root.mkdir(parents=True, exist_ok=True)
    aside = root / f".{MARKER}.new"
    aside.write_text(_EMPTY_SETTINGS, encoding="utf-8")
    aside.replace(root / MARKER)


def restore(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Lab:
    """Restore a backup *archive* into a new or empty *folder* and open it."""
    backup.restore(Path(archive), Path(folder))
    return open(folder, create=False)


def load_recipe(source: str | os.PathLike[str]) -> Recipe:
    """A recipe from a JSON file; the process is named in it or recognised.

    Raises
    ------
    RecipeError
        If it cannot be read or is refused, with field, value, allowed range and fix.
    """
    return registry.recipe_from(read_document(Path(source)))
