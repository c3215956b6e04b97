"""What a simulated tool says about itself: state, progress, interlocks, what it can do."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.core.tool import ToolState, ToolStatus
from labkit.devices.equipment import can_run, capabilities
from labkit.devices.ledger import Ledger

if TYPE_CHECKING:
    from labkit.devices.execution import Execution


class Reporting:
    """The part of a simulated tool that answers and moves nothing."""

    name: str
    process: str
    _chapter: Process
    _ledger: Ledger
    _guard: threading.RLock
    _connected: bool
    _latched: bool
    _state: ToolState
    _recipe: Recipe | None
    _execution: Execution | None

    @property
    def running(self) -> bool:
        """Whether a run is in progress, moving or held."""
        return self._execution is not None and self._state in (ToolState.RUNNING, ToolState.PAUSED)

    @property
    def state(self) -> ToolState:
        """What the tool is doing now."""
        if not self._connected:
            return ToolState.DISCONNECTED
        return ToolState.EMERGENCY if self._latched else self._state

    async def status(self) -> ToolStatus:
        """State, run and progress at this moment."""
        with self._guard:
            execution, recipe = self._execution, self._recipe
            state, latched = self.state, self._latched
        entry = None if execution is None else self._ledger.entry(execution.run_id)
        trouble = "" if execution is None else execution.trouble
        return ToolStatus(
            tool=self.name,
            state=state,
            run_id=None if entry is None else entry.run_id,
            progress=0.0 if entry is None else entry.delivered / max(entry.samples, 1),
            latched=latched,
            recipe_hash=None if recipe is None else recipe.content_hash,
            reason=trouble or ("" if entry is None else entry.reason),
        )

    async def interlocks(self) -> Mapping[str, bool]:
        """Every interlock of the process and whether it is closed."""
        return dict.fromkeys(self._chapter.interlocks, not self._latched)

    def capabilities(self) -> frozenset[str]:
        """What the handle can do beyond running."""
        return capabilities(self.process)

    def supports(self, recipe: Recipe) -> bool:
        """Whether this tool can run *recipe*."""
        return can_run(self._chapter, recipe)
