"""What people type, checked before it reaches a statement: text, numbers, times, ranges, keys of runs.

Every function returns the value as the store takes it, or raises a :class:`~labkit.core.errors.StoreError` that shows
the value in one short line.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from numbers import Real
from pathlib import Path
from typing import Any

from labkit.core.errors import NotFound, StoreError
from labkit.store.clock import moment

LONGEST = 200
"""Most characters of a name that is looked for."""
_SHOWN = 60


def shown(value: object) -> str:
    """*value* as it can be shown in a message: one line, not long."""
    text = " ".join(repr(value).split())
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def text(what: str, value: object, *, allowed: str = "", longest: int = LONGEST, lines: bool = False) -> str:
    """*value* if it is text that a database can hold, on one line unless *lines*."""
    fits = isinstance(value, str) and 0 < len(value) <= longest and "\x00" not in value and _encodes(value)
    if not isinstance(value, str) or not fits or not (lines or value.isprintable()):
        raise StoreError(
            f"{what} = {shown(value)} is no text" if lines else f"{what} = {shown(value)} is no name",
            allowed=allowed or f"text of 1 to {longest} printable characters",
        )
    return value


def whole(what: str, value: Any, low: int, high: int) -> int:
    """*value* as an int from *low* to *high*."""
    try:
        found = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = low - 1
    if not low <= found <= high:
        raise StoreError(f"{what} = {shown(value)}", allowed=f"a whole number, {low} to {high}")
    return found


def time(what: str, value: object) -> datetime:
    """*value* (ISO 8601 text or a datetime, with time zone) as aware UTC datetime."""
    allowed = "a datetime with time zone, or ISO 8601 such as '2025-01-31T12:00:00+00:00'"
    if not isinstance(value, str | datetime) or (isinstance(value, str) and len(value) > LONGEST):
        raise StoreError(f"{what} = {shown(value)} is not a time", allowed=allowed)
    try:
        return moment(value)
    except OverflowError:
        raise StoreError(f"{what} = {shown(value)} is not a time", allowed=allowed) from None


def bounds(what: str, value: Any) -> tuple[float | None, float | None]:
    """*value* as (low, high), with None for an open end."""
    try:
        low, high = value
    except (TypeError, ValueError):
        low, high = "", ""
    ends = [None if end is None else _number(end) for end in (low, high)]
    if any(end is not None and math.isnan(end) for end in ends) or (None not in ends and ends[0] > ends[1]):  # type: ignore[operator]
        raise StoreError(
            f"{what} = {shown(value)} is no range", allowed="(low, high), low ≤ high, with None for an open end"
        )
    return ends[0], ends[1]


def ranges(what: str, value: object) -> dict[str, tuple[float | None, float | None]]:
    """*value* as a mapping of names to (low, high)."""
    if not isinstance(value, Mapping):
        raise StoreError(
            f"{what} = {shown(value)}", allowed="names with ranges", fix=f'{what}={{"thickness_mean_nm": (95, 105)}}'
        )
    return {text(f"a name in {what}", name): bounds(f"{what}[{shown(name)}]", found) for name, found in value.items()}


def several(what: str, value: object) -> list[Any] | None:
    """The values of a filter that means any of them; None if *value* is a single one."""
    if isinstance(value, str | bytes | bool | int | float | Mapping) or not isinstance(value, Iterable):
        return None
    return list(value)


def run_key(value: Any) -> str | int:
    """*value* as a run's number or id."""
    try:
        return text("run", value) if isinstance(value, str) else whole("run", value, 1, 2**63 - 1)
    except StoreError:
        raise NotFound(f"no run {shown(value)}", allowed="a run's number or id", fix="lab.runs() lists them") from None


@contextmanager
def looked_up(fix: str) -> Iterator[None]:
    """Say in *fix* what to do when something is not found and the error does not say so itself."""
    try:
        yield
    except NotFound as error:
        raise error if error.fix or error.allowed else NotFound(error.what, fix=fix) from None


def file(what: str, value: object) -> Path:
    """*value* as a path."""
    if not isinstance(value, str | os.PathLike) or not str(value) or "\x00" in str(value) or not _encodes(str(value)):
        raise StoreError(f"{what} = {shown(value)} is no path", allowed="a path as text or pathlib.Path")
    return Path(value)


def _number(value: object) -> float:
    try:
        return math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:
        return math.nan


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
