"""The organisation filter: every statement is bound to one organisation, or it does not run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, ColumnClause, ColumnElement, Grouping
from sqlalchemy.sql.selectable import CompoundSelect, Join, SelectBase, Subquery

from labkit.core.errors import PermissionDenied

Statement = TypeVar("Statement", sa.Select[Any], sa.Update, sa.Delete)


def scoped(statement: Statement, organisation: str) -> Statement:
    """*statement* with the organisation's filter on every table that it names itself."""
    targets = _tables(statement)
    bound = _bound(statement.whereclause, organisation)
    for table in targets:
        if table not in bound:
            statement = statement.where(table.c.org_id == organisation)
    return statement


def check(statement: Any, organisation: str) -> None:
    """Refuse *statement* unless each part of it, at any depth, is bound to *organisation*.

    Raises
    ------
    PermissionDenied
        If a part names a table without the filter, is literal SQL, or would move a row to another organisation.
    """
    for element in visitors.iterate(statement):
        if isinstance(element, sa.TextClause | CompoundSelect) or element.__visit_name__ == "textual_select":
            raise PermissionDenied("a catalogue statement held literal SQL or a union",
                                   allowed="select, insert, update and delete built from labkit.store.tables")
        if isinstance(element, sa.Select | sa.Update | sa.Delete):
            missing = _tables(element) - _bound(element.whereclause, organisation)
            if missing:
                names = ", ".join(sorted(table.name for table in missing))
                raise PermissionDenied(f"a statement reads or writes {names} beyond organisation {organisation!r}",
                                       fix="build it with tx.select(…) or labkit.store.scope.scoped(…)")
        if isinstance(element, sa.Update) and "org_id" in {_name(key) for key in _assigned(element)}:
            raise PermissionDenied("a row cannot be moved to another organisation")


def _assigned(statement: sa.Update) -> Iterator[Any]:
    yield from (statement._values or {})
    yield from (key for key, _ in getattr(statement, "_ordered_values", None) or ())


def _name(key: Any) -> str:
    return str(getattr(key, "key", key))


def _tables(statement: Any) -> set[Any]:
    """Tables and aliases of tables that *statement* itself names, with joins taken apart."""
    if isinstance(statement, sa.Update | sa.Delete):
        return {statement.table, *_named(statement.whereclause)}
    return {table for source in statement.get_final_froms() for table in _leaves(source)}


def _named(clause: Any) -> Iterator[Any]:
    """Tables that *clause* names outside subqueries (an UPDATE's or DELETE's further tables)."""
    if clause is None or isinstance(clause, SelectBase | Subquery):
        return
    if isinstance(clause, ColumnClause) and clause.table is not None:
        yield clause.table
    for child in clause.get_children():
        yield from _named(child)


def _leaves(source: Any) -> Iterator[Any]:
    if isinstance(source, Join):
        yield from _leaves(source.left)
        yield from _leaves(source.right)
    elif "org_id" in source.c and not isinstance(source, sa.Subquery | sa.CTE):
        yield source


def _bound(clause: ColumnElement[Any] | None, organisation: str) -> set[Any]:
    """Tables whose ``org_id`` *clause* ties to *organisation* in every row it lets through."""
    if clause is None:
        return set()
    if isinstance(clause, Grouping):
        return _bound(clause.element, organisation)
    if isinstance(clause, BooleanClauseList) and clause.operator is sa.sql.operators.and_:
        return {table for part in clause.clauses for table in _bound(part, organisation)}
    if (isinstance(clause, BinaryExpression) and clause.operator is sa.sql.operators.eq
            and isinstance(clause.right, BindParameter) and clause.right.value == organisation
            and getattr(clause.left, "key", None) == "org_id"):
        return {clause.left.table}  # type: ignore[attr-defined]
    return set()
