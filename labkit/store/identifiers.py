"""Identifiers that sort by the time they were made (ULID: 48 bits of milliseconds, 80 random bits, Crockford base
32)."""

from __future__ import annotations

import re
import secrets
import threading
import time

from labkit.core.errors import StoreError

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_PATTERN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A new identifier, later in sort order than every earlier one of this process."""
    global _last
    with _lock:
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        _last = fresh if fresh > _last else _last + 1
        value = _last
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def check_id(identifier: str) -> str:
    """*identifier* if it can safely name a folder.

    Raises
    ------
    StoreError
        If it could leave the lab's folder or confuse a file system.
    """
    if not isinstance(identifier, str) or not _PATTERN.fullmatch(identifier):
        raise StoreError(f"{str(identifier)[:80]!r} cannot identify a run", allowed="1 to 64 letters, digits, - and _")
    return identifier
