"""Jobs that come again: templates, which keep recipe and terms under a name, and schedules, which hand them in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from labkit.core.errors import LabkitError
from labkit.core.recipe import Recipe
from labkit.lab import bookkeeping
from labkit.lab.handle import Run
from labkit.lab.job import Job
from labkit.lab.job_desk import JobDesk
from labkit.lab.listing import Listing
from labkit.operations.policy import process_permission, require
from labkit.runs import hiring
from labkit.runs.plans import NUMBERS, PLACEHOLDERS, lot_of, recipe_document, recipe_of, submit_from, terms_of
from labkit.runs.submission import check_terms
from labkit.runs.timetable import following, zone
from labkit.store import arguments, audit, plans
from labkit.store import runs as rows
from labkit.store.artifacts import Artifacts
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr

_NAMES = ("tool", "lot", "product", "chamber")
TERMS = (*_NAMES, "wafers", "after", "not_before", "expires", *NUMBERS)
"""What a template can say about a job beside its recipe: the terms of ``lab.submit``."""


class Plans(JobDesk):
    """The part of a lab that hands in the same work again and again."""

    def save_template(self, name: str, recipe: Recipe | str, *, version: int | None = None, **terms: Any) -> None:
        """Keep *recipe* and the *terms* of :meth:`submit` under *name*; an older template of that name is replaced.

        Parameters
        ----------
        recipe
            A recipe, or the name of a stored one, of which *version* (by default the latest one now) is meant. One
            that is stored is remembered by name and version, and may not be retired when the job is handed in; any
            other by its content.
        terms
            ``not_before`` and ``expires`` as a time from now (timedelta) count from when the job is handed in.

        Raises
        ------
        LabkitError
            If there is no such term, or a value makes no sense; nothing is kept then.
        """
        bookkeeping.require_name("template", name)
        document = self._document(terms)
        with self._place.catalogue.begin() as tx:
            meant = bookkeeping.load_recipe(tx, recipe, version) if isinstance(recipe, str) else recipe
            require(self.principal, process_permission(meant.process, "create_run"))
            document["recipe"] = recipe_document(tx, meant)
            check_terms(tx, terms_of(document))
            plans.keep_template(tx, name, document)
            audit.append(tx, "template.save", name, {"hash": meant.content_hash})

    def submit_template(self, name: str, **overrides: Any) -> Job:
        """Hand in the job that template *name* describes, with *overrides* in place of its own terms."""
        with self._place.catalogue.read() as tx:
            document = {**plans.template(tx, name)["document"]}
            process = recipe_of(tx, document["recipe"]).process
        document |= self._document(overrides)
        if document.get("tool") is None:
            document["tool"] = self._only_tool(process) or self.add_tool(f"SIM-{process}", process).name
        run_id = submit_from(self._place, document, template=name)
        hiring.ensure_worker(self._place)
        return Job(self._place, run_id)

    def templates(self) -> Listing:
        """Templates by name, with their recipe and terms."""
        with self._place.catalogue.read() as tx:
            found = [_template_row(row) for row in plans.templates(tx)]
        return Listing("templates", ("name", "recipe", "version", "tool", "terms", "author", "changed"), found)

    def delete_template(self, name: str) -> None:
        """Forget a template; refused while a schedule uses it."""
        with self._place.catalogue.begin() as tx:
            self._require_planner(tx, name)
            plans.delete_template(tx, name)
            audit.append(tx, "template.delete", name, {})

    def schedule(
        self, name: str, *, cron: str, template: str, timezone: str = "UTC", lot: str | None = None
    ) -> datetime:
        """Hand *template* in whenever *cron* says; returns the first time, in *timezone*.

        The lab keeps a worker for as long as it has a schedule that is enabled. Times at which none was there, because
        the machine was off, are made up for once, not one by one. A schedule of the same name is replaced.

        Parameters
        ----------
        cron
            Minute, hour, day of month, month, day of week, as in ``"0 2 * * *"``: every night at two. With six fields
            the first one is seconds.
        timezone
            IANA name such as ``"Europe/Berlin"``. A fixed time that the change to summer time leaves out comes right
            after the gap, one that the change back repeats comes once.
        lot
            Lot of each run, with ``{date}`` (2026-11-20) and ``{time}`` (0200), when it was due in *timezone*, and
            ``{number}``, the schedule's running count from 1. Default: the template's lot.

        Raises
        ------
        LabkitError
            If the expression, the time zone or the lot cannot be used, or two runs would get the same lot.
        NotFound
            If there is no such template.
        """
        bookkeeping.require_name("schedule", name)
        first = following(cron, timezone, now())
        _require_lot(lot, cron, timezone, first)
        with self._place.catalogue.begin() as tx:
            self._require_planner(tx, template)
            document = {"lot": lot, "number": 0}
            plans.keep_schedule(
                tx,
                name,
                cron=cron,
                timezone=timezone,
                template=template,
                document=document,
                enabled=True,
                next_at=first,
            )
            audit.append(tx, "schedule.save", name, {"cron": cron, "timezone": timezone, "template": template})
        hiring.ensure_worker(self._place)
        return first.astimezone(zone(timezone))

    def schedules(self) -> Listing:
        """Schedules by name: when they come next and after that, in their own time zone, and what went wrong."""
        with self._place.catalogue.read() as tx:
            found = [_schedule_row(tx, row) for row in plans.schedules(tx)]
        coming = [row for row in found if row["next"] is not None]
        first = min(coming, key=lambda row: row["next"], default=None)
        title = (
            "schedules" if first is None else f"schedules, next {first['name']!r} at {first['next']:%Y-%m-%d %H:%M %Z}"
        )
        columns = ("name", "cron", "timezone", "template", "lot", "enabled", "next", "then", "last", "run", "problem")
        return Listing(title, columns, found)

    def unschedule(self, name: str) -> None:
        """Forget a schedule; what it has handed in goes on."""
        with self._place.catalogue.begin() as tx:
            self._require_planner(tx, plans.schedule(tx, name)["template"])
            plans.delete_schedule(tx, name)
            audit.append(tx, "schedule.delete", name, {})

    def enable_schedule(self, name: str) -> None:
        """Let a schedule go on from its next time; those that it was disabled for are not made up for."""
        with self._place.catalogue.begin() as tx:
            row = plans.schedule(tx, name)
            self._require_planner(tx, row["template"])
            if not row["enabled"]:
                since = max(now(), row["last_at"] or now())
                due = following(row["cron"], row["timezone"], since)
                plans.change_schedule(tx, name, enabled=True, next_at=due, problem=None)
                audit.append(tx, "schedule.enable", name, {})
        hiring.ensure_worker(self._place)

    def disable_schedule(self, name: str) -> None:
        """Let a schedule rest; it is kept."""
        with self._place.catalogue.begin() as tx:
            self._require_planner(tx, plans.schedule(tx, name)["template"])
            plans.change_schedule(tx, name, enabled=False, next_at=None)
            audit.append(tx, "schedule.disable", name, {})

    def _require_planner(self, tx: Transaction, template: str) -> None:
        """Refuse whoever may not create the runs of *template*; a recipe that is gone stops nobody from tidying up."""
        kept = plans.template(tx, template)["document"]["recipe"]
        process = kept.get("process") or bookkeeping.load_recipe(tx, kept["name"], kept["version"]).process
        require(self.principal, process_permission(process, "create_run"))

    def _document(self, terms: Mapping[str, Any]) -> dict[str, Any]:
        """Terms of :meth:`submit` as a document that can be kept."""
        unknown = [name for name in terms if name not in TERMS]
        if unknown:
            raise LabkitError(f"no such term: {', '.join(sorted(unknown))}", allowed=", ".join(TERMS))
        document = {name: terms[name] for name in (*_NAMES, *NUMBERS) if name in terms}
        for name in _NAMES:
            bookkeeping.require_name(name, document.get(name))
        for name in ("not_before", "expires"):
            if terms.get(name) is not None:
                document[name] = _kept_time(name, terms[name])
        before, wafers = terms.get("after", ()), terms.get("wafers")
        before = [before] if isinstance(before, Job | Run | str | int) else list(before)
        if isinstance(wafers, Job | Run):
            document["incoming"] = {"kind": "run", "run": wafers.id}
            before += [wafers] if (wafers.run if isinstance(wafers, Job) else wafers).record["folder"] is None else []
        elif wafers is not None:
            document["incoming"] = self._kept_wafers(wafers)
        if before:
            with self._place.catalogue.read() as tx:
                ids = [one.id if isinstance(one, Job | Run) else rows.get(tx, one)["id"] for one in before]
            document["after"] = ids
        return document

    def _kept_wafers(self, load: xr.Dataset) -> dict[str, str]:
        bookkeeping.require_slots(load)
        with self._place.catalogue.begin() as tx:
            packed = bookkeeping.packed(load)
            address = Artifacts(self.folder).put(tx, packed, media_type="application/vnd.labkit.dataset")
        return {"kind": "artifact", "sha256": address}


def _kept_time(name: str, value: object) -> float | str:
    return value.total_seconds() if isinstance(value, timedelta) else arguments.time(name, value).isoformat()


def _require_lot(lot: str | None, cron: str, timezone: str, first: datetime) -> None:
    """Refuse a lot that is no name, or that the first two runs would share."""
    if lot is None:
        return
    bookkeeping.require_name("lot", lot)
    allowed = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    strange = [name for name in re.findall(r"\{(\w*)\}", lot) if name not in PLACEHOLDERS]
    if strange or set(re.sub(r"\{\w*\}", "", lot)) & set("{}"):
        raise LabkitError(f"lot {lot!r} has a placeholder that nothing fills in", allowed=allowed)
    here, second = zone(timezone), following(cron, timezone, first)
    names = [lot_of(lot, due, here, number) for number, due in enumerate((first, second), 1)]
    bookkeeping.require_name("lot", names[0])
    if names[0] == names[1]:
        raise LabkitError(
            f"lot {lot!r} would be {names[0]!r} for one run and the next", allowed=allowed, fix='lot="N-{number}"'
        )


def _template_row(row: Row) -> dict[str, Any]:
    document = row["document"]
    kept = document["recipe"]
    named = kept.get("document", kept)
    said = {name: value for name, value in document.items() if name not in ("recipe", "tool") and value is not None}
    told = ", ".join(f"{name}={value}" for name, value in said.items())
    return {
        **{name: row[name] for name in ("name", "author", "changed")},
        "recipe": named["name"],
        "version": named["version"],
        "stored": "document" not in kept,
        "tool": document.get("tool"),
        "terms": told,
    }


def _schedule_row(tx: Transaction, row: Row) -> dict[str, Any]:
    here = zone(row["timezone"])
    coming = row["next_at"] if row["enabled"] else None
    then = None if coming is None else following(row["cron"], row["timezone"], coming)
    run = None if row["last_run"] is None else rows.get(tx, row["last_run"])["seq"]
    local = {
        name: None if moment is None else moment.astimezone(here)
        for name, moment in (("next", coming), ("then", then), ("last", row["last_at"]))
    }
    shown = ("name", "cron", "timezone", "template", "enabled", "problem", "author")
    return {**{name: row[name] for name in shown}, **local, "run": run, "lot": row["document"].get("lot")}
