"""The condition of simulated equipment: how it was installed, how it has been calibrated, and its injected faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from labkit.core.errors import Corrupted, LabkitError, ToolError
from labkit.core.process import Condition, Process
from labkit.core.recipe import Recipe
from labkit.core.tool import TOOL_FAULTS, Fault
from labkit.devices.ledger_schema import Memory

LOST_FRACTION = 0.1
"""Part of a run whose samples a ``lost_telemetry`` fault loses."""


@dataclass(frozen=True)
class Mishap:
    """A fault of the tool itself during one run: its kind, one of ``TOOL_FAULTS``, and the samples (first, beyond the
    last) that it strikes; hang and crash strike from the first on."""

    kind: str
    first: int
    beyond: int


class Equipment:
    """What is true of a simulated tool; the judge has no access to it.

    Parameters
    ----------
    process : Process
        The chapter whose equipment it is.
    installed : Condition
        How it departed from nominal on its first day.
    memory : Memory
        What its ledger remembers.
    """

    def __init__(self, process: Process, installed: Condition, memory: Memory) -> None:
        self._process = process
        try:
            kept = memory.condition
            self._condition = installed if kept is None else process.condition_type.model_validate(kept)
            self._faults = [Fault.model_validate(fault) for fault in memory.faults]
        except ValidationError:
            raise Corrupted(
                f"what a {process.name} tool remembers of its faults and condition cannot be read",
                fix="restore its ledger from a backup, or move it away: the tool then starts as new",
            ) from None

    def document(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Faults and condition as plain JSON."""
        return [fault.model_dump(mode="json") for fault in self._faults], self._condition.model_dump(mode="json")

    def inject(self, fault: Fault) -> None:
        """Add *fault*; several add up."""
        path = self._path_of(fault)
        if path is None:
            if not 0.0 <= fault.magnitude <= 1.0:
                raise ToolError(
                    f"{fault.mode} at {fault.magnitude} of the run", allowed="a fraction of the run, 0 to 1"
                )
        else:
            _shifted(self._condition, path, 0.0)
            _shifted(self._condition, path, fault.magnitude)
        self._faults = [*self._faults, fault]

    def clear(self) -> None:
        """Take all injected faults back."""
        self._faults = []

    def calibrate(self, path: str, run_number: int) -> float:
        """Put the field at *path* back to nominal; returns how far it was off at *run_number*."""
        try:
            nominal = self._process.condition_type().value(path)
        except LabkitError as error:
            raise ToolError(error.what, allowed=error.allowed) from None
        found = self.at(run_number).value(path) - nominal
        self._condition = _shifted(self._condition, path, nominal - self._condition.value(path))
        self._faults = [fault for fault in self._faults if self._path_of(fault) != path]
        return found

    def at(self, run_number: int) -> Condition:
        """True condition at the tool's *run_number*."""
        condition = self._condition
        for fault in self._faults:
            path, shift = self._path_of(fault), fault.shift_at(run_number)
            if shift is not None and path is not None:
                condition = _shifted(condition, path, shift)
        return condition

    def active(self, run_number: int) -> list[Fault]:
        """Injected faults that are there at *run_number*."""
        return [fault for fault in self._faults if fault.shift_at(run_number) is not None]

    def mishaps(self, run_number: int, samples: int) -> list[Mishap]:
        """Faults of the tool itself in the *samples* samples of run *run_number*."""
        found = []
        for fault in self.active(run_number):
            if self._path_of(fault) is None:
                fraction = min(max(fault.shift_at(run_number) or 0.0, 0.0), 1.0)
                first = int(fraction * samples)
                found.append(Mishap(str(fault.mode), first, first + max(1, int(LOST_FRACTION * samples))))
        return found

    def _path_of(self, fault: Fault) -> str | None:
        """The condition field that *fault* moves; None for a fault of the tool itself."""
        if (fault.mode is None) == (fault.path is None):
            raise ToolError("a fault needs either a mode or a path")
        if fault.path is not None:
            return fault.path
        modes = {mode.name: mode.path for mode in self._process.fault_modes}
        if fault.mode in modes:
            return modes[fault.mode]
        if fault.mode in TOOL_FAULTS:
            return None
        raise ToolError(
            f"{self._process.name} has no fault mode {fault.mode!r}", allowed=", ".join([*modes, *TOOL_FAULTS])
        )


def _shifted(condition: Condition, path: str, amount: float) -> Condition:
    try:
        return condition.shifted(path, amount)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise ToolError(
            f"{path} shifted by {amount:g} is no state the equipment can be in", allowed=detail["msg"]
        ) from None
    except LabkitError as error:
        raise ToolError(error.what, allowed=error.allowed, fix=error.fix) from None


def stream(seed: int, run_number: int, purpose: int) -> int:
    """The seed of one *purpose* (1: the run's noise and scatter, 2: its metrology) of a tool's *run_number*."""
    return int(np.random.SeedSequence((seed, run_number, purpose)).generate_state(1)[0])


def can_run(process: Process, recipe: Recipe) -> bool:
    """Whether equipment of *process* can follow *recipe*."""
    return recipe.process == process.name and not any(finding.blocking for finding in process.findings(recipe))


def require_process(tool: str, process: str, recipe_process: str) -> None:
    """Raise ToolError if a recipe of *recipe_process* does not belong on *tool*."""
    if recipe_process != process:
        raise ToolError(f"{tool} is a {process} tool and cannot run a {recipe_process} recipe")


def capabilities(process: str) -> frozenset[str]:
    """What a simulated tool of *process* can do beyond the contract."""
    return frozenset({"simulate", "pause", "faults", "metrology", f"process:{process}"})
