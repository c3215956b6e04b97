import asyncio
import time
from contextlib import closing

import numpy as np
import pytest

from labkit.core import registry
from labkit.core.errors import Corrupted, LabkitError, ToolError
from labkit.core.tool import Block, Clock, Fault, LedgerState, ToolState
from labkit.devices.background import event_loop, iterate, wait
from labkit.devices.ledger import Ledger
from labkit.devices.simulated import SimulatedTool

CVD = registry.process("cvd")
RECIPE = CVD.example_recipes()[0]
WAFER = CVD.incoming_wafers(RECIPE)
STEPPED = Clock(mode="stepped")


def prepared(tool: SimulatedTool) -> SimulatedTool:
    wait(tool.connect())
    wait(tool.configure(RECIPE))
    wait(tool.load(WAFER))
    return tool


def ready(**options) -> SimulatedTool:
    return prepared(SimulatedTool("T", CVD, **options))


def started(run_id: str = "r", fence: int = 1, **options) -> SimulatedTool:
    tool = ready(**options)
    wait(tool.start(run_id, RECIPE.content_hash, fence))
    return tool


def played(tool: SimulatedTool, run_id: str = "r", fence: int = 1) -> list[Block]:
    wait(tool.start(run_id, RECIPE.content_hash, fence))
    return list(iterate(tool.telemetry(run_id)))


def joined(blocks: list[Block], channel: str) -> np.ndarray:
    return np.concatenate([block.telemetry[channel] for block in blocks])


def test_a_run_goes_from_start_to_done_and_gives_its_wafers_back():
    tool = ready()
    blocks = played(tool)
    assert [block.sequence for block in blocks] == [1, 2, 3, 4, 5, 6]
    assert sum(len(block.telemetry["time"]) for block in blocks) == 3120
    status = wait(tool.status())
    assert (status.state, status.progress, status.run_id) == (ToolState.DONE, 1.0, "r")
    assert wait(tool.unload("r")).sizes["slot"] == 25


def test_a_run_goes_on_when_nobody_watches():
    tool = started()
    deadline = time.monotonic() + 60.0
    while wait(tool.status()).state is ToolState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.01)
    entry = wait(tool.ledger("r"))
    assert (entry.state, entry.delivered, entry.last_sequence) == (LedgerState.DONE, 3120, 6)


def test_starting_the_same_run_again_changes_nothing_even_after_its_end():
    tool = started(fence=5, clock=STEPPED)
    wait(tool.step(100))
    wait(tool.start("r", RECIPE.content_hash, 5))
    assert wait(tool.status()).state is ToolState.RUNNING
    assert wait(tool.ledger("r")).delivered == 100
    wait(tool.step(10_000))
    wait(tool.start("r", RECIPE.content_hash, 5))
    prepared(tool)
    wait(tool.start("r", RECIPE.content_hash, 5))
    assert wait(tool.status()).state is ToolState.CONFIGURED
    assert tool.executions("r") == 1


def test_an_older_fence_is_refused_and_the_refusal_noted():
    tool = ready()
    played(tool, "r1", fence=7)
    prepared(tool)
    with pytest.raises(ToolError, match="fence 7; 6 is older"):
        wait(tool.start("r2", RECIPE.content_hash, 6))
    assert wait(tool.ledger("r2")) is None
    assert [event.kind for event in tool._ledger.events("r2")] == ["refused start"]


def test_a_fence_that_was_raised_keeps_older_starts_out():
    tool = ready()
    wait(tool.fence(9))
    wait(tool.fence(3))
    with pytest.raises(ToolError, match="fence 9; 8 is older"):
        wait(tool.start("r", RECIPE.content_hash, 8))
    wait(tool.start("r", RECIPE.content_hash, 9))


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
    tool = started(block=100, clock=STEPPED)
    wait(tool.step(100))
    wait(tool.stop(emergency=True))
    status = wait(tool.status())
    assert (status.latched, status.state) == (True, ToolState.EMERGENCY)
    assert CVD.safe_state in status.reason
    assert sum(len(block.telemetry["time"]) for block in iterate(tool.telemetry("r"))) == 100
    assert not any(wait(tool.interlocks()).values())
    with pytest.raises(ToolError, match="emergency"):
        wait(tool.configure(RECIPE))
    wait(tool.reset())
    wait(tool.configure(RECIPE))
    assert all(wait(tool.interlocks()).values())


def test_a_stop_ends_a_run_that_computes_as_fast_as_it_can():
    tool = started()
    wait(tool.stop())
    entry = wait(tool.ledger("r"))
    assert entry.state is LedgerState.STOPPED
    assert CVD.safe_state in entry.reason
    assert wait(tool.unload("r")).sizes["slot"] == 25
    assert wait(tool.ledger("r")).delivered < 3120


def test_a_stopped_run_leaves_the_film_it_had_grown():
    tool = started(clock=STEPPED)
    wait(tool.step(1500))
    wait(tool.stop())
    partial = float(wait(tool.unload("r"))["thickness"].mean())
    whole = ready()
    played(whole)
    assert 0.0 < partial < 0.6 * float(wait(whole.unload("r"))["thickness"].mean())


def test_pause_holds_the_run_and_resume_continues_it_as_if_nothing_had_happened():
    plain, paused = ready(block=500), started(block=500, clock=Clock(mode="paced", scale=2_000.0))
    expected = played(plain)
    stream = iterate(paused.telemetry())
    blocks = [next(stream)]
    wait(paused.pause())
    assert wait(paused.status()).state is ToolState.PAUSED

    held = _at_rest(paused)

    async def further() -> Block:
        return await anext(paused.telemetry("r", after=held))

    with pytest.raises(TimeoutError):
        wait(further(), timeout_s=0.1)
    wait(paused.resume())
    blocks += list(stream)
    for name in expected[0].telemetry:
        np.testing.assert_array_equal(joined(blocks, name), joined(expected, name))


def _at_rest(tool: SimulatedTool) -> int:
    """The last sequence of a run that is held, once it has passed on what it had."""
    deadline = time.monotonic() + 30.0
    while tool._execution.rested != tool._execution.made and time.monotonic() < deadline:
        time.sleep(0.005)
    return wait(tool.ledger("r")).last_sequence


def test_a_running_tool_cannot_be_configured_loaded_or_unloaded():
    tool = started(clock=STEPPED)
    for refused in (lambda: tool.configure(RECIPE), lambda: tool.load(WAFER), lambda: tool.unload("r")):
        with pytest.raises(ToolError):
            wait(refused())
    with pytest.raises(ToolError, match="busy"):
        wait(tool.release("r"))


def test_a_run_goes_on_while_its_handle_is_disconnected():
    tool = started()
    wait(tool.disconnect())
    assert wait(tool.status()).state is ToolState.DISCONNECTED
    assert len(list(iterate(tool.telemetry("r")))) == 6
    with pytest.raises(ToolError, match="disconnected"):
        wait(tool.configure(RECIPE))


def test_acknowledged_telemetry_is_forgotten_and_the_rest_is_kept():
    tool = ready()
    blocks = played(tool)
    wait(tool.acknowledge("r", 4))
    wait(tool.acknowledge("r", 2))
    assert wait(tool.ledger("r")).acknowledged == 4
    kept = list(iterate(tool.telemetry("r")))
    assert [block.sequence for block in kept] == [5, 6]
    np.testing.assert_array_equal(kept[0].telemetry["time"], blocks[4].telemetry["time"])
    with pytest.raises(ToolError, match="no block 7"):
        wait(tool.acknowledge("r", 7))


def test_wafers_and_metrology_are_the_same_each_time_until_the_run_is_released():
    tool = ready()
    played(tool)
    assert wait(tool.unload("r")).identical(wait(tool.unload("r")))
    assert wait(tool.measure("r")).identical(wait(tool.measure("r")))
    wait(tool.release("r"))
    wait(tool.release("r"))
    for gone in (tool.unload, tool.measure):
        with pytest.raises(ToolError, match="released"):
            wait(gone("r"))
    assert list(iterate(tool.telemetry("r"))) == []
    assert wait(tool.ledger("r")).released


def test_a_run_that_the_tool_does_not_know_is_refused_everywhere():
    tool = ready()
    assert wait(tool.ledger("x")) is None
    for unknown in (tool.unload, tool.measure, tool.release, lambda run: tool.acknowledge(run, 1)):
        with pytest.raises(ToolError, match="did not run x"):
            wait(unknown("x"))
    with pytest.raises(ToolError, match="has no run"):
        list(iterate(tool.telemetry()))


def test_the_seed_fixes_every_sample_and_runs_differ():
    first, again, other = ready(seed=3), ready(seed=3), ready(seed=4)
    a, b, c = (joined(played(tool), "chamber_pressure_torr") for tool in (first, again, other))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert wait(first.measure("r")).equals(wait(again.measure("r")))
    prepared(first)
    assert not np.array_equal(a, joined(played(first, "r2", 2), "chamber_pressure_torr"))


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
        (Fault(mode="hang", magnitude=1.5), "a fraction of the run"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault, message):
    tool = SimulatedTool("T", CVD)
    with pytest.raises(LabkitError, match=message):
        tool.inject(fault)
    assert tool._ledger.memory().faults == []


def test_calibration_finds_and_removes_the_departure():
    tool = SimulatedTool("T", CVD, condition=CVD.condition_type(pressure_gauge_gain=1.02))
    tool.inject(Fault(mode="pressure_gauge", magnitude=0.01))
    assert wait(tool.calibrate("pressure_gauge_gain")) == pytest.approx(0.03)
    assert tool.condition_at(1).value("pressure_gauge_gain") == pytest.approx(1.0)
    with pytest.raises(ToolError, match="nonsense"):
        wait(tool.calibrate("nonsense"))


def test_what_a_tool_remembers_survives_and_the_truth_is_kept_apart(tmp_path):
    with ready(folder=tmp_path, seed=1) as tool:
        tool.inject(Fault(mode="leak", magnitude=0.1))
        played(tool, fence=4)
    with SimulatedTool("T", CVD, folder=tmp_path, seed=1) as again:
        assert again.condition_at(2).value("leak_sccm") == pytest.approx(0.1)
        truth = again.ground_truth("r")
        assert truth["run_number"] == 1
        assert truth["condition"]["leak_sccm"] == pytest.approx(0.1)
        with pytest.raises(ToolError, match="did not run"):
            again.ground_truth("other")
        with pytest.raises(ToolError, match="fence 4; 3 is older"):
            played(prepared(again), "r2", fence=3)
        assert len(list(iterate(again.telemetry("r")))) == 6
        assert "thickness" in wait(again.measure("r"))
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        assert b"leak_sccm" not in b"".join(ledger.outcome("r"))


def test_an_emergency_stop_is_remembered(tmp_path):
    with ready(folder=tmp_path) as tool:
        wait(tool.stop(emergency=True))
    with SimulatedTool("T", CVD, folder=tmp_path) as again:
        wait(again.connect())
        assert wait(again.status()).state is ToolState.EMERGENCY
        wait(again.load(WAFER))
        with pytest.raises(ToolError, match="emergency"):
            wait(again.start("r", RECIPE.content_hash, 1))


def test_closing_a_tool_ends_its_run_safely_and_lets_another_host_in(tmp_path):
    tool = started(folder=tmp_path, clock=STEPPED)
    wait(tool.step(700))
    with pytest.raises(ToolError, match="host already"):
        SimulatedTool("T", CVD, folder=tmp_path)
    tool.close()
    tool.close()
    with SimulatedTool("T", CVD, folder=tmp_path) as again:
        entry = wait(again.ledger("r"))
        assert (entry.state, entry.delivered) == (LedgerState.STOPPED, 700)
        assert wait(again.unload("r")).sizes["slot"] == 25


def test_a_twin_that_fails_ends_its_run_visibly(monkeypatch):
    class Broken:
        samples, done = 100, 0

        def advance(self, samples):
            raise ZeroDivisionError("no gas")

    tool = ready()
    monkeypatch.setattr(type(CVD), "twin", lambda *args, **options: Broken())
    assert played(tool) == []
    entry = wait(tool.ledger("r"))
    assert entry.state is LedgerState.INTERRUPTED
    assert "ZeroDivisionError: no gas" in entry.reason
    with pytest.raises(ToolError, match="is not known"):
        wait(tool.unload("r"))
    assert wait(tool.status()).state is ToolState.STOPPED


def test_waiting_returns_errors_of_the_coroutine_and_uses_one_loop():
    async def fails() -> None:
        raise ToolError("broken")

    with pytest.raises(ToolError, match="broken"):
        wait(fails())
    assert event_loop() is event_loop()


def test_waiting_gives_up_after_its_time():
    with pytest.raises(TimeoutError):
        wait(asyncio.sleep(10), timeout_s=0.05)


def test_a_tool_that_cannot_be_opened_gives_its_folder_back(tmp_path):
    with SimulatedTool("T", CVD, folder=tmp_path) as tool:
        tool._ledger.remember("fault injection", "", [{"mode": 3}], None)
    for _ in range(2):
        with pytest.raises(Corrupted, match="faults and condition"):
            SimulatedTool("T", CVD, folder=tmp_path)
