"""Faults of the tool itself: it loses telemetry, hangs, crashes; its disk fills up."""

import time

import numpy as np
import pytest

from labkit.core import registry
from labkit.core.errors import ToolError
from labkit.core.tool import Block, Clock, Fault, LedgerState, ToolState
from labkit.devices.background import iterate, wait
from labkit.devices.simulated import SimulatedTool

CVD = registry.process("cvd")
RECIPE = CVD.example_recipes()[0]
WHOLE = np.arange(1.0, 3121.0)


def running(*faults: Fault, **options) -> SimulatedTool:
    tool = SimulatedTool("T", CVD, **options)
    for fault in faults:
        tool.inject(fault)
    wait(tool.connect())
    wait(tool.configure(RECIPE))
    wait(tool.load(CVD.incoming_wafers(RECIPE)))
    wait(tool.start("r", RECIPE.content_hash, 1))
    return tool


def joined(blocks: list[Block], channel: str = "time") -> np.ndarray:
    return np.concatenate([block.telemetry[channel] for block in blocks])


def test_lost_telemetry_leaves_a_hole_of_a_tenth_of_the_run_and_nothing_else_changes():
    blocks = list(iterate(running(Fault(mode="lost_telemetry", magnitude=0.5)).telemetry("r")))
    whole = list(iterate(running().telemetry("r")))
    kept = (WHOLE <= 1560.0) | (WHOLE > 1560.0 + 312.0)
    np.testing.assert_array_equal(joined(blocks), WHOLE[kept])
    for name in whole[0].telemetry:
        np.testing.assert_array_equal(joined(blocks, name), joined(whole, name)[kept])
    assert [block.sequence for block in blocks] == list(range(1, len(blocks) + 1))


def test_a_run_with_lost_telemetry_ends_well_and_says_how_much_there_is():
    tool = running(Fault(mode="lost_telemetry", magnitude=0.95))
    list(iterate(tool.telemetry("r")))
    entry = wait(tool.ledger("r"))
    assert (entry.state, entry.delivered, entry.samples) == (LedgerState.DONE, 2964, 3120)
    assert wait(tool.measure("r")).sizes["slot"] == 25


def test_a_tool_that_hangs_answers_but_does_not_move_until_it_is_stopped():
    tool = running(Fault(mode="hang", magnitude=0.25), clock=Clock(mode="stepped"))
    assert wait(tool.step(10_000)) == 780
    status = wait(tool.status())
    assert (status.state, status.progress) == (ToolState.RUNNING, 0.25)
    assert wait(tool.step(10_000)) == 780
    wait(tool.stop())
    np.testing.assert_array_equal(joined(list(iterate(tool.telemetry("r")))), WHOLE[:780])
    assert wait(tool.ledger("r")).state is LedgerState.STOPPED


def test_a_crash_inside_this_process_takes_only_the_tool():
    tool = running(Fault(mode="crash", magnitude=0.5), block=100)
    blocks = list(iterate(tool.telemetry("r")))
    assert len(joined(blocks)) <= 1560
    entry = wait(tool.ledger("r"))
    assert entry.state is LedgerState.INTERRUPTED
    assert "crashed after 1560 of 3120" in entry.reason
    assert wait(tool.status()).state is ToolState.DISCONNECTED
    with pytest.raises(ToolError, match="not known"):
        wait(tool.unload("r"))
    wait(tool.connect())
    assert wait(tool.status()).state is ToolState.IDLE


def test_a_fault_of_the_tool_strikes_only_in_its_runs():
    tool = running(Fault(mode="crash", magnitude=0.1, first_run=2, last_run=2))
    assert len(list(iterate(tool.telemetry("r")))) == 6
    for run, state in (("r2", LedgerState.INTERRUPTED), ("r3", LedgerState.DONE)):
        wait(tool.connect())
        wait(tool.configure(RECIPE))
        wait(tool.load(CVD.incoming_wafers(RECIPE)))
        wait(tool.start(run, RECIPE.content_hash, 1))
        list(iterate(tool.telemetry(run)))
        assert wait(tool.ledger(run)).state is state


def full(tool: SimulatedTool, pages_more: int | None) -> None:
    """Let the ledger's file grow by so many pages only; None: as it likes. SQLite then says that the disk is full."""
    connection = tool._ledger._connection
    with tool._ledger._lock:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {2**31 if pages_more is None else used + pages_more}")


def taken(tool: SimulatedTool) -> bool:
    """Whether the ledger still takes an event."""
    try:
        tool._ledger.note("filler", detail="x" * 500)
    except ToolError:
        return False
    return True


def test_a_full_disk_holds_the_run_and_nothing_is_lost_once_there_is_space(tmp_path):
    with running(folder=tmp_path, clock=Clock(mode="stepped")) as tool:
        wait(tool.step(600))
        full(tool, pages_more=2)
        tool._execution.grant(3000)
        deadline = time.monotonic() + 30.0
        while "disk is full" not in wait(tool.status()).reason and time.monotonic() < deadline:
            time.sleep(0.01)
        assert wait(tool.status()).state is ToolState.RUNNING
        assert "disk is full" in wait(tool.status()).reason
        full(tool, pages_more=None)
        np.testing.assert_array_equal(joined(list(iterate(tool.telemetry("r")))), WHOLE)
        assert wait(tool.status()).reason == ""


def test_a_stop_acts_on_a_full_disk_and_says_that_it_could_not_be_recorded(tmp_path):
    with running(folder=tmp_path, clock=Clock(mode="stepped")) as tool:
        wait(tool.step(600))
        full(tool, pages_more=0)
        while taken(tool):
            continue
        with pytest.raises(ToolError, match="disk is full"):
            tool.stop_now(emergency=True, reason="x" * 5_000)
        assert wait(tool.status()).state is ToolState.EMERGENCY
        full(tool, pages_more=None)
        np.testing.assert_array_equal(joined(list(iterate(tool.telemetry("r")))), WHOLE[:600])
        assert wait(tool.ledger("r")).state is LedgerState.STOPPED
        wait(tool.stop(emergency=True))
    with SimulatedTool("T", CVD, folder=tmp_path) as again:
        wait(again.connect())
        assert wait(again.status()).latched
