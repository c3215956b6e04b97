import itertools

import pytest

from labkit.core.errors import IllegalTransition
from labkit.runs.lifecycle import ATTEMPT_MOVES, ATTEMPT_OF, FINAL, MOVES, AttemptState, RunState, move, move_attempt

# The whole table, written out a second time from the requirement: run state -> states it may become.
TABLE = {
    "SUBMITTED": "VALIDATING CANCELLED",
    "VALIDATING": "PREFLIGHT REJECTED CANCELLED FAILED",
    "PREFLIGHT": "QUEUED WAITING BLOCKED CANCELLED FAILED",
    "WAITING": "QUEUED CANCELLED FAILED",
    "QUEUED": "RUNNING PREFLIGHT CANCELLED FAILED",
    "RUNNING": "EVALUATING PAUSED QUEUED FAILED CANCELLED INTERRUPTED",
    "PAUSED": "RUNNING CANCELLED FAILED INTERRUPTED",
    "INTERRUPTED": "ENGINEER_REVIEW",
    "EVALUATING": "COMPLETED ANOMALY_FLAGGED FAILED",
    "ANOMALY_FLAGGED": "ENGINEER_REVIEW",
    "ENGINEER_REVIEW": "CLEARED ESCALATED",
    "ESCALATED": "CLEARED",
    "COMPLETED": "",
    "CLEARED": "",
    "REJECTED": "",
    "BLOCKED": "",
    "FAILED": "",
    "CANCELLED": "",
}


@pytest.mark.parametrize(("current", "target"), list(itertools.product(RunState, RunState)))
def test_every_pair_of_run_states_is_legal_or_refused_as_the_table_says(current, target):
    legal = TABLE[current].split()
    if target in legal:
        assert move(current, target) is target
    else:
        with pytest.raises(IllegalTransition) as caught:
            move(current, target)
        text = str(caught.value)
        assert f"a run that is {current} cannot become {target}" in text
        assert all(name in text for name in legal) if legal else "final" in text


@pytest.mark.parametrize(("current", "target"), list(itertools.product(AttemptState, AttemptState)))
def test_every_pair_of_attempt_states_is_legal_or_refused(current, target):
    legal = {
        "queued": "running cancelled failed",
        "running": "completed failed cancelled retrying",
        "retrying": "queued cancelled failed",
    }.get(current, "").split()
    if target in legal:
        assert move_attempt(current, target) is target
    else:
        with pytest.raises(IllegalTransition, match="an attempt that is"):
            move_attempt(current, target)


def test_the_seed_states_and_ours_all_exist_and_only_those():
    seed = [
        "SUBMITTED",
        "VALIDATING",
        "PREFLIGHT",
        "QUEUED",
        "RUNNING",
        "EVALUATING",
        "COMPLETED",
        "ANOMALY_FLAGGED",
        "ENGINEER_REVIEW",
        "CLEARED",
        "ESCALATED",
        "REJECTED",
        "BLOCKED",
        "FAILED",
        "CANCELLED",
    ]
    assert {s.value for s in RunState} == {*seed, "PAUSED", "WAITING", "INTERRUPTED"}


def test_every_state_can_be_reached_and_every_run_can_end():
    reached, frontier = {RunState.SUBMITTED}, [RunState.SUBMITTED]
    while frontier:
        for target in MOVES[frontier.pop()] - reached:
            reached.add(target)
            frontier.append(target)
    assert reached == set(RunState)
    ends = set(FINAL)
    while grown := {s for s in RunState if MOVES[s] & ends} - ends:
        ends |= grown
    assert ends == set(RunState)


def test_a_flagged_run_never_completes_without_an_engineer():
    assert MOVES[RunState.ANOMALY_FLAGGED] == {RunState.ENGINEER_REVIEW}
    assert MOVES[RunState.INTERRUPTED] == {RunState.ENGINEER_REVIEW}


def test_final_states_are_the_documented_ones():
    assert {s.value for s in FINAL} == {"COMPLETED", "CLEARED", "REJECTED", "BLOCKED", "FAILED", "CANCELLED"}


def test_attempt_states_map_onto_run_states():
    assert set(ATTEMPT_OF) == set(AttemptState) == set(ATTEMPT_MOVES)
    assert ATTEMPT_OF[AttemptState.RETRYING] is RunState.QUEUED
    assert ATTEMPT_OF[AttemptState.COMPLETED] is RunState.EVALUATING
