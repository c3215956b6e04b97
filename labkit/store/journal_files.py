"""Journals as files: one small SQLite database per run, written by one process and read by any.

The writer commits in WAL mode without waiting for the disk, which outlives its process; one flush of the WAL then
covers everything before it against a loss of power. Readers open the file without the right to create or change
anything beside it, so that a run's folder holds nothing once its journal is removed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from labkit.core.errors import Corrupted, StoreError
from labkit.store.identifiers import check_id
from labkit.store.journal_file_reader import REMEDY, FileReader, beside, checksum, in_this_process, instant
from labkit.store.journal_writer import Ledger, Line

FORMAT = 1
"""Version of the file's layout, in its ``user_version``."""
_LAYOUT = (
    "CREATE TABLE about (org_id TEXT NOT NULL, run TEXT NOT NULL)",
    "CREATE TABLE entries (sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, "
    "header TEXT NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL)",
)


class FileJournals:
    """The journals in one folder that belong to one organisation."""

    def __init__(self, folder: Path, organisation: str) -> None:
        self.folder, self.organisation = folder, organisation
        self.key = ("files", str(folder.absolute()), organisation)

    def path(self, run: str) -> Path:
        """The file of *run*'s journal, whether it exists or not."""
        return self.folder / f"{check_id(run)}.db"

    def ledger(self, run: str) -> Ledger:
        """The journal of *run* for writing, created where there is none.

        Raises
        ------
        StoreError
            If another writer has it, or it cannot be written.
        Corrupted
            If there is a file that is no journal of this run.
        """
        return _FileLedger(self.path(run), run, self.organisation)

    def reader(self, run: str) -> FileReader:
        """The journal of *run* for reading; it need not exist yet."""
        return FileReader(self.path(run), self.organisation)

    def remove(self, run: str) -> bool:
        """Remove the journal of *run*; whether there was one. Refused while it is being written."""
        path = self.path(run)
        with closing(self.reader(run)) as reader:
            if not path.exists() or reader.foreign():
                return False
        lock = _lock(path)
        try:
            # The database goes first: what is left of an interrupted removal is then no journal to anyone.
            for victim in (path, *beside(path)):
                victim.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"journal {path} cannot be removed ({error.strerror})", fix="end its readers, or free the folder"
            ) from None
        finally:
            _unlock(lock)
        return True

    def listing(self) -> list[str]:
        """The runs that have a journal, in order of their ids."""
        if not self.folder.is_dir():
            return []
        found = []
        for path in sorted(self.folder.glob("*.db")):
            with closing(FileReader(path, self.organisation)) as reader:
                if not reader.foreign():
                    found.append(path.stem)
        return found

    def set_aside(self, run: str) -> str:
        """Rename a journal that cannot be read, so that the run can have a new one; the name it has now."""
        path = self.path(run)
        lock = _lock(path)
        try:
            again = 1
            while (target := path.with_suffix(f".unreadable-{again}")).exists():
                again += 1
            for victim in (*beside(path), path):
                if victim.exists():
                    victim.replace(f"{target}{victim.name.removeprefix(path.name)}")
        finally:
            _unlock(lock)
        return str(target)


class _FileLedger:
    """A journal file held for writing."""

    def __init__(self, path: Path, run: str, organisation: str) -> None:
        self.path = path
        self._settled = False
        try:
            _make_folder(path.parent)
        except OSError as error:
            raise _failed(path, error) from None
        self._lock = _lock(path)
        try:
            self._shared = in_this_process(path)
            with _in_words(path), self._shared.lock:
                for reader in list(self._shared.readers):
                    reader.close()
                self._open(run, organisation)
        except BaseException:
            _unlock(self._lock)
            raise

    def _open(self, run: str, organisation: str) -> None:
        self._connection = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("page_size=8192", "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=2000"):
                self._connection.execute(f"PRAGMA {pragma}")
            (layout,) = self._connection.execute("PRAGMA user_version").fetchone()
            if layout == 0:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement in _LAYOUT:
                    self._connection.execute(statement)
                self._connection.execute("INSERT INTO about VALUES (?, ?)", (organisation, run))
                self._connection.execute(f"PRAGMA user_version={FORMAT}")
                self._connection.execute("COMMIT")
            elif layout != FORMAT:
                raise StoreError(f"journal {self.path} was written by a newer labkit", fix="pip install -U labkit")
            found = self._connection.execute("SELECT org_id, run FROM about").fetchall()
            if found != [(organisation, run)]:
                raise StoreError(f"journal {self.path} is not this run's", fix="give the run another id")
            (last,) = self._connection.execute("SELECT max(sequence) FROM entries").fetchone()
            self.last: int = last or 0
        except BaseException:
            self._connection.close()
            raise

    def append(self, lines: Sequence[Line]) -> None:
        """Keep *lines* in one transaction, without waiting for the disk."""
        rows = [(each.sequence, instant(each.at), each.kind, each.header, _sum(each), each.payload) for each in lines]
        with _in_words(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def settle(self) -> None:
        """Flush the WAL: it holds every commit that SQLite has not already flushed into the database itself."""
        try:
            # A commit that waits for the disk would keep its entries from readers, and later ones out, until then.
            with beside(self.path)[0].open("r+b") as wal:
                os.fsync(wal.fileno())
            if not self._settled:
                _flush_folder(self.path.parent)
                self._settled = True
        except OSError as error:
            raise _failed(self.path, error) from None

    def close(self) -> None:
        """Fold the WAL into the file and let another writer have it."""
        try:
            self._connection.close()
        finally:
            _unlock(self._lock)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    """Make the names in *folder* outlive a loss of power, where a folder can be flushed at all."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(path: Path) -> FileLock:
    lock = FileLock(path.with_suffix(".lock"), thread_local=False)
    try:
        lock.acquire(timeout=1.0, poll_interval=0.01)
    except Timeout:
        raise StoreError(
            f"the journal of run {path.stem} is being written by another process",
            allowed="one writer at a time",
            fix="wait for the other writer, or end it",
        ) from None
    except OSError as error:
        raise _failed(path, error) from None
    return lock


def _unlock(lock: FileLock) -> None:
    # filelock sees a lock file that was removed before it got the lock, and makes another. Windows lets it stay.
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _sum(line: Line) -> int:
    return checksum(line.kind, line.header, line.payload)


def _failed(path: Path, error: OSError | sqlite3.Error) -> StoreError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    if "not a database" in str(reason) or "malformed" in str(reason):
        return Corrupted(f"journal {path} cannot be read ({reason})", fix=REMEDY)
    return StoreError(f"journal {path} cannot be written ({reason})", fix="free space, or make the folder writable")


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _failed(path, error) from error
