"""Explicit transactions that see one organisation only; every statement of the store goes through one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import NotFound, PermissionDenied, StoreError
from labkit.core.identity import Principal
from labkit.store import prepared, scope
from labkit.store.clock import UtcTime
from labkit.store.engine import in_words

Row = dict[str, Any]


class Transaction:
    """Statements of one organisation inside one database transaction; obtained from ``Catalogue.begin``."""

    def __init__(
        self, connection: sa.Connection, principal: Principal, *, writes: bool, folder: Path | None = None
    ) -> None:
        self._connection = connection
        self.folder = folder
        self._after: list[Callable[[], object]] = []
        self.principal = principal
        self.writes = writes

    @property
    def organisation(self) -> str:
        """The organisation every statement is bound to."""
        return self.principal.organisation

    @property
    def dialect(self) -> str:
        """``"sqlite"`` or ``"postgresql"``."""
        return self._connection.dialect.name

    def execute(self, statement: Any) -> sa.CursorResult[Any]:
        """Run *statement* bound to this organisation; every other method comes through here.

        Raises
        ------
        PermissionDenied
            If any part of it cannot be bound to the organisation.
        """
        if isinstance(statement, sa.Insert):
            raise PermissionDenied("rows are inserted with tx.insert(table, row)")
        if not isinstance(statement, sa.Select | sa.Update | sa.Delete):
            raise PermissionDenied(
                f"a catalogue cannot run a {type(statement).__name__}",
                allowed="select, update and delete built from labkit.store.tables",
            )
        if not isinstance(statement, sa.Select) and not self.writes:
            raise StoreError("this transaction only reads", fix="use catalogue.begin()")
        bound = scope.scoped(statement, self.organisation)
        with in_words(self._connection.engine.url):
            return self._connection.execute(bound)

    def insert(self, table: sa.Table, row: Mapping[str, Any]) -> Any:
        """Add one row; returns its first primary-key value that is not the organisation (a running number, an id …)."""
        done = self._insert(table, self._owned(table, row))
        keys = [key for key in (done.inserted_primary_key or ()) if key != self.organisation]
        return keys[0] if keys else None

    def insert_many(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add *rows*, which all have the same columns."""
        if rows:
            self._insert(table, [self._owned(table, row) for row in rows])

    def _insert(self, table: sa.Table, rows: Row | list[Row]) -> sa.CursorResult[Any]:
        if not self.writes:
            raise StoreError("this transaction only reads", fix="use catalogue.begin()")
        with in_words(self._connection.engine.url):
            return self._connection.execute(prepared.insertion(table), rows)

    def _owned(self, table: sa.Table, row: Mapping[str, Any]) -> Row:
        if row.get("org_id", self.organisation) != self.organisation:
            raise PermissionDenied(
                f"a row of organisation {row['org_id']!r} cannot be written by {self.organisation!r}"
            )
        return {**accepted(table, row), "org_id": self.organisation}

    def select(
        self,
        table: sa.Table,
        *where: sa.ColumnElement[bool],
        columns: Sequence[str] = (),
        order: Sequence[Any] = (),
        limit: int | None = None,
        lock: bool = False,
    ) -> list[Row]:
        """Rows of *table* that satisfy *where*; *lock* keeps them from other writers until the transaction ends."""
        known = [prepared.condition(table, clause) for clause in where]
        sorting = prepared.ordering(table, order)
        if None in known or sorting is None:
            statement = prepared.rows(table, tuple(columns)).where(*where).order_by(*order).limit(limit)
            found = self.execute(statement.with_for_update() if lock and self.writes else statement)
        else:
            shapes = tuple(shape for shape, _ in filter(None, known))
            given = {f"value_{at}": value for at, (_, value) in enumerate(filter(None, known)) if value is not None}
            if limit is not None:
                given[prepared.LIMIT] = limit
            asked = prepared.question(table, tuple(columns), shapes, sorting, limit is not None, lock and self.writes)
            found = self._ask(asked, given)
        return [dict(row) for row in found.mappings()]

    def _ask(self, statement: Any, given: Row) -> sa.CursorResult[Any]:
        """Run a prepared *statement* for this organisation."""
        with in_words(self._connection.engine.url):
            return self._connection.execute(statement, {**given, prepared.OWNER: self.organisation})

    def find(self, table: sa.Table, **key: Any) -> Row | None:
        """The row with *key*, or ``None``; in a writing transaction it is locked, so that no update is lost."""
        if None in key.values():
            rows = self.select(table, *(table.c[name] == value for name, value in key.items()), limit=1, lock=True)
            return rows[0] if rows else None
        given = {f"of_{name}": value for name, value in key.items()}
        found = self._ask(prepared.by_key(table, tuple(key), self.writes), given).mappings().first()
        return None if found is None else dict(found)

    def get(self, table: sa.Table, **key: Any) -> Row:
        """The row with *key*.

        Raises
        ------
        NotFound
            If this organisation has no such row, whether or not another one does.
        """
        row = self.find(table, **key)
        if row is None:
            shown = " ".join(str(value) for value in key.values())
            raise NotFound(f"no {singular(table.name)} {shown!r} in organisation {self.organisation!r}")
        return row

    def update(self, table: sa.Table, key: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Change the rows with *key*.

        Raises
        ------
        NotFound
            If there is none.
        """
        if self.change(table, key, changes) == 0:
            shown = " ".join(str(value) for value in key.values())
            raise NotFound(f"no {singular(table.name)} {shown!r} in organisation {self.organisation!r}")

    def change(self, table: sa.Table, key: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
        """Change the rows with *key*; returns how many there were."""
        if None in key.values() or any(isinstance(value, sa.ClauseElement) for value in changes.values()):
            statement = sa.update(table).where(*(table.c[name] == value for name, value in key.items()))
            return self.execute(statement.values(accepted(table, changes))).rowcount
        if not self.writes:
            raise StoreError("this transaction only reads", fix="use catalogue.begin()")
        if "org_id" in changes:
            raise PermissionDenied("a row cannot be moved to another organisation")
        given = accepted(table, changes)
        values = {f"new_{name}": value for name, value in given.items()}
        values.update({f"of_{name}": value for name, value in key.items()})
        return self._ask(prepared.change(table, tuple(key), tuple(given)), values).rowcount

    def put(self, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Insert the row with *key*, or change it where it exists."""
        if self.find(table, **key) is None:
            self.insert(table, {**key, **values})
        elif values:
            self.update(table, key, values)

    def delete(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
        """Remove the rows that satisfy *where*; returns how many."""
        return self.execute(sa.delete(table).where(*where)).rowcount

    def exclusive(self, name: str) -> None:
        """Let no other transaction of this organisation pass the same *name* until this one ends."""
        if self.dialect == "postgresql":
            self._connection.execute(
                sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{self.organisation}/{name}", 0)))
            )

    def explain(self, statement: sa.Select[Any]) -> list[str]:
        """The query plan of *statement* (SQLite), one line per step."""
        compiled = scope.scoped(statement, self.organisation).compile(
            self._connection.engine, compile_kwargs={"literal_binds": True}
        )
        return [str(row[3]) for row in self._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]

    def after_commit(self, action: Callable[[], object]) -> None:
        """Call *action* once this transaction is committed, and not if it is rolled back."""
        self._after.append(action)


@lru_cache(maxsize=128)
def _kinds(table: sa.Table) -> dict[str, bool]:
    """The columns of *table*, and whether the database takes their values as they are: documents and times are made
    plain, or refused, when they are written."""
    return {column.name: isinstance(column.type, sa.JSON | UtcTime) for column in table.c}


def accepted(table: sa.Table, row: Mapping[str, Any]) -> Row:
    """*row* with array scalars as numbers, and what is not a number as ``None``.

    Raises
    ------
    StoreError
        If *table* has no such column.
    """
    kinds = _kinds(table)
    if not kinds.keys() >= row.keys():
        raise StoreError(
            f"table {table.name} has no column {', '.join(name for name in row if name not in kinds)}",
            allowed=", ".join(name for name in kinds if name != "org_id"),
        )
    return {name: value if value is None else _scalar(value, kinds[name]) for name, value in row.items()}


def _scalar(value: Any, structured: bool) -> Any:
    if structured:
        return None if isinstance(value, float) and not math.isfinite(value) else value
    number = getattr(value, "item", None)
    value = number() if number is not None and getattr(value, "ndim", 0) == 0 else value
    return None if isinstance(value, float) and value != value else value


def singular(table: str) -> str:
    """What one row of *table* is called in a message."""
    return {"charts_state": "chart state", "audit": "audit record", "quarantine": "quarantine entry"}.get(
        table, table.removesuffix("s").replace("_", " ")
    )
