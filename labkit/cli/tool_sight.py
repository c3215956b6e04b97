"""What can be seen of a tool from its folder, whoever hosts it; importing this is light, for a stop must be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.devices.handle import ToolHandle


@contextmanager
def hold(folder: Path) -> Iterator[ToolHandle]:
    """The tool in *folder*, whose process is started if need be."""
    from labkit.devices.handle import ToolHandle
    from labkit.devices.remote import RemoteTool

    handle = ToolHandle(RemoteTool(folder))
    handle.connect()
    try:
        yield handle
    finally:
        handle.disconnect()


def seen(folder: Path, name: str, process: str | None = None) -> dict[str, Any]:
    """What can be seen of a tool without starting anything."""
    from labkit.devices import endpoint, launch

    found: dict[str, Any] = {"name": name, "process": process, "host": None, "state": "disconnected"}
    found |= {"run": None, "progress": None, "latched": False, "reason": None, "interlocks": {}}
    if launch.is_running(folder):
        with hold(folder) as handle:
            now = handle.status()
            found |= {"process": handle.process, "state": now.state.value, "run": now.run_id, "latched": now.latched}
            found |= {"progress": now.progress, "reason": getattr(now, "reason", "") or None}
            found["interlocks"] = dict(handle.interlocks())
        published = endpoint.find(folder)
        found["host"] = f"process {published.pid}" if published else None
    elif hosted_elsewhere(folder):
        found |= {"host": "inside another process", "state": "unknown"}
    else:
        found |= _remembered(folder)
    return found


def _remembered(folder: Path) -> dict[str, Any]:
    """What the ledger of a tool says whose process is not running."""
    from labkit.devices.definition import installed
    from labkit.devices.ledger import Ledger

    found: dict[str, Any] = {}
    if (folder / "tool.json").exists():
        found["process"] = installed(folder).process
    if (folder / "ledger.db").exists():
        ledger = Ledger(folder / "ledger.db")
        try:
            runs = ledger.run_ids()
            found |= {"latched": ledger.memory().latched, "run": runs[-1] if runs else None}
        finally:
            ledger.close()
    return found


def hosted_elsewhere(folder: Path) -> bool:
    """Whether somebody holds the tool without a process of its own that could be asked."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "host.lock", thread_local=False)
    if not (folder / "host.lock").exists():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
