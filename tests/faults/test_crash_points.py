"""Every point at which a labkit process lets go of something, found by tracing: each is killed at, before and after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import crash_points, referee, warm
from .conftest import Scene, Stage

pytestmark = pytest.mark.timeout(300)
SCENARIOS = {
    "run": """
job = lab.submit(recipe, tool="TUBE")
""",
    "cancel": """
job = lab.submit(recipe, tool="SLOW")
until(lambda: job.progress > 5.0, "the tool is at work")
job.cancel()
""",
    "pause": """
job = lab.submit(recipe, tool="SLOW")
until(lambda: job.progress > 5.0, "the tool is at work")
job.pause()
until(lambda: job.state == "PAUSED", "the tool is held")
job.resume()
""",
    "retry": """
tool = lab.tool("TUBE")
tool.stop(emergency=True)
job = lab.submit(recipe, tool="TUBE")
until(lambda: any("not started" in line["text"] for line in job.log), "the tool has refused")
tool.reset()
lab.set_tool_state("TUBE", "standby", "looked at")
""",
    "calibrate": """
job = lab.submit_calibration("TUBE", "mfc_gain.SiH4")
""",
    "sweep": """
job = lab.submit_sweep(recipe, {"recipe_steps.3.duration_s": [600.0, 700.0, 800.0, 900.0]})
""",
}
"""What a notebook does."""
TO_THE_END = """
print(job.result(80.0).state, flush=True)
lab.close()
"""
RECOVERY = """
RESTING = {"COMPLETED", "ENGINEER_REVIEW", "CANCELLED", "FAILED", "BLOCKED", "REJECTED"}
if arguments[1] == "retry":
    lab.tool("TUBE").reset()
    lab.set_tool_state("TUBE", "standby", "looked at")
for waiting in lab.jobs():
    if waiting["paused"]:
        lab.job(waiting["run"]).resume()
until(lambda: {run["state"] for run in lab.runs(limit=1000)} <= RESTING, "every run is at rest", 60.0)
states = {run["id"]: run["state"] for run in lab.runs(limit=1000)}
findings = [dict(row)["reason"] for row in lab.verify()]
for run in lab.runs(state="ENGINEER_REVIEW", limit=1000):
    lab.clear(run["seq"], "looked at the wafers")
following = lab.submit(recipe, tool=arguments[2]).result(60.0).state if arguments[2] else "COMPLETED"
print(json.dumps({"states": states, "findings": findings, "following": following}), flush=True)
lab.close()
"""
"""What a person does after the crash: opens the lab, waits, resumes and clears what waits for a person, goes on."""


def _tool_of(scenario: str) -> str:
    return "SLOW" if scenario in ("cancel", "pause") else "TUBE"


@pytest.fixture(scope="module")
def reached(stage: Stage) -> dict[str, dict[str, set[str]]]:
    """The points that were reached, by scenario and role."""
    found = {}
    for name, script in SCENARIOS.items():
        scene = stage.scene()
        child = scene.start(script + TO_THE_END, traced=True)
        scene.until(lambda child=child: not warm.alive(child), f"the notebook has ended ({name})")  # type: ignore[misc]
        scene.until(
            lambda log=scene.folder / "logs" / "worker.log": "nothing left" in log.read_text(), "the worker has"
        )  # type: ignore[misc]
        assert scene.said().split()[-1] == ("CANCELLED" if name == "cancel" else "COMPLETED"), scene.logs()
        found[name] = {role: scene.points(role) for role in crash_points.ROLES}
        scene.end()
        _remove(scene.folder)
    return found


def test_every_point_that_is_reached_is_listed_and_every_listed_one_is_reached(
    reached: dict[str, dict[str, set[str]]],
) -> None:
    missing, stale = [], []
    for role in crash_points.ROLES:
        listed = {point for scenario in crash_points.POINTS.values() for point in scenario.get(role, ())}
        listed |= {*crash_points.BY_CHANCE.get(role, ())}
        for scenario, found in reached.items():
            missing += [f'"{point}",  # {scenario}, {role}' for point in sorted(found[role] - listed)]
            listed |= found[role]
            expected = crash_points.POINTS[scenario].get(role, ())
            stale += [f"{scenario}, {role}: {point}" for point in expected if point not in found[role]]
    assert not missing, "add to tests/faults/crash_points.py:\n" + "\n".join(missing)
    assert not stale, "listed in tests/faults/crash_points.py but never reached:\n" + "\n".join(stale)


def _cases() -> Iterator[Any]:
    """Each listed point: one moment in the ordinary tests, the other one in the soak."""
    turn = 0
    for scenario, roles in crash_points.POINTS.items():
        for role, points in roles.items():
            for point in points:
                turn += 1
                for moment in ("before", "after"):
                    ordinary = (moment == "before") == bool(turn % 2)
                    marks = [] if ordinary else [pytest.mark.soak]
                    yield pytest.param(
                        scenario, role, moment, point, marks=marks, id=f"{scenario}-{role}-{moment} {point}"
                    )


@pytest.mark.parametrize(("scenario", "role", "moment", "point"), list(_cases()))
def test_a_process_killed_at_a_point_loses_nothing_and_repeats_nothing(
    stage: Stage, scenario: str, role: str, moment: str, point: str
) -> None:
    scene = stage.scene()
    try:
        notebook = scene.start(SCENARIOS[scenario] + TO_THE_END, kill=(role, moment, point))
        scene.until(lambda: scene.died, f"{role} was killed {moment} {point}")
        if role == "worker":
            warm.end_one(notebook)
        again = role == "tool" or (moment == "after" and _tool_of(scenario) == "TUBE")
        told = _recovered(scene, scenario, _tool_of(scenario) if again else "")
        wrong = crash_points.judge(scenario, role, moment, point, list(told["states"].values()))
        wrong += [f"lab.verify() finds: {finding}" for finding in told["findings"]]
        narrowed = {run: {state, "CLEARED"} for run, state in told["states"].items()}
        wrong += referee.complaints(scene.folder, narrowed)
        if told["following"] != "COMPLETED":
            wrong.append(f"the next run on that tool is {told['following']}")
        assert not wrong, "\n".join([*wrong, scene.logs()])
    finally:
        scene.end()
        _remove(scene.folder)


def _recovered(scene: Scene, scenario: str, tool: str) -> dict[str, Any]:
    """What the recovery of the lab has found; a run on *tool* follows if one is named."""
    said = scene.run(RECOVERY, scenario, tool)
    assert said.startswith("{"), scene.logs()
    return dict(json.loads(said.splitlines()[0]))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.rmtree(folder.with_name(f"{folder.name}-traces"))
