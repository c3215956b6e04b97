"""The stop: authenticated, latched and recorded before it answers, and never queued behind anything."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress

import pytest

from labkit.core import registry
from labkit.core.errors import ToolError
from labkit.core.tool import Clock, LedgerState, ToolState
from labkit.devices import endpoint, launch
from labkit.devices.background import wait
from labkit.devices.ledger import Ledger
from labkit.devices.messages import LENGTHS, Greeting, ask, encode, receive
from labkit.devices.remote import RemoteTool
from labkit.devices.simulated import SimulatedTool
from labkit.devices.stop_channel import stop_now

CVD = registry.process("cvd")
RECIPE = CVD.example_recipes()[0]


def begun(folder) -> RemoteTool:
    tool = RemoteTool(folder)
    wait(tool.connect())
    wait(tool.configure(RECIPE))
    wait(tool.load(CVD.incoming_wafers(RECIPE)))
    wait(tool.start("r", RECIPE.content_hash, 1))
    return tool


def test_a_stop_is_in_the_ledger_when_it_answers(hosted):
    folder = hosted.folder()
    begun(folder)
    stop_now(folder, emergency=True)
    hosted.kill(folder)
    with closing(Ledger(folder / "ledger.db")) as ledger:
        assert ledger.memory().latched
        assert ledger.entry("r").state is LedgerState.STOPPED
        assert CVD.safe_state in ledger.entry("r").reason
        assert [event.kind for event in ledger.events("r")] == ["start", "emergency"]


def test_a_latched_stop_survives_the_process(hosted):
    folder = hosted.folder()
    tool = begun(folder)
    wait(tool.stop(emergency=True))
    hosted.kill(folder)
    wait(tool.connect())
    assert wait(tool.status()).state is ToolState.EMERGENCY
    with pytest.raises(ToolError, match="emergency"):
        wait(tool.configure(RECIPE))
    wait(tool.reset())
    assert wait(tool.status()).state is ToolState.IDLE


def test_a_stop_acts_while_every_other_way_in_is_busy(hosted):
    """The twin computes at full speed, requests pour in, and another thread of the client hogs the interpreter."""
    folder = hosted.folder(clock=Clock(), block=1)
    tool = begun(folder)
    enough = threading.Event()

    def hog() -> None:
        while not enough.is_set():
            sum(range(20_000))

    async def pester() -> None:
        while not enough.is_set():
            await tool.status()

    hogs = [threading.Thread(target=hog) for _ in range(2)]
    hogs.append(threading.Thread(target=lambda: wait(pester())))
    for thread in hogs:
        thread.start()
    try:
        stop_now(folder)
    finally:
        enough.set()
        for thread in hogs:
            thread.join()
    assert wait(tool.ledger("r")).state is LedgerState.STOPPED


def test_a_stop_reaches_the_tool_while_its_client_is_stuck_in_a_c_call(hosted):
    folder = hosted.folder()
    begun(folder)
    # One huge integer power is a single C call that never lets go of its interpreter.
    stuck = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from labkit.devices.background import wait; "
            "from labkit.devices.remote import RemoteTool; t = RemoteTool(Path(sys.argv[1])); wait(t.connect()); "
            "print('in', flush=True); 7 ** (10 ** 9)",
            str(folder),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert stuck.stdout.readline()
        stop_now(folder, emergency=True)
        assert stuck.poll() is None
    finally:
        stuck.kill()
        stuck.communicate(timeout=30)
    with closing(Ledger(folder / "ledger.db")) as ledger:
        assert ledger.memory().latched


@pytest.mark.parametrize("channel", [endpoint.REQUESTS, endpoint.STOP])
def test_a_wrong_token_is_refused(hosted, channel):
    folder = hosted.folder()
    begun(folder)
    found = launch.reachable(folder)
    port = found.port if channel == endpoint.REQUESTS else found.stop_port
    with pytest.raises(ToolError, match="does not know the token"):
        ask(found.host, port, "0" * 64, channel, {"method": "shutdown", "emergency": True}, 5.0)
    with closing(Ledger(folder / "ledger.db")) as ledger:
        assert not ledger.memory().latched
    assert launch.is_running(folder)


def test_a_proof_for_one_channel_opens_no_other(hosted):
    folder = hosted.folder()
    found = launch.ensure_running(folder)
    with pytest.raises(ToolError, match="does not know the token"):
        ask(found.host, found.stop_port, found.token, endpoint.REQUESTS, {"emergency": True}, 5.0)


def test_a_server_that_does_not_know_the_token_is_not_believed():
    with socket.create_server((endpoint.LOOPBACK, 0)) as listening:

        def impostor() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as incoming:
                greeting = Greeting("guessed", endpoint.STOP)
                connection.sendall(encode(greeting.opening()))
                receive(incoming)
                connection.sendall(encode({"proof": "0" * 64}))

        thread = threading.Thread(target=impostor)
        thread.start()
        with pytest.raises(ToolError, match="does not know the tool's token"):
            ask(*listening.getsockname(), "secret", endpoint.STOP, {"emergency": True}, 5.0)
        thread.join()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 4096,
        LENGTHS.pack(20, 0) + b"not json at all, no!",
        LENGTHS.pack(2, 0) + b"[]",
        LENGTHS.pack(2, 0) + b"{}",
        LENGTHS.pack(900, 0) + b"[" * 900,
        LENGTHS.pack(10, 4_000_000_000),
        b"\x00",
        b"",
    ],
    ids=["http", "noise", "no json", "a list", "no proof", "deep", "huge", "short", "nothing"],
)
def test_garbage_takes_neither_channel_down(shared, garbage):
    found = launch.reachable(shared)
    for port in (found.port, found.stop_port):
        # The server may hang up at the first word.
        with socket.create_connection((found.host, port), 10.0) as connection, suppress(ConnectionError, OSError):
            assert connection.recv(4096)
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                continue
    assert launch.is_running(shared)
    stop_now(shared)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from tests.devices.conftest import Hosted

    tools = Hosted(tmp_path_factory.mktemp("shared"))
    folder = tools.folder()
    try:
        launch.ensure_running(folder)
        yield folder
    finally:
        tools.end()


def test_garbage_after_a_good_greeting_ends_that_connection_only(shared):
    found = launch.reachable(shared)
    with (
        socket.create_connection((found.host, found.port), 10.0) as connection,
        connection.makefile("rb") as incoming,
    ):
        greeting = Greeting(found.token, endpoint.REQUESTS)
        connection.sendall(encode(greeting.answer(receive(incoming)[0])))
        greeting.settle(receive(incoming)[0])
        for request, said in (
            ({"method": "_converse"}, "no method"),
            ({"method": ["status"]}, "no method"),
            ({"method": "start"}, "bad arguments"),
            ({"method": "start", "run_id": "r", "recipe_hash": "x", "fence": "high"}, "bad arguments"),
            ({"method": "inject", "fault": {"mode": 3}}, "bad arguments"),
            ({"method": "load"}, "cannot be read"),
            ({"method": "configure"}, "bad arguments"),
            ({"method": "telemetry", "after": []}, "bad arguments"),
        ):
            connection.sendall(encode(request))
            assert said in receive(incoming)[0]["error"]["what"], request
        connection.sendall(LENGTHS.pack(2**31, 0))
        assert incoming.read(1) == b""
    assert launch.is_running(shared)


def test_silent_strangers_keep_no_stop_out(shared):
    found = launch.reachable(shared)
    strangers = [socket.create_connection((found.host, found.stop_port), 10.0) for _ in range(100)]
    try:
        stop_now(shared)
    finally:
        for stranger in strangers:
            stranger.close()


def test_a_stop_starts_no_process(hosted):
    folder = hosted.folder()
    with pytest.raises(ToolError, match="is not running"):
        stop_now(folder)
    launch.ensure_running(folder)
    hosted.kill(folder)
    with pytest.raises(ToolError, match="is not running"):
        stop_now(folder)
    assert not launch.is_running(folder)


def test_an_emergency_stop_of_a_tool_without_a_process_is_latched_in_its_ledger(hosted):
    folder = hosted.folder()
    stop_now(folder, emergency=True)
    assert not launch.is_running(folder)
    tool = RemoteTool(folder)
    wait(tool.connect())
    assert wait(tool.status()).latched


@pytest.mark.parametrize("emergency", [False, True])
def test_a_stop_that_cannot_reach_a_tool_inside_another_process_says_so(hosted, emergency):
    folder = hosted.folder()
    with SimulatedTool("T", CVD, folder=folder), pytest.raises(ToolError, match="hosted inside another process"):
        stop_now(folder, emergency)


def test_the_client_of_a_stop_needs_only_the_standard_library():
    code = (
        "import sys; from labkit.devices.stop_channel import stop_now; "
        "print([n for n in ('numpy', 'xarray', 'pydantic', 'asyncio', 'sqlite3', 'filelock') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
