"""Starting and ending tool processes, from any process that has the tool's folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labkit.core.errors import ToolError
from labkit.devices import endpoint
from labkit.devices.endpoint import Endpoint
from labkit.devices.messages import ask

_POLL_S = 0.01
_LOG_TAIL = 2_000
_started: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this one started and has not yet seen the end of: somebody has to collect their exit status."""


def reachable(folder: Path, timeout_s: float = 5.0) -> Endpoint | None:
    """The endpoint of the tool process of *folder* if it answers and knows the token."""
    published = endpoint.find(folder)
    if published is None:
        return None
    try:
        ask(published.host, published.port, published.token, endpoint.REQUESTS, {"method": "status"}, timeout_s)
    except (OSError, ToolError):
        return None
    return published


def is_running(folder: Path) -> bool:
    """Whether the tool process of *folder* is there and answers."""
    _collect()
    return reachable(folder) is not None


def ensure_running(folder: Path, timeout_s: float = 60.0, idle_s: float = 600.0) -> Endpoint:
    """The endpoint of the tool process of *folder*, which is started if there is none.

    Raises
    ------
    ToolError
        If it does not start in time, or says why not.
    """
    found = reachable(folder)
    if found is not None:
        return found
    deadline = time.monotonic() + timeout_s
    lock = FileLock(folder / "launch.lock", thread_local=False)
    try:
        lock.acquire(timeout=timeout_s, poll_interval=_POLL_S)
    except Timeout:
        raise _too_late(folder, timeout_s) from None
    try:
        found = reachable(folder)
        return found if found is not None else _start(folder, deadline, timeout_s, idle_s)
    finally:
        lock.release()


def shut_down(folder: Path, timeout_s: float = 30.0) -> bool:
    """End the tool process of *folder*, after a normal stop of what it runs; False if there was none.

    Raises
    ------
    ToolError
        If it does not end in time.
    """
    found = reachable(folder)
    if found is None:
        return False
    ask(found.host, found.port, found.token, endpoint.REQUESTS, {"method": "shutdown"}, timeout_s)
    lock = FileLock(folder / "host.lock", thread_local=False)
    try:
        lock.acquire(timeout=timeout_s, poll_interval=_POLL_S)
    except Timeout:
        raise ToolError(f"process {found.pid} of the tool in {folder} does not end", fix=f"kill {found.pid}") from None
    lock.release()
    _collect(found.pid)
    return True


def _start(folder: Path, deadline: float, timeout_s: float, idle_s: float) -> Endpoint:
    _collect()
    log = folder / "tool.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "labkit.devices.tool_process", str(folder.absolute()), "--idle", str(idle_s)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
            **_detached(),
        )
    _started[child.pid] = child
    while time.monotonic() < deadline:
        published = endpoint.find(folder)
        if published is not None and published.pid == child.pid and reachable(folder) is not None:
            return published
        if child.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:].strip().splitlines()
            raise ToolError(
                f"the tool process of {folder} ended at once (exit code {child.returncode}): "
                f"{said[-1] if said else 'it said nothing'}",
                fix=f"see {log}",
            )
        time.sleep(_POLL_S)
    raise _too_late(folder, timeout_s)


def _detached() -> dict[str, Any]:
    """Options by which a process outlives the one that started it and hears none of its signals."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def _collect(pid: int | None = None) -> None:
    for known, child in list(_started.items()):
        if known == pid:
            try:
                child.wait(5.0)
            except subprocess.TimeoutExpired:
                continue
        if child.poll() is not None:
            del _started[known]


def _too_late(folder: Path, timeout_s: float) -> ToolError:
    return ToolError(
        f"the tool process of {folder} is not up after {timeout_s:g} s",
        fix=f"see {folder / 'tool.log'}; then try again",
    )
