"""Templates and schedules at work: a stored set of terms becomes a job, by hand or when its time has come.

A due schedule is handed in, and its next time moved on, in one transaction: after a crash either both have happened or
neither, and of several workers one is first. The next time only ever moves forward, so a clock that is set back repeats
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from labkit.core import registry
from labkit.core.errors import LabkitError, NotFound, ToolError
from labkit.core.identity import Principal, Role
from labkit.core.process import Process
from labkit.core.recipe import Recipe, RecipeStatus
from labkit.core.wire import unpack_dataset
from labkit.operations.policy import process_permission, require
from labkit.runs.orders import BLANKS, Order, Terms, refusal, status_of, unfit
from labkit.runs.submission import submit
from labkit.runs.timetable import following, latest, zone
from labkit.runs.workplace import Workplace
from labkit.store import audit, jobs, passport, plans, recipes, tables, tools
from labkit.store import runs as rows
from labkit.store.artifacts import Artifacts
from labkit.store.catalogue import Catalogue, Row, Transaction
from labkit.store.clock import moment as read_moment
from labkit.store.clock import now

NUMBERS = ("priority", "soft_limit_s", "hard_limit_s", "retries", "backoff_s", "gpu_share")
"""Terms of a job that a template keeps as they are."""
PLACEHOLDERS = ("date", "time", "number")
"""What may stand in braces in a schedule's lot: the date (2026-11-20) and time (0200) that the run was due, in the
schedule's time zone, and how many runs the schedule has handed in, this one included."""


def recipe_document(tx: Transaction, recipe: Recipe) -> dict[str, Any]:
    """How a template remembers *recipe*: by name and version if exactly that is stored, else by its content."""
    stored = [(row["name"], row["version"]) for row in recipes.by_hash(tx, recipe.content_hash)]
    if (recipe.name, recipe.version) in stored:
        return {"name": recipe.name, "version": recipe.version}
    return {"process": recipe.process, "document": recipe.model_dump(mode="json")}


def recipe_of(tx: Transaction, kept: Mapping[str, Any]) -> Recipe:
    """The recipe that a template remembers.

    Raises
    ------
    NotFound
        If it is not stored any more.
    LabkitError
        If it has been retired.
    """
    if "document" in kept:
        process, document = kept["process"], kept["document"]
    else:
        row = recipes.get(tx, kept["name"], kept["version"])
        process, document = row["process"], row["document"]
    recipe = registry.process(process).parse({**document, "status": "draft"})
    if status_of(tx, recipe) is RecipeStatus.RETIRED:
        raise LabkitError(
            f"recipe {recipe.name!r} version {recipe.version} is retired",
            allowed="drafts and approved recipes",
            fix="save the template again with the version that took its place",
        )
    return recipe


def order_of(place: Workplace, document: Mapping[str, Any]) -> Order:
    """What the terms in *document* order, with the recipe and the tool as they are now.

    Raises
    ------
    LabkitError
        If recipe, tool or wafers are gone, or the principal may not create runs.
    """
    with place.catalogue.read() as tx:
        recipe = recipe_of(tx, document["recipe"])
        process = registry.process(recipe.process)
        tool = document.get("tool") or _only_tool(tx, process.name)
        incoming, lot = document.get("incoming", BLANKS), document.get("lot")
        if incoming["kind"] == "run":
            lot = lot or rows.get(tx, incoming["run"])["lot"]
        return Order(
            process,
            recipe,
            tool,
            tools.get(tx, tool)["kind"],
            _passports(place, tx, process, recipe, incoming, lot),
            lot,
            document.get("product"),
            document.get("chamber"),
            status_of(tx, recipe),
            incoming,
        )


def terms_of(document: Mapping[str, Any], *, template: str | None = None, schedule: str | None = None) -> Terms:
    """The terms in *document*, counted from now."""
    numbers = {name: document[name] for name in NUMBERS if document.get(name) is not None}
    times = {name: _time(document[name]) for name in ("not_before", "expires") if document.get(name) is not None}
    after = tuple(document.get("after", ()))
    return Terms(after=after, template=template, schedule=schedule, **{"retries": 3, **numbers, **times})


def submit_from(place: Workplace, document: Mapping[str, Any], *, template: str) -> str:
    """Hand in what *document* says, which came from *template*; returns the run's id."""
    order = order_of(place, document)
    require(place.catalogue.principal, process_permission(order.process.name, "create_run"))
    with place.catalogue.begin() as tx:
        return submit(place, tx, order, terms_of(document, template=template))


def lot_of(pattern: str | None, due: datetime, here: ZoneInfo, number: int) -> str | None:
    """The lot of a run that was *due*, the schedule's *number*-th."""
    local = due.astimezone(here)
    known = {"date": f"{local:%Y-%m-%d}", "time": f"{local:%H%M}", "number": str(number)}
    return None if pattern is None else re.sub(r"\{(\w*)\}", lambda found: known[found[1]], pattern)


def fire_due(place: Workplace, moment: datetime | None = None) -> list[str]:
    """Hand in the job of every schedule whose time has come at *moment* (default: now); returns the runs' ids.

    A schedule whose time came more than once while nobody was there is handed in once. One that cannot be handed in,
    because its recipe is retired or its tool is gone, says so in its ``problem`` and is tried again at its next time.

    Raises
    ------
    StoreError
        If the catalogue cannot be written now; nothing is lost then, the next call does it.
    """
    moment = moment or now()
    with place.catalogue.read() as tx:
        found = plans.due(tx, moment)
    handed_in = []
    for row in found:
        try:
            run_id = _fire(place, row, moment)
        except Exception as error:
            if isinstance(error.__cause__, sa.exc.OperationalError):
                raise
            _fail(place, row, moment, error)
        else:
            handed_in += [run_id] if run_id is not None else []
    return handed_in


def _fire(place: Workplace, row: Row, moment: datetime) -> str | None:
    """Hand one due schedule in, unless another worker was first; the run's id."""
    here, due = zone(row["timezone"]), row["next_at"]
    newest = max(latest(row["cron"], row["timezone"], moment) or due, due)
    catalogue = _as_author(place.catalogue, row["author"])
    with catalogue.read() as tx:
        document = dict(plans.template(tx, row["template"])["document"])
    number = int(row["document"].get("number", 0)) + 1
    lot = lot_of(row["document"].get("lot"), newest, here, number)
    order = order_of(place, {**document, **({"lot": lot} if lot is not None else {})})
    require(catalogue.principal, process_permission(order.process.name, "create_run"))
    said = f"schedule {row['name']!r}, due {_shown(newest, here)}"
    missed = f"nobody was there from {_shown(due, here)} on: handed in once for all of it" if newest > due else None
    with catalogue.begin() as tx:
        if not _still_due(tx, row):
            return None
        refused = refusal(order) or unfit(tx, order, now_up=False)
        if refused is not None:
            raise refused
        run_id = submit(place, tx, order, terms_of(document, template=row["template"], schedule=row["name"]))
        jobs.note(tx, run_id, said + (f"; {missed}" if missed else ""))
        plans.change_schedule(
            tx,
            row["name"],
            next_at=following(row["cron"], row["timezone"], max(moment, newest)),
            last_at=moment,
            last_run=run_id,
            problem=missed,
            document={**row["document"], "number": number},
        )
        return run_id


def _fail(place: Workplace, row: Row, moment: datetime, error: Exception) -> None:
    """Say what is wrong with a schedule, and go on to its next time; without one it is disabled."""
    name, due = row["name"], row["next_at"]
    said = str(error) if isinstance(error, LabkitError) else f"{type(error).__name__}: {error}"
    with place.catalogue.begin() as tx:
        if not _still_due(tx, row):
            return
        try:
            changes = {"next_at": following(row["cron"], row["timezone"], max(moment, due)), "enabled": True}
        except LabkitError:
            changes = {"next_at": None, "enabled": False}
        plans.change_schedule(tx, name, problem=f"due {due:%Y-%m-%d %H:%M} UTC, not handed in: {said}", **changes)
        audit.append(tx, "schedule.problem", name, {"due": due.isoformat(), "reason": said})


def _still_due(tx: Transaction, seen: Row) -> bool:
    """Whether a schedule is as it was *seen*; from here on it stays so until the transaction ends."""
    row = plans.find_schedule(tx, seen["name"])
    return (
        row is not None and row["enabled"] and (row["next_at"], row["template"]) == (seen["next_at"], seen["template"])
    )


def _as_author(catalogue: Catalogue, author: str) -> Catalogue:
    """The catalogue as whoever made the schedule sees it: runs are handed in in that name, under that role."""
    if author == catalogue.principal.user:
        return catalogue
    with catalogue.read() as tx:
        known = tx.find(tables.users, name=author)
    role = catalogue.principal.role if known is None else Role(known["role"])
    return catalogue.as_principal(Principal(author, catalogue.principal.organisation, role))


def _only_tool(tx: Transaction, process: str) -> str:
    found = [str(row["id"]) for row in tools.listing(tx, process=process)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(f"no tool runs {process}", fix=f'lab.add_tool("NAME", "{process}")')
    raise ToolError(
        f"{len(found)} tools run {process}",
        allowed=", ".join(found),
        fix=f'save the template again with tool="{found[0]}"',
    )


def _passports(
    place: Workplace, tx: Transaction, process: Process, recipe: Recipe, incoming: Mapping[str, Any], lot: str | None
) -> tuple[tuple[str, int], ...]:
    if incoming["kind"] == "run":
        known = passport.wafers_of(tx, incoming["run"])
        return tuple((wafer, slot) for wafer, slot in known.items() if slot is not None)
    if lot is None:
        return ()
    if incoming["kind"] == "artifact":
        load = unpack_dataset(Artifacts(place.folder).get(tx, incoming["sha256"]))
    else:
        load = process.incoming_wafers(recipe)
    return tuple((f"{lot}-W{int(slot):02d}", int(slot)) for slot in load["slot"].values)


def _time(kept: float | str) -> datetime:
    return read_moment(kept) if isinstance(kept, str) else now() + timedelta(seconds=kept)


def _shown(moment: datetime, here: ZoneInfo) -> str:
    return f"{moment.astimezone(here):%Y-%m-%d %H:%M %Z}"
