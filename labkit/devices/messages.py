"""What a tool process and its clients say to each other: frames over loopback TCP, each side proving that it knows the
token without telling it.

A frame is two big-endian lengths (header, payload), a JSON object, and bytes. After connecting, the server sends a
nonce; the client answers with a nonce and its proof, the server with its own: HMAC-SHA256 over role, channel and both
nonces, keyed with the token. Only the standard library is needed here, so that a stop is on its way at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import struct
from collections.abc import Mapping
from typing import IO, Any

from labkit.core.errors import ToolError

PROTOCOL = 1
LENGTHS = struct.Struct(">II")
MAX_HEADER = 8_000_000
"""Longest JSON object, bytes: a recipe may have four million characters."""
MAX_PAYLOAD = 512_000_000
MAX_GREETING = 1_000
"""Longest frame before both sides have proved who they are, bytes."""

Header = dict[str, Any]


def encode(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """A frame."""
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER or len(payload) > MAX_PAYLOAD:
        raise ToolError(
            f"a message of {len(text) + len(payload)} bytes is too long", allowed=f"{MAX_HEADER} + {MAX_PAYLOAD}"
        )
    return LENGTHS.pack(len(text), len(payload)) + text + payload


def lengths(start: bytes, *, known: bool) -> tuple[int, int]:
    """Lengths of header and payload from the first bytes of a frame; *known*: the other side has proved itself.

    Raises
    ------
    ToolError
        If no frame starts like that.
    """
    header, payload = LENGTHS.unpack(start)
    if header > (MAX_HEADER if known else MAX_GREETING) or payload > (MAX_PAYLOAD if known else 0):
        raise ToolError("the other side does not speak labkit's tool protocol")
    return header, payload


def decode(text: bytes) -> Header:
    """The JSON object of a frame.

    Raises
    ------
    ToolError
        If it is none.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ToolError("the other side does not speak labkit's tool protocol")
    return header


def nonce() -> str:
    """A fresh random number."""
    return secrets.token_hex(32)


def proof(token: str, role: str, channel: str, server: object, client: object) -> str:
    """What only a holder of *token* can say about two nonces, as *role* (server or client) on *channel*."""
    said = "\n".join(("labkit", str(PROTOCOL), role, channel, str(server), str(client)))
    return hmac.new(token.encode(), said.encode(), hashlib.sha256).hexdigest()


def proved(said: object, expected: str) -> bool:
    """Whether the other side *said* what was *expected*."""
    return isinstance(said, str) and hmac.compare_digest(said.encode(), expected.encode())


class Greeting:
    """The handshake as data: what each side says next. Both raise ToolError when the other one fails."""

    def __init__(self, token: str, channel: str) -> None:
        self._token = token
        self._channel = channel
        self._mine = nonce()

    def opening(self) -> Header:
        """The server's first word."""
        return {"labkit": PROTOCOL, "nonce": self._mine}

    def answer(self, opening: Header) -> Header:
        """The client's answer to it."""
        if opening.get("labkit") != PROTOCOL:
            raise ToolError(
                f"the tool process speaks protocol {opening.get('labkit')}, not {PROTOCOL}",
                fix="shut it down; the next use starts one of this version",
            )
        self._theirs = opening.get("nonce")
        return {"nonce": self._mine, "proof": proof(self._token, "client", self._channel, self._theirs, self._mine)}

    def welcome(self, answer: Header) -> Header:
        """The server's last word, if the client has proved itself."""
        theirs = answer.get("nonce")
        if not proved(answer.get("proof"), proof(self._token, "client", self._channel, self._mine, theirs)):
            raise ToolError("the client does not know the token", fix="read it from the tool's endpoint.json")
        return {"proof": proof(self._token, "server", self._channel, self._mine, theirs)}

    def settle(self, welcome: Header) -> None:
        """The client believes the server, or raises."""
        if "error" in welcome:
            raise error_from(welcome)
        if not proved(welcome.get("proof"), proof(self._token, "server", self._channel, self._theirs, self._mine)):
            raise ToolError("whoever listens there does not know the tool's token", fix="start the tool's process anew")


def error_header(error: Exception) -> Header:
    """An error as it travels."""
    what = getattr(error, "what", None) or f"{type(error).__name__}: {error}"
    return {"error": {"what": what, "allowed": getattr(error, "allowed", None), "fix": getattr(error, "fix", None)}}


def error_from(header: Header) -> ToolError:
    """The error that came."""
    said = header.get("error")
    if not isinstance(said, dict):
        return ToolError("the tool process answered with an error it did not name")
    return ToolError(str(said.get("what")), allowed=said.get("allowed"), fix=said.get("fix"))


def receive(incoming: IO[bytes], *, known: bool = True) -> tuple[Header, bytes]:
    """The next frame from a blocking stream (a socket's ``makefile("rb")``).

    Raises
    ------
    ToolError
        If something else comes, or the other side is gone.
    """
    header, payload = lengths(_exactly(incoming, LENGTHS.size), known=known)
    return decode(_exactly(incoming, header)), _exactly(incoming, payload)


def _exactly(incoming: IO[bytes], size: int) -> bytes:
    found = incoming.read(size) if size else b""
    if len(found) < size:
        raise ToolError("the connection to the tool process ended")
    return found


def ask(host: str, port: int, token: str, channel: str, request: Mapping[str, Any], timeout_s: float) -> Header:
    """One request on a connection of its own, with nothing but a socket; blocks up to *timeout_s* at a time.

    Raises
    ------
    OSError
        If nobody listens, or in time.
    ToolError
        If the other side is not the tool, or refuses.
    """
    with socket.create_connection((host, port), timeout_s) as connection, connection.makefile("rb") as incoming:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greeting = Greeting(token, channel)
        connection.sendall(encode(greeting.answer(receive(incoming, known=False)[0])))
        greeting.settle(receive(incoming, known=False)[0])
        connection.sendall(encode(request))
        answer = receive(incoming)[0]
    if "error" in answer:
        raise error_from(answer)
    return answer
