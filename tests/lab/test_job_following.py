"""Jobs as they are followed: awaited, listened to from elsewhere, their progress, log and cost."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import labkit
from labkit.core.errors import LabkitError
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.core.tool import Clock
from labkit.lab import Lab, load_recipe
from labkit.lab.job import Job
from labkit.operations.cost import Rates
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


def test_a_notebook_awaits_a_job_and_does_other_things_meanwhile(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="TUBE")
    crew.start()

    async def notebook() -> tuple[str, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        run = await job
        ticking.cancel()
        return run.state, ticks

    state, ticks = asyncio.run(notebook())
    assert state == "COMPLETED"
    assert ticks > 3


def test_a_result_that_does_not_come_in_time_says_where_the_job_stands(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="TUBE")
    with pytest.raises(LabkitError, match=r"SUBMITTED .* after 0.1 s") as error:
        job.result(0.1)
    assert "job.cancel()" in str(error.value)


_FOLLOW = """
import json, sys
import labkit
with labkit.open(sys.argv[1]) as lab:
    for message in lab.job(int(sys.argv[2])).messages():
        said = json.loads(message.to_json())
        print(json.dumps([said["type"], said["sequence"], len(said["data"].get("time_s", []))]), flush=True)
"""


def test_another_process_follows_a_run_from_its_first_sample_to_its_end(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    job = lab.submit(oxide, tool="STEPS")
    crew.start()
    begun(lab, job, 1200)
    following = subprocess.Popen(
        [sys.executable, "-c", _FOLLOW, str(lab.folder), str(job.run.seq)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert following.stdout is not None
        heard = [json.loads(following.stdout.readline())]
        while sum(samples for *_, samples in heard) < 1200:
            heard.append(json.loads(following.stdout.readline()))
        assert not job.done
        lab.tool("STEPS").step(5000)
        heard += [json.loads(line) for line in following.stdout]
        assert following.wait(30) == 0
    finally:
        following.kill()
        following.wait()
        following.stdout.close()
    kinds = [kind for kind, *_ in heard]
    assert (kinds[0], kinds[-1]) == ("connected", "completed")
    assert "progress" in kinds
    sequences = [sequence for _, sequence, _ in heard]
    assert sequences == sorted(sequences)
    entry = lab.tool("STEPS").ledger(job.id)
    assert entry is not None
    assert sum(samples for *_, samples in heard) == entry.samples


def test_progress_never_goes_back_and_ends_at_a_hundred(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.add_tool("PACED", "cvd", seed=3, clock=Clock(mode="paced", scale=1000.0))
    job = lab.submit(oxide, tool="PACED")
    crew.start()
    seen, steps = [], set()
    while not job.done:
        seen.append(job.progress)
        steps.add(job.step)
    seen.append(job.progress)
    assert seen == sorted(seen)
    assert seen[-1] == 100.0
    assert any(0.0 < percent < 100.0 for percent in seen)
    assert "running" in steps
    said = [message.data.progress for message in job.messages() if message.type == "progress"]
    assert said == sorted(said)


def test_a_job_keeps_a_log_of_what_happened_to_it(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    first, second = lab.submit(oxide, tool="TUBE"), lab.submit(oxide, tool="TUBE")
    first.prioritise(4)
    first.pause()
    first.resume()
    crew.start()
    first.result(60)
    second.result(60)
    told = [line["text"] for line in first.log]
    wanted = ["priority 4 by anna", "paused by anna", "resumed by anna", "started on TUBE"]
    places = [next(at for at, text in enumerate(told) if words in text) for words in wanted]
    assert places == sorted(places)
    assert not any("priority" in line["text"] for line in second.log)
    times = [line["at"] for line in first.log]
    assert times == sorted(times)


def test_a_run_costs_what_its_tool_asks_for(lab: Lab, crew: Crew, oxide: Recipe) -> None:
    lab.add_tool("DEAR", "cvd", seed=4, rates=Rates(per_hour=3600.0, per_wafer=10.0, currency="CHF"))
    job = lab.submit(oxide, tool="DEAR", lot="L9")
    crew.start()
    record = job.result(60).record
    wafers = len(lab.sql("select wafer from run_wafers"))
    assert record["cost"] == pytest.approx(record["duration_s"] + 10.0 * wafers)
    assert record["currency"] == "CHF"
