"""A tool in its own process, from any other one: the same contract, over authenticated loopback TCP.

The process is started when it is first needed, and again should it have died; what it was doing then, its ledger says.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.core import registry
from labkit.core.errors import ToolError
from labkit.core.recipe import Recipe
from labkit.core.tool import Block, Fault, LedgerEntry, ToolState, ToolStatus
from labkit.core.wire import pack_dataset, unpack_dataset, unpack_telemetry
from labkit.devices import endpoint, launch
from labkit.devices.connection import Connection
from labkit.devices.definition import installed
from labkit.devices.equipment import can_run, capabilities, require_process
from labkit.devices.messages import Header, error_from
from labkit.devices.stop_channel import stop_now

if TYPE_CHECKING:
    import xarray as xr

_ATTEMPTS = 3
"""How often telemetry connects anew without having received anything in between."""
_ONCE = frozenset({"inject", "calibrate", "step", "pause", "resume"})
"""Requests that are not repeated when the connection breaks before their answer: twice would not be the same."""


class RemoteTool:
    """The tool in *folder*, hosted by its own process. One object may be used from several event loops.

    Parameters
    ----------
    folder : Path
        The tool's folder; its ``tool.json`` says what it is.
    timeout_s : float
        How long any answer may take, s.
    start_s : float
        How long its process may take to start, s.
    idle_s : float
        How long a process started here stays without run and client, s.
    """

    def __init__(self, folder: Path, *, timeout_s: float = 10.0, start_s: float = 60.0, idle_s: float = 600.0) -> None:
        definition = installed(folder)
        self.folder = folder
        self.name = definition.name
        self.process = definition.process
        self.seed = definition.seed
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._idle_s = idle_s
        self._connected = False
        self._free: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[Connection]] = weakref.WeakKeyDictionary()
        weakref.finalize(self, _let_go, self._free).atexit = False

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self.process}) in its own process>"

    async def connect(self) -> None:
        """Start the tool's process if it is not running, and take hold of it."""
        self._connected = True
        await self._ask("status")

    async def disconnect(self) -> None:
        """Let go of the tool; a run in progress goes on."""
        self._connected = False
        for connection in self._free.pop(asyncio.get_running_loop(), []):
            connection.close()

    async def configure(self, recipe: Recipe) -> None:
        """Make *recipe* ready to start."""
        self._require_connection()
        require_process(self.name, self.process, recipe.process)
        await self._ask("configure", recipe.to_json(indent=None).encode())

    async def load(self, wafer: xr.Dataset) -> None:
        """Say which wafers are in the tool."""
        await self._ask("load", pack_dataset(wafer))

    async def start(self, run_id: str, recipe_hash: str, fence: int) -> None:
        """Start the configured recipe as *run_id*; a run that the ledger knows is not started again."""
        self._require_connection()
        await self._ask("start", run_id=run_id, recipe_hash=recipe_hash, fence=fence)

    async def fence(self, fence: int) -> None:
        """Refuse every start with a fence older than *fence* from now on."""
        await self._ask("fence", fence=fence)

    async def pause(self) -> None:
        """Hold the run where it is."""
        self._require_connection()
        await self._ask("pause")

    async def resume(self) -> None:
        """Go on with a run that is held."""
        self._require_connection()
        await self._ask("resume")

    async def stop(self, emergency: bool = False) -> None:
        """End the run and go to the safe state, through the stop channel; an *emergency* stop latches."""
        await asyncio.to_thread(stop_now, self.folder, emergency, self._timeout_s)

    async def reset(self) -> None:
        """Release a latched emergency stop."""
        await self._ask("reset")

    async def status(self) -> ToolStatus:
        """What the tool is doing now; without a connection nothing is asked or started."""
        if not self._connected:
            return ToolStatus(tool=self.name, state=ToolState.DISCONNECTED)
        return ToolStatus.model_validate((await self._ask("status"))[0]["status"])

    async def ledger(self, run_id: str) -> LedgerEntry | None:
        """What the durable ledger says about *run_id*."""
        entry = (await self._ask("ledger", run_id=run_id))[0]["entry"]
        return None if entry is None else LedgerEntry.model_validate(entry)

    async def telemetry(self, run_id: str | None = None, after: int = 0) -> AsyncIterator[Block]:
        """Blocks of a run beyond sequence *after*, as they come; a broken connection is made anew."""
        attempts = 0
        while True:
            attempts += 1
            connection = await self._open()
            try:
                await connection.send({"method": "telemetry", "run_id": run_id, "after": after})
                while True:
                    header, payload = await self._in_time(connection, "telemetry")
                    if "error" in header:
                        raise error_from(header)
                    if "end" in header:
                        return
                    run_id = header.get("run_id", run_id)
                    if "sequence" in header:
                        after, attempts = int(header["sequence"]), 0
                        yield Block(after, unpack_telemetry(payload))
            except OSError as error:
                if attempts >= _ATTEMPTS:
                    raise self._lost("telemetry", error) from None
            finally:
                connection.close()

    async def acknowledge(self, run_id: str, sequence: int) -> None:
        """Telemetry of *run_id* up to *sequence* is safe elsewhere."""
        await self._ask("acknowledge", run_id=run_id, sequence=sequence)

    async def unload(self, run_id: str) -> xr.Dataset:
        """The wafers as *run_id* left them."""
        return unpack_dataset((await self._ask("unload", run_id=run_id))[1])

    async def measure(self, run_id: str) -> xr.Dataset:
        """What the metrology of *run_id* reports."""
        return unpack_dataset((await self._ask("measure", run_id=run_id))[1])

    async def release(self, run_id: str) -> None:
        """Everything of *run_id* is safe elsewhere."""
        await self._ask("release", run_id=run_id)

    async def calibrate(self, channel: str) -> float:
        """Calibrate the instrument behind *channel*; the correction found."""
        return float((await self._ask("calibrate", channel=channel))[0]["found"])

    async def interlocks(self) -> Mapping[str, bool]:
        """Every interlock by name: true when it is closed."""
        return dict((await self._ask("interlocks"))[0]["interlocks"])

    def capabilities(self) -> frozenset[str]:
        """What the tool can do beyond the contract."""
        return capabilities(self.process)

    def supports(self, recipe: Recipe) -> bool:
        """Whether the tool can run *recipe*."""
        return can_run(registry.process(self.process), recipe)

    async def inject(self, fault: Fault) -> None:
        """Make the tool depart from nominal as *fault* says."""
        await self._ask("inject", fault=fault.model_dump(mode="json"))

    async def clear_faults(self) -> None:
        """Take all injected faults back."""
        await self._ask("clear_faults")

    async def ground_truth(self, run_id: str) -> dict[str, Any]:
        """What really was the matter during *run_id*: for training and tests only."""
        return dict((await self._ask("ground_truth", run_id=run_id))[0]["truth"])

    async def step(self, samples: int) -> int:
        """Let a stepped run make *samples* more; returns how many it has made in all."""
        return int((await self._ask("step", samples=samples))[0]["made"])

    async def executions(self, run_id: str) -> int:
        """How often *run_id* was physically begun."""
        return int((await self._ask("executions", run_id=run_id))[0]["executions"])

    async def shutdown(self) -> None:
        """End the tool's process, after a normal stop of what it runs."""
        await self.disconnect()
        await asyncio.to_thread(launch.shut_down, self.folder)

    async def _ask(self, method: str, payload: bytes = b"", **arguments: Any) -> tuple[Header, bytes]:
        free = self._free.setdefault(asyncio.get_running_loop(), [])
        connection = self._reused(free) or await self._open()
        try:
            answer = await self._answer(connection, method, payload, arguments)
        except OSError as error:
            if method in _ONCE:
                raise self._lost(method, error) from None
            connection = await self._open()
            try:
                answer = await self._answer(connection, method, payload, arguments)
            except OSError as again:
                raise self._lost(method, again) from None
        free.append(connection)
        if "error" in answer[0]:
            raise error_from(answer[0])
        return answer

    @staticmethod
    def _reused(free: list[Connection]) -> Connection | None:
        while free:
            connection = free.pop()
            if connection.fresh:
                return connection
            connection.close()
        return None

    async def _answer(
        self, connection: Connection, method: str, payload: bytes, arguments: Mapping[str, Any]
    ) -> tuple[Header, bytes]:
        """The answer of one request; a connection on which none came in order is closed."""
        try:
            await connection.send({"method": method, **arguments}, payload)
            return await self._in_time(connection, method)
        except BaseException:
            connection.close()
            raise

    async def _in_time(self, connection: Connection, method: str) -> tuple[Header, bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await connection.receive()
        except TimeoutError:
            raise ToolError(
                f"{self.name} has not answered {method} within {self._timeout_s:g} s",
                fix="ask its status; stop works without waiting for anything",
            ) from None

    async def _open(self) -> Connection:
        """A connection to the tool's process, which is started if need be."""
        for last in (False, True):
            found = endpoint.find(self.folder)
            if found is None or last:
                found = await asyncio.to_thread(launch.ensure_running, self.folder, self._start_s, self._idle_s)
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await Connection.open(found.host, found.port, found.token, endpoint.REQUESTS)
            except (OSError, ToolError) as error:
                if last:
                    raise self._lost("the greeting", error) from None
        raise AssertionError("unreachable")

    def _require_connection(self) -> None:
        if not self._connected:
            raise ToolError(f"{self.name} is disconnected", fix="connect it first")

    def _lost(self, method: str, error: Exception) -> ToolError:
        return ToolError(
            f"the process of {self.name} was lost during {method} ({error})",
            fix="connect again and ask the ledger what became of the run",
        )


def _let_go(free: Mapping[asyncio.AbstractEventLoop, list[Connection]]) -> None:
    """Close what a forgotten handle left open, each on its own loop."""
    for loop, connections in list(free.items()):
        for connection in connections:
            try:
                loop.call_soon_threadsafe(connection.close)
            except RuntimeError:
                break  # the loop was closed, and its connections with it
