"""How a run at a tool comes to rest: judged, stopped, lost, or never started. What the tool's ledger says decides."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from labkit.core.errors import LabkitError, ToolError
from labkit.core.tool import LedgerEntry, LedgerState
from labkit.devices.background import wait
from labkit.operations.tool_states import EquipmentState
from labkit.runs import records
from labkit.runs.conclude import Expectation, Outcome, conclude, put_away
from labkit.runs.lifecycle import AttemptState, RunState
from labkit.runs.live import Live
from labkit.runs.orders import Order
from labkit.runs.tool_room import SimulatedHandle
from labkit.runs.workplace import Workplace
from labkit.store import jobs, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr

LONGEST_BACKOFF_S = 3_600.0
"""The pause between two tries never grows beyond this, s."""


@dataclass(frozen=True)
class Case:
    """One run at work: where, what is asked, which wafers went in, what is expected of it, and who is told."""

    place: Workplace
    order: Order
    run_id: str
    wafer: xr.Dataset
    expected: Expectation
    live: Live

    @property
    def tool(self) -> SimulatedHandle:
        """The tool that it is at."""
        return self.place.tools.tool(self.order.tool)


def finish(
    case: Case, telemetry: xr.Dataset, entry: LedgerEntry, stopped_because: str | None = None, *, gave_up: bool = False
) -> None:
    """Bring a run that is over at the tool to rest, as the ledger's *entry* says, and let the tool forget it.

    *stopped_because* says why it was stopped, where that is known, and *gave_up* whether that was a failure rather than
    somebody's wish.
    """
    if entry.state is LedgerState.DONE:
        _done(case, telemetry)
    elif entry.state is LedgerState.STOPPED:
        _stopped(case, telemetry, stopped_because, gave_up)
    else:
        why = entry.reason or "its process ended"
        _lost(case, telemetry, f"{case.order.tool} lost the run: {why}; what the wafers are is not known")
    release(case)


def release(case: Case) -> None:
    """Let the tool forget a run that is committed; one it remembers a little longer does no harm."""
    with suppress(ToolError):
        wait(case.tool.release(case.run_id))


def _done(case: Case, telemetry: xr.Dataset) -> None:
    place, run_id = case.place, case.run_id
    with place.catalogue.read() as tx:
        held = rows.state(tx, run_id) == RunState.PAUSED.value
    if held:
        with place.catalogue.begin() as tx:
            records.advance(tx, run_id, RunState.RUNNING, reason="went on at the tool")
    outcome = Outcome(telemetry, wait(case.tool.unload(run_id)), wait(case.tool.measure(run_id)))
    try:
        judgement = conclude(place, case.order, run_id, case.wafer, case.expected, outcome)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        reason, code = f"judging failed: {type(error).__name__}: {error}", type(error).__name__
        put_away(
            place,
            case.order,
            run_id,
            RunState.FAILED,
            reason=reason,
            code=code,
            telemetry=telemetry,
            wafer=outcome.wafer,
        )
        case.live.error(reason, code)
        release(case)
        raise
    if case.live.is_open:
        with place.catalogue.read() as tx:
            row = rows.get(tx, run_id)
            kept = rows.results(tx, run_id)
        results = {name: one["value"] for name, one in kept.items() if one["value"] is not None}
        told = {"verdict": judgement.verdict, "headline": judgement.headline, "folder": row["folder"]}
        case.live.completed(row["state"], results=results, **told)


def _stopped(case: Case, telemetry: xr.Dataset, because: str | None, gave_up: bool) -> None:
    try:
        wafer = wait(case.tool.unload(case.run_id))
    except ToolError as error:
        _lost(case, telemetry, f"{case.order.tool} was stopped and then lost the run: {error}")
        return
    latched = wait(case.tool.status()).latched
    reason = because or ("emergency stop at the tool" if latched else "stopped at the tool")
    failed = latched or gave_up
    put_away(
        case.place,
        case.order,
        case.run_id,
        RunState.FAILED if failed else RunState.CANCELLED,
        reason=reason,
        code="emergency_stop" if latched else "stopped",
        telemetry=telemetry,
        wafer=wafer,
        tool_state=_state_after(failed),
    )
    if failed:
        case.live.error(reason, "stopped")
    else:
        case.live.cancelled(reason)


def _lost(case: Case, telemetry: xr.Dataset, reason: str) -> None:
    """What cannot be known is for an engineer; the tool stays down until then."""
    put_away(
        case.place,
        case.order,
        case.run_id,
        RunState.INTERRUPTED,
        RunState.ENGINEER_REVIEW,
        reason=reason,
        code="interrupted",
        telemetry=telemetry,
        tool_state=EquipmentState.UNSCHEDULED_DOWN,
    )
    case.live.error(reason, "interrupted")


def not_started(place: Workplace, order: Order, run_id: str, error: LabkitError, live: Live) -> None:
    """The tool never started the run: try again later, if the terms allow it, or let it fail.

    A tool whose emergency stop is latched goes down, and its jobs wait without spending their retries.
    """
    latched = is_latched(place, order.tool)
    with place.catalogue.begin() as tx:
        rows.get(tx, run_id)  # the run before its job, as everybody who locks both
        job = jobs.get(tx, run_id)
        who, retries = job["cancelled_by"], job["retries_left"]
        if who is None and not job["document"].get("here") and (retries > 0 or latched):
            delay = 0.0 if latched else min(job["backoff_s"] * 2 ** (job["retries"] - retries), LONGEST_BACKOFF_S)
            later = "when the tool is up again" if latched else f"again in {delay:g} s"
            if rows.state(tx, run_id) != RunState.QUEUED.value:
                records.advance(tx, run_id, RunState.QUEUED, reason=f"not started: {error}; {later}")
            records.end_attempt(tx, run_id, order.tool, AttemptState.RETRYING, code="unstarted", message=str(error))
            left = retries if latched else retries - 1
            due = now() + timedelta(seconds=delay)
            jobs.change(tx, run_id, state="queued", worker=None, retries_left=left, not_before=due)
            jobs.note(tx, run_id, f"not started: {error}; {later}", "warning")
            _after_no_start(tx, order, latched)
            return
    target, reason = (RunState.FAILED, str(error)) if who is None else (RunState.CANCELLED, f"cancelled by {who}")
    put_away(place, order, run_id, target, reason=reason, code="unstarted", tool_state=_state_after(latched))
    (live.error if who is None else live.cancelled)(reason)


def is_latched(place: Workplace, tool: str) -> bool:
    """Whether an emergency stop holds *tool*; not, as far as anybody knows, while it cannot be asked."""
    with suppress(ToolError):
        return wait(place.tools.tool(tool).status()).latched
    return False


def _state_after(trouble: bool) -> EquipmentState:
    return EquipmentState.UNSCHEDULED_DOWN if trouble else EquipmentState.STANDBY


def _after_no_start(tx: Transaction, order: Order, latched: bool) -> None:
    present = EquipmentState(tools.get(tx, order.tool)["state"])
    if latched or present is EquipmentState.PRODUCTIVE:
        reason = "emergency stop is latched" if latched else "not started"
        tools.set_state(tx, order.tool, _state_after(latched).value, reason=reason)
