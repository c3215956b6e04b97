"""The catalogue's figures: a million runs browsed, one run opened, one channel of a thousand runs, one run written."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from labkit.core.identity import Principal
from labkit.store import browse, tables
from labkit.store.catalogue import Catalogue
from labkit.store.channels import channel
from labkit.store.run_folder import RunFolders

Figure = dict[str, Any]
START = datetime(2022, 1, 1, tzinfo=UTC)
STATES = ("completed",) * 90 + ("anomaly_flagged",) * 6 + ("failed",) * 3 + ("cancelled",)
COLUMNS = (
    "org_id",
    "id",
    "process",
    "recipe_name",
    "recipe_version",
    "recipe_hash",
    "tool",
    "product",
    "lot",
    "operator",
    "state",
    "verdict",
    "origin",
    "qualified",
    "parent_id",
    "created",
    "started",
    "ended",
    "duration_s",
    "progress",
    "cost",
    "currency",
    "folder",
)


def million_runs(folder: Path, *, runs: int = 1_000_000) -> list[Figure]:
    """Browse *runs* synthetic runs by every declared filter and sort; the slowest page of each is the figure."""
    catalogue = Catalogue(folder / "million.db", Principal("bench"))
    try:
        began = time.perf_counter()
        load(catalogue, runs)
        figures = [_figure("load_runs", time.perf_counter() - began, "s", 60.0)]
        return figures + [_browse(catalogue, name, arguments) for name, arguments in questions(runs).items()]
    finally:
        catalogue.close()


def questions(runs: int) -> dict[str, dict[str, Any]]:
    """Every declared filter and sort, and combinations that are hard on an index."""
    middle = START + timedelta(minutes=runs // 2)
    month = {"created_after": middle, "created_before": middle + timedelta(days=30)}
    asked: dict[str, dict[str, Any]] = {f"sort {sort}": {"sort": sort} for sort in browse.SORTS}
    values = {
        "state": "failed",
        "verdict": "fail",
        "process": "cvd",
        "tool": "TUBE-03",
        "product": "P7",
        "lot": "L000123",
        "operator": "op-5",
        "recipe_name": "recipe-11",
        "recipe_hash": f"{17:064d}",
        "origin": "real",
        "qualified": True,
        "parent_id": "S00042",
    }
    asked |= {f"filter {name}": {name: value} for name, value in values.items()}
    asked |= {f"filter {name}, oldest": {name: value, "sort": "oldest"} for name, value in values.items()}
    asked |= {f"filter {name}, longest": {name: value, "sort": "-duration_s"} for name, value in values.items()}
    narrow, wide = {"thickness_mean_nm": (103.9, 104.0)}, {"thickness_mean_nm": (99.0, 101.0)}
    return asked | {
        "filter created": month,
        "filter created, costliest": {**month, "sort": "-cost"},
        "filter wafer": {"wafer": "W0000321"},
        "filter results, narrow": {"results": narrow},
        "filter results, wide": {"results": wide},
        "filter results, wide, longest": {"results": wide, "sort": "-duration_s"},
        "filter state in": {"state": ["failed", "cancelled"]},
        "filter tool and verdict": {"tool": "TUBE-03", "verdict": "fail"},
        "filter process and results": {"process": "cvd", "results": wide},
        "filter tool and created": {"tool": "TUBE-03", **month},
        "filter product, operator and state": {"product": "P7", "operator": "op-5", "state": "completed"},
    }


def _browse(catalogue: Catalogue, name: str, arguments: dict[str, Any]) -> Figure:
    """Slowest of the first three pages, each the median of three calls; every step of its plan must use an index."""
    with catalogue.read() as tx:
        plan = tx.explain(browse.select(tx, **arguments))
        indexed = not any(line.startswith("SCAN") for line in plan)
        slowest, after = 0.0, None
        for _ in range(3):
            slowest = max(slowest, _median(partial(browse.page, tx, after=after, limit=50, **arguments)))
            after = browse.page(tx, after=after, limit=50, **arguments).after
            if after is None:
                break
    figure = _figure(f"page: {name}", slowest * 1e3, "ms", 100.0)
    return {**figure, "ok": figure["ok"] and indexed, "plan": "; ".join(plan)}


def load(catalogue: Catalogue, runs: int) -> None:
    """Write *runs* synthetic runs with one result and, every tenth, one wafer each; indexes are built afterwards."""
    indexes = [
        index
        for table in (tables.runs, tables.results, tables.run_wafers)
        for index in table.indexes
        if not index.unique
    ]
    with catalogue.engine.connect().execution_options(labkit_write=True, labkit_durable=False) as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        for pragma in ("cache_size=-1500000", "threads=2"):
            driver.cursor().execute(f"PRAGMA {pragma}")
        with connection.begin():
            for index in indexes:
                index.drop(connection)
            _fill(driver.cursor(), catalogue.principal.organisation, runs)
            for index in indexes:
                index.create(connection)


def _fill(cursor: Any, organisation: str, runs: int) -> None:
    """Rows straight through the driver: a million of them are too many for a statement each."""
    marks = ", ".join("?" * len(COLUMNS))
    cursor.executemany(f"INSERT INTO runs ({', '.join(COLUMNS)}) VALUES ({marks})", _rows(organisation, runs))
    first = cursor.execute("SELECT min(seq) FROM runs").fetchone()[0]
    thickness = np.random.default_rng(7).normal(100.0, 1.5, runs).tolist()
    cursor.executemany(
        "INSERT INTO results (org_id, run_seq, name, value, units) VALUES (?, ?, 'thickness_mean_nm', ?, 'nm')",
        ((organisation, first + at, value) for at, value in enumerate(thickness)),
    )
    cursor.executemany(
        "INSERT INTO run_wafers (org_id, run_seq, wafer, slot) VALUES (?, ?, ?, 1)",
        ((organisation, first + at, f"W{at % 5000:07d}") for at in range(0, runs, 10)),
    )


def _rows(organisation: str, runs: int) -> Iterator[tuple[Any, ...]]:
    draw = np.random.default_rng(3)
    tools, states, operators = draw.integers(20, size=runs), draw.integers(100, size=runs), draw.integers(30, size=runs)
    durations, costs = draw.uniform(600.0, 7200.0, runs), draw.uniform(50.0, 500.0, runs)
    created = np.datetime64(START.replace(tzinfo=None), "us") + np.arange(runs) * np.timedelta64(60_000_000, "us")
    ended = created + (durations * 1e6).astype("timedelta64[us]")
    columns = (tools, states, operators, durations, costs, _stamps(created), _stamps(ended))
    for at, (tool, drawn, operator, duration, cost, began, over) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        state = STATES[drawn]
        yield (
            organisation,
            f"R{at:09d}",
            "cvd" if tool < 15 else "lithography",
            f"recipe-{at % 40}",
            1 + at % 5,
            f"{at % 200:064d}",
            f"TUBE-{tool:02d}",
            f"P{at % 12}",
            f"L{at // 25:06d}",
            f"op-{operator}",
            state,
            "fail" if state in ("failed", "anomaly_flagged") else "pass",
            "real" if tool < 5 else "simulated",
            tool % 2,
            f"S{at // 1000:05d}" if at % 3 == 0 else None,
            began,
            began,
            over,
            duration,
            100.0,
            cost,
            "EUR",
            f"runs/2022/01/R{at:09d}",
        )


def _stamps(moments: np.ndarray) -> np.ndarray:
    """Times as the catalogue writes them on SQLite."""
    return np.char.replace(np.datetime_as_string(moments, unit="us"), "T", " ")


def run_folders(folder: Path, *, runs: int = 1_000, samples: int = 6_000) -> list[Figure]:
    """Write, open and read back runs: one run staged and published, one opened, one channel of *runs* runs."""
    folders = RunFolders(folder / "lab")
    draw = np.random.default_rng(1)
    tube, fields = _telemetry(3_120, 20, draw), {"prediction": _maps(draw), "measured": _maps(draw)}
    write = [_timed(partial(_write, folders, f"WRITE{at}", tube, fields)) for at in range(20)]
    with folders.stage("OPEN", {"process": "cvd"}, telemetry=tube, fields=fields) as staged:
        staged.publish()
        folder_name, checksum = staged.folder, staged.checksum
    opened = _median(lambda: folders.open(folder_name, checksum))
    long, rows = _telemetry(samples, 20, draw), []
    for at in range(runs):
        with folders.stage(f"LONG{at:04d}", {"process": "cvd"}, telemetry=long) as staged:
            staged.publish()
            rows.append({"id": staged.run, "folder": staged.folder})
    read = _timed(lambda: channel(folders, "c07", rows))
    return [
        _figure("write_run", statistics.median(write) * 1e3, "ms", 20.0),
        _figure("open_run", opened * 1e3, "ms", 50.0),
        _figure("channel_of_1000_runs", read, "s", 2.0),
    ]


def _write(folders: RunFolders, run: str, telemetry: xr.Dataset, fields: dict[str, xr.Dataset]) -> None:
    with folders.stage(run, {"process": "cvd"}, telemetry=telemetry, fields=fields) as staged:
        staged.publish()


def _telemetry(samples: int, channels: int, draw: np.random.Generator) -> xr.Dataset:
    walks = {
        f"c{n:02d}": ("time", draw.normal(size=samples).cumsum().astype("float32"), {"units": "1"})
        for n in range(channels)
    }
    return xr.Dataset(walks, {"time": ("time", np.arange(samples, dtype="float64"), {"units": "s"})})


def _maps(draw: np.random.Generator) -> xr.Dataset:
    return xr.Dataset(
        {
            name: (("slot", "site"), draw.normal(size=(25, 49)), {"units": "nm"})
            for name in ("thickness", "rate", "index")
        }
    )


def _figure(name: str, value: float, unit: str, reference: float) -> Figure:
    return {"name": name, "value": round(value, 3), "unit": unit, "reference": reference, "ok": value < reference}


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _median(call: Callable[[], object]) -> float:
    return statistics.median(_timed(call) for _ in itertools.repeat(None, 3))
