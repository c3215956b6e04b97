"""A sweep: one run with many points, computed in chunks on Dask, restartable chunk by chunk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core import registry
from labkit.core.errors import LabkitError, StoreError
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.runs import records
from labkit.runs.interrupts import held_back
from labkit.runs.lifecycle import FINAL, RunState
from labkit.runs.scale_out import cores, dask_client, map_chunks
from labkit.runs.watch import Report
from labkit.runs.workplace import Workplace
from labkit.store import audit, sweeps
from labkit.store import runs as rows
from labkit.store.artifacts import Artifacts
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr

MOST_POINTS = 10_000_000
"""Points up to which a sweep is one run."""
_CHUNKS_PER_CORE = 16
_LARGEST_CHUNK = 500

Points = list[tuple[float, ...]]
Values = list[list[float]]


def run_sweep(
    place: Workplace,
    process: Process,
    recipe: Recipe,
    over: Mapping[str, Iterable[float]],
    report: Report,
    *,
    resume: str | None = None,
) -> str:
    """Evaluate every combination of the values in *over* and keep the indicators as one Dataset; returns the run's id.

    Raises
    ------
    LabkitError
        If a path is not a number in the recipe, a combination is refused, or the run to resume is another sweep. The
        first and the last combination are tried before anything is stored.
    """
    axes = {path: [float(v) for v in values] for path, values in over.items()}
    points = grid(process, recipe, axes)
    chunk = chunk_size(len(points))
    with place.catalogue.begin() as tx:
        if resume is None:
            run_id = records.submit(
                tx,
                recipe,
                tool=None,
                origin="simulated",
                wafers=[],
                kind="sweep",
                extra={"owner": place.owner, "axes": axes, "chunk": chunk},
            )
            records.advance(
                tx, run_id, RunState.VALIDATING, RunState.PREFLIGHT, RunState.QUEUED, RunState.RUNNING, started=now()
            )
        else:
            run_id, chunk = (
                _resumed(tx, place, rows.get(tx, resume), recipe, axes),
                rows.get(tx, resume)["extra"]["chunk"],
            )
        sweeps.plan(tx, run_id, len(points), chunk)
    try:
        _compute(place, run_id, process.name, recipe, tuple(axes), points, report)
        _finish(place, run_id, recipe, _collect(place, process, run_id, axes))
    except BaseException as error:
        _pause(place, run_id, str(error) or "interrupted")
        raise
    report(100.0, "done")
    return run_id


def evaluate(process: str, recipe: str, paths: Sequence[str], points: Points) -> Values:
    """Indicators (in the process's order) of *recipe* (JSON) at each of *points*; runs on a Dask worker.

    A combination that the physics refuses yields NaN, so that one bad corner does not lose a sweep.
    """
    chapter = registry.process(process)
    base = chapter.parse(json.loads(recipe))
    wafer = chapter.incoming_wafers(base)
    found: Values = []
    for point in points:
        try:
            values = chapter.expected(base.changed(dict(zip(paths, point, strict=True))), wafer)
            found.append([float(values[i.name]) for i in chapter.indicators])
        except LabkitError:
            found.append([float("nan")] * len(chapter.indicators))
    return found


class Grid(Sequence[tuple[float, ...]]):
    """Every combination of the values on some axes, the last axis fastest, without holding them."""

    def __init__(self, axes: Mapping[str, Sequence[float]]) -> None:
        self._values = [list(values) for values in axes.values()]
        self._shape = tuple(map(len, self._values))

    def __len__(self) -> int:
        return math.prod(self._shape)

    def __getitem__(self, index: Any) -> Any:
        one = not isinstance(index, slice)
        numbers = range(len(self))[index] if one else np.arange(*index.indices(len(self)))
        places = np.unravel_index(np.atleast_1d(numbers), self._shape)
        columns = [[values[at] for at in found.tolist()] for values, found in zip(self._values, places, strict=True)]
        points = list(zip(*columns, strict=True))
        return points[0] if one else points


class _Work(Mapping[int, tuple[Any, ...]]):
    """Arguments of :func:`evaluate` by chunk, made when they are asked for."""

    def __init__(self, chunks: Sequence[Row], points: Grid, *common: Any) -> None:
        self._rows = {int(row["ordinal"]): (int(row["first"]), int(row["count"])) for row in chunks}
        self._points, self._common = points, common

    def __getitem__(self, ordinal: int) -> tuple[Any, ...]:
        first, count = self._rows[ordinal]
        return (*self._common, self._points[first : first + count])

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def chunk_size(points: int) -> int:
    """How many points a chunk of a sweep of *points* has: enough chunks to share out, none that takes too long."""
    return max(1, min(_LARGEST_CHUNK, points // (_CHUNKS_PER_CORE * cores()) or 1))


def grid(process: Process, recipe: Recipe, axes: Mapping[str, Sequence[float]]) -> Grid:
    """The points of a sweep of *recipe* over *axes* (recipe path to values), the first and the last one tried.

    Raises
    ------
    LabkitError
        If there are none or more than :data:`MOST_POINTS`, or *recipe* or one of the two is refused.
    """
    if not axes or any(not values for values in axes.values()):
        raise LabkitError(
            "a sweep over nothing",
            allowed="at least one recipe path with at least one value",
            fix='lab.sweep(recipe, {"recipe_steps.3.duration_s": [600, 1200, 1800]})',
        )
    points = Grid(axes)
    count = math.prod(len(values) for values in axes.values())
    if count > MOST_POINTS:
        raise LabkitError(
            f"a sweep of {count} points", allowed=f"at most {MOST_POINTS}", fix="take fewer values per path"
        )
    blocking = [f.message for f in process.findings(recipe) if f.blocking]
    if blocking:
        raise LabkitError(f"recipe {recipe.name!r} cannot be swept: {blocking[0]}")
    for point in (points[0], points[count - 1]):
        recipe.changed(dict(zip(axes, point, strict=True)))
    return points


def _pause(place: Workplace, run_id: str, reason: str) -> None:
    """Leave a sweep that stopped half-way so that it can be resumed; one that has just been finished stays so."""
    with held_back(), suppress(StoreError), place.catalogue.begin() as tx:
        if rows.state(tx, run_id) == RunState.RUNNING.value:
            records.advance(tx, run_id, RunState.PAUSED, reason=f"{reason}; go on with lab.sweep(…, resume={run_id!r})")


def _resumed(
    tx: Transaction, place: Workplace, row: Mapping[str, Any], recipe: Recipe, axes: Mapping[str, Sequence[float]]
) -> str:
    extra = row["extra"] or {}
    if row["kind"] != "sweep" or row["recipe_hash"] != recipe.content_hash or extra.get("axes") != axes:
        raise LabkitError(
            f"run {row['seq']} is not this sweep",
            allowed="the same recipe and the same values",
            fix="start a new sweep, without resume",
        )
    if RunState(row["state"]) in FINAL:
        raise LabkitError(f"sweep {row['seq']} is {row['state']}", fix="read it with lab.run(…), or start a new one")
    ours = extra.get("owner") == place.owner
    if row["state"] == RunState.PAUSED.value:
        records.advance(tx, row["id"], RunState.RUNNING, reason="resumed", extra={**extra, "owner": place.owner})
    elif row["state"] != RunState.RUNNING.value or not ours:
        raise LabkitError(
            f"sweep {row['seq']} is {row['state']}",
            allowed="a sweep that is PAUSED",
            fix="wait for the process that computes it, or end that process and open the lab again",
        )
    return str(row["id"])


def _compute(
    place: Workplace, run_id: str, process: str, recipe: Recipe, paths: tuple[str, ...], points: Grid, report: Report
) -> None:
    with place.catalogue.read() as tx:
        pending = sweeps.pending(tx, run_id)
        total = len(sweeps.chunks(tx, run_id))
    if not pending:
        return
    document = recipe.to_json(indent=None)
    work = _Work(pending, points, process, document, paths)
    done = total - len(pending)

    kept = Artifacts(place.folder)

    def keep(ordinal: int, values: Values) -> None:
        nonlocal done
        with place.catalogue.begin(durable=False) as tx:
            address = kept.put(tx, json.dumps(values).encode(), media_type="application/json")
            if not sweeps.finish(tx, run_id, ordinal, artifact=address):
                return
            done += 1
            rows.progress(tx, run_id, 100.0 * done / total, f"chunk {done} of {total}")
        report(100.0 * done / total, f"chunk {done} of {total}")

    with dask_client(place.settings) as client:
        map_chunks(client, evaluate, work, keep)


def _collect(place: Workplace, process: Process, run_id: str, axes: Mapping[str, Sequence[float]]) -> xr.Dataset:
    """All chunks as one Dataset whose dims are the swept paths."""
    import xarray as xr

    with place.catalogue.read() as tx:
        shape = [len(values) for values in axes.values()]
        table = np.empty((math.prod(shape), len(process.indicators)))
        kept = Artifacts(place.folder)
        for row in sweeps.chunks(tx, run_id):
            table[row["first"] : row["first"] + row["count"]] = json.loads(kept.get(tx, row["artifact"]))
    values = table.reshape(*shape, len(process.indicators))
    names = {path: path.replace(".", "_") for path in axes}
    return xr.Dataset(
        {
            i.name: (tuple(names.values()), values[..., k], {"units": i.units, "long_name": i.description})
            for k, i in enumerate(process.indicators)
        },
        coords={
            names[path]: (names[path], np.array(along), {"recipe_path": path, "units": _units(process, path)})
            for path, along in axes.items()
        },
    )


def _units(process: Process, path: str) -> str:
    for recipe in process.example_recipes():
        for knob in process.knobs(recipe):
            if knob.path == path:
                return knob.units
    return "1"


def _finish(place: Workplace, run_id: str, recipe: Recipe, dataset: xr.Dataset) -> None:
    document = {"run": run_id, "kind": "sweep", "process": recipe.process, "recipe": recipe.model_dump(mode="json")}
    with held_back(), place.folders.stage(run_id, document, fields={"sweep": dataset}) as staged:
        staged.publish(place.catalogue.holds)
        with place.catalogue.begin() as tx:
            records.advance(tx, run_id, RunState.EVALUATING, RunState.COMPLETED, ended=now(), progress=100.0, step="")
            rows.commit_folder(tx, run_id, staged.folder, staged.checksum)
            audit.append(tx, "run.finish", run_id, {"points": int(np.prod(list(dataset.sizes.values())))})
