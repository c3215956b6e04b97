"""After a crash: which runs lost the process that was executing them, and what becomes of them."""

from __future__ import annotations

from filelock import FileLock, Timeout

from labkit.core.errors import StoreError
from labkit.operations.tool_states import EquipmentState
from labkit.runs import records
from labkit.runs.lifecycle import AttemptState, RunState
from labkit.runs.workplace import Workplace
from labkit.store import audit, recovery, tools
from labkit.store import runs as rows


def recover(place: Workplace) -> list[str]:
    """Put right what dead processes left; returns what was done, in words.

    A run that had not reached its tool is CANCELLED. One whose tool had been started is INTERRUPTED and waits for an
    engineer: what the wafers are cannot be known, so it is never started again. A sweep is PAUSED, to be resumed. Runs
    of living processes are left alone.
    """
    done = [str(line) for line in recovery.recover(place.catalogue, place.folders)]
    with place.catalogue.read() as tx:
        candidates = records.unfinished(tx)
    for run in candidates:
        if not _abandoned(place, run["id"]):
            continue
        with place.catalogue.begin() as tx:
            row = rows.get(tx, run["id"])
            if row["state"] != run["state"]:
                continue
            if row["kind"] == "sweep":
                if row["state"] != RunState.RUNNING.value:
                    continue
                reason = "the process computing it ended; lab.sweep(…, resume=…) goes on with what is missing"
                records.advance(tx, row["id"], RunState.PAUSED, reason=reason)
            elif row["state"] in (RunState.RUNNING.value, RunState.PAUSED.value, RunState.EVALUATING.value):
                reason = "the process executing it ended; what the tool did since cannot be known from here"
                if row["state"] == RunState.EVALUATING.value:
                    records.advance(tx, row["id"], RunState.FAILED, reason=reason)
                else:
                    records.advance(
                        tx,
                        row["id"],
                        RunState.INTERRUPTED,
                        RunState.ENGINEER_REVIEW,
                        reason=reason,
                        error_code="interrupted",
                        error_message=reason,
                    )
                records.end_attempt(tx, row["id"], row["tool"], AttemptState.FAILED, code="interrupted", message=reason)
                if row["tool"] is not None:
                    tools.set_state(
                        tx, row["tool"], EquipmentState.UNSCHEDULED_DOWN.value, reason=f"run {row['seq']} interrupted"
                    )
            else:
                reason = "the process that submitted it ended before the tool was started"
                records.advance(
                    tx, row["id"], RunState.CANCELLED, reason=reason, error_code="abandoned", error_message=reason
                )
            audit.append(tx, "run.recover", row["id"], {"reason": reason})
            done.append(f"run {row['seq']} ({row['recipe_name']}): {reason}")
    return done


def _abandoned(place: Workplace, run_id: str) -> bool:
    """Whether no living process owns the run. The owner holds a lock file for as long as it lives."""
    with place.catalogue.read() as tx:
        owner = rows.get(tx, run_id)["extra"] or {}
    name = owner.get("owner")
    if name is None:
        return True
    path = place.folder / "locks" / f"{name}.lock"
    if name == place.owner:
        return False
    if not path.exists():
        return True
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as error:
        raise StoreError(f"lock {path} cannot be read ({error})", fix="check the lab folder's permissions") from None
    lock.release()
    path.unlink(missing_ok=True)
    return True
