"""The tool contract: one asynchronous handle for a simulated tool and for a real one.

Methods are coroutines; a notebook may ``await`` them or use the plain face, which waits on one background loop.
Stop is its own channel: it never waits for anything else the tool is doing.

A tool keeps a durable ledger of its runs. After any crash the ledger decides what happened: a run that it does not
know was never started, one that it has finished can be fetched, and one that was running when the tool itself died is
``interrupted``. It keeps telemetry until that is acknowledged, and wafers and metrology until the run is released.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

from labkit.core.process import Telemetry
from labkit.core.recipe import Recipe, Strict, knob

if TYPE_CHECKING:
    import xarray as xr


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
    """A tool's state at one moment. ``latched`` stays true after an emergency stop until a person resets it; ``reason``
    says why a run ended early, or what holds it up."""

    tool: str
    state: ToolState
    run_id: str | None = None
    recipe_hash: str | None = None
    progress: float = knob(0.0, units="1", description="Fraction of the run's telemetry delivered", ge=0.0, le=1.0)
    latched: bool = False
    reason: str = ""


class LedgerState(StrEnum):
    """What became of a run, as the tool's ledger has it."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


class LedgerEntry(Strict):
    """One run in a tool's ledger. ``number`` is the tool's own running count, from 1; sequences count telemetry blocks
    of this run, from 1; ``samples`` is how many the whole run has and ``delivered`` how many there are so far."""

    run_id: str
    recipe_hash: str
    fence: int
    number: int
    state: LedgerState
    samples: int
    delivered: int = 0
    last_sequence: int = 0
    acknowledged: int = 0
    released: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Block:
    """Consecutive samples of a run's telemetry with their place in the run; sequences have no gaps."""

    sequence: int
    telemetry: Telemetry


class Clock(Strict):
    """How a simulated tool's time passes.

    ``unpaced`` computes as fast as it can; ``paced`` takes ``1/scale`` seconds per second of process (1: real time);
    ``stepped`` moves only when told to.
    """

    mode: Literal["unpaced", "paced", "stepped"] = "unpaced"
    scale: float = knob(1.0, units="1", description="Seconds of process per second of clock, when paced", gt=0.0)


TOOL_FAULTS = ("lost_telemetry", "hang", "crash")
"""Fault modes of every simulated tool itself, whatever its process: samples between two fractions of the run are never
recorded; the run stops advancing at a fraction of it though the tool answers; the tool's process dies there."""


class Fault(Strict):
    """A departure injected into a simulated tool, for training and for proving that it is found.

    Exactly one of ``mode`` (a fault mode the process declares, or one of :data:`TOOL_FAULTS`) and ``path`` (any field
    of its condition) says what departs. At the tool's run number *n* (1-based) the field is shifted by
    ``magnitude + per_run·(n − first_run)`` while ``first_run ≤ n ≤ last_run``. For a tool fault the magnitude is the
    fraction of the run at which it strikes; lost telemetry lasts a tenth of the run.
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
        """Make *recipe* ready to start."""

    async def load(self, wafer: xr.Dataset) -> None:
        """Say which wafers (dims ``slot``, ``site``) are in the tool."""

    async def start(self, run_id: str, recipe_hash: str, fence: int) -> None:
        """Start the configured recipe as *run_id*, if its hash is *recipe_hash* and no newer *fence* has been seen.

        A run that the ledger knows already is not started again; nothing happens then. The start is in the ledger
        before anything moves.
        """

    async def fence(self, fence: int) -> None:
        """Refuse every start with a fence older than *fence* from now on, through crashes too."""

    async def pause(self) -> None:
        """Hold the run where it is."""

    async def resume(self) -> None:
        """Go on with a run that is held."""

    async def stop(self, emergency: bool = False) -> None:
        """End the run and go to the safe state; an *emergency* stop latches."""

    async def reset(self) -> None:
        """Release a latched emergency stop."""

    async def status(self) -> ToolStatus:
        """What the tool is doing now."""

    async def ledger(self, run_id: str) -> LedgerEntry | None:
        """What the durable ledger says about *run_id*; None if the tool never started it."""

    def telemetry(self, run_id: str | None = None, after: int = 0) -> AsyncIterator[Block]:
        """Blocks of a run (default: the present one) beyond sequence *after*, as they come, to the end of the run."""

    async def acknowledge(self, run_id: str, sequence: int) -> None:
        """Telemetry of *run_id* up to *sequence* is safe elsewhere; the tool may forget it."""

    async def unload(self, run_id: str) -> xr.Dataset:
        """The wafers as *run_id* left them; the same each time until the run is released."""

    async def measure(self, run_id: str) -> xr.Dataset:
        """What the metrology of *run_id* reports; the same each time until the run is released."""

    async def release(self, run_id: str) -> None:
        """Everything of *run_id* is safe elsewhere; only its ledger entry is kept."""

    async def calibrate(self, channel: str) -> float:
        """Calibrate the instrument behind *channel*; the correction found, in its unit."""

    async def interlocks(self) -> Mapping[str, bool]:
        """Every interlock by name: true when it is closed."""

    def capabilities(self) -> frozenset[str]:
        """What the tool can do beyond the contract, in words."""

    def supports(self, recipe: Recipe) -> bool:
        """Whether the tool can run *recipe*."""
