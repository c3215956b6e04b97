"""Journals in a PostgreSQL table: every host of a fleet can read what one of them writes.

The table is partitioned by a hash of the run, not into one partition per run: making and dropping partitions would
lock the whole table against everybody, again and again. A run's rows lie in one partition; removing them blocks nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from labkit.core.errors import StoreError
from labkit.store.clock import UtcTime
from labkit.store.engine import in_words
from labkit.store.identifiers import check_id
from labkit.store.journal_writer import Entry, Ledger, Line

PARTITIONS = 16
"""Into how many partitions the table is divided."""
TAKEOVER_S = 2.0
"""How long a new writer waits for the server to notice that the old one died, s."""
_metadata = sa.MetaData()
journal = sa.Table(
    "journal",
    _metadata,
    sa.Column("org_id", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("header", sa.JSON, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)
"""The table as the code speaks of it; it exists on PostgreSQL only."""


def create_partitioned(connection: sa.Connection) -> None:
    """Make the journal's table and its partitions on PostgreSQL, where they are missing; elsewhere nothing.

    Called by migration 0003, so it never changes: a new layout is a new migration.
    """
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS journal (org_id text NOT NULL, run text NOT NULL, sequence bigint NOT NULL, "
        "at timestamptz NOT NULL, kind text NOT NULL, header json NOT NULL, payload bytea NOT NULL, "
        "CONSTRAINT pk_journal PRIMARY KEY (org_id, run, sequence)) PARTITION BY HASH (run)"
    )
    # Measured values hardly compress, and trying costs more than the disk it saves.
    connection.exec_driver_sql("ALTER TABLE journal ALTER COLUMN payload SET STORAGE EXTERNAL")
    for number in range(PARTITIONS):
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS journal_{number} PARTITION OF journal "
            f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number}) WITH "
            "(autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05)"
        )


class TableJournals:
    """The journals of one organisation in the catalogue's PostgreSQL database."""

    def __init__(self, engine: sa.Engine, organisation: str) -> None:
        self.engine, self.organisation = engine, organisation
        self.key = ("table", engine.url.render_as_string(hide_password=True), organisation)

    def ledger(self, run: str) -> Ledger:
        """The journal of *run* for writing, on a connection of its own.

        Raises
        ------
        StoreError
            If another writer has it, or the server cannot be reached.
        """
        return _TableLedger(self.engine, self.organisation, check_id(run))

    def reader(self, run: str) -> TableReader:
        """The journal of *run* for reading; it need not exist yet."""
        return TableReader(self.engine, self.organisation, check_id(run))

    def remove(self, run: str) -> bool:
        """Remove the journal of *run*; whether there was one. Refused while it is being written."""
        with in_words(self.engine.url), self.engine.begin() as connection:
            _take(connection, sa.func.pg_try_advisory_xact_lock, self.organisation, check_id(run))
            return connection.execute(sa.delete(journal).where(*self._of(run))).rowcount > 0

    def listing(self) -> list[str]:
        """The runs that have a journal, in order of their ids."""
        statement = sa.select(journal.c.run).where(journal.c.org_id == self.organisation).distinct()
        with _reading(self.engine) as connection:
            return sorted(connection.execute(statement).scalars())

    def set_aside(self, run: str) -> str:
        """Refused: damage in the database is the server's to mend.

        Raises
        ------
        StoreError
            Always.
        """
        raise StoreError(f"the journal of run {run} is in the database", fix="restore the database from its backup")

    def _of(self, run: str) -> tuple[sa.ColumnElement[bool], ...]:
        return journal.c.org_id == self.organisation, journal.c.run == run


class TableReader:
    """One run's rows, read through the catalogue's pool."""

    def __init__(self, engine: sa.Engine, organisation: str, run: str) -> None:
        self.engine = engine
        self._entries = sa.select(
            journal.c.sequence, journal.c.at, journal.c.kind, journal.c.header, journal.c.payload
        ).where(journal.c.org_id == organisation, journal.c.run == run)
        self._any = sa.select(sa.exists(sa.select(1).where(journal.c.org_id == organisation, journal.c.run == run)))

    def read(self, after: int, limit: int) -> list[Entry] | None:
        """Up to *limit* entries beyond *after*; None if there is no journal."""
        later = self._entries.where(journal.c.sequence > after).order_by(journal.c.sequence).limit(limit)
        with _reading(self.engine) as connection:
            found = [Entry(*row) for row in connection.execute(later)]
            return found if found or connection.execute(self._any).scalar() else None

    def last(self, kind: str | None) -> Entry | None:
        """The newest entry, of one *kind* or of any."""
        statement = self._entries if kind is None else self._entries.where(journal.c.kind == kind)
        with _reading(self.engine) as connection:
            row = connection.execute(statement.order_by(journal.c.sequence.desc()).limit(1)).first()
        return None if row is None else Entry(*row)

    def close(self) -> None:
        """Nothing to let go of: connections go back to the pool at once."""


class _TableLedger:
    """One run's rows held for writing, by an advisory lock that the server frees when the connection ends."""

    def __init__(self, engine: sa.Engine, organisation: str, run: str) -> None:
        self.organisation, self.run = organisation, run
        # A connection for the length of a run is not taken from the catalogue's pool, which has few.
        self._engine = sa.create_engine(engine.url, poolclass=NullPool, json_serializer=str)
        self._connection: sa.Connection | None = None
        self._using = threading.Lock()
        self.last = 0
        try:
            with in_words(self._engine.url):
                self._held()
        except BaseException:
            self.close()
            raise

    def append(self, lines: Sequence[Line]) -> None:
        """Keep *lines* in one transaction, without waiting for the server's disk."""
        with self._using, in_words(self._engine.url):
            try:
                connection = self._held()
                # After a lost connection it may be that the last commit had arrived: those lines are there already.
                rows = [self._row(line) for line in lines if line.sequence > self.last]
                with connection.begin():
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                    if rows:
                        connection.execute(sa.insert(journal), rows)
            except exc.DBAPIError:
                self._let_go()
                raise

    def settle(self) -> None:
        """Wait until the server's log is on its disk up to now."""
        with self._using, in_words(self._engine.url):
            try:
                connection = self._held()
                with connection.begin():
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
                    # A commit waits for the log only if it wrote to it, and then for all that was written before.
                    connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'labkit', '')")
            except exc.DBAPIError:
                self._let_go()
                raise

    def close(self) -> None:
        """Free the lock and end the connection."""
        if self._connection is not None:
            with suppress(exc.DBAPIError):
                # The server may notice the end of the connection only a little later.
                self._connection.execute(sa.select(sa.func.pg_advisory_unlock(_lock_name(self.organisation, self.run))))
        self._let_go()
        self._engine.dispose()

    def _row(self, line: Line) -> dict[str, Any]:
        return {
            "org_id": self.organisation,
            "run": self.run,
            "sequence": line.sequence,
            "at": line.at,
            "kind": line.kind,
            "header": line.header,
            "payload": line.payload,
        }

    def _held(self) -> sa.Connection:
        """The connection that holds the lock; a new one, and the last sequence read anew, if it was lost."""
        if self._connection is None:
            connection = self._engine.connect()
            try:
                mine = journal.c.org_id == self.organisation, journal.c.run == self.run
                with connection.begin():
                    _take(connection, sa.func.pg_try_advisory_lock, self.organisation, self.run)
                    newest = connection.execute(sa.select(sa.func.max(journal.c.sequence)).where(*mine)).scalar()
                if (newest or 0) < self.last:
                    raise StoreError(
                        f"the database lost entries {(newest or 0) + 1} to {self.last} of run {self.run}'s journal",
                        fix="open another writer, and write again what was not flushed with durable=True",
                    )
                self.last = newest or 0
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


@contextmanager
def _reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    with in_words(engine.url), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def _lock_name(organisation: str, run: str) -> sa.ColumnElement[int]:
    return sa.func.hashtextextended(f"journal/{organisation}/{run}", 0)


def _take(connection: sa.Connection, function: Any, organisation: str, run: str) -> None:
    wanted = sa.select(function(_lock_name(organisation, run)))
    deadline = time.monotonic() + TAKEOVER_S
    while not connection.execute(wanted).scalar():
        if time.monotonic() > deadline:
            raise _taken(run)
        time.sleep(0.02)


def _taken(run: str) -> StoreError:
    return StoreError(
        f"the journal of run {run} is being written by another process",
        allowed="one writer at a time",
        fix="wait for the other writer, or end it",
    )
