"""The request channel of a tool process: the tool contract, served over authenticated loopback TCP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from labkit.core import registry
from labkit.core.errors import LabkitError, ToolError
from labkit.core.tool import Fault
from labkit.core.wire import unpack_dataset
from labkit.devices import endpoint
from labkit.devices.connection import receive_from
from labkit.devices.equipment import require_process
from labkit.devices.messages import Greeting, Header, encode, error_header
from labkit.devices.simulated import SimulatedTool

_PATIENCE_S = 5.0
"""How long a client may take for the next word of its greeting, s."""
_MOST = 256
"""Connections at a time; more are turned away."""
ALIVE_S = 2.0
"""A client that waits for telemetry hears at least this often that the tool lives, s."""

_METHODS = (
    *("status", "configure", "load", "start", "fence", "pause", "resume", "reset", "calibrate", "interlocks"),
    *("ledger", "acknowledge", "unload", "measure", "release", "executions"),
    *("inject", "clear_faults", "ground_truth", "step", "shutdown"),
)
Answer = tuple[Header, bytes]


class Server:
    """Serves *tool* to every client that knows *token*; ``quit`` is set once somebody asks the process to end."""

    def __init__(self, tool: SimulatedTool, token: str) -> None:
        self._tool = tool
        self._token = token
        self.quit = asyncio.Event()
        self.clients = 0
        self.idle_since = time.monotonic()
        self._methods: dict[str, Callable[[Header, bytes], Awaitable[Answer]]] = {
            name: getattr(self, f"_{name}") for name in _METHODS
        }

    async def listen(self) -> asyncio.Server:
        """Listen on a free loopback port."""
        return await asyncio.start_server(self._serve, endpoint.LOOPBACK, 0)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nobody is connected."""
        return not self.clients and not self._tool.running

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        try:
            if self.clients <= _MOST and await self._greeted(reader, writer):
                await self._converse(reader, writer)
        except (OSError, TimeoutError, ToolError, asyncio.CancelledError):
            pass  # a stranger, a client that is gone, or the process is ending: the connection ends, nothing else does
        finally:
            self.clients -= 1
            self.idle_since = time.monotonic()
            writer.close()

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        greeting = Greeting(self._token, endpoint.REQUESTS)
        writer.write(encode(greeting.opening()))
        answer, _ = await asyncio.wait_for(receive_from(reader, known=False), _PATIENCE_S)
        try:
            writer.write(encode(greeting.welcome(answer)))
        except ToolError as error:
            writer.write(encode(error_header(error)))
            await writer.drain()
            return False
        return True

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request, payload = await receive_from(reader)
            method = str(request.get("method"))
            try:
                if method == "telemetry":
                    await self._telemetry(request, writer)
                    continue
                if method not in self._methods:
                    raise ToolError(f"the tool has no method {method!r}", allowed=", ".join(sorted(self._methods)))
                answer, content = await self._methods[method](request, payload)
            except LabkitError as error:
                answer, content = error_header(error), b""
            except (KeyError, TypeError, ValueError) as error:
                answer, content = error_header(ToolError(f"{method} was asked with bad arguments ({error})")), b""
            except OSError:
                raise
            except Exception as error:  # the tool goes on whatever one request meets, and its client hears of it
                answer, content = error_header(error), b""
            writer.write(encode(answer, content))
            await writer.drain()

    async def _telemetry(self, request: Header, writer: asyncio.StreamWriter) -> None:
        run_id = request.get("run_id") or (await self._tool.status()).run_id
        blocks = self._tool.packed_telemetry(run_id, int(request.get("after", 0)))
        coming: asyncio.Future[tuple[int, bytes]] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(blocks))
                await asyncio.wait({coming}, timeout=ALIVE_S)
                if not coming.done():
                    writer.write(encode({"alive": True}))
                else:
                    finished, coming = coming, None
                    sequence, packed = finished.result()
                    writer.write(encode({"run_id": run_id, "sequence": sequence}, packed))
                await writer.drain()
        except StopAsyncIteration:
            writer.write(encode({"end": True}))
            await writer.drain()
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            await blocks.aclose()

    async def _status(self, request: Header, payload: bytes) -> Answer:
        return {"status": (await self._tool.status()).model_dump(mode="json")}, b""

    async def _configure(self, request: Header, payload: bytes) -> Answer:
        document = json.loads(payload)
        require_process(self._tool.name, self._tool.process, document.get("process"))
        await self._tool.configure(registry.process(self._tool.process).parse(document))
        return {}, b""

    async def _load(self, request: Header, payload: bytes) -> Answer:
        await self._tool.load(unpack_dataset(payload))
        return {}, b""

    async def _start(self, request: Header, payload: bytes) -> Answer:
        await self._tool.start(str(request["run_id"]), str(request["recipe_hash"]), int(request["fence"]))
        return {}, b""

    async def _fence(self, request: Header, payload: bytes) -> Answer:
        await self._tool.fence(int(request["fence"]))
        return {}, b""

    async def _pause(self, request: Header, payload: bytes) -> Answer:
        await self._tool.pause()
        return {}, b""

    async def _resume(self, request: Header, payload: bytes) -> Answer:
        await self._tool.resume()
        return {}, b""

    async def _reset(self, request: Header, payload: bytes) -> Answer:
        await self._tool.reset()
        return {}, b""

    async def _ledger(self, request: Header, payload: bytes) -> Answer:
        entry = await self._tool.ledger(str(request["run_id"]))
        return {"entry": None if entry is None else entry.model_dump(mode="json")}, b""

    async def _acknowledge(self, request: Header, payload: bytes) -> Answer:
        await self._tool.acknowledge(str(request["run_id"]), int(request["sequence"]))
        return {}, b""

    async def _unload(self, request: Header, payload: bytes) -> Answer:
        return {}, (await self._tool.packed_outcome(str(request["run_id"])))[0]

    async def _measure(self, request: Header, payload: bytes) -> Answer:
        return {}, (await self._tool.packed_outcome(str(request["run_id"])))[1]

    async def _release(self, request: Header, payload: bytes) -> Answer:
        await self._tool.release(str(request["run_id"]))
        return {}, b""

    async def _calibrate(self, request: Header, payload: bytes) -> Answer:
        return {"found": await self._tool.calibrate(str(request["channel"]))}, b""

    async def _interlocks(self, request: Header, payload: bytes) -> Answer:
        return {"interlocks": dict(await self._tool.interlocks())}, b""

    async def _inject(self, request: Header, payload: bytes) -> Answer:
        self._tool.inject(Fault.model_validate(request["fault"]))
        return {}, b""

    async def _clear_faults(self, request: Header, payload: bytes) -> Answer:
        self._tool.clear_faults()
        return {}, b""

    async def _ground_truth(self, request: Header, payload: bytes) -> Answer:
        truth: Any = self._tool.ground_truth(str(request["run_id"]))
        return {"truth": truth}, b""

    async def _step(self, request: Header, payload: bytes) -> Answer:
        return {"made": await self._tool.step(int(request["samples"]))}, b""

    async def _executions(self, request: Header, payload: bytes) -> Answer:
        return {"executions": self._tool.executions(str(request["run_id"]))}, b""

    async def _shutdown(self, request: Header, payload: bytes) -> Answer:
        self.quit.set()
        return {}, b""
