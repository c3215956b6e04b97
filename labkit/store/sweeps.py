"""Chunks of a sweep: a sweep is one run, and restarts where its last finished chunk ended."""

from __future__ import annotations

import sqlalchemy as sa

from labkit.core.errors import StoreError
from labkit.store import tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now

TABLE = tables.sweep_chunks


def plan(tx: Transaction, run: str, points: int, per_chunk: int) -> list[Row]:
    """Divide *points* into chunks, once; later calls return what was planned then.

    Raises
    ------
    StoreError
        If the sweep was planned with other numbers.
    """
    if points < 1 or per_chunk < 1:
        raise StoreError(f"a sweep of {points} points in chunks of {per_chunk}", allowed="at least 1 of each")
    wanted = [(at // per_chunk, at, min(per_chunk, points - at)) for at in range(0, points, per_chunk)]
    found = chunks(tx, run)
    if found:
        if [(row["ordinal"], row["first"], row["count"]) for row in found] != wanted:
            raise StoreError(
                f"sweep {run} was begun with other points or chunks",
                fix="continue it with the same, or start a new one",
            )
        return found
    tx.insert_many(
        TABLE,
        [
            {"run": run, "ordinal": ordinal, "state": "queued", "first": first, "count": count}
            for ordinal, first, count in wanted
        ],
    )
    return chunks(tx, run)


def chunks(tx: Transaction, run: str) -> list[Row]:
    """The chunks of a sweep, in order."""
    return tx.select(TABLE, TABLE.c.run == run, order=[TABLE.c.ordinal])


def pending(tx: Transaction, run: str) -> list[Row]:
    """Chunks that still have to be computed."""
    return tx.select(TABLE, TABLE.c.run == run, TABLE.c.state != "completed", order=[TABLE.c.ordinal])


def finish(tx: Transaction, run: str, ordinal: int, *, artifact: str | None = None, worker: str | None = None) -> bool:
    """Note that a chunk is done; false if it already was, so that work done twice counts once."""
    statement = sa.update(TABLE).where(TABLE.c.run == run, TABLE.c.ordinal == ordinal, TABLE.c.state != "completed")
    done = tx.execute(
        statement.values(state="completed", artifact=artifact, worker=worker, ended=now(), error_message=None)
    )
    return done.rowcount == 1


def fail(tx: Transaction, run: str, ordinal: int, message: str) -> None:
    """Note why a chunk could not be computed."""
    tx.update(TABLE, {"run": run, "ordinal": ordinal}, {"state": "failed", "error_message": message, "ended": now()})
