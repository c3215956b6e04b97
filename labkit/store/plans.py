"""Job templates and schedules in the catalogue: what is handed in again and again, and when the next time is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from labkit.core.errors import NotFound, StoreError
from labkit.store import tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now

TEMPLATES, SCHEDULES = tables.job_templates, tables.schedules


def keep_template(tx: Transaction, name: str, document: Mapping[str, Any]) -> None:
    """Keep a template; one of the same name is replaced, and every schedule goes on with the new one."""
    tx.put(TEMPLATES, {"name": name}, {"document": dict(document), "author": tx.principal.user, "changed": now()})


def template(tx: Transaction, name: str) -> Row:
    """The template called *name*.

    Raises
    ------
    NotFound
        Naming the templates there are.
    """
    return _named(tx, TEMPLATES, "template", name)


def templates(tx: Transaction) -> list[Row]:
    """Every template, by name."""
    return tx.select(TEMPLATES, order=[TEMPLATES.c.name])


def delete_template(tx: Transaction, name: str) -> None:
    """Forget a template.

    Raises
    ------
    NotFound
        If there is none of that name.
    StoreError
        If a schedule uses it, naming the schedules.
    """
    template(tx, name)
    users = [row["name"] for row in tx.select(SCHEDULES, SCHEDULES.c.template == name, order=[SCHEDULES.c.name])]
    if users:
        raise StoreError(
            f"template {name!r} is used by schedule {', '.join(map(repr, users))}",
            allowed="templates that no schedule uses",
            fix=f'lab.unschedule("{users[0]}") first',
        )
    tx.delete(TEMPLATES, TEMPLATES.c.name == name)


def keep_schedule(tx: Transaction, name: str, **columns: Any) -> None:
    """Keep a schedule; one of the same name is replaced and begins anew."""
    fresh = {"last_at": None, "last_run": None, "problem": None}
    tx.put(SCHEDULES, {"name": name}, {**fresh, **columns, "author": tx.principal.user, "created": now()})


def schedule(tx: Transaction, name: str) -> Row:
    """The schedule called *name*; in a writing transaction nobody else changes it until that ends.

    Raises
    ------
    NotFound
        Naming the schedules there are.
    """
    return _named(tx, SCHEDULES, "schedule", name)


def find_schedule(tx: Transaction, name: str) -> Row | None:
    """The schedule called *name*, locked in a writing transaction, or None."""
    return tx.find(SCHEDULES, name=name)


def schedules(tx: Transaction) -> list[Row]:
    """Every schedule, by name."""
    return tx.select(SCHEDULES, order=[SCHEDULES.c.name])


def due(tx: Transaction, moment: datetime) -> list[Row]:
    """Enabled schedules whose next time is not after *moment*, the longest overdue first."""
    where = [SCHEDULES.c.enabled.is_(True), SCHEDULES.c.next_at <= moment]
    return tx.select(SCHEDULES, *where, order=[SCHEDULES.c.next_at])


def next_due(tx: Transaction) -> datetime | None:
    """When the next enabled schedule is due; None if there is none."""
    where = [SCHEDULES.c.enabled.is_(True), SCHEDULES.c.next_at.is_not(None)]
    found = tx.select(SCHEDULES, *where, columns=("next_at",), order=[SCHEDULES.c.next_at], limit=1)
    return found[0]["next_at"] if found else None


def change_schedule(tx: Transaction, name: str, **changes: Any) -> None:
    """Change columns of a schedule."""
    tx.update(SCHEDULES, {"name": name}, changes)


def delete_schedule(tx: Transaction, name: str) -> None:
    """Forget a schedule; what it has handed in stays.

    Raises
    ------
    NotFound
        If there is none of that name.
    """
    schedule(tx, name)
    tx.delete(SCHEDULES, SCHEDULES.c.name == name)


def _named(tx: Transaction, table: Any, what: str, name: str) -> Row:
    found = tx.find(table, name=name)
    if found is None:
        known = [row["name"] for row in tx.select(table, columns=("name",), order=[table.c.name], limit=20)]
        raise NotFound(f"no {what} {name!r}", allowed=", ".join(known) or "none: there are no " + what + "s")
    return found
