"""The simulated tool: runs any chapter's twin, with seed, noise, wear and faults on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from labkit.core.errors import Corrupted, ToolError
from labkit.core.process import Condition, Process, Telemetry, Twin
from labkit.core.recipe import Recipe
from labkit.core.tool import Fault, ToolState, ToolStatus

_RUN_STREAM, _METROLOGY_STREAM = 1, 2


class SimulatedTool:
    """A tool that exists only as physics.

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
    memory : Path, optional
        File in which the tool keeps its own run count, faults and ground truth; without it they live in this object.
    block : int
        Telemetry samples per block.
    """

    def __init__(
        self,
        name: str,
        process: Process,
        *,
        seed: int = 0,
        condition: Condition | None = None,
        memory: Path | None = None,
        block: int = 600,
    ) -> None:
        self.name = name
        self.process = process.name
        self._chapter = process
        self.seed = seed
        self._condition = condition or process.condition_type()
        self._memory = memory
        self._block = block
        self._state = ToolState.DISCONNECTED
        self._recipe: Recipe | None = None
        self._wafer: xr.Dataset | None = None
        self._twin: Twin | None = None
        self._run_id: str | None = None
        self._fence = 0
        self._latched = False
        self._resumed = asyncio.Event()
        self._run_count = 0
        self._faults: list[Fault] = []
        self._truth: dict[str, dict[str, Any]] = {}
        self._recall()

    def __repr__(self) -> str:
        return f"<simulated tool {self.name} ({self.process}): {self._state}, {self._run_count} runs>"

    async def connect(self) -> None:
        """Make the tool ready; a latched emergency stop stays latched."""
        if self._state is ToolState.DISCONNECTED:
            self._state = ToolState.EMERGENCY if self._latched else ToolState.IDLE

    async def disconnect(self) -> None:
        """Let go of the tool; refused while it runs."""
        if self._state in (ToolState.RUNNING, ToolState.PAUSED):
            raise ToolError(f"{self.name} is running {self._run_id}", fix="stop it first")
        self._state = ToolState.DISCONNECTED

    async def configure(self, recipe: Recipe) -> None:
        """Load *recipe*; refused while running, latched, or if the process differs."""
        if self._state not in (ToolState.IDLE, ToolState.CONFIGURED, ToolState.DONE, ToolState.STOPPED):
            raise ToolError(
                f"{self.name} is {self._state} and cannot be configured",
                fix="reset it first" if self._latched else "connect it, or wait for the run to end",
            )
        if not self.supports(recipe):
            raise ToolError(f"{self.name} is a {self.process} tool and cannot run a {recipe.process} recipe")
        self._recall()
        self._recipe = recipe
        self._state = ToolState.CONFIGURED

    async def load(self, wafer: xr.Dataset) -> None:
        """Put *wafer* into the tool (a simulated tool needs to know what it processes)."""
        self._wafer = wafer

    async def start(self, run_id: str, recipe_hash: str, fence: int) -> None:
        """Start the configured recipe as *run_id*.

        The same *run_id* again changes nothing. Raises ToolError for an older fence, another recipe than the one
        configured, an open interlock, or no wafers.
        """
        if run_id == self._run_id:
            return
        if fence < self._fence:
            raise ToolError(
                f"{self.name} has seen fence {self._fence}; {fence} is older", fix="the run was taken over: stop"
            )
        if self._state is not ToolState.CONFIGURED or self._recipe is None:
            raise ToolError(f"{self.name} is {self._state}, not configured", fix="configure it with the recipe first")
        if self._recipe.content_hash != recipe_hash:
            raise ToolError(
                f"{self.name} holds recipe {self._recipe.content_hash[:12]}, not {recipe_hash[:12]}",
                fix="configure it with the recipe that was approved",
            )
        if self._wafer is None:
            raise ToolError(f"{self.name} has no wafers loaded", fix="await tool.load(wafers)")
        open_interlocks = [name for name, closed in (await self.interlocks()).items() if not closed]
        if open_interlocks:
            raise ToolError(f"{self.name}: interlock open: {', '.join(open_interlocks)}")
        self._run_count += 1
        condition = self.condition_at(self._run_count)
        self._twin = self._chapter.twin(self._recipe, self._wafer, condition=condition, seed=self._stream(_RUN_STREAM))
        self._run_id, self._fence, self._state = run_id, fence, ToolState.RUNNING
        self._truth[run_id] = {
            "run_number": self._run_count,
            "condition": condition.model_dump(mode="json"),
            "faults": [f.model_dump(mode="json") for f in self._faults if f.shift_at(self._run_count) is not None],
        }
        self._resumed.set()
        self._log_truth(run_id)
        self._remember()

    async def telemetry(self) -> AsyncIterator[Telemetry]:
        """Blocks of telemetry of the current run until it ends or is stopped."""
        if self._twin is None:
            raise ToolError(f"{self.name} has no run", fix="start one first")
        twin = self._twin
        while self._state in (ToolState.RUNNING, ToolState.PAUSED) and twin.done < twin.samples:
            await self._resumed.wait()
            if self._state is not ToolState.RUNNING:
                continue
            block = twin.advance(min(self._block, twin.samples - twin.done))
            if twin.done >= twin.samples:
                self._state = ToolState.DONE
            yield block
            await asyncio.sleep(0)

    async def pause(self) -> None:
        """Hold the run where it is."""
        if self._state is not ToolState.RUNNING:
            raise ToolError(f"{self.name} is {self._state}: nothing to pause")
        self._state = ToolState.PAUSED
        self._resumed.clear()

    async def resume(self) -> None:
        """Continue a paused run."""
        if self._state is not ToolState.PAUSED:
            raise ToolError(f"{self.name} is {self._state}: nothing to resume")
        self._state = ToolState.RUNNING
        self._resumed.set()

    async def stop(self, emergency: bool = False) -> None:
        """End the run now and go to the process's safe state; an emergency stop latches until :meth:`reset`."""
        if emergency:
            self._latched = True
            self._state = ToolState.EMERGENCY
        elif self._state in (ToolState.RUNNING, ToolState.PAUSED):
            self._state = ToolState.STOPPED
        self._resumed.set()
        self._remember()

    async def reset(self) -> None:
        """Release a latched emergency stop."""
        self._latched = False
        self._state = ToolState.IDLE
        self._remember()

    async def status(self) -> ToolStatus:
        """State, run and progress at this moment."""
        progress = 0.0 if self._twin is None else self._twin.done / max(self._twin.samples, 1)
        return ToolStatus(
            tool=self.name,
            state=self._state,
            run_id=self._run_id,
            progress=progress,
            latched=self._latched,
            recipe_hash=None if self._recipe is None else self._recipe.content_hash,
        )

    async def unload(self) -> xr.Dataset:
        """The wafers as they really are now, exact; refused while running."""
        if self._twin is None or self._state is ToolState.RUNNING:
            raise ToolError(f"{self.name} has no finished run to unload")
        self._wafer = None
        return self._twin.finish()

    async def measure(self, truth: xr.Dataset) -> xr.Dataset:
        """What this tool's metrology reports for *truth*."""
        return self._chapter.measure(truth, seed=self._stream(_METROLOGY_STREAM))

    async def calibrate(self, channel: str) -> float:
        """Return the gain or offset that was corrected on condition field *channel*, now back at nominal."""
        nominal = self._chapter.condition_type().value(channel)
        self._recall()
        found = self.condition_at(self._run_count + 1).value(channel) - nominal
        self._condition = self._condition.shifted(channel, nominal - self._condition.value(channel))
        self._faults = [f for f in self._faults if self._path_of(f) != channel]
        self._remember()
        return found

    async def interlocks(self) -> Mapping[str, bool]:
        """Every interlock of the process and whether it is closed."""
        return dict.fromkeys(self._chapter.interlocks, not self._latched)

    def capabilities(self) -> frozenset[str]:
        """What the handle can do beyond running."""
        return frozenset({"simulate", "pause", "faults", "metrology", f"process:{self.process}"})

    def supports(self, recipe: Recipe) -> bool:
        """Whether this tool can run *recipe*."""
        return recipe.process == self.process and not any(f.blocking for f in self._chapter.findings(recipe))

    def inject(self, fault: Fault) -> None:
        """Make the tool depart from nominal as *fault* says; several add up."""
        self._condition.shifted(self._path_of(fault), 0.0)
        self._recall()
        self._faults.append(fault)
        self._remember()

    def clear_faults(self) -> None:
        """Take all injected faults back."""
        self._recall()
        self._faults = []
        self._remember()

    def condition_at(self, run_number: int) -> Condition:
        """True condition of the equipment at the tool's *run_number*."""
        condition = self._condition
        for fault in self._faults:
            shift = fault.shift_at(run_number)
            if shift is not None:
                condition = condition.shifted(self._path_of(fault), shift)
        return condition

    def ground_truth(self, run_id: str) -> dict[str, Any]:
        """What really was the matter during *run_id*: for training and tests; the judge has no access to it."""
        if run_id in self._truth:
            return self._truth[run_id]
        if self._memory is not None and self._truth_log.exists():
            for line in self._truth_log.read_text(encoding="utf-8").splitlines():
                kept = json.loads(line)
                if kept["run"] == run_id:
                    return dict(kept["truth"])
        raise ToolError(f"{self.name} did not run {run_id}")

    def _path_of(self, fault: Fault) -> str:
        if (fault.mode is None) == (fault.path is None):
            raise ToolError("a fault needs either a mode or a path")
        if fault.path is not None:
            return fault.path
        modes = {mode.name: mode.path for mode in self._chapter.fault_modes}
        if fault.mode not in modes:
            raise ToolError(f"{self.process} has no fault mode {fault.mode!r}", allowed=", ".join(modes))
        return modes[fault.mode]

    def _stream(self, purpose: int) -> int:
        return int(np.random.SeedSequence((self.seed, self._run_count, purpose)).generate_state(1)[0])

    @property
    def _truth_log(self) -> Path:
        assert self._memory is not None
        return self._memory.with_suffix(".truth.jsonl")

    def _log_truth(self, run_id: str) -> None:
        if self._memory is None:
            return
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        with self._truth_log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"run": run_id, "truth": self._truth.pop(run_id)}) + "\n")

    def _recall(self) -> None:
        """Take over what the tool remembers: another handle, in this process or another, may have run it since."""
        if self._memory is None or not self._memory.exists():
            return
        try:
            kept = json.loads(self._memory.read_text(encoding="utf-8"))
            self._run_count, self._latched, self._fence = kept["run_count"], kept["latched"], kept["fence"]
            self._faults = [Fault.model_validate(f) for f in kept["faults"]]
            self._condition = self._chapter.condition_type.model_validate(kept["condition"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Corrupted(
                f"{self._memory}: what {self.name} remembers cannot be read ({type(error).__name__})",
                fix="restore the file from a backup, or remove it: the tool then starts as new",
            ) from None

    def _remember(self) -> None:
        if self._memory is None:
            return
        kept = {
            "run_count": self._run_count,
            "latched": self._latched,
            "fence": self._fence,
            "faults": [f.model_dump(mode="json") for f in self._faults],
            "condition": self._condition.model_dump(mode="json"),
        }
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        aside = self._memory.with_suffix(".new")
        aside.write_text(json.dumps(kept), encoding="utf-8")
        aside.replace(self._memory)
