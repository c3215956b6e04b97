"""What a lab has learned: frozen baselines, training rows, suggested corrections, the state of its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.core.errors import NotFound, PermissionDenied, StoreError
from labkit.store import runs, tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now
from labkit.store.identifiers import new_id


def freeze_baseline(
    tx: Transaction,
    *,
    tool: str,
    process: str,
    family: str,
    document: Mapping[str, Any],
    qualified_by: str | None = None,
) -> str:
    """Keep a qualified baseline; it never changes, a later one replaces it. Returns its id.

    *family* names the recipes that share it; *document* holds what the judge compares with.
    """
    identifier = new_id()
    tx.insert(
        tables.baselines,
        {
            "id": identifier,
            "tool": tool,
            "process": process,
            "family": family,
            "document": document,
            "frozen_at": now(),
            "qualified_by": qualified_by,
        },
    )
    return identifier


def baseline(tx: Transaction, *, tool: str, process: str, family: str) -> Row | None:
    """The baseline in force for a family of recipes on a tool, or ``None``."""
    table = tables.baselines
    found = tx.select(
        table,
        table.c.tool == tool,
        table.c.process == process,
        table.c.family == family,
        table.c.retired_at.is_(None),
        order=[table.c.frozen_at.desc(), table.c.id.desc()],
        limit=1,
    )
    return found[0] if found else None


def add_training_row(
    tx: Transaction,
    run: str,
    *,
    family: str,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    excluded: bool = False,
    reason: str | None = None,
) -> None:
    """Keep what a run teaches; one row per run, replaced if it is taught again. The trust labels come from the run.

    Raises
    ------
    StoreError
        If a row is excluded without a reason.
    """
    if excluded and not reason:
        raise StoreError(f"run {run} is excluded from training without a reason", fix="say why: reason='…'")
    row = runs.get(tx, run)
    tx.put(
        tables.training_rows,
        {"run": run},
        {
            "tool": row["tool"] or "",
            "process": row["process"],
            "family": family,
            "origin": row["origin"],
            "qualified": row["qualified"],
            "inputs": inputs,
            "outputs": outputs,
            "excluded": excluded,
            "reason": reason,
            "created": now(),
        },
    )


def training_rows(
    tx: Transaction,
    *,
    process: str,
    origins: Sequence[str],
    tool: str | None = None,
    family: str | None = None,
    qualified: bool | None = None,
    excluded: bool = False,
    limit: int | None = None,
) -> list[Row]:
    """Rows to learn from, oldest first; *origins* must be said, so that simulated data never slips into a real tool's
    model.

    With *limit* the newest that many. *excluded* rows come along only when asked for.
    """
    unknown = set(origins) - set(tables.ORIGINS)
    if unknown or not origins:
        raise StoreError(f"origins {', '.join(sorted(unknown)) or 'not given'}", allowed=", ".join(tables.ORIGINS))
    table = tables.training_rows
    where: list[Any] = [table.c.process == process, table.c.origin.in_(list(origins))]
    where += [
        table.c[name] == value
        for name, value in (("tool", tool), ("family", family), ("qualified", qualified))
        if value is not None
    ]
    where += [] if excluded else [table.c.excluded.is_(False)]
    return tx.select(table, *where, order=[table.c.number.desc()], limit=limit)[::-1]


def exclude_training_row(tx: Transaction, run: str, reason: str) -> None:
    """Keep a run out of training from now on."""
    tx.update(tables.training_rows, {"run": run}, {"excluded": True, "reason": reason})


def suggest(
    tx: Transaction,
    *,
    kind: str,
    tool: str,
    process: str,
    changes: Mapping[str, Any],
    reason: str,
    family: str | None = None,
    run: str | None = None,
    recipe_name: str | None = None,
    recipe_version: int | None = None,
) -> str:
    """Propose a correction (*changes* by recipe path) for a person to decide on; returns its id."""
    identifier = new_id()
    tx.insert(
        tables.suggestions,
        {
            "id": identifier,
            "kind": kind,
            "tool": tool,
            "process": process,
            "family": family,
            "run": run,
            "changes": changes,
            "reason": reason,
            "recipe_name": recipe_name,
            "recipe_version": recipe_version,
            "status": "proposed",
            "created": now(),
        },
    )
    return identifier


def decide(tx: Transaction, suggestion: str, *, approved: bool) -> Row:
    """Approve or refuse a suggestion.

    Raises
    ------
    StoreError
        If it has been decided already.
    """
    row = tx.get(tables.suggestions, id=suggestion)
    if row["status"] != "proposed":
        raise StoreError(f"suggestion {suggestion} is already {row['status']} by {row['decided_by']}")
    if tx.principal.role.value == "viewer":
        raise PermissionDenied("a viewer cannot decide on suggestions", allowed="operator, engineer, admin")
    tx.update(
        tables.suggestions,
        {"id": suggestion},
        {"status": "approved" if approved else "refused", "decided_by": tx.principal.user, "decided_at": now()},
    )
    return tx.get(tables.suggestions, id=suggestion)


def suggestions(
    tx: Transaction, *, status: str | None = None, tool: str | None = None, process: str | None = None
) -> list[Row]:
    """Suggestions, oldest first."""
    table = tables.suggestions
    where = [
        table.c[name] == value
        for name, value in (("status", status), ("tool", tool), ("process", process))
        if value is not None
    ]
    return tx.select(table, *where, order=[table.c.id])


def chart_state(tx: Transaction, key: str) -> dict[str, Any] | None:
    """The stored state of a chart or controller; in a writing transaction it is locked until the end."""
    row = tx.find(tables.charts_state, key=key)
    return None if row is None else dict(row["document"])


def keep_chart_state(tx: Transaction, key: str, document: Mapping[str, Any], *, run: str | None = None) -> None:
    """Store the state of a chart or controller, and the run that moved it there."""
    tx.put(tables.charts_state, {"key": key}, {"document": document, "changed": now(), "run": run})


def keep_profile(
    tx: Transaction,
    name: str,
    *,
    process: str,
    document: Mapping[str, Any],
    tool: str | None = None,
    product: str | None = None,
) -> int:
    """Store a constraint profile as its next version, unless the newest one says the same; returns the version."""
    table = tables.constraint_profiles
    tx.exclusive(f"profile {name}")
    found = tx.select(table, table.c.name == name, order=[table.c.version.desc()], limit=1)
    same = found and all(
        found[0][key] == value
        for key, value in (("process", process), ("tool", tool), ("product", product), ("document", dict(document)))
    )
    if same:
        return int(found[0]["version"])
    version = int(found[0]["version"]) + 1 if found else 1
    tx.insert(
        table,
        {
            "name": name,
            "version": version,
            "process": process,
            "tool": tool,
            "product": product,
            "document": document,
            "author": tx.principal.user,
            "created": now(),
        },
    )
    return version


def profile(tx: Transaction, name: str, version: int | None = None) -> Row:
    """A constraint profile, by default its newest version.

    Raises
    ------
    NotFound
        If there is none of that name or version.
    """
    table = tables.constraint_profiles
    where = [table.c.name == name] + ([table.c.version == version] if version is not None else [])
    found = tx.select(table, *where, order=[table.c.version.desc()], limit=1)
    if not found:
        raise NotFound(
            f"no constraint profile {name!r}{f' version {version}' if version else ''}",
            allowed=", ".join(sorted({row["name"] for row in profiles(tx)})) or "none stored",
        )
    return found[0]


def profiles(tx: Transaction, *, process: str | None = None) -> list[Row]:
    """Newest version of every constraint profile."""
    table = tables.constraint_profiles
    where = [table.c.process == process] if process is not None else []
    return list({row["name"]: row for row in tx.select(table, *where, order=[table.c.name, table.c.version])}.values())
