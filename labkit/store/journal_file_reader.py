"""Reading one journal file: never waiting for its writer, never making or changing a file.

A journal that is being written is a SQLite database with a WAL; one that is not is complete in itself. Readers look at
the file before every reading, so that they notice when it appears, is taken over or is removed.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import weakref
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from labkit.core.errors import Corrupted
from labkit.store.journal_writer import Entry

REMEDY = (
    "set it aside with journals.set_aside(run_id); the run itself goes on, and its tool keeps what was not acknowledged"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_COLUMNS = "SELECT sequence, at, kind, header, payload, crc FROM entries"


class Opened:
    """Who has one journal file open in this process.

    SQLite shares one memory map of a WAL's index within a process. Were a reader, who must not write to it, the one
    that opened it, a writer here could not write either: so readers let go while a writer opens the file.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.readers: weakref.WeakSet[FileReader] = weakref.WeakSet()


_opened: weakref.WeakValueDictionary[Path, Opened] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def in_this_process(path: Path) -> Opened:
    """Who has the file at *path* open here."""
    with _opening:
        return _opened.setdefault(path.absolute(), Opened())


class FileReader:
    """One journal file, opened when it exists and let go when it is removed; never waits for the writer."""

    def __init__(self, path: Path, organisation: str) -> None:
        self.path, self.organisation = path, organisation
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int, bool] | None = None
        self._foreign = False
        self._shared = in_this_process(path)
        with self._shared.lock:
            self._shared.readers.add(self)

    def read(self, after: int, limit: int) -> list[Entry] | None:
        """Up to *limit* entries beyond *after*; None if there is no journal.

        Raises
        ------
        Corrupted
            If the file is damaged or no journal.
        """
        return self._query(f"{_COLUMNS} WHERE sequence > ? ORDER BY sequence LIMIT ?", after, limit)

    def last(self, kind: str | None) -> Entry | None:
        """The newest entry, of one *kind* or of any."""
        of_kind, values = (" WHERE kind = ?", (kind,)) if kind is not None else ("", ())
        found = self._query(f"{_COLUMNS}{of_kind} ORDER BY sequence DESC LIMIT 1", *values)
        return found[0] if found else None

    def foreign(self) -> bool:
        """Whether the journal is another organisation's; one that cannot be read is nobody's."""
        try:
            with self._shared.lock:
                return self._connect() is None and self._foreign
        except (sqlite3.Error, Corrupted):
            return False

    def close(self) -> None:
        """Let go of the file."""
        with self._shared.lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._identity = None
            self._foreign = False

    def _query(self, statement: str, *values: object) -> list[Entry] | None:
        for attempt in range(3):
            try:
                with self._shared.lock:
                    connection = self._connect()
                    if connection is None:
                        return None
                    rows = connection.execute(statement, values).fetchall()
                return [_entry(row, self.path) for row in rows]
            except (sqlite3.Error, Corrupted) as error:
                # Opened in the very instant in which the writer began, ended or removed the file: look again.
                self.close()
                if not self.path.exists():
                    return None
                if attempt == 2:
                    raise _unreadable(self.path, error) from None
                time.sleep(0.005)
        return None

    def _connect(self) -> sqlite3.Connection | None:
        """The connection to the file as it is now; None where there is none or it is another organisation's."""
        identity = _identity(self.path)
        if identity is None:
            self.close()
        elif identity != self._identity:
            self.close()
            # Without a WAL nobody writes, and the file is complete in itself; opened otherwise SQLite would make one.
            how = "readonly_shm=1" if identity[2] else "immutable=1"
            uri = f"{self.path.absolute().as_uri()}?mode=ro&{how}"
            connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
            try:
                (layout,) = connection.execute("PRAGMA user_version").fetchone()
                about = connection.execute("SELECT org_id FROM about").fetchone() if layout else None
            except BaseException:
                connection.close()
                raise
            if about is None:
                connection.close()
                return None
            self._connection, self._identity = connection, identity
            self._foreign = about[0] != self.organisation
        return None if self._foreign else self._connection


def beside(path: Path) -> tuple[Path, Path]:
    """The WAL of the database at *path* and its index."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _identity(path: Path) -> tuple[int, int, bool] | None:
    """What a reader must open the file anew for: another file, or its WAL begun or folded in; None: nothing there."""
    try:
        found = path.stat()
    except OSError:
        return None
    has_wal = beside(path)[0].exists()
    return found.st_ino, 0 if has_wal else found.st_mtime_ns, has_wal


def checksum(kind: str, header: str, payload: bytes) -> int:
    """CRC-32 of an entry, which SQLite itself would not miss if it changed."""
    return zlib.crc32(payload, zlib.crc32(f"{kind}\n{header}".encode()))


def instant(at: datetime) -> int:
    """*at* in microseconds since 1970."""
    return (at - _EPOCH) // _INSTANT


def _entry(row: tuple[int, int, str, str, bytes, int], path: Path) -> Entry:
    sequence, at, kind, header, payload, crc = row
    if checksum(kind, header, payload) != crc:
        raise Corrupted(f"journal {path}: entry {sequence} does not match its checksum", fix=REMEDY)
    return Entry(sequence, _EPOCH + at * _INSTANT, kind, json.loads(header), payload)


def _unreadable(path: Path, error: Exception) -> Corrupted:
    reason = error.what if isinstance(error, Corrupted) else f"journal {path} cannot be read ({error})"
    return Corrupted(reason, fix=REMEDY)
