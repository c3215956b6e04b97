"""The ledger's file: one SQLite database per tool, in WAL mode; its tables, rows, and what its errors mean."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.core.errors import Corrupted, LabkitError, ToolError

VERSION = 1
"""Layout of the tables; a file of another one is refused."""

BUSY_S = 10.0
"""How long a writer waits for another process that holds the file, s."""

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, recipe_hash TEXT NOT NULL, fence INTEGER NOT NULL, number INTEGER NOT NULL UNIQUE,
    state TEXT NOT NULL, samples INTEGER NOT NULL, delivered INTEGER NOT NULL DEFAULT 0,
    last_sequence INTEGER NOT NULL DEFAULT 0, acknowledged INTEGER NOT NULL DEFAULT 0,
    released INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
    started REAL NOT NULL, ended REAL
);
CREATE INDEX IF NOT EXISTS runs_open ON runs (run_id) WHERE closed = 0;
CREATE TABLE IF NOT EXISTS blocks (
    run_id TEXT NOT NULL, sequence INTEGER NOT NULL, samples INTEGER NOT NULL, data BLOB NOT NULL,
    UNIQUE (run_id, sequence)
);
CREATE TABLE IF NOT EXISTS outcomes (run_id TEXT PRIMARY KEY, truth BLOB NOT NULL, measured BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS memory (
    only INTEGER PRIMARY KEY CHECK (only = 1), fence INTEGER NOT NULL DEFAULT 0, latched INTEGER NOT NULL DEFAULT 0,
    run_count INTEGER NOT NULL DEFAULT 0, faults TEXT NOT NULL DEFAULT '[]', condition TEXT
);
INSERT OR IGNORE INTO memory (only) VALUES (1);
CREATE TABLE IF NOT EXISTS events (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, run_id TEXT,
    detail TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS executions (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, time REAL NOT NULL
);
CREATE TRIGGER IF NOT EXISTS executions_stay BEFORE DELETE ON executions
BEGIN SELECT RAISE(ABORT, 'executions are append-only'); END;
CREATE TRIGGER IF NOT EXISTS executions_are_final BEFORE UPDATE ON executions
BEGIN SELECT RAISE(ABORT, 'executions are append-only'); END;
"""


@dataclass(frozen=True)
class Memory:
    """What a tool remembers besides its runs: the newest fence seen, whether an emergency stop is latched, how many
    runs it has started, and its injected faults and condition as plain JSON (None: as installed)."""

    fence: int = 0
    latched: bool = False
    run_count: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    condition: dict[str, Any] | None = None


@dataclass(frozen=True)
class LedgerEvent:
    """One thing that happened to a tool: when (Unix time, s), what, to which run, and details in words."""

    time: float
    kind: str
    run_id: str | None
    detail: str


def open_database(path: Path | None) -> sqlite3.Connection:
    """A connection to the ledger at *path* (none: in memory), with its tables; any thread may use it, one at a time.

    Raises
    ------
    Corrupted
        If the file is no ledger, is damaged, or has another layout.
    ToolError
        If it cannot be opened or written.
    """
    where = ":memory:" if path is None else str(path)
    connection = None
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(where, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        _prepare(connection, where)
    except (sqlite3.Error, OSError, LabkitError) as error:
        if connection is not None:
            connection.close()
        raise in_words(error, where) from None
    return connection


def _prepare(connection: sqlite3.Connection, where: str) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    # Checkpoints sync the whole file; they are made after runs, not inside a commit that somebody waits for.
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA synchronous=FULL")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found == VERSION:
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(f"malformed: {damage}")
        return
    if found or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise Corrupted(
            f"{where} has ledger layout {found}, not {VERSION}", fix="open it with the labkit version that wrote it"
        )
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={VERSION}; COMMIT;")


def in_words(error: Exception, where: str) -> LabkitError:
    """A database error as what was wrong and what to do."""
    if isinstance(error, LabkitError):
        return error
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "not a database" in reason or "malformed" in reason or "no such" in reason:
        return Corrupted(
            f"{where}: the tool's ledger is damaged ({reason})",
            fix="restore the file from a backup, or move it away: the tool then starts as new and knows no run",
        )
    if "disk is full" in reason:
        return ToolError(f"{where} cannot be written: the disk is full", fix="free space; the tool then goes on")
    if "is locked" in reason or "is busy" in reason:
        return ToolError(f"{where} is held by another process", fix="wait for that process, or end it")
    return ToolError(f"{where} cannot be used ({reason})", fix="check that the folder is writable and the disk healthy")
