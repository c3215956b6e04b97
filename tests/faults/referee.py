"""Judges what is left after a crash from the tools' own ledgers and the files, read with nothing of labkit.

The catalogue is the accused: it is compared with what the equipment wrote down, never asked for its opinion.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

RESTING = {"COMPLETED", "ENGINEER_REVIEW", "CLEARED", "CANCELLED"}
"""Where a run may end whose recipe is good and whose processes were killed; FAILED would be our fault."""


@dataclass(frozen=True)
class Entry:
    """What one tool's ledger says about one run."""

    tool: str
    state: str
    samples: int
    delivered: int
    executions: int


def ledgers(lab: Path) -> dict[str, list[Entry]]:
    """Every entry of every tool in *lab*, by run."""
    found: dict[str, list[Entry]] = {}
    for path in sorted(lab.glob("tools/*/ledger.db")):
        for row in query(
            path,
            "select r.run_id, r.state, r.samples, r.delivered, "
            "(select count(*) from executions e where e.run_id = r.run_id) from runs r",
        ):
            found.setdefault(row[0], []).append(Entry(unquote(path.parent.name), *row[1:]))
    return found


def runs(lab: Path) -> list[dict[str, Any]]:
    """The runs that the catalogue of *lab* has, oldest first."""
    columns = "id, seq, state, kind, tool, folder, error_message"
    return [
        dict(zip(columns.split(", "), row, strict=True))
        for row in query(lab / "catalogue.db", f"select {columns} from runs order by seq")
    ]


def complaints(lab: Path, allowed: Mapping[str, set[str]] | None = None) -> list[str]:
    """Everything that is wrong in *lab* while no process acts in it; *allowed* narrows the states of some runs."""
    return [*_runs(lab, allowed or {}), *_rows(lab), *_files(lab)]


def _runs(lab: Path, allowed: Mapping[str, set[str]]) -> Iterator[str]:
    known = runs(lab)
    entries = ledgers(lab)
    for run_id in entries.keys() - {run["id"] for run in known}:
        yield f"a tool executed {run_id}, which the catalogue does not know"
    if [run["seq"] for run in known] != list(range(1, len(known) + 1)):
        yield "the running numbers have gaps"
    for run in known:
        why = f" ({run['error_message']})" if run["error_message"] else ""
        name = f"run {run['seq']} ({run['kind']}) is {run['state']}{why}"
        if run["state"] not in allowed.get(run["id"], RESTING):
            yield f"{name}, not {' or '.join(sorted(allowed.get(run['id'], RESTING)))}"
        mine = entries.get(run["id"], [])
        if len(mine) > 1 or any(entry.tool != run["tool"] for entry in mine):
            yield f"{name}: executed by {', '.join(entry.tool for entry in mine)}"
        for entry in mine:
            yield from _against_the_ledger(lab, run, name, entry)
        if run["kind"] == "run" and not mine and run["state"] not in ("CANCELLED", "QUEUED"):
            yield f"{name}, but no tool knows it"


def _against_the_ledger(lab: Path, run: Mapping[str, Any], name: str, entry: Entry) -> Iterator[str]:
    right = {
        "done": {"COMPLETED"},
        "stopped": {"CANCELLED", "ENGINEER_REVIEW", "CLEARED"},
        "interrupted": {"ENGINEER_REVIEW", "CLEARED"},
    }.get(entry.state, set())
    if run["state"] not in right:
        yield f"{name}, but its tool has {entry.state} it"
    if entry.executions > 1 or (entry.state == "done" and entry.executions != 1):
        yield f"{name}: executed {entry.executions} times"
    if entry.state == "done" and entry.delivered != entry.samples:
        yield f"{name}: the tool delivered {entry.delivered} of {entry.samples} samples"
    kept = _samples(lab / run["folder"]) if run["folder"] else 0
    if kept != entry.delivered:
        yield f"{name}: {kept} of the {entry.delivered} samples that the tool delivered are kept"


def _samples(folder: Path) -> int:
    import pyarrow.parquet as parquet

    path = folder / "telemetry.parquet"
    return int(parquet.read_metadata(path).num_rows) if path.exists() else 0


def _rows(lab: Path) -> Iterator[str]:
    for what, statement in {
        "attempt still running": "select count(*) from attempts where state = 'running'",
        "tool still leased": "select count(*) from tools where leased_run is not null",
        "job not done": "select count(*) from jobs where state != 'done'",
        "run executed in two attempts that both completed": "select count(*) from "
        "(select run from attempts where state = 'completed' group by run having count(*) > 1)",
        "move that does not go on from the one before": "select count(*) from (select origin, "
        "lag(target) over (partition by run order by rowid) as before from transitions) where origin != before",
    }.items():
        ((count,),) = query(lab / "catalogue.db", statement)
        if count:
            yield f"{count} × {what}"


def _files(lab: Path) -> Iterator[str]:
    staging = lab / "staging"
    for path in staging.iterdir() if staging.exists() else ():
        yield f"{path.relative_to(lab)} was left behind"
    here = {path.relative_to(lab).as_posix() for path in (lab / "runs").glob("*/*/*")}
    known = {run["folder"] for run in runs(lab) if run["folder"]}
    for folder in sorted(here ^ known):
        yield f"{folder} is {'on the disk only' if folder in here else 'in the catalogue only'}"


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """The rows of *statement* from a database that is only read."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)) as connection:
        return connection.execute(statement).fetchall()
