"""How runs begin: the right recipe, once, under the newest fence, with every interlock closed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from labkit.core.errors import LabkitError
from labkit.core.tool import LedgerState, Tool, ToolState
from labkit.testing.device_subject import (
    DeviceSubject,
    blocks,
    entry,
    new_fence,
    new_run,
    refused,
    wait,
)


class DeviceStartContract(DeviceSubject):
    """A run is started at most once, and only if nothing stands against it."""

    def test_a_tool_says_which_it_is_and_what_it_can_do(self, quick: Tool) -> None:
        assert quick.name
        assert quick.process == self.process_name
        assert wait(quick.status()).tool == quick.name
        assert isinstance(quick.capabilities(), frozenset)
        assert all(isinstance(word, str) and word for word in quick.capabilities())

    def test_connecting_and_disconnecting_twice_changes_nothing(self, quick: Tool) -> None:
        wait(quick.connect())
        wait(quick.connect())
        assert wait(quick.status()).state is not ToolState.DISCONNECTED
        wait(quick.disconnect())
        wait(quick.disconnect())
        wait(quick.connect())
        assert wait(quick.status()).state is not ToolState.DISCONNECTED

    def test_a_run_goes_on_while_nobody_is_connected(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        before = self.moved(slow, run_id)
        wait(slow.disconnect())
        wait(slow.connect())
        assert self.moved(slow, run_id, before) > before
        assert wait(slow.status()).state is ToolState.RUNNING

    def test_example_recipes_are_supported_and_can_be_configured(self, quick: Tool) -> None:
        for recipe in self.chapter.example_recipes():
            assert quick.supports(recipe)
            wait(quick.configure(recipe))
            status = wait(quick.status())
            assert (status.state, status.recipe_hash) == (ToolState.CONFIGURED, recipe.content_hash)

    def test_a_recipe_of_another_process_is_neither_supported_nor_configured(self, quick: Tool) -> None:
        assert not quick.supports(self.other_recipe)
        refused(quick.configure(self.other_recipe))

    def test_another_recipe_than_the_configured_one_does_not_start(self, quick: Tool) -> None:
        self.prepare(quick)
        run_id = new_run()
        refused(quick.start(run_id, "0" * 64, new_fence()))
        assert wait(quick.ledger(run_id)) is None
        assert wait(quick.status()).state is not ToolState.RUNNING

    def test_starting_a_running_run_again_changes_nothing(self, slow: Tool) -> None:
        run_id = self.begin(slow)
        first = entry(slow, run_id)
        wait(slow.start(run_id, self.recipe.content_hash, first.fence))
        again = entry(slow, run_id)
        assert (again.number, again.fence, again.state) == (first.number, first.fence, LedgerState.RUNNING)
        assert again.delivered >= first.delivered
        assert wait(slow.status()).run_id == run_id

    def test_starting_a_finished_run_again_changes_nothing(self, quick: Tool) -> None:
        run_id, found = self.run_through(quick)
        finished = entry(quick, run_id)
        self.prepare(quick)
        wait(quick.start(run_id, self.recipe.content_hash, new_fence()))
        assert wait(quick.status()).state is not ToolState.RUNNING
        assert entry(quick, run_id) == finished
        assert len(blocks(quick, run_id)) == len(found)

    def test_one_run_at_a_time(self, slow: Tool) -> None:
        run_id, other = self.begin(slow), new_run()
        refused(slow.configure(self.recipe), slow.start(other, self.recipe.content_hash, new_fence()))
        assert wait(slow.ledger(other)) is None
        assert wait(slow.status()).run_id == run_id

    def test_the_ledger_knows_every_run_that_was_started_and_no_other(self, quick: Tool) -> None:
        first, second = self.run_through(quick)[0], self.run_through(quick)[0]
        assert entry(quick, second).number == entry(quick, first).number + 1
        for run_id in (first, second):
            known = entry(quick, run_id)
            assert (known.run_id, known.recipe_hash) == (run_id, self.recipe.content_hash)
            assert known.state is LedgerState.DONE
        assert wait(quick.ledger(new_run())) is None

    def test_an_older_fence_than_that_of_the_last_run_is_refused(self, quick: Tool) -> None:
        older, newer = new_fence(), new_fence()
        self.begin(quick, fence=newer)
        self.at_rest(quick)
        self.prepare(quick)
        late = new_run()
        refused(quick.start(late, self.recipe.content_hash, older))
        assert wait(quick.ledger(late)) is None

    def test_an_announced_fence_refuses_older_starts_and_lets_its_own_pass(self, quick: Tool) -> None:
        older, announced = new_fence(), new_fence()
        wait(quick.fence(announced))
        wait(quick.fence(older))
        self.prepare(quick)
        late, timely = new_run(), new_run()
        refused(quick.start(late, self.recipe.content_hash, older))
        assert wait(quick.ledger(late)) is None
        wait(quick.start(timely, self.recipe.content_hash, announced))
        assert entry(quick, timely).fence == announced

    def test_interlocks_are_those_of_the_process_and_closed(self, quick: Tool) -> None:
        assert dict(wait(quick.interlocks())) == dict.fromkeys(self.chapter.interlocks, True)

    def test_an_open_interlock_refuses_to_start(self, quick: Tool) -> None:
        name, run_id = self.chapter.interlocks[0], new_run()
        self.prepare(quick)
        self.open_interlock(quick, name)
        try:
            assert wait(quick.interlocks())[name] is False
            refused(quick.start(run_id, self.recipe.content_hash, new_fence()))
            assert wait(quick.ledger(run_id)) is None
        finally:
            self.close_interlock(quick, name)
        assert self.begin(quick)

    def test_calibration_finds_a_finite_correction_and_refuses_what_it_does_not_know(self, quick: Tool) -> None:
        channel = self.calibrates or self.chapter.fault_modes[0].path
        found = wait(quick.calibrate(channel))
        assert isinstance(found, float)
        assert math.isfinite(found)
        refused(quick.calibrate("no_such_channel"))

    def test_two_tools_share_nothing(self, quick: Tool, tmp_path: Path) -> None:
        other = self.open_tool(tmp_path, quick=True)
        try:
            self.at_rest(other)
            run_id, _ = self.run_through(quick)
            assert wait(other.ledger(run_id)) is None
            wait(quick.fence(new_fence()))
            wait(quick.stop(emergency=True))
            assert not wait(other.status()).latched
            self.prepare(other)
            wait(other.start(run_id, self.recipe.content_hash, 1))
            assert (entry(other, run_id).number, entry(other, run_id).fence) == (1, 1)
            with pytest.raises(LabkitError):
                self.prepare(quick)
        finally:
            self.close_tool(other)
