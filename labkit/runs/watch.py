"""Watching a run at its tool: started once, followed to its end through lost connections, stopped when it must be.

After any trouble the tool's ledger decides what became of the run; nothing here ever starts it a second time.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labkit.core.errors import LabkitError, ToolError
from labkit.core.process import Process, Telemetry
from labkit.core.recipe import Recipe
from labkit.core.tool import Block, LedgerEntry, LedgerState, Tool, ToolState
from labkit.devices.background import event_loop, wait
from labkit.runs.live import Live

if TYPE_CHECKING:
    import xarray as xr

Report = Callable[[float, str], None]
"""Called with progress, 0 to 100, and what is being done."""
TICK_S = 0.1
"""How often a run that delivers nothing is looked after, s."""
_LOOK_S = 0.5
_TRIES = 5
_STARTED_PERCENT, _ENDED_PERCENT = 5.0, 95.0


@dataclass(frozen=True)
class Wishes:
    """What people want of a run that is going on."""

    cancelled_by: str | None = None
    paused: bool = False


@dataclass(frozen=True)
class TimeLimits:
    """Seconds after which a run is announced as late (soft), stopped (hard), or given up because its tool went silent
    (stale: old data counts as unsafe)."""

    soft_s: float = 7_200.0
    hard_s: float = 10_800.0
    stale_s: float = 30.0


class Unstarted(LabkitError):
    """The tool's ledger does not know the run: it was never started, so it may be tried again."""


class Watch:
    """One run at its tool, from start to end.

    Parameters
    ----------
    wishes
        Asked a few times a second what people want of the run.
    held
        Whether the run was held at somebody's wish when this watch began.
    spent_s
        How long it had been going on when this watch began, s; time for which it is held does not count.
    paused
        Told when the run is held (true) and when it goes on.
    """

    def __init__(
        self,
        process: Process,
        recipe: Recipe,
        tool: Tool,
        run_id: str,
        live: Live,
        *,
        wishes: Callable[[], Wishes] = Wishes,
        paused: Callable[[bool], None] = lambda held: None,
        limits: TimeLimits | None = None,
        held: bool = False,
        spent_s: float = 0.0,
    ) -> None:
        self.process, self.recipe, self.tool, self.run_id, self.live = process, recipe, tool, run_id, live
        self.stopped_because: str | None = None
        self.gave_up = False
        self._wishes, self._paused, self._limits = wishes, paused, limits or TimeLimits()
        self._held, self._late = held, False
        self._blocks: list[Block] = []
        self._held_since = self._moved = self._looked = time.monotonic()
        self._began = self._moved - spent_s
        self._failures = 0
        self._delivered = -1.0

    def start(self, wafer: xr.Dataset, fence: int) -> None:
        """Put wafers and recipe into the tool and start; returns once the start is in the ledger.

        Raises
        ------
        Unstarted
            If the tool refused or could not be reached and its ledger, asked afterwards, does not know the run.
        """

        sent = False

        async def begin() -> None:
            nonlocal sent
            await self.tool.connect()
            await self.tool.configure(self.recipe)
            await self.tool.load(wafer)
            sent = True
            await self.tool.start(self.run_id, self.recipe.content_hash, fence)

        try:
            wait(begin())
        except LabkitError as error:
            if not sent or self.ledger() is None:
                raise Unstarted(error.what, allowed=error.allowed, fix=error.fix) from error

    def ledger(self) -> LedgerEntry | None:
        """What the tool's ledger says about the run.

        Raises
        ------
        ToolError
            If the tool cannot be asked.
        """
        return wait(self.tool.ledger(self.run_id))

    def attend(self) -> LedgerEntry:
        """Follow the run to its end, whatever happens to the connection or to the tool's process.

        Raises
        ------
        ToolError
            If the tool cannot be reached, or has lost its ledger: what became of the run is then not known.
        """
        while True:
            try:
                self._follow()
                entry = self.ledger()
            except ToolError as error:
                self._failures += 1
                if self._failures > _TRIES:
                    raise
                self.live.note(f"{error}; asking the tool's ledger again", "warning")
                time.sleep(min(TICK_S * 2**self._failures, 2.0))
                continue
            if entry is None:
                raise ToolError(f"{self.tool.name} does not know run {self.run_id} any more")
            if entry.state is not LedgerState.RUNNING:
                self.collect()
                return entry

    def telemetry(self) -> xr.Dataset:
        """Everything the tool has delivered, with dim ``time`` (s since start) and units on every channel."""
        return telemetry_dataset(self.process, [block.telemetry for block in self._blocks])

    def restore(self, blocks: list[Block]) -> None:
        """Telemetry that an earlier watch of this run has kept."""
        self._blocks = list(blocks)
        self.live.go_on_after(blocks)

    def _follow(self) -> None:
        for block in _blocks(self.tool, self.run_id, self._last):
            if block is not None:
                self._keep(block)
            self._look_after(block is not None)

    def collect(self) -> None:
        """Blocks of an ended run that have not come yet."""
        for block in _blocks(self.tool, self.run_id, self._last):
            if block is not None:
                self._keep(block)

    @property
    def _last(self) -> int:
        return self._blocks[-1].sequence if self._blocks else 0

    def _keep(self, block: Block) -> None:
        if block.sequence != self._last + 1:
            raise ToolError(f"{self.tool.name} delivered block {block.sequence} after {self._last}")
        self._blocks.append(block)
        self._failures = 0
        self._moved = time.monotonic()
        self.live.block(block)

    def _look_after(self, moving: bool) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        status = wait(self.tool.status())
        if status.state is not ToolState.RUNNING or status.progress != self._delivered:
            self._delivered, self._moved = status.progress, now
        self.live.progress(
            _STARTED_PERCENT + (_ENDED_PERCENT - _STARTED_PERCENT) * status.progress,
            "paused" if status.state is ToolState.PAUSED else "running",
        )
        safe = self.live.safe()
        if safe:
            wait(self.tool.acknowledge(self.run_id, safe))
        self._heed(self._wishes(), status.state)
        self._mind_time(now)

    def _heed(self, wishes: Wishes, state: ToolState) -> None:
        if wishes.cancelled_by is not None:
            self.stop(f"cancelled by {wishes.cancelled_by}")
        elif wishes.paused and state in (ToolState.RUNNING, ToolState.PAUSED):
            # The catalogue says "held" before the tool is, so that whoever takes over after a crash lets it go again.
            if not self._held:
                self._hold(True)
            if state is ToolState.RUNNING:
                wait(self.tool.pause())
        elif not wishes.paused and self._held:
            if state is ToolState.PAUSED:
                wait(self.tool.resume())
            self._hold(False)

    def _hold(self, held: bool) -> None:
        now = time.monotonic()
        if held:
            self._held_since = now
        else:
            self._began += now - self._held_since
            self._moved = now
        self._held = held
        self._paused(held)

    def _mind_time(self, now: float) -> None:
        if self._held:
            return
        spent = now - self._began
        if spent > self._limits.soft_s and not self._late:
            self._late = True
            self.live.alert("duration", f"running for {spent:.0f} s, more than {self._limits.soft_s:g} s", "warning")
        if spent > self._limits.hard_s:
            self.stop(f"time limit of {self._limits.hard_s:g} s", gave_up=True)
        elif now - self._moved > self._limits.stale_s:
            self.stop(f"no new data for {self._limits.stale_s:g} s", gave_up=True)

    def stop(self, reason: str, *, gave_up: bool = False) -> None:
        """Stop the tool, once; *gave_up* if that is a failure rather than somebody's wish."""
        if self.stopped_because is None:
            self.stopped_because, self.gave_up = reason, gave_up
            self.live.note(f"stopping the tool: {reason}", "warning")
            wait(self.tool.stop())


def _blocks(tool: Tool, run_id: str, after: int) -> Iterator[Block | None]:
    """Blocks as they come, and None whenever nothing has come for a tick, so that the caller can look around."""
    arrived: queue.SimpleQueue[Block | BaseException | None] = queue.SimpleQueue()

    async def pump() -> None:
        try:
            async for block in tool.telemetry(run_id, after):
                arrived.put(block)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)
            raise

    pumping = asyncio.run_coroutine_threadsafe(pump(), event_loop())
    try:
        while True:
            try:
                item = arrived.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        pumping.cancel()
        with suppress(BaseException):
            pumping.exception(timeout=0)


def telemetry_dataset(process: Process, blocks: list[Telemetry]) -> xr.Dataset:
    """Telemetry blocks as one Dataset with dim ``time`` (s since start) and units on every channel."""
    import xarray as xr

    joined = {name: np.concatenate([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())}
    time_s = joined.pop("time", np.empty(0))
    units = {channel.name: channel for channel in process.channels}
    variables = {
        name: ("time", values, {"units": units[name].units, "long_name": units[name].description})
        for name, values in joined.items()
        if name in units
    }
    return xr.Dataset(variables, coords={"time": ("time", time_s, {"units": "s", "long_name": "time since start"})})
