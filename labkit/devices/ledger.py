"""A tool's durable ledger: what became of every run, telemetry until it is acknowledged, results until released.

Commits that decide something (start, fence, latch, stop, end) reach the disk before they return; telemetry blocks,
acknowledgements and releases survive a killed process at once and a power failure from the next deciding commit on.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.core.errors import Corrupted, ToolError
from labkit.core.tool import LedgerEntry, LedgerState
from labkit.devices.ledger_schema import LedgerEvent, Memory, in_words, open_database

_ENTRY = "run_id, recipe_hash, fence, number, state, samples, delivered, last_sequence, acknowledged, released, reason"
_LONGEST = 2_000
"""Reasons and details are cut to this length, characters."""
_CHECKPOINT_BYTES = 4_000_000
"""Size of the write-ahead log from which it is worth a checkpoint, bytes."""


class Ledger:
    """The ledger of one tool in the SQLite file *path*, or in memory. Safe to use from any thread.

    Raises
    ------
    Corrupted
        If the file is no ledger or damaged.
    ToolError
        If it cannot be read or written, from any method.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection = open_database(path)
        self._synchronous = "FULL"

    def __repr__(self) -> str:
        return f"<ledger {self._path or 'in memory'}>"

    def close(self) -> None:
        """Close the file; once more does nothing."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _write(self, durable: bool) -> Iterator[sqlite3.Connection]:
        mode = "FULL" if durable else "NORMAL"
        with self._lock, self._in_words():
            if mode != self._synchronous:
                self._connection.execute(f"PRAGMA synchronous={mode}")
                self._synchronous = mode
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise in_words(error, str(self._path or "ledger in memory")) from None

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, self._in_words():
            return self._connection.execute(statement, values).fetchall()

    def memory(self) -> Memory:
        """What the tool remembers."""
        fence, latched, count, faults, condition = self._rows(
            "SELECT fence, latched, run_count, faults, condition FROM memory"
        )[0]
        try:
            kept = None if condition is None else dict(json.loads(condition))
            return Memory(fence, bool(latched), count, list(json.loads(faults)), kept)
        except (ValueError, TypeError):
            raise Corrupted(
                f"{self._path}: what the tool remembers cannot be read",
                fix="restore the file from a backup, or move it away: the tool then starts as new",
            ) from None

    def remember(
        self, kind: str, detail: str, faults: list[dict[str, Any]], condition: Mapping[str, Any] | None
    ) -> None:
        """Keep *faults* and *condition* from now on; event *kind* with *detail*."""
        with self._write(durable=True) as tx:
            tx.execute(
                "UPDATE memory SET faults = ?, condition = ?",
                (json.dumps(faults), None if condition is None else json.dumps(condition)),
            )
            _note(tx, kind, None, detail)

    def raise_fence(self, fence: int) -> None:
        """Remember *fence* if it is newer than the newest seen."""
        with self._write(durable=True) as tx:
            tx.execute("UPDATE memory SET fence = max(fence, ?)", (fence,))
            _note(tx, "fence", None, str(fence))

    def note(self, kind: str, run_id: str | None = None, detail: str = "") -> None:
        """Add an event to the log."""
        with self._write(durable=False) as tx:
            _note(tx, kind, run_id, detail)

    def events(self, run_id: str | None = None) -> list[LedgerEvent]:
        """Everything that happened, or what happened to *run_id*, oldest first."""
        rows = self._rows(
            "SELECT time, kind, run_id, detail FROM events WHERE ?1 IS NULL OR run_id = ?1 ORDER BY ordinal", run_id
        )
        return [LedgerEvent(*row) for row in rows]

    def start(self, run_id: str, recipe_hash: str, fence: int, samples: int) -> int:
        """Commit the start of *run_id*; returns the tool's running count. Refuses an older fence and a known run."""
        with self._write(durable=True) as tx:
            seen, latched, count = tx.execute("SELECT fence, latched, run_count FROM memory").fetchone()
            if fence < seen:
                raise ToolError(f"fence {seen} has been seen; {fence} is older", fix="the run was taken over: stop")
            if latched:
                raise ToolError("an emergency stop is latched", fix="reset the tool once it is safe")
            if tx.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone():
                raise ToolError(f"{run_id} is in the ledger already", fix="ask the ledger what became of it")
            tx.execute("UPDATE memory SET fence = ?, run_count = ?", (fence, count + 1))
            tx.execute(
                "INSERT INTO runs (run_id, recipe_hash, fence, number, state, samples, started) VALUES (?,?,?,?,?,?,?)",
                (run_id, recipe_hash, fence, count + 1, LedgerState.RUNNING.value, samples, time.time()),
            )
            _note(tx, "start", run_id, f"fence {fence}")
            return int(count) + 1

    def begin_execution(self, run_id: str) -> None:
        """Note, for good, that the equipment begins to carry out *run_id*."""
        with self._write(durable=False) as tx:
            tx.execute("INSERT INTO executions (run_id, time) VALUES (?, ?)", (run_id, time.time()))

    def executions(self, run_id: str) -> int:
        """How often *run_id* was physically begun."""
        return int(self._rows("SELECT count(*) FROM executions WHERE run_id = ?", run_id)[0][0])

    def run_ids(self) -> list[str]:
        """Every run the tool ever started, in order."""
        return [str(row[0]) for row in self._rows("SELECT run_id FROM runs ORDER BY number")]

    def entry(self, run_id: str) -> LedgerEntry | None:
        """The entry of *run_id*; None if the tool never started it."""
        rows = self._rows(f"SELECT {_ENTRY} FROM runs WHERE run_id = ?", run_id)
        if not rows:
            return None
        return LedgerEntry.model_validate(dict(zip(_ENTRY.split(", "), rows[0], strict=True)))

    def times(self, run_id: str) -> tuple[float, float | None]:
        """When *run_id* was started and when it ended (Unix time, s)."""
        rows = self._rows("SELECT started, ended FROM runs WHERE run_id = ?", run_id)
        if not rows:
            raise ToolError(f"the tool did not run {run_id}")
        return float(rows[0][0]), rows[0][1]

    def closed(self, run_id: str) -> bool:
        """Whether nothing of *run_id* will be added any more."""
        return bool(self._rows("SELECT closed FROM runs WHERE run_id = ?", run_id)[0][0])

    def append(self, run_id: str, samples: int, data: bytes) -> None:
        """Add a telemetry block of *samples* samples."""
        with self._write(durable=False) as tx:
            _append(tx, run_id, samples, data)

    def blocks(self, run_id: str, after: int, most: int = 16) -> list[tuple[int, bytes]]:
        """Up to *most* blocks that are still kept beyond sequence *after*: (sequence, packed telemetry), in order."""
        rows = self._rows(
            "SELECT sequence, data FROM blocks WHERE run_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            run_id,
            after,
            most,
        )
        return [(int(sequence), bytes(data)) for sequence, data in rows]

    def stop(self, run_id: str | None, reason: str, *, emergency: bool) -> None:
        """Commit a stop of *run_id* (if any is running); an *emergency* one latches."""
        with self._write(durable=True) as tx:
            if emergency:
                tx.execute("UPDATE memory SET latched = 1")
            if run_id is not None:
                _end(tx, run_id, LedgerState.STOPPED, reason)
            _note(tx, "emergency" if emergency else "stop", run_id, reason)

    def reset(self) -> None:
        """Release the latch."""
        with self._write(durable=True) as tx:
            tx.execute("UPDATE memory SET latched = 0")
            _note(tx, "reset", None, "")

    def finish(
        self,
        run_id: str,
        state: LedgerState,
        reason: str = "",
        *,
        block: tuple[int, bytes] | None = None,
        outcome: tuple[bytes, bytes] | None = None,
    ) -> None:
        """Close *run_id* in one commit: the last block (samples, packed telemetry), the outcome (packed wafers, packed
        metrology), and *state*, unless a stop has given it another one."""
        with self._write(durable=True) as tx:
            if block is not None:
                _append(tx, run_id, *block)
            if outcome is not None:
                tx.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", (run_id, *outcome))
            if _end(tx, run_id, state, reason):
                _note(tx, state.value, run_id, reason)
            tx.execute("UPDATE runs SET closed = 1 WHERE run_id = ?", (run_id,))

    def interrupt(self, reason: str) -> list[str]:
        """Mark every run that is still running as interrupted: whoever calls this holds the tool and runs none."""
        if not self._rows("SELECT 1 FROM runs WHERE closed = 0"):
            return []
        with self._write(durable=True) as tx:
            lost = [
                row[0] for row in tx.execute("SELECT run_id FROM runs WHERE state = ? AND closed = 0", ("running",))
            ]
            for run_id in lost:
                _end(tx, run_id, LedgerState.INTERRUPTED, reason)
                _note(tx, "interrupted", run_id, reason)
            tx.execute("UPDATE runs SET closed = 1 WHERE closed = 0")
            return lost

    def outcome(self, run_id: str) -> tuple[bytes, bytes] | None:
        """Packed wafers and packed metrology of *run_id*, while they are kept."""
        rows = self._rows("SELECT truth, measured FROM outcomes WHERE run_id = ?", run_id)
        return (bytes(rows[0][0]), bytes(rows[0][1])) if rows else None

    def acknowledge(self, run_id: str, sequence: int) -> None:
        """Forget the blocks of *run_id* up to *sequence*."""
        with self._write(durable=False) as tx:
            tx.execute("DELETE FROM blocks WHERE run_id = ? AND sequence <= ?", (run_id, sequence))
            tx.execute("UPDATE runs SET acknowledged = max(acknowledged, ?) WHERE run_id = ?", (sequence, run_id))

    def release(self, run_id: str) -> None:
        """Keep only the entry of *run_id*."""
        with self._write(durable=False) as tx:
            tx.execute("DELETE FROM blocks WHERE run_id = ?", (run_id,))
            tx.execute("DELETE FROM outcomes WHERE run_id = ?", (run_id,))
            tx.execute("UPDATE runs SET released = 1, acknowledged = last_sequence WHERE run_id = ?", (run_id,))

    def tidy(self) -> None:
        """Bring a long write-ahead log into the file, on a connection of its own so that nobody waits for it."""
        if self._path is None:
            return
        log = self._path.with_name(f"{self._path.name}-wal")
        if not log.exists() or log.stat().st_size < _CHECKPOINT_BYTES:
            return
        with self._in_words():
            connection = sqlite3.connect(self._path, timeout=0.0, isolation_level=None)
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                connection.close()


def _note(tx: sqlite3.Connection, kind: str, run_id: str | None, detail: str) -> None:
    tx.execute(
        "INSERT INTO events (time, kind, run_id, detail) VALUES (?, ?, ?, ?)",
        (time.time(), kind, run_id, detail[:_LONGEST]),
    )


def _append(tx: sqlite3.Connection, run_id: str, samples: int, data: bytes) -> None:
    sequence = tx.execute(
        "UPDATE runs SET last_sequence = last_sequence + 1, delivered = delivered + ? WHERE run_id = ? "
        "RETURNING last_sequence",
        (samples, run_id),
    ).fetchone()[0]
    tx.execute("INSERT INTO blocks VALUES (?, ?, ?, ?)", (run_id, sequence, samples, data))


def _end(tx: sqlite3.Connection, run_id: str, state: LedgerState, reason: str) -> bool:
    """Give a running run its final state; False if it has one."""
    done = tx.execute(
        "UPDATE runs SET state = ?, reason = ?, ended = ? WHERE run_id = ? AND state = 'running'",
        (state.value, reason[:_LONGEST], time.time(), run_id),
    )
    return done.rowcount == 1
