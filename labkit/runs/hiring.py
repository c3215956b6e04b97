"""A worker on demand: started when there is work and none is there, in a process that outlives the caller's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labkit.core.errors import StoreError
from labkit.runs.recovery import alive
from labkit.runs.workplace import Workplace
from labkit.store import jobs, plans, tables

_started: dict[Path, subprocess.Popen[bytes]] = {}


def ensure_worker(place: Workplace) -> bool:
    """Start a worker for the lab unless one is there or on its way; whether one was started.

    Raises
    ------
    StoreError
        If the process cannot be started.
    """
    earlier = _started.get(place.folder)
    if (earlier is not None and earlier.poll() is None) or has_worker(place):
        return False
    logs = place.folder / "logs"
    try:
        logs.mkdir(exist_ok=True)
        with (logs / "worker.log").open("ab") as log:
            _started[place.folder] = subprocess.Popen(
                [sys.executable, "-m", "labkit.cli", "--lab", str(place.folder), "worker", "--on-demand"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LABKIT_USER": place.principal.user},
                **_detached(),
            )
    except OSError as error:
        raise StoreError(f"no worker can be started ({error})", fix="start one: labkit worker") from None
    return True


def ensure_worker_if_needed(place: Workplace) -> bool:
    """Start a worker if there are jobs that one could take; whether one was started."""
    with place.catalogue.read() as tx:
        waiting = jobs.counts(tx)
        needed = waiting.get("submitted") or waiting.get("queued") or plans.next_due(tx) is not None
    return bool(needed) and ensure_worker(place)


def look_after(place: Workplace, run_id: str) -> None:
    """Start a worker if *run_id* waits for one, or if the process that was working on it is dead."""
    with place.catalogue.read() as tx:
        job = jobs.find(tx, run_id)
        known = None if job is None or job["worker"] is None else tx.find(tables.workers, id=job["worker"])
    if job is None or job["state"] == "done":
        return
    if job["worker"] is not None and not alive(place, job["worker"], known):
        ensure_worker(place)
    else:
        ensure_worker_if_needed(place)


def has_worker(place: Workplace) -> bool:
    """Whether the lab has a worker now."""
    if place.catalogue.url.get_backend_name() != "sqlite":
        with place.catalogue.read() as tx:
            known = jobs.workers(tx)
        return any(alive(place, row["id"], row) for row in known)
    lock = FileLock(place.folder / "locks" / "worker.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _detached() -> dict[str, Any]:
    """Options that let a process outlive this one and its terminal."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}
