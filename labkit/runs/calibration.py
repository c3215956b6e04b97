"""Handing in a calibration: a job like a run, on the tool alone, never repeated by itself."""

from __future__ import annotations

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.runs.lifecycle import RunState
from labkit.runs.orders import Terms
from labkit.runs.submission import check_terms, enqueue
from labkit.store import audit, jobs, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction


def submit_calibration(tx: Transaction, tool: str, channel: str, terms: Terms) -> str:
    """Queue the calibration of *channel* (a field of the tool's condition, such as ``"mfc_gain.SiH4"``); the run's id.

    Raises
    ------
    LabkitError
        If the tool has no such channel, or the terms make no sense.
    """
    check_terms(tx, terms)
    row = tools.get(tx, tool)
    process = registry.process(row["process"])
    try:
        process.condition_type().value(channel)
    except (LabkitError, AttributeError, TypeError, ValueError):
        raise LabkitError(
            f"{tool} has no channel {channel!r} to calibrate", allowed=", ".join(process.condition_type.model_fields)
        ) from None
    made = rows.create(
        tx,
        process=process.name,
        state=RunState.SUBMITTED.value,
        origin="simulated" if row["kind"] == "simulated" else "real",
        tool=tool,
        kind="calibration",
        recipe_name=f"calibration of {channel}",
    )
    document = {"channel": channel}
    enqueue(tx, made["id"], terms, type="CALIBRATION", queue=process.name, tool=tool, hazardous=True, document=document)
    audit.append(tx, "run.submit", made["id"], {"calibration": channel, "tool": tool})
    jobs.note(tx, made["id"], f"calibration of {channel} on {tool}")
    return str(made["id"])
