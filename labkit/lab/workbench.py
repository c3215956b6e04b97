"""The Lab: the loop on top of its tools, its queue, its recipes and its records, as plain calls for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from labkit.core import registry
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.lab.handle import Run
from labkit.lab.job import Job
from labkit.lab.job_desk import require_wafers
from labkit.lab.plans import Plans
from labkit.lab.progress import progress_bar
from labkit.operations.policy import process_permission, require
from labkit.runs import hiring, knowledge, qualify, sweep
from labkit.runs.execute import execute
from labkit.runs.gate import check
from labkit.runs.predict import Prediction, predict
from labkit.runs.preflight import Preflight
from labkit.store import tools

if TYPE_CHECKING:
    import xarray as xr


class Lab(Plans):
    """A lab that is open. Close it with ``lab.close()`` or a ``with`` block; a notebook may leave it to the kernel's
    end."""

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
        wafers: xr.Dataset | Run | Job | None = None,
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
        incoming = wafers.result() if isinstance(wafers, Job) else wafers
        require_wafers(incoming)
        order = self._order(recipe, tool=tool, lot=lot, product=product, chamber=chamber, wafers=incoming)
        with progress_bar(f"{recipe.name} on {order.tool}", shown=progress) as report:
            job = Job(self._place, execute(self._place, order, report))
            if not job.done:
                hiring.ensure_worker(self._place)
            run = job.result()
        hiring.ensure_worker_if_needed(self._place)
        return run

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
        hiring.ensure_worker_if_needed(self._place)
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


def _origin(kind: str) -> str:
    return "simulated" if kind == "simulated" else "real"
