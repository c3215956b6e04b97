"""The handle on a tool in its own process: plain calls, several loops, and what it says when something is wrong."""

import asyncio
import json
import os
import signal
import time

import pytest

from labkit.core import registry
from labkit.core.errors import Corrupted, NotFound, ToolError
from labkit.core.tool import Clock, Fault, ToolState
from labkit.devices import endpoint, launch
from labkit.devices.background import iterate, wait
from labkit.devices.definition import Definition, install
from labkit.devices.handle import ToolHandle
from labkit.devices.opening import open_tool
from labkit.devices.remote import RemoteTool
from labkit.devices.simulated import SimulatedTool

CVD = registry.process("cvd")
RECIPE = CVD.example_recipes()[0]
WAFER = CVD.incoming_wafers(RECIPE)
HASH = RECIPE.content_hash


def prepared(tool) -> None:
    wait(tool.connect())
    wait(tool.configure(RECIPE))
    wait(tool.load(WAFER))


def begun(folder, run_id: str = "r", fence: int = 1, samples: int = 0) -> RemoteTool:
    tool = RemoteTool(folder)
    prepared(tool)
    wait(tool.start(run_id, HASH, fence))
    if samples:
        wait(tool.step(samples))
    return tool


def test_nothing_is_asked_or_started_by_a_handle_that_is_not_connected(hosted):
    folder = hosted.folder(seed=3)
    handle = ToolHandle(RemoteTool(folder))
    assert repr(handle) == "<tool T (cvd)>"
    assert (handle.name, handle.process, handle.seed) == ("T", "cvd", 3)
    assert handle.status().state is ToolState.DISCONNECTED
    for refused in (lambda: handle.configure(RECIPE), lambda: handle.start("r", HASH, 1), handle.pause):
        with pytest.raises(ToolError, match="disconnected"):
            refused()
    assert endpoint.find(folder) is None


def test_a_notebook_has_the_whole_contract_in_plain_calls(hosted):
    handle = ToolHandle(RemoteTool(hosted.folder(block=1000)))
    handle.connect()
    handle.inject(Fault(mode="leak", magnitude=0.1))
    handle.configure(RECIPE)
    handle.load(WAFER)
    handle.fence(2)
    handle.start("r", HASH, 2)
    assert handle.step(1000) == 1000
    handle.pause()
    with pytest.raises(ToolError, match="nothing to step"):
        handle.step(1)
    assert handle.status().state is ToolState.PAUSED
    handle.resume()
    assert handle.step(5000) == 3120
    assert [block.sequence for block in handle.telemetry(after=1)] == [2, 3, 4]
    assert handle.status().progress == 1.0
    assert handle.unload("r").sizes["slot"] == handle.measure("r").sizes["slot"] == 25
    handle.acknowledge("r", 4)
    handle.release("r")
    assert handle.ledger("r").released
    assert handle.executions("r") == 1
    assert handle.ground_truth("r")["condition"]["leak_sccm"] == pytest.approx(0.1)
    assert handle.calibrate("leak_sccm") == pytest.approx(0.1)
    handle.clear_faults()
    assert handle.supports(RECIPE)
    assert "process:cvd" in handle.capabilities()
    assert all(handle.interlocks().values())
    handle.stop(emergency=True)
    assert handle.status().latched
    assert not any(handle.interlocks().values())
    handle.reset()
    handle.disconnect()


def test_one_handle_serves_several_event_loops(hosted):
    tool = begun(hosted.folder(), samples=10)

    async def elsewhere() -> str | None:
        status = await tool.status()
        await tool.disconnect()
        return status.run_id

    assert asyncio.run(elsewhere()) == "r"
    wait(tool.connect())
    assert wait(tool.status()).run_id == "r"


def test_a_request_is_not_held_up_by_one_that_waits(hosted):
    tool = begun(hosted.folder())
    wait(tool.inject(Fault(mode="leak", magnitude=0.1)))

    async def meanwhile() -> float:
        waiting = asyncio.ensure_future(anext(tool.telemetry()))
        await asyncio.sleep(0)
        progress = (await tool.status()).progress
        await tool.step(50)
        assert len((await waiting).telemetry["time"]) == 50
        return progress

    assert wait(meanwhile()) == 0.0


def test_a_tool_that_does_not_answer_is_an_error_that_says_so(hosted):
    if not hasattr(signal, "SIGSTOP"):
        pytest.skip("no way to freeze a process here")
    folder = hosted.folder()
    tool = RemoteTool(folder, timeout_s=0.3)
    launch.ensure_running(folder)
    wait(tool.connect())
    pid = endpoint.find(folder).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ToolError, match=r"has not answered status within 0\.3 s"):
            wait(tool.status())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert wait(RemoteTool(folder).ledger("r")) is None


def test_a_tool_cannot_be_opened_as_another_one(tmp_path):
    folder = tmp_path / "T"
    first = Definition(name="T", process="cvd", seed=1)
    open_tool(folder, first)
    open_tool(folder, first.model_copy(update={"block": 50, "clock": Clock(mode="paced", scale=60.0)}))
    assert json.loads((folder / "tool.json").read_text())["block"] == 50
    with pytest.raises(ToolError, match="another tool"):
        open_tool(folder, first.model_copy(update={"seed": 2}))
    with open_tool(folder, first, "inside") as tool:
        assert isinstance(tool, SimulatedTool)


def test_a_folder_without_a_tool_or_with_a_broken_definition_is_refused(tmp_path):
    with pytest.raises(NotFound, match="no tool"):
        RemoteTool(tmp_path)
    (tmp_path / "tool.json").write_text('{"name": "T"')
    with pytest.raises(Corrupted, match="cannot be read"):
        RemoteTool(tmp_path)


def test_a_condition_that_the_process_does_not_know_is_named_in_the_error(hosted):
    folder = hosted.folder(condition={"gremlins": 3})
    with pytest.raises(ToolError, match="gremlins"):
        wait(RemoteTool(folder).connect())


def test_a_damaged_ledger_is_named_in_the_error(hosted):
    folder = hosted.folder()
    (folder / "ledger.db").write_bytes(b"this is no ledger" * 100)
    with pytest.raises(ToolError, match="ledger is damaged"):
        wait(RemoteTool(folder).connect())


def test_an_installed_tool_keeps_its_definition_through_a_half_written_one(tmp_path):
    install(tmp_path, Definition(name="T", process="cvd"))
    (tmp_path / "tool.abc.new").write_text("{")
    assert RemoteTool(tmp_path).name == "T"


def test_live_telemetry_of_a_paced_run_comes_before_its_block_is_full(hosted):
    tool = begun(hosted.folder(clock=Clock(mode="paced", scale=20.0)))
    began = time.monotonic()
    first = next(iterate(tool.telemetry()))
    assert 1 <= len(first.telemetry["time"]) < 600
    assert time.monotonic() - began < 25.0
    wait(tool.stop())
