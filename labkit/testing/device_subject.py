"""What is under test: a tool that the plug-in opens, kept by a class of tests and put to rest between them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.core.tool import Block, LedgerEntry, Tool, ToolState
from labkit.devices import background

PATIENCE_S = 90.0
"""How long a tool may take over anything before a test gives up, s."""
OBSERVATION_S = 1.2
"""How long a tool is watched that must not move, s."""
SETTLING_S = 20.0
"""How long a run that is held or stopped may take to pass on what it has made, s."""
_MOVING = (ToolState.RUNNING, ToolState.PAUSED)
_numbers = itertools.count(1)


class DeviceSubject:
    """Hooks that a plug-in fills in, and the steps that tests are made of.

    A class of tests keeps two tools: ``quick``, whose runs end as soon as they can, and ``slow``, whose runs last a
    minute or more and deliver telemetry at least once a second, so that a test can interfere (nobody waits for their
    end). Both may be the same kind of tool.
    """

    process_name: ClassVar[str] = ""
    calibrates: ClassVar[str] = ""

    def open_tool(self, folder: Path, *, quick: bool) -> Tool:
        """A tool that keeps what must last in *folder*; again with the same folder it is the same tool, reopened."""
        raise NotImplementedError(f"{type(self).__name__} must define open_tool(self, folder, *, quick)")

    def close_tool(self, tool: Tool) -> None:
        """Let go of *tool* and of everything that runs for it."""

    def kill_tool(self, tool: Tool) -> None:
        """End whatever hosts *tool* as a power failure would; :meth:`open_tool` on its folder then reopens it."""
        pytest.skip("this tool cannot be killed (kill_tool is not defined)")

    def open_interlock(self, tool: Tool, name: str) -> None:
        """Open interlock *name* of *tool*."""
        pytest.skip("interlocks of this tool cannot be opened on purpose (open_interlock is not defined)")

    def close_interlock(self, tool: Tool, name: str) -> None:
        """Close it again."""

    @pytest.fixture(scope="class")
    @staticmethod
    def _kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Tool]]:
        subject, kept = request.cls(), _Kept(request.cls(), tmp_path_factory)
        yield kept
        for tool in kept.values():
            _rest(tool)
            subject.close_tool(tool)

    @pytest.fixture
    def quick(self, _kept: dict[bool, Tool]) -> Iterator[Tool]:
        """The tool whose runs end soon, connected and at rest."""
        yield self.at_rest(_kept[True])
        _rest(_kept[True])

    @pytest.fixture
    def slow(self, _kept: dict[bool, Tool]) -> Iterator[Tool]:
        """The tool whose runs last, connected and at rest."""
        yield self.at_rest(_kept[False])
        _rest(_kept[False])

    @property
    def chapter(self) -> Process:
        """The process of the tool."""
        if not self.process_name:
            raise TypeError(f'{type(self).__name__} must set process_name, e.g. process_name = "cvd"')
        return registry.process(self.process_name)

    @property
    def recipe(self) -> Recipe:
        """The recipe that runs."""
        return _example(self.process_name)

    @property
    def other_recipe(self) -> Recipe:
        """A recipe of another process."""
        name = next(name for name in registry.names("labkit.processes") if name != self.process_name)
        return registry.process(name).example_recipes()[0]

    def at_rest(self, tool: Tool) -> Tool:
        """*tool*, connected and not running."""
        wait(tool.connect())
        _rest(tool)
        return tool

    def prepare(self, tool: Tool) -> None:
        """Make *tool* ready to start the recipe."""
        wait(tool.configure(self.recipe))
        wait(tool.load(_wafers(self.process_name, self.recipe.to_json())))

    def begin(self, tool: Tool, fence: int | None = None) -> str:
        """Start a new run; returns its id. Fences grow by themselves."""
        self.prepare(tool)
        run_id = new_run()
        wait(tool.start(run_id, self.recipe.content_hash, new_fence() if fence is None else fence))
        return run_id

    def run_through(self, tool: Tool) -> tuple[str, list[Block]]:
        """A new run to its end, and its telemetry."""
        run_id = self.begin(tool)
        found = blocks(tool, run_id)
        patiently(lambda: wait(tool.status()).state not in _MOVING, "the run never ends")
        return run_id, found

    def moved(self, tool: Tool, run_id: str, beyond: int = 0) -> int:
        """Wait until *run_id* has delivered more than *beyond* samples; returns how many."""
        patiently(lambda: entry(tool, run_id).delivered > beyond, "the run does not move")
        return entry(tool, run_id).delivered


class _Kept(dict[bool, Tool]):
    """Tools of a class of tests by whether they are quick, opened when first asked for."""

    def __init__(self, subject: DeviceSubject, folders: pytest.TempPathFactory) -> None:
        self._subject, self._folders = subject, folders

    def __missing__(self, quick: bool) -> Tool:
        self[quick] = self._subject.open_tool(self._folders.mktemp("tool"), quick=quick)
        return self[quick]


@lru_cache(maxsize=8)
def _example(process: str) -> Recipe:
    return registry.process(process).example_recipes()[0]


@lru_cache(maxsize=8)
def _wafers(process: str, recipe: str) -> xr.Dataset:
    chapter = registry.process(process)
    return chapter.incoming_wafers(chapter.recipe_type.from_json(recipe))


def _rest(tool: Tool) -> None:
    wait(tool.stop())
    if wait(tool.status()).latched:
        wait(tool.reset())


def new_run() -> str:
    """An id that no run has had."""
    return f"contract-{next(_numbers)}"


def new_fence() -> int:
    """A fence newer than all before."""
    return next(_numbers)


def wait(coroutine: Any) -> Any:
    """The result of *coroutine*, run on the background loop."""
    return background.wait(coroutine, PATIENCE_S)


def blocks(tool: Tool, run_id: str | None = None, after: int = 0, most: int = 1_000_000) -> list[Block]:
    """Telemetry of a run beyond *after*, to its end or *most* blocks."""

    async def collected() -> list[Block]:
        found: list[Block] = []
        stream = tool.telemetry(run_id, after)
        async for block in stream:
            found.append(block)
            if len(found) >= most:
                break
        return found

    gathered: list[Block] = wait(collected())
    return gathered


def entry(tool: Tool, run_id: str) -> LedgerEntry:
    """The ledger's entry of *run_id*, which must be there."""
    found: LedgerEntry | None = wait(tool.ledger(run_id))
    assert found is not None, f"the ledger does not know {run_id}"
    return found


def refused(*coroutines: Any) -> None:
    """Each of *coroutines* must end in an error that says what was wrong."""
    try:
        for coroutine in coroutines:
            with pytest.raises(LabkitError) as caught:
                wait(coroutine)
            assert str(caught.value)
    finally:
        for coroutine in coroutines:
            coroutine.close()


def patiently(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def settled(value: Callable[[], Any], otherwise: str) -> Any:
    """*value* once it has stopped changing for as long as a tool is watched."""
    deadline = time.monotonic() + SETTLING_S
    seen, since = value(), time.monotonic()
    while time.monotonic() - since < OBSERVATION_S:
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
        now = value()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


def samples(found: list[Block]) -> int:
    """Samples in all of *found*."""
    return sum(len(block.telemetry["time"]) for block in found)


def same(first: list[Block], second: list[Block]) -> bool:
    """Whether two lists of blocks agree in sequence and every bit."""
    return [block.sequence for block in first] == [block.sequence for block in second] and all(
        set(a.telemetry) == set(b.telemetry)
        and all(np.array_equal(a.telemetry[name], b.telemetry[name]) for name in a.telemetry)
        for a, b in zip(first, second, strict=True)
    )
