"""The durable queue in the catalogue: jobs beside their runs, what they wait for, who works on them, their logs.

A job's row and its run's row change in one transaction, so neither can say something the other does not. Claiming is a
compare-and-swap under the database's own locks; many workers may try at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import NotFound
from labkit.store import tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now

TABLE = tables.jobs
NO_QUEUE = [""]
"""The queues of a process that carries out runs of its own but takes none from anybody."""
NOBODY = "nobody"
"""Stands for the worker of a job that is under way and that some worker must take over."""
_LONGEST_LINE = 4000


def create(tx: Transaction, run: str, number: int, **columns: Any) -> None:
    """Add the job of *run*, whose running number is *number*."""
    tx.insert(TABLE, {"submitted": now(), **columns, "run": run, "number": number})


def find(tx: Transaction, run: str) -> Row | None:
    """The job of *run*, or None for a run that never was one."""
    return tx.find(TABLE, run=run)


def get(tx: Transaction, run: str) -> Row:
    """The job of *run*.

    Raises
    ------
    NotFound
        If the run is not a job of this organisation.
    """
    row = find(tx, run)
    if row is None:
        raise NotFound(f"run {run} is no job", allowed="runs made by lab.submit or lab.execute")
    return row


def change(tx: Transaction, run: str, **changes: Any) -> None:
    """Change columns of a job."""
    tx.update(TABLE, {"run": run}, changes)


def swap(tx: Transaction, run: str, expected: Mapping[str, Any], **changes: Any) -> bool:
    """Change columns of a job if it still has the *expected* ones; whether it had."""
    return bool(tx.change(TABLE, {"run": run, **expected}, changes))


def next_submitted(tx: Transaction, queues: Collection[str] | None) -> list[str]:
    """Runs that wait to be admitted, most urgent first."""
    return _urgent(tx, "submitted", queues, [TABLE.c.worker.is_(None), TABLE.c.cancelled_by.is_(None)], limit=50)


def next_queued(
    tx: Transaction,
    queues: Collection[str] | None,
    *,
    full: Collection[str] = (),
    free_tools: Collection[str] | None = None,
    gpus: float = 0.0,
    types: Collection[str] | None = None,
    limit: int = 10,
) -> list[str]:
    """Runs that could start now, most urgent first: not paused, due, their tool free and their share of a GPU there.

    *full* names queues that may not have another run; *free_tools* the tools that may take one (None: all).
    """
    where = [
        TABLE.c.paused.is_(False),
        TABLE.c.cancelled_by.is_(None),
        sa.or_(TABLE.c.not_before.is_(None), TABLE.c.not_before <= now()),
        TABLE.c.gpu_share <= gpus + 1e-9,
    ]
    if full:
        where.append(TABLE.c.queue.not_in(list(full)))
    if free_tools is not None:
        where.append(sa.or_(TABLE.c.tool.is_(None), TABLE.c.tool.in_(list(free_tools))))
    if types is not None:
        where.append(TABLE.c.type.in_(list(types)))
    return _urgent(tx, "queued", queues, where, limit)


def take(tx: Transaction, run: str, worker: str, *, states: Collection[str] = ("queued",)) -> bool:
    """Give a job to *worker* if nobody has it and it is in one of *states*; whether it got it."""
    found = tx.select(
        TABLE,
        TABLE.c.run == run,
        TABLE.c.state.in_(list(states)),
        TABLE.c.worker.is_(None),
        columns=("run",),
        lock=True,
    )
    return bool(found) and swap(tx, run, {"worker": None}, worker=worker)


def hand_over(tx: Transaction, run: str) -> None:
    """Leave a job whose tool still works on it to the next worker, which will find it abandoned."""
    change(tx, run, worker=NOBODY)


def running(tx: Transaction) -> list[Row]:
    """Jobs that some process works on, oldest first."""
    return tx.select(TABLE, TABLE.c.worker.is_not(None), TABLE.c.state != "done", order=[TABLE.c.number])


def expired(tx: Transaction) -> list[str]:
    """Runs whose job was not started before it expired."""
    found = tx.select(
        TABLE,
        TABLE.c.state.in_(["submitted", "waiting", "queued"]),
        TABLE.c.worker.is_(None),
        TABLE.c.expires <= now(),
        columns=("run",),
        lock=True,
    )
    return [row["run"] for row in found]


def at_work(tx: Transaction, queue: str) -> int:
    """How many jobs of *queue* some worker has taken to carry out; those that are only being admitted do not count."""
    where = TABLE.c.queue == queue, TABLE.c.worker.is_not(None), TABLE.c.state.in_(["queued", "running"])
    return len(tx.select(TABLE, *where, columns=("run",)))


def is_overtaking(tx: Transaction, job: Row) -> bool:
    """Whether a more urgent job for the same tool has been handed in and only waits to be let into the queue."""
    sooner = sa.or_(
        TABLE.c.priority > job["priority"],
        sa.and_(TABLE.c.priority == job["priority"], TABLE.c.number < job["number"]),
    )
    where = [TABLE.c.state == "submitted", TABLE.c.tool == job["tool"], TABLE.c.paused.is_(False)]
    due = sa.or_(TABLE.c.not_before.is_(None), TABLE.c.not_before <= now())
    return bool(tx.select(TABLE, *where, TABLE.c.cancelled_by.is_(None), due, sooner, columns=("run",), limit=1))


def open_jobs(tx: Transaction, **columns: Any) -> list[Row]:
    """Jobs that are not done, in the order in which they would start; *columns* narrow them."""
    where = [_is(name, value) for name, value in columns.items()]
    return tx.select(TABLE, TABLE.c.state != "done", *where, order=[TABLE.c.priority.desc(), TABLE.c.number])


def of_batch(tx: Transaction, batch: str) -> list[Row]:
    """Every job of a batch, in the order of submission."""
    return tx.select(TABLE, TABLE.c.batch == batch, order=[TABLE.c.number])


def link(tx: Transaction, run: str, predecessors: Iterable[str]) -> None:
    """Let *run* wait until every one of *predecessors* has completed."""
    unique = list(dict.fromkeys(predecessors))
    tx.insert_many(tables.job_links, [{"run": run, "predecessor": before} for before in unique])


def predecessors(tx: Transaction, run: str) -> list[Row]:
    """The runs that *run* waits for: id, seq, state. In a writing transaction nobody lets *run* go meanwhile."""
    _hold(tx, run)
    links, runs = tables.job_links, tables.runs
    statement = (
        sa.select(runs.c.id, runs.c.seq, runs.c.state)
        .select_from(links.join(runs, sa.and_(runs.c.org_id == links.c.org_id, runs.c.id == links.c.predecessor)))
        .where(links.c.run == run)
        .order_by(runs.c.seq)
    )
    return [dict(row) for row in tx.execute(statement).mappings()]


def successors(tx: Transaction, run: str) -> list[str]:
    """The runs that wait for *run*. In a writing transaction no other one decides meanwhile whether they go on."""
    table = tables.job_links
    found = tx.select(table, table.c.predecessor == run, columns=("run",), order=[table.c.run])
    for row in found:
        _hold(tx, row["run"])
    return [row["run"] for row in found]


def note(tx: Transaction, run: str, text: str, level: str = "info") -> None:
    """Add a line to a run's log."""
    tx.insert(tables.job_logs, {"run": run, "at": now(), "level": level, "text": text[:_LONGEST_LINE]})


def log(tx: Transaction, run: str) -> list[Row]:
    """A run's log, oldest line first."""
    table = tables.job_logs
    return tx.select(table, table.c.run == run, columns=("at", "level", "text"), order=[table.c.number])


def beat(tx: Transaction, worker: str, **columns: Any) -> None:
    """Note that *worker* is alive; the first time with host, pid, queues and GPUs.

    Where workers on several machines share a database, its clock tells the time.
    """
    table = tables.workers
    tx.put(table, {"id": worker}, {**columns, "heartbeat": now()})
    if tx.dialect == "postgresql":
        tx.execute(sa.update(table).where(table.c.id == worker).values(heartbeat=sa.func.clock_timestamp()))


def workers(tx: Transaction, *, since: datetime | None = None) -> list[Row]:
    """Workers that have not stopped, and, with *since*, have been heard of since then."""
    table = tables.workers
    where = [table.c.stopped.is_(None)] + ([table.c.heartbeat >= since] if since is not None else [])
    return [row for row in tx.select(table, *where, order=[table.c.started]) if row["queues"] != NO_QUEUE]


def counts(tx: Transaction) -> dict[str, int]:
    """Jobs that are not done, by state."""
    columns = TABLE.c.state, sa.func.count().label("n")
    statement = sa.select(*columns).where(TABLE.c.state != "done").group_by(TABLE.c.state)
    return {str(row.state): int(row.n) for row in tx.execute(statement)}


def silence_s(tx: Transaction, worker: str) -> float:
    """Seconds since *worker* was last heard of, by the database's own clock where it has one; infinite if never."""
    table = tables.workers
    if tx.dialect == "postgresql":
        age = sa.func.extract("epoch", sa.func.clock_timestamp() - table.c.heartbeat)
        found = tx.execute(sa.select(age).where(table.c.id == worker)).scalar()
        return float("inf") if found is None else float(found)
    row = tx.find(table, id=worker)
    return float("inf") if row is None else (now() - row["heartbeat"]).total_seconds()


def _urgent(
    tx: Transaction, state: str, queues: Collection[str] | None, where: list[sa.ColumnElement[bool]], limit: int
) -> list[str]:
    named = [TABLE.c.queue.in_(list(queues))] if queues is not None else []
    order = [TABLE.c.priority.desc(), TABLE.c.number]
    found = tx.select(TABLE, TABLE.c.state == state, *named, *where, columns=("run",), order=order, limit=limit)
    return [row["run"] for row in found]


def _hold(tx: Transaction, run: str) -> None:
    """Decide one at a time whether *run* still waits: else its admission and the ends of two runs that it waits for,
    each blind to what the others have not committed, could all leave it waiting for ever."""
    if tx.writes:
        tx.exclusive(f"waiting {run}")


def _is(name: str, value: Any) -> sa.ColumnElement[bool]:
    return TABLE.c[name].is_(None) if value is None else TABLE.c[name] == value
