"""The figures of the foundation suite, each a function that measures and returns rows."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from catalogue import million_runs, run_folders
from diagnosis import diagnosis_figures
from physics_clock import PhysicsClock
from workload import one_millisecond

import labkit
from labkit.core import registry
from labkit.core.settings import Settings
from labkit.devices.background import wait
from labkit.devices.simulated import SimulatedTool
from labkit.runs.scale_out import cores, dask_client
from labkit.runs.sweep import map_chunks

Row = dict[str, Any]


def row(name: str, value: float, unit: str, reference: float, *, at_least: bool = False, **more: Any) -> Row:
    """A figure beside what was asked for."""
    ok = value >= reference if at_least else value < reference
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": f"{'≥' if at_least else '<'} {reference:g}",
        "ok": ok,
        **more,
    }


def import_time() -> list[Row]:
    """`import labkit` in a fresh interpreter, less the interpreter's own start: median of 11 pairs."""

    def start(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    differences = [start("import labkit") - start("pass") for _ in range(11)]
    return [row("import labkit", statistics.median(differences), "s", 0.1)]


def engine_overhead() -> list[Row]:
    """A run from start to catalogue commit, less the physics it contains (prediction, twin, metrology, indicators)."""
    with tempfile.TemporaryDirectory() as folder, _tools_inside(), labkit.open(Path(folder) / "lab") as lab:
        recipe = lab.process("cvd").example_recipes()[0]
        lab.save_recipe(recipe)
        lab.add_tool("TUBE", "cvd", seed=1)
        for _ in range(10):
            lab.execute(recipe, tool="TUBE", lot=None, progress=False)
        lab.qualify("TUBE", [r["id"] for r in lab.runs(limit=10)])
        clock = PhysicsClock(registry.process("cvd"))
        overheads, totals = [], []
        with clock:
            for n in range(15):
                clock.spent = 0.0
                began = time.perf_counter()
                lab.execute(recipe, tool="TUBE", lot=f"LOT-{n}", progress=False)
                totals.append(time.perf_counter() - began)
                overheads.append(totals[-1] - clock.spent)
    return [
        row(
            "engine overhead per run",
            1e3 * statistics.median(overheads),
            "ms",
            50.0,
            whole_run_ms=1e3 * statistics.median(totals),
            largest_ms=1e3 * max(overheads),
        )
    ]


@contextmanager
def _tools_inside() -> Iterator[None]:
    """Let tools live in this process, so that their physics can be told apart from everything else."""
    before = os.environ.get("LABKIT_TOOLS")
    os.environ["LABKIT_TOOLS"] = "inside"
    try:
        yield
    finally:
        os.environ.pop("LABKIT_TOOLS") if before is None else os.environ.update(LABKIT_TOOLS=before)


def tube_speed() -> list[Row]:
    """The seed recipe (52 minutes at 1 Hz, all channels, 25 wafers) on the simulated tool, against real time."""
    process = registry.process("cvd")
    recipe = process.example_recipes()[0]
    wafer = process.incoming_wafers(recipe)
    tool = SimulatedTool("TUBE", process, seed=1)

    async def once(run: int) -> float:
        await tool.connect()
        await tool.configure(recipe)
        await tool.load(wafer)
        began = time.perf_counter()
        await tool.start(f"run-{run}", recipe.content_hash, run)
        last = 0.0
        async for block in tool.telemetry():
            last = float(block.telemetry["time"][-1])
        await tool.unload(f"run-{run}")
        return last / (time.perf_counter() - began)

    rates = [wait(once(run)) for run in range(1, 12)]
    return [row("tube run against real time", statistics.median(rates), "×", 5000.0, at_least=True, slowest=min(rates))]


def sweep_efficiency() -> list[Row]:
    """10,000 points of a 1 ms function through the sweep's own chunking, on all cores, against points × 1 ms /
    cores."""
    points = [(float(n),) for n in range(10_000)]
    chunk = min(500, len(points) // (16 * cores()))
    chunks = {n: (points[at : at + chunk],) for n, at in enumerate(range(0, len(points), chunk))}
    ideal = len(points) * 1e-3 / cores()
    kept: dict[int, Any] = {}
    began = time.perf_counter()
    with dask_client(Settings(dask="processes")) as client:
        client.wait_for_workers(cores())
        started = time.perf_counter() - began
        began = time.perf_counter()
        map_chunks(client, one_millisecond, chunks, kept.__setitem__)
        spent = time.perf_counter() - began
    complete = sum(len(v) for v in kept.values()) == len(points)
    return [
        row(
            "sweep efficiency, 10,000 × 1 ms",
            ideal / spent if complete else 0.0,
            "1",
            0.8,
            at_least=True,
            cores=cores(),
            start_of_workers_s=started,
            efficiency_with_start=ideal / (spent + started),
        )
    ]


def _in_a_folder(measure: Callable[[Path], list[Row]]) -> Callable[[], list[Row]]:
    def measured() -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            return [{**figure, "reference": f"< {figure['reference']:g}"} for figure in measure(Path(folder))]

    return measured


FIGURES: dict[str, Callable[[], list[Row]]] = {
    "import": import_time,
    "overhead": engine_overhead,
    "tube": tube_speed,
    "sweep": sweep_efficiency,
    "folders": _in_a_folder(run_folders),
    "catalogue": _in_a_folder(million_runs),
    "diagnosis": diagnosis_figures,
}
