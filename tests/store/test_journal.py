"""The journal of a run: what was written outlives its writer, is read from anywhere, and leaves nothing behind."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from labkit.core.errors import Corrupted, StoreError
from labkit.core.identity import Principal
from labkit.store import journal_writer
from labkit.store.catalogue import Catalogue
from labkit.store.journal import Journals, create_partitioned

from .conftest import MALLORY

WRITER = """
import sys
from pathlib import Path
from labkit.core.identity import Principal
from labkit.store.catalogue import Catalogue
from labkit.store.journal import Journals
place = Catalogue(sys.argv[1], Principal("anna", "north"), folder=Path(sys.argv[2]))
writer = Journals(place).writer("R1")
for number in range(int(sys.argv[3])):
    writer.append("telemetry", {"number": number}, bytes([number % 256]) * 1000)
print(writer.flush(durable=True), flush=True)
while True:
    writer.append("telemetry", {"number": -1}, bytes(1000))
    if sys.argv[4] == "silent":
        sys.stdin.read()
"""


@pytest.fixture
def lab(either: Catalogue) -> Catalogue:
    """A catalogue with room for journals, on SQLite and on PostgreSQL."""
    with either.engine.begin() as connection:
        create_partitioned(connection)
    return either


@pytest.fixture
def journals(lab: Catalogue) -> Journals:
    return Journals(lab)


def _url(lab: Catalogue) -> str:
    return lab.url.render_as_string(hide_password=False)


def _start(lab: Catalogue, entries: int, then: str = "silent") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, _url(lab), str(lab.folder), str(entries), then],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{entries}\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)


def _until(condition: object, deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_entries_come_back_in_order_with_all_they_held(journals: Journals) -> None:
    before = datetime.now(UTC)
    with journals.writer("R1") as writer:
        assert writer.append("progress", {"text": "ÅÄ½", "value": 0.1}) == 1
        assert writer.append("telemetry", {"n": [1, None]}, b"\x00\xff" * 50_000) == 2
        assert writer.last == 2
    first, second = journals.read("R1")
    assert (first.sequence, first.kind, first.header, first.payload) == (
        1,
        "progress",
        {"text": "ÅÄ½", "value": 0.1},
        b"",
    )
    assert (second.header, second.payload) == ({"n": [1, None]}, b"\x00\xff" * 50_000)
    assert before - timedelta(milliseconds=1) <= first.at <= second.at <= datetime.now(UTC)
    assert [entry.sequence for entry in journals.read("R1", after=1)] == [2]
    assert [entry.sequence for entry in journals.read("R1", limit=1)] == [1]
    assert journals.read("R1", after=2) == []
    newest, of_kind = journals.last("R1"), journals.last("R1", "progress")
    assert newest is not None
    assert of_kind is not None
    assert (newest.sequence, of_kind.sequence) == (2, 1)


def test_an_entry_is_written_without_being_asked_to(journals: Journals) -> None:
    with journals.writer("R1") as writer:
        for number in range(1, 4):
            writer.append("progress", {})
            _until(lambda number=number: len(journals.read("R1")) == number)


def test_what_was_flushed_outlives_a_killed_writer_and_the_next_one_goes_on(lab: Catalogue, journals: Journals) -> None:
    process = _start(lab, 700, then="busy")
    try:
        _until(lambda: journals.last("R1").sequence > 700)
        with pytest.raises(StoreError, match="another process"):
            journals.writer("R1")
    finally:
        _kill(process)
    left = [entry.sequence for entry in journals.read("R1", limit=10**6)]
    assert left == list(range(1, len(left) + 1))
    assert len(left) >= 700
    assert [entry.header["number"] for entry in journals.read("R1", limit=700)] == list(range(700))
    with journals.writer("R1") as writer:
        assert writer.append("progress", {"again": True}) == len(left) + 1
    again = journals.read("R1", limit=10**6)
    assert [entry.sequence for entry in again] == list(range(1, len(left) + 2))
    assert again[699].payload == bytes([699 % 256]) * 1000


def test_a_journal_is_written_by_one_writer_at_a_time_and_removed_by_none_meanwhile(journals: Journals) -> None:
    with journals.writer("R1") as writer, journals.writer("R2"):
        writer.append("progress", {})
        writer.flush()
        with pytest.raises(StoreError, match="one writer at a time"):
            journals.writer("R1")
        with pytest.raises(StoreError, match="end it"):
            journals.remove("R1")
        assert len(journals.read("R1")) == 1
    with journals.writer("R1") as writer:
        assert writer.last == 1


def test_a_removed_journal_is_gone_for_readers_that_had_it_open(journals: Journals) -> None:
    with journals.writer("R1") as writer:
        writer.append("progress", {})
        writer.flush()
        reader = journals.reader("R1")
        with closing(reader):
            found = reader.read(0, 10)
            assert found is not None
            assert len(found) == 1
            writer.close()
            assert journals.exists("R1")
            assert journals.listing() == ["R1"]
            assert journals.remove("R1")
            assert reader.read(0, 10) is None
            with journals.writer("R1") as again:
                assert again.append("alert", {}) == 1
                again.flush()
                anew = reader.read(0, 10)
                assert anew is not None
                assert [entry.kind for entry in anew] == ["alert"]
    assert journals.remove("R1")
    assert not journals.remove("R1")
    assert (journals.exists("R1"), journals.listing(), journals.last("R1")) == (False, [], None)


def test_journals_of_another_organisation_are_as_if_they_were_not_there(lab: Catalogue, journals: Journals) -> None:
    with journals.writer("R1") as writer:
        writer.append("progress", {})
    foreign = Journals(lab.as_principal(MALLORY))
    assert (foreign.read("R1"), foreign.last("R1"), foreign.exists("R1"), foreign.listing()) == ([], None, False, [])
    assert not foreign.remove("R1")
    assert len(journals.read("R1")) == 1


def test_order_is_by_sequence_when_the_clock_jumps_back(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2026, 10, 25, 12, tzinfo=UTC)
    times = iter([noon, noon - timedelta(hours=1), noon - timedelta(minutes=59)])
    monkeypatch.setattr(journal_writer, "now", lambda: next(times))
    with journals.writer("R1") as writer:
        for number in range(3):
            writer.append("progress", {"number": number})
    entries = journals.read("R1")
    assert [entry.header["number"] for entry in entries] == [0, 1, 2]
    assert [entry.at - noon for entry in entries] == [timedelta(0), timedelta(hours=-1), timedelta(minutes=-59)]
    newest = journals.last("R1")
    assert newest is not None
    assert newest.header["number"] == 2


def test_many_threads_append_without_a_gap(journals: Journals) -> None:
    with journals.writer("R1") as writer:
        given: list[int] = []
        threads = [
            threading.Thread(target=lambda: given.extend(writer.append("alert", {}, bytes(5000)) for _ in range(200)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert writer.flush(durable=True) == 800
        assert writer.flush(durable=True) == 800
    assert sorted(given) == list(range(1, 801))
    assert [entry.sequence for entry in journals.read("R1", limit=10_000)] == list(range(1, 801))


def test_a_run_id_cannot_lead_out_of_the_folder(journals: Journals) -> None:
    with pytest.raises(StoreError, match="cannot identify a run"):
        journals.writer("../../outside")
    with pytest.raises(StoreError, match="cannot identify a run"):
        journals.read("../catalogue")


def test_a_header_that_is_no_json_is_refused_and_takes_no_sequence(journals: Journals) -> None:
    with journals.writer("R1") as writer:
        with pytest.raises(StoreError, match="cannot be stored as JSON"):
            writer.append("progress", {"value": object()})
        assert writer.append("progress", {}) == 1
    with pytest.raises(StoreError, match="closed"):
        writer.append("progress", {})


def test_readers_make_no_file(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    assert (journals.read("R1"), journals.last("R1"), journals.exists("R1"), journals.listing()) == (
        [],
        None,
        False,
        [],
    )
    assert list(tmp_path.iterdir()) == []
    with journals.writer("R1") as writer:
        writer.append("progress", {})
    folder = tmp_path / "journal"
    assert [path.name for path in folder.iterdir()] == ["R1.db"], "nothing lies beside a journal that nobody writes"
    assert len(journals.read("R1")) == 1
    assert [path.name for path in folder.iterdir()] == ["R1.db"]
    journals.remove("R1")
    assert list(folder.iterdir()) == []


def test_a_reader_of_a_dead_writers_journal_does_not_keep_the_next_writer_of_its_process_out(
    catalogue: Catalogue,
) -> None:
    journals = Journals(catalogue)
    _kill(_start(catalogue, 5))
    with closing(journals.reader("R1")) as reader:
        found = reader.read(0, 100)
        assert found is not None
        assert len(found) >= 5
        with journals.writer("R1") as writer:
            mine = writer.append("alert", {})
            writer.flush()
            after = reader.read(mine - 1, 100)
            assert after is not None
            assert [entry.kind for entry in after] == ["alert"]


@pytest.mark.parametrize("damage", ["not a database", "torn", "one bit"])
def test_a_damaged_journal_is_named_and_can_be_set_aside(tmp_path: Path, damage: str) -> None:
    journals = Journals(tmp_path)
    with journals.writer("R1") as writer:
        for _ in range(50):
            writer.append("telemetry", {}, b"\x55" * 4000)
    path = tmp_path / "journal" / "R1.db"
    whole = path.read_bytes()
    if damage == "not a database":
        path.write_bytes(b"x" * 9000)
    elif damage == "torn":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        place = whole.index(b"\x55" * 1000) + 500
        path.write_bytes(whole[:place] + b"\x54" + whole[place + 1 :])
    with pytest.raises(Corrupted, match="set_aside") as refused:
        journals.read("R1")
    assert str(path) in str(refused.value)
    if damage == "not a database":
        with pytest.raises(Corrupted, match="set_aside"):
            journals.writer("R1")
    aside = Path(journals.set_aside("R1"))
    assert aside.exists()
    assert not journals.exists("R1")
    with journals.writer("R1") as writer:
        assert writer.append("progress", {}) == 1


def test_a_journal_of_a_newer_labkit_is_refused_by_name(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    journals.writer("R1").close()
    with closing(sqlite3.connect(tmp_path / "journal" / "R1.db")) as connection:
        connection.execute("PRAGMA user_version=999")
    with pytest.raises(StoreError, match="newer labkit"):
        journals.writer("R1")


def test_what_cannot_be_written_waits_and_is_written_later(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    with journals.writer("R1") as writer:
        writer.append("progress", {})
        writer.flush()
        blocker = sqlite3.connect(tmp_path / "journal" / "R1.db", isolation_level=None)
        with closing(blocker):
            blocker.execute("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'full'); END")
            writer.append("alert", {"kept": True})
            with pytest.raises(StoreError, match="cannot be written"):
                writer.flush()
            assert len(journals.read("R1")) == 1
            blocker.execute("DROP TRIGGER full")
        assert writer.flush() == 2
    assert [entry.header for entry in journals.read("R1")] == [{}, {"kept": True}]


def test_a_lost_connection_loses_and_repeats_nothing(postgresql_url: str, tmp_path: Path) -> None:
    with Catalogue(postgresql_url, Principal("anna", "north"), folder=tmp_path) as lab:
        with lab.engine.begin() as connection:
            create_partitioned(connection)
        journals = Journals(lab)
        with journals.writer("R1") as writer:
            for number in range(40):
                writer.append("progress", {"number": number})
                if number % 10 == 5:
                    with lab.engine.begin() as connection:
                        connection.execute(
                            sa.text(
                                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                                "AND pid <> pg_backend_pid()"
                            )
                        )
            _until(lambda: _flushed(writer))
        assert [entry.header["number"] for entry in journals.read("R1")] == list(range(40))


def _flushed(writer: journal_writer.JournalWriter) -> bool:
    try:
        return writer.flush(durable=True) == 40
    except StoreError:
        return False


def test_a_durable_flush_waits_for_the_servers_log_even_if_all_is_written_already(
    postgresql_url: str, tmp_path: Path
) -> None:
    with Catalogue(postgresql_url, Principal("anna", "north"), folder=tmp_path) as lab:
        with lab.engine.begin() as connection:
            create_partitioned(connection)
        with Journals(lab).writer("R1") as writer, lab.engine.connect() as watching:
            for _ in range(20):
                writer.append("telemetry", {}, bytes(1000))
                writer.flush()
                written = watching.execute(sa.text("SELECT pg_current_wal_insert_lsn()")).scalar()
                writer.flush(durable=True)
                reached = sa.text("SELECT pg_current_wal_flush_lsn() >= CAST(:written AS pg_lsn)")
                assert watching.execute(reached, {"written": written}).scalar()


def test_entries_that_a_crashed_server_lost_are_never_called_durable(postgresql_url: str, tmp_path: Path) -> None:
    with Catalogue(postgresql_url, Principal("anna", "north"), folder=tmp_path) as lab:
        with lab.engine.begin() as connection:
            create_partitioned(connection)
        journals = Journals(lab)
        writer = journals.writer("R1")
        for _ in range(5):
            writer.append("telemetry", {})
        writer.flush()
        with lab.engine.begin() as connection:
            # As after a crash of a server that had not yet written its log: connections end, the latest rows are gone.
            connection.execute(sa.text("DELETE FROM journal WHERE sequence > 3"))
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                    "AND pid <> pg_backend_pid()"
                )
            )
        for expected in ("cannot be reached|terminat", "lost entries 4 to 5"):
            with pytest.raises(StoreError, match=expected):
                writer.flush(durable=True)
        writer.close()
        with journals.writer("R1") as again:
            assert again.append("telemetry", {}) == 4
