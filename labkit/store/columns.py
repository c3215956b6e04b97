"""What the catalogue's tables are made of: column types, and constructors that never forget ``org_id``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Text, Real, Truth = sa.Text, sa.Double, sa.Boolean
Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def column(name: str, kind: Any = Text, **options: Any) -> sa.Column[Any]:
    """A column that may be empty."""
    return sa.Column(name, kind, **{"nullable": True, **options})


def needed(name: str, kind: Any = Text, **options: Any) -> sa.Column[Any]:
    """A column that every row fills."""
    return sa.Column(name, kind, nullable=False, **options)


def one_of(column: str, allowed: tuple[str, ...], name: str) -> sa.CheckConstraint:
    """A check that *column* holds one of the *allowed* words."""
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(word) for word in allowed)})", name=name)


def table(name: str, *items: Any, key: tuple[str, ...] = (), **options: Any) -> sa.Table:
    """A table with ``org_id``; with *key*, that is the primary key together with ``org_id``, else a running
    ``number``."""
    columns: list[Any] = [needed("org_id")]
    if not key:
        columns.insert(0, sa.Column("number", Number, primary_key=True, autoincrement=True))
        options.setdefault("sqlite_autoincrement", True)
    else:
        items = (*items, sa.PrimaryKeyConstraint("org_id", *key))
    return sa.Table(name, metadata, *columns, *items, **options)


def of_run(*columns: str) -> sa.ForeignKeyConstraint:
    """A link to a run of the same organisation, by id or, for a column ``run_seq``, by running number."""
    names = columns or ("run",)
    target = "runs.seq" if names == ("run_seq",) else "runs.id"
    return sa.ForeignKeyConstraint(["org_id", *names], ["runs.org_id", target])
