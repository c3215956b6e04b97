"""What a tool's ledger still has of its runs: entries, telemetry as it comes, wafers and metrology."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from labkit.core.errors import ToolError
from labkit.core.tool import Block, LedgerEntry, LedgerState
from labkit.core.wire import unpack_dataset, unpack_telemetry
from labkit.devices.bell import Bell
from labkit.devices.ledger import Ledger

if TYPE_CHECKING:
    import xarray as xr

    from labkit.devices.execution import Execution

_CLOSING_S = 60.0
"""How long the wafers of a stopped run may take to be worked out, s."""


class KeptRuns:
    """The part of a tool that answers from its ledger, whatever the equipment is doing."""

    _execution: Execution | None = None

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name = name
        self._ledger = ledger
        self._bell = Bell()

    async def ledger(self, run_id: str) -> LedgerEntry | None:
        """What the durable ledger says about *run_id*; None if the tool never started it."""
        return self._ledger.entry(run_id)

    async def telemetry(self, run_id: str | None = None, after: int = 0) -> AsyncIterator[Block]:
        """Blocks of a run (default: the present one) beyond *after*, to its end; acknowledged ones are gone."""
        async for sequence, packed in self.packed_telemetry(run_id, after):
            yield Block(sequence, unpack_telemetry(packed))

    async def packed_telemetry(
        self, run_id: str | None = None, after: int = 0
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """The same as (sequence, packed telemetry)."""
        if run_id is None:
            if self._execution is None:
                raise ToolError(f"{self.name} has no run", fix="start one first, or say which run")
            run_id = self._execution.run_id
        self._entry(run_id)
        while True:
            count = self._bell.count
            closed = self._ledger.closed(run_id)
            blocks = self._ledger.blocks(run_id, after)
            for after, packed in blocks:
                yield after, packed
            if blocks:
                continue
            if closed:
                return
            await self._bell.heard(count)

    async def acknowledge(self, run_id: str, sequence: int) -> None:
        """Forget telemetry of *run_id* up to *sequence*; refused beyond what there is."""
        entry = self._entry(run_id)
        if not 0 <= sequence <= entry.last_sequence:
            raise ToolError(f"{run_id} has no block {sequence}", allowed=f"0 to {entry.last_sequence}")
        if sequence > entry.acknowledged:
            self._ledger.acknowledge(run_id, sequence)

    async def unload(self, run_id: str) -> xr.Dataset:
        """The wafers as *run_id* left them, exact; refused while it runs."""
        return unpack_dataset((await self.packed_outcome(run_id))[0])

    async def measure(self, run_id: str) -> xr.Dataset:
        """What this tool's metrology reports for *run_id*."""
        return unpack_dataset((await self.packed_outcome(run_id))[1])

    async def packed_outcome(self, run_id: str) -> tuple[bytes, bytes]:
        """Packed wafers and packed metrology of *run_id*, once they are known."""
        entry = self._entry(run_id)
        if entry.state is LedgerState.RUNNING:
            raise ToolError(f"{self.name} is still running {run_id}", fix="wait for its end, or stop it")
        if entry.released:
            raise ToolError(f"{run_id} has been released", fix="its results are where they were kept before that")
        while not self._ledger.closed(run_id):
            count = self._bell.count
            if not self._ledger.closed(run_id):
                await self._bell.heard(count, _CLOSING_S)
        outcome = self._ledger.outcome(run_id)
        if outcome is None:
            raise ToolError(
                f"what {run_id} left in {self.name} is not known: {entry.reason or entry.state}",
                fix="inspect the wafers by hand before the next run",
            )
        return outcome

    async def release(self, run_id: str) -> None:
        """Keep only the ledger entry of *run_id*; refused while it runs."""
        entry = self._entry(run_id)
        if entry.released:
            return
        if not self._ledger.closed(run_id):
            raise ToolError(f"{self.name} is still busy with {run_id}", fix="wait for its end, or stop it")
        self._ledger.release(run_id)
        self._ledger.tidy()

    def executions(self, run_id: str) -> int:
        """How often *run_id* was physically begun: never more than once."""
        return self._ledger.executions(run_id)

    def _entry(self, run_id: str) -> LedgerEntry:
        entry = self._ledger.entry(run_id)
        if entry is None:
            raise ToolError(f"{self.name} did not run {run_id}")
        return entry
