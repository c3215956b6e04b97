"""The states of a run and of its attempts, and the only moves between them.

A *run* is what a person asked for. An *attempt* is one try at executing it; a run that is retried has several.
While an attempt is ``queued`` or ``retrying`` its run is QUEUED; ``running`` means RUNNING; ``completed`` leads the run
to EVALUATING, ``failed`` to FAILED (or back to QUEUED when it is retried), ``cancelled`` to CANCELLED.

A run that has waited in the queue goes through PREFLIGHT once more if what the lab knows about its tool has changed
since it was let through.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from labkit.core.errors import IllegalTransition


class RunState(StrEnum):
    """States of a run."""

    SUBMITTED = "SUBMITTED"
    VALIDATING = "VALIDATING"
    PREFLIGHT = "PREFLIGHT"
    WAITING = "WAITING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    INTERRUPTED = "INTERRUPTED"
    EVALUATING = "EVALUATING"
    COMPLETED = "COMPLETED"
    ANOMALY_FLAGGED = "ANOMALY_FLAGGED"
    ENGINEER_REVIEW = "ENGINEER_REVIEW"
    CLEARED = "CLEARED"
    ESCALATED = "ESCALATED"
    REJECTED = "REJECTED"
    BLOCKED = "BLOCKED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class AttemptState(StrEnum):
    """States of one attempt at a run."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


S = TypeVar("S", RunState, AttemptState)
_R, _A = RunState, AttemptState

MOVES: dict[RunState, frozenset[RunState]] = {
    _R.SUBMITTED: frozenset({_R.VALIDATING, _R.CANCELLED}),
    _R.VALIDATING: frozenset({_R.PREFLIGHT, _R.REJECTED, _R.CANCELLED, _R.FAILED}),
    _R.PREFLIGHT: frozenset({_R.QUEUED, _R.WAITING, _R.BLOCKED, _R.CANCELLED, _R.FAILED}),
    _R.WAITING: frozenset({_R.QUEUED, _R.CANCELLED, _R.FAILED}),
    _R.QUEUED: frozenset({_R.RUNNING, _R.PREFLIGHT, _R.CANCELLED, _R.FAILED}),
    _R.RUNNING: frozenset({_R.EVALUATING, _R.PAUSED, _R.QUEUED, _R.FAILED, _R.CANCELLED, _R.INTERRUPTED}),
    _R.PAUSED: frozenset({_R.RUNNING, _R.CANCELLED, _R.FAILED, _R.INTERRUPTED}),
    _R.INTERRUPTED: frozenset({_R.ENGINEER_REVIEW}),
    _R.EVALUATING: frozenset({_R.COMPLETED, _R.ANOMALY_FLAGGED, _R.FAILED}),
    _R.ANOMALY_FLAGGED: frozenset({_R.ENGINEER_REVIEW}),
    _R.ENGINEER_REVIEW: frozenset({_R.CLEARED, _R.ESCALATED}),
    _R.ESCALATED: frozenset({_R.CLEARED}),
    _R.COMPLETED: frozenset(),
    _R.CLEARED: frozenset(),
    _R.REJECTED: frozenset(),
    _R.BLOCKED: frozenset(),
    _R.FAILED: frozenset(),
    _R.CANCELLED: frozenset(),
}
"""Legal moves of a run. A run without moves left is final."""

ATTEMPT_MOVES: dict[AttemptState, frozenset[AttemptState]] = {
    _A.QUEUED: frozenset({_A.RUNNING, _A.CANCELLED, _A.FAILED}),
    _A.RUNNING: frozenset({_A.COMPLETED, _A.FAILED, _A.CANCELLED, _A.RETRYING}),
    _A.RETRYING: frozenset({_A.QUEUED, _A.CANCELLED, _A.FAILED}),
    _A.COMPLETED: frozenset(),
    _A.FAILED: frozenset(),
    _A.CANCELLED: frozenset(),
}
"""Legal moves of an attempt."""

FINAL = frozenset(state for state, moves in MOVES.items() if not moves)
"""States that a run never leaves. ESCALATED is not among them: whoever it was escalated to clears it."""

ATTEMPT_OF: dict[AttemptState, RunState] = {
    _A.QUEUED: _R.QUEUED,
    _A.RETRYING: _R.QUEUED,
    _A.RUNNING: _R.RUNNING,
    _A.COMPLETED: _R.EVALUATING,
    _A.FAILED: _R.FAILED,
    _A.CANCELLED: _R.CANCELLED,
}
"""The run state that the latest attempt's state stands for."""


def move(current: RunState, target: RunState) -> RunState:
    """*target*, if a run in *current* may go there.

    Raises
    ------
    IllegalTransition
        Naming the legal moves.
    """
    return _move(current, target, MOVES, "a run")


def move_attempt(current: AttemptState, target: AttemptState) -> AttemptState:
    """*target*, if an attempt in *current* may go there.

    Raises
    ------
    IllegalTransition
        Naming the legal moves.
    """
    return _move(current, target, ATTEMPT_MOVES, "an attempt")


def _move(current: S, target: S, moves: dict[S, frozenset[S]], what: str) -> S:
    legal = moves[current]
    if target not in legal:
        raise IllegalTransition(
            f"{what} that is {current} cannot become {target}",
            allowed=", ".join(sorted(legal)) or f"nothing: {current} is final",
        )
    return target
