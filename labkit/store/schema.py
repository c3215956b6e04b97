"""Opening a catalogue: create it, migrate an older one (after a backup), refuse a newer one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import sqlalchemy as sa

from labkit.core.errors import StoreError
from labkit.store.engine import in_words

MIGRATIONS = Path(__file__).with_name("migrations")
HEAD = "0003"
"""The newest revision this labkit knows; opening a catalogue already there loads no migration machinery."""
REVISIONS = ("0001", "0002", "0003")


def labkit_version() -> str:
    """The version of labkit that is running."""
    try:
        return version("labkit")
    except PackageNotFoundError:
        return "0"


def revision(engine: sa.Engine) -> str | None:
    """The catalogue's revision; ``None`` where nothing has been created yet.

    Raises
    ------
    StoreError
        If the database holds other tables than a catalogue's, or cannot be read.
    """
    with in_words(engine.url), engine.connect() as connection:
        present = set(sa.inspect(connection).get_table_names())
        if "alembic_version" not in present:
            if present:
                raise StoreError(
                    f"database {engine.url.database} already holds tables that are not labkit's",
                    allowed="an empty database or a labkit catalogue",
                    fix="name another file or database",
                )
            return None
        rows = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    return str(rows[0]) if rows else None


def bring_up_to_date(engine: sa.Engine) -> tuple[str | None, Path | None]:
    """Create or migrate the catalogue.

    Returns
    -------
    tuple
        The revision found (``None`` for a new catalogue) and the backup made before migrating (``None`` if there was
        none).

    Raises
    ------
    StoreError
        If a newer labkit wrote it, or it cannot be written.
    """
    found = revision(engine)
    if found == HEAD:
        return found, None
    if found is not None and found not in REVISIONS:
        raise StoreError(
            f"this lab was written by labkit {_writer(engine)} (catalogue revision {found}); this is labkit "
            f"{labkit_version()} (revision {HEAD})",
            fix=f"pip install 'labkit>={_writer(engine)}'",
        )
    saved = _backup(engine, found) if found is not None else None
    with in_words(engine.url):
        _migrate(engine)
    return found, saved


def _migrate(engine: sa.Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.connect().execution_options(labkit_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(734501)"))
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)


def _writer(engine: sa.Engine) -> str:
    try:
        with engine.connect() as connection:
            found = connection.execute(
                sa.text("SELECT value FROM settings WHERE org_id = '*' AND key = 'labkit_version'")
            )
            return str(found.scalar_one()).strip('"')
    except sa.exc.SQLAlchemyError:
        return "of a newer version"


def _backup(engine: sa.Engine, found: str) -> Path | None:
    """A copy of a SQLite catalogue beside it; PostgreSQL migrates in one transaction and is backed up by its own
    means."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    target = Path(f"{engine.url.database}.{found}.backup")
    copy_sqlite(Path(engine.url.database), target)
    return target


def copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy of the SQLite file *source* at *target*, while others may be writing.

    Raises
    ------
    StoreError
        If either cannot be read or written.
    """
    url = sa.URL.create("sqlite", database=str(target))
    with (
        in_words(url),
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reader,
        closing(sqlite3.connect(target)) as writer,
    ):
        reader.backup(writer)
