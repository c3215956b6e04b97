"""The contract kit of tools notices each way of breaking the contract: a kit that passes everything proves nothing."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from labkit.core import registry
from labkit.core.recipe import Recipe
from labkit.core.tool import Block, Clock, LedgerEntry, LedgerState, ToolState, ToolStatus
from labkit.devices.simulated import SimulatedTool
from labkit.testing import DeviceTests, device_subject

SCANNER = registry.process("lithography")
Opener = Callable[..., tuple[DeviceTests, SimulatedTool]]


@pytest.fixture
def spoil(tmp_path: Path) -> Iterator[Opener]:
    """A function that opens a scanner with some of its methods replaced, and the contract it is held against."""
    opened: list[SimulatedTool] = []

    def spoilt(*, slow: bool = False, **members: Any) -> tuple[DeviceTests, SimulatedTool]:
        kind = type("SpoiltTool", (SimulatedTool,), members)
        clock = Clock(mode="paced", scale=0.5) if slow else Clock()
        tool = kind("T", SCANNER, seed=1, folder=tmp_path / str(len(opened)), block=25, clock=clock)
        opened.append(tool)
        contract = type("TestSpoilt", (DeviceTests,), {"process_name": "lithography"})()
        return contract, contract.at_rest(tool)

    yield spoilt
    for tool in opened:
        tool.close()


def test_a_good_tool_passes_what_the_spoilt_ones_fail(spoil: Opener) -> None:
    contract, tool = spoil()
    contract.test_telemetry_is_complete_in_order_and_of_the_declared_channels(tool)
    contract.test_reading_resumes_after_any_block_without_loss_or_repeat(tool)
    contract.test_an_announced_fence_refuses_older_starts_and_lets_its_own_pass(tool)
    contract, tool = spoil(slow=True)
    contract.test_an_emergency_stop_latches_in_the_safe_state_until_it_is_reset(tool)


def changed(change: Callable[[Block], Block | None]) -> dict[str, Any]:
    """Telemetry of which every block goes through *change*; None drops it."""

    async def telemetry(self: SimulatedTool, run_id: str | None = None, after: int = 0) -> AsyncIterator[Block]:
        async for block in SimulatedTool.telemetry(self, run_id, after):
            made = change(block)
            if made is not None:
                yield made

    return {"telemetry": telemetry}


@pytest.mark.parametrize(
    "change",
    [
        lambda block: None if block.sequence == 2 else block,
        lambda block: replace(block, sequence=block.sequence + 1),
        lambda block: replace(block, telemetry={k: v for k, v in block.telemetry.items() if k != "focus_nm"}),
        lambda block: replace(block, telemetry={**block.telemetry, "extra": block.telemetry["time"]}),
        lambda block: replace(block, telemetry={k: v.astype(np.float64) for k, v in block.telemetry.items()}),
        lambda block: replace(block, telemetry={**block.telemetry, "time": block.telemetry["time"][::-1]}),
        lambda block: replace(block, telemetry={k: v[:-1] for k, v in block.telemetry.items()}),
        lambda block: replace(block, telemetry={**block.telemetry, "focus_nm": block.telemetry["focus_nm"] * np.nan}),
    ],
    ids=["lost block", "renumbered", "lost channel", "extra channel", "dtype", "time", "lost sample", "not finite"],
)
def test_spoilt_telemetry_is_noticed(spoil: Opener, change: Callable[[Block], Block | None]) -> None:
    contract, tool = spoil(**changed(change))
    with pytest.raises(AssertionError):
        contract.test_telemetry_is_complete_in_order_and_of_the_declared_channels(tool)


def test_reading_that_begins_at_the_wrong_block_is_noticed(spoil: Opener) -> None:
    async def telemetry(self: SimulatedTool, run_id: str | None = None, after: int = 0) -> AsyncIterator[Block]:
        async for block in SimulatedTool.telemetry(self, run_id, max(0, after - 1)):
            yield block

    contract, tool = spoil(telemetry=telemetry)
    with pytest.raises(AssertionError):
        contract.test_reading_resumes_after_any_block_without_loss_or_repeat(tool)


def test_a_tool_that_forgets_more_than_was_acknowledged_is_noticed(spoil: Opener) -> None:
    async def acknowledge(self: SimulatedTool, run_id: str, sequence: int) -> None:
        await SimulatedTool.acknowledge(self, run_id, sequence + 1 if sequence else 0)

    contract, tool = spoil(acknowledge=acknowledge)
    with pytest.raises(AssertionError):
        contract.test_acknowledged_telemetry_may_vanish_and_the_rest_stays(tool)


def test_an_announced_fence_that_is_not_kept_is_noticed(spoil: Opener) -> None:
    async def fence(self: SimulatedTool, fence: int) -> None:
        """Forget it."""

    contract, tool = spoil(fence=fence)
    with pytest.raises(pytest.fail.Exception):
        contract.test_an_announced_fence_refuses_older_starts_and_lets_its_own_pass(tool)


async def _under_another_id(self: SimulatedTool, run_id: str, recipe_hash: str, fence: int) -> None:
    if await SimulatedTool.ledger(self, run_id) is not None:
        run_id = f"{run_id} again"
    await SimulatedTool.start(self, run_id, recipe_hash, fence)


def test_a_tool_that_runs_a_finished_run_again_is_noticed(spoil: Opener) -> None:
    async def start(self: SimulatedTool, run_id: str, recipe_hash: str, fence: int) -> None:
        await _under_another_id(self, run_id, recipe_hash, fence)

    contract, tool = spoil(start=start, slow=False)
    with pytest.raises(AssertionError):
        contract.test_starting_a_finished_run_again_changes_nothing(tool)


def test_a_tool_that_does_not_look_at_the_hash_is_noticed(spoil: Opener) -> None:
    async def start(self: SimulatedTool, run_id: str, recipe_hash: str, fence: int) -> None:
        await SimulatedTool.start(self, run_id, SCANNER.example_recipes()[0].content_hash, fence)

    contract, tool = spoil(start=start)
    with pytest.raises(pytest.fail.Exception):
        contract.test_another_recipe_than_the_configured_one_does_not_start(tool)


def test_a_tool_that_takes_any_recipe_is_noticed(spoil: Opener) -> None:
    async def configure(self: SimulatedTool, recipe: Recipe) -> None:
        if recipe.process == self.process:
            await SimulatedTool.configure(self, recipe)

    contract, tool = spoil(configure=configure)
    with pytest.raises(pytest.fail.Exception):
        contract.test_a_recipe_of_another_process_is_neither_supported_nor_configured(tool)
    contract, tool = spoil(supports=lambda self, recipe: True)
    with pytest.raises(AssertionError):
        contract.test_a_recipe_of_another_process_is_neither_supported_nor_configured(tool)


def test_a_pause_that_does_not_hold_is_noticed(spoil: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_subject, "SETTLING_S", 3.0)
    lies: list[ToolState] = []

    async def pause(self: SimulatedTool) -> None:
        lies.append(ToolState.PAUSED)

    async def status(self: SimulatedTool) -> ToolStatus:
        found = await SimulatedTool.status(self)
        return found.model_copy(update={"state": lies[-1]}) if lies else found

    contract, tool = spoil(slow=True, pause=pause, status=status)
    with pytest.raises(AssertionError, match="goes on"):
        contract.test_a_paused_run_holds_and_goes_on_where_it_stood(tool)


def test_an_emergency_stop_that_does_not_latch_is_noticed(spoil: Opener) -> None:
    async def stop(self: SimulatedTool, emergency: bool = False) -> None:
        await SimulatedTool.stop(self, False)

    contract, tool = spoil(slow=True, stop=stop)
    with pytest.raises(AssertionError):
        contract.test_an_emergency_stop_latches_in_the_safe_state_until_it_is_reset(tool)
    with pytest.raises(AssertionError):
        contract.test_a_stop_works_while_nothing_runs(tool)


def test_a_latch_that_refuses_nothing_is_noticed(spoil: Opener) -> None:
    async def configure(self: SimulatedTool, recipe: Recipe) -> None:
        if (await self.status()).latched:
            await self.reset()
        await SimulatedTool.configure(self, recipe)

    contract, tool = spoil(slow=True, configure=configure)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        contract.test_an_emergency_stop_latches_in_the_safe_state_until_it_is_reset(tool)


def test_a_normal_stop_that_latches_is_noticed(spoil: Opener) -> None:
    async def stop(self: SimulatedTool, emergency: bool = False) -> None:
        await SimulatedTool.stop(self, True)

    contract, tool = spoil(slow=True, stop=stop)
    with pytest.raises(AssertionError):
        contract.test_a_stop_ends_the_run_and_does_not_latch(tool)


def test_an_emergency_stop_that_does_not_say_where_it_went_is_noticed(spoil: Opener) -> None:
    async def ledger(self: SimulatedTool, run_id: str) -> LedgerEntry | None:
        found = await SimulatedTool.ledger(self, run_id)
        return None if found is None else found.model_copy(update={"reason": ""})

    contract, tool = spoil(slow=True, ledger=ledger)
    with pytest.raises(AssertionError, match="safe state"):
        contract.test_an_emergency_stop_latches_in_the_safe_state_until_it_is_reset(tool)


def test_metrology_that_differs_each_time_is_noticed(spoil: Opener) -> None:
    counted = itertools.count()

    async def measure(self: SimulatedTool, run_id: str) -> xr.Dataset:
        return (await SimulatedTool.measure(self, run_id)).assign_attrs(asked=next(counted))

    contract, tool = spoil(measure=measure)
    with pytest.raises(AssertionError):
        contract.test_wafers_and_metrology_are_the_same_each_time_until_the_run_is_released(tool)


def test_a_tool_that_gives_away_what_it_has_released_is_noticed(spoil: Opener) -> None:
    async def release(self: SimulatedTool, run_id: str) -> None:
        """Keep it."""

    contract, tool = spoil(release=release)
    with pytest.raises(AssertionError):
        contract.test_of_a_released_run_the_ledger_entry_is_left(tool)


def test_a_ledger_that_knows_everything_is_noticed(spoil: Opener) -> None:
    async def ledger(self: SimulatedTool, run_id: str) -> LedgerEntry | None:
        found = await SimulatedTool.ledger(self, run_id)
        made_up = LedgerEntry(
            run_id=run_id, recipe_hash="", fence=0, number=1, state=LedgerState.DONE, samples=1, delivered=1
        )
        return found or made_up

    contract, tool = spoil(ledger=ledger)
    with pytest.raises(AssertionError):
        contract.test_the_ledger_knows_every_run_that_was_started_and_no_other(tool)


def test_a_forgotten_interlock_is_noticed(spoil: Opener) -> None:
    async def interlocks(self: SimulatedTool) -> Mapping[str, bool]:
        return dict.fromkeys(SCANNER.interlocks[1:], True)

    contract, tool = spoil(interlocks=interlocks)
    with pytest.raises(AssertionError):
        contract.test_interlocks_are_those_of_the_process_and_closed(tool)


@pytest.mark.parametrize(
    "lie", [{"progress": 1.0}, {"run_id": "another"}, {"state": ToolState.IDLE}, {"latched": True}]
)
def test_a_status_that_lies_is_noticed(spoil: Opener, lie: dict[str, Any]) -> None:
    running: list[bool] = []

    async def status(self: SimulatedTool) -> ToolStatus:
        found = await SimulatedTool.status(self)
        running.append(found.state is ToolState.RUNNING)
        return found.model_copy(update=lie) if running[-1] else found

    contract, tool = spoil(slow=True, status=status)
    with pytest.raises(AssertionError):
        contract.test_status_is_truthful_about_a_run_in_progress(tool)
    assert any(running)


@pytest.mark.parametrize("answer", [float("nan"), None])
def test_a_calibration_without_a_result_is_noticed(spoil: Opener, answer: float | None) -> None:
    async def calibrate(self: SimulatedTool, channel: str) -> Any:
        return answer

    contract, tool = spoil(calibrate=calibrate)
    with pytest.raises(AssertionError):
        contract.test_calibration_finds_a_finite_correction_and_refuses_what_it_does_not_know(tool)


def test_two_tools_that_are_one_are_noticed(spoil: Opener, tmp_path: Path) -> None:
    contract, tool = spoil()
    type(contract).open_tool = lambda self, folder, *, quick: tool  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        contract.test_two_tools_share_nothing(tool, tmp_path)


class Reopened(DeviceTests):
    """A scanner that is closed instead of killed, and that *forgets* something before it is opened again."""

    process_name = "lithography"

    def __init__(self, forgets: Callable[[SimulatedTool], None] = lambda tool: None) -> None:
        self._forgets, self._opened = forgets, 0

    def open_tool(self, folder: Path, *, quick: bool) -> SimulatedTool:
        tool = SimulatedTool("T", SCANNER, folder=folder, clock=Clock() if quick else Clock(mode="paced", scale=0.5))
        self._opened += 1
        if self._opened > 1:
            self._forgets(tool)
        return tool

    def close_tool(self, tool: Any) -> None:
        tool.close()

    def kill_tool(self, tool: Any) -> None:
        tool.close()


def test_a_reopened_tool_that_forgets_its_latch_is_noticed(tmp_path: Path) -> None:
    Reopened().test_a_killed_tool_keeps_finished_runs_fences_and_latch(tmp_path / "good")
    forgetful = Reopened(lambda tool: device_subject.wait(tool.reset()))
    with pytest.raises(AssertionError):
        forgetful.test_a_killed_tool_keeps_finished_runs_fences_and_latch(tmp_path / "bad")


def test_a_reopened_tool_that_forgets_a_finished_run_is_noticed(tmp_path: Path) -> None:
    async def ledger(run_id: str) -> None:
        return None

    def forgets(tool: SimulatedTool) -> None:
        tool.ledger = ledger  # type: ignore[method-assign]

    forgetful = Reopened(forgets)
    with pytest.raises(AssertionError, match="does not know"):
        forgetful.test_a_killed_tool_keeps_finished_runs_fences_and_latch(tmp_path)


def test_a_tool_that_does_not_own_up_to_an_interruption_is_noticed(tmp_path: Path) -> None:
    # Closing in an orderly way ends the run as stopped; after a power failure nobody may claim that.
    with pytest.raises(AssertionError):
        Reopened().test_a_killed_tool_marks_its_run_interrupted_and_never_starts_it_again(tmp_path)
