"""Runs in the catalogue: rows, moves between states, attempts, results and broken limits.

States are plain words here; which moves are legal is decided above. What this module guarantees is that a move is a
compare-and-swap, leaves a transition behind, and happens in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import IllegalTransition, NotFound, StoreError
from labkit.store import tables
from labkit.store.catalogue import Row, Transaction, accepted
from labkit.store.clock import now
from labkit.store.identifiers import check_id, new_id


def create(tx: Transaction, *, process: str, state: str, origin: str, **columns: Any) -> Row:
    """Add a run and its first transition; ``id``, ``created`` and ``operator`` are filled in where absent.

    Raises
    ------
    StoreError
        If a column is unknown, or the id is taken.
    """
    row = {
        "id": new_id(),
        "operator": tx.principal.user,
        "created": now(),
        **columns,
        "process": process,
        "state": state,
        "origin": origin,
    }
    check_id(row["id"])
    seq = tx.insert(tables.runs, row)
    tx.insert(tables.transitions, {"run": row["id"], "target": state, "at": row["created"], "by": tx.principal.user})
    return {**row, "seq": seq}


def get(tx: Transaction, run: str | int) -> Row:
    """The run with id (or running number) *run*.

    Raises
    ------
    NotFound
        If this organisation has no such run.
    """
    known = 0 < run < 2**63 if isinstance(run, int) else str(run).isascii()
    if not known:
        raise NotFound(f"no run {str(run)[:40]!a} in organisation {tx.organisation!r}")
    return tx.get(tables.runs, seq=run) if isinstance(run, int) else tx.get(tables.runs, id=run)


def state(tx: Transaction, run: str) -> str:
    """The state of *run*, without reading its documents.

    Raises
    ------
    NotFound
        If this organisation has no such run.
    """
    found = tx.select(tables.runs, tables.runs.c.id == run, columns=("state",), limit=1)
    return str(found[0]["state"]) if found else str(get(tx, run)["state"])


def seq(tx: Transaction, run: str) -> int:
    """The running number of *run*, without reading its documents.

    Raises
    ------
    NotFound
        If this organisation has no such run.
    """
    found = tx.select(tables.runs, tables.runs.c.id == run, columns=("seq",), limit=1)
    return int(found[0]["seq"]) if found else int(get(tx, run)["seq"])


def update(tx: Transaction, run: str, **changes: Any) -> None:
    """Change columns of *run*; its state is changed with :func:`move` only."""
    fixed = {"id", "seq", "state", "org_id"} & set(changes)
    if fixed:
        raise StoreError(
            f"column {', '.join(sorted(fixed))} of a run cannot be set", fix="change a state with runs.move(…)"
        )
    tx.update(tables.runs, {"id": run}, changes)


def move(
    tx: Transaction, run: str, target: str, *, expected: str | Collection[str], reason: str = "", **changes: Any
) -> None:
    """Move *run* to state *target* if it is in one of the *expected* states, with other column *changes* at once.

    Raises
    ------
    IllegalTransition
        If it is in another state, for instance because somebody else moved it first.
    NotFound
        If this organisation has no such run.
    """
    allowed = [expected] if isinstance(expected, str) else list(expected)
    present = get(tx, run)["state"]
    statement = sa.update(tables.runs).where(tables.runs.c.id == run, tables.runs.c.state.in_(allowed))
    done = (
        tx.execute(statement.values(**accepted(tables.runs, changes), state=target)).rowcount
        if present in allowed
        else 0
    )
    if not done:
        raise IllegalTransition(
            f"run {run} is {present}, so it cannot become {target}", allowed=f"from {', '.join(allowed)}"
        )
    tx.insert(
        tables.transitions,
        {
            "run": run,
            "origin": present,
            "target": target,
            "at": now(),
            "by": tx.principal.user,
            "reason": reason or None,
        },
    )


def move_through(
    tx: Transaction, run: str, targets: Sequence[str], *, expected: str, reason: str = "", **changes: Any
) -> None:
    """Move *run* from *expected* through *targets* in one step, leaving a transition for each; *changes* come with
    the last.

    Raises
    ------
    IllegalTransition
        If it is in another state by now.
    """
    if not tx.change(tables.runs, {"id": run, "state": expected}, {**changes, "state": targets[-1]}):
        present = state(tx, run)
        raise IllegalTransition(f"run {run} is {present}, so it cannot become {targets[0]}", allowed=f"from {expected}")
    at, by, origins = now(), tx.principal.user, [expected, *targets[:-1]]
    tx.insert_many(
        tables.transitions,
        [
            {
                "run": run,
                "origin": origin,
                "target": target,
                "at": at,
                "by": by,
                "reason": (reason or None) if target is targets[-1] else None,
            }
            for origin, target in zip(origins, targets, strict=True)
        ],
    )


def history(tx: Transaction, run: str) -> list[Row]:
    """The transitions of *run*, oldest first."""
    seq(tx, run)
    return tx.select(tables.transitions, tables.transitions.c.run == run, order=[tables.transitions.c.number])


def progress(tx: Transaction, run: str, percent: float, step: str = "") -> None:
    """Note how far *run* has come: 0 to 100 and what it is doing; best in a transaction with ``durable=False``."""
    tx.update(tables.runs, {"id": run}, {"progress": min(max(float(percent), 0.0), 100.0), "step": step})


def start_attempt(
    tx: Transaction, run: str, *, state: str = "running", worker: str = "", fence: int | None = None
) -> int:
    """Add the next attempt at *run*; returns its ordinal, from 1."""
    seq(tx, run)
    ordinals = [row["ordinal"] for row in attempts(tx, run)]
    ordinal = max(ordinals, default=0) + 1
    at = now()
    tx.insert(
        tables.attempts,
        {
            "run": run,
            "ordinal": ordinal,
            "state": state,
            "worker": worker or None,
            "queued": at,
            "started": at if state == "running" else None,
            "fence": fence,
        },
    )
    return ordinal


def acknowledge_attempt(tx: Transaction, run: str) -> None:
    """Note that the tool has started the running attempt at *run*."""
    tx.change(tables.attempts, {"run": run, "state": "running"}, {"acknowledged": now()})


def was_acknowledged(tx: Transaction, run: str) -> bool:
    """Whether a tool is known to have started the running attempt at *run*."""
    table = tables.attempts
    found = tx.select(table, table.c.run == run, table.c.state == "running", columns=("acknowledged",))
    return any(row["acknowledged"] is not None for row in found)


def move_attempt(
    tx: Transaction,
    run: str,
    ordinal: int,
    state: str,
    *,
    error_code: str | None = None,
    error_message: str | None = None,
) -> None:
    """Change the state of an attempt, with the time at which it started or ended."""
    changes: Row = {"state": state, "error_code": error_code, "error_message": error_message}
    if state == "running":
        changes["started"] = now()
    elif state in ("completed", "failed", "cancelled"):
        changes["ended"] = now()
    tx.update(tables.attempts, {"run": run, "ordinal": ordinal}, changes)


def attempts(tx: Transaction, run: str) -> list[Row]:
    """The attempts at *run*, first one first."""
    return tx.select(tables.attempts, tables.attempts.c.run == run, order=[tables.attempts.c.ordinal])


def record_results(tx: Transaction, run: str, results: Iterable[Mapping[str, Any]]) -> None:
    """Keep *results* (``name``, ``value``, ``expected``, ``residual``, ``units``) of *run*, replacing earlier ones."""
    number = seq(tx, run)
    tx.delete(tables.results, tables.results.c.run_seq == number)
    blank = {"value": None, "expected": None, "residual": None, "units": "1"}
    tx.insert_many(tables.results, [{**blank, **row, "run_seq": number} for row in results])


def results(tx: Transaction, run: str) -> dict[str, Row]:
    """Results of *run* by name."""
    number = seq(tx, run)
    found = tx.select(
        tables.results, tables.results.c.run_seq == number, columns=("name", "value", "expected", "residual", "units")
    )
    return {row.pop("name"): row for row in found}


def results_of(
    tx: Transaction, runs: Iterable[Mapping[str, Any]], names: Collection[str] = ()
) -> dict[str, dict[str, float]]:
    """Result values of many run rows at once: ``{run id: {name: value}}``."""
    by_seq = {row["seq"]: row["id"] for row in runs}
    found: dict[str, dict[str, float]] = {run: {} for run in by_seq.values()}
    table, keys = tables.results, list(by_seq)
    for first in range(0, len(keys), 500):
        where = [table.c.run_seq.in_(keys[first : first + 500])] + ([table.c.name.in_(list(names))] if names else [])
        for row in tx.select(table, *where, columns=("run_seq", "name", "value")):
            found[by_seq[row["run_seq"]]][row["name"]] = row["value"]
    return found


def record_violations(tx: Transaction, run: str, violations: Iterable[Mapping[str, Any]]) -> None:
    """Keep broken limits of *run* (``quantity``, ``severity``, ``value``, ``low``, ``high``, ``units``, ``stage``
    …)."""
    seq(tx, run)
    for row in violations:
        bounds = {name: _finite(row.get(name)) for name in ("value", "low", "high")}
        tx.insert(tables.violations, {**row, **bounds, "run": run})


def violations(tx: Transaction, run: str) -> list[Row]:
    """Broken limits of *run*, in the order in which they were found."""
    return tx.select(tables.violations, tables.violations.c.run == run, order=[tables.violations.c.number])


def commit_folder(tx: Transaction, run: str, folder: str, checksum: str, **changes: Any) -> None:
    """Make a published folder part of *run*: the commit point. A run never gets a second folder.

    Raises
    ------
    StoreError
        If the run already has another one.
    """
    row = get(tx, run)
    if row["folder"] is not None and (row["folder"], row["folder_checksum"]) != (folder, checksum):
        raise StoreError(
            f"run {run} already has its folder {row['folder']}", fix="finished runs do not change; start a new run"
        )
    update(tx, run, **{**changes, "folder": folder, "folder_checksum": checksum})


def last(tx: Transaction, *, tool: str, process: str) -> Row | None:
    """The newest run of *process* on *tool*, or ``None``."""
    table = tables.runs
    rows = tx.select(table, table.c.tool == tool, table.c.process == process, order=[table.c.seq.desc()], limit=1)
    return rows[0] if rows else None


def last_with_folder(tx: Transaction, *, tool: str) -> str | None:
    """The newest run on *tool* whose data are committed, or ``None``."""
    table = tables.runs
    where = table.c.tool == tool, table.c.folder.is_not(None)
    found = tx.select(table, *where, columns=("id",), order=[table.c.seq.desc()], limit=1)
    return str(found[0]["id"]) if found else None


def duration(started: datetime | None, ended: datetime | None) -> float | None:
    """Seconds between two moments, where both are known."""
    return (ended - started).total_seconds() if started is not None and ended is not None else None


def _finite(value: Any) -> float | None:
    number = float("nan") if value is None else float(value)
    return number if abs(number) < float("inf") else None


__all__ = [
    "NotFound",
    "attempts",
    "commit_folder",
    "create",
    "duration",
    "get",
    "history",
    "last",
    "move",
    "move_attempt",
    "progress",
    "record_results",
    "record_violations",
    "results",
    "results_of",
    "start_attempt",
    "update",
    "violations",
]
