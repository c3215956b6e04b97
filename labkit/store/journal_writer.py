"""Writing a journal: entries are numbered at once, kept in memory for an instant, and written together.

What a journal is kept in (a file, a database table) is its :class:`Ledger`; it appends whole batches or nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from labkit.core.errors import StoreError
from labkit.store.clock import now
from labkit.store.documents import dumps

WRITE_EVERY_S = 0.025
"""The longest that an entry stays in memory only, s."""
WRITE_AT_BYTES = 1 << 20
"""An append that brings the unwritten entries to this size writes them itself, so that memory stays bounded, bytes."""
_ENTRY_BYTES = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a run's journal: its number from 1, when it was written (UTC), what it is, and what it says."""

    sequence: int
    at: datetime
    kind: str
    header: Mapping[str, Any]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as it is stored: the header is JSON text."""

    sequence: int
    at: datetime
    kind: str
    header: str
    payload: bytes

    @property
    def size(self) -> int:
        """About what it takes in memory, bytes."""
        return _ENTRY_BYTES + len(self.header) + len(self.payload)


class Ledger(Protocol):
    """Where one run's lines are kept, held by one writer at a time."""

    last: int

    def append(self, lines: Sequence[Line]) -> None:
        """Keep *lines*, all or none, so that they outlive this process.

        Raises
        ------
        StoreError
            If it cannot be written; nothing of *lines* is kept then.
        """

    def settle(self) -> None:
        """Make all that was kept outlive a loss of power; may run beside ``append``.

        Raises
        ------
        StoreError
            If that cannot be done.
        """

    def close(self) -> None:
        """Let another writer have it."""


class JournalWriter:
    """Appends to the journal of one run; obtained from ``Journals.writer``, safe to use from several threads.

    Entries reach the journal within :data:`WRITE_EVERY_S`, or when :meth:`flush` or :meth:`close` returns. They then
    outlive this process; after ``flush(durable=True)`` they outlive the machine's power too. While the journal cannot
    be written entries wait in memory, and :meth:`append` (once they are many), :meth:`flush` and :meth:`close` raise.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._next = ledger.last + 1
        self._waiting: list[Line] = []
        self._bytes = 0
        self._closing = threading.Event()
        self._undurable = False
        self._failed = False
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._write_on_time, name="labkit-journal", daemon=True)
        self._thread.start()

    @property
    def last(self) -> int:
        """The sequence of the newest entry, written or waiting; 0 where there is none."""
        return self._next - 1

    def append(self, kind: str, header: Mapping[str, Any], payload: bytes = b"") -> int:
        """Add an entry; returns its sequence, one more than the one before.

        Raises
        ------
        StoreError
            If *header* is not JSON, the writer is closed, or entries pile up because none can be written.
        """
        text = dumps(header)
        with self._changed:
            if self._closing.is_set():
                raise StoreError("this journal writer is closed", fix="open another: journals.writer(run_id)")
            line = Line(self._next, now(), kind, text, bytes(payload))
            self._next += 1
            self._waiting.append(line)
            self._bytes += line.size
            full = self._bytes >= WRITE_AT_BYTES
            if len(self._waiting) == 1:
                self._changed.notify()
        if full:
            self.flush()
        return line.sequence

    def flush(self, *, durable: bool = False) -> int:
        """Write what is waiting; returns the sequence up to which everything is now safe.

        Parameters
        ----------
        durable : bool
            Safe from a loss of power too, not only from the death of this process: one flush of the disk.

        Raises
        ------
        StoreError
            If it cannot be written; the entries go on waiting and a later flush writes them.
        """
        with self._writing:
            self._write()
            last, undurable = self._ledger.last, self._undurable
        if durable and undurable:
            # Others read and write on while the disk is waited for; what they add meanwhile is not promised.
            self._ledger.settle()
            with self._writing:
                self._undurable = self._ledger.last > last
        return last

    def _write(self) -> None:
        with self._changed:
            lines, self._waiting, held, self._bytes = self._waiting, [], self._bytes, 0
        if not lines:
            return
        try:
            self._ledger.append(lines)
        except BaseException:
            with self._changed:
                self._waiting[:0] = lines
                self._bytes += held
                self._failed = True
            raise
        self._undurable, self._failed = True, False
        self._ledger.last = lines[-1].sequence

    def close(self) -> None:
        """Write what is waiting and let go of the journal; closing twice is harmless.

        Raises
        ------
        StoreError
            If the last entries cannot be written; they are lost then.
        """
        with self._changed:
            if self._closing.is_set():
                return
            self._closing.set()
            self._changed.notify()
        self._thread.join()
        try:
            self.flush()
        finally:
            self._ledger.close()

    def _write_on_time(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing.is_set():
                    self._changed.wait()
                oldest = self._waiting[0].sequence if self._waiting else 0
            if self._closing.wait(10 * WRITE_EVERY_S if self._failed else WRITE_EVERY_S):
                return
            if oldest > self._ledger.last:
                self._try_to_flush()

    def _try_to_flush(self) -> None:
        # A failure is kept from nobody: the lines are still waiting, and whoever needs them written flushes and hears.
        try:
            self.flush()
        except StoreError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
