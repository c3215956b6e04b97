"""What the equipment in time must keep: the same run however it is stepped, and an end whenever it is stopped."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from labkit.core.process import Telemetry
from labkit.testing.subject import Subject, completed, joined, started


class TwinContract(Subject):
    """A twin is deterministic given its seed, delivers its declared channels, and may be stopped early."""

    def test_telemetry_has_the_declared_channels_and_types(self) -> None:
        telemetry, _ = completed(self.process_name, 0)
        assert set(telemetry) == {"time"} | {channel.name for channel in self.process.channels}
        for channel in self.process.channels:
            assert telemetry[channel.name].dtype == np.dtype(channel.dtype), channel.name
            assert telemetry[channel.name].ndim == 1
        assert {len(values) for values in telemetry.values()} == {started(self.process_name, 0).samples}

    def test_telemetry_is_finite_and_its_time_runs_forward(self) -> None:
        telemetry, _ = completed(self.process_name, 0)
        assert np.all(np.diff(telemetry["time"]) > 0.0)
        assert telemetry["time"][0] >= 0.0
        assert np.median(np.diff(telemetry["time"])) == pytest.approx(self.process.sample_period_s)
        for name, values in telemetry.items():
            assert np.isfinite(values).all(), name

    @pytest.mark.parametrize("blocks", [(1, 7, 64, 3), (97,), (1000, 1)])
    def test_block_size_changes_no_bit(self, blocks: tuple[int, ...]) -> None:
        whole, wafers = completed(self.process_name, 0)
        twin = started(self.process_name, 0)
        delivered: list[Telemetry] = []
        while twin.done < twin.samples:
            delivered.append(twin.advance(blocks[len(delivered) % len(blocks)]))
            assert twin.done == sum(len(block["time"]) for block in delivered)
        stepped = joined(delivered)
        assert [name for name in whole if whole[name].tobytes() != stepped[name].tobytes()] == []
        xr.testing.assert_equal(twin.finish(), wafers)

    def test_the_same_seed_gives_the_same_run(self) -> None:
        telemetry, wafers = completed(self.process_name, 0)
        twin = started(self.process_name, 0)
        again = twin.advance(twin.samples)
        assert all(telemetry[name].tobytes() == again[name].tobytes() for name in telemetry)
        xr.testing.assert_equal(twin.finish(), wafers)

    def test_another_seed_gives_other_noise(self) -> None:
        first, other = completed(self.process_name, 0)[0], completed(self.process_name, 1)[0]
        assert any(not np.array_equal(first[channel.name], other[channel.name]) for channel in self.process.channels)

    def test_after_its_end_a_twin_delivers_nothing_more(self) -> None:
        twin = started(self.process_name, 0)
        twin.advance(twin.samples + 10)
        assert twin.done == twin.samples
        beyond = twin.advance(5)
        assert set(beyond) == {"time"} | {channel.name for channel in self.process.channels}
        assert all(len(values) == 0 for values in beyond.values())

    @pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.95])
    def test_a_run_that_is_stopped_early_still_leaves_wafers(self, fraction: float) -> None:
        twin = started(self.process_name, 0)
        twin.advance(int(fraction * twin.samples))
        partial = twin.finish()
        departures = [line for line in self.process.schema.problems(partial) if "holds NaN" not in line]
        assert departures == []

    def test_a_finished_run_keeps_the_schema(self) -> None:
        _, wafers = completed(self.process_name, 0)
        assert self.process.schema.problems(wafers) == []

    def test_every_example_recipe_runs_to_its_end(self) -> None:
        for recipe in self.examples:
            twin = self.process.twin(recipe, self.process.incoming_wafers(recipe), seed=3)
            telemetry = twin.advance(twin.samples)
            assert all(np.isfinite(values).all() for values in telemetry.values())
            assert self.process.schema.problems(twin.finish()) == []
