"""Several workers on one queue in PostgreSQL: nothing lost, nothing twice, most urgent first, whoever dies."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import labkit
from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.core.tool import Clock
from labkit.lab import Lab, load_recipe
from labkit.lab.job import Job

from .fleet import Fleet, at_once, carried, complaints, restart, rows, silence_s, started, until

LOST_S = 3.0
SLOW = Clock(mode="paced", scale=2000.0)
"""A run of an hour and a half takes some seconds."""
STEPPED = Clock(mode="stepped")


@pytest.fixture(scope="module")
def oxide() -> Recipe:
    return load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))


@contextmanager
def database(server: sa.URL, name: str, pattern: str = "template1") -> Iterator[str]:
    """The URL of a new database; no connection is kept, for the server may be started anew meanwhile."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {pattern}"))
    yield server.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def lab(
    server: sa.URL, server_template: str, tool_processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """A lab on PostgreSQL with tools in processes of their own."""
    monkeypatch.setenv("LABKIT_LOST_S", str(LOST_S))
    monkeypatch.setenv("LABKIT_WORKER_IDLE_S", "0")
    monkeypatch.setenv("LABKIT_STALE_S", "600")
    with database(server, "fleet", server_template) as url:
        monkeypatch.setenv("LABKIT_DATABASE_URL", url)
        with labkit.open(tmp_path / "lab") as opened:
            yield opened


@pytest.fixture
def fleet(lab: Lab) -> Iterator[Fleet]:
    crew = Fleet(lab)
    yield crew
    crew.dismiss()


def test_three_workers_share_sixty_runs_each_done_once_and_the_most_urgent_first(
    lab: Lab, fleet: Fleet, oxide: Recipe
) -> None:
    tools = [lab.add_tool(f"TUBE-{n}", "cvd", seed=n).name for n in (1, 2, 3)]
    for tool in tools:
        lab.set_tool_state(tool, "scheduled_down", "until the queue is full")
    workers = fleet.start(3, "--slots", "1")
    dice = random.Random(1)
    jobs = [lab.submit(oxide, tool=tools[n % 3], priority=dice.choice([-5, 0, 0, 7])) for n in range(60)]
    until(lambda: {job.state for job in jobs} == {"QUEUED"}, "every run to be let in")
    for tool in tools:
        lab.set_tool_state(tool, "standby")
    until(fleet.at_rest, "the queue to be empty")
    assert complaints(lab) == []
    urgency = {row["run"]: (-row["priority"], row["number"]) for row in rows(lab, "select * from jobs")}
    for tool, done in started(lab).items():
        order = [urgency[run] for run, _, _ in done]
        assert order == sorted(order), tool
        assert len(order) == 20
    spread = Counter(carried(lab).values())
    assert set(spread) == set(workers)
    assert min(spread.values()) >= 5, spread


def test_two_workers_race_for_one_tool_over_fifty_runs_that_two_processes_hand_in(lab: Lab, fleet: Fleet) -> None:
    lab.add_tool("SCANNER", "lithography", seed=1)
    workers = fleet.start(2)
    desks = [subprocess.Popen([sys.executable, "-c", DESK, str(lab.folder), "25"]) for _ in range(2)]
    assert [desk.wait(120) for desk in desks] == [0, 0]
    assert len(rows(lab, "select id from runs")) == 50
    until(fleet.at_rest, "the queue to be empty")
    assert complaints(lab) == []
    fences = rows(lab, "select fence from attempts order by started")
    assert len({row["fence"] for row in fences}) == 50
    assert set(carried(lab).values()) == set(workers)


DESK = """
import sys
import labkit
with labkit.open(sys.argv[1]) as lab:
    recipe = lab.process("lithography").example_recipes()[0]
    for _ in range(int(sys.argv[2])):
        lab.submit(recipe, tool="SCANNER", lot="LOT-1")
"""


def test_a_worker_that_dies_is_replaced_by_another_who_goes_on_with_its_runs(
    lab: Lab, fleet: Fleet, oxide: Recipe
) -> None:
    tools = [lab.add_tool(f"TUBE-{n}", "cvd", seed=n, clock=STEPPED).name for n in (1, 2, 3)]
    workers = fleet.start(3, "--slots", "3")
    jobs = [lab.submit(oxide, tool=tools[n % 3]) for n in range(6)]
    until(lambda: all(at_work(lab, job) for job in jobs[:3]), "three runs at work")
    had = {job.id: owner(lab, job.id) for job in jobs[:3]}
    victim = str(had[jobs[0].id])
    fleet.kill(victim)
    until(lambda: all(owner(lab, job.id) in set(workers) - {victim} for job in jobs[:3]), "others to take over")
    assert {run: owner(lab, run) for run, name in had.items() if name != victim}.items() <= had.items()
    until(lambda: stepped(lab, tools) and fleet.at_rest(), "the queue to be empty")
    assert complaints(lab) == []
    assert fleet.alive == 2


def owner(lab: Lab, run: str) -> str | None:
    """Who has *run* now."""
    return rows(lab, f"select coalesce(worker, '') as name from jobs where run = '{run}'")[0]["name"]


def at_work(lab: Lab, job: Job) -> bool:
    """Whether the tool of *job* has started it and it is not over."""
    return job.state == "RUNNING" and lab.tool(str(job.run.tool)).executions(job.id) == 1


def stepped(lab: Lab, tools: list[str]) -> bool:
    """Let whatever runs on *tools* go to its end."""
    for tool in tools:
        with suppress(LabkitError):
            lab.tool(tool).step(5000)
    return True


def test_a_worker_elsewhere_keeps_its_run_while_its_heart_beats_and_loses_it_after(
    lab: Lab, fleet: Fleet, oxide: Recipe
) -> None:
    lab.add_tool("TUBE", "cvd", seed=1, clock=STEPPED)
    (far,) = fleet.start(1)
    (lab.folder / "locks" / f"{far}.lock").unlink()
    job = lab.submit(oxide, tool="TUBE")
    until(lambda: at_work(lab, job), "the run to start")
    (near,) = fleet.start(1)
    first = heard(lab, near)
    until(lambda: (heard(lab, near) - first).total_seconds() > 2 * LOST_S, "the other worker to look around")
    assert owner(lab, job.id) == far
    fleet.kill(far)
    until(lambda: owner(lab, job.id) == near, "the other worker to take it over")
    assert silence_s(lab, far) >= LOST_S
    until(lambda: stepped(lab, ["TUBE"]) and job.done, "the run to end")
    assert complaints(lab) == []


def heard(lab: Lab, worker: str) -> datetime:
    """When *worker* was last heard of."""
    return next(row["heartbeat"] for row in lab.workers() if row["id"] == worker)


def test_a_server_that_crashes_twice_costs_no_run_and_no_worker(
    lab: Lab, fleet: Fleet, server: sa.URL, oxide: Recipe
) -> None:
    for n in (1, 2, 3):
        lab.add_tool(f"TUBE-{n}", "cvd", seed=n)
    fleet.start(2)
    jobs = [lab.submit(oxide, tool=f"TUBE-{1 + n % 3}") for n in range(24)]
    for over in (4, 12):
        until(lambda over=over: sum(job.done for job in jobs) >= over, "some runs to be over")
        restart(server)
    until(fleet.at_rest, "the queue to be empty")
    assert complaints(lab) == []
    assert fleet.alive == 2


def test_the_limit_of_a_queue_holds_for_all_workers_together_and_a_gpu_for_each(
    lab: Lab, fleet: Fleet, oxide: Recipe
) -> None:
    (lab.folder / "labkit.toml").write_text("[queue_limits]\ncvd = 2\n", encoding="utf-8")
    lines = registry.process("lithography").example_recipes()[0]
    for n in range(3):
        lab.add_tool(f"TUBE-{n}", "cvd", seed=n)
        lab.add_tool(f"SCANNER-{n}", "lithography", seed=n)
    fleet.start(2, "--gpus", "1")
    for n in range(9):
        lab.submit(oxide, tool=f"TUBE-{n % 3}")
        lab.submit(lines, tool=f"SCANNER-{n % 3}", gpu_share=0.6)
    until(fleet.at_rest, "the queue to be empty")
    assert complaints(lab) == []
    tubes = [span for tool, done in started(lab).items() if tool.startswith("TUBE") for span in done]
    assert at_once((begin, end) for _, begin, end in tubes) == 2
    question = "select worker, a.started, a.ended from attempts a join runs r on r.id = a.run where process = "
    shares = rows(lab, f"{question} 'lithography'")
    assert {at_once(spans) for spans in by_worker(shares).values()} == {1}


def by_worker(attempts: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """When each worker had its runs, s."""
    found: dict[str, list[tuple[float, float]]] = {}
    for one in attempts:
        found.setdefault(one["worker"], []).append((one["started"].timestamp(), one["ended"].timestamp()))
    return found


FOLLOWER = """
import sys
import labkit
with labkit.open(sys.argv[1]) as lab:
    samples = 0
    for message in lab.job(sys.argv[2]).messages():
        print(message.type, flush=True)
        if message.type == "telemetry":
            samples += len(message.data["time_s"])
    print(samples)
"""


def test_a_run_is_followed_live_from_another_process(lab: Lab, fleet: Fleet, oxide: Recipe) -> None:
    lab.add_tool("TUBE", "cvd", seed=1, clock=SLOW)
    fleet.start(1)
    job = lab.submit(oxide, tool="TUBE")
    command = [sys.executable, "-c", FOLLOWER, str(lab.folder), job.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            until(lambda: follower.stdout.readline().strip() == "telemetry", "telemetry")
            assert job.state == "RUNNING"
            said, _ = follower.communicate(timeout=60)
        finally:
            follower.kill()
    *told, count = said.split()
    assert told[-1] == "completed"
    assert int(count) == int(job.result(10).data["telemetry"].sizes["time"])


def test_an_embedded_lab_moves_and_two_workers_go_on_with_its_work(
    tool_processes: None, server: sa.URL, tmp_path: Path, oxide: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lab"
    with labkit.open(folder) as embedded:
        for n in (1, 2):
            embedded.add_tool(f"TUBE-{n}", "cvd", seed=n)
        first = embedded.execute(oxide, tool="TUBE-1", progress=False)
    with database(server, "moved") as url:
        moved = subprocess.run(
            [sys.executable, "-m", "labkit.cli", "--lab", str(folder), "lab", "migrate", url],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert moved.returncode == 0, moved.stderr
        with labkit.open(folder) as lab:
            crew = Fleet(lab)
            try:
                crew.start(2)
                jobs = [lab.submit(oxide, tool=f"TUBE-{1 + n % 2}") for n in range(4)]
                until(crew.at_rest, "the queue to be empty")
                assert complaints(lab) == []
                assert [job.run.seq for job in jobs] == list(range(first.seq + 1, first.seq + 5))
                assert lab.verify().rows == []
            finally:
                crew.dismiss()
