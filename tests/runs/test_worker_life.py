"""When a worker comes and goes: on demand, when idle, when told to, killed; one at a time on a lab of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

import labkit
from labkit.core.errors import StoreError
from labkit.core.identity import Principal
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.core.tool import Clock
from labkit.lab import Lab, load_recipe
from labkit.lab.job import Job
from labkit.runs import hiring
from labkit.runs.worker import sole_worker
from tests.runs.crew import Crew, crew_of, until

ANNA = Principal("anna")
STEPPED = Clock(mode="stepped")


@pytest.fixture(scope="module")
def oxide() -> Recipe:
    return load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("LABKIT_STALE_S", "600")
    with labkit.open(tmp_path / "lab", principal=ANNA) as opened:
        opened.add_tool("TUBE", "cvd", seed=1)
        yield opened


@pytest.fixture
def crew(lab: Lab) -> Iterator[Crew]:
    with crew_of(lab) as found:
        yield found


def stepped_tools(lab: Lab, count: int) -> list[str]:
    return [lab.add_tool(f"STEPS-{n}", "cvd", seed=n, clock=STEPPED).name for n in range(1, count + 1)]


def at_work(lab: Lab, jobs: list[Job]) -> list[Job]:
    """The jobs whose tools have been started and are not at the end."""
    return [job for job in jobs if job.state == "RUNNING" and lab.tool(str(job.run.tool)).executions(job.id)]


def test_a_lab_has_one_worker_and_a_second_is_refused_in_one_line(lab: Lab, crew: Crew) -> None:
    with pytest.raises(StoreError, match="has a worker already") as refused, sole_worker(lab.workplace, wait_s=0.1):
        pass
    assert "\n" not in str(refused.value)
    assert not hiring.ensure_worker(lab.workplace)


def test_a_worker_without_work_goes_home_and_is_not_listed_any_more(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="TUBE")
    crew.start(idle_s=0.3)
    until(lambda: len(lab.workers()) == 1, "the worker to be listed")
    until(lambda: not crew.working, "the worker to go home")
    assert job.state == "COMPLETED"
    assert len(lab.workers()) == 0


def test_a_worker_stays_while_something_is_due_later(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="TUBE", not_before=timedelta(seconds=3))
    crew.start(idle_s=0.1)
    assert job.result(60).state == "COMPLETED"
    until(lambda: not crew.working, "the worker to go home")


def test_a_worker_stays_until_what_cannot_start_has_expired(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.set_tool_state("TUBE", "unscheduled_down", "leak")
    job = lab.submit(oxide, tool="TUBE", expires=timedelta(seconds=4))
    crew.start(idle_s=0.1)
    assert job.result(60).state == "CANCELLED"
    until(lambda: not crew.working, "the worker to go home")


def test_a_worker_stays_for_a_schedule_and_hands_its_template_in(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.save_template("often", oxide, tool="TUBE")
    lab.schedule("every second", cron="* * * * * *", template="often", lot="N-{number}")
    crew.start(idle_s=0.1)
    until(lambda: len(lab.runs(state="COMPLETED")) >= 2, "two runs of the schedule")
    lab.disable_schedule("every second")
    until(lambda: not crew.working, "the worker to go home")
    made = lab.runs(sort="oldest")
    assert [run["lot"] for run in made] == [f"N-{n}" for n in range(1, len(made) + 1)]


def test_a_worker_that_is_asked_to_stop_finishes_what_it_has_and_leaves_the_rest(
    lab: Lab, crew: Crew, oxide: Recipe
) -> None:
    (name,) = stepped_tools(lab, 1)
    first, second = lab.submit(oxide, tool=name), lab.submit(oxide, tool=name)
    crew.start()
    until(lambda: at_work(lab, [first]), "the first run at work")
    until(lambda: second.state == "QUEUED", "the second to be let in")
    crew.ask_to_stop()
    lab.tool(name).step(5000)
    until(lambda: not crew.working, "the worker to go home")
    assert (first.state, second.state) == ("COMPLETED", "QUEUED")
    second.cancel()


@pytest.fixture
def with_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab whose workers and tools are processes, all of which are ended afterwards."""
    monkeypatch.setenv("LABKIT_TOOLS", "process")
    monkeypatch.setenv("LABKIT_WORKER_IDLE_S", "1")
    with labkit.open(tmp_path / "lab", principal=ANNA) as opened:
        try:
            yield opened
        finally:
            _end_processes(opened)


def _end_processes(lab: Lab) -> None:
    for row in lab.jobs():
        with suppress(labkit.core.errors.LabkitError):
            lab.job(row["run"]).cancel("the test is over")
    until(lambda: not hiring.has_worker(lab.workplace), "the worker to go home")
    for row in lab.tools():
        subprocess.run(
            [sys.executable, "-m", "labkit.cli", "--lab", str(lab.folder), "tool", "stop", row["name"], "--shut-down"],
            capture_output=True,
            timeout=60,
            check=True,
        )


def test_a_job_brings_its_worker_and_its_tool_along(with_processes: Lab, oxide: Recipe) -> None:
    lab = with_processes
    lab.add_tool("TUBE", "cvd", seed=1)
    job = lab.submit(oxide, tool="TUBE")
    until(lambda: len(lab.workers()) == 1, "a worker on demand")
    (worker,) = lab.workers()
    assert worker["pid"] != os.getpid()
    run = job.result(100)
    assert run.state == "COMPLETED"
    assert 95.0 < run.measured["thickness_mean_nm"] < 105.0
    assert lab.tool("TUBE").executions(job.id) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
@pytest.mark.parametrize("held", [False, True], ids=["moving", "held"])
def test_a_worker_that_is_killed_is_replaced_and_the_run_goes_on_where_it_was(
    with_processes: Lab, oxide: Recipe, held: bool
) -> None:
    lab = with_processes
    lab.add_tool("PACED", "cvd", seed=1, clock=Clock(mode="paced", scale=300.0))
    tool = lab.tool("PACED")
    job = lab.submit(oxide, tool="PACED", hard_limit_s=60.0)
    until(lambda: job.state == "RUNNING" and tool.ledger(job.id) is not None, "the run to begin")
    if held:
        job.pause()
        until(lambda: job.state == "PAUSED", "the run to be held")
    (worker,) = lab.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    until(lambda: not hiring.has_worker(lab.workplace), "the worker to be gone")
    if held:
        job.resume()
    hiring.ensure_worker(lab.workplace)
    assert job.result(100).state == "COMPLETED"
    assert tool.executions(job.id) == 1
    entry = tool.ledger(job.id)
    assert entry is not None
    assert job.run.data["telemetry"].to_dataset().sizes["time"] == entry.samples
