"""Schedules: what is handed in when, exactly once, whatever happens to clocks, workers and recipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import labkit
from labkit.core.errors import LabkitError, PermissionDenied
from labkit.core.identity import Principal, Role
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.lab import Lab, load_recipe
from labkit.runs import plans
from labkit.runs.worker import sole_worker
from labkit.store import jobs, recipes
from labkit.store import plans as rows
from labkit.store.catalogue import Row, Transaction

ANNA, BORIS = Principal("anna"), Principal("boris")
BERLIN = "Europe/Berlin"


@pytest.fixture(scope="module")
def oxide() -> Recipe:
    return load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Anna's lab with one tube, in which nobody works."""
    with labkit.open(tmp_path / "lab", principal=ANNA) as opened, sole_worker(opened.workplace):
        opened.add_tool("TUBE", "cvd", seed=1)
        yield opened


def overdue(lab: Lab, name: str, by: timedelta = timedelta(seconds=1)) -> datetime:
    """Make a schedule's next time lie in the past, as it does when the lab was not open then."""
    due = datetime.now(UTC).replace(microsecond=0) - by
    with lab.workplace.catalogue.begin() as tx:
        rows.change_schedule(tx, name, next_at=due)
    return due


@pytest.mark.parametrize(
    "cron",
    ["", "every night", "0 2 * *", "60 2 * * *", "0 24 * * *", "0 2 30 2 *", "0 2 * * 8", "*/0 * * * *", "@daily", 5],
)
def test_an_expression_that_is_none_is_refused_in_one_line_with_an_example(lab: Lab, oxide: Recipe, cron: str) -> None:
    lab.save_template("nightly", oxide, tool="TUBE")
    with pytest.raises(LabkitError, match="cron") as refused:
        lab.schedule("every night", cron=cron, template="nightly")
    assert "0 2 * * *" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(lab.schedules()) == 0


@pytest.mark.parametrize("timezone", ["Berlin", "", "../etc/passwd", "Europe/", "Mars/Olympus", None])
def test_a_time_zone_that_does_not_exist_is_refused_with_an_example(lab: Lab, oxide: Recipe, timezone: str) -> None:
    lab.save_template("nightly", oxide, tool="TUBE")
    with pytest.raises(LabkitError, match="timezone") as refused:
        lab.schedule("every night", cron="0 2 * * *", template="nightly", timezone=timezone)
    assert "Europe/Berlin" in str(refused.value)


def test_a_due_schedule_is_handed_in_once_and_waits_for_its_next_time(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("nightly", oxide, tool="TUBE", priority=3)
    lab.schedule("each minute", cron="* * * * *", template="nightly", timezone=BERLIN, lot="N-{date}-{time}-{number}")
    assert plans.fire_due(lab.workplace) == []
    due = overdue(lab, "each minute", timedelta(0))
    (run_id,) = plans.fire_due(lab.workplace, due)
    assert plans.fire_due(lab.workplace, due) == []
    run = lab.run(run_id)
    assert run.record["lot"] == f"N-{due.astimezone(ZoneInfo(BERLIN)):%Y-%m-%d-%H%M}-1"
    with lab.workplace.catalogue.read() as tx:
        job = jobs.get(tx, run_id)
        schedule = rows.schedule(tx, "each minute")
    assert (job["template"], job["schedule"], job["priority"]) == ("nightly", "each minute", 3)
    assert due < schedule["next_at"] <= due + timedelta(minutes=1)
    assert (schedule["last_run"], schedule["problem"]) == (run_id, None)
    (again,) = plans.fire_due(lab.workplace, schedule["next_at"])
    assert lab.run(again).record["lot"].endswith("-2")


def test_after_downtime_a_schedule_is_handed_in_once_and_says_so(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("hourly", oxide, tool="TUBE")
    lab.schedule("each hour", cron="0 * * * *", template="hourly")
    due = overdue(lab, "each hour", timedelta(days=3))
    (run_id,) = plans.fire_due(lab.workplace)
    assert plans.fire_due(lab.workplace) == []
    (row,) = lab.schedules()
    assert "once for all of it" in row["problem"]
    assert f"{due:%Y-%m-%d %H:%M}" in row["problem"]
    assert datetime.now(UTC) < row["next"] <= datetime.now(UTC) + timedelta(hours=1)
    assert any("once for all of it" in line["text"] for line in lab.job(run_id).log)


def test_a_clock_that_is_set_back_repeats_nothing(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("hourly", oxide, tool="TUBE")
    lab.schedule("each hour", cron="0 * * * *", template="hourly")
    noon = datetime(2040, 6, 1, 12, tzinfo=UTC)
    with lab.workplace.catalogue.begin() as tx:
        rows.change_schedule(tx, "each hour", next_at=noon)
    assert len(plans.fire_due(lab.workplace, noon)) == 1
    for minutes in range(-180, 60):
        assert plans.fire_due(lab.workplace, noon + timedelta(minutes=minutes)) == []
    assert len(plans.fire_due(lab.workplace, noon + timedelta(hours=1))) == 1


def test_a_disabled_schedule_rests_and_an_enabled_one_makes_up_for_nothing(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("hourly", oxide, tool="TUBE")
    lab.schedule("each hour", cron="0 * * * *", template="hourly")
    overdue(lab, "each hour")
    lab.disable_schedule("each hour")
    assert plans.fire_due(lab.workplace) == []
    with lab.workplace.catalogue.read() as tx:
        assert rows.next_due(tx) is None
    lab.enable_schedule("each hour")
    assert plans.fire_due(lab.workplace) == []
    with lab.workplace.catalogue.read() as tx:
        coming = rows.next_due(tx)
    assert coming is not None
    assert datetime.now(UTC) < coming <= datetime.now(UTC) + timedelta(hours=1)


def test_a_retired_recipe_is_a_problem_until_it_is_replaced(lab: Lab, oxide: Recipe) -> None:
    lab.save_recipe(oxide)
    lab.save_template("nightly", oxide.name, tool="TUBE")
    lab.schedule("every night", cron="0 2 * * *", template="nightly")
    with lab.workplace.catalogue.begin() as tx:
        recipes.retire(tx, oxide.name, oxide.version)
    with pytest.raises(LabkitError, match="retired"):
        lab.submit_template("nightly")
    overdue(lab, "every night")
    assert plans.fire_due(lab.workplace) == []
    (row,) = lab.schedules()
    assert "is retired" in row["problem"]
    assert row["enabled"]
    assert row["next"] > datetime.now(UTC)
    lab.save_template("nightly", oxide.changed({"version": oxide.version + 1}), tool="TUBE")
    overdue(lab, "every night", timedelta(0))
    assert len(plans.fire_due(lab.workplace)) == 1
    assert "retired" not in str(lab.schedules()[0]["problem"])


def test_one_schedule_that_cannot_be_handed_in_does_not_hold_up_the_others(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("gone", oxide, tool="NO-SUCH-TOOL")
    lab.save_template("good", oxide, tool="TUBE")
    lab.schedule("first", cron="0 2 * * *", template="gone")
    lab.schedule("second", cron="0 2 * * *", template="good")
    overdue(lab, "first", timedelta(seconds=2))
    overdue(lab, "second", timedelta(seconds=1))
    (run_id,) = plans.fire_due(lab.workplace)
    with lab.workplace.catalogue.read() as tx:
        assert jobs.get(tx, run_id)["schedule"] == "second"
    assert "NO-SUCH-TOOL" in lab.schedules()[0]["problem"]
    assert lab.counts()["runs"] == 1


def test_a_job_is_handed_in_in_the_name_of_whoever_made_the_schedule(tmp_path: Path, oxide: Recipe) -> None:
    with labkit.open(tmp_path / "lab", principal=ANNA) as hers, sole_worker(hers.workplace):
        hers.add_tool("TUBE", "cvd", seed=1)
        hers.save_template("nightly", oxide, tool="TUBE")
        hers.schedule("every night", cron="0 2 * * *", template="nightly")
        overdue(hers, "every night")
        with labkit.open(tmp_path / "lab", principal=BORIS) as his:
            (run_id,) = plans.fire_due(his.workplace)
            assert his.run(run_id).record["operator"] == "anna"


def test_a_viewer_plans_nothing(tmp_path: Path, oxide: Recipe) -> None:
    with labkit.open(tmp_path / "lab", principal=ANNA) as hers, sole_worker(hers.workplace):
        hers.add_tool("TUBE", "cvd", seed=1)
        hers.save_template("nightly", oxide, tool="TUBE")
        hers.schedule("every night", cron="0 2 * * *", template="nightly")
        with labkit.open(tmp_path / "lab", principal=Principal("vera", role=Role.VIEWER)) as looking:
            for call in (
                lambda: looking.save_template("other", oxide, tool="TUBE"),
                lambda: looking.submit_template("nightly"),
                lambda: looking.schedule("other", cron="0 3 * * *", template="nightly"),
                lambda: looking.disable_schedule("every night"),
                lambda: looking.unschedule("every night"),
                lambda: looking.delete_template("nightly"),
            ):
                with pytest.raises(PermissionDenied):
                    call()
            assert (len(looking.templates()), len(looking.schedules())) == (1, 1)


@pytest.mark.parametrize("lot", ["FIXED", "N-{day}", "N-{date", "N-{}", "", "N-{time}"])
def test_a_lot_that_two_runs_would_share_or_nobody_can_fill_in_is_refused(lab: Lab, oxide: Recipe, lot: str) -> None:
    lab.save_template("nightly", oxide, tool="TUBE")
    with pytest.raises(LabkitError, match="lot"):
        lab.schedule("every night", cron="0 2 * * *", template="nightly", lot=lot)
    assert len(lab.schedules()) == 0


def test_schedules_show_when_they_come_in_their_own_time_zone(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("nightly", oxide, tool="TUBE")
    lab.schedule("every night", cron="0 2 * * *", template="nightly", timezone=BERLIN, lot="N-{date}")
    first = lab.schedule("at noon", cron="0 12 * * *", template="nightly", timezone="Asia/Kolkata")
    assert f"{first:%H:%M %Z}" == "12:00 IST"
    found = {row["name"]: row for row in lab.schedules()}
    assert f"{found['every night']['next']:%H:%M}" == "02:00"
    assert found["every night"]["then"].date() == found["every night"]["next"].date() + timedelta(days=1)
    assert "next" in lab.schedules().title


def test_two_workers_hand_a_due_schedule_in_once(tmp_path: Path, oxide: Recipe) -> None:
    with (
        labkit.open(tmp_path / "lab", principal=ANNA) as one,
        sole_worker(one.workplace),
        labkit.open(tmp_path / "lab", principal=BORIS) as other,
    ):
        one.add_tool("TUBE", "cvd", seed=1)
        one.save_template("nightly", oxide, tool="TUBE")
        one.schedule("every night", cron="0 2 * * *", template="nightly", lot="N-{number}")
        for _ in range(5):
            before = one.counts()["runs"]
            overdue(one, "every night", timedelta(0))
            meeting, found = threading.Barrier(4), list[str]()

            def fire(lab: Lab, meeting: threading.Barrier = meeting, found: list[str] = found) -> None:
                meeting.wait(30)
                found += plans.fire_due(lab.workplace)

            threads = [threading.Thread(target=fire, args=(lab,)) for lab in (one, other, one, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert len(found) == 1
            assert one.counts()["runs"] == before + 1


def test_a_schedule_that_another_worker_hands_in_meanwhile_is_left_alone(
    lab: Lab, oxide: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.save_template("nightly", oxide, tool="TUBE")
    lab.schedule("every night", cron="0 2 * * *", template="nightly")
    overdue(lab, "every night", timedelta(0))
    look, others = rows.due, list[str]()

    def look_and_be_overtaken(tx: Transaction, moment: datetime) -> list[Row]:
        found = look(tx, moment)
        monkeypatch.setattr(rows, "due", look)
        others.extend(plans.fire_due(lab.workplace))
        return found

    monkeypatch.setattr(rows, "due", look_and_be_overtaken)
    assert plans.fire_due(lab.workplace) == []
    assert len(others) == lab.counts()["runs"] == 1


_DIES = """
import os, signal, sys
import labkit
from labkit.runs import plans
from labkit.store import plans as rows
from labkit.store.catalogue import Row, Transaction
moment, real = sys.argv[2], rows.change_schedule
def die(*arguments, **changes):
    if moment == "after":
        real(*arguments, **changes)
    os.kill(os.getpid(), signal.SIGKILL)
rows.change_schedule = die
with labkit.open(sys.argv[1]) as lab:
    plans.fire_due(lab.workplace)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_between_handing_in_and_moving_on_neither_loses_nor_repeats_the_job(
    lab: Lab, oxide: Recipe, moment: str
) -> None:
    lab.save_template("nightly", oxide, tool="TUBE")
    lab.schedule("every night", cron="0 2 * * *", template="nightly")
    overdue(lab, "every night", timedelta(0))
    died = subprocess.run([sys.executable, "-c", _DIES, str(lab.folder), moment], env=os.environ, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert lab.counts()["runs"] == 0
    assert len(plans.fire_due(lab.workplace)) == 1
    assert lab.counts()["runs"] == 1
