"""A sweep: one run with many points, computed in chunks on Dask, restartable chunk by chunk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from labkit.runs.scale_out import cores, dask_client
from labkit.runs.watch import Report
from labkit.runs.workplace import Workplace
from labkit.store import audit, sweeps
from labkit.store import runs as rows
from labkit.store.artifacts import Artifacts
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

MOST_POINTS = 10_000_000
_CHUNKS_PER_CORE = 16
_LARGEST_CHUNK = 500

Points = list[tuple[float, ...]]
Values = list[list[float]]
Evaluate = Callable[[Points], Values]


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
    points = _points(process, recipe, axes)
    chunk = max(1, min(_LARGEST_CHUNK, len(points) // (_CHUNKS_PER_CORE * cores()) or 1))
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


def map_chunks(
    client: Client,
    function: Callable[..., Values],
    chunks: Mapping[int, tuple[Any, ...]],
    keep: Callable[[int, Values], None],
) -> None:
    """Run *function* on every chunk's arguments and *keep* each result as it arrives; workers always have one in
    hand."""
    from distributed import as_completed

    futures = {client.submit(function, *arguments, pure=False): ordinal for ordinal, arguments in chunks.items()}
    try:
        for future, values in as_completed(list(futures), with_results=True):
            keep(futures[future], values)
    finally:
        client.cancel(list(futures))


def _points(process: Process, recipe: Recipe, axes: Mapping[str, Sequence[float]]) -> Points:
    if not axes or any(not values for values in axes.values()):
        raise LabkitError(
            "a sweep over nothing",
            allowed="at least one recipe path with at least one value",
            fix='lab.sweep(recipe, {"recipe_steps.3.duration_s": [600, 1200, 1800]})',
        )
    count = int(np.prod([len(values) for values in axes.values()]))
    if count > MOST_POINTS:
        raise LabkitError(
            f"a sweep of {count} points", allowed=f"at most {MOST_POINTS}", fix="take fewer values per path"
        )
    blocking = [f.message for f in process.findings(recipe) if f.blocking]
    if blocking:
        raise LabkitError(f"recipe {recipe.name!r} cannot be swept: {blocking[0]}")
    points = list(itertools.product(*axes.values()))
    for point in (points[0], points[-1]):
        recipe.changed(dict(zip(axes, point, strict=True)))
    return points


def _pause(place: Workplace, run_id: str, reason: str) -> None:
    """Leave a sweep that stopped half-way so that it can be resumed; one that has just been finished stays so."""
    with held_back(), suppress(StoreError), place.catalogue.begin() as tx:
        if rows.get(tx, run_id)["state"] == RunState.RUNNING.value:
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
    place: Workplace, run_id: str, process: str, recipe: Recipe, paths: tuple[str, ...], points: Points, report: Report
) -> None:
    with place.catalogue.read() as tx:
        pending = sweeps.pending(tx, run_id)
        total = len(sweeps.chunks(tx, run_id))
    if not pending:
        return
    document = recipe.to_json(indent=None)
    work = {
        row["ordinal"]: (process, document, paths, points[row["first"] : row["first"] + row["count"]])
        for row in pending
    }
    done = total - len(pending)

    kept = Artifacts(place.folder)

    def keep(ordinal: int, values: Values) -> None:
        nonlocal done
        done += 1
        with place.catalogue.begin(durable=False) as tx:
            address = kept.put(tx, json.dumps(values).encode(), media_type="application/json")
            sweeps.finish(tx, run_id, ordinal, artifact=address)
            rows.progress(tx, run_id, 100.0 * done / total, f"chunk {done} of {total}")
        report(100.0 * done / total, f"chunk {done} of {total}")

    with dask_client(place.settings) as client:
        map_chunks(client, evaluate, work, keep)


def _collect(place: Workplace, process: Process, run_id: str, axes: Mapping[str, Sequence[float]]) -> xr.Dataset:
    """All chunks as one Dataset whose dims are the swept paths."""
    import xarray as xr

    with place.catalogue.read() as tx:
        table: Values = []
        kept = Artifacts(place.folder)
        for row in sweeps.chunks(tx, run_id):
            table.extend(json.loads(kept.get(tx, row["artifact"])))
    shape = [len(values) for values in axes.values()]
    grid = np.array(table, dtype=float).reshape(*shape, len(process.indicators))
    names = {path: path.replace(".", "_") for path in axes}
    return xr.Dataset(
        {
            i.name: (tuple(names.values()), grid[..., k], {"units": i.units, "long_name": i.description})
            for k, i in enumerate(process.indicators)
        },
        coords={
            names[path]: (names[path], np.array(values), {"recipe_path": path, "units": _units(process, path)})
            for path, values in axes.items()
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
        staged.publish()
        with place.catalogue.begin() as tx:
            records.advance(tx, run_id, RunState.EVALUATING, RunState.COMPLETED, ended=now(), progress=100.0, step="")
            rows.commit_folder(tx, run_id, staged.folder, staged.checksum)
            audit.append(tx, "run.finish", run_id, {"points": int(np.prod(list(dataset.sizes.values())))})
