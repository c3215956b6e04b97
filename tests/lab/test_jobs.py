"""Jobs as a notebook meets them: what goes first, what waits for what, who may hand in, and on what terms."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import labkit
from labkit.core.errors import LabkitError, NotFound, PermissionDenied
from labkit.core.identity import Principal, Role
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.core.tool import Clock, Fault
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


def test_the_most_urgent_job_goes_first_and_equals_in_the_order_of_submission(
    lab: Lab, crew: Crew, oxide: Recipe
) -> None:
    handed_in = [lab.submit(oxide, tool="TUBE", priority=priority) for priority in (0, 5, -3, 5, 0)]
    crew.start(slots=1)
    for job in handed_in:
        assert job.result(60).state == "COMPLETED"
    assert [handed_in.index(job) for job in in_order_of_start(handed_in)] == [1, 3, 0, 4, 2]


def test_an_urgent_latecomer_and_a_job_that_is_moved_up_overtake_those_that_wait(
    lab: Lab, crew: Crew, oxide: Recipe
) -> None:
    lab.set_tool_state("TUBE", "scheduled_down", "cleaning")
    crew.start(slots=1)
    first, second = lab.submit(oxide, tool="TUBE"), lab.submit(oxide, tool="TUBE")
    late = lab.submit(oxide, tool="TUBE", priority=1)
    second.prioritise(2)
    for job in (first, second, late):
        reach(job, "QUEUED")
    assert [row["run"] for row in lab.jobs()] == [second.id, late.id, first.id]
    lab.set_tool_state("TUBE", "standby")
    for job in (first, second, late):
        job.result(60)
    assert in_order_of_start([first, second, late]) == [second, late, first]


def test_a_job_waits_for_everything_that_comes_before_it(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    slow = lab.submit(oxide, tool="STEPS")
    quick = lab.submit(oxide, tool="TUBE")
    last = lab.submit(oxide, tool="TUBE", after=[slow, quick], priority=100)
    crew.start()
    quick.result(60)
    reach(last, "WAITING")
    assert [row["seq"] for row in last.waits_for] == [slow.run.seq, quick.run.seq]
    begun(lab, slow, 5000)
    assert last.result(60).state == "COMPLETED"
    assert last.run.record["started"] >= slow.run.record["ended"]


@pytest.mark.parametrize("fate", ["cancelled", "blocked", "failed"])
def test_what_waits_for_a_run_that_will_never_complete_is_cancelled_with_it(
    lab: Lab, crew: Crew, oxide: Recipe, refused: Recipe, fate: str
) -> None:
    if fate == "blocked":
        first = lab.submit(refused, tool="TUBE")
    else:
        first = lab.submit(oxide, tool="STEPS", hard_limit_s=1.0 if fate == "failed" else None)
    child = lab.submit(oxide, tool="TUBE", after=first)
    grandchild = lab.submit(oxide, tool="TUBE", after=child)
    bystander = lab.submit(oxide, tool="TUBE")
    crew.start()
    if fate == "cancelled":
        reach(grandchild, "WAITING")
        first.cancel()
    assert first.result(60).state == fate.upper()
    for job in (child, grandchild):
        assert job.result(60).state == "CANCELLED"
        assert lab.tool("TUBE").executions(job.id) == 0
    assert f"run {first.run.seq}" in str(child.run.reason)
    assert bystander.result(60).state == "COMPLETED"
    with pytest.raises(NotFound, match="nothing can wait"):
        lab.submit(oxide, tool="TUBE", after=first)


def test_what_waits_for_a_flagged_run_goes_on_when_an_engineer_clears_it(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.add_tool("OTHER", "cvd", seed=3)
    lab.tool("TUBE").inject(Fault(path="mfc_gain.SiH4", magnitude=-0.2, last_run=1))
    flagged = lab.submit(oxide, tool="TUBE")
    waiting = lab.submit(oxide, tool="OTHER", after=flagged)
    crew.start()
    assert flagged.result(60).state == "ENGINEER_REVIEW"
    reach(waiting, "WAITING")
    lab.clear(flagged.run, "the flow controller was exchanged")
    assert waiting.result(60).state == "COMPLETED"


def test_the_wafers_of_a_job_go_on_into_the_next_one(lab: Lab, crew: Crew, oxide: Recipe, poly: Recipe) -> None:
    first = lab.submit(oxide, tool="TUBE", lot="L1")
    second = lab.submit(poly, tool="TUBE", wafers=first)
    third = lab.submit(oxide, tool="TUBE", wafers=second)
    crew.start()
    assert [job.result(60).state for job in (first, second, third)] == ["COMPLETED"] * 3
    films = third.run.data["wafer"].to_dataset().load()["film"].values
    assert len(films) == 3
    assert list(films[:2]) == ["SiO2", "poly-Si"]
    assert third.run.record["lot"] == "L1"
    assert [row["id"] for row in lab.wafer("L1-W01")] == [job.id for job in (first, second, third)]


def test_a_job_that_could_not_start_in_time_expires(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.set_tool_state("TUBE", "unscheduled_down", "leak")
    job = lab.submit(oxide, tool="TUBE", expires=timedelta(seconds=1))
    crew.start()
    run = job.result(60)
    assert (run.state, run.record["error_code"]) == ("CANCELLED", "expired")
    assert lab.tool("TUBE").ledger(job.id) is None


def test_a_job_starts_no_earlier_than_it_may(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    due = datetime.now(UTC) + timedelta(seconds=3)
    early = lab.submit(oxide, tool="TUBE", not_before=due, priority=9)
    now = lab.submit(oxide, tool="TUBE")
    crew.start()
    assert now.result(60).state == early.result(60).state == "COMPLETED"
    assert early.run.record["started"] >= due


def test_jobs_wait_while_their_tool_is_down_and_run_when_it_is_up(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.set_tool_state("STEPS", "scheduled_down", "cleaning")
    waiting = lab.submit(oxide, tool="STEPS", priority=9)
    crew.start(slots=1)
    assert lab.submit(oxide, tool="TUBE").result(60).state == "COMPLETED"
    assert waiting.state == "QUEUED"
    lab.set_tool_state("STEPS", "standby", "clean")
    begun(lab, waiting, 5000)
    assert waiting.result(60).state == "COMPLETED"


def test_a_batch_is_handed_in_as_a_whole_or_not_at_all(lab: Lab, crew: Crew, oxide: Recipe, poly: Recipe) -> None:
    with pytest.raises(LabkitError):
        lab.submit_batch([oxide, poly], tool="TUBE", priority="high")
    with pytest.raises(LabkitError):
        lab.submit_batch([oxide, poly], tool="TUBE", colour="red")
    assert lab.counts()["runs"] == 0
    batch = lab.submit_batch([oxide, poly, oxide], tool="TUBE", priority=2)
    assert "3 SUBMITTED" in repr(batch)
    crew.start()
    assert [run.state for run in batch.results(60)] == ["COMPLETED"] * 3
    assert [run.recipe.name for run in batch.results()] == [oxide.name, poly.name, oxide.name]


@pytest.mark.parametrize(
    "terms",
    [
        {"priority": "high"},
        {"priority": 10**9},
        {"priority": 0.5},
        {"retries": -1},
        {"gpu_share": -0.5},
        {"hard_limit_s": 0},
        {"soft_limit_s": float("nan")},
        {"not_before": "tomorrow"},
        {"not_before": datetime(2030, 1, 1)},
        {"expires": timedelta(seconds=-1)},
        {"after": 4711},
        {"after": "nothing"},
    ],
    ids=str,
)
def test_terms_that_make_no_sense_are_refused_and_nothing_is_handed_in(
    lab: Lab, crew: Crew, oxide: Recipe, terms: dict[str, object]
) -> None:
    with pytest.raises(LabkitError) as refusal:
        lab.submit(oxide, tool="TUBE", **terms)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    assert lab.counts()["runs"] == 0


def test_a_viewer_looks_and_changes_nothing(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="TUBE")
    with labkit.open(lab.folder, principal=Principal("vera", role=Role.VIEWER)) as looking:
        seen = looking.job(job.id)
        assert seen.state == "SUBMITTED"
        assert len(looking.jobs()) == 1
        for ask in (
            lambda: looking.submit(oxide, tool="TUBE"),
            lambda: looking.submit_batch([oxide], tool="TUBE"),
            lambda: looking.submit_sweep(oxide, {"pressure_setpoints.process_pressure_torr": [0.3]}),
            lambda: looking.submit_calibration("TUBE", "mfc_gain.SiH4"),
            seen.cancel,
            seen.pause,
            seen.resume,
            lambda: seen.prioritise(1),
        ):
            with pytest.raises(PermissionDenied):
                ask()
    assert job.state == "SUBMITTED"
    assert lab.counts()["runs"] == 1


def test_an_operator_hands_in_and_cancels(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    with labkit.open(lab.folder, principal=Principal("otto", role=Role.OPERATOR)) as working:
        job = working.submit(oxide, tool="TUBE")
        job.pause()
        job.resume()
        job.cancel()
        assert job.state == "CANCELLED"
        assert job.run.record["operator"] == "otto"
