"""Statements built and bound to an organisation once: a run makes some sixty of them, and building costs most of each.

Every one is filtered by ``org_id`` against the parameter :data:`OWNER`, which the transaction alone fills in. Names of
other parameters cannot collide with it: they begin with ``of_``, ``new_`` or ``value_``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, Null, UnaryExpression

OWNER = "organisation"
"""The parameter that holds the organisation."""
LIMIT = "limit"
"""The parameter that holds the greatest number of rows."""
Condition = tuple[str, Any, str]
"""A column's name, an operator, and what it is compared with: ``"value"``, ``"list"`` or ``"null"``."""
Order = tuple[str, bool]
"""A column's name, and whether large values come first."""
_COMPARISONS = frozenset({operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge})


@lru_cache(maxsize=512)
def by_key(table: sa.Table, names: tuple[str, ...], lock: bool) -> sa.Select[Any]:
    """The look-up of one row by the columns *names* (parameters ``of_<name>``)."""
    statement = sa.select(table).where(_owned(table), *_equal(table, names)).limit(1)
    return statement.with_for_update() if lock else statement


@lru_cache(maxsize=512)
def change(table: sa.Table, keys: tuple[str, ...], names: tuple[str, ...]) -> sa.Update:
    """The change of columns *names* (``new_<name>``) in the rows with a key of columns *keys* (``of_<name>``)."""
    rows = sa.update(table).where(_owned(table), *_equal(table, keys))
    return rows.values({name: sa.bindparam(f"new_{name}") for name in names})


@lru_cache(maxsize=128)
def insertion(table: sa.Table) -> sa.Insert:
    """The insertion of rows; each must hold its ``org_id``."""
    return sa.insert(table)


@lru_cache(maxsize=512)
def rows(table: sa.Table, columns: tuple[str, ...]) -> sa.Select[Any]:
    """All rows, or *columns* of them, bound to no organisation yet."""
    return sa.select(*(table.c[name] for name in columns)) if columns else sa.select(table)


@lru_cache(maxsize=512)
def question(
    table: sa.Table,
    columns: tuple[str, ...],
    conditions: tuple[Condition, ...],
    order: tuple[Order, ...],
    limited: bool,
    lock: bool,
) -> sa.Select[Any]:
    """Rows that satisfy *conditions* (parameters ``value_0``, ``value_1`` …) in *order*."""
    where = [_compared(table, condition, at) for at, condition in enumerate(conditions)]
    sorting = [table.c[name].desc() if descending else table.c[name] for name, descending in order]
    statement = rows(table, columns).where(_owned(table), *where).order_by(*sorting)
    statement = statement.limit(sa.bindparam(LIMIT, type_=sa.Integer)) if limited else statement
    return statement.with_for_update() if lock else statement


def condition(table: sa.Table, clause: Any) -> tuple[Condition, Any] | None:
    """What *clause* compares, and the value, where it compares a column of *table* with a value; else ``None``."""
    if type(clause) is not BinaryExpression or not _of(table, clause.left):
        return None
    found, right = clause.operator, clause.right
    if type(right) is Null and found is operators.is_:
        return (clause.left.name, found, "null"), None
    if type(right) is not BindParameter or right.required or right.effective_value is None:
        return None
    if found in _COMPARISONS and not right.expanding:
        return (clause.left.name, found, "value"), right.effective_value
    if found is operators.in_op and right.expanding:
        return (clause.left.name, found, "list"), right.effective_value
    return None


def ordering(table: sa.Table, clauses: Sequence[Any]) -> tuple[Order, ...] | None:
    """Names and directions of *clauses*, where all of them are columns of *table*; else ``None``."""
    found: list[Order] = []
    for clause in clauses:
        descending = type(clause) is UnaryExpression and clause.modifier is operators.desc_op
        column = clause.element if descending else clause
        if not _of(table, column):
            return None
        found.append((column.name, descending))
    return tuple(found)


def _of(table: sa.Table, column: Any) -> bool:
    return type(column) is sa.Column and column.table is table


def _owned(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.org_id == sa.bindparam(OWNER)


def _equal(table: sa.Table, names: tuple[str, ...]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == sa.bindparam(f"of_{name}") for name in names]


def _compared(table: sa.Table, compared: Condition, at: int) -> sa.ColumnElement[bool]:
    name, found, kind = compared
    column: Any = table.c[name]
    given: Any = sa.bindparam(f"value_{at}", expanding=kind == "list")
    forms: dict[str, Callable[[], sa.ColumnElement[bool]]] = {
        "null": lambda: column.is_(None),
        "list": lambda: column.in_(given),
        "value": lambda: found(column, given),
    }
    return forms[kind]()
