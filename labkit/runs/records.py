"""A run's moves in the catalogue: each one legal by the lifecycle, and the tool it holds by lease and fence."""

from __future__ import annotations

from typing import Any

from labkit.core.recipe import Recipe
from labkit.runs.lifecycle import FINAL, AttemptState, RunState, move, move_attempt
from labkit.store import audit, passport, tables, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction

LEASE_S = 86_400.0
"""How long a run may hold a tool, s. A holder that dies is found when the lab is next opened."""


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
    present = current = RunState(rows.get(tx, run_id)["state"])
    for target in targets:
        current = move(current, target)
    rows.move_through(
        tx, run_id, [target.value for target in targets], expected=present.value, reason=reason, **changes
    )


def begin_attempt(tx: Transaction, run_id: str, tool: str, owner: str) -> int:
    """Start the next attempt at a run and give it *tool*; returns the fence, larger than any the tool has seen.

    Raises
    ------
    ToolError
        If another run holds the tool.
    """
    fence = tools.lease(tx, tool, run_id, seconds=LEASE_S)
    rows.start_attempt(tx, run_id, worker=owner, fence=fence)
    return fence


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


def unfinished(tx: Transaction) -> list[dict[str, Any]]:
    """Runs that some process was working on: neither final nor waiting for a person."""
    resting = {*FINAL, RunState.ENGINEER_REVIEW, RunState.ESCALATED, RunState.WAITING}
    active = [state.value for state in RunState if state not in resting]
    return tx.select(tables.runs, tables.runs.c.state.in_(active))
