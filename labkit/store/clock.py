"""Wall-clock time as the store keeps it: always UTC, always aware, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import StoreError


def now() -> datetime:
    """The present moment, UTC, aware."""
    return datetime.now(UTC)


def moment(text: str | datetime) -> datetime:
    """An aware UTC datetime from ISO text or a datetime.

    Raises
    ------
    StoreError
        If *text* is no time, or carries no time zone.
    """
    try:
        found = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except ValueError:
        raise StoreError(f"{text!r} is not a time", allowed="ISO 8601 such as 2025-01-31T12:00:00+00:00") from None
    if found.tzinfo is None:
        raise StoreError(
            f"time {found.isoformat()} has no time zone",
            allowed="aware datetimes",
            fix="use datetime.now(UTC), or add +00:00",
        )
    return found.astimezone(UTC)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A column of aware UTC datetimes; naive ones are refused because nobody can say when they were."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """The value as the database takes it."""
        if value is None:
            return None
        utc = moment(value)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """The value as Python sees it."""
        if value is None:
            return None
        found: datetime = value
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
