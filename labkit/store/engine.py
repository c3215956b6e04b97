"""Database engines: SQLite so that no concurrent update is lost and no acknowledged commit vanishes; PostgreSQL by
URL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import ConnectionPoolEntry

from labkit.core.errors import LabkitError, StoreError
from labkit.store.documents import dumps

BUSY_TIMEOUT_S = 60.0
"""How long a writer waits for another one before it gives up, s."""


def database_url(location: str | Path) -> sa.URL:
    """The SQLAlchemy URL of *location*: a SQLite file path, or a ``sqlite:`` or ``postgresql:`` URL.

    Raises
    ------
    StoreError
        If it names another kind of database.
    """
    text = str(location)
    if isinstance(location, Path) or "://" not in text:
        return sa.URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        url = sa.make_url(text)
    except exc.ArgumentError:
        raise StoreError(
            "the catalogue's URL cannot be read", allowed="a file path or postgresql://user@host/name"
        ) from None
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"catalogue URL of kind {backend!r}", allowed="sqlite:///file or postgresql://user@host/name")
    return url


def create_engine(url: sa.URL) -> sa.Engine:
    """An engine for *url* with labkit's transaction rules; nothing is connected yet.

    On SQLite: WAL, foreign keys on, explicit transactions. A connection with the execution option
    ``labkit_write`` begins with ``BEGIN IMMEDIATE``; without it and WAL, concurrent read-modify-writes are lost
    silently. ``labkit_durable`` (the default) makes the commit reach the disk before it is acknowledged.
    """
    options: dict[str, Any] = {"json_serializer": dumps, "json_deserializer": json.loads}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": BUSY_TIMEOUT_S}
    else:
        options["pool_pre_ping"] = True
    try:
        engine = sa.create_engine(url, **options)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"PostgreSQL needs the package {error.name!r}", fix="pip install 'labkit[postgresql]'"
        ) from None
    if url.get_backend_name() == "sqlite":
        engine.dialect.statement_compiler = _HintingCompiler
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


class _HintingCompiler(SQLiteCompiler):
    """SQLAlchemy drops table hints on SQLite; here ``INDEXED BY`` and ``NOT INDEXED`` come after the table's name."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


def _prepare_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "foreign_keys=ON",
        "synchronous=FULL",
        "temp_store=MEMORY",
        "cache_size=-32000",
        "mmap_size=268435456",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # Straight to the driver: through SQLAlchemy these words would cost more than the rest of a short transaction.
    driver: Any = connection.connection.dbapi_connection
    options = connection.get_execution_options()
    if not options.get("labkit_write"):
        driver.execute("BEGIN")
        return
    mode = "FULL" if options.get("labkit_durable", True) else "NORMAL"
    if connection.info.get("synchronous") != mode:
        driver.execute(f"PRAGMA synchronous={mode}")
        connection.info["synchronous"] = mode
    driver.execute("BEGIN IMMEDIATE")


@contextmanager
def in_words(url: sa.URL) -> Iterator[None]:
    """Turn database errors inside the block into a :class:`StoreError` that says what to do."""
    try:
        yield
    except exc.IntegrityError as error:
        reason = str(error.orig).splitlines()[0]
        raise StoreError(
            f"the catalogue refused a row: {reason}",
            allowed="unique names and links to rows that exist",
            fix="use another name or version, or create the linked row first",
        ) from error
    except (exc.StatementError, sqlite3.Error) as error:
        if isinstance(error, exc.StatementError) and isinstance(error.orig, LabkitError):
            raise error.orig from None
        cause = error.orig if isinstance(error, exc.StatementError) else error
        raise _translated(str(cause), url) from error


def _translated(reason: str, url: sa.URL) -> StoreError:
    shown = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    known = {
        "readonly": ("cannot be written (read-only)", "make the folder writable, or copy the lab to one that is"),
        "unable to open": ("cannot be opened", "check that the folder exists and is writable"),
        "disk is full": ("cannot be written: the disk is full", "free space and repeat; nothing partial was kept"),
        "disk I/O error": ("cannot be written: the disk reports an error", "check space and health of the disk"),
        "locked": ("is busy with another writer", "wait for the other process, or end it"),
        "not a database": ("is not a labkit catalogue", "restore it from a backup (labkit backup --help)"),
        "malformed": ("is damaged", "restore it from a backup (labkit backup --help)"),
        "connection": ("cannot be reached", "check that the server runs and that the URL is right"),
    }
    for sign, (what, fix) in known.items():
        if sign in reason:
            return StoreError(f"catalogue {shown} {what}", fix=fix)
    first = (reason.splitlines() or ["unknown database error"])[0]
    return StoreError(f"catalogue {shown}: {first}")
