"""A catalogue is created, migrated or refused; its tables are those the code speaks of."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from labkit.core.errors import StoreError
from labkit.store import journal_tables, runs, schema, tables
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now
from labkit.store.engine import create_engine, database_url

from .conftest import ANNA


def _older(path: Path, revision: str) -> None:
    """A catalogue as an earlier labkit left it, with one run."""
    engine = create_engine(database_url(path))
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engine.connect().execution_options(labkit_write=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.execute(
            sa.insert(tables.runs).values(
                org_id="north",
                id="OLD",
                process="cvd",
                state="completed",
                origin="real",
                operator="anna",
                created=now(),
            )
        )
    engine.dispose()


def test_the_migrations_make_exactly_the_tables_of_the_code(either: Catalogue) -> None:
    known, parts = [tables.metadata], set[str]()
    with either.engine.connect() as connection:
        if either.engine.dialect.name == "postgresql":
            # Partitions are tables of their own to the server, and none to the code.
            known.append(journal_tables.journal.metadata)
            of_journal = sa.text(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'journal'::regclass"
            )
            parts = set(connection.execute(of_journal).scalars())
            assert len(parts) == journal_tables.PARTITIONS
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, parent: not (kind == "table" and name in parts),
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, known) == []


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert script.get_current_head() == schema.HEAD
    assert tuple(reversed([found.revision for found in script.walk_revisions()])) == schema.REVISIONS


def test_an_older_catalogue_is_copied_and_then_migrated(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    _older(path, "0001")
    with Catalogue(path, ANNA) as catalogue:
        assert catalogue.migrated_from == "0001"
        assert schema.revision(catalogue.engine) == schema.HEAD
        with catalogue.read() as tx:
            assert runs.get(tx, "OLD")["state"] == "completed"
        assert catalogue.migration_backup == tmp_path / "catalogue.db.0001.backup"
    with closing(sqlite3.connect(tmp_path / "catalogue.db.0001.backup")) as copy:
        assert copy.execute("SELECT id FROM runs").fetchall() == [("OLD",)]
        assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]


def test_a_migration_that_fails_leaves_the_older_catalogue_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    _older(path, "0001")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TRIGGER final_approvals_delete BEFORE DELETE ON approvals BEGIN SELECT 1; END")
        raw.commit()
    with pytest.raises(StoreError):
        Catalogue(path, ANNA)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'final_audit_update'").fetchone() == (0,)


def test_a_newer_catalogue_is_refused_with_the_labkit_it_needs(either: Catalogue) -> None:
    with either.engine.connect() as connection:
        if either.engine.dialect.name == "sqlite":
            connection = connection.execution_options(labkit_write=True)
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0099'"))
        connection.execute(sa.text("UPDATE settings SET value = '\"7.2.0\"' WHERE key = 'labkit_version'"))
        connection.commit()
    before = _contents(either)
    with pytest.raises(StoreError) as caught:
        Catalogue(either.url.render_as_string(False), ANNA)
    message = str(caught.value)
    assert "labkit 7.2.0" in message
    assert "pip install 'labkit>=7.2.0'" in message
    assert "\n" not in message
    assert _contents(either) == before


def _contents(catalogue: Catalogue) -> list[tuple[object, ...]]:
    with catalogue.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text("SELECT * FROM settings ORDER BY org_id, key"))]


def test_a_database_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE invoices (number INTEGER)")
        raw.commit()
    with pytest.raises(StoreError, match="not labkit's"):
        Catalogue(path, ANNA)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]


@pytest.mark.parametrize(
    "content", [b"this is no database, it is a letter\n" * 400, b"SQLite format 3\x00" + b"\x07" * 8000]
)
def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "catalogue.db"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        Catalogue(path, ANNA)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Catalogue(tmp_path / "nowhere" / "catalogue.db", ANNA)


def test_a_new_catalogue_is_there_at_once(tmp_path: Path) -> None:
    taken = []
    for attempt in range(3):
        began = time.process_time()
        Catalogue(tmp_path / f"{attempt}.db", ANNA).close()
        taken.append(time.process_time() - began)
    assert min(taken) < 0.5


def test_a_commit_is_on_the_disk_before_it_is_acknowledged(catalogue: Catalogue) -> None:
    def pragma(name: str, **options: object) -> object:
        with (
            catalogue.engine.connect().execution_options(labkit_write=True, **options) as connection,
            connection.begin(),
        ):
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

    assert pragma("synchronous") == 2
    assert pragma("synchronous", labkit_durable=False) == 1
    assert pragma("journal_mode") == "wal"
    assert pragma("foreign_keys") == 1
