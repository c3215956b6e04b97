"""Watching a run: the tool is configured, started and followed to its end; telemetry, wafers and metrology come
back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labkit.core.errors import ToolError
from labkit.core.process import Process, Telemetry
from labkit.core.recipe import Recipe
from labkit.core.tool import ToolState
from labkit.devices.background import wait
from labkit.devices.simulated import SimulatedTool

if TYPE_CHECKING:
    import xarray as xr

Report = Callable[[float, str], None]
"""Called with progress, 0 to 100, and what is being done."""


@dataclass(frozen=True)
class Outcome:
    """What a tool gave back for a run: telemetry, metrology, the wafers themselves, and how long the physics took,
    s."""

    telemetry: xr.Dataset
    measured: xr.Dataset
    wafer: xr.Dataset
    physics_s: float


def carry_out(
    process: Process,
    recipe: Recipe,
    tool: SimulatedTool,
    wafer: xr.Dataset,
    run_id: str,
    fence: int,
    report: Report = lambda percent, step: None,
) -> Outcome:
    """Run the tool and watch it to the end; its telemetry, its metrology and the wafers.

    Raises
    ------
    ToolError
        If the tool was stopped before its end.
    """
    began = time.perf_counter()

    async def session() -> tuple[list[Telemetry], xr.Dataset, xr.Dataset]:
        await tool.connect()
        await tool.configure(recipe)
        await tool.load(wafer)
        await tool.start(run_id, recipe.content_hash, fence)
        blocks = []
        async for block in tool.telemetry():
            blocks.append(block)
            status = await tool.status()
            report(5.0 + 90.0 * status.progress, "running")
        status = await tool.status()
        if status.state is not ToolState.DONE:
            raise ToolError(
                f"{tool.name} is {status.state} after {100 * status.progress:.0f} % of run {run_id}",
                fix="reset the tool and look at the wafers before the next run" if status.latched else None,
            )
        truth = await tool.unload()
        return blocks, truth, await tool.measure(truth)

    blocks, truth, measured = wait(session())
    return Outcome(telemetry_dataset(process, blocks), measured, truth, time.perf_counter() - began)


def telemetry_dataset(process: Process, blocks: list[Telemetry]) -> xr.Dataset:
    """Telemetry blocks as one Dataset with dim ``time`` (s since start) and units on every channel."""
    import xarray as xr

    joined = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    time_s = joined.pop("time")
    units = {channel.name: channel for channel in process.channels}
    variables = {
        name: ("time", values, {"units": units[name].units, "long_name": units[name].description})
        for name, values in joined.items()
        if name in units
    }
    return xr.Dataset(variables, coords={"time": ("time", time_s, {"units": "s", "long_name": "time since start"})})
