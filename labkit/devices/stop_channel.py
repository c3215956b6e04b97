"""The stop: a port and a thread of its own in the tool process, and a client that needs nothing but a socket.

A stop is never queued behind requests, telemetry or the twin: each connection is served by a thread that blocks on its
socket only. It is answered once the equipment is safe and the ledger says so.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO

from labkit.core.errors import LabkitError, ToolError
from labkit.devices import endpoint
from labkit.devices.messages import Greeting, ask, encode, error_header, receive

_PATIENCE_S = 2.0
"""How long a client may take for the next word of its greeting, s."""
_HURRIED_S = 1e-5
"""Switch interval while a stop is being served, s."""
_MOST = 64
"""Connections at a time; beyond that the oldest is dropped, so that idle strangers keep nobody out."""


class Hurry:
    """While anybody is inside, a thread that waits for the interpreter gets it at once: a stop takes it some thirty
    times, and between two of them the twin would each time compute for a whole switch interval."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._usual_s = sys.getswitchinterval()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(_HURRIED_S)

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                sys.setswitchinterval(self._usual_s)


class StopChannel:
    """The listening side.

    Parameters
    ----------
    token : str
        What clients have to know.
    stop : callable
        Called from a thread of this channel with whether it is an emergency.
    """

    def __init__(self, token: str, stop: Callable[[bool], None]) -> None:
        self._token = token
        self._stop = stop
        self._lock = threading.Lock()
        self._hurry = Hurry()
        self._connections: OrderedDict[int, socket.socket] = OrderedDict()
        self._listening = socket.create_server((endpoint.LOOPBACK, 0), backlog=_MOST)
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._listen, name="stop channel", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                if self._listening.fileno() < 0:
                    return
                time.sleep(0.01)  # out of file descriptors, say: it must not end the channel
                continue
            with self._lock:
                self._connections[id(connection)] = connection
                oldest = self._connections.popitem(last=False)[1] if len(self._connections) > _MOST else None
            if oldest is not None:
                _shut(oldest)
            threading.Thread(target=self._serve, args=(connection,), name="stop", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as incoming, self._hurry:
                connection.settimeout(_PATIENCE_S)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(connection, incoming)
        except (OSError, ToolError):
            return  # a stranger, or a client that is gone; it has been told what there was to say
        finally:
            with self._lock:
                self._connections.pop(id(connection), None)

    def _converse(self, connection: socket.socket, incoming: IO[bytes]) -> None:
        greeting = Greeting(self._token, endpoint.STOP)
        connection.sendall(encode(greeting.opening()))
        try:
            welcome = greeting.welcome(receive(incoming, known=False)[0])
        except ToolError as error:
            connection.sendall(encode(error_header(error)))
            raise
        connection.sendall(encode(welcome))
        while True:
            request, _ = receive(incoming, known=False)
            try:
                self._stop(bool(request.get("emergency", False)))
            except LabkitError as error:
                connection.sendall(encode(error_header(error)))
            else:
                connection.sendall(encode({"stopped": True}))


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def stop_now(folder: Path, emergency: bool = False, timeout_s: float = 5.0) -> float:
    """Stop the tool in *folder*, straight at its process; returns how long it took, s. Starts nothing.

    An emergency stop of a tool whose process is not running is latched in its ledger.

    Raises
    ------
    ToolError
        If the process is not running (and it is no emergency), does not answer, or could not record the stop.
    """
    began = time.perf_counter()
    try:
        _ask_to_stop(folder, emergency, timeout_s)
    except ToolError as error:
        if not emergency:
            raise
        try:
            _latch(folder)
        except ToolError:
            raise error from None
    return time.perf_counter() - began


def _ask_to_stop(folder: Path, emergency: bool, timeout_s: float) -> None:
    published = endpoint.find(folder)
    if published is None:
        raise _nobody(folder)
    try:
        ask(published.host, published.stop_port, published.token, endpoint.STOP, {"emergency": emergency}, timeout_s)
    except ConnectionRefusedError:
        raise _nobody(folder) from None
    except OSError as error:
        raise ToolError(
            f"the tool process of {folder} does not answer its stop channel ({error})",
            fix=f"press the tool's own emergency stop; then end process {published.pid}",
        ) from None


def _nobody(folder: Path) -> ToolError:
    from labkit.devices.hosting import is_hosted

    if is_hosted(folder):
        return ToolError(
            f"the tool in {folder} is hosted inside another process, which has no stop channel, or is just starting",
            fix="stop it there (lab.tool(name).stop()), end that process, or try again",
        )
    return ToolError(f"the process of the tool in {folder} is not running", fix="nothing moves; nothing to stop")


def _latch(folder: Path) -> None:
    from labkit.devices.hosting import hold_folder
    from labkit.devices.ledger import Ledger

    lock = hold_folder(folder)
    try:
        ledger = Ledger(folder / "ledger.db")
        try:
            ledger.stop(None, "emergency stop while no process was running", emergency=True)
        finally:
            ledger.close()
    finally:
        lock.release()
