"""Tools in the catalogue: what they are, their SEMI E10 timeline, and the lease that keeps one run on a tool."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from labkit.core.errors import NotFound, StoreError, ToolBusy
from labkit.store import tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now

TABLE = tables.tools


def register(
    tx: Transaction,
    tool: str,
    *,
    process: str,
    kind: str = "simulated",
    name: str = "",
    config: Mapping[str, Any] | None = None,
    capabilities: Mapping[str, Any] | None = None,
) -> Row:
    """Add a tool, or change name, configuration and capabilities of one that exists; kind and process stay.

    Raises
    ------
    StoreError
        If the tool exists as another kind or for another process.
    """
    tx.exclusive("tools")
    changes = {"name": name or tool, "config": dict(config or {}), "capabilities": dict(capabilities or {})}
    found = tx.find(TABLE, id=tool)
    if found is None:
        at = now()
        tx.insert(TABLE, {**changes, "id": tool, "process": process, "kind": kind, "state": "standby", "created": at})
        tx.insert(
            tables.tool_states,
            {"tool": tool, "state": "standby", "since": at, "user": tx.principal.user, "reason": "registered"},
        )
    elif (found["kind"], found["process"]) != (kind, process):
        raise StoreError(
            f"tool {tool!r} is a {found['kind']} tool for {found['process']}, not a {kind} one for {process}",
            fix="register it under another id",
        )
    else:
        tx.update(TABLE, {"id": tool}, changes)
    return tx.get(TABLE, id=tool)


def get(tx: Transaction, tool: str) -> Row:
    """The tool with id *tool*.

    Raises
    ------
    NotFound
        Naming the tools there are.
    """
    found = tx.find(TABLE, id=tool)
    if found is None:
        raise NotFound(
            f"no tool {tool!r} in organisation {tx.organisation!r}",
            allowed=", ".join(row["id"] for row in listing(tx)) or "none registered",
        )
    return found


def listing(tx: Transaction, *, process: str | None = None) -> list[Row]:
    """Tools by id."""
    return tx.select(TABLE, *([TABLE.c.process == process] if process is not None else []), order=[TABLE.c.id])


def settle(tx: Transaction, tool: str, home: str) -> None:
    """Note where a tool lives, machine and folder, unless that is known already."""
    config = get(tx, tool)["config"]
    if config.get("home") is None:
        tx.update(TABLE, {"id": tool}, {"config": {**config, "home": home}})


def set_state(tx: Transaction, tool: str, state: str, *, reason: str = "", at: datetime | None = None) -> None:
    """Put a tool into an E10 state; the state before it ends at that moment. Entering the present state changes
    nothing.

    Raises
    ------
    StoreError
        If there is no such state, or *at* lies before the present state began.
    """
    if state not in tables.E10_STATES:
        raise StoreError(f"no tool state {state!r}", allowed=", ".join(tables.E10_STATES))
    present = get(tx, tool)
    if present["state"] == state:
        return
    table = tables.tool_states
    last = tx.select(table, table.c.tool == tool, table.c.until.is_(None), order=[table.c.number.desc()], limit=1)
    # A clock that was set back must not keep a tool from changing its state.
    moment = at or (max(now(), last[0]["since"]) if last else now())
    if last and moment < last[0]["since"]:
        raise StoreError(
            f"tool {tool!r} is {present['state']} since {last[0]['since']:%Y-%m-%d %H:%M:%S}", allowed="a later moment"
        )
    if last:
        tx.update(table, {"number": last[0]["number"]}, {"until": moment})
    tx.insert(
        table, {"tool": tool, "state": state, "since": moment, "reason": reason or None, "user": tx.principal.user}
    )
    tx.update(TABLE, {"id": tool}, {"state": state})


def timeline(tx: Transaction, tool: str) -> list[Row]:
    """The states of a tool, oldest first; the last one has no ``until``."""
    table = tables.tool_states
    return tx.select(table, table.c.tool == tool, order=[table.c.number])


def lease(tx: Transaction, tool: str, run: str, *, seconds: float | None = None) -> int:
    """Reserve a tool for a run; returns a fence that grows with every lease, so that an older holder can be refused.

    Without *seconds* it holds until it is released: recovery does that for holders that have died, and no clock that
    was set forward can take a tool from a run at work.

    Raises
    ------
    ToolBusy
        If another run holds a lease that has not expired.
    """
    row, moment = get(tx, tool), now()
    until = row["leased_until"] or datetime.max.replace(tzinfo=UTC)
    held = row["leased_run"] not in (None, run) and until > moment
    if held:
        raise ToolBusy(
            f"tool {tool!r} is reserved for run {row['leased_run']} until {until:%Y-%m-%d %H:%M:%S} UTC",
            allowed="one run at a time per tool",
            fix="wait for that run to end, or cancel it",
        )
    fence = int(row["fence"]) + 1
    tx.update(
        TABLE,
        {"id": tool},
        {
            "fence": fence,
            "leased_run": run,
            "leased_until": None if seconds is None else moment + timedelta(seconds=seconds),
        },
    )
    return fence


def holder(tx: Transaction, tool: str) -> str | None:
    """The run that holds a tool now; None if it is free."""
    row = get(tx, tool)
    until = row["leased_until"] or datetime.max.replace(tzinfo=UTC)
    return str(row["leased_run"]) if row["leased_run"] is not None and until > now() else None


def release(tx: Transaction, tool: str, run: str) -> None:
    """Give a tool back; nothing happens if the run does not hold it any more."""
    if get(tx, tool)["leased_run"] == run:
        tx.update(TABLE, {"id": tool}, {"leased_run": None, "leased_until": None})
