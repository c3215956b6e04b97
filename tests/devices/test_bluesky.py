"""A tool flown by a real RunEngine: its documents against the tool's own telemetry, an abort, a tool that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.core.tool import Clock, Fault, LedgerState, ToolState
from labkit.devices.background import iterate, wait
from labkit.devices.bluesky import BlueskyFlyer, Flight
from labkit.devices.handle import ToolHandle
from labkit.devices.simulated import SimulatedTool

bluesky = pytest.importorskip("bluesky", reason="pip install 'labkit[bluesky]'")
plans = pytest.importorskip("bluesky.plans")
stubs = pytest.importorskip("bluesky.plan_stubs")
protocols = pytest.importorskip("bluesky.protocols")
SCANNER = registry.process("lithography")
RECIPE = SCANNER.example_recipes()[0]
Documents = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def documents() -> Documents:
    return []


@pytest.fixture
def engine(documents: Documents) -> Iterator[Any]:
    """A RunEngine whose documents are kept."""
    made = bluesky.RunEngine({}, context_managers=[])
    made.subscribe(lambda name, document: documents.append((name, document)))
    yield made
    made.loop.call_soon_threadsafe(made.loop.stop)
    made._th.join(10.0)
    made.loop.close()


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[SimulatedTool]:
    with SimulatedTool("T1", SCANNER, seed=4, folder=tmp_path / "quick", block=30) as tool:
        yield tool


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SimulatedTool]:
    """A scanner that takes more than a minute."""
    clock = Clock(mode="paced", scale=0.5)
    with SimulatedTool("T2", SCANNER, seed=4, folder=tmp_path / "slow", block=30, clock=clock) as tool:
        yield tool


def flight(run_id: str = "flight") -> Flight:
    return Flight(RECIPE, SCANNER.incoming_wafers(RECIPE), run_id=run_id, fence=1)


def flown(flyer: BlueskyFlyer, order: Flight) -> Iterator[Any]:
    """Stage, prepare, fly, unstage."""
    yield from stubs.stage(flyer, wait=True)
    yield from stubs.prepare(flyer, order, wait=True)
    yield from plans.fly([flyer])
    yield from stubs.unstage(flyer, wait=True)


def named(documents: Documents, name: str) -> list[dict[str, Any]]:
    return [document for kind, document in documents if kind == name]


def test_a_flyer_keeps_the_protocols_of_bluesky(scanner: SimulatedTool) -> None:
    flyer = BlueskyFlyer(ToolHandle(scanner))
    for protocol in ("HasName", "HasParent", "Flyable", "Collectable", "EventPageCollectable", "Stageable",
                     "Preparable", "Pausable", "Stoppable"):  # fmt: skip
        assert isinstance(flyer, getattr(protocols, protocol)), protocol
    status = flyer.stage()
    assert isinstance(status, protocols.Status)
    status.wait(30.0)
    assert (status.done, status.success, status.exception()) == (True, True, None)


def test_the_event_pages_of_a_plan_are_the_telemetry_of_the_tool(
    engine: Any, documents: Documents, scanner: SimulatedTool
) -> None:
    engine(flown(BlueskyFlyer(scanner), flight()))
    blocks = list(iterate(scanner.telemetry("flight")))
    pages = named(documents, "event_page")
    assert len(pages) == len(blocks) == 5
    for page, block in zip(pages, blocks, strict=True):
        assert set(page["data"]) == {f"T1-{channel}" for channel in block.telemetry}
        for channel, values in block.telemetry.items():
            assert np.array_equal(np.asarray(page["data"][f"T1-{channel}"]), values)
        for stamps in page["timestamps"].values():
            assert np.diff(stamps) == pytest.approx(np.diff(block.telemetry["time"]), abs=1e-5)
    sequences = np.concatenate([page["seq_num"] for page in pages])
    assert np.array_equal(sequences, np.arange(1, 126))
    assert named(documents, "stop")[0]["exit_status"] == "success"


def test_the_descriptor_says_unit_and_type_of_every_channel(
    engine: Any, documents: Documents, scanner: SimulatedTool
) -> None:
    engine(flown(BlueskyFlyer(scanner, stream="fields"), flight()))
    [descriptor] = named(documents, "descriptor")
    assert descriptor["name"] == "fields"
    dose, slot = (descriptor["data_keys"][f"T1-{channel}"] for channel in ("dose_mj_cm2", "slot"))
    assert (dose["units"], dose["dtype"], dose["dtype_numpy"], dose["shape"]) == ("mJ/cm2", "number", "<f4", [])
    assert (slot["dtype"], slot["dtype_numpy"]) == ("integer", "<i2")
    assert descriptor["data_keys"]["T1-time"]["units"] == "s"


def test_an_abort_leaves_no_run_behind_and_says_so(engine: Any, documents: Documents, slow: SimulatedTool) -> None:
    flyer = BlueskyFlyer(slow)

    def aborted() -> None:
        next(iterate(slow.telemetry("flight")))
        engine.request_pause()

    started = threading.Event()

    def plan() -> Iterator[Any]:
        yield from stubs.stage(flyer, wait=True)
        yield from stubs.prepare(flyer, flight(), wait=True)
        yield from stubs.open_run()
        yield from stubs.kickoff(flyer, wait=True)
        threading.Thread(target=aborted, daemon=True).start()
        started.set()
        yield from stubs.complete(flyer, wait=True)

    with pytest.raises(bluesky.utils.RunEngineInterrupted):
        engine(plan())
    assert started.is_set()
    assert wait(slow.status()).state is ToolState.PAUSED
    engine.abort("enough")
    entry = poll_end(slow)
    assert entry is LedgerState.STOPPED
    assert named(documents, "stop")[0]["exit_status"] == "abort"


def poll_end(tool: SimulatedTool) -> LedgerState:
    """State of the flight once its telemetry has ended."""
    list(iterate(tool.telemetry("flight")))
    entry = wait(tool.ledger("flight"))
    assert entry is not None
    return LedgerState(entry.state)


def test_a_paused_plan_goes_on_where_it_stood(engine: Any, documents: Documents, tmp_path: Path) -> None:
    clock = Clock(mode="stepped")
    with SimulatedTool("T3", SCANNER, folder=tmp_path / "stepped", block=30, clock=clock) as tool:
        flyer = BlueskyFlyer(tool)

        def drive() -> None:
            wait(tool.step(40))
            engine.request_pause()

        def plan() -> Iterator[Any]:
            yield from stubs.stage(flyer, wait=True)
            yield from stubs.prepare(flyer, flight(), wait=True)
            yield from stubs.open_run()
            yield from stubs.kickoff(flyer, wait=True)
            threading.Thread(target=drive, daemon=True).start()
            yield from stubs.complete(flyer, wait=True)
            yield from stubs.collect(flyer)
            yield from stubs.close_run()
            yield from stubs.unstage(flyer, wait=True)

        with pytest.raises(bluesky.utils.RunEngineInterrupted):
            engine(plan())
        assert wait(tool.status()).state is ToolState.PAUSED
        threading.Thread(target=lambda: wait(finish(tool)), daemon=True).start()
        engine.resume()
    assert sum(len(page["time"]) for page in named(documents, "event_page")) == 125
    assert named(documents, "stop")[0]["exit_status"] == "success"


async def finish(tool: SimulatedTool) -> None:
    """Step *tool* to its end as soon as it runs again."""
    import asyncio

    while (await tool.status()).state is ToolState.PAUSED:
        await asyncio.sleep(0.01)
    await tool.step(125)


def test_a_tool_that_fails_fails_the_plan_in_its_own_words(
    engine: Any, documents: Documents, scanner: SimulatedTool
) -> None:
    scanner.inject(Fault(mode="crash", magnitude=0.5))
    with pytest.raises(bluesky.utils.FailedStatus) as failed:
        engine(flown(BlueskyFlyer(scanner), flight()))
    assert "interrupted" in str(failed.value.__cause__)
    assert named(documents, "stop")[0]["exit_status"] == "fail"
    wait(scanner.connect())
    entry = wait(scanner.ledger("flight"))
    assert entry is not None
    assert entry.state is LedgerState.INTERRUPTED


def test_a_stop_by_the_engine_ends_the_run_without_a_latch(slow: SimulatedTool) -> None:
    import asyncio

    flyer = BlueskyFlyer(slow)
    flyer.prepare(flight()).wait(30.0)
    flyer.kickoff().wait(30.0)
    asyncio.run(flyer.stop(success=False))
    status = wait(slow.status())
    assert (status.state, status.latched) == (ToolState.STOPPED, False)


def test_a_flyer_that_was_not_prepared_says_how_to(scanner: SimulatedTool) -> None:
    status = BlueskyFlyer(scanner).kickoff()
    with pytest.raises(LabkitError, match="prepare it"):
        status.wait(30.0)
    assert (status.done, status.success) == (True, False)
