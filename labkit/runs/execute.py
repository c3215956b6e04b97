"""Executing a run in the caller's process: the synchronous short form of a job, through the same durable protocol."""

from __future__ import annotations

from typing import Any

from labkit.runs import knowledge, records
from labkit.runs.carry import block, carry_out, forecast, intend, reach
from labkit.runs.conclude import record_violations
from labkit.runs.endings import Case
from labkit.runs.heartbeat import beating
from labkit.runs.interrupts import held_back
from labkit.runs.lifecycle import FINAL, RunState
from labkit.runs.live import Live
from labkit.runs.orders import Order, Terms, incoming_wafers
from labkit.runs.recovery import break_off, fail, settle
from labkit.runs.submission import submit
from labkit.runs.watch import Report
from labkit.runs.workplace import Workplace
from labkit.store import jobs, tools
from labkit.store import runs as rows

_RETRIES = 3


def execute(place: Workplace, order: Order, report: Report = lambda percent, step: None) -> str:
    """Carry *order* out from SUBMITTED to a resting state; returns the run's id.

    A run that is refused ends REJECTED or BLOCKED with its reasons, without touching the tool.

    Where another run holds the tool, the run is left in the queue; a worker takes it when its turn comes.

    Raises
    ------
    LabkitError
        If the tool or the physics failed; the run is then FAILED, with the reason.
    """
    for found in settle(place):
        if found.running:
            with place.catalogue.begin() as tx:
                jobs.hand_over(tx, found.run)
    with place.catalogue.begin() as tx:
        run_id = submit(place, tx, order, Terms(), here=True)
        if RunState(rows.state(tx, run_id)) in FINAL:
            return run_id
        records.advance(tx, run_id, RunState.VALIDATING, RunState.PREFLIGHT)
        known = knowledge.recall(tx, order.process, order.recipe, tool=order.tool, origin=order.origin)
    place.active.add(run_id)
    live = Live(place, run_id, report)
    try:
        report(2.0, "predicting")
        wafer = incoming_wafers(place, order)
        expected, gate = forecast(place, order, wafer, known)
        reach(place, order)
        documents: dict[str, Any] = {"prediction": expected.prediction.document(), "preflight": gate.document()}
        with place.catalogue.begin() as tx:
            record_violations(tx, run_id, "preflight", gate.violations)
            if not gate.allowed:
                block(tx, run_id, gate, documents)
                return run_id
            if tools.holder(tx, order.tool) not in (None, run_id):
                records.advance(tx, run_id, RunState.QUEUED, **documents)
                jobs.change(tx, run_id, state="queued", worker=None, document=_queued(order), retries_left=_RETRIES)
                return run_id
            fence = intend(tx, place, order, run_id, RunState.QUEUED, **documents)
        with beating(place):
            carry_out(Case(place, order, run_id, wafer, expected, live), fence)
    except KeyboardInterrupt:
        with held_back():
            break_off(place, run_id)
        raise
    except BaseException as error:
        fail(place, order, run_id, error)
        raise
    finally:
        place.active.discard(run_id)
        live.close()
    report(100.0, "done")
    return run_id


def _queued(order: Order) -> dict[str, Any]:
    return {"incoming": dict(order.incoming), "here": False}
