"""The same lab on PostgreSQL, by its URL alone; and moments at which two of its processes act at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

import labkit
from labkit.core import registry
from labkit.core.recipe import Recipe
from labkit.lab import Lab
from labkit.lab.job import Job
from labkit.runs import records
from labkit.runs.jobs import cancel, expire
from labkit.runs.lifecycle import RunState
from labkit.runs.work import admit, claim
from labkit.store import jobs, passport, runs
from labkit.store.catalogue import Transaction
from labkit.store.clock import now
from tests.runs.crew import until

DONE = RunState.RUNNING, RunState.EVALUATING, RunState.COMPLETED


@pytest.fixture
def lab(postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("LABKIT_DATABASE_URL", postgresql_url)
    with labkit.open(tmp_path / "lab") as opened:
        yield opened


@pytest.fixture
def queue(lab: Lab) -> Callable[..., Job]:
    """Hands in a run that nobody but the test carries out: it is the lab's worker."""
    with lab.workplace.catalogue.begin() as tx:
        own = {"host": "here", "pid": os.getpid(), "queues": [], "gpus": 0.0, "started": now()}
        jobs.beat(tx, lab.workplace.owner, **own)
    recipe = registry.process("lithography").example_recipes()[0]

    def submit(tool: str = "SCANNER", **terms: object) -> Job:
        lab.add_tool(tool, "lithography", seed=1)
        return lab.submit(recipe, tool=tool, **terms)

    return submit


def test_a_lab_runs_judges_and_remembers_on_postgresql(lab: Lab, tmp_path: Path) -> None:
    recipe = registry.process("cvd").example_recipes()[0]
    lab.save_recipe(recipe)
    lab.add_tool("TUBE-1", "cvd", seed=1)
    done = [lab.execute(recipe, tool="TUBE-1", lot=f"LOT-{n}", progress=False) for n in range(5)]
    assert [run.state for run in done] == ["COMPLETED"] * 5
    lab.qualify("TUBE-1", done)
    after = lab.execute(recipe, tool="TUBE-1", lot="LOT-5", progress=False)
    assert after.judgement.z
    assert after.prediction.rows == 5
    assert [row["seq"] for row in lab.runs(lot="LOT-3")] == [done[3].seq]
    found = lab.runs(results={"thickness_mean_nm": (90.0, 110.0)}, sort="oldest")
    assert len(found) == 6
    assert lab.sql("select count(*) as n from runs")["n"][0] == 6
    assert lab.verify().rows == []
    assert not (tmp_path / "lab" / "catalogue.db").exists()


def test_two_people_approve_on_postgresql(lab: Lab) -> None:
    recipe: Recipe = registry.process("lithography").example_recipes()[0]
    lab.save_recipe(recipe)
    assert lab.approve(recipe.name, by="grace").status == "approved"
    assert lab.recipe(recipe.name).content_hash == recipe.content_hash


@contextmanager
def during(lab: Lab, change: Callable[[Transaction], object], other: Callable[[], object]) -> Iterator[Future[object]]:
    """Let *other* act while *change* is made and not yet committed: to its end, or until it waits for the commit."""
    with ThreadPoolExecutor(1) as pool:
        with lab.workplace.catalogue.begin() as tx:
            change(tx)
            acting = pool.submit(other)
            until(lambda: acting.done() or _somebody_waits(lab), "the other one to act")
        yield acting
        acting.result(30)


def _somebody_waits(lab: Lab) -> bool:
    with lab.workplace.catalogue.engine.connect() as connection:
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(connection.execute(waiting).scalar())


def _end(tx: Transaction, job: Job) -> None:
    records.advance(tx, job.id, *DONE)


def test_a_run_that_is_let_in_while_the_one_it_waits_for_ends_is_not_left_waiting(
    lab: Lab, queue: Callable[..., Job]
) -> None:
    first = queue()
    second = queue(after=[first])
    admit(lab.workplace, first.id)
    with during(lab, lambda tx: _end(tx, first), lambda: admit(lab.workplace, second.id)):
        pass
    assert second.state == "QUEUED"


def test_a_run_is_let_go_when_both_that_it_waits_for_end_at_once(lab: Lab, queue: Callable[..., Job]) -> None:
    both = [queue(), queue()]
    last = queue(after=both)
    for job in (*both, last):
        admit(lab.workplace, job.id)
    assert last.state == "WAITING"

    def end_the_other() -> None:
        with lab.workplace.catalogue.begin() as tx:
            _end(tx, both[1])

    with during(lab, lambda tx: _end(tx, both[0]), end_the_other):
        pass
    assert last.state == "QUEUED"


def test_a_run_handed_in_while_the_one_it_waits_for_is_cancelled_goes_with_it(
    lab: Lab, queue: Callable[..., Job]
) -> None:
    first = queue()
    found: list[Job] = []

    def end(tx: Transaction) -> None:
        records.advance(tx, first.id, RunState.CANCELLED)

    with during(lab, end, lambda: found.append(queue(after=[first]))):
        pass
    admit(lab.workplace, found[0].id)
    assert found[0].state == "CANCELLED"


def test_a_run_that_is_taken_at_the_moment_it_expires_goes_on(lab: Lab, queue: Callable[..., Job]) -> None:
    job = queue(expires=timedelta(seconds=0.5))
    admit(lab.workplace, job.id)
    until(lambda: now() > lab.sql("select expires from jobs")["expires"][0], "the run to expire")
    with during(lab, lambda tx: jobs.take(tx, job.id, "somebody"), lambda: expire(lab.workplace)) as expiring:
        pass
    assert expiring.result() == []
    assert job.state == "QUEUED"


def test_a_run_that_is_taken_at_the_moment_it_is_cancelled_keeps_the_wish(lab: Lab, queue: Callable[..., Job]) -> None:
    job = queue()
    admit(lab.workplace, job.id)
    with during(lab, lambda tx: jobs.take(tx, job.id, "somebody"), lambda: cancel(lab.workplace, job.id)):
        pass
    row = lab.sql("select * from jobs").to_dict("records")[0]
    assert (row["worker"], row["state"]) == ("somebody", "queued")
    assert row["cancelled_by"] == lab.principal.user


def test_of_many_that_take_a_run_at_once_one_gets_it_and_its_tool(lab: Lab, queue: Callable[..., Job]) -> None:
    found = [queue() for _ in range(4)]
    for job in found:
        admit(lab.workplace, job.id)
    gate = threading.Barrier(8)

    def grab(which: int) -> tuple[int, float] | None:
        gate.wait(30)
        return claim(lab.workplace, found[which % 4].id)

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(grab, range(8)))
    assert [share for share in got if share is not None] == [(1, 0.0)]


def test_a_queue_has_no_more_runs_than_its_limit_however_many_take_at_once(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab, queue: Callable[..., Job]
) -> None:
    found = [queue(f"SCANNER-{n}") for n in range(8)]
    for job in found:
        admit(lab.workplace, job.id)
    (lab.folder / "labkit.toml").write_text("[queue_limits]\nlithography = 2\n", encoding="utf-8")
    gate = threading.Barrier(8)
    with labkit.open(lab.folder, start_worker=False) as limited, ThreadPoolExecutor(8) as pool:

        def grab(job: Job) -> tuple[int, float] | None:
            gate.wait(30)
            return claim(limited.workplace, job.id)

        got = list(pool.map(grab, found))
    assert sum(share is not None for share in got) == 2


def test_two_desks_may_hand_in_for_the_same_new_lot_at_once(lab: Lab, queue: Callable[..., Job]) -> None:
    first = queue()

    def belongs(tx: Transaction) -> None:
        runs.update(tx, first.id, lot="LOT-1")
        passport.place(tx, first.id, {"LOT-1-W24": 24})

    with during(lab, belongs, lambda: queue(lot="LOT-1")):
        pass
    assert list(lab.sql("select lot from runs order by seq")["lot"]) == ["LOT-1", "LOT-1"]
