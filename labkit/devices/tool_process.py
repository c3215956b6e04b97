"""The light process that is a tool: ``python -m labkit.devices.tool_process FOLDER``.

It outlives whoever started it, and ends when it has had neither a run nor a client for a while, when it is asked to,
or on SIGTERM (after a normal stop). Killed in any other way it loses nothing that the ledger has.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.core.errors import LabkitError
from labkit.devices import endpoint
from labkit.devices.definition import build, installed
from labkit.devices.server import Server
from labkit.devices.simulated import SimulatedTool
from labkit.devices.stop_channel import StopChannel

CRASHED, REFUSED = 70, 75
"""Exit codes: an injected crash; another host has the tool, or the tool cannot be opened."""
_SWITCH_S = 0.0005
"""How soon a thread that wants to run gets its turn, s; a stop must not wait behind the twin."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Host the tool in a folder until nobody needs it any more."""
    parser = argparse.ArgumentParser(prog="python -m labkit.devices.tool_process", description=__doc__)
    parser.add_argument("folder", type=Path, help="the tool's folder, with its tool.json")
    parser.add_argument("--idle", type=float, default=600.0, help="seconds without run and client until it ends")
    given = parser.parse_args(arguments)
    sys.setswitchinterval(_SWITCH_S)
    try:
        with build(given.folder, installed(given.folder), crash=lambda: os._exit(CRASHED)) as tool:
            asyncio.run(_host(given.folder, tool, given.idle))
    except LabkitError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


async def _host(folder: Path, tool: SimulatedTool, idle_s: float) -> None:
    token = secrets.token_hex(32)
    await tool.connect()
    server = Server(tool, token)
    listening = await server.listen()
    stop = StopChannel(token, tool.stop_now)
    port = int(listening.sockets[0].getsockname()[1])
    _end_on_sigterm(server)
    try:
        endpoint.publish(folder, endpoint.Endpoint(port, stop.port, os.getpid(), token))
        await _needed(server, idle_s)
    finally:
        endpoint.withdraw(folder, token)
        listening.close()
        stop.close()


async def _needed(server: Server, idle_s: float) -> None:
    """Return when somebody has asked to end, or nobody has needed the tool for *idle_s*."""
    while not server.quit.is_set():
        if not server.idle:
            server.idle_since = time.monotonic()
        left = server.idle_since + idle_s - time.monotonic()
        if left <= 0.0:
            return
        try:
            await asyncio.wait_for(server.quit.wait(), min(left, 1.0))
        except TimeoutError:
            continue


def _end_on_sigterm(server: Server) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGTERM, server.quit.set)
    except NotImplementedError:  # Windows has no such handlers on its loop
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(server.quit.set))


if __name__ == "__main__":
    sys.exit(main())
