"""JSON documents as the store keeps them: plain types, canonical text, checksums.

Non-finite numbers become ``null``: JSON has no others, and a database that refused a failed run's NaN would lose the
run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.errors import StoreError


def plain(value: Any) -> Any:
    """*value* in JSON's own types: mappings, lists, text, finite numbers, booleans, ``None``.

    Raises
    ------
    StoreError
        If it holds something that JSON cannot say.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    raise StoreError(
        f"a {type(value).__name__} cannot be stored as JSON",
        allowed="mappings, lists, text, numbers, booleans, times, dataclasses and Pydantic models",
    )


def dumps(value: Any, *, indent: int | None = None) -> str:
    """*value* as JSON text."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> str:
    """*value* as the one JSON text that equal documents share: sorted keys, no spaces, shortest numbers."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256(content: bytes | str) -> str:
    """SHA-256 of *content*, hexadecimal."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
