"""Ground truth of simulated runs: what really was the matter. Tests and training read it; the judge never does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class TruthLog:
    """Ground truth by run, in the file *path* (one JSON object per line), or in memory without one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: dict[str, dict[str, Any]] = {}

    def add(self, run_id: str, truth: dict[str, Any]) -> None:
        """Keep what is true of *run_id*."""
        if self._path is None:
            self._kept[run_id] = truth
            return
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"run": run_id, "truth": truth}) + "\n")

    def find(self, run_id: str) -> dict[str, Any] | None:
        """What is true of *run_id*; None if nothing is known. A line that a crash cut short is passed over."""
        if self._path is None or not self._path.exists():
            return self._kept.get(run_id)
        found = None
        with self._path.open(encoding="utf-8") as log:
            for line in log:
                if run_id not in line:
                    continue
                try:
                    kept = json.loads(line)
                except ValueError:
                    continue
                if kept["run"] == run_id:
                    found = dict(kept["truth"])
        return found
