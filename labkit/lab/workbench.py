"""The Lab: recipes, tools, runs and what is known about them, as plain calls for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from filelock import BaseFileLock

from labkit.core import registry
from labkit.core.errors import LabkitError, NotFound, StoreError
from labkit.core.identity import Principal
from labkit.core.process import Condition, Finding, Process
from labkit.core.recipe import Recipe
from labkit.core.settings import Settings
from labkit.devices.simulated import SimulatedTool
from labkit.lab import administration, bookkeeping
from labkit.lab.handle import Run
from labkit.lab.listing import Listing
from labkit.lab.progress import progress_bar
from labkit.operations.cost import Rates
from labkit.operations.limits import ConstraintProfile, limits_for
from labkit.operations.policy import process_permission, require
from labkit.operations.tool_states import EquipmentState, availability, seconds_in, utilisation
from labkit.runs import knowledge, qualify, sweep
from labkit.runs.execute import Order, execute
from labkit.runs.predict import History, Prediction, predict
from labkit.runs.why import Explanation, explain
from labkit.runs.workplace import Workplace
from labkit.store import audit, browse, passport, recipes, sql, tools
from labkit.store.clock import now

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_COLUMNS = ("seq", "started", "recipe_name", "tool", "lot", "state", "verdict", "origin", "duration_s")


class Lab:
    """A lab that is open. Close it with ``lab.close()`` or a ``with`` block; a notebook may leave it to the kernel's end."""

    def __init__(self, place: Workplace, lock: BaseFileLock) -> None:
        self._workplace = place
        self._lock = lock
        self._closed = False
        self._tools: dict[str, SimulatedTool] = {}

    @property
    def _place(self) -> Workplace:
        if self._closed:
            raise LabkitError(f"lab {self.folder} is closed", fix=f'open it again: labkit.open("{self.folder}")')
        return self._workplace

    @property
    def folder(self) -> Path:
        """Where the lab lives."""
        return self._workplace.folder

    @property
    def settings(self) -> Settings:
        """Settings in force."""
        return self._workplace.settings

    @property
    def principal(self) -> Principal:
        """Who acts."""
        return self._workplace.principal

    def close(self) -> None:
        """Sign the head of the audit log and let go of the catalogue; closing again changes nothing."""
        if not self._closed:
            with suppress(StoreError):
                audit.anchor(self._workplace.catalogue)
        self._closed = True
        self._workplace.catalogue.close()
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lab {self.folder} of {self.principal.organisation}, {self.principal.signature}>"

    def _repr_html_(self) -> str:
        return f"<b>lab</b> {html.escape(str(self.folder))} · {html.escape(self.principal.signature)}"

    # processes and recipes

    def process(self, name: str) -> Process:
        """An installed process by name."""
        return registry.process(name)

    def processes(self) -> Listing:
        """Installed processes."""
        return Listing("processes", ("name", "title", "safe_state"), [
            {"name": p.name, "title": p.title, "safe_state": p.safe_state} for p in registry.processes().values()])

    def save_recipe(self, recipe: Recipe) -> Recipe:
        """Keep *recipe* as a draft; saving the same again changes nothing, an approved version cannot be changed."""
        with self._place.catalogue.begin() as tx:
            return bookkeeping.save_recipe(tx, recipe)

    def recipe(self, name: str, version: int | None = None) -> Recipe:
        """A stored recipe, by default its latest version, with the status it has here."""
        with self._place.catalogue.read() as tx:
            return bookkeeping.load_recipe(tx, name, version)

    def recipes(self) -> Listing:
        """Stored recipes."""
        with self._place.catalogue.read() as tx:
            return Listing("recipes", ("name", "version", "process", "status", "author", "approved_by", "hazard_level"),
                           recipes.listing(tx))

    def approve(self, name: str, version: int | None = None, *, by: str | Principal, note: str = "") -> Recipe:
        """Approve a recipe version, as somebody other than its author; bound to its content hash, immutable from then on.

        Raises
        ------
        PermissionDenied
            If *by* wrote it, or may not approve.
        """
        approver = by if isinstance(by, Principal) else Principal(by, self.principal.organisation, self.principal.role)
        return bookkeeping.approve(self._place.catalogue.as_principal(approver), name, version, note)

    def findings(self, recipe: Recipe) -> tuple[Finding, ...]:
        """What the equipment cannot follow in *recipe*, or does differently."""
        return registry.process(recipe.process).findings(recipe)

    # tools

    def add_tool(self, name: str, process: str, *, seed: int = 0, condition: Condition | None = None,
                 rates: Rates | None = None) -> SimulatedTool:
        """Add a simulated tool. *condition* is how it departs from nominal from its first day; *rates* what it costs."""
        require(self.principal, process_permission(process, "simulate"))
        bookkeeping.require_name("tool", name, longest=80)
        chapter = registry.process(process)
        config = {"seed": seed, "rates": (rates or Rates()).model_dump(mode="json"),
                  "condition": (condition or chapter.condition_type()).model_dump(mode="json")}
        with self._place.catalogue.begin() as tx:
            tools.register(tx, name, process=process, kind="simulated", config=config)
        return self.tool(name)

    def tool(self, name: str) -> SimulatedTool:
        """A handle on a tool.

        Raises
        ------
        NotFound
            If the lab has no such tool.
        """
        if name not in self._tools:
            with self._place.catalogue.read() as tx:
                row = tools.get(tx, name)
            chapter = registry.process(row["process"])
            self._tools[name] = SimulatedTool(
                name, chapter, seed=int(row["config"]["seed"]), memory=self.folder / "tools" / f"{quote(row['id'], safe=' ')}.json",
                condition=chapter.condition_type.model_validate(row["config"]["condition"]), block=self.settings.telemetry_block)
        return self._tools[name]

    def tools(self) -> Listing:
        """The lab's tools, with their E10 state."""
        with self._place.catalogue.read() as tx:
            return Listing("tools", ("name", "process", "kind", "state"), tools.listing(tx))

    def set_tool_state(self, name: str, state: str, reason: str = "") -> None:
        """Put a tool into an E10 state, e.g. ``"unscheduled_down"``, with the reason."""
        with self._place.catalogue.begin() as tx:
            tools.set_state(tx, name, state, reason=reason)

    def tool_history(self, name: str) -> Listing:
        """A tool's E10 timeline, with availability and utilisation since it was added in the title."""
        with self._place.catalogue.read() as tx:
            tools.get(tx, name)
            rows = tools.timeline(tx, name)
        seconds = seconds_in([(row["since"], EquipmentState(row["state"])) for row in rows], now())
        title = f"{name}: available {100 * availability(seconds):.1f} %, utilised {100 * utilisation(seconds):.1f} %"
        return Listing(title, ("since", "until", "state", "reason", "user"), rows)

    # the loop

    def predict(self, recipe: Recipe, *, tool: str | None = None, product: str | None = None,
                wafers: xr.Dataset | None = None) -> Prediction:
        """What *recipe* would do on *tool*: every indicator with its interval. Nothing is run or stored."""
        process = registry.process(recipe.process)
        name = tool or self._only_tool(recipe.process)
        history = History()
        if name is not None:
            with self._place.catalogue.read() as tx:
                kind = tools.get(tx, name)["kind"]
                history = knowledge.recall(tx, process, recipe, tool=name, origin=_origin(kind)).history
        load = process.incoming_wafers(recipe) if wafers is None else wafers
        return predict(process, recipe, load, history, level=self.settings.prediction_level)

    def execute(self, recipe: Recipe, *, tool: str | None = None, lot: str | None = None, product: str | None = None,
                chamber: str | None = None, wafers: xr.Dataset | Run | None = None, progress: bool = True) -> Run:
        """Predict, gate, run, judge and learn from *recipe*; returns when the run is over.

        Parameters
        ----------
        tool
            Default: the lab's only tool for the process; if there is none, a simulated one is added.
        wafers
            Incoming wafers: a Dataset, an earlier run whose wafers go on, or by default a full load of blanks.

        Returns
        -------
        Run
            COMPLETED, or ENGINEER_REVIEW if it was flagged; REJECTED or BLOCKED, with reasons, if it was refused.
        """
        require(self.principal, process_permission(recipe.process, "create_run"))
        for what, value in (("tool", tool), ("lot", lot), ("product", product), ("chamber", chamber)):
            bookkeeping.require_name(what, value)
        process = registry.process(recipe.process)
        handle = self.tool(tool or self._only_tool(recipe.process) or self.add_tool(f"SIM-{recipe.process}", recipe.process).name)
        with self._place.catalogue.read() as tx:
            kind = tools.get(tx, handle.name)["kind"]
            status = bookkeeping.status_of(tx, recipe)
        lot = wafers.record["lot"] if lot is None and isinstance(wafers, Run) else lot
        load, passports = self._wafers(process, recipe, wafers, lot)
        order = Order(process, recipe, handle, kind, load, passports, lot, product, chamber, status)
        with progress_bar(f"{recipe.name} on {handle.name}", shown=progress) as report:
            return Run(self._place, execute(self._place, order, report))

    def qualify(self, tool: str, runs: Iterable[str | int | Run], *, by: str | None = None) -> str:
        """Freeze the baseline of *tool* from healthy *runs* of one recipe family; its charts start now. Returns its id.

        Later runs never move a baseline; qualifying again replaces it for the future.
        """
        require(self.principal, "spc:configure")
        ids = [Run(self._place, run).id if not isinstance(run, Run) else run.id for run in runs]
        return qualify.freeze(self._place, tool, ids, by or self.principal.signature)

    def clear(self, run: str | int | Run, reason: str, *, restart_charts: bool = False) -> Run:
        """Clear a run that waits for an engineer; *restart_charts* after the tool has been repaired."""
        require(self.principal, "spc:acknowledge")
        handle = run if isinstance(run, Run) else self.run(run)
        qualify.clear(self._place, handle.id, reason, restart_charts=restart_charts)
        return handle.refresh()

    def sweep(self, recipe: Recipe, over: Mapping[str, Iterable[float]], *, progress: bool = True,
              resume: str | int | Run | None = None) -> Run:
        """Physics over every combination of the values in *over* (recipe path to values): one run with many points.

        An interrupted sweep goes on with ``resume=run``: chunks that are there are not computed again.
        """
        require(self.principal, process_permission(recipe.process, "create_run"))
        process = registry.process(recipe.process)
        again = None if resume is None else (resume.id if isinstance(resume, Run) else self.run(resume).id)
        with progress_bar(f"sweep of {recipe.name}", shown=progress) as report:
            return Run(self._place, sweep.run_sweep(self._place, process, recipe, over, report, resume=again))

    # looking

    def why(self, run: str | int | Run) -> Explanation:
        """Why a run came out as it did: causes, contributions, what flagged runs share, which knob moves what."""
        return explain(self._workplace, run.id if isinstance(run, Run) else run)

    def run(self, run: str | int) -> Run:
        """A run by number or id."""
        return Run(self._place, run)

    def runs(self, *, sort: str = "newest", limit: int = 50, after: str | None = None, **filters: Any) -> Listing:
        """Runs, newest first; filter by ``state``, ``verdict``, ``process``, ``tool``, ``lot``, ``product``, ``operator``,
        ``recipe_name``, ``origin``, ``qualified``, ``wafer``, ``created_after`` or ``results={"thickness_mean_nm": (95, 105)}``.
        """
        with self._place.catalogue.read() as tx:
            page = browse.page(tx, sort=sort, limit=limit, after=after, **filters)
            values = bookkeeping.with_results(tx, page.rows)
        return Listing("runs", _COLUMNS, values, more=page.after is not None, after=page.after)

    def wafer(self, wafer: str) -> Listing:
        """A wafer's passport: every run it went through, first one first."""
        with self._place.catalogue.read() as tx:
            found = passport.wafer(tx, wafer)
        title = f"wafer {wafer}, lot {found['lot'] or '–'}, product {found['product'] or '–'}"
        return Listing(title, ("id", "process", "tool", "recipe_name", "slot", "state", "verdict", "ended"), found["runs"])

    def channel(self, name: str, runs: Iterable[str | int | Run]) -> xr.DataArray:
        """One telemetry channel of many runs, with dims ``run`` and ``time`` (s since the start of each)."""
        return bookkeeping.channel(self._place, name, [r if isinstance(r, str | int) else r.id for r in runs])

    def sql(self, query: str) -> pd.DataFrame:
        """A read-only SQL query over the catalogue's tables (``runs``, ``results``, ``recipes`` …)."""
        return sql.query(self._place.catalogue, query, folders=self._place.folders)

    def suggestions(self) -> Listing:
        """Corrections that run-to-run control proposes and nobody has decided on."""
        with self._place.catalogue.read() as tx:
            return Listing("suggestions", ("id", "tool", "recipe_name", "recipe_version", "changes", "reason"),
                           bookkeeping.open_suggestions(tx))

    def accept(self, suggestion: str) -> Recipe:
        """Turn a suggestion into a new draft version of its recipe; that draft still needs approval."""
        with self._place.catalogue.begin() as tx:
            return bookkeeping.accept(tx, suggestion)

    def add_profile(self, profile: ConstraintProfile) -> None:
        """Put a constraint profile into force; the same name again is a new version of it."""
        require(self.principal, "spc:configure")
        with self._place.catalogue.begin() as tx:
            bookkeeping.save_profile(tx, registry.process(profile.process), profile)

    def limits(self, process: str, *, tool: str | None = None, product: str | None = None) -> Listing:
        """Limits in force for a process, tool and product."""
        chapter = registry.process(process)
        with self._place.catalogue.read() as tx:
            held = limits_for(chapter, knowledge.profiles(tx, process), tool=tool, product=product)
        return Listing(f"limits for {process}", ("quantity", "allowed", "severity", "reason"), [
            {"quantity": h.quantity, "allowed": h.allowed, "severity": h.severity.value, "reason": h.reason} for h in held])

    # keeping

    def counts(self) -> dict[str, int]:
        """How many runs, recipes and tools there are, and how much is quarantined."""
        return administration.counts(self._place)

    def quarantine(self) -> Listing:
        """What was set aside because it is damaged, and why."""
        return Listing("quarantine", ("at", "kind", "subject", "reason", "moved_to"), administration.quarantined(self._place))

    def verify(self) -> Listing:
        """Check audit chain and run folders; damaged folders are quarantined and named, the rest stays usable."""
        return Listing("findings", ("kind", "subject", "reason"), administration.verify(self._place))

    def backup(self, archive: str | Path) -> Path:
        """Write the lab into one archive file."""
        return administration.write_backup(self._place, Path(archive))

    def _only_tool(self, process: str) -> str | None:
        with self._place.catalogue.read() as tx:
            fitting = [row["name"] for row in tools.listing(tx) if row["process"] == process]
        if len(fitting) > 1:
            raise LabkitError(f"{len(fitting)} tools run {process}", allowed=", ".join(fitting), fix=f'say which: tool="{fitting[0]}"')
        return fitting[0] if fitting else None

    def _wafers(self, process: Process, recipe: Recipe, wafers: xr.Dataset | Run | None,
                lot: str | None) -> tuple[xr.Dataset, tuple[tuple[str, int], ...]]:
        """Incoming wafers and their passports (id, slot)."""
        if isinstance(wafers, Run):
            with self._place.catalogue.read() as tx:
                known = bookkeeping.passports(tx, wafers.id)
            return wafers.data["wafer"].to_dataset().load(), known
        load = process.incoming_wafers(recipe) if wafers is None else wafers
        if "slot" not in load.dims:
            raise NotFound("wafers need the dim 'slot'", fix="make them with labkit.materials.wafers.load(25)")
        if lot is None:
            return load, ()
        return load, tuple((f"{lot}-W{int(slot):02d}", int(slot)) for slot in load["slot"].values)


def _origin(kind: str) -> str:
    return "simulated" if kind == "simulated" else "real"


