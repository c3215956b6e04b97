"""An embedded lab moves to PostgreSQL: its catalogue is copied, then one line of ``labkit.toml`` makes the move.

Until that line is written the SQLite file is the lab, whatever was interrupted; a copy that arrived at the server
without it is recognised by the next try and replaced. Journals go along; run folders, artifacts, audit anchors and
tools stay where they are.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock, Timeout

from labkit.core.errors import StoreError
from labkit.store import audit, tables
from labkit.store.catalogue import EVERYONE, Catalogue
from labkit.store.clock import now
from labkit.store.engine import create_engine, database_url
from labkit.store.journal import FOLDER as JOURNALS
from labkit.store.journal_copy import into_table
from labkit.store.journal_files import FileJournals
from labkit.store.journal_tables import journal
from labkit.store.places import sync_folder, writing
from labkit.store.schema import HEAD, REVISIONS, bring_up_to_date, revision
from labkit.store.settings_file import SETTINGS, point_to, redirected, settings_text
from labkit.store.table_copy import Progress, copy_tables, counts, heads, sole_writer
from labkit.store.transaction import Transaction

MIGRATION = "migration.lock"
"""Lock that a migration holds in the lab's ``locks`` folder."""
RETIRED = ".migrated-"
"""What the name of the SQLite file that a lab left goes on with; the time follows."""
ARRIVAL = "arrival"
"""Setting of the lab itself that says what a migration brought: lab, time, rows and audit heads."""


@dataclass(frozen=True)
class Transfer:
    """Rows by table, the URL without a password, whether the lab moved, and where the SQLite file is now (``None``
    where it could not be renamed, or nothing moved)."""

    rows: dict[str, int]
    url: str
    moved: bool
    retired: Path | None


def transfer(
    source: Catalogue,
    target_url: str,
    folder: Path,
    *,
    unsettled: Collection[str] = (),
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Transfer:
    """Move the lab in *folder* from its SQLite catalogue *source* to the empty PostgreSQL database at *target_url*.

    Parameters
    ----------
    source : Catalogue
        It is closed when the lab has moved.
    target_url : str
        ``postgresql://user@host/name``, without a password.
    unsettled : collection of str
        Run states in which a lab cannot move.
    dry_run : bool
        Check everything and count, but write nothing, neither here nor there.
    progress : callable, optional
        Called with a table's name and its rows once copied.

    Raises
    ------
    StoreError
        If the lab is on PostgreSQL already or in use, or the target cannot be reached, is not empty or is too new.
    Corrupted
        If the audit log does not hold, or a table did not arrive as it left.
    """
    database = _embedded(source)
    url = _without_password(target_url)
    shown = url.set(drivername="postgresql").render_as_string()
    redirected(settings_text(folder / SETTINGS), shown)
    with nullcontext() if dry_run else _alone(folder), _connecting(url) as engine:
        _look_for_users(folder)
        _prepare(engine, dry_run)
        with sole_writer(source.engine) as reading:
            _require_rest(reading, unsettled)
            with sole_writer(engine) as writing_to:
                _make_room(writing_to, source.lab_id, dry_run)
                if dry_run:
                    return Transfer(counts(reading), shown, False, None)
                rows = _arrive(reading, writing_to, source, progress)
                journals = into_table(folder / JOURNALS, reading, writing_to)
            _look_for_users(folder)
            point_to(folder / SETTINGS, shown)
    source.close()
    _remove(journals)
    return Transfer(rows, shown, True, _retire(database))


@contextmanager
def _connecting(url: sa.URL) -> Iterator[sa.Engine]:
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _embedded(source: Catalogue) -> Path:
    if source.url.get_backend_name() == "sqlite" and source.url.database:
        return Path(source.url.database)
    raise StoreError(
        f"this lab is on {source.url.render_as_string(hide_password=True)} already",
        allowed="a lab on SQLite",
        fix=f"nothing to do; if that is not meant, correct {SETTINGS} or unset LABKIT_DATABASE_URL",
    )


def _without_password(target: str) -> sa.URL:
    url = database_url(target)
    if url.get_backend_name() != "postgresql":
        raise StoreError(
            f"{target!r} is no PostgreSQL database", allowed="a postgresql:// URL", fix="postgresql://user@host/name"
        )
    if url.password is not None or "password" in url.query:
        raise StoreError(
            f"the URL holds a password, and would be written to {SETTINGS} as it is",
            allowed="a URL without one",
            fix="leave it out and set PGPASSWORD, or put it into ~/.pgpass; or, instead of migrating with it, give the "
            "whole URL in LABKIT_DATABASE_URL whenever the lab is opened",
        )
    return url


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold off a second migration of the same lab."""
    with writing(folder):
        (folder / "locks").mkdir(exist_ok=True)
        lock = FileLock(folder / "locks" / MIGRATION)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(f"lab {folder} is being migrated by another process", fix="wait for it") from None
    try:
        yield
    finally:
        lock.release()


def _look_for_users(folder: Path) -> None:
    """Refuse where a living process holds one of the lab's locks."""
    for path in sorted((folder / "locks").glob("**/*.lock")):
        if path.name == MIGRATION:
            continue
        with writing(path):
            try:
                with FileLock(path).acquire(timeout=0):
                    pass
            except Timeout:
                raise StoreError(
                    f"lab {folder} is in use by another process ({path.stem})",
                    fix="close it there (lab.close(), end the worker) and repeat",
                ) from None


def require_no_migration(folder: Path) -> None:
    """Refuse to open the lab in *folder* while its catalogue is being moved.

    Raises
    ------
    StoreError
        If a migration is under way.
    """
    path = folder / "locks" / MIGRATION
    if not path.exists():
        return
    try:
        with FileLock(path).acquire(timeout=0):
            pass
    except Timeout:
        raise StoreError(f"lab {folder} is being moved to another database", fix="open it again in a moment") from None


def _prepare(engine: sa.Engine, dry_run: bool) -> None:
    """Create the catalogue's tables in an empty database; refuse one that a newer or an older labkit wrote."""
    found = revision(engine)
    if found is not None and found != HEAD and found in REVISIONS:
        raise StoreError(
            f"database {engine.url.database} holds the catalogue of an older labkit (revision {found})",
            allowed="an empty database",
            fix="name a new database (createdb …)",
        )
    if found is not None or not dry_run:
        bring_up_to_date(engine)


def _require_rest(reading: sa.Connection, unsettled: Collection[str]) -> None:
    runs = tables.runs.c
    moving = reading.execute(
        sa.select(runs.seq, runs.state).where(runs.state.in_(list(unsettled))).order_by(runs.seq).limit(1)
    ).first()
    if moving is not None:
        raise StoreError(
            f"run {moving.seq} is {moving.state}",
            allowed="a lab whose runs are all at rest",
            fix="let it end, or cancel it, and repeat",
        )


def _arrive(
    reading: sa.Connection, writing_to: sa.Connection, source: Catalogue, progress: Progress | None
) -> dict[str, int]:
    """Copy and verify; then a record in the audit log, and a note by which an unfinished move is recognised."""
    lab = source.lab_id
    rows = copy_tables(reading, writing_to, progress=progress)
    audit.append(
        Transaction(writing_to, source.principal, writes=True), "lab.migrate", lab, {"rows": sum(rows.values())}
    )
    setting = tables.settings.c
    writing_to.execute(sa.delete(tables.settings).where(setting.org_id == EVERYONE, setting.key == ARRIVAL))
    note = {"lab": lab, "rows": _unmarked(counts(writing_to)), "heads": heads(writing_to)}
    writing_to.execute(
        sa.insert(tables.settings), {"org_id": EVERYONE, "key": ARRIVAL, "value": note, "changed": now()}
    )
    return rows


def _unmarked(rows: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in rows.items() if name != tables.settings.name}


def _make_room(target: sa.Connection, lab: str, dry_run: bool) -> None:
    """Refuse a target with rows, unless they are what an interrupted move of the same *lab* left: those are removed."""
    present = set(sa.inspect(target).get_table_names())
    names = [table.name for table in tables.metadata.sorted_tables]
    if not present and dry_run:
        return
    target.execute(sa.text(f"LOCK TABLE {', '.join(names)} IN EXCLUSIVE MODE"))
    found = counts(target)
    filled = {name: count for name, count in found.items() if count}
    if not filled and target.execute(sa.select(journal.c.run).limit(1)).first() is not None:
        filled = {journal.name: 1}
    if not filled:
        return
    setting = tables.settings.c
    note = target.execute(
        sa.select(setting.value).where(setting.org_id == EVERYONE, setting.key == ARRIVAL)
    ).scalar_one_or_none()
    if note is None or note != {"lab": lab, "rows": _unmarked(found), "heads": heads(target)}:
        raise StoreError(
            f"database {target.engine.url.database} is not empty: {', '.join(sorted(filled))} hold rows",
            allowed="an empty database",
            fix="name a new database (createdb …)",
        )
    if dry_run:
        return
    for name in names:
        target.execute(sa.text(f"ALTER TABLE {name} DISABLE TRIGGER USER"))
    target.execute(sa.text(f"TRUNCATE {', '.join((*names, journal.name))} RESTART IDENTITY"))
    for name in names:
        target.execute(sa.text(f"ALTER TABLE {name} ENABLE TRIGGER USER"))


def _remove(journals: list[tuple[FileJournals, str]]) -> None:
    """Remove what has moved; a file that stays is nobody's any more."""
    for kept, run in journals:
        with suppress(StoreError):
            kept.remove(run)


def _retire(database: Path) -> Path | None:
    """Put the SQLite file aside, whole and read-only; ``None`` where the system will not have it."""
    target = database.with_name(f"{database.name}{RETIRED}{now():%Y%m%dT%H%M%SZ}")
    try:
        with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as last:
            last.execute("PRAGMA journal_mode=DELETE")
        os.replace(database, target)
        os.chmod(target, 0o444)
        sync_folder(target.parent)
    except OSError:
        return None
    return target
