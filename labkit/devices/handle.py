"""The plain face of a tool: what a notebook holds. Every call waits on the background loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labkit.core.recipe import Recipe
from labkit.core.tool import Block, Fault, LedgerEntry, ToolState, ToolStatus
from labkit.devices.background import iterate, wait
from labkit.devices.launch import is_running
from labkit.devices.remote import RemoteTool
from labkit.devices.simulated import SimulatedTool

if TYPE_CHECKING:
    import xarray as xr


class ToolHandle:
    """A tool for plain calls; ``handle.asynchronous`` is the same tool for ``await``."""

    def __init__(self, tool: SimulatedTool | RemoteTool) -> None:
        self.asynchronous = tool

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.asynchronous.name

    @property
    def process(self) -> str:
        """The process that it carries out."""
        return self.asynchronous.process

    @property
    def seed(self) -> int:
        """What fixes every noise sample of every run."""
        return self.asynchronous.seed

    def __repr__(self) -> str:
        return f"<tool {self.name} ({self.process})>"

    def connect(self) -> None:
        """Take hold of the tool; nothing moves."""
        wait(self.asynchronous.connect())

    def disconnect(self) -> None:
        """Let go of the tool; a run in progress goes on."""
        wait(self.asynchronous.disconnect())

    def configure(self, recipe: Recipe) -> None:
        """Make *recipe* ready to start."""
        wait(self.asynchronous.configure(recipe))

    def load(self, wafer: xr.Dataset) -> None:
        """Say which wafers are in the tool."""
        wait(self.asynchronous.load(wafer))

    def start(self, run_id: str, recipe_hash: str, fence: int) -> None:
        """Start the configured recipe as *run_id*."""
        wait(self.asynchronous.start(run_id, recipe_hash, fence))

    def fence(self, fence: int) -> None:
        """Refuse every start with a fence older than *fence*."""
        wait(self.asynchronous.fence(fence))

    def pause(self) -> None:
        """Hold the run where it is."""
        wait(self.asynchronous.pause())

    def resume(self) -> None:
        """Go on with a run that is held."""
        wait(self.asynchronous.resume())

    def stop(self, emergency: bool = False) -> None:
        """End the run and go to the safe state; an *emergency* stop latches."""
        wait(self.asynchronous.stop(emergency))

    def reset(self) -> None:
        """Release a latched emergency stop."""
        wait(self.asynchronous.reset())

    def status(self) -> ToolStatus:
        """What the tool is doing now; a tool process that is not running is not started for it."""
        return wait(_seen(self.asynchronous))

    def ledger(self, run_id: str) -> LedgerEntry | None:
        """What the durable ledger says about *run_id*."""
        return wait(self.asynchronous.ledger(run_id))

    def telemetry(self, run_id: str | None = None, after: int = 0) -> Iterator[Block]:
        """Blocks of a run beyond sequence *after*, as they come, to its end."""
        return iterate(self.asynchronous.telemetry(run_id, after))

    def acknowledge(self, run_id: str, sequence: int) -> None:
        """Telemetry of *run_id* up to *sequence* is safe elsewhere."""
        wait(self.asynchronous.acknowledge(run_id, sequence))

    def unload(self, run_id: str) -> xr.Dataset:
        """The wafers as *run_id* left them."""
        return wait(self.asynchronous.unload(run_id))

    def measure(self, run_id: str) -> xr.Dataset:
        """What the metrology of *run_id* reports."""
        return wait(self.asynchronous.measure(run_id))

    def release(self, run_id: str) -> None:
        """Everything of *run_id* is safe elsewhere."""
        wait(self.asynchronous.release(run_id))

    def calibrate(self, channel: str) -> float:
        """Calibrate the instrument behind *channel*; the correction found, in its unit."""
        return wait(self.asynchronous.calibrate(channel))

    def interlocks(self) -> Mapping[str, bool]:
        """Every interlock by name: true when it is closed."""
        return wait(self.asynchronous.interlocks())

    def capabilities(self) -> frozenset[str]:
        """What the tool can do beyond the contract."""
        return self.asynchronous.capabilities()

    def supports(self, recipe: Recipe) -> bool:
        """Whether the tool can run *recipe*."""
        return self.asynchronous.supports(recipe)

    def inject(self, fault: Fault) -> None:
        """Make the tool depart from nominal as *fault* says; several add up."""
        wait(_awaited(self.asynchronous.inject(fault)))

    def clear_faults(self) -> None:
        """Take all injected faults back."""
        wait(_awaited(self.asynchronous.clear_faults()))

    def ground_truth(self, run_id: str) -> dict[str, Any]:
        """What really was the matter during *run_id*: for training and tests only."""
        return dict(wait(_awaited(self.asynchronous.ground_truth(run_id))))

    def step(self, samples: int) -> int:
        """Let a stepped run make *samples* more; returns how many it has made in all."""
        return wait(self.asynchronous.step(samples))

    def executions(self, run_id: str) -> int:
        """How often *run_id* was physically begun."""
        return int(wait(_awaited(self.asynchronous.executions(run_id))))


async def _seen(tool: SimulatedTool | RemoteTool) -> ToolStatus:
    status = await tool.status()
    there = isinstance(tool, SimulatedTool) or await asyncio.to_thread(is_running, tool.folder)
    if status.state is ToolState.DISCONNECTED and there:
        await tool.connect()
        status = await tool.status()
    return status


async def _awaited(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer
