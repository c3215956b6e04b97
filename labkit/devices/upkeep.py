"""What is wrong with a simulated tool, and how it is put right: faults, calibration, ground truth."""

from __future__ import annotations

import threading
from typing import Any

from labkit.core.errors import ToolError
from labkit.core.process import Condition
from labkit.core.tool import Fault
from labkit.devices.equipment import Equipment
from labkit.devices.ledger import Ledger
from labkit.devices.truth import TruthLog


class Upkeep:
    """The part of a simulated tool that changes its equipment; every change is in the ledger."""

    name: str
    _ledger: Ledger
    _guard: threading.RLock
    _equipment: Equipment
    _truth: TruthLog

    async def calibrate(self, channel: str) -> float:
        """Return the gain or offset that was corrected on condition field *channel*, now back at nominal."""
        with self._guard:
            found = self._equipment.calibrate(channel, self._ledger.memory().run_count + 1)
            self._remember("calibration", f"{channel}: {found:g}")
        return found

    def inject(self, fault: Fault) -> None:
        """Make the tool depart from nominal as *fault* says, from the next run it touches; several add up."""
        with self._guard:
            self._equipment.inject(fault)
            self._remember("fault injection", fault.model_dump_json(exclude_defaults=True))

    def clear_faults(self) -> None:
        """Take all injected faults back."""
        with self._guard:
            self._equipment.clear()
            self._remember("faults cleared", "")

    def condition_at(self, run_number: int) -> Condition:
        """True condition of the equipment at the tool's *run_number*."""
        return self._equipment.at(run_number)

    def ground_truth(self, run_id: str) -> dict[str, Any]:
        """What really was the matter during *run_id*: for training and tests; the judge has no access to it."""
        found = self._truth.find(run_id)
        if found is None:
            raise ToolError(f"{self.name} did not run {run_id}")
        return found

    def _remember(self, kind: str, detail: str) -> None:
        faults, condition = self._equipment.document()
        self._ledger.remember(kind, detail, faults, condition)
