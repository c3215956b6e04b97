"""One asynchronous connection to a tool process: greeted on opening, then one request and its answer at a time."""

from __future__ import annotations

import asyncio
import socket

from labkit.devices.messages import (
    LENGTHS,
    Greeting,
    Header,
    decode,
    encode,
    lengths,
)


class Connection:
    """A connection to *port* of a tool process, on the event loop that opened it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int, token: str, channel: str) -> Connection:
        """Connect and greet; OSError if nobody listens, ToolError if it is somebody else."""
        reader, writer = await asyncio.open_connection(host, port)
        connection = cls(reader, writer)
        try:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greeting = Greeting(token, channel)
            await connection.send(greeting.answer((await receive_from(reader, known=False))[0]))
            greeting.settle((await receive_from(reader, known=False))[0])
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def fresh(self) -> bool:
        """Whether, as far as is known here, the other side is still there."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def send(self, header: Header, payload: bytes = b"") -> None:
        """Send one frame."""
        self._writer.write(encode(header, payload))
        await self._writer.drain()

    async def receive(self) -> tuple[Header, bytes]:
        """The next frame."""
        return await receive_from(self._reader)

    def close(self) -> None:
        """Let go of it."""
        self._writer.close()


async def receive_from(reader: asyncio.StreamReader, *, known: bool = True) -> tuple[Header, bytes]:
    """The next frame from a stream.

    Raises
    ------
    ConnectionResetError
        If the other side is gone.
    ToolError
        If something else comes.
    """
    try:
        header, payload = lengths(await reader.readexactly(LENGTHS.size), known=known)
        return decode(await reader.readexactly(header)), await reader.readexactly(payload)
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("the connection to the tool process ended") from None
