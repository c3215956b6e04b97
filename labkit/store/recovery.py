"""After a crash: what a dead process left between writing a run's folder and committing its row, and what is damaged.

A process that finishes a run holds a lock on ``staging/<run>.intent`` until its commit; the lock dies with it. So
opening a lab has to look only at runs that were being finished, however many there are, and never touches a living
process's work.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labkit.core.errors import Corrupted, StoreError
from labkit.store import tables
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now
from labkit.store.places import writing
from labkit.store.run_folder import RunFolders
from labkit.store.staging import CHECKSUMS, STAGING, claim

RECENT = 200
"""Newest finished runs whose folders are looked for when a lab is opened; :func:`check` looks at all."""

YOUNG_S = 60.0
"""Age up to which nobody's lock file is left alone: its maker may not have locked it yet, s."""
_OWNER = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\.lock")


@dataclass(frozen=True)
class Finding:
    """One thing put right or found damaged: which run, what was wrong, and where its folder is now."""

    run: str
    what: str
    moved_to: str | None = None

    def __str__(self) -> str:
        return f"run {self.run}: {self.what}" + (f", now in {self.moved_to}" if self.moved_to else "")


def recover(catalogue: Catalogue, folders: RunFolders) -> list[Finding]:
    """Clear what dead processes left behind, and look for the folders of the newest runs.

    Half-written folders are removed; a folder that was published but whose row was never committed is moved to
    ``quarantine/``; a row without its folder is entered in the quarantine table. Lock files of dead processes go.
    Everything else stays usable.
    """
    if catalogue.folder is not None:
        sweep_locks(catalogue.folder / "locks")
    return [*_unfinished(catalogue, folders), *_missing(catalogue, folders, RECENT)]


def check(catalogue: Catalogue, folders: RunFolders) -> list[Finding]:
    """Like :func:`recover`, for every folder and every row of the organisation, reading all files against their
    checksums."""
    found = [*_unfinished(catalogue, folders), *_strays(catalogue, folders)]
    for run, folder, checksum in _finished(catalogue, None):
        try:
            folders.verify(folder, checksum)
        except Corrupted as error:
            found.append(_report(catalogue, Finding(run, error.what)))
    return found


def quarantined(catalogue: Catalogue) -> list[Finding]:
    """What is in quarantine and has not been resolved."""
    table = tables.quarantine
    with catalogue.read() as tx:
        rows = tx.select(table, table.c.kind == "run", table.c.resolved_at.is_(None), order=[table.c.number])
    return [Finding(row["subject"], row["reason"], row["moved_to"]) for row in rows]


def resolve(catalogue: Catalogue, folders: RunFolders, run: str) -> None:
    """Take a run out of quarantine once its folder is as the catalogue knows it again (restored from a backup, say).

    Raises
    ------
    Corrupted
        If it still is not.
    """
    with catalogue.read() as tx:
        row = tx.find(tables.runs, id=run)
    if row is not None and row["folder"]:
        folders.verify(row["folder"], row["folder_checksum"])
    with catalogue.begin() as tx:
        tx.update(tables.quarantine, {"kind": "run", "subject": run}, {"resolved_at": now()})


def sweep_locks(locks: Path) -> None:
    """Remove the lock files in *locks* by which dead processes showed that they lived.

    A file that another process holds, or that is not yet :data:`YOUNG_S` old and may be about to be held, stays; so
    does every lock with another name than a process's identifier.
    """
    if not locks.is_dir():
        return
    for path in locks.iterdir():
        with suppress(OSError, Timeout):
            if _OWNER.fullmatch(path.name) and time.time() - path.stat().st_mtime > YOUNG_S:
                with FileLock(path, timeout=0):
                    path.unlink()


def _unfinished(catalogue: Catalogue, folders: RunFolders) -> list[Finding]:
    if folders.local is None or not (folders.local / STAGING).is_dir():
        return []
    found: list[Finding] = []
    staging = folders.local / STAGING
    with writing(staging):
        asides = [path for path in staging.iterdir() if path.is_dir()]
        for intent in sorted(staging.glob("*.intent")):
            run = intent.name.removesuffix(".intent")
            try:
                lock = claim(intent, run, keep=True)
            except StoreError:
                continue
            try:
                found += _clear(catalogue, folders, run, intent.read_bytes())
                intent.unlink(missing_ok=True)
            finally:
                os.close(lock)
        for aside in asides:
            if aside.exists() and not (staging / f"{aside.name}.intent").exists():
                folders.place.remove(f"{STAGING}/{aside.name}")
                found.append(Finding(aside.name, "a half-written folder was removed"))
    return found


def _clear(catalogue: Catalogue, folders: RunFolders, run: str, note: bytes) -> list[Finding]:
    found: list[Finding] = []
    if folders.place.exists(f"{STAGING}/{run}"):
        folders.place.remove(f"{STAGING}/{run}")
        found.append(Finding(run, "a half-written folder was removed"))
    try:
        folder = str(json.loads(note)["folder"])
    except (ValueError, KeyError, TypeError):
        return found
    if folders.place.exists(folder) and not catalogue.holds(run, folder):
        found.append(_set_aside(catalogue, folders, run, folder))
    return found


def _set_aside(catalogue: Catalogue, folders: RunFolders, run: str, folder: str) -> Finding:
    moved = folders.quarantine(folder)
    return _report(catalogue, Finding(run, "its folder was written but never committed", moved))


def _strays(catalogue: Catalogue, folders: RunFolders) -> list[Finding]:
    found = []
    for folder in folders.published():
        run = folder.rpartition("/")[2]
        in_flight = folders.place.exists(f"{STAGING}/{run}.intent")
        if not in_flight and not catalogue.holds(run, folder):
            found.append(_set_aside(catalogue, folders, run, folder))
    return found


def _missing(catalogue: Catalogue, folders: RunFolders, limit: int) -> list[Finding]:
    return [
        _report(catalogue, Finding(run, f"its folder {folder} is missing"))
        for run, folder, _ in _finished(catalogue, limit)
        if not folders.place.exists(f"{folder}/{CHECKSUMS}")
    ]


def _finished(catalogue: Catalogue, limit: int | None) -> list[tuple[str, str, str]]:
    """Id, folder and checksum of runs with a folder, newest first."""
    table, before = tables.runs, None
    found: list[tuple[str, str, str]] = []
    with catalogue.read() as tx:
        while limit is None or len(found) < limit:
            where: list[Any] = [table.c.seq < before] if before is not None else []
            page = tx.select(
                table,
                *where,
                columns=("seq", "id", "folder", "folder_checksum"),
                order=[table.c.seq.desc()],
                limit=limit or 5_000,
            )
            found += [(row["id"], row["folder"], row["folder_checksum"]) for row in page if row["folder"]]
            if limit is not None or not page:
                break
            before = page[-1]["seq"]
    return found


def _report(catalogue: Catalogue, finding: Finding) -> Finding:
    table = tables.quarantine
    with catalogue.begin() as tx:
        known = tx.select(
            table,
            table.c.kind == "run",
            table.c.subject == finding.run,
            table.c.resolved_at.is_(None),
            table.c.reason == finding.what,
        )
        if not known:
            tx.insert(
                table,
                {
                    "kind": "run",
                    "subject": finding.run,
                    "reason": finding.what,
                    "moved_to": finding.moved_to,
                    "at": now(),
                },
            )
    return finding
