"""States, charts and baselines as JSON: every frozen dataclass of this layer can be stored and restored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from labkit.core.errors import LabkitError


class Stored:
    """A frozen dataclass of numbers, texts, truths and (nested) tuples of them that round-trips through strict JSON.

    A float that is not a number is stored as ``None``; infinities are refused, because JSON has none.
    """

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable document of this object's fields."""
        return {f.name: _plain(getattr(self, f.name), f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The object that *document* describes.

        Raises
        ------
        LabkitError
            If a field is missing or unknown.
        """
        declared = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if set(document) != set(declared):
            wrong = sorted(set(document) ^ set(declared))
            raise LabkitError(
                f"stored {cls.__name__} does not match: {', '.join(wrong)}",
                allowed="exactly the fields " + ", ".join(declared),
            )
        return cls(**{name: _restored(value, str(declared[name].type)) for name, value in document.items()})


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, tuple):
        return [_plain(v, name) for v in value]
    if isinstance(value, float):
        if math.isinf(value):
            raise LabkitError(f"{name} is infinite and cannot be stored", allowed="finite numbers")
        return None if math.isnan(value) else float(value)
    return value


def _restored(value: Any, annotation: str) -> Any:
    if isinstance(value, list):
        return tuple(_restored(v, annotation.partition("[")[2] or annotation) for v in value)
    if value is None and "None" not in annotation and "float" in annotation:
        return math.nan
    return value
