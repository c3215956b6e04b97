"""What every opener of a lab and every worker clears away: runs of dead processes, journals nobody needs any more."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from labkit.core.errors import LabkitError
from labkit.runs import hiring
from labkit.runs.lifecycle import FINAL, RunState
from labkit.runs.recovery import Recovered, recover
from labkit.runs.workplace import Workplace
from labkit.store import jobs
from labkit.store import runs as rows
from labkit.store.clock import now

JOURNAL_KEPT_S = 60.0
"""How long the journal of a finished run is kept for those who still follow it, s."""
_RESTING = frozenset({*FINAL, RunState.ENGINEER_REVIEW, RunState.ESCALATED})


def put_right(place: Workplace, *, start_worker: bool = True) -> list[Recovered]:
    """Recover what dead processes left, and let a worker follow what their tools still work on."""
    found = recover(place)
    tidy_journals(place)
    going_on = [one.run for one in found if one.running]
    for run_id in going_on:
        with place.catalogue.begin() as tx:
            jobs.hand_over(tx, run_id)
    if not start_worker:
        return found
    if going_on:
        hiring.ensure_worker(place)
    else:
        hiring.ensure_worker_if_needed(place)
    return found


def tidy_journals(place: Workplace) -> int:
    """Remove the journals of runs that have been at rest for a while; returns how many."""
    removed = 0
    for run_id in place.journals.listing():
        with suppress(LabkitError):
            with place.catalogue.read() as tx:
                row = rows.get(tx, run_id)
            ended = row["ended"] or row["created"]
            if RunState(row["state"]) in _RESTING and now() - ended > timedelta(seconds=JOURNAL_KEPT_S):
                removed += place.journals.remove(run_id)
    return removed
