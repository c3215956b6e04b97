"""A sweep as a job: handed in like a run, computed by a worker, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.runs import records
from labkit.runs.endings import LONGEST_BACKOFF_S
from labkit.runs.lifecycle import RunState
from labkit.runs.live import Live
from labkit.runs.orders import Terms
from labkit.runs.submission import check_terms, enqueue
from labkit.runs.sweep import chunk_size, grid, run_sweep
from labkit.runs.workplace import Workplace
from labkit.store import jobs
from labkit.store import runs as rows
from labkit.store.clock import now


class _Cancelled(LabkitError):
    """Somebody has asked for the sweep to end."""


def submit_sweep(
    place: Workplace, process: Process, recipe: Recipe, over: Mapping[str, Iterable[float]], terms: Terms
) -> str:
    """Queue the evaluation of every combination of the values in *over*; returns the run's id.

    Raises
    ------
    LabkitError
        If a path is not a number in the recipe, a combination is refused, or the terms make no sense.
    """
    axes = {path: [float(v) for v in values] for path, values in over.items()}
    points = grid(process, recipe, axes)
    with place.catalogue.begin() as tx:
        check_terms(tx, terms)
        run_id = records.submit(
            tx,
            recipe,
            tool=None,
            origin="simulated",
            wafers=[],
            kind="sweep",
            extra={"axes": axes, "chunk": chunk_size(len(points))},
        )
        enqueue(tx, run_id, terms, type="SIMULATION", queue=process.name, document={})
    return run_id


def compute_sweep(place: Workplace, run_id: str) -> None:
    """Compute a claimed sweep, or what is missing of it; a failure leaves it PAUSED, queued again if it may be tried
    again."""
    with place.catalogue.begin() as tx:
        row = rows.get(tx, run_id)
        extra = {**(row["extra"] or {}), "owner": place.owner}
        records.advance(tx, run_id, RunState.RUNNING, extra=extra, started=row["started"] or now())
        jobs.change(tx, run_id, state="running")
    live = Live(place, run_id)
    process = registry.process(row["process"])

    def report(percent: float, step: str) -> None:
        live.progress(percent, step, RunState.RUNNING.value)
        with place.catalogue.read() as tx:
            who = jobs.get(tx, run_id)["cancelled_by"]
        if who is not None:
            raise _Cancelled(f"cancelled by {who}")

    try:
        recipe = process.parse({**row["recipe"], "status": "draft"})
        run_sweep(place, process, recipe, extra["axes"], report, resume=run_id)
    except Exception as error:
        _ended_early(place, run_id, error, live)
    else:
        live.completed(RunState.COMPLETED.value, headline="all points are computed")
    finally:
        live.close()


def _ended_early(place: Workplace, run_id: str, error: Exception, live: Live) -> None:
    message = str(error) or type(error).__name__
    with place.catalogue.begin() as tx:
        job = jobs.get(tx, run_id)
        if isinstance(error, _Cancelled):
            records.advance(tx, run_id, RunState.CANCELLED, reason=message, error_message=message, ended=now())
        else:
            again = job["retries_left"] > 0
            delay = min(job["backoff_s"] * 2 ** (job["retries"] - job["retries_left"]), LONGEST_BACKOFF_S)
            jobs.note(tx, run_id, message + (f"; again in {delay:g} s" if again else "; held"), "warning")
            jobs.change(
                tx,
                run_id,
                state="queued",
                worker=None,
                paused=not again,
                not_before=now() + timedelta(seconds=delay),
                retries_left=max(job["retries_left"] - 1, 0),
            )
    if isinstance(error, _Cancelled):
        live.cancelled(message)
