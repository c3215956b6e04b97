"""Several real workers on one lab in PostgreSQL, and what the tools' own ledgers say about their work."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import sqlalchemy as sa

from labkit.core.errors import LabkitError
from labkit.lab import Lab
from labkit.store import jobs
from tests.faults import referee

PATIENCE_S = 90.0
"""How long a test waits for what must come, s."""
GOOD = {"COMPLETED", "ENGINEER_REVIEW"}
"""Where a run of a sound recipe ends that nobody stops; an honest judge may flag it."""


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until *condition* holds and return what it said; while the server is away it does not."""
    deadline = time.monotonic() + patience_s
    while True:
        with suppress(LabkitError):
            if found := condition():
                return found
        assert time.monotonic() < deadline, f"waited {patience_s:g} s in vain for {what}"
        time.sleep(0.05)


class Fleet:
    """Workers in processes of their own, all on the lab in one folder."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, count: int, *options: str) -> list[str]:
        """Start *count* workers and wait for them; the names under which they work."""
        log = self.lab.folder / "fleet.log"
        command = [sys.executable, "-m", "labkit.cli", "--lab", str(self.lab.folder), "worker", "--keep", *options]
        with log.open("ab") as out:
            fresh = [subprocess.Popen(command, stdout=out, stderr=out) for _ in range(count)]
        self.workers += fresh
        return [until(lambda pid=worker.pid: self.name(pid), "a worker to report") for worker in fresh]

    def name(self, pid: int) -> str | None:
        """The name under which the process *pid* works, once it does."""
        return next((str(row["id"]) for row in self.lab.workers() if row["pid"] == pid), None)

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """The process that works under *name*."""
        return next(worker for worker in self.workers if self.name(worker.pid) == name)

    def kill(self, name: str) -> None:
        """End a worker without a word."""
        worker = self.process(name)
        worker.kill()
        worker.wait(20)

    @property
    def alive(self) -> int:
        """How many of the workers still run."""
        return sum(worker.poll() is None for worker in self.workers)

    def dismiss(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait(20)

    def at_rest(self) -> bool:
        """Whether no job is open."""
        return not len(self.lab.jobs())


def complaints(lab: Lab) -> list[str]:
    """Everything that is wrong when all work is over, by the tools' ledgers."""
    entries = referee.ledgers(lab.folder)
    runs = rows(lab, "select id, seq, state, tool, error_message, folder from runs where kind = 'run' order by seq")
    found = [f"{run} is not in the catalogue" for run in entries.keys() - {run["id"] for run in runs}]
    for run in runs:
        mine = entries.get(run["id"], [])
        told = f"run {run['seq']} is {run['state']} ({run['error_message']})"
        if run["state"] not in GOOD:
            found.append(told)
        if [(one.tool, one.state, one.executions) for one in mine] != [(run["tool"], "done", 1)]:
            found.append(f"{told}, but its tools say {mine}")
        elif _kept(lab, run["folder"]) != mine[0].samples:
            found.append(f"{told}: not all of its {mine[0].samples} samples were kept")
    for what, question in {
        "job is open": "select count(*) as n from jobs where state <> 'done'",
        "tool is leased": "select count(*) as n from tools where leased_run is not null",
        "attempt goes on": "select count(*) as n from attempts where state = 'running'",
    }.items():
        if count := rows(lab, question)[0]["n"]:
            found.append(f"{count} × {what}")
    return found


def _kept(lab: Lab, folder: str | None) -> int:
    path = lab.folder / str(folder) / "telemetry.parquet"
    return int(parquet.read_metadata(path).num_rows) if path.exists() else 0


def rows(lab: Lab, question: str) -> list[dict[str, Any]]:
    """The answer to a query."""
    return lab.sql(question).to_dict("records")


def carried(lab: Lab) -> dict[str, str]:
    """Which worker carried each run out to its end."""
    found = rows(lab, "select run, worker from attempts where state = 'completed'")
    return {row["run"]: row["worker"] for row in found}


def started(lab: Lab) -> dict[str, list[tuple[str, float, float]]]:
    """The runs of each tool in the order in which it started them, by its ledger: run, start and end."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for path in sorted((lab.folder / "tools").glob("*/ledger.db")):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)) as ledger:
            ordered = ledger.execute("select run_id, started, ended from runs order by number").fetchall()
        found[path.parent.name] = ordered
    return found


def at_once(spans: Iterable[tuple[float, float]]) -> int:
    """The most of *spans* (start, end) that had begun and not ended at any one moment."""
    known = list(spans)
    moves = sorted([(begin, 1) for begin, _ in known] + [(end, -1) for _, end in known])
    most = present = 0
    for _, change in moves:
        present += change
        most = max(most, present)
    return most


def silence_s(lab: Lab, worker: str) -> float:
    """How long nothing was heard of *worker*, by the database's clock, s."""
    with lab.workplace.catalogue.read() as tx:
        return jobs.silence_s(tx, worker)


def restart(server: sa.URL) -> None:
    """Crash the PostgreSQL *server* and start it again."""
    home = Path(str(server.query["host"]))
    programs = Path((home / "data" / "postmaster.opts").read_text(encoding="utf-8").split()[0]).parent
    command = [str(programs / "pg_ctl"), "-D", str(home / "data"), "-m", "immediate", "-w"]
    subprocess.run(
        [*command, "-l", str(home / "log"), "restart"],
        user=home.owner() if os.geteuid() == 0 else None,
        cwd=home,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
