"""A run is followed from another process through the journals of its catalogue, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import pytest

from labkit.runs.messages import Completed, CompletedData, Missed, TelemetryMessage
from labkit.runs.stream import StreamWriter, follow
from labkit.store.catalogue import Catalogue
from labkit.store.journal import Journals, create_partitioned

WRITER = """
import sys
from pathlib import Path
import numpy as np
from labkit.core.identity import Principal
from labkit.runs.stream import StreamWriter
from labkit.store.catalogue import Catalogue
from labkit.store.journal import Journals
place = Catalogue(sys.argv[1], Principal("anna", "north"), folder=Path(sys.argv[2]))
stream = StreamWriter(Journals(place), "R1")
for number in range(100):
    stream.telemetry({"time": np.arange(3.0) + 3 * number, "p_torr": np.full(3, number, "float32")}, 3 * number)
print(stream.flush(durable=True), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lab(either: Catalogue) -> Catalogue:
    """A catalogue with room for journals."""
    with either.engine.begin() as connection:
        create_partitioned(connection)
    return either


@pytest.fixture
def writer(lab: Catalogue) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes a hundred blocks, makes them durable, says so, and waits."""
    url = lab.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(lab.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate(timeout=20)


def test_a_run_is_followed_through_the_death_of_its_writer_to_its_end(
    lab: Catalogue, writer: subprocess.Popen[str]
) -> None:
    told = follow(lab, "R1", status=lambda: ("RUNNING", 1.0))
    heard = list(islice(told, 101))
    assert [message.sequence for message in heard] == list(range(101))
    measured = [message for message in heard if isinstance(message, TelemetryMessage)]
    np.testing.assert_array_equal(np.concatenate([m.data["time_s"] for m in measured]), np.arange(300.0))
    np.testing.assert_array_equal(
        np.concatenate([m.data["p_torr"] for m in measured]), np.repeat(np.arange(100, dtype="float32"), 3)
    )
    writer.send_signal(signal.SIGKILL)
    writer.wait(timeout=20)
    with StreamWriter(Journals(lab), "R1") as stream:
        assert stream.progress(100.0, "evaluating", "EVALUATING") == 101
        stream.completed("COMPLETED", verdict="good")
        assert [(message.type, message.sequence) for message in told] == [("progress", 101), ("completed", 102)]
    resumed = list(follow(lab, "R1", after=99))
    assert [message.sequence for message in resumed] == [99, 100, 101, 102]


def test_a_follower_of_a_run_whose_journal_is_removed_hears_the_end_from_the_catalogue(lab: Catalogue) -> None:
    committed: list[Completed] = []
    journals = Journals(lab)
    with StreamWriter(journals, "R1") as stream:
        stream.progress(50.0, "running", "RUNNING")
        stream.flush()
        told = follow(lab, "R1", final=lambda: committed[0] if committed else None)
        assert [message.type for message in islice(told, 2)] == ["connected", "progress"]
    committed.append(Completed(timestamp=datetime.now(UTC), sequence=0, data=CompletedData(status="COMPLETED")))
    assert journals.remove("R1")
    assert [(message.type, message.missed) for message in told] == [
        ("completed", Missed(count=None, first=2, last=None))
    ]
    assert journals.listing() == []
