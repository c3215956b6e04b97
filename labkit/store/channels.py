"""One telemetry channel of many runs, reading only its column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr

from labkit.core.errors import NotFound, SchemaError
from labkit.store import telemetry as parquet
from labkit.store.run_folder import TELEMETRY, RunFolders

READERS = 4
"""Files read at once."""


def channel(folders: RunFolders, name: str, runs: Iterable[Mapping[str, Any]]) -> xr.DataArray:
    """Channel *name* of *runs*, side by side.

    Parameters
    ----------
    name : str
        The channel.
    runs : iterable of mapping
        Catalogue rows (``id`` and ``folder``), for instance of a page.

    Returns
    -------
    xarray.DataArray
        Dims ``run`` and ``sample``; coordinate ``run`` holds the ids and ``time`` (run, sample) the seconds since each
        run's start. Shorter runs are filled with NaN.

    Raises
    ------
    NotFound
        If a run has no telemetry or no such channel, or there are no runs.
    SchemaError
        If the channel's unit differs between runs.
    Corrupted
        Naming the run whose file cannot be read.
    """
    wanted = [(str(row["id"]), row["folder"]) for row in runs]
    without = [run for run, folder in wanted if not folder]
    if without or not wanted:
        raise NotFound(f"run {without[0]} has no telemetry" if without else "no runs to read", allowed="finished runs")
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda item: _read(folders, name, *item), wanted))
    units = {attrs.get("units", "") for _, _, attrs in read}
    if len(units) > 1:
        raise SchemaError(
            f"channel {name!r} is in {' and '.join(sorted(units))}", fix="read runs of one unit at a time"
        )
    longest = max(len(values) for _, values, _ in read)
    kind = np.result_type(np.float32, *{values.dtype for _, values, _ in read})
    time, samples = np.full((len(read), longest), np.nan), np.full((len(read), longest), np.nan, dtype=kind)
    for row, (seconds, values, _) in enumerate(read):
        time[row, : len(seconds)], samples[row, : len(values)] = seconds, values
    return xr.DataArray(
        samples,
        dims=("run", "sample"),
        name=name,
        attrs=read[0][2],
        coords={
            "run": [run for run, _ in wanted],
            "time": (("run", "sample"), time, {"units": "s", "long_name": "time since start"}),
        },
    )


def _read(folders: RunFolders, name: str, run: str, folder: str) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    path = f"{folder}/{TELEMETRY}"
    found = parquet.read_columns(
        folders.place.source(path), [parquet.TIME, name] if name != parquet.TIME else [name], f"run {run}"
    )
    return (
        found.column(0).to_numpy(),
        found.column(found.num_columns - 1).to_numpy(),
        parquet.units_of(found.schema.field(name)),
    )
