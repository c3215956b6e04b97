"""Workers, tools and notebooks killed at any moment while a stream of runs goes through two tools."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress

import pytest

from . import referee, warm
from .conftest import Scene, Stage

STREAM = """
turn = 0
while True:
    tool = ("TUBE", "TUBE-2")[turn % 2]
    print(lab.submit(recipe, tool=tool).id, flush=True)
    turn += 1
    until(lambda: len(lab.jobs()) < 6, "the queue is short", 600.0) if turn % 4 == 0 else None
    for run in lab.runs(state="ENGINEER_REVIEW", limit=1000):
        lab.clear(run["seq"], "looked at the wafers")
    time.sleep(0.2)
"""
"""A notebook that hands in runs and clears what waits for a person; it prints what it was told is handed in."""
AFTERWARDS = """
def put_right():
    for run in lab.runs(state="ENGINEER_REVIEW", limit=1000):
        lab.clear(run["seq"], "looked at the wafers")
    return {run["state"] for run in lab.runs(limit=1000)} <= {"COMPLETED", "CLEARED"}

until(put_right, "every run is at rest", 180.0)
for tool in ("TUBE", "TUBE-2"):
    assert lab.submit(recipe, tool=tool).result(60.0).state == "COMPLETED"
print(json.dumps([dict(row)["reason"] for row in lab.verify()]))
lab.close()
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 17))])
def test_kills_at_any_moment_lose_no_run_and_repeat_none(stage: Stage, seed: int) -> None:
    scene = stage.scene()
    try:
        handed_in, killed = _storm(scene, random.Random(seed), kills=20)
        assert len(killed) >= 20
        assert {"notebook", "worker", "tool"} <= set(killed)
        said = scene.run(AFTERWARDS, seconds=300.0)
        assert said.startswith("["), scene.logs()
        wrong = [f"lab.verify() finds: {finding}" for finding in json.loads(said)]
        known = {run["id"] for run in referee.runs(scene.folder)}
        wrong += [f"{run} was handed in and is gone" for run in sorted(handed_in - known)]
        wrong += referee.complaints(scene.folder)
        assert not wrong, f"after {killed}:\n" + "\n".join([*wrong, scene.logs()])
    finally:
        scene.end()
        shutil.rmtree(scene.folder)


def _storm(scene: Scene, dice: random.Random, kills: int) -> tuple[set[str], list[str]]:
    """Let *kills* processes die; the runs that were handed in, and who died."""
    notebook = scene.start(STREAM)
    killed: list[str] = []
    while len(killed) < kills:
        time.sleep(dice.uniform(0.1, 1.2))
        assert warm.alive(notebook), f"the notebook ended by itself\n{scene.logs()}"
        choice = dice.choice(["worker", "worker", "tool", "tool", "notebook", "everybody"])
        victims = {
            "worker": scene.workers(),
            "tool": scene.tools()[:1] if dice.random() < 0.5 else scene.tools()[-1:],
            "notebook": [notebook],
        }
        roles = list(victims) if choice == "everybody" else [choice]
        for role in roles:
            for pid in victims[role]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(role)
        if "notebook" in roles:
            scene.until(lambda pid=notebook: not warm.alive(pid), "the notebook is gone")  # type: ignore[misc]
            notebook = scene.start(STREAM)
    warm.end_one(notebook)
    return scene.words(), killed
