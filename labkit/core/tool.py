"""The tool contract: one asynchronous handle for a simulated tool and for a real one.

Methods are coroutines; a notebook may ``await`` them or go through the lab, which waits on one background loop.
Stop is its own channel: it never waits for anything else the tool is doing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Protocol

from labkit.core.process import Telemetry
from labkit.core.recipe import Recipe, Strict, knob


class ToolState(StrEnum):
    """What a tool is doing."""

    DISCONNECTED = "disconnected"
    IDLE = "idle"
    CONFIGURED = "configured"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    EMERGENCY = "emergency"


class ToolStatus(Strict):
    """A tool's state at one moment. ``latched`` stays true after an emergency stop until a person resets it."""

    tool: str
    state: ToolState
    run_id: str | None = None
    recipe_hash: str | None = None
    progress: float = knob(0.0, units="1", description="Fraction of the run's telemetry delivered", ge=0.0, le=1.0)
    latched: bool = False


class Fault(Strict):
    """A departure injected into a simulated tool, for training and for proving that it is found.

    Exactly one of ``mode`` (a fault mode the process declares) and ``path`` (any field of its condition) says what
    departs. At the tool's run number *n* (1-based) the field is shifted by ``magnitude + per_run·(n − first_run)``
    while ``first_run ≤ n ≤ last_run``.
    """

    mode: str | None = None
    path: str | None = None
    magnitude: float = 0.0
    per_run: float = 0.0
    first_run: int = knob(1, units="1", description="First run, in the tool's own count, that is affected", ge=1)
    last_run: int | None = None

    def shift_at(self, run_number: int) -> float | None:
        """The shift at the tool's *run_number*, or None while the fault is not there."""
        if run_number < self.first_run or (self.last_run is not None and run_number > self.last_run):
            return None
        return self.magnitude + self.per_run * (run_number - self.first_run)


class Tool(Protocol):
    """A handle on one tool. ``start`` is idempotent by run id and refuses an older fence."""

    name: str
    process: str

    async def connect(self) -> None:
        """Take hold of the tool; nothing moves."""

    async def disconnect(self) -> None:
        """Let go of the tool; a run in progress goes on."""

    async def configure(self, recipe: Recipe) -> None:
        """Load *recipe*, ready to start."""

    async def start(self, run_id: str, recipe_hash: str, fence: int) -> None:
        """Start the configured recipe as *run_id*, if its hash is *recipe_hash* and no newer *fence* has been seen."""

    async def pause(self) -> None:
        """Hold the run where it is."""

    async def resume(self) -> None:
        """Go on with a run that is held."""

    async def stop(self, emergency: bool = False) -> None:
        """End the run and go to the safe state; an *emergency* stop latches."""

    async def status(self) -> ToolStatus:
        """What the tool is doing now."""

    def telemetry(self) -> AsyncIterator[Telemetry]:
        """Blocks of telemetry as they come, to the end of the run."""

    async def calibrate(self, channel: str) -> float:
        """Calibrate the instrument behind *channel*; the correction found, in its unit."""

    async def interlocks(self) -> Mapping[str, bool]:
        """Every interlock by name: true when it is closed."""

    def capabilities(self) -> frozenset[str]:
        """What the tool can do beyond the contract, in words."""

    def supports(self, recipe: Recipe) -> bool:
        """Whether the tool can run *recipe*."""
