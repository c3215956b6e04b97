"""Published bands: constants for which sources give a range are moved beyond it, not by a tenth."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Band:
    """The range that sources give for the number at *field* of *owner* (a module-level name) in the file *path*."""

    path: str
    owner: str
    field: str
    low: float
    high: float
    source: str

    def covers(self, path: str, owner: str, field: str) -> bool:
        """Whether this band is about that number."""
        return (self.path, self.owner, self.field) == (path, owner, field)


def read() -> list[Band]:
    """Every declared band."""
    with Path(__file__).with_name("bands.csv").open(encoding="utf-8", newline="") as file:
        return [
            Band(row["path"], row["owner"], row["field"], float(row["low"]), float(row["high"]), row["source"])
            for row in csv.DictReader(file)
        ]
