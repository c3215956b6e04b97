"""Browsing runs: declared filters and sorts, a page at a time, quick over a million rows.

A page is found by key, not by offset: the cursor says after which row the next page begins. On SQLite this module says
which index to use, because without statistics its planner guesses: a filter with few matches leads, and its rows are
sorted; otherwise the index of the sort leads and the filters are checked row by row.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import StoreError
from labkit.store import arguments
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import moment
from labkit.store.tables import FILTER_COLUMNS, results, run_wafers, runs

FILTERS = (*FILTER_COLUMNS, "created_after", "created_before", "wafer", "results")
"""Names that :func:`page` filters by; ``results`` maps result names to (low, high)."""
SORTS = ("newest", "oldest", "duration_s", "-duration_s", "cost", "-cost", "ended", "-ended")
"""Orders that :func:`page` offers; runs without the sorted value are left out, since they have no place in the
order."""
SUMMARY = (
    "seq",
    "id",
    "created",
    "process",
    "recipe_name",
    "recipe_version",
    "recipe_hash",
    "tool",
    "chamber",
    "product",
    "lot",
    "operator",
    "state",
    "verdict",
    "origin",
    "qualified",
    "kind",
    "parent_id",
    "started",
    "ended",
    "duration_s",
    "progress",
    "step",
    "cost",
    "currency",
    "error_code",
    "error_message",
    "folder",
)
"""Columns of a page; :func:`labkit.store.runs.get` has all."""
FEW = 5_000
"""Matches up to which fetching all of them and sorting is quicker than walking the sorted index, rows."""


@dataclass(frozen=True)
class Page:
    """Rows of one page and the cursor of the next one, ``None`` on the last."""

    rows: list[Row]
    after: str | None


@dataclass(frozen=True)
class _Condition:
    """One filter: its clause on ``runs``, the same as a set of run numbers, and how many match, counted up to a cap."""

    clause: sa.ColumnElement[bool]
    matches: sa.Select[Any]
    index: str | None
    equal: bool = False


def page(tx: Transaction, *, sort: str = "newest", after: str | None = None, limit: int = 50, **filters: Any) -> Page:
    """One page of runs.

    Parameters
    ----------
    sort : str
        One of :data:`SORTS`.
    after : str, optional
        Cursor from the page before.
    limit : int
        Rows per page, 1 to 1000.
    **filters
        Any of :data:`FILTERS`; a sequence of values means any of them, ``None`` means no filter.

    Raises
    ------
    StoreError
        If a filter, the sort, the limit or the cursor is not one of those.
    """
    limit = arguments.whole("limit", limit, 1, 1000)
    statement = select(tx, sort=sort, after=after, **filters).limit(limit + 1)
    rows = [dict(row) for row in tx.execute(statement).mappings()]
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(rows, _cursor(sort, rows[-1]) if more else None)


def count(tx: Transaction, *, cap: int = 10_000, **filters: Any) -> tuple[int, bool]:
    """How many runs pass *filters*, counted up to *cap*, and whether that is all of them."""
    inner = select(tx, **filters).with_only_columns(runs.c.seq).order_by(None).limit(cap + 1).subquery()
    found = int(tx.execute(sa.select(sa.func.count()).select_from(inner)).scalar_one())
    return min(found, cap), found <= cap


def select(tx: Transaction, *, sort: str = "newest", after: str | None = None, **filters: Any) -> sa.Select[Any]:
    """The statement behind :func:`page`, without its limit."""
    conditions = _conditions(tx, filters)
    by_time = any(name in filters and filters[name] is not None for name in ("created_after", "created_before"))
    column, descending, index = _order(sort, by_time)
    statement = sa.select(*(runs.c[name] for name in SUMMARY)).where(runs.c.org_id == tx.organisation)
    keys = [runs.c.seq] if column is runs.c.seq else [column, runs.c.seq]
    if len(keys) == 2 and column is not runs.c.created:
        statement = statement.where(column.is_not(None))
    if after is not None:
        statement = statement.where(_beyond(keys, descending, _read_cursor(after, sort)))
    statement = statement.order_by(*(key.desc() if descending else key.asc() for key in keys))
    lead = _lead(tx, conditions, column) if tx.dialect == "sqlite" else None
    for condition in conditions:
        by_number = condition is lead and condition.index is None
        statement = statement.where(runs.c.seq.in_(condition.matches) if by_number else condition.clause)
    hint = f"INDEXED BY {index}" if lead is None else f"INDEXED BY {lead.index}" if lead.index else "NOT INDEXED"
    return statement.with_hint(runs, hint, "sqlite")


def _order(sort: str, by_time: bool) -> tuple[sa.Column[Any], bool, str]:
    """Column, direction and index of *sort*; runs filtered by creation time are also ordered by it."""
    if not isinstance(sort, str) or sort not in SORTS:
        raise StoreError(f"runs cannot be sorted by {arguments.shown(sort)}", allowed=", ".join(SORTS))
    if sort in ("newest", "oldest"):
        name = "created" if by_time else "seq"
        return runs.c[name], sort == "newest", f"ix_runs_org_id_{'created_seq' if by_time else 'seq'}"
    name = sort.removeprefix("-")
    return runs.c[name], sort.startswith("-"), f"ix_runs_org_id_{name}_seq"


def _conditions(tx: Transaction, filters: Mapping[str, Any]) -> list[_Condition]:
    unknown = [name for name in filters if name not in FILTERS]
    if unknown:
        raise StoreError(
            f"runs cannot be filtered by {', '.join(unknown)}",
            allowed=", ".join(FILTERS),
            fix="use lab.sql(…) for anything else",
        )
    found = [_of_column(tx, name, filters[name]) for name in FILTER_COLUMNS if filters.get(name) is not None]
    low, high = filters.get("created_after"), filters.get("created_before")
    if low is not None or high is not None:
        clauses = ([runs.c.created >= arguments.time("created_after", low)] if low is not None else []) + (
            [runs.c.created < arguments.time("created_before", high)] if high is not None else []
        )
        found.append(_on_runs(tx, sa.and_(*clauses), "ix_runs_org_id_created_seq"))
    if filters.get("wafer") is not None:
        found.append(_linked(tx, run_wafers, run_wafers.c.wafer == arguments.text("wafer", filters["wafer"])))
    wanted = {} if filters.get("results") is None else arguments.ranges("results", filters["results"])
    for name, (low, high) in wanted.items():
        clauses = (
            [results.c.name == name]
            + ([results.c.value >= low] if low is not None else [])
            + ([results.c.value <= high] if high is not None else [])
        )
        found.append(_linked(tx, results, sa.and_(*clauses)))
    return found


def _of_column(tx: Transaction, name: str, value: Any) -> _Condition:
    column, index = runs.c[name], f"ix_runs_org_id_{name}_seq"
    values = arguments.several(name, value)
    if values is None:
        return _on_runs(tx, column == _typed(name, value), index, equal=True)
    return _on_runs(tx, column.in_([_typed(name, item) for item in values]), index)


def _typed(name: str, value: Any) -> Any:
    if name == "qualified":
        if not isinstance(value, bool):
            raise StoreError(f"qualified = {arguments.shown(value)} cannot be filtered by", allowed="True or False")
        return value
    return arguments.text(name, value, allowed="text, or several of them")


def _on_runs(tx: Transaction, clause: sa.ColumnElement[bool], index: str, *, equal: bool = False) -> _Condition:
    matches = (
        sa.select(runs.c.seq)
        .where(runs.c.org_id == tx.organisation, clause)
        .with_hint(runs, f"INDEXED BY {index}", "sqlite")
    )
    return _Condition(clause, matches, index, equal)


def _linked(tx: Transaction, table: sa.Table, clause: sa.ColumnElement[bool]) -> _Condition:
    here = sa.and_(table.c.org_id == tx.organisation, clause)
    probe = (
        sa.select(sa.literal(1))
        .select_from(table)
        .where(here, table.c.run_seq == runs.c.seq, runs.c.org_id == tx.organisation)
        .correlate(runs)
    )
    return _Condition(sa.exists(probe), sa.select(table.c.run_seq).where(here), None)


def _lead(tx: Transaction, conditions: Sequence[_Condition], column: sa.Column[Any]) -> _Condition | None:
    """The condition whose index should lead on SQLite; ``None`` where the index of the sort should."""
    in_order = column is runs.c.seq
    if not conditions or (len(conditions) == 1 and conditions[0].equal and in_order):
        return conditions[0] if conditions else None
    sizes = [_size(tx, condition, FEW * 10 if condition.equal and in_order else FEW) for condition in conditions]
    smallest = min(range(len(sizes)), key=sizes.__getitem__)
    if sizes[smallest] < FEW:
        return conditions[smallest]
    ordered = [at for at, condition in enumerate(conditions) if condition.equal and in_order]
    return conditions[min(ordered, key=sizes.__getitem__)] if ordered else None


def _size(tx: Transaction, condition: _Condition, cap: int) -> int:
    inner = condition.matches.limit(cap).subquery()
    return int(tx.execute(sa.select(sa.func.count()).select_from(inner)).scalar_one())


def _beyond(keys: list[sa.Column[Any]], descending: bool, values: list[Any]) -> sa.ColumnElement[bool]:
    place: Any = sa.tuple_(*keys) if len(keys) > 1 else keys[0]
    if len(keys) == 1:
        values = values[1:]
    elif keys[0].name in ("created", "ended"):
        values = [moment(values[0]), values[1]]
    bound: Any = (
        sa.tuple_(*(sa.literal(v, k.type) for k, v in zip(keys, values, strict=True))) if len(keys) > 1 else values[0]
    )
    beyond: sa.ColumnElement[bool] = place < bound if descending else place > bound
    return beyond


def _cursor(sort: str, row: Row) -> str:
    name = sort.removeprefix("-")
    value = row["created"] if name in ("newest", "oldest") else row[name]
    stamp = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([sort, stamp, row["seq"]]).encode()).decode()


def _read_cursor(cursor: str, sort: str) -> list[Any]:
    try:
        made_for, value, seq = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if made_for != sort or not isinstance(seq, int):
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise StoreError("the cursor is not one of this sort", fix="start again without after=") from None
    return [value, seq]


__all__ = ["FILTERS", "SORTS", "SUMMARY", "Page", "count", "page", "select"]
