"""Handing in a run: accepted or refused in words, and on the queue in the same transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from labkit.core.errors import LabkitError, NotFound
from labkit.runs import records
from labkit.runs.lifecycle import FINAL, RunState
from labkit.runs.orders import Order, Terms, refusal, unfit
from labkit.runs.workplace import Workplace
from labkit.store import jobs
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

MOST_PRIORITY = 1_000_000


def submit(place: Workplace, tx: Transaction, order: Order, terms: Terms, *, here: bool = False) -> str:
    """Write *order* as a run with its job; returns the run's id. A run that cannot be accepted ends REJECTED.

    With *here* the caller carries it out itself and no worker will take it.

    Raises
    ------
    LabkitError
        If the terms make no sense.
    """
    check_terms(tx, terms)
    run_id = records.submit(
        tx,
        order.recipe,
        tool=order.tool,
        origin=order.origin,
        wafers=list(order.wafers),
        lot=order.lot,
        product=order.product,
        chamber=order.chamber,
        kind="run",
    )
    enqueue(
        tx,
        run_id,
        terms,
        type="RUN",
        queue=order.process.name,
        tool=order.tool,
        hazardous=True,
        worker=place.owner if here else None,
        document={"incoming": dict(order.incoming), "here": here},
    )
    refused = refusal(order) or unfit(tx, order, now_up=here)
    if refused is not None:
        reject(tx, run_id, str(refused))
    return run_id


def enqueue(tx: Transaction, run_id: str, terms: Terms, **columns: object) -> None:
    """Add the job of a run that was just written."""
    fields = {
        "priority": terms.priority,
        "not_before": terms.not_before,
        "expires": terms.expires,
        "soft_limit_s": terms.soft_limit_s,
        "hard_limit_s": terms.hard_limit_s,
        "retries": terms.retries,
        "retries_left": terms.retries,
        "backoff_s": terms.backoff_s,
        "gpu_share": terms.gpu_share,
        "batch": terms.batch,
        "template": terms.template,
        "schedule": terms.schedule,
        "state": "submitted",
    }
    jobs.create(tx, run_id, rows.seq(tx, run_id), **{**fields, **columns})
    jobs.link(tx, run_id, terms.after)


def reject(tx: Transaction, run_id: str, reason: str) -> None:
    """End a run that cannot be accepted."""
    records.advance(
        tx,
        run_id,
        RunState.VALIDATING,
        RunState.REJECTED,
        reason=reason,
        error_code="rejected",
        error_message=reason,
        ended=now(),
    )


def check_terms(tx: Transaction, terms: Terms) -> None:
    """Refuse terms under which a job could never run, or that say nothing.

    Raises
    ------
    LabkitError
        Naming the term, what is allowed and what to type.
    NotFound
        If a predecessor does not exist.
    """
    ranges = {
        "priority": (terms.priority, -MOST_PRIORITY, MOST_PRIORITY),
        "retries": (terms.retries, 0, 100),
        "backoff_s": (terms.backoff_s, 0.0, 86_400.0),
        "gpu_share": (terms.gpu_share, 0.0, 64.0),
        "soft_limit_s": (terms.soft_limit_s, 0.001, 1e8),
        "hard_limit_s": (terms.hard_limit_s, 0.001, 1e8),
    }
    for name, (value, low, high) in ranges.items():
        if value is None:
            continue
        kind: Any = int if name in ("priority", "retries") else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            number = "a whole number" if kind is int else "a number"
            raise LabkitError(f"{name} = {value!r}", allowed=f"{number} from {low:g} to {high:g}")
    for name, moment in (("not_before", terms.not_before), ("expires", terms.expires)):
        if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
            raise LabkitError(
                f"{name} = {moment!r}",
                allowed="a datetime with time zone",
                fix="datetime.now(UTC) + timedelta(hours=1)",
            )
    if terms.expires is not None and terms.expires <= max(terms.not_before or now(), now()):
        raise LabkitError(f"expires = {terms.expires.isoformat()}", allowed="a moment after now and after not_before")
    for before in terms.after:
        state = RunState(rows.state(tx, before))
        if state in FINAL and state not in records.GOOD:
            raise NotFound(
                f"run {rows.seq(tx, before)} is {state}: nothing can wait for its completion",
                allowed="runs that are complete or may still be",
            )
