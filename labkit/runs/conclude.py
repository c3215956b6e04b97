"""The end of a run: judged and learned from if it went to its end, put away with its data if it did not.

The finished folder is published before the row that makes it part of the run, and that row is the commit. Only then
is the tool told that it may forget the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from labkit.core.limits import Limit, Violation
from labkit.operations.cost import Rates, run_cost
from labkit.operations.tool_states import EquipmentState
from labkit.runs import knowledge, records
from labkit.runs.interrupts import held_back
from labkit.runs.judge import Judgement, fault_signatures, judge
from labkit.runs.learn import Correction, Lesson, lesson, steer
from labkit.runs.lifecycle import AttemptState, RunState
from labkit.runs.orders import Order
from labkit.runs.predict import Prediction
from labkit.runs.workplace import Workplace
from labkit.store import audit, learning, tables, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Expectation:
    """What was known and expected when the run started."""

    prediction: Prediction
    known: knowledge.Knowledge
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Outcome:
    """What a tool gave back for a run: telemetry, the wafers themselves, and metrology."""

    telemetry: xr.Dataset
    wafer: xr.Dataset
    measured: xr.Dataset


@dataclass(frozen=True)
class _Verdict:
    measured: Mapping[str, float]
    judgement: Judgement
    taught: Lesson
    correction: Correction | None
    seconds: float


def conclude(
    place: Workplace, order: Order, run_id: str, wafer: xr.Dataset, expected: Expectation, outcome: Outcome
) -> Judgement:
    """Judge a run that went to its end, learn from it, and commit it; *wafer* is what went into the tool."""
    measured = order.process.summarise(order.recipe, outcome.measured, outcome.telemetry)
    physics = expected.prediction.physics
    judgement, charts = judge(
        order.process,
        order.recipe,
        measured,
        physics,
        expected.limits,
        expected.known.charts,
        expected.known.state,
        lambda sizes: fault_signatures(order.process, order.recipe, wafer, physics, sizes),
    )
    steering, correction = steer(order.process, order.recipe, wafer, judgement, physics, expected.known.steering)
    seconds = float(outcome.telemetry["time"][-1]) if outcome.telemetry.sizes["time"] else 0.0
    taught = lesson(order.process, order.recipe, judgement)
    verdict = _Verdict(measured, judgement, taught, correction, seconds)
    document = {
        **_document(place, order, run_id),
        "prediction": expected.prediction.document(),
        "judgement": judgement.document(),
        "measured": measured,
    }
    fields = {"measured": outcome.measured, "wafer": outcome.wafer}
    if expected.prediction.dataset is not None:
        fields["prediction"] = expected.prediction.dataset
    with held_back(), place.folders.stage(run_id, document, telemetry=outcome.telemetry, fields=fields) as staged:
        staged.publish(place.catalogue.holds)
        with place.catalogue.begin() as tx:
            _commit(tx, order, run_id, expected.prediction, verdict)
            knowledge.remember(tx, order.process, order.recipe, order.tool, order.origin, charts, steering, run_id)
            rows.commit_folder(tx, run_id, staged.folder, staged.checksum)
    return judgement


def put_away(
    place: Workplace,
    order: Order,
    run_id: str,
    *targets: RunState,
    reason: str,
    code: str,
    telemetry: xr.Dataset | None = None,
    wafer: xr.Dataset | None = None,
    tool_state: EquipmentState = EquipmentState.STANDBY,
) -> None:
    """End a run that did not go to its end in *targets*, with what the tool has delivered of it."""
    attempt = AttemptState.CANCELLED if targets[-1] is RunState.CANCELLED else AttemptState.FAILED

    def commit(tx: Transaction) -> None:
        records.advance(
            tx, run_id, *targets, reason=reason, error_code=code, error_message=reason, ended=now(), step=""
        )
        if tools.get(tx, order.tool)["leased_run"] == run_id:
            tools.set_state(tx, order.tool, tool_state.value, reason=f"run {rows.seq(tx, run_id)}: {reason}")
        records.end_attempt(tx, run_id, order.tool, attempt, code=code, message=reason)
        audit.append(tx, "run.end", run_id, {"state": targets[-1].value, "reason": reason})

    with held_back():
        if telemetry is None or not telemetry.sizes.get("time"):
            with place.catalogue.begin() as tx:
                commit(tx)
            return
        document = {**_document(place, order, run_id), "ended": targets[-1].value, "reason": reason}
        fields = {} if wafer is None else {"wafer": wafer}
        with place.folders.stage(run_id, document, telemetry=telemetry, fields=fields) as staged:
            staged.publish(place.catalogue.holds)
            with place.catalogue.begin() as tx:
                commit(tx)
                rows.commit_folder(tx, run_id, staged.folder, staged.checksum)
                if wafer is not None:
                    _wafers_are_in(tx, order, run_id)


def record_violations(tx: Transaction, run_id: str, stage: str, broken: tuple[Violation, ...]) -> None:
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


def _document(place: Workplace, order: Order, run_id: str) -> dict[str, Any]:
    with place.catalogue.read() as tx:
        operator = rows.get(tx, run_id)["operator"]
    return {
        "run": run_id,
        "recipe": order.recipe.model_dump(mode="json"),
        "process": order.recipe.process,
        "tool": order.tool,
        "origin": order.origin,
        "lot": order.lot,
        "product": order.product,
        "wafers": [list(w) for w in order.wafers],
        "operator": operator if place.principal.authenticated else f"{operator} (unauthenticated)",
    }


def _commit(tx: Transaction, order: Order, run_id: str, prediction: Prediction, verdict: _Verdict) -> None:
    judgement, measured = verdict.judgement, verdict.measured
    flagged = judgement.verdict != "pass"
    final = (RunState.ANOMALY_FLAGGED, RunState.ENGINEER_REVIEW) if flagged else (RunState.COMPLETED,)
    config = tools.get(tx, order.tool)["config"]
    rates = Rates.model_validate(config.get("rates", {}))
    records.advance(
        tx,
        run_id,
        RunState.EVALUATING,
        *final,
        reason=judgement.headline if flagged else "",
        verdict=judgement.verdict,
        judgement=judgement.document(),
        ended=now(),
        duration_s=verdict.seconds,
        progress=100.0,
        step="",
        cost=run_cost(rates, seconds=verdict.seconds, wafers=len(order.wafers)),
        currency=rates.currency,
        qualified=bool(judgement.z),
        seed=config.get("seed"),
        provenance=_provenance(prediction),
    )
    records.end_attempt(tx, run_id, order.tool, AttemptState.COMPLETED)
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
    record_violations(tx, run_id, "result", judgement.violations)
    learning.add_training_row(
        tx,
        run_id,
        family=order.family,
        inputs=verdict.taught.inputs,
        outputs=verdict.taught.outputs,
        excluded=verdict.taught.excluded,
        reason=verdict.taught.reason,
    )
    if verdict.correction is not None:
        knowledge.propose(tx, order.recipe, order.tool, order.family, run_id, verdict.correction)
    _wafers_are_in(tx, order, run_id)
    tools.set_state(tx, order.tool, EquipmentState.STANDBY.value)
    audit.append(tx, "run.finish", run_id, {"verdict": judgement.verdict, "headline": judgement.headline})


def _wafers_are_in(tx: Transaction, order: Order, run_id: str) -> None:
    """Point the wafers of *order* to the run that left them as they are now."""
    if order.wafers:
        names = [wafer for wafer, _ in order.wafers]
        tx.execute(sa.update(tables.wafers).where(tables.wafers.c.id.in_(names)).values(state_run=run_id))


def _provenance(prediction: Prediction) -> dict[str, Any]:
    if prediction.dataset is None:
        return {}
    return {
        key: prediction.dataset.attrs[key]
        for key in ("versions", "device", "references", "illustrative", "seed")
        if key in prediction.dataset.attrs
    }
