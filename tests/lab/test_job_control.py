"""Jobs that people or the clock interfere with: cancelled, held, late, stopped; and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import labkit
from labkit.core.errors import IllegalTransition
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.core.tool import Clock, Fault, LedgerState, ToolState
from labkit.lab import Lab, load_recipe
from labkit.lab.job import Job
from tests.runs.crew import Crew, crew_of, until

from .conftest import ANNA

STEPPED = Clock(mode="stepped")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Anna's lab: a quick tube, and one that moves only when told to."""
    monkeypatch.setenv("LABKIT_STALE_S", "600")
    with labkit.open(tmp_path / "lab", principal=ANNA) as opened:
        opened.add_tool("TUBE", "cvd", seed=1)
        opened.add_tool("STEPS", "cvd", seed=2, clock=STEPPED)
        yield opened


@pytest.fixture
def crew(lab: Lab) -> Iterator[Crew]:
    with crew_of(lab) as found:
        yield found


@pytest.fixture(scope="session")
def refused() -> Recipe:
    """A recipe that the gate does not let through."""
    return load_recipe(resource("data/recipes/mocvd_gan_2um.json"))


def in_order_of_start(jobs: list[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: job.run.record["started"])


def reach(job: Job, *states: str) -> None:
    until(lambda: job.state in states, f"run {job.run.seq} to be {' or '.join(states)}; it is {job.state}")


def begun(lab: Lab, job: Job, samples: int = 700) -> None:
    """Wait until *job* runs on the stepped tube, and let it make some samples."""
    until(lambda: lab.tool("STEPS").ledger(job.id) is not None, "the run to be started")
    lab.tool("STEPS").step(samples)


def test_a_job_that_nobody_has_looked_at_is_cancelled_at_once(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="TUBE")
    assert job.state == "SUBMITTED"
    job.cancel("wrong lot")
    assert job.done
    assert (job.state, job.run.reason) == ("CANCELLED", "wrong lot")
    assert any("anna" in line["text"] and "wrong lot" in line["text"] for line in job.log)
    assert len(lab.jobs()) == 0


def test_a_queued_and_a_waiting_job_are_cancelled_at_once(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.set_tool_state("TUBE", "unscheduled_down", "leak")
    queued = lab.submit(oxide, tool="TUBE")
    waiting = lab.submit(oxide, tool="TUBE", after=queued)
    crew.start()
    reach(queued, "QUEUED")
    reach(waiting, "WAITING")
    waiting.cancel()
    assert waiting.state == "CANCELLED"
    queued.cancel()
    assert queued.state == "CANCELLED"
    assert lab.tool("TUBE").ledger(queued.id) is None


def test_a_job_that_is_cancelled_while_it_is_let_in_is_cancelled(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.set_tool_state("TUBE", "unscheduled_down", "leak")
    crew.start()
    for _ in range(12):
        job = lab.submit(oxide, tool="TUBE")
        until(lambda job=job: job.state != "SUBMITTED", "the job to be looked at")
        job.cancel()
        reach(job, "CANCELLED")


def test_cancelling_a_running_job_stops_its_tool_and_keeps_what_was_recorded(
    lab: Lab, crew: Crew, oxide: Recipe
) -> None:
    job = lab.submit(oxide, tool="STEPS", lot="L1")
    crew.start()
    begun(lab, job, 700)
    job.cancel("gas alarm next door")
    run = job.result(60)
    assert run.state == "CANCELLED"
    assert "anna" in str(run.reason)
    entry = lab.tool("STEPS").ledger(job.id)
    assert entry is not None
    assert entry.state is LedgerState.STOPPED
    assert lab.tool("STEPS").status().state is ToolState.STOPPED
    telemetry = run.data["telemetry"].to_dataset().load()
    assert telemetry.sizes["time"] == 700
    following = lab.submit(oxide, tool="STEPS")
    begun(lab, following, 5000)
    assert following.result(60).state == "COMPLETED"


def test_a_job_that_is_over_can_neither_be_cancelled_nor_held(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="TUBE")
    crew.start()
    job.result(60)
    for ask in (job.cancel, job.pause, job.resume, lambda: job.prioritise(3)):
        with pytest.raises(IllegalTransition, match="over"):
            ask()


def test_a_job_that_is_held_in_the_queue_is_passed_by(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    held = lab.submit(oxide, tool="TUBE", priority=9)
    held.pause()
    crew.start(slots=1)
    other = lab.submit(oxide, tool="TUBE")
    assert other.result(60).state == "COMPLETED"
    assert held.state == "QUEUED"
    assert {row["run"]: row["shown"] for row in lab.jobs()} == {held.id: "PAUSED"}
    held.resume()
    assert held.result(60).state == "COMPLETED"


def test_a_run_that_is_held_at_its_tool_stands_still_and_goes_on_without_a_gap(
    lab: Lab, crew: Crew, oxide: Recipe
) -> None:
    lab.add_tool("PACED", "cvd", seed=3, clock=Clock(mode="paced", scale=500.0))
    job = lab.submit(oxide, tool="PACED")
    crew.start()
    tool = lab.tool("PACED")
    until(lambda: tool.ledger(job.id) is not None and tool.ledger(job.id).delivered > 300, "telemetry")
    job.pause()
    until(lambda: tool.status().state is ToolState.PAUSED, "the tool to stand still")
    reach(job, "PAUSED")
    entry = tool.ledger(job.id)
    assert entry is not None
    assert entry.state is LedgerState.RUNNING
    assert tool.status().progress < 1.0
    job.resume()
    assert job.result(60).state == "COMPLETED"
    time = job.run.data["telemetry"].to_dataset().load()["time"].values
    np.testing.assert_allclose(np.diff(time), time[1] - time[0], rtol=1e-9)
    finished = tool.ledger(job.id)
    assert finished is not None
    assert len(time) == finished.samples
    assert tool.executions(job.id) == 1


def test_a_run_that_is_held_at_its_tool_can_be_cancelled(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="STEPS")
    crew.start()
    begun(lab, job, 100)
    job.pause()
    reach(job, "PAUSED")
    job.cancel("the lot is scrapped")
    run = job.result(60)
    assert (run.state, lab.tool("STEPS").status().state) == ("CANCELLED", ToolState.STOPPED)
    assert run.data["telemetry"].to_dataset().sizes["time"] == 100


def test_the_time_that_a_run_is_held_does_not_count_against_its_limits(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="STEPS", hard_limit_s=8.0)
    crew.start()
    begun(lab, job, 100)
    job.pause()
    reach(job, "PAUSED")
    over = job.run.record["started"] + timedelta(seconds=9)
    until(lambda: datetime.now(UTC) > over, "the limit to have passed")
    assert job.state == "PAUSED"
    job.resume()
    reach(job, "RUNNING")
    lab.tool("STEPS").step(5000)
    assert job.result(60).state == "COMPLETED"


def test_a_run_that_is_late_is_announced_and_goes_on(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="STEPS", soft_limit_s=0.2)
    crew.start()
    begun(lab, job, 100)
    alert = next(message for message in job.messages() if message.type == "alert")
    assert (alert.data.parameter, alert.data.severity) == ("duration", "warning")
    assert "0.2 s" in alert.data.message
    lab.tool("STEPS").step(5000)
    assert job.result(60).state == "COMPLETED"
    assert sum("more than 0.2 s" in line["text"] for line in job.log) == 1


def test_a_run_beyond_its_hard_limit_is_stopped_and_its_tool_stays_down(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="STEPS", hard_limit_s=1.0)
    crew.start()
    begun(lab, job, 100)
    run = job.result(60)
    assert run.state == "FAILED"
    assert "time limit of 1 s" in str(run.reason)
    assert lab.tool("STEPS").status().state is ToolState.STOPPED
    assert {row["name"]: row["state"] for row in lab.tools()}["STEPS"] == "unscheduled_down"
    assert run.data["telemetry"].to_dataset().sizes["time"] == 100


def test_a_tool_that_delivers_nothing_new_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, oxide: Recipe
) -> None:
    monkeypatch.setenv("LABKIT_STALE_S", "2")
    with labkit.open(tmp_path / "lab", principal=ANNA) as lab, crew_of(lab) as crew:
        lab.add_tool("TUBE", "cvd", seed=1).inject(Fault(mode="hang", magnitude=0.5, last_run=1))
        job = lab.submit(oxide, tool="TUBE")
        crew.start()
        run = job.result(60)
        assert run.state == "FAILED"
        assert "no new data for 2 s" in str(run.reason)
        entry = lab.tool("TUBE").ledger(job.id)
        assert entry is not None
        assert entry.state is LedgerState.STOPPED


def test_a_batch_is_cancelled_as_a_whole(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    batch = lab.submit_batch([oxide] * 3, tool="STEPS")
    crew.start()
    begun(lab, batch[0], 100)
    batch.cancel()
    assert [run.state for run in batch.results(60)] == ["CANCELLED"] * 3
