"""The simulated tool: equipment that runs any chapter's twin, with seed, noise, wear and faults on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import xarray as xr

from labkit.core.errors import ToolError
from labkit.core.process import Condition, Process
from labkit.core.recipe import Recipe
from labkit.core.tool import Clock, LedgerState, ToolState
from labkit.devices.clock import Pace
from labkit.devices.equipment import Equipment, can_run, require_process, stream
from labkit.devices.execution import Execution
from labkit.devices.hosting import hold_folder
from labkit.devices.kept_runs import KeptRuns
from labkit.devices.ledger import Ledger
from labkit.devices.reporting import Reporting
from labkit.devices.truth import TruthLog
from labkit.devices.upkeep import Upkeep

_RUN_STREAM, _METROLOGY_STREAM = 1, 2


class SimulatedTool(Reporting, Upkeep, KeptRuns):
    """A tool that exists only as physics. Its runs go on by themselves once started, in a thread of their own.

    Parameters
    ----------
    name : str
        Tool name.
    process : Process
        The chapter whose equipment it is.
    seed : int
        Fixes every noise sample of every run this tool will ever make.
    condition : Condition, optional
        How this tool departs from nominal from the day it was installed (chamber matching).
    folder : Path, optional
        Folder of its ledger and ground truth; without it they live in this object. One host at a time has it.
    block : int
        Telemetry samples per block.
    clock : Clock
        How its time passes.
    crash : callable, optional
        What an injected crash does to the process; by default it only takes this tool's power.

    Raises
    ------
    ToolError
        If another host has the folder.
    Corrupted
        If the ledger is damaged.
    """

    def __init__(
        self,
        name: str,
        process: Process,
        *,
        seed: int = 0,
        condition: Condition | None = None,
        folder: Path | None = None,
        block: int = 600,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        crash: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.process = process.name
        self.seed = seed
        self._chapter = process
        self._block = block
        self._clock = clock
        self._crash = crash
        self._guard = threading.RLock()
        self._connected = False
        self._state = ToolState.IDLE
        self._recipe: Recipe | None = None
        self._wafer: xr.Dataset | None = None
        self._execution: Execution | None = None
        self._stops = 0
        self._lock = None if folder is None else hold_folder(folder)
        self._closed = False
        try:
            self._open(folder, condition or process.condition_type())
        except BaseException:
            self._let_go()
            raise

    def _open(self, folder: Path | None, installed: Condition) -> None:
        super().__init__(self.name, Ledger(None if folder is None else folder / "ledger.db"))
        try:
            memory = self._ledger.memory()
            self._latched = memory.latched
            self._equipment = Equipment(self._chapter, installed, memory)
            self._truth = TruthLog(None if folder is None else folder / "truth.jsonl")
            self._ledger.interrupt("the tool lost its host while it ran; what the wafers are is not known")
        except BaseException:
            self._ledger.close()
            raise

    def __repr__(self) -> str:
        return f"<simulated tool {self.name} ({self.process})>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End a run in progress safely, and give the folder back; once more does nothing."""
        if self._closed:
            return
        execution = self._execution
        try:
            if self.running:
                self.stop_now(reason="its host was closed")
        finally:
            self._closed = True
            if execution is not None:
                execution.abandon()
                execution.join()
            self._ledger.close()
            self._let_go()

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.release()

    async def connect(self) -> None:
        """Take hold of the tool; a latched emergency stop stays latched."""
        self._connected = True

    async def disconnect(self) -> None:
        """Let go of the tool; a run in progress goes on."""
        self._connected = False

    async def configure(self, recipe: Recipe) -> None:
        """Make *recipe* ready to start; refused while running, latched, or if the equipment cannot follow it."""
        with self._guard:
            self._require_free("be configured")
            require_process(self.name, self.process, recipe.process)
            if not can_run(self._chapter, recipe):
                findings = "; ".join(f.message for f in self._chapter.findings(recipe) if f.blocking)
                raise ToolError(f"{self.name} cannot follow recipe {recipe.name!r}: {findings}")
            self._recipe = recipe
            self._state = ToolState.CONFIGURED

    async def load(self, wafer: xr.Dataset) -> None:
        """Put *wafer* into the tool (a simulated tool needs to know what it processes)."""
        with self._guard:
            if self.running:
                raise ToolError(f"{self.name} is {self._state}", fix="wait for the run to end, or stop it")
            self._wafer = wafer

    async def start(self, run_id: str, recipe_hash: str, fence: int) -> None:
        """Start the configured recipe as *run_id*; a run that the ledger knows is not started again.

        Raises
        ------
        ToolError
            For an older fence, another recipe than the one configured, a latched stop, an open interlock, no wafers.
        """
        if self._ledger.entry(run_id) is not None:
            return
        try:
            self._start(run_id, recipe_hash, fence)
        except ToolError as error:
            self._ledger.note("refused start", run_id, str(error))
            raise

    def _start(self, run_id: str, recipe_hash: str, fence: int) -> None:
        with self._guard:
            recipe, wafer, stops = self._checked(recipe_hash, fence)
            memory = self._ledger.memory()
            number = memory.run_count + 1
            condition = self._equipment.at(number)
        # Outside the guard: a first twin may take a while to build, and a stop waits for nothing.
        twin = self._chapter.twin(recipe, wafer, condition=condition, seed=stream(self.seed, number, _RUN_STREAM))
        truth = {
            "run_number": number,
            "condition": condition.model_dump(mode="json"),
            "faults": [fault.model_dump(mode="json") for fault in self._equipment.active(number)],
        }
        metrology = stream(self.seed, number, _METROLOGY_STREAM)
        with self._guard:
            if self._ledger.entry(run_id) is not None:
                return
            self._checked(recipe_hash, fence)
            if self._stops != stops or self._ledger.memory().run_count + 1 != number:
                raise ToolError(
                    f"{self.name} was stopped or used while {run_id} was being started", fix="start it again"
                )
            self._truth.add(run_id, truth)
            self._ledger.start(run_id, recipe_hash, fence, twin.samples)
            self._execution = Execution(
                run_id,
                twin,
                lambda wafers: self._chapter.measure(wafers, seed=metrology),
                self._ledger,
                Pace(self._clock, self._chapter.sample_period_s),
                block=self._block,
                mishaps=self._equipment.mishaps(number, twin.samples),
                guard=self._guard,
                changed=self._changed,
                crashed=self._crashed,
            )
            self._state, self._wafer = ToolState.RUNNING, None
            self._execution.begin()

    def _checked(self, recipe_hash: str, fence: int) -> tuple[Recipe, xr.Dataset, int]:
        """Recipe and wafers if nothing stands against a start, and how often the tool has been stopped so far."""
        seen = self._ledger.memory().fence
        if fence < seen:
            raise ToolError(f"{self.name} has seen fence {seen}; {fence} is older", fix="the run was taken over: stop")
        if self._latched or not self._connected or self._state is not ToolState.CONFIGURED or self._recipe is None:
            raise ToolError(f"{self.name} is {self.state}, not configured", fix="configure it with the recipe first")
        if self._recipe.content_hash != recipe_hash:
            raise ToolError(
                f"{self.name} holds recipe {self._recipe.content_hash[:12]}, not {recipe_hash[:12]}",
                fix="configure it with the recipe that was approved",
            )
        if self._wafer is None:
            raise ToolError(f"{self.name} has no wafers loaded", fix="await tool.load(wafers)")
        return self._recipe, self._wafer, self._stops

    async def fence(self, fence: int) -> None:
        """Refuse every start with a fence older than *fence* from now on."""
        self._ledger.raise_fence(fence)

    async def pause(self) -> None:
        """Hold the run where it is."""
        with self._guard:
            if self._state is not ToolState.RUNNING or self._execution is None:
                raise ToolError(f"{self.name} is {self.state}: nothing to pause")
            self._execution.hold()
            self._state = ToolState.PAUSED
        self._ledger.note("pause", self._execution.run_id)

    async def resume(self) -> None:
        """Go on with a run that is held."""
        with self._guard:
            if self._state is not ToolState.PAUSED or self._execution is None:
                raise ToolError(f"{self.name} is {self.state}: nothing to resume")
            self._state = ToolState.RUNNING
            self._execution.go_on()
        self._ledger.note("resume", self._execution.run_id)

    async def stop(self, emergency: bool = False) -> None:
        """End the run now and go to the process's safe state; an emergency stop latches until :meth:`reset`."""
        self.stop_now(emergency)

    def stop_now(self, emergency: bool = False, reason: str = "") -> None:
        """The same from any thread: the equipment is safe, and the ledger says so, when this returns."""
        with self._guard:
            execution, running = self._execution, self.running
            self._stops += 1
            kind = "emergency stop" if emergency else "stopped"
            said = f"{kind}{f' ({reason})' if reason else ''}; safe state: {self._chapter.safe_state}"
            if running and execution is not None:
                execution.halt(said)
            if emergency:
                self._latched, self._state = True, ToolState.EMERGENCY
            elif running:
                self._state = ToolState.STOPPED
            self._ledger.stop(execution.run_id if running and execution else None, said, emergency=emergency)
        self._bell.ring()

    async def reset(self) -> None:
        """Release a latched emergency stop; where none is, nothing changes."""
        with self._guard:
            if self.running:
                return
            self._ledger.reset()
            self._latched, self._state = False, ToolState.IDLE

    async def step(self, samples: int) -> int:
        """Let a stepped run make *samples* more and wait until it has; returns how many it has made in all."""
        with self._guard:
            execution = self._execution
            if execution is None or self._state is not ToolState.RUNNING:
                raise ToolError(f"{self.name} is {self.state}: nothing to step", fix="start a run first")
            target = execution.grant(samples)
        while True:
            count = self._bell.count
            if execution.rested >= target or execution.closed.is_set():
                return execution.made
            await self._bell.heard(count)

    def _require_free(self, what: str) -> None:
        if self._latched or not self._connected or self.running:
            raise ToolError(
                f"{self.name} is {self.state} and cannot {what}",
                fix="reset it first" if self._latched else "connect it, or wait for the run to end",
            )

    def _changed(self) -> None:
        with self._guard:
            execution = self._execution
            if execution is not None and execution.ended and self.running:
                entry = self._ledger.entry(execution.run_id)
                done = entry is not None and entry.state is LedgerState.DONE
                self._state = ToolState.DONE if done else ToolState.STOPPED
        self._bell.ring()

    def _crashed(self, reason: str) -> None:
        if self._crash is not None:
            self._crash()
        with self._guard:
            if self._execution is not None:
                self._ledger.finish(self._execution.run_id, LedgerState.INTERRUPTED, reason)
            self._connected, self._state = False, ToolState.IDLE
