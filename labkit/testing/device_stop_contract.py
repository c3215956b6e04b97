"""How runs are held and ended: pause, stop, emergency stop; and what is left after the tool itself was killed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import xarray as xr

from labkit.core.tool import Block, LedgerState, Tool, ToolState
from labkit.testing.device_subject import (
    PATIENCE_S,
    DeviceSubject,
    blocks,
    entry,
    new_fence,
    new_run,
    patiently,
    refused,
    same,
    samples,
    settled,
    wait,
)


class DeviceStopContract(DeviceSubject):
    """A stop always works, an emergency stop latches, and no crash makes a run start twice or forgets a latch."""

    def test_a_paused_run_holds_and_goes_on_where_it_stood(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        self.moved(slow, run_id)
        wait(slow.pause())
        assert wait(slow.status()).state is ToolState.PAUSED
        held = settled(lambda: entry(slow, run_id).delivered, "a paused run goes on")
        refused(slow.pause())
        wait(slow.resume())
        assert self.moved(slow, run_id, held) > held
        assert wait(slow.status()).state is ToolState.RUNNING
        wait(slow.stop())
        found = blocks(slow, run_id)
        assert [block.sequence for block in found] == list(range(1, len(found) + 1))
        assert samples(found) == entry(slow, run_id).delivered

    def test_pause_and_resume_are_refused_where_they_mean_nothing(self, slow: Tool) -> None:
        refused(slow.pause(), slow.resume())
        self.begin(slow)
        refused(slow.resume())

    def test_a_stop_ends_the_run_and_does_not_latch(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        self.moved(slow, run_id)
        wait(slow.stop())
        status = wait(slow.status())
        assert (status.state, status.latched) == (ToolState.STOPPED, False)
        assert entry(slow, run_id).state is LedgerState.STOPPED
        delivered = settled(lambda: entry(slow, run_id).delivered, "a stopped run goes on")
        assert samples(blocks(slow, run_id)) == delivered < entry(slow, run_id).samples
        assert entry(slow, self.begin(slow)).state is LedgerState.RUNNING

    def test_a_run_that_was_stopped_gives_its_wafers_back(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        self.moved(slow, run_id)
        wait(slow.stop())
        wafers = wait(slow.unload(run_id))
        assert [line for line in self.chapter.schema.problems(wafers) if "holds NaN" not in line] == []
        xr.testing.assert_identical(wait(slow.unload(run_id)), wafers)

    def test_a_paused_run_can_be_stopped(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        wait(slow.pause())
        wait(slow.stop())
        assert wait(slow.status()).state is ToolState.STOPPED
        assert entry(slow, run_id).state is LedgerState.STOPPED

    def test_an_emergency_stop_latches_in_the_safe_state_until_it_is_reset(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        self.moved(slow, run_id)
        wait(slow.stop(emergency=True))
        status = wait(slow.status())
        assert (status.state, status.latched) == (ToolState.EMERGENCY, True)
        assert entry(slow, run_id).state is LedgerState.STOPPED
        assert self.chapter.safe_state in entry(slow, run_id).reason, "the ledger does not name the safe state"
        later = new_run()
        refused(slow.configure(self.recipe), slow.start(later, self.recipe.content_hash, new_fence()))
        refused(slow.resume())
        assert wait(slow.ledger(later)) is None
        settled(lambda: entry(slow, run_id).delivered, "the run goes on after an emergency stop")
        wait(slow.stop())
        assert wait(slow.status()).latched, "a normal stop released the latch"
        wait(slow.reset())
        assert not wait(slow.status()).latched
        assert entry(slow, self.begin(slow)).state is LedgerState.RUNNING

    def test_a_stop_works_while_nothing_runs(self, quick: Tool) -> None:
        wait(quick.stop())
        wait(quick.stop())
        assert not wait(quick.status()).latched
        wait(quick.stop(emergency=True))
        wait(quick.stop(emergency=True))
        status = wait(quick.status())
        assert (status.state, status.latched) == (ToolState.EMERGENCY, True)
        refused(quick.configure(self.recipe))

    def test_a_stop_works_while_telemetry_is_being_read_and_ends_the_reading(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        with ThreadPoolExecutor(1) as pool:
            reading: Future[list[Block]] = pool.submit(blocks, slow, run_id)
            self.moved(slow, run_id)
            wait(slow.stop(emergency=True))
            assert wait(slow.status()).latched
            found = reading.result(PATIENCE_S)
        assert found
        patiently(lambda: samples(blocks(slow, run_id)) == entry(slow, run_id).delivered, "the last block is missing")

    def test_a_killed_tool_marks_its_run_interrupted_and_never_starts_it_again(self, tmp_path: Path) -> None:
        tool = self.at_rest(self.open_tool(tmp_path, quick=False))
        try:
            run_id = self.begin(tool)
            seen = blocks(tool, run_id, most=2)
            wait(tool.acknowledge(run_id, 1))
            fence = entry(tool, run_id).fence
            self.kill_tool(tool)
            tool = self.open_tool(tmp_path, quick=False)
            wait(tool.connect())
            assert entry(tool, run_id).state is LedgerState.INTERRUPTED
            assert same(blocks(tool, run_id, after=1)[:1], seen[1:])
            self.prepare(tool)
            wait(tool.start(run_id, self.recipe.content_hash, new_fence()))
            assert wait(tool.status()).state is not ToolState.RUNNING
            assert entry(tool, run_id).state is LedgerState.INTERRUPTED
            refused(tool.start(new_run(), self.recipe.content_hash, fence - 1))
        finally:
            self.close_tool(tool)

    def test_a_killed_tool_keeps_finished_runs_fences_and_latch(self, tmp_path: Path) -> None:
        tool = self.at_rest(self.open_tool(tmp_path, quick=True))
        try:
            run_id, found = self.run_through(tool)
            wafers, measured, finished = wait(tool.unload(run_id)), wait(tool.measure(run_id)), entry(tool, run_id)
            older, announced = new_fence(), new_fence()
            wait(tool.fence(announced))
            wait(tool.stop(emergency=True))
            self.kill_tool(tool)
            tool = self.open_tool(tmp_path, quick=True)
            wait(tool.connect())
            assert wait(tool.status()).latched
            refused(tool.configure(self.recipe))
            assert entry(tool, run_id) == finished
            assert same(blocks(tool, run_id), found)
            xr.testing.assert_identical(wait(tool.unload(run_id)), wafers)
            xr.testing.assert_identical(wait(tool.measure(run_id)), measured)
            wait(tool.reset())
            self.prepare(tool)
            refused(tool.start(new_run(), self.recipe.content_hash, older))
            wait(tool.start(run_id, self.recipe.content_hash, announced))
            assert entry(tool, run_id) == finished
        finally:
            self.close_tool(tool)
