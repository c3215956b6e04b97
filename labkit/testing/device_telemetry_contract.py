"""What a run delivers: telemetry without gap or repeat, kept until it is acknowledged; wafers until it is released."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.core.errors import LabkitError
from labkit.core.tool import LedgerState, Tool, ToolState
from labkit.testing.device_subject import (
    DeviceSubject,
    blocks,
    entry,
    new_run,
    patiently,
    refused,
    same,
    samples,
    wait,
)


class DeviceTelemetryContract(DeviceSubject):
    """Nothing that a run produced is lost before it is safe elsewhere, and nothing comes twice."""

    def test_telemetry_is_complete_in_order_and_of_the_declared_channels(self, quick: Tool) -> None:
        run_id, found = self.run_through(quick)
        assert [block.sequence for block in found] == list(range(1, len(found) + 1))
        for block in found:
            assert set(block.telemetry) == {"time", *(channel.name for channel in self.chapter.channels)}
            assert len({len(values) for values in block.telemetry.values()}) == 1
            assert all(np.isfinite(values).all() for values in block.telemetry.values())
            for channel in self.chapter.channels:
                assert block.telemetry[channel.name].dtype == np.dtype(channel.dtype), channel.name
        time = np.concatenate([block.telemetry["time"] for block in found])
        assert np.all(np.diff(time) > 0.0)
        known = entry(quick, run_id)
        assert samples(found) == known.samples == known.delivered
        assert known.last_sequence == found[-1].sequence

    def test_a_finished_run_is_reported_done(self, quick: Tool) -> None:
        run_id, _ = self.run_through(quick)
        status = wait(quick.status())
        assert (status.state, status.run_id, status.progress) == (ToolState.DONE, run_id, 1.0)
        assert (status.recipe_hash, status.latched) == (self.recipe.content_hash, False)
        assert entry(quick, run_id).state is LedgerState.DONE

    def test_reading_resumes_after_any_block_without_loss_or_repeat(self, quick: Tool) -> None:
        run_id, found = self.run_through(quick)
        for after in sorted({0, 1, len(found) // 2, len(found)}):
            assert same(blocks(quick, run_id, after), found[after:])

    def test_telemetry_without_a_run_id_is_that_of_the_present_run(self, quick: Tool) -> None:
        run_id, found = self.run_through(quick)
        assert same(blocks(quick), found)
        assert same(blocks(quick, run_id), found)

    def test_telemetry_comes_while_the_run_goes_on(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        first, second = blocks(slow, run_id, most=2)
        assert (first.sequence, second.sequence) == (1, 2)
        assert entry(slow, run_id).state is LedgerState.RUNNING
        assert same(blocks(slow, run_id, after=1, most=1), [second])

    def test_acknowledged_telemetry_may_vanish_and_the_rest_stays(self, quick: Tool) -> None:
        run_id, found = self.run_through(quick)
        half = len(found) // 2
        wait(quick.acknowledge(run_id, half))
        wait(quick.acknowledge(run_id, 0))
        assert entry(quick, run_id).acknowledged == half
        assert same(blocks(quick, run_id, half), found[half:])
        assert same([block for block in blocks(quick, run_id) if block.sequence > half], found[half:])

    def test_a_run_that_never_was_has_no_telemetry_no_wafers_and_no_metrology(self, quick: Tool) -> None:
        run_id = new_run()
        refused(quick.unload(run_id), quick.measure(run_id))
        try:
            assert blocks(quick, run_id) == []
        except LabkitError as error:
            assert run_id in str(error)

    def test_status_is_truthful_about_a_run_in_progress(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        self.moved(slow, run_id)
        progress = []
        for _ in range(20):
            least = entry(slow, run_id)
            status = wait(slow.status())
            most = entry(slow, run_id)
            assert (status.state, status.run_id, status.latched) == (ToolState.RUNNING, run_id, False)
            assert status.recipe_hash == self.recipe.content_hash
            assert least.delivered / least.samples <= status.progress + 1e-9
            assert status.progress < 1.0
            assert most.state is LedgerState.RUNNING
            progress.append(status.progress)
        assert progress == sorted(progress)
        patiently(lambda: wait(slow.status()).progress > progress[-1], "progress does not move")

    def test_wafers_and_metrology_are_the_same_each_time_until_the_run_is_released(self, quick: Tool) -> None:
        run_id, _ = self.run_through(quick)
        wafers, measured = wait(quick.unload(run_id)), wait(quick.measure(run_id))
        assert self.chapter.schema.problems(wafers) == []
        assert set(measured.sizes) >= {"slot"}
        self.run_through(quick)
        xr.testing.assert_identical(wait(quick.unload(run_id)), wafers)
        xr.testing.assert_identical(wait(quick.measure(run_id)), measured)

    def test_of_a_released_run_the_ledger_entry_is_left(self, quick: Tool) -> None:
        run_id, found = self.run_through(quick)
        wait(quick.unload(run_id))
        wait(quick.acknowledge(run_id, found[-1].sequence))
        wait(quick.release(run_id))
        wait(quick.release(run_id))
        kept = entry(quick, run_id)
        assert (kept.released, kept.state, kept.delivered) == (True, LedgerState.DONE, samples(found))
        refused(quick.unload(run_id), quick.measure(run_id))

    def test_a_run_in_progress_gives_no_wafers_away(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        self.moved(slow, run_id)
        refused(slow.unload(run_id), slow.measure(run_id))
        assert wait(slow.status()).state is ToolState.RUNNING
