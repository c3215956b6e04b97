"""Read-only SQL over one organisation's catalogue and telemetry, run by DuckDB in memory.

Only the tables and columns that a statement names are copied to DuckDB, already filtered by organisation; DuckDB then
has no way to files, network or other organisations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import sqlalchemy as sa
from pyarrow.fs import LocalFileSystem

from labkit.core.errors import LabkitError, NotFound, StoreError
from labkit.store import tables
from labkit.store.catalogue import Catalogue, Transaction
from labkit.store.clock import UtcTime
from labkit.store.documents import dumps
from labkit.store.run_folder import TELEMETRY, RunFolders

if TYPE_CHECKING:
    import pandas as pd

HIDDEN = frozenset({"settings", "users", "organisations"})
"""Tables that are about the lab, not about its work."""
TABLES = tuple(sorted({*tables.metadata.tables, "telemetry"} - HIDDEN))
"""Tables that :func:`query` knows; ``telemetry`` has a column ``run`` and one per channel."""
TELEMETRY_RUNS = 2_000
"""Newest finished runs that ``telemetry`` covers unless runs are named."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTINGS = (
    "enable_external_access=false",
    "autoinstall_known_extensions=false",
    "autoload_known_extensions=false",
    "python_enable_replacements=false",
    "lock_configuration=true",
)


def query(
    catalogue: Catalogue,
    statement: str,
    *,
    folders: RunFolders | None = None,
    runs: Iterable[Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """The answer to one SELECT.

    Parameters
    ----------
    statement : str
        DuckDB SQL: one ``SELECT`` or ``WITH … SELECT`` over :data:`TABLES`. ``runs``, ``results`` and ``run_wafers``
        also have the run's id as ``run``.
    folders : RunFolders, optional
        Needed for ``telemetry``.
    runs : iterable of mapping, optional
        Catalogue rows whose telemetry to read; by default the newest finished ones.

    Raises
    ------
    StoreError
        If it is anything but one SELECT, or DuckDB refuses it.
    NotFound
        If it names a table that is not there.
    """
    words = {word.lower() for word in _WORD.findall(statement)}
    with duckdb.connect(":memory:") as connection:
        for setting in _SETTINGS:
            connection.execute(f"SET {setting}")
        _require_select(connection, statement)
        with catalogue.read() as tx:
            for name in sorted(words & set(TABLES)):
                if name == "telemetry":
                    connection.register(name, _telemetry(tx, folders, runs))
                else:
                    connection.register(name, _arrow(tx, tables.metadata.tables[name], _wanted(statement, words)))
        try:
            answer: pd.DataFrame = connection.sql(statement).to_arrow_table().to_pandas()
            return answer
        except duckdb.CatalogException as error:
            raise NotFound(
                f"the query names what is not there: {_first_line(error)}", allowed=f"tables {', '.join(TABLES)}"
            ) from None
        except duckdb.Error as error:
            raise StoreError(
                f"the query was refused: {_first_line(error)}",
                allowed=f"one SELECT over {', '.join(TABLES)}",
                fix="select * from runs limit 5 shows the columns",
            ) from None


def columns() -> dict[str, list[str]]:
    """Columns of every table that :func:`query` knows, without the channels of ``telemetry``."""
    found = {
        name: [column.name for column in tables.metadata.tables[name].c if column.name != "org_id"]
        for name in TABLES
        if name != "telemetry"
    }
    for name in ("runs", "results", "run_wafers"):
        found[name].append("run")
    return {**found, "telemetry": ["run", "time"]}


def _require_select(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    try:
        statements = connection.extract_statements(statement)
    except duckdb.Error as error:
        raise StoreError(f"the query cannot be read: {_first_line(error)}", allowed="one SELECT") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise StoreError(
            "only one SELECT can be run",
            allowed="SELECT … or WITH … SELECT …",
            fix="change data through the lab's methods",
        )


def _wanted(statement: str, words: set[str]) -> set[str] | None:
    """Words that may be columns; ``None`` where the statement may mean columns without naming them."""
    spelled = re.sub(r"count\s*\(\s*\*\s*\)", "", statement, flags=re.IGNORECASE)
    unspelled = words & {"natural", "columns", "pivot", "unpivot", "summarize", "describe"}
    return None if "*" in spelled or unspelled or re.match(r"\s*from\b", statement, re.IGNORECASE) else words


def _arrow(tx: Transaction, table: sa.Table, wanted: set[str] | None) -> pa.Table:
    """The organisation's rows of *table* with the *wanted* columns, JSON as text."""
    chosen = [
        column for column in table.c if column.name != "org_id" and (wanted is None or column.name.lower() in wanted)
    ]
    key = next(column for column in table.primary_key if column.name != "org_id")
    chosen = chosen or [key]
    statement = sa.select(*chosen)
    labelled = list(chosen)
    if table.name in ("results", "run_wafers") and (wanted is None or "run" in wanted):
        link = sa.and_(tables.runs.c.seq == table.c.run_seq, tables.runs.c.org_id == table.c.org_id)
        labelled.append(tables.runs.c.id)
        statement = sa.select(*chosen, tables.runs.c.id.label("run")).select_from(table.join(tables.runs, link))
    if table is tables.runs and (wanted is None or "run" in wanted):
        labelled.append(tables.runs.c.id)
        statement = sa.select(*chosen, tables.runs.c.id.label("run"))
    names = [column.name for column in chosen] + ["run"] * (len(labelled) - len(chosen))
    rows = tx.execute(statement).fetchall()
    transposed = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    arrays = [
        pa.array(
            [dumps(v) if v is not None else None for v in values] if isinstance(column.type, sa.JSON) else values,
            type=_type(column.type),
        )
        for column, values in zip(labelled, transposed, strict=True)
    ]
    return pa.table(arrays, names=names)


def _type(kind: Any) -> pa.DataType:
    if isinstance(kind, UtcTime):
        return pa.timestamp("us", tz="UTC")
    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    return pa.float64() if isinstance(kind, sa.Float) else pa.string()


def _telemetry(tx: Transaction, folders: RunFolders | None, runs: Iterable[Mapping[str, Any]] | None) -> ds.Dataset:
    if folders is None or folders.local is None:
        raise StoreError("telemetry can be queried where run folders are local", fix="read lab.run(id).data instead")
    table = tables.runs
    rows = (
        list(runs)
        if runs is not None
        else tx.select(
            table,
            table.c.folder.is_not(None),
            columns=("id", "folder"),
            order=[table.c.seq.desc()],
            limit=TELEMETRY_RUNS,
        )
    )
    parts, schemas = [], [pa.schema([pa.field("run", pa.string())])]
    layout, disk = ds.ParquetFileFormat(), LocalFileSystem()
    for row in rows:
        path = folders.local / str(row["folder"]) / TELEMETRY
        if path.exists():
            part = layout.make_fragment(str(path), disk, partition_expression=ds.field("run") == str(row["id"]))
            schemas.append(part.physical_schema)
            parts.append(part)
    if not parts:
        raise NotFound("no finished run has telemetry")
    try:
        schema = pa.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise LabkitError(
            f"telemetry of these runs does not fit one table: {error}", fix="name runs of one process"
        ) from None
    return ds.FileSystemDataset(parts, schema, layout, disk)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
