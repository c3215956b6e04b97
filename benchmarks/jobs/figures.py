"""The figures of the jobs suite, each a function that measures and returns rows."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "foundation"))
sys.path.insert(0, str(Path(__file__).parent))

from journal import followers, journal_rate
from physics_clock import PhysicsClock

import labkit
from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.core.tool import Clock
from labkit.devices import launch
from labkit.devices.stop_channel import stop_now
from labkit.lab import Lab
from labkit.lab.working import work_in
from labkit.runs import worker

Row = dict[str, Any]


def row(name: str, value: float, unit: str, reference: float, **more: Any) -> Row:
    """A figure beside what was asked for, which it must stay below."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": f"< {reference:g}",
        "ok": value < reference,
        **more,
    }


@contextmanager
def laboratory(*tools: str, mode: str = "process", clocks: dict[str, Clock] | None = None) -> Iterator[Lab]:
    """A new lab with simulated tubes; what it started is ended."""
    before = os.environ.get("LABKIT_TOOLS")
    os.environ["LABKIT_TOOLS"] = mode
    try:
        room = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with room as folder, labkit.open(Path(folder) / "lab") as lab:
            for number, tool in enumerate(tools):
                lab.add_tool(tool, "cvd", seed=number, clock=(clocks or {}).get(tool))
            try:
                yield lab
            finally:
                for there in lab.workers():
                    os.kill(there["pid"], 9)
                for tool in tools:
                    launch.shut_down(lab.workplace.tools.folder_of(tool))
    finally:
        os.environ.pop("LABKIT_TOOLS") if before is None else os.environ.update(LABKIT_TOOLS=before)


@contextmanager
def working(lab: Lab, slots: int = 4) -> Iterator[None]:
    """A worker in a thread of this process."""
    stops: list[Callable[[], None]] = []
    thread = threading.Thread(
        target=work_in, args=(lab,), kwargs={"idle_s": None, "slots": slots, "on_stop": stops.append}, daemon=True
    )
    thread.start()
    while not stops:
        time.sleep(0.01)
    try:
        yield
    finally:
        stops[0]()
        thread.join(60.0)


def submission() -> list[Row]:
    """`lab.submit` on a lab that has a worker and tools that are up, and how long until the run has started."""
    with laboratory("TUBE") as lab:
        recipe = lab.process("cvd").example_recipes()[0]
        for _ in range(3):
            lab.submit(recipe, tool="TUBE").result(120.0)
        handed, started, gates = [], [], []
        for _ in range(20):
            began = time.perf_counter()
            job = lab.submit(recipe, tool="TUBE")
            handed.append(time.perf_counter() - began)
            run = job.result(60.0)
            moves = {move["target"]: move["at"] for move in run.transitions}
            started.append((run.record["started"] - run.record["created"]).total_seconds())
            gates.append((moves["PREFLIGHT"] - run.record["created"]).total_seconds())
            time.sleep(0.1)
    return [
        row("submit, warm", 1e3 * statistics.median(handed), "ms", 50.0, largest_ms=1e3 * max(handed)),
        row(
            "start latency of a waiting worker, to the start at the tool, prediction included",
            1e3 * statistics.median(started),
            "ms",
            150.0,
            largest_ms=1e3 * max(started),
            taken_up_after_ms=1e3 * statistics.median(gates),
        ),
    ]


def durable_overhead() -> list[Row]:
    """What a queued run costs beyond its physics: admission and carrying out, and from submit to result as the caller
    sees it. The tool lives in this process, so that its physics can be told apart."""
    with laboratory("TUBE", mode="inside") as lab:
        recipe = lab.process("cvd").example_recipes()[0]
        clock, busy = PhysicsClock(registry.process("cvd")), _Busy()
        with busy, working(lab, slots=1), clock:
            for _ in range(10):
                lab.submit(recipe, tool="TUBE").result(120.0)
            lab.qualify("TUBE", [run["id"] for run in lab.runs(limit=10)])
            engine, seen = [], []
            for number in range(20):
                clock.spent = busy.spent = 0.0
                began = time.perf_counter()
                lab.submit(recipe, tool="TUBE", lot=f"LOT-{number}").result(60.0)
                seen.append(time.perf_counter() - began - clock.spent)
                while lab.workplace.active:
                    time.sleep(0.001)
                engine.append(busy.spent - clock.spent)
    return [
        row(
            "overhead per durable run: admission, claim and carrying out, less the physics in them",
            1e3 * statistics.median(engine),
            "ms",
            50.0,
            smallest_ms=1e3 * min(engine),
            largest_ms=1e3 * max(engine),
            submit_to_result_less_physics_ms=1e3 * statistics.median(seen),
        )
    ]


class _Busy:
    """Sums the time that a worker in this process spends in its jobs while active."""

    NAMES = ("admit", "claim", "work")

    def __init__(self) -> None:
        self.spent = 0.0

    def __enter__(self) -> None:
        self._original = {name: getattr(worker, name) for name in self.NAMES}
        for name, function in self._original.items():
            setattr(worker, name, self._timed(function))

    def __exit__(self, *_: object) -> None:
        for name, function in self._original.items():
            setattr(worker, name, function)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.spent += time.perf_counter() - began

        return timed


_STUCK = """
import sys, re
print("stuck", flush=True)
re.match(r"(a+)+$", "a" * 64 + "b")
"""


def emergency_stop() -> list[Row]:
    """From the call to the latched safe state, with a full queue, a busy worker and a kernel stuck in a C call."""
    spent = []
    slow = {"TUBE-1": Clock(mode="paced", scale=300.0)}
    with laboratory("TUBE-1", "TUBE-2", clocks=slow) as lab:
        recipe = lab.process("cvd").example_recipes()[0]
        lab.submit_batch([recipe] * 300, tool="TUBE-2")
        tool, folder = lab.tool("TUBE-1"), lab.workplace.tools.folder_of("TUBE-1")
        kernel = subprocess.Popen([sys.executable, "-c", _STUCK], stdout=subprocess.PIPE)
        try:
            for _ in range(25):
                job = lab.submit(recipe, tool="TUBE-1", priority=100)
                while tool.ledger(job.id) is None:
                    time.sleep(0.005)
                spent.append(stop_now(folder, True))
                assert tool.status().latched
                job.result(60.0)
                lab.reset_tool("TUBE-1")
        finally:
            kernel.kill()
            kernel.communicate()
            for waiting in lab.jobs():
                with suppress(LabkitError):
                    lab.job(waiting["run"]).cancel()
    ordered = sorted(spent)
    return [
        row(
            "emergency stop at a running tool, largest of 25",
            1e3 * ordered[-1],
            "ms",
            100.0,
            median_ms=1e3 * statistics.median(spent),
        )
    ]


def thousand_runs() -> list[Row]:
    """1,000 runs queued at once and finished by a worker in this process; its memory after 200 and at the end."""
    with laboratory("TUBE-1", "TUBE-2", mode="inside") as lab:
        recipe = lab.process("cvd").example_recipes()[0]
        memory: dict[int, float] = {}
        with working(lab):
            began = time.perf_counter()
            jobs = [lab.submit(recipe, tool=f"TUBE-{1 + n % 2}") for n in range(1000)]
            handed = time.perf_counter() - began
            while (done := lab.sql("select count(*) as n from runs where state = 'COMPLETED'")["n"][0]) < 1000:
                memory.setdefault(int(done) // 200 * 200, _resident_mb())
                time.sleep(1.0)
        memory[1000] = _resident_mb()
        complete = all(job.state == "COMPLETED" for job in jobs)
    spent = time.perf_counter() - began
    return [
        row(
            "1,000 runs queued and finished: growth of memory from the 200th on",
            memory[1000] - memory.get(200, memory[1000]) if complete else float("inf"),
            "MB",
            50.0,
            seconds=spent,
            submitting_s=handed,
            memory_mb=memory,
        )
    ]


def _resident_mb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024.0


FIGURES: dict[str, Callable[[], list[Row]]] = {
    "submit": submission,
    "overhead": durable_overhead,
    "journal": journal_rate,
    "followers": followers,
    "stop": emergency_stop,
    "thousand": thousand_runs,
}
