"""Telemetry blocks and Datasets as bytes: between processes, in a ledger and in the journal. Never pickled."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import Corrupted, SchemaError
from labkit.core.process import Telemetry

if TYPE_CHECKING:
    import xarray as xr


def pack_telemetry(telemetry: Telemetry) -> bytes:
    """A block of telemetry (channel to 1-D array, all of one length) as an Arrow IPC stream."""
    import pyarrow as pa

    batch = pa.record_batch({name: pa.array(values) for name, values in telemetry.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def unpack_telemetry(packed: bytes) -> Telemetry:
    """The block that :func:`pack_telemetry` packed.

    Raises
    ------
    Corrupted
        If the bytes are something else.
    """
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(packed) as reader:
            table = reader.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise Corrupted(f"a telemetry block cannot be read ({error})") from None
    return {name: table.column(name).to_numpy().copy() for name in table.column_names}


def pack_dataset(dataset: xr.Dataset) -> bytes:
    """A Dataset of numeric and text arrays with its attributes (JSON values and NumPy numbers) as one uncompressed
    archive.

    Raises
    ------
    SchemaError
        If an attribute is something else.
    """
    sink = io.BytesIO()
    described: dict[str, Any] = {"attrs": dataset.attrs, "variables": []}
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for number, (name, variable) in enumerate(dataset.variables.items()):
            described["variables"].append(
                {
                    "name": name,
                    "dims": list(variable.dims),
                    "attrs": variable.attrs,
                    "coordinate": name in dataset.coords,
                }
            )
            values = np.asarray(variable.values)
            if values.dtype.kind in "OT":
                values = values.astype(str)
            with archive.open(f"{number}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(values, order="C"), allow_pickle=False)
        archive.writestr("dataset.json", json.dumps(described, default=_plain))
    return sink.getvalue()


def _plain(value: object) -> Any:
    """A NumPy number or array as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise SchemaError(
        f"an attribute holds a {type(value).__name__}, which cannot be stored", allowed="text, numbers, lists, objects"
    )


def unpack_dataset(packed: bytes) -> xr.Dataset:
    """The Dataset that :func:`pack_dataset` packed.

    Raises
    ------
    Corrupted
        If the bytes are something else.
    """
    import xarray as xr

    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            described = json.loads(archive.read("dataset.json"))
            data: dict[str, Any] = {}
            coords: dict[str, Any] = {}
            for number, variable in enumerate(described["variables"]):
                with archive.open(f"{number}.npy") as member:
                    values = np.lib.format.read_array(member, allow_pickle=False)
                place = coords if variable["coordinate"] else data
                place[variable["name"]] = (variable["dims"], values, variable["attrs"])
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError) as error:
        raise Corrupted(f"a packed dataset cannot be read ({error})") from None
    return xr.Dataset(data, coords=coords, attrs=described["attrs"])
