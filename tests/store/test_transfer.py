"""A lab moves to PostgreSQL whole, or stays where it was; interrupted anywhere, the next try succeeds."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from filelock import FileLock

from labkit.core.errors import Corrupted, StoreError
from labkit.store import audit, runs, tables
from labkit.store.catalogue import Catalogue
from labkit.store.settings_file import redirected
from labkit.store.transfer import transfer

from .conftest import ANNA, MALLORY

WHEN = datetime(2025, 3, 29, 23, 0, 0, 123456, tzinfo=UTC)
DOCUMENT = {"zeta": 1, "a": [1, 2.5, None, True, 'é"\n'], "b": {"c": -1e-300, "large": 2**60, "round": 1e22}}
SETTINGS = '# ours\norganisation = "north"  # who\n\nbaseline_runs = 12\n'
BY_KIND: dict[type, Any] = {sa.JSON: DOCUMENT, sa.Boolean: True, sa.Integer: 3, sa.Float: 1 / 3}


@pytest.fixture
def empty(server: sa.URL, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"e{abs(hash(request.node.nodeid)):x}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def folder(catalogue: Catalogue) -> Path:
    """A lab of two organisations with a row in every table."""
    assert catalogue.folder is not None
    (catalogue.folder / "labkit.toml").write_text(SETTINGS)
    (catalogue.folder / "locks").mkdir()
    (catalogue.folder / "locks" / "dead.lock").touch()
    for seen in (catalogue, catalogue.as_principal(MALLORY)):
        with seen.begin() as tx:
            seq = 0
            for table in tables.metadata.sorted_tables:
                if table.name not in ("organisations", "users", "settings", "audit"):
                    key = tx.insert(table, _row(table, seq))
                    seq = key if table is tables.runs else seq
            for at in range(60):
                audit.append(tx, "run.finish", f"R{at}", {"value": at / 3})
    with catalogue.begin() as tx:
        runs.create(tx, id="GONE", process="cvd", state="COMPLETED", origin="real")
    with closing(sqlite3.connect(str(catalogue.url.database))) as raw:
        raw.execute("DELETE FROM transitions WHERE run = 'GONE'")
        raw.execute("DELETE FROM runs WHERE id = 'GONE'")
        raw.commit()
    return catalogue.folder


def _row(table: sa.Table, run: int) -> dict[str, Any]:
    given = [column for column in table.c if column.name != "org_id" and column is not table.autoincrement_column]
    return {column.name: run if column.name == "run_seq" else _value(column) for column in given}


def _value(column: sa.Column[Any]) -> Any:
    for rule in column.table.constraints:
        if isinstance(rule, sa.CheckConstraint) and str(rule.sqltext).startswith(f"{column.name} IN"):
            return re.findall(r"'(\w+)'", str(rule.sqltext))[0]
    if isinstance(column.type, sa.types.TypeDecorator):
        return WHEN
    return next((value for kind, value in BY_KIND.items() if isinstance(column.type, kind)), "R1")


def _rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as raw:
        return raw.execute(statement).fetchall()  # type: ignore[arg-type]


def _count(url: str, table: str) -> int:
    return int(_rows(url, f"SELECT count(*) FROM {table}")[0][0])


def test_every_row_of_every_organisation_arrives(catalogue: Catalogue, folder: Path, empty: str) -> None:
    with catalogue.read() as tx:
        before = {table.name: tx.select(table) for table in tables.metadata.sorted_tables}
    lab = catalogue.lab_id
    seen: dict[str, int] = {}
    done = transfer(
        catalogue, empty, folder, unsettled=["RUNNING"], progress=lambda name, rows: seen.update({name: rows})
    )
    assert done.rows == seen
    assert done.rows["runs"] == 2
    assert done.rows["audit"] == 120
    assert min(done.rows.values()) > 0
    with Catalogue(empty, ANNA, folder=folder) as arrived:
        with arrived.read() as tx:
            for name, rows in before.items():
                extra = [row for row in tx.select(tables.metadata.tables[name]) if row not in rows]
                assert [row.get("action") for row in extra] == (["lab.migrate"] if name == "audit" else []), name
                assert all(row in tx.select(tables.metadata.tables[name]) for row in rows), name
        assert arrived.lab_id == lab
        assert audit.verify(arrived) == audit.Verification(records=61, signed=50, foreign_anchors=0)
        assert audit.verify(arrived.as_principal(MALLORY)).records == 60


def test_types_are_the_servers_own(catalogue: Catalogue, folder: Path, empty: str) -> None:
    transfer(catalogue, empty, folder)
    (row,) = _rows(empty, "SELECT created, qualified, recipe, duration_s, seed FROM runs WHERE org_id = 'north'")
    assert row == (WHEN, True, DOCUMENT, 1 / 3, 3)
    assert _rows(empty, "SELECT jsonb_typeof(recipe -> 'a' -> 3) FROM runs") == [("boolean",)] * 2


def test_new_rows_are_numbered_on_from_where_the_lab_stood(catalogue: Catalogue, folder: Path, empty: str) -> None:
    with catalogue.read() as tx:
        last = max(row["number"] for row in tx.select(tables.transitions))
    transfer(catalogue, empty, folder)
    with Catalogue(empty, ANNA, folder=folder) as arrived, arrived.begin() as tx:
        assert runs.create(tx, process="cvd", state="QUEUED", origin="real")["seq"] == 4, "run 3 was removed, not free"
        assert max(row["number"] for row in tx.select(tables.transitions)) == last + 3


def test_the_settings_file_makes_the_move_and_the_old_file_is_kept(
    catalogue: Catalogue, folder: Path, empty: str
) -> None:
    done = transfer(catalogue, empty, folder)
    text = (folder / "labkit.toml").read_text()
    assert text.startswith(SETTINGS)
    assert tomllib.loads(text) == {"organisation": "north", "baseline_runs": 12, "database_url": done.url}
    assert not list(folder.glob("catalogue.db"))
    assert done.retired is not None
    assert done.retired.parent == folder
    assert done.retired.stat().st_mode & 0o222 == 0
    with closing(sqlite3.connect(f"{done.retired.as_uri()}?mode=ro", uri=True)) as raw:
        assert raw.execute("SELECT count(*) FROM audit").fetchone() == (120,)
    assert not list(folder.glob("*-wal"))


def test_a_dry_run_changes_nothing(catalogue: Catalogue, folder: Path, empty: str) -> None:
    before = sorted(path.name for path in folder.iterdir())
    done = transfer(catalogue, empty, folder, dry_run=True)
    assert (done.moved, done.retired, done.rows["audit"]) == (False, None, 120)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert (folder / "labkit.toml").read_text() == SETTINGS
    assert _rows(empty, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert transfer(catalogue, empty, folder).rows == done.rows


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("sqlite:///x.db", "no PostgreSQL database"),
        ("mysql://host/name", "mysql"),
        ("postgresql://labkit:hunter2@127.0.0.1:1/none", "PGPASSWORD"),
        ("postgresql://labkit@127.0.0.1:1/none?password=hunter2", "PGPASSWORD"),
        ("postgresql://labkit@127.0.0.1:1/none", "cannot be reached"),
    ],
)
def test_a_target_that_will_not_do_is_refused_in_one_line(
    catalogue: Catalogue, folder: Path, url: str, what: str
) -> None:
    for dry_run in (True, False):
        with pytest.raises(StoreError, match=what) as caught:
            transfer(catalogue, url, folder, dry_run=dry_run)
        assert "\n" not in str(caught.value)
        assert "hunter2" not in str(caught.value)
    assert (folder / "labkit.toml").read_text() == SETTINGS


def test_a_target_with_rows_is_refused_and_keeps_them(
    catalogue: Catalogue, folder: Path, empty: str, tmp_path: Path
) -> None:
    with psycopg.connect(empty) as raw:
        raw.execute("CREATE TABLE theirs (a int)")
    with pytest.raises(StoreError, match="not labkit's"):
        transfer(catalogue, empty, folder)
    with psycopg.connect(empty) as raw:
        raw.execute("DROP TABLE theirs")
    with Catalogue(empty, ANNA, folder=tmp_path) as other:
        theirs = other.lab_id
    for dry_run in (True, False):
        with pytest.raises(StoreError, match="is not empty: organisations, settings, users"):
            transfer(catalogue, empty, folder, dry_run=dry_run)
    with Catalogue(empty, ANNA, folder=tmp_path) as other:
        assert other.lab_id == theirs


def test_a_target_of_another_labkit_is_refused(catalogue: Catalogue, folder: Path, empty: str) -> None:
    Catalogue(empty, ANNA, folder=folder).close()
    for revision, what in (("9999", "was written by labkit"), ("0001", "older labkit")):
        with psycopg.connect(empty) as raw:
            raw.execute("UPDATE alembic_version SET version_num = %s", [revision])
        with pytest.raises(StoreError, match=what):
            transfer(catalogue, empty, folder)


def test_a_lab_at_work_stays(catalogue: Catalogue, folder: Path, empty: str) -> None:
    for name in ("living.lock", "migration.lock"):
        with FileLock(folder / "locks" / name), pytest.raises(StoreError, match=r"in use|being migrated"):
            transfer(catalogue, empty, folder)
    with catalogue.begin() as tx:
        runs.create(tx, process="cvd", state="RUNNING", origin="real")
    with pytest.raises(StoreError, match="run 4 is RUNNING"):
        transfer(catalogue, empty, folder, unsettled=["QUEUED", "RUNNING"])
    assert (folder / "labkit.toml").read_text() == SETTINGS
    assert transfer(catalogue, empty, folder, unsettled=["QUEUED"]).moved


def test_a_lab_on_postgresql_stays(folder: Path, empty: str) -> None:
    with Catalogue(empty, ANNA, folder=folder) as there, pytest.raises(StoreError, match="already"):
        transfer(there, empty, folder)


def test_settings_that_cannot_be_changed_are_found_before_anything_is_copied(
    catalogue: Catalogue, folder: Path, empty: str
) -> None:
    (folder / "labkit.toml").write_text("[section]\n")
    with pytest.raises(StoreError, match="cannot be changed"):
        transfer(catalogue, empty, folder)
    (folder / "labkit.toml").write_bytes(b"\xff")
    with pytest.raises(StoreError, match="cannot be read"):
        transfer(catalogue, empty, folder, dry_run=True)
    assert _rows(empty, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_an_audit_log_that_does_not_hold_does_not_move(catalogue: Catalogue, folder: Path, empty: str) -> None:
    with closing(sqlite3.connect(str(catalogue.url.database))) as raw:
        raw.execute("DROP TRIGGER final_audit_update")
        raw.execute("UPDATE audit SET subject = 'x' WHERE ordinal = 3 AND org_id = 'south'")
        raw.commit()
    with pytest.raises(Corrupted, match="record 3"):
        transfer(catalogue, empty, folder)
    assert _count(empty, "runs") == 0
    assert (folder / "labkit.toml").read_text() == SETTINGS


DYING = """
import os, signal, sys
from pathlib import Path
from labkit.core.identity import Principal
from labkit.store.catalogue import Catalogue
from labkit.store.transfer import transfer
file, url, at = sys.argv[1:]
def die(): os.kill(os.getpid(), signal.SIGKILL)
def watch(event, given):
    if event == "os.rename" and at in str(given[1]): die()
sys.addaudithook(watch)
with Catalogue(file, Principal("anna", "north")) as source:
    transfer(source, url, Path(file).parent, progress=lambda name, rows: die() if name == at else None)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
@pytest.mark.parametrize("at", ["artifacts", "violations", "labkit.toml"])
def test_killed_before_the_settings_change_the_lab_is_where_it_was_and_moves_next_time(
    catalogue: Catalogue, folder: Path, empty: str, at: str
) -> None:
    file = str(catalogue.url.database)
    killed = subprocess.run([sys.executable, "-c", DYING, file, empty, at], timeout=120, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (folder / "labkit.toml").read_text() == SETTINGS
    assert _count(empty, "runs") == (2 if at == "labkit.toml" else 0)
    with catalogue.begin() as tx:
        runs.create(tx, id="MEANWHILE", process="cvd", state="COMPLETED", origin="real")
        audit.append(tx, "run.finish", "MEANWHILE")
    assert transfer(catalogue, empty, folder).rows["runs"] == 3
    with Catalogue(empty, ANNA, folder=folder) as arrived:
        assert audit.verify(arrived).records == 62
        with arrived.read() as tx:
            assert runs.get(tx, "MEANWHILE")["seq"] == 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_killed_after_the_settings_change_the_lab_has_moved(catalogue: Catalogue, folder: Path, empty: str) -> None:
    file = str(catalogue.url.database)
    killed = subprocess.run([sys.executable, "-c", DYING, file, empty, ".migrated-"], timeout=120, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert "database_url" in (folder / "labkit.toml").read_text()
    with Catalogue(empty, ANNA, folder=folder) as arrived:
        assert audit.verify(arrived).records == 61


def test_what_arrived_and_was_used_is_not_replaced(catalogue: Catalogue, folder: Path, empty: str) -> None:
    file = str(catalogue.url.database)
    subprocess.run([sys.executable, "-c", DYING, file, empty, "labkit.toml"], timeout=120, capture_output=True)
    with Catalogue(empty, ANNA, folder=folder) as arrived, arrived.begin() as tx:
        audit.append(tx, "note.write", "used")
    with pytest.raises(StoreError, match="is not empty"):
        transfer(catalogue, empty, folder)
    assert _count(empty, "audit") == 122


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 'database_url = "u"\n'),
        ("workers = 1", 'workers = 1\ndatabase_url = "u"\n'),
        ("workers = 1\r\n", 'workers = 1\r\ndatabase_url = "u"\r\n'),
        ("database_url = 'sqlite:///a'  # here\nworkers = 1\n", 'database_url = "u"  # here\nworkers = 1\n'),
        ('# database_url = "x"\n', '# database_url = "x"\ndatabase_url = "u"\n'),
    ],
)
def test_only_one_line_of_the_settings_changes(text: str, expected: str) -> None:
    assert redirected(text, "u") == expected
    assert "database_url" not in tomllib.loads(redirected(expected, None))


@pytest.mark.parametrize("text", ['dask = """\ndatabase_url = "x"\n"""\n', "[section]\na = 1\n", "no toml"])
def test_settings_that_cannot_be_changed_by_one_line_are_refused(text: str) -> None:
    with pytest.raises(StoreError, match="cannot be changed"):
        redirected(text, "u")
