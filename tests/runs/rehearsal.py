"""A rehearsal: batches on a simulated tool, predicted, judged and learned from as a lab would, but without a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.core.tool import Fault
from labkit.devices.background import wait
from labkit.devices.simulated import SimulatedTool
from labkit.runs.conclude import Outcome
from labkit.runs.judge import Charts, ChartState, Judgement, fault_signatures, judge
from labkit.runs.learn import Correction, lesson, steer
from labkit.runs.predict import Estimate, History, correct, settings_of
from labkit.runs.watch import telemetry_dataset

QUALIFICATION = 10
"""Runs that a baseline is frozen from."""
FALSE_ALARM_RATE = 0.002
"""Stated share of healthy runs that are flagged, over all charts of a tool."""

Tampering = Callable[[int, dict[str, float]], dict[str, float]]
"""Changes the measured indicators of a run, given its number."""


@dataclass(frozen=True)
class Batch:
    """One run and what was made of it."""

    number: int
    recipe: Recipe
    physics: Mapping[str, float]
    estimates: tuple[Estimate, ...]
    measured: Mapping[str, float]
    judgement: Judgement
    state: ChartState
    correction: Correction | None

    @property
    def flagged(self) -> bool:
        """Whether a chart signalled."""
        return self.judgement.verdict == "anomaly"

    @property
    def named(self) -> str:
        """The diagnosis' verdict, empty without one."""
        return "" if self.judgement.diagnosis is None else self.judgement.diagnosis.verdict


class Physics:
    """Expected indicators and fault signatures of recipes of one process, computed once each."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._wafers: dict[str, xr.Dataset] = {}
        self._expected: dict[str, dict[str, float]] = {}
        self._signatures: dict[tuple[str, str, float], dict[str, float]] = {}

    def wafers(self, recipe: Recipe) -> xr.Dataset:
        """A full load for *recipe*."""
        key = recipe.content_hash
        if key not in self._wafers:
            self._wafers[key] = self.process.incoming_wafers(recipe)
        return self._wafers[key]

    def expected(self, recipe: Recipe) -> dict[str, float]:
        """Noise-free indicators of *recipe* on a nominal tool."""
        key = recipe.content_hash
        if key not in self._expected:
            self._expected[key] = self.process.expected(recipe, self.wafers(recipe))
        return self._expected[key]

    def signatures(self, recipe: Recipe, sizes: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Signatures of the faults in *sizes* for *recipe*."""
        keys = {fault: (recipe.content_hash, fault, size) for fault, size in sizes.items()}
        wanted = {fault: sizes[fault] for fault, key in keys.items() if key not in self._signatures}
        found = fault_signatures(self.process, recipe, self.wafers(recipe), self.expected(recipe), wanted)
        self._signatures |= {keys[fault]: signature for fault, signature in found.items()}
        return {fault: self._signatures[key] for fault, key in keys.items()}


@dataclass
class Rehearsal:
    """One tool's life: its history, charts and controller between batches.

    The baseline is frozen after *qualification* batches, and the charts start then; *predicting* and *steering* switch
    off what a test does not look at, to save time.
    """

    physics: Physics
    tool: SimulatedTool
    recipe: Recipe
    qualification: int = QUALIFICATION
    false_alarm_rate: float = FALSE_ALARM_RATE
    predicting: bool = True
    steering: bool = False
    charts: Charts | None = None
    state: ChartState = field(default_factory=ChartState)
    history: History = field(default_factory=History)
    controller: Mapping[str, Any] | None = None
    batches: list[Batch] = field(default_factory=list)

    @classmethod
    def of(
        cls, physics: Physics, *, seed: int, faults: tuple[Fault, ...] = (), condition: Any = None, **options: Any
    ) -> Rehearsal:
        """A new tool of *physics*' process with its default recipe."""
        tool = SimulatedTool("rehearsed", physics.process, seed=seed, condition=condition)
        for fault in faults:
            tool.inject(fault)
        return cls(physics, tool, physics.process.example_recipes()[0], **options)

    def play(self, batches: int, tamper: Tampering = lambda number, measured: measured) -> list[Batch]:
        """Run *batches* more; returns those."""
        return [self._batch(tamper) for _ in range(batches)]

    def _batch(self, tamper: Tampering) -> Batch:
        process, recipe, number = self.physics.process, self.recipe, len(self.batches) + 1
        wafers, physics = self.physics.wafers(recipe), self.physics.expected(recipe)
        estimates = correct(process, recipe, physics, self.history, 0.95) if self.predicting else ()
        outcome = self._carried_out(wafers, number)
        measured = tamper(number, process.summarise(recipe, outcome.measured, outcome.telemetry))
        judgement, self.state = judge(
            process,
            recipe,
            measured,
            physics,
            process.targets(recipe),
            self.charts,
            self.state,
            lambda sizes: self.physics.signatures(recipe, sizes),
        )
        correction = self._learn(judgement, physics)
        batch = Batch(number, recipe, physics, estimates, measured, judgement, self.state, correction)
        self.batches.append(batch)
        if number == self.qualification and self.charts is None:
            self.qualify()
        return batch

    def _carried_out(self, wafers: xr.Dataset, number: int) -> Outcome:
        run, tool = f"run {number}", self.tool

        async def session() -> Outcome:
            await tool.connect()
            await tool.configure(self.recipe)
            await tool.load(wafers)
            await tool.start(run, self.recipe.content_hash, number)
            blocks = [block.telemetry async for block in tool.telemetry(run)]
            telemetry = telemetry_dataset(self.physics.process, blocks)
            outcome = Outcome(telemetry, await tool.unload(run), await tool.measure(run))
            await tool.release(run)
            return outcome

        return wait(session())

    def _learn(self, judgement: Judgement, physics: Mapping[str, float]) -> Correction | None:
        process, recipe = self.physics.process, self.recipe
        taught = lesson(process, recipe, judgement)
        if not taught.excluded:
            residuals = {
                i.name: (*self.history.residuals.get(i.name, ()), taught.outputs.get(i.name, float("nan")))
                for i in process.indicators
            }
            self.history = History((*self.history.inputs, settings_of(process, recipe)), residuals)
        if not self.steering:
            return None
        self.controller, correction = steer(
            process, recipe, self.physics.wafers(recipe), judgement, physics, self.controller
        )
        return correction

    def qualify(self) -> None:
        """Freeze the baseline from all batches so far and start the charts."""
        process = self.physics.process
        residuals = {
            i.name: [b.judgement.residuals.get(i.name, float("nan")) for b in self.batches] for i in process.indicators
        }
        self.charts = Charts.design(process, residuals, self.false_alarm_rate)
        self.state = ChartState()


def residual_table(batches: list[Batch]) -> np.ndarray:
    """Residuals of *batches*, shape (batch, indicator)."""
    return np.array([list(b.judgement.residuals.values()) for b in batches])


@dataclass(frozen=True)
class Called:
    """What the judge called a departure: runs until the first alarm (``None`` if never), verdict then and two runs
    on."""

    delay: int | None
    first: str
    settled: str


def call(
    physics: Physics,
    charts: Charts,
    *,
    seed: int,
    faults: tuple[Fault, ...],
    batches: int,
    tamper: Tampering = lambda number, measured: measured,
) -> Called:
    """Play up to *batches* on a tool with *faults* from its first run on, judged by *charts*, to two runs past the
    alarm."""
    life = Rehearsal.of(physics, seed=seed, faults=faults, predicting=False, charts=charts)
    flagged: list[Batch] = []
    while len(life.batches) < batches and len(flagged) < 3:
        flagged += [b for b in life.play(1, tamper) if b.flagged]
    if not flagged:
        return Called(None, "healthy", "healthy")
    return Called(flagged[0].number, flagged[0].named, flagged[-1].named)
