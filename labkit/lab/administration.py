"""Keeping a lab in order: counting, verifying, backing up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import Corrupted
from labkit.runs.workplace import Workplace
from labkit.store import audit, backup, recovery, tables


def counts(place: Workplace) -> dict[str, int]:
    """Rows of the main tables."""
    with place.catalogue.read() as tx:
        found = {
            name: int(tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for name, table in (("runs", tables.runs), ("recipes", tables.recipes), ("tools", tables.tools))
        }
        open_entries = tx.select(tables.quarantine, tables.quarantine.c.resolved_at.is_(None))
    return {**found, "quarantined": len(open_entries)}


def quarantined(place: Workplace) -> list[dict[str, Any]]:
    """Everything set aside and not yet resolved."""
    with place.catalogue.read() as tx:
        return tx.select(
            tables.quarantine, tables.quarantine.c.resolved_at.is_(None), order=[tables.quarantine.c.number]
        )


def verify(place: Workplace) -> list[dict[str, Any]]:
    """Check the audit chain and every file of every run; what is damaged, as rows."""
    found = []
    try:
        audit.verify(place.catalogue)
    except Corrupted as error:
        found.append({"kind": "audit", "subject": "audit log", "reason": error.what})
    found += [
        {"kind": "run", "subject": finding.run, "reason": finding.what}
        for finding in recovery.check(place.catalogue, place.folders)
    ]
    return found


def write_backup(place: Workplace, archive: Path) -> Path:
    """One archive file with catalogue, run folders and artifacts."""
    backup.backup(place.catalogue, place.folder, archive)
    return archive
