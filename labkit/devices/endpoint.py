"""Where a tool's process listens: ``endpoint.json`` in the tool's folder, readable by its owner only."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.core.errors import ToolError

LOOPBACK = "127.0.0.1"
REQUESTS, STOP = "requests", "stop"
"""The two channels of a tool process."""


@dataclass(frozen=True)
class Endpoint:
    """Ports and token of a running tool process, and its process id."""

    port: int
    stop_port: int
    pid: int
    token: str
    host: str = LOOPBACK

    def __repr__(self) -> str:
        return f"<endpoint {self.host}:{self.port}, stop {self.stop_port}, process {self.pid}>"


def file_of(folder: Path) -> Path:
    """The endpoint's file in a tool *folder*."""
    return folder / "endpoint.json"


def publish(folder: Path, endpoint: Endpoint) -> None:
    """Write *endpoint* so that a reader finds all of it or none, and nobody else may read it."""
    aside = folder / f"endpoint.{secrets.token_hex(4)}.new"
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(endpoint), file)
    os.replace(aside, file_of(folder))


def withdraw(folder: Path, token: str) -> None:
    """Remove the endpoint's file if it is still the one with *token*."""
    published = find(folder)
    if published is not None and published.token == token:
        file_of(folder).unlink(missing_ok=True)


def find(folder: Path) -> Endpoint | None:
    """What was published last; None if nothing was. Whether somebody still listens there is another question.

    Raises
    ------
    ToolError
        If the file cannot be read.
    """
    try:
        said = json.loads(file_of(folder).read_text(encoding="utf-8"))
        return Endpoint(
            int(said["port"]), int(said["stop_port"]), int(said["pid"]), str(said["token"]), str(said["host"])
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{file_of(folder)} cannot be read ({type(error).__name__})",
            fix="end the tool's process and remove the file; the next use writes a new one",
        ) from None
