"""The queue's rows, on SQLite and on PostgreSQL: order, claims that only one worker wins, links, logs, plans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.core.errors import NotFound, StoreError
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.lab import Lab, load_recipe
from labkit.runs.plans import fire_due
from labkit.store import jobs, plans, runs
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now

from .conftest import ANNA, MALLORY


def a_job(catalogue: Catalogue, *, state: str = "queued", run_state: str = "QUEUED", **columns: Any) -> str:
    """A job of a run that exists, and nothing else."""
    with catalogue.begin() as tx:
        run = runs.create(tx, process="cvd", state="SUBMITTED", origin="simulated")
        if run_state != "SUBMITTED":
            runs.move_through(tx, run["id"], [run_state], expected="SUBMITTED")
        jobs.create(tx, run["id"], run["seq"], type="RUN", queue="cvd", state=state, document={}, **columns)
        return str(run["id"])


def queued(catalogue: Catalogue, **limits: Any) -> list[str]:
    with catalogue.read() as tx:
        return jobs.next_queued(tx, limits.pop("queues", None), **limits)


def test_larger_priorities_come_first_and_equals_in_order(either: Catalogue) -> None:
    made = [a_job(either, priority=priority) for priority in (0, 3, -1, 3)]
    assert queued(either) == [made[1], made[3], made[0], made[2]]
    with either.begin() as tx:
        jobs.change(tx, made[2], priority=4)
    assert queued(either, limit=2) == [made[2], made[1]]


def test_what_may_not_start_now_is_not_offered(either: Catalogue) -> None:
    later = now() + timedelta(hours=1)
    free = a_job(either, tool="A", gpu_share=0.5, not_before=now() - timedelta(seconds=1))
    for columns in (
        {"paused": True},
        {"cancelled_by": "anna"},
        {"not_before": later},
        {"gpu_share": 0.6},
        {"tool": "B"},
        {"queue": "rtp"},
        {"type": "CALIBRATION"},
    ):
        with either.begin() as tx:
            changed = {"tool": "A", **columns}
            run = runs.create(tx, process="cvd", state="SUBMITTED", origin="simulated")
            base = {"type": "RUN", "queue": "cvd", "state": "queued", "document": {}}
            jobs.create(tx, run["id"], run["seq"], **{**base, **changed})
    for state in ("submitted", "waiting", "running", "done"):
        a_job(either, state=state, tool="A")
    assert queued(either, queues=["cvd"], free_tools=["A"], gpus=0.5, types=["RUN"]) == [free]
    assert queued(either, full=["cvd", "rtp"], gpus=9) == []


def test_of_many_workers_who_want_a_job_one_gets_it(either: Catalogue) -> None:
    for _ in range(5):
        run = a_job(either)
        meeting, winners = threading.Barrier(6), list[str]()

        def want(name: str, run: str = run, meeting: threading.Barrier = meeting, won: list[str] = winners) -> None:
            meeting.wait(30)
            with either.begin() as tx:
                if jobs.take(tx, run, name):
                    won.append(name)

        threads = [threading.Thread(target=want, args=(f"worker {n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(winners) == 1
        with either.read() as tx:
            assert jobs.get(tx, run)["worker"] == winners[0]


def test_a_job_is_changed_only_if_it_is_as_expected(either: Catalogue) -> None:
    run = a_job(either)
    with either.begin() as tx:
        assert not jobs.swap(tx, run, {"worker": "somebody"}, state="running")
        assert jobs.swap(tx, run, {"worker": None, "state": "queued"}, state="running", worker="me")
        assert not jobs.take(tx, run, "you", states=("queued", "running"))
    with either.read() as tx:
        assert [row["run"] for row in jobs.running(tx)] == [run]


def test_only_what_nobody_has_started_expires(either: Catalogue) -> None:
    past, later = now() - timedelta(seconds=1), now() + timedelta(hours=1)
    gone = [a_job(either, state=state, expires=past) for state in ("submitted", "waiting", "queued")]
    a_job(either, state="running", expires=past)
    a_job(either, expires=past, worker="me")
    a_job(either, expires=later)
    a_job(either)
    with either.read() as tx:
        assert sorted(jobs.expired(tx)) == sorted(gone)


def test_links_are_kept_once_and_found_from_both_ends(either: Catalogue) -> None:
    first, second, last = (a_job(either) for _ in range(3))
    with either.begin() as tx:
        jobs.link(tx, last, [first, second, first])
        assert [row["id"] for row in jobs.predecessors(tx, last)] == [first, second]
        assert (jobs.successors(tx, first), jobs.successors(tx, last)) == ([last], [])


def test_a_log_is_in_order_and_its_lines_are_bounded(either: Catalogue) -> None:
    run = a_job(either)
    with either.begin() as tx:
        for text in ("first", "second", "x" * 100_000):
            jobs.note(tx, run, text)
    with either.read() as tx:
        told = [row["text"] for row in jobs.log(tx, run)]
    assert told[:2] == ["first", "second"]
    assert len(told[2]) < 10_000


def test_a_worker_is_heard_of_until_it_has_stopped(either: Catalogue) -> None:
    with either.begin() as tx:
        jobs.beat(tx, "w1", host="here", pid=1, queues=[], gpus=0.0, started=now())
    with either.read() as tx:
        assert [row["id"] for row in jobs.workers(tx)] == ["w1"]
        assert 0.0 <= jobs.silence_s(tx, "w1") < 60.0
        assert jobs.silence_s(tx, "nobody") == float("inf")
    with either.begin() as tx:
        jobs.beat(tx, "w1", stopped=now())
        assert jobs.workers(tx) == []


def test_another_organisation_sees_and_changes_nothing(either: Catalogue) -> None:
    run = a_job(either, priority=9)
    with either.begin() as tx:
        plans.keep_template(tx, "nightly", {"recipe": {}})
        plans.keep_schedule(tx, "s", cron="* * * * *", timezone="UTC", template="nightly", document={}, enabled=True)
    stranger = either.as_principal(MALLORY)
    with stranger.begin() as tx:
        assert jobs.find(tx, run) is None
        assert (jobs.open_jobs(tx), plans.templates(tx), plans.schedules(tx)) == ([], [], [])
        assert not jobs.take(tx, run, "mallory")
        for refused in (
            lambda: jobs.change(tx, run, priority=-9),
            lambda: plans.delete_schedule(tx, "s"),
            lambda: plans.delete_template(tx, "nightly"),
        ):
            with pytest.raises(NotFound):
                refused()
    with either.read() as tx:
        assert jobs.get(tx, run)["priority"] == 9
        assert len(plans.schedules(tx)) == 1


def test_schedules_are_due_in_order_and_only_while_they_are_enabled(either: Catalogue) -> None:
    noon = datetime(2030, 6, 1, 12, tzinfo=UTC)
    with either.begin() as tx:
        plans.keep_template(tx, "t", {})
        for name, minutes, enabled in (("b", -1, True), ("a", 0, True), ("later", 1, True), ("off", -5, False)):
            plans.keep_schedule(
                tx,
                name,
                cron="* * * * *",
                timezone="UTC",
                template="t",
                document={},
                enabled=enabled,
                next_at=noon + timedelta(minutes=minutes),
            )
    with either.begin() as tx:
        assert [row["name"] for row in plans.due(tx, noon)] == ["b", "a"]
        assert plans.next_due(tx) == noon - timedelta(minutes=1)
        with pytest.raises(StoreError, match="'a', 'b', 'later', 'off'"):
            plans.delete_template(tx, "t")
        for name in ("a", "b", "later"):
            plans.delete_schedule(tx, name)
        assert plans.next_due(tx) is None


@pytest.fixture
def shared(postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Lab]]:
    """One lab on PostgreSQL, opened three times."""
    monkeypatch.setenv("LABKIT_DATABASE_URL", postgresql_url)
    folder = tmp_path / "lab"
    with (
        labkit.open(folder, principal=ANNA) as one,
        labkit.open(folder, principal=ANNA) as two,
        labkit.open(folder, principal=ANNA) as three,
    ):
        yield [one, two, three]


@pytest.fixture(scope="module")
def oxide() -> Recipe:
    return load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))


def staffed(lab: Lab) -> None:
    """Let the lab believe that it has a worker, so that none is started on demand."""
    with lab.workplace.catalogue.begin() as tx:
        jobs.beat(tx, "a test", host="here", pid=1, queues=[], gpus=0.0, started=now())


def test_on_postgresql_a_due_schedule_is_handed_in_once_by_several_workers(shared: list[Lab], oxide: Recipe) -> None:
    staffed(shared[0])
    shared[0].add_tool("TUBE", "cvd", seed=1)
    shared[0].save_template("nightly", oxide, tool="TUBE")
    shared[0].schedule("every night", cron="0 2 * * *", template="nightly", lot="N-{number}")
    for count in range(1, 6):
        with shared[0].workplace.catalogue.begin() as tx:
            plans.change_schedule(tx, "every night", next_at=now().replace(microsecond=0))
        meeting, found = threading.Barrier(3), list[str]()

        def fire(lab: Lab, meeting: threading.Barrier = meeting, found: list[str] = found) -> None:
            meeting.wait(30)
            found += fire_due(lab.workplace)

        threads = [threading.Thread(target=fire, args=(lab,)) for lab in shared]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == 1
        assert shared[0].counts()["runs"] == count
