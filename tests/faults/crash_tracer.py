"""Names every point of a labkit process at which something leaves it for good, records them, and kills it at one.

Runs inside the traced process. A point is a commit of the catalogue, of a tool's ledger or of a journal, a flush to
the disk, a rename, bytes sent between worker and tool, or a process started. Its name is its kind and the innermost
labkit function that is not itself plumbing, so it says what was being done; ``#2`` marks a second such call in there.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import socket
import sqlite3
import sys
import threading
from asyncio import StreamWriter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

LABKIT = str(Path(__file__).resolve().parents[2] / "labkit") + os.sep
PLUMBING = re.compile(
    r"store\.(catalogue|transaction|places|engine)\..*"
    r"|store\.journal_(writer|files)\..*"
    r"|devices\.ledger\..*|devices\.ledger_schema\..*"
    r"|devices\.messages\..*|devices\.connection\.(Connection\.send|receive_from)"
    r"|devices\.remote\.RemoteTool\.(_ask|_answer)"
    r"|devices\.execution\.Execution\._persistently"
    r"|runs\.stream(_writer)?\..*"
)
"""Functions that act for whoever calls them; that one gives a point its name."""
SERVED = "devices.server.Server._converse"
"""Answers every request of the tool; its points are named by the request."""

_quiet = threading.local()
_once = threading.Lock()
_trace: int | None = None
_kill_at: tuple[str, str, Path] | None = None


def install(log: Path, kill_at: tuple[str, str, Path] | None = None) -> None:
    """Trace this process into *log*, a name per line; *kill_at* is (before or after, name, file that says it died)."""
    global _trace, _kill_at
    _trace = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    _kill_at = kill_at
    _wrap_catalogue()
    sqlite3.connect = _connect  # type: ignore[assignment]
    for name in ("fsync", "replace", "rename"):
        setattr(os, name, _wrapped(name, getattr(os, name)))
    StreamWriter.write = _wrapped("send", StreamWriter.write, callee="write|send")  # type: ignore[method-assign]
    socket.socket.sendall = _wrapped("send", socket.socket.sendall, callee="sendall")  # type: ignore[method-assign]


def around(kind: str, callee: str, action: Callable[[], Any]) -> Any:
    """Do *action* as a point of *kind*: recorded, and this process killed before or after it if that is asked."""
    name = _name(sys._getframe(1), kind, callee)
    if name is None or getattr(_quiet, "inside", False):
        return action()
    _reached("before", name)
    _quiet.inside = True
    try:
        done = action()
    finally:
        _quiet.inside = False
    _reached("after", name)
    return done


def _reached(moment: str, name: str) -> None:
    if moment == "before" and _trace is not None:
        os.write(_trace, f"{name}\n".encode())
    if _kill_at is None or _kill_at[:2] != (moment, name):
        return
    with _once:
        try:
            note = os.open(_kill_at[2], os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return
        os.write(note, str(os.getpid()).encode())
        os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(kind: str, real: Callable[..., Any], callee: str | None = None) -> Callable[..., Any]:
    def traced(*given: Any, **named: Any) -> Any:
        return around(kind, callee or kind, lambda: real(*given, **named))

    return traced


def _wrap_catalogue() -> None:
    """Commits that write, on either database; what only read leaves nothing behind."""
    import sqlalchemy as sa
    from sqlalchemy import event
    from sqlalchemy.engine.default import DefaultDialect

    writing = threading.local()

    def note(connection: sa.Connection) -> None:
        writing.now = bool(connection.get_execution_options().get("labkit_write"))

    real = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: Any) -> None:
        if not getattr(writing, "now", False):
            return real(self, connection)
        return around("commit", r"begin|_write", lambda: real(self, connection))

    event.listen(sa.Engine, "commit", note)
    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


class _Connection(sqlite3.Connection):
    """A connection of a ledger or a journal; the catalogue has its own way to the driver."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, *values)
        kind, callee = _of_whom()
        return around(kind, callee, lambda: super(_Connection, self).execute(sql))

    def executescript(self, sql: str) -> sqlite3.Cursor:
        kind, callee = _of_whom()
        return around(kind, callee, lambda: super(_Connection, self).executescript(sql))


def _of_whom() -> tuple[str, str]:
    """Whether the ledger or the journal is being written, and by which of its functions."""
    frame: FrameType | None = sys._getframe(2)
    found: list[str] = []
    while frame is not None:
        place = _place(frame.f_code)
        if place is not None and not re.match(r"devices\.ledger|store\.journal", place):
            break
        if place is not None:
            found.append(place)
        frame = frame.f_back
    return ("journal" if "journal" in found[0] else "ledger"), found[-1].rpartition(".")[2]


_real_connect = sqlite3.connect


def _connect(*given: Any, **named: Any) -> sqlite3.Connection:
    return _real_connect(*given, **{"factory": _Connection, **named})


def _name(frame: FrameType | None, kind: str, callee: str) -> str | None:
    """The name of a point of *kind* that was reached through *callee*; None outside labkit."""
    marks, last = "", None
    while frame is not None:
        place = _place(frame.f_code)
        if place is not None:
            last = place
            if place == SERVED and "method" in frame.f_locals:
                return f"{kind} answer of {frame.f_locals['method']}{marks}"
            marks += _mark(frame.f_code, frame.f_lineno, callee)
            callee = frame.f_code.co_name
            if not PLUMBING.fullmatch(place):
                return f"{kind} {place}{marks}"
        frame = frame.f_back
    return None if last is None else f"{kind} {last}"


@cache
def _place(code: CodeType) -> str | None:
    if not code.co_filename.startswith(LABKIT):
        return None
    module = code.co_filename.removeprefix(LABKIT).removesuffix(".py").replace(os.sep, ".")
    return f"{module}.{code.co_qualname.split('.<')[0]}"


@cache
def _mark(code: CodeType, line: int, callee: str) -> str:
    """``#n`` if the call of *callee* on *line* is the function's n-th, and not its first."""
    lines, first = inspect.getsourcelines(code)
    calls = [number for number, text in enumerate(lines, first) if re.search(rf"(?<!def )\b({callee})\(", text)]
    before = len([number for number in calls if number <= line])
    return f"#{before}" if before > 1 else ""
