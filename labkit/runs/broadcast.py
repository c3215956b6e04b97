"""A lab's runs as streams: the messages of one run, whoever carries it out and whether it is over or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from labkit.runs.lifecycle import FINAL, RunState
from labkit.runs.messages import (
    Cancelled,
    CancelledData,
    Completed,
    CompletedData,
    Error,
    ErrorData,
    Message,
)
from labkit.runs.stream import Final, Status, follow, follow_async
from labkit.runs.workplace import Workplace
from labkit.store import runs as rows

_RESTING = frozenset({*FINAL, RunState.ENGINEER_REVIEW, RunState.ESCALATED})


def messages(
    place: Workplace, run_id: str, *, after: int = 0, buffer: int = 1000, stop: Callable[[], bool] | None = None
) -> Iterator[Message]:
    """The messages of *run_id* beyond sequence *after*, to its end; see :func:`labkit.runs.stream.follow`."""
    status, final = _by_the_catalogue(place, run_id)
    return follow(place.journals, run_id, after=after, buffer=buffer, status=status, final=final, stop=stop)


def messages_async(place: Workplace, run_id: str, *, after: int = 0, buffer: int = 1000) -> AsyncIterator[Message]:
    """As :func:`messages`, for an event loop."""
    status, final = _by_the_catalogue(place, run_id)
    return follow_async(place.journals, run_id, after=after, buffer=buffer, status=status, final=final)


def _by_the_catalogue(place: Workplace, run_id: str) -> tuple[Status, Final]:
    def status() -> tuple[str, float]:
        with place.catalogue.read() as tx:
            row = rows.get(tx, run_id)
        return row["state"], row["progress"]

    def final() -> Message | None:
        return last_message(place, run_id)

    return status, final


def last_message(place: Workplace, run_id: str) -> Message | None:
    """What the catalogue has to say about the end of a run; None while it is not at rest."""
    with place.catalogue.read() as tx:
        row = rows.get(tx, run_id)
        results = rows.results(tx, row["id"])
    state = RunState(row["state"])
    if state not in _RESTING:
        return None
    when = {"timestamp": row["ended"] or row["created"], "sequence": 0}
    if state is RunState.CANCELLED:
        return Cancelled(**when, data=CancelledData(message=row["error_message"] or "cancelled"))
    if row["verdict"] is None and state is not RunState.COMPLETED:
        data = ErrorData(error_message=row["error_message"] or state.value, error_code=row["error_code"])
        return Error(**when, data=data)
    judgement = row["judgement"] or {}
    told = CompletedData(
        status=state.value,
        verdict=row["verdict"],
        results={name: one["value"] for name, one in results.items()},
        headline=judgement.get("headline", ""),
        folder=row["folder"],
    )
    return Completed(**when, data=told)
