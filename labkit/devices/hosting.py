"""One host at a time: the lock on a tool's folder."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from labkit.core.errors import ToolError

_PATIENCE_S = 1.0
"""How long to wait for a host that is just leaving, s."""


def hold_folder(folder: Path) -> FileLock:
    """The lock of the one host that a tool *folder* may have, held; any thread may release it.

    Raises
    ------
    ToolError
        If another host has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "host.lock", thread_local=False)
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=0.02)
    except Timeout:
        raise ToolError(
            f"the tool in {folder} has a host already",
            fix="use that one, or end it (close the lab that hosts it, or shut its tool process down)",
        ) from None
    return lock


def is_hosted(folder: Path) -> bool:
    """Whether some process hosts the tool in *folder*."""
    if not folder.is_dir():
        return False
    lock = FileLock(folder / "host.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
