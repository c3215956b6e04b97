"""Handing in work: jobs, batches, sweeps and calibrations that a worker carries out while the notebook goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from labkit.core import registry
from labkit.core.errors import LabkitError, NotFound
from labkit.core.recipe import Recipe
from labkit.lab import bookkeeping
from labkit.lab.handle import Run
from labkit.lab.job import Batch, Job
from labkit.lab.listing import Listing
from labkit.lab.tool_shed import ToolShed
from labkit.operations.policy import process_permission, require
from labkit.runs import hiring, sweep_job
from labkit.runs.calibration import submit_calibration
from labkit.runs.orders import Order, Terms, status_of
from labkit.runs.submission import submit
from labkit.store import jobs, tools
from labkit.store import runs as rows
from labkit.store.artifacts import Artifacts
from labkit.store.clock import now
from labkit.store.identifiers import new_id

if TYPE_CHECKING:
    import xarray as xr

Wafers = Any
"""Incoming wafers: a Dataset, a run or job whose wafers go on, or None for a full load of blanks."""


class JobDesk(ToolShed):
    """The part of a lab that takes work in and says where it stands."""

    def submit(
        self,
        recipe: Recipe,
        *,
        tool: str | None = None,
        lot: str | None = None,
        product: str | None = None,
        chamber: str | None = None,
        wafers: xr.Dataset | Run | Job | None = None,
        after: Iterable[Job | Run | str | int] = (),
        priority: int = 0,
        not_before: datetime | timedelta | None = None,
        expires: datetime | timedelta | None = None,
        soft_limit_s: float | None = None,
        hard_limit_s: float | None = None,
        retries: int = 3,
        gpu_share: float = 0.0,
    ) -> Job:
        """Hand *recipe* in and go on at once; a worker predicts, gates, runs, judges and learns from it.

        Parameters
        ----------
        wafers
            Incoming wafers: a Dataset, an earlier run or job whose wafers go on, or by default a full load of blanks.
            A job that is not over is waited for.
        after
            Runs or jobs that must complete first.
        priority
            Larger goes first; equals go in the order of submission.
        not_before, expires
            When it may start at the earliest and at the latest: a moment, or a time from now.
        soft_limit_s, hard_limit_s
            After how long a run is announced as late, and is stopped; default: the lab's settings.
        retries
            How often a run that could not be started is tried again, with growing pauses. A run that its tool has
            started is never repeated.
        gpu_share
            Part of a GPU that it needs; it starts where a worker has that much to spare.

        Raises
        ------
        LabkitError
            If the terms make no sense; nothing is handed in then. A recipe that is refused makes a REJECTED run.
        """
        terms = self._terms(
            wafers,
            after,
            priority=priority,
            not_before=not_before,
            expires=expires,
            soft_limit_s=soft_limit_s,
            hard_limit_s=hard_limit_s,
            retries=retries,
            gpu_share=gpu_share,
        )
        order = self._order(recipe, tool=tool, lot=lot, product=product, chamber=chamber, wafers=wafers)
        with self._place.catalogue.begin() as tx:
            run_id = submit(self._place, tx, order, terms)
        hiring.ensure_worker(self._place)
        return Job(self._place, run_id)

    def submit_batch(self, recipes: Iterable[Recipe], **terms: Any) -> Batch:
        """Hand in several recipes at once, all or none, under the same *terms* as :meth:`submit`."""
        batch = new_id()
        where = {name: terms.pop(name, None) for name in ("tool", "lot", "product", "chamber", "wafers")}
        agreed = self._terms(where["wafers"], terms.pop("after", ()), batch=batch, **{"retries": 3, **terms})
        orders = [self._order(recipe, **where) for recipe in recipes]
        with self._place.catalogue.begin() as tx:
            ids = [submit(self._place, tx, order, agreed) for order in orders]
        hiring.ensure_worker(self._place)
        return Batch(Job(self._place, run_id) for run_id in ids)

    def submit_sweep(
        self, recipe: Recipe, over: Mapping[str, Iterable[float]], *, after: Iterable[Any] = (), **terms: Any
    ) -> Job:
        """Hand in a sweep: physics over every combination of the values in *over*, one run with many points."""
        require(self.principal, process_permission(recipe.process, "create_run"))
        agreed = self._terms(None, after, **{"retries": 3, **terms})
        process = registry.process(recipe.process)
        run_id = sweep_job.submit_sweep(self._place, process, recipe, over, agreed)
        hiring.ensure_worker(self._place)
        return Job(self._place, run_id)

    def submit_calibration(self, tool: str, channel: str, **terms: Any) -> Job:
        """Hand in the calibration of one of *tool*'s instruments; the correction found is the run's result."""
        require(self.principal, "spc:configure")
        agreed = self._terms(None, terms.pop("after", ()), **{"retries": 0, **terms})
        with self._place.catalogue.begin() as tx:
            run_id = submit_calibration(tx, tool, channel, agreed)
        hiring.ensure_worker(self._place)
        return Job(self._place, run_id)

    def job(self, run: str | int | Run) -> Job:
        """The job of a run.

        Raises
        ------
        NotFound
            If there is no such run, or it never was a job.
        """
        with self._place.catalogue.read() as tx:
            found = rows.get(tx, run.id if isinstance(run, Run) else run)["id"]
            jobs.get(tx, found)
        return Job(self._place, found)

    def jobs(self) -> Listing:
        """Jobs that are not over, in the order in which they would start."""
        with self._place.catalogue.read() as tx:
            found = []
            for job in jobs.open_jobs(tx):
                row = rows.get(tx, job["run"])
                shown = "PAUSED" if job["paused"] else row["state"]
                found.append({**job, "seq": row["seq"], "shown": shown, "recipe": row["recipe_name"], **_at(row)})
        columns = ("seq", "type", "shown", "progress", "step", "priority", "recipe", "tool")
        return Listing("jobs", columns, found)

    def start_worker_if_needed(self) -> bool:
        """Start a worker if there is work for one and none is there; whether one was started."""
        return hiring.ensure_worker_if_needed(self._place)

    def workers(self) -> Listing:
        """The workers that are there, with their machine and process number."""
        with self._place.catalogue.read() as tx:
            found = [row for row in jobs.workers(tx) if jobs.silence_s(tx, row["id"]) < self.settings.lost_s]
        return Listing("workers", ("host", "pid", "started", "heartbeat"), found)

    def _order(
        self,
        recipe: Recipe,
        *,
        tool: str | None,
        lot: str | None,
        product: str | None,
        chamber: str | None,
        wafers: Wafers,
    ) -> Order:
        require(self.principal, process_permission(recipe.process, "create_run"))
        for what, value in (("tool", tool), ("lot", lot), ("product", product), ("chamber", chamber)):
            bookkeeping.require_name(what, value)
        process = registry.process(recipe.process)
        name = tool or self._only_tool(recipe.process) or self.add_tool(f"SIM-{recipe.process}", recipe.process).name
        source = wafers.run if isinstance(wafers, Job) else wafers
        lot = source.record["lot"] if lot is None and isinstance(source, Run) else lot
        incoming, passports = self._incoming(process, recipe, source, lot)
        with self._place.catalogue.read() as tx:
            kind = tools.get(tx, name)["kind"]
            status = status_of(tx, recipe)
        return Order(process, recipe, name, kind, passports, lot, product, chamber, status, incoming)

    def _terms(self, wafers: Wafers, after: Iterable[Any], **terms: Any) -> Terms:
        unknown = set(terms) - set(Terms.__dataclass_fields__)
        if unknown:
            raise LabkitError(
                f"no such term: {', '.join(sorted(unknown))}", allowed=", ".join(Terms.__dataclass_fields__)
            )
        before = [*([after] if isinstance(after, Job | Run | str | int) else after)]
        if isinstance(wafers, Job) or (isinstance(wafers, Run) and not Job(self._place, wafers.id).done):
            before.append(wafers)
        else:
            require_wafers(wafers)
        for name in ("not_before", "expires"):
            if isinstance(terms.get(name), timedelta):
                terms[name] = now() + terms[name]
        with self._place.catalogue.read() as tx:
            ids = [one.id if isinstance(one, Job | Run) else rows.get(tx, one)["id"] for one in before]
        return Terms(after=tuple(ids), **terms)

    def _incoming(
        self, process: Any, recipe: Recipe, wafers: xr.Dataset | Run | None, lot: str | None
    ) -> tuple[dict[str, Any], tuple[tuple[str, int], ...]]:
        """Where the wafers come from, as a document, and their passports (id, slot)."""
        if isinstance(wafers, Run):
            with self._place.catalogue.read() as tx:
                known = bookkeeping.passports(tx, wafers.id)
            return {"kind": "run", "run": wafers.id}, known
        load = process.incoming_wafers(recipe) if wafers is None else wafers
        bookkeeping.require_slots(load)
        source = {"kind": "blank"} if wafers is None else self._kept_wafers(wafers)
        if lot is None:
            return source, ()
        return source, tuple((f"{lot}-W{int(slot):02d}", int(slot)) for slot in load["slot"].values)

    def _kept_wafers(self, wafers: xr.Dataset) -> dict[str, Any]:
        """Where wafers that somebody gave are kept, as a document."""
        bookkeeping.require_slots(wafers)
        with self._place.catalogue.begin() as tx:
            packed = bookkeeping.packed(wafers)
            address = Artifacts(self.folder).put(tx, packed, media_type="application/vnd.labkit.dataset")
        return {"kind": "artifact", "sha256": address}


def require_wafers(wafers: Wafers) -> None:
    """Refuse wafers of a run that left none.

    Raises
    ------
    NotFound
        Saying what became of that run.
    """
    if isinstance(wafers, Run) and "wafer" not in wafers.data.children:
        raise NotFound(f"run {wafers.seq} left no wafers: it is {wafers.state}")


def _at(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"progress": row["progress"], "step": row["step"]}
