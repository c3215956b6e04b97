"""Telemetry as one Parquet file per run: a column per channel, units in the field metadata, zstd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from xarray.backends.common import BackendArray
from xarray.core import indexing

from labkit.core.errors import Corrupted, NotFound, StoreError

TIME = "time"
"""The channel every telemetry table has: s since the start of the run."""


def table(
    telemetry: Mapping[str, Any] | xr.Dataset | pa.Table, attributes: Mapping[str, Mapping[str, str]] | None = None
) -> pa.Table:
    """*telemetry* as an Arrow table with units.

    Parameters
    ----------
    telemetry : mapping, xarray.Dataset or pyarrow.Table
        Channels of one length, among them ``time`` in s; a Dataset has the one dim ``time``.
    attributes : mapping, optional
        ``{channel: {"units": …, "long_name": …}}`` for a mapping of bare arrays.

    Raises
    ------
    StoreError
        If a channel is not one-dimensional, lengths differ, or ``time`` is missing.
    """
    if isinstance(telemetry, pa.Table):
        return telemetry
    columns: dict[str, np.ndarray] = {}
    notes = {name: dict(found) for name, found in (attributes or {}).items()}
    given: Mapping[Any, Any] = telemetry.variables if isinstance(telemetry, xr.Dataset) else telemetry
    for name, column in given.items():
        columns[str(name)] = np.asarray(column)
        if hasattr(column, "attrs"):
            notes.setdefault(str(name), {}).update({key: str(value) for key, value in column.attrs.items()})
    notes.setdefault(TIME, {}).setdefault("units", "s")
    lengths = {values.shape for values in columns.values()}
    if TIME not in columns or len(lengths) != 1 or len(next(iter(lengths))) != 1:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in list(columns.items())[:8])
        raise StoreError(
            f"telemetry with channels {shapes or 'none'}", allowed="1-D channels of one length, among them 'time'"
        )
    names = [TIME, *(name for name in columns if name != TIME)]
    fields = [
        pa.field(
            name,
            pa.from_numpy_dtype(columns[name].dtype) if columns[name].dtype.kind not in "UO" else pa.string(),
            metadata={key: str(value) for key, value in notes.get(name, {}).items()} or None,
        )
        for name in names
    ]
    return pa.table(
        [pa.array(columns[name], type=field.type) for name, field in zip(names, fields, strict=True)],
        schema=pa.schema(fields),
    )


def encode(found: pa.Table) -> bytes:
    """The Parquet file of an Arrow table."""
    sink = pa.BufferOutputStream()
    text = [field.name for field in found.schema if pa.types.is_string(field.type)]
    pq.write_table(
        found,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=text or False,
        row_group_size=1 << 20,
        write_statistics=True,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())


def read_columns(source: Any, columns: Sequence[str], where: str) -> pa.Table:
    """*columns* of a Parquet *source* (path or file object).

    Raises
    ------
    NotFound
        If there is no such channel.
    Corrupted
        If the file cannot be read as Parquet; *where* names it.
    """
    try:
        with pq.ParquetFile(source, memory_map=isinstance(source, str), page_checksum_verification=True) as opened:
            present = opened.schema_arrow.names
            missing = [name for name in columns if name not in present]
            if missing:
                raise NotFound(f"{where} has no channel {', '.join(missing)}", allowed=", ".join(present))
            return opened.read(list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise Corrupted(f"{where}: telemetry.parquet is missing") from error
        raise Corrupted(f"{where}: telemetry.parquet cannot be read ({type(error).__name__})") from error


def units_of(field: pa.Field) -> dict[str, str]:
    """Attributes written with a channel, units among them."""
    return {
        key.decode(): value.decode() for key, value in (field.metadata or {}).items() if not key.startswith(b"PARQUET:")
    }


class _Column(BackendArray):
    """One channel; read when its values are asked for."""

    def __init__(self, lazy: LazyTelemetry, name: str, dtype: np.dtype[Any], samples: int) -> None:
        self.lazy, self.name, self.dtype, self.shape = lazy, name, dtype, (samples,)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """The samples at *key*."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._values)

    def _values(self, key: tuple[Any, ...]) -> Any:
        column = read_columns(self.lazy.source(), [self.name], self.lazy.where).column(0)
        return column.to_numpy()[key]


class LazyTelemetry:
    """A Parquet file that is opened for its schema now and for a channel's samples later."""

    def __init__(self, source: Any, where: str) -> None:
        self.source, self.where = source, where

    def dataset(self) -> xr.Dataset:
        """Channels as a Dataset along ``time``, units in ``attrs``; ``time`` itself is read, the others wait."""
        try:
            with pq.ParquetFile(self.source()) as opened:
                schema, samples = opened.schema_arrow, opened.metadata.num_rows
                time = opened.read([TIME]).column(0).to_numpy()
        except (pa.ArrowException, OSError, KeyError) as error:
            raise Corrupted(f"{self.where}: telemetry.parquet cannot be read ({type(error).__name__})") from error
        variables = {}
        for field in schema:
            if field.name != TIME:
                dtype = np.dtype(object) if pa.types.is_string(field.type) else np.dtype(field.type.to_pandas_dtype())
                lazy = indexing.LazilyIndexedArray(_Column(self, field.name, dtype, samples))
                variables[field.name] = xr.Variable((TIME,), lazy, units_of(field))
        return xr.Dataset(variables, {TIME: xr.Variable((TIME,), time, units_of(schema.field(TIME)))})


__all__ = ["TIME", "LazyTelemetry", "encode", "read_columns", "table", "units_of"]
