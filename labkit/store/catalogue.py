"""The catalogue: one database as one principal sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labkit.core.errors import PermissionDenied
from labkit.core.identity import Principal
from labkit.store import tables
from labkit.store.clock import now
from labkit.store.engine import create_engine, database_url, in_words
from labkit.store.identifiers import new_id
from labkit.store.schema import bring_up_to_date, labkit_version
from labkit.store.transaction import Row, Transaction, accepted

EVERYONE = "*"
"""The organisation id under which the lab keeps facts about itself; no principal may have it."""


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
            tx.put(
                tables.users, {"name": self.principal.user}, {"role": self.principal.role.value, "first_seen": now()}
            )

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<catalogue {self.url.render_as_string(hide_password=True)} as {self.principal.user}>"


__all__ = ["Catalogue", "Row", "Transaction", "accepted"]
