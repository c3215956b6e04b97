"""The Lab: tools and the loop, on top of its recipes and its records, as plain calls for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from filelock import BaseFileLock

from labkit.core import registry
from labkit.core.errors import LabkitError, NotFound
from labkit.core.process import Condition, Process
from labkit.core.recipe import Recipe
from labkit.devices.simulated import SimulatedTool
from labkit.lab import bookkeeping
from labkit.lab.handle import Run
from labkit.lab.listing import Listing
from labkit.lab.progress import progress_bar
from labkit.lab.recipe_book import RecipeBook
from labkit.lab.run_records import RunRecords
from labkit.operations.cost import Rates
from labkit.operations.policy import process_permission, require
from labkit.operations.tool_states import EquipmentState, availability, seconds_in, utilisation
from labkit.runs import knowledge, qualify, sweep
from labkit.runs.execute import Order, execute
from labkit.runs.gate import check
from labkit.runs.predict import Prediction, predict
from labkit.runs.preflight import Preflight
from labkit.runs.workplace import Workplace
from labkit.store import tools
from labkit.store.clock import now

if TYPE_CHECKING:
    import xarray as xr


class Lab(RecipeBook, RunRecords):
    """A lab that is open. Close it with ``lab.close()`` or a ``with`` block; a notebook may leave it to the kernel's
    end."""

    def __init__(self, place: Workplace, lock: BaseFileLock) -> None:
        super().__init__(place, lock)
        self._tools: dict[str, SimulatedTool] = {}

    def add_tool(
        self, name: str, process: str, *, seed: int = 0, condition: Condition | None = None, rates: Rates | None = None
    ) -> SimulatedTool:
        """Add a simulated tool. *condition* is how it departs from nominal from its first day; *rates* what it
        costs."""
        require(self.principal, process_permission(process, "simulate"))
        bookkeeping.require_name("tool", name, longest=80)
        chapter = registry.process(process)
        config = {
            "seed": seed,
            "rates": (rates or Rates()).model_dump(mode="json"),
            "condition": (condition or chapter.condition_type()).model_dump(mode="json"),
        }
        with self._place.catalogue.begin() as tx:
            known = next((row for row in tools.listing(tx) if row["id"] == name), None)
            if known is not None and (known["process"], known["config"]) != (process, config):
                raise LabkitError(
                    f"tool {name!r} exists and is another one", fix=f'take lab.tool("{name}"), or another name'
                )
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
                name,
                chapter,
                seed=int(row["config"]["seed"]),
                memory=self.folder / "tools" / f"{quote(row['id'], safe=' ')}.json",
                condition=chapter.condition_type.model_validate(row["config"]["condition"]),
                block=self.settings.telemetry_block,
            )
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

    def predict(self, recipe: Recipe, *, tool: str | None = None, wafers: xr.Dataset | None = None) -> Prediction:
        """What *recipe* would do on *tool*: every indicator with its interval. Nothing is run or stored."""
        process = registry.process(recipe.process)
        history = self._known(process, recipe, tool).history
        load = process.incoming_wafers(recipe) if wafers is None else wafers
        return predict(process, recipe, load, history, level=self.settings.prediction_level)

    def preflight(self, recipe: Recipe, *, tool: str | None = None, product: str | None = None) -> Preflight:
        """Whether *recipe* would be let through: reasons, warnings and, if not, a better one. Nothing is stored."""
        process = registry.process(recipe.process)
        known = self._known(process, recipe, tool)
        limits = known.limits(process, recipe, tool=tool or self._only_tool(recipe.process), product=product)
        wafer = process.incoming_wafers(recipe)
        return check(process, recipe, wafer, known, limits, self.settings.prediction_level)[1]

    def _known(self, process: Process, recipe: Recipe, tool: str | None) -> knowledge.Knowledge:
        """What the lab knows about *recipe* on *tool*, or without one what holds for any new tool."""
        name = tool or self._only_tool(recipe.process)
        with self._place.catalogue.read() as tx:
            origin = "simulated" if name is None else _origin(tools.get(tx, name)["kind"])
            return knowledge.recall(tx, process, recipe, tool=name or "", origin=origin)

    def execute(
        self,
        recipe: Recipe,
        *,
        tool: str | None = None,
        lot: str | None = None,
        product: str | None = None,
        chamber: str | None = None,
        wafers: xr.Dataset | Run | None = None,
        progress: bool = True,
    ) -> Run:
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
        handle = self.tool(
            tool or self._only_tool(recipe.process) or self.add_tool(f"SIM-{recipe.process}", recipe.process).name
        )
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

    def sweep(
        self,
        recipe: Recipe,
        over: Mapping[str, Iterable[float]],
        *,
        progress: bool = True,
        resume: str | int | Run | None = None,
    ) -> Run:
        """Physics over every combination of the values in *over* (recipe path to values): one run with many points.

        An interrupted sweep goes on with ``resume=run``: chunks that are there are not computed again.
        """
        require(self.principal, process_permission(recipe.process, "create_run"))
        process = registry.process(recipe.process)
        again = None if resume is None else (resume.id if isinstance(resume, Run) else self.run(resume).id)
        with progress_bar(f"sweep of {recipe.name}", shown=progress) as report:
            return Run(self._place, sweep.run_sweep(self._place, process, recipe, over, report, resume=again))

    def _only_tool(self, process: str) -> str | None:
        with self._place.catalogue.read() as tx:
            fitting = [row["name"] for row in tools.listing(tx) if row["process"] == process]
        if len(fitting) > 1:
            raise LabkitError(
                f"{len(fitting)} tools run {process}", allowed=", ".join(fitting), fix=f'say which: tool="{fitting[0]}"'
            )
        return fitting[0] if fitting else None

    def _wafers(
        self, process: Process, recipe: Recipe, wafers: xr.Dataset | Run | None, lot: str | None
    ) -> tuple[xr.Dataset, tuple[tuple[str, int], ...]]:
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
