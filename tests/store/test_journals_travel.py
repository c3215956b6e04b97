"""Journals go along when a lab moves to PostgreSQL, and into the backup of a lab that is there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from labkit.core.errors import StoreError
from labkit.store.backup import backup, restore
from labkit.store.catalogue import Catalogue
from labkit.store.journal import Entry, Journals
from labkit.store.transfer import transfer

from .conftest import ANNA, MALLORY

KILLED = """
import os, signal, sys
from pathlib import Path
from labkit.store.journal import Journals
writer = Journals(Path(sys.argv[1]), "north").writer("KILLED")
writer.append("state", {"to": "RUNNING"})
writer.flush(durable=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def empty(server: sa.URL) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE travels"))
    yield server.set(database="travels", drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text("DROP DATABASE travels WITH (FORCE)"))
    engine.dispose()


def _write(journals: Journals, run: str, count: int) -> None:
    with journals.writer(run) as writer:
        for number in range(count):
            writer.append("telemetry", {"number": number, "at": "é", "small": -1e-300}, bytes([number % 256]) * 900)


def _all(journals: Journals, run: str) -> list[Entry]:
    return journals.read(run, limit=10_000)


def test_every_readable_journal_of_every_organisation_moves_with_the_lab(
    catalogue: Catalogue, tmp_path: Path, empty: str
) -> None:
    folder = tmp_path / "lab"
    theirs = Journals(catalogue.as_principal(MALLORY))
    ours = Journals(catalogue)
    _write(ours, "LONG", 350)
    _write(theirs, "THEIRS", 3)
    _write(ours, "TORN", 200)
    torn = folder / "journal" / "TORN.db"
    content = torn.read_bytes()
    torn.write_bytes(content[: len(content) // 2] + bytes(20_000))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    before = {run: _all(ours, run) for run in ("LONG", "KILLED")}
    foreign = _all(theirs, "THEIRS")
    transfer(catalogue, empty, folder)
    with Catalogue(empty, ANNA, folder=folder) as there:
        moved = Journals(there)
        assert {run: _all(moved, run) for run in moved.listing()} == before
        assert len(before["LONG"]) == 350
        assert _all(Journals(there.as_principal(MALLORY)), "THEIRS") == foreign
        assert [path.name for path in sorted((folder / "journal").iterdir())] == ["TORN.db"]
        with moved.writer("LONG") as writer:
            assert writer.append("state", {}) == 351


def test_a_database_that_holds_a_journal_is_not_empty(catalogue: Catalogue, tmp_path: Path, empty: str) -> None:
    with Catalogue(empty, ANNA, folder=tmp_path) as other:
        _write(Journals(other), "R1", 1)
        with other.engine.begin() as connection:
            tables = sa.inspect(connection).get_table_names()
            for name in tables:
                if not name.startswith("journal") and name != "alembic_version":
                    connection.execute(sa.text(f"ALTER TABLE {name} DISABLE TRIGGER USER"))
            kept = [name for name in tables if not name.startswith("journal") and name != "alembic_version"]
            connection.execute(sa.text(f"TRUNCATE {', '.join(kept)}"))
    with pytest.raises(StoreError, match="not empty: journal"):
        transfer(catalogue, empty, tmp_path / "lab")


def test_a_backup_from_postgresql_holds_the_journals(postgresql_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    with Catalogue(postgresql_url, ANNA, folder=folder) as there:
        _write(Journals(there), "R1", 250)
        theirs = Journals(there.as_principal(MALLORY))
        _write(theirs, "R2", 2)
        before, foreign = _all(Journals(there), "R1"), _all(theirs, "R2")
        with Journals(there).writer("R1") as at_work:
            at_work.append("state", {"not": "written yet"})
            written = backup(there, folder, tmp_path / "lab.tar.zst")
    assert {"journal/R1.db", "journal/R2.db"} <= set(written["files"])
    restore(tmp_path / "lab.tar.zst", tmp_path / "again")
    with Catalogue(tmp_path / "again" / "catalogue.db", ANNA, folder=tmp_path / "again") as here:
        assert _all(Journals(here), "R1")[:250] == before
        assert _all(Journals(here.as_principal(MALLORY)), "R2") == foreign
