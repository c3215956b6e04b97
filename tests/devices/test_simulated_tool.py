import asyncio
import json

import numpy as np
import pytest

from labkit.core import registry
from labkit.core.errors import LabkitError, ToolError
from labkit.core.tool import Fault, ToolState
from labkit.devices.background import event_loop, iterate, wait
from labkit.devices.simulated import SimulatedTool

CVD = registry.process("cvd")
RECIPE = CVD.example_recipes()[0]
WAFER = CVD.incoming_wafers(RECIPE)


def ready(**options) -> SimulatedTool:
    tool = SimulatedTool("T", CVD, **options)
    wait(tool.connect())
    wait(tool.configure(RECIPE))
    wait(tool.load(WAFER))
    return tool


def played(tool: SimulatedTool, run_id: str = "r", fence: int = 1) -> list[dict[str, np.ndarray]]:
    wait(tool.start(run_id, RECIPE.content_hash, fence))
    return list(iterate(tool.telemetry()))


def test_a_run_goes_from_start_to_done_and_gives_its_wafers_back():
    tool = ready()
    blocks = played(tool)
    assert sum(len(b["time"]) for b in blocks) == 3120
    status = wait(tool.status())
    assert (status.state, status.progress, status.run_id) == (ToolState.DONE, 1.0, "r")
    assert wait(tool.unload()).sizes["slot"] == 25


def test_starting_the_same_run_again_changes_nothing():
    tool = ready()
    wait(tool.start("r", RECIPE.content_hash, 5))
    first = next(iterate(tool.telemetry()))
    wait(tool.start("r", RECIPE.content_hash, 5))
    second = next(iterate(tool.telemetry()))
    assert second["time"][0] > first["time"][-1]
    assert wait(tool.status()).state is ToolState.RUNNING


def test_an_older_fence_is_refused():
    tool = ready()
    played(tool, "r1", fence=7)
    wait(tool.configure(RECIPE))
    wait(tool.load(WAFER))
    with pytest.raises(ToolError, match="fence 7; 6 is older"):
        wait(tool.start("r2", RECIPE.content_hash, 6))


def test_another_recipe_than_the_configured_one_is_refused():
    tool = ready()
    with pytest.raises(ToolError, match="holds recipe"):
        wait(tool.start("r", "0" * 64, 1))


def test_a_tool_without_wafers_or_recipe_does_not_start():
    tool = SimulatedTool("T", CVD)
    wait(tool.connect())
    with pytest.raises(ToolError, match="not configured"):
        wait(tool.start("r", RECIPE.content_hash, 1))
    wait(tool.configure(RECIPE))
    with pytest.raises(ToolError, match="no wafers"):
        wait(tool.start("r", RECIPE.content_hash, 1))


def test_a_recipe_of_another_process_is_refused():
    tool = SimulatedTool("T", CVD)
    wait(tool.connect())
    with pytest.raises(ToolError, match="cannot run a lithography recipe"):
        wait(tool.configure(registry.process("lithography").example_recipes()[0]))


def test_an_emergency_stop_latches_until_it_is_reset():
    tool = ready(block=100)
    wait(tool.start("r", RECIPE.content_hash, 1))
    next(iterate(tool.telemetry()))
    wait(tool.stop(emergency=True))
    assert wait(tool.status()).latched
    assert list(iterate(tool.telemetry())) == []
    assert not any(wait(tool.interlocks()).values())
    with pytest.raises(ToolError, match="emergency"):
        wait(tool.configure(RECIPE))
    wait(tool.reset())
    wait(tool.configure(RECIPE))
    assert all(wait(tool.interlocks()).values())


def test_a_stopped_run_leaves_the_film_it_had_grown():
    tool = ready(block=1500)
    wait(tool.start("r", RECIPE.content_hash, 1))
    next(iterate(tool.telemetry()))
    wait(tool.stop())
    partial = float(wait(tool.unload())["thickness"].mean())
    whole = ready()
    played(whole)
    assert 0.0 < partial < 0.6 * float(wait(whole.unload())["thickness"].mean())


def test_pause_holds_the_run_and_resume_continues_it_as_if_nothing_had_happened():
    plain, paused = ready(block=500), ready(block=500)
    expected = played(plain)
    wait(paused.start("r", RECIPE.content_hash, 1))
    stream = iterate(paused.telemetry())
    blocks = [next(stream)]
    wait(paused.pause())

    async def nothing_comes() -> bool:
        waiting = asyncio.ensure_future(anext(paused.telemetry()))
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        waiting.cancel()
        return not done

    assert wait(nothing_comes())
    assert wait(paused.status()).state is ToolState.PAUSED
    wait(paused.resume())
    blocks += list(stream)
    for name in expected[0]:
        np.testing.assert_array_equal(
            np.concatenate([b[name] for b in blocks]), np.concatenate([b[name] for b in expected])
        )


def test_a_running_tool_cannot_be_disconnected_configured_or_unloaded():
    tool = ready(block=10)
    wait(tool.start("r", RECIPE.content_hash, 1))
    for refused in (tool.disconnect, lambda: tool.configure(RECIPE), tool.unload):
        with pytest.raises(ToolError):
            wait(refused())


def test_the_seed_fixes_every_sample_and_runs_differ():
    first, again, other = ready(seed=3), ready(seed=3), ready(seed=4)
    a, b, c = (played(tool)[0]["chamber_pressure_torr"] for tool in (first, again, other))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    wait(first.configure(RECIPE))
    wait(first.load(WAFER))
    assert not np.array_equal(a, played(first, "r2", 2)[0]["chamber_pressure_torr"])


def test_a_fault_starts_at_its_run_grows_and_ends():
    fault = Fault(mode="sih4_mfc", magnitude=0.02, per_run=0.01, first_run=3, last_run=5)
    tool = SimulatedTool("T", CVD)
    tool.inject(fault)
    gains = [tool.condition_at(n).value("mfc_gain.SiH4") for n in range(1, 8)]
    assert gains == pytest.approx([1.0, 1.0, 1.02, 1.03, 1.04, 1.0, 1.0])


def test_faults_add_up_and_can_be_taken_back():
    tool = SimulatedTool("T", CVD)
    tool.inject(Fault(mode="sih4_mfc", magnitude=0.02))
    tool.inject(Fault(path="mfc_gain.SiH4", magnitude=0.03))
    assert tool.condition_at(1).value("mfc_gain.SiH4") == pytest.approx(1.05)
    tool.clear_faults()
    assert tool.condition_at(1).value("mfc_gain.SiH4") == 1.0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(mode="gremlins"), "no fault mode 'gremlins'"),
        (Fault(), "either a mode or a path"),
        (Fault(mode="leak", path="leak_sccm"), "either a mode or a path"),
        (Fault(path="nonsense"), "has no field 'nonsense'"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault, message):
    tool = SimulatedTool("T", CVD)
    with pytest.raises(LabkitError, match=message):
        tool.inject(fault)


def test_calibration_finds_and_removes_the_departure():
    tool = SimulatedTool("T", CVD, condition=CVD.condition_type(pressure_gauge_gain=1.02))
    tool.inject(Fault(mode="pressure_gauge", magnitude=0.01))
    assert wait(tool.calibrate("pressure_gauge_gain")) == pytest.approx(0.03)
    assert tool.condition_at(1).value("pressure_gauge_gain") == pytest.approx(1.0)


def test_the_memory_survives_and_the_truth_is_kept_apart(tmp_path):
    memory = tmp_path / "tools" / "t.json"
    tool = ready(memory=memory, seed=1)
    tool.inject(Fault(mode="leak", magnitude=0.1))
    played(tool)
    again = SimulatedTool("T", CVD, memory=memory, seed=1)
    assert "1 runs" in repr(again)
    truth = again.ground_truth("r")
    assert truth["run_number"] == 1
    assert truth["condition"]["leak_sccm"] == pytest.approx(0.1)
    assert "truth" not in json.loads(memory.read_text())
    with pytest.raises(ToolError, match="did not run"):
        again.ground_truth("other")


def test_an_emergency_stop_is_remembered(tmp_path):
    memory = tmp_path / "t.json"
    wait(ready(memory=memory).stop(emergency=True))
    again = SimulatedTool("T", CVD, memory=memory)
    wait(again.connect())
    assert wait(again.status()).state is ToolState.EMERGENCY


def test_waiting_returns_errors_of_the_coroutine_and_uses_one_loop():
    async def fails() -> None:
        raise ToolError("broken")

    with pytest.raises(ToolError, match="broken"):
        wait(fails())
    assert event_loop() is event_loop()


def test_waiting_gives_up_after_its_time():
    with pytest.raises(TimeoutError):
        wait(asyncio.sleep(10), timeout_s=0.05)
