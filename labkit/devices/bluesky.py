"""Any tool as a Bluesky flyer, for those who live there: ``RE(bp.fly([flyer]))`` with ``flyer = BlueskyFlyer(tool)``.

Bluesky's protocols are structural, so nothing is imported from it: a :class:`BlueskyFlyer` is Flyable, Collectable and
EventPageCollectable, Stageable, Preparable, Pausable, Stoppable, and has a name.

**The RunEngine is no emergency path.** An abort of a plan calls pause and unstage of a flyer that has been kicked off,
never stop, and only once the RunEngine gets to it; unstaging therefore ends a run that still goes on. For an emergency
use ``labkit tool stop NAME --emergency`` or :func:`labkit.devices.stop_channel.stop_now`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from labkit.core import registry
from labkit.core.errors import LabkitError, ToolError
from labkit.core.recipe import Recipe
from labkit.core.tool import Block, LedgerState, Tool, ToolState
from labkit.devices.background import event_loop
from labkit.devices.handle import ToolHandle

if TYPE_CHECKING:
    import xarray as xr

T = TypeVar("T")
_MOVING = (ToolState.RUNNING, ToolState.PAUSED)
_KINDS = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}


@dataclass(frozen=True)
class Flight:
    """What a flyer is to do: *recipe* on *wafers*, as *run_id*, under *fence* (that of the tool's lease in a lab)."""

    recipe: Recipe
    wafers: xr.Dataset
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    fence: int = 0


class FlyerStatus:
    """A Bluesky status that is done when work on labkit's background loop is."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._future: Future[Any] = asyncio.run_coroutine_threadsafe(work, event_loop())

    def __repr__(self) -> str:
        return f"<flyer status: {('succeeded' if self.success else 'failed') if self.done else 'not done'}>"

    @property
    def done(self) -> bool:
        """Whether the work is over."""
        return self._future.done()

    @property
    def success(self) -> bool:
        """Whether it is over and went well."""
        return self.done and self.exception() is None

    def exception(self, timeout: float | None = 0.0) -> BaseException | None:
        """What went wrong, waiting up to *timeout* seconds for the end; None if nothing did, or it is not over."""
        try:
            return self._future.exception(timeout)
        except TimeoutError:
            return None

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end; raises what went wrong."""
        self._future.result(timeout)

    def add_callback(self, callback: Callable[[FlyerStatus], None]) -> None:
        """Call *callback* with this status when the work is over; at once if it is."""
        self._future.add_done_callback(lambda _: callback(self))


class BlueskyFlyer:
    """A tool as a flyer: ``prepare(Flight(recipe, wafers))``, then kickoff, complete and collect by a plan.

    Each telemetry block becomes one event page of the stream ``stream``. Data keys are ``"<name>-<channel>"``, with the
    time since the run's start as ``"<name>-time"`` in s; timestamps are that time after the kickoff (Unix time), so
    that a run at another speed than real time keeps its own time scale (the RunEngine stamps the events themselves when
    it collects them). Nothing is acknowledged: the tool keeps its
    telemetry until whoever stores the documents calls ``tool.acknowledge``.

    Parameters
    ----------
    tool : Tool or ToolHandle
        Any tool.
    stream : str
        Name of the event stream.
    """

    parent = None

    def __init__(self, tool: Tool | ToolHandle, *, stream: str = "telemetry") -> None:
        self.tool: Tool = tool.asynchronous if isinstance(tool, ToolHandle) else tool
        self.stream = stream
        self.flight: Flight | None = None
        self._began = 0.0
        self._collected = 0
        self._blocks: list[Block] = []
        self._completion: FlyerStatus | None = None

    def __repr__(self) -> str:
        return f"<flyer {self.name} ({self.tool.process})>"

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.tool.name

    def stage(self) -> FlyerStatus:
        """Take hold of the tool."""
        return FlyerStatus(self.tool.connect())

    def unstage(self) -> FlyerStatus:
        """Let go of the tool; a run that still goes on is stopped first, for nobody would be there to watch it."""
        return FlyerStatus(self._let_go())

    def prepare(self, value: Flight) -> FlyerStatus:
        """Make the tool ready for the flight *value*; one that has been started already is left alone, for a plan that
        goes on after a pause repeats its messages."""
        return FlyerStatus(self._prepare(value))

    def kickoff(self) -> FlyerStatus:
        """Start the prepared flight; done once the tool has it in its ledger."""
        return FlyerStatus(self._kickoff())

    def complete(self) -> FlyerStatus:
        """Done when the run is; fails if it did not run to its end, in the words of the tool's ledger."""
        if self._completion is None:
            self._completion = FlyerStatus(self._complete())
        return self._completion

    def describe_collect(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The data keys of the stream: time and the channels that the process declares."""
        channels = [
            ("time", "s", "time since the run's start", "float64"),
            *((c.name, c.units, c.description, c.dtype) for c in registry.process(self.tool.process).channels),
        ]
        return {
            self.stream: {
                f"{self.name}-{channel}": {
                    "source": f"labkit:{self.name}:{channel}",
                    "dtype": _KINDS[np.dtype(dtype).kind],
                    "dtype_numpy": np.dtype(dtype).str,
                    "shape": [],
                    "units": units,
                    "object_name": self.name,
                    "description": description,
                }
                for channel, units, description, dtype in channels
            }
        }

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """One partial event page for each block that has come since the last collection."""
        while self._collected < len(self._blocks):
            telemetry = self._blocks[self._collected].telemetry
            self._collected += 1
            times = (self._began + telemetry["time"]).tolist()
            data = {f"{self.name}-{channel}": values.tolist() for channel, values in telemetry.items()}
            yield {"time": times, "data": data, "timestamps": dict.fromkeys(data, times)}

    async def pause(self) -> None:
        """Hold a run that goes on; without one nothing happens."""
        await _there(self._if(ToolState.RUNNING, self.tool.pause))

    async def resume(self) -> None:
        """Go on with a run that is held."""
        await _there(self._if(ToolState.PAUSED, self.tool.resume))

    async def stop(self, success: bool = True) -> None:
        """End the run and go to the safe state; a plan that failed needs no latch, so both are normal stops."""
        await _there(self.tool.stop())

    async def _prepare(self, flight: Flight) -> None:
        await self.tool.connect()
        if self.flight is not None and self.flight.run_id == flight.run_id and await self.tool.ledger(flight.run_id):
            return
        await self.tool.configure(flight.recipe)
        await self.tool.load(flight.wafers)
        self.flight, self._blocks, self._collected, self._completion = flight, [], 0, None

    async def _kickoff(self) -> None:
        flight = self._required()
        await self.tool.start(flight.run_id, flight.recipe.content_hash, flight.fence)
        self._began = time.time()

    async def _complete(self) -> None:
        run_id = self._required().run_id
        async for block in self.tool.telemetry(run_id):
            self._blocks.append(block)
        entry = await self.tool.ledger(run_id)
        if entry is None or entry.state is not LedgerState.DONE:
            state, reason = ("unknown", "") if entry is None else (entry.state.value, entry.reason)
            raise ToolError(f"run {run_id} on {self.name} is {state}{f': {reason}' if reason else ''}")

    async def _let_go(self) -> None:
        if (await self.tool.status()).state in _MOVING:
            await self.tool.stop()
        await self.tool.disconnect()

    async def _if(self, state: ToolState, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if (await self.tool.status()).state is state:
            await action()

    def _required(self) -> Flight:
        if self.flight is None:
            raise LabkitError(
                f"flyer {self.name} has nothing to do",
                fix="prepare it: yield from bps.prepare(flyer, Flight(recipe, wafers), wait=True)",
            )
        return self.flight


async def _there(work: Coroutine[Any, Any, T]) -> T:
    """Await *work* on labkit's background loop from whatever loop runs here."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, event_loop()))
