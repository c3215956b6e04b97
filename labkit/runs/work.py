"""What a worker does with one job: admit it to the queue, and carry it out when its turn has come."""

from __future__ import annotations

from typing import Any

from labkit.core.errors import LabkitError, StoreError, ToolBusy
from labkit.devices.background import wait
from labkit.operations.tool_states import EquipmentState
from labkit.runs import knowledge, records
from labkit.runs.carry import block, carry_out, forecast, intend, reach, recalled
from labkit.runs.conclude import record_violations
from labkit.runs.endings import Case, not_started
from labkit.runs.jobs import end_unstarted
from labkit.runs.lifecycle import AttemptState, RunState
from labkit.runs.live import Live
from labkit.runs.orders import incoming_wafers, restore_order, unfit
from labkit.runs.recovery import fail
from labkit.runs.submission import reject
from labkit.runs.sweep_job import compute_sweep
from labkit.runs.watch import Unstarted
from labkit.runs.workplace import Workplace
from labkit.store import audit, jobs, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now


def admit(place: Workplace, run_id: str) -> None:
    """Predict a submitted run and check it at the gate: it is QUEUED, WAITING for others, BLOCKED or REJECTED."""
    place.admitting.add(run_id)
    try:
        with place.catalogue.begin(durable=False) as tx:
            if not jobs.take(tx, run_id, place.owner, states=("submitted",)):
                return
            job = jobs.get(tx, run_id)
        if job["type"] == "RUN":
            _admit_run(place, run_id)
        else:
            _admit_other(place, run_id)
    except StoreError:
        raise  # it is given back to the queue as soon as the store can be written
    except LabkitError as error:
        with place.catalogue.begin() as tx:
            reason = str(error)
            records.advance(
                tx,
                run_id,
                RunState.FAILED,
                reason=reason,
                error_code=type(error).__name__,
                error_message=reason,
                ended=now(),
            )
    finally:
        place.admitting.discard(run_id)


def _admit_run(place: Workplace, run_id: str) -> None:
    order = restore_order(place, run_id)
    with place.catalogue.begin(durable=False) as tx:
        if rows.state(tx, run_id) == RunState.SUBMITTED.value:
            records.advance(tx, run_id, RunState.VALIDATING)
        unfitting = unfit(tx, order, now_up=False)
        if unfitting is not None:
            reject(tx, run_id, str(unfitting))
            return
        if rows.state(tx, run_id) == RunState.VALIDATING.value:
            records.advance(tx, run_id, RunState.PREFLIGHT)
        known = knowledge.recall(tx, order.process, order.recipe, tool=order.tool, origin=order.origin)
    wafer = order.process.incoming_wafers(order.recipe)
    expected, gate = forecast(place, order, wafer, known)
    documents: dict[str, Any] = {"prediction": expected.prediction.document(), "preflight": gate.document()}
    with place.catalogue.begin() as tx:
        outstanding = records.outstanding(tx, run_id)
        if rows.state(tx, run_id) != RunState.PREFLIGHT.value or _cancelled(tx, run_id):
            return
        if records.cancel_if_hopeless(tx, run_id, outstanding):
            return
        record_violations(tx, run_id, "preflight", gate.violations)
        if not gate.allowed:
            block(tx, run_id, gate, documents)
            return
        records.advance(tx, run_id, RunState.WAITING if outstanding else RunState.QUEUED, **documents)
        jobs.change(tx, run_id, state="waiting" if outstanding else "queued", worker=None, admission=known.mark)


def _admit_other(place: Workplace, run_id: str) -> None:
    """Sweeps and calibrations need no prediction."""
    with place.catalogue.begin() as tx:
        outstanding = records.outstanding(tx, run_id)
        if _cancelled(tx, run_id) or records.cancel_if_hopeless(tx, run_id, outstanding):
            return
        state, waits = RunState(rows.state(tx, run_id)), bool(outstanding)
        target = RunState.WAITING if waits else RunState.QUEUED
        on_the_way = {
            RunState.SUBMITTED: (RunState.VALIDATING, RunState.PREFLIGHT, target),
            RunState.VALIDATING: (RunState.PREFLIGHT, target),
            RunState.PREFLIGHT: (target,),
        }
        if state in on_the_way:
            records.advance(tx, run_id, *on_the_way[state])
            jobs.change(tx, run_id, state="waiting" if waits else "queued", worker=None)


def _cancelled(tx: Transaction, run_id: str) -> bool:
    """Whether somebody has cancelled a run that no tool has seen; it is over then, and its tool free."""
    job = jobs.get(tx, run_id)
    if job["cancelled_by"] is None:
        return False
    end_unstarted(tx, run_id, f"cancelled by {job['cancelled_by']}", code="cancelled")
    if job["tool"] is not None:
        tools.release(tx, job["tool"], run_id)
    return True


def claim(place: Workplace, run_id: str) -> tuple[int, float] | None:
    """Take a queued job and lease its tool: fence (0 without a tool) and share of a GPU; None if somebody else was
    faster."""
    try:
        with place.catalogue.begin(durable=False) as tx:
            queue = jobs.get(tx, run_id)["queue"]
            most = place.settings.queue_limits.get(queue)
            if most is not None:
                tx.exclusive(f"queue/{queue}")
                if jobs.at_work(tx, queue) >= most:
                    return None
            job = jobs.get(tx, run_id)
            if jobs.is_overtaking(tx, job) or not jobs.take(tx, run_id, place.owner):
                return None
            leased = job["tool"] is not None
            fence = tools.lease(tx, job["tool"], run_id) if leased else 0
            return fence, float(job["gpu_share"])
    except ToolBusy:
        return None


def work(place: Workplace, run_id: str, fence: int) -> None:
    """Carry a claimed job out to a resting state; what goes wrong is in its record, not raised."""
    with place.catalogue.read() as tx:
        kind = jobs.get(tx, run_id)["type"]
    if kind == "SIMULATION":
        compute_sweep(place, run_id)
    elif kind == "CALIBRATION":
        _calibrate(place, run_id, fence)
    else:
        _run(place, run_id, fence)


def _run(place: Workplace, run_id: str, fence: int) -> None:
    order = restore_order(place, run_id)
    live = Live(place, run_id)
    try:
        live.progress(1.0, "predicting", RunState.PREFLIGHT.value)
        wafer = incoming_wafers(place, order)
        with place.catalogue.read() as tx:
            row, job = rows.get(tx, run_id), jobs.get(tx, run_id)
            known = knowledge.recall(tx, order.process, order.recipe, tool=order.tool, origin=order.origin)
        if job["cancelled_by"] is not None:
            with place.catalogue.begin() as tx:
                _cancelled(tx, run_id)
            return
        try:
            reach(place, order)
        except Unstarted as error:
            not_started(place, order, run_id, error, live)
            return
        if known.mark == job["admission"]:
            expected = recalled(place, order, wafer, row["prediction"], known)
            with place.catalogue.begin() as tx:
                intend(tx, place, order, run_id, fence=fence)
        else:
            expected, gate = forecast(place, order, wafer, known)
            documents: dict[str, Any] = {"prediction": expected.prediction.document(), "preflight": gate.document()}
            with place.catalogue.begin() as tx:
                if not gate.allowed:
                    records.advance(tx, run_id, RunState.PREFLIGHT)
                    record_violations(tx, run_id, "preflight", gate.violations)
                    block(tx, run_id, gate, documents)
                    tools.release(tx, order.tool, run_id)
                    return
                again = (RunState.PREFLIGHT, RunState.QUEUED)
                intend(tx, place, order, run_id, *again, fence=fence, **documents)
        carry_out(Case(place, order, run_id, wafer, expected, live), fence)
    except Unstarted:
        pass  # what becomes of it has been written where that was found
    except Exception as error:
        fail(place, order, run_id, error)
    finally:
        live.close()


def _calibrate(place: Workplace, run_id: str, fence: int) -> None:
    """Calibrate a tool's channel; the correction found is the run's result."""
    with place.catalogue.begin() as tx:
        row, job = rows.get(tx, run_id), jobs.get(tx, run_id)
        records.advance(tx, run_id, RunState.RUNNING, started=now())
        jobs.change(tx, run_id, state="running")
        records.begin_attempt(tx, run_id, row["tool"], place.owner, fence=fence)
        tools.set_state(tx, row["tool"], EquipmentState.ENGINEERING.value, reason=f"run {row['seq']}: calibration")
    channel = job["document"]["channel"]
    try:
        tool = place.tools.tool(row["tool"])
        wait(tool.connect())
        found = wait(tool.calibrate(channel))
    except LabkitError as error:
        _calibrated(place, run_id, RunState.FAILED, AttemptState.FAILED, str(error), {})
        return
    _calibrated(place, run_id, RunState.COMPLETED, AttemptState.COMPLETED, "", {channel: found})


def _calibrated(
    place: Workplace, run_id: str, target: RunState, attempt: AttemptState, reason: str, found: dict[str, float]
) -> None:
    with place.catalogue.begin() as tx:
        row = rows.get(tx, run_id)
        states = (RunState.EVALUATING, target) if target is RunState.COMPLETED else (target,)
        records.advance(
            tx, run_id, *states, reason=reason, error_message=reason or None, ended=now(), progress=100.0, step=""
        )
        records.end_attempt(tx, run_id, row["tool"], attempt, message=reason or None)
        rows.record_results(tx, run_id, [{"name": name, "value": value} for name, value in found.items()])
        tools.set_state(tx, row["tool"], EquipmentState.STANDBY.value, reason=reason)
        audit.append(tx, "tool.calibrate", row["tool"], found)
