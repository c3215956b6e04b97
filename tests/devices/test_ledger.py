"""The ledger: what was committed is there after anything, and nothing is there twice."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from labkit.core.errors import Corrupted, ToolError
from labkit.core.tool import LedgerState
from labkit.devices.ledger import Ledger


@pytest.fixture(params=["file", "memory"])
def ledger(request, tmp_path):
    with closing(Ledger(tmp_path / "ledger.db" if request.param == "file" else None)) as opened:
        yield opened


def test_a_run_is_numbered_and_starts_running(ledger):
    assert [ledger.start(run, "h", 1, 10) for run in ("a", "b")] == [1, 2]
    entry = ledger.entry("b")
    assert (entry.number, entry.state, entry.samples, entry.delivered) == (2, LedgerState.RUNNING, 10, 0)
    assert ledger.run_ids() == ["a", "b"]
    assert ledger.times("a")[1] is None
    assert ledger.entry("c") is None


def test_a_start_is_refused_again_behind_a_fence_or_a_latch(ledger):
    ledger.start("a", "h", 5, 10)
    with pytest.raises(ToolError, match="in the ledger already"):
        ledger.start("a", "h", 5, 10)
    with pytest.raises(ToolError, match="fence 5 has been seen"):
        ledger.start("b", "h", 4, 10)
    ledger.stop(None, "fire", emergency=True)
    with pytest.raises(ToolError, match="latched"):
        ledger.start("b", "h", 5, 10)
    ledger.reset()
    assert ledger.start("b", "h", 5, 10) == 2


def test_blocks_are_numbered_without_gaps_and_forgotten_once_acknowledged(ledger):
    ledger.start("a", "h", 1, 10)
    for samples, data in ((4, b"one"), (4, b"two"), (2, b"three")):
        ledger.append("a", samples, data)
    assert ledger.blocks("a", after=1) == [(2, b"two"), (3, b"three")]
    assert ledger.blocks("a", after=0, most=2) == [(1, b"one"), (2, b"two")]
    ledger.acknowledge("a", 2)
    ledger.acknowledge("a", 1)
    assert ledger.blocks("a", after=0) == [(3, b"three")]
    entry = ledger.entry("a")
    assert (entry.delivered, entry.last_sequence, entry.acknowledged) == (10, 3, 2)


def test_the_end_comes_with_the_last_block_and_the_outcome_at_once(ledger):
    ledger.start("a", "h", 1, 10)
    assert not ledger.closed("a")
    ledger.finish("a", LedgerState.DONE, block=(10, b"all"), outcome=(b"truth", b"measured"))
    assert ledger.closed("a")
    assert ledger.entry("a").state is LedgerState.DONE
    assert ledger.outcome("a") == (b"truth", b"measured")
    assert ledger.times("a")[1] >= ledger.times("a")[0]
    ledger.release("a")
    assert (ledger.outcome("a"), ledger.blocks("a", 0)) == (None, [])
    assert ledger.entry("a").released


def test_a_stop_decides_what_became_of_a_run_before_its_end_is_written(ledger):
    ledger.start("a", "h", 1, 10)
    ledger.stop("a", "stopped by hand", emergency=False)
    ledger.finish("a", LedgerState.DONE, outcome=(b"t", b"m"))
    entry = ledger.entry("a")
    assert (entry.state, entry.reason) == (LedgerState.STOPPED, "stopped by hand")
    assert ledger.outcome("a") == (b"t", b"m")
    assert [event.kind for event in ledger.events("a")] == ["start", "stop"]


def test_a_reason_of_any_length_can_be_read_back(ledger):
    ledger.start("a", "h", 1, 10)
    ledger.finish("a", LedgerState.INTERRUPTED, "no " * 100_000)
    assert ledger.entry("a").reason.startswith("no no")


def test_only_runs_without_an_end_are_interrupted(ledger):
    for run in ("done", "stopped", "running"):
        ledger.start(run, "h", 1, 10)
    ledger.finish("done", LedgerState.DONE)
    ledger.stop("stopped", "by hand", emergency=False)
    assert ledger.interrupt("power") == ["running"]
    assert ledger.interrupt("power") == []
    states = {run: ledger.entry(run).state for run in ledger.run_ids()}
    assert states == {
        "done": LedgerState.DONE,
        "stopped": LedgerState.STOPPED,
        "running": LedgerState.INTERRUPTED,
    }
    assert all(ledger.closed(run) for run in states)


def test_executions_are_counted_and_cannot_be_taken_back(tmp_path):
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as ledger:
        ledger.start("a", "h", 1, 10)
        assert ledger.executions("a") == 0
        ledger.begin_execution("a")
        ledger.begin_execution("a")
        assert ledger.executions("a") == 2
        with closing(sqlite3.connect(path)) as other:
            for attempt in ("DELETE FROM executions", "UPDATE executions SET run_id = 'b'"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    other.execute(attempt)


def test_what_is_remembered_comes_back(ledger):
    assert ledger.memory().condition is None
    ledger.remember("fault injection", "leak", [{"mode": "leak"}], {"leak_sccm": 0.5})
    ledger.raise_fence(4)
    ledger.raise_fence(2)
    memory = ledger.memory()
    assert (memory.fence, memory.faults, memory.condition) == (4, [{"mode": "leak"}], {"leak_sccm": 0.5})
    assert [event.kind for event in ledger.events()] == ["fault injection", "fence", "fence"]


def test_everything_committed_is_there_after_the_writer_was_killed(tmp_path):
    path = tmp_path / "ledger.db"
    program = (
        "import os, sys; from pathlib import Path; from labkit.devices.ledger import Ledger\n"
        "l = Ledger(Path(sys.argv[1])); l.start('a', 'h', 3, 10); l.begin_execution('a'); l.append('a', 4, b'x')\n"
        "l.start('b', 'h', 3, 10); l.stop('b', 'now', emergency=True); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], timeout=60).returncode == 9
    with closing(Ledger(path)) as ledger:
        assert ledger.blocks("a", 0) == [(1, b"x")]
        assert ledger.executions("a") == 1
        assert ledger.memory().latched
        assert ledger.interrupt("killed") == ["a"]


def test_a_stop_does_not_wait_for_telemetry_of_other_threads(tmp_path):
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        ledger.start("a", "h", 1, 10**9)
        enough = threading.Event()

        def write() -> None:
            while not enough.is_set():
                ledger.append("a", 600, b"\0" * 40_000)

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            before = ledger.entry("a").last_sequence
            ledger.stop("a", "now", emergency=True)
            # Far fewer blocks than would have been written by a stop that waits for the writers to leave off.
            assert ledger.entry("a").last_sequence - before < 2_000
        finally:
            enough.set()
            for writer in writers:
                writer.join()
        assert ledger.memory().latched
        sequences = [sequence for sequence, _ in ledger.blocks("a", 0, most=10**6)]
        assert sequences == list(range(1, len(sequences) + 1))


def test_the_file_does_not_grow_with_runs_that_are_released(tmp_path):
    path = tmp_path / "ledger.db"

    def used(runs: range) -> int:
        with closing(Ledger(path)) as ledger:
            for run in runs:
                ledger.start(f"r{run}", "h", 1, 600)
                for _ in range(6):
                    ledger.append(f"r{run}", 100, b"\0" * 40_000)
                ledger.finish(f"r{run}", LedgerState.DONE, outcome=(b"\0" * 20_000, b"\0" * 20_000))
                ledger.release(f"r{run}")
                ledger.tidy()
        return sum(file.stat().st_size for file in path.parent.iterdir())

    first = used(range(30))
    assert used(range(30, 150)) < first + 300_000


@pytest.mark.parametrize("damage", ["text", "truncated", "other layout", "other database"])
def test_a_file_that_is_no_ledger_is_refused_with_what_to_do(tmp_path, damage):
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as ledger:
        for run in range(50):
            ledger.start(f"run-{run}", "h" * 64, 1, 10)
    if damage == "text":
        path.write_text("not a database\n" * 100)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 99" if damage == "other layout" else "PRAGMA user_version = 0")
            other.commit()
    with pytest.raises(Corrupted) as refused:
        Ledger(path)
    assert refused.value.fix


def test_a_folder_that_cannot_be_written_is_a_tool_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="cannot be used"):
        Ledger(tmp_path / "file" / "ledger.db")
