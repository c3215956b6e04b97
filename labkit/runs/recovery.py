"""After a crash: which runs lost the process that was carrying them out, and what their tool's ledger says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from labkit.core.errors import LabkitError, StoreError, ToolError
from labkit.core.tool import LedgerEntry, LedgerState
from labkit.devices.background import wait
from labkit.operations.tool_states import EquipmentState
from labkit.runs import knowledge, records
from labkit.runs.carry import follow, recalled, watch_of
from labkit.runs.conclude import put_away
from labkit.runs.endings import Case, finish
from labkit.runs.lifecycle import FINAL, MOVES, AttemptState, RunState
from labkit.runs.live import Live, kept_blocks
from labkit.runs.orders import Order, incoming_wafers, restore_order
from labkit.runs.workplace import Workplace
from labkit.store import audit, jobs, recovery, tables, tools
from labkit.store import runs as rows
from labkit.store.catalogue import Transaction

AT_TOOL = (RunState.RUNNING, RunState.PAUSED, RunState.EVALUATING)


@dataclass(frozen=True)
class Recovered:
    """What was done about one run; ``running`` if its tool still works on it and somebody must follow it."""

    run: str
    seq: int | None
    recipe: str
    words: str
    running: bool = False

    def __str__(self) -> str:
        return f"run {self.seq or self.run} ({self.recipe or 'in the catalogue'}): {self.words}"


def recover(place: Workplace, *, folders: bool = True) -> list[Recovered]:
    """Put right what dead processes left, half-written folders (with *folders*) and runs; returns what was done.

    A run that had not reached its tool goes back to the queue, or is CANCELLED if its caller was carrying it out
    itself. For one that may have, the tool's ledger decides: a finished run is judged and committed, one that is still
    going on waits to be followed, one that was never started is treated as above. Only where the tool lost the run, or
    cannot be asked, it is INTERRUPTED and waits for an engineer; it is never started again. A sweep is PAUSED, to be
    resumed. Runs of living processes are left alone.
    """
    if folders:
        recovery.recover(place.catalogue, place.folders)
    done = []
    for run_id, owner in abandoned(place).items():
        if run_id not in place.active and _take_over(place, run_id, owner):
            done += _resolved(place, run_id)
    return done


def _resolved(place: Workplace, run_id: str, code: str = "abandoned", message: str = "") -> list[Recovered]:
    """What :func:`resolve` did; where it failed, it is tried again later, and the other runs do not wait for this."""
    try:
        found = resolve(place, run_id, code=code, message=message)
    except LabkitError as error:
        place.unsettled[run_id] = (code, message)
        return [Recovered(run_id, None, "", f"cannot be brought to rest yet: {error}")]
    place.unsettled.pop(run_id, None)
    return [] if found is None else [found]


def settle(place: Workplace) -> list[Recovered]:
    """Write the end of every run of this process whose end could not be written when it came; returns what was done."""
    done: list[Recovered] = []
    for run_id, (code, message) in list(place.unsettled.items()):
        done += _resolved(place, run_id, code, message)
    return done


def forgotten(place: Workplace) -> list[Recovered]:
    """Bring jobs to rest that are this process's by the catalogue although none of its threads knows them: the answer
    to a commit was lost, say."""
    with place.catalogue.read() as tx:
        ours = [job for job in jobs.running(tx) if job["worker"] == place.owner and not job["document"].get("here")]
    done = []
    for job in ours:
        run_id = job["run"]
        if run_id in place.active or run_id in place.admitting or run_id in place.unsettled:
            continue
        if job["state"] == "submitted":
            with place.catalogue.begin() as tx:
                jobs.swap(tx, run_id, {"worker": place.owner, "state": "submitted"}, worker=None)
        else:
            done += _resolved(place, run_id)
    return done


def break_off(place: Workplace, run_id: str) -> None:
    """Stop a run of ours because whoever waits for it has had enough, and bring it to rest."""
    with place.catalogue.read() as tx:
        row = rows.get(tx, run_id)
    if RunState(row["state"]) in AT_TOOL:
        _ask_the_ledger(place, row, KeyboardInterrupt.__name__, "interrupted", stop=True)
    else:
        resolve(place, run_id, code=KeyboardInterrupt.__name__, message="interrupted")


def fail(place: Workplace, order: Order, run_id: str, error: BaseException) -> None:
    """Leave a run that raised in a state that says so.

    One that had not reached its tool fails here and now. One that had is in the tool's ledger, with everything it
    delivered: where its end cannot be written, on a full disk say, that is done before the next run.
    """
    message = str(error) or ("interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__)
    target = RunState.CANCELLED if isinstance(error, KeyboardInterrupt) else RunState.FAILED
    try:
        with place.catalogue.read() as tx:
            state = RunState(rows.state(tx, run_id))
        if target not in MOVES[state]:
            return
        if state in (RunState.RUNNING, RunState.PAUSED):
            raise StoreError("the end of the run is not written yet")
        put_away(place, order, run_id, target, reason=message, code=type(error).__name__)
    except LabkitError:
        place.unsettled[run_id] = (type(error).__name__, message)


def abandoned(place: Workplace) -> dict[str, str]:
    """Runs that some process was working on which is not alive any more, and which process that was."""
    with place.catalogue.read() as tx:
        elsewhere = {row["id"] for row in tools.listing(tx) if not place.tools.is_here(row)}
        owners = {row["run"]: row["worker"] for row in jobs.running(tx) if row["tool"] not in elsewhere}
        owners |= records.sweeps_at_work(tx)
        known = {row["id"]: row for row in tx.select(tables.workers)}
    dead: dict[str, bool] = {}
    for owner in set(owners.values()):
        dead[owner] = not alive(place, owner, known.get(owner))
    return {run: owner for run, owner in owners.items() if dead[owner]}


def alive(place: Workplace, owner: str, worker: Mapping[str, Any] | None = None) -> bool:
    """Whether the process called *owner* lives: it holds a lock file for as long as it does.

    One on another machine is known by its heartbeat in the catalogue (*worker*: its row there).
    """
    if owner == place.owner:
        return True
    path = place.folder / "locks" / f"{owner}.lock"
    if not path.exists():
        return worker is not None and worker["stopped"] is None and _heard_of(place, owner)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError as error:
        raise StoreError(f"lock {path} cannot be read ({error})", fix="check the lab folder's permissions") from None
    lock.release()
    path.unlink(missing_ok=True)
    return False


def _heard_of(place: Workplace, worker: str) -> bool:
    with place.catalogue.read() as tx:
        return jobs.silence_s(tx, worker) < place.settings.lost_s


def _take_over(place: Workplace, run_id: str, owner: str) -> bool:
    """Make a run of the dead *owner* ours, unless another process was faster."""
    with place.catalogue.begin() as tx:
        job = jobs.find(tx, run_id)
        if job is None:
            extra = rows.get(tx, run_id)["extra"] or {}
            if extra.get("owner") != owner:
                return False
            rows.update(tx, run_id, extra={**extra, "owner": place.owner})
            return True
        return jobs.swap(tx, run_id, {"worker": owner}, worker=place.owner)


def resolve(place: Workplace, run_id: str, *, code: str = "abandoned", message: str = "") -> Recovered | None:
    """Bring a run of ours that nobody is carrying out to rest, or say that it must be followed.

    *code* and *message* say how it failed, where that is known; None if it was at rest already.
    """
    with place.catalogue.read() as tx:
        row = rows.get(tx, run_id)
        job = jobs.find(tx, run_id)
    state = RunState(row["state"])
    if state in FINAL or state is RunState.ENGINEER_REVIEW:
        return None
    if job is None or job["type"] == "SIMULATION":
        words, running = _sweep(place, row), False
    elif job["type"] == "CALIBRATION" and state in AT_TOOL:
        words, running = (
            _unknowable(place, row, "the process calibrating it ended; the calibration is not known"),
            False,
        )
    elif state in AT_TOOL:
        words, running = _ask_the_ledger(place, row, code, message)
    else:
        words, running = _back(place, row, job, code, message), False
    return Recovered(run_id, row["seq"], str(row["recipe_name"]), words, running)


def adopt(place: Workplace, run_id: str) -> None:
    """Follow a run of ours that its tool is still working on to its end."""
    order = restore_order(place, run_id)
    live = Live(place, run_id)
    try:
        _followed(place, order, run_id, live, None)
    except Exception as error:
        place.unsettled[run_id] = ("abandoned", "")
        live.note(f"{type(error).__name__}: {error}", "warning")
    finally:
        live.close()


def _followed(
    place: Workplace, order: Order, run_id: str, live: Live, entry: LedgerEntry | None, *, stop_because: str = ""
) -> None:
    with place.catalogue.read() as tx:
        document = rows.get(tx, run_id)["prediction"]
        known = knowledge.recall(tx, order.process, order.recipe, tool=order.tool, origin=order.origin)
    wafer = incoming_wafers(place, order)
    expected = recalled(place, order, wafer, document, known)
    watch = watch_of(place, order, run_id, live)
    watch.restore(kept_blocks(place, run_id))
    if stop_because:
        watch.stop(stop_because)
    case = Case(place, order, run_id, wafer, expected, live)
    if entry is None:
        follow(case, watch)
    else:
        watch.collect()
        finish(case, watch.telemetry(), entry)


def _ask_the_ledger(
    place: Workplace, row: Mapping[str, Any], code: str, message: str, *, stop: bool = False
) -> tuple[str, bool]:
    """What the tool says about a run that may have been started, and its end if it is over there or is to *stop*.

    No older starter can reach the tool afterwards.
    """
    run_id = row["id"]
    order = restore_order(place, run_id)
    with place.catalogue.begin() as tx:
        fence = tools.lease(tx, order.tool, run_id)
        audit.append(tx, "run.recover", run_id, {"fence": fence})
    try:
        tool = place.tools.tool(order.tool)
        wait(tool.connect())
        wait(tool.fence(fence))
        entry = wait(tool.ledger(run_id))
    except ToolError as error:
        return _unknowable(place, row, f"its tool cannot be asked what became of it ({error})"), False
    if entry is None:
        with place.catalogue.read() as tx:
            job, started = jobs.get(tx, run_id), rows.was_acknowledged(tx, run_id)
        if started:
            return _unknowable(place, row, f"{order.tool} had started it and has lost its ledger"), False
        return _back(place, row, job, code, message), False
    if entry.state is LedgerState.RUNNING and not stop:
        return "its tool is still working on it", True
    live = Live(place, run_id)
    try:
        _followed(place, order, run_id, live, None if stop else entry, stop_because=message if stop else "")
    finally:
        live.close()
    with place.catalogue.read() as tx:
        return f"its tool had {entry.state} it: {rows.get(tx, run_id)['state']}", False


def _back(place: Workplace, row: Mapping[str, Any], job: Mapping[str, Any], code: str, message: str) -> str:
    """A run that never reached its tool goes back to the queue; one whose caller was carrying it out ends."""
    run_id, state = row["id"], RunState(row["state"])
    if job["document"].get("here") or (message and code != StoreError.__name__):
        reason = message or "the process that submitted it ended before the tool was started"
        target = RunState.FAILED if message and code != KeyboardInterrupt.__name__ else RunState.CANCELLED
        put_away(place, restore_order(place, run_id), run_id, target, reason=reason, code=code)
        return reason
    reason = "the worker that had it ended before the tool was started"
    with place.catalogue.begin() as tx:
        if state in AT_TOOL:
            records.advance(tx, run_id, RunState.QUEUED, reason=reason)
            records.end_attempt(tx, run_id, row["tool"], AttemptState.RETRYING, code="abandoned", message=reason)
            tools.set_state(tx, row["tool"], EquipmentState.STANDBY.value, reason=reason)
        elif row["tool"] is not None:
            tools.release(tx, row["tool"], run_id)
        waiting = {RunState.QUEUED: "queued", RunState.WAITING: "waiting"}
        here = RunState(rows.state(tx, run_id))
        jobs.change(tx, run_id, state=waiting.get(here, "submitted"), worker=None)
        audit.append(tx, "run.recover", run_id, {"reason": reason})
    return f"{reason}; it is queued again"


def _sweep(place: Workplace, row: Mapping[str, Any]) -> str:
    with place.catalogue.begin() as tx:
        job = jobs.find(tx, row["id"])
        reason = "the process computing it ended; "
        reason += "lab.sweep(…, resume=…) goes on with what is missing" if job is None else "a worker goes on with it"
        if rows.state(tx, row["id"]) == RunState.RUNNING.value:
            records.advance(tx, row["id"], RunState.PAUSED, reason=reason)
            audit.append(tx, "run.recover", row["id"], {"reason": reason})
        if job is not None:
            jobs.change(tx, row["id"], worker=None, state="queued" if job["state"] == "running" else job["state"])
    return reason


def _unknowable(place: Workplace, row: Mapping[str, Any], reason: str) -> str:
    """What cannot be known is for an engineer; the tool stays down until then."""
    with place.catalogue.begin() as tx:
        _interrupt(tx, row, reason)
    return reason


def _interrupt(tx: Transaction, row: Mapping[str, Any], reason: str) -> None:
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
    tools.set_state(tx, row["tool"], EquipmentState.UNSCHEDULED_DOWN.value, reason=f"run {row['seq']} interrupted")
    audit.append(tx, "run.recover", row["id"], {"reason": reason})
