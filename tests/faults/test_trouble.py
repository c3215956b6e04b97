"""Trouble that is not a crash at one point: the death of either side, clocks, disks and databases."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing, suppress
from typing import Any

import pytest
from filelock import FileLock

from . import referee, warm
from .conftest import Scene, Stage

SUBMIT_SLOW = """
lab.add_tool("SLOWER", "cvd", seed=4, clock=Clock(mode="paced", scale=624.0))
print(lab.submit(recipe, tool="SLOWER").id, flush=True)
"""
"""A run of five seconds; the notebook ends at once."""
AFTERWARDS = """
until(lambda: all(lab.job(run["id"]).done for run in lab.runs(limit=1000)), "every run is at rest", 60.0)
states = [run["state"] for run in lab.runs(sort="oldest", limit=1000)]
for run in lab.runs(state="ENGINEER_REVIEW", limit=1000):
    lab.clear(run["seq"], "looked at the wafers")
for tool in arguments[1:]:
    states.append(lab.submit(recipe, tool=tool).result(60.0).state)
print(json.dumps([states, [dict(row)["reason"] for row in lab.verify()]]))
lab.close()
"""


def _ledger(scene: Scene, column: str) -> Any:
    """What the ledgers say of the only run; None before there is one."""
    for path in scene.folder.glob("tools/*/ledger.db"):
        with suppress(sqlite3.OperationalError):  # its tables are just being made
            for (value,) in referee.query(path, f"select {column} from runs"):
                return value
    return None


def _kill(scene: Scene, pids: list[int]) -> None:
    assert pids, scene.logs()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        scene.until(lambda pid=pid: not warm.alive(pid), f"{pid} is gone")  # type: ignore[misc]


def _afterwards(scene: Scene, *tools: str) -> list[str]:
    """The states of all runs in order, once all is done and nothing is wrong; a run on each of *tools* comes last."""
    said = scene.run(AFTERWARDS, *tools)
    assert said.startswith("["), scene.logs()
    states, findings = json.loads(said.splitlines()[0])
    wrong = [*findings, *referee.complaints(scene.folder)]
    assert not wrong, "\n".join([*wrong, scene.logs()])
    return list(states)


def test_a_tool_goes_on_without_its_worker_and_the_next_one_has_all_its_data(scene: Scene) -> None:
    scene.run(SUBMIT_SLOW)
    scene.until(lambda: _ledger(scene, "acknowledged"), "the tool has forgotten its first telemetry")
    before = _ledger(scene, "delivered")
    _kill(scene, scene.workers())
    scene.until(lambda: _ledger(scene, "delivered") > before, "the tool has gone on alone")
    assert _ledger(scene, "state") == "running"
    assert _afterwards(scene) == ["COMPLETED"]
    assert _ledger(scene, "acknowledged") > 0


def test_a_run_that_ended_while_no_worker_was_there_is_judged_by_the_next_one(scene: Scene) -> None:
    scene.run(SUBMIT_SLOW)
    scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
    _kill(scene, scene.workers())
    scene.until(lambda: _ledger(scene, "state") == "done", "the tool has finished alone")
    assert _afterwards(scene, "TUBE") == ["COMPLETED", "COMPLETED"]


def test_a_worker_survives_its_tool_and_the_run_waits_for_an_engineer(scene: Scene) -> None:
    scene.run(SUBMIT_SLOW)
    scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
    worker = scene.workers()
    _kill(scene, scene.tools())
    scene.until(lambda: _ledger(scene, "state") == "interrupted", "the tool has found what it lost")
    assert scene.workers() == worker
    assert _afterwards(scene, "SLOWER") == ["ENGINEER_REVIEW", "COMPLETED"]


def test_when_both_die_the_run_waits_for_an_engineer_and_the_lab_goes_on(scene: Scene) -> None:
    scene.run(SUBMIT_SLOW)
    scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
    _kill(scene, [*scene.workers(), *scene.tools()])
    assert _afterwards(scene, "SLOWER") == ["ENGINEER_REVIEW", "COMPLETED"]


STREAM = """
jobs = [lab.submit(recipe, tool=tool) for tool in ("TUBE", "SLOW", "TUBE", "TUBE")]
for job in jobs:
    job.result(60.0)
lab.close()
"""


@pytest.mark.parametrize("days", [1, -1, 400])
@pytest.mark.parametrize("after_s", [0.7, 2.0])
def test_a_clock_that_jumps_loses_no_run(stage: Stage, days: float, after_s: float) -> None:
    scene = stage.scene(CLOCK_JUMP=json.dumps([after_s, 86_400.0 * days]))
    try:
        scene.run(STREAM)
        assert _afterwards(scene, "TUBE") == ["COMPLETED"] * 5
    finally:
        scene.end()
        shutil.rmtree(scene.folder)


STEAL = """
from labkit.core.errors import LabkitError
try:
    print(lab.execute(recipe, tool="SLOWER", progress=False).state)
except LabkitError as error:
    print("refused:", error)
lab.close()
"""


def test_a_notebook_whose_clock_is_wrong_cannot_take_a_tool_that_is_at_work(stage: Stage) -> None:
    scene = stage.scene()
    try:
        scene.run(SUBMIT_SLOW)
        scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
        said = scene.run(STEAL, CLOCK_JUMP=json.dumps([-1.0, 3 * 86_400.0]))
        assert said.split()[0] in ("COMPLETED", "refused:"), said
        assert _afterwards(scene, "SLOWER")[0] == "COMPLETED"
        ((overlapping,),) = referee.query(
            scene.folder / "tools" / "SLOWER" / "ledger.db",
            "select count(*) from runs a join runs b on a.number < b.number and b.started < a.ended",
        )
        assert not overlapping
    finally:
        scene.end()
        shutil.rmtree(scene.folder)


def test_a_disk_that_is_full_for_a_while_loses_no_run(stage: Stage) -> None:
    scene = stage.scene(DISK_FULL="FOLDER.full")
    full = scene.folder.with_name(f"{scene.folder.name}.full")
    try:
        scene.run(SUBMIT_SLOW)
        scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
        full.touch()
        time.sleep(2.0)
        full.unlink()
        scene.until(lambda: _ledger(scene, "state") == "done", "the tool has come to the end")
        assert _afterwards(scene, "SLOWER") == ["COMPLETED", "COMPLETED"]
    finally:
        full.unlink(missing_ok=True)
        scene.end()
        shutil.rmtree(scene.folder)


def test_a_catalogue_that_another_writer_holds_for_seconds_loses_no_run(scene: Scene) -> None:
    scene.run(SUBMIT_SLOW)
    scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
    with closing(sqlite3.connect(scene.folder / "catalogue.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        scene.until(lambda: _ledger(scene, "state") == "done", "the tool has come to the end")
        time.sleep(1.0)
        other.execute("rollback")
    assert _afterwards(scene, "TUBE") == ["COMPLETED", "COMPLETED"]


def test_a_catalogue_that_is_lost_and_comes_back_loses_no_run(scene: Scene) -> None:
    scene.run(SUBMIT_SLOW)
    scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
    names = ("catalogue.db", "catalogue.db-wal", "catalogue.db-shm")
    for name in names:
        (scene.folder / name).rename(scene.folder / f"away-{name}")
    time.sleep(1.5)
    for name in names:
        (scene.folder / f"away-{name}").rename(scene.folder / name)
    scene.until(lambda: _ledger(scene, "state") == "done", "the tool has come to the end")
    assert _afterwards(scene, "SLOWER") == ["COMPLETED", "COMPLETED"]


SECOND = """
from labkit.cli import main
main(["--lab", arguments[0], "worker"])
"""


def test_a_second_worker_of_a_lab_is_refused_in_one_line(scene: Scene) -> None:
    scene.run(SUBMIT_SLOW)
    scene.until(lambda: _ledger(scene, "delivered"), "the tool is at work")
    said = scene.run(SECOND)
    assert len(said.splitlines()) == 1, said
    assert "has a worker already" in said
    assert "Fix: " in said
    assert _afterwards(scene) == ["COMPLETED"]


RECOVER_AGAIN = """
from labkit.runs.recovery import recover
from labkit.store import jobs

place, run = lab.workplace, lab.run(1).id
seen = set()
for turn in range(200):
    with place.catalogue.begin() as tx:
        jobs.change(tx, run, worker=f"dead-{turn}")
    found = recover(place)
    assert [one.running for one in found] == [True], found
    seen.add(lab.run(1).state)
print(sorted(seen), len(lab.run(1).transitions))
with place.catalogue.begin() as tx:
    jobs.hand_over(tx, run)
"""
STEPPED = """
lab.add_tool("STEPPED", "cvd", seed=5, clock=Clock(mode="stepped"))
print(lab.submit(recipe, tool="STEPPED").id, flush=True)
"""


def test_two_hundred_recoveries_of_one_run_change_nothing(scene: Scene) -> None:
    scene.run(STEPPED)
    scene.until(lambda: _ledger(scene, "state"), "the tool has started")
    _kill(scene, scene.workers())
    before = referee.query(scene.folder / "catalogue.db", "select count(*) from transitions")[0][0]
    with FileLock(scene.folder / "locks" / "worker.lock"):
        said = scene.run(RECOVER_AGAIN)
    assert said.strip() == f"['RUNNING'] {before}", scene.logs()
    scene.run('wait(lab.tool("STEPPED").asynchronous.step(10_000))')
    assert _afterwards(scene) == ["COMPLETED"]
