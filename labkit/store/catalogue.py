"""The catalogue: one database, one principal, explicit transactions that see one organisation only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from labkit.core.errors import LabkitError, NotFound, PermissionDenied, StoreError
from labkit.core.identity import Principal
from labkit.store import scope, tables
from labkit.store.clock import UtcTime, moment, now
from labkit.store.documents import plain
from labkit.store.engine import create_engine, database_url, in_words
from labkit.store.identifiers import new_id
from labkit.store.schema import bring_up_to_date, labkit_version

Row = dict[str, Any]
EVERYONE = "*"
"""The organisation id under which the lab keeps facts about itself; no principal may have it."""


class Transaction:
    """Statements of one organisation inside one database transaction; obtained from :meth:`Catalogue.begin`."""

    def __init__(self, connection: sa.Connection, principal: Principal, *, writes: bool, folder: Path | None = None) -> None:
        self._connection = connection
        self.folder = folder
        self._after: list[Callable[[], object]] = []
        self.principal = principal
        self.writes = writes

    @property
    def organisation(self) -> str:
        """The organisation every statement is bound to."""
        return self.principal.organisation

    @property
    def dialect(self) -> str:
        """``"sqlite"`` or ``"postgresql"``."""
        return self._connection.dialect.name

    def execute(self, statement: Any) -> sa.CursorResult[Any]:
        """Run *statement* bound to this organisation; every other method comes through here.

        Raises
        ------
        PermissionDenied
            If any part of it cannot be bound to the organisation.
        """
        if isinstance(statement, sa.Insert):
            raise PermissionDenied("rows are inserted with tx.insert(table, row)")
        if not isinstance(statement, sa.Select | sa.Update | sa.Delete):
            raise PermissionDenied(f"a catalogue cannot run a {type(statement).__name__}",
                                   allowed="select, update and delete built from labkit.store.tables")
        if not isinstance(statement, sa.Select) and not self.writes:
            raise StoreError("this transaction only reads", fix="use catalogue.begin()")
        bound = scope.scoped(statement, self.organisation)
        with in_words(self._connection.engine.url):
            return self._connection.execute(bound)

    def insert(self, table: sa.Table, row: Mapping[str, Any]) -> Any:
        """Add one row; returns its first primary-key value that is not the organisation (a running number, an id …)."""
        values = self._owned(table, row)
        done = self._insert(sa.insert(table).values(values))
        keys = [key for key in (done.inserted_primary_key or ()) if key != self.organisation]
        return keys[0] if keys else None

    def insert_many(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add *rows*, which all have the same columns."""
        if rows:
            self._insert(sa.insert(table), [self._owned(table, row) for row in rows])

    def _insert(self, statement: sa.Insert, rows: list[Row] | None = None) -> sa.CursorResult[Any]:
        if not self.writes:
            raise StoreError("this transaction only reads", fix="use catalogue.begin()")
        with in_words(self._connection.engine.url):
            return self._connection.execute(statement, rows) if rows else self._connection.execute(statement)

    def _owned(self, table: sa.Table, row: Mapping[str, Any]) -> Row:
        if row.get("org_id", self.organisation) != self.organisation:
            raise PermissionDenied(f"a row of organisation {row['org_id']!r} cannot be written by {self.organisation!r}")
        return {**accepted(table, row), "org_id": self.organisation}

    def select(self, table: sa.Table, *where: sa.ColumnElement[bool], columns: Sequence[str] = (),
               order: Sequence[Any] = (), limit: int | None = None, lock: bool = False) -> list[Row]:
        """Rows of *table* that satisfy *where*; *lock* keeps them from other writers until the transaction ends."""
        statement = sa.select(*(table.c[name] for name in columns)) if columns else sa.select(table)
        statement = statement.where(*where).order_by(*order).limit(limit)
        if lock and self.writes:
            statement = statement.with_for_update()
        return [dict(row) for row in self.execute(statement).mappings()]

    def find(self, table: sa.Table, **key: Any) -> Row | None:
        """The row with *key*, or ``None``; in a writing transaction it is locked, so that no update is lost."""
        rows = self.select(table, *(table.c[name] == value for name, value in key.items()), limit=1, lock=True)
        return rows[0] if rows else None

    def get(self, table: sa.Table, **key: Any) -> Row:
        """The row with *key*.

        Raises
        ------
        NotFound
            If this organisation has no such row, whether or not another one does.
        """
        row = self.find(table, **key)
        if row is None:
            shown = " ".join(str(value) for value in key.values())
            raise NotFound(f"no {singular(table.name)} {shown!r} in organisation {self.organisation!r}")
        return row

    def update(self, table: sa.Table, key: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Change the rows with *key*.

        Raises
        ------
        NotFound
            If there is none.
        """
        statement = sa.update(table).where(*(table.c[name] == value for name, value in key.items()))
        if self.execute(statement.values(accepted(table, changes))).rowcount == 0:
            shown = " ".join(str(value) for value in key.values())
            raise NotFound(f"no {singular(table.name)} {shown!r} in organisation {self.organisation!r}")

    def put(self, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Insert the row with *key*, or change it where it exists."""
        if self.find(table, **key) is None:
            self.insert(table, {**key, **values})
        elif values:
            self.update(table, key, values)

    def delete(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
        """Remove the rows that satisfy *where*; returns how many."""
        return self.execute(sa.delete(table).where(*where)).rowcount

    def exclusive(self, name: str) -> None:
        """Let no other transaction of this organisation pass the same *name* until this one ends."""
        if self.dialect == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(
                sa.func.hashtextextended(f"{self.organisation}/{name}", 0))))

    def explain(self, statement: sa.Select[Any]) -> list[str]:
        """The query plan of *statement* (SQLite), one line per step."""
        compiled = scope.scoped(statement, self.organisation).compile(
            self._connection.engine, compile_kwargs={"literal_binds": True})
        return [str(row[3]) for row in self._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]

    def after_commit(self, action: Callable[[], object]) -> None:
        """Call *action* once this transaction is committed, and not if it is rolled back."""
        self._after.append(action)


def accepted(table: sa.Table, row: Mapping[str, Any]) -> Row:
    """*row* with JSON columns in plain types.

    Raises
    ------
    StoreError
        If *table* has no such column.
    """
    unknown = [name for name in row if name not in table.c]
    if unknown:
        raise StoreError(f"table {table.name} has no column {', '.join(unknown)}",
                         allowed=", ".join(c.name for c in table.c if c.name != "org_id"))
    return {name: _accepted(table.c[name].type, value) for name, value in row.items()}


def _accepted(kind: Any, value: Any) -> Any:
    if isinstance(kind, sa.JSON):
        return plain(value)
    return moment(value) if isinstance(kind, UtcTime) and value is not None else _scalar(value)


def _scalar(value: Any) -> Any:
    number = getattr(value, "item", None)
    value = number() if number is not None and getattr(value, "ndim", 0) == 0 else value
    return None if isinstance(value, float) and value != value else value


def singular(table: str) -> str:
    """What one row of *table* is called in a message."""
    return {"charts_state": "chart state", "audit": "audit record", "quarantine": "quarantine entry"}.get(
        table, table.removesuffix("s").replace("_", " "))


class Catalogue:
    """A lab's database as one principal sees it.

    Parameters
    ----------
    location : str or Path
        SQLite file, or ``postgresql://`` URL.
    principal : Principal, optional
        Who acts; by default the system user. Nothing of another organisation can be read or written.
    folder : Path, optional
        The lab's folder, where the audit chain is anchored; by default the one that holds the SQLite file.

    Raises
    ------
    StoreError
        If the database cannot be opened, or a newer labkit wrote it.
    """

    def __init__(self, location: str | Path, principal: Principal | None = None, *, folder: Path | None = None) -> None:
        self.principal = principal or Principal.local()
        if self.principal.organisation == EVERYONE:
            raise PermissionDenied(f"organisation {EVERYONE!r} is the lab's own", allowed="any other name")
        self.url = database_url(location)
        self.engine = create_engine(self.url)
        file = self.url.database if self.url.get_backend_name() == "sqlite" else None
        self.folder = folder or (Path(file).parent if file else None)
        try:
            self.migrated_from, self.migration_backup = bring_up_to_date(self.engine)
            self._introduce()
        except BaseException:
            self.engine.dispose()
            raise

    def _introduce(self) -> None:
        """Make lab, organisation and user known, once."""
        with self.read() as tx:
            known = tx.find(tables.users, name=self.principal.user) is not None
        if known and self.migration_backup is None and self._lab("id") is not None:
            return
        with self._write(Principal(self.principal.user, EVERYONE)) as lab:
            if lab.find(tables.settings, key="id") is None:
                lab.insert(tables.settings, {"key": "id", "value": new_id(), "changed": now()})
                lab.insert(tables.settings, {"key": "created", "value": now().isoformat(), "changed": now()})
            lab.put(tables.settings, {"key": "labkit_version"}, {"value": labkit_version(), "changed": now()})
            if lab.find(tables.organisations, name=self.principal.organisation) is None:
                lab.insert(tables.organisations, {"name": self.principal.organisation, "created": now()})
        with self.begin() as tx:
            tx.put(tables.users, {"name": self.principal.user}, {"role": self.principal.role.value, "first_seen": now()})

    def _lab(self, key: str) -> Any:
        with self._read(Principal(self.principal.user, EVERYONE)) as tx:
            row = tx.find(tables.settings, key=key)
        return None if row is None else row["value"]

    @property
    def lab_id(self) -> str:
        """The lab's own identifier, made when the catalogue was created."""
        return str(self._lab("id"))

    @property
    def created_by_version(self) -> str:
        """The labkit version that created or last migrated this catalogue."""
        return str(self._lab("labkit_version"))

    def holds(self, run: str, folder: str) -> bool:
        """Whether any organisation has a committed run with this id and folder; says nothing more about it."""
        with self._read(Principal(self.principal.user, EVERYONE)) as tx:
            names = [row["name"] for row in tx.select(tables.organisations, columns=("name",))]
        for name in names:
            with self._read(Principal(self.principal.user, name)) as tx:
                row = tx.find(tables.runs, id=run)
            if row is not None and row["folder"] == folder:
                return True
        return False

    def as_principal(self, principal: Principal) -> Catalogue:
        """The same database seen by *principal*, sharing its connections."""
        if principal.organisation == EVERYONE:
            raise PermissionDenied(f"organisation {EVERYONE!r} is the lab's own", allowed="any other name")
        other = object.__new__(Catalogue)
        other.__dict__.update(self.__dict__, principal=principal, migration_backup=None)
        other._introduce()
        return other

    @contextmanager
    def begin(self, *, durable: bool = True) -> Iterator[Transaction]:
        """A writing transaction: committed when the block ends, rolled back on any error.

        With *durable* (the default) the commit is on the disk when the block has ended. Progress texts and the like,
        which may be lost with the power but not with the process, can do without.
        """
        with self._write(self.principal, durable=durable) as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A reading transaction: one consistent view, blocking no writer."""
        with self._read(self.principal) as tx:
            yield tx

    @contextmanager
    def _write(self, principal: Principal, *, durable: bool = True) -> Iterator[Transaction]:
        with in_words(self.url), self.engine.connect() as bare:
            connection = bare.execution_options(labkit_write=True, labkit_durable=durable)
            with connection.begin():
                if not durable and self.engine.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                tx = Transaction(connection, principal, writes=True, folder=self.folder)
                yield tx
        for action in tx._after:
            action()

    @contextmanager
    def _read(self, principal: Principal) -> Iterator[Transaction]:
        with in_words(self.url), self.engine.connect() as bare:
            postgres = self.engine.dialect.name == "postgresql"
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if postgres else {}
            connection = bare.execution_options(labkit_write=False, **options)
            with connection.begin():
                yield Transaction(connection, principal, writes=False, folder=self.folder)

    def close(self) -> None:
        """Give the connections back; the catalogue must not be used afterwards."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<catalogue {self.url.render_as_string(hide_password=True)} as {self.principal.user}>"


__all__ = ["Catalogue", "LabkitError", "Row", "Transaction"]
