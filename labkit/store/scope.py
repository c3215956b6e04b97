"""The organisation filter: every statement is bound to one organisation, or it does not run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnClause,
    Grouping,
)
from sqlalchemy.sql.operators import and_, custom_op, eq
from sqlalchemy.sql.selectable import AliasedReturnsRows, FromClause, SelectBase, Subquery, TableClause

from labkit.core.errors import PermissionDenied

Statement = TypeVar("Statement", bound=sa.Select[Any] | sa.Update | sa.Delete)


def scoped(statement: Statement, organisation: str) -> Statement:
    """*statement*, bound to *organisation* in each table it names.

    Raises
    ------
    PermissionDenied
        If a subquery is not bound already, a part is literal SQL, or a row would move to another organisation.
    """
    named, nested = _level(statement)
    bound = _bound(statement.whereclause, organisation)
    for table in named:
        if table not in bound:
            narrowed: Any = statement.where(table.c.org_id == organisation)
            statement = narrowed
    if isinstance(statement, sa.Update) and "org_id" in _assigned(statement):
        raise PermissionDenied("a row cannot be moved to another organisation")
    for inner in nested:
        _check(inner, organisation)
    return statement


def _check(select: Any, organisation: str) -> None:
    if not isinstance(select, sa.Select):
        raise PermissionDenied(
            "a catalogue statement held literal SQL or a union",
            allowed="select, update and delete built from labkit.store.tables",
        )
    named, nested = _level(select)
    missing = named - _bound(select.whereclause, organisation)
    if missing:
        names = ", ".join(sorted(table.name for table in missing))
        raise PermissionDenied(
            f"a subquery reads {names} beyond organisation {organisation!r}",
            fix="filter it by org_id == tx.organisation",
        )
    for inner in nested:
        _check(inner, organisation)


def _level(statement: Any) -> tuple[set[Any], list[Any]]:
    """Tables (and aliases of tables) that *statement* itself names anywhere, and the subqueries below it."""
    if getattr(statement, "_prefixes", ()) or getattr(statement, "_suffixes", ()):
        raise PermissionDenied("a catalogue statement held literal SQL", allowed="columns of labkit.store.tables")
    tables: set[Any] = set()
    nested: list[Any] = []
    pending: list[Any] = [*statement.get_children(), *([] if isinstance(statement, sa.Select) else [statement.table])]
    seen: set[int] = set()
    while pending:
        element = pending.pop()
        kind = type(element)
        if kind is BindParameter:
            continue
        if kind is sa.Column and element.table is not None:
            element = element.table
        if id(element) in seen:
            continue
        seen.add(id(element))
        if isinstance(element, SelectBase):
            nested.append(element)
        elif isinstance(element, Subquery | sa.CTE):
            nested.append(element.element)
        elif isinstance(getattr(element, "element", element), sa.Table):
            tables.add(element)
        else:
            pending.extend(_parts(element))
    return tables, nested


def _parts(element: Any) -> Iterator[Any]:
    literal = isinstance(element, ColumnClause) and element.is_literal and element.name not in ("*", "1")
    if (
        literal
        or isinstance(element, sa.TextClause | TableClause)
        or isinstance(getattr(element, "operator", None), custom_op)
    ):
        raise PermissionDenied("a catalogue statement held literal SQL", allowed="columns of labkit.store.tables")
    table = getattr(element, "table", None)
    if isinstance(table, FromClause):
        yield table
    if isinstance(element, AliasedReturnsRows):
        yield element.element
    yield from element.get_children()


def _assigned(statement: sa.Update) -> set[str]:
    keys = [*(statement._values or {}), *(key for key, _ in getattr(statement, "_ordered_values", None) or ())]
    return {str(getattr(key, "key", key)) for key in keys}


def _bound(clause: Any, organisation: str) -> set[Any]:
    """Tables whose ``org_id`` *clause* ties to *organisation* in every row it lets through."""
    if isinstance(clause, Grouping):
        return _bound(clause.element, organisation)
    if isinstance(clause, BooleanClauseList) and clause.operator is and_:
        return {table for part in clause.clauses for table in _bound(part, organisation)}
    if (
        isinstance(clause, BinaryExpression)
        and clause.operator is eq
        and isinstance(clause.right, BindParameter)
        and clause.right.value == organisation
        and isinstance(clause.left, ColumnClause)
        and clause.left.key == "org_id"
    ):
        return {clause.left.table}
    return set()
