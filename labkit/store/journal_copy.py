"""Journals go along when a lab moves to PostgreSQL or is backed up from there: from files into the table, and back.

What cannot be read stays where it is: a run that has come to rest needs its journal no more.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from labkit.core.errors import Corrupted
from labkit.store import tables
from labkit.store.documents import dumps
from labkit.store.engine import in_words
from labkit.store.journal_files import FileJournals
from labkit.store.journal_tables import journal
from labkit.store.journal_writer import Line

CHUNK = 100
"""Entries in memory at a time; one may hold 100 kB of telemetry."""


def into_table(folder: Path, source: sa.Connection, target: sa.Connection) -> list[tuple[FileJournals, str]]:
    """Copy every journal in *folder* into the table of *target*, a PostgreSQL database; those that arrived whole, and
    can be removed here once that is committed: whose they are, and the run.

    Parameters
    ----------
    source : Connection
        The catalogue that the journals belong to; it says which organisations there are.

    Raises
    ------
    StoreError
        If *target* refuses them; nothing is committed here.
    """
    with in_words(source.engine.url):
        owners = source.execute(sa.select(tables.organisations.c.name)).scalars().all()
    arrived = []
    for owner in owners:
        kept = FileJournals(folder, owner)
        for run in kept.listing():
            with in_words(target.engine.url), target.begin_nested() as attempt:
                if _copy(kept, run, target):
                    arrived.append((kept, run))
                else:
                    attempt.rollback()
    return arrived


def into_files(source: sa.Connection, folder: Path) -> list[Path]:
    """Write every journal in the table of *source*, a PostgreSQL database, as a file in *folder*; the files.

    Raises
    ------
    StoreError
        If they cannot be read or written.
    """
    with in_words(source.engine.url):
        known = source.execute(sa.select(journal.c.org_id, journal.c.run).distinct()).all()
    written = []
    for owner, run in known:
        files = FileJournals(folder, owner)
        mine = journal.c.org_id == owner, journal.c.run == run
        with closing(files.ledger(run)) as ledger:
            while True:
                later = sa.select(journal).where(*mine, journal.c.sequence > ledger.last)
                with in_words(source.engine.url):
                    page = source.execute(later.order_by(journal.c.sequence).limit(CHUNK)).all()
                if not page:
                    break
                ledger.append([Line(row.sequence, row.at, row.kind, dumps(row.header), row.payload) for row in page])
                ledger.last = page[-1].sequence
        written.append(files.path(run))
    return written


def _copy(kept: FileJournals, run: str, target: sa.Connection) -> bool:
    """Whether the journal of *run* could be read to its end."""
    last = 0
    with closing(kept.reader(run)) as reader:
        while True:
            try:
                page = reader.read(last, CHUNK)
            except Corrupted:
                return False
            if not page:
                return True
            rows = [
                {
                    "org_id": kept.organisation,
                    "run": run,
                    "sequence": entry.sequence,
                    "at": entry.at,
                    "kind": entry.kind,
                    "header": entry.header,
                    "payload": entry.payload,
                }
                for entry in page
            ]
            target.execute(sa.insert(journal), rows)
            last = page[-1].sequence
