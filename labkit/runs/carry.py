"""Carrying a run out at its tool, to a resting state: intent, start, acknowledgement, outcome.

The order of effects is the same whoever carries it out. The intent (run RUNNING, tool leased, fence) is committed
before the tool is started; the start is in the tool's ledger before anything moves; what the tool delivered is
committed before the tool may forget it. So after any crash the ledger decides, and the end may be tried again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labkit.core.errors import LabkitError, ToolError
from labkit.core.tool import Clock
from labkit.devices.background import wait
from labkit.operations.tool_states import EquipmentState
from labkit.runs import knowledge, records
from labkit.runs.conclude import Expectation
from labkit.runs.endings import Case, finish, not_started
from labkit.runs.gate import check
from labkit.runs.lifecycle import RunState
from labkit.runs.live import Live
from labkit.runs.orders import BLANKS, Order
from labkit.runs.predict import Prediction
from labkit.runs.preflight import Preflight
from labkit.runs.watch import TimeLimits, Unstarted, Watch, Wishes
from labkit.runs.workplace import Workplace
from labkit.store import audit, jobs, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr


def forecast(
    place: Workplace, order: Order, wafer: xr.Dataset, known: knowledge.Knowledge
) -> tuple[Expectation, Preflight]:
    """Prediction and gate of *order* for the wafers *wafer*, with what is *known* about its tool."""
    limits = known.limits(order.process, order.recipe, tool=order.tool, product=order.product)
    ready = place.forecasts.of_blanks(order.process, order.recipe, wafer) if order.incoming == BLANKS else None
    level = place.settings.prediction_level
    prediction, gate = check(order.process, order.recipe, wafer, known, limits, level, ready)
    return Expectation(prediction, known, limits), gate


def recalled(
    place: Workplace, order: Order, wafer: xr.Dataset, document: Any, known: knowledge.Knowledge
) -> Expectation:
    """The expectation that was stored when the run started."""
    limits = known.limits(order.process, order.recipe, tool=order.tool, product=order.product)
    if order.incoming == BLANKS:
        dataset = place.forecasts.of_blanks(order.process, order.recipe, wafer)
    else:
        dataset = order.process.simulate(order.recipe, wafer)
    return Expectation(replace(Prediction.from_document(document), dataset=dataset), known, limits)


def block(tx: Transaction, run_id: str, gate: Preflight, documents: dict[str, Any]) -> None:
    """End a run that the gate does not let through."""
    reasons = "; ".join(gate.reasons)
    records.advance(
        tx,
        run_id,
        RunState.BLOCKED,
        reason=reasons,
        ended=now(),
        error_code="blocked",
        error_message=reasons,
        **documents,
    )
    audit.append(tx, "run.block", run_id, {"reasons": list(gate.reasons)})


def intend(
    tx: Transaction,
    place: Workplace,
    order: Order,
    run_id: str,
    *states: RunState,
    fence: int | None = None,
    **changes: Any,
) -> int:
    """Commit to starting *run_id* on its tool: lease, attempt and state in the caller's transaction; returns the
    fence."""
    records.advance(tx, run_id, *states, RunState.RUNNING, started=now(), **changes)
    ours = fence is None or tools.holder(tx, order.tool) == run_id
    if not jobs.swap(tx, run_id, {"worker": place.owner}, state="running") or not ours:
        raise Unstarted(f"run {run_id} has been taken over by another worker")
    held = records.begin_attempt(tx, run_id, order.tool, place.owner, fence=fence)
    tools.set_state(tx, order.tool, EquipmentState.PRODUCTIVE.value, reason=f"run {run_id}")
    return held


def reach(place: Workplace, order: Order) -> None:
    """Take hold of the order's tool before anything is promised.

    Raises
    ------
    Unstarted
        If it cannot be reached.
    """
    try:
        tool = place.tools.tool(order.tool)
        wait(tool.connect())
        _release_earlier(place, order)
    except ToolError as error:
        raise Unstarted(error.what, allowed=error.allowed, fix=error.fix) from error


def _release_earlier(place: Workplace, order: Order) -> None:
    """Let the tool forget the run before, if a crash came between its commit and its release; once per process."""
    if order.tool in place.relieved:
        return
    with place.catalogue.read() as tx:
        earlier = rows.last_with_folder(tx, tool=order.tool)
    entry = None if earlier is None else wait(place.tools.tool(order.tool).ledger(earlier))
    if entry is not None and not entry.released:
        wait(place.tools.tool(order.tool).release(entry.run_id))
    place.relieved.add(order.tool)


def carry_out(case: Case, fence: int) -> None:
    """Start a run whose intent is committed, follow it and bring it to rest.

    Raises
    ------
    LabkitError
        If the physics or the store failed; its end can then be tried again from the ledger.
    """
    watch = watch_of(case.place, case.order, case.run_id, case.live)
    try:
        watch.start(case.wafer, fence)
    except Unstarted as error:
        not_started(case.place, case.order, case.run_id, error, case.live)
        raise
    case.live.progress(5.0, "running")
    with suppress(LabkitError), case.place.catalogue.begin(durable=False) as tx:
        rows.acknowledge_attempt(tx, case.run_id)
        jobs.note(tx, case.run_id, f"started on {case.order.tool} under fence {fence}")
    follow(case, watch)


def watch_of(place: Workplace, order: Order, run_id: str, live: Live) -> Watch:
    """A watch over *run_id* that heeds what people ask for in the catalogue."""
    with place.catalogue.read() as tx:
        job = jobs.get(tx, run_id)
        row = rows.get(tx, run_id)
        clock = Clock.model_validate(tools.get(tx, order.tool)["config"].get("clock", {}))
    since = (now() - row["started"]).total_seconds() if row["started"] is not None else 0.0
    settings = place.settings
    limits = TimeLimits(
        job["soft_limit_s"] or settings.soft_limit_s,
        job["hard_limit_s"] or settings.hard_limit_s,
        patience_s(clock, order, settings.stale_s),
    )
    return Watch(
        order.process,
        order.recipe,
        place.tools.tool(order.tool),
        run_id,
        live,
        wishes=lambda: wishes(place, run_id),
        paused=lambda held: _held(place, run_id, held, live),
        limits=limits,
        held=row["state"] == RunState.PAUSED.value,
        spent_s=min(max(since, 0.0), limits.hard_s),
    )


def patience_s(clock: Clock, order: Order, stale_s: float) -> float:
    """How long a tool may deliver nothing new, s: as the settings say, but several samples of a slow simulated clock;
    one that moves only when it is told to is never late."""
    if clock.mode == "stepped":
        return float("inf")
    return max(stale_s, 5.0 * order.process.sample_period_s / clock.scale) if clock.mode == "paced" else stale_s


def wishes(place: Workplace, run_id: str) -> Wishes:
    """What people want of a run now; while the catalogue cannot be read, nothing new."""
    with suppress(LabkitError), place.catalogue.read() as tx:
        job = jobs.get(tx, run_id)
        return Wishes(job["cancelled_by"], job["paused"])
    return Wishes()


def follow(case: Case, watch: Watch) -> None:
    """Follow a started run to its end and bring it to rest."""
    entry = watch.attend()
    case.live.progress(96.0, "judging", RunState.EVALUATING.value)
    finish(case, watch.telemetry(), entry, watch.stopped_because, gave_up=watch.gave_up)


def _held(place: Workplace, run_id: str, held: bool, live: Live) -> None:
    target = RunState.PAUSED if held else RunState.RUNNING
    with place.catalogue.begin() as tx:
        if rows.state(tx, run_id) != target.value:
            records.advance(tx, run_id, target, reason="held at the tool" if held else "goes on")
    live.note("paused" if held else "resumed")
