"""What a worker takes on at a time, and what it does about tools that do not start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import labkit
from labkit.core import registry
from labkit.core.identity import Principal
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.core.tool import Clock, Fault
from labkit.devices.handle import ToolHandle
from labkit.devices.simulated import SimulatedTool
from labkit.lab import Lab, load_recipe
from labkit.lab.job import Job
from labkit.store import runs as rows
from tests.runs.crew import Crew, crew_of, until

ANNA = Principal("anna")
STEPPED = Clock(mode="stepped")


@pytest.fixture(scope="module")
def oxide() -> Recipe:
    return load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))


@pytest.fixture(scope="module")
def poly() -> Recipe:
    return load_recipe(resource("data/recipes/lpcvd_poly_si.json"))


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


def attempts(lab: Lab, job: Job) -> list[str]:
    with lab.workplace.catalogue.read() as tx:
        return [str(row["state"]) for row in rows.attempts(tx, job.id)]


def settled(lab: Lab, crew: Crew, done: Job) -> None:
    """Wait until the worker has had every chance to start more: *done*, which was handed in last and most urgent,
    is over."""
    assert done.result(60).state == "COMPLETED"


def test_a_worker_carries_out_as_many_runs_at_a_time_as_it_has_slots(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    names = stepped_tools(lab, 3)
    jobs = [lab.submit(oxide, tool=name) for name in names]
    crew.start(slots=2)
    until(lambda: len(at_work(lab, jobs)) == 2, "two runs at work")
    until(lambda: jobs[2].state == "QUEUED", "the third to be let in")
    assert at_work(lab, jobs) == jobs[:2]
    lab.tool(names[0]).step(5000)
    until(lambda: jobs[2] in at_work(lab, jobs), "the third to take the free slot")


def test_a_queue_has_no_more_runs_at_a_time_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, oxide: Recipe
) -> None:
    folder = tmp_path / "lab"
    labkit.open(folder, principal=ANNA).close()
    (folder / "labkit.toml").write_text("stale_s = 600\n[queue_limits]\ncvd = 1\n", encoding="utf-8")
    with labkit.open(folder, principal=ANNA) as lab, crew_of(lab) as crew:
        names = stepped_tools(lab, 2)
        lab.add_tool("SCANNER", "lithography", seed=1)
        jobs = [lab.submit(oxide, tool=name) for name in names]
        crew.start()
        until(lambda: at_work(lab, jobs) == jobs[:1], "the first run at work")
        other = registry.process("lithography").example_recipes()[0]
        settled(lab, crew, lab.submit(other, tool="SCANNER"))
        assert (at_work(lab, jobs), jobs[1].state) == (jobs[:1], "QUEUED")
        lab.tool(names[0]).step(5000)
        until(lambda: jobs[1] in at_work(lab, jobs), "the second run, when the first is over")


def test_jobs_share_a_gpu_as_far_as_it_goes(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    names = stepped_tools(lab, 3)
    jobs = [lab.submit(oxide, tool=name, gpu_share=share) for name, share in zip(names, (0.6, 0.6, 0.4), strict=True)]
    crew.start(slots=4, gpus=1.0)
    until(lambda: at_work(lab, jobs) == [jobs[0], jobs[2]], "the first and the one that fits beside it")
    settled(lab, crew, lab.submit(oxide, tool="TUBE", priority=9))
    assert at_work(lab, jobs) == [jobs[0], jobs[2]]
    lab.tool(names[2]).step(5000)
    jobs[2].result(60)
    settled(lab, crew, lab.submit(oxide, tool="TUBE", priority=9))
    assert at_work(lab, jobs) == [jobs[0]]
    lab.tool(names[0]).step(5000)
    until(lambda: at_work(lab, jobs) == [jobs[1]], "the other one, when there is room")


def test_a_job_that_needs_a_gpu_waits_where_there_is_none(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    hungry = lab.submit(oxide, tool="TUBE", gpu_share=0.1, priority=9)
    crew.start()
    settled(lab, crew, lab.submit(oxide, tool="TUBE"))
    assert hungry.state == "QUEUED"


@contextmanager
def taken_elsewhere(lab: Lab) -> Iterator[str]:
    """A tool that somebody else's process holds, so that it cannot be reached."""
    lab.add_tool("TAKEN", "cvd", seed=5)
    lab.workplace.tools.close()
    with SimulatedTool("TAKEN", registry.process("cvd"), seed=5, folder=lab.workplace.tools.folder_of("TAKEN")):
        yield "TAKEN"


def pauses(job: Job) -> list[tuple[datetime, str]]:
    """When the job could not be started, and how long it then was to wait."""
    return [(line["at"], line["text"].rsplit("again in ")[1]) for line in job.log if "again in" in line["text"]]


def test_a_tool_that_cannot_be_started_is_tried_again_after_growing_pauses(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    with taken_elsewhere(lab) as name:
        (job,) = lab.submit_batch([oxide], tool=name, retries=5, backoff_s=0.4)
        crew.start()
        until(lambda: len(pauses(job)) == 3, "three attempts that came to nothing")
        assert not job.done
    assert job.result(60).state == "COMPLETED"
    told, waits = zip(*pauses(job)[:3], strict=True)
    assert waits == ("0.4 s", "0.8 s", "1.6 s")
    assert told[1] - told[0] >= timedelta(seconds=0.4)
    assert told[2] - told[1] >= timedelta(seconds=0.8)
    assert ToolHandle(lab.workplace.tools.tool(name)).executions(job.id) == 1


def test_a_tool_that_never_can_be_started_fails_the_job_when_its_retries_are_spent(
    lab: Lab, crew: Crew, oxide: Recipe
) -> None:
    with taken_elsewhere(lab) as name:
        (job,) = lab.submit_batch([oxide], tool=name, retries=2, backoff_s=0.05)
        crew.start()
        run = job.result(60)
        assert (run.state, run.record["error_code"]) == ("FAILED", "unstarted")
        assert len(pauses(job)) == 2
        assert {row["name"]: row["state"] for row in lab.tools()}[name] == "standby"


def test_jobs_wait_for_a_tool_whose_emergency_stop_is_latched(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    tool = lab.tool("TUBE")
    tool.connect()
    tool.stop(emergency=True)
    jobs = [lab.submit(oxide, tool="TUBE", retries=0) for _ in range(2)]
    crew.start()
    until(lambda: lab.tools()[0]["state"] == "unscheduled_down", "the lab to see that the tool is down")
    assert [job.done for job in jobs] == [False, False]
    tool.reset()
    lab.set_tool_state("TUBE", "standby", "gas alarm was false")
    assert [job.result(60).state for job in jobs] == ["COMPLETED", "COMPLETED"]


def test_a_run_that_its_tool_has_started_is_never_repeated(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.tool("TUBE").inject(Fault(mode="crash", magnitude=0.5, last_run=1))
    job = lab.submit(oxide, tool="TUBE", retries=10)
    crew.start()
    run = job.result(60)
    assert run.state == "ENGINEER_REVIEW"
    assert attempts(lab, job) == ["failed"]
    assert lab.tool("TUBE").executions(job.id) == 1
    assert lab.tools()[0]["state"] == "unscheduled_down"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_jobs_are_each_executed_once(lab: Lab, crew: Crew, oxide: Recipe, poly: Recipe) -> None:
    tubes = ["TUBE", *(lab.add_tool(f"TUBE-{n}", "cvd", seed=n).name for n in range(2, 5))]
    crew.start(slots=4)
    jobs = [lab.submit(oxide if n % 2 else poly, tool=tubes[n % 4], lot=f"L{n}") for n in range(100)]
    assert len({job.id for job in jobs}) == 100
    until(lambda: all(job.done for job in jobs), "a hundred runs", patience_s=280)
    assert [job.state for job in jobs] == ["COMPLETED"] * 100
    assert [lab.tool(tubes[n % 4]).executions(job.id) for n, job in enumerate(jobs)] == [1] * 100
    assert sum(lab.tool(name).ledger(job.id) is not None for name in tubes for job in jobs) == 100
    assert len(lab.jobs()) == 0
    assert len(lab.verify().rows) == 0


def test_a_sweep_and_a_calibration_are_jobs_like_runs(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.tool("TUBE").inject(Fault(path="mfc_gain.SiH4", magnitude=-0.2))
    sweep = lab.submit_sweep(oxide, {"pressure_setpoints.process_pressure_torr": [0.28, 0.3, 0.32]})
    calibration = lab.submit_calibration("TUBE", "mfc_gain.SiH4", priority=5)
    crew.start()
    assert sweep.result(60).state == "COMPLETED"
    assert sweep.run.record["kind"] == "sweep"
    run = calibration.result(60)
    assert run.state == "COMPLETED"
    assert run.measured["mfc_gain.SiH4"] == pytest.approx(-0.2)
