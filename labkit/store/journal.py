"""The journal of a run while it runs: telemetry, progress, alerts and state changes, in order, for any process to read.

One process writes it, any number read it from any sequence on, without a broker. It outlives the death of its writer;
the next one goes on where that one stopped. When the run's folder is committed the journal is removed.

Order is by sequence only. Sequences count from 1 without gaps; times are what the writer's clock said, which may jump.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from labkit.store.catalogue import Catalogue
from labkit.store.journal_file_reader import FileReader
from labkit.store.journal_files import FileJournals
from labkit.store.journal_tables import TableJournals, TableReader, create_partitioned
from labkit.store.journal_writer import Entry, JournalWriter

FOLDER = "journal"
"""The folder of the journals within a lab's folder."""
PAGE = 1000
"""How many entries are read at once unless told otherwise."""
JournalReader = FileReader | TableReader
"""A journal held open for reading again and again: ``read(after, limit)``, ``last(kind)``, ``close()``."""


class Journals:
    """The journals of a lab, as one organisation sees them.

    Parameters
    ----------
    place : Catalogue, str or Path
        The lab's catalogue: on PostgreSQL the journals are a table there, else files in the lab's folder. Or that
        folder itself.
    organisation : str, optional
        Who owns the journals; the catalogue's principal says so itself.
    """

    def __init__(self, place: Catalogue | str | Path, organisation: str = "default") -> None:
        self._kept: FileJournals | TableJournals
        if not isinstance(place, Catalogue):
            self._kept = FileJournals(Path(place) / FOLDER, organisation)
        elif place.engine.dialect.name == "postgresql" or place.folder is None:
            self._kept = TableJournals(place.engine, place.principal.organisation)
        else:
            self._kept = FileJournals(place.folder / FOLDER, place.principal.organisation)

    @property
    def key(self) -> tuple[str, ...]:
        """What two ``Journals`` of the same journals have in common."""
        return self._kept.key

    def writer(self, run_id: str) -> JournalWriter:
        """The one writer of *run_id*'s journal, which is created where there is none and otherwise continued.

        Raises
        ------
        StoreError
            If another process or object is writing it, or it cannot be written.
        Corrupted
            If there is something that is no journal.
        """
        return JournalWriter(self._kept.ledger(run_id))

    def reader(self, run_id: str) -> JournalReader:
        """The journal of *run_id* to read again and again; it need not exist yet, and may be removed at any moment."""
        return self._kept.reader(run_id)

    def read(self, run_id: str, after: int = 0, limit: int = PAGE) -> list[Entry]:
        """Up to *limit* entries beyond the sequence *after*; none where there is no journal.

        Raises
        ------
        Corrupted
            If it is damaged.
        """
        with closing(self.reader(run_id)) as reader:
            return reader.read(after, limit) or []

    def last(self, run_id: str, kind: str | None = None) -> Entry | None:
        """The newest entry (of one *kind*); None where there is none."""
        with closing(self.reader(run_id)) as reader:
            return reader.last(kind)

    def exists(self, run_id: str) -> bool:
        """Whether *run_id* has a journal; in a database: with at least one entry."""
        with closing(self.reader(run_id)) as reader:
            return reader.read(0, 1) is not None

    def remove(self, run_id: str) -> bool:
        """Remove the journal of *run_id*; returns whether there was one. Its readers see that it is gone.

        Raises
        ------
        StoreError
            If it is being written, or cannot be removed.
        """
        return self._kept.remove(run_id)

    def listing(self) -> list[str]:
        """The ids of the runs that have a journal, for housekeeping."""
        return self._kept.listing()

    def set_aside(self, run_id: str) -> str:
        """Rename a damaged journal so that the run can go on with a new one; returns where it is now."""
        return self._kept.set_aside(run_id)

    def __repr__(self) -> str:
        return f"<journals {self.key[1]} of {self.key[2]}>"


__all__ = ["FOLDER", "PAGE", "Entry", "JournalReader", "JournalWriter", "Journals", "create_partitioned"]
