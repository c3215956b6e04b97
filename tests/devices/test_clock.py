"""The clocks: as fast as it computes, paced, and step by step; the wall clock moves nothing."""

import time
from itertools import pairwise

import pytest

from labkit.core import registry
from labkit.core.errors import ToolError
from labkit.core.tool import Clock, ToolState
from labkit.devices.background import iterate, wait
from labkit.devices.clock import Pace
from labkit.devices.simulated import SimulatedTool

CVD = registry.process("cvd")
RECIPE = CVD.example_recipes()[0]


class Ticking:
    """A monotonic clock that is turned by hand, s."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def running(clock: Clock, **options) -> SimulatedTool:
    tool = SimulatedTool("T", CVD, clock=clock, **options)
    wait(tool.connect())
    wait(tool.configure(RECIPE))
    wait(tool.load(CVD.incoming_wafers(RECIPE)))
    wait(tool.start("r", RECIPE.content_hash, 1))
    return tool


def test_a_paced_run_makes_as_many_samples_as_its_process_time_has_passed():
    clock = Ticking()
    pace = Pace(Clock(mode="paced", scale=10.0), period_s=0.5, monotonic=clock)
    assert pace.allowed() == 0
    assert pace.wait_s(0) == pytest.approx(0.05)
    clock.now += 3.0
    assert pace.allowed() == 60
    assert pace.wait_s(60) == pytest.approx(0.05)
    assert pace.wait_s(10) == 0.0


def test_time_that_a_run_was_held_does_not_count():
    clock = Ticking()
    pace = Pace(Clock(mode="paced", scale=1.0), period_s=1.0, monotonic=clock)
    clock.now += 10.0
    pace.hold()
    clock.now += 1_000.0
    pace.hold()
    assert pace.allowed() == 0
    assert pace.wait_s(10) is None
    pace.go_on()
    clock.now += 5.0
    assert pace.allowed() == 15


def test_an_unpaced_run_has_no_limit_unless_it_is_held():
    pace = Pace(Clock(), period_s=1.0)
    assert pace.allowed() > 10**9
    pace.hold()
    assert pace.allowed() == 0


def test_only_a_stepped_clock_is_stepped():
    with pytest.raises(ToolError, match="cannot be stepped"):
        Pace(Clock(mode="paced"), period_s=1.0).grant(5)
    tool = running(Clock(mode="paced"))
    with pytest.raises(ToolError, match="cannot be stepped"):
        wait(tool.step(5))
    wait(tool.stop())


def test_setting_the_computers_clock_moves_no_equipment(monkeypatch):
    pace = Pace(Clock(mode="paced", scale=1.0), period_s=3600.0)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert pace.allowed() == 0
    monkeypatch.setattr(time, "time", lambda: -4e9)
    assert pace.allowed() == 0


def test_a_stepped_run_moves_when_it_is_told_to_and_only_then():
    tool = running(Clock(mode="stepped"), block=100)
    assert wait(tool.step(250)) == 250
    assert wait(tool.ledger("r")).delivered == 250
    time.sleep(0.05)  # nothing may come of waiting
    assert wait(tool.ledger("r")).delivered == 250
    assert wait(tool.step(1)) == 251
    assert wait(tool.step(10**6)) == 3120
    assert wait(tool.status()).state is ToolState.DONE
    sizes = [len(block.telemetry["time"]) for block in iterate(tool.telemetry("r"))]
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    assert {250, 251, 3120} <= set(ends), "what a step has made is delivered, and nothing else before the next one"
    assert max(sizes) <= 100
    with pytest.raises(ToolError, match="nothing to step"):
        wait(tool.step(1))


def test_a_paced_run_keeps_pace_with_the_clock():
    began = time.monotonic()
    tool = running(Clock(mode="paced", scale=2_000.0))
    blocks = list(iterate(tool.telemetry("r")))
    assert time.monotonic() - began >= 3119 / 2_000.0
    times = [float(value) for block in blocks for value in block.telemetry["time"]]
    assert times == [float(n) for n in range(1, 3121)]
    assert all(late.sequence == early.sequence + 1 for early, late in pairwise(blocks))


def test_a_paced_run_does_not_run_ahead():
    tool = running(Clock(mode="paced", scale=1.0))
    assert wait(tool.ledger("r")).delivered < 60
    wait(tool.stop())
    assert wait(tool.unload("r")).sizes["slot"] == 25
