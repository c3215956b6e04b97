"""What people may ask of a job: cancel, pause, resume, move up. Each is one transaction, whoever works on it."""

from __future__ import annotations

from labkit.core.errors import IllegalTransition, LabkitError
from labkit.operations.policy import require
from labkit.runs import records
from labkit.runs.lifecycle import FINAL, RunState
from labkit.runs.submission import MOST_PRIORITY
from labkit.runs.workplace import Workplace
from labkit.store import audit, jobs
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

UNSTARTED = (RunState.SUBMITTED, RunState.VALIDATING, RunState.PREFLIGHT, RunState.WAITING, RunState.QUEUED)


def cancel(place: Workplace, run_id: str, reason: str = "") -> None:
    """Cancel a run: at once if it has not started, else its tool is stopped by whoever carries it out.

    Raises
    ------
    IllegalTransition
        If it is over already.
    """
    require(place.principal, "job:cancel")
    who = place.principal.user
    with place.catalogue.begin() as tx:
        _still_open(tx, run_id)
        job = jobs.get(tx, run_id)
        if job["worker"] is None:
            end_unstarted(tx, run_id, reason or f"cancelled by {who}", code="cancelled")
        else:
            jobs.change(tx, run_id, cancelled_by=who)
        jobs.note(tx, run_id, f"cancelled by {who}" + (f": {reason}" if reason else ""))
        audit.append(tx, "run.cancel", run_id, {"reason": reason})


def end_unstarted(tx: Transaction, run_id: str, reason: str, *, code: str) -> None:
    """Cancel a run that no tool has seen."""
    records.advance(tx, run_id, RunState.CANCELLED, reason=reason, error_code=code, error_message=reason, ended=now())


def pause(place: Workplace, run_id: str) -> None:
    """Hold a run: one that waits is not started, one that runs is held at its tool."""
    _set(place, run_id, "paused", paused=True)


def resume(place: Workplace, run_id: str) -> None:
    """Let a run that is held go on."""
    _set(place, run_id, "resumed", paused=False)


def prioritise(place: Workplace, run_id: str, priority: int) -> None:
    """Change how urgent a waiting job is; larger goes first, equals in the order of submission."""
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MOST_PRIORITY:
        raise LabkitError(
            f"priority = {priority!r}", allowed=f"a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}"
        )
    _set(place, run_id, f"priority {priority}", priority=priority)


def expire(place: Workplace) -> list[str]:
    """Cancel every job that was not started before it expired; returns their runs."""
    with place.catalogue.read() as tx:
        late = jobs.expired(tx)
    gone = []
    for run_id in late:
        with place.catalogue.begin() as tx:
            if run_id in jobs.expired(tx):
                end_unstarted(tx, run_id, "expired before it could start", code="expired")
                gone.append(run_id)
    return gone


def _set(place: Workplace, run_id: str, word: str, **changes: object) -> None:
    require(place.principal, "job:cancel")
    with place.catalogue.begin() as tx:
        _still_open(tx, run_id)
        jobs.get(tx, run_id)
        jobs.change(tx, run_id, **changes)
        jobs.note(tx, run_id, f"{word} by {place.principal.user}")


def _still_open(tx: Transaction, run_id: str) -> None:
    row = rows.get(tx, run_id)
    state = RunState(row["state"])
    if state in FINAL or state is RunState.ENGINEER_REVIEW:
        raise IllegalTransition(f"run {row['seq']} is {state}: it is over", allowed="runs that are not over")
