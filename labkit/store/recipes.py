"""Recipes in the catalogue: versions that never change, approval by a second person bound to the content's hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.core.errors import NotFound, PermissionDenied, StoreError
from labkit.core.identity import Role
from labkit.store import tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now

TABLE = tables.recipes


def save(
    tx: Transaction,
    document: Mapping[str, Any],
    *,
    name: str,
    version: int,
    process: str,
    content_hash: str,
    hazard_level: int = 1,
    parent_version: int | None = None,
    notes: Sequence[str] = (),
) -> Row:
    """Keep a version of a recipe as a draft; saving the same content again changes nothing.

    Raises
    ------
    StoreError
        If this version exists with other content, or the recipe belongs to another process.
    """
    tx.exclusive(f"recipe {name}")
    found = tx.find(TABLE, name=name, version=version)
    if found is not None:
        if (found["content_hash"], found["process"]) == (content_hash, process):
            return found
        raise StoreError(
            f"recipe {name!r} version {version} exists with other content",
            allowed="versions are written once",
            fix=f"save it as version {latest_version(tx, name) + 1}",
        )
    other = tx.select(TABLE, TABLE.c.name == name, TABLE.c.process != process, columns=("process",), limit=1)
    if other:
        raise StoreError(
            f"recipe {name!r} belongs to process {other[0]['process']!r}", fix="give this one another name"
        )
    tx.insert(
        TABLE,
        {
            "name": name,
            "version": version,
            "process": process,
            "content_hash": content_hash,
            "document": {**document, "status": "draft"},
            "status": "draft",
            "author": tx.principal.user,
            "created": now(),
            "hazard_level": hazard_level,
            "parent_version": parent_version,
            "notes": list(notes),
        },
    )
    return tx.get(TABLE, name=name, version=version)


def latest_version(tx: Transaction, name: str) -> int:
    """The highest version of *name*; 0 where there is none."""
    found = tx.select(TABLE, TABLE.c.name == name, columns=("version",), order=[TABLE.c.version.desc()], limit=1)
    return int(found[0]["version"]) if found else 0


def get(tx: Transaction, name: str, version: int | None = None) -> Row:
    """A version of a recipe, by default the latest; ``document`` carries the catalogue's status.

    Raises
    ------
    NotFound
        If this organisation has no such recipe or version.
    """
    if version is None:
        version = latest_version(tx, name)
        if version == 0:
            known = {row["name"] for row in tx.select(TABLE, columns=("name",), limit=200)}
            raise NotFound(
                f"no recipe {name!r} in organisation {tx.organisation!r}", allowed=", ".join(sorted(known)[:20]) or None
            )
    return _shown(tx.get(TABLE, name=name, version=version))


def by_hash(tx: Transaction, content_hash: str) -> list[Row]:
    """Every version whose content has this hash."""
    return [_shown(row) for row in tx.select(TABLE, TABLE.c.content_hash == content_hash)]


def listing(tx: Transaction, *, process: str | None = None, status: str | None = None) -> list[Row]:
    """Recipes by name and version, without their documents."""
    where = [TABLE.c[name] == value for name, value in (("process", process), ("status", status)) if value is not None]
    columns = [column.name for column in TABLE.c if column.name not in ("document", "org_id")]
    return tx.select(TABLE, *where, columns=columns, order=[TABLE.c.name, TABLE.c.version])


def approve(tx: Transaction, name: str, version: int, content_hash: str, *, note: str = "") -> Row:
    """Approve a draft: by another person than its author, for exactly the content with *content_hash*.

    Raises
    ------
    PermissionDenied
        If the author approves, or a viewer or operator does.
    StoreError
        If the content is not the one that was read, or the version is not a draft.
    """
    row = tx.get(TABLE, name=name, version=version)
    if row["author"] == tx.principal.user:
        raise PermissionDenied(
            f"{tx.principal.user} wrote {name!r} version {version} and cannot approve it",
            allowed="approval by another user",
            fix="ask a second person to approve it",
        )
    if tx.principal.role not in (Role.ENGINEER, Role.ADMIN):
        raise PermissionDenied(f"a {tx.principal.role.value} cannot approve recipes", allowed="engineer, admin")
    if row["content_hash"] != content_hash:
        raise StoreError(
            f"recipe {name!r} version {version} has hash {row['content_hash'][:12]}, not {content_hash[:12]}",
            fix="read the recipe again, then approve what you read",
        )
    if row["status"] != "draft":
        raise StoreError(f"recipe {name!r} version {version} is {row['status']}", allowed="only drafts are approved")
    at = now()
    tx.update(
        TABLE,
        {"name": name, "version": version},
        {"status": "approved", "approved_by": tx.principal.user, "approved_at": at},
    )
    _sign(tx, row, "approved", note)
    return get(tx, name, version)


def retire(tx: Transaction, name: str, version: int, *, note: str = "") -> Row:
    """Take a version out of use; it stays readable and keeps its content."""
    row = tx.get(TABLE, name=name, version=version)
    if row["status"] != "retired":
        tx.update(TABLE, {"name": name, "version": version}, {"status": "retired"})
        _sign(tx, row, "retired", note)
    return get(tx, name, version)


def approvals(tx: Transaction, name: str, version: int) -> list[Row]:
    """Who approved or retired a version, when, and how they signed."""
    table = tables.approvals
    return tx.select(table, table.c.recipe_name == name, table.c.recipe_version == version, order=[table.c.number])


def _sign(tx: Transaction, row: Row, decision: str, note: str) -> None:
    tx.insert(
        tables.approvals,
        {
            "recipe_hash": row["content_hash"],
            "recipe_name": row["name"],
            "recipe_version": row["version"],
            "decision": decision,
            "approver": tx.principal.user,
            "role": tx.principal.role.value,
            "signature": tx.principal.signature,
            "at": now(),
            "note": note or None,
        },
    )


def _shown(row: Row) -> Row:
    return {**row, "document": {**row["document"], "status": row["status"]}}
