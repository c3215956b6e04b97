"""A run's stream: seven types of message, in order, from any point on, in any process, with every gap stated."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from labkit.core.errors import Corrupted, StoreError
from labkit.core.wire import pack_telemetry
from labkit.runs import tail
from labkit.runs.messages import (
    Completed,
    CompletedData,
    Message,
    Missed,
    Progress,
    ProgressData,
    TelemetryMessage,
    message_from_json,
)
from labkit.runs.stream import StreamWriter, follow, follow_async
from labkit.store.journal import Journals

WRITER = """
import sys
import numpy as np
from labkit.runs.stream import StreamWriter
from labkit.store.journal import Journals
stream = StreamWriter(Journals(sys.argv[1]), "R1")
for line in sys.stdin:
    word, number = line.split()
    if word == "telemetry":
        stream.telemetry({"time": np.arange(5.0), "p_torr": np.full(5, float(number), "float32")}, 5 * int(number))
    elif word == "progress":
        stream.progress(float(number), "running", "RUNNING")
    elif word == "completed":
        stream.completed("COMPLETED", verdict="good", results={"thickness_mean_nm": 100.5}, headline="as predicted")
    stream.flush()
    print(stream.last, flush=True)
"""


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path)


def _end(status: str = "COMPLETED") -> Message:
    return Completed(timestamp=datetime.now(UTC), sequence=0, data=CompletedData(status=status))


def _until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class _Other:
    """A writer in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def say(self, word: str, number: float = 0) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word} {number}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=20)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[_Other]:
    process = _Other(tmp_path)
    yield process
    if process.process.poll() is None:
        process.kill()


def test_every_message_says_in_json_what_the_seed_shows(journals: Journals) -> None:
    with StreamWriter(journals, "ION-1") as stream:
        stream.progress(26.2, "Implanting (26% dose)", "running")
        stream.telemetry({"time": np.arange(3.0), "beam_current_ma": np.array([5.02, np.nan, 5.0])}, 30)
        stream.alert("beam_current_ma", "Beam current beyond 3σ control limits", "critical")
        stream.completed("COMPLETED", verdict="good", results={"final_dose": 1.02e15, "unknown": float("nan")})
    said = list(follow(journals, "ION-1", status=lambda: ("running", 25.0)))
    plain = [json.loads(message.to_json()) for message in said]
    assert [message["type"] for message in plain] == ["connected", "progress", "telemetry", "alert", "completed"]
    assert [message["sequence"] for message in plain] == [0, 1, 2, 3, 4]
    assert all(datetime.fromisoformat(message["timestamp"]).utcoffset() is not None for message in plain)
    assert all(message["timestamp"].endswith("Z") and "missed" not in message for message in plain)
    connected, progress, telemetry, alert, completed = (message["data"] for message in plain)
    assert connected == {"run_id": "ION-1", "status": "running", "progress": 25.0}
    assert progress == {"progress": 26.2, "current_step": "Implanting (26% dose)", "status": "running"}
    assert telemetry == {"time_s": [0.0, 1.0, 2.0], "beam_current_ma": [5.02, None, 5.0]}
    assert plain[2]["first_sample"] == 30
    assert alert == {
        "parameter": "beam_current_ma",
        "message": "Beam current beyond 3σ control limits",
        "severity": "critical",
    }
    assert completed["results"] == {"final_dose": 1.02e15, "unknown": None}
    assert (completed["verdict"], completed["status"]) == ("good", "COMPLETED")
    for message in said:
        back = message_from_json(message.to_json())
        assert back.to_json() == message.to_json()
        assert type(back) is type(message)


@pytest.mark.parametrize("end", ["error", "cancelled"])
def test_a_stream_ends_with_what_the_run_ended_with(journals: Journals, end: str) -> None:
    with StreamWriter(journals, "R1") as stream:
        if end == "error":
            stream.error("Beam stability check failed", fix="retune the source", code="BEAM")
        else:
            stream.cancelled()
    last = list(follow(journals, "R1"))[-1]
    told = json.loads(last.to_json())
    expected = (
        {"error_message": "Beam stability check failed", "fix": "retune the source", "error_code": "BEAM"}
        if end == "error"
        else {"message": "Run was cancelled"}
    )
    assert (told["type"], told["data"], last.final) == (end, expected, True)


def test_a_process_follows_another_one_and_resumes_where_it_was(journals: Journals, other: _Other) -> None:
    stream = follow(journals, "R1")
    first = next(stream)
    assert (first.type, first.sequence) == ("connected", 0)
    other.say("progress", 10)
    other.say("telemetry", 7)
    progress, telemetry = next(stream), next(stream)
    assert isinstance(progress, Progress)
    assert (progress.sequence, progress.data.progress, progress.data.status) == (1, 10.0, "RUNNING")
    assert isinstance(telemetry, TelemetryMessage)
    assert telemetry.first_sample == 35
    assert telemetry.data["p_torr"].dtype == np.float32
    np.testing.assert_array_equal(telemetry.data["p_torr"], np.full(5, 7, "float32"))
    stream.close()  # type: ignore[attr-defined]
    other.say("progress", 20)
    other.say("progress", 30)
    other.say("completed")
    rest = list(follow(journals, "R1", after=telemetry.sequence))
    assert [message.type for message in rest] == ["connected", "progress", "progress", "completed"]
    assert [message.sequence for message in rest] == [2, 3, 4, 5]
    assert rest[0].data.progress == 30.0  # type: ignore[union-attr]
    heard = list(follow(journals, "R1", after=5))
    assert [message.type for message in heard] == ["connected", "completed"]


def test_a_stream_goes_on_when_its_writer_is_killed_and_another_takes_over(
    journals: Journals, other: _Other, tmp_path: Path
) -> None:
    stream = follow(journals, "R1")
    next(stream)
    other.say("progress", 10)
    assert next(stream).sequence == 1
    other.say("progress", 11)
    other.kill()
    successor = _Other(tmp_path)
    try:
        assert successor.say("progress", 12) == 3
        assert [message.data.progress for message in islice(stream, 2)] == [11.0, 12.0]  # type: ignore[union-attr]
        successor.say("completed")
        assert [message.type for message in stream] == ["completed"]
    finally:
        successor.kill()


def test_a_slow_reader_loses_the_oldest_and_is_told_which(journals: Journals) -> None:
    with StreamWriter(journals, "R1") as stream:
        slow = follow(journals, "R1", buffer=10)
        quick = follow(journals, "R1", buffer=10_000)
        assert (next(slow).type, next(quick).type) == ("connected", "connected")
        for number in range(500):
            stream.telemetry({"time": np.array([float(number)])}, number)
        stream.completed("COMPLETED")
        everything = list(quick)
        # Both mailboxes are filled by one tail, in one step: what the quick reader has had the slow one was offered.
        late = list(slow)
    assert [message.sequence for message in everything] == list(range(1, 502))
    assert all(message.missed is None for message in everything)
    assert len(late) == 10
    assert [message.sequence for message in late] == list(range(492, 502))
    assert late[0].missed == Missed(count=491, first=1, last=491)
    assert json.loads(late[0].to_json())["missed"] == {"count": 491, "first": 1, "last": 491}
    assert all(message.missed is None for message in late[1:])
    assert late[-1].type == "completed"


def test_superseded_progress_goes_before_what_was_measured(journals: Journals) -> None:
    with StreamWriter(journals, "R1") as stream:
        slow = follow(journals, "R1", buffer=30)
        quick = follow(journals, "R1", buffer=10_000)
        next(slow), next(quick)
        for number in range(20):
            for part in range(5):
                stream.progress(number + part / 5, "running", "RUNNING")
            stream.telemetry({"time": np.array([float(number)])}, number)
        stream.completed("COMPLETED")
        everything, late = list(quick), list(slow)
    samples = [message.first_sample for message in late if isinstance(message, TelemetryMessage)]
    assert samples == list(range(20)), "no telemetry was lost to make room for progress"
    assert [message.data.progress for message in late if isinstance(message, Progress)][-1] == 19.8
    stated = sum(message.missed.count or 0 for message in late if message.missed is not None)
    assert stated + len(late) == len(everything) == 121
    heard = {message.sequence for message in late}
    for message in late:
        if message.missed is not None:
            assert message.missed.first not in heard
            assert message.missed.last not in heard
            assert message.missed.last is not None
            assert message.missed.last < message.sequence


def test_history_is_read_without_gaps_however_small_the_buffer(journals: Journals) -> None:
    with StreamWriter(journals, "R1") as stream:
        for number in range(1, 351):
            stream.progress(number / 10, "running", "RUNNING")
        stream.flush()
        heard = list(islice(follow(journals, "R1", buffer=1), 351))
    assert [message.sequence for message in heard] == list(range(351))
    assert all(message.missed is None for message in heard)


def test_the_end_of_a_run_whose_journal_is_gone_comes_from_the_catalogue(journals: Journals) -> None:
    told = list(follow(journals, "R1", status=lambda: ("COMPLETED", 100.0), final=_end))
    assert [message.type for message in told] == ["connected", "completed"]
    assert told[-1].missed == Missed(count=None, first=1, last=None)


def test_a_journal_removed_while_it_is_followed_ends_every_follower(journals: Journals) -> None:
    over = threading.Event()
    with StreamWriter(journals, "R1") as stream:
        stream.progress(50.0, "running", "RUNNING")
        stream.flush()
        told = follow(journals, "R1", final=lambda: _end() if over.is_set() else None)
        assert [message.type for message in islice(told, 2)] == ["connected", "progress"]
    journals.remove("R1")
    over.set()
    last = list(told)
    assert [(message.type, message.missed) for message in last] == [
        ("completed", Missed(count=None, first=2, last=None))
    ]


def test_without_anybody_to_ask_a_follower_ends_when_the_journal_is_removed(journals: Journals) -> None:
    stream = StreamWriter(journals, "R1")
    stream.progress(50.0, "running", "RUNNING")
    stream.flush()
    told = follow(journals, "R1")
    assert [message.type for message in islice(told, 2)] == ["connected", "progress"]
    stream.close()
    journals.remove("R1")
    assert list(told) == []


def test_a_run_that_ended_without_a_word_in_its_journal_is_ended_by_the_catalogue(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "ASK_EVERY_S", 0.05)
    with StreamWriter(journals, "R1") as stream:
        stream.progress(50.0, "running", "RUNNING")
    told = list(follow(journals, "R1", final=_end))
    assert [message.type for message in told] == ["connected", "progress", "completed"]
    assert told[-1].missed is None


def test_a_stream_can_be_stopped_before_its_run_begins(journals: Journals) -> None:
    stop = threading.Event()
    told = follow(journals, "R1", stop=stop.is_set)
    first = next(told)
    assert first.data.status == "unknown"  # type: ignore[union-attr]
    stop.set()
    assert list(told) == []
    _until(lambda: not tail._tails)


def test_many_followers_of_a_run_share_one_reader_of_its_journal(journals: Journals) -> None:
    async def all_of(one: int) -> list[Message]:
        return [message async for message in follow_async(journals, "R1", after=one % 3)]

    async def everybody() -> list[list[Message]]:
        following = [asyncio.create_task(all_of(one)) for one in range(200)]
        while len(_listening()) != 200:
            await asyncio.sleep(0.01)
        assert len(tail._tails) == 1
        assert [thread.name for thread in threading.enumerate()].count("labkit-tail-R1") == 1
        for number in range(20):
            stream.telemetry(pack_telemetry({"time": np.arange(10.0) + number}), 10 * number)
        stream.completed("COMPLETED")
        return list(await asyncio.gather(*following))

    with StreamWriter(journals, "R1") as stream:
        for percent in (1.0, 2.0, 3.0):
            stream.progress(percent, "running", "RUNNING")
        stream.flush()
        heard = asyncio.run(everybody())
    for one, messages in enumerate(heard):
        assert [message.sequence for message in messages] == [one % 3, *range(one % 3 + 1, 25)]
    assert len({id(messages[-5]) for messages in heard}) == 1, "they share the messages themselves"
    _until(lambda: not tail._tails)


def _listening() -> list[object]:
    return [mailbox for one in list(tail._tails.values()) for mailbox in one._mailboxes]


def test_a_cancelled_follower_leaves_nothing_behind(journals: Journals) -> None:
    async def cancelled() -> None:
        async def listen() -> None:
            async for _ in follow_async(journals, "R1"):
                pass

        task = asyncio.create_task(listen())
        while not _listening():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    _until(lambda: not tail._tails)


def test_a_damaged_journal_ends_the_follower_in_words_and_not_the_writer(journals: Journals, tmp_path: Path) -> None:
    with journals.writer("R1") as writer:
        told = follow(journals, "R1")
        next(told)
        writer.append("telemetry", {"first_sample": 0}, b"no Arrow stream")
        with pytest.raises(Corrupted, match="telemetry block"):
            list(told)
        assert writer.append("progress", {"data": {}}) == 2
        writer.flush()


def test_a_lost_catalogue_delays_the_end_and_does_not_break_the_stream(journals: Journals) -> None:
    asked = []

    def final() -> Message | None:
        asked.append(1)
        if len(asked) < 3:
            raise StoreError("the catalogue cannot be reached")
        return _end()

    assert [message.type for message in follow(journals, "R1", final=final)] == ["connected", "completed"]


def test_messages_are_frozen_and_refuse_what_they_are_not(journals: Journals) -> None:
    message = Progress(
        timestamp=datetime.now(UTC), sequence=1, data=ProgressData(progress=1.0, current_step="", status="RUNNING")
    )
    with pytest.raises(ValueError, match="frozen"):
        message.sequence = 2  # type: ignore[misc]
    for text in ("nonsense", "[]", '{"type": "telemetry"}', '{"type": "party", "data": {}}'):
        with pytest.raises(Corrupted, match="cannot be read"):
            message_from_json(text)
