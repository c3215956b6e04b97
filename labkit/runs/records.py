"""A run's moves in the catalogue: each one legal by the lifecycle, and the tool it holds by lease and fence."""

from __future__ import annotations

from typing import Any

from labkit.core.recipe import Recipe
from labkit.runs.lifecycle import FINAL, AttemptState, RunState, move, move_attempt
from labkit.store import audit, jobs, passport, tables, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

GOOD = frozenset({RunState.COMPLETED, RunState.CLEARED})
"""States of a predecessor that let a waiting run go on."""


def submit(
    tx: Transaction, recipe: Recipe, *, tool: str | None, origin: str, wafers: list[tuple[str, int]], **columns: Any
) -> str:
    """Write a SUBMITTED run of *recipe* with the passports of its *wafers* (id, slot); returns the run's id."""
    row = rows.create(
        tx,
        process=recipe.process,
        state=RunState.SUBMITTED.value,
        origin=origin,
        tool=tool,
        recipe_name=recipe.name,
        recipe_version=recipe.version,
        recipe_hash=recipe.content_hash,
        recipe=recipe.model_dump(mode="json"),
        extra={**(columns.pop("extra", None) or {}), "authenticated": tx.principal.authenticated},
        **columns,
    )
    passport.place(tx, row["id"], dict(wafers))
    audit.append(
        tx,
        "run.submit",
        row["id"],
        {"recipe": recipe.name, "version": recipe.version, "hash": recipe.content_hash, "tool": tool, "origin": origin},
    )
    return str(row["id"])


def advance(tx: Transaction, run_id: str, *targets: RunState, reason: str = "", **changes: Any) -> None:
    """Move a run through *targets*, each a legal move, and write *changes* on its row with the last one.

    Raises
    ------
    IllegalTransition
        If a move is not one the lifecycle has; the transaction then holds nothing of it.
    """
    present = current = RunState(rows.state(tx, run_id))
    for target in targets:
        current = move(current, target)
    rows.move_through(
        tx, run_id, [target.value for target in targets], expected=present.value, reason=reason, **changes
    )
    if current in FINAL or current is RunState.ENGINEER_REVIEW:
        _settle(tx, run_id, current)


def _settle(tx: Transaction, run_id: str, state: RunState) -> None:
    """A run has come to rest: its job is done, and the runs that wait for it go on or are cancelled with it."""
    jobs.swap(tx, run_id, {}, state="done", worker=None)
    if state is RunState.ENGINEER_REVIEW:
        return
    for successor in jobs.successors(tx, run_id):
        waiting = RunState(rows.state(tx, successor))
        if waiting in FINAL:
            continue
        if state not in GOOD:
            _cancel_dependent(tx, successor, rows.seq(tx, run_id), state)
        elif waiting is RunState.WAITING and not outstanding(tx, successor):
            advance(tx, successor, RunState.QUEUED, reason="everything it waited for is complete")
            jobs.change(tx, successor, state="queued")


def cancel_if_hopeless(tx: Transaction, run_id: str, waited_for: list[dict[str, Any]]) -> bool:
    """Cancel a run if one of the runs *waited_for* can no longer complete; whether it did."""
    for row in waited_for:
        state = RunState(row["state"])
        if state in FINAL and state not in GOOD:
            _cancel_dependent(tx, run_id, row["seq"], state)
            return True
    return False


def _cancel_dependent(tx: Transaction, run_id: str, seq: int, state: RunState) -> None:
    reason = f"run {seq}, which it waits for, is {state}"
    advance(
        tx,
        run_id,
        RunState.CANCELLED,
        reason=reason,
        error_code="dependency",
        error_message=reason,
        ended=now(),
    )


def outstanding(tx: Transaction, run_id: str) -> list[dict[str, Any]]:
    """The runs that *run_id* still waits for."""
    return [row for row in jobs.predecessors(tx, run_id) if RunState(row["state"]) not in GOOD]


def begin_attempt(tx: Transaction, run_id: str, tool: str, owner: str, *, fence: int | None = None) -> int:
    """Start the next attempt at a run and give it *tool*, unless it holds it already under *fence*; returns the fence,
    larger than any the tool has seen.

    Raises
    ------
    ToolError
        If another run holds the tool.
    """
    held = tools.lease(tx, tool, run_id) if fence is None else fence
    rows.start_attempt(tx, run_id, worker=owner, fence=held)
    return held


def end_attempt(
    tx: Transaction,
    run_id: str,
    tool: str | None,
    target: AttemptState,
    *,
    code: str | None = None,
    message: str | None = None,
) -> None:
    """Close the running attempt of a run, if there is one, and give the tool back."""
    for attempt in rows.attempts(tx, run_id):
        if attempt["state"] == AttemptState.RUNNING.value:
            state = move_attempt(AttemptState.RUNNING, target)
            rows.move_attempt(tx, run_id, attempt["ordinal"], state.value, error_code=code, error_message=message)
    if tool is not None:
        tools.release(tx, tool, run_id)


def sweeps_at_work(tx: Transaction) -> dict[str, str]:
    """Sweeps that are being computed, and which process does."""
    table = tables.runs
    found = tx.select(table, table.c.state == RunState.RUNNING.value, table.c.kind == "sweep", columns=("id", "extra"))
    return {row["id"]: row["extra"]["owner"] for row in found if "owner" in (row["extra"] or {})}
