"""A tool in a process of its own: real processes, killed, restarted and asked again."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from labkit.core import registry
from labkit.core.errors import ToolError
from labkit.core.tool import Block, Clock, Fault, LedgerState, ToolState
from labkit.devices import endpoint, launch
from labkit.devices.background import iterate, wait
from labkit.devices.ledger import Ledger
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


def joined(blocks: list[Block], channel: str) -> np.ndarray:
    return np.concatenate([block.telemetry[channel] for block in blocks])


def test_a_run_in_a_process_of_its_own_is_the_same_as_inside_this_one(hosted):
    outside = begun(hosted.folder(seed=5, clock=Clock()))
    inside = SimulatedTool("T", CVD, seed=5)
    prepared(inside)
    wait(inside.start("r", HASH, 1))
    there, here = list(iterate(outside.telemetry("r"))), list(iterate(inside.telemetry("r")))
    assert [block.sequence for block in there] == [block.sequence for block in here]
    for name in here[0].telemetry:
        assert joined(there, name).tobytes() == joined(here, name).tobytes()
        assert joined(there, name).dtype == joined(here, name).dtype
    assert wait(outside.unload("r")).equals(wait(inside.unload("r")))
    assert wait(outside.measure("r")).equals(wait(inside.measure("r")))
    assert wait(outside.status()).state is wait(inside.status()).state is ToolState.DONE
    assert wait(outside.executions("r")) == 1


def test_a_killed_tool_marks_its_run_interrupted_and_never_starts_it_again(hosted):
    folder = hosted.folder(block=200)
    tool = begun(folder, fence=6, samples=1000)
    wait(tool.acknowledge("r", 2))
    old = hosted.kill(folder)
    entry = wait(tool.ledger("r"))
    assert (entry.state, entry.delivered, entry.acknowledged) == (LedgerState.INTERRUPTED, 1000, 2)
    assert endpoint.find(folder).pid != old
    kept = list(iterate(tool.telemetry("r", after=2)))
    np.testing.assert_array_equal(joined(kept, "time"), np.arange(401, 1001))
    prepared(tool)
    wait(tool.start("r", HASH, 6))
    assert wait(tool.status()).state is ToolState.CONFIGURED
    assert wait(tool.executions("r")) == 1
    with pytest.raises(ToolError, match="not known"):
        wait(tool.unload("r"))
    with pytest.raises(ToolError, match="fence 6; 5 is older"):
        wait(tool.start("r2", HASH, 5))


def test_a_client_that_is_killed_takes_no_telemetry_with_it(hosted):
    folder = hosted.folder(block=250)
    program = (
        "import sys; from pathlib import Path; from labkit.core import registry\n"
        "from labkit.devices.background import iterate, wait\n"
        "from labkit.devices.remote import RemoteTool; p = registry.process('cvd'); r = p.example_recipes()[0]\n"
        "t = RemoteTool(Path(sys.argv[1])); wait(t.connect()); wait(t.configure(r))\n"
        "wait(t.load(p.incoming_wafers(r)))\n"
        "wait(t.start('r', r.content_hash, 1)); wait(t.step(1000))\n"
        "for block in iterate(t.telemetry('r')): print(block.sequence, flush=True)\n"
    )
    launch.ensure_running(folder)
    client = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        seen = [int(client.stdout.readline()) for _ in range(2)]
    finally:
        client.kill()
        client.communicate(timeout=30)
    assert seen == [1, 2]
    tool = RemoteTool(folder)
    wait(tool.connect())
    assert wait(tool.status()).state is ToolState.RUNNING
    wait(tool.acknowledge("r", 2))
    wait(tool.step(10_000))
    rest = list(iterate(tool.telemetry("r", after=2)))
    assert [block.sequence for block in rest] == list(range(3, 3 + len(rest)))
    np.testing.assert_array_equal(joined(rest, "time"), np.arange(501, 3121))


def test_watching_goes_on_through_a_restart_of_the_tool(hosted):
    folder = hosted.folder(block=100)
    tool = begun(folder, samples=300)
    stream = iterate(tool.telemetry())
    seen = [next(stream).sequence for _ in range(3)]
    hosted.kill(folder)
    assert list(stream) == []
    assert seen == [1, 2, 3]
    assert wait(tool.ledger("r")).state is LedgerState.INTERRUPTED


def test_a_second_host_is_refused_in_one_line(hosted):
    folder = hosted.folder()
    wait(RemoteTool(folder).connect())
    with pytest.raises(ToolError, match="has a host already"):
        SimulatedTool("T", CVD, folder=folder)
    second = subprocess.run(
        [sys.executable, "-m", "labkit.devices.tool_process", str(folder)], capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 75
    assert len(second.stderr.strip().splitlines()) == 1
    assert "has a host already" in second.stderr
    assert launch.is_running(folder)


def test_a_tool_hosted_inside_another_process_is_not_started_twice(hosted):
    folder = hosted.folder()
    with SimulatedTool("T", CVD, folder=folder), pytest.raises(ToolError, match="has a host already"):
        wait(RemoteTool(folder).connect())


def test_many_starters_at_once_get_one_process(hosted):
    folder = hosted.folder()

    async def all_at_once() -> list[int]:
        return [
            found.pid
            for found in await asyncio.gather(*(asyncio.to_thread(launch.ensure_running, folder) for _ in range(6)))
        ]

    assert len(set(wait(all_at_once()))) == 1


def test_the_token_is_for_the_owner_only_and_goes_with_the_process(hosted):
    folder = hosted.folder()
    found = launch.ensure_running(folder)
    if os.name == "posix":
        assert stat.S_IMODE(endpoint.file_of(folder).stat().st_mode) == 0o600
    assert found.token not in repr(found)
    assert launch.shut_down(folder)
    assert not endpoint.file_of(folder).exists()
    assert not launch.is_running(folder)
    assert not launch.shut_down(folder)


def test_a_shut_down_tool_stops_its_run_normally_first(hosted):
    folder = hosted.folder()
    tool = begun(folder, samples=500)
    wait(tool.shutdown())
    with closing(Ledger(folder / "ledger.db")) as ledger:
        entry = ledger.entry("r")
        assert (entry.state, entry.delivered) == (LedgerState.STOPPED, 500)
        assert CVD.safe_state in entry.reason
        assert ledger.outcome("r") is not None


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM to send")
def test_sigterm_is_a_normal_stop_and_an_orderly_end(hosted):
    folder = hosted.folder()
    begun(folder, samples=500)
    child = launch._started.pop(endpoint.find(folder).pid)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    with closing(Ledger(folder / "ledger.db")) as ledger:
        assert ledger.entry("r").state is LedgerState.STOPPED


def test_a_tool_that_nobody_needs_ends_by_itself_but_never_during_a_run(hosted):
    folder = hosted.folder()
    tool = RemoteTool(folder, idle_s=0.2)
    prepared(tool)
    wait(tool.start("r", HASH, 1))
    wait(tool.disconnect())
    child = launch._started[endpoint.find(folder).pid]
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(1.0)
    wait(tool.stop())
    assert child.wait(30) == 0
    assert not endpoint.file_of(folder).exists()


def test_a_crash_fault_kills_the_process_and_the_run_is_interrupted(hosted):
    folder = hosted.folder(clock=Clock())
    tool = RemoteTool(folder)
    wait(tool.connect())
    wait(tool.inject(Fault(mode="crash", magnitude=0.5)))
    prepared(tool)
    child = launch._started[endpoint.find(folder).pid]
    wait(tool.start("r", HASH, 1))
    assert child.wait(60) == 70
    entry = wait(tool.ledger("r"))
    assert entry.state is LedgerState.INTERRUPTED
    assert entry.delivered <= 1560
    assert wait(tool.ground_truth("r"))["faults"][0]["mode"] == "crash"
