"""People's decisions about a tool's health: freezing its baseline, clearing a flagged run, restarting the charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.operations.tool_states import EquipmentState
from labkit.runs import knowledge, records
from labkit.runs.judge import Charts
from labkit.runs.lifecycle import RunState
from labkit.runs.workplace import Workplace
from labkit.store import audit, learning, tables, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction


def freeze(place: Workplace, tool: str, run_ids: Sequence[str], by: str) -> str:
    """Freeze the baseline of *tool* from the runs named and start its charts; returns the baseline's id.

    Raises
    ------
    LabkitError
        If the runs are too few, not all of this tool and one family, or one of them was flagged.
    """
    fewest = 5
    with place.catalogue.begin() as tx:
        table = tables.training_rows
        taught = {row["run"]: row for row in tx.select(table, table.c.tool == tool, table.c.run.in_(list(run_ids)))}
        missing = [run for run in run_ids if run not in taught]
        if missing or len(taught) < fewest:
            raise LabkitError(
                f"{len(taught)} of {len(run_ids)} runs can qualify {tool}",
                allowed=f"at least {fewest} judged runs of this tool",
                fix="run more, or name the right ones",
            )
        flagged = [row["run"] for row in taught.values() if row["excluded"]]
        if flagged:
            raise LabkitError(
                f"{len(flagged)} of the runs were flagged", fix="leave them out: a baseline is made of healthy runs"
            )
        families = {(row["process"], row["family"], row["origin"]) for row in taught.values()}
        if len(families) != 1:
            raise LabkitError(f"the runs are of {len(families)} recipe families", allowed="one family per baseline")
        name, family, origin = families.pop()
        process = registry.process(name)
        residuals = {
            i.name: [_number(taught[run]["outputs"].get(i.name)) for run in run_ids] for i in process.indicators
        }
        charts = Charts.design(process, residuals, place.settings.false_alarm_rate)
        baseline = learning.freeze_baseline(
            tx, tool=tool, process=name, family=family, document=charts.document(), qualified_by=by
        )
        knowledge.restart_charts(tx, family, tool, origin)
        audit.append(tx, "tool.qualify", tool, {"baseline": baseline, "family": family, "runs": list(run_ids)})
    return baseline


def clear(place: Workplace, run_id: str, reason: str, *, restart_charts: bool) -> None:
    """Clear a run in ENGINEER_REVIEW (or ESCALATED), with the engineer's reason; optionally restart the tool's
    charts."""
    with place.catalogue.begin() as tx:
        row = rows.get(tx, run_id)
        records.advance(tx, run_id, RunState.CLEARED, reason=reason)
        if row["tool"] is not None and _took_down(tx, row):
            tools.set_state(tx, row["tool"], EquipmentState.STANDBY.value, reason=f"run {row['seq']} cleared: {reason}")
        if restart_charts and row["tool"] is not None:
            process = registry.process(row["process"])
            family = process.family(process.parse(row["recipe"]))
            knowledge.restart_charts(tx, family, row["tool"], row["origin"])
        audit.append(tx, "run.clear", run_id, {"reason": reason, "restart_charts": restart_charts})


def _took_down(tx: Transaction, row: Mapping[str, Any]) -> bool:
    """Whether the tool is down because this run was interrupted on it, and no other such run waits."""
    waiting = tx.select(
        tables.runs,
        tables.runs.c.tool == row["tool"],
        tables.runs.c.error_code == "interrupted",
        tables.runs.c.state.in_([RunState.ENGINEER_REVIEW.value, RunState.ESCALATED.value]),
    )
    down = tools.get(tx, row["tool"])["state"] == EquipmentState.UNSCHEDULED_DOWN.value
    return row["error_code"] == "interrupted" and down and not waiting


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
