"""Executing a run in the caller's process: predicted, gated, carried out, judged, learned from, committed.

The order of effects is the same as for a run that a worker carries out: the intent is committed before the tool is
started, the finished folder is published before the row that makes it part of the run, and that row is the commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from labkit.core.errors import LabkitError, StoreError, ToolError
from labkit.core.limits import Limit, Violation
from labkit.core.process import Process
from labkit.core.recipe import Recipe, RecipeStatus
from labkit.core.tool import ToolState
from labkit.devices.background import wait
from labkit.devices.simulated import SimulatedTool
from labkit.operations.cost import Rates, run_cost
from labkit.operations.tool_states import UPTIME, EquipmentState
from labkit.runs import knowledge, records
from labkit.runs.gate import check
from labkit.runs.interrupts import held_back
from labkit.runs.judge import Judgement, fault_signatures, judge
from labkit.runs.learn import Correction, Lesson, lesson, steer
from labkit.runs.lifecycle import MOVES, AttemptState, RunState
from labkit.runs.predict import Prediction
from labkit.runs.watch import Outcome, Report, carry_out
from labkit.runs.workplace import Workplace
from labkit.store import audit, learning, tables, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Order:
    """What is asked for: a recipe on a tool for wafers, and the passport data that goes with it."""

    process: Process
    recipe: Recipe
    tool: SimulatedTool
    tool_kind: str
    wafer: xr.Dataset
    wafers: tuple[tuple[str, int], ...]
    lot: str | None = None
    product: str | None = None
    chamber: str | None = None
    recipe_status: RecipeStatus = RecipeStatus.DRAFT

    @property
    def origin(self) -> str:
        """Trust label of the run's data."""
        return "simulated" if self.tool_kind == "simulated" else "real"

    @property
    def family(self) -> str:
        """Recipe family, whose runs share a baseline and a residual model."""
        return self.process.family(self.recipe)


def execute(place: Workplace, order: Order, report: Report = lambda percent, step: None) -> str:
    """Carry *order* out from SUBMITTED to a resting state; returns the run's id.

    A run that is refused ends REJECTED or BLOCKED with its reasons, without touching the tool.

    Raises
    ------
    LabkitError
        If the tool or the physics failed; the run is then FAILED, with the reason.
    """
    refusal = _refusal(order)
    settle(place)
    with place.catalogue.begin() as tx:
        refusal = refusal or _down(tx, order)
        run_id = records.submit(
            tx,
            order.recipe,
            tool=order.tool.name,
            origin=order.origin,
            wafers=list(order.wafers),
            lot=order.lot,
            product=order.product,
            chamber=order.chamber,
            kind="run",
            extra={"owner": place.owner},
        )
        if refusal is not None:
            records.advance(
                tx,
                run_id,
                RunState.VALIDATING,
                RunState.REJECTED,
                reason=str(refusal),
                error_code="rejected",
                error_message=str(refusal),
                ended=now(),
            )
            return run_id
        records.advance(tx, run_id, RunState.VALIDATING, RunState.PREFLIGHT)
        known = knowledge.recall(tx, order.process, order.recipe, tool=order.tool.name, origin=order.origin)
        limits = known.limits(order.process, order.recipe, tool=order.tool.name, product=order.product)
    try:
        report(2.0, "predicting")
        prediction, gate = check(
            order.process, order.recipe, order.wafer, known, limits, place.settings.prediction_level
        )
        with place.catalogue.begin() as tx:
            _record_violations(tx, run_id, "preflight", gate.violations)
            documents: dict[str, Any] = {"prediction": prediction.document(), "preflight": gate.document()}
            if not gate.allowed:
                records.advance(
                    tx,
                    run_id,
                    RunState.BLOCKED,
                    reason="; ".join(gate.reasons),
                    ended=now(),
                    error_code="blocked",
                    error_message="; ".join(gate.reasons),
                    **documents,
                )
                audit.append(tx, "run.block", run_id, {"reasons": list(gate.reasons)})
                return run_id
            records.advance(tx, run_id, RunState.QUEUED, RunState.RUNNING, started=now(), **documents)
            fence = records.begin_attempt(tx, run_id, order.tool.name, place.owner)
            tools.set_state(tx, order.tool.name, EquipmentState.PRODUCTIVE.value, reason=f"run {run_id}")
        outcome = carry_out(order.process, order.recipe, order.tool, order.wafer, run_id, fence, report)
        report(96.0, "judging")
        _conclude(place, order, run_id, prediction, known, limits, outcome)
    except BaseException as error:
        _fail(place, order, run_id, error)
        raise
    report(100.0, "done")
    return run_id


def _refusal(order: Order) -> LabkitError | None:
    """Why the order cannot be accepted at all, before any physics."""
    if order.recipe.process != order.tool.process:
        return ToolError(f"{order.tool.name} is a {order.tool.process} tool", allowed=f"{order.tool.process} recipes")
    if order.tool_kind != "simulated" and order.recipe_status is not RecipeStatus.APPROVED:
        return ToolError(
            f"recipe {order.recipe.name!r} is a {order.recipe_status}; a real tool runs approved recipes only",
            fix="have it approved by somebody other than its author",
        )
    if order.tool_kind != "simulated":
        return ToolError(
            f"{order.tool.name} is a {order.tool_kind} tool and no driver for it is installed",
            allowed="simulated tools",
            fix="run on a simulated tool; its data would not be this tool's",
        )
    unknown = [name for name in order.recipe.required_interlocks if name not in order.process.interlocks]
    if unknown:
        return ToolError(
            f"{order.tool.name} has no interlock {', '.join(unknown)}",
            allowed=", ".join(order.process.interlocks) or "none",
            fix="correct required_interlocks",
        )
    return None


def _down(tx: Transaction, order: Order) -> ToolError | None:
    """Why the tool takes no run now, if somebody or a crash has taken it down."""
    state = EquipmentState(tools.get(tx, order.tool.name)["state"])
    if state in UPTIME:
        return None
    return ToolError(
        f"{order.tool.name} is {state.label}",
        allowed="a tool that is up",
        fix=f'clear the run that waits for an engineer, or lab.set_tool_state("{order.tool.name}", "standby")',
    )


def _conclude(
    place: Workplace,
    order: Order,
    run_id: str,
    prediction: Prediction,
    known: knowledge.Knowledge,
    limits: tuple[Limit, ...],
    outcome: Outcome,
) -> None:
    measured = order.process.summarise(order.recipe, outcome.measured, outcome.telemetry)
    judgement, charts = judge(
        order.process,
        order.recipe,
        measured,
        prediction.physics,
        limits,
        known.charts,
        known.state,
        lambda sizes: fault_signatures(order.process, order.recipe, order.wafer, prediction.physics, sizes),
    )
    taught = lesson(order.process, order.recipe, judgement)
    steering, correction = steer(
        order.process, order.recipe, order.wafer, judgement, prediction.physics, known.steering
    )
    seconds = float(outcome.telemetry["time"][-1]) if outcome.telemetry.sizes["time"] else 0.0
    summary = {
        "run": run_id,
        "recipe": order.recipe.model_dump(mode="json"),
        "process": order.recipe.process,
        "tool": order.tool.name,
        "origin": order.origin,
        "lot": order.lot,
        "product": order.product,
        "wafers": [list(w) for w in order.wafers],
        "prediction": prediction.document(),
        "judgement": judgement.document(),
        "measured": measured,
        "operator": place.principal.signature,
    }
    fields = {"measured": outcome.measured, "wafer": outcome.wafer}
    if prediction.dataset is not None:
        fields["prediction"] = prediction.dataset
    with held_back(), place.folders.stage(run_id, summary, telemetry=outcome.telemetry, fields=fields) as staged:
        staged.publish()
        with place.catalogue.begin() as tx:
            _commit(tx, place, order, run_id, judgement, measured, prediction, taught, correction, seconds)
            knowledge.remember(tx, order.process, order.recipe, order.tool.name, order.origin, charts, steering, run_id)
            rows.commit_folder(tx, run_id, staged.folder, staged.checksum)


def _commit(
    tx: Transaction,
    place: Workplace,
    order: Order,
    run_id: str,
    judgement: Judgement,
    measured: Mapping[str, float],
    prediction: Prediction,
    taught: Lesson,
    correction: Correction | None,
    seconds: float,
) -> None:
    flagged = judgement.verdict != "pass"
    final = (RunState.ANOMALY_FLAGGED, RunState.ENGINEER_REVIEW) if flagged else (RunState.COMPLETED,)
    rates = Rates.model_validate(tools.get(tx, order.tool.name)["config"].get("rates", {}))
    records.advance(
        tx,
        run_id,
        RunState.EVALUATING,
        *final,
        reason=judgement.headline if flagged else "",
        verdict=judgement.verdict,
        judgement=judgement.document(),
        ended=now(),
        duration_s=seconds,
        progress=100.0,
        step="",
        cost=run_cost(rates, seconds=seconds, wafers=len(order.wafers)),
        currency=rates.currency,
        qualified=bool(judgement.z),
        seed=order.tool.seed,
        provenance=_provenance(prediction),
    )
    records.end_attempt(tx, run_id, order.tool.name, AttemptState.COMPLETED)
    units = {i.name: i.units for i in order.process.indicators}
    rows.record_results(
        tx,
        run_id,
        [
            {
                "name": name,
                "value": value,
                "expected": prediction.values.get(name),
                "residual": judgement.residuals.get(name),
                "units": units.get(name, "1"),
            }
            for name, value in measured.items()
        ],
    )
    _record_violations(tx, run_id, "result", judgement.violations)
    learning.add_training_row(
        tx,
        run_id,
        family=order.family,
        inputs=taught.inputs,
        outputs=taught.outputs,
        excluded=taught.excluded,
        reason=taught.reason,
    )
    if correction is not None:
        knowledge.propose(tx, order.recipe, order.tool.name, order.family, run_id, correction)
    if order.wafers:
        tx.execute(
            sa.update(tables.wafers)
            .where(tables.wafers.c.id.in_([w for w, _ in order.wafers]))
            .values(state_run=run_id)
        )
    tools.set_state(tx, order.tool.name, EquipmentState.STANDBY.value)
    audit.append(tx, "run.finish", run_id, {"verdict": judgement.verdict, "headline": judgement.headline})


def _fail(place: Workplace, order: Order, run_id: str, error: BaseException) -> None:
    """Leave a run that raised in a state that says so, and the tool in its safe state.

    Where even that cannot be written, on a full disk say, it is written before the next run.
    """
    with held_back():
        state = wait(order.tool.status())
        if state.run_id == run_id and state.state in (ToolState.RUNNING, ToolState.PAUSED):
            wait(order.tool.stop())
        message = str(error) or ("interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__)
        place.unsettled[run_id] = (type(error).__name__, message)
        with suppress(StoreError):
            settle(place)


def settle(place: Workplace) -> None:
    """Write the end of every run of this process that has failed and is not yet recorded as failed.

    Raises
    ------
    StoreError
        If the catalogue still cannot be written.
    """
    for run_id, (code, message) in list(place.unsettled.items()):
        target = RunState.CANCELLED if code == KeyboardInterrupt.__name__ else RunState.FAILED
        with place.catalogue.begin() as tx:
            row = rows.get(tx, run_id)
            if target in MOVES[RunState(row["state"])]:
                records.advance(tx, run_id, target, reason=message, error_code=code, error_message=message, ended=now())
                if row["state"] == RunState.RUNNING.value:
                    attempt = AttemptState.CANCELLED if target is RunState.CANCELLED else AttemptState.FAILED
                    records.end_attempt(tx, run_id, row["tool"], attempt, code=code, message=message)
                    tools.set_state(tx, row["tool"], EquipmentState.STANDBY.value, reason=message)
                audit.append(tx, "run.fail", run_id, {"error": message})
        del place.unsettled[run_id]


def _record_violations(tx: Transaction, run_id: str, stage: str, broken: tuple[Violation, ...]) -> None:
    """Keep every broken limit of a run, with the stage at which it was seen."""
    rows.record_violations(
        tx,
        run_id,
        [
            {
                "quantity": v.limit.quantity,
                "severity": v.limit.severity.value,
                "value": v.value,
                "low": v.limit.low,
                "high": v.limit.high,
                "units": v.limit.units,
                "stage": stage,
                "message": str(v),
            }
            for v in broken
        ],
    )


def _provenance(prediction: Prediction) -> dict[str, Any]:
    if prediction.dataset is None:
        return {}
    return {
        key: prediction.dataset.attrs[key]
        for key in ("versions", "device", "references", "illustrative", "seed")
        if key in prediction.dataset.attrs
    }
