"""Every row of one catalogue into another, whatever the two databases are, checked against what left.

Both sides are as of one moment: the caller opens the transactions. Rows of all organisations go along; that is why
nothing but a migration and a backup may use this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import Corrupted
from labkit.core.identity import Principal
from labkit.store import audit, tables
from labkit.store.catalogue import Catalogue
from labkit.store.engine import create_engine, database_url, in_words
from labkit.store.journal_copy import into_files
from labkit.store.schema import bring_up_to_date
from labkit.store.transaction import Transaction

CHUNK = 500
"""Rows in memory at a time; a run's row may hold 100 kB of documents."""
_MASK = (1 << 64) - 1
Progress = Callable[[str, int], object]
Content = tuple[int, int]
"""Number of rows, and the sum of their hashes modulo 2⁶⁴: equal for equal rows in any order, within one process."""


def copy_tables(source: sa.Connection, target: sa.Connection, *, progress: Progress | None = None) -> dict[str, int]:
    """Copy every table from *source* to the empty tables of *target*; rows copied, by table.

    Running numbers stay, and new rows of *target* are numbered on from where *source* stood. Nothing is committed.

    Parameters
    ----------
    progress : callable, optional
        Called with a table's name and its rows once it is copied.

    Raises
    ------
    StoreError
        If a row cannot be read, or *target* refuses it.
    Corrupted
        If what arrived is not what left, or an audit chain of *source* does not hold.
    """
    copied: dict[str, int] = {}
    for table in tables.metadata.sorted_tables:
        left = _copy(source, target, table)
        if (arrived := _content(target, table)) != left:
            raise Corrupted(f"table {table.name} did not arrive as it left: {left[0]} rows, then {arrived[0]}")
        _continue_numbers(source, target, table)
        copied[table.name] = left[0]
        if progress is not None:
            progress(table.name, left[0])
    if heads(source) != heads(target):
        raise Corrupted("the audit log did not arrive as it left")
    return copied


def embedded_copy(catalogue: Catalogue, file: Path, journals: Path) -> list[Path]:
    """Write the PostgreSQL *catalogue* as of one moment into a new SQLite *file*, while others go on working; its
    journals into files in the folder *journals*, which are returned.

    Raises
    ------
    StoreError
        If a row cannot be read or written.
    Corrupted
        If what arrived is not what left, or an audit chain does not hold.
    """
    engine = create_engine(database_url(file))
    try:
        bring_up_to_date(engine)
        with in_words(catalogue.url), catalogue.engine.connect() as bare:
            source = bare.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with source.begin(), sole_writer(engine) as target:
                copy_tables(source, target)
                return into_files(source, journals)
    finally:
        engine.dispose()


@contextmanager
def sole_writer(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that no other writer comes between."""
    with in_words(engine.url), engine.connect() as bare:
        connection = bare.execution_options(labkit_write=True)
        with connection.begin():
            yield connection


def counts(connection: sa.Connection) -> dict[str, int]:
    """Rows of every table, of all organisations."""
    with in_words(connection.engine.url):
        return {
            table.name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in tables.metadata.sorted_tables
        }


def heads(connection: sa.Connection) -> dict[str, list[Any]]:
    """Length and last hash of every organisation's audit chain, each recomputed from its records.

    Raises
    ------
    Corrupted
        If a record was changed or is missing.
    """
    owner = tables.audit.c.org_id
    with in_words(connection.engine.url):
        organisations = connection.execute(sa.select(owner).distinct()).scalars().all()
    chains = {}
    for organisation in organisations:
        tx = Transaction(connection, Principal("labkit", organisation), writes=False)
        chains[organisation] = list(audit.follow(tx))
    return chains


def _copy(source: sa.Connection, target: sa.Connection, table: sa.Table) -> Content:
    count = total = 0
    for rows in _chunks(source, table):
        with in_words(target.engine.url):
            target.execute(sa.insert(table), [dict(row._mapping) for row in rows])
        count, total = count + len(rows), total + sum(map(_hash, rows))
    return count, total & _MASK


def _content(connection: sa.Connection, table: sa.Table) -> Content:
    count = total = 0
    for rows in _chunks(connection, table):
        count, total = count + len(rows), total + sum(map(_hash, rows))
    return count, total & _MASK


def _chunks(connection: sa.Connection, table: sa.Table) -> Iterator[list[sa.Row[Any]]]:
    with in_words(connection.engine.url):
        found = connection.execute(sa.select(table), execution_options={"yield_per": CHUNK})
        parts = iter(found.partitions())
    while True:
        with in_words(connection.engine.url):
            rows = next(parts, None)
        if rows is None:
            return
        yield list(rows)


def _hash(row: Any) -> int:
    return hash(tuple(_frozen(value) for value in row))


def _frozen(value: Any) -> Any:
    # JSON documents may come back with their keys in another order, and 1e22 as an integer: equal, so hashed alike.
    if isinstance(value, dict):
        return frozenset((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value


def _continue_numbers(source: sa.Connection, target: sa.Connection, table: sa.Table) -> None:
    column = table.autoincrement_column
    if column is None or not (last := _last_number(source, table.name, column.name)):
        return
    with in_words(target.engine.url):
        if target.dialect.name == "postgresql":
            target.execute(sa.select(sa.func.setval(_sequence(table.name, column.name), last)))
            return
        given = {"name": table.name, "last": last}
        target.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), given)
        target.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), given)


def _last_number(connection: sa.Connection, table: str, column: str) -> int:
    with in_words(connection.engine.url):
        if connection.dialect.name == "postgresql":
            name = connection.execute(sa.select(_sequence(table, column))).scalar_one()
            last, used = connection.execute(sa.text(f"SELECT last_value, is_called FROM {name}")).one()
            return int(last) if used else 0
        found = connection.execute(sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table})
        return int(found.scalar() or 0)


def _sequence(table: str, column: str) -> sa.Function[Any]:
    return sa.func.pg_get_serial_sequence(table, column)
