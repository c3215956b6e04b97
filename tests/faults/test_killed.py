"""Processes killed in the middle of a run or a sweep: what they did is all there or not at all, and the lab goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.core.errors import LabkitError
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.lab import Lab

from .conftest import Nursery

EXECUTOR = """
import threading, os, signal, time
import labkit
def kill():
    time.sleep(float(arguments[1]))
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
lab = labkit.open(arguments[0])
recipe = lab.process("cvd").example_recipes()[0]
while True:
    print(lab.execute(recipe, tool="TUBE", progress=False).id, flush=True)
"""
STOPPED_AT = """
import os, signal
import labkit
from labkit.runs import conclude, execute
def stop(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)
name = {"predicting": "forecast", "starting": "carry_out", "judging": "judge", "committing": "_commit"}[arguments[1]]
module = execute if name in ("forecast", "carry_out") else conclude
getattr(module, name)
setattr(module, name, stop)
lab = labkit.open(arguments[0])
lab.execute(lab.process("cvd").example_recipes()[0], tool="TUBE", progress=False)
"""
SWEEPER = """
import time
import labkit
lab = labkit.open(arguments[0])
process = lab.process("cvd")
expected, done = type(process).expected, []
def counting(*given, **named):
    if len(done) >= 20:
        time.sleep(100)
    done.append(1)
    return expected(*given, **named)
type(process).expected = counting
over = {"recipe_steps.3.duration_s": [600.0 + i for i in range(int(arguments[1]))]}
lab.sweep(process.example_recipes()[0], over, progress=False)
"""
OVER = {"recipe_steps.3.duration_s": [600.0 + i for i in range(96)]}


def _half_done(lab: Lab) -> int:
    """Wait until the sweep in *lab* has finished some chunks; returns how many points those have."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        chunks = lab.sql("select * from sweep_chunks")
        finished = int(chunks[chunks["artifact"].notna()]["count"].sum())
        if finished >= 12:
            return finished
        time.sleep(0.05)
    raise AssertionError("the sweep does not get on")


def test_a_lab_survives_kills_at_any_moment_and_loses_nothing_that_was_acknowledged(
    tmp_path: Path, nursery: Nursery, oxide: Recipe, whole: Callable[[Lab], None]
) -> None:
    folder, acknowledged = tmp_path / "lab", []
    with labkit.open(folder) as lab:
        lab.add_tool("TUBE", "cvd", seed=1)
    moments = random.Random(20)
    for _ in range(10):
        status, out = nursery.run(EXECUTOR, folder, round(moments.uniform(0.05, 0.9), 3))
        assert status == -signal.SIGKILL, out
        acknowledged += out.split()
        with labkit.open(folder) as lab:
            for run in lab.runs(state="ENGINEER_REVIEW"):
                assert "what the wafers are is not known" in str(run["error_message"])
                lab.clear(run["seq"], "wafers scrapped")
            for run in lab.runs(limit=1000):
                assert run["state"] in ("COMPLETED", "CANCELLED", "CLEARED")
            assert {run["id"] for run in lab.runs(state="COMPLETED", limit=1000)} >= set(acknowledged)
            assert [tool["state"] for tool in lab.tools()] == ["standby"]
            staging = folder / "staging"
            assert not staging.exists() or list(staging.iterdir()) == []
    with labkit.open(folder) as lab:
        assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"
        whole(lab)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("predicting", "CANCELLED"),
        ("starting", "CANCELLED"),
        ("judging", "COMPLETED"),
        ("committing", "COMPLETED"),
    ],
)
def test_a_run_whose_process_was_killed_is_marked_by_how_far_it_had_come(
    tmp_path: Path, nursery: Nursery, oxide: Recipe, whole: Callable[[Lab], None], moment: str, expected: str
) -> None:
    folder = tmp_path / "lab"
    with labkit.open(folder) as lab:
        lab.add_tool("TUBE", "cvd", seed=1)
    status, out = nursery.run(STOPPED_AT, folder, moment)
    assert status == -signal.SIGKILL, out
    with labkit.open(folder) as lab:
        run = lab.run(1)
        assert run.state == expected
        assert [tool["state"] for tool in lab.tools()] == ["standby"]
        assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"
        whole(lab)
        states = [row["target"] for row in run.transitions]
        assert len(states) == len(set(states))


def test_a_killed_sweep_goes_on_with_the_chunks_that_are_missing(
    tmp_path: Path, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lab"
    with labkit.open(folder) as lab:
        process = lab.process("cvd")
        recipe = process.example_recipes()[0]
        child, _ = nursery.start(SWEEPER, folder, 96)
        try:
            _half_done(lab)
            assert lab.run(1).state == "RUNNING"
            with pytest.raises(LabkitError, match="sweep 1 is RUNNING"):
                lab.sweep(recipe, OVER, resume=1, progress=False)
        finally:
            os.kill(child, signal.SIGKILL)
    time.sleep(0.2)
    with labkit.open(folder) as lab:
        finished = _half_done(lab)
        assert (lab.run(1).state, len(lab.tools())) == ("PAUSED", 0)
        evaluated: list[int] = []
        expected = type(process).expected

        def counting(self: Process, *given: Any) -> Mapping[str, float]:
            evaluated.append(1)
            return expected(self, *given)

        monkeypatch.setattr(type(process), "expected", counting)
        with pytest.raises(LabkitError, match="not this sweep"):
            lab.sweep(recipe, {"recipe_steps.3.duration_s": [600.0]}, resume=1, progress=False)
        done = lab.sweep(recipe, OVER, resume=1, progress=False)
        assert (done.seq, done.state) == (1, "COMPLETED")
        assert len(evaluated) == 96 - finished
        thickness = done.data["sweep"]["thickness_mean_nm"]
        assert dict(thickness.sizes) == {"recipe_steps_3_duration_s": 96}
        assert bool((thickness.diff("recipe_steps_3_duration_s") > 0.0).all())
        with pytest.raises(LabkitError, match="is COMPLETED"):
            lab.sweep(recipe, OVER, resume=done, progress=False)


def test_a_sweep_that_fails_half_way_waits_to_be_resumed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    process = lab.process("cvd")
    recipe, expected = process.example_recipes()[0], type(process).expected
    with monkeypatch.context() as patch:
        patch.setattr(type(process), "expected", lambda self, *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lab.sweep(recipe, OVER, progress=False)
    assert expected is type(process).expected
    assert lab.run(1).state == "PAUSED"
    assert "division by zero" in str(lab.run(1).transitions[-1]["reason"])
    assert lab.sweep(recipe, OVER, resume=1, progress=False).state == "COMPLETED"


def test_an_interrupt_while_a_run_is_being_committed_waits_for_the_commit(
    lab: Lab, oxide: Recipe, monkeypatch: pytest.MonkeyPatch, whole: Callable[[Lab], None]
) -> None:
    from labkit.runs import conclude

    real = conclude._commit

    def interrupted(*arguments: object) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(conclude, "_commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.execute(oxide, tool="TUBE", progress=False)
    assert lab.run(1).state == "COMPLETED"
    assert lab.run(1).data["telemetry"].sizes["time"] > 1000
    whole(lab)
